//! Sizes of what exists a million times, or a million times a second. What is private has its test beside it.
//!
//! A size that grows has to be worth it, here and in `docs/performance.md`; one that shrinks is written down, so that it stays.

use std::{any::type_name, mem::size_of};

use thingway::{
    bus::{ConnectionInfo, Session, routes::Grant},
    net::{
        limit::Opened, memory::MemoryStream, quic::QuicStream, reactor::Socket, stream, tls::Tls, wheel::TimerId,
        ws::Ws,
    },
};
use thingway_coap as coap;
use thingway_contract::{
    ClientId, Delivery, Message, MessageHead, Parked, Properties, Reply, Request, SubscriptionOptions, Topic,
    TopicFilter, TopicLimits, Will,
};
use thingway_mqtt as mqtt;
use thingway_mqtt_sn as mqttsn;

type Mqtt<T> = stream::Connection<mqtt::Connection, T, Opened>;

macro_rules! sizes {
    ($($bytes:literal $kind:ty,)*) => {
        [$(($bytes, size_of::<$kind>(), type_name::<$kind>()),)*]
    };
}

#[cfg(target_pointer_width = "64")]
#[test]
fn sizes_are_as_written_down() {
    let sizes = sizes! {
        // A connection by what carries it: its task is one of these.
        232 Mqtt<Socket>,
        256 Mqtt<Tls<Socket>>,
        296 Mqtt<Ws<Socket>>,
        320 Mqtt<Ws<Tls<Socket>>>,
        272 Mqtt<QuicStream>,
        232 Mqtt<MemoryStream>,
        16 Socket,
        16 Opened,
        8 TimerId,
        // The protocols' machines in them, and in the tables of datagrams.
        104 mqtt::Connection,
        72 mqttsn::Conversation,
        120 coap::Conversation,
        // A session, and what is told of its connection.
        208 Session,
        72 ConnectionInfo,
        16 ClientId,
        48 (TopicFilter, SubscriptionOptions),
        24 Grant<'static>,
        24 Will,
        136 Parked,
        // A message on its way.
        8 Message,
        24 Delivery,
        56 Request,
        40 Reply,
    };
    let different: Vec<_> = sizes.iter().filter(|(expected, actual, _)| expected != actual).collect();
    assert!(different.is_empty(), "sizes (written down, now, of what) differ: {different:#?}");
}

/// Beside what its publisher sent.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_message_has_a_small_head() {
    let topic = Topic::parse("plant/line", TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), &[0; 100]);
    let head = message.weight() - topic.as_str().len() - 100;
    assert_eq!(head, 72);
}
