use thingway_contract::{Instant, Qos, TopicLimits};

use crate::message::Transmission;

/// What decides whether notifications are confirmable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NotifyType {
    /// Quality of service: 0 is not confirmable, 1 and 2 are.
    #[default]
    Qos,
    /// All are.
    Confirmable,
    /// None is, but those by which the observer shows that it is still there (RFC 7641, section 4.5).
    NonConfirmable,
}

/// The quality of service of a request that does not name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QosRule {
    /// 0 for non-confirmable requests, 1 for confirmable ones.
    #[default]
    Coap,
    /// Always this.
    Fixed(Qos),
}

/// How much is sent to an address before it has shown that it can receive (RFC 9175, section 2.4, item 3, and section 2.6; RFC 7252, section 11.3).
///
/// The bound is three times the request, and 136 bytes at least, both without the headers of IP and UDP. It has shown it when it acknowledged something, used the token of its connection, or sent
/// an Echo option back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Amplification {
    /// No bound: for listeners that nobody outside can reach.
    Unbounded,
    /// Larger answers come in smaller blocks, with an Echo option; 4.01 with an Echo option where even that is too large. Works with all clients that can
    /// do block-wise transfers.
    #[default]
    Blocks,
    /// Larger answers are refused with 4.01 and an Echo option. libcoap's clients come again with it, aiocoap's do not.
    Echo,
}

/// The server's side of every CoAP conversation of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sixteen secret bytes: connection tokens, Echo values and message ids come from them. They must be the same in all listeners that a client may move
    /// between, and unknown to everybody else. After a change clients need new tokens to go on from another address.
    pub secret: [u8; 16],
    /// Milliseconds from the beginning of 1970 to that of the clock which conversations are told the time by: what dates are compared with, and what numbers
    /// notifications for observers who were there before. A change of the machine's clock while the gateway runs is not noticed.
    pub clock_unix_ms: u64,
    /// Only serve topics to peers that have opened a connection (`POST mqtt/connection`): the others get 4.00.
    pub connection_required: bool,
    /// A connection from which no request comes for one and a half times so many seconds ends; 0 switches that off.
    pub heartbeat_secs: u16,
    /// Seconds that a connection's session outlives it; 0 ends it at once.
    pub session_expiry_secs: u32,
    /// Milliseconds that a peer without connection and observations keeps its session without a request.
    pub idle_ms: u32,
    /// Milliseconds after which a request whose answer takes longer is acknowledged alone.
    pub acknowledge_ms: u32,
    /// Most bytes of a client identifier; a longer one is refused with 4.00.
    pub client_id_bytes_max: usize,
    /// Bounds of topic names and filters; those beyond are refused with 4.00.
    pub topic_limits: TopicLimits,
    /// What decides whether notifications are confirmable.
    pub notify_type: NotifyType,
    /// Quality of service of publications that do not say.
    pub publish_qos: QosRule,
    /// Quality of service of subscriptions that do not say.
    pub subscribe_qos: QosRule,
    /// Parameters of the message layer.
    pub transmission: Transmission,
    /// Most observations of a peer; more are refused with 5.03.
    pub observations_max: usize,
    /// Non-confirmable notifications of an observation between two that must be acknowledged.
    pub unconfirmed_max: u32,
    /// Seconds after which a notification must be acknowledged again, at most 86,400 (RFC 7641, section 4.5). An observer from whom nothing came for so
    /// long, because there was nothing to notify, is pinged.
    pub confirm_secs: u32,
    /// Most bytes in a block: 16, 32, 64, 128, 256, 512 or 1024. Others count as the next smaller.
    pub block_bytes_max: usize,
    /// Most bytes of a body that comes in blocks; a larger one is refused with 4.13.
    pub body_bytes_max: usize,
    /// Most bodies that a peer may be fetching in blocks; the oldest makes room for another.
    pub downloads_max: usize,
    /// Milliseconds without a block after which a transfer is forgotten. Further notifications of an observation wait so long for the rest of a large one.
    pub block_ms: u32,
    /// How much is sent to an address that may be forged.
    pub amplification: Amplification,
    /// Path segment of the publish/subscribe draft's topic collection; `None` switches that face off.
    pub pubsub_path: Option<Box<str>>,
    /// Most topics in the list of a topic collection.
    pub collection_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secret: [0; 16],
            clock_unix_ms: 0,
            connection_required: false,
            heartbeat_secs: 30,
            session_expiry_secs: 0,
            idle_ms: 30_000,
            acknowledge_ms: 1000,
            client_id_bytes_max: 65_535,
            topic_limits: TopicLimits::default(),
            notify_type: NotifyType::Qos,
            publish_qos: QosRule::Coap,
            subscribe_qos: QosRule::Coap,
            transmission: Transmission::default(),
            observations_max: 64,
            unconfirmed_max: 100,
            confirm_secs: 86_400,
            block_bytes_max: 1024,
            body_bytes_max: 1024 * 1024,
            downloads_max: 4,
            block_ms: 93_000,
            amplification: Amplification::Blocks,
            pubsub_path: Some("pubsub".into()),
            collection_max: 1000,
        }
    }
}

impl Config {
    /// Milliseconds since 1970 at a point of the clock that conversations are told the time by.
    pub(crate) const fn unix_ms(&self, now: Instant) -> u64 {
        self.clock_unix_ms.saturating_add(now.as_millis())
    }
}

impl QosRule {
    /// The quality of service of a request.
    pub const fn of(self, confirmable: bool) -> Qos {
        match (self, confirmable) {
            (Self::Fixed(qos), _) => qos,
            (Self::Coap, true) => Qos::AtLeastOnce,
            (Self::Coap, false) => Qos::AtMostOnce,
        }
    }
}
