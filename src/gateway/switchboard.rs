//! The listeners while the gateway runs: each can be stopped and started again by itself.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::{Mutex, RwLock};
use thingway_contract::CloseReason;

use super::{
    ListenerInfo, StartError,
    listeners::{self, Running},
};
use crate::{
    config::{self, Config, ListenerKind},
    net::{Cores, certificates::CertificateInfo, limit::ListenerShared},
    protocols::Common,
};

/// Every listener of the configuration, whether it listens or not.
#[derive(Debug)]
pub(super) struct Switchboard {
    slots: RwLock<Vec<Arc<Slot>>>,
    common: Common,
    cores: Cores,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

/// A place for a listener.
#[derive(Debug)]
pub(super) struct Slot {
    pub kind: ListenerKind,
    /// Kind and name, as `tcp.default`.
    pub name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Runs(Running),
    Rests,
    /// It could not start, for this reason.
    Failed(String),
}

/// What is told of a listener.
pub(super) struct SlotView {
    /// What is listened with, while it runs.
    pub info: Option<(ListenerInfo, Arc<ListenerShared>, Option<CertificateInfo>)>,
    /// Why it could not start.
    pub failure: Option<String>,
}

impl Switchboard {
    /// Starts all enabled listeners, or none: those already started are stopped when one fails.
    pub async fn start(config: &Config, common: &Common, cores: &Cores) -> Result<Self, StartError> {
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for (kind, name, listener) in config.listeners.iter() {
            let name = format!("{kind}.{name}");
            let state = match listener.enable {
                false => Ok(State::Rests),
                true => listeners::start(kind, &name, listener, common, cores).map(State::Runs),
            };
            match state {
                Ok(state) => slots.push(Arc::new(Slot { kind, name, state: Mutex::new(state) })),
                Err(error) => {
                    for slot in &slots {
                        slot.rest().await;
                    }
                    return Err(error);
                }
            }
        }
        let cores = cores.clone();
        let slots = RwLock::new(slots);
        Ok(Self { slots, common: common.clone(), cores, changing: tokio::sync::Mutex::default() })
    }

    /// All of them, those of the start in the order of the configuration.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().clone()
    }

    /// All of them, with those that this configuration has now, and without those that rest and that it has no more.
    pub fn slots_of(&self, config: &Config) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.write();
        slots.retain(|slot| slot.is_in(config) || slot.running(|_| ()).is_some());
        for (kind, name, _) in config.listeners.iter() {
            let name = format!("{kind}.{name}");
            if !slots.iter().any(|slot| slot.name == name) {
                slots.push(Arc::new(Slot { kind, name, state: Mutex::new(State::Rests) }));
            }
        }
        slots.clone()
    }

    /// One of them, by kind and name, as `tcp.default`.
    pub fn find(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.read().iter().find(|slot| slot.name == name).cloned()
    }

    /// Counters and switches of those that run.
    pub fn shared(&self) -> Vec<Arc<ListenerShared>> {
        self.slots.read().iter().filter_map(|slot| slot.running(Running::shared)).collect()
    }

    /// Conversations to come by those that run begin with what these settings say.
    pub fn tune(&self, config: &Config) {
        for slot in self.slots() {
            if let Some(listener) = config.listeners.of(slot.kind).get(slot.own_name()) {
                slot.running(|running| running.tune(config, listener));
            }
        }
    }

    /// Starts one that rests, as this configuration has it; `first` makes ready for its connections. Nothing happens to one that runs.
    ///
    /// # Errors
    /// Why it cannot; it is told in listings from then on.
    pub async fn start_one(
        &self,
        slot: &Slot,
        config: &Config,
        first: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        if slot.running(|_| ()).is_some() {
            return Ok(());
        }
        let started = match config.listeners.of(slot.kind).get(slot.own_name()) {
            Some(listener) => first().and_then(|()| self.start_slot(slot, config, listener)),
            None => Err("it is in the configuration no more".to_owned()),
        };
        match started {
            Ok(running) => {
                *slot.state.lock() = State::Runs(running);
                tracing::info!(listener = slot.name, "a listener was started");
                Ok(())
            }
            Err(error) => {
                *slot.state.lock() = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn start_slot(&self, slot: &Slot, config: &Config, listener: &config::Listener) -> Result<Running, String> {
        let common = Common { config: Arc::new(config.clone()), ..self.common.clone() };
        listeners::start(slot.kind, &slot.name, listener, &common, &self.cores).map_err(|error| error.to_string())
    }

    /// Stops one: its socket is closed, and its connections are told to go.
    pub async fn stop_one(&self, slot: &Slot) {
        let _changing = self.changing.lock().await;
        if slot.rest().await {
            let mut ended = 0_usize;
            self.common.bus.for_each_session(|session| {
                let info = session.info();
                let is_its = info.connection.is_some_and(|connection| *connection.origin.listener == *slot.name);
                if is_its && session.signal(CloseReason::Administrative) {
                    ended += 1;
                }
            });
            tracing::info!(listener = slot.name, ended, "a listener was stopped");
        }
    }

    /// Accepts nothing any more. Connections go on.
    pub async fn close(&self) {
        for slot in self.slots() {
            slot.rest().await;
        }
    }
}

impl Slot {
    /// Its name among those of its kind.
    pub fn own_name(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, name)| name)
    }

    fn is_in(&self, config: &Config) -> bool {
        config.listeners.of(self.kind).contains_key(self.own_name())
    }

    fn running<T>(&self, ask: impl FnOnce(&Running) -> T) -> Option<T> {
        match &*self.state.lock() {
            State::Runs(running) => Some(ask(running)),
            _ => None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.running(Running::address)?
    }

    /// What is told of it when it has started.
    pub fn info(&self) -> Option<ListenerInfo> {
        self.running(Running::info)
    }

    /// What is told of it in listings. Reads the file of its certificate.
    pub fn view(&self) -> SlotView {
        let info = self.running(|running| (running.info(), running.shared(), running.certificate_file()));
        let failure = match &*self.state.lock() {
            State::Failed(error) => Some(error.clone()),
            _ => None,
        };
        let info = info.map(|(info, shared, file)| (info, shared, file.and_then(|file| CertificateInfo::read(&file))));
        SlotView { info, failure }
    }

    /// True when it ran.
    async fn rest(&self) -> bool {
        let before = std::mem::replace(&mut *self.state.lock(), State::Rests);
        match before {
            State::Runs(running) => {
                running.stop().await;
                true
            }
            _ => false,
        }
    }
}
