use std::fmt;

/// Who is to blame for the end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// The peer broke the protocol or a limit.
    Peer,
    /// The gateway could not serve.
    Gateway,
}

/// A coarse class of faults, the same for all protocols: what metrics are labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Bytes that are no packet.
    Malformed,
    /// A packet that may not come here or now.
    ProtocolError,
    /// A packet beyond the size that was agreed.
    TooLarge,
    /// A limit of the operator was exceeded.
    LimitExceeded,
    /// The peer was silent for too long.
    Timeout,
    /// A version or feature that is not spoken here.
    Unsupported,
    /// Not allowed.
    NotAuthorized,
}

impl FaultKind {
    /// The label used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ProtocolError => "protocol_error",
            Self::TooLarge => "too_large",
            Self::LimitExceeded => "limit_exceeded",
            Self::Timeout => "timeout",
            Self::Unsupported => "unsupported",
            Self::NotAuthorized => "not_authorized",
        }
    }
}

/// What ends a conversation early. Each protocol has its own comparable type.
pub trait Fault: fmt::Debug + fmt::Display + Clone + PartialEq + Send + 'static {
    /// Who is to blame.
    fn culprit(&self) -> Culprit;
    /// The class for metrics.
    fn kind(&self) -> FaultKind;
}

/// Why the gateway ends a conversation of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Another connection took the session over [MQTT-3.1.4-3].
    TakenOver,
    /// The gateway stops.
    ShuttingDown,
    /// An operator ended it.
    Administrative,
    /// Its credentials expired or its rights were taken away.
    NotAuthorized,
    /// It sends more than it may.
    RateExceeded,
    /// It holds more than it may.
    QuotaExceeded,
    /// The gateway has too much to do.
    Busy,
    /// No CONNECT or its like in time.
    IdleTimeout,
    /// The session it speaks for was ended or expired.
    SessionGone,
    /// Another server serves this peer now.
    UseAnotherServer(Box<str>),
}
