use std::sync::Arc;

use smallvec::SmallVec;
use thingway_contract::{ClientId, Message, Qos, Rare, ShareName, SubscriptionOptions, TopicFilter, Will, WillFate};

use crate::{Extras, Position};

/// Names a session, or a group of shared subscriptions: the position of the record that made it. Never used again.
pub type Number = Position;

/// Milliseconds since 1970. Times in records are of the wall, for the gateway's own clock begins anew when it does.
pub type WallMs = u64;

/// One change of what is kept.
#[derive(Clone, Debug)]
pub enum Record {
    /// A connection takes a session, which is made if there is none of this client.
    Attach(Box<Attach>),
    /// A session's connection is gone.
    Detach {
        /// The session.
        session: Number,
        /// The position of the record by which the connection took it. Nothing happens when another has taken it since.
        attach: Position,
        /// When.
        at: WallMs,
        /// An expiry in seconds that replaces the one it had.
        expiry_secs: Option<u32>,
        /// What becomes of its will. One that is to be published stays until [`Cause::Will`] says that it was.
        will: WillFate,
        /// The first packet identifier whose message was not given to the connection, 0 when all were.
        unsent: u16,
    },
    /// A session is over.
    End {
        /// The session.
        session: Number,
    },
    /// A session's will is another now, or none.
    SetWill {
        /// The session.
        session: Number,
        /// The will.
        will: Option<Box<Will>>,
    },
    /// What else a conversation leaves to the next one is this now.
    Keep {
        /// The session.
        session: Number,
        /// All of it.
        extras: Box<Extras>,
    },
    /// A session subscribes, or subscribes with other options.
    Subscribe {
        /// The session.
        session: Number,
        /// To what.
        filter: TopicFilter,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// A session unsubscribes.
    Unsubscribe {
        /// The session.
        session: Number,
        /// From what.
        filter: TopicFilter,
    },
    /// A message is published, and queued where it is to be kept.
    Publish(Arc<Publish>),
    /// A message waits for its time.
    Delay {
        /// Names it. Never used again.
        id: u64,
        /// When it is due.
        due: WallMs,
        /// The message, on the topic that it will be published to.
        message: Message,
        /// The exchange that it came in.
        exchange: Option<Exchange>,
    },
    /// What a cause stands for was dealt with, and nothing had to be kept.
    Spent(Cause),
    /// A subscriber's exchange is over.
    Acknowledged(Exchange),
    /// A subscriber has taken over a message of QoS 2; only its release is missing.
    Received(Exchange),
    /// A publisher has released its message of QoS 2.
    Released(Exchange),
    /// The gateway has begun anew: no session has a connection.
    Restarted {
        /// When.
        at: WallMs,
    },
}

/// A connection takes a session.
#[derive(Clone, Debug)]
pub struct Attach {
    /// Whose session it is.
    pub client_id: ClientId,
    /// Seconds that it outlives the connection; `u32::MAX` is for ever.
    pub expiry_secs: u32,
    /// The will of this connection.
    pub will: Option<Box<Will>>,
    /// Without a will here, the one that was kept counts again.
    pub keep_will: bool,
}

/// A publication.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The message.
    pub message: Message,
    /// It is retained, or with an empty payload what was retained on its topic is forgotten.
    pub retains: bool,
    /// The QoS 2 exchange that it came in, when its publisher's session is kept.
    pub exchange: Option<Exchange>,
    /// Who gets it.
    pub targets: SmallVec<[Target; 1]>,
    /// Why the gateway publishes it.
    pub cause: Cause,
}

/// An exchange of packets under one packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The session.
    pub session: Number,
    /// The packet identifier.
    pub packet_id: u16,
}

/// Who gets a message, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The session. For a shared subscription the member that should get it, 0 for any.
    pub session: Number,
    /// With what quality of service.
    pub qos: Qos,
    /// The retain flag to send.
    pub retain: bool,
    /// Subscription identifier, 0 for none.
    pub subscription_id: u32,
    /// What few have. With a shared subscription the message waits at its group, and the member's own options count.
    pub rare: Option<Arc<Rare>>,
}

impl Target {
    pub(crate) fn share(&self) -> Option<&ShareName> {
        self.rare.as_ref()?.share.as_ref()
    }
}

/// What made the gateway publish by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cause {
    /// It did not.
    #[default]
    None,
    /// A session's will.
    Will(Number),
    /// A delayed message.
    Delayed(u64),
}
