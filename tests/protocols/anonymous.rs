//! MQTT-SN's QoS -1: publications without a session (section 6.8).

use thingway::config::PredefinedTopic;
use thingway_mqtt_sn::packet::{Packet, Publish, ReturnCode, TopicRef};

use crate::{
    coap::Coap,
    common::TestGateway,
    endpoint::{Arrived, Endpoint},
    gateway, gateway_with,
    mqtt::{Mqtt5, Mqtt311, Quic, Ws},
    mqtt_sn::MqttSn,
};

async fn publish(client: &mut MqttSn, topic: TopicRef, payload: &[u8]) {
    publish_as(client, topic, payload, false).await;
}

async fn publish_as(client: &mut MqttSn, topic: TopicRef, payload: &[u8], retain: bool) {
    let publish = Publish { duplicate: false, qos: None, retain, topic, message_id: 0, payload };
    client.send(&Packet::Publish(publish)).await;
}

async fn qos_minus_one_reaches<E: Endpoint>() {
    let gateway = TestGateway::with(|config| {
        E::listen(config);
        MqttSn::listen(config);
    })
    .await;
    let mut subscriber = E::connect(&gateway, "subscriber").await;
    subscriber.subscribe("ab", 2).await;
    let mut nobody = MqttSn::open(&gateway).await;
    for payload in [b"one", b"two"] {
        publish(&mut nobody, TopicRef::Short(*b"ab"), payload).await;
        let arrived = subscriber.expect().await;
        assert_eq!(arrived, Arrived { topic: "ab".into(), payload: payload.into(), seen: E::seen(0, false) });
    }
    // Retained, too. Nothing acknowledges it, but the next message that comes was published behind it.
    publish_as(&mut nobody, TopicRef::Short(*b"cd"), b"kept", true).await;
    publish(&mut nobody, TopicRef::Short(*b"ab"), b"fence").await;
    assert_eq!(subscriber.expect().await.payload, b"fence");
    subscriber.subscribe("cd", 0).await;
    let arrived = subscriber.expect().await;
    assert_eq!(arrived, Arrived { topic: "cd".into(), payload: b"kept".into(), seen: E::seen(0, true) });
}

#[tokio::test]
async fn qos_minus_one_reaches_mqtt311() {
    qos_minus_one_reaches::<Mqtt311>().await;
}

#[tokio::test]
async fn qos_minus_one_reaches_mqtt5() {
    qos_minus_one_reaches::<Mqtt5>().await;
}

#[tokio::test]
async fn qos_minus_one_reaches_ws() {
    qos_minus_one_reaches::<Ws>().await;
}

#[tokio::test]
async fn qos_minus_one_reaches_quic() {
    qos_minus_one_reaches::<Quic>().await;
}

#[tokio::test]
async fn qos_minus_one_reaches_mqttsn() {
    qos_minus_one_reaches::<MqttSn>().await;
}

#[tokio::test]
async fn qos_minus_one_reaches_coap() {
    qos_minus_one_reaches::<Coap>().await;
}

/// Predefined ids mean what the operator says; others, and registered ones, mean nothing without a session.
#[tokio::test]
async fn qos_minus_one_needs_an_id_that_is_known_beforehand() {
    let gateway = gateway_with(|config| {
        let everybodys = PredefinedTopic { id: 7, topic: "predefined/seven".into(), ..PredefinedTopic::default() };
        config.mqttsn.predefined.push(everybodys);
    })
    .await;
    let mut subscriber = Mqtt5::connect(&gateway, "subscriber").await;
    subscriber.subscribe("#", 1).await;
    let mut nobody = MqttSn::open(&gateway).await;
    let code = |packet: &Packet<'_>| if let Packet::Puback(puback) = packet { Some(puback.code) } else { None };
    for topic in [TopicRef::Predefined(8), TopicRef::Normal(1)] {
        publish(&mut nobody, topic, b"no").await;
        assert_eq!(nobody.take("PUBACK", code).await, ReturnCode::InvalidTopicId, "{topic:?}");
    }
    publish(&mut nobody, TopicRef::Predefined(7), b"x").await;
    assert_eq!(subscriber.expect().await.topic, "predefined/seven");
}

#[tokio::test]
async fn qos_minus_one_can_be_switched_off() {
    let gateway = gateway_with(|config| config.mqttsn.qos_minus_one = false).await;
    let mut nobody = MqttSn::open(&gateway).await;
    publish(&mut nobody, TopicRef::Short(*b"ab"), b"no").await;
    let code = |packet: &Packet<'_>| if let Packet::Puback(puback) = packet { Some(puback.code) } else { None };
    assert_eq!(nobody.take("PUBACK", code).await, ReturnCode::NotSupported);
}

/// Nodes behind one forwarder are clients of their own, and answers carry the forwarder's header (section 5.5).
#[tokio::test]
async fn nodes_behind_a_forwarder_are_clients_of_their_own() {
    let gateway = gateway().await;
    let mut subscriber = Mqtt5::connect(&gateway, "subscriber").await;
    subscriber.subscribe("forwarded/#", 1).await;
    let mut forwarder = MqttSn::open(&gateway).await.behind_forwarder(b"\x01");
    forwarder.connect_as("node 1", true).await;
    let first = forwarder.register("forwarded/1").await;
    let mut forwarder = forwarder.behind_forwarder(b"\x02\x03");
    forwarder.connect_as("node 2", true).await;
    let second = forwarder.register("forwarded/2").await;
    assert!(!forwarder.publish_to(TopicRef::Normal(second), b"two", 1, false).await.is_refusal());
    assert_eq!(subscriber.expect().await.topic, "forwarded/2");
    let mut forwarder = forwarder.behind_forwarder(b"\x01");
    assert!(!forwarder.publish_to(TopicRef::Normal(first), b"one", 1, false).await.is_refusal());
    assert_eq!(subscriber.expect().await.topic, "forwarded/1");
}
