//! Keep-alive: how each protocol tells that a client is gone.

use std::time::Instant;

use coap_lite::RequestType;

use crate::{
    coap::{Coap, Request},
    common::{Connect, PATIENCE, Property, Version, packet::Packet},
    endpoint::{Endpoint, Publication},
    gateway, gateway_with,
    mqtt::Mqtt5,
    mqtt_sn::MqttSn,
};

/// A client of MQTT that is silent for one and a half times its keep-alive is cut off and its will published.
#[tokio::test]
async fn a_silent_mqtt_client_is_cut_off() {
    let gateway = gateway().await;
    let mut watcher = MqttSn::connect(&gateway, "watcher").await;
    watcher.subscribe("silence/will", 1).await;
    let connect = Connect::new(Version::V5, "client").keep_alive(1).will("silence/will", "gone", 1, false);
    let (mut client, _) = gateway.connect(&connect).await;
    client.expect_disconnected(&[0x8d]).await;
    assert_eq!(watcher.expect().await.payload, b"gone");
}

/// A node of MQTT-SN that is silent for so long is sent DISCONNECT; PINGREQ keeps it. Its wills are in `wills`.
#[tokio::test]
async fn a_silent_mqttsn_node_is_told_that_it_is_gone() {
    let gateway = gateway().await;
    let mut node = MqttSn::open(&gateway).await;
    node.connect_for("node", 1).await;
    let disconnect = |packet: &thingway_mqtt_sn::packet::Packet<'_>| {
        matches!(packet, thingway_mqtt_sn::packet::Packet::Disconnect(_)).then_some(())
    };
    node.take("DISCONNECT", disconnect).await;
}

/// A connection of CoAP that is silent for one and a half heartbeats is over: its observations and its token are gone.
#[tokio::test]
async fn a_silent_coap_connection_ends() {
    let gateway = gateway_with(|config| config.coap.heartbeat = "1s".parse().expect("a period")).await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("$SYS/brokers/+/clients/node/disconnected", 0).await;
    let mut node = Coap::connect(&gateway, "node").await;
    // The gateway says so itself, and then the token is worth nothing.
    match watcher.packet().await {
        Packet::Publish(publish) => assert!(publish.topic.ends_with("clients/node/disconnected"), "{publish:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.request(&Request::new(RequestType::Put, "mqtt/connection")).await.code, 401);
}

/// An observer that answers nothing any more is forgotten after the last retransmission; so is one that says RST at once.
#[tokio::test]
async fn an_observer_that_resets_is_forgotten() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let publication = Publication { topic: "silence/a", payload: b"x", qos: 1, retain: false };
    let mut node = Coap::open(&gateway).await;
    node.subscribe("silence/a", 1).await;
    node.reset_next();
    publisher.publish(publication).await;
    node.expect().await;
    // Nobody subscribes any more.
    let mut asks = gateway.client(Version::V5, "asks").await;
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "somebody still subscribes");
        let id = asks.packet_id();
        asks.send(&crate::common::publish(Version::V5, "silence/a", b"y", 1, id, &[Property::PayloadFormat(1)])).await;
        if asks.puback(id).await.code == 0x10 {
            break;
        }
    }
}
