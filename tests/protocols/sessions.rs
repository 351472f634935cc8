//! Sessions are keyed by client identifier, whatever protocol brings it.

use thingway_mqtt_sn::packet::{Packet, Pingreq, TopicRef};

use crate::{
    coap::{Coap, Request},
    common::{Connect, Version},
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::Mqtt5,
    mqtt_sn::MqttSn,
};
use coap_lite::RequestType;

const X: Publication<'_> = Publication { topic: "sessions/a", payload: b"x", qos: 1, retain: false };

/// A client identifier is in use once: whoever connects with it takes it from the one before, who is told as its protocol can tell.
#[tokio::test]
async fn take_over_goes_across_protocols() {
    let gateway = gateway().await;
    let mut mqtt = gateway.client(Version::V5, "node").await;
    let mut sn = MqttSn::connect(&gateway, "node").await;
    mqtt.expect_disconnected(&[0x8e]).await;

    let mut coap = Coap::connect(&gateway, "node").await;
    sn.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
    coap.subscribe("sessions/a", 1).await;

    let mut old = gateway.client(Version::V311, "node").await;
    // The connection is gone, and its token with it.
    assert_eq!(coap.put("sessions/a", b"x", &[]).await.code, 401);

    let mut sn = MqttSn::connect(&gateway, "node").await;
    old.expect_disconnected(&[]).await;
    sn.ping().await;
}

/// What a kept session of MQTT holds reaches the same client over MQTT-SN, and the other way round.
#[tokio::test]
async fn a_kept_session_moves_between_mqtt_and_mqttsn() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let persistent = Connect::new(Version::V5, "node").persistent();
    let (mut mqtt, connack) = gateway.connect(&persistent).await;
    assert!(!connack.session_present);
    mqtt.subscribe("sessions/a", 1).await;
    mqtt.disconnect().await;
    publisher.publish(X).await;

    let mut sn = MqttSn::open(&gateway).await;
    sn.connect_as("node", false).await;
    let received = sn.expect_message().await;
    assert_eq!((received.topic.as_str(), received.payload.as_slice(), received.qos), ("sessions/a", &b"x"[..], 1));
    sn.ping().await;
    sn.disconnect().await;
    publisher.publish(Publication { payload: b"y", ..X }).await;

    let (mut mqtt, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    assert_eq!(mqtt.expect_message().await.payload, b"y");
}

/// Clean session 0 keeps subscriptions, queue and topic ids; 1 keeps nothing (section 6.3).
#[tokio::test]
async fn mqttsn_clean_session_decides_what_is_kept() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut node = MqttSn::open(&gateway).await;
    node.connect_as("node", false).await;
    node.subscribe("sessions/a", 1).await;
    let id = node.register("sessions/b").await;
    node.disconnect().await;
    publisher.publish(X).await;

    node.connect_as("node", false).await;
    assert_eq!(node.expect().await.payload, b"x");
    let mut other = Coap::connect(&gateway, "other").await;
    other.subscribe("sessions/b", 1).await;
    let code = node.publish_to(TopicRef::Normal(id), b"by the old id", 1, false).await;
    assert!(!code.is_refusal(), "{code:?}");
    assert_eq!(other.expect().await.payload, b"by the old id");
    node.disconnect().await;

    node.connect_as("node", true).await;
    publisher.publish(X).await;
    node.subscribe("sessions/c", 1).await;
    publisher.publish(Publication { topic: "sessions/c", payload: b"y", ..X }).await;
    assert_eq!(node.expect().await.payload, b"y");
}

/// The token, not the address, is what a CoAP connection is known by.
#[tokio::test]
async fn a_coap_connection_moves_to_another_port() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut node = Coap::connect(&gateway, "node").await;
    node.subscribe("sessions/a", 1).await;
    node.move_to_other_port().await;
    let heartbeat = Request::new(RequestType::Put, "mqtt/connection");
    assert_eq!(node.request(&heartbeat).await.code, 204);
    publisher.publish(X).await;
    assert_eq!(node.expect().await.payload, b"x");
    assert_eq!(node.request(&Request::new(RequestType::Delete, "mqtt/connection")).await.code, 202);
    assert_eq!(node.request(&heartbeat).await.code, 401);
}

/// What is unsubscribed is not heard of any more, and the rest is.
#[tokio::test]
async fn mqttsn_unsubscribes() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    node.subscribe("sessions/a", 1).await;
    node.subscribe("sessions/b", 1).await;
    node.unsubscribe("sessions/a").await;
    publisher.publish(X).await;
    publisher.publish(Publication { topic: "sessions/b", payload: b"y", ..X }).await;
    assert_eq!(node.expect().await.payload, b"y");
}

/// What is enough to go on with one's own conversation is not enough to end somebody else's: neither a token of a connection that is closed, nor a
/// PINGREQ with no more than a name.
#[tokio::test]
async fn a_conversation_of_another_protocol_is_not_gone_on_with() {
    let gateway = gateway().await;
    let mut coap = Coap::connect(&gateway, "node").await;
    assert_eq!(coap.request(&Request::new(RequestType::Delete, "mqtt/connection")).await.code, 202);
    for connect in [Connect::new(Version::V311, "node"), Connect::new(Version::V5, "node").persistent()] {
        let (mut mqtt, _) = gateway.connect(&connect).await;
        assert_eq!(coap.put("sessions/a", b"x", &[]).await.code, 401);
        let mut stranger = MqttSn::open(&gateway).await;
        stranger.send(&Packet::Pingreq(Pingreq { client_id: "node" })).await;
        stranger.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
        mqtt.ping().await;
        assert!(mqtt.early().is_empty());
    }
}

/// The token of a closed connection goes on with no session that somebody left under its name, and leaves it as it was.
#[tokio::test]
async fn a_token_goes_on_with_nothing_but_its_connection() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut coap = Coap::connect(&gateway, "node").await;
    assert_eq!(coap.request(&Request::new(RequestType::Delete, "mqtt/connection")).await.code, 202);
    let persistent = Connect::new(Version::V5, "node").persistent();
    let (mut mqtt, _) = gateway.connect(&persistent).await;
    mqtt.subscribe("sessions/a", 1).await;
    mqtt.disconnect().await;
    assert_eq!(coap.put("sessions/b", b"x", &[]).await.code, 401);
    assert_eq!(coap.request(&Request::new(RequestType::Delete, "mqtt/connection")).await.code, 202, "as it is");
    publisher.publish(X).await;
    let (mut mqtt, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    assert_eq!(mqtt.expect_message().await.payload, b"x");
}

/// Behind one address there is one client at a time: who shows another name begins anew, and observers of the one before are told.
#[tokio::test]
async fn a_coap_address_is_one_client_at_a_time() {
    let gateway = gateway().await;
    let mut guest = Coap::open(&gateway).await;
    guest.subscribe("sessions/a", 1).await;
    assert_eq!(guest.put("sessions/b", b"x", &[]).await.code, 204);
    assert_eq!(guest.put("sessions/a", b"own", &[]).await.code, 204);
    assert_eq!(guest.expect().await.payload, b"own");
    assert_eq!(guest.put("sessions/b", b"x", &["clientid=another"]).await.code, 204);
    assert_eq!(guest.notification().await.1.code, 503);
}

/// Without a connection the observation is all there is, and cancelling it ends it.
#[tokio::test]
async fn a_coap_observation_ends_when_it_is_cancelled() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut node = Coap::open(&gateway).await;
    node.subscribe("sessions/a", 1).await;
    publisher.publish(X).await;
    assert_eq!(node.expect().await.payload, b"x");
    assert_eq!(node.cancel("sessions/a").await.code, 207);
    publisher.publish(Publication { payload: b"unheard", ..X }).await;
    node.subscribe("sessions/b", 1).await;
    publisher.publish(Publication { topic: "sessions/b", payload: b"y", ..X }).await;
    assert_eq!(node.expect().await.payload, b"y");
}
