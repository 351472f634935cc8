use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Alarms that are over and are remembered, and for how long.
pub const ALARMS_MAX: usize = 1000;
const ALARMS_MS: u64 = 24 * 3600 * 1000;
/// Alarms that a listener may be behind.
const BEHIND_MAX: usize = 64;

/// Something that somebody should see to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Active ones of an earlier run that nobody has looked for yet.
    resumed: HashSet<Box<str>>,
    /// Grows with each change.
    version: u64,
}

impl Kept {
    fn forget_before(&mut self, now_ms: u64) {
        let before = self.over.len();
        self.over.retain(|alarm| now_ms.saturating_sub(alarm.deactivated_ms.unwrap_or(0)) < ALARMS_MS);
        self.version += u64::from(self.over.len() != before);
    }

    /// One is over.
    fn end(&mut self, at: usize, now_ms: u64) -> Alarm {
        let alarm = Alarm { deactivated_ms: Some(now_ms), ..self.active.remove(at) };
        if self.over.len() == ALARMS_MAX {
            self.over.pop_front();
        }
        self.over.push_back(alarm.clone());
        self.version += 1;
        alarm
    }
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
        kept.resumed.remove(name);
        let known = kept.active.iter().position(|alarm| *alarm.name == *name);
        let changed = match (known, is_wrong) {
            (None, true) if kept.active.len() < ALARMS_MAX => {
                let (message, details) = words();
                let (name, message) = (name.into(), message.into());
                let alarm = Alarm { name, message, details, activated_ms: now_ms, deactivated_ms: None };
                kept.active.push(alarm.clone());
                kept.version += 1;
                alarm
            }
            (Some(at), false) => kept.end(at, now_ms),
            _ => return None,
        };
        Some(self.send(changed))
    }

    fn send(&self, changed: Alarm) -> Arc<Alarm> {
        let changed = Arc::new(changed);
        // An error means that nobody listens.
        let _ = self.sender.send(changed.clone());
        changed
    }

    /// Ends one whatever is wrong; `None` when there is none of this name. It comes again when somebody looks and it is wrong still.
    pub fn end(&self, name: &str, now_ms: u64) -> Option<Arc<Alarm>> {
        let mut kept = self.kept.lock();
        kept.resumed.remove(name);
        let at = kept.active.iter().position(|alarm| *alarm.name == *name)?;
        Some(self.send(kept.end(at, now_ms)))
    }

    /// Takes over those of an earlier run. What was active is so until [`Alarms::set`] or [`Alarms::end_resumed`] says otherwise.
    pub fn restore(&self, alarms: impl IntoIterator<Item = Alarm>) {
        let mut kept = self.kept.lock();
        for alarm in alarms {
            match alarm.deactivated_ms {
                Some(_) => kept.over.push_back(alarm),
                None => {
                    kept.resumed.insert(alarm.name.clone());
                    kept.active.push(alarm);
                }
            }
        }
        kept.active.truncate(ALARMS_MAX);
        kept.over.make_contiguous().sort_by_key(|alarm| alarm.deactivated_ms);
        let surplus = kept.over.len().saturating_sub(ALARMS_MAX);
        kept.over.drain(..surplus);
    }

    /// Ends those of an earlier run that nobody looks for any more.
    pub fn end_resumed(&self, now_ms: u64) -> Vec<Arc<Alarm>> {
        let mut kept = self.kept.lock();
        let mut ended = Vec::new();
        for name in std::mem::take(&mut kept.resumed) {
            if let Some(at) = kept.active.iter().position(|alarm| alarm.name == name) {
                ended.push(self.send(kept.end(at, now_ms)));
            }
        }
        ended
    }

    /// Grows with each change.
    pub fn version(&self) -> u64 {
        self.kept.lock().version
    }

    /// All that are remembered.
    pub fn all(&self) -> Vec<Alarm> {
        let kept = self.kept.lock();
        kept.active.iter().chain(&kept.over).cloned().collect()
    }

    /// Those that are not over.
    pub fn active(&self) -> Vec<Alarm> {
        self.kept.lock().active.clone()
    }

    /// Those of the last 24 hours that are over, the latest first.
    pub fn over(&self, now_ms: u64) -> Vec<Alarm> {
        let mut kept = self.kept.lock();
        kept.forget_before(now_ms);
        kept.over.iter().rev().cloned().collect()
    }

    /// Forgets those that are over.
    pub fn forget(&self) {
        let mut kept = self.kept.lock();
        kept.over.clear();
        kept.version += 1;
    }

    /// Forgets those that are over for a day.
    pub fn tidy(&self, now_ms: u64) {
        self.kept.lock().forget_before(now_ms);
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

    #[test]
    fn an_alarm_of_an_earlier_run_goes_on_or_ends() {
        let before = Alarms::default();
        let words = || ("words".to_owned(), 7.into());
        for name in ["true", "over", "gone"] {
            before.set(name, true, 1000, words);
        }
        before.set("ended", true, 500, words);
        before.end("ended", 600).expect("it was there");
        assert!(before.end("ended", 700).is_none());
        let version = before.version();
        let alarms = Alarms::default();
        alarms.restore(before.all());
        assert!(alarms.set("true", true, 5000, words).is_none(), "it is known");
        assert_eq!(alarms.set("over", false, 5000, words).expect("it ends").activated_ms, 1000);
        let ended = alarms.end_resumed(6000);
        assert_eq!((ended.len(), &*ended[0].name, ended[0].deactivated_ms), (1, "gone", Some(6000)));
        assert!(alarms.end_resumed(7000).is_empty());
        let active: Vec<_> = alarms.active().iter().map(|alarm| (alarm.name.clone(), alarm.activated_ms)).collect();
        assert_eq!(active, [("true".into(), 1000)]);
        let over: Vec<_> = alarms.over(7000).into_iter().map(|alarm| alarm.name).collect();
        assert_eq!(over, ["gone".into(), "over".into(), "ended".into()]);
        assert!(version > 0 && alarms.version() > 0);
        let version = alarms.version();
        alarms.tidy(6000 + ALARMS_MS);
        assert!(alarms.version() > version && alarms.all().len() == 1);
    }
}
