//! What is kept, as items that can be told one after another, written elsewhere, and put into an empty store again.

use thingway_contract::{ClientId, Message, Qos, ShareName, SubscriptionOptions, TopicFilter, Will};

use crate::{Extras, Number, Position, WallMs};

/// One thing that is kept. All its times are of the wall: an instant counts milliseconds since 1970, as with an [`crate::Epoch`] of zero.
///
/// Items are told in the order of these kinds, and within a kind in an order that only depends on what is kept.
#[derive(Clone, Debug)]
pub enum Item {
    /// A session.
    Session(Box<SessionItem>),
    /// A group of shared subscriptions.
    Group {
        /// Names it; no session has the same number.
        number: Number,
        /// Group and filter.
        name: ShareName,
        /// The session that got the last message, which may be over.
        turn: Number,
    },
    /// A subscription of a session.
    Subscription {
        /// The session.
        session: Number,
        /// To what.
        filter: TopicFilter,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// The next place in a queue.
    Queued(QueuedItem),
    /// A message that is in queues.
    Message {
        /// Names it.
        number: Position,
        /// The message.
        message: Message,
    },
    /// A retained message.
    Retained(Message),
    /// A delayed message.
    Delayed {
        /// Names it.
        id: u64,
        /// When it is due.
        due: WallMs,
        /// The message, on the topic that it will be published to.
        message: Message,
    },
    /// What an operator has set.
    Setting {
        /// What names it.
        name: Box<str>,
        /// What it is set to.
        value: Box<str>,
    },
}

/// A session. None has a connection when items are told.
#[derive(Clone, Debug)]
pub struct SessionItem {
    /// Names it.
    pub number: Number,
    /// Whose it is.
    pub client_id: ClientId,
    /// Seconds that it outlives its connection; `u32::MAX` is for ever.
    pub expiry_secs: u32,
    /// When its last connection ended.
    pub detached_at: WallMs,
    /// The packet identifier to try first.
    pub next_packet_id: u16,
    /// Packet identifiers of its own messages of QoS 2 that it has not released.
    pub inbound: Vec<u16>,
    /// Its will.
    pub will: Option<Box<Will>>,
    /// The will counts only when the next connection asks for it.
    pub will_rests: bool,
    /// What else the last conversation left.
    pub extras: Extras,
}

/// A place in the queue of a session or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedItem {
    /// The session or group.
    pub queue: Number,
    /// The message; `None` once the subscriber has taken it over, and only its release is missing.
    pub message: Option<Position>,
    /// 0 until it is given to a connection.
    pub packet_id: u16,
    /// With what quality of service.
    pub qos: Qos,
    /// The retain flag to send.
    pub retain: bool,
    /// Subscription identifiers, all that match.
    pub subscription_ids: Vec<u32>,
    /// Where it comes from, if it is of a shared subscription.
    pub drawn: Option<Drawn>,
}

/// What waited at a group before a member drew it, and is there again if the member gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The group, which may be over.
    pub group: Number,
    /// With what quality of service.
    pub qos: Qos,
    /// With the retain flag.
    pub retain: bool,
}
