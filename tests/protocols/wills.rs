//! Wills: MQTT-SN's reach everybody, MQTT's reach MQTT-SN and CoAP. CoAP has none.

use thingway_contract::Qos;
use thingway_mqtt_sn::packet::{Packet, ReturnCode, WillTopic};

use crate::{
    coap::Coap,
    common::{Connect, TestGateway, Version},
    endpoint::{Arrived, Endpoint, Seen},
    gateway,
    mqtt::{Mqtt5, Mqtt311},
    mqtt_sn::MqttSn,
};

const WILL: WillTopic<'_> = WillTopic { qos: Qos::AtLeastOnce, retain: false, topic: "wills/node" };

fn will(topic: &str, payload: &str, qos: u8) -> Arrived {
    let seen = Seen { qos: Some(qos), retain: Some(false) };
    Arrived { topic: topic.into(), payload: payload.into(), seen }
}

/// A node with this will that says nothing any more once its keep-alive of a second has begun.
async fn silent_node(gateway: &TestGateway, will: WillTopic<'_>) {
    let mut node = MqttSn::open(gateway).await;
    node.connect_with_will("node", 1, will, b"gone").await;
}

#[tokio::test]
async fn mqttsn_will_reaches_every_protocol() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut old = Mqtt311::connect(&gateway, "old").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    mqtt.subscribe("wills/node", 2).await;
    old.subscribe("wills/#", 0).await;
    sn.subscribe("wills/+", 2).await;
    coap.subscribe("wills/node", 1).await;
    silent_node(&gateway, WILL).await;
    assert_eq!(mqtt.expect().await, will("wills/node", "gone", 1));
    assert_eq!(old.expect().await, will("wills/node", "gone", 0));
    assert_eq!(sn.expect().await, will("wills/node", "gone", 1));
    assert_eq!(coap.expect().await.payload, b"gone");
}

#[tokio::test]
async fn mqttsn_will_is_retained_where_it_says_so() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    mqtt.subscribe("wills/node", 1).await;
    silent_node(&gateway, WillTopic { retain: true, ..WILL }).await;
    assert_eq!(mqtt.expect().await, will("wills/node", "gone", 1));
    let read = Coap::open(&gateway).await.get("wills/node").await;
    assert_eq!((read.code, read.text()), (205, "gone"));
}

/// A goodbye deletes the will; so does an empty WILLTOPICUPD, and the other updates change it (section 6.4).
#[tokio::test]
async fn mqttsn_will_is_deleted_and_updated() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    mqtt.subscribe("wills/#", 1).await;

    let mut leaving = MqttSn::open(&gateway).await;
    leaving.connect_with_will("leaving", 1, WillTopic { topic: "wills/leaving", ..WILL }, b"gone").await;
    leaving.disconnect().await;

    let mut without = MqttSn::open(&gateway).await;
    without.connect_with_will("without", 1, WillTopic { topic: "wills/without", ..WILL }, b"gone").await;
    without.send(&Packet::WillTopicUpd(None)).await;
    without.take("WILLTOPICRESP", accepted_topic).await;

    let mut changed = MqttSn::open(&gateway).await;
    changed.connect_with_will("changed", 1, WILL, b"gone").await;
    changed.send(&Packet::WillTopicUpd(Some(WillTopic { topic: "wills/changed", ..WILL }))).await;
    changed.take("WILLTOPICRESP", accepted_topic).await;
    changed.send(&Packet::WillMsgUpd(b"far away")).await;
    let accepted = |packet: &Packet<'_>| matches!(packet, Packet::WillMsgResp(ReturnCode::Accepted)).then_some(());
    changed.take("WILLMSGRESP", accepted).await;

    assert_eq!(mqtt.expect().await, will("wills/changed", "far away", 1));
    // By the time that another node has fallen silent, the wills of the two would have come.
    silent_node(&gateway, WILL).await;
    assert_eq!(mqtt.expect().await, will("wills/node", "gone", 1));
}

fn accepted_topic(packet: &Packet<'_>) -> Option<()> {
    matches!(packet, Packet::WillTopicResp(ReturnCode::Accepted)).then_some(())
}

#[tokio::test]
async fn mqtt_will_reaches_mqttsn_and_coap() {
    let gateway = gateway().await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    sn.subscribe("wills/client", 1).await;
    coap.subscribe("wills/client", 1).await;
    for version in [Version::V311, Version::V5] {
        let connect = Connect::new(version, "client").will("wills/client", "gone", 1, false);
        gateway.connect(&connect).await.0.cut();
        assert_eq!(sn.expect().await, will("wills/client", "gone", 1));
        assert_eq!(coap.expect().await.payload, b"gone");
    }
}
