//! Message expiry: MQTT 5's interval, CoAP's `expiry` and Max-Age, and protocols that have none.

use std::time::{Duration, Instant};

use coap_lite::CoapOption;

use crate::{
    coap::Coap,
    common::{Client, PATIENCE, Property, TestGateway, Version, packet::Publish},
    endpoint::Endpoint,
    gateway,
    mqtt::Mqtt311,
    mqtt_sn::MqttSn,
};

/// Looks again after a moment, as only time changes what is looked at; but not for ever.
struct Looks(Instant);

impl Looks {
    fn begin() -> Self {
        Self(Instant::now())
    }

    async fn again(&self) {
        assert!(self.0.elapsed() < PATIENCE, "nothing changes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The retained message of a topic as an MQTT 5 subscriber gets it.
async fn retained(client: &mut Client, topic: &str) -> Publish {
    client.unsubscribe(&[topic]).await;
    client.subscribe(topic, 1).await;
    client.expect_message().await
}

#[tokio::test]
async fn mqtt5_expiry_is_max_age_in_coap_and_counts_down() {
    let gateway = gateway().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut reader = Coap::open(&gateway).await;
    let mut observer = Coap::connect(&gateway, "observer").await;
    observer.subscribe("expiry/a", 1).await;
    publisher.publish_with("expiry/a", "x", 1, true, &[Property::MessageExpiry(100)]).await;

    let (_, notification) = observer.notification().await;
    let told = notification.number(CoapOption::MaxAge).expect("Max-Age in the notification");
    assert!((90..=100).contains(&told), "{told}");
    let first = reader.get("expiry/a").await.number(CoapOption::MaxAge).expect("Max-Age in the answer");
    assert!((90..=told).contains(&first), "{first} after {told}");
    let looks = Looks::begin();
    loop {
        let later = reader.get("expiry/a").await.number(CoapOption::MaxAge).expect("Max-Age in the answer");
        assert!(later <= first, "{later} after {first}");
        if later < first {
            break;
        }
        looks.again().await;
    }

    // Without an interval there is nothing to tell.
    publisher.retain("expiry/b", "x", 1).await;
    assert_eq!(reader.get("expiry/b").await.number(CoapOption::MaxAge), None);
}

#[tokio::test]
async fn coap_expiry_is_mqtt5_expiry_and_counts_down() {
    let gateway = gateway().await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("expiry/#", 1).await;
    let mut publisher = Coap::open(&gateway).await;
    assert_eq!(publisher.put("expiry/a", b"x", &["expiry=100", "retain=true"]).await.code, 204);

    let told = subscriber.expect_message().await.message_expiry().expect("an expiry interval");
    assert!((90..=100).contains(&told), "{told}");
    let first = retained(&mut subscriber, "expiry/a").await.message_expiry().expect("an expiry interval");
    let looks = Looks::begin();
    loop {
        let later = retained(&mut subscriber, "expiry/a").await.message_expiry().expect("an expiry interval");
        assert!(later <= first, "{later} after {first}");
        if later < first {
            break;
        }
        looks.again().await;
    }

    subscriber.early();
    publisher.put("expiry/b", b"x", &[]).await;
    assert_eq!(subscriber.expect_message().await.message_expiry(), None);
}

/// Waits until what was published before this call with an expiry of a second is over.
async fn expired(gateway: &TestGateway) {
    let mut probe = Coap::open(gateway).await;
    assert_eq!(probe.put("expiry/probe", b"x", &["expiry=1", "retain=true"]).await.code, 204);
    let looks = Looks::begin();
    while probe.get("expiry/probe").await.code == 205 {
        looks.again().await;
    }
}

#[tokio::test]
async fn expired_messages_reach_nobody() {
    let gateway = gateway().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.publish_with("expiry/mqtt", "old", 1, true, &[Property::MessageExpiry(1)]).await;
    let mut other = Coap::open(&gateway).await;
    assert_eq!(other.put("expiry/coap", b"old", &["expiry=1", "retain=true"]).await.code, 204);
    publisher.retain("expiry/kept", "x", 1).await;
    expired(&gateway).await;

    for topic in ["expiry/mqtt", "expiry/coap"] {
        assert_eq!(other.get(topic).await.code, 404, "{topic}");
    }
    // Of the three retained messages one is left, for whoever asks.
    let mut mqtt = Mqtt311::connect(&gateway, "mqtt").await;
    mqtt.subscribe("expiry/+", 1).await;
    assert_eq!(mqtt.expect().await.topic, "expiry/kept");
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    sn.subscribe("expiry/+", 1).await;
    assert_eq!(sn.expect().await.topic, "expiry/kept");
    publisher.publish("expiry/fence", "", 1).await;
    assert_eq!(mqtt.expect().await.topic, "expiry/fence");
    assert_eq!(sn.expect().await.topic, "expiry/fence");
}

#[tokio::test]
async fn a_sleeping_mqttsn_node_gets_no_expired_message() {
    let gateway = gateway().await;
    let mut node = MqttSn::connect(&gateway, "node").await;
    node.subscribe("expiry/a", 1).await;
    node.sleep(60).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.publish_with("expiry/a", "old", 1, false, &[Property::MessageExpiry(1)]).await;
    publisher.publish_with("expiry/a", "new", 1, false, &[Property::MessageExpiry(1000)]).await;
    expired(&gateway).await;

    let received = node.wake("node").await;
    assert_eq!(received.iter().map(|message| message.payload.as_slice()).collect::<Vec<_>>(), [b"new"]);
}
