use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What of a client's certificate is its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateIdentity {
    /// The common name of the subject.
    CommonName,
    /// The whole distinguished name of the subject, as `CN=device 1, O=Example`.
    DistinguishedName,
    /// The first DNS name among the subject alternative names.
    DnsName,
    /// The first mail address among the subject alternative names.
    Email,
    /// The first URI among the subject alternative names.
    Uri,
}

impl CertificateIdentity {
    /// Takes the identity from a certificate in DER form; `None` when it has none of this kind.
    pub fn of(self, certificate: &[u8]) -> Option<Box<str>> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let text = match self {
            Self::CommonName => certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned(),
            Self::DistinguishedName => certificate.subject().to_string(),
            Self::DnsName | Self::Email | Self::Uri => {
                let alternatives = certificate.subject_alternative_name().ok()??;
                alternatives.value.general_names.iter().find_map(|name| match (self, name) {
                    (Self::DnsName, GeneralName::DNSName(text))
                    | (Self::Email, GeneralName::RFC822Name(text))
                    | (Self::Uri, GeneralName::URI(text)) => Some((*text).to_owned()),
                    _ => None,
                })?
            }
        };
        (!text.is_empty()).then(|| text.into())
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
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let of = |kind: CertificateIdentity| kind.of(certificate.der()).map(String::from);
        assert_eq!(of(CertificateIdentity::CommonName), Some("device 1".into()));
        let name = of(CertificateIdentity::DistinguishedName).unwrap();
        assert!(name.contains("CN=device 1") && name.contains("O=Example"), "{name}");
        assert_eq!(of(CertificateIdentity::DnsName), Some("a.example".into()));
        assert_eq!(of(CertificateIdentity::Email), Some("d@a.example".into()));
        assert_eq!(of(CertificateIdentity::Uri), Some("urn:dev:1".into()));
        assert_eq!(CertificateIdentity::CommonName.of(b"junk"), None);
    }
}
