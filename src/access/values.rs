//! What placeholders stand for in what is asked of services.

use std::{borrow::Cow, net::IpAddr};

use thingway_connectors::Values;

use super::{
    attempt::Attempt,
    authority::Inquiry,
    rules::{Action, CertificateField},
};

/// Names of placeholders that stand for somebody who wants to connect.
const OF_ATTEMPTS: &[&str] = &[
    "username",
    "clientid",
    "password",
    "peerhost",
    "peerport",
    "peername",
    "cert_common_name",
    "cert_subject",
    "cert_san",
    "listener",
    "proto_name",
];
/// Names of those that stand for what a client wants to do.
const OF_INQUIRIES: &[&str] = &[
    "username",
    "clientid",
    "peerhost",
    "cert_common_name",
    "cert_subject",
    "cert_san",
    "listener",
    "proto_name",
    "topic",
    "action",
    "qos",
    "retain",
];

/// Whether a placeholder may be used in what is asked about somebody who wants to connect.
pub fn is_of_attempts(name: &str) -> bool {
    OF_ATTEMPTS.contains(&name) || is_attribute(name) || is_property(name)
}

fn is_attribute(name: &str) -> bool {
    name.strip_prefix("client_attrs.").is_some_and(|attribute| !attribute.is_empty())
}

fn is_property(name: &str) -> bool {
    name.strip_prefix("user_property.").is_some_and(|property| !property.is_empty())
}

/// Whether a placeholder may be used in what is asked about what a client wants to do.
pub fn is_of_inquiries(name: &str) -> bool {
    OF_INQUIRIES.contains(&name) || is_attribute(name)
}

fn text(text: &str) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(text))
}

fn address(address: Option<IpAddr>) -> Option<Cow<'static, str>> {
    Some(Cow::Owned(address?.to_string()))
}

impl Values for Attempt {
    /// What is not shown is not known, except that there is always a client id, which may be empty.
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "username" => text(self.username.as_deref()?),
            "clientid" => text(self.client_id.as_ref().map_or("", |id| id.as_str())),
            "password" => text(std::str::from_utf8(self.password.as_deref()?).ok()?),
            "peerhost" => address(self.address()),
            "peerport" => Some(Cow::Owned(self.remote?.port().to_string())),
            "peername" => Some(Cow::Owned(self.remote?.to_string())),
            "listener" => text(&self.listener),
            "proto_name" => text(self.protocol),
            other => {
                if let Some(name) = other.strip_prefix("client_attrs.") {
                    text(self.attributes.find(name)?)
                } else if let Some(name) = other.strip_prefix("user_property.") {
                    text(self.user_properties.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)?)
                } else {
                    text(CertificateField::parse(other)?.of(self.certificate.as_deref()?)?)
                }
            }
        }
    }
}

impl Values for Inquiry {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let who = self.identity.who(&self.client_id);
        let (action, qos, retain) = match self.action {
            Action::Publish { qos, retain } => ("publish", qos, retain),
            Action::Subscribe { qos } => ("subscribe", qos, false),
        };
        match name {
            "username" => self.identity.username().map(Cow::Borrowed),
            "clientid" => text(&self.client_id),
            "peerhost" => address(who.address),
            "listener" => Some(Cow::Owned(who.listener.to_owned())),
            "proto_name" => text(who.protocol),
            "topic" => text(&self.topic),
            "action" => text(action),
            "qos" => Some(Cow::Owned((qos as u8).to_string())),
            "retain" => text(if retain { "true" } else { "false" }),
            other => {
                let value = match other.strip_prefix("client_attrs.") {
                    Some(name) => who.attributes?.find(name),
                    None => CertificateField::parse(other)?.of(who.certificate?),
                };
                Some(Cow::Owned(value?.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thingway_contract::{Certificate, NameKind, Qos};

    use super::*;
    use crate::access::{Grant, Identity};

    fn attempt() -> Attempt {
        Attempt {
            username: Some("bob".into()),
            certificate: Some(Arc::new(Certificate {
                common_name: Some("device".into()),
                subject: Some("CN=device".into()),
                alternative_names: [(NameKind::Dns, "d.example".into())].into(),
                ..Certificate::default()
            })),
            remote: Some("[::ffff:10.0.0.1]:7".parse().expect("an address")),
            listener: "tcp.default".into(),
            protocol: "mqtt",
            user_properties: [("region".into(), "eu".into())].into(),
            attributes: [("tier", "gold")].into_iter().collect(),
            client_id: None,
            password: None,
        }
    }

    #[test]
    fn every_name_that_may_be_used_is_looked_for() {
        let attempt = attempt();
        let known: Vec<_> = OF_ATTEMPTS.iter().filter_map(|name| attempt.value(name)).collect();
        assert_eq!(
            known,
            [
                "bob",
                "",
                "10.0.0.1",
                "7",
                "[::ffff:10.0.0.1]:7",
                "device",
                "CN=device",
                "d.example",
                "tcp.default",
                "mqtt"
            ]
        );
        let grant = Grant { attributes: [("site", "north")].into_iter().collect(), ..Grant::default() };
        let inquiry = Inquiry {
            identity: Arc::new(Identity::new(&attempt, grant)),
            client_id: "c".into(),
            action: Action::Publish { qos: Qos::AtLeastOnce, retain: true },
            topic: "a/b".into(),
        };
        let known: Vec<_> = OF_INQUIRIES.iter().filter_map(|name| inquiry.value(name)).collect();
        assert_eq!(
            known,
            [
                "bob",
                "c",
                "10.0.0.1",
                "device",
                "CN=device",
                "d.example",
                "tcp.default",
                "mqtt",
                "a/b",
                "publish",
                "1",
                "true"
            ]
        );
        assert_eq!(inquiry.value("client_attrs.site").as_deref(), Some("north"));
        assert_eq!(inquiry.value("client_attrs.other"), None);
        assert_eq!(attempt.value("client_attrs.tier").as_deref(), Some("gold"));
        assert_eq!(attempt.value("user_property.region").as_deref(), Some("eu"));
        assert_eq!(attempt.value("user_property.none"), None);
        assert!(is_of_attempts("user_property.x") && !is_of_attempts("user_property."));
        assert!(is_of_inquiries("client_attrs.site") && !is_of_inquiries("client_attrs.") && !is_of_attempts("topic"));
    }
}
