//! Quality of service where a protocol has its own idea of it. The rest is in `matrix`.

use coap_lite::MessageType;

use crate::{
    coap::Coap,
    endpoint::{Endpoint, Publication},
    gateway, gateway_with,
    mqtt::{Mqtt5, Ws},
    mqtt_sn::MqttSn,
};

/// A message of quality 0 needs no acknowledgement, but the first to an address that may be forged asks for one (RFC 7641, section 7).
#[tokio::test]
async fn an_unproven_observer_is_asked_to_confirm() {
    let gateway = gateway().await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let mut observer = Coap::open(&gateway).await;
    observer.subscribe("quality/a", 0).await;
    let publication = Publication { topic: "quality/a", payload: b"x", qos: 0, retain: false };
    for kind in [MessageType::Confirmable, MessageType::NonConfirmable, MessageType::NonConfirmable] {
        publisher.publish(publication).await;
        assert_eq!(observer.notification().await.1.kind, kind);
        // The acknowledgement is there before the next is published.
        assert_eq!(observer.get("quality/none").await.code, 404);
    }
}

/// What requests do not say, the operator may say for them.
#[tokio::test]
async fn coap_has_qualities_of_the_operators_choice() {
    let gateway = gateway_with(|config| {
        config.coap.publish_qos = thingway::config::CoapQos::Qos2;
        config.coap.subscribe_qos = thingway::config::CoapQos::Qos0;
    })
    .await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    mqtt.subscribe("quality/a", 2).await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    assert_eq!(coap.observe("quality/a", &[]).await.code, 205);
    assert_eq!(coap.put("quality/a", b"x", &[]).await.code, 204);
    assert_eq!(mqtt.expect().await.seen, Mqtt5::seen(2, false));
    assert_eq!(coap.expect().await.seen, Coap::seen(0, false));
}

/// The lower of what was published and what was subscribed with.
#[tokio::test]
async fn the_lower_quality_counts_across_protocols() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    mqtt.subscribe("quality/a", 1).await;
    sn.subscribe("quality/a", 0).await;
    coap.subscribe("quality/a", 0).await;
    for published in 0..3 {
        let publication = Publication { topic: "quality/a", payload: b"x", qos: published, retain: false };
        coap.publish(publication).await;
        assert_eq!(mqtt.expect().await.seen, Mqtt5::seen(published.min(1), false));
        assert_eq!(sn.expect().await.seen, MqttSn::seen(0, false));
        assert_eq!(coap.expect().await.seen, Coap::seen(0, false));
    }
}

/// A hundred messages as fast as they are taken: each arrives once, in order, at each quality of service, in all protocols.
#[tokio::test]
async fn a_burst_keeps_its_order_across_protocols() {
    let gateway = gateway().await;
    for qos in 0..3 {
        let topic = format!("quality/{qos}");
        let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
        let mut sn = MqttSn::connect(&gateway, "sn").await;
        let mut coap = Coap::connect(&gateway, "coap").await;
        mqtt.subscribe(&topic, qos).await;
        sn.subscribe(&topic, qos).await;
        coap.subscribe(&topic, qos).await;
        let mut publisher = Ws::connect(&gateway, "publisher").await;
        // Not more, as what nobody acknowledges must fit into a socket's buffer.
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let publishing = async {
            for text in &texts {
                publisher.client.publish(&topic, text, qos).await;
            }
        };
        tokio::join!(publishing, all(&mut mqtt, &texts), all(&mut sn, &texts), all(&mut coap, &texts));
    }
}

async fn all<E: Endpoint>(subscriber: &mut E, texts: &[String]) {
    for text in texts {
        let arrived = subscriber.expect().await;
        assert_eq!(String::from_utf8_lossy(&arrived.payload), *text, "{}", E::NAME);
    }
}

/// Subscriptions that overlap bring one message to a node of MQTT-SN, with the highest quality, and one for each observation of CoAP.
#[tokio::test]
async fn overlapping_subscriptions() {
    let gateway = gateway().await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    sn.subscribe("quality/+", 0).await;
    sn.subscribe("quality/a", 1).await;
    coap.subscribe("quality/+", 1).await;
    coap.subscribe("quality/a", 1).await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let publication = Publication { topic: "quality/a", payload: b"one", qos: 2, retain: false };
    publisher.publish(publication).await;
    publisher.publish(Publication { payload: b"two", ..publication }).await;
    for payload in [b"one", b"two"] {
        let arrived = sn.expect().await;
        assert_eq!((arrived.payload.as_slice(), arrived.seen), (&payload[..], MqttSn::seen(1, false)));
        let mut observed = [coap.expect().await, coap.expect().await].map(|arrived| {
            assert_eq!(arrived.payload, payload);
            arrived.topic
        });
        observed.sort();
        assert_eq!(observed, ["quality/+", "quality/a"]);
    }
}
