//! Session state, sections 3.1.2.4, 3.1.2.11.2 and 4.1 of 5.0, and its redelivery, section 4.4.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::{ALL, BOTH, Connect, Packet, Property, TestGateway, Version, publish, wire};

#[tokio::test]
async fn session_present_tells_whether_there_was_a_session() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let persistent = Connect::new(version, &version.id("present")).persistent();
        let (client, connack) = gateway.connect(&persistent).await;
        assert!(!connack.session_present, "a first session in {version:?}");
        client.disconnect().await;

        let (client, connack) = gateway.connect(&persistent).await;
        assert!(connack.session_present, "a resumed session in {version:?}");
        client.cut();

        let (client, connack) = gateway.connect(&persistent).await;
        assert!(connack.session_present, "a session whose connection broke in {version:?}");
        client.disconnect().await;

        let (client, connack) = gateway.connect(&Connect::new(version, &version.id("present"))).await;
        assert!(!connack.session_present, "a clean session in {version:?}");
        client.disconnect().await;

        let (client, connack) = gateway.connect(&Connect::new(version, &version.id("present")).clean(false)).await;
        assert!(!connack.session_present, "the clean session left nothing in {version:?}");
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_session_keeps_its_subscriptions() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("keeps-subscriptions")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.subscribe("kept/exact", 1).await;
        client.subscribe("kept/+/wild", 2).await;
        client.disconnect().await;

        let (mut client, _) = gateway.connect(&persistent).await;
        publisher.publish("kept/exact", "exact", 1).await;
        publisher.publish("kept/a/wild", "wild", 2).await;
        assert_eq!(client.expect_message().await.text(), "exact");
        let wild = client.expect_message().await;
        assert_eq!((wild.text(), wild.qos), ("wild", 2));
        client.disconnect().await;

        // A clean session has none of them, and leaves none to the next.
        let (mut client, _) = gateway.connect(&Connect::new(version, &version.id("keeps-subscriptions"))).await;
        publisher.publish("kept/exact", "lost", 1).await;
        client.expect_nothing(&mut publisher).await;
        client.disconnect().await;
        let (mut client, _) = gateway.connect(&persistent).await;
        publisher.publish("kept/exact", "lost", 1).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn an_absent_session_queues_qos_1_and_2() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("queues")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.subscribe("queued/#", 2).await;
        client.disconnect().await;
        for number in 0..20 {
            publisher.publish(&format!("queued/{number}"), &number.to_string(), 1 + number % 2).await;
        }
        let (mut client, _) = gateway.connect(&persistent).await;
        for number in 0..20 {
            let message = client.expect_message().await;
            assert_eq!((message.text(), message.qos, message.dup), (&*number.to_string(), 1 + number % 2, false));
        }
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_clean_session_does_not_queue() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, &version.id("no-queue")).await;
        client.subscribe("unqueued", 1).await;
        client.disconnect().await;
        publisher.publish("unqueued", "x", 1).await;
        let (mut client, _) = gateway.connect(&Connect::new(version, &version.id("no-queue")).persistent()).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn sessions_are_told_apart_by_client_identifier() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        for id in ["tell-apart", "Tell-apart"] {
            let (mut client, connack) = gateway.connect(&Connect::new(version, &version.id(id)).persistent()).await;
            assert!(!connack.session_present);
            client.subscribe(id, 1).await;
            client.disconnect().await;
        }
        publisher.publish("tell-apart", "lower", 1).await;
        publisher.publish("Tell-apart", "upper", 1).await;
        for (id, text) in [("tell-apart", "lower"), ("Tell-apart", "upper")] {
            let (mut client, connack) = gateway.connect(&Connect::new(version, &version.id(id)).persistent()).await;
            assert!(connack.session_present);
            assert_eq!(client.expect_message().await.text(), text);
            client.expect_nothing(&mut publisher).await;
        }
    }
}

#[tokio::test]
async fn retained_messages_outlive_the_session() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "retains").await;
        publisher.retain("outlives", "still here", 1).await;
        publisher.disconnect().await;
        let (other, _) = gateway.connect(&Connect::new(version, "retains")).await;
        other.disconnect().await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("outlives", 1).await;
        assert_eq!(subscriber.expect_message().await.text(), "still here");
    }
}

#[tokio::test]
async fn unacknowledged_messages_are_sent_again_with_their_identifiers() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("again")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.subscribe("again", 2).await;
        publisher.publish("again", "one", 1).await;
        publisher.publish("again", "two", 2).await;
        publisher.publish("again", "three", 2).await;
        let first = [client.expect_publish().await, client.expect_publish().await, client.expect_publish().await];
        assert!(first.iter().all(|publish| !publish.dup), "a first delivery in {version:?}: {first:?}");
        // The third goes on to PUBREL, which is what is sent again then.
        client.send(&wire::ack(0x50, first[2].packet_id, 0)).await;
        client.pubrel(first[2].packet_id).await;
        client.cut();

        let (mut client, connack) = gateway.connect(&persistent).await;
        assert_eq!(connack.session_present, version != Version::V31, "3.1 has no such flag");
        let publish = |packet: &Packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        };
        let again = [client.take("the first", publish).await, client.take("the second", publish).await];
        for (first, again) in first.iter().zip(&again) {
            assert!(again.dup, "a redelivery in {version:?}: {again:?}");
            assert_eq!(
                (&first.payload, first.packet_id, first.qos, &first.topic),
                (&again.payload, again.packet_id, again.qos, &again.topic)
            );
        }
        client.pubrel(first[2].packet_id).await;
        client.send(&wire::ack(0x70, first[2].packet_id, 0)).await;
        client.acknowledge(&again[0]).await;
        client.acknowledge(&again[1]).await;
        // Not again while the connection lives, and not again after.
        client.expect_nothing(&mut publisher).await;
        client.disconnect().await;
        let (mut client, _) = gateway.connect(&persistent).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn redelivery_keeps_the_order() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("in-order")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.subscribe("in-order", 2).await;
        for number in 0..10 {
            publisher.publish("in-order", &number.to_string(), 1 + number % 2).await;
        }
        for _ in 0..10 {
            client.expect_publish().await;
        }
        client.disconnect().await;
        for number in 10..15 {
            publisher.publish("in-order", &number.to_string(), 1).await;
        }
        let (mut client, _) = gateway.connect(&persistent).await;
        let mut seen = Vec::new();
        for _ in 0..15 {
            let publish = client.expect_publish().await;
            seen.push((publish.text().to_owned(), publish.dup));
        }
        let wanted: Vec<_> = (0..15).map(|number| (number.to_string(), number < 10)).collect();
        assert_eq!(seen, wanted);
    }
}

#[tokio::test]
async fn a_clean_session_discards_what_was_in_flight() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let (mut client, _) = gateway.connect(&Connect::new(version, &version.id("discards")).persistent()).await;
        client.subscribe("discards", 1).await;
        publisher.publish("discards", "x", 1).await;
        client.expect_publish().await;
        client.cut();
        let (mut client, connack) = gateway.connect(&Connect::new(version, &version.id("discards"))).await;
        assert!(!connack.session_present);
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_qos_2_exchange_goes_on_after_reconnect() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.subscribe("exactly-once", 2).await;
        let persistent = Connect::new(version, &version.id("exactly-once")).persistent();
        let (mut client, _) = gateway.connect(&persistent).await;
        client.send(&publish(version, "exactly-once", b"once", 2, 7, &[])).await;
        client.pubrec(7).await;
        client.cut();

        let (mut client, _) = gateway.connect(&persistent).await;
        // The same message again: acknowledged, and not delivered a second time.
        client.send(&wire::publish_with(0x3c, version, "exactly-once", b"once", 7, &[])).await;
        client.pubrec(7).await;
        client.send(&wire::ack(0x62, 7, 0)).await;
        client.pubcomp(7).await;
        assert_eq!(subscriber.expect_message().await.text(), "once");
        subscriber.expect_nothing(&mut client).await;
    }
}

#[tokio::test]
async fn messages_are_sent_again_only_after_a_reconnect() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut client = gateway.client(version, "slow").await;
        client.subscribe("slow", 2).await;
        publisher.publish("slow", "one", 1).await;
        publisher.publish("slow", "two", 2).await;
        client.expect_publish().await;
        client.expect_publish().await;
        // Time is what is tested here: a broker that repeats within a connection does it after a second or so.
        sleep(Duration::from_secs(3)).await;
        client.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_session_ends_when_its_expiry_has_passed() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("expired/will", 0).await;
    // The will comes at the latest with the end of the session, which is what makes that end visible.
    let connect = Connect::new(Version::V5, "expires")
        .clean(false)
        .property(Property::SessionExpiry(1))
        .will("expired/will", "ended", 0, false)
        .will_property(Property::WillDelay(600));
    let (client, _) = gateway.connect(&connect).await;
    client.cut();
    let (client, connack) = gateway.connect(&connect).await;
    assert!(connack.session_present, "within the expiry");
    client.cut();
    assert_eq!(watcher.expect_message().await.text(), "ended");
    let (_, connack) = gateway.connect(&connect).await;
    assert!(!connack.session_present, "after the expiry");
}

#[tokio::test]
async fn without_expiry_a_session_ends_with_its_connection() {
    let gateway = TestGateway::start().await;
    for expiry in [None, Some(0)] {
        let mut connect = Connect::new(Version::V5, "no-expiry").clean(false);
        connect.properties = expiry.map(Property::SessionExpiry).into_iter().collect();
        let (mut client, _) = gateway.connect(&connect).await;
        client.subscribe("no-expiry", 1).await;
        client.disconnect().await;
        let (_, connack) = gateway.connect(&connect).await;
        assert!(!connack.session_present, "{expiry:?}");
    }
}

#[tokio::test]
async fn disconnect_can_change_the_session_expiry() {
    let gateway = TestGateway::start().await;
    let connect = Connect::new(Version::V5, "changes-expiry").clean(false).property(Property::SessionExpiry(600));
    let (mut client, _) = gateway.connect(&connect).await;
    client.send(&wire::disconnect(Version::V5, 0, &[Property::SessionExpiry(0)])).await;
    client.expect_closed().await;
    let (mut client, connack) = gateway.connect(&connect).await;
    assert!(!connack.session_present, "the session ended with that DISCONNECT");
    // From nothing to something it cannot be changed.
    client.disconnect().await;
    let (client_without, _) = gateway.connect(&Connect::new(Version::V5, "changes-expiry")).await;
    client = client_without;
    client.send(&wire::disconnect(Version::V5, 0, &[Property::SessionExpiry(60)])).await;
    client.expect_disconnected(&[0x82]).await;
}

#[tokio::test]
async fn a_granted_session_expiry_that_is_lower_is_told() {
    let gateway = TestGateway::with(|config| {
        config.mqtt.session_expiry_max = thingway::config::OrInfinity::Finite(thingway::config::Period::from_secs(30));
    })
    .await;
    for asked in [31, 3600, u32::MAX] {
        let connect = Connect::new(Version::V5, "granted").property(Property::SessionExpiry(asked));
        let (_, connack) = gateway.connect(&connect).await;
        assert!(connack.properties.contains(&Property::SessionExpiry(30)), "{asked}: {connack:?}");
    }
    let (_, connack) =
        gateway.connect(&Connect::new(Version::V5, "granted").property(Property::SessionExpiry(30))).await;
    assert!(
        !connack.properties.iter().any(|property| matches!(property, Property::SessionExpiry(other) if *other != 30))
    );
}

#[tokio::test]
async fn a_session_is_the_same_for_all_versions() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    for (from, to) in [(Version::V311, Version::V5), (Version::V5, Version::V311), (Version::V31, Version::V5)] {
        let (mut client, _) = gateway.connect(&Connect::new(from, "moves").persistent()).await;
        client.subscribe("moves", 1).await;
        client.disconnect().await;
        publisher
            .publish_with(
                "moves",
                "x",
                1,
                false,
                &[Property::User("a".into(), "b".into()), Property::MessageExpiry(99)],
            )
            .await;
        let (mut client, connack) = gateway.connect(&Connect::new(to, "moves").persistent()).await;
        assert!(connack.session_present, "{from:?} to {to:?}");
        let message = client.expect_message().await;
        assert_eq!(message.text(), "x");
        let user = message.properties.contains(&Property::User("a".into(), "b".into()));
        assert_eq!(user, to.is_5(), "{message:?}");
        client.disconnect().await;
        gateway.connect(&Connect::new(to, "moves")).await.0.disconnect().await;
    }
}

#[tokio::test]
async fn session_state_stays_while_the_connection_is_open() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    // An expiry counts from the end of the connection only.
    let connect = Connect::new(Version::V5, "stays").clean(false).property(Property::SessionExpiry(1));
    let (mut client, _) = gateway.connect(&connect).await;
    client.subscribe("stays", 1).await;
    sleep(Duration::from_secs(3)).await;
    publisher.publish("stays", "x", 1).await;
    assert_eq!(client.expect_message().await.text(), "x");
    client.cut();
    let (_, connack) = gateway.connect(&connect).await;
    assert!(connack.session_present);
}

#[tokio::test]
async fn a_taken_over_session_keeps_its_state() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("taken-over-state")).persistent();
        let (mut old, _) = gateway.connect(&persistent).await;
        old.subscribe("taken-over-state", 1).await;
        publisher.publish("taken-over-state", "unacknowledged", 1).await;
        let first = old.expect_publish().await;
        let (mut new, connack) = gateway.connect(&persistent).await;
        assert!(connack.session_present);
        let Packet::Publish(again) = new.packet().await else { panic!("PUBLISH wanted") };
        assert!(again.dup);
        assert_eq!(again.packet_id, first.packet_id);
        old.expect_disconnected(&[0x8e]).await;
    }
}
