//! Who may come in and what they may do. Never sees a packet.
//!
//! With no authenticator configured everyone may connect, and all may publish and subscribe to everything but the
//! gateway's own `$SYS` topics, which only the gateway publishes to.

use thingway_contract::{Connect, Peer, Refusal, TopicFilter};

use crate::bus::Session;

/// The access rules of a gateway.
#[derive(Debug, Default)]
pub struct Access {}

/// Who was let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The user name that the session runs under: the certificate's identity where the listener takes it.
    pub username: Option<Box<str>>,
}

impl Access {
    /// Decides on a connection.
    pub fn admit(&self, connect: &Connect, peer: &Peer) -> Result<Admission, Refusal> {
        if connect.credentials.method.is_some() {
            // No method of enhanced authentication is configured.
            return Err(Refusal::BadAuthenticationMethod);
        }
        let username = peer.certificate_identity.clone().or_else(|| connect.credentials.username.clone());
        Ok(Admission { username })
    }

    /// Decides on a publication.
    pub fn may_publish(&self, _session: &Session, topic: &str) -> bool {
        !is_system(topic)
    }

    /// Decides on a subscription.
    pub fn may_subscribe(&self, _session: &Session, _filter: &TopicFilter) -> bool {
        true
    }
}

fn is_system(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gateway_speaks_on_system_topics() {
        assert!(is_system("$SYS") && is_system("$SYS/brokers"));
        assert!(!is_system("$SYSTEM/x") && !is_system("a/$SYS"));
    }
}
