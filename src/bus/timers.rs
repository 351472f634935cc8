use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use thingway_contract::{Instant, Message};

use super::Session;

/// Names a timer so that it can be cancelled.
pub(super) type TimerKey = (Instant, u64);

/// What is due at some time.
#[derive(Debug)]
pub(super) enum Timer {
    SessionExpiry(Weak<Session>),
    Will(Weak<Session>),
    Delayed(u64, Message),
}

/// The bus's own deadlines, seconds to days away; those of connections are in their core's wheel.
#[derive(Debug, Default)]
pub(super) struct Timers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    due: BTreeMap<TimerKey, Timer>,
    next: u64,
    delayed_messages: usize,
    delayed_bytes: usize,
}

impl Timers {
    pub fn session_expiry(&self, at: Instant, session: &Arc<Session>) -> TimerKey {
        self.inner.lock().add(at, Timer::SessionExpiry(Arc::downgrade(session)))
    }

    pub fn will(&self, at: Instant, session: &Arc<Session>) -> TimerKey {
        self.inner.lock().add(at, Timer::Will(Arc::downgrade(session)))
    }

    /// Puts a message off; false when as many wait as may.
    pub fn delayed(&self, at: Instant, id: u64, message: Message, messages_max: usize, bytes_max: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.delayed_messages >= messages_max || inner.delayed_bytes + message.weight() > bytes_max {
            return false;
        }
        inner.delayed_messages += 1;
        inner.delayed_bytes += message.weight();
        inner.add(at, Timer::Delayed(id, message));
        true
    }

    pub fn cancel(&self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.inner.lock().due.remove(&key);
        }
    }

    /// The next timer that is due.
    pub fn pop(&self, now: Instant) -> Option<Timer> {
        let mut inner = self.inner.lock();
        let entry = inner.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let timer = entry.remove();
        if let Timer::Delayed(_, message) = &timer {
            inner.delayed_messages -= 1;
            inner.delayed_bytes -= message.weight();
        }
        Some(timer)
    }

    /// Number of delayed messages that wait.
    pub fn delayed_len(&self) -> usize {
        self.inner.lock().delayed_messages
    }
}

impl Inner {
    fn add(&mut self, at: Instant, timer: Timer) -> TimerKey {
        self.next += 1;
        let key = (at, self.next);
        self.due.insert(key, timer);
        key
    }
}
