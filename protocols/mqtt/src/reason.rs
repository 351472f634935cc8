//! Reason codes (MQTT 5.0, section 2.4).

use crate::packet::{PacketType, Sender};

/// Why, or how it went: values from 0x80 on are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Success; normal disconnection; granted QoS 0.
    Success = 0x00,
    /// Subscribed with QoS 1 at most.
    GrantedQos1 = 0x01,
    /// Subscribed with QoS 2 at most.
    GrantedQos2 = 0x02,
    /// Goodbye, but publish the will.
    DisconnectWithWill = 0x04,
    /// Accepted, but nobody subscribes to it.
    NoMatchingSubscribers = 0x10,
    /// There was nothing to unsubscribe.
    NoSubscriptionExisted = 0x11,
    /// Go on with the next step of authentication.
    ContinueAuthentication = 0x18,
    /// Begin authentication again.
    Reauthenticate = 0x19,
    /// Something failed that is not told.
    UnspecifiedError = 0x80,
    /// Bytes that are no packet.
    MalformedPacket = 0x81,
    /// A packet that may not come here or now.
    ProtocolError = 0x82,
    /// Valid, but not done here.
    ImplementationSpecificError = 0x83,
    /// This version is not spoken.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not acceptable.
    ClientIdentifierNotValid = 0x85,
    /// User name or password wrong.
    BadUserNameOrPassword = 0x86,
    /// Not allowed.
    NotAuthorized = 0x87,
    /// Not served now.
    ServerUnavailable = 0x88,
    /// Too much to do; come again later.
    ServerBusy = 0x89,
    /// Banned by the operator.
    Banned = 0x8a,
    /// The server stops.
    ServerShuttingDown = 0x8b,
    /// The method of authentication is unknown or not the one that was begun with.
    BadAuthenticationMethod = 0x8c,
    /// Silent for too long.
    KeepAliveTimeout = 0x8d,
    /// Another connection uses the session now.
    SessionTakenOver = 0x8e,
    /// A well-formed topic filter that is not accepted.
    TopicFilterInvalid = 0x8f,
    /// A well-formed topic name that is not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use already.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not in use.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged messages than agreed.
    ReceiveMaximumExceeded = 0x93,
    /// A topic alias of 0 or above the maximum.
    TopicAliasInvalid = 0x94,
    /// A packet beyond the size that was agreed.
    PacketTooLarge = 0x95,
    /// Messages come too fast.
    MessageRateTooHigh = 0x96,
    /// A limit is reached.
    QuotaExceeded = 0x97,
    /// Ended by an operator.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not served.
    RetainNotSupported = 0x9a,
    /// A quality of service above the maximum.
    QosNotSupported = 0x9b,
    /// Another server serves this client now.
    UseAnotherServer = 0x9c,
    /// Another server serves this client from now on.
    ServerMoved = 0x9d,
    /// Shared subscriptions are not served.
    SharedSubscriptionsNotSupported = 0x9e,
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9f,
    /// Connected for as long as is allowed.
    MaximumConnectTime = 0xa0,
    /// Subscription identifiers are not served.
    SubscriptionIdentifiersNotSupported = 0xa1,
    /// Wildcards in filters are not served.
    WildcardSubscriptionsNotSupported = 0xa2,
}

impl Reason {
    /// The reason with this number.
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::Success,
            0x01 => Self::GrantedQos1,
            0x02 => Self::GrantedQos2,
            0x04 => Self::DisconnectWithWill,
            0x10 => Self::NoMatchingSubscribers,
            0x11 => Self::NoSubscriptionExisted,
            0x18 => Self::ContinueAuthentication,
            0x19 => Self::Reauthenticate,
            0x80 => Self::UnspecifiedError,
            0x81 => Self::MalformedPacket,
            0x82 => Self::ProtocolError,
            0x83 => Self::ImplementationSpecificError,
            0x84 => Self::UnsupportedProtocolVersion,
            0x85 => Self::ClientIdentifierNotValid,
            0x86 => Self::BadUserNameOrPassword,
            0x87 => Self::NotAuthorized,
            0x88 => Self::ServerUnavailable,
            0x89 => Self::ServerBusy,
            0x8a => Self::Banned,
            0x8b => Self::ServerShuttingDown,
            0x8c => Self::BadAuthenticationMethod,
            0x8d => Self::KeepAliveTimeout,
            0x8e => Self::SessionTakenOver,
            0x8f => Self::TopicFilterInvalid,
            0x90 => Self::TopicNameInvalid,
            0x91 => Self::PacketIdentifierInUse,
            0x92 => Self::PacketIdentifierNotFound,
            0x93 => Self::ReceiveMaximumExceeded,
            0x94 => Self::TopicAliasInvalid,
            0x95 => Self::PacketTooLarge,
            0x96 => Self::MessageRateTooHigh,
            0x97 => Self::QuotaExceeded,
            0x98 => Self::AdministrativeAction,
            0x99 => Self::PayloadFormatInvalid,
            0x9a => Self::RetainNotSupported,
            0x9b => Self::QosNotSupported,
            0x9c => Self::UseAnotherServer,
            0x9d => Self::ServerMoved,
            0x9e => Self::SharedSubscriptionsNotSupported,
            0x9f => Self::ConnectionRateExceeded,
            0xa0 => Self::MaximumConnectTime,
            0xa1 => Self::SubscriptionIdentifiersNotSupported,
            0xa2 => Self::WildcardSubscriptionsNotSupported,
            _ => return None,
        })
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// True for failures.
    pub const fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// What the reason string says: the name that the specification gives.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::GrantedQos1 => "granted QoS 1",
            Self::GrantedQos2 => "granted QoS 2",
            Self::DisconnectWithWill => "disconnect with will message",
            Self::NoMatchingSubscribers => "no matching subscribers",
            Self::NoSubscriptionExisted => "no subscription existed",
            Self::ContinueAuthentication => "continue authentication",
            Self::Reauthenticate => "re-authenticate",
            Self::UnspecifiedError => "unspecified error",
            Self::MalformedPacket => "malformed packet",
            Self::ProtocolError => "protocol error",
            Self::ImplementationSpecificError => "implementation specific error",
            Self::UnsupportedProtocolVersion => "unsupported protocol version",
            Self::ClientIdentifierNotValid => "client identifier not valid",
            Self::BadUserNameOrPassword => "bad user name or password",
            Self::NotAuthorized => "not authorized",
            Self::ServerUnavailable => "server unavailable",
            Self::ServerBusy => "server busy",
            Self::Banned => "banned",
            Self::ServerShuttingDown => "server shutting down",
            Self::BadAuthenticationMethod => "bad authentication method",
            Self::KeepAliveTimeout => "keep alive timeout",
            Self::SessionTakenOver => "session taken over",
            Self::TopicFilterInvalid => "topic filter invalid",
            Self::TopicNameInvalid => "topic name invalid",
            Self::PacketIdentifierInUse => "packet identifier in use",
            Self::PacketIdentifierNotFound => "packet identifier not found",
            Self::ReceiveMaximumExceeded => "receive maximum exceeded",
            Self::TopicAliasInvalid => "topic alias invalid",
            Self::PacketTooLarge => "packet too large",
            Self::MessageRateTooHigh => "message rate too high",
            Self::QuotaExceeded => "quota exceeded",
            Self::AdministrativeAction => "administrative action",
            Self::PayloadFormatInvalid => "payload format invalid",
            Self::RetainNotSupported => "retain not supported",
            Self::QosNotSupported => "QoS not supported",
            Self::UseAnotherServer => "use another server",
            Self::ServerMoved => "server moved",
            Self::SharedSubscriptionsNotSupported => "shared subscriptions not supported",
            Self::ConnectionRateExceeded => "connection rate exceeded",
            Self::MaximumConnectTime => "maximum connect time",
            Self::SubscriptionIdentifiersNotSupported => "subscription identifiers not supported",
            Self::WildcardSubscriptionsNotSupported => "wildcard subscriptions not supported",
        }
    }

    /// True when a packet of this type, sent by this side, may carry the reason (table 2-6 and the tables of chapter
    /// 3).
    pub const fn is_valid_in(self, kind: PacketType, sender: Sender) -> bool {
        let code = self as u8;
        match kind {
            PacketType::Connack => matches!(
                code,
                0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f
            ),
            PacketType::Puback | PacketType::Pubrec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::Pubrel | PacketType::Pubcomp => matches!(code, 0x00 | 0x92),
            PacketType::Suback => {
                matches!(code, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2)
            }
            PacketType::Unsuback => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91),
            PacketType::Disconnect => match sender {
                Sender::Client => matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
                Sender::Server => matches!(
                    code,
                    0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b..=0x90 | 0x93..=0xa2
                ),
            },
            PacketType::Auth => match sender {
                Sender::Client => matches!(code, 0x18 | 0x19),
                Sender::Server => matches!(code, 0x00 | 0x18),
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let known = (0..=255u8).filter_map(|code| Reason::from_u8(code).map(|reason| (code, reason)));
        assert_eq!(known.clone().count(), 43);
        for (code, reason) in known {
            assert_eq!(reason.code(), code);
            assert_eq!(reason.is_failure(), code >= 0x80);
            assert!(!reason.text().is_empty());
        }
    }

    /// Every reason belongs to some packet, as table 2-6 has no others.
    #[test]
    fn every_reason_has_a_packet() {
        for reason in (0..=255u8).filter_map(Reason::from_u8) {
            let somewhere = PacketType::ALL
                .into_iter()
                .any(|kind| reason.is_valid_in(kind, Sender::Client) || reason.is_valid_in(kind, Sender::Server));
            assert!(somewhere, "{reason:?}");
        }
    }

    #[test]
    fn a_side_sends_only_its_own_disconnect_reasons() {
        for (reason, client, server) in [
            (Reason::DisconnectWithWill, true, false),
            (Reason::SessionTakenOver, false, true),
            (Reason::ServerShuttingDown, false, true),
            (Reason::TopicAliasInvalid, true, true),
            (Reason::KeepAliveTimeout, false, true),
            (Reason::Banned, false, false),
        ] {
            assert_eq!(reason.is_valid_in(PacketType::Disconnect, Sender::Client), client, "{reason:?}");
            assert_eq!(reason.is_valid_in(PacketType::Disconnect, Sender::Server), server, "{reason:?}");
        }
    }
}
