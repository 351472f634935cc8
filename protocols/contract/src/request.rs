use bytes::Bytes;

use crate::{Connect, Connected, Message, Parked, Qos, Refusal, TopicFilter, Will};

/// Names a request so that its reply finds it. The protocol chooses the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

impl Token {
    /// No reply is wanted.
    pub const NONE: Self = Self(u32::MAX);
}

/// Retained messages at the time of subscribing (MQTT 5.0, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RetainHandling {
    /// Send them.
    #[default]
    Send,
    /// Send them only if the subscription did not exist.
    SendIfNew,
    /// Do not send them.
    DoNotSend,
}

/// How a subscription is served (MQTT 5.0, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// Highest quality of service to deliver with.
    pub qos: Qos,
    /// Not the subscriber's own publications.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Retained messages at the time of subscribing.
    pub retain_handling: RetainHandling,
    /// Subscription identifier, 0 for none.
    pub id: u32,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// What it matches.
    pub filter: TopicFilter,
    /// How it is served.
    pub options: SubscriptionOptions,
}

/// Why one subscription of a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeRefusal {
    /// Not allowed for this peer.
    NotAuthorized,
    /// Not a filter, or outside the operator's limits.
    FilterInvalid,
    /// The session holds as many subscriptions as it may.
    QuotaExceeded,
    /// Somebody else holds the exclusive subscription.
    ExclusiveTaken,
    /// Shared subscriptions are switched off.
    SharedNotSupported,
    /// Wildcards are switched off.
    WildcardNotSupported,
    /// Subscription identifiers are switched off.
    IdentifiersNotSupported,
    /// Exclusive subscriptions are switched off.
    ExclusiveNotSupported,
    /// Something else failed in the gateway.
    Failed,
}

/// Why one filter could not be unsubscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsubscribeRefusal {
    /// There was no such subscription.
    NotSubscribed,
    /// Not a filter.
    FilterInvalid,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// At least one subscriber gets it, or it was retained or delayed.
    Accepted,
    /// Nobody subscribes to its topic.
    NoSubscribers,
    /// The peer may not publish there. The message is gone.
    NotAuthorized,
    /// A ceiling of the gateway is reached. The message is gone.
    QuotaExceeded,
    /// The topic is not one that can be published to, as a malformed `$delayed/…`.
    TopicInvalid,
    /// Retaining is switched off.
    RetainNotSupported,
    /// Something failed in the gateway. The message is gone.
    Failed,
}

/// What a conversation asks of the gateway.
#[derive(Debug)]
pub enum Request {
    /// Start or resume a session. Answered by `Connected`, `Refused` or `Challenge`; nothing else may be asked before. Asked again by a conversation of
    /// datagrams that has a session, it first leaves that one: [`crate::Protocol::depart`] is called, and then the answer comes.
    Connect(Box<Connect>),
    /// Go on with enhanced authentication. Answered like `Connect`, or by `Reauthenticated` when connected.
    Authenticate {
        /// The method that was begun with.
        method: Box<str>,
        /// The peer's data.
        data: Option<Bytes>,
    },
    /// Publish. Answered by `Published` unless the token is [`Token::NONE`].
    Publish {
        /// Names the request.
        token: Token,
        /// The peer's packet identifier for an exchange that must not happen twice (QoS 2), which ends with `Released`; 0 for any other.
        packet_id: u16,
        /// What to publish.
        message: Message,
    },
    /// Subscribe to all that are `Ok`; the refusals are passed through to the reply in place.
    Subscribe {
        /// Names the request.
        token: Token,
        /// In the order in which the peer asked.
        subscriptions: Vec<Result<Subscription, SubscribeRefusal>>,
    },
    /// Unsubscribe.
    Unsubscribe {
        /// Names the request.
        token: Token,
        /// In the order in which the peer asked.
        filters: Vec<Result<TopicFilter, UnsubscribeRefusal>>,
    },
    /// The peer has released an incoming message of QoS 2, and its packet identifier is free again. Answered by `Recorded`, after which the peer may be
    /// told.
    Released {
        /// Names the request.
        token: Token,
        /// The peer's packet identifier.
        packet_id: u16,
    },
    /// The peer has taken over an outgoing message of QoS 2 that came with a packet identifier ([`crate::Delivery::packet_id`]). Answered by
    /// `Recorded`, after which the message may be released.
    Received {
        /// Names the request.
        token: Token,
        /// The delivery's packet identifier.
        packet_id: u16,
    },
    /// The exchange of an outgoing message that came with a packet identifier is over: acknowledged, released, or refused by the peer. There is no reply.
    Acknowledged {
        /// The delivery's packet identifier.
        packet_id: u16,
    },
    /// In a kept session: what the next conversation needs has changed, and shall be there even if the gateway ends without warning. Of the parked state
    /// topic ids, observations, sleep and resumption count, all of them as they are now. There is no reply.
    Keep {
        /// The state.
        parked: Box<Parked>,
    },
    /// Put another will in the place of the present one, or none. There is no reply.
    SetWill {
        /// The new will.
        will: Option<Box<Will>>,
    },
    /// Read retained messages without subscribing; access rules are those of a subscription to the filter. Answered by `Retained`.
    ReadRetained {
        /// Names the request.
        token: Token,
        /// What the topics must match. Shared and exclusive filters match nothing.
        filter: TopicFilter,
        /// Most messages in the answer.
        count_max: u32,
    },
}

/// The gateway's answers. They come in the order of the requests, each perhaps turns later: what must be kept is answered when it is.
#[derive(Debug)]
pub enum Reply {
    /// A session was granted.
    Connected(Box<Connected>),
    /// No session: say so and close.
    Refused(Refusal),
    /// Enhanced authentication goes on.
    Challenge {
        /// Data for the peer.
        data: Option<Bytes>,
    },
    /// Re-authentication succeeded.
    Reauthenticated {
        /// Data for the peer.
        data: Option<Bytes>,
    },
    /// The answer to `Publish`.
    Published {
        /// The request's.
        token: Token,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// The answer to `Subscribe`, a result for each subscription in order.
    Subscribed {
        /// The request's.
        token: Token,
        /// The granted quality of service, or why not.
        results: Vec<Result<Qos, SubscribeRefusal>>,
    },
    /// The answer to `Unsubscribe`, a result for each filter in order.
    Unsubscribed {
        /// The request's.
        token: Token,
        /// Whether it was there.
        results: Vec<Result<(), UnsubscribeRefusal>>,
    },
    /// The answer to `Released` and `Received`: it is kept.
    Recorded {
        /// The request's.
        token: Token,
    },
    /// The answer to `ReadRetained`.
    Retained {
        /// The request's.
        token: Token,
        /// The messages, in no order, or why they may not be read.
        messages: Result<Vec<Message>, SubscribeRefusal>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_small() {
        assert!(size_of::<Request>() <= 56, "{}", size_of::<Request>());
        assert!(size_of::<Reply>() <= 40, "{}", size_of::<Reply>());
    }
}
