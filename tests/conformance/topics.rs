//! Topic names and topic filters, section 4.7, and text on the wire, section 1.5.

use crate::common::{
    ALL, BOTH, Packet, TestGateway, Version, put_properties,
    wire::{self, frame, put_binary},
};

/// Filter, topic, whether they match.
const MATCHES: &[(&str, &str, bool)] = &[
    ("a", "a", true),
    ("a", "A", false),
    ("a", "a/", false),
    ("a", "/a", false),
    ("a/b", "a/b", true),
    ("/", "/", true),
    ("//", "//", true),
    ("/a", "/a", true),
    ("a//b", "a//b", true),
    ("a//b", "a/b", false),
    ("#", "a", true),
    ("#", "a/b/c", true),
    ("#", "/", true),
    ("/#", "a", false),
    ("/#", "/a", true),
    ("/#", "/", true),
    ("a/#", "a", true),
    ("a/#", "a/", true),
    ("a/#", "a/b", true),
    ("a/#", "a/b/c", true),
    ("a/#", "ab", false),
    ("a/b/#", "a", false),
    ("a/+/#", "a/b", true),
    ("a/+/#", "a", false),
    ("+", "a", true),
    ("+", "a/b", false),
    ("+", "/a", false),
    ("+", "/", false),
    ("+/+", "/", true),
    ("+/+", "/a", true),
    ("/+", "/a", true),
    ("/+", "a", false),
    ("a/+", "a", false),
    ("a/+", "a/", true),
    ("a/+", "a/b", true),
    ("a/+", "a/b/c", false),
    ("a/+/c", "a/b/c", true),
    ("a/+/c", "a//c", true),
    ("a/+/c", "a/b/b/c", false),
    ("+/+/+", "a/b/c", true),
    ("+/b/#", "a/b", true),
    ("+/b/#", "a/b/c/d", true),
    ("a b", "a b", true),
    ("a b", "a  b", false),
    // Topics that begin with a dollar sign are not for filters that begin with a wildcard.
    ("#", "$other/a", false),
    ("+/a", "$other/a", false),
    ("+/#", "$other/a", false),
    ("$other/#", "$other/a", true),
    ("$other/+", "$other/a", true),
    ("$other/a", "$other/a", true),
    ("a/#", "a/$b", true),
    ("a/+", "a/$b", true),
    // No normalisation: composed and decomposed letters, cases, and a byte order mark are what they are.
    ("caf\u{e9}", "caf\u{e9}", true),
    ("caf\u{e9}", "cafe\u{301}", false),
    ("\u{df}", "ss", false),
    ("\u{feff}a", "a", false),
    ("\u{feff}a", "\u{feff}a", true),
    ("a\u{feff}", "a", false),
    ("\u{10fffd}", "\u{10fffd}", true),
    ("a/../b", "b", false),
    ("a%2fb", "a/b", false),
];

#[tokio::test]
async fn filters_match_as_the_specification_says() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut publisher = gateway.client(version, "publisher").await;
        for (filter, topic, matches) in MATCHES {
            let mut subscriber = gateway.client(version, "subscriber").await;
            assert_eq!(subscriber.subscribe(filter, 0).await, 0, "{filter}");
            publisher.publish(topic, "x", 0).await;
            let mut before = subscriber.until_fence(&mut publisher).await;
            // "#" takes the fence, too, but that is what ends the waiting.
            before.retain(|packet| matches!(packet, Packet::Publish(publish) if publish.topic == *topic));
            assert_eq!(before.len(), usize::from(*matches), "{filter} and {topic} in {version:?}");
        }
    }
}

#[tokio::test]
async fn topic_names_are_delivered_byte_for_byte() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "bytes").await;
        client.subscribe("#", 0).await;
        let topics = [
            "\u{feff}",
            "\u{feff}start",
            "middle\u{feff}end",
            "e\u{301}",
            "\u{212b}",
            "\u{10fffd}",
            " ",
            " / ",
            "//",
            "a/../b",
            "%00",
            "A",
            "a",
        ];
        for topic in topics {
            client.publish(topic, "x", 0).await;
            assert_eq!(client.expect_message().await.topic.as_bytes(), topic.as_bytes());
        }
    }
}

#[tokio::test]
async fn wildcards_in_topic_names_are_refused() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("#", 0).await;
        for topic in ["#", "+", "a/#", "a/+/b", "a#", "+a", "a+b"] {
            let mut client = gateway.client(version, "wildcards").await;
            client.send(&wire::publish(version, topic, b"x", 0, 0, &[])).await;
            client.expect_disconnected(&[0x81, 0x82, 0x90]).await;
        }
        watcher.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn misplaced_wildcards_in_filters_are_refused() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for filter in ["a#", "#a", "a/#/b", "#/", "#/a", "##", "a+", "+a", "a/+b/c", "a/b+", "++", "a/++"] {
            let mut client = gateway.client(version, "misplaced").await;
            client.send(&wire::subscribe(version, 1, &[(filter, 0)], &[])).await;
            match client.next().await {
                Some(Packet::Suback(suback)) => {
                    assert_eq!(suback.codes, [if version.is_5() { 0x8f } else { 0x80 }], "{filter}");
                }
                Some(Packet::Disconnect(reason)) => assert_eq!(reason.code, 0x8f, "{filter}"),
                None => assert!(!version.is_5(), "{filter}: closed without a word"),
                other => panic!("{filter}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn empty_topics_and_filters_are_refused() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "empty-topic").await;
        client.send(&wire::publish(version, "", b"x", 0, 0, &[])).await;
        client.expect_disconnected(&[0x81, 0x82, 0x90]).await;

        let mut client = gateway.client(version, "empty-filter").await;
        client.send(&wire::subscribe(version, 1, &[("", 0)], &[])).await;
        match client.next().await {
            Some(Packet::Suback(suback)) => assert!(suback.codes[0] >= 0x80),
            Some(Packet::Disconnect(reason)) => assert!(matches!(reason.code, 0x81 | 0x82 | 0x8f)),
            None => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn ill_formed_text_in_topic_names_ends_the_connection() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        for bad in [
            &b"a\x80"[..],
            b"\xff",
            b"\xc3",
            b"\xc0\x80",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"a\0b",
            b"\0",
        ] {
            let mut body = Vec::new();
            put_binary(bad, &mut body);
            if version.is_5() {
                put_properties(&[], &mut body);
            }
            let mut client = gateway.client(version, "ill-formed").await;
            client.send(&frame(0x30, &body)).await;
            client.expect_disconnected(&[0x81, 0x82, 0x90]).await;
        }
    }
}

#[tokio::test]
async fn topics_and_filters_of_65535_bytes_work() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "longest").await;
        let topic = "t".repeat(65_535);
        assert_eq!(client.subscribe(&topic, 1).await, 1);
        client.publish(&topic, "x", 1).await;
        assert_eq!(client.expect_message().await.topic, topic);
        client.unsubscribe(&[&topic]).await;
    }
}

#[tokio::test]
async fn limits_on_topics_are_enforced() {
    let gateway = TestGateway::with(|config| {
        config.mqtt.topic_levels_max = 3;
        config.mqtt.topic_bytes_max = 20;
    })
    .await;
    let mut client = gateway.client(Version::V5, "limits").await;
    assert_eq!(client.subscribe_all(&[("a/b/c", 0), ("a/b/c/d", 0), (&"x".repeat(21), 0)], &[]).await, [0, 0x8f, 0x8f]);
    client.send(&wire::publish(Version::V5, "a/b/c/d", b"x", 1, 1, &[])).await;
    match client.packet().await {
        Packet::Puback(ack) => assert_eq!(ack.code, 0x90),
        Packet::Disconnect(reason) => assert_eq!(reason.code, 0x90),
        other => panic!("{other:?}"),
    }
}
