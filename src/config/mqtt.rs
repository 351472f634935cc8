use super::{
    schema::{Setting, Shape, settings},
    value::{OrInfinity, Period, Size},
};

settings! {
    /// What MQTT clients may do, and how the gateway speaks MQTT. Each listener can override its keys in a table `mqtt` of its own, but for what belongs to sessions.
    pub struct Mqtt {
        /// Largest packet that is accepted, from its first byte to its last. Clients of MQTT 5 are told.
        max_packet_size: Size = Size::mib(1);
        /// Longest client identifier in bytes.
        client_id_bytes_max: u16 = 65_535, within 1..=65_535;
        /// Most levels of a topic name or filter: one more than the number of `/` in it.
        topic_levels_max: u16 = 128, within 1..=65_535;
        /// Longest topic name or filter in bytes.
        topic_bytes_max: u16 = 65_535, within 1..=65_535;
        /// Highest quality of service for publications and subscriptions.
        max_qos: u8 = 2, within 0..=2;
        /// Whether publications may be retained.
        retain_available: bool = true;
        /// Whether filters may hold `+` and `#`.
        wildcard_subscription: bool = true;
        /// Whether `$share/{group}/{filter}` and `$queue/{filter}` may be subscribed.
        shared_subscription: bool = true;
        /// Whether `$exclusive/{topic}` may be subscribed, which only one client can at a time.
        exclusive_subscription: bool = false;
        /// Whether subscriptions may have identifiers (MQTT 5).
        subscription_identifiers: bool = true;
        /// Keep-alive interval that clients of MQTT 5 must use instead of their own; `0s` leaves it to them.
        server_keep_alive: Period = Period::ZERO;
        /// A client is taken for dead when it was silent for its keep-alive interval times this. The standard says 1.5.
        keep_alive_multiplier: f64 = 1.5, within 1.0..=10.0;
        /// How long the sessions of clients outlive their connections that ask to be kept (clean session 0) but, speaking MQTT 3, cannot say for how long.
        session_expiry_default: OrInfinity<Period> = OrInfinity::Finite(Period::from_secs(2 * 3600));
        /// Longest session expiry that is granted; who asks for more gets this.
        session_expiry_max: OrInfinity<Period> = OrInfinity::Infinity;
        /// Publications of QoS 1 and 2 that a client may have unacknowledged at a time; clients of MQTT 5 are told.
        receive_maximum: u16 = 1024, within 1..=65_535;
        /// Publications of QoS 1 and 2 that a client is sent before it must acknowledge one; its own receive maximum may be lower.
        inflight_max: u16 = 1024, within 1..=65_535;
        /// Topic aliases that a client may set; 0 for none (MQTT 5).
        topic_alias_maximum: u16 = 64;
        /// Topic aliases that the gateway sets towards a client that allows them; 0 for none (MQTT 5).
        topic_alias_maximum_outbound: u16 = 32;
        /// Most subscriptions of one session.
        subscriptions_max: OrInfinity<u32> = OrInfinity::Finite(10_000);
        /// Deliver with the subscription's quality of service where the publication's is lower. The standard says false.
        upgrade_qos: bool = false;
        /// Refuse publications that say their payload is UTF-8 text when it is not (MQTT 5).
        validate_payload_format: bool = true;
        /// Beginning of the topics on which clients may await responses, told to clients that ask; "" for none (MQTT 5).
        response_information: String = String::new();
        /// Where clients shall go when this gateway stops or is overloaded, such as "other.example:1883"; "" for nowhere (MQTT 5).
        server_reference: String = String::new();
    }
}

/// What belongs to sessions, which may come by any listener.
const GENERAL_ONLY: [&str; 2] = ["subscriptions_max", "upgrade_qos"];

/// What one listener has instead of the general [`Mqtt`] section: where it is silent, that section counts.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ListenerMqtt(pub Mqtt);

impl std::ops::Deref for ListenerMqtt {
    type Target = Mqtt;

    fn deref(&self) -> &Mqtt {
        &self.0
    }
}

impl Setting for ListenerMqtt {
    fn shape() -> Shape {
        let keys = Mqtt::keys().into_iter().filter(|key| !GENERAL_ONLY.contains(&key.name));
        Shape::Overrides("mqtt", keys.collect())
    }
}
