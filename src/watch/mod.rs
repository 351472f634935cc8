//! What is looked at while the gateway works, and only while somebody looks: what happens to clients, topics, slow subscribers, traces.
//!
//! The bus and the drivers tell of what passes them by. While nobody looks at anything that costs them one load of an atomic, relaxed.

mod events;

use std::sync::atomic::{AtomicU32, Ordering};

pub use self::events::{ClientEvent, Happened, Listening};

/// Everything that may be looked at.
#[derive(Debug, Default)]
pub struct Watch {
    /// A bit for each thing that somebody looks at.
    looks: AtomicU32,
    events: events::Events,
}

/// A thing that may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Look {
    /// What happens to clients.
    Events = 1,
}

impl Watch {
    /// True while anybody looks at anything.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.looks.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn looks_at(&self, what: Look) -> bool {
        self.looks.load(Ordering::Relaxed) & what as u32 != 0
    }

    fn set(&self, what: Look, looks: bool) {
        if looks {
            self.looks.fetch_or(what as u32, Ordering::Relaxed);
        } else {
            self.looks.fetch_and(!(what as u32), Ordering::Relaxed);
        }
    }

    /// Something happened to a client. It is put into words only when somebody wants to know.
    pub fn happened(&self, make: impl FnOnce() -> ClientEvent) {
        if self.looks_at(Look::Events) {
            self.events.send(make());
        }
    }
}
