use thingway_contract::TopicLimits;

use crate::{Predefined, registry::TopicIds};

/// The gateway's side of every MQTT-SN conversation of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The gateway's id in ADVERTISE and GWINFO, 1 to 255 by the specification.
    pub gateway_id: u8,
    /// Seconds between two ADVERTISE, which tell this number to clients; 0 for none. Section 7.2 says more than 900.
    pub advertise_interval_secs: u16,
    /// Bounds of topic names and filters. What is beyond them is refused with 0x03.
    pub topic_limits: TopicLimits,
    /// Most bytes of a client identifier; a longer one is refused with 0x03. The 23 characters of section 5.3.1 are not enforced.
    pub client_id_bytes_max: usize,
    /// Assign an identifier to a client that brings none, for a session that ends with the conversation. Otherwise it is refused with 0x03.
    pub assign_client_ids: bool,
    /// Topic ids that clients know beforehand.
    pub predefined: Predefined,
    /// Take publications of QoS -1, on predefined and short topic ids, from anybody (section 6.8). Otherwise they are refused with 0x03.
    pub qos_minus_one: bool,
    /// The user name that such publications are made with, for access rules.
    pub qos_minus_one_username: Box<str>,
    /// Milliseconds that an address may be silent after a publication of QoS -1 before what was set up for it is forgotten.
    pub qos_minus_one_idle_ms: u32,
    /// Milliseconds that an answer of the client may take before a message is sent again (Tretry; section 7.2 says 10 to 15 seconds).
    pub retry_interval_ms: u32,
    /// How often a message is sent again before the client counts as lost (Nretry; section 7.2 says 3 to 5).
    pub retry_max: u8,
    /// A client may be silent for its keep-alive or sleep duration times this, in thousandths, if that is a minute or less (section 7.2).
    pub keep_alive_permille: u32,
    /// The same for durations of more than a minute (section 7.2).
    pub keep_alive_long_permille: u32,
    /// Seconds that a client with keep-alive duration 0 may be silent, as nothing else ever tells that it is gone; 0 for no limit.
    pub silence_secs_max: u32,
    /// Seconds that the session of a client without "clean session" outlives its conversation.
    pub session_expiry_secs: u32,
    /// Most messages of QoS 1 and 2 from a client that are remembered at once. Section 6.6 has a client send one at a time. When so many wait for the
    /// gateway, more are refused with 0x01; of those that wait for the client's PUBREL, the oldest is given up for a new one.
    pub inbound_max: u16,
    /// Most topic ids that a client has at once; more are refused with 0x01, and messages on names beyond them cannot be sent to it.
    pub topic_ids_max: u16,
    /// The topic id that a conversation gives out first, 1 to 65,534. A gateway that keeps sessions through its own restart sets another one at each start,
    /// further away than a client has ids: of those that it gave out last, some may not be kept when it is killed, and an id that a client still knows
    /// from before must be unknown here and not another name.
    pub first_topic_id: u16,
    /// Most bytes of a will's message; a longer one is refused with 0x03.
    pub will_bytes_max: usize,
    /// Most bytes of a datagram from a client; a larger one is not read.
    pub packet_bytes_max: usize,
    /// Most bytes of a datagram to a client, a forwarder's header included; larger messages are dropped.
    pub datagram_bytes_max: usize,
    /// Let a sleeping client that asks for its messages from another address go on with its session (never with `auth_required`, as it shows no
    /// credentials). Otherwise it is told to connect anew.
    pub roaming: bool,
    /// Grant no session before the client has shown user name and password by AUTH.
    pub auth_required: bool,
    /// Take messages that a forwarder encapsulated (section 5.5).
    pub forwarding: bool,
    /// The broadcast radius to put into what is sent through forwarders, 0 to 3 hops.
    pub forward_radius: u8,
    /// Milliseconds that a client may take from CONNECT to the last message that the gateway asks for.
    pub connect_timeout_ms: u32,
    /// Milliseconds by which the network may deliver a copy of a datagram late: for so long a repeated message of QoS 2 that was complete does not count
    /// as new, and for at most a second a repeated CONNECT after which the client has sent something else. 0 takes everything as new.
    pub late_copies_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gateway_id: 1,
            advertise_interval_secs: 0,
            topic_limits: TopicLimits::default(),
            client_id_bytes_max: 128,
            assign_client_ids: false,
            predefined: Predefined::default(),
            qos_minus_one: true,
            qos_minus_one_username: "mqtt-sn-qos-1".into(),
            qos_minus_one_idle_ms: 30_000,
            retry_interval_ms: 10_000,
            retry_max: 3,
            keep_alive_permille: 1500,
            keep_alive_long_permille: 1100,
            silence_secs_max: 86_400,
            session_expiry_secs: 7200,
            inbound_max: 8,
            topic_ids_max: 1024,
            first_topic_id: 1,
            will_bytes_max: 4096,
            packet_bytes_max: 65_535,
            datagram_bytes_max: 1400,
            roaming: true,
            auth_required: false,
            forwarding: true,
            forward_radius: 0,
            connect_timeout_ms: 15_000,
            late_copies_ms: 5_000,
        }
    }
}

impl Config {
    pub(crate) const fn topic_ids(&self) -> TopicIds {
        TopicIds { first: self.first_topic_id, count_max: self.topic_ids_max }
    }

    /// Milliseconds that a client may be silent that promised a sign of life every `secs` seconds.
    pub(crate) fn patience_ms(&self, secs: u16) -> u64 {
        let permille = if secs <= 60 { self.keep_alive_permille } else { self.keep_alive_long_permille };
        // Seconds times thousandths are milliseconds. Never less than was promised.
        u64::from(secs) * u64::from(permille.max(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_7_2_short_durations_have_more_tolerance() {
        let config = Config::default();
        assert_eq!(config.patience_ms(60), 90_000);
        assert_eq!(config.patience_ms(61), 67_100);
        assert_eq!(config.patience_ms(u16::MAX), 72_088_500);
    }
}
