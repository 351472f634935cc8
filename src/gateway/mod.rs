//! The composition root: the only place that knows everything.

mod access;
mod alarms;
mod api;
mod backup;
mod health;
mod housekeeping;
mod keeping;
mod listeners;
mod secret;
mod switchboard;
#[cfg(feature = "opentelemetry")]
mod telemetry;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use thingway_contract::CloseReason;
use thingway_store::BackendError;
use tokio::{sync::watch, task::JoinHandle};

use self::{access::Door, backup::Backups, switchboard::Switchboard};
use crate::{
    access_config::AccessError,
    api::Server,
    bus::{Bus, Handle},
    config::{self, Config, Problems, RunTime},
    logging::PeerLog,
    net::{Cores, core::Clock, listener::ListenError, memory::MemoryListener},
    protocols::{self, Common},
    store::Journal,
};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    bus: Arc<Bus>,
    common: Common,
    cores: Cores,
    door: Arc<Door>,
    settings: Arc<RunTime>,
    listeners: Arc<Switchboard>,
    infos: Vec<ListenerInfo>,
    stop: watch::Sender<bool>,
    housekeeping: JoinHandle<()>,
    store: Store,
    api: Option<Server>,
    #[cfg(feature = "opentelemetry")]
    telemetry: Option<telemetry::Telemetry>,
}

/// The thread that keeps things. It ends with this.
#[derive(Debug)]
struct Store {
    journal: Journal<Handle>,
    committer: Option<std::thread::JoinHandle<()>>,
    backups: Backups,
}

impl Store {
    /// Lets what was appended become safe, and waits for it.
    async fn close(mut self) {
        self.journal.stop();
        let Some(committer) = self.committer.take() else { return };
        if tokio::task::spawn_blocking(move || committer.join().is_ok()).await.is_ok_and(|ended| ended) {
            return;
        }
        tracing::error!("the store's thread had failed");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.journal.stop();
    }
}

/// What is told of a listener when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Kind and name, as `tcp.default`.
    pub name: String,
    /// What its peers speak, and what carries it.
    pub protocol: String,
    /// Where it listens.
    pub address: String,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not good.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// Every listener is switched off.
    #[error("every listener is switched off")]
    NothingToDo,
    /// A listener could not start.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Threads could not be started.
    #[error("cannot start the core threads: {0}")]
    Cores(io::Error),
    /// What was kept cannot be read, or cannot be kept where it should.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] BackendError),
    /// The secret that it signs with cannot be had.
    #[error("the gateway's secret: {0}")]
    Secret(io::Error),
    /// The management interface cannot be served.
    #[error("cannot serve the dashboard on {address}: {error}")]
    Api {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// Metrics and traces cannot be pushed as it was configured.
    #[cfg(feature = "opentelemetry")]
    #[error("opentelemetry.exporter: {0}")]
    Telemetry(#[from] thingway_telemetry::ExporterError),
    /// Access cannot be as it was configured.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A setting that only shows itself to be wrong when it is used.
    #[error("listener {listener}: {problem}")]
    Setting {
        /// The listener, as `unix.default`.
        listener: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
}

impl StartError {
    /// The setting that is to blame, if it is one.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Listen(ListenError::Bind { listener, .. } | ListenError::Path { listener, .. }) => {
                Some(format!("listeners.{listener}.bind"))
            }
            Self::Listen(ListenError::Tls { listener, .. }) => Some(format!("listeners.{listener}.tls")),
            Self::Listen(ListenError::Combination(listener)) => Some(format!("listeners.{listener}")),
            Self::Setting { listener, .. } => Some(format!("listeners.{listener}")),
            Self::Api { .. } => Some("dashboard".into()),
            #[cfg(feature = "opentelemetry")]
            Self::Telemetry(error) => Some(telemetry::key(error).into()),
            Self::Access(error) => error.key(),
            Self::Store(_) | Self::Secret(_) => Some("gateway.data_dir".into()),
            _ => None,
        }
    }
}

impl Gateway {
    /// Starts everything that the configuration says, with what was changed at run time before. To be called in a multi-thread tokio runtime, which then
    /// does what is no data path.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(RunTime::embedded(&config)?).await
    }

    /// The same with settings that know where they come from.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start_with(settings: RunTime) -> Result<Self, StartError> {
        let run_time = Arc::new(settings);
        let config = run_time.current().config.clone();
        raise_open_files(config.gateway.open_files_max);
        let secret = secret::secret(&config).map_err(StartError::Secret)?;
        let clock = Clock::new();
        let mut bus_config = protocols::bus_config(&config);
        bus_config.events.clock_zero_unix_ms = unix_millis().saturating_sub(clock.now().as_millis());
        let store = keeping::open(&config, &bus_config, clock.now())?;
        let door = Arc::new(Door::new(&config, &store.settings, &secret)?);
        let mut bus = Bus::new(bus_config, &format!("auto-{:x}-", unix_millis()));
        let journal = Journal::default();
        bus.keep(journal.clone());
        let bus = Arc::new(bus);
        let count = match usize::from(config.gateway.cores) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let cores = Cores::start(count, &bus, clock).map_err(StartError::Cores)?;
        let settings = store.settings.clone();
        let committer = store.start(&journal, &bus, &cores, clock.now())?;
        let store = Store { journal, committer: Some(committer), backups: Backups::new(&config) };
        let rate = config.log.peer_rate;
        let log = Arc::new(PeerLog::new(rate.count(), rate.per().duration()));
        let common = Common {
            config: Arc::new(config.clone()),
            bus: bus.clone(),
            access: door.access.clone(),
            secret,
            log: log.clone(),
        };
        let started = Switchboard::start(&config, &common, &cores).await;
        let running = match started {
            Ok(listeners) if listeners.shared().is_empty() => Err(StartError::NothingToDo),
            other => other,
        };
        let listeners = match running {
            Ok(listeners) => Arc::new(listeners),
            Err(error) => {
                stop_cores(&cores).await;
                return Err(error);
            }
        };
        let (stop, stopped) = watch::channel(false);
        let housekeeping = tokio::spawn(housekeeping::run(
            bus.clone(),
            cores.clone(),
            housekeeping::Settings::new(&config),
            listeners.clone(),
            health::Health::new(
                &config,
                bus.clone(),
                door.access.clone(),
                store.journal.clone(),
                listeners.clone(),
                alarms::AlarmKeeper::new(&settings, bus.clone(), store.journal.clone()),
            ),
            log,
            stopped,
        ));
        let infos = listeners.slots().iter().filter_map(|slot| slot.info()).collect();
        let mut gateway = Self {
            bus,
            common,
            cores,
            door,
            settings: run_time,
            listeners,
            infos,
            stop,
            housekeeping,
            store,
            api: None,
            #[cfg(feature = "opentelemetry")]
            telemetry: None,
        };
        #[cfg(feature = "opentelemetry")]
        match telemetry::Telemetry::start(&config, &gateway.bus) {
            Ok(telemetry) => gateway.telemetry = telemetry,
            Err(error) => {
                gateway.drain(Duration::ZERO).await;
                return Err(error.into());
            }
        }
        match api::start(&config, &gateway, settings) {
            Ok(api) => gateway.api = api,
            Err(error) => {
                gateway.drain(Duration::ZERO).await;
                return Err(error);
            }
        }
        #[cfg(feature = "opentelemetry")]
        if let (Some(telemetry), Some(api)) = (&mut gateway.telemetry, &gateway.api) {
            telemetry.measure(&config, api);
        }
        Ok(gateway)
    }

    /// The listeners, in the order of the configuration.
    pub fn listeners(&self) -> &[ListenerInfo] {
        &self.infos
    }

    /// The address of a listener, as `tcp.default`; with the real port when port 0 was asked for.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.find(name)?.address()
    }

    /// The address of the management interface.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(Server::address)
    }

    /// The same over TLS.
    pub fn api_tls_address(&self) -> Option<SocketAddr> {
        self.api.as_ref()?.tls_address()
    }

    /// The bus.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// The cores, for those who bring their own transport.
    pub fn cores(&self) -> &Cores {
        &self.cores
    }

    /// A listener for connections from within the process, with the settings of any other. Its connections go with the
    /// gateway's; that no more of them come is up to the caller.
    pub fn listen_in_memory(&self, name: &str, settings: &config::Listener) -> MemoryListener {
        let limits = listeners::limits(settings);
        protocols::start_in_memory(name, settings, limits, &self.common, &self.cores)
    }

    /// Puts all of access in place as this configuration has it, with the files that it names; other settings stay as they are. When something is wrong with it
    /// all stays as it was.
    ///
    /// # Errors
    /// What is wrong.
    pub fn reload_access(&self, config: &Config) -> Result<(), AccessError> {
        self.door.reload(config, self.bus())
    }

    /// Reads the configuration again, and does what of it counts at once. When something is wrong all stays as it was.
    ///
    /// # Errors
    /// What is wrong.
    pub fn reload(&self) -> Result<(), config::ChangeError> {
        let keys = ["log.level".to_owned(), "access.rules".to_owned()];
        self.settings.read_again(|config| api::apply(&self.door, &self.bus, &self.listeners, config, &keys))
    }

    /// The settings.
    pub fn settings(&self) -> &Arc<RunTime> {
        &self.settings
    }

    /// The access layer.
    pub fn access(&self) -> &Arc<crate::access::Access> {
        &self.door.access
    }

    /// Writes all that is kept now to a file below `gateway.data_dir`, while everything goes on. How that ends is logged.
    pub fn back_up(&self) {
        self.store.backups.start(&self.store.journal);
    }

    /// Stops accepting, says goodbye to the peers, and returns when all are gone or the deadline has passed.
    pub async fn drain(self, deadline: Duration) {
        /// How long connections may take that never came as far as a session.
        const STRANGERS: Duration = Duration::from_secs(1);
        if let Some(api) = self.api {
            api.stop().await;
        }
        self.listeners.close().await;
        self.bus.for_each_session(|session| {
            session.signal(CloseReason::ShuttingDown);
        });
        let begun = tokio::time::Instant::now();
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        while begun.elapsed() < deadline {
            poll.tick().await;
            let connections = self.cores.connections();
            if connections == 0 || self.bus.gauges().connected == 0 && begun.elapsed() >= STRANGERS.min(deadline) {
                break;
            }
        }
        self.stop.send_replace(true);
        if self.housekeeping.await.is_err() {
            tracing::error!("housekeeping had failed");
        }
        stop_cores(&self.cores).await;
        #[cfg(feature = "opentelemetry")]
        if let Some(telemetry) = self.telemetry {
            telemetry.stop().await;
        }
        self.store.close().await;
    }
}

impl fmt::Display for ListenerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} ({})", self.protocol, self.address, self.name)
    }
}

/// Joining threads blocks, and those here may be needed meanwhile.
async fn stop_cores(cores: &Cores) {
    let cores = cores.clone();
    if tokio::task::spawn_blocking(move || cores.stop()).await.is_err() {
        tracing::error!("the cores did not stop");
    }
}

/// Milliseconds since 1970. Client ids assigned by this run begin with it: they must differ from those of earlier runs.
fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_millis() as u64)
}

/// Every connection is a descriptor: ask for as many as the system allows.
fn raise_open_files(wanted: u64) {
    let wanted = if wanted == 0 { u64::MAX } else { wanted };
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) => tracing::info!("open files: up to {limit}"),
        Err(error) => tracing::warn!("cannot raise the limit of open files: {error}"),
    }
}
