use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Whether what is said to a server is encrypted.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    /// It is not.
    #[default]
    Off,
    /// It is, and the server's certificate must be good and for its name.
    On(TlsFiles),
}

/// What encryption needs, in PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The roots that the server's certificate may come from; without it those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate and its key to show to the server.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why there can be no encryption.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be used.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no roots.
    #[error("the system has no root certificates: name a file with some")]
    NoRoots,
}

impl Tls {
    /// For clients that use rustls themselves; `None` when it is off.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let Self::On(files) = self else { return Ok(None) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| bad(path, error))?;
                }
            }
            // One that is damaged is of no use to anybody, and no harm.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::File { path: PathBuf::new(), why: error.to_string() })?
            .with_root_certificates(roots);
        let config = match &files.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?;
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(|error| bad(key, error))?
            }
        };
        Ok(Some(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = File::open(path).map_err(|error| bad(path, error))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    let all = all.map_err(|error| bad(path, error))?;
    if all.is_empty() { Err(bad(path, "no certificate")) } else { Ok(all) }
}

fn bad(path: &Path, why: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_of_no_use_are_named() {
        let on = |ca: &str| Tls::On(TlsFiles { ca: Some(ca.into()), client: None });
        let told = on("/nonexistent/ca.pem").client_config().expect_err("not there").to_string();
        assert!(told.starts_with("/nonexistent/ca.pem: "), "{told}");
        let told = on("/dev/null").client_config().expect_err("empty").to_string();
        assert_eq!(told, "/dev/null: no certificate");
        assert!(Tls::Off.client_config().expect("nothing to read").is_none());
    }
}
