//! CONNECT and CONNACK, sections 3.1 and 3.2.

use std::time::Instant;

use crate::common::{
    ALL, BOTH, Client, Connect, Packet, Property, TestGateway, Version, publish, put_properties, subscribe,
    wire::{self, PINGREQ, frame, put_string, put_varint},
};

#[tokio::test]
async fn the_first_packet_must_be_connect() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        for packet in [
            publish(version, "a", b"x", 0, 0, &[]),
            publish(version, "a", b"x", 1, 1, &[]),
            subscribe(version, 1, &[("a", 0)], &[]),
            wire::unsubscribe(version, 1, &["a"]),
            wire::ack(0x40, 1, 0),
            wire::ack(0x62, 1, 0),
            PINGREQ.to_vec(),
            wire::disconnect(version, 0, &[]),
            wire::auth(0x18, &[Property::AuthMethod("m".into())]),
        ] {
            let mut client = gateway.open(version).await;
            client.send(&packet).await;
            client.expect_closed().await;
        }
    }
}

#[tokio::test]
async fn a_second_connect_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "second-connect").await;
        client.send(&Connect::new(version, "second-connect").bytes()).await;
        client.expect_disconnected(&[0x82]).await;
    }
}

#[tokio::test]
async fn an_unknown_protocol_name_is_closed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for name in ["MQTX", "mqtt", "", "MQIsdp", "MQTTMQTT"] {
            let mut body = Vec::new();
            put_string(name, &mut body);
            body.extend_from_slice(&[version as u8, 0x02, 0, 0]);
            if version.is_5() {
                put_properties(&[], &mut body);
            }
            put_string("unknown-protocol-name", &mut body);
            let mut client = gateway.open(version).await;
            client.send_raw_connect(&body).await;
            expect_version_refused(&mut client).await;
        }
    }
}

#[tokio::test]
async fn an_unknown_protocol_level_is_refused() {
    let gateway = TestGateway::start().await;
    for level in [0, 1, 2, 3, 6, 7, 0x80, 0xff] {
        let mut body = Vec::new();
        put_string("MQTT", &mut body);
        body.extend_from_slice(&[level, 0x02, 0, 0]);
        if level > 5 {
            put_properties(&[], &mut body);
        }
        put_string("unknown-protocol-level", &mut body);
        // Levels before 5 are answered in the language of 3.1.1, the others may be answered in that of 5.0.
        let answer = raw_answer(&gateway, &frame(0x10, &body)).await;
        let in_5 = level > 5 && matches!(answer[..], [0x20, _, 0, 0x84, ..]);
        assert!(answer == [0x20, 2, 0, 0x01] || in_5, "level {level} got {answer:02x?}");
    }
}

#[tokio::test]
async fn the_reserved_connect_flag_must_be_zero() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let connect = Connect::new(version, "reserved-flag");
        let mut client = gateway.open(version).await;
        client.send(&connect.bytes_with_flags(connect.flags() | 1)).await;
        client.expect_refused(None, &[0x81]).await;
    }
}

#[tokio::test]
async fn connect_flags_and_payload_must_agree() {
    const USERNAME: u8 = 0x80;
    const PASSWORD: u8 = 0x40;
    const WILL: u8 = 0x04;
    const CLEAN: u8 = 0x02;
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let plain = Connect::new(version, "flags");
        let will = plain.clone().will("flags/will", "w", 0, false);
        let named = plain.clone().username("u");
        let named_with_password = named.clone().password("p");
        for (what, connect, flags) in [
            ("a user name that the flags deny", &named, CLEAN),
            ("a password that the flags deny", &named_with_password, USERNAME | CLEAN),
            ("a user name that is missing", &plain, USERNAME | CLEAN),
            ("a password that is missing", &named, USERNAME | PASSWORD | CLEAN),
            ("a will that the flags deny", &will, CLEAN),
            ("a will that is missing", &plain, WILL | CLEAN),
            ("a will of QoS 3", &will, WILL | 0x18 | CLEAN),
            ("QoS 1 without a will", &plain, 0x08 | CLEAN),
            ("QoS 2 without a will", &plain, 0x10 | CLEAN),
            ("retain without a will", &plain, 0x20 | CLEAN),
        ] {
            let mut client = gateway.open(version).await;
            client.send(&connect.bytes_with_flags(flags)).await;
            match client.next().await {
                None => {}
                Some(Packet::Connack(connack)) if version.is_5() => {
                    assert!(matches!(connack.code, 0x81 | 0x82), "{what}: {connack:?}");
                    client.expect_closed().await;
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn every_agreement_of_flags_and_payload_is_accepted() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let plain = Connect::new(version, "flags-good");
        for connect in [
            plain.clone(),
            plain.clone().username("u"),
            plain.clone().username("u").password("p"),
            plain.clone().will("flags/will", "w", 0, false),
            plain.clone().will("flags/will", "w", 1, true).username("u"),
            plain.clone().will("flags/will", "w", 2, false).username("u").password(""),
        ] {
            gateway.connect(&connect).await.0.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_password_without_user_name_is_for_version_5() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.open(Version::V311).await;
    client.send(&Connect::new(Version::V311, "password-alone").password("p").bytes()).await;
    client.expect_closed().await;
    gateway.connect(&Connect::new(Version::V5, "password-alone").password("p")).await;
}

#[tokio::test]
async fn payload_fields_are_read_in_their_order() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        watcher.subscribe("order/#", 0).await;
        let connect = Connect::new(version, "order")
            .will("order/will", "the will's message", 0, false)
            .username("order/name")
            .password("order/password");
        gateway.connect(&connect).await.0.cut();
        let will = watcher.expect_message().await;
        assert_eq!((will.topic.as_str(), will.text()), ("order/will", "the will's message"));
    }
}

#[tokio::test]
async fn connect_needs_a_client_identifier_field() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut body = Vec::new();
        put_string("MQTT", &mut body);
        body.extend_from_slice(&[version as u8, 0x02, 0, 0]);
        if version.is_5() {
            put_properties(&[], &mut body);
        }
        let mut client = gateway.open(version).await;
        client.send_raw_connect(&body).await;
        client.expect_refused(None, &[0x81, 0x82]).await;
    }
}

#[tokio::test]
async fn text_in_connect_must_be_utf_8_without_nul() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let good = Connect::new(version, "QQQ").will("QQQ", "w", 0, false).username("QQQ").bytes();
        let places: Vec<usize> = good.windows(3).enumerate().filter(|(_, w)| w == b"QQQ").map(|(at, _)| at).collect();
        assert_eq!(places.len(), 3, "client identifier, will topic and user name");
        for at in places {
            // A lone continuation byte, a surrogate, an overlong slash, a cut sequence, NUL.
            for bad in [[b'a', 0x80, b'b'], [0xed, 0xa0, 0x80], [b'a', 0xc0, 0xaf], [b'a', 0xe2, 0x82], [b'a', 0, b'b']]
            {
                let mut packet = good.clone();
                packet[at..at + 3].copy_from_slice(&bad);
                let mut client = gateway.open(version).await;
                client.send(&packet).await;
                match client.next().await {
                    None => {}
                    Some(Packet::Connack(connack)) => {
                        // 3.1.1 knows "identifier rejected" for what is a well-formed packet otherwise.
                        let codes: &[u8] = if version.is_5() { &[0x81, 0x82, 0x85, 0x90] } else { &[2] };
                        assert!(codes.contains(&connack.code), "{bad:02x?} at {at}: {connack:?}");
                        client.expect_closed().await;
                    }
                    other => panic!("{bad:02x?} at {at}: {other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn client_identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    let gateway = TestGateway::start().await;
    let characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in ALL {
        for length in [1, 2, 22, 23] {
            for start in (0..characters.len() - length).step_by(13) {
                gateway.client(version, &characters[start..start + length]).await.disconnect().await;
            }
        }
    }
}

#[tokio::test]
async fn an_empty_client_identifier_gets_a_unique_one() {
    let gateway = TestGateway::start().await;
    // 3.1.1 has no way to tell it: two such clients live beside each other and neither takes the other over.
    let (mut first, _) = gateway.connect(&Connect::new(Version::V311, "")).await;
    let (mut second, _) = gateway.connect(&Connect::new(Version::V311, "")).await;
    second.subscribe("unique", 0).await;
    first.publish("unique", "still here", 0).await;
    assert_eq!(second.expect_message().await.text(), "still here");

    let mut assigned = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, connack) =
            gateway.connect(&Connect::new(Version::V5, "").property(Property::SessionExpiry(60))).await;
        let id = connack.properties.into_iter().find_map(|property| match property {
            Property::AssignedClientId(id) => Some(id),
            _ => None,
        });
        assigned.push(id.expect("an assigned client identifier"));
        clients.push(client);
    }
    assert!(assigned[0] != assigned[1] && assigned[1] != assigned[2] && assigned[0] != assigned[2], "{assigned:?}");
    // It names the session from then on, as if the client had chosen it.
    for (mut client, id) in clients.into_iter().zip(assigned) {
        client.subscribe("assigned", 1).await;
        client.disconnect().await;
        let (_, connack) =
            gateway.connect(&Connect::new(Version::V5, &id).clean(false).property(Property::SessionExpiry(0))).await;
        assert!(connack.session_present, "the session of {id}");
    }
}

#[tokio::test]
async fn a_client_that_brings_its_identifier_gets_none_assigned() {
    let gateway = TestGateway::start().await;
    let (_, connack) = gateway.connect(&Connect::new(Version::V5, "brought")).await;
    assert!(!connack.properties.iter().any(|property| matches!(property, Property::AssignedClientId(_))));
}

#[tokio::test]
async fn an_empty_client_identifier_needs_a_clean_session_in_311() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.open(Version::V311).await;
    client.send(&Connect::new(Version::V311, "").clean(false).bytes()).await;
    client.expect_refused(Some(2), &[]).await;
}

#[tokio::test]
async fn a_client_identifier_that_is_too_long_is_rejected() {
    let gateway = TestGateway::with(|config| config.mqtt.client_id_bytes_max = 40).await;
    for version in ALL {
        gateway.client(version, &"x".repeat(40)).await;
        let mut client = gateway.open(version).await;
        client.send(&Connect::new(version, &"x".repeat(41)).bytes()).await;
        client.expect_refused(Some(2), &[0x85]).await;
    }
}

#[tokio::test]
async fn a_malformed_connect_is_closed_without_the_311_answer() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let good = Connect::new(version, "malformed").username("u").password("p").bytes();
        let variants = [
            // Every cut of the body, and a byte too much.
            (0..good.len() - 2).map(|length| frame(0x10, &good[2..2 + length])).collect::<Vec<_>>(),
            vec![frame(0x10, &[&good[2..], b"x"].concat())],
            // Flags of the fixed header.
            (1..16).map(|flags| frame(0x10 | flags, &good[2..])).collect(),
        ];
        for packet in variants.concat() {
            let mut client = gateway.open(version).await;
            client.send(&packet).await;
            match client.next().await {
                None => {}
                Some(Packet::Connack(connack)) if version.is_5() => {
                    assert!(connack.code >= 0x80 && !connack.session_present, "{packet:02x?}: {connack:?}");
                    client.expect_closed().await;
                }
                other => panic!("{packet:02x?}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn malformed_or_repeated_connect_properties_are_refused() {
    let gateway = TestGateway::start().await;
    for (what, properties, codes) in [
        ("receive maximum 0", vec![Property::ReceiveMaximum(0)], &[0x82][..]),
        ("maximum packet size 0", vec![Property::MaximumPacketSize(0)], &[0x82]),
        ("request problem information 2", vec![Property::RequestProblem(2)], &[0x82]),
        ("request response information 2", vec![Property::RequestResponse(2)], &[0x82]),
        ("session expiry twice", vec![Property::SessionExpiry(1), Property::SessionExpiry(2)], &[0x82]),
        ("authentication data without a method", vec![Property::AuthData(vec![1])], &[0x82]),
        ("a property of PUBLISH", vec![Property::TopicAlias(1)], &[0x81, 0x82]),
        ("a property that does not exist", vec![Property::Raw(vec![0x7e, 0])], &[0x81]),
        ("a property that is cut off", vec![Property::Raw(vec![0x11, 0])], &[0x81]),
    ] {
        let mut connect = Connect::new(Version::V5, "bad-properties");
        connect.properties = properties;
        let mut client = gateway.open(Version::V5).await;
        client.send(&connect.bytes()).await;
        let connack = client.connack().await;
        assert!(codes.contains(&connack.code), "{what}: {connack:?}");
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_new_connection_takes_over_the_client_identifier() {
    let gateway = TestGateway::start().await;
    for old_version in ALL {
        for new_version in ALL {
            let mut old = gateway.client(old_version, "taken-over").await;
            let mut new = gateway.client(new_version, "taken-over").await;
            old.expect_disconnected(&[0x8e]).await;
            new.ping().await;
        }
    }
}

#[tokio::test]
async fn nothing_after_a_refused_connect_is_processed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let connect = Connect::new(version, "refused");
        let mut bytes = connect.bytes_with_flags(connect.flags() | 1);
        bytes.extend_from_slice(&wire::publish_with(0x31, version, "after/refusal", b"x", 0, &[]));
        let mut refused = gateway.open(version).await;
        refused.send(&bytes).await;
        while refused.next().await.is_some() {}
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("after/refusal", 0).await;
        watcher.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn connack_comes_first_and_once() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.open(version).await;
        let mut bytes = Connect::new(version, "pipelined").bytes();
        bytes.extend_from_slice(&subscribe(version, 1, &[("pipelined", 1)], &[]));
        bytes.extend_from_slice(&publish(version, "pipelined", b"x", 1, 2, &[]));
        bytes.extend_from_slice(&PINGREQ);
        client.send(&bytes).await;
        assert_eq!(client.connack().await.code, 0);
        let mut kinds = Vec::new();
        while kinds.len() < 4 {
            kinds.push(match client.packet().await {
                Packet::Suback(_) => "suback",
                Packet::Publish(_) => "publish",
                Packet::Puback(_) => "puback",
                Packet::Pingresp => "pingresp",
                other => panic!("{other:?}"),
            });
        }
        kinds.sort_unstable();
        assert_eq!(kinds, ["pingresp", "puback", "publish", "suback"]);
    }
}

#[tokio::test]
async fn a_valid_connect_is_acknowledged_with_success() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let (_, connack) = gateway.connect(&Connect::new(version, "accepted")).await;
        assert!(!connack.session_present);
    }
}

#[tokio::test]
async fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        watcher.subscribe("silent/will", 0).await;
        let connect = Connect::new(version, "silent").keep_alive(2).will("silent/will", "gone", 0, false);
        let started = Instant::now();
        let (mut client, connack) = gateway.connect(&connect).await;
        assert!(!connack.properties.iter().any(|property| matches!(property, Property::ServerKeepAlive(_))));
        client.expect_disconnected(&[0x8d]).await;
        let silence = started.elapsed().as_secs_f32();
        assert!((3.0..6.0).contains(&silence), "closed after {silence} s instead of 3");
        assert_eq!(watcher.expect_message().await.text(), "gone", "as if the network had failed");
    }
}

#[tokio::test]
async fn any_packet_keeps_a_connection_alive() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let (mut client, _) = gateway.connect(&Connect::new(version, "lively").keep_alive(1)).await;
        // Time is what is tested here: three times the keep-alive, with a packet in every half.
        for turn in 0..6 {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            if turn % 2 == 0 { client.ping().await } else { client.publish("lively", "x", 1).await }
        }
        client.ping().await;
    }
}

#[tokio::test]
async fn a_server_keep_alive_is_told_and_used() {
    let gateway = TestGateway::with(|config| config.mqtt.server_keep_alive = seconds(1)).await;
    let started = Instant::now();
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "server-keep-alive").keep_alive(600)).await;
    assert!(connack.properties.contains(&Property::ServerKeepAlive(1)), "{connack:?}");
    client.expect_disconnected(&[0x8d]).await;
    let silence = started.elapsed().as_secs_f32();
    assert!((1.5..4.5).contains(&silence), "closed after {silence} s instead of 1.5");
}

#[tokio::test]
async fn a_lower_maximum_qos_is_told_and_enforced() {
    for maximum in [0, 1] {
        let gateway = TestGateway::with(|config| config.mqtt.max_qos = maximum).await;
        let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "maximum-qos")).await;
        assert!(connack.properties.contains(&Property::MaximumQos(maximum)), "{connack:?}");
        let granted = client.subscribe_all(&[("a", 0), ("b", 1), ("c", 2)], &[]).await;
        assert_eq!(granted, [0, maximum.min(1), maximum.min(2)], "every requested QoS is accepted");
        client.send(&publish(Version::V5, "a", b"x", maximum + 1, 1, &[])).await;
        client.expect_disconnected(&[0x9b]).await;

        let mut client = gateway.open(Version::V5).await;
        client.send(&Connect::new(Version::V5, "maximum-qos").will("w", "w", maximum + 1, false).bytes()).await;
        client.expect_refused(None, &[0x9b]).await;

        let granted = gateway.client(Version::V311, "maximum-qos").await.subscribe("c", 2).await;
        assert_eq!(granted, maximum);
    }
}

#[tokio::test]
async fn the_highest_maximum_qos_is_not_told() {
    let gateway = TestGateway::start().await;
    let (_, connack) = gateway.connect(&Connect::new(Version::V5, "maximum-qos-2")).await;
    assert!(!connack.properties.iter().any(|property| matches!(property, Property::MaximumQos(_))), "{connack:?}");
}

#[tokio::test]
async fn missing_retain_is_told_and_enforced() {
    let gateway = TestGateway::with(|config| config.mqtt.retain_available = false).await;
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "no-retain")).await;
    assert!(connack.properties.contains(&Property::RetainAvailable(0)), "{connack:?}");
    client.send(&wire::publish_with(0x31, Version::V5, "a", b"x", 0, &[])).await;
    client.expect_disconnected(&[0x9a]).await;

    let mut client = gateway.open(Version::V5).await;
    client.send(&Connect::new(Version::V5, "no-retain").will("w", "w", 0, true).bytes()).await;
    client.expect_refused(None, &[0x9a]).await;
}

#[tokio::test]
async fn missing_kinds_of_subscription_are_told_and_refused() {
    let gateway = TestGateway::with(|config| {
        config.mqtt.wildcard_subscription = false;
        config.mqtt.shared_subscription = false;
        config.mqtt.subscription_identifiers = false;
    })
    .await;
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "few-kinds")).await;
    for property in
        [Property::WildcardAvailable(0), Property::SharedAvailable(0), Property::SubscriptionIdsAvailable(0)]
    {
        assert!(connack.properties.contains(&property), "{connack:?}");
    }
    // What was told not to be available is a protocol error (sections 3.2.2.3.11 to 3.2.2.3.13).
    for (filter, properties, code) in [
        ("a/#", vec![], 0xa2),
        ("+/a", vec![], 0xa2),
        ("$share/g/a", vec![], 0x9e),
        ("a", vec![Property::SubscriptionId(7)], 0xa1),
    ] {
        client.send(&subscribe(Version::V5, 1, &[(filter, 0)], &properties)).await;
        client.expect_disconnected(&[code]).await;
        client = gateway.client(Version::V5, "few-kinds").await;
    }
    assert_eq!(client.subscribe("a", 0).await, 0);
    // 3.1.1 has one code for all refusals [MQTT-3.8.3-2].
    let mut old = gateway.client(Version::V311, "few-kinds-311").await;
    assert_eq!(old.subscribe_all(&[("a/#", 0), ("a", 0)], &[]).await, [0x80, 0]);
}

#[tokio::test]
async fn response_information_comes_only_when_asked_for() {
    let gateway = TestGateway::with(|config| config.mqtt.response_information = "answers/".into()).await;
    for (asked, wanted) in [(None, false), (Some(0), false), (Some(1), true)] {
        let mut connect = Connect::new(Version::V5, "response-information");
        connect.properties = asked.map(Property::RequestResponse).into_iter().collect();
        let (_, connack) = gateway.connect(&connect).await;
        let told = connack.properties.iter().any(|property| matches!(property, Property::ResponseInformation(_)));
        assert_eq!(told, wanted, "{connack:?}");
    }
}

#[tokio::test]
async fn problem_information_is_withheld_when_not_wanted() {
    let gateway = TestGateway::start().await;
    let connect = Connect::new(Version::V5, "no-problem").property(Property::RequestProblem(0));
    let (mut client, _) = gateway.connect(&connect).await;
    let mut answers = Vec::new();
    // Packets that are answered with a failure, for which a reason could be given.
    client.send(&subscribe(Version::V5, 1, &[("a/#/b", 0)], &[])).await;
    answers.push(client.packet().await);
    client.send(&wire::unsubscribe(Version::V5, 2, &["never/subscribed"])).await;
    answers.push(client.packet().await);
    client.send(&publish(Version::V5, "nobody/listens", b"x", 1, 3, &[])).await;
    answers.push(client.packet().await);
    client.send(&publish(Version::V5, "nobody/listens", b"x", 2, 4, &[])).await;
    answers.push(client.packet().await);
    client.send(&wire::ack(0x62, 99, 0)).await;
    answers.push(client.packet().await);
    for answer in answers {
        let properties = match &answer {
            Packet::Suback(codes) | Packet::Unsuback(codes) => &codes.properties,
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack) => &ack.properties,
            other => panic!("{other:?}"),
        };
        assert!(properties.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn long_variable_byte_integers_are_malformed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        // Five bytes are never a length, and the gateway need not wait for more to know.
        let mut client = gateway.client(version, "long-length").await;
        client.send(&[0x30, 0xff, 0xff, 0xff, 0xff]).await;
        client.expect_disconnected(&[0x81]).await;
    }
    // The gateway's own lengths are as short as can be: `Reader::varint` checks it in every packet of every test.
    let mut reader = wire::Reader(&[0x80, 0x00]);
    assert!(reader.varint().is_err());
    for (value, length) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4)] {
        let mut bytes = Vec::new();
        put_varint(value, &mut bytes);
        assert_eq!(bytes.len(), length);
    }
    let mut subscriber = gateway.client(Version::V5, "lengths").await;
    subscriber.subscribe("lengths", 0).await;
    let mut publisher = gateway.client(Version::V5, "lengths-publisher").await;
    for length in [0, 115, 116, 117, 118, 119, 16_370, 16_371, 16_372, 16_373, 16_374, 16_375, 100_000] {
        publisher.publish("lengths", &"x".repeat(length), 0).await;
        assert_eq!(subscriber.expect_message().await.payload.len(), length);
    }
}

/// Whatever the gateway says to these bytes until it closes.
async fn raw_answer(gateway: &TestGateway, bytes: &[u8]) -> Vec<u8> {
    let mut client = gateway.open(Version::V311).await;
    client.send(bytes).await;
    client.bytes_until_closed().await
}

/// CONNACK that says the version is not served, or nothing, and then the end.
async fn expect_version_refused(client: &mut Client) {
    let answer = client.bytes_until_closed().await;
    assert!(matches!(answer[..], [] | [0x20, 2, 0, 0x01] | [0x20, _, 0, 0x81 | 0x84, ..]), "{answer:02x?}");
}

fn seconds(seconds: u64) -> thingway::config::Period {
    thingway::config::Period::from_secs(seconds)
}
