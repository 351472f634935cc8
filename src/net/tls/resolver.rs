use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Lower-case names, each with the place of its certificate.
    names: Vec<(Box<str>, usize)>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    /// `keys` has at least one.
    pub(super) fn new(keys: Vec<Arc<CertifiedKey>>) -> Self {
        let mut names = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let leaf = key.cert.first().map(|leaf| X509Certificate::from_der(leaf));
            let Some(Ok((_, leaf))) = leaf else { continue };
            let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { continue };
            for name in &alternatives.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push((name.to_ascii_lowercase().into(), index));
                }
            }
        }
        Self { names, keys }
    }

    fn index(&self, wanted: Option<&str>) -> usize {
        let Some(wanted) = wanted.map(str::to_ascii_lowercase) else { return 0 };
        let find = |name: &str| self.names.iter().find(|(known, _)| **known == *name).map(|(_, index)| *index);
        let wildcard = || find(&format!("*.{}", wanted.split_once('.')?.1));
        find(&wanted).or_else(wildcard).unwrap_or(0)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.keys.get(self.index(hello.server_name())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_before_wildcard_before_the_first() {
        let names = [("*.b.example", 1), ("a.b.example", 2)].map(|(name, index)| (name.into(), index)).into();
        let resolver = Resolver { names, keys: Vec::new() };
        assert_eq!(resolver.index(Some("A.b.example")), 2);
        assert_eq!(resolver.index(Some("x.b.example")), 1);
        assert_eq!(resolver.index(Some("x.y.b.example")), 0);
        assert_eq!(resolver.index(Some("b.example")), 0);
        assert_eq!(resolver.index(None), 0);
    }
}
