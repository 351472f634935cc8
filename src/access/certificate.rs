use std::sync::Arc;

use super::{
    attempt::{Attempt, Grant, Said},
    chain::{Asked, Authenticator},
};

/// Lets in whoever has shown a certificate that the listener verified and takes for the user name.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateHolders;

impl Authenticator for CertificateHolders {
    fn name(&self) -> &str {
        "certificate"
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        Asked::Said(if attempt.certificate.is_some() { Said::Allow(Grant::default()) } else { Said::Ignore })
    }
}
