use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{Extension, Router, body::Body};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{
    accounts::{ACCOUNT_PREFIX, Account, FIRST},
    audit::Audit,
    data::Data,
    families::{Family, families},
    keys::KEY_PREFIX,
    login::Peer,
    observe::Observe,
    rates::Rates,
    router,
    rows::Rows,
    world::World,
};
use crate::{
    access::{
        Access,
        passwords::{Hashers, HashersSettings},
        users::UserDatabase,
    },
    bus::{Bus, Handle, Lane, NO_CORE, system::PacketNames},
    config::RunTime,
    store::Journal,
};

/// Connections at a time. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long anything may take that was asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Logins that wait to be tried.
const LOGINS_MAX: usize = 100;

/// Gives what a new connection over TLS is met with.
pub type TlsConfig = Box<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// What the gateway gives to its interface.
pub struct ServerSettings {
    /// Where it listens.
    pub socket: TcpListener,
    /// Where it listens over TLS, and with what.
    pub tls: Option<(TcpListener, TlsConfig)>,
    /// The node's name.
    pub node: String,
    /// The bus.
    pub bus: Arc<Bus>,
    /// The access layer.
    pub access: Arc<Access>,
    /// The built-in user database, if somebody is asked who needs it.
    pub users: Arc<UserDatabase>,
    /// Where changes are kept.
    pub journal: Journal<Handle>,
    /// What is kept already.
    pub settings: Vec<(String, String)>,
    /// Where archives of what is kept are.
    pub archives: PathBuf,
    /// Where logs of traces are; `None` for memory.
    pub traces: Option<PathBuf>,
    /// The listeners.
    pub listeners: Box<dyn super::Listeners>,
    /// The settings.
    pub run_time: Arc<RunTime>,
    /// Does what settings say that count at once.
    pub apply: super::Apply,
    /// Tells what became of what was pushed to others.
    pub exports: super::Exports,
    /// Names of packets that are counted.
    pub packets: PacketNames,
    /// `gateway.security` is "hardened".
    pub hardened: bool,
    /// The password of the first account, as long as there is no account; `None` for the one that everybody knows.
    pub first_password: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Tells the bus's time.
    pub clock: Box<dyn Fn() -> thingway_contract::Instant + Send + Sync>,
    /// Sends wake-ups on their way.
    pub forward_wakes: Box<dyn Fn(&mut Lane) + Send + Sync>,
}

/// The interface, while it is served.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Begins to serve. To be called in a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be used, or what is kept cannot be read.
    pub fn start(settings: ServerSettings) -> io::Result<Self> {
        let socket = listener(settings.socket)?;
        let address = socket.local_addr()?;
        let tls = settings.tls.map(|(socket, config)| Ok::<_, io::Error>((listener(socket)?, config))).transpose()?;
        let tls_address = tls.as_ref().map(|(socket, _)| socket.local_addr()).transpose()?;
        let wrong = |(key, error): (String, serde_json::Error)| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the store's setting {key:?}: {error}"))
        };
        let accounts = Rows::of(ACCOUNT_PREFIX, &settings.settings).map_err(wrong)?;
        if accounts.len() == 0 {
            let password = settings.first_password.as_ref().map(|password| password.as_slice());
            let account =
                Account::first(password).ok_or_else(|| io::Error::other("the system gives no random bytes"))?;
            if password.is_none() {
                tracing::warn!(
                    "the API's account is admin with the password public: it may only look until that is changed"
                );
            }
            accounts.set(FIRST, Some(account));
        }
        let observe = Observe::new(&settings.settings, settings.traces, settings.bus.watch()).map_err(wrong)?;
        let world = Arc::new(World {
            node: settings.node,
            lane: Mutex::new(settings.bus.lane(NO_CORE)),
            bus: settings.bus,
            access: settings.access,
            users: settings.users,
            journal: settings.journal,
            listeners: settings.listeners,
            run_time: settings.run_time,
            apply: settings.apply,
            exports: settings.exports,
            packets: settings.packets,
            hardened: settings.hardened,
            clock: settings.clock,
            forward_wakes: settings.forward_wakes,
            accounts,
            audit: Audit::of(&settings.settings).map_err(wrong)?,
            keys: Rows::of(KEY_PREFIX, &settings.settings).map_err(wrong)?,
            tokens: Default::default(),
            throttle: Default::default(),
            hashers: Arc::new(Hashers::start(HashersSettings { threads: 1, waiting_max: LOGINS_MAX })?),
            rates: Rates::default(),
            directories: Default::default(),
            observe,
            data: Data::new(settings.archives),
            started: Instant::now(),
            changes: Default::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve(socket, tls, world.clone(), stopped));
        Ok(Self { address, tls_address, world, stop, served })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens over TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Tells all that is measured, for those who push it somewhere; since when it is measured comes with it.
    pub fn measures(&self) -> (SystemTime, impl Fn() -> Vec<Family> + Send + Sync + use<>) {
        let world = self.world.clone();
        let since = SystemTime::now().checked_sub(world.started.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        (since, move || families(&world))
    }

    /// Takes no more requests and ends its connections.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.served.await.is_err() {
            tracing::error!("the API had failed");
        }
    }
}

fn listener(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

async fn serve(
    socket: tokio::net::TcpListener,
    tls: Option<(tokio::net::TcpListener, TlsConfig)>,
    world: Arc<World>,
    mut stopped: watch::Receiver<bool>,
) {
    let router = router(world.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stop = async {
            // An error means that the gateway is gone.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let over_tls = async {
                match &tls {
                    Some((socket, config)) => (socket.accept().await, Some(config)),
                    None => std::future::pending().await,
                }
            };
            let (accepted, config) = tokio::select! {
                accepted = socket.accept() => (accepted, None),
                accepted = over_tls => accepted,
            };
            (accepted, config.map(|config| TlsAcceptor::from(config())), place)
        };
        tokio::select! {
            biased;
            () = stop => break,
            _ = seconds.tick() => {
                world.rates.sample(&world.bus, Instant::now());
                world.keep_directories();
                world.observe.tick(&world);
            }
            Some(_) = connections.join_next() => {}
            (accepted, acceptor, place) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        match acceptor {
                            None => converse(stream, peer, router).await,
                            Some(acceptor) => match timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                                Ok(Ok(stream)) => converse(stream, peer, router).await,
                                Ok(Err(error)) => tracing::debug!(%peer, "no TLS to the API: {error}"),
                                Err(_) => tracing::debug!(%peer, "no TLS to the API: it took too long"),
                            },
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("the API cannot accept connections: {error}");
                    // No descriptor is free: that of another connection has to end first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    connections.shutdown().await;
    world.observe.close(&world).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: SocketAddr, router: Router) {
    let router = router.layer(Extension(Peer(peer)));
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            match timeout(ANSWER_TIMEOUT, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(axum::response::IntoResponse::into_response(axum::http::StatusCode::REQUEST_TIMEOUT)),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, "a connection to the API broke off: {error}");
    }
}
