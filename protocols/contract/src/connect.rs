use bytes::Bytes;

use crate::{ClientId, Message, Parked, Password, PublisherKey};

/// What a peer shows to prove who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: Option<Box<str>>,
    /// Password, any bytes.
    pub password: Option<Password>,
    /// Method of enhanced authentication (MQTT 5.0, section 4.12).
    pub method: Option<Box<str>>,
    /// First data of enhanced authentication.
    pub data: Option<Bytes>,
    /// What it says of itself beside that, in names and values (MQTT 5.0, section 3.1.2.11.8).
    pub user_properties: Box<[(Box<str>, Box<str>)]>,
}

/// A message that the gateway publishes when the peer is gone (MQTT 5.0, section 3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    /// Topic, payload, properties, quality of service and retain flag. Its times are set when it is published.
    pub message: Message,
    /// Seconds between the end of the connection and the publication.
    pub delay_secs: u32,
    /// Message expiry interval in seconds, counted from the publication.
    pub expiry_secs: Option<u32>,
}

/// A peer asks for a session.
#[derive(Clone, Debug)]
pub struct Connect {
    /// `None` asks the gateway to assign one.
    pub client_id: Option<ClientId>,
    /// Discard an existing session first.
    pub clean_start: bool,
    /// Only go on with a session that is there: otherwise the answer is [`Refusal::NoSession`]. So it is when a conversation of another protocol has
    /// the session, for what such a request knows of the session (a token, or no more than its identifier) was not learned there; when the conversation
    /// that has it says that it does not move ([`crate::DatagramProtocol::may_move`]); and when the session was left with another
    /// [`crate::Parked::resumption`] than `resume_key` asks for.
    pub must_exist: bool,
    /// With `must_exist`: what the session must have been left with. `None` goes on with what was left without.
    pub resume_key: Option<u64>,
    /// Without a `will` here, the one that the session's last conversation kept ([`crate::WillFate::Keep`]) counts again.
    pub keep_will: bool,
    /// Seconds that the session outlives the connection; `u32::MAX` never expires.
    pub session_expiry_secs: u32,
    /// What the peer shows.
    pub credentials: Credentials,
    /// Its will.
    pub will: Option<Box<Will>>,
    /// Protocol version as the protocol numbers it, as 3, 4 and 5 for MQTT.
    pub version: u8,
    /// Keep-alive interval that will be used, in seconds; 0 is off.
    pub keep_alive_secs: u16,
    /// Most unacknowledged deliveries that the peer takes.
    pub receive_maximum: u16,
}

impl Connect {
    /// True when the session ends with its connection.
    pub const fn is_transient(&self) -> bool {
        self.session_expiry_secs == 0
    }
}

/// A session was granted.
#[derive(Debug, Default)]
pub struct Connected {
    /// The session's identity when the gateway chose it.
    pub assigned_client_id: Option<ClientId>,
    /// Earlier state was found and is used.
    pub session_present: bool,
    /// The session is kept through the gateway's own restart: the end of incoming QoS 2 exchanges is asked for by [`crate::Request::Released`]. It may be
    /// told at once otherwise.
    pub kept: bool,
    /// Granted session expiry in seconds, which an operator's ceiling may have lowered.
    pub session_expiry_secs: u32,
    /// State of the conversation that the previous connection left.
    pub parked: Option<Box<Parked>>,
    /// To stamp on the peer's publications.
    pub publisher: PublisherKey,
    /// Last data of enhanced authentication.
    pub authentication_data: Option<Bytes>,
    /// Basis for response topics (MQTT 5.0, section 3.2.2.3.14).
    pub response_information: Option<Box<str>>,
}

/// Why a session was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// User name or password wrong.
    BadCredentials,
    /// Known, but not let in.
    NotAuthorized,
    /// On the banned list.
    Banned,
    /// There is no such session, and none was to be made.
    NoSession,
    /// The client identifier is not acceptable.
    ClientIdRejected,
    /// Unknown or unsupported method of enhanced authentication.
    BadAuthenticationMethod,
    /// The gateway or something it needs cannot serve now.
    Unavailable,
    /// Too much to do; come again later.
    Busy,
    /// A quota is used up.
    QuotaExceeded,
    /// Connections come too fast.
    ConnectionRateExceeded,
    /// Another server serves this peer now (the text is the server reference, MQTT 5.0, section 4.11).
    UseAnotherServer(Box<str>),
    /// Another server serves this peer from now on.
    ServerMoved(Box<str>),
}
