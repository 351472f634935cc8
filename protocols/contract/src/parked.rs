use crate::{Delivery, Instant, SubscriptionOptions, TopicFilter, Will};

/// An outgoing message that the peer has not fully acknowledged.
#[derive(Clone, Debug)]
pub struct Unacknowledged {
    /// The packet identifier in use.
    pub packet_id: u16,
    /// The message; `None` once the peer has taken it over (QoS 2 after PUBREC) and only the release is missing.
    pub delivery: Option<Delivery>,
}

/// The state of a conversation that outlives its connection (MQTT 5.0, section 4.1).
#[derive(Clone, Debug, Default)]
pub struct Parked {
    /// Outgoing messages in the order in which they were first sent.
    pub outbound: Vec<Unacknowledged>,
    /// Packet identifiers of incoming QoS 2 messages that were published but not yet released.
    pub inbound: Vec<u16>,
    /// The packet identifier to try first.
    pub next_packet_id: u16,
    /// Topic names that the peer knows by a number (MQTT-SN 1.2, section 6.5).
    pub topic_ids: Vec<TopicId>,
    /// What the peer observes, and under which tokens (RFC 7641, section 4.1).
    pub observations: Vec<Observation>,
    /// A will that was kept. The bus puts it here; when the next conversation goes on with it, a copy is left for the protocol to know it by.
    pub will: Option<Box<Will>>,
    /// Seconds between signs of life that the peer promised when it went to sleep (MQTT-SN 1.2, section 6.14), 0 when it was awake.
    pub sleep_secs: u16,
    /// The session was to end with its connection, and is only kept for the moment because the sleeping peer may be going on from another address.
    pub transient: bool,
    /// What a conversation must show that asks for no other session than this ([`crate::Connect::must_exist`]).
    pub resumption: Option<Resumption>,
}

/// What only the peer of a connection knows, with which it goes on in another conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// To be shown as [`crate::Connect::resume_key`].
    pub key: u64,
    /// When it is too late; [`Instant::NEVER`] as long as there is the session.
    pub until: Instant,
}

/// A topic name and the number that stands for it in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicId {
    /// The number.
    pub id: u16,
    /// The topic name.
    pub name: Box<str>,
    /// The peer was told, and has not said otherwise.
    pub known: bool,
}

/// An observation (RFC 7641): a subscription of the session and what its notifications look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the peer knows it by.
    pub token: Box<[u8]>,
    /// What is observed.
    pub filter: TopicFilter,
    /// How it is subscribed.
    pub options: SubscriptionOptions,
    /// Names the request that it was registered by.
    pub key: u64,
    /// The sequence number sent last.
    pub sequence: u32,
    /// The only format that the peer takes.
    pub accept: Option<u16>,
    /// The block size that the peer asked for, as the protocol encodes it.
    pub block_exponent: u8,
    /// Seconds after which a notification must be acknowledged again.
    pub check_secs: u32,
    /// An empty message ends it.
    pub ends_when_empty: bool,
    /// When it ends at the latest.
    pub ends_at: Instant,
}

impl Parked {
    /// True for a [`crate::Connect::resume_key`] that the session was left with, and for none when it was left without.
    pub fn is_resumed_by(&self, key: Option<u64>, now: Instant) -> bool {
        match (self.resumption, key) {
            (Some(resumption), Some(key)) => resumption.key == key && now < resumption.until,
            (left, shown) => left.is_none() && shown.is_none(),
        }
    }

    /// True when nothing is worth keeping.
    pub fn is_empty(&self) -> bool {
        self.outbound.is_empty()
            && self.inbound.is_empty()
            && self.topic_ids.is_empty()
            && self.observations.is_empty()
            && self.will.is_none()
            && self.sleep_secs == 0
            && !self.transient
            && self.resumption.is_none()
    }
}

/// What becomes of the will when a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WillFate {
    /// Publish it, after its delay.
    #[default]
    Publish,
    /// The peer said goodbye: delete it unpublished [MQTT-3.14.4-3].
    Discard,
    /// It stays with the session for the next conversation, which asks for it by [`crate::Connect::keep_will`]; it is deleted unpublished when the
    /// session ends before.
    Keep,
}

/// How a conversation ended, told once by the protocol when its connection is gone.
#[derive(Debug, Default)]
pub struct Departure {
    /// What becomes of the will.
    pub will: WillFate,
    /// A session expiry in seconds that replaces the one granted at the start.
    pub session_expiry_secs: Option<u32>,
    /// What the next connection needs.
    pub parked: Parked,
}
