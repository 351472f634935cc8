use std::{
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use super::*;

/// Everything that a store went through, by the steps taken, and where its journal ended after each.
fn history(folder: &Path, count: u16, tables_at: u16) -> (Vec<Model>, Vec<u64>) {
    let mut backend = open(folder, Durability::Os);
    // As it is made it has 64 MiB of zeros, which take long to look through so often. Some are enough.
    let file = File::options().write(true).open(journal(folder)).expect("a journal");
    file.set_len(4 << 20).expect("shortened");
    let (mut states, mut ends) = (vec![Model::default()], vec![0]);
    for number in 0..count {
        if number == tables_at {
            write_tables(&backend);
        }
        // No reading steps and no syncs: each one changes the journal.
        let kind = [0, 5, 6, 1][usize::from(number % 4)];
        let step = Step::from((kind, number.wrapping_mul(7_919), number.wrapping_mul(40_503) ^ number));
        let mut state = states.last().expect("a state").clone();
        state.ask(&mut backend, &step).expect("done");
        state.take(&step);
        states.push(state);
        ends.push(end(folder));
    }
    (states, ends)
}

fn journal(folder: &Path) -> std::path::PathBuf {
    journal::paths(&folder.join("database")).expect("a database").pop().expect("a journal")
}

fn end(folder: &Path) -> u64 {
    let bytes = fs::read(journal(folder)).expect("a journal");
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// fjall's journals are read as it writes them: all of what it wrote is found whole. If this fails after fjall changed, its format did.
#[test]
fn whole_journals_are_found_whole() {
    let folder = folder();
    let (states, ends) = history(folder.path(), 200, 100);
    let copy = copy(folder.path());
    let before = fs::read(journal(copy.path())).expect("a journal");
    assert_eq!(before.iter().rposition(|&byte| byte != 0).map(|last| last as u64 + 1), ends.last().copied());
    assert_eq!(journal::mend(&copy.path().join("database"), Mend::default()).expect("read"), 0);
    assert!(fs::read(journal(copy.path())).expect("a journal") == before, "nothing was cut");
    let mut backend = open(copy.path(), Durability::Os);
    assert!(states.last().expect("a state").is_held_by(&mut backend));
}

/// How the end of a journal is found after a power cut.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It ends early.
    Cut,
    /// From here on there are zeros.
    Zeros,
    /// There are zeros here, and after them what was written.
    Hole,
    /// One bit is wrong.
    Bit,
    /// From here on there is something else.
    Noise,
}

#[test]
fn of_a_torn_end_a_prefix_is_found() {
    let folder = folder();
    let (states, ends) = history(folder.path(), 60, 30);
    let last = *ends.last().expect("an end");
    let mut number = 1_u64;
    let mut chance = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let (mut cut, mut lost) = (0, 0);
    for trial in 0..60 {
        let damage = [Damage::Cut, Damage::Zeros, Damage::Hole, Damage::Bit, Damage::Noise][trial % 5];
        // Only in what was written after the tables: what is in tables is not read from the journal.
        let from = ends[30] + chance(last - ends[30]);
        let copy = copy(folder.path());
        let file = File::options().write(true).open(journal(copy.path())).expect("a journal");
        let length = last - from;
        let old = fs::read(journal(copy.path())).expect("read")[from as usize];
        match damage {
            Damage::Cut => file.set_len(from).expect("cut"),
            Damage::Zeros => file.write_all_at(&vec![0; length as usize], from).expect("written"),
            Damage::Hole => file.write_all_at(&vec![0; length.min(512) as usize], from).expect("written"),
            Damage::Bit => file.write_all_at(&[old ^ 1 << chance(8)], from).expect("written"),
            Damage::Noise => {
                let noise: Vec<_> = (0..length).map(|_| chance(256) as u8).collect();
                file.write_all_at(&noise, from).expect("written");
            }
        }
        let mut backend = open(copy.path(), Durability::Os);
        let found = states.iter().rposition(|state| state.is_held_by(&mut backend));
        let found = found.unwrap_or_else(|| panic!("trial {trial}, {damage:?} at {from}: no prefix"));
        let whole = ends.iter().rposition(|&end| end <= from).expect("a state");
        assert!(found >= whole, "trial {trial}, {damage:?} at {from}: {found}, but {whole} were whole");
        assert!(found == states.len() - 1 || end(copy.path()) == ends[found], "trial {trial}, {damage:?} at {from}");
        cut += u32::from(backend.cut_bytes() > 0);
        lost += u32::from(found < states.len() - 1);

        let next = backend.last.map_or(1, |last| last + 1);
        backend.append(next, b"after the crash").expect("appended");
        drop(backend);
        let mut backend = open(copy.path(), Durability::Os);
        assert_eq!(backend.cut_bytes(), 0, "trial {trial}, {damage:?}: it was cut cleanly");
        assert_eq!(backend.block(next).expect("read"), Some((next, b"after the crash".to_vec())));
    }
    assert!(cut > 36 && lost > 48, "{cut} had something cut, {lost} lost something");
}

#[test]
fn damage_before_the_last_journal_is_no_crash() {
    let folder = folder();
    history(folder.path(), 40, 99);
    let first = journal(folder.path());
    let copy = copy(folder.path());
    fs::write(copy.path().join("database/9.jnl"), [0; 100]).expect("written");
    open(copy.path(), Durability::Os);
    let damaged = copy.path().join("database").join(first.file_name().expect("a name"));
    let file = File::options().write(true).open(damaged).expect("a journal");
    file.write_all_at(b"damage", 500).expect("written");
    let error = Embedded::open(&Settings::new(copy.path(), Durability::Os)).err().expect("it is damaged");
    assert!(matches!(&error, BackendError::Corrupt(why) if why.contains("damaged at byte")), "{error}");
}

/// Everything that was accepted by a process that is killed is there.
#[test]
fn a_killed_process_loses_nothing_that_was_accepted() {
    for (durability, enough) in [("os", 2_000), ("fsync", 50)] {
        let folder = folder();
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "store::embedded::tests::crash::child", "--nocapture"]);
        child.env("STORE_CHILD", durability).env("STORE_FOLDER", folder.path());
        let mut child = child.stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let accepted = lines.filter_map(|line| line.expect("a line").strip_prefix("accepted ")?.parse::<u64>().ok());
        let first = accepted.take_while(|&first| first <= enough).last().expect("something was accepted");
        child.kill().expect("killed");
        child.wait().expect("ended");
        let mut backend = open(folder.path(), if durability == "os" { Durability::Os } else { Durability::Fsync });
        let blocks = all_blocks(&mut backend, 1);
        assert!(first >= enough.min(10) && blocks.len() as u64 >= first, "{durability}: {} of {first}", blocks.len());
        for (at, (first, block)) in blocks.iter().enumerate() {
            assert_eq!((*first, block), (at as u64 + 1, &block_of(*first)));
            let row = backend.row(Table::Queues, &first.to_be_bytes()).expect("read");
            assert_eq!(row, Some(b"row".to_vec()), "what was written before the block that is there");
        }
    }
}

fn block_of(first: Position) -> Vec<u8> {
    vec![first as u8; (first * 37 % 20_000) as usize]
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let (Ok(durability), Ok(folder)) = (std::env::var("STORE_CHILD"), std::env::var("STORE_FOLDER")) else { return };
    let durability = if durability == "os" { Durability::Os } else { Durability::Fsync };
    let mut backend = open(Path::new(&folder), durability);
    for first in 1_u64.. {
        backend.write(vec![put(Table::Queues, &first.to_be_bytes(), b"row")]).expect("written");
        backend.append(first, &block_of(first)).expect("appended");
        println!("accepted {first}");
    }
}
