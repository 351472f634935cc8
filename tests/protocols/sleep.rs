//! MQTT-SN's sleeping nodes (section 6.14): what others publish meanwhile waits until they ask for it.

use thingway_mqtt_sn::packet::{Packet, Pingreq, TopicName, TopicRef};

use crate::{
    coap::Coap,
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::{Mqtt5, Mqtt311, Quic, Ws},
    mqtt_sn::MqttSn,
};

#[tokio::test]
async fn a_sleeping_node_is_brought_what_every_protocol_published() {
    let gateway = gateway().await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    node.subscribe("sleep/+", 2).await;
    node.sleep(60).await;
    let publication = |topic, qos| Publication { topic, payload: b"x", qos, retain: false };
    Mqtt311::connect(&gateway, "old").await.publish(publication("sleep/old", 1)).await;
    Mqtt5::connect(&gateway, "mqtt").await.publish(publication("sleep/mqtt", 2)).await;
    Ws::connect(&gateway, "ws").await.publish(publication("sleep/ws", 1)).await;
    Quic::connect(&gateway, "quic").await.publish(publication("sleep/quic", 2)).await;
    Coap::connect(&gateway, "coap").await.publish(publication("sleep/coap", 1)).await;
    MqttSn::connect(&gateway, "sn").await.publish(publication("sleep/sn", 2)).await;

    // `wake` sees each REGISTER before its PUBLISH, and PINGRESP behind them all.
    let received = node.wake("node").await;
    let seen: Vec<_> = received.iter().map(|message| (message.topic.as_str(), message.qos)).collect();
    let expected =
        [("sleep/old", 1), ("sleep/mqtt", 2), ("sleep/ws", 1), ("sleep/quic", 2), ("sleep/coap", 1), ("sleep/sn", 2)];
    assert_eq!(seen, expected);
    // It sleeps again, and nothing comes twice.
    assert_eq!(node.wake("node").await, []);
}

/// Asleep, the node gets nothing: what is published then comes only when it is asked for, however long the others wait.
#[tokio::test]
async fn nothing_is_sent_to_a_sleeping_node() {
    let gateway = gateway().await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    let mut awake = MqttSn::connect(&gateway, "awake").await;
    node.subscribe("sleep/a", 1).await;
    awake.subscribe("sleep/a", 1).await;
    node.sleep(60).await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    publisher.publish(Publication { topic: "sleep/a", payload: b"x", qos: 1, retain: false }).await;
    // The one that is awake has it, so it would have been sent to the other as well.
    assert_eq!(awake.expect().await.payload, b"x");
    awake.ping().await;
    assert!(node.is_silent());
    assert_eq!(node.wake("node").await.len(), 1);
}

/// A node whose NAT port changed while it slept is the same node.
#[tokio::test]
async fn a_sleeping_node_moves_to_another_port() {
    let gateway = gateway().await;
    let mut node = MqttSn::open(&gateway).await;
    node.connect_as("node", false).await;
    node.subscribe("sleep/a", 1).await;
    node.sleep(60).await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    publisher.publish(Publication { topic: "sleep/a", payload: b"x", qos: 1, retain: false }).await;
    node.move_to_other_port().await;
    let received = node.wake("node").await;
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!((received[0].topic.as_str(), received[0].payload.as_slice()), ("sleep/a", &b"x"[..]));
    assert_eq!(node.wake("node").await, []);
}

/// Anybody can send a PINGREQ with a client id. A node that is active is where it is, so that one is not its.
#[tokio::test]
async fn a_wake_up_from_a_strange_address_does_not_end_an_active_node() {
    let gateway = gateway().await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    node.subscribe("sleep/a", 1).await;
    let mut strangers = Vec::new();
    // On either core.
    for _ in 0..8 {
        let mut stranger = MqttSn::open(&gateway).await;
        stranger.send(&Packet::Pingreq(Pingreq { client_id: "node" })).await;
        stranger.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
        strangers.push(stranger);
    }
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let publication = Publication { topic: "sleep/a", payload: b"x", qos: 1, retain: false };
    publisher.publish(publication).await;
    assert_eq!(node.expect().await.payload, b"x");
    node.ping().await;
    assert!(node.is_silent(), "it was not told that it is over");

    // So it is once it has been asleep.
    node.sleep(60).await;
    node.connect_as("node", true).await;
    let stranger = &mut strangers[0];
    stranger.send(&Packet::Pingreq(Pingreq { client_id: "node" })).await;
    stranger.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
    publisher.publish(publication).await;
    assert_eq!(node.expect().await.payload, b"x");
    assert!(strangers.iter().all(MqttSn::is_silent));
}

/// A CONNECT makes the node active again, with its session.
#[tokio::test]
async fn a_sleeping_node_becomes_active_by_connect() {
    let gateway = gateway().await;
    let mut node = MqttSn::open(&gateway).await;
    node.connect_as("node", false).await;
    node.subscribe("sleep/a", 1).await;
    node.sleep(60).await;
    let mut publisher = Coap::connect(&gateway, "publisher").await;
    let publication = Publication { topic: "sleep/a", payload: b"one", qos: 1, retain: false };
    publisher.publish(publication).await;
    node.connect_as("node", false).await;
    assert_eq!(node.expect().await.payload, b"one");
    publisher.publish(Publication { payload: b"two", ..publication }).await;
    assert_eq!(node.expect().await.payload, b"two");
}

/// Predefined and short names need no REGISTER, asleep or not.
#[tokio::test]
async fn a_short_topic_name_is_told_as_it_is() {
    let gateway = gateway().await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    assert_eq!(node.try_subscribe(TopicName::Short(*b"ab"), 1).await, Ok(1));
    node.sleep(60).await;
    let mut publisher = Coap::connect(&gateway, "publisher").await;
    publisher.publish(Publication { topic: "ab", payload: b"x", qos: 1, retain: false }).await;
    let received = node.wake("node").await;
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].topic_ref, TopicRef::Short(*b"ab"));
}
