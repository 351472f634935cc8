//! The vocabulary that every protocol and the gateway share, and the one trait that a protocol implements.
//!
//! A protocol is a pure function of (bytes, replies, time) to (bytes, requests). This crate holds no sockets, no clock,
//! no locks and no async code, and neither does anything that only depends on it.
//!
//! * [`Message`], [`Topic`], [`TopicFilter`], [`Properties`], [`Qos`], [`ClientId`]: what is published.
//! * [`Request`] and [`Reply`]: what a conversation asks of the gateway, and the answers.
//! * [`Delivery`]: a message on its way to one subscriber.
//! * [`Protocol`], [`Outbox`], [`Input`], [`Peer`]: the contract between a protocol and a driver; [`DatagramProtocol`] is what datagrams add.
#![forbid(unsafe_code)]

mod certificate;
mod client;
mod connect;
mod datagram;
mod delivery;
mod exchanges;
mod fault;
mod message;
mod outbox;
mod parked;
mod password;
mod properties;
mod protocol;
mod qos;
mod request;
mod time;
mod topic;

pub use certificate::{Certificate, ClientIdSource, NameKind};
pub use client::{ClientId, ClientIdError};
pub use connect::{Connect, Connected, Credentials, Refusal, Will};
pub use datagram::{Beacon, DatagramProtocol, Standing};
pub use delivery::{Delivered, Delivery, DropCause, Rare, ShareName};
pub use exchanges::Exchanges;
pub use fault::{CloseReason, Culprit, Fault, FaultKind};
pub use message::{Message, MessageBuilder, MessageHead, PublisherKey};
pub use outbox::{Outbox, PACKET_KINDS, Splice, pieces};
pub use parked::{Departure, Observation, Parked, Resumption, TopicId, Unacknowledged, WillFate};
pub use password::Password;
pub use properties::{Properties, PropertiesBuilder, Property, PropertyError};
pub use protocol::{Input, Peer, Protocol, Transport};
pub use qos::Qos;
pub use request::{
    PublishOutcome, Reply, Request, RetainHandling, SubscribeRefusal, Subscription, SubscriptionOptions, Token,
    UnsubscribeRefusal,
};
pub use time::Instant;
pub use topic::{FilterKind, Topic, TopicError, TopicFilter, TopicLimits, filter_matches, levels};
