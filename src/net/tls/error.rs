use std::{io, path::Path, sync::Arc};

use crate::net::listener::IoCause;

/// What is wrong with TLS settings or the files they name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file.
        path: Arc<Path>,
        /// The system's reason.
        cause: IoCause,
    },
    /// A file has no certificate in PEM form.
    #[error("{0} holds no certificate in PEM form")]
    NoCertificate(Arc<Path>),
    /// A file has no private key in PEM form.
    #[error("{0} holds no private key in PEM form")]
    NoKey(Arc<Path>),
    /// A file has no revocation list, or one that is damaged.
    #[error("{0} holds no revocation list in PEM or DER form")]
    NoRevocationList(Arc<Path>),
    /// Certificate and key do not fit together, or cannot be used.
    #[error("{path} cannot be used with its key: {cause}")]
    Unusable {
        /// The certificate's file.
        path: Arc<Path>,
        /// The reason.
        cause: rustls::Error,
    },
    /// A certificate authority cannot be used to verify peers.
    #[error("{0} cannot be used to verify certificates")]
    BadAuthority(Arc<Path>),
    /// No certificate is configured.
    #[error("no certificate configured")]
    NothingConfigured,
    /// Settings that contradict each other.
    #[error("unusable TLS settings: {0}")]
    Settings(rustls::Error),
}

impl TlsError {
    pub(super) fn file(path: &Path, cause: &io::Error) -> Self {
        Self::File { path: path.into(), cause: cause.into() }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The peer broke the protocol, or no common ground was found.
    #[error("{0}")]
    Protocol(rustls::Error),
    /// The connection broke, or the peer left.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl From<io::Error> for TlsFault {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause) => Self::Protocol(cause.clone()),
            None => Self::Io((&error).into()),
        }
    }
}
