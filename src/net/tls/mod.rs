//! TLS: server settings with reload, the transport, and what a client needs.
//!
//! The only crypto library is `ring`, named in [`provider`] alone.

mod client;
mod config;
mod error;
mod identity;
mod resolver;
mod scratch;
mod server;
mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, ServerTrust};
pub use config::{CertificateFiles, ClientCertificates, Revocation, TlsOptions, TlsVersion};
pub use error::{TlsError, TlsFault};
pub use identity::{CertificateIdentity, IdentityUse};
pub use server::{Reload, TlsServer};
pub use stream::{Tls, accept};

/// The crypto library.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
pub(in crate::net) mod tests;
