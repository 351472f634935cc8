//! Clients that connect again and again.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

use super::recent::Recent;

/// When a client that comes back again and again is kept out for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlappingSettings {
    /// Connections within the window that are too many.
    pub connections: u32,
    /// The window.
    pub window: Duration,
    /// For how long it is kept out.
    pub ban: Duration,
    /// Client ids that are remembered.
    pub entries_max: usize,
}

/// Connections of late, by client id.
#[derive(Debug)]
pub(super) struct Flapping {
    settings: FlappingSettings,
    recent: Mutex<Recent<Box<str>, VecDeque<u64>>>,
}

impl Flapping {
    pub fn new(settings: FlappingSettings) -> Self {
        Self { settings, recent: Mutex::new(Recent::new(settings.entries_max)) }
    }

    /// A client connects. For how long it is to be kept out if that was once too often.
    pub fn note(&self, client_id: &str, now_ms: u64) -> Option<Duration> {
        let FlappingSettings { connections, window, ban, .. } = self.settings;
        let mut recent = self.recent.lock();
        let times = recent.entry(client_id.into(), VecDeque::new);
        let window_ms = window.as_millis() as u64;
        while times.front().is_some_and(|&at| at + window_ms <= now_ms) {
            times.pop_front();
        }
        times.push_back(now_ms);
        if times.len() < connections as usize {
            return None;
        }
        recent.remove(client_id);
        Some(ban)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_within_the_window_are_too_many() {
        let (window, ban) = (Duration::from_secs(10), Duration::from_secs(60));
        let flapping = Flapping::new(FlappingSettings { connections: 3, window, ban, entries_max: 9 });
        assert_eq!(flapping.note("a", 0), None);
        assert_eq!(flapping.note("b", 1), None);
        assert_eq!(flapping.note("a", 5000), None);
        assert_eq!(flapping.note("a", 10_000), None, "the first is out of the window");
        assert_eq!(flapping.note("a", 12_000), Some(ban));
        assert_eq!(flapping.note("a", 12_001), None, "it begins anew");
    }
}
