//! Retained messages, section 3.3.1.3.

use crate::common::{ALL, BOTH, Client, Packet, TestGateway, Version, publish};

/// Subscription options of 5.0, section 3.8.3.1.
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const SEND_IF_NEW: u8 = 0x10;
const DO_NOT_SEND: u8 = 0x20;

#[tokio::test]
async fn the_last_retained_message_of_each_topic_is_sent_to_new_subscriptions() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        for qos in 0..=2 {
            for round in ["old", "new"] {
                publisher.retain(&format!("last/{qos}"), &format!("{round} {qos}"), qos).await;
            }
        }
        for (filter, count) in
            [("last/#", 3), ("last/+", 3), ("last/1", 1), ("+/2", 1), ("last/1/#", 1), ("other/#", 0)]
        {
            let mut subscriber = gateway.client(version, "subscriber").await;
            subscriber.subscribe(filter, 2).await;
            let mut seen = messages(&mut subscriber, &mut publisher).await;
            seen.sort();
            assert_eq!(seen.len(), count, "{filter}: {seen:?}");
            for (topic, text, qos, retain) in seen {
                assert_eq!(topic, format!("last/{qos}"));
                assert_eq!(text, format!("new {qos}"), "it keeps its QoS");
                assert!(retain, "sent because of a new subscription");
            }
        }
        clear(&mut publisher, &["last/0", "last/1", "last/2"]).await;
    }
}

#[tokio::test]
async fn the_retain_flag_is_clear_for_established_subscriptions() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut subscriber = gateway.client(version, "subscriber").await;
        let mut publisher = gateway.client(version, "publisher").await;
        subscriber.subscribe("established", 1).await;
        publisher.retain("established", "x", 1).await;
        assert!(!subscriber.expect_message().await.retain);
        clear(&mut publisher, &["established"]).await;
    }
}

#[tokio::test]
async fn a_retained_message_replaces_the_one_before() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        for (first, second) in [(0, 0), (2, 0), (0, 2), (1, 1)] {
            publisher.retain("replaced", "old", first).await;
            publisher.retain("replaced", "new", second).await;
            let mut subscriber = gateway.client(version, "subscriber").await;
            subscriber.subscribe("replaced", 2).await;
            let seen = messages(&mut subscriber, &mut publisher).await;
            assert_eq!(seen, [("replaced".into(), "new".into(), second, true)]);
        }
        clear(&mut publisher, &["replaced"]).await;
    }
}

#[tokio::test]
async fn an_empty_retained_message_is_delivered_and_removes_the_retained_one() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        for qos in 0..=2 {
            publisher.retain("emptied", "x", qos).await;
            subscriber.subscribe("emptied", 2).await;
            assert_eq!(subscriber.expect_message().await.text(), "x");
            publisher.retain("emptied", "", qos).await;
            let empty = subscriber.expect_message().await;
            assert!(empty.payload.is_empty() && !empty.retain, "processed as any other: {empty:?}");
            let mut late = gateway.client(version, "late").await;
            late.subscribe("emptied", 2).await;
            late.expect_nothing(&mut publisher).await;
            subscriber.unsubscribe(&["emptied"]).await;
        }
    }
}

#[tokio::test]
async fn a_message_without_retain_leaves_the_retained_one_alone() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        publisher.publish("alone", "never stored", 1).await;
        let mut subscriber = gateway.client(version, "first").await;
        subscriber.subscribe("alone", 1).await;
        subscriber.expect_nothing(&mut publisher).await;
        subscriber.unsubscribe(&["alone"]).await;

        publisher.retain("alone", "stored", 1).await;
        publisher.publish("alone", "passing", 1).await;
        publisher.publish("alone", "", 1).await;
        let mut subscriber = gateway.client(version, "second").await;
        subscriber.subscribe("alone", 1).await;
        let seen = messages(&mut subscriber, &mut publisher).await;
        assert_eq!(seen, [("alone".into(), "stored".into(), 1, true)]);
        clear(&mut publisher, &["alone"]).await;
    }
}

#[tokio::test]
async fn subscribing_again_sends_retained_messages_again() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        publisher.retain("again", "x", 1).await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        for _ in 0..3 {
            subscriber.subscribe("again", 1).await;
            let message = subscriber.expect_message().await;
            assert!(message.retain);
        }
        clear(&mut publisher, &["again"]).await;
    }
}

#[tokio::test]
async fn retain_handling() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("handling", "x", 1).await;
    for (handling, when_new, when_known) in [(0, 1, 1), (SEND_IF_NEW, 1, 0), (DO_NOT_SEND, 0, 0)] {
        let mut subscriber = gateway.client(Version::V5, "subscriber").await;
        for (turn, wanted) in [("new", when_new), ("known", when_known)] {
            assert_eq!(subscriber.subscribe("handling", 1 | handling).await, 1);
            let seen = messages(&mut subscriber, &mut publisher).await;
            assert_eq!(seen.len(), wanted, "handling {handling:#04x} of a {turn} subscription: {seen:?}");
        }
        // After it was given up, it is new again.
        subscriber.unsubscribe(&["handling"]).await;
        subscriber.subscribe("handling", 1 | handling).await;
        assert_eq!(messages(&mut subscriber, &mut publisher).await.len(), when_new);
    }
}

#[tokio::test]
async fn retain_handling_3_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V5, "handling-3").await;
    client.send(&crate::common::subscribe(Version::V5, 1, &[("a", 0x30)], &[])).await;
    client.expect_disconnected(&[0x81, 0x82]).await;
}

#[tokio::test]
async fn retain_as_published() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    for (options, keeps) in [(1, false), (1 | RETAIN_AS_PUBLISHED, true)] {
        let mut subscriber = gateway.client(Version::V5, "subscriber").await;
        subscriber.subscribe("as-published", options).await;
        publisher.retain("as-published", "x", 1).await;
        assert_eq!(subscriber.expect_message().await.retain, keeps);
        publisher.publish("as-published", "x", 1).await;
        assert!(!subscriber.expect_message().await.retain);
        // What is sent because of the subscription has the flag in any case.
        let mut late = gateway.client(Version::V5, "late").await;
        late.subscribe("as-published", options).await;
        assert!(late.expect_message().await.retain);
        clear(&mut publisher, &["as-published"]).await;
    }
}

#[tokio::test]
async fn shared_subscriptions_get_no_retained_messages() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("not-shared", "x", 1).await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("$share/group/not-shared", 1).await;
    subscriber.expect_nothing(&mut publisher).await;
}

#[tokio::test]
async fn retained_messages_come_after_the_suback() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        publisher.retain("after-suback", "x", 0).await;
        let mut subscriber = gateway.client(version, "subscriber").await;
        subscriber.send(&crate::common::subscribe(version, 1, &[("after-suback", 0)], &[])).await;
        assert!(matches!(subscriber.packet().await, Packet::Suback(_)));
        assert!(matches!(subscriber.packet().await, Packet::Publish(_)));
        publisher.send(&publish(version, "after-suback", b"live", 0, 0, &[])).await;
        assert_eq!(subscriber.expect_message().await.text(), "live");
        clear(&mut publisher, &["after-suback"]).await;
    }
}

/// Topic, text, QoS and retain flag of all that a client has got.
async fn messages(client: &mut Client, other: &mut Client) -> Vec<(String, String, u8, bool)> {
    let mut seen = Vec::new();
    for packet in client.until_fence(other).await {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        client.acknowledge(&publish).await;
        seen.push((publish.topic.clone(), publish.text().to_owned(), publish.qos, publish.retain));
    }
    seen
}

async fn clear(client: &mut Client, topics: &[&str]) {
    for topic in topics {
        client.retain(topic, "", 1).await;
    }
}
