use std::process::Command;

use rlimit::Resource;

use super::*;

/// Runs one of the tests below in a process of its own, with what it needs to be told. A process that writes beyond its limit is sent a signal, which it
/// must ignore to see the error.
fn run_apart(test: &str, folder: &Path) {
    let mut child = Command::new("sh");
    child.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().expect("this program"));
    child.args(["--exact", &format!("store::embedded::tests::full::{test}"), "--nocapture"]);
    let output = child.env("STORE_FOLDER", folder).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("it went on"), "{text}");
}

fn limit(bytes: u64) {
    rlimit::setrlimit(Resource::FSIZE, bytes, rlimit::INFINITY).expect("limited");
}

#[test]
fn after_a_limit_it_goes_on() {
    let folder = folder();
    run_apart("child_at_a_limit", folder.path());
    let mut backend = open(folder.path(), Durability::Fsync);
    let blocks = all_blocks(&mut backend, 0);
    let firsts: Vec<_> = blocks.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [1, 2, 3]);
    assert_eq!(blocks[2].1, b"smaller");
}

/// Not a test of its own: the process that has a limit.
#[test]
fn child_at_a_limit() {
    let Ok(folder) = std::env::var("STORE_FOLDER") else { return };
    let mut backend = open(Path::new(&folder), Durability::Fsync);
    backend.append(1, &noise(1, 100_000)).expect("appended");
    backend.write(vec![put(Table::Meta, b"key", b"before")]).expect("written");
    limit(150_000);
    for attempt in 0..3 {
        let error = backend.append(2, &noise(2, 100_000)).expect_err("beyond the limit");
        assert!(matches!(error, BackendError::Full(_)), "attempt {attempt}: {error:?}");
        assert!(matches!(backend.write(vec![put(Table::Meta, b"key", b"no")]), Err(BackendError::Full(_))));
        assert_eq!(backend.block(9).expect("it can be read").expect("a block").0, 1);
        assert_eq!(backend.row(Table::Meta, b"key").expect("it can be read").as_deref(), Some(&b"before"[..]));
    }
    limit(rlimit::INFINITY);
    backend.append(2, &noise(3, 100_000)).expect("there is room");
    assert_eq!(backend.block(2).expect("read"), Some((2, noise(3, 100_000))));
    // All of it fits in the writer's buffer, which is written when the database is closed if not before.
    limit(end_of_journal(&folder));
    backend.append(3, b"small").expect_err("beyond the limit");
    limit(rlimit::INFINITY);
    assert_eq!(backend.block(3).expect("read").expect("a block").0, 2, "it was not appended");
    backend.append(3, b"smaller").expect("there is room");
    println!("it went on");
}

fn end_of_journal(folder: &str) -> u64 {
    let path = journal::paths(&Path::new(folder).join("database")).expect("a database").pop().expect("a journal");
    let bytes = fs::read(path).expect("a journal");
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// A small disk of its own, which only root may mount: the limit above is for everybody.
struct Disk(TempDir);

impl Disk {
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(folder.path());
        mount.output().ok().filter(|output| output.status.success()).map(|_| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Journals and tables meet the end of the disk, whichever comes first.
#[test]
fn after_a_full_disk_it_goes_on() {
    for mebibytes in [40, 47, 53] {
        let Some(disk) = Disk::mount(mebibytes) else {
            println!("not tested: no disk can be mounted");
            return;
        };
        let (store, ballast) = (disk.0.path().join("store"), disk.0.path().join("ballast"));
        fs::write(&ballast, vec![1; 25 << 20]).expect("written");
        let mut backend = open(&store, Durability::Os);
        let mut accepted = 0;
        let mut fill = |backend: &mut Embedded, until: u64| {
            while accepted < until {
                backend.append(accepted + 1, &noise(accepted + 1, 100_000))?;
                accepted += 1;
            }
            Ok(accepted)
        };
        let error = fill(&mut backend, 10_000).expect_err("the disk is full");
        assert!(matches!(error, BackendError::Full(_)), "{error:?}");
        for _ in 0..3 {
            let error = fill(&mut backend, 10_000).expect_err("the disk is full");
            assert!(matches!(error, BackendError::Full(_)), "{error:?}");
        }
        let firsts =
            |backend: &mut Embedded| all_blocks(backend, 0).iter().map(|(first, _)| *first).collect::<Vec<_>>();
        let before = firsts(&mut backend);
        fs::remove_file(&ballast).expect("room");
        let after = fill(&mut backend, before.len() as u64 + 20).expect("there is room");
        assert_eq!((before.len() + 20) as u64, after, "{mebibytes} MiB");
        assert_eq!(firsts(&mut backend), (1..=after).collect::<Vec<_>>());
        drop(backend);
        let mut backend = open(&store, Durability::Os);
        assert_eq!(firsts(&mut backend), (1..=after).collect::<Vec<_>>());
        assert_eq!(backend.block(after).expect("read"), Some((after, noise(after, 100_000))));
    }
}
