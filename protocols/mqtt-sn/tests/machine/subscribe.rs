use thingway_contract::{Qos, RetainHandling, SubscribeRefusal};
use thingway_mqtt_sn::{
    Config, Packet, Predefined, ReturnCode,
    packet::{Suback, Subscribe, TopicName, TopicRef, Unsubscribe},
};

use crate::support::*;

fn subscribe(topic: TopicName<'_>, qos: Option<Qos>) -> Packet<'_> {
    Packet::Subscribe(Subscribe { duplicate: false, qos, message_id: 3, topic })
}

fn suback(qos: Qos, topic_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Suback(Suback { qos, topic_id, message_id: 3, code })
}

fn config() -> Config {
    let mut predefined = Predefined::default();
    predefined.insert(5, "all/five").expect("free");
    Config { predefined, topic_ids_max: 2, ..Config::default() }
}

#[test]
fn section_6_9_each_kind_of_topic_can_be_subscribed_to() {
    let mut pair = Pair::connected(config(), true);
    for (topic, qos, id, filter) in [
        (TopicName::Name("a/b"), Qos::AtLeastOnce, 1, "a/b"),
        (TopicName::Name("a/+"), Qos::ExactlyOnce, 0, "a/+"),
        (TopicName::Name("$share/g/x/#"), Qos::AtMostOnce, 0, "$share/g/x/#"),
        (TopicName::Predefined(5), Qos::AtMostOnce, 5, "all/five"),
        (TopicName::Short(*b"ab"), Qos::AtLeastOnce, 0x6162, "ab"),
        (TopicName::Short(*b"+/"), Qos::AtLeastOnce, 0x2b2f, "+/"),
    ] {
        pair.send(&subscribe(topic, Some(qos)));
        pair.expect(&[suback(qos, id, ReturnCode::Accepted)]);
        let subscription = pair.subscriptions.last().expect("there");
        assert_eq!(subscription.filter.to_string(), filter);
        let options = subscription.options;
        assert_eq!((options.qos, options.id, options.retain_handling), (qos, 0, RetainHandling::Send));
    }
}

#[test]
fn section_6_9_a_subscribed_name_needs_no_registration() {
    let mut pair = Pair::active();
    assert_eq!(pair.subscribe("a/b", Qos::AtMostOnce), 1);
    pair.deliver("a/b", b"x", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, TopicRef::Normal(1), 0, b"x")]);
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(1), 0, b"y"));
    assert_eq!(pair.published(), [("a/b", &b"y"[..])]);
}

#[test]
fn section_6_9_what_cannot_be_subscribed_to_is_refused() {
    let mut pair = Pair::connected(config(), true);
    for (topic, qos, code) in [
        (TopicName::Name("a"), None, ReturnCode::NotSupported),
        (TopicName::Name(""), Some(Qos::AtMostOnce), ReturnCode::NotSupported),
        (TopicName::Name("a/#/b"), Some(Qos::AtMostOnce), ReturnCode::NotSupported),
        (TopicName::Predefined(9), Some(Qos::AtMostOnce), ReturnCode::InvalidTopicId),
        (TopicName::Short(*b"a#"), Some(Qos::AtMostOnce), ReturnCode::InvalidTopicId),
    ] {
        pair.send(&subscribe(topic, qos));
        pair.expect(&[suback(Qos::AtMostOnce, 0, code)]);
    }
    assert_eq!(pair.subscriptions.len(), 0);
    for (name, code) in [
        ("one", ReturnCode::Accepted),
        ("two", ReturnCode::Accepted),
        ("three", ReturnCode::Congestion),
        ("#", ReturnCode::Accepted),
    ] {
        pair.send(&subscribe(TopicName::Name(name), Some(Qos::AtMostOnce)));
        let sent = pair.take();
        let Ok(Packet::Suback(suback)) = Packet::decode(&sent) else { panic!("{sent:?}") };
        assert_eq!(suback.code, code, "{name}");
    }
}

#[test]
fn table_5_refused_subscriptions_have_return_codes() {
    for (refusal, code) in [
        (SubscribeRefusal::NotAuthorized, ReturnCode::NotSupported),
        (SubscribeRefusal::SharedNotSupported, ReturnCode::NotSupported),
        (SubscribeRefusal::QuotaExceeded, ReturnCode::Congestion),
    ] {
        let mut pair = Pair::active();
        pair.subscribe_refusal = Some(refusal);
        pair.send(&subscribe(TopicName::Name("a/b"), Some(Qos::AtLeastOnce)));
        pair.expect(&[suback(Qos::AtMostOnce, 0, code)]);
    }
}

#[test]
fn a_repeated_subscribe_brings_retained_messages_once() {
    let mut pair = Pair::active();
    let topic = TopicName::Name("a/#");
    pair.send(&Packet::Subscribe(Subscribe { duplicate: true, qos: Some(Qos::AtMostOnce), message_id: 3, topic }));
    pair.expect(&[suback(Qos::AtMostOnce, 0, ReturnCode::Accepted)]);
    assert_eq!(pair.subscriptions[0].options.retain_handling, RetainHandling::SendIfNew);
}

#[test]
fn section_6_9_unsubscribe_is_always_acknowledged() {
    let mut pair = Pair::connected(config(), true);
    for (topic, filter) in [
        (TopicName::Name("a/#"), Some("a/#")),
        (TopicName::Predefined(5), Some("all/five")),
        (TopicName::Short(*b"ab"), Some("ab")),
        (TopicName::Predefined(6), None),
        (TopicName::Name("#/a"), None),
    ] {
        pair.send(&Packet::Unsubscribe(Unsubscribe { message_id: 0xffff, topic }));
        pair.expect(&[Packet::Unsuback(0xffff)]);
        assert_eq!(pair.unsubscribed.pop().map(|filter| filter.to_string()).as_deref(), filter);
    }
}
