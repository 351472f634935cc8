//! Retained messages: set, read and cleared by every protocol.

use coap_lite::{CoapOption, RequestType};

use crate::{
    coap::{Coap, Request},
    common::{TestGateway, Version},
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::{Mqtt5, Mqtt311, Quic, Ws},
    mqtt_sn::MqttSn,
};

/// All that a newcomer gets on `retained/+`, in no order.
async fn found(gateway: &TestGateway) -> Vec<String> {
    let mut subscriber = gateway.client(Version::V5, "newcomer").await;
    let mut publisher = gateway.client(Version::V5, "newcomer's friend").await;
    subscriber.subscribe("retained/+", 1).await;
    publisher.publish("retained/fence", "", 1).await;
    let mut found = Vec::new();
    loop {
        let message = subscriber.expect_message().await;
        if message.topic == "retained/fence" {
            return found;
        }
        assert!(message.retain, "{message:?}");
        found.push(format!("{} {}", message.topic, message.text()));
    }
}

async fn set_replaced_and_cleared_by<E: Endpoint>() {
    let gateway = TestGateway::with(|config| {
        E::listen(config);
        Coap::listen(config);
    })
    .await;
    let mut setter = E::connect(&gateway, "setter").await;
    let mut reader = Coap::open(&gateway).await;
    let publication = |payload| Publication { topic: "retained/a", payload, qos: 1, retain: true };

    assert_eq!(reader.get("retained/a").await.code, 404);
    setter.publish(publication(b"one")).await;
    let first = reader.get("retained/a").await;
    assert_eq!((first.code, first.text()), (205, "one"));
    setter.publish(publication(b"two")).await;
    let second = reader.get("retained/a").await;
    assert_eq!((second.code, second.text()), (205, "two"));
    assert_ne!(first.option(CoapOption::ETag), second.option(CoapOption::ETag));
    // One that is not to be retained leaves it alone.
    setter.publish(Publication { retain: false, ..publication(b"three") }).await;
    assert_eq!(found(&gateway).await, ["retained/a two"]);
    setter.publish(publication(b"")).await;
    assert_eq!(reader.get("retained/a").await.code, 404);
    assert_eq!(found(&gateway).await, [""; 0]);
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_mqtt311() {
    set_replaced_and_cleared_by::<Mqtt311>().await;
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_mqtt5() {
    set_replaced_and_cleared_by::<Mqtt5>().await;
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_ws() {
    set_replaced_and_cleared_by::<Ws>().await;
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_quic() {
    set_replaced_and_cleared_by::<Quic>().await;
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_mqttsn() {
    set_replaced_and_cleared_by::<MqttSn>().await;
}

#[tokio::test]
async fn retained_is_set_and_cleared_by_coap() {
    set_replaced_and_cleared_by::<Coap>().await;
}

/// A reader that has the representation is told so instead of getting it again, until it changes.
#[tokio::test]
async fn coap_get_has_an_entity_tag() {
    let gateway = gateway().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("retained/a", "one", 1).await;
    let mut reader = Coap::open(&gateway).await;
    let first = reader.get("retained/a").await;
    let tag = first.option(CoapOption::ETag).expect("an entity tag").to_vec();
    let again = Request::topic(RequestType::Get, "retained/a").option(CoapOption::ETag, &tag);
    let valid = reader.request(&again).await;
    assert_eq!((valid.code, valid.option(CoapOption::ETag)), (203, Some(tag.as_slice())));
    assert!(valid.packet.payload.is_empty());
    publisher.retain("retained/a", "two", 1).await;
    let changed = reader.request(&again).await;
    assert_eq!((changed.code, changed.text()), (205, "two"));
}

/// If-None-Match makes the first of several publishers the one that sets it.
#[tokio::test]
async fn coap_if_none_match_sets_only_what_is_not_there() {
    let gateway = gateway().await;
    let mut publisher = Coap::open(&gateway).await;
    let mut put = Request::topic(RequestType::Put, "retained/a").query("retain=true").payload(b"one");
    put = put.option(CoapOption::IfNoneMatch, &[]);
    assert_eq!(publisher.request(&put).await.code, 204);
    assert_eq!(publisher.request(&put).await.code, 412);
    assert_eq!(found(&gateway).await, ["retained/a one"]);
}

/// `rh` is MQTT 5's retain handling, `nl` its no local.
#[tokio::test]
async fn coap_subscription_options_are_mqtt5s() {
    let gateway = gateway().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("retained/a", "one", 1).await;
    let mut client = Coap::connect(&gateway, "client").await;
    let unsent = client.observe("retained/a", &["qos=1", "rh=2", "nl=1"]).await;
    assert_eq!((unsent.code, unsent.text()), (205, ""));
    assert_eq!(client.put("retained/a", b"own", &[]).await.code, 204);
    publisher.publish("retained/a", "another's", 1).await;
    assert_eq!(client.notification().await.1.text(), "another's");

    let mut other = Coap::connect(&gateway, "other").await;
    let sent = other.observe("retained/a", &["qos=1"]).await;
    assert_eq!((sent.code, sent.text()), (205, "one"));
    assert_eq!(other.put("retained/a", b"own", &[]).await.code, 204);
    assert_eq!(other.notification().await.1.text(), "own");
}
