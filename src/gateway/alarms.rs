//! Alarms in the store, so that they are there after a restart: one setting for each.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    bus::{Bus, Handle},
    store::Journal,
    watch::Alarm,
};

/// What the keys of alarms begin with in the store.
const PREFIX: &str = "alarm/";

/// Keeps alarms as they are. What fails is tried again.
pub(super) struct AlarmKeeper {
    bus: Arc<Bus>,
    journal: Journal<Handle>,
    /// What the store has, and of which state of the alarms that is.
    kept: BTreeMap<String, String>,
    version: u64,
    keeping: Option<JoinHandle<Option<(BTreeMap<String, String>, u64)>>>,
}

impl AlarmKeeper {
    /// With the alarms that were kept: those that were not over are there again until somebody has looked.
    pub fn new(settings: &[(String, String)], bus: Arc<Bus>, journal: Journal<Handle>) -> Self {
        let rows = settings.iter().filter(|(key, _)| key.starts_with(PREFIX)).cloned();
        let kept: BTreeMap<_, _> = rows.collect();
        // What cannot be read is no alarm, and goes with the next that is kept.
        let alarms = kept.values().filter_map(|row| serde_json::from_str(row).ok());
        bus.watch().alarms().restore(alarms);
        let version = if kept.is_empty() { bus.watch().alarms().version() } else { u64::MAX };
        Self { bus, journal, kept, version, keeping: None }
    }

    /// Begins to keep what has changed, unless that is being done.
    pub async fn tick(&mut self) {
        if self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished()) {
            return;
        }
        self.finish().await;
        let alarms = self.bus.watch().alarms();
        let version = alarms.version();
        if version == self.version {
            return;
        }
        let now: BTreeMap<_, _> = alarms.all().iter().map(|alarm| (key(alarm), row(alarm))).collect();
        let changes = changes(&self.kept, &now);
        if changes.is_empty() {
            self.version = version;
            return;
        }
        let journal = self.journal.clone();
        self.keeping = Some(tokio::task::spawn_blocking(move || match journal.change_settings(changes) {
            Ok(()) => Some((now, version)),
            Err(error) => {
                tracing::debug!("alarms are not kept yet: {error}");
                None
            }
        }));
    }

    /// Waits for what has begun.
    async fn finish(&mut self) {
        let Some(keeping) = self.keeping.take() else { return };
        if let Ok(Some((kept, version))) = keeping.await {
            (self.kept, self.version) = (kept, version);
        }
    }

    /// Keeps what is not kept yet.
    pub async fn close(&mut self) {
        self.finish().await;
        self.tick().await;
        self.finish().await;
    }
}

fn key(alarm: &Alarm) -> String {
    format!("{PREFIX}{}/{:016x}", alarm.name, alarm.activated_ms)
}

fn row(alarm: &Alarm) -> String {
    serde_json::to_string(alarm).expect("texts and numbers can be written as JSON")
}

/// What makes the one out of the other.
fn changes(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), None));
    let new = to.iter().filter(|(key, row)| from.get(*key) != Some(row));
    gone.chain(new.map(|(key, row)| (key.clone(), Some(row.clone())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusConfig;

    #[test]
    fn alarms_are_read_as_kept() {
        let alarm = |name: &str, until| Alarm {
            name: name.into(),
            message: "words".into(),
            details: serde_json::json!({ "usage": 9 }),
            activated_ms: 7,
            deactivated_ms: until,
        };
        let (active, over) = (alarm("a:tcp.default", None), alarm("b", Some(u64::MAX)));
        let rows: Vec<_> = [&active, &over].into_iter().map(|alarm| (key(alarm), row(alarm))).collect();
        let others = [("alarm/x/0".to_owned(), "{".to_owned()), ("user/a".to_owned(), "{}".to_owned())];
        let bus = Arc::new(Bus::new(BusConfig::default(), "x"));
        let keeper = AlarmKeeper::new(&[rows.clone(), others.to_vec()].concat(), bus.clone(), Journal::default());
        assert_eq!((keeper.kept.len(), bus.watch().alarms().active()), (3, vec![active]));
        assert_eq!(bus.watch().alarms().over(0), [over]);
        let now = rows.into_iter().skip(1).chain([("alarm/c/1".to_owned(), "{}".to_owned())]).collect();
        let changed: Vec<_> = changes(&keeper.kept, &now).into_iter().map(|(key, row)| (key, row.is_some())).collect();
        assert_eq!(
            changed,
            [
                ("alarm/a:tcp.default/0000000000000007".to_owned(), false),
                ("alarm/x/0".to_owned(), false),
                ("alarm/c/1".to_owned(), true),
            ]
        );
        assert_ne!(keeper.version, bus.watch().alarms().version(), "what cannot be read goes");
    }
}
