use std::{
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{IdentityUse, TlsError, provider, resolver::Resolver};

/// TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates, chosen by the name that the client asks for (SNI). The first also serves clients that ask for no
    /// name or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// What of a client's certificate is its name.
    pub identity: IdentityUse,
    /// Versions that are spoken; at least one.
    pub versions: Vec<TlsVersion>,
    /// Application protocols that are offered (ALPN); empty for none.
    pub alpn: Vec<Vec<u8>>,
    /// How often the files are looked at for changes; `None` never.
    pub reload_interval: Option<Duration>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate chain in PEM form, the leaf first. Its subject alternative names decide what it serves.
    pub certificate: PathBuf,
    /// Private key in PEM form.
    pub key: PathBuf,
}

/// Whether clients show certificates, and who must have signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    None,
    /// Asked for; a client without one is let in.
    Optional {
        /// Certificates of the authorities, in PEM form.
        authorities: PathBuf,
        /// Which certificates count no longer.
        revocation: Revocation,
    },
    /// Needed.
    Required {
        /// Certificates of the authorities, in PEM form.
        authorities: PathBuf,
        /// Which certificates count no longer.
        revocation: Revocation,
    },
}

/// Which certificates count no longer, though their authority has signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// Revocation lists (CRL), in PEM or DER form. A certificate whose authority has no list here counts.
    pub lists: Vec<PathBuf>,
    /// When a list has run out, nobody whom it is about is let in. Otherwise it holds until there is a new one.
    pub refuse_expired: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    V1_2,
    /// 1.3.
    V1_3,
}

impl TlsVersion {
    fn rustls(self) -> &'static rustls::SupportedProtocolVersion {
        match self {
            Self::V1_2 => &rustls::version::TLS12,
            Self::V1_3 => &rustls::version::TLS13,
        }
    }
}

impl TlsOptions {
    /// Settings with one certificate.
    pub fn new(certificate: CertificateFiles) -> Self {
        Self {
            certificates: vec![certificate],
            client_certificates: ClientCertificates::None,
            identity: IdentityUse::default(),
            versions: vec![TlsVersion::V1_2, TlsVersion::V1_3],
            alpn: Vec::new(),
            reload_interval: Some(Duration::from_secs(10)),
        }
    }

    /// Reads all files.
    pub(super) fn read(&self) -> Result<Material, TlsError> {
        let certificates = self
            .certificates
            .iter()
            .map(|files| Ok((read(&files.certificate)?, read(&files.key)?)))
            .collect::<Result<_, TlsError>>()?;
        let (authorities, revoked) = match &self.client_certificates {
            ClientCertificates::None => (None, Vec::new()),
            ClientCertificates::Optional { authorities, revocation }
            | ClientCertificates::Required { authorities, revocation } => {
                (Some(read(authorities)?), revocation.lists.iter().map(read).collect::<Result<_, _>>()?)
            }
        };
        Ok(Material { certificates, authorities, revoked })
    }

    /// Makes rustls's form of the settings. Each call has its own key for session tickets, so that no ticket outlives
    /// the authorities that its client was verified by.
    pub(super) fn build(&self, material: &Material) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let mut keys = Vec::new();
        for (files, (certificate, key)) in self.certificates.iter().zip(&material.certificates) {
            keys.push(certified_key(files, certificate, key, &provider)?);
        }
        if keys.is_empty() {
            return Err(TlsError::NothingConfigured);
        }
        let versions: Vec<_> = self.versions.iter().map(|version| version.rustls()).collect();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(TlsError::Settings)?;
        let builder = match self.verifier(material, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(keys)));
        config.alpn_protocols = self.alpn.clone();
        // Resumption without memory: one ticket, which holds all the state.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Settings)?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        material: &Material,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (path, revocation, optional) = match &self.client_certificates {
            ClientCertificates::None => return Ok(None),
            ClientCertificates::Optional { authorities, revocation } => (authorities, revocation, true),
            ClientCertificates::Required { authorities, revocation } => (authorities, revocation, false),
        };
        let roots = roots(path, material.authorities.as_deref().unwrap_or_default())?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let mut lists = Vec::new();
        for (path, bytes) in revocation.lists.iter().zip(&material.revoked) {
            lists.extend(revocation_lists(path, bytes)?);
        }
        if !lists.is_empty() {
            builder = builder.with_crls(lists).allow_unknown_revocation_status();
            if revocation.refuse_expired {
                builder = builder.enforce_revocation_expiration();
            }
        }
        if optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|_| TlsError::BadAuthority(path.as_path().into()))
    }
}

/// Contents of the files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    certificates: Vec<(Vec<u8>, Vec<u8>)>,
    authorities: Option<Vec<u8>>,
    revoked: Vec<Vec<u8>>,
}

impl Material {
    /// Tells two contents apart without keeping the keys in memory.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (&self.certificates, &self.authorities, &self.revoked).hash(&mut hasher);
        hasher.finish()
    }
}

pub(super) fn certified_key(
    files: &CertificateFiles,
    certificate: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let path = || files.certificate.as_path().into();
    let chain = chain(&files.certificate, certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey(files.key.as_path().into()))?;
    let key =
        CertifiedKey::from_der(chain, key, provider).map_err(|cause| TlsError::Unusable { path: path(), cause })?;
    Ok(Arc::new(key))
}

pub(super) fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, bytes)? {
        roots.add(certificate).map_err(|_| TlsError::BadAuthority(path.into()))?;
    }
    Ok(roots)
}

pub(super) fn chain(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let missing = || TlsError::NoCertificate(path.into());
    let chain = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(|_| missing())?;
    if chain.is_empty() { Err(missing()) } else { Ok(chain) }
}

/// The lists in a file: several in PEM form, or one in DER form.
fn revocation_lists(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let missing = || TlsError::NoRevocationList(path.into());
    let is_text = bytes.windows(5).any(|window| window == b"-----");
    let lists = if is_text {
        let lists = CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
        lists.map_err(|_| missing())?
    } else {
        vec![CertificateRevocationListDer::from(bytes.to_vec())]
    };
    // The verifier would not say which of the files it was.
    let all_good = lists.iter().all(|list| x509_parser::parse_x509_crl(list).is_ok());
    if all_good && !lists.is_empty() { Ok(lists) } else { Err(missing()) }
}

pub(super) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, TlsError> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|cause| TlsError::file(path, &cause))
}
