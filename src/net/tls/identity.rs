use std::net::IpAddr;

use thingway_contract::{Certificate, ClientIdSource, NameKind};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Alternative names of a certificate that are looked at; further ones are left out.
const ALTERNATIVE_NAMES_MAX: usize = 32;

/// What of a client's certificate is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateIdentity {
    /// The common name of the subject.
    CommonName,
    /// The whole distinguished name of the subject, as `CN=device 1, O=Example`.
    DistinguishedName,
    /// The first DNS name, mail address, URI or address among the subject alternative names.
    AlternativeName,
}

/// What a listener takes from certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityUse {
    /// For the user name.
    pub username: Option<CertificateIdentity>,
    /// For the client id.
    pub client_id: Option<CertificateIdentity>,
}

impl IdentityUse {
    /// What a certificate in DER form says; `None` when it is none.
    pub fn read(self, certificate: &[u8]) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let mut read = Certificate {
            common_name: subject.iter_common_name().next().and_then(|name| text(name.as_str().ok()?)),
            subject: text(&subject.to_string()),
            alternative_names: alternative_names(&certificate),
            ..Certificate::default()
        };
        read.username = self.username.and_then(|kind| kind.of(&read));
        read.client_id = match self.client_id.map(|kind| kind.of(&read)) {
            None => ClientIdSource::Peer,
            Some(None) => ClientIdSource::Missing,
            Some(Some(id)) => ClientIdSource::Certificate(id),
        };
        Some(read)
    }
}

impl CertificateIdentity {
    fn of(self, certificate: &Certificate) -> Option<Box<str>> {
        match self {
            Self::CommonName => certificate.common_name.clone(),
            Self::DistinguishedName => certificate.subject.clone(),
            Self::AlternativeName => certificate.alternative_name(None).map(Into::into),
        }
    }
}

fn text(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Box<[(NameKind, Box<str>)]> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Box::default() };
    let one = |name: &GeneralName<'_>| {
        let (kind, name) = match name {
            GeneralName::DNSName(name) => (NameKind::Dns, text(name)?),
            GeneralName::URI(name) => (NameKind::Uri, text(name)?),
            GeneralName::RFC822Name(name) => (NameKind::Email, text(name)?),
            GeneralName::IPAddress(bytes) => (NameKind::Address, address(bytes)?.to_string().into()),
            _ => return None,
        };
        Some((kind, name))
    };
    names.value.general_names.iter().filter_map(one).take(ALTERNATIVE_NAMES_MAX).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn each_kind() {
        let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "device 1");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.subject_alt_names.push(SanType::Rfc822Name("d@a.example".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("urn:dev:1".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = |username, client_id| IdentityUse { username, client_id }.read(certificate.der()).unwrap();
        let plain = read(None, None);
        assert_eq!(plain.common_name.as_deref(), Some("device 1"));
        let subject = plain.subject.as_deref().unwrap();
        assert!(subject.contains("CN=device 1") && subject.contains("O=Example"), "{subject}");
        for (kind, expected) in [
            (None, "a.example"),
            (Some(NameKind::Dns), "a.example"),
            (Some(NameKind::Email), "d@a.example"),
            (Some(NameKind::Uri), "urn:dev:1"),
            (Some(NameKind::Address), "192.0.2.7"),
        ] {
            assert_eq!(plain.alternative_name(kind), Some(expected), "{kind:?}");
        }
        assert!(!plain.names_peer() && plain.client_id == ClientIdSource::Peer);
        let named = read(Some(CertificateIdentity::CommonName), Some(CertificateIdentity::AlternativeName));
        assert_eq!(named.username.as_deref(), Some("device 1"));
        assert_eq!(named.client_id, ClientIdSource::Certificate("a.example".into()));
        assert_eq!(read(Some(CertificateIdentity::DistinguishedName), None).username.as_deref(), Some(subject));
        assert_eq!(IdentityUse::default().read(b"junk"), None);
    }

    #[test]
    fn a_name_that_is_not_there() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let kind = Some(CertificateIdentity::CommonName);
        let read = IdentityUse { username: kind, client_id: kind }.read(certificate.der()).unwrap();
        assert_eq!((read.username, read.client_id), (None, ClientIdSource::Missing));
    }
}
