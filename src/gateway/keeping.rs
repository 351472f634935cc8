//! The store: opened before anything else, and closed after everything.

use std::{ops::ControlFlow, sync::Arc, thread::JoinHandle, time::Instant as Time};

use thingway_contract::Instant;
use thingway_store::{Backend, BackendError, Durability, Epoch, FlushLimits, Keeper};

use crate::{
    bus::{Bus, BusConfig, Handle, NO_CORE},
    config::{self, Config},
    net::Cores,
    store::{self, Journal},
};

/// Bytes of the backend's own cache.
const BACKEND_CACHE_BYTES: u64 = 8 << 20;

/// Deadlines that are seen to in one go.
const DUE_PER_TURN: usize = 10_000;

/// A store that was opened.
pub(super) struct Opened {
    /// What operators have set.
    pub settings: Vec<(String, String)>,
    keeper: Keeper<Handle, Box<dyn Backend>>,
    told: String,
}

/// Opens the store that the configuration names, and reads what it has kept.
pub(super) fn open(config: &Config, bus: &BusConfig, now: Instant) -> Result<Opened, BackendError> {
    let begun = Time::now();
    let durability = match config.store.durability {
        config::StoreDurability::Fsync => Durability::Fsync,
        config::StoreDurability::Os => Durability::Os,
        config::StoreDurability::Memory => Durability::Memory,
    };
    let folder = config.store_folder();
    let told = match durability {
        Durability::Memory => "in memory only".to_owned(),
        _ => format!("in {}", folder.display()),
    };
    let backend = store::open(&store::Settings { folder, durability, cache_bytes: BACKEND_CACHE_BYTES })?;
    let limits = FlushLimits { log_bytes: config.store.log_max.as_usize() as u64, ..FlushLimits::default() };
    let epoch = Epoch(bus.events.clock_zero_unix_ms);
    let cache = config.store.cache_max.as_usize();
    let (mut keeper, found) = Keeper::open(backend, config.store_settings(), limits, cache, epoch, epoch.wall(now))?;
    let (counts, seconds) = (found.counts, begun.elapsed().as_secs_f64());
    let told = format!(
        "{told}: {} sessions, {} messages in queues ({} bytes), {} delayed; {} records read again, {} bytes cut, {seconds:.2} s",
        counts.sessions, counts.messages, counts.bytes, counts.delayed, found.replayed, found.cut_bytes,
    );
    if keeper.has_no_room() {
        tracing::error!(
            "the store has no room: what is kept is served, and what should be kept is refused until there is some"
        );
    }
    let mut settings = Vec::new();
    keeper.for_each_setting("", |name, value| {
        settings.push((name.to_owned(), value.to_owned()));
        ControlFlow::Continue(())
    })?;
    Ok(Opened { settings, keeper, told })
}

impl Opened {
    /// Gives the bus what was kept, and starts to keep what comes.
    pub fn start(
        mut self,
        journal: &Journal<Handle>,
        bus: &Arc<Bus>,
        cores: &Cores,
        now: Instant,
    ) -> Result<JoinHandle<()>, BackendError> {
        let mut lane = bus.lane(NO_CORE);
        bus.restore(&mut self.keeper, now, &mut lane)?;
        tracing::info!("store {}; {} retained", self.told, bus.gauges().retained);
        let cores = cores.clone();
        let desk = bus.desk(lane, move |lane| cores.forward_wakes(lane));
        let committer = journal.start(self.keeper, desk)?;
        // What fell due meanwhile comes before anybody is back: the wills of those whom the end of the gateway has cut off, above all.
        let mut lane = bus.lane(NO_CORE);
        while bus.tick(now, DUE_PER_TURN, &mut lane) {}
        Ok(committer)
    }
}
