//! A certificate of our own, so that TLS works before anybody has made a real one.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use tracing::warn;
use x509_parser::{pem::parse_x509_pem, prelude::GeneralName};

use super::{
    listener::IoCause,
    tls::{CertificateFiles, TlsError, TlsOptions, TlsServer},
};

/// How long a certificate is good for: what clients take at most of a certificate that people trust by hand.
const LIFETIME: Duration = Duration::from_secs(825 * 24 * 3600);
/// A certificate this close to its end is replaced at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no self-signed certificate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file or directory cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        cause: IoCause,
    },
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(rcgen::Error),
    /// The files that are there cannot be used, and are not ours to replace.
    #[error("{0}; remove certificate and key to have new ones made")]
    Unusable(TlsError),
}

/// Finds the self-signed certificate in `directory`, or makes one at first and when the old one runs out. It is for
/// `localhost`, the loopback addresses and this machine's name. The key's file can be read by the owner alone.
pub fn self_signed(directory: &Path) -> Result<CertificateFiles, CertificateError> {
    let files =
        CertificateFiles { certificate: directory.join("self-signed.pem"), key: directory.join("self-signed.key") };
    if files.certificate.exists() && files.key.exists() {
        TlsServer::load(TlsOptions::new(files.clone())).map_err(CertificateError::Unusable)?;
        if !ends_within(&files.certificate, RENEW_BEFORE)? {
            return Ok(files);
        }
        warn!(certificate = %files.certificate.display(), "the self-signed certificate has run out and is replaced");
    }
    make(directory, &files)?;
    warn!(
        certificate = %files.certificate.display(),
        "no certificate is configured: made a self-signed one, which clients will not trust by themselves"
    );
    Ok(files)
}

/// What people want to know about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Its subject, as `CN=broker, O=Example`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub not_after_unix_secs: u64,
    /// DNS names and addresses that it is good for.
    pub names: Vec<String>,
}

impl CertificateInfo {
    /// The first certificate of a PEM file; `None` when there is none that can be read.
    pub fn read(file: &Path) -> Option<Self> {
        let text = std::fs::read(file).ok()?;
        let (_, pem) = parse_x509_pem(&text).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
            },
            _ => None,
        });
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_after_unix_secs: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
            names: names.collect(),
        })
    }
}

fn make(directory: &Path, files: &CertificateFiles) -> Result<(), CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Thingway self-signed");
    params.subject_alt_names = names()?;
    params.not_before = (SystemTime::now() - Duration::from_secs(24 * 3600)).into();
    params.not_after = (SystemTime::now() + LIFETIME).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(CertificateError::Generate)?;
    let certificate = params.self_signed(&key).map_err(CertificateError::Generate)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
    write(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    write(&files.certificate, certificate.pem().as_bytes(), 0o644)
}

fn names() -> Result<Vec<SanType>, CertificateError> {
    let mut names = vec!["localhost".to_owned()];
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname")
        && !host.trim().is_empty()
        && host.trim() != "localhost"
    {
        names.push(host.trim().to_owned());
    }
    let mut names = names
        .into_iter()
        .map(|name| Ok(SanType::DnsName(name.try_into().map_err(CertificateError::Generate)?)))
        .collect::<Result<Vec<_>, _>>()?;
    names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    Ok(names)
}

/// Replaces a file whole, so that nobody sees half of it.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    let temporary = path.with_extension("new");
    // A leftover may have other permission bits.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&temporary)(error)),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(at(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
    std::fs::rename(&temporary, path).map_err(at(path))
}

fn ends_within(path: &Path, margin: Duration) -> Result<bool, CertificateError> {
    let bytes = std::fs::read(path).map_err(at(path))?;
    let end = parse_x509_pem(&bytes)
        .ok()
        .and_then(|(_, pem)| Some(pem.parse_x509().ok()?.validity().not_after.timestamp()))
        .unwrap_or(0);
    let limit = SystemTime::now() + margin;
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(u64::try_from(end).unwrap_or(0) < limit)
}

fn at(path: &Path) -> impl Fn(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |error| CertificateError::File { path: path.clone(), cause: (&error).into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn made_once_and_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let certs = directory.path().join("data/certs");
        let files = self_signed(&certs).unwrap();
        assert_eq!(mode(&files.key), 0o600);
        assert_eq!(mode(&certs), 0o700);
        let first = std::fs::read(&files.certificate).unwrap();
        assert_eq!(self_signed(&certs).unwrap(), files);
        assert_eq!(std::fs::read(&files.certificate).unwrap(), first);
    }

    #[test]
    fn replaced_when_it_runs_out() {
        let directory = tempfile::tempdir().unwrap();
        let files = self_signed(directory.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
        let old = params.self_signed(&key).unwrap().pem();
        std::fs::write(&files.certificate, &old).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        self_signed(directory.path()).unwrap();
        assert_ne!(std::fs::read_to_string(&files.certificate).unwrap(), old);
        assert!(!ends_within(&files.certificate, RENEW_BEFORE).unwrap());
    }

    #[test]
    fn broken_files_are_reported_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let files = self_signed(directory.path()).unwrap();
        std::fs::write(&files.certificate, "rubbish").unwrap();
        assert!(matches!(self_signed(directory.path()), Err(CertificateError::Unusable(_))));
        assert_eq!(std::fs::read(&files.certificate).unwrap(), b"rubbish");
    }
}
