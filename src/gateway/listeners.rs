use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{ListenerInfo, StartError};
use crate::{
    config::{self, ClientAuth, Config, CrlExpired, ListenerKind, TlsIdentity},
    net::{
        Cores,
        certificates::{self, CertificateError},
        datagram::UdpOptions,
        limit::{Limits, ListenerShared, Rate},
        listener::{Address, Bind, Keepalive, ListenerHandle, ListenerOptions, SocketOptions},
        quic::QuicOptions,
        tls::{
            CertificateFiles, CertificateIdentity, ClientCertificates, IdentityUse, Revocation, TlsOptions, TlsVersion,
        },
        unix::UnixOptions,
        ws::WsOptions,
    },
    protocols::{self, Common, Tuner},
};

/// A listener that was started.
#[derive(Debug)]
pub(super) struct Running {
    kind: ListenerKind,
    name: String,
    protocol: &'static str,
    bind: String,
    /// It listens on every address of both families.
    every: bool,
    /// The file of the certificate that it shows first.
    certificate: Option<PathBuf>,
    handle: ListenerHandle,
    tuner: Tuner,
}

impl Running {
    pub fn address(&self) -> Option<SocketAddr> {
        self.handle.local_address()
    }

    pub fn shared(&self) -> Arc<ListenerShared> {
        self.handle.shared().clone()
    }

    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.certificate.clone()
    }

    pub fn info(&self) -> ListenerInfo {
        let address = match self.address() {
            // As in the configuration, where `[::]` would be IPv6 alone.
            Some(address) if self.every && address.is_ipv6() => format!(":{}", address.port()),
            Some(address) => address.to_string(),
            None => self.bind.clone(),
        };
        let carrier = match self.kind {
            ListenerKind::Tcp => "TCP",
            ListenerKind::Tls => "TLS",
            ListenerKind::Ws => "WebSocket",
            ListenerKind::Wss => "WebSocket over TLS",
            ListenerKind::Quic => "QUIC",
            ListenerKind::Udp => "UDP",
            ListenerKind::Unix => "Unix socket",
        };
        ListenerInfo { name: self.name.clone(), protocol: format!("{} over {carrier}", self.protocol), address }
    }

    /// Conversations to come begin with what these settings say.
    pub fn tune(&self, config: &Config, listener: &config::Listener) {
        self.tuner.tune(config, listener);
    }

    pub async fn stop(&self) {
        self.handle.stop().await;
    }
}

/// Starts a listener.
pub(super) fn start(
    kind: ListenerKind,
    name: &str,
    listener: &config::Listener,
    common: &Common,
    cores: &Cores,
) -> Result<Running, StartError> {
    let options = options(kind, name, listener, &common.config.gateway.data_dir, common)?;
    let certificate = options.tls.as_ref().and_then(|tls| Some(tls.certificates.first()?.certificate.clone()));
    let (handle, tuner) = protocols::start(listener, options, common, cores)?;
    Ok(Running {
        kind,
        name: name.to_owned(),
        protocol: listener.protocol.as_str(),
        bind: listener.bind.to_string(),
        every: matches!(listener.bind, config::Bind::Any(_)),
        certificate,
        handle,
        tuner,
    })
}

fn options(
    kind: ListenerKind,
    name: &str,
    listener: &config::Listener,
    data_dir: &Path,
    common: &Common,
) -> Result<ListenerOptions, StartError> {
    let wrong = |problem: String| StartError::Setting { listener: name.into(), problem };
    let bind = match (kind, &listener.bind) {
        (ListenerKind::Unix, config::Bind::Path(path)) => Bind::Unix(UnixOptions {
            path: path.clone(),
            mode: u32::from_str_radix(&listener.unix.mode, 8)
                .map_err(|_| wrong(format!("unix.mode is {:?}: expected octal digits", listener.unix.mode)))?,
        }),
        (ListenerKind::Unix, other) => return Err(wrong(format!("bind is {other}: expected a path"))),
        (kind, other) => {
            let address = match other {
                config::Bind::Any(port) => Address::Every(*port),
                config::Bind::Address(address) => Address::One(*address),
                config::Bind::Path(_) => return Err(wrong(format!("bind is {other}: expected an address"))),
            };
            match kind {
                ListenerKind::Quic => Bind::Quic(address, quic(&listener.quic, listener.protocol)),
                ListenerKind::Udp => Bind::Udp(address, udp(&listener.udp)),
                _ => Bind::Tcp(address),
            }
        }
    };
    let mut options = ListenerOptions::new(name, bind);
    options.limits = limits(listener);
    options.socket = SocketOptions {
        backlog: listener.backlog,
        nodelay: listener.tcp.nodelay,
        keepalive: keepalive(&listener.tcp),
        ..SocketOptions::default()
    };
    options.proxy_protocol = listener.proxy_protocol;
    options.trusted_proxies = listener.trusted_proxies.iter().copied().collect();
    options.log = common.log.clone();
    if kind.is_encrypted() {
        options.tls = Some(tls(listener, data_dir).map_err(|error| wrong(error.to_string()))?);
    }
    if kind.is_websocket() {
        options.websocket = Some(WsOptions {
            path: listener.websocket.path.clone(),
            subprotocol_required: listener.websocket.subprotocol_required,
            origins: listener.websocket.origins.clone(),
            frame_bytes_max: listener.websocket.max_frame_size.get(),
            forwarded_for: listener.websocket.forwarded_for,
            ..WsOptions::default()
        });
    }
    Ok(options)
}

fn quic(settings: &config::Quic, protocol: config::ListenerProtocol) -> QuicOptions {
    QuicOptions {
        idle_timeout: settings.idle_timeout.duration(),
        keep_alive: Some(settings.keep_alive_interval.duration()).filter(|interval| !interval.is_zero()),
        streams_max: settings.streams_max.into(),
        frame_length: protocols::frame_length(protocol),
        ..QuicOptions::default()
    }
}

fn udp(settings: &config::Udp) -> UdpOptions {
    UdpOptions {
        unproven_max: settings.unproven_max as usize,
        source_rate: settings.source_rate.finite().map(|rate| Rate {
            count: rate.count(),
            per: rate.per().duration(),
            burst: settings.source_burst.into(),
        }),
        receive_buffer_bytes: settings.receive_buffer.as_usize(),
        // What is no address was refused with the configuration.
        groups: settings.groups.iter().filter_map(|text| text.parse().ok()).collect(),
        announce_to: settings.announce_to.iter().filter_map(|text| text.parse().ok()).collect(),
    }
}

fn keepalive(settings: &config::Tcp) -> Option<Keepalive> {
    (!settings.keepalive_idle.is_zero()).then(|| Keepalive {
        idle: settings.keepalive_idle.duration(),
        interval: settings.keepalive_interval.duration(),
        probes: settings.keepalive_probes.into(),
    })
}

pub(super) fn limits(listener: &config::Listener) -> Limits {
    Limits {
        connections_max: listener.max_connections.finite().map_or(usize::MAX, |max| max as usize),
        rate: listener.connection_rate.finite().map(|rate| Rate {
            count: rate.count(),
            per: rate.per().duration(),
            burst: listener.connection_burst.into(),
        }),
        handshakes_max: listener.handshake_concurrency as usize,
        handshake_timeout: listener.handshake_timeout.duration(),
    }
}

const fn identity(setting: TlsIdentity) -> Option<CertificateIdentity> {
    match setting {
        TlsIdentity::None => None,
        TlsIdentity::Cn => Some(CertificateIdentity::CommonName),
        TlsIdentity::Dn => Some(CertificateIdentity::DistinguishedName),
        TlsIdentity::San => Some(CertificateIdentity::AlternativeName),
    }
}

fn tls(listener: &config::Listener, data_dir: &Path) -> Result<TlsOptions, CertificateError> {
    let settings = &listener.tls;
    let first = if settings.certificate.as_os_str().is_empty() {
        certificates::self_signed(&data_dir.join("certs"))?
    } else {
        CertificateFiles { certificate: settings.certificate.clone(), key: settings.key.clone() }
    };
    let further = settings
        .additional
        .iter()
        .map(|pair| CertificateFiles { certificate: pair.certificate.clone(), key: pair.key.clone() });
    let authorities = settings.client_ca.clone();
    let revocation =
        Revocation { lists: settings.crl_files.clone(), refuse_expired: settings.crl_expired == CrlExpired::Refuse };
    Ok(TlsOptions {
        certificates: std::iter::once(first).chain(further).collect(),
        client_certificates: match settings.client_auth {
            ClientAuth::None => ClientCertificates::None,
            ClientAuth::Optional => ClientCertificates::Optional { authorities, revocation },
            ClientAuth::Required => ClientCertificates::Required { authorities, revocation },
        },
        identity: IdentityUse {
            username: identity(settings.identity_as_username),
            client_id: identity(settings.identity_as_client_id),
        },
        versions: settings
            .versions
            .iter()
            .map(|version| match version {
                config::TlsVersion::V1_2 => TlsVersion::V1_2,
                config::TlsVersion::V1_3 => TlsVersion::V1_3,
            })
            .collect(),
        alpn: Vec::new(),
        reload_interval: Some(settings.reload_interval.duration()).filter(|interval| !interval.is_zero()),
    })
}
