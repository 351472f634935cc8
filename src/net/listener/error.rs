use std::{fmt, io, path::Path, sync::Arc};

use super::Address;
use crate::net::{
    proxy::ProxyFault,
    tls::{TlsError, TlsFault},
    ws::UpgradeFault,
};

/// Why a listener could not start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be used.
    #[error("listener {listener}: cannot listen on {address}: {cause}")]
    Bind {
        /// The listener.
        listener: Arc<str>,
        /// The address.
        address: Address,
        /// The system's reason.
        cause: IoCause,
    },
    /// The Unix socket cannot be used.
    #[error("listener {listener}: cannot listen on {path}: {cause}")]
    Path {
        /// The listener.
        listener: Arc<str>,
        /// The socket's path.
        path: Arc<Path>,
        /// The system's reason.
        cause: IoCause,
    },
    /// The TLS settings, or the files that they name, cannot be used.
    #[error("listener {listener}: {cause}")]
    Tls {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong.
        cause: TlsError,
    },
    /// QUIC needs TLS settings, with TLS 1.3 and no WebSocket; a Unix socket has neither TLS nor WebSocket.
    #[error("listener {0}: TLS or WebSocket settings do not fit the transport")]
    Combination(Arc<str>),
}

impl ListenError {
    pub(in crate::net) fn bind(listener: &Arc<str>, address: Address, cause: &io::Error) -> Self {
        Self::Bind { listener: listener.clone(), address, cause: cause.into() }
    }

    pub(super) fn path(listener: &Arc<str>, path: &Path, cause: &io::Error) -> Self {
        Self::Path { listener: listener.clone(), path: path.into(), cause: cause.into() }
    }
}

/// Why a handshake failed, and by whose fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// A trusted proxy did not tell whose connection it is.
    #[error("{0}")]
    Proxy(ProxyFault),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// The QUIC handshake failed.
    #[error("QUIC: {0}")]
    Quic(quinn::ConnectionError),
    /// The WebSocket upgrade was refused.
    #[error("WebSocket: {0}")]
    WebSocket(UpgradeFault),
    /// The connection broke, or the peer left.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl HandshakeFault {
    /// A word for its kind, by which log lines are limited.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Proxy(_) => "proxy handshake",
            Self::Tls(_) => "TLS handshake",
            Self::Quic(_) => "QUIC handshake",
            Self::WebSocket(_) => "WebSocket handshake",
            Self::Io(_) => "broken handshake",
        }
    }
}

impl From<ProxyFault> for HandshakeFault {
    fn from(fault: ProxyFault) -> Self {
        match fault {
            ProxyFault::Io(cause) => Self::Io(cause),
            fault => Self::Proxy(fault),
        }
    }
}

impl From<TlsFault> for HandshakeFault {
    fn from(fault: TlsFault) -> Self {
        match fault {
            TlsFault::Io(cause) => Self::Io(cause),
            fault => Self::Tls(fault),
        }
    }
}

impl From<quinn::ConnectionError> for HandshakeFault {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError::{ApplicationClosed, LocallyClosed, Reset, TimedOut};
        match error {
            TimedOut => Self::Io(io::ErrorKind::TimedOut.into()),
            Reset | ApplicationClosed(_) | LocallyClosed => Self::Io(io::ErrorKind::ConnectionReset.into()),
            fault => Self::Quic(fault),
        }
    }
}

impl From<UpgradeFault> for HandshakeFault {
    fn from(fault: UpgradeFault) -> Self {
        match fault {
            UpgradeFault::Io(cause) => Self::Io(cause),
            fault => Self::WebSocket(fault),
        }
    }
}

/// The part of an `io::Error` that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoCause {
    /// Its kind.
    pub kind: io::ErrorKind,
    /// The system's number, when it came from the system.
    pub os: Option<i32>,
}

impl From<&io::Error> for IoCause {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), os: error.raw_os_error() }
    }
}

impl From<io::ErrorKind> for IoCause {
    fn from(kind: io::ErrorKind) -> Self {
        Self { kind, os: None }
    }
}

impl fmt::Display for IoCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.os {
            Some(os) => fmt::Display::fmt(&io::Error::from_raw_os_error(os), f),
            None => fmt::Display::fmt(&self.kind, f),
        }
    }
}
