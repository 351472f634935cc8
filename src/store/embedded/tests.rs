mod crash;
mod frozen;
mod full;

use std::ops::ControlFlow;

use proptest::prelude::*;
use tempfile::TempDir;
use thingway_store::conformance::{self, Checked, Model, Step, all_blocks, put};

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &Path, durability: Durability) -> Embedded {
    Embedded::open(&Settings::new(folder, durability)).expect("opened")
}

/// Writes the buffers as tables, as they are when they are full.
fn write_tables(backend: &Embedded) {
    let reading = &backend.opened.as_ref().expect("open").reading;
    for keyspace in [&reading.log, &reading.rows] {
        keyspace.rotate_memtable_and_wait().expect("written");
    }
}

/// Bytes that cannot be compressed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut number = seed;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A copy of the store as a crash of the process would leave it.
fn copy(from: &Path) -> TempDir {
    fn copy_into(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            let to = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                fs::create_dir(&to).expect("made");
                copy_into(&path, &to);
            } else {
                fs::copy(&path, &to).expect("copied");
            }
        }
    }
    let to = folder();
    copy_into(from, to.path());
    to
}

#[test]
fn keeps_to_the_trait() {
    for durability in [Durability::Fsync, Durability::Os] {
        let mut folders = Vec::new();
        conformance::check(&mut || {
            folders.push(folder());
            Box::new(open(folders.last().expect("a folder").path(), durability))
        });
    }
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = folder();
    let mut backend = open(folder.path(), Durability::Fsync);
    backend.append(1, b"in a table").expect("appended");
    backend.write(vec![put(Table::Sessions, b"a", b"in a table")]).expect("written");
    write_tables(&backend);
    backend.append(5, b"in the journal").expect("appended");
    backend.write(vec![put(Table::Sessions, b"b", b"in the journal")]).expect("written");
    drop(backend);
    let mut backend = open(folder.path(), Durability::Os);
    assert_eq!(backend.cut_bytes(), 0);
    assert_eq!(all_blocks(&mut backend, 1), [(1, b"in a table".to_vec()), (5, b"in the journal".to_vec())]);
    assert_eq!(conformance::all_rows(&mut backend, Table::Sessions, b"").len(), 2);
    assert_eq!(backend.last, Some(5));
}

#[test]
fn trimming_drops_tables_and_what_was_trimmed_stays_away() {
    let folder = folder();
    let mut backend = open(folder.path(), Durability::Os);
    let block = noise(1, 100_000);
    for table in 0..5 {
        for first in 1..=10 {
            backend.append(table * 10 + first, &block).expect("appended");
        }
        write_tables(&backend);
    }
    let table_bytes = |backend: &Embedded| backend.opened.as_ref().expect("open").reading.log.disk_space();
    let before = table_bytes(&backend);
    assert!((5_000_000..6_000_000).contains(&before), "{before}");
    backend.trim(35).expect("trimmed");
    let after = table_bytes(&backend);
    assert!(after < before * 2 / 5 + 1, "{after}: three of five tables have nothing but what was trimmed");
    let firsts = |backend: &mut Embedded| all_blocks(backend, 0).iter().map(|(first, _)| *first).collect::<Vec<_>>();
    assert_eq!(firsts(&mut backend), (35..=50).collect::<Vec<_>>());

    let copy = copy(folder.path());
    let mut crashed = open(copy.path(), Durability::Os);
    assert_eq!(firsts(&mut crashed), (35..=50).collect::<Vec<_>>());
    crashed.trim(50).expect("trimmed");
    crashed.append(51, b"after").expect("appended");
    drop(crashed);
    assert_eq!(firsts(&mut open(copy.path(), Durability::Os)), [50, 51]);
}

#[test]
fn one_at_a_time_and_no_later_format() {
    let folder = folder();
    let first = open(folder.path(), Durability::Os);
    let settings = Settings::new(folder.path(), Durability::Os);
    let error = Embedded::open(&settings).err().expect("it is open").to_string();
    assert!(error.contains("another process"), "{error}");
    drop(first);
    fs::write(folder.path().join("format"), "thingway store 7\n").expect("written");
    assert!(matches!(Embedded::open(&settings), Err(BackendError::Newer { found: 7, known: 1 })));
}

#[test]
fn bytes_are_those_on_the_disk() {
    let folder = folder();
    let mut backend = open(folder.path(), Durability::Os);
    let empty = backend.bytes();
    assert!(empty < 1 << 20, "{empty}: a journal's length is not what it takes");
    backend.append(1, &noise(1, 1 << 20)).expect("appended");
    assert!(backend.bytes() >= empty + (1 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]
    #[test]
    fn prop_answers_as_plain_maps_do(steps in prop::collection::vec(any::<(u8, u16, u16)>(), 0..200)) {
        let folder = folder();
        let mut checked = Checked::new(open(folder.path(), Durability::Os));
        for (kind, a, b) in steps {
            match kind {
                250.. => {
                    let model = checked.model;
                    drop(checked.backend);
                    checked = Checked::new(open(folder.path(), Durability::Os));
                    checked.model = model;
                }
                244.. => write_tables(&checked.backend),
                _ => checked.step(Step::from((kind, a, b))),
            }
        }
        checked.compare_all();
    }
}
