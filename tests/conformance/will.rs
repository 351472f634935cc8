//! Wills, section 3.1.2.5 and the will properties of 5.0, section 3.1.3.2.

use std::time::Instant;

use crate::common::{ALL, BOTH, Connect, Property, TestGateway, Version, wire};

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        watcher.subscribe("will/breaks", 2).await;
        for qos in 0..=2 {
            let connect = Connect::new(version, "breaks").will("will/breaks", "gone", qos, false);
            gateway.connect(&connect).await.0.cut();
            let will = watcher.expect_message().await;
            assert_eq!((will.text(), will.qos, will.retain), ("gone", qos, false));
        }
    }
}

#[tokio::test]
async fn a_will_is_published_when_the_client_breaks_the_protocol() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        watcher.subscribe("will/protocol", 0).await;
        let connect = Connect::new(version, "protocol").will("will/protocol", "gone", 0, false);
        let (mut client, _) = gateway.connect(&connect).await;
        client.send(&[0x00, 0x00]).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
        assert_eq!(watcher.expect_message().await.text(), "gone");
    }
}

#[tokio::test]
async fn a_will_is_published_when_its_session_is_taken_over() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut watcher = gateway.client(version, "watcher").await;
        watcher.subscribe("will/taken-over", 0).await;
        let connect = Connect::new(version, "taken-over-will").will("will/taken-over", "gone", 0, false);
        let (_old, _) = gateway.connect(&connect).await;
        let (new, _) = gateway.connect(&Connect::new(version, "taken-over-will")).await;
        assert_eq!(watcher.expect_message().await.text(), "gone");
        new.disconnect().await;
    }
}

#[tokio::test]
async fn a_will_is_discarded_on_disconnect() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("will/discarded", 0).await;
        let connect = Connect::new(version, "discarded").will("will/discarded", "gone", 0, false);
        gateway.connect(&connect).await.0.disconnect().await;
        watcher.expect_nothing(&mut other).await;
        // It left the session: what breaks now has no will.
        gateway.connect(&Connect::new(version, "discarded").clean(false)).await.0.disconnect().await;
        watcher.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn disconnect_with_will_publishes_it() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/with", 0).await;
    for code in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let connect = Connect::new(Version::V5, "with-will").will("will/with", &code.to_string(), 0, false);
        let (mut client, _) = gateway.connect(&connect).await;
        client.send(&wire::disconnect(Version::V5, code, &[])).await;
        client.expect_closed().await;
        assert_eq!(watcher.expect_message().await.text(), code.to_string());
    }
}

#[tokio::test]
async fn without_a_will_nothing_is_published() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("#", 0).await;
        let (mut client, _) = gateway.connect(&Connect::new(version, "without")).await;
        client.send(&[0x00, 0x00]).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
        watcher.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn a_published_will_is_published_once() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("will/once", 0).await;
        let connect = Connect::new(version, &version.id("once")).persistent().will("will/once", "gone", 0, false);
        gateway.connect(&connect).await.0.cut();
        assert_eq!(watcher.expect_message().await.text(), "gone");
        // The session is resumed without a will, and breaks again.
        let (mut client, connack) = gateway.connect(&Connect::new(version, &version.id("once")).persistent()).await;
        assert!(connack.session_present);
        client.send(&[0x00, 0x00]).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
        watcher.expect_nothing(&mut other).await;
        gateway.connect(&Connect::new(version, &version.id("once"))).await.0.disconnect().await;
    }
}

#[tokio::test]
async fn will_retain_decides_whether_it_is_kept() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for retain in [false, true] {
            let topic = format!("will/retain/{retain}");
            let mut watcher = gateway.client(version, "watcher").await;
            watcher.subscribe(&topic, 1).await;
            let connect = Connect::new(version, "retains-will").will(&topic, "gone", 1, retain);
            gateway.connect(&connect).await.0.cut();
            assert!(!watcher.expect_message().await.retain, "to those who were subscribed");
            let mut late = gateway.client(version, "late").await;
            let mut other = gateway.client(version, "other").await;
            late.subscribe(&topic, 1).await;
            if retain {
                let will = late.expect_message().await;
                assert_eq!((will.text(), will.retain), ("gone", true));
                other.retain(&topic, "", 0).await;
            } else {
                late.expect_nothing(&mut other).await;
            }
        }
    }
}

#[tokio::test]
async fn a_will_waits_for_its_delay() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/delay", 0).await;
    let connect = Connect::new(Version::V5, "delays")
        .property(Property::SessionExpiry(600))
        .will("will/delay", "gone", 0, false)
        .will_property(Property::WillDelay(2));
    let (client, _) = gateway.connect(&connect).await;
    let cut = Instant::now();
    client.cut();
    assert_eq!(watcher.expect_message().await.text(), "gone");
    let delay = cut.elapsed().as_secs_f32();
    assert!((1.9..5.0).contains(&delay), "published after {delay} s instead of 2");
}

#[tokio::test]
async fn a_will_comes_with_the_end_of_the_session_if_that_is_earlier() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/session-end", 0).await;
    let connect = Connect::new(Version::V5, "ends")
        .will("will/session-end", "at once", 0, false)
        .will_property(Property::WillDelay(600));
    gateway.connect(&connect).await.0.cut();
    assert_eq!(watcher.expect_message().await.text(), "at once", "a session without expiry");

    let lasting = connect.property(Property::SessionExpiry(600));
    gateway.connect(&lasting).await.0.cut();
    gateway.connect(&Connect::new(Version::V5, "ends")).await.0.disconnect().await;
    assert_eq!(watcher.expect_message().await.text(), "at once", "a clean start ends the session");
}

#[tokio::test]
async fn a_reconnect_within_the_delay_cancels_the_will() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/cancelled/#", 0).await;
    let delayed = |id: &str, seconds| {
        Connect::new(Version::V5, id)
            .clean(false)
            .property(Property::SessionExpiry(600))
            .will(&format!("will/cancelled/{id}"), "gone", 0, false)
            .will_property(Property::WillDelay(seconds))
    };
    gateway.connect(&delayed("returns", 1)).await.0.cut();
    let (mut returned, connack) = gateway.connect(&delayed("returns", 1)).await;
    assert!(connack.session_present);
    // Another will with the longer delay is the proof that this one's time is over.
    gateway.connect(&delayed("stays-away", 2)).await.0.cut();
    assert_eq!(watcher.expect_message().await.topic, "will/cancelled/stays-away");
    watcher.expect_nothing(&mut returned).await;
}

#[tokio::test]
async fn a_take_over_cancels_a_delayed_will_unless_it_ends_the_session() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/moved/#", 0).await;
    for (delay, clean, published) in [(600, false, false), (600, true, true), (0, false, true)] {
        let connect = Connect::new(Version::V5, "moved")
            .clean(clean)
            .property(Property::SessionExpiry(600))
            .will(&format!("will/moved/{delay}/{clean}"), "gone", 0, false)
            .will_property(Property::WillDelay(delay));
        let (mut old, _) = gateway.connect(&connect).await;
        let (mut new, _) = gateway.connect(&Connect::new(Version::V5, "moved").clean(clean)).await;
        old.expect_disconnected(&[0x8e]).await;
        if published {
            assert_eq!(watcher.expect_message().await.topic, format!("will/moved/{delay}/{clean}"));
        }
        watcher.expect_nothing(&mut new).await;
        new.disconnect().await;
    }
}

#[tokio::test]
async fn will_properties_are_published() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("will/properties", 1).await;
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("a", "2")];
    let mut connect = Connect::new(Version::V5, "properties")
        .will("will/properties", "gone", 1, false)
        .will_property(Property::PayloadFormat(1))
        .will_property(Property::MessageExpiry(600))
        .will_property(Property::ContentType("text/plain".into()))
        .will_property(Property::ResponseTopic("answers/here".into()))
        .will_property(Property::CorrelationData(vec![0, 1, 255]));
    for (name, value) in pairs {
        connect = connect.will_property(Property::User(name.into(), value.into()));
    }
    gateway.connect(&connect).await.0.cut();
    let will = watcher.expect_message().await;
    for property in [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("answers/here".into()),
        Property::CorrelationData(vec![0, 1, 255]),
    ] {
        assert!(will.properties.contains(&property), "{property:?} in {will:?}");
    }
    assert!(matches!(will.message_expiry(), Some(595..=600)), "{will:?}");
    let users: Vec<_> = will
        .properties
        .iter()
        .filter_map(|property| match property {
            Property::User(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(users, pairs, "in their order");
    assert!(!will.properties.iter().any(|property| matches!(property, Property::WillDelay(_))));
}
