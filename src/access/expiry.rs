//! Connections that end when their credentials do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use thingway_contract::CloseReason;

use crate::bus::Session;

/// When, and a number that tells those apart that end at the same time.
type Key = (u64, u64);

/// Connections with an end, by when it is. There are no more than there are connections.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    due: BTreeMap<Key, (Weak<Session>, u32)>,
}

/// A connection's place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Expiry {
    expiries: Arc<Expiries>,
    key: Key,
}

impl Expiries {
    pub fn watch(self: &Arc<Self>, session: &Arc<Session>, epoch: u32, at_unix_ms: u64) -> Expiry {
        let mut table = self.0.lock();
        table.next += 1;
        let key = (at_unix_ms, table.next);
        table.due.insert(key, (Arc::downgrade(session), epoch));
        Expiry { expiries: self.clone(), key }
    }

    /// Ends those that are due, and says how many they were.
    pub fn end_due(&self, now_unix_ms: u64) -> usize {
        let mut table = self.0.lock();
        let later = table.due.split_off(&(now_unix_ms + 1, 0));
        let due = std::mem::replace(&mut table.due, later);
        drop(table);
        let signal = |(session, epoch): &(Weak<Session>, u32)| {
            session.upgrade().is_some_and(|session| session.signal_connection(*epoch, CloseReason::NotAuthorized))
        };
        due.values().filter(|entry| signal(entry)).count()
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.expiries.0.lock().due.remove(&self.key);
    }
}
