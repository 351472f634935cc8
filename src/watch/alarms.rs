use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Alarms that are over and are remembered, and for how long.
pub const ALARMS_MAX: usize = 1000;
const ALARMS_MS: u64 = 24 * 3600 * 1000;
/// Alarms that a listener may be behind.
const BEHIND_MAX: usize = 64;

/// Something that somebody should see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What sort, and what about: each is there once at a time.
    pub name: Box<str>,
    /// In words.
    pub message: Box<str>,
    /// Values that go with it.
    pub details: serde_json::Value,
    /// When it began, in milliseconds since 1970.
    pub activated_ms: u64,
    /// When it was over.
    pub deactivated_ms: Option<u64>,
}

/// What somebody should see to, now and lately.
#[derive(Debug)]
pub struct Alarms {
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Arc<Alarm>>,
}

#[derive(Debug, Default)]
struct Kept {
    active: Vec<Alarm>,
    over: VecDeque<Alarm>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { kept: Mutex::default(), sender: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl Alarms {
    /// Says whether something is wrong, and in which words if it is. Tells the alarm when that has changed.
    pub fn set(
        &self,
        name: &str,
        is_wrong: bool,
        now_ms: u64,
        words: impl FnOnce() -> (String, serde_json::Value),
    ) -> Option<Arc<Alarm>> {
        let mut kept = self.kept.lock();
        let known = kept.active.iter().position(|alarm| *alarm.name == *name);
        let changed = match (known, is_wrong) {
            (None, true) if kept.active.len() < ALARMS_MAX => {
                let (message, details) = words();
                let (name, message) = (name.into(), message.into());
                let alarm = Alarm { name, message, details, activated_ms: now_ms, deactivated_ms: None };
                kept.active.push(alarm.clone());
                alarm
            }
            (Some(at), false) => {
                let alarm = Alarm { deactivated_ms: Some(now_ms), ..kept.active.remove(at) };
                if kept.over.len() == ALARMS_MAX {
                    kept.over.pop_front();
                }
                kept.over.push_back(alarm.clone());
                alarm
            }
            _ => return None,
        };
        let changed = Arc::new(changed);
        // An error means that nobody listens.
        let _ = self.sender.send(changed.clone());
        Some(changed)
    }

    /// Those that are not over.
    pub fn active(&self) -> Vec<Alarm> {
        self.kept.lock().active.clone()
    }

    /// Those of the last 24 hours that are over, the latest first.
    pub fn over(&self, now_ms: u64) -> Vec<Alarm> {
        let mut kept = self.kept.lock();
        kept.over.retain(|alarm| now_ms.saturating_sub(alarm.deactivated_ms.unwrap_or(0)) < ALARMS_MS);
        kept.over.iter().rev().cloned().collect()
    }

    /// Forgets those that are over.
    pub fn forget(&self) {
        self.kept.lock().over.clear();
    }

    /// Alarms as they come and go.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Alarm>> {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_there_once_and_is_remembered_for_a_day() {
        let alarms = Alarms::default();
        let set = |name: &str, wrong, now| alarms.set(name, wrong, now, || ("words".into(), 7.into())).is_some();
        assert!(!set("a", false, 1));
        assert!(set("a", true, 1_000));
        assert!(!set("a", true, 2_000), "it is known");
        assert!(set("b", true, 2_000));
        assert!(set("a", false, 3_000));
        assert_eq!(alarms.active().iter().map(|alarm| &*alarm.name).collect::<Vec<_>>(), ["b"]);
        let over = alarms.over(4_000);
        assert_eq!((over.len(), over[0].activated_ms, over[0].deactivated_ms), (1, 1_000, Some(3_000)));
        assert!(alarms.over(3_000 + ALARMS_MS).is_empty());
        for number in 0..2 * ALARMS_MAX as u64 {
            set("c", true, number);
            set("c", false, number);
        }
        assert_eq!(alarms.over(0).len(), ALARMS_MAX);
        alarms.forget();
        assert!(alarms.over(0).is_empty());
    }
}
