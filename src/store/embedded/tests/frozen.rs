use std::sync::mpsc;

use super::*;

/// All of it.
/// Blocks by position, and rows by key.
type All = (Vec<(Position, Vec<u8>)>, Vec<(Vec<u8>, Vec<u8>)>);

fn all(backend: &mut dyn Backend) -> All {
    let blocks = all_blocks(backend, 0);
    (blocks, Table::ALL.iter().flat_map(|&table| conformance::all_rows(backend, table, b"")).collect())
}

#[test]
fn what_is_frozen_stays_as_it_was() {
    let folder = folder();
    let mut backend = open(folder.path(), Durability::Os);
    for first in 1..=20 {
        backend.append(first, &noise(first, 50_000)).expect("appended");
        backend.write(vec![put(Table::Queues, &first.to_be_bytes(), b"before")]).expect("written");
        if first % 5 == 0 {
            write_tables(&backend);
        }
    }
    backend.trim(3).expect("trimmed");
    let long_key = [&[7; 65_100][..], b"end"].concat();
    backend.write(vec![put(Table::Retained, &long_key, b"long")]).expect("written");
    let before = all(&mut backend);
    let mut frozen = backend.freeze().expect("frozen");
    for first in 21..=40 {
        backend.append(first, &noise(first, 50_000)).expect("appended");
        let key = (first - 20).to_be_bytes().to_vec();
        let change = if first % 2 == 0 { None } else { Some(b"after".to_vec()) };
        backend.write(vec![Change { table: Table::Queues, key, value: change }]).expect("written");
        if first % 5 == 0 {
            write_tables(&backend);
        }
    }
    backend.write(vec![Change { table: Table::Retained, key: long_key.clone(), value: None }]).expect("written");
    backend.trim(40).expect("trimmed");
    write_tables(&backend);
    backend.opened.as_ref().expect("open").reading.rows.major_compact().expect("merged");
    assert!(all(&mut backend) != before);
    assert!(all(&mut *frozen) == before, "what was frozen has changed");
    assert_eq!(frozen.row(Table::Retained, &long_key).expect("read").as_deref(), Some(&b"long"[..]));
    assert_eq!(frozen.block(40).expect("read").expect("a block").0, 20);
    assert_eq!(frozen.block(2).expect("read"), None);
    assert!(frozen.append(50, b"no").is_err() && frozen.write(vec![put(Table::Meta, b"a", b"no")]).is_err());
}

#[test]
fn closing_ends_who_reads_what_is_frozen() {
    let folder = folder();
    let mut backend = open(folder.path(), Durability::Os);
    for key in 0..10_u8 {
        backend.write(vec![put(Table::Queues, &[key], b"row")]).expect("written");
    }
    let (mut frozen, mut idle) = (backend.freeze().expect("frozen"), backend.freeze().expect("frozen"));
    let (visiting, visited) = mpsc::channel();
    let (go_on, went_on) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let mut seen = 0;
        let told = frozen.rows(Table::Queues, b"", &mut |_, _| {
            seen += 1;
            if seen == 3 {
                visiting.send(()).expect("told");
                // Until the other thread is closing it, or was about to.
                let _ = went_on.recv();
            }
            ControlFlow::Continue(())
        });
        (told.map_err(|error| error.to_string()), seen)
    });
    visited.recv().expect("it reads");
    let lent: Vec<_> = backend.readers.stopped();
    let closer = thread::spawn(move || drop(backend));
    while !lent.iter().any(|lent| lent()) {
        thread::yield_now();
    }
    drop(go_on);
    closer.join().expect("closed");
    let (told, seen) = reader.join().expect("read");
    assert_eq!((told, seen), (Err("input or output failed: the store was closed meanwhile".into()), 3));
    assert!(idle.row(Table::Queues, &[1]).is_err());
    open(folder.path(), Durability::Os).append(1, b"again").expect("appended");
}
