//! Payloads larger than a datagram: CoAP's blocks in both directions, and MQTT-SN's limit.

use coap_lite::{CoapOption, RequestType};

use crate::{
    coap::{Coap, Request},
    common::{TestGateway, Version},
    endpoint::{Endpoint, Publication},
    gateway,
    mqtt::Mqtt5,
    mqtt_sn::MqttSn,
};

/// Text of so many bytes that repeats with no period that a block could have.
fn text(length: usize) -> String {
    (0..).flat_map(|number: u32| format!("{number}.").into_bytes()).take(length).map(char::from).collect()
}

/// A whole representation, block by block; the first block came already if it is given.
async fn fetch(client: &mut Coap, path: &str) -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    let mut block = 0;
    let mut blocks = 0;
    loop {
        let response = client.request(&Request::topic(RequestType::Get, path).number(CoapOption::Block2, block)).await;
        assert_eq!(response.code, 205, "{response:?}");
        blocks += 1;
        body.extend_from_slice(&response.packet.payload);
        match response.number(CoapOption::Block2) {
            Some(told) if told & 0x8 != 0 => block = ((told >> 4) + 1) << 4 | told & 7,
            _ => return (body, blocks),
        }
    }
}

#[tokio::test]
async fn a_large_message_of_mqtt_is_fetched_in_blocks() {
    let gateway = gateway().await;
    let large = text(5000);
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("large/a", &large, 1).await;
    // With a connection, and as somebody who has shown nothing yet.
    for mut reader in [Coap::connect(&gateway, "reader").await, Coap::open(&gateway).await] {
        let (body, blocks) = fetch(&mut reader, "large/a").await;
        assert!(body == large.as_bytes(), "{} bytes differ", body.len());
        assert!(blocks >= 5, "{blocks}");
    }
}

#[tokio::test]
async fn a_large_notification_is_fetched_in_blocks() {
    let gateway = gateway().await;
    let large = text(3000);
    let mut observer = Coap::connect(&gateway, "observer").await;
    observer.subscribe("large/a", 1).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.publish("large/a", &large, 1).await;
    let (_, notification) = observer.notification().await;
    let mut body = notification.packet.payload.clone();
    let mut told = notification.number(CoapOption::Block2).expect("the first of several blocks");
    assert_eq!(told >> 4, 0);
    while told & 0x8 != 0 {
        let next = ((told >> 4) + 1) << 4 | told & 7;
        // The request of the observation, without Observe.
        let get = Request::topic(RequestType::Get, "large/a").query("qos=1").number(CoapOption::Block2, next);
        let response = observer.request(&get).await;
        assert_eq!(response.code, 205, "{response:?}");
        body.extend_from_slice(&response.packet.payload);
        told = response.number(CoapOption::Block2).expect("a block");
    }
    assert!(body == large.as_bytes(), "{} bytes differ", body.len());
}

/// Sends a body in blocks of 64 bytes and returns the codes of the answers.
async fn upload(client: &mut Coap, path: &str, body: &[u8]) -> Vec<u16> {
    let mut codes = Vec::new();
    let count = body.chunks(64).len();
    for (number, part) in body.chunks(64).enumerate() {
        let more = u32::from(number + 1 < count);
        let block = (number as u32) << 4 | more << 3 | 2;
        let put = Request::topic(RequestType::Put, path).number(CoapOption::Block1, block).payload(part);
        codes.push(client.request(&put).await.code);
    }
    codes
}

#[tokio::test]
async fn blocks_of_coap_are_one_message_to_the_others() {
    let gateway = gateway().await;
    let large = text(1000);
    let mut mqtt = Mqtt5::connect(&gateway, "mqtt").await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    mqtt.subscribe("large/a", 1).await;
    sn.subscribe("large/a", 1).await;
    let mut publisher = Coap::connect(&gateway, "publisher").await;
    let codes = upload(&mut publisher, "large/a", large.as_bytes()).await;
    let (last, others) = codes.split_last().expect("codes");
    assert_eq!(*last, 204);
    assert!(others.iter().all(|code| *code == 231), "{codes:?}");
    // One message, and in MQTT-SN one datagram with the long form of the length.
    assert_eq!(mqtt.expect().await.payload, large.as_bytes());
    assert_eq!(sn.expect().await.payload, large.as_bytes());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let gateway = TestGateway::with(|config| {
        Coap::listen(config);
        config.coap.body_size_max = thingway::config::Size::bytes(500);
    })
    .await;
    let mut publisher = Coap::connect(&gateway, "publisher").await;
    let codes = upload(&mut publisher, "large/a", text(600).as_bytes()).await;
    assert!(codes.contains(&413), "{codes:?}");
    assert!(!codes.contains(&204), "{codes:?}");
}

/// What no datagram to an MQTT-SN node can hold is dropped for it, and what follows comes.
#[tokio::test]
async fn what_mqttsn_cannot_carry_is_dropped() {
    let gateway = gateway().await;
    let mut sn = MqttSn::connect(&gateway, "sn").await;
    sn.subscribe("large/a", 1).await;
    let mut publisher = Mqtt5::connect(&gateway, "publisher").await;
    let large = text(1500);
    let publication = Publication { topic: "large/a", payload: large.as_bytes(), qos: 1, retain: false };
    publisher.publish(publication).await;
    publisher.publish(Publication { payload: b"small", ..publication }).await;
    assert_eq!(sn.expect().await.payload, b"small");
}
