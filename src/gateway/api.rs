//! The management interface, put together.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use zeroize::Zeroizing;

use super::{
    Gateway, StartError,
    access::Door,
    backup::BACKUP_FOLDER,
    switchboard::{Slot, Switchboard},
};
use crate::{
    access_config::{self, AccessError},
    api::{self, CertificateView, ListenerCounts, ListenerView, Server, ServerSettings, TlsConfig},
    bus::Bus,
    config::{Bind, ChangeError, Config, RunTime, Security, StoreDurability},
    logging,
    net::{
        certificates,
        tls::{CertificateFiles, TlsOptions, TlsServer},
    },
    protocols,
};

/// Starts it, if it is wanted.
pub(super) fn start(
    config: &Config,
    gateway: &Gateway,
    settings: Vec<(String, String)>,
) -> Result<Option<Server>, StartError> {
    let dashboard = &config.dashboard;
    if !dashboard.enable {
        return Ok(None);
    }
    let wrong = |error: io::Error| StartError::Api { address: dashboard.bind.to_string(), error };
    let settings = ServerSettings {
        socket: socket(&dashboard.bind).map_err(wrong)?,
        tls: tls(config)?,
        node: config.gateway.name.clone(),
        bus: gateway.bus.clone(),
        access: gateway.door.access.clone(),
        users: gateway.door.users(),
        journal: gateway.store.journal.clone(),
        settings,
        listeners: Box::new(Listeners {
            switchboard: gateway.listeners.clone(),
            settings: gateway.settings.clone(),
            door: gateway.door.clone(),
        }),
        run_time: gateway.settings.clone(),
        apply: {
            let (door, bus, listeners) = (gateway.door.clone(), gateway.bus.clone(), gateway.listeners.clone());
            Box::new(move |config, keys| apply(&door, &bus, &listeners, config, keys))
        },
        archives: config.gateway.data_dir.join(BACKUP_FOLDER),
        traces: (config.store.durability != StoreDurability::Memory).then(|| config.gateway.data_dir.join("trace")),
        #[cfg(feature = "opentelemetry")]
        exports: match &gateway.telemetry {
            Some(telemetry) => telemetry.exports(gateway.bus.watch()),
            None => Box::new(Vec::new),
        },
        #[cfg(not(feature = "opentelemetry"))]
        exports: Box::new(Vec::new),
        packets: protocols::MQTT_PACKET_NAMES,
        hardened: config.gateway.security == Security::Hardened,
        first_password: first_password(config).map_err(wrong)?,
        clock: {
            let clock = gateway.cores.clock();
            Box::new(move || clock.now())
        },
        forward_wakes: {
            let cores = gateway.cores.clone();
            Box::new(move |lane| cores.forward_wakes(lane))
        },
    };
    Server::start(settings).map(Some).map_err(wrong)
}

/// How often the files of the certificate are looked at, at most.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(60);

fn tls(config: &Config) -> Result<Option<(TcpListener, TlsConfig)>, StartError> {
    let settings = &config.dashboard.tls;
    if !settings.enable {
        return Ok(None);
    }
    let wrong = |error: io::Error| StartError::Api { address: settings.bind.to_string(), error };
    let files = match settings.certificate.as_os_str().is_empty() {
        true => certificates::self_signed(&config.gateway.data_dir.join("certs"))
            .map_err(|error| wrong(io::Error::other(error)))?,
        false => CertificateFiles { certificate: settings.certificate.clone(), key: settings.key.clone() },
    };
    let mut options = TlsOptions::new(files);
    options.alpn = vec![b"http/1.1".to_vec()];
    let server = TlsServer::load(options).map_err(|error| wrong(io::Error::other(error)))?;
    let looked = Mutex::new(Instant::now());
    let current = move || {
        let is_due = {
            let mut looked = looked.lock();
            let is_due = looked.elapsed() >= CERTIFICATE_INTERVAL;
            if is_due {
                *looked = Instant::now();
            }
            is_due
        };
        if is_due && let Err(error) = server.reload() {
            tracing::warn!(%error, "changed certificates of the dashboard cannot be used; the old ones stay");
        }
        server.config()
    };
    Ok(Some((socket(&settings.bind).map_err(wrong)?, Box::new(current))))
}

fn first_password(config: &Config) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let dashboard = &config.dashboard;
    if !dashboard.first_password.is_empty() {
        return Ok(Some(dashboard.first_password.as_bytes().to_vec().into()));
    }
    if dashboard.first_password_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = Zeroizing::new(fs::read(&dashboard.first_password_file)?);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.is_empty() {
        true => Err(io::Error::other("dashboard.first_password_file is empty")),
        false => Ok(Some(line.to_vec().into())),
    }
}

/// A socket that listens; for every address of both families where the system has both.
fn socket(bind: &Bind) -> io::Result<TcpListener> {
    let listen = |address: SocketAddr, only_v6: bool| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    match bind {
        Bind::Any(port) => match listen((std::net::Ipv6Addr::UNSPECIFIED, *port).into(), false) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                listen((std::net::Ipv4Addr::UNSPECIFIED, *port).into(), false)
            }
            other => other,
        },
        Bind::Address(address) => listen(*address, true),
        Bind::Path(path) => Err(io::Error::other(format!("{} is no address", path.display()))),
    }
}

/// Does what settings say that count at once.
pub(super) fn apply(
    door: &Door,
    bus: &Bus,
    listeners: &Switchboard,
    config: &Config,
    keys: &[String],
) -> Result<(), ChangeError> {
    let wrong = |error: AccessError| match error.key() {
        Some(key) => ChangeError::Wrong { key, why: error.to_string() },
        None => ChangeError::NotDone(error.to_string()),
    };
    // Listeners that could not start again are told of now.
    access_config::check_mounts(config).map_err(wrong)?;
    if keys.iter().any(|key| key.starts_with("access.")) {
        door.reload(config, bus).map_err(wrong)?;
    }
    if keys.iter().any(|key| key.starts_with("log.")) {
        logging::set_filter(&config.log.level).map_err(|error| ChangeError::NotDone(error.to_string()))?;
    }
    bus.tune(protocols::tuning(config));
    listeners.tune(config);
    Ok(())
}

/// The listeners, for the interface.
struct Listeners {
    switchboard: Arc<Switchboard>,
    settings: Arc<RunTime>,
    door: Arc<Door>,
}

impl api::Listeners for Listeners {
    fn views(&self) -> Vec<ListenerView> {
        let current = self.settings.current();
        self.switchboard.slots_of(&current.config).iter().map(|slot| view(slot, &current.config)).collect()
    }

    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let current = self.settings.current();
            match self.switchboard.slots_of(&current.config).iter().find(|slot| slot.name == name) {
                Some(slot) => {
                    let takes = || self.door.takes_listener(slot.kind, slot.own_name(), &current.config);
                    self.switchboard
                        .start_one(slot, &current.config, || takes().map_err(|error| error.to_string()))
                        .await?;
                    self.settings.in_effect(&format!("listeners.{name}"));
                    // Something may have changed meanwhile.
                    self.switchboard.tune(&self.settings.current().config);
                    Ok(())
                }
                None => Ok(()),
            }
        })
    }

    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(slot) = self.switchboard.find(name) {
                self.switchboard.stop_one(&slot).await;
            }
        })
    }
}

fn view(slot: &Slot, config: &Config) -> ListenerView {
    let name = slot.own_name();
    let settings = config.listeners.of(slot.kind).get(name);
    let view = slot.view();
    let (info, shared, certificate) = match view.info {
        Some((info, shared, certificate)) => (Some(info), Some(shared), certificate),
        None => (None, None, None),
    };
    ListenerView {
        kind: slot.kind.as_str(),
        name: name.to_owned(),
        protocol: settings.map_or("", |settings| settings.protocol.as_str()),
        address: match info {
            Some(info) => info.address,
            None => settings.map(|settings| settings.bind.to_string()).unwrap_or_default(),
        },
        enabled: settings.is_some_and(|settings| settings.enable),
        connections_max: settings.and_then(|settings| settings.max_connections.finite()).map(u64::from),
        websocket_path: settings.filter(|_| slot.kind.is_websocket()).map(|settings| settings.websocket.path.clone()),
        failure: view.failure,
        counts: shared.map(|shared| ListenerCounts {
            connections: shared.counters.connections.load(Ordering::Relaxed),
            accepted: shared.counters.accepted.load(Ordering::Relaxed),
            refused: shared.counters.refused_full.load(Ordering::Relaxed),
        }),
        certificate: certificate.map(|certificate| CertificateView {
            subject: certificate.subject,
            issuer: certificate.issuer,
            not_after_unix_secs: certificate.not_after_unix_secs,
            names: certificate.names,
        }),
    }
}
