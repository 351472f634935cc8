use std::{fmt, io, net::SocketAddr, sync::Arc};

/// Why a listener could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be used.
    #[error("listener {listener}: cannot listen on {address}: {cause}")]
    Bind {
        /// The listener.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        cause: IoCause,
    },
}

impl ListenError {
    pub(super) fn bind(listener: &Arc<str>, address: SocketAddr, cause: &io::Error) -> Self {
        Self::Bind { listener: listener.clone(), address, cause: cause.into() }
    }
}

/// Why a handshake failed, and by whose fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The connection broke, or the peer left.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl From<io::Error> for HandshakeFault {
    fn from(error: io::Error) -> Self {
        Self::Io((&error).into())
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
