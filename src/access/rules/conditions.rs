use std::net::IpAddr;

use regex::{Regex, RegexBuilder};
use thingway_contract::Certificate;

use super::{Placeholder, RuleCause};
use crate::{access::attempt::Attributes, network::Network};

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Who wants to do something, as rules see them.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// What its certificate says.
    pub certificate: Option<&'a Certificate>,
    /// The address.
    pub address: Option<IpAddr>,
    /// The address as text.
    pub address_text: Option<&'a str>,
    /// The listener's name.
    pub listener: &'a str,
    /// The protocol's name.
    pub protocol: &'a str,
    /// Attributes.
    pub attributes: Option<&'a Attributes>,
}

impl<'a> Who<'a> {
    /// Somebody of whom nothing is known.
    pub const fn nobody() -> Self {
        Self {
            client_id: "",
            username: None,
            certificate: None,
            address: None,
            address_text: None,
            listener: "",
            protocol: "",
            attributes: None,
        }
    }

    pub(super) fn value(&self, placeholder: &Placeholder) -> Option<&'a str> {
        match placeholder {
            Placeholder::ClientId => Some(self.client_id),
            Placeholder::Username => self.username,
            Placeholder::Certificate(field) => field.of(self.certificate?),
            Placeholder::Address => self.address_text,
            Placeholder::Listener => Some(self.listener),
            Placeholder::Attribute(name) => self.attributes?.find(name),
        }
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Everybody.
    All,
    /// Nobody.
    Nobody,
    /// Those with such a user name.
    Username(TextCondition),
    /// Those with such a client id.
    ClientId(TextCondition),
    /// Those with such a name in their certificate; of alternative names, any.
    Certificate(CertificateField, TextCondition),
    /// Those from one of these networks.
    Address(Box<[Network]>),
    /// Those with such an attribute.
    Attribute(Box<str>, TextCondition),
    /// Those who come by such a listener.
    Listener(TextCondition),
    /// Those who speak this protocol.
    Protocol(Box<str>),
    /// Those for whom all of these hold.
    And(Box<[Self]>),
    /// Those for whom one of these holds.
    Or(Box<[Self]>),
}

/// A name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// The common name of the subject.
    CommonName,
    /// The whole subject.
    Subject,
    /// The first alternative name.
    AlternativeName,
}

impl CertificateField {
    /// The name.
    pub fn of(self, certificate: &Certificate) -> Option<&str> {
        match self {
            Self::CommonName => certificate.common_name.as_deref(),
            Self::Subject => certificate.subject.as_deref(),
            Self::AlternativeName => certificate.alternative_name(None),
        }
    }

    /// The one that a placeholder names.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "cert_common_name" | "cn" | "certificate" => Self::CommonName,
            "cert_subject" | "dn" => Self::Subject,
            "cert_san" | "san" => Self::AlternativeName,
            _ => return None,
        })
    }
}

/// What is said of a text.
#[derive(Clone, Debug)]
pub enum TextCondition {
    /// It is this.
    Is(Box<str>),
    /// A regular expression is found in it.
    Matches(Box<Regex>),
}

impl TextCondition {
    /// A regular expression.
    ///
    /// # Errors
    /// When it is none.
    pub fn regex(pattern: &str) -> Result<Self, RuleCause> {
        let regex = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        match regex {
            Ok(regex) => Ok(Self::Matches(Box::new(regex))),
            Err(error) => {
                let why = error.to_string();
                // The last line tells; those before draw the place.
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(RuleCause::Regex { pattern: pattern.into(), why })
            }
        }
    }

    /// Whether it holds.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Is(wanted) => **wanted == *text,
            Self::Matches(regex) => regex.is_match(text),
        }
    }
}

impl Condition {
    /// Those from one of these networks.
    ///
    /// # Errors
    /// When one is none.
    pub fn address<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, RuleCause> {
        let parse = |text: &str| text.parse().map_err(|_| RuleCause::Address(text.into()));
        networks.into_iter().map(parse).collect::<Result<_, _>>().map(Self::Address)
    }

    /// Whether it is about them.
    pub fn holds(&self, who: &Who<'_>) -> bool {
        let known = |condition: &TextCondition, text: Option<&str>| text.is_some_and(|text| condition.holds(text));
        match self {
            Self::All => true,
            Self::Nobody => false,
            Self::Username(condition) => known(condition, who.username),
            Self::ClientId(condition) => condition.holds(who.client_id),
            Self::Certificate(CertificateField::AlternativeName, condition) => who
                .certificate
                .is_some_and(|shown| shown.alternative_names.iter().any(|(_, name)| condition.holds(name))),
            Self::Certificate(field, condition) => known(condition, who.certificate.and_then(|shown| field.of(shown))),
            Self::Address(networks) => {
                who.address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            Self::Attribute(name, condition) => known(condition, who.attributes.and_then(|it| it.find(name))),
            Self::Listener(condition) => condition.holds(who.listener),
            Self::Protocol(name) => **name == *who.protocol,
            Self::And(all) => all.iter().all(|condition| condition.holds(who)),
            Self::Or(any) => any.iter().any(|condition| condition.holds(who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::NameKind;

    use super::*;

    #[test]
    fn conditions() {
        let attributes: Attributes = [("site", "north")].into_iter().collect();
        let certificate = Certificate {
            common_name: Some("device 1".into()),
            alternative_names: ["a.example", "b.example"].map(|name| (NameKind::Dns, name.into())).into(),
            ..Certificate::default()
        };
        let who = Who {
            certificate: Some(&certificate),
            client_id: "c1",
            username: Some("bob"),
            address: "10.1.2.3".parse().ok(),
            listener: "tcp.default",
            protocol: "mqtt",
            attributes: Some(&attributes),
            ..Who::nobody()
        };
        let is = |text: &str| TextCondition::Is(text.into());
        let regex = |text: &str| TextCondition::regex(text).expect("a regular expression");
        let network = |text| Condition::address([text]).expect("a network");
        for (condition, expected) in [
            (Condition::All, true),
            (Condition::Nobody, false),
            (Condition::Username(is("bob")), true),
            (Condition::Username(is("bo")), false),
            (Condition::Username(regex("^b")), true),
            (Condition::ClientId(regex("^c[0-9]$")), true),
            (Condition::Certificate(CertificateField::CommonName, is("device 1")), true),
            (Condition::Certificate(CertificateField::Subject, regex("")), false),
            (Condition::Certificate(CertificateField::AlternativeName, is("b.example")), true),
            (Condition::Certificate(CertificateField::AlternativeName, is("device 1")), false),
            (network("10.0.0.0/8"), true),
            (network("127.0.0.1"), false),
            (Condition::Attribute("site".into(), is("north")), true),
            (Condition::Attribute("none".into(), regex("")), false),
            (Condition::Listener(regex("^tcp")), true),
            (Condition::Protocol("coap".into()), false),
            (Condition::And([Condition::All, Condition::Nobody].into()), false),
            (Condition::Or([Condition::Nobody, Condition::All].into()), true),
            (Condition::And([].into()), true),
            (Condition::Or([].into()), false),
        ] {
            assert_eq!(condition.holds(&who), expected, "{condition:?}");
        }
        assert!(!Condition::Username(regex("")).holds(&Who::nobody()), "who has no name has none that matches");
        assert!(!network("0.0.0.0/0").holds(&Who::nobody()));
    }

    #[test]
    fn bad_regular_expressions_say_why() {
        for pattern in ["(", "(?=x)", "(a)\\1", "a{999999}{999999}"] {
            let cause = TextCondition::regex(pattern).expect_err("bad");
            assert!(matches!(&cause, RuleCause::Regex { why, .. } if !why.is_empty()), "{cause}");
        }
        assert_eq!(Condition::address(["10.0.0.0/8", "x"]).err(), Some(RuleCause::Address("x".into())));
    }
}
