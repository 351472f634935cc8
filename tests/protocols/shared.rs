//! Shared subscriptions and wildcards: one filter language for all.

use std::collections::BTreeSet;

use coap_lite::CoapOption;
use thingway_mqtt_sn::packet::TopicName;

use crate::{
    coap::Coap,
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::{Mqtt5, Mqtt311},
    mqtt_sn::MqttSn,
};

/// One group with a member of each protocol: every message goes to one of them, each in turn.
#[tokio::test]
async fn a_group_has_members_of_every_protocol() {
    let gateway = gateway().await;
    let filter = "$share/group/shared/+";
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut old = Mqtt311::connect(&gateway, "old").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    mqtt.subscribe(filter, 1).await;
    old.subscribe(filter, 1).await;
    sn.subscribe(filter, 1).await;
    coap.subscribe(filter, 1).await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let texts: Vec<_> = (0..8).map(|number| number.to_string()).collect();
    for text in &texts {
        let publication = Publication { topic: "shared/a", payload: text.as_bytes(), qos: 1, retain: false };
        publisher.publish(publication).await;
    }
    let mut received = BTreeSet::new();
    for _ in 0..2 {
        for arrived in [mqtt.expect().await, old.expect().await, sn.expect().await, coap.expect().await] {
            assert!(received.insert(String::from_utf8(arrived.payload).expect("text")), "one came twice");
        }
    }
    assert_eq!(received, texts.into_iter().collect());
}

/// What matches a wildcard is told with its own name: by REGISTER in MQTT-SN, by Location-Path in CoAP.
#[tokio::test]
async fn wildcards_tell_the_topic_that_matched() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    mqtt.subscribe("wild/+/b/#", 1).await;
    sn.subscribe("wild/+/b/#", 1).await;
    coap.subscribe("wild/+/b/#", 1).await;
    let mut publisher = Coap::connect(&gateway, "publisher").await;
    for topic in ["wild/a/b", "wild/a/b/c/d", "wild//b/"] {
        publisher.publish(Publication { topic: "wild/a/c", payload: b"no", qos: 1, retain: false }).await;
        publisher.publish(Publication { topic, payload: b"x", qos: 1, retain: false }).await;
        assert_eq!(mqtt.expect().await.topic, topic);
        assert_eq!(sn.expect().await.topic, topic);
        let (_, notification) = coap.notification().await;
        let path = notification.packet.get_option(CoapOption::LocationPath).expect("a Location-Path");
        let path: Vec<_> = path.iter().map(|level| str::from_utf8(level).expect("text")).collect();
        assert_eq!(path.join("/"), format!("ps/{topic}"));
    }
}

/// A wildcard finds the retained messages of all protocols' publishers.
#[tokio::test]
async fn wildcards_find_retained_messages() {
    let gateway = gateway().await;
    let publication = |topic| Publication { topic, payload: b"x", qos: 1, retain: true };
    Mqtt311::connect(&gateway, "old").await.publish(publication("wild/old")).await;
    MqttSn::connect(&gateway, "sn").await.publish(publication("wild/sn")).await;
    Coap::connect(&gateway, "coap").await.publish(publication("wild/coap")).await;
    let all: BTreeSet<String> = ["wild/old", "wild/sn", "wild/coap"].map(str::to_owned).into();

    let mut sn = MqttSn::connect(&gateway, "sn").await;
    assert_eq!(sn.try_subscribe(TopicName::Name("wild/#"), 1).await, Ok(1));
    let mut found = BTreeSet::new();
    for _ in 0..3 {
        let message = sn.expect_message().await;
        assert!(message.retain, "{message:?}");
        found.insert(message.topic);
    }
    assert_eq!(found, all);

    let mut coap = Coap::connect(&gateway, "coap").await;
    coap.subscribe("wild/+", 1).await;
    let mut found = BTreeSet::new();
    for _ in 0..3 {
        let (_, notification) = coap.notification().await;
        let path = notification.packet.get_option(CoapOption::LocationPath).expect("a Location-Path");
        let levels: Vec<_> = path.iter().skip(1).map(|level| str::from_utf8(level).expect("text")).collect();
        found.insert(levels.join("/"));
    }
    assert_eq!(found, all);
}
