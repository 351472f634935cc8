use std::{collections::BTreeMap, ops::Bound};

use crate::{Backend, BackendError, Change, Position, Table, VisitBlock, VisitRow};

/// Keeps everything in maps, and nothing beyond the process. It never fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    log: BTreeMap<Position, Box<[u8]>>,
    tables: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
    bytes: u64,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn append_block(&mut self, first: Position, block: &[u8]) {
        let last = self.log.last_key_value().map(|(&last, _)| last);
        debug_assert!(last.is_none_or(|last| first > last), "block {first} after block {last:?}");
        self.bytes += block.len() as u64;
        self.log.insert(first, block.into());
    }

    pub(crate) fn change(&mut self, change: Change) {
        let Change { table, key, value } = change;
        let rows = &mut self.tables[table as usize];
        let key_bytes = key.len() as u64;
        let old = match value {
            Some(value) => {
                self.bytes += key_bytes + value.len() as u64;
                rows.insert(key, value)
            }
            None => rows.remove(&key),
        };
        if let Some(old) = old {
            self.bytes -= key_bytes + old.len() as u64;
        }
    }

    pub(crate) fn trim_blocks(&mut self, before: Position) {
        let Some(start) = self.first_of(before) else { return };
        let kept = self.log.split_off(&start);
        let dropped = std::mem::replace(&mut self.log, kept);
        self.bytes -= dropped.values().map(|block| block.len() as u64).sum::<u64>();
    }

    /// The first position of the block that holds `at`.
    fn first_of(&self, at: Position) -> Option<Position> {
        self.log.range(..=at).next_back().map(|(&first, _)| first)
    }
}

impl Backend for Memory {
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError> {
        self.append_block(first, block);
        Ok(())
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        Ok(self.log.range(..=at).next_back().map(|(&first, block)| (first, block.to_vec())))
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        let begin = self.first_of(from).unwrap_or(from);
        for (&first, block) in self.log.range(begin..) {
            if visit(first, block).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        changes.into_iter().for_each(|change| self.change(change));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn trim(&mut self, before: Position) -> Result<(), BackendError> {
        self.trim_blocks(before);
        Ok(())
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.tables[table as usize].get(key).cloned())
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        let rows = self.tables[table as usize].range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        for (key, value) in rows.take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Bytes of keys, values and blocks; what the maps take around them is not counted.
    fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A copy of everything.
    fn freeze(&mut self) -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conformance::{self, Checked, Step};

    #[test]
    fn keeps_to_the_trait() {
        conformance::check(&mut || Box::new(Memory::new()));
    }

    #[test]
    fn bytes_are_those_of_what_is_there() {
        let mut memory = Memory::new();
        let row = |value: Option<&[u8]>| {
            vec![Change { table: Table::Meta, key: b"key".to_vec(), value: value.map(Vec::from) }]
        };
        memory.append(1, &[0; 10]).expect("appended");
        memory.append(2, &[0; 20]).expect("appended");
        memory.write(row(Some(b"value"))).expect("written");
        assert_eq!(memory.bytes(), 38);
        memory.write(row(Some(b""))).expect("written");
        assert_eq!(memory.bytes(), 33);
        memory.write([row(None), row(None)].concat()).expect("written");
        memory.trim(2).expect("trimmed");
        assert_eq!(memory.bytes(), 20);
    }

    proptest! {
        #[test]
        fn prop_answers_as_plain_maps_do(steps in prop::collection::vec(any::<(u8, u16, u16)>(), 0..200)) {
            let mut checked = Checked::new(Memory::new());
            for step in steps {
                checked.step(Step::from(step));
            }
            checked.compare_all();
        }
    }
}
