mod wheel;

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use thingway_contract::{Instant, Message};

use self::wheel::{Popped, Wheel};
use super::Session;

/// Deadlines that are moved nearer under one lock.
const MOVES_PER_POP: usize = 64;

/// Names a timer so that it can be cancelled.
pub(super) type TimerKey = wheel::Key;

/// What is due at some time.
#[derive(Debug)]
pub(super) enum Timer {
    SessionExpiry(TimerKey, Weak<Session>),
    Will(TimerKey, Weak<Session>),
    Delayed(u64, Message),
}

/// What [`Timers::pop`] found.
#[derive(Debug)]
pub(super) enum Due {
    Timer(Timer),
    /// Nothing yet, but there was something to do, and there may be more.
    Working,
    Nothing,
}

/// The bus's own deadlines, seconds to years away; those of connections are in their core's wheel.
#[derive(Debug, Default)]
pub(super) struct Timers {
    expiries: Mutex<Wheel<Weak<Session>>>,
    wills: Mutex<Wheel<Weak<Session>>>,
    delayed: Mutex<Delayed>,
}

#[derive(Debug, Default)]
struct Delayed {
    wheel: Wheel<(u64, Message)>,
    bytes: usize,
}

impl Timers {
    pub fn session_expiry(&self, at: Instant, session: &Arc<Session>) -> Option<TimerKey> {
        self.expiries.lock().add(at, Arc::downgrade(session))
    }

    pub fn cancel_session_expiry(&self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.expiries.lock().cancel(key);
        }
    }

    pub fn will(&self, at: Instant, session: &Arc<Session>) -> Option<TimerKey> {
        self.wills.lock().add(at, Arc::downgrade(session))
    }

    pub fn cancel_will(&self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.wills.lock().cancel(key);
        }
    }

    /// Puts a message off; false when as many wait as may.
    pub fn delayed(&self, at: Instant, id: u64, message: Message, messages_max: usize, bytes_max: usize) -> bool {
        let mut delayed = self.delayed.lock();
        let bytes = delayed.bytes + message.weight();
        if delayed.wheel.len() >= messages_max || bytes > bytes_max || delayed.wheel.add(at, (id, message)).is_none() {
            return false;
        }
        delayed.bytes = bytes;
        true
    }

    /// Something that is due. Of each kind what was due first comes first, and of delayed messages that are due in the same moment the one that came
    /// first.
    pub fn pop(&self, now: Instant) -> Due {
        let mut delayed = self.delayed.lock();
        let mut working = false;
        match delayed.wheel.pop(now, MOVES_PER_POP) {
            Popped::Due(_, (id, message)) => {
                delayed.bytes -= message.weight();
                return Due::Timer(Timer::Delayed(id, message));
            }
            Popped::Moved => working = true,
            Popped::Nothing => {}
        }
        drop(delayed);
        // A will whose delay is over comes before the end of its session.
        match self.wills.lock().pop(now, MOVES_PER_POP) {
            Popped::Due(key, session) => return Due::Timer(Timer::Will(key, session)),
            Popped::Moved => working = true,
            Popped::Nothing => {}
        }
        match self.expiries.lock().pop(now, MOVES_PER_POP) {
            Popped::Due(key, session) => return Due::Timer(Timer::SessionExpiry(key, session)),
            Popped::Moved => working = true,
            Popped::Nothing => {}
        }
        if working { Due::Working } else { Due::Nothing }
    }

    /// All delayed messages that wait, with when they are due and their ids, in no order.
    pub fn delayed_messages(&self) -> Vec<(Instant, u64, Message)> {
        let delayed = self.delayed.lock();
        let mut all = Vec::with_capacity(delayed.wheel.len());
        delayed.wheel.for_each(|_, due, (id, message)| all.push((due, *id, message.clone())));
        all
    }

    /// Takes a delayed message away; false when it waits no more.
    pub fn cancel_delayed(&self, id: u64) -> bool {
        let mut delayed = self.delayed.lock();
        let mut found = None;
        delayed.wheel.for_each(|key, _, (other, _)| {
            if *other == id {
                found = Some(key);
            }
        });
        let Some((_, message)) = found.and_then(|key| delayed.wheel.cancel(key)) else { return false };
        delayed.bytes -= message.weight();
        true
    }

    /// Number of delayed messages that wait.
    pub fn delayed_len(&self) -> usize {
        self.delayed.lock().wheel.len()
    }
}
