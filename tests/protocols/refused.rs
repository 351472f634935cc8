//! What is refused, in each protocol's words.

use coap_lite::{CoapOption, RequestType};
use thingway::config::{OrInfinity, Rate};
use thingway_mqtt_sn::packet::{Auth, Connect, Packet, Register, ReturnCode, TopicName, TopicRef};

use crate::{
    coap::{Coap, Request},
    common::{Version, packet::Packet as MqttPacket, wire},
    endpoint::{Endpoint, Publication},
    gateway, gateway_with,
    mqtt::Mqtt5,
    mqtt_sn::MqttSn,
};

/// `$SYS` is the gateway's own.
#[tokio::test]
async fn nobody_publishes_under_sys() {
    let gateway = gateway().await;
    let topic = "$SYS/broker/version";
    let mut mqtt = gateway.client(Version::V5, "mqtt").await;
    mqtt.send(&wire::publish(Version::V5, topic, b"x", 1, 7, &[])).await;
    assert_eq!(mqtt.puback(7).await.code, 0x87);

    let mut old = gateway.client(Version::V311, "old").await;
    old.send(&wire::publish(Version::V311, topic, b"x", 1, 7, &[])).await;
    // It has no code to refuse with: the message is acknowledged and dropped.
    assert_eq!(old.puback(7).await.code, 0);

    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let id = sn.register(topic).await;
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, ReturnCode::NotSupported);
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 2, false).await, ReturnCode::NotSupported);

    let mut coap = Coap::connect(&gateway, "coap").await;
    assert_eq!(coap.put(topic, b"x", &[]).await.code, 401);
    assert_eq!(coap.put(topic, b"x", &["qos=0", "retain=true"]).await.code, 401);

    let read = coap.get(topic).await;
    assert!(read.code == 404 || read.text() != "x", "{read:?}");
}

/// Topic names and filters are checked by one rule.
#[tokio::test]
async fn bad_topics_are_refused() {
    let gateway = gateway().await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    for (message_id, topic) in [(100, "a/#"), (101, "a/+/b"), (102, "")] {
        sn.send(&Packet::Register(Register { topic_id: 0, message_id, topic })).await;
        let code = |packet: &Packet<'_>| match packet {
            Packet::Regack(regack) if regack.message_id == message_id => Some(regack.code),
            _ => None,
        };
        assert_eq!(sn.take("REGACK", code).await, ReturnCode::NotSupported, "{topic}");
    }
    for filter in ["a/#/b", "a+", "$share/g"] {
        assert_eq!(sn.try_subscribe(TopicName::Name(filter), 1).await, Err(ReturnCode::NotSupported), "{filter}");
    }
    assert_eq!(sn.publish_to(TopicRef::Normal(999), b"x", 1, false).await, ReturnCode::InvalidTopicId);

    let mut coap = Coap::connect(&gateway, "coap").await;
    for topic in ["a/%23", "a/+/b", ""] {
        assert_eq!(coap.put(topic, b"x", &[]).await.code, 400, "{topic}");
    }
    for filter in ["a/%23/b", "a%2B", "$share/g"] {
        assert_eq!(coap.observe(filter, &[]).await.code, 400, "{filter}");
    }
    assert_eq!(coap.get("a/+").await.code, 400, "a wildcard is observed, not read");
}

/// An operator may ask for a connection before anything is done with topics.
#[tokio::test]
async fn coap_can_require_a_connection() {
    let gateway = gateway_with(|config| config.coap.connection_required = true).await;
    let mut guest = Coap::open(&gateway).await;
    assert_eq!(guest.put("refused/a", b"x", &[]).await.code, 400);
    assert_eq!(guest.get("refused/a").await.code, 400);
    assert_eq!(guest.observe("refused/a", &["qos=1"]).await.code, 400);
    for token in ["0", "4294967295", "nonsense", ""] {
        let forged = ["clientid=guest".to_owned(), format!("token={token}")];
        let parameters: Vec<&str> = forged.iter().map(String::as_str).collect();
        assert_eq!(guest.put("refused/a", b"x", &parameters).await.code, 401, "{token:?}");
    }
    guest.open_connection("guest").await;
    assert_eq!(guest.put("refused/a", b"x", &[]).await.code, 204);

    // One that is connected does not lend its token to other names.
    let stolen = guest.token().to_owned();
    let mut thief = Coap::open(&gateway).await;
    let parameters = ["clientid=another", &format!("token={stolen}")];
    assert_eq!(thief.put("refused/a", b"x", &parameters).await.code, 401);
}

/// Requests of CoAP that mean nothing here have the codes of RFC 7252.
#[tokio::test]
async fn coap_requests_that_mean_nothing() {
    let gateway = gateway().await;
    let mut client = Coap::open(&gateway).await;
    for (request, code) in [
        (Request::new(RequestType::Get, "nowhere"), 404),
        (Request::new(RequestType::Delete, "ps/refused/a"), 405),
        (Request::new(RequestType::Patch, "ps/refused/a"), 405),
        (Request::new(RequestType::Get, "mqtt/connection"), 405),
        (Request::new(RequestType::Post, "mqtt/connection"), 400),
        (Request::new(RequestType::Put, "mqtt/connection").query("clientid=x"), 400),
        (Request::new(RequestType::Put, "mqtt/connection").query("clientid=x").query("token=1"), 401),
        (Request::topic(RequestType::Get, "refused/a").option(CoapOption::Unknown(9999), b"x"), 402),
        (Request::topic(RequestType::Get, "refused/a").option(CoapOption::ProxyUri, b"coap://x/y"), 505),
        (Request::topic(RequestType::Get, "refused/a").number(CoapOption::Observe, 2), 400),
        (Request::topic(RequestType::Put, "refused/a").query("qos=3"), 400),
        (Request::topic(RequestType::Put, "refused/a").query("retain=perhaps"), 400),
    ] {
        let response = client.request(&request).await;
        assert_eq!(response.code, code, "{request:?}");
    }
}

/// An operator may ask for credentials, which 1.2 has no message for: AUTH has.
#[tokio::test]
async fn mqttsn_can_require_credentials() {
    let gateway = gateway_with(|config| config.mqttsn.auth_required = true).await;
    let mut mqtt = Mqtt5::connect(&gateway, "node").await;
    // A spoofed CONNECT and PINGREQ without credentials take nothing from anybody.
    let mut spoofer = MqttSn::open(&gateway).await;
    let connect = Connect { will: false, clean_session: true, duration_secs: 60, client_id: "node" };
    spoofer.send(&Packet::Connect(connect)).await;
    spoofer.send(&Packet::Auth(Auth { reason: 0, method: "SCRAM-SHA-1", data: b"x" })).await;
    assert_eq!(spoofer.connack().await, ReturnCode::NotSupported);
    spoofer.send(&Packet::Pingreq(thingway_mqtt_sn::packet::Pingreq { client_id: "node" })).await;
    spoofer.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
    mqtt.client.ping().await;

    let mut node = MqttSn::open(&gateway).await;
    assert_eq!(node.connect_with_password("other", "user", "secret").await, ReturnCode::Accepted);
    node.publish(Publication { topic: "refused/a", payload: b"x", qos: 1, retain: false }).await;
}

/// Messages without a session are answered by DISCONNECT, so that the node connects anew.
#[tokio::test]
async fn mqttsn_messages_without_a_session() {
    let gateway = gateway().await;
    let mut node = MqttSn::open(&gateway).await;
    let register = Packet::Register(Register { topic_id: 0, message_id: 1, topic: "refused/a" });
    for packet in [register, Packet::Pingreq(thingway_mqtt_sn::packet::Pingreq { client_id: "" })] {
        node.send(&packet).await;
        node.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
    }
    assert_eq!(node.try_connect("", true).await, ReturnCode::NotSupported);
    assert_eq!(node.try_connect("node", true).await, ReturnCode::Accepted);
}

/// MQTT keeps its own words for all of that.
#[tokio::test]
async fn mqtt5_says_what_the_others_cannot() {
    let gateway = gateway().await;
    let mut mqtt = gateway.client(Version::V5, "mqtt").await;
    let codes = mqtt.subscribe_all(&[("a/#/b", 1), ("$share/g", 1), ("a", 1)], &[]).await;
    assert_eq!(codes, [0x8f, 0x8f, 1]);
    mqtt.send(&wire::publish(Version::V5, "nobody/listens", b"x", 1, 9, &[])).await;
    assert_eq!(mqtt.puback(9).await.code, 0x10);
    let early: Vec<MqttPacket> = mqtt.early();
    assert!(early.is_empty(), "{early:?}");
}

/// Who publishes faster than the operator allows over CoAP is told so, and when to try again.
#[tokio::test]
async fn coap_publishers_can_be_too_fast() {
    let gateway = gateway_with(|config| {
        for listener in config.listeners.udp.values_mut() {
            listener.client_rate.messages = OrInfinity::Finite(Rate::per_second(1));
        }
    })
    .await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    // No network is so slow that one of these is not within a second of the one before.
    let mut refused = None;
    for _ in 0..1000 {
        let response = coap.put("refused/a", b"x", &[]).await;
        if response.code != 204 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("one that was too fast");
    assert_eq!((refused.code, refused.number(CoapOption::MaxAge)), (429, Some(1)));
}

/// What a limit of the operator refuses may be tried again later: "congestion" in MQTT-SN, 5.03 in CoAP, "quota exceeded" in MQTT 5.
#[tokio::test]
async fn limits_are_told_as_such() {
    let gateway = gateway_with(|config| {
        config.mqttsn.topic_ids_max = 1;
        config.coap.observations_max = 1;
        config.mqtt.subscriptions_max = OrInfinity::Finite(1);
    })
    .await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    sn.register("refused/a").await;
    sn.send(&Packet::Register(Register { topic_id: 0, message_id: 99, topic: "refused/b" })).await;
    let code = |packet: &Packet<'_>| match packet {
        Packet::Regack(regack) if regack.message_id == 99 => Some(regack.code),
        _ => None,
    };
    assert_eq!(sn.take("REGACK", code).await, ReturnCode::Congestion);

    let mut coap = Coap::connect(&gateway, "coap").await;
    coap.subscribe("refused/a", 1).await;
    assert_eq!(coap.observe("refused/b", &[]).await.code, 503);

    let mut mqtt = gateway.client(Version::V5, "mqtt").await;
    assert_eq!(mqtt.subscribe("refused/a", 1).await, 1);
    assert_eq!(mqtt.subscribe("refused/b", 1).await, 0x97);
    let mut old = gateway.client(Version::V311, "old").await;
    assert_eq!(old.subscribe("refused/a", 1).await, 1);
    assert_eq!(old.subscribe("refused/b", 1).await, 0x80);
}
