use std::fmt;

use thingway_contract::{
    ClientIdError, CloseReason, Culprit, Fault, FaultKind, PublishOutcome, Refusal, SubscribeRefusal, TopicError,
    UnsubscribeRefusal,
};

use crate::{PacketError, Reason, Version, packet::PacketType, packet::ReturnCode};

/// What ends an MQTT conversation early.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttFault {
    /// Bytes that are no packet, or a packet that is wrong by itself.
    Packet(PacketError),
    /// The first packet was not CONNECT [MQTT-3.1.0-1].
    NotConnect(PacketType),
    /// A second CONNECT [MQTT-3.1.0-2].
    SecondConnect,
    /// A packet that may not come now.
    Unexpected(PacketType),
    /// A version that the operator switched off.
    VersionNotSupported(Version),
    /// An unacceptable client identifier.
    ClientId(ClientIdError),
    /// A topic name outside the operator's limits where it cannot be refused alone.
    TopicBeyondLimits(TopicError),
    /// A topic alias above the maximum [MQTT-3.3.2-9].
    TopicAliasAboveMaximum(u16),
    /// A topic alias that was never set.
    TopicAliasUnknown(u16),
    /// More unacknowledged messages than agreed [MQTT-3.3.4-7].
    ReceiveMaximumExceeded,
    /// A payload that is not UTF-8 though its format indicator says so, where it cannot be refused alone.
    PayloadFormat,
    /// A quality of service above the maximum [MQTT-3.2.2-11], [MQTT-3.2.2-12].
    QosNotSupported,
    /// The retain flag though retained messages are not served [MQTT-3.2.2-13], [MQTT-3.2.2-14].
    RetainNotSupported,
    /// A shared subscription though they are not served.
    SharedNotSupported,
    /// A wildcard though they are not served.
    WildcardNotSupported,
    /// A subscription identifier though they are not served.
    SubscriptionIdsNotSupported,
    /// More filters in one packet than the operator allows.
    TooManyFilters,
    /// An acknowledgement that does not fit the state of its packet identifier.
    AckOutOfOrder(PacketType),
    /// A session expiry in DISCONNECT though there was none in CONNECT (section 3.14.2.2.2).
    SessionExpiryRaised,
    /// Another method of authentication than the one begun with [MQTT-4.12.1-1].
    AuthenticationMethodChanged,
    /// Silent for more than its keep-alive interval allows [MQTT-3.1.2-22].
    KeepAliveTimeout,
    /// The client did not finish the handshake in time.
    ConnectTimeout,
    /// The gateway did not decide about the client in time, or is so far behind with its answers that the client was not
    /// listened to for longer than it may be silent.
    DecisionTimeout,
    /// The client takes no packet as large as this answer [MQTT-3.1.2-24].
    AnswerTooLarge(PacketType),
    /// A publication failed, and the version has no way to say so but by not acknowledging it.
    PublishFailed(PublishOutcome),
    /// The gateway answered something that was not asked, or that cannot be written.
    BadReply,
}

impl MqttFault {
    /// The reason code for CONNACK or DISCONNECT: the one place that maps faults to the wire.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Packet(error) => packet_error_reason(*error),
            Self::NotConnect(_)
            | Self::SecondConnect
            | Self::Unexpected(_)
            | Self::AckOutOfOrder(_)
            | Self::SessionExpiryRaised
            | Self::TopicAliasUnknown(_) => Reason::ProtocolError,
            Self::VersionNotSupported(_) => Reason::UnsupportedProtocolVersion,
            Self::ClientId(_) => Reason::ClientIdentifierNotValid,
            Self::TopicBeyondLimits(_) => Reason::TopicNameInvalid,
            Self::TopicAliasAboveMaximum(_) => Reason::TopicAliasInvalid,
            Self::ReceiveMaximumExceeded => Reason::ReceiveMaximumExceeded,
            Self::PayloadFormat => Reason::PayloadFormatInvalid,
            Self::QosNotSupported => Reason::QosNotSupported,
            Self::RetainNotSupported => Reason::RetainNotSupported,
            Self::SharedNotSupported => Reason::SharedSubscriptionsNotSupported,
            Self::WildcardNotSupported => Reason::WildcardSubscriptionsNotSupported,
            Self::SubscriptionIdsNotSupported => Reason::SubscriptionIdentifiersNotSupported,
            Self::TooManyFilters => Reason::QuotaExceeded,
            Self::AuthenticationMethodChanged => Reason::BadAuthenticationMethod,
            Self::KeepAliveTimeout => Reason::KeepAliveTimeout,
            Self::DecisionTimeout => Reason::ServerUnavailable,
            Self::AnswerTooLarge(_) => Reason::PacketTooLarge,
            Self::PublishFailed(outcome) => outcome_reason(*outcome),
            Self::ConnectTimeout | Self::BadReply => Reason::UnspecifiedError,
        }
    }
}

/// Malformed is what cannot be read, a protocol error what was read and may not be (section 4.13).
const fn packet_error_reason(error: PacketError) -> Reason {
    match error {
        PacketError::TooLarge => Reason::PacketTooLarge,
        PacketError::ProtocolName | PacketError::ProtocolLevel(_) => Reason::UnsupportedProtocolVersion,
        PacketError::Topic(TopicError::Nul | TopicError::NotUtf8) => Reason::MalformedPacket,
        PacketError::Topic(_) => Reason::TopicNameInvalid,
        PacketError::PropertyValue(0x23) => Reason::TopicAliasInvalid,
        PacketError::NoTopic
        | PacketError::NoFilters
        | PacketError::NoLocalOnShared
        | PacketError::PacketIdZero
        | PacketError::SubscriptionQos
        | PacketError::RetainHandling
        | PacketError::PropertyRepeated(_)
        // A subscription identifier from a client [MQTT-3.3.4-6]; other misplaced properties are malformed (section
        // 2.2.2.2).
        | PacketError::PropertyMisplaced(0x0b)
        | PacketError::PropertyValue(_)
        | PacketError::NoAuthenticationMethod
        | PacketError::ReasonCode(_)
        | PacketError::Direction(_) => Reason::ProtocolError,
        _ => Reason::MalformedPacket,
    }
}

impl Fault for MqttFault {
    fn culprit(&self) -> Culprit {
        match self {
            Self::BadReply
            | Self::DecisionTimeout
            | Self::PublishFailed(PublishOutcome::QuotaExceeded | PublishOutcome::Failed) => Culprit::Gateway,
            _ => Culprit::Peer,
        }
    }

    fn kind(&self) -> FaultKind {
        match self {
            Self::Packet(PacketError::TooLarge) | Self::AnswerTooLarge(_) => FaultKind::TooLarge,
            Self::Packet(PacketError::ProtocolName | PacketError::ProtocolLevel(_))
            | Self::VersionNotSupported(_)
            | Self::QosNotSupported
            | Self::RetainNotSupported
            | Self::SharedNotSupported
            | Self::WildcardNotSupported
            | Self::SubscriptionIdsNotSupported => FaultKind::Unsupported,
            Self::Packet(error) => match packet_error_reason(*error) {
                Reason::MalformedPacket => FaultKind::Malformed,
                _ => FaultKind::ProtocolError,
            },
            Self::KeepAliveTimeout | Self::ConnectTimeout | Self::DecisionTimeout => FaultKind::Timeout,
            Self::ClientId(_)
            | Self::TopicBeyondLimits(_)
            | Self::ReceiveMaximumExceeded
            | Self::TooManyFilters
            | Self::PublishFailed(_) => FaultKind::LimitExceeded,
            _ => FaultKind::ProtocolError,
        }
    }
}

impl fmt::Display for MqttFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(error) => write!(f, "{error}"),
            Self::NotConnect(kind) => write!(f, "{} before connect", kind.name()),
            Self::SecondConnect => f.write_str("second connect"),
            Self::Unexpected(kind) => write!(f, "unexpected {}", kind.name()),
            Self::VersionNotSupported(version) => write!(f, "version {} is switched off", version.level()),
            Self::ClientId(ClientIdError::Empty) => f.write_str("client identifier missing"),
            Self::ClientId(_) => f.write_str("client identifier not acceptable"),
            Self::TopicBeyondLimits(_) => f.write_str("topic name beyond the limits"),
            Self::TopicAliasAboveMaximum(alias) => write!(f, "topic alias {alias} above the maximum"),
            Self::TopicAliasUnknown(alias) => write!(f, "topic alias {alias} was never set"),
            Self::ReceiveMaximumExceeded => f.write_str("receive maximum exceeded"),
            Self::PayloadFormat => f.write_str("payload is not UTF-8"),
            Self::QosNotSupported => f.write_str("quality of service not supported"),
            Self::RetainNotSupported => f.write_str("retained messages not supported"),
            Self::SharedNotSupported => f.write_str("shared subscriptions not supported"),
            Self::WildcardNotSupported => f.write_str("wildcard subscriptions not supported"),
            Self::SubscriptionIdsNotSupported => f.write_str("subscription identifiers not supported"),
            Self::TooManyFilters => f.write_str("too many filters in one packet"),
            Self::AckOutOfOrder(kind) => write!(f, "{} out of order", kind.name()),
            Self::SessionExpiryRaised => f.write_str("session expiry raised from zero"),
            Self::AuthenticationMethodChanged => f.write_str("authentication method changed"),
            Self::KeepAliveTimeout => f.write_str("keep alive timeout"),
            Self::ConnectTimeout => f.write_str("not connected in time"),
            Self::DecisionTimeout => f.write_str("no decision in time"),
            Self::AnswerTooLarge(kind) => write!(f, "{} larger than the client's maximum packet size", kind.name()),
            Self::PublishFailed(_) => f.write_str("publication failed"),
            Self::BadReply => f.write_str("bad reply inside the gateway"),
        }
    }
}

impl From<PacketError> for MqttFault {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

/// The return code of CONNACK before 5.0; `None` where the specification has the connection closed without one.
pub(crate) const fn return_code(reason: Reason) -> Option<ReturnCode> {
    Some(match reason {
        Reason::UnsupportedProtocolVersion => ReturnCode::UnacceptableProtocolVersion,
        Reason::ClientIdentifierNotValid => ReturnCode::IdentifierRejected,
        Reason::BadUserNameOrPassword => ReturnCode::BadUserNameOrPassword,
        Reason::NotAuthorized | Reason::Banned | Reason::BadAuthenticationMethod => ReturnCode::NotAuthorized,
        Reason::ServerUnavailable
        | Reason::ServerBusy
        | Reason::ServerShuttingDown
        | Reason::QuotaExceeded
        | Reason::ConnectionRateExceeded
        | Reason::AdministrativeAction
        | Reason::UseAnotherServer
        | Reason::ServerMoved => ReturnCode::ServerUnavailable,
        _ => return None,
    })
}

pub(crate) const fn refusal_reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::BadCredentials => Reason::BadUserNameOrPassword,
        Refusal::NotAuthorized => Reason::NotAuthorized,
        Refusal::Banned => Reason::Banned,
        Refusal::ClientIdRejected | Refusal::NoSession => Reason::ClientIdentifierNotValid,
        Refusal::BadAuthenticationMethod => Reason::BadAuthenticationMethod,
        Refusal::Unavailable => Reason::ServerUnavailable,
        Refusal::Busy => Reason::ServerBusy,
        Refusal::QuotaExceeded => Reason::QuotaExceeded,
        Refusal::ConnectionRateExceeded => Reason::ConnectionRateExceeded,
        Refusal::UseAnotherServer(_) => Reason::UseAnotherServer,
        Refusal::ServerMoved(_) => Reason::ServerMoved,
        _ => Reason::UnspecifiedError,
    }
}

pub(crate) const fn close_reason(reason: &CloseReason) -> Reason {
    match reason {
        CloseReason::TakenOver => Reason::SessionTakenOver,
        CloseReason::ShuttingDown => Reason::ServerShuttingDown,
        CloseReason::Administrative | CloseReason::SessionGone => Reason::AdministrativeAction,
        CloseReason::NotAuthorized => Reason::NotAuthorized,
        CloseReason::RateExceeded => Reason::MessageRateTooHigh,
        CloseReason::QuotaExceeded => Reason::QuotaExceeded,
        CloseReason::Busy => Reason::ServerBusy,
        CloseReason::IdleTimeout => Reason::KeepAliveTimeout,
        CloseReason::UseAnotherServer(_) => Reason::UseAnotherServer,
        _ => Reason::UnspecifiedError,
    }
}

/// What CONNACK says instead of a reason that only DISCONNECT has.
pub(crate) const fn connack_reason(reason: Reason) -> Reason {
    use crate::packet::Sender;

    if reason.is_valid_in(PacketType::Connack, Sender::Server) {
        return reason;
    }
    match reason {
        Reason::ServerShuttingDown | Reason::AdministrativeAction | Reason::SessionTakenOver => {
            Reason::ServerUnavailable
        }
        Reason::MessageRateTooHigh => Reason::ConnectionRateExceeded,
        _ => Reason::UnspecifiedError,
    }
}

pub(crate) const fn outcome_reason(outcome: PublishOutcome) -> Reason {
    match outcome {
        PublishOutcome::Accepted => Reason::Success,
        PublishOutcome::NoSubscribers => Reason::NoMatchingSubscribers,
        PublishOutcome::NotAuthorized => Reason::NotAuthorized,
        PublishOutcome::QuotaExceeded => Reason::QuotaExceeded,
        PublishOutcome::TopicInvalid => Reason::TopicNameInvalid,
        PublishOutcome::RetainNotSupported => Reason::RetainNotSupported,
        PublishOutcome::Failed => Reason::ImplementationSpecificError,
        _ => Reason::UnspecifiedError,
    }
}

pub(crate) const fn subscribe_reason(refusal: SubscribeRefusal) -> Reason {
    match refusal {
        SubscribeRefusal::NotAuthorized => Reason::NotAuthorized,
        SubscribeRefusal::FilterInvalid | SubscribeRefusal::ExclusiveNotSupported => Reason::TopicFilterInvalid,
        SubscribeRefusal::QuotaExceeded | SubscribeRefusal::ExclusiveTaken => Reason::QuotaExceeded,
        SubscribeRefusal::SharedNotSupported => Reason::SharedSubscriptionsNotSupported,
        SubscribeRefusal::WildcardNotSupported => Reason::WildcardSubscriptionsNotSupported,
        SubscribeRefusal::IdentifiersNotSupported => Reason::SubscriptionIdentifiersNotSupported,
        SubscribeRefusal::Failed => Reason::ImplementationSpecificError,
        _ => Reason::UnspecifiedError,
    }
}

pub(crate) const fn unsubscribe_reason(refusal: UnsubscribeRefusal) -> Reason {
    match refusal {
        UnsubscribeRefusal::NotSubscribed => Reason::NoSubscriptionExisted,
        UnsubscribeRefusal::FilterInvalid => Reason::TopicFilterInvalid,
        _ => Reason::UnspecifiedError,
    }
}
