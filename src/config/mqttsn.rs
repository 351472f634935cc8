use super::{
    schema::settings,
    value::{OrInfinity, Period, Size},
};

settings! {
    /// What MQTT-SN clients may do, and how the gateway speaks MQTT-SN. Bounds of topics are those of the section `mqtt`.
    pub struct MqttSn {
        /// The gateway's id, by which clients tell several gateways apart.
        gateway_id: u8 = 1, within 1..=255;
        /// Time between two announcements (ADVERTISE) to the addresses that a listener's `udp.announce_to` names; `0s` for none.
        advertise_interval: Period = Period::from_secs(900);
        /// Longest client identifier in bytes. The standard has 23; many clients have more.
        client_id_bytes_max: u16 = 128, within 1..=65_535;
        /// Give an identifier to clients that bring none, instead of refusing them.
        assign_client_ids: bool = false;
        /// Topic ids that clients know beforehand, such as { id = 1, topic = "sensors/temperature" }; with client = "node-7" for that client alone.
        predefined: Vec<PredefinedTopic> = Vec::new();
        /// Take publications of QoS -1, for which no connection is made, on predefined and short topic ids.
        qos_minus_one: bool = true;
        /// User name that such publications are made with, for access rules.
        qos_minus_one_username: String = "mqtt-sn-qos-1".into();
        /// What is kept for an address that makes such publications is forgotten when it was silent for so long.
        qos_minus_one_idle: Period = Period::from_secs(30);
        /// Time after which a message that was not acknowledged is sent again. The standard says 10 to 15 seconds.
        retry_interval: Period = Period::from_secs(10);
        /// How often it is sent again before the client is taken for lost. The standard says 3 to 5.
        retry_max: u8 = 3, within 0..=20;
        /// A client is taken for lost when it was silent for its keep-alive or sleep duration times this, if that is at most a minute. The standard says 1.5.
        keep_alive_multiplier: f64 = 1.5, within 1.0..=10.0;
        /// The same for durations of more than a minute. The standard says 1.1.
        keep_alive_multiplier_long: f64 = 1.1, within 1.0..=10.0;
        /// Longest silence of a client that has no keep-alive duration, as nothing else tells that it is gone; `0s` for any.
        silence_max: Period = Period::from_secs(86_400);
        /// How long the session of a client that asks for it to be kept (clean session 0) outlives its last sign of life.
        session_expiry: OrInfinity<Period> = OrInfinity::Finite(Period::from_secs(2 * 3600));
        /// Messages of QoS 1 and 2 from one client that are under way at a time. When so many wait for the gateway, more are refused with "congestion".
        inbound_max: u16 = 8, within 1..=1024;
        /// Topic ids that one client has at a time; more are refused with "congestion".
        topic_ids_max: u16 = 1024, within 1..=65_534;
        /// Longest message of a will.
        will_size_max: Size = Size::kib(4);
        /// Longest datagram that is sent to clients; larger messages are dropped and counted. Networks of constrained devices rarely carry more.
        datagram_size_max: Size = Size::bytes(1400);
        /// Let a sleeping client that asks for its messages from a new address, as behind a router that forgot it, go on with its session. Otherwise, and
        /// always with `auth_required`, it is told to connect anew.
        roaming: bool = true;
        /// Grant no session before the client has shown user name and password by an AUTH packet.
        auth_required: bool = false;
        /// Take messages that a forwarder encapsulated, which may speak for many clients.
        forwarding: bool = true;
        /// Broadcast radius to put into what is sent through forwarders.
        forward_radius: u8 = 0, within 0..=3;
    }
}

settings! {
    /// A topic id that clients know beforehand.
    pub struct PredefinedTopic {
        /// The id, from 1 to 65,534.
        id: u16 = 0;
        /// The topic name.
        topic: String = String::new();
        /// The client that knows it; "" for all.
        client: String = String::new();
    }
}
