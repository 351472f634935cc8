//! The management interface, put together.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering},
};

use socket2::{Domain, Protocol, Socket, Type};
use zeroize::Zeroizing;

use super::{Gateway, StartError, listeners::Running};
use crate::{
    api::{ListenerCounts, ListenerView, Server, ServerSettings},
    config::{Bind, Config, Security},
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
        node: config.gateway.name.clone(),
        bus: gateway.bus.clone(),
        access: gateway.door.access.clone(),
        users: gateway.door.users(),
        journal: gateway.store.journal.clone(),
        settings,
        listeners: gateway.running.iter().map(|running| view(running, config)).collect(),
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

fn view(running: &Running, config: &Config) -> ListenerView {
    let (kind, name) = running.name().split_once('.').unwrap_or(("", running.name()));
    let settings = config.listeners.iter().find(|(of, other, _)| of.as_str() == kind && *other == name);
    let shared = running.shared();
    ListenerView {
        kind: running.kind().as_str(),
        name: name.to_owned(),
        protocol: running.protocol(),
        address: running.info().address,
        connections_max: settings.and_then(|(_, _, listener)| listener.max_connections.finite()).map(u64::from),
        counts: Box::new(move || {
            let counters = &Arc::clone(&shared).counters;
            ListenerCounts {
                connections: counters.connections.load(Ordering::Relaxed),
                accepted: counters.accepted.load(Ordering::Relaxed),
                refused: counters.refused_full.load(Ordering::Relaxed),
            }
        }),
    }
}
