//! Looks for what somebody should see to, and raises alarms.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use thingway_contract::Instant;

use super::{alarms::AlarmKeeper, switchboard::Switchboard};
use crate::{
    access::Access,
    bus::{Bus, Handle, Lane},
    config::{self, Config},
    store::Journal,
    watch::Alarm,
};

/// A listener is full for so long after it has turned somebody away.
const FULL: Duration = Duration::from_secs(60);
/// What names of alarms about services begin with that are asked about clients.
const SERVICE_DOWN: &str = "access_service_down:";
/// Time between two looks at certificates.
const CERTIFICATES: Duration = Duration::from_secs(60);

/// What it looks at.
pub(super) struct Health {
    settings: config::Alarms,
    node: String,
    bus: Arc<Bus>,
    access: Arc<Access>,
    journal: Journal<Handle>,
    listeners: Arc<Switchboard>,
    keeper: AlarmKeeper,
    checked_at: Instant,
    certificates_at: Instant,
    /// Busy and all ticks of the processors, as they were.
    ticks: Option<(u64, u64)>,
    /// How many each listener had turned away, and when that last grew.
    refused: HashMap<Arc<str>, (u64, Option<Instant>)>,
}

impl Health {
    pub fn new(
        config: &Config,
        bus: Arc<Bus>,
        access: Arc<Access>,
        journal: Journal<Handle>,
        listeners: Arc<Switchboard>,
        keeper: AlarmKeeper,
    ) -> Self {
        Self {
            settings: config.alarms.clone(),
            node: config.gateway.name.clone(),
            bus,
            access,
            journal,
            listeners,
            keeper,
            checked_at: Instant::ZERO,
            certificates_at: Instant::ZERO,
            ticks: None,
            refused: HashMap::new(),
        }
    }

    /// Who may come in, and what they may do.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Begins to keep alarms that have changed.
    pub async fn keep(&mut self) {
        self.keeper.tick().await;
    }

    /// Keeps alarms that are not kept yet.
    pub async fn close(&mut self) {
        self.keeper.close().await;
    }

    /// Looks, if it is time.
    pub fn tick(&mut self, now: Instant, lane: &mut Lane) {
        let is_due =
            self.checked_at == Instant::ZERO || now.since(self.checked_at) >= self.settings.check_interval.duration();
        if !self.settings.enable {
            self.end_resumed(now, lane);
            return;
        }
        if !is_due {
            return;
        }
        let is_first = self.checked_at == Instant::ZERO;
        self.checked_at = now;
        self.bus.watch().alarms().tidy(self.unix_ms(now));
        self.check_system(now, lane);
        self.check_store(now, lane);
        self.check_listeners(now, lane);
        let mut lines = Vec::new();
        for line in self.access.lines() {
            let name = format!("{SERVICE_DOWN}{}:{}", line.role, line.name);
            lines.push(name.clone());
            let (role, service) = (line.role, line.name.clone());
            self.set(&name, line.is_resting, now, lane, || {
                let words =
                    format!("{service}, which is asked for {role}, does not answer and is left alone for a while");
                (words, json!({ "service": service, "failed": line.counts.failed }))
            });
        }
        self.end_of_dropped(&lines, now, lane);
        if self.certificates_at == Instant::ZERO || now.since(self.certificates_at) >= CERTIFICATES {
            self.certificates_at = now;
            self.check_certificates(now, lane);
        }
        // How busy the processors are is known from the second time on.
        if !is_first {
            self.end_resumed(now, lane);
        }
    }

    fn check_system(&mut self, now: Instant, lane: &mut Lane) {
        let settings = self.settings.clone();
        let of = |high: u8, percent: Option<u64>| percent.filter(|percent| high < 100 && *percent >= u64::from(high));
        let memory = of(settings.memory_high, memory_percent());
        self.set("high_system_memory_usage", memory.is_some(), now, lane, || {
            percents("of the system's memory is in use", memory, settings.memory_high)
        });
        let before = self.ticks;
        self.ticks = processor_ticks();
        let busy = before.zip(self.ticks).and_then(|((busy, all), (busy_now, all_now))| {
            percent(busy_now.saturating_sub(busy), all_now.saturating_sub(all))
        });
        // The first time it is not known: what it was before a restart stays.
        if busy.is_some() {
            let cpu = of(settings.cpu_high, busy);
            self.set("high_cpu_usage", cpu.is_some(), now, lane, || {
                percents("of the processors' time is taken", cpu, settings.cpu_high)
            });
        }
        let files = of(settings.open_files_high, open_files_percent());
        self.set("high_open_files", files.is_some(), now, lane, || {
            percents("of the file descriptors that there may be are in use", files, settings.open_files_high)
        });
    }

    fn check_store(&mut self, now: Instant, lane: &mut Lane) {
        let (failing, behind) = (self.journal.is_failing(), self.journal.is_behind());
        self.set("store_failing", failing, now, lane, || {
            ("the store cannot keep what it should: publishers are refused until it can".into(), Value::Null)
        });
        self.set("store_behind", behind && !failing, now, lane, || {
            ("more waits to be kept than should: the disk is too slow for what comes".into(), Value::Null)
        });
    }

    fn check_listeners(&mut self, now: Instant, lane: &mut Lane) {
        for listener in self.listeners.shared() {
            let refused = listener.counters.refused_full.load(std::sync::atomic::Ordering::Relaxed);
            let known = self.refused.entry(listener.name.clone()).or_default();
            if refused > known.0 {
                known.1 = Some(now);
            }
            known.0 = refused;
            let is_full = known.1.is_some_and(|at| now.since(at) < FULL);
            let name = &listener.name;
            self.set(&format!("listener_full:{name}"), is_full, now, lane, || {
                let words = format!("listener {name} has as many connections as it may, and turns others away");
                (words, json!({ "listener": &**name, "refused": refused }))
            });
        }
    }

    fn check_certificates(&mut self, now: Instant, lane: &mut Lane) {
        let within = self.settings.certificate_ends.duration().as_secs();
        let now_secs = self.unix_ms(now) / 1000;
        for slot in self.listeners.slots() {
            let Some((_, _, Some(certificate))) = slot.view().info else { continue };
            let ends = certificate.not_after_unix_secs;
            let name = &slot.name;
            self.set(&format!("certificate_ends:{name}"), ends <= now_secs.saturating_add(within), now, lane, || {
                let days = ends.saturating_sub(now_secs) / 86_400;
                let words = match ends <= now_secs {
                    true => format!("the certificate of listener {name} has ended"),
                    false => format!("the certificate of listener {name} ends in {days} days"),
                };
                (words, json!({ "listener": name, "subject": certificate.subject, "not_after": ends }))
            });
        }
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        self.bus.config().events.clock_zero_unix_ms.saturating_add(now.as_millis())
    }

    fn set(&self, name: &str, is_wrong: bool, now: Instant, lane: &mut Lane, words: impl FnOnce() -> (String, Value)) {
        if let Some(alarm) = self.bus.watch().alarms().set(name, is_wrong, self.unix_ms(now), words) {
            self.tell(&alarm, now, lane);
        }
    }

    fn tell(&self, alarm: &Alarm, now: Instant, lane: &mut Lane) {
        match alarm.deactivated_ms {
            None => tracing::warn!(alarm = &*alarm.name, "{}", alarm.message),
            Some(_) => tracing::info!(alarm = &*alarm.name, "it is over: {}", alarm.message),
        }
        self.bus.tell_alarm(&self.node, alarm, now, lane);
    }

    /// Ends alarms about services that nobody asks any more.
    fn end_of_dropped(&self, asked: &[String], now: Instant, lane: &mut Lane) {
        for alarm in self.bus.watch().alarms().active() {
            if alarm.name.starts_with(SERVICE_DOWN) && !asked.iter().any(|name| **name == *alarm.name) {
                self.set(&alarm.name, false, now, lane, || (String::new(), Value::Null));
            }
        }
    }

    /// Ends alarms of an earlier run that nobody looks for any more: a listener that is gone has nothing wrong with it.
    fn end_resumed(&self, now: Instant, lane: &mut Lane) {
        for alarm in self.bus.watch().alarms().end_resumed(self.unix_ms(now)) {
            self.tell(&alarm, now, lane);
        }
    }
}

fn percents(what: &str, found: Option<u64>, high: u8) -> (String, Value) {
    let found = found.unwrap_or(0);
    (format!("{found} % {what}"), json!({ "usage": found, "high_watermark": high }))
}

fn percent(part: u64, whole: u64) -> Option<u64> {
    (whole > 0).then(|| part.saturating_mul(100) / whole)
}

fn memory_percent() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
    };
    let total = of("MemTotal:")?;
    percent(total.saturating_sub(of("MemAvailable:")?), total)
}

/// Busy and all ticks since the system's start.
fn processor_ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    // Idle, and waiting for a disk.
    Some((all.saturating_sub(ticks.get(3)? + ticks.get(4)?), all))
}

fn open_files_percent() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let (max, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).ok()?;
    percent(open, max)
}
