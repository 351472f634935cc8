//! PUBLISH and its acknowledgements, sections 3.3 to 3.7 and 4.3 to 4.6.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;

use crate::common::{ALL, BOTH, Connect, Packet, Property, TestGateway, Version, publish, wire};

#[tokio::test]
async fn each_qos_gets_its_response() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "responses").await;
        client.send(&publish(version, "responses", b"x", 0, 0, &[])).await;
        client.send(&wire::PINGREQ).await;
        assert_eq!(client.packet().await, Packet::Pingresp, "QoS 0 gets nothing");
        for id in [1, 2, 0x1234, u16::MAX] {
            client.send(&publish(version, "responses", b"x", 1, id, &[])).await;
            assert_eq!(client.puback(id).await.packet_id, id);
            client.send(&publish(version, "responses", b"x", 2, id, &[])).await;
            assert_eq!(client.pubrec(id).await.packet_id, id);
            client.send(&wire::ack(0x62, id, 0)).await;
            assert_eq!(client.pubcomp(id).await.packet_id, id);
        }
    }
}

#[tokio::test]
async fn messages_are_delivered_at_the_lower_qos() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        for subscribed in 0..=2 {
            let mut subscriber = gateway.client(version, "subscriber").await;
            assert_eq!(subscriber.subscribe("lower", subscribed).await, subscribed);
            for published in 0..=2 {
                publisher.publish("lower", "x", published).await;
                let message = subscriber.expect_message().await;
                assert_eq!(message.qos, published.min(subscribed));
                assert!(!message.dup && !message.retain);
            }
        }
    }
}

#[tokio::test]
async fn a_qos_1_identifier_is_free_after_its_puback() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("free", 1).await;
        let mut client = gateway.client(version, "publisher").await;
        // The second has DUP set and is a new message all the same.
        for (first, text) in [(0x32, "one"), (0x3a, "two"), (0x32, "three")] {
            client.send(&wire::publish_with(first, version, "free", text.as_bytes(), 9, &[])).await;
            client.puback(9).await;
            let message = subscriber.expect_message().await;
            assert_eq!((message.text(), message.dup), (text, false), "DUP is not passed on");
        }
    }
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_acknowledged_and_not_delivered_again() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("repeated", 2).await;
        let mut client = gateway.client(version, "publisher").await;
        client.send(&publish(version, "repeated", b"first", 2, 5, &[])).await;
        client.pubrec(5).await;
        for _ in 0..3 {
            client.send(&wire::publish_with(0x3c, version, "repeated", b"first", 5, &[])).await;
            assert!(client.pubrec(5).await.code < 0x80);
        }
        client.send(&wire::ack(0x62, 5, 0)).await;
        assert_eq!(client.pubcomp(5).await.code, 0);
        // From PUBCOMP on the identifier is free.
        client.send(&publish(version, "repeated", b"second", 2, 5, &[])).await;
        client.pubrec(5).await;
        client.send(&wire::ack(0x62, 5, 0)).await;
        client.pubcomp(5).await;
        assert_eq!(subscriber.expect_message().await.text(), "first");
        assert_eq!(subscriber.expect_message().await.text(), "second");
        subscriber.expect_nothing(&mut client).await;
    }
}

#[tokio::test]
async fn pubrel_is_always_answered() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "pubrel").await;
        client.send(&wire::ack(0x62, 77, 0)).await;
        let unknown = client.pubcomp(77).await;
        assert_eq!(unknown.code, if version.is_5() { 0x92 } else { 0 });
        client.send(&publish(version, "pubrel", b"x", 2, 78, &[])).await;
        client.pubrec(78).await;
        for _ in 0..2 {
            client.send(&wire::ack(0x62, 78, 0)).await;
            assert_eq!(client.pubcomp(78).await.packet_id, 78);
        }
    }
}

#[tokio::test]
async fn the_gateway_goes_through_qos_2_as_a_sender() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("sender", 2).await;
        publisher.publish("sender", "x", 2).await;
        let message = subscriber.expect_publish().await;
        assert!(message.packet_id != 0 && !message.dup && message.qos == 2);
        subscriber.send(&wire::ack(0x50, message.packet_id, 0)).await;
        assert_eq!(subscriber.pubrel(message.packet_id).await.code, 0);
        // A PUBREC that comes again is answered again, until PUBCOMP.
        subscriber.send(&wire::ack(0x50, message.packet_id, 0)).await;
        subscriber.pubrel(message.packet_id).await;
        subscriber.send(&wire::ack(0x70, message.packet_id, 0)).await;
        subscriber.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn an_acknowledgement_of_failure_ends_the_delivery() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let persistent = Connect::new(Version::V5, "fails").persistent();
    let (mut subscriber, _) = gateway.connect(&persistent).await;
    subscriber.subscribe("fails", 2).await;
    publisher.publish("fails", "one", 1).await;
    publisher.publish("fails", "two", 2).await;
    let one = subscriber.expect_publish().await;
    let two = subscriber.expect_publish().await;
    subscriber.send(&wire::ack(0x40, one.packet_id, 0x80)).await;
    subscriber.send(&wire::ack(0x50, two.packet_id, 0x80)).await;
    // No PUBREL now, and no repetition when the session is resumed.
    subscriber.expect_nothing(&mut publisher).await;
    subscriber.cut();
    let (mut subscriber, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    subscriber.expect_nothing(&mut publisher).await;
}

#[tokio::test]
async fn packet_identifiers_in_use_are_not_used_again() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut connect = Connect::new(version, "identifiers");
        if version.is_5() {
            connect = connect.property(Property::ReceiveMaximum(200));
        }
        let (mut subscriber, _) = gateway.connect(&connect).await;
        subscriber.subscribe("identifiers", 2).await;
        let mut open = BTreeSet::new();
        for number in 0..300u32 {
            publisher.publish("identifiers", "x", 1 + u8::from(number % 2 == 0)).await;
            let message = subscriber.expect_publish().await;
            assert!(message.packet_id != 0);
            assert!(open.insert(message.packet_id), "{} is still unacknowledged", message.packet_id);
            // Two of three are acknowledged, so that free and used ones mix.
            if number % 3 != 0 {
                subscriber.acknowledge(&message).await;
                open.remove(&message.packet_id);
            }
        }
    }
}

#[tokio::test]
async fn packet_identifier_zero_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for packet in [
            publish(version, "zero", b"x", 1, 0, &[]),
            publish(version, "zero", b"x", 2, 0, &[]),
            wire::subscribe(version, 0, &[("zero", 0)], &[]),
            wire::unsubscribe(version, 0, &["zero"]),
        ] {
            let mut client = gateway.client(version, "zero").await;
            client.send(&packet).await;
            client.expect_disconnected(&[0x81, 0x82]).await;
        }
    }
}

#[tokio::test]
async fn a_qos_0_publish_has_no_packet_identifier() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "no-identifier").await;
        client.subscribe("no-identifier", 0).await;
        // What stands where an identifier would be is payload (in 5.0 the property length), both ways.
        client.publish("no-identifier", "ab", 0).await;
        client.publish("no-identifier", "cd", 1).await;
        assert_eq!(client.expect_message().await.payload, b"ab");
        assert_eq!(client.expect_message().await.payload, b"cd");
    }
}

#[tokio::test]
async fn forbidden_publish_flags_are_malformed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        // QoS 3 in all its forms, and DUP at QoS 0.
        for first in [0x36, 0x37, 0x3e, 0x3f, 0x38, 0x39] {
            let mut client = gateway.client(version, "flags").await;
            client.send(&wire::publish_with(first, version, "flags", b"x", 1, &[])).await;
            client.expect_disconnected(&[0x81, 0x82]).await;
        }
    }
}

#[tokio::test]
async fn reserved_flags_of_all_packets_are_checked() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let packets: [(u8, Vec<u8>); 9] = [
            (0x0, wire::ack(0x40, 1, 0)),
            (0x0, wire::ack(0x50, 1, 0)),
            (0x2, wire::ack(0x62, 1, 0)),
            (0x0, wire::ack(0x70, 1, 0)),
            (0x2, wire::subscribe(version, 1, &[("flags", 0)], &[])),
            (0x2, wire::unsubscribe(version, 1, &["flags"])),
            (0x0, wire::PINGREQ.to_vec()),
            (0x0, wire::disconnect(version, 0, &[])),
            (0x0, wire::auth(0x18, &[Property::AuthMethod("m".into())])),
        ];
        for (right, packet) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                let mut client = gateway.client(version, "reserved-flags").await;
                let mut packet = packet.clone();
                packet[0] = packet[0] & 0xf0 | flags;
                client.send(&packet).await;
                // AUTH does not exist before 5.0, nor is it expected here: its flags are looked at first all the same.
                let codes: &[u8] = if packet[0] >> 4 == 15 { &[0x81, 0x82] } else { &[0x81] };
                client.expect_disconnected(codes).await;
            }
        }
    }
}

#[tokio::test]
async fn messages_of_one_publisher_stay_in_order() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut exact = gateway.client(version, "exact").await;
        let mut wild = gateway.client(version, "wild").await;
        exact.subscribe("ordered/topic", 2).await;
        wild.subscribe("ordered/#", 2).await;
        for qos in 0..=2 {
            for number in 0..100 {
                publisher.publish("ordered/topic", &number.to_string(), qos).await;
            }
            for number in 0..100 {
                assert_eq!(exact.expect_message().await.text(), number.to_string());
                assert_eq!(wild.expect_message().await.text(), number.to_string());
            }
        }
    }
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_the_messages() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "acknowledgements").await;
        let bytes: Vec<u8> =
            (1..=50).flat_map(|id| publish(version, "ordered/acks", b"x", 1 + (id % 2) as u8, id, &[])).collect();
        client.send(&bytes).await;
        let (mut pubacks, mut pubrecs) = (Vec::new(), Vec::new());
        while pubacks.len() + pubrecs.len() < 50 {
            match client.packet().await {
                Packet::Puback(ack) => pubacks.push(ack.packet_id),
                Packet::Pubrec(ack) => pubrecs.push(ack.packet_id),
                other => panic!("{other:?}"),
            }
        }
        assert!(pubacks.is_sorted(), "{pubacks:?}");
        assert!(pubrecs.is_sorted(), "{pubrecs:?}");
        let bytes: Vec<u8> = pubrecs.iter().flat_map(|id| wire::ack(0x62, *id, 0)).collect();
        client.send(&bytes).await;
        for id in pubrecs {
            assert_eq!(
                client.packet().await,
                Packet::Pubcomp(crate::common::Ack { packet_id: id, code: 0, properties: Vec::new() })
            );
        }
    }
}

#[tokio::test]
async fn a_message_goes_to_all_sessions_that_match() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let filters = ["all/match", "all/+", "all/#", "#", "+/match", "+/+"];
        let mut connected = Vec::new();
        let mut absent = Vec::new();
        for (number, filter) in filters.iter().enumerate() {
            let mut client = gateway.client(version, &format!("connected-{number}")).await;
            client.subscribe(filter, 1).await;
            connected.push(client);
            let persistent = Connect::new(version, &version.id(&format!("absent-{number}"))).persistent();
            let (mut client, _) = gateway.connect(&persistent).await;
            client.subscribe(filter, 1).await;
            client.disconnect().await;
            absent.push(persistent);
        }
        publisher.publish("all/match", "x", 1).await;
        for client in &mut connected {
            assert_eq!(client.expect_message().await.text(), "x");
        }
        for persistent in absent {
            let (mut client, _) = gateway.connect(&persistent).await;
            assert_eq!(client.expect_message().await.text(), "x");
            client.disconnect().await;
            gateway.connect(&Connect::new(version, &persistent.client_id)).await.0.disconnect().await;
        }
    }
}

#[tokio::test]
async fn large_payloads_arrive_whole() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("large", 2).await;
        for (turn, length) in [2047, 2048, 65_535, 65_536, 131_072, 500_000, 1_048_500].into_iter().enumerate() {
            let payload: String = (0..length).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
            publisher.publish("large", &payload, (turn % 3) as u8).await;
            assert!(subscriber.expect_message().await.payload == payload.as_bytes(), "{length} bytes in {version:?}");
        }
    }
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_order() {
    const COUNT: u16 = 3000;
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("burst", 1).await;
        // All in flight at once, of sizes from nothing to several writes.
        let payload = |number: u16| format!("{number}-{}", "x".repeat(usize::from(number) * 7 % 3000));
        let sent = tokio::spawn(async move {
            for window in (1..=COUNT).collect::<Vec<_>>().chunks(500) {
                let bytes: Vec<u8> = window
                    .iter()
                    .flat_map(|number| publish(version, "burst", payload(*number).as_bytes(), 1, *number, &[]))
                    .collect();
                publisher.send(&bytes).await;
                for number in window {
                    publisher.puback(*number).await;
                }
            }
        });
        for number in 1..=COUNT {
            let message = subscriber.expect_message().await;
            assert!(message.text() == payload(number), "number {number} in {version:?}");
        }
        sent.await.expect("all are acknowledged");
    }
}

#[tokio::test]
async fn properties_reach_the_subscriber_unaltered() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let persistent = Connect::new(Version::V5, "absent").persistent();
    let (mut absent, _) = gateway.connect(&persistent).await;
    absent.subscribe("properties", 2).await;
    absent.disconnect().await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("properties", 2).await;

    let user = |name: &str, value: &str| Property::User(name.into(), value.into());
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/\u{fc}".into()),
        Property::ResponseTopic("answers/\u{65e5}\u{672c}".into()),
        Property::CorrelationData((0..=255).collect()),
        user("b", "1"),
        user("a", "2"),
        user("b", "1"),
        user("", ""),
    ];
    for (qos, retain) in [(0, true), (1, false), (2, true)] {
        publisher.publish_with("properties", "text", qos, retain, &properties).await;
        assert_same(&subscriber.expect_message().await.properties, &properties);
        if retain {
            let mut late = gateway.client(Version::V5, "late").await;
            late.subscribe("properties", 0).await;
            assert_same(&late.expect_message().await.properties, &properties);
        }
    }
    let (mut absent, _) = gateway.connect(&persistent).await;
    for _ in 0..2 {
        assert_same(&absent.expect_message().await.properties, &properties);
    }
}

#[tokio::test]
async fn payload_format_indicator_0_and_1_are_passed_on() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "format").await;
    client.subscribe("format", 0).await;
    for format in [0, 1] {
        client.publish_with("format", "text", 0, false, &[Property::PayloadFormat(format)]).await;
        assert_same(&client.expect_message().await.properties, &[Property::PayloadFormat(format)]);
    }
    client.publish("format", "text", 0).await;
    assert_same(&client.expect_message().await.properties, &[]);
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_as_such() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "not-utf-8").await;
    client.send(&publish(Version::V5, "not-utf-8", b"\xff\xfe", 1, 1, &[Property::PayloadFormat(1)])).await;
    assert_eq!(client.puback(1).await.code, 0x99);
    client.send(&publish(Version::V5, "not-utf-8", b"\xff\xfe", 2, 2, &[Property::PayloadFormat(1)])).await;
    assert_eq!(client.pubrec(2).await.code, 0x99);
    // A refusal ends the exchange: the identifier is free, and what comes with it next is a new message.
    client.subscribe("not-utf-8", 2).await;
    client.send(&publish(Version::V5, "not-utf-8", b"good", 2, 2, &[Property::PayloadFormat(1)])).await;
    assert_eq!(client.pubrec(2).await.code, 0);
    assert_eq!(
        client
            .take("the message", |packet| match packet {
                Packet::Publish(publish) => Some(publish.text().to_owned()),
                _ => None,
            })
            .await,
        "good"
    );
}

#[tokio::test]
async fn bad_publish_properties_end_the_connection() {
    let gateway = TestGateway::start().await;
    for (what, properties, codes) in [
        ("payload format 2", vec![Property::PayloadFormat(2)], &[0x81, 0x82][..]),
        ("topic alias 0", vec![Property::TopicAlias(0)], &[0x94]),
        ("a subscription identifier", vec![Property::SubscriptionId(1)], &[0x82]),
        ("a wildcard in the response topic", vec![Property::ResponseTopic("a/+".into())], &[0x81, 0x82, 0x90]),
        ("a property twice", vec![Property::MessageExpiry(1), Property::MessageExpiry(1)], &[0x82]),
        ("a property of CONNECT", vec![Property::ReceiveMaximum(1)], &[0x81, 0x82]),
        ("a property that does not exist", vec![Property::Raw(vec![0x00])], &[0x81]),
        ("a response topic that is not UTF-8", vec![Property::Raw(vec![0x08, 0, 1, 0xff])], &[0x81, 0x90]),
        ("a content type that is not UTF-8", vec![Property::Raw(vec![0x03, 0, 1, 0xff])], &[0x81]),
        ("a user property's name that is not UTF-8", vec![Property::Raw(vec![0x26, 0, 1, 0xff, 0, 0])], &[0x81]),
        ("a user property's value that is not UTF-8", vec![Property::Raw(vec![0x26, 0, 0, 0, 1, 0xff])], &[0x81]),
    ] {
        let mut client = gateway.client(Version::V5, "bad-properties").await;
        client.send(&publish(Version::V5, "bad", b"x", 0, 0, &properties)).await;
        eprintln!("{what}");
        client.expect_disconnected(codes).await;
    }
}

#[tokio::test]
async fn an_expired_message_is_not_delivered() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let persistent = Connect::new(Version::V5, "expiry").persistent();
    let (mut subscriber, _) = gateway.connect(&persistent).await;
    subscriber.subscribe("expiry", 2).await;
    subscriber.disconnect().await;
    for (text, seconds) in [("short", 1), ("long", 600), ("short", 1)] {
        publisher.publish_with("expiry", text, 1, false, &[Property::MessageExpiry(seconds)]).await;
    }
    publisher.publish_with("expiry/retained", "short", 1, true, &[Property::MessageExpiry(1)]).await;
    publisher.publish("expiry", "without", 1).await;
    // Time is what is tested here.
    sleep(Duration::from_millis(2500)).await;
    let (mut subscriber, _) = gateway.connect(&persistent).await;
    let message = subscriber.expect_message().await;
    assert_eq!(message.text(), "long");
    assert!(matches!(message.message_expiry(), Some(590..=598)), "counted down by the time it waited: {message:?}");
    assert_eq!(subscriber.expect_message().await.text(), "without");
    subscriber.subscribe("expiry/retained", 0).await;
    subscriber.expect_nothing(&mut publisher).await;
}

#[tokio::test]
async fn message_expiry_is_passed_on() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "passes-expiry").await;
    client.subscribe("passes-expiry", 0).await;
    client.publish_with("passes-expiry", "x", 0, false, &[Property::MessageExpiry(600)]).await;
    assert!(matches!(client.expect_message().await.message_expiry(), Some(599..=600)));
    client.publish("passes-expiry", "x", 0).await;
    assert_eq!(client.expect_message().await.message_expiry(), None);
}

#[tokio::test]
async fn expiry_does_not_stop_what_was_begun() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let persistent = Connect::new(Version::V5, "begun").persistent();
    let (mut subscriber, _) = gateway.connect(&persistent).await;
    subscriber.subscribe("begun", 2).await;
    publisher.publish_with("begun", "x", 2, false, &[Property::MessageExpiry(1)]).await;
    let first = subscriber.expect_publish().await;
    subscriber.cut();
    // As a receiver, too: the exchange is completed though the message is long gone.
    publisher.send(&publish(Version::V5, "nobody", b"x", 2, 40, &[Property::MessageExpiry(1)])).await;
    publisher.pubrec(40).await;
    sleep(Duration::from_secs(2)).await;
    publisher.send(&wire::ack(0x62, 40, 0)).await;
    assert_eq!(publisher.pubcomp(40).await.code, 0);

    let (mut subscriber, _) = gateway.connect(&persistent).await;
    let again = subscriber.expect_publish().await;
    assert_eq!((again.packet_id, again.text(), again.dup), (first.packet_id, "x", true));
    subscriber.acknowledge(&again).await;
}

#[tokio::test]
async fn inbound_topic_aliases() {
    let gateway = TestGateway::start().await;
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "aliases")).await;
    let maximum = connack
        .properties
        .iter()
        .find_map(|property| if let Property::TopicAliasMaximum(maximum) = property { Some(*maximum) } else { None })
        .expect("the gateway takes aliases");
    client.subscribe("alias/#", 0).await;
    // Every alias up to the maximum is taken, used without the topic, and can be set anew.
    for alias in 1..=maximum {
        let topic = format!("alias/{alias}");
        client.publish_with(&topic, "set", 0, false, &[Property::TopicAlias(alias)]).await;
        assert_eq!(client.expect_message().await.topic, topic);
    }
    for alias in (1..=maximum).rev() {
        client.publish_with("", "used", 1, false, &[Property::TopicAlias(alias)]).await;
        assert_eq!(client.expect_message().await.topic, format!("alias/{alias}"));
    }
    client.publish_with("alias/anew", "set", 0, false, &[Property::TopicAlias(1)]).await;
    client.publish_with("", "used", 0, false, &[Property::TopicAlias(1)]).await;
    for _ in 0..2 {
        let message = client.expect_message().await;
        assert_eq!(message.topic, "alias/anew");
        assert_eq!(message.topic_alias(), None, "an inbound alias is not passed on");
    }
}

#[tokio::test]
async fn a_topic_alias_beyond_the_maximum_is_refused() {
    let gateway = TestGateway::with(|config| config.mqtt.topic_alias_maximum = 3).await;
    for alias in [4, 5, u16::MAX] {
        let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "beyond")).await;
        assert!(connack.properties.contains(&Property::TopicAliasMaximum(3)), "{connack:?}");
        client.send(&publish(Version::V5, "beyond", b"x", 0, 0, &[Property::TopicAlias(alias)])).await;
        client.expect_disconnected(&[0x94]).await;
    }
    let none = TestGateway::with(|config| config.mqtt.topic_alias_maximum = 0).await;
    let (mut client, connack) = none.connect(&Connect::new(Version::V5, "none")).await;
    assert!(!connack.properties.iter().any(|property| matches!(property, Property::TopicAliasMaximum(1..))));
    client.send(&publish(Version::V5, "none", b"x", 0, 0, &[Property::TopicAlias(1)])).await;
    client.expect_disconnected(&[0x94]).await;
}

#[tokio::test]
async fn topic_aliases_end_with_the_connection() {
    let gateway = TestGateway::start().await;
    let persistent = Connect::new(Version::V5, "alias-ends").persistent();
    let (mut client, _) = gateway.connect(&persistent).await;
    client.publish_with("alias/ends", "x", 1, false, &[Property::TopicAlias(1)]).await;
    client.cut();
    let (mut client, connack) = gateway.connect(&persistent).await;
    assert!(connack.session_present);
    client.send(&publish(Version::V5, "", b"x", 1, 1, &[Property::TopicAlias(1)])).await;
    client.expect_disconnected(&[0x82, 0x94]).await;
}

#[tokio::test]
async fn outbound_topic_aliases_stay_within_the_clients_maximum() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    for maximum in [None, Some(0), Some(1), Some(5)] {
        let mut connect = Connect::new(Version::V5, "outbound-alias");
        connect.properties = maximum.map(Property::TopicAliasMaximum).into_iter().collect();
        let (mut subscriber, _) = gateway.connect(&connect).await;
        subscriber.subscribe("outbound/#", 0).await;
        let mut topics: std::collections::HashMap<u16, String> = std::collections::HashMap::new();
        let mut shortened = 0;
        for number in 0..60 {
            let topic = format!("outbound/{}", number % 3);
            publisher.publish(&topic, "x", 0).await;
            let message = subscriber.expect_message().await;
            let Some(alias) = message.topic_alias() else {
                assert_eq!(message.topic, topic);
                continue;
            };
            assert!(alias <= maximum.unwrap_or(0), "alias {alias} for a maximum of {maximum:?}");
            if message.topic.is_empty() {
                assert_eq!(topics.get(&alias), Some(&topic), "alias {alias}");
                shortened += 1;
            } else {
                assert_eq!(message.topic, topic);
                topics.insert(alias, topic);
            }
        }
        assert_eq!(shortened > 0, maximum.unwrap_or(0) > 0, "{shortened} of 60 with a maximum of {maximum:?}");
        subscriber.disconnect().await;
    }
}

fn assert_same(found: &[Property], sent: &[Property]) {
    let users = |properties: &[Property]| -> Vec<Property> {
        properties.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
    };
    assert_eq!(users(found), users(sent), "user properties in their order");
    let mut found = found.to_vec();
    let mut sent = sent.to_vec();
    found.sort_by_key(Property::id);
    sent.sort_by_key(Property::id);
    assert_eq!(found, sent);
}
