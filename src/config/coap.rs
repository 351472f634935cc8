use super::{
    schema::{settings, words},
    value::{Period, Size},
};

words! {
    /// What decides whether notifications are confirmable.
    pub enum NotifyType {
        /// Quality of service: 0 is not, 1 and 2 are.
        Qos = "qos",
        /// All are.
        Con = "con",
        /// None is.
        Non = "non",
    }
}

words! {
    /// The quality of service of a request that does not name one.
    pub enum CoapQos {
        /// 0 for non-confirmable requests, 1 for confirmable ones.
        Coap = "coap",
        /// Always 0.
        Qos0 = "qos0",
        /// Always 1.
        Qos1 = "qos1",
        /// Always 2.
        Qos2 = "qos2",
    }
}

words! {
    /// How much is sent to an address that may be forged.
    pub enum Amplification {
        /// In small blocks what would be more than three times the request.
        Blocks = "blocks",
        /// An Echo option instead, which the peer must send back.
        Echo = "echo",
        /// Anything.
        Unbounded = "unbounded",
    }
}

settings! {
    /// What CoAP clients may do, and how the gateway speaks CoAP. Bounds of topics are those of the section `mqtt`.
    pub struct Coap {
        /// Only serve topics to clients that have opened a connection by POST to mqtt/connection.
        connection_required: bool = false;
        /// A connection without a request for one and a half times so long ends; `0s` for never.
        heartbeat: Period = Period::from_secs(30);
        /// How long a connection's session outlives it.
        session_expiry: Period = Period::ZERO;
        /// What is kept for a client without connection and observations is forgotten when it was silent for so long.
        idle: Period = Period::from_secs(30);
        /// Longest client identifier in bytes.
        client_id_bytes_max: u16 = 65_535, within 1..=65_535;
        /// What decides whether notifications are confirmable: "qos" (for QoS 1 and 2 they are), "con" (all) or "non" (none).
        notify_type: NotifyType = NotifyType::Qos;
        /// Quality of service of publications that do not say: "coap" (0 for non-confirmable requests, 1 for confirmable ones), "qos0", "qos1" or "qos2".
        publish_qos: CoapQos = CoapQos::Coap;
        /// The same for subscriptions.
        subscribe_qos: CoapQos = CoapQos::Coap;
        /// Least time to the first retransmission of a confirmable message (ACK_TIMEOUT).
        ack_timeout: Period = Period::from_secs(2);
        /// That time is between this and itself times so much (ACK_RANDOM_FACTOR).
        ack_random_factor: f64 = 1.5, within 1.0..=10.0;
        /// How often a confirmable message is sent again, each time after twice the time (MAX_RETRANSMIT).
        max_retransmit: u8 = 4, within 0..=20;
        /// Confirmable messages to one client that are under way at a time (NSTART).
        nstart: u8 = 1, within 1..=255;
        /// Messages of one client whose ids are remembered so that duplicates are known; beyond it the oldest is forgotten.
        exchanges_max: u16 = 128, within 1..=65_535;
        /// Observations of one client; more are refused.
        observations_max: u16 = 64, within 1..=65_535;
        /// Non-confirmable notifications of an observation between two that must be confirmed.
        unconfirmed_max: u32 = 100;
        /// Longest time between two notifications that must be confirmed, at most a day.
        confirm_interval: Period = Period::from_secs(86_400);
        /// Largest block: 16, 32, 64, 128, 256, 512 or 1024 bytes.
        block_size: Size = Size::bytes(1024);
        /// Largest body that comes in blocks.
        body_size_max: Size = Size::mib(1);
        /// Bodies that one client may be fetching in blocks; the oldest makes room for another.
        downloads_max: u16 = 4, within 1..=1024;
        /// A transfer is forgotten when no block of it was asked for or came for so long.
        block_timeout: Period = Period::from_secs(93);
        /// How much is sent to an address that may be forged, because nothing has come back from it: "blocks" (larger answers in small blocks), "echo"
        /// (instead of a larger answer an Echo option that the client must send back; not all clients do) or "unbounded".
        amplification: Amplification = Amplification::Blocks;
        /// Path of the topic collection of the IETF's publish/subscribe draft; "" for none.
        pubsub_path: String = "pubsub".into();
        /// Most topics in a list of that collection.
        collection_max: u32 = 1000, within 1..=100_000;
    }
}
