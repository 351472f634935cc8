use std::fmt;

use thingway_contract::{
    ClientIdError, Culprit, Fault, FaultKind, PublishOutcome, Refusal, SubscribeRefusal, TopicError,
};

use crate::{PacketError, PacketType, ReturnCode};

/// What went wrong in a conversation. Only faults of time end it: anybody can put any address on a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttSnFault {
    /// A datagram that is no message.
    Packet(PacketError),
    /// A datagram larger than the operator allows.
    TooLarge,
    /// A forwarded message though forwarders are not served.
    ForwardingRefused,
    /// A message that needs a session, and there is none.
    NoSession(PacketType),
    /// A message that may not come now, or never from a client.
    Unexpected(PacketType),
    /// An unacceptable client identifier.
    ClientId(ClientIdError),
    /// A method of authentication other than PLAIN, or data that are not in its form.
    Authentication,
    /// A will's topic that is none.
    WillTopic(TopicError),
    /// A will's message longer than the operator allows.
    WillTooLong,
    /// QoS 1 or 2, or a request, with message id 0 (section 5.3.9).
    MessageIdZero,
    /// QoS -1 though it is not served, or on a topic id that it may not have.
    QosMinusOne,
    /// Silent for longer than its keep-alive duration allows.
    KeepAliveTimeout,
    /// Asleep for longer than it said.
    SleepTimeout,
    /// Did not answer a message that was sent again and again.
    NoAnswer,
    /// Did not finish connecting in time.
    ConnectTimeout,
    /// The gateway did not decide in time.
    DecisionTimeout,
}

impl MqttSnFault {
    /// True for those after which the conversation is over.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::KeepAliveTimeout | Self::SleepTimeout | Self::NoAnswer | Self::ConnectTimeout | Self::DecisionTimeout
        )
    }
}

impl fmt::Display for MqttSnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(error) => error.fmt(f),
            Self::TooLarge => f.write_str("datagram too large"),
            Self::ForwardingRefused => f.write_str("forwarders are not served"),
            Self::NoSession(kind) => write!(f, "{kind} without a session"),
            Self::Unexpected(kind) => write!(f, "unexpected {kind}"),
            Self::ClientId(error) => write!(f, "bad client identifier: {error:?}"),
            Self::Authentication => f.write_str("unusable authentication"),
            Self::WillTopic(error) => write!(f, "bad will topic: {error:?}"),
            Self::WillTooLong => f.write_str("will message too long"),
            Self::MessageIdZero => f.write_str("message id 0"),
            Self::QosMinusOne => f.write_str("quality of service -1 refused"),
            Self::KeepAliveTimeout => f.write_str("silent for too long"),
            Self::SleepTimeout => f.write_str("asleep for too long"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::ConnectTimeout => f.write_str("did not finish connecting in time"),
            Self::DecisionTimeout => f.write_str("no decision in time"),
        }
    }
}

impl Fault for MqttSnFault {
    fn culprit(&self) -> Culprit {
        if *self == Self::DecisionTimeout { Culprit::Gateway } else { Culprit::Peer }
    }

    fn kind(&self) -> FaultKind {
        match self {
            Self::Packet(PacketError::UnknownType(_) | PacketError::ProtocolId(_))
            | Self::ForwardingRefused
            | Self::Authentication
            | Self::QosMinusOne => FaultKind::Unsupported,
            Self::Packet(_) | Self::WillTopic(_) | Self::MessageIdZero => FaultKind::Malformed,
            Self::TooLarge => FaultKind::TooLarge,
            Self::NoSession(_) | Self::Unexpected(_) | Self::ClientId(_) => FaultKind::ProtocolError,
            Self::WillTooLong => FaultKind::LimitExceeded,
            Self::KeepAliveTimeout
            | Self::SleepTimeout
            | Self::NoAnswer
            | Self::ConnectTimeout
            | Self::DecisionTimeout => FaultKind::Timeout,
        }
    }
}

/// What CONNACK says to a client that gets no session.
pub(crate) const fn refusal_code(refusal: &Refusal) -> ReturnCode {
    match refusal {
        Refusal::Unavailable | Refusal::Busy | Refusal::QuotaExceeded | Refusal::ConnectionRateExceeded => {
            ReturnCode::Congestion
        }
        _ => ReturnCode::NotSupported,
    }
}

/// What SUBACK says to a refused subscription.
pub(crate) const fn subscribe_code(refusal: SubscribeRefusal) -> ReturnCode {
    match refusal {
        SubscribeRefusal::QuotaExceeded | SubscribeRefusal::ExclusiveTaken | SubscribeRefusal::Failed => {
            ReturnCode::Congestion
        }
        _ => ReturnCode::NotSupported,
    }
}

/// What PUBACK says, or for [`ReturnCode::Accepted`] at QoS 2 PUBREC.
pub(crate) const fn outcome_code(outcome: PublishOutcome) -> ReturnCode {
    match outcome {
        PublishOutcome::Accepted | PublishOutcome::NoSubscribers => ReturnCode::Accepted,
        PublishOutcome::QuotaExceeded | PublishOutcome::Failed => ReturnCode::Congestion,
        _ => ReturnCode::NotSupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_time_are_fatal() {
        for (fault, kind) in [
            (MqttSnFault::Packet(PacketError::Truncated), FaultKind::Malformed),
            (MqttSnFault::Packet(PacketError::UnknownType(0x11)), FaultKind::Unsupported),
            (MqttSnFault::NoSession(PacketType::Publish), FaultKind::ProtocolError),
            (MqttSnFault::TooLarge, FaultKind::TooLarge),
            (MqttSnFault::KeepAliveTimeout, FaultKind::Timeout),
            (MqttSnFault::NoAnswer, FaultKind::Timeout),
        ] {
            assert_eq!(fault.kind(), kind);
            assert_eq!(fault.is_fatal(), kind == FaultKind::Timeout, "{fault}");
        }
    }

    #[test]
    fn table_5_reasons_become_return_codes() {
        assert_eq!(refusal_code(&Refusal::Busy), ReturnCode::Congestion);
        assert_eq!(refusal_code(&Refusal::QuotaExceeded), ReturnCode::Congestion);
        assert_eq!(refusal_code(&Refusal::BadCredentials), ReturnCode::NotSupported);
        assert_eq!(subscribe_code(SubscribeRefusal::QuotaExceeded), ReturnCode::Congestion);
        assert_eq!(subscribe_code(SubscribeRefusal::NotAuthorized), ReturnCode::NotSupported);
        assert_eq!(outcome_code(PublishOutcome::NoSubscribers), ReturnCode::Accepted);
        assert_eq!(outcome_code(PublishOutcome::NotAuthorized), ReturnCode::NotSupported);
        assert_eq!(outcome_code(PublishOutcome::QuotaExceeded), ReturnCode::Congestion);
    }
}
