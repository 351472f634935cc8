use std::sync::Arc;

use super::{
    attempt::{Attempt, Grant, Said},
    chain::{Asked, Authenticator},
};

/// Lets in whoever has shown a certificate that the listener verified and takes for the user name or the client id.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateHolders;

impl Authenticator for CertificateHolders {
    fn name(&self) -> &str {
        "certificate"
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        Asked::Said(if attempt.is_named_by_certificate() { Said::Allow(Grant::default()) } else { Said::Ignore })
    }
}
