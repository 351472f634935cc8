//! What every backend must do, as tests that any crate can run against its own.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use crate::{Backend, Change, Position, Table};

/// Goes through the trait's promises, each with a new and empty backend.
///
/// # Panics
/// When one is not kept.
pub fn check(fresh: &mut dyn FnMut() -> Box<dyn Backend>) {
    empty(&mut *fresh());
    log(&mut *fresh());
    visits_end_when_told(&mut *fresh());
    trimming(&mut *fresh());
    rows(&mut *fresh());
    long_keys(&mut *fresh());
    tables_are_apart(&mut *fresh());
    large(&mut *fresh());
}

fn empty(backend: &mut dyn Backend) {
    assert_eq!(backend.block(0).expect("read"), None);
    assert_eq!(backend.block(Position::MAX).expect("read"), None);
    assert_eq!(all_blocks(backend, 0), []);
    for table in Table::ALL {
        assert_eq!(backend.row(table, b"").expect("read"), None);
        assert_eq!(all_rows(backend, table, b""), []);
    }
    backend.trim(Position::MAX).expect("nothing to trim");
    backend.write(Vec::new()).expect("nothing to write");
    backend.sync().expect("nothing to make safe");
}

fn log(backend: &mut dyn Backend) {
    for (first, block) in [(1, "one"), (2, ""), (300, "three"), (70_000, "four")] {
        backend.append(first, block.as_bytes()).expect("appended");
    }
    let mut at = |position| backend.block(position).expect("read").map(|(first, _)| first);
    assert_eq!(at(0), None, "no position is 0");
    assert_eq!([at(1), at(2), at(299), at(300), at(69_999)], [Some(1), Some(2), Some(2), Some(300), Some(300)]);
    assert_eq!([at(70_000), at(Position::MAX)], [Some(70_000), Some(70_000)]);
    assert_eq!(backend.block(2).expect("read"), Some((2, Vec::new())));
    assert_eq!(all_blocks(backend, 0).len(), 4);
    assert_eq!(all_blocks(backend, 299).first(), Some(&(2, Vec::new())));
    assert_eq!(all_blocks(backend, 90_000), [(70_000, b"four".to_vec())]);
}

fn visits_end_when_told(backend: &mut dyn Backend) {
    for first in 1..=5 {
        backend.append(first, b"block").expect("appended");
        backend.write(vec![put(Table::Queues, &first.to_be_bytes(), b"row")]).expect("written");
    }
    let mut visited = 0;
    let mut visit = || {
        visited += 1;
        if visited % 2 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    backend.blocks(1, &mut |_, _| visit()).expect("read");
    backend.rows(Table::Queues, b"", &mut |_, _| visit()).expect("read");
    assert_eq!(visited, 4);
}

fn trimming(backend: &mut dyn Backend) {
    for first in [1, 10, 20, 30] {
        backend.append(first, &first.to_be_bytes()).expect("appended");
    }
    let firsts = |backend: &mut dyn Backend| all_blocks(backend, 0).iter().map(|(first, _)| *first).collect::<Vec<_>>();
    backend.trim(0).expect("nothing before it");
    backend.trim(9).expect("nothing wholly before it");
    assert_eq!(firsts(backend), [1, 10, 20, 30]);
    backend.trim(25).expect("trimmed");
    assert_eq!(firsts(backend), [20, 30]);
    assert_eq!(backend.block(19).expect("read"), None, "it was dropped");
    backend.trim(3).expect("nothing left before it");
    backend.trim(Position::MAX).expect("where the last block ends is not known here: it stays");
    assert_eq!(firsts(backend), [30]);
    backend.append(40, b"after").expect("appended");
    backend.trim(40).expect("trimmed");
    assert_eq!(firsts(backend), [40]);
}

fn rows(backend: &mut dyn Backend) {
    let table = Table::Subscriptions;
    let keys: [&[u8]; 7] = [b"", b"a", b"a\0", b"ab", b"a\xff", b"b", b"\xff\xff"];
    backend.write(keys.iter().rev().map(|key| put(table, key, key)).collect()).expect("written");
    let found = |backend: &mut dyn Backend, prefix: &[u8]| {
        all_rows(backend, table, prefix).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(found(backend, b""), keys);
    assert_eq!(found(backend, b"a"), keys[1..5]);
    assert_eq!(found(backend, b"\xff"), keys[6..]);
    assert_eq!(found(backend, b"c"), [b""; 0]);
    assert_eq!(backend.row(table, b"a\0").expect("read").as_deref(), Some(&b"a\0"[..]));

    let last_wins = vec![
        put(table, b"a", b"1"),
        remove(table, b"a"),
        put(table, b"b", b"2"),
        put(table, b"b", b""),
        remove(table, b"never"),
        remove(table, b"ab"),
        put(table, b"ab", b"3"),
    ];
    backend.write(last_wins).expect("written");
    let mut value = |key: &[u8]| backend.row(table, key).expect("read");
    assert_eq!(
        [value(b"a"), value(b"b"), value(b"never"), value(b"ab")],
        [None, Some(vec![]), None, Some(b"3".to_vec())]
    );
}

/// A topic has up to 65,535 bytes, and a key may have more around it.
fn long_keys(backend: &mut dyn Backend) {
    let table = Table::Retained;
    let long = |end: &[u8]| [&vec![b'x'; 70_000], end].concat();
    let mut keys: Vec<_> = (64_990..65_010).chain(65_530..65_540).map(|length| vec![b'x'; length]).collect();
    keys.extend([
        long(b""),
        long(b"\0"),
        long(b"a"),
        long(b"aa"),
        long(b"b"),
        [&vec![b'x'; 64_000], &b"y"[..]].concat(),
    ]);
    for (at, key) in keys.iter().enumerate().rev() {
        backend.write(vec![put(table, key, &at.to_be_bytes())]).expect("written");
    }
    let found: Vec<_> = all_rows(backend, table, &long(b"a")).into_iter().map(|(key, _)| key.len()).collect();
    assert_eq!(found, [70_001, 70_002]);
    let twice = vec![put(table, &long(b"c"), b"new"), remove(table, &long(b"a")), put(table, &long(b"c"), b"newer")];
    backend.write(twice).expect("written");
    assert_eq!(backend.row(table, &long(b"a")).expect("read"), None);
    assert_eq!(backend.row(table, &long(b"c")).expect("read").as_deref(), Some(&b"newer"[..]));
    for (at, key) in keys.iter().enumerate().filter(|(_, key)| **key != long(b"a")) {
        assert_eq!(backend.row(table, key).expect("read"), Some(at.to_be_bytes().to_vec()), "{} bytes", key.len());
    }
    let order: Vec<_> = all_rows(backend, table, b"x").into_iter().map(|(key, _)| key).collect();
    assert!(order.is_sorted() && order.len() == keys.len(), "{} of {}", order.len(), keys.len());
    let all: Vec<_> = order.iter().map(|key| remove(table, key)).collect();
    backend.write(all).expect("written");
    assert_eq!(all_rows(backend, table, b""), []);
}

fn tables_are_apart(backend: &mut dyn Backend) {
    for table in Table::ALL {
        backend.write(vec![put(table, b"key", &[table as u8]), put(table, &[], &[table as u8])]).expect("written");
    }
    backend.append(1, b"block").expect("appended");
    backend.write(vec![remove(Table::Queues, b"key")]).expect("written");
    for table in Table::ALL {
        let count = if table == Table::Queues { 1 } else { 2 };
        let rows = all_rows(backend, table, b"");
        assert_eq!(rows.len(), count, "{table:?}: nothing but what was written");
        assert!(rows.iter().all(|(_, value)| *value == [table as u8]), "{table:?}");
    }
}

fn large(backend: &mut dyn Backend) {
    let bytes: Vec<_> = (0..3 << 20).map(|at: u32| (at ^ at >> 9) as u8).collect();
    backend.append(1, &bytes).expect("appended");
    backend.write(vec![put(Table::Retained, b"large", &bytes)]).expect("written");
    backend.sync().expect("made safe");
    assert_eq!(backend.block(7).expect("read"), Some((1, bytes.clone())));
    assert_eq!(backend.row(Table::Retained, b"large").expect("read"), Some(bytes));
    assert!(backend.bytes() > 0);
}

/// One call of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Appends a block, so many positions after the last one's first.
    Append {
        /// How many positions the last block takes.
        after: Position,
        /// The block.
        block: Vec<u8>,
    },
    /// Changes rows.
    Write(Vec<Change>),
    /// Makes all before safe.
    Sync,
    /// Trims at a position so many thousandths into the log.
    Trim(u16),
    /// Reads a row, the rows with a prefix, and blocks.
    Read(Table, Vec<u8>, u16),
}

impl From<(u8, u16, u16)> for Step {
    /// Any three numbers are a step, so that tests can draw and shrink them.
    fn from((kind, a, b): (u8, u16, u16)) -> Self {
        let table = Table::ALL[usize::from(a) % Table::ALL.len()];
        let key = |number: u16| -> Vec<u8> {
            b"abcd"[..usize::from(number % 5)].iter().map(|at| at ^ (number >> 3 & 1) as u8).collect()
        };
        match kind % 16 {
            0..5 => Self::Append { after: 1 + Position::from(a % 100), block: vec![a as u8; usize::from(b) % 5_000] },
            5..10 => Self::Write(
                (0..1 + a % 4)
                    .map(|number| {
                        let value = (b >> number & 3 != 0).then(|| vec![b as u8; usize::from(b ^ number) % 300]);
                        Change { table, key: key(b.rotate_left(u32::from(number) * 5)), value }
                    })
                    .collect(),
            ),
            10 => Self::Sync,
            11 => Self::Trim(a % 1_000),
            _ => Self::Read(table, key(b), a % 1_000),
        }
    }
}

/// A backend beside plain maps that were told the same. Whatever is read is compared.
pub struct Checked<B> {
    /// The backend that is checked.
    pub backend: B,
    /// What it should hold.
    pub model: Model,
}

impl<B: Backend> Checked<B> {
    /// With a backend that is empty.
    pub fn new(backend: B) -> Self {
        Self { backend, model: Model::default() }
    }

    /// Takes a step.
    ///
    /// # Panics
    /// When the backend fails, or answers other than the maps.
    pub fn step(&mut self, step: Step) {
        if let Step::Read(table, key, thousandth) = step {
            let position = self.model.position(thousandth);
            assert_eq!(
                self.backend.row(table, &key).expect("read"),
                self.model.rows.get(&(table, key.clone())).cloned()
            );
            assert_eq!(all_rows(&mut self.backend, table, &key), self.model.rows(table, &key));
            assert_eq!(self.backend.block(position).expect("read"), self.model.block(position));
            assert_eq!(all_blocks(&mut self.backend, position), self.model.blocks(position));
        } else {
            self.model.ask(&mut self.backend, &step).expect("done");
            self.model.take(&step);
        }
    }

    /// Compares everything.
    ///
    /// # Panics
    /// When the backend fails, or holds other than the maps.
    pub fn compare_all(&mut self) {
        assert!(self.model.is_held_by(&mut self.backend), "something else is there than {:?}", self.model);
    }
}

/// What a backend holds, as plain maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Blocks by first position.
    pub log: BTreeMap<Position, Vec<u8>>,
    /// Rows by table and key.
    pub rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Model {
    /// Asks a backend that holds the same for what the step changes.
    ///
    /// # Errors
    /// What the backend fails with.
    pub fn ask(&self, backend: &mut dyn Backend, step: &Step) -> Result<(), crate::BackendError> {
        match step {
            Step::Append { after, block } => backend.append(self.next(*after), block),
            Step::Write(changes) => backend.write(changes.clone()),
            Step::Sync => backend.sync(),
            Step::Trim(thousandth) => backend.trim(self.position(*thousandth)),
            Step::Read(..) => Ok(()),
        }
    }

    /// Does what the step changes.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Append { after, block } => {
                self.log.insert(self.next(*after), block.clone());
            }
            Step::Write(changes) => {
                for Change { table, key, value } in changes.iter().cloned() {
                    match value {
                        Some(value) => self.rows.insert((table, key), value),
                        None => self.rows.remove(&(table, key)),
                    };
                }
            }
            Step::Trim(thousandth) => {
                let before = self.position(*thousandth);
                if let Some((first, _)) = self.block(before) {
                    self.log = self.log.split_off(&first);
                }
            }
            Step::Sync | Step::Read(..) => {}
        }
    }

    /// Whether the backend holds this and nothing else.
    ///
    /// # Panics
    /// When the backend fails.
    pub fn is_held_by(&self, backend: &mut dyn Backend) -> bool {
        all_blocks(backend, 0) == self.blocks(0)
            && Table::ALL.iter().all(|&table| all_rows(backend, table, b"") == self.rows(table, b""))
    }

    fn next(&self, after: Position) -> Position {
        self.log.last_key_value().map_or(1, |(last, _)| last + after)
    }

    fn position(&self, thousandth: u16) -> Position {
        let last = self.log.last_key_value().map_or(0, |(last, _)| last + 100);
        last * Position::from(thousandth) / 1_000
    }

    fn block(&self, at: Position) -> Option<(Position, Vec<u8>)> {
        self.log.range(..=at).next_back().map(|(first, block)| (*first, block.clone()))
    }

    fn blocks(&self, from: Position) -> Vec<(Position, Vec<u8>)> {
        let begin = self.block(from).map_or(from, |(first, _)| first);
        self.log.range(begin..).map(|(first, block)| (*first, block.clone())).collect()
    }

    fn rows(&self, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.rows.range((Bound::Included((table, prefix.to_vec())), Bound::Unbounded));
        let rows = rows.take_while(|((of, key), _)| *of == table && key.starts_with(prefix));
        rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}

/// The blocks from the one that holds `from`.
///
/// # Panics
/// When the backend fails.
pub fn all_blocks(backend: &mut dyn Backend, from: Position) -> Vec<(Position, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut visit = |first, block: &[u8]| {
        blocks.push((first, block.to_vec()));
        ControlFlow::Continue(())
    };
    backend.blocks(from, &mut visit).expect("read");
    blocks
}

/// The rows with a prefix.
///
/// # Panics
/// When the backend fails.
pub fn all_rows(backend: &mut dyn Backend, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    backend.rows(table, prefix, &mut visit).expect("read");
    rows
}

/// The change that sets a row.
#[must_use]
pub fn put(table: Table, key: &[u8], value: &[u8]) -> Change {
    Change { table, key: key.to_vec(), value: Some(value.to_vec()) }
}

/// The change that removes a row.
#[must_use]
pub fn remove(table: Table, key: &[u8]) -> Change {
    Change { table, key: key.to_vec(), value: None }
}
