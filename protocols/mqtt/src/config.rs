use thingway_contract::{Qos, TopicLimits};

use crate::Version;

/// The server's side of every MQTT conversation of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Oldest version that is let in.
    pub version_min: Version,
    /// Newest version that is let in.
    pub version_max: Version,
    /// Bounds of topic names and filters. A name beyond them is refused with 0x90, a filter with 0x8F.
    pub topic_limits: TopicLimits,
    /// Most filters in one SUBSCRIBE or UNSUBSCRIBE; more end the connection with 0x97.
    pub filters_per_packet_max: usize,
    /// Most bytes of a client identifier; a longer one is refused with 0x85. The 23 characters of 3.1 are not enforced.
    pub client_id_bytes_max: usize,
    /// Assign an identifier to a client that brings none. Otherwise it is refused with 0x85.
    pub allow_empty_client_id: bool,
    /// Most bytes of an incoming packet, fixed header included; a larger one ends the connection with 0x95 before it is
    /// read.
    pub packet_bytes_max: u32,
    /// Most incoming QoS 1 and 2 messages under way at once. In 5.0 more end the connection with 0x93; earlier versions
    /// know no such limit: there reading pauses while so many requests wait for the gateway, and up to 65,535 QoS 2
    /// messages may wait for the client's release. In 5.0 reading pauses when 256 more than this wait for the gateway.
    pub receive_maximum: u16,
    /// Most outgoing QoS 1 and 2 messages under way at once, if the client does not ask for fewer.
    pub inflight_max: u16,
    /// Most topic aliases that a client may set; 0 for none. Each may hold a topic name.
    pub topic_alias_in_max: u16,
    /// Most topic aliases to set towards a client that takes them; 0 for none.
    pub topic_alias_out_max: u16,
    /// Keep-alive in seconds that 5.0 clients are told to use instead of their own; 0 switches it off.
    pub server_keep_alive_secs: Option<u16>,
    /// A client may be silent for its keep-alive interval times this, in thousandths [MQTT-3.1.2-22].
    pub keep_alive_permille: u32,
    /// Milliseconds from the connection's begin to the end of the handshake.
    pub connect_timeout_ms: u32,
    /// Seconds that the session of a client before 5.0 without "clean session" outlives its connection.
    pub session_expiry_v3_secs: u32,
    /// Most seconds that any session outlives its connection; `u32::MAX` for no limit.
    pub session_expiry_max_secs: u32,
    /// Highest quality of service: subscriptions are lowered to it, publications above it end the connection with 0x9B.
    pub qos_max: Qos,
    /// Serve retained messages; otherwise a publication with the retain flag ends the connection with 0x9A.
    pub retain_available: bool,
    /// Serve filters with wildcards; otherwise one ends the connection with 0xA2 (before 5.0 it is refused).
    pub wildcard_available: bool,
    /// Serve shared subscriptions; otherwise one ends the connection with 0x9E (before 5.0 it is refused).
    pub shared_available: bool,
    /// Serve subscription identifiers; otherwise one ends the connection with 0xA1.
    pub subscription_ids_available: bool,
    /// Serve `$exclusive/…` subscriptions; otherwise they are refused with 0x8F.
    pub exclusive_available: bool,
    /// Check that a payload whose format indicator says so is UTF-8; otherwise refuse it with 0x99.
    pub payload_format_checked: bool,
    /// Say in words why something was refused, where the client lets us.
    pub reason_strings: bool,
    /// Response information for clients that ask for it, when the gateway gives none of its own.
    pub response_information: Option<Box<str>>,
    /// The server to name in a refusal that sends a client away without naming one.
    pub server_reference: Option<Box<str>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version_min: Version::V31,
            version_max: Version::V5,
            topic_limits: TopicLimits::default(),
            filters_per_packet_max: 8192,
            client_id_bytes_max: 65_535,
            allow_empty_client_id: true,
            packet_bytes_max: 1024 * 1024,
            receive_maximum: 1024,
            inflight_max: 1024,
            topic_alias_in_max: 32,
            topic_alias_out_max: 32,
            server_keep_alive_secs: None,
            keep_alive_permille: 1500,
            connect_timeout_ms: 15_000,
            session_expiry_v3_secs: 7200,
            session_expiry_max_secs: u32::MAX,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            subscription_ids_available: true,
            exclusive_available: false,
            payload_format_checked: true,
            reason_strings: true,
            response_information: None,
            server_reference: None,
        }
    }
}
