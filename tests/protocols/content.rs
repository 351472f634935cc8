//! What a message carries beside its payload.

use coap_lite::{CoapOption, RequestType};

use crate::{
    coap::{Coap, Request},
    common::{Property, Version, packet::Publish},
    endpoint::Endpoint,
    gateway,
    mqtt::{Mqtt311, Ws},
    mqtt_sn::MqttSn,
};

#[tokio::test]
async fn mqtt5_content_type_is_content_format_in_coap() {
    let gateway = gateway().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut reader = Coap::open(&gateway).await;
    let mut observer = Coap::connect(&gateway, "observer").await;
    observer.subscribe("content/#", 1).await;
    let type_of = |name: &str| vec![Property::ContentType(name.into())];
    for (properties, format) in [
        (type_of("application/json"), Some(50)),
        (type_of("Text/Plain; Charset=UTF-8"), Some(0)),
        (type_of("application/cbor"), Some(60)),
        // Not in IANA's registry: it has no number, and so none is sent.
        (type_of("application/x-mine"), None),
        // What `coap_content_format_is_content_type_in_mqtt5` makes of an unknown number.
        (type_of("coap/4711"), Some(4711)),
        // A payload that says to be text, and nothing else.
        (vec![Property::PayloadFormat(1)], Some(0)),
        (vec![], None),
    ] {
        publisher.publish_with("content/a", "x", 1, true, &properties).await;
        let (_, notification) = observer.notification().await;
        assert_eq!(notification.number(CoapOption::ContentFormat), format, "{properties:?}");
        let read = reader.get("content/a").await;
        assert_eq!((read.code, read.number(CoapOption::ContentFormat)), (205, format), "{properties:?}");
    }
}

#[tokio::test]
async fn coap_content_format_is_content_type_in_mqtt5() {
    let gateway = gateway().await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("content/a", 1).await;
    let mut publisher = Coap::open(&gateway).await;
    for (format, payload, name, is_text) in [
        (50, &b"{}"[..], "application/json", true),
        (0, b"x", "text/plain;charset=utf-8", true),
        (60, b"x", "application/cbor", false),
        (42, b"\xff\xfe", "application/octet-stream", false),
        (4711, b"x", "coap/4711", false),
    ] {
        let put = Request::topic(RequestType::Put, "content/a").number(CoapOption::ContentFormat, format);
        assert_eq!(publisher.request(&put.payload(payload)).await.code, 204);
        let received = subscriber.expect_message().await;
        assert_eq!(received.payload, payload);
        assert!(received.properties.contains(&Property::ContentType(name.into())), "{format}: {received:?}");
        assert_eq!(received.properties.contains(&Property::PayloadFormat(1)), is_text, "{format}: {received:?}");
    }
    assert_eq!(publisher.put("content/a", b"x", &[]).await.code, 204);
    assert_eq!(properties(&subscriber.expect_message().await), []);
}

/// Properties of the message, without those that belong to its delivery.
fn properties(publish: &Publish) -> Vec<Property> {
    let own = |property: &&Property| !matches!(property, Property::TopicAlias(_) | Property::SubscriptionId(_));
    publish.properties.iter().filter(own).cloned().collect()
}

/// Response topic, correlation data and user properties reach MQTT 5 over any transport, and nobody else.
#[tokio::test]
async fn request_and_user_properties_are_mqtt5s_alone() {
    let gateway = gateway().await;
    let mut ws = Ws::connect(&gateway, "ws").await;
    let mut old = Mqtt311::connect(&gateway, "old").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    ws.subscribe("content/a", 1).await;
    old.subscribe("content/a", 1).await;
    sn.subscribe("content/a", 1).await;
    coap.subscribe("content/a", 1).await;
    let all = [
        Property::ResponseTopic("answers/here".into()),
        Property::CorrelationData(vec![0, 1, 255]),
        Property::User("name".into(), "value".into()),
        Property::User("name".into(), "again".into()),
    ];
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.publish_with("content/a", "x", 1, false, &all).await;

    assert_eq!(properties(&ws.client.expect_message().await), all);
    assert_eq!(old.expect().await.payload, b"x");
    assert_eq!(sn.expect().await.payload, b"x");
    let (_, notification) = coap.notification().await;
    assert_eq!(notification.packet.payload, b"x");
    let numbers: Vec<u16> = notification.packet.options().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [u16::from(CoapOption::Observe)], "options beyond what CoAP has a place for");
}

/// What comes from protocols without properties has none.
#[tokio::test]
async fn nothing_is_invented_for_mqtt5() {
    let gateway = gateway().await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("content/a", 1).await;
    let publication = crate::endpoint::Publication { topic: "content/a", payload: b"x", qos: 1, retain: false };
    Mqtt311::connect(&gateway, "old").await.publish(publication).await;
    assert_eq!(properties(&subscriber.expect_message().await), []);
    MqttSn::connect(&gateway, "sn").await.publish(publication).await;
    assert_eq!(properties(&subscriber.expect_message().await), []);
    Coap::connect(&gateway, "coap").await.publish(publication).await;
    assert_eq!(properties(&subscriber.expect_message().await), []);
}
