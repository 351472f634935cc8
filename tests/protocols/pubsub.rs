//! The IETF's face of CoAP publish/subscribe: its topics are the topics of everybody else.

use std::time::{Duration, SystemTime};

use coap_lite::{CoapOption, RequestType};

use crate::{
    coap::{Coap, Request, Response},
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::Mqtt5,
    mqtt_sn::MqttSn,
};

/// A configuration in CBOR: topic-name "room/one", resource-type "core.ps.data", topic-content-format 50.
const CONFIGURATION: &[u8] = b"\xa3\x00\x68room/one\x02\x6ccore.ps.data\x03\x18\x32";
/// `application/core-pubsub+cbor`.
const FORMAT: u32 = 606;

fn path(response: &Response) -> String {
    let path = response.packet.get_option(CoapOption::LocationPath).expect("a Location-Path");
    let levels: Vec<_> = path.iter().map(|level| str::from_utf8(level).expect("text")).collect();
    levels.join("/")
}

#[tokio::test]
async fn a_topic_of_the_ietfs_face_is_a_topic_of_all() {
    let gateway = gateway().await;
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    mqtt.subscribe("room/one", 1).await;
    sn.subscribe("room/+", 1).await;
    let mut coap = Coap::connect(&gateway, "coap").await;

    let create = Request::new(RequestType::Post, "pubsub").number(CoapOption::ContentFormat, FORMAT);
    let created = coap.request(&create.clone().payload(CONFIGURATION)).await;
    assert_eq!(created.code, 201, "{created:?}");
    let topic = path(&created);
    let (collection, id) = topic.split_once('/').expect("a topic in a collection");
    let data = format!("{collection}/data/{id}");
    // Half created: there is nothing to read yet, and the name is taken.
    assert_eq!(coap.request(&Request::new(RequestType::Get, &data)).await.code, 404);
    assert_eq!(coap.request(&create.payload(CONFIGURATION)).await.code, 400);

    // The first data create it, the next change it, and others have both.
    let put = Request::new(RequestType::Put, &data).number(CoapOption::ContentFormat, 50);
    assert_eq!(coap.request(&put.clone().payload(b"{}")).await.code, 201);
    assert_eq!(coap.request(&put.payload(b"[]")).await.code, 204);
    for payload in [&b"{}"[..], b"[]"] {
        assert_eq!(mqtt.expect().await.payload, payload);
        assert_eq!(sn.expect().await.payload, payload);
    }
    // Another format than the topic's.
    let text = Request::new(RequestType::Put, &data).number(CoapOption::ContentFormat, 0).payload(b"x");
    assert_eq!(coap.request(&text).await.code, 415);

    // What MQTT publishes is read and observed there, and under EMQX's path as well.
    mqtt.publish(Publication { topic: "room/one", payload: b"{1}", qos: 1, retain: true }).await;
    assert_eq!(coap.request(&Request::new(RequestType::Get, &data)).await.text(), "{1}");
    assert_eq!(coap.get("room/one").await.text(), "{1}");
    let observe = Request::new(RequestType::Get, &data).number(CoapOption::Observe, 0);
    let token = coap.send(&observe).await;
    let of_observation = |response: &Response| response.packet.get_token() == token;
    assert_eq!(coap.take("the first representation", of_observation).await.text(), "{1}");
    mqtt.publish(Publication { topic: "room/one", payload: b"{2}", qos: 1, retain: true }).await;
    assert_eq!(coap.take("a notification", of_observation).await.text(), "{2}");

    // Discovered by their resource types.
    let discover = |rt: &str| Request::new(RequestType::Get, ".well-known/core").query(format!("rt={rt}"));
    for (rt, target) in [
        ("core.ps.coll", "</pubsub>"),
        ("core.ps.conf", &format!("</{topic}>")),
        ("core.ps.data", &format!("</{data}>")),
    ] {
        let found = coap.request(&discover(rt)).await;
        assert_eq!((found.code, found.number(CoapOption::ContentFormat)), (205, Some(40)), "{found:?}");
        assert!(found.text().contains(target), "{rt}: {}", found.text());
    }

    // Deleted, it is gone for everybody, and its observers are told.
    assert_eq!(coap.request(&Request::new(RequestType::Delete, &topic)).await.code, 202);
    assert_eq!(coap.take("the end of the observation", of_observation).await.code, 404);
    assert_eq!(coap.request(&Request::new(RequestType::Get, &data)).await.code, 404);
    assert_eq!(coap.get("room/one").await.code, 404);
}

/// A topic is gone at its expiration date, by the clock on the wall, and so are its data for everybody.
#[tokio::test]
async fn a_topic_ends_at_its_expiration_date() {
    let gateway = gateway().await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    let date = humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(3)).to_string();
    let mut configuration = b"\xa4\x00\x68room/two\x02\x6ccore.ps.data\x09\xf5\x05\x74".to_vec();
    configuration.extend_from_slice(date.as_bytes());
    let create = Request::new(RequestType::Post, "pubsub").number(CoapOption::ContentFormat, FORMAT);
    let created = coap.request(&create.payload(&configuration)).await;
    assert_eq!(created.code, 201, "{created:?}");
    let topic = path(&created);
    let data = topic.replace('/', "/data/");
    let token = coap.send(&Request::new(RequestType::Get, &data).number(CoapOption::Observe, 0)).await;
    let of_observation = |response: &Response| response.packet.get_token() == token;
    assert_eq!(coap.take("the first representation", of_observation).await.code, 205);
    assert_eq!(coap.request(&Request::new(RequestType::Put, &data).payload(b"x")).await.code, 204);
    assert_eq!(coap.take("a notification", of_observation).await.text(), "x");

    assert_eq!(coap.take("the end of the observation", of_observation).await.code, 404);
    for gone in [&topic, &data, "ps/room/two"] {
        assert_eq!(coap.request(&Request::new(RequestType::Get, gone)).await.code, 404, "{gone}");
    }
}
