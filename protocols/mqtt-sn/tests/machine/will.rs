use thingway_contract::{Message, MessageHead, Parked, Properties, Qos, Topic, TopicError, TopicLimits, Will};
use thingway_mqtt_sn::{Config, MqttSnFault, Packet, ReturnCode, packet::WillTopic};

use crate::support::*;

fn topic(topic: &str) -> Option<WillTopic<'_>> {
    Some(WillTopic { qos: Qos::AtLeastOnce, retain: true, topic })
}

fn with_will(config: Config) -> Pair {
    let mut pair = Pair::new(config);
    pair.send(&connect(true, true));
    pair.send(&Packet::WillTopic(topic("w/t")));
    pair.send(&Packet::WillMsg(b"gone"));
    pair.expect(&[Packet::WillTopicReq, Packet::WillMsgReq, accepted()]);
    pair
}

fn parts(will: &Will) -> (&str, &[u8], Qos, bool) {
    let message = &will.message;
    (message.topic(), message.payload(), message.head().qos, message.head().retain)
}

#[test]
fn section_6_2_the_will_is_asked_for() {
    let pair = with_will(Config::default());
    let will = pair.connects[0].will.as_deref().expect("a will");
    assert_eq!(parts(will), ("w/t", &b"gone"[..], Qos::AtLeastOnce, true));
    assert_eq!((will.delay_secs, will.expiry_secs), (0, None));
}

#[test]
fn section_5_4_7_an_empty_topic_deletes_the_will() {
    let mut pair = Pair::new(Config::default());
    pair.send(&connect(false, true));
    pair.send(&Packet::WillTopic(None));
    pair.expect(&[Packet::WillTopicReq, accepted()]);
    assert!(pair.connects[0].will.is_none() && !pair.connects[0].keep_will);
}

#[test]
fn section_6_13_repeated_setup_messages_are_answered_again() {
    let mut pair = Pair::new(Config::default());
    pair.send(&connect(true, true));
    pair.send(&connect(true, true));
    pair.send(&Packet::WillTopic(topic("w")));
    pair.send(&Packet::WillTopic(topic("w")));
    pair.send(&Packet::WillMsg(b"x"));
    pair.send(&Packet::WillMsg(b"x"));
    let (topic_req, msg_req) = (Packet::WillTopicReq, Packet::WillMsgReq);
    pair.expect(&[topic_req, topic_req, msg_req, msg_req, accepted(), accepted()]);
    assert_eq!(pair.connects.len(), 1);
}

#[test]
fn wills_that_cannot_be_are_refused() {
    let mut pair = Pair::new(Config { will_bytes_max: 3, ..Config::default() });
    pair.send(&connect(true, true));
    pair.send(&Packet::WillTopic(topic("w/#")));
    pair.expect(&[Packet::WillTopicReq, refused(ReturnCode::NotSupported)]);
    pair.send(&connect(true, true));
    pair.send(&Packet::WillTopic(topic("w")));
    pair.send(&Packet::WillMsg(b"long"));
    pair.expect(&[Packet::WillTopicReq, Packet::WillMsgReq, refused(ReturnCode::NotSupported)]);
    assert_eq!(pair.faults, [MqttSnFault::WillTopic(TopicError::WildcardInName), MqttSnFault::WillTooLong]);
    assert_eq!(pair.connects.len(), 0);
}

#[test]
fn section_6_4_topic_and_message_are_updated_apart() {
    let mut pair = with_will(Config::default());
    pair.send(&Packet::WillMsgUpd(b"later"));
    pair.expect(&[Packet::WillMsgResp(ReturnCode::Accepted)]);
    let will = pair.wills.pop().flatten().expect("a will");
    assert_eq!(parts(&will), ("w/t", &b"later"[..], Qos::AtLeastOnce, true));
    pair.send(&Packet::WillTopicUpd(Some(WillTopic { qos: Qos::AtMostOnce, retain: false, topic: "other" })));
    pair.expect(&[Packet::WillTopicResp(ReturnCode::Accepted)]);
    let will = pair.wills.pop().flatten().expect("a will");
    assert_eq!(parts(&will), ("other", &b"later"[..], Qos::AtMostOnce, false));
}

#[test]
fn section_6_4_an_empty_topic_deletes_topic_and_message() {
    let mut pair = with_will(Config::default());
    pair.send(&Packet::WillTopicUpd(None));
    pair.expect(&[Packet::WillTopicResp(ReturnCode::Accepted)]);
    assert!(pair.wills.pop().expect("set").is_none());
    pair.send(&Packet::WillMsgUpd(b"x"));
    pair.expect(&[Packet::WillMsgResp(ReturnCode::NotSupported)]);
    assert_eq!(pair.wills.len(), 0);
    pair.send(&Packet::WillTopicUpd(topic("new")));
    pair.expect(&[Packet::WillTopicResp(ReturnCode::Accepted)]);
    assert_eq!(parts(pair.wills[0].as_deref().expect("a will")), ("new", &b""[..], Qos::AtLeastOnce, true));
}

#[test]
fn section_6_4_updates_that_cannot_be_are_refused() {
    let mut pair = with_will(Config { will_bytes_max: 4, ..Config::default() });
    pair.send(&Packet::WillTopicUpd(topic("+")));
    pair.send(&Packet::WillMsgUpd(b"12345"));
    pair.expect(&[Packet::WillTopicResp(ReturnCode::NotSupported), Packet::WillMsgResp(ReturnCode::NotSupported)]);
    assert_eq!(pair.wills.len(), 0);
}

#[test]
fn section_6_3_a_will_of_the_conversation_before_can_be_updated() {
    let mut pair = Pair::new(Config::default());
    let topic = Topic::parse("kept", TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), b"old");
    let will = Some(Box::new(Will { message, delay_secs: 5, expiry_secs: None }));
    pair.present = Some(Parked { will, ..Parked::default() });
    pair.connect(false);
    pair.expect(&[accepted()]);
    pair.send(&Packet::WillMsgUpd(b"new"));
    pair.expect(&[Packet::WillMsgResp(ReturnCode::Accepted)]);
    let will = pair.wills[0].as_deref().expect("a will");
    assert_eq!((parts(will), will.delay_secs), (("kept", &b"new"[..], Qos::AtMostOnce, false), 5));
}
