//! How CoAP paths name topics: one rule for segments, empty ones and percent signs.

use crate::{
    coap::Coap,
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::Mqtt5,
};

/// The table of docs/protocols.md.
const PATHS: &[(&str, &str)] = &[
    ("a/b", "a/b"),
    ("/a", "/a"),
    ("a/", "a/"),
    ("a//b", "a//b"),
    ("a%2Fb", "a/b"),
    ("%2Fa", "/a"),
    ("100%", "100%"),
    ("5%zz", "5%zz"),
    ("%2541", "%41"),
    ("%C3%BC", "\u{fc}"),
    ("\u{fc}", "\u{fc}"),
];

#[tokio::test]
async fn segments_are_levels_in_both_directions() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    for (path, topic) in PATHS {
        mqtt.subscribe(topic, 1).await;
        assert_eq!(coap.put(path, b"up", &[]).await.code, 204, "{path}");
        let arrived = mqtt.expect().await;
        assert_eq!((arrived.topic.as_str(), arrived.payload.as_slice()), (*topic, &b"up"[..]), "{path}");
        assert_eq!(mqtt.client.unsubscribe(&[topic]).await, [0]);

        coap.subscribe(path, 1).await;
        mqtt.publish(Publication { topic, payload: b"down", qos: 1, retain: false }).await;
        assert_eq!(coap.expect().await.payload, b"down", "{path}");
        assert_eq!(coap.cancel(path).await.code, 207, "{path}");
    }
}

/// Wildcards are percent-encoded by clients that take `#` for the beginning of a fragment.
#[tokio::test]
async fn wildcards_in_paths() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    for (number, filter) in ["paths/%23", "paths/#", "paths/+", "%2B/a"].into_iter().enumerate() {
        let mut coap = Coap::connect(&gateway, &format!("coap {number}")).await;
        coap.subscribe(filter, 1).await;
        mqtt.publish(Publication { topic: "paths/a", payload: b"x", qos: 1, retain: false }).await;
        assert_eq!(coap.expect().await.payload, b"x", "{filter}");
    }
}
