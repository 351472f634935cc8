use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::{Json, extract::State};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::{
        error::{ApiError, Path},
        query::Query,
        rates::{DROPPED, RECEIVED, SENT},
        status::{check_node, resident_bytes, total},
        world::{World, unix_secs},
    },
    bus::Counter,
};

const PREFIX: &str = "monitor/";
/// Seconds of a row, and how many rows there are: an hour, a day, and a week.
const RINGS: [(u64, usize); 3] = [(10, 360), (60, 1440), (600, 1008)];
/// Rows of an answer.
const ROWS_MAX: usize = 1000;
/// How long rows may be lost for when the gateway is killed.
const SAVE_SECS: u64 = 60;

/// How it was, for a week: fine for the last hour, coarser before.
///
/// Each row has a setting of the store for itself, whose name comes again when it is over: so there are never more of them than there are rows.
#[derive(Debug)]
pub struct History(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    rings: [Ring; 3],
    unsaved: BTreeMap<String, String>,
    saved_at: u64,
    failed: bool,
}

#[derive(Debug)]
struct Ring {
    secs: u64,
    rows_max: usize,
    /// In the order of their times.
    rows: VecDeque<Row>,
    /// What had been counted when the present row began.
    before: Counts,
    /// When the present row ends.
    until: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    received: u64,
    sent: u64,
    dropped: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Levels {
    connections: u64,
    live_connections: u64,
    topics: u64,
    subscriptions: u64,
    retained: u64,
    memory_used: u64,
    protocols: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// When it ended, in milliseconds since 1970.
    time_stamp: u64,
    /// Seconds that it is about.
    interval: u64,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    levels: Levels,
}

impl Counts {
    fn take(world: &World) -> Self {
        let bus = &world.bus;
        Self {
            received: total(bus, &RECEIVED),
            sent: total(bus, &SENT),
            dropped: total(bus, &DROPPED),
            received_bytes: total(bus, &[Counter::BytesReceived]),
            sent_bytes: total(bus, &[Counter::BytesSent]),
        }
    }

    fn and(&self, more: &Self) -> Self {
        Self {
            received: self.received + more.received,
            sent: self.sent + more.sent,
            dropped: self.dropped + more.dropped,
            received_bytes: self.received_bytes + more.received_bytes,
            sent_bytes: self.sent_bytes + more.sent_bytes,
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            dropped: self.dropped.saturating_sub(before.dropped),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
        }
    }
}

impl Levels {
    fn take(world: &World) -> Self {
        let gauges = world.bus.gauges();
        Self {
            connections: gauges.sessions as u64,
            live_connections: gauges.connected as u64,
            topics: gauges.filters as u64,
            subscriptions: gauges.subscriptions as u64,
            retained: gauges.retained as u64,
            memory_used: resident_bytes(),
            protocols: world.bus.connected_by_protocol().map(|(name, count)| (name.to_owned(), count as u64)).collect(),
        }
    }
}

impl Ring {
    fn key(&self, row: &Row) -> String {
        let slot = row.time_stamp / 1000 / self.secs % self.rows_max as u64;
        format!("{PREFIX}{}/{slot}", self.secs)
    }

    /// Ends the present row if its time has come.
    fn sample(&mut self, counts: &Counts, levels: &Levels, now_secs: u64) -> Option<(String, String)> {
        // The first one at once, so that there is something to see; and when the clock was put back.
        let is_due = now_secs >= self.until || self.until - now_secs > self.secs;
        if !is_due {
            return None;
        }
        let begun = now_secs / self.secs * self.secs;
        self.until = begun + self.secs;
        let mut row = Row {
            time_stamp: begun * 1000,
            interval: self.secs,
            counts: counts.since(&self.before),
            levels: levels.clone(),
        };
        self.before = *counts;
        while let Some(known) = self.rows.pop_back_if(|known| known.time_stamp >= row.time_stamp) {
            if known.time_stamp == row.time_stamp {
                // The gateway was started again within a row.
                row.counts = row.counts.and(&known.counts);
            }
        }
        if self.rows.len() >= self.rows_max {
            self.rows.pop_front();
        }
        let text = serde_json::to_string(&row).expect("texts and numbers can be written as JSON");
        let change = (self.key(&row), text);
        self.rows.push_back(row);
        Some(change)
    }
}

impl Inner {
    fn sample(&mut self, counts: &Counts, levels: &Levels, now_secs: u64) {
        for ring in &mut self.rings {
            self.unsaved.extend(ring.sample(counts, levels, now_secs));
        }
    }

    /// Rows of the last seconds: of the finest ring that has room for so many, and of finer ones what came after its last row.
    fn tell(&self, latest_secs: u64, now_secs: u64) -> Vec<&Row> {
        let has_room = |ring: &&Ring| {
            let rows = (latest_secs / ring.secs) as usize;
            rows <= ring.rows_max.min(ROWS_MAX)
        };
        let first = self.rings.iter().position(|ring| has_room(&ring)).unwrap_or(self.rings.len() - 1);
        let mut after_ms = now_secs.saturating_sub(latest_secs) * 1000;
        let mut rows = Vec::new();
        for ring in self.rings[..=first].iter().rev() {
            rows.extend(ring.rows.iter().filter(|row| row.time_stamp > after_ms));
            after_ms = rows.last().map_or(after_ms, |row| row.time_stamp);
        }
        rows.drain(..rows.len().saturating_sub(ROWS_MAX));
        rows
    }
}

impl History {
    /// What was kept. A row that cannot be read is left out: it would be written over anyhow.
    pub fn of(settings: &[(String, String)], now_secs: u64) -> Self {
        let rings = RINGS.map(|(secs, rows_max)| {
            let prefix = format!("{PREFIX}{secs}/");
            let is_known = |row: &Row| {
                let at = row.time_stamp / 1000;
                row.interval == secs && at <= now_secs && now_secs - at <= secs * rows_max as u64
            };
            let kept = settings.iter().filter(|(name, _)| name.starts_with(&prefix));
            let kept = kept.filter_map(|(_, text)| serde_json::from_str(text).ok()).filter(is_known);
            let mut rows: Vec<Row> = kept.collect();
            rows.sort_by_key(|row| row.time_stamp);
            rows.drain(..rows.len().saturating_sub(rows_max));
            Ring { secs, rows_max, rows: rows.into(), before: Counts::default(), until: 0 }
        });
        Self(Mutex::new(Inner { rings, unsaved: BTreeMap::new(), saved_at: now_secs, failed: false }))
    }

    /// Takes a sample if it is time. True when it is time to save.
    pub fn tick(&self, world: &World) -> bool {
        let now_secs = unix_secs();
        let mut inner = self.0.lock();
        if inner.rings[0].until <= now_secs || inner.rings[0].until - now_secs > RINGS[0].0 {
            inner.sample(&Counts::take(world), &Levels::take(world), now_secs);
        }
        let is_due = now_secs.abs_diff(inner.saved_at) >= SAVE_SECS && !inner.unsaved.is_empty();
        if is_due {
            inner.saved_at = now_secs;
        }
        is_due
    }

    /// Keeps what is not kept yet. What cannot be kept now is kept later, unless it is over by then.
    pub async fn save(&self, world: &World) {
        let unsaved = std::mem::take(&mut self.0.lock().unsaved);
        let changes = unsaved.iter().map(|(name, row)| (name.clone(), Some(row.clone()))).collect();
        let kept = world.keep(changes).await;
        let mut inner = self.0.lock();
        match kept {
            Ok(()) => inner.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut inner.failed, true) {
                    tracing::warn!("the history of the gateway cannot be kept: {error}");
                }
                for (name, row) in unsaved {
                    inner.unsaved.entry(name).or_insert(row);
                }
            }
        }
    }
}

/// How it was: rows of the last `latest` seconds, a week without it.
#[utoipa::path(
    get, path = "/monitor", tag = "observing",
    params(("latest" = Option<u32>, Query, description = "Seconds back from now.")),
    responses(
        (status = 200, description = "Rows in the order of their times, at most 1,000: counts of each one's interval, and what there was at its end.", body = Vec<Value>),
        (status = 400, description = "latest is no number.", body = Value),
    )
)]
pub async fn monitor(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let week = RINGS[2].0 * RINGS[2].1 as u64;
    let latest = query.read::<u32>("latest")?.filter(|secs| i32::try_from(*secs).is_ok());
    if latest.is_none() && query.find("latest").is_some() {
        return Err(ApiError::bad("latest is from 0 to 2147483647"));
    }
    let latest = latest.map_or(week, u64::from).min(week);
    let inner = world.observe.history.0.lock();
    Ok(Json(json!(inner.tell(latest, unix_secs()))))
}

/// How the node was.
#[utoipa::path(
    get, path = "/monitor/nodes/{node}", tag = "observing",
    params(
        ("node" = String, Path, description = "The node's name."),
        ("latest" = Option<u32>, Query, description = "Seconds back from now."),
    ),
    responses(
        (status = 200, description = "As `/monitor` tells.", body = Vec<Value>),
        (status = 404, description = "There is no such node.", body = Value),
    )
)]
pub async fn monitor_of_node(
    state: State<Arc<World>>,
    Path(node): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    check_node(&state, &node)?;
    monitor(state, query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(received: u64) -> Counts {
        Counts { received, ..Counts::default() }
    }

    fn times(rows: &[&Row]) -> Vec<(u64, u64, u64)> {
        rows.iter().map(|row| (row.time_stamp / 1000, row.interval, row.counts.received)).collect()
    }

    #[test]
    fn what_was_counted_is_in_rows_that_become_coarser() {
        let start = 1_200_000_000;
        let history = History::of(&[], start);
        let mut inner = history.0.lock();
        for second in 0..=2 * 3600 {
            // One message a second.
            inner.sample(&counts(second), &Levels::default(), start + second);
        }
        let now = start + 2 * 3600;
        assert_eq!(times(&inner.tell(30, now)), [(now - 20, 10, 10), (now - 10, 10, 10), (now, 10, 10)]);
        assert_eq!(inner.tell(3600, now).len(), 360);
        let hours = inner.tell(2 * 3600, now + 5);
        assert_eq!(hours.len(), 120, "a row a minute");
        assert!(hours.iter().all(|row| (row.interval, row.counts.received) == (60, 60)));
        inner.sample(&counts(2 * 3600 + 20), &Levels::default(), now + 20);
        assert_eq!(
            times(&inner.tell(7 * 86400, now + 20))[11..],
            [(now - 600, 600, 600), (now, 600, 600), (now + 20, 10, 20)]
        );
        assert!(inner.unsaved.len() <= RINGS.iter().map(|(_, rows)| rows).sum());
    }

    #[test]
    fn there_is_no_more_than_a_week_and_all_of_it_comes_back() {
        let start = 1_200_000_000;
        let history = History::of(&[], start);
        let mut kept = BTreeMap::new();
        let mut now = start;
        let (days, hours) = (8 * 86400, 3 * 3600);
        for second in (0..days).step_by(60).chain((days..=days + hours).step_by(10)) {
            now = start + second;
            let mut inner = history.0.lock();
            inner.sample(&counts(second), &Levels::default(), now);
            kept.append(&mut inner.unsaved);
        }
        assert_eq!(kept.len(), 360 + 1440 + 1008, "names come again");
        let settings: Vec<_> = kept.into_iter().chain([("monitor/10/5x".into(), "rubbish".into())]).collect();
        let again = History::of(&settings, now);
        let (one, other) = (history.0.lock(), again.0.lock());
        for latest in [60, 3600, 86400, 7 * 86400] {
            assert_eq!(one.tell(latest, now), other.tell(latest, now), "{latest}");
            assert!(one.tell(latest, now).len() <= ROWS_MAX);
        }
        let oldest = times(&other.tell(7 * 86400, now))[0].0;
        assert!((6 * 86400..=7 * 86400).contains(&(now - oldest)), "{oldest}");
    }

    #[test]
    fn a_clock_that_is_put_back_leaves_no_rows_of_the_future() {
        let history = History::of(&[], 10_000);
        let mut inner = history.0.lock();
        for now in [10_000, 10_010, 5_000, 5_010] {
            inner.sample(&counts(now), &Levels::default(), now);
        }
        assert_eq!(inner.rings[0].rows.iter().map(|row| row.time_stamp).collect::<Vec<_>>(), [5_000_000, 5_010_000]);
    }
}
