//! SUBSCRIBE and UNSUBSCRIBE, sections 3.8 to 3.11, and overlapping subscriptions, section 3.3.4.

use crate::common::{
    ALL, BOTH, Connect, Packet, Property, TestGateway, Version, publish, put_properties, subscribe, unsubscribe,
    wire::{self, frame, put_binary, put_string},
};

/// Subscription option "no local" of 5.0.
const NO_LOCAL: u8 = 0x04;

#[tokio::test]
async fn suback_has_the_identifier_and_a_code_for_each_filter_in_order() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "codes").await;
        let filters = [("a", 0), ("b/+", 2), ("c/#", 1), ("d", 2), ("e", 0), ("f", 1)];
        for id in [1, 0x1234, u16::MAX] {
            client.send(&subscribe(version, id, &filters, &[])).await;
            let Packet::Suback(suback) = client.packet().await else { panic!("SUBACK wanted") };
            assert_eq!((suback.packet_id, suback.codes), (id, vec![0, 2, 1, 2, 0, 1]));
        }
    }
}

#[tokio::test]
async fn a_refused_filter_leaves_the_others_alone() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "refused-filter").await;
    let codes = client.subscribe_all(&[("good/1", 1), ("bad/#/end", 1), ("$share//x", 0), ("good/2", 0)], &[]).await;
    assert_eq!(codes, [1, 0x8f, 0x8f, 0]);
    for topic in ["good/1", "good/2"] {
        client.publish(topic, "x", 0).await;
        assert_eq!(client.expect_message().await.topic, topic);
    }
    let mut old = gateway.client(Version::V311, "refused-filter-311").await;
    assert_eq!(old.subscribe_all(&[("good/1", 1), ("bad/#/end", 1), ("good/2", 0)], &[]).await, [1, 0x80, 0]);
}

#[tokio::test]
async fn a_subscribe_without_filters_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        for packet in [subscribe(version, 1, &[], &[]), unsubscribe(version, 1, &[])] {
            let mut client = gateway.client(version, "no-filters").await;
            client.send(&packet).await;
            client.expect_disconnected(&[0x81, 0x82]).await;
        }
    }
}

#[tokio::test]
async fn reserved_subscription_options_are_malformed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let bad: Vec<u8> = if version.is_5() {
            vec![0x03, 0x40, 0x80, 0xc0, 0x41, 0xff]
        } else {
            vec![0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xfc, 0xff]
        };
        for options in bad {
            let mut client = gateway.client(version, "options").await;
            client.send(&subscribe(version, 1, &[("good", 0), ("options", options)], &[])).await;
            client.expect_disconnected(&[0x81, 0x82]).await;
        }
    }
}

#[tokio::test]
async fn filters_that_are_not_utf_8_are_malformed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for bad in [&b"a\xff"[..], b"\xed\xa0\x80", b"a\0b", b"\xc0\xaf"] {
            for first in [0x82, 0xa2] {
                let mut body = vec![0, 1];
                if version.is_5() {
                    put_properties(&[], &mut body);
                }
                put_binary(bad, &mut body);
                if first == 0x82 {
                    body.push(0);
                }
                let mut client = gateway.client(version, "bad-filter").await;
                client.send(&frame(first, &body)).await;
                client.expect_disconnected(&[0x81, 0x82, 0x8f]).await;
            }
        }
    }
}

#[tokio::test]
async fn several_filters_in_one_packet_are_as_several_packets() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "several").await;
        // The last of two equal filters counts, and there is one answer.
        assert_eq!(client.subscribe_all(&[("several/a", 0), ("several/b", 1), ("several/a", 2)], &[]).await, [0, 1, 2]);
        client.publish("several/a", "x", 2).await;
        assert_eq!(client.expect_message().await.qos, 2);
        client.publish("several/b", "x", 2).await;
        assert_eq!(client.expect_message().await.qos, 1);
        let codes = client.unsubscribe(&["several/a", "several/never", "several/b"]).await;
        assert_eq!(codes, if version.is_5() { vec![0, 0x11, 0] } else { vec![] });
        let mut other = gateway.client(version, "other").await;
        other.publish("several/a", "x", 0).await;
        other.publish("several/b", "x", 0).await;
        client.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn an_equal_filter_replaces_the_subscription() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, "replaces").await;
        for qos in [0, 2, 1] {
            assert_eq!(client.subscribe("replaces/+", qos).await, qos);
            publisher.publish("replaces/x", "x", 2).await;
            assert_eq!(client.expect_message().await.qos, qos);
            client.expect_nothing(&mut publisher).await;
        }
        client.unsubscribe(&["replaces/+"]).await;
        publisher.publish("replaces/x", "x", 2).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn no_message_is_lost_while_a_subscription_is_replaced() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "not-lost").await;
        client.subscribe("not-lost", 1).await;
        let mut publisher = gateway.client(version, "publisher").await;
        let flood = tokio::spawn(async move {
            for number in 0..500 {
                publisher.publish("not-lost", &number.to_string(), 1).await;
            }
            publisher
        });
        let mut turn = 0;
        for number in 0..500 {
            if number % 10 == 0 {
                turn += 1;
                client.send(&subscribe(version, 1000 + turn, &[("not-lost", 1)], &[])).await;
            }
            let message = client
                .take("a message", |packet| match packet {
                    Packet::Publish(publish) => Some(publish.clone()),
                    _ => None,
                })
                .await;
            assert_eq!(message.text(), number.to_string());
            client.acknowledge(&message).await;
        }
        let mut publisher = flood.await.expect("the publisher is done");
        for id in 1001..=1000 + turn {
            client.suback(id).await;
        }
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_at_their_highest_qos() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, "overlap").await;
        client.subscribe_all(&[("over/#", 0), ("over/+", 2), ("over/lap", 1)], &[]).await;
        for qos in 0..=2 {
            publisher.publish("over/lap", "x", qos).await;
            let mut seen = Vec::new();
            for packet in client.until_fence(&mut publisher).await {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                client.acknowledge(&publish).await;
                seen.push(publish.qos);
            }
            assert_eq!(seen.iter().max(), Some(&qos), "{seen:?}");
            assert!(seen.len() == 1 || seen.len() == 3, "one copy, or one for each subscription: {seen:?}");
        }
    }
}

#[tokio::test]
async fn subscription_identifiers_come_with_the_message() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut client = gateway.client(Version::V5, "ids").await;
    client.subscribe_all(&[("ids/#", 1)], &[Property::SubscriptionId(1)]).await;
    client.subscribe_all(&[("ids/+", 1)], &[Property::SubscriptionId(268_435_455)]).await;
    client.subscribe_all(&[("ids/none", 1)], &[]).await;
    client.subscribe_all(&[("ids/a", 0), ("ids/b", 0)], &[Property::SubscriptionId(128)]).await;
    for (topic, wanted) in [
        ("ids/a", vec![1, 128, 268_435_455]),
        ("ids/b", vec![1, 128, 268_435_455]),
        ("ids/none", vec![1, 268_435_455]),
        ("ids/a/b", vec![1]),
    ] {
        publisher.publish(topic, "x", 1).await;
        let mut ids = Vec::new();
        for packet in client.until_fence(&mut publisher).await {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            client.acknowledge(&publish).await;
            ids.extend(publish.subscription_ids());
        }
        ids.sort_unstable();
        assert_eq!(ids, wanted, "{topic}");
    }
    // Replacing a subscription replaces its identifier, also by none.
    client.subscribe_all(&[("ids/#", 0)], &[]).await;
    publisher.publish("ids/a/b", "x", 1).await;
    assert!(client.expect_message().await.subscription_ids().is_empty());
}

#[tokio::test]
async fn subscription_identifiers_come_with_retained_and_queued_messages() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("kept-ids", "x", 1).await;
    let persistent = Connect::new(Version::V5, "kept-ids").persistent();
    let (mut client, _) = gateway.connect(&persistent).await;
    client.subscribe_all(&[("kept-ids", 1)], &[Property::SubscriptionId(5)]).await;
    assert_eq!(client.expect_message().await.subscription_ids(), [5]);
    client.disconnect().await;
    publisher.publish("kept-ids", "x", 1).await;
    let (mut client, _) = gateway.connect(&persistent).await;
    assert_eq!(client.expect_message().await.subscription_ids(), [5]);
}

#[tokio::test]
async fn subscription_identifier_zero_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    for properties in
        [vec![Property::SubscriptionId(0)], vec![Property::SubscriptionId(1), Property::SubscriptionId(2)]]
    {
        let mut client = gateway.client(Version::V5, "id-zero").await;
        client.send(&subscribe(Version::V5, 1, &[("a", 0)], &properties)).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
    }
}

#[tokio::test]
async fn no_local_keeps_ones_own_messages_away() {
    let gateway = TestGateway::start().await;
    let mut other = gateway.client(Version::V5, "other").await;
    let persistent = Connect::new(Version::V5, "no-local").persistent();
    let (mut client, _) = gateway.connect(&persistent).await;
    client.subscribe("no-local/#", 2 | NO_LOCAL).await;
    client.subscribe("local/#", 2).await;
    for qos in 0..=2 {
        client.publish("no-local/a", "mine", qos).await;
        client.publish("local/a", "mine", qos).await;
        client.ping().await;
        other.publish("no-local/a", "other's", qos).await;
        for wanted in [("local/a", "mine"), ("no-local/a", "other's")] {
            let message = client.expect_message().await;
            assert_eq!((message.topic.as_str(), message.text()), wanted);
        }
    }
    client.expect_nothing(&mut other).await;
    // It is the client identifier that counts, not the connection.
    client.disconnect().await;
    let (mut client, _) = gateway.connect(&persistent).await;
    client.publish("no-local/a", "mine", 1).await;
    client.expect_nothing(&mut other).await;
}

#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "no-local-shared").await;
    client.send(&subscribe(Version::V5, 1, &[("$share/g/a", NO_LOCAL)], &[])).await;
    client.expect_disconnected(&[0x82]).await;
}

#[tokio::test]
async fn unsuback_has_the_identifier_and_codes_in_order() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "unsuback").await;
        client.subscribe_all(&[("a", 0), ("b/+", 0)], &[]).await;
        for (id, filters, codes) in [
            (0x1234, &["none", "b/+", "none/#", "a"][..], [0x11, 0, 0x11, 0]),
            (u16::MAX, &["a", "b", "c", "d"], [0x11; 4]),
        ] {
            client.send(&unsubscribe(version, id, filters)).await;
            let Packet::Unsuback(unsuback) = client.packet().await else { panic!("UNSUBACK wanted") };
            assert_eq!(unsuback.packet_id, id);
            assert_eq!(unsuback.codes, if version.is_5() { codes.to_vec() } else { vec![] });
        }
    }
}

#[tokio::test]
async fn unsubscribe_compares_filters_character_by_character() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, "compares").await;
        let filters = ["Compares/+/x", "compares/+/x", "compares/#", "compares/+/+", "compares/y/x"];
        for filter in filters {
            client.subscribe(filter, 0).await;
        }
        for (number, filter) in filters.iter().enumerate() {
            for similar in
                ["compares/+/x/", "/compares/+/x", "compares", "compares/z/x", "COMPARES/#", "#", "compares/+"]
            {
                client.unsubscribe(&[similar]).await;
            }
            publisher.publish("compares/y/x", "x", 0).await;
            publisher.publish("Compares/y/x", "x", 0).await;
            let before = client.until_fence(&mut publisher).await;
            assert!(!before.is_empty(), "{} filters are left", filters.len() - number);
            client.unsubscribe(&[filter]).await;
        }
        publisher.publish("compares/y/x", "x", 0).await;
        publisher.publish("Compares/y/x", "x", 0).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn unsubscribe_completes_what_was_begun() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("begun")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.subscribe("begun", 2).await;
        publisher.publish("begun", "one", 1).await;
        publisher.publish("begun", "two", 2).await;
        let one = client.expect_publish().await;
        let two = client.expect_publish().await;
        client.unsubscribe(&["begun"]).await;
        publisher.publish("begun", "three", 2).await;
        client.expect_nothing(&mut publisher).await;
        client.cut();
        let (mut client, _) = gateway.connect(&persistent).await;
        for first in [one, two] {
            let again = client.expect_message().await;
            assert_eq!((again.packet_id, again.text(), again.dup), (first.packet_id, first.text(), true));
        }
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_filter_twice_in_one_unsubscribe_is_handled_twice() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "twice").await;
    client.subscribe("twice", 0).await;
    assert_eq!(client.unsubscribe(&["twice", "twice"]).await, [0, 0x11]);
}

#[tokio::test]
async fn a_truncated_subscribe_is_malformed() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for good in [subscribe(version, 1, &[("cut/a", 1)], &[]), unsubscribe(version, 1, &["cut/a"])] {
            for length in 1..good.len() - 2 {
                let mut client = gateway.client(version, "cut").await;
                client.send(&frame(good[0], &good[2..2 + length])).await;
                client.expect_disconnected(&[0x81, 0x82]).await;
            }
        }
        let mut body = vec![0, 1];
        if version.is_5() {
            put_properties(&[], &mut body);
        }
        put_string("option/missing", &mut body);
        let mut client = gateway.client(version, "cut").await;
        client.send(&frame(0x82, &body)).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
    }
}

#[tokio::test]
async fn unsubscribing_one_filter_leaves_the_others() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, "leaves").await;
        client.subscribe_all(&[("leaves/a", 0), ("leaves/+", 0)], &[]).await;
        client.unsubscribe(&["leaves/+"]).await;
        publisher.send(&publish(version, "leaves/b", b"x", 0, 0, &[])).await;
        publisher.send(&publish(version, "leaves/a", b"x", 0, 0, &[])).await;
        assert_eq!(client.expect_message().await.topic, "leaves/a");
        client.send(&wire::PINGREQ).await;
        assert_eq!(client.packet().await, Packet::Pingresp);
    }
}
