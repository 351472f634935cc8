//! Quality of service where a protocol has its own idea of it. The rest is in `matrix`.

use coap_lite::MessageType;

use crate::{
    coap::Coap,
    endpoint::{Endpoint, Publication},
    gateway, gateway_with,
    mqtt::Mqtt5,
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
    let mut sn = crate::mqtt_sn::MqttSn::connect(&gateway, "sn").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    mqtt.subscribe("quality/a", 1).await;
    sn.subscribe("quality/a", 0).await;
    coap.subscribe("quality/a", 0).await;
    for published in 0..3 {
        let publication = Publication { topic: "quality/a", payload: b"x", qos: published, retain: false };
        coap.publish(publication).await;
        assert_eq!(mqtt.expect().await.seen, Mqtt5::seen(published.min(1), false));
        assert_eq!(sn.expect().await.seen, crate::mqtt_sn::MqttSn::seen(0, false));
        assert_eq!(coap.expect().await.seen, Coap::seen(0, false));
    }
}
