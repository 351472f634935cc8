use std::fmt;

use thingway_contract::{Culprit, Fault, FaultKind};

use crate::{codec::Code, codec::FormatError, message::MessageError};

/// What went wrong in a CoAP conversation. Few of these end it: see [`CoapFault::is_fatal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoapFault {
    /// No CoAP message. It was rejected if it was confirmable, and else ignored (RFC 7252, section 4.2).
    Malformed(FormatError),
    /// A response that nobody asked for. It was rejected.
    UnexpectedResponse(Code),
    /// A non-confirmable request with a critical option that is not known here. It was rejected (section 5.4.1).
    CriticalOption(u16),
    /// A request while another waits for the gateway's decision about the peer. It was ignored, and comes again if it is confirmable.
    Busy,
    /// A connection from which nothing came for one and a half times its heartbeat.
    HeartbeatLost,
    /// A notification on a connection that was sent as often as may be, and never acknowledged.
    PeerGone,
}

impl CoapFault {
    /// True when there is nothing to go on with.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::HeartbeatLost | Self::PeerGone)
    }
}

impl From<MessageError> for CoapFault {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Format(error) => Self::Malformed(error),
            MessageError::UnexpectedResponse(code) => Self::UnexpectedResponse(code),
        }
    }
}

impl Fault for CoapFault {
    fn culprit(&self) -> Culprit {
        Culprit::Peer
    }

    fn kind(&self) -> FaultKind {
        match self {
            Self::Malformed(FormatError::Version(_)) | Self::CriticalOption(_) => FaultKind::Unsupported,
            Self::Malformed(_) => FaultKind::Malformed,
            Self::UnexpectedResponse(_) => FaultKind::ProtocolError,
            Self::Busy => FaultKind::LimitExceeded,
            Self::HeartbeatLost | Self::PeerGone => FaultKind::Timeout,
        }
    }
}

impl fmt::Display for CoapFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "no CoAP message: {error:?}"),
            Self::UnexpectedResponse(code) => write!(f, "a response that nobody asked for: {code}"),
            Self::CriticalOption(number) => write!(f, "critical option {number} is not known"),
            Self::Busy => f.write_str("a request before the one before was decided"),
            Self::HeartbeatLost => f.write_str("no heartbeat"),
            Self::PeerGone => f.write_str("notifications are not acknowledged"),
        }
    }
}
