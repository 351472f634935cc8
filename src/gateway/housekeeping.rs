use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use thingway_contract::Instant;
use tokio::sync::watch;

use super::{alarms::AlarmKeeper, health::Health, switchboard::Switchboard};
use crate::{
    bus::{
        Bus, NO_CORE,
        system::{System, SystemConfig},
    },
    config::Config,
    logging::PeerLog,
    net::{Cores, limit::ListenerShared},
    protocols,
};

/// Timers fired before the thread is given to others.
const TIMERS_PER_TURN: usize = 1000;
const TURN: Duration = Duration::from_millis(100);

pub(super) struct Settings {
    system: Option<SystemConfig>,
    overload: Option<OverloadLimits>,
}

#[derive(Clone, Copy)]
struct OverloadLimits {
    lag_max: Duration,
    cooldown: Duration,
    memory_max: u64,
    check_interval: Duration,
}

impl Settings {
    pub fn new(config: &Config) -> Self {
        let system = &config.sys_topics;
        let overload = &config.overload;
        Self {
            system: system.enable.then(|| SystemConfig {
                node: config.gateway.name.clone(),
                emqx_tree: system.emqx_tree,
                mosquitto_tree: system.mosquitto_tree,
                interval: system.interval.duration(),
                heartbeat: system.heartbeat.duration(),
            }),
            overload: overload.enable.then(|| OverloadLimits {
                lag_max: overload.lag_max.duration(),
                cooldown: overload.cooldown.duration(),
                check_interval: overload.check_interval.duration(),
                memory_max: overload.memory_max.finite().map_or(u64::MAX, |size| size.get()),
            }),
        }
    }
}

/// Does what is due and belongs to no connection, until the gateway stops.
pub(super) async fn run(
    bus: Arc<Bus>,
    cores: Cores,
    settings: Settings,
    listeners: Arc<Switchboard>,
    mut health: Health,
    mut alarms: AlarmKeeper,
    log: Arc<PeerLog>,
    mut stopped: watch::Receiver<bool>,
) {
    let clock = cores.clock();
    let mut lane = bus.lane(NO_CORE);
    let mut system = settings.system.map(|config| System::new(config, protocols::MQTT_PACKET_NAMES, clock.now()));
    let mut overload = settings.overload.map(|limits| Overload { limits, well_since: Instant::ZERO, shedding: false });
    let mut turns = every(TURN);
    let mut checks = every(overload.as_ref().map_or(TURN, |overload| overload.limits.check_interval));
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = checks.tick(), if overload.is_some() => {
                if let Some(overload) = &mut overload {
                    let now = clock.now();
                    overload.check(cores.lag(now), &listeners.shared(), now);
                }
                continue;
            }
            _ = turns.tick() => {}
        }
        let now = clock.now();
        while bus.tick(now, TIMERS_PER_TURN, &mut lane) {
            cores.forward_wakes(&mut lane);
            tokio::task::yield_now().await;
        }
        if let Some(system) = &mut system {
            let date = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
            system.tick(&bus, now, &date, resident_bytes(), &mut lane);
        }
        health.tick(now, &mut lane);
        alarms.tick().await;
        health.access().tick();
        cores.forward_wakes(&mut lane);
        log.flush(now);
    }
    alarms.close().await;
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Turns new connections away while the cores cannot keep up.
struct Overload {
    limits: OverloadLimits,
    well_since: Instant,
    shedding: bool,
}

impl Overload {
    fn check(&mut self, lag: Duration, listeners: &[Arc<ListenerShared>], now: Instant) {
        let memory = if self.limits.memory_max == u64::MAX { 0 } else { resident_bytes() };
        if lag > self.limits.lag_max || memory > self.limits.memory_max {
            self.well_since = now;
            if !self.shedding {
                tracing::warn!(?lag, memory, "overloaded: new connections are told that the server is busy");
            }
            // Every time: one may have been started meanwhile.
            self.set(true, listeners);
        } else if self.shedding && now.since(self.well_since) > self.limits.cooldown {
            tracing::info!("no longer overloaded");
            self.set(false, listeners);
        }
    }

    fn set(&mut self, shedding: bool, listeners: &[Arc<ListenerShared>]) {
        self.shedding = shedding;
        listeners.iter().for_each(|listener| listener.shed.store(shedding, Ordering::Relaxed));
    }
}

/// The process's resident memory; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
