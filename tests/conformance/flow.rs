//! Flow control, section 4.9, and the maximum packet size, sections 3.1.2.11.4 and 3.2.2.3.6.

use crate::common::{Client, Connect, Packet, Property, TestGateway, Version, publish, subscribe, unsubscribe, wire};

#[tokio::test]
async fn the_gateway_keeps_to_the_clients_receive_maximum() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    for maximum in [1, 2, 7] {
        let connect = Connect::new(Version::V5, "receive-maximum").property(Property::ReceiveMaximum(maximum));
        let (mut client, _) = gateway.connect(&connect).await;
        client.subscribe("receive-maximum", 2).await;
        for number in 0..20 {
            publisher.publish("receive-maximum", &number.to_string(), 1 + number % 2).await;
        }
        let mut open = std::collections::VecDeque::new();
        let mut received = 0;
        for number in 0..20 {
            while open.len() < usize::from(maximum) && received < 20 {
                open.push_back(client.expect_publish().await);
                received += 1;
            }
            // The window is full: all other packets are still answered, and no further PUBLISH comes with the answers.
            client.ping().await;
            client.publish("elsewhere", "x", 2).await;
            client.subscribe("elsewhere/else", 0).await;
            client.unsubscribe(&["elsewhere/else"]).await;
            client.ping().await;
            let early = client.early();
            assert!(early.is_empty(), "{} are unacknowledged, and then came {early:?}", open.len());
            let message = open.pop_front().expect("the window is not empty");
            assert_eq!(message.text(), number.to_string());
            client.acknowledge(&message).await;
        }
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_refusal_gives_the_quota_back() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let connect = Connect::new(Version::V5, "quota-back").property(Property::ReceiveMaximum(1));
    let (mut client, _) = gateway.connect(&connect).await;
    client.subscribe("quota-back", 2).await;
    for number in 0..6 {
        publisher.publish("quota-back", &number.to_string(), 1 + number % 2).await;
    }
    for number in 0..6 {
        let message = client.expect_publish().await;
        assert_eq!(message.text(), number.to_string());
        let first = if message.qos == 1 { 0x40 } else { 0x50 };
        client.send(&wire::ack(first, message.packet_id, 0x83)).await;
    }
}

#[tokio::test]
async fn pubrec_does_not_give_the_quota_back() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let connect = Connect::new(Version::V5, "quota-kept").property(Property::ReceiveMaximum(1));
    let (mut client, _) = gateway.connect(&connect).await;
    client.subscribe("quota-kept", 2).await;
    publisher.publish("quota-kept", "one", 2).await;
    publisher.publish("quota-kept", "two", 2).await;
    let one = client.expect_publish().await;
    client.send(&wire::ack(0x50, one.packet_id, 0)).await;
    client.pubrel(one.packet_id).await;
    client.ping().await;
    client.ping().await;
    assert!(client.early().is_empty(), "PUBCOMP is what gives it back");
    client.send(&wire::ack(0x70, one.packet_id, 0)).await;
    assert_eq!(client.expect_publish().await.text(), "two");
}

#[tokio::test]
async fn the_gateway_tells_and_enforces_its_receive_maximum() {
    let gateway = TestGateway::with(|config| config.mqtt.receive_maximum = 3).await;
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "enforced")).await;
    assert!(connack.properties.contains(&Property::ReceiveMaximum(3)), "{connack:?}");
    for id in 1..=3 {
        client.send(&publish(Version::V5, "enforced", b"x", 2, id, &[])).await;
        client.pubrec(id).await;
    }
    // A repetition is no further message, and QoS 0 does not count.
    client.send(&wire::publish_with(0x3c, Version::V5, "enforced", b"x", 3, &[])).await;
    client.pubrec(3).await;
    client.publish("enforced", "x", 0).await;
    client.ping().await;
    client.send(&publish(Version::V5, "enforced", b"x", 2, 4, &[])).await;
    client.expect_disconnected(&[0x93]).await;

    // Completed exchanges make room.
    let (mut client, _) = gateway.connect(&Connect::new(Version::V5, "makes-room")).await;
    for _ in 0..20 {
        client.publish("enforced", "x", 2).await;
        client.publish("enforced", "x", 1).await;
    }
}

#[tokio::test]
async fn nothing_larger_than_the_clients_maximum_packet_size_is_sent() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let connect = Connect::new(Version::V5, "size").property(Property::MaximumPacketSize(100));
    let (mut client, _) = gateway.connect(&connect).await;
    client.subscribe("size", 2).await;
    // Fixed header 2, topic 2 + 4, packet identifier 2, properties 1: 89 bytes of payload make 100 at QoS 1 and 2.
    for qos in 0..=2 {
        let most = if qos == 0 { 91 } else { 89 };
        for (length, fits) in [(most, true), (most + 1, false), (20_000, false), (most - 1, true)] {
            publisher.publish("size", &"x".repeat(length), qos).await;
            if fits {
                assert_eq!(client.expect_message().await.payload.len(), length);
            }
        }
    }
    client.expect_nothing(&mut publisher).await;
}

/// Requests that are answered with a failure, which the gateway may explain, and then one that ends the connection.
async fn lengths_of_failures(client: &mut Client) -> Vec<usize> {
    let mut lengths = Vec::new();
    let not_text = [Property::PayloadFormat(1)];
    for request in [
        subscribe(Version::V5, 1, &[("a/#/b", 0)], &[]),
        unsubscribe(Version::V5, 2, &["never/subscribed"]),
        publish(Version::V5, "not/text", b"\xff", 1, 3, &not_text),
        publish(Version::V5, "not/text", b"\xff", 2, 4, &not_text),
        wire::ack(0x62, 5, 0),
        wire::ack(0x50, 6, 0),
        publish(Version::V5, "", b"", 0, 0, &[]),
    ] {
        client.send(&request).await;
        client.packet().await;
        lengths.push(client.longest());
    }
    client.expect_closed().await;
    lengths
}

#[tokio::test]
async fn answers_stay_within_the_clients_maximum_packet_size() {
    let gateway = TestGateway::start().await;
    let connect = Connect::new(Version::V5, "answers");
    let (mut client, _) = gateway.connect(&connect).await;
    let connack = client.longest();
    let free = lengths_of_failures(&mut client).await;
    assert!(free.iter().any(|length| *length > connack), "nothing is longer than CONNACK, {connack}: {free:?}");
    // CONNACK must fit, and everything between that and the longest answer is tried.
    let longest = free.iter().copied().max().unwrap_or_default();
    for maximum in connack + 5..=longest {
        let maximum_property = Property::MaximumPacketSize(maximum as u32);
        let (mut client, _) = gateway.connect(&connect.clone().property(maximum_property)).await;
        let lengths = lengths_of_failures(&mut client).await;
        assert!(lengths.iter().all(|length| *length <= maximum), "{lengths:?} for a client that takes {maximum}");
        for (free, length) in free.iter().zip(&lengths) {
            assert!(length == free || *free > maximum, "what fits stays whole: {length} of {free} for {maximum}");
        }
    }
}

#[tokio::test]
async fn what_is_too_large_counts_as_delivered() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let small = Connect::new(Version::V5, "too-large")
        .persistent()
        .property(Property::MaximumPacketSize(60))
        .property(Property::ReceiveMaximum(1));
    let (mut client, _) = gateway.connect(&small).await;
    client.subscribe("too-large", 2).await;
    // With a window of one, a message that stayed in it would stop all others.
    for number in 0..5 {
        publisher.publish("too-large", &"x".repeat(1000), 1 + number % 2).await;
        publisher.publish("too-large", "fits", 1 + number % 2).await;
        assert_eq!(client.expect_message().await.text(), "fits");
    }
    client.disconnect().await;
    // Nor does it come when a later connection takes larger packets.
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "too-large").persistent()).await;
    assert!(connack.session_present);
    client.expect_nothing(&mut publisher).await;
}

#[tokio::test]
async fn a_packet_beyond_the_gateways_maximum_is_refused() {
    let gateway = TestGateway::with(|config| config.mqtt.max_packet_size = thingway::config::Size::kib(1)).await;
    for version in [Version::V311, Version::V5] {
        let (mut client, connack) = gateway.connect(&Connect::new(version, "beyond")).await;
        if version.is_5() {
            assert!(connack.properties.contains(&Property::MaximumPacketSize(1024)), "{connack:?}");
        }
        client.subscribe("beyond", 0).await;
        let head = publish(version, "beyond", &[b'x'; 500], 0, 0, &[]).len() - 500;
        client.send(&publish(version, "beyond", &vec![b'x'; 1024 - head], 0, 0, &[])).await;
        assert!(matches!(client.packet().await, Packet::Publish(_)), "the largest that is allowed");
        // The length alone is enough to refuse: the rest is not waited for.
        client.send(&publish(version, "beyond", &vec![b'x'; 1025 - head], 0, 0, &[])[..10]).await;
        client.expect_disconnected(&[0x95]).await;
    }
}

#[tokio::test]
async fn a_connect_beyond_the_gateways_maximum_is_refused() {
    let gateway = TestGateway::with(|config| config.mqtt.max_packet_size = thingway::config::Size::kib(1)).await;
    for version in [Version::V311, Version::V5] {
        let mut client = gateway.open(version).await;
        client.send(&Connect::new(version, &"x".repeat(2000)).bytes()).await;
        match client.next().await {
            None => {}
            Some(Packet::Connack(connack)) if version.is_5() => assert_eq!(connack.code, 0x95),
            other => panic!("{other:?}"),
        }
    }
}
