//! The entry for fuzzing: arbitrary bytes as a log, and as rows.

use std::collections::VecDeque;

use crate::{
    Appended, Attached, Backend, Change, Counts, DropCause, Epoch, FlushLimits, Host, Keeper, Memory, Record, Settings,
    Table, shelf::records, wire::Take,
};

const EPOCH: Epoch = Epoch(1000);

/// Opens stores that hold arbitrary bytes: as a block of the log, and as rows; and goes on with those that open.
///
/// # Panics
/// When an invariant does not hold: what is read is written in a form that is read as the same, a store opens or is refused, and opens again with what
/// it had.
pub fn fuzz_bytes(data: &[u8]) {
    if let Ok(list) = records(1, data, EPOCH) {
        let mut block = Vec::new();
        list.iter().for_each(|record| record.encode(EPOCH, &mut block));
        let again = records(1, &block, EPOCH).expect("what was written is read");
        let mut twice = Vec::new();
        again.iter().for_each(|record| record.encode(EPOCH, &mut twice));
        assert_eq!(block, twice);
        let mut memory = Memory::new();
        if !data.is_empty() {
            memory.append(1, data).expect("memory never fails");
        }
        go_on(memory);
    }
    let mut memory = Memory::new();
    let mut take = Take(data);
    while let Some((table, key, value)) = row(&mut take) {
        memory.write(vec![Change { table, key, value: Some(value) }]).expect("memory never fails");
    }
    go_on(memory);
}

/// A row of a small key, so that rows of several tables speak of the same thing.
fn row(take: &mut Take<'_>) -> Option<(Table, Vec<u8>, Vec<u8>)> {
    let table = Table::ALL[usize::from(take.byte()?) % Table::ALL.len()];
    let number = u64::from(take.byte()?).to_be_bytes();
    let rest = take.bytes()?;
    let key = match table {
        Table::Meta => b"state".to_vec(),
        Table::Retained | Table::Settings => rest.to_vec(),
        Table::Queues | Table::Subscriptions => [&number, rest].concat(),
        Table::Messages | Table::Sessions | Table::Delayed => number.to_vec(),
    };
    Some((table, key, take.bytes()?.to_vec()))
}

fn go_on(memory: Memory) {
    let Some((mut keeper, counts)) = open(memory) else { return };
    while keeper.tend(true).is_ok_and(|more| more) {}
    let sessions: Vec<_> = keeper.sessions().map(|view| view.number).collect();
    let end = |session: &u64| Appended { record: Record::End { session: *session }, handle: None };
    let Some((mut again, found)) = open(keeper.into_backend()) else { return };
    assert_eq!(counts.sessions, found.sessions);
    let mut pending: VecDeque<_> = sessions.iter().map(end).collect();
    while again.commit(&mut pending, &mut Nobody).is_ok_and(|count| count > 0) {}
    assert_eq!(again.counts().sessions, 0);
}

fn open(memory: Memory) -> Option<(Keeper<(), Memory>, Counts)> {
    let (keeper, found) = Keeper::open(memory, Settings::default(), FlushLimits::default(), 1000, EPOCH, 5).ok()?;
    Some((keeper, found.counts))
}

struct Nobody;

impl Host for Nobody {
    type Session = ();

    fn attached(&mut self, (): &(), _: Attached) {}

    fn deliver(&mut self, (): &(), _: thingway_contract::Delivery) {}

    fn behind(&mut self, (): &(), _: bool) {}

    fn dropped(&mut self, _: DropCause, _: u64) {}
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn random_bytes(data in vec(any::<u8>(), 0..400)) {
            fuzz_bytes(&data);
        }

        /// Rows of small numbers, most of which mean something.
        #[test]
        fn random_rows(rows in vec((0..7_u8, 0..3_u8, vec(0..3_u8, 0..9), vec(0..6_u8, 0..30)), 0..9)) {
            let mut data = Vec::new();
            for (table, number, key, value) in rows {
                data.extend([table, number, key.len() as u8]);
                data.extend(key);
                data.push(value.len() as u8);
                data.extend(value);
            }
            fuzz_bytes(&data);
        }
    }
}
