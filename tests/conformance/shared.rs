//! Shared subscriptions, section 4.8.2.

use crate::common::{BOTH, Client, Connect, Packet, Property, Publish, TestGateway, Version, subscribe, wire};

#[tokio::test]
async fn a_message_goes_to_one_member_of_each_group() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut members = Vec::new();
        for (id, filter) in [
            ("a1", "$share/a/spread/#"),
            ("a2", "$share/a/spread/#"),
            ("b1", "$share/b/spread/+"),
            ("b2", "$share/b/spread/+"),
            ("c1", "spread/#"),
        ] {
            let mut client = gateway.client(version, id).await;
            client.subscribe(filter, 1).await;
            members.push((id, client));
        }
        for number in 0..40 {
            publisher.publish("spread/x", &number.to_string(), 1).await;
        }
        let mut seen = std::collections::BTreeMap::<&str, Vec<u32>>::new();
        for (id, client) in &mut members {
            for packet in client.until_fence(&mut publisher).await {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                assert_eq!(publish.topic, "spread/x");
                client.acknowledge(&publish).await;
                seen.entry(&id[..1]).or_default().push(publish.text().parse().expect("a number"));
            }
        }
        let everything: Vec<u32> = (0..40).collect();
        for group in ["a", "b", "c"] {
            let mut numbers = seen.remove(group).unwrap_or_default();
            numbers.sort_unstable();
            assert_eq!(numbers, everything, "group {group}");
        }
    }
}

#[tokio::test]
async fn malformed_share_names_are_refused() {
    let gateway = TestGateway::start().await;
    for filter in
        ["$share", "$share/", "$share//a", "$share/group", "$share/group/", "$share/g+/a", "$share/g#/a", "$share/+/a"]
    {
        let mut client = gateway.client(Version::V5, "share-names").await;
        client.send(&subscribe(Version::V5, 1, &[(filter, 0)], &[])).await;
        match client.packet().await {
            Packet::Suback(suback) => assert_eq!(suback.codes, [0x8f], "{filter}"),
            Packet::Disconnect(reason) => assert!(matches!(reason.code, 0x82 | 0x8f), "{filter}: {reason:?}"),
            other => panic!("{filter}: {other:?}"),
        }
    }
    let mut client = gateway.client(Version::V5, "share-names").await;
    for filter in ["$share/g/a", "$share/ /a", "$share/$share/a", "$share/g//", "$share/g/#", "$share/\u{65e5}/+"] {
        assert_eq!(client.subscribe(filter, 1).await, 1, "{filter}");
    }
}

#[tokio::test]
async fn wildcards_of_a_share_do_not_take_topics_with_a_dollar_sign() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut member = gateway.client(Version::V5, "member").await;
    member.subscribe_all(&[("$share/g/#", 0), ("$share/g/+/x", 0), ("$share/h/$other/+", 0)], &[]).await;
    publisher.publish("$other/x", "x", 0).await;
    assert_eq!(member.expect_message().await.topic, "$other/x");
    publisher.publish("plain/x", "x", 0).await;
    let topics: Vec<_> =
        publishes(&mut member, &mut publisher).await.into_iter().map(|publish| publish.topic).collect();
    // The fence goes to "$share/g/#" as well, before or after the fence itself.
    assert_eq!(topics.iter().filter(|topic| *topic == "plain/x").count(), 2, "{topics:?}");
    assert!(!topics.contains(&"$other/x".into()), "{topics:?}");
}

#[tokio::test]
async fn members_get_their_own_granted_qos() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut low = gateway.client(Version::V5, "low").await;
    let mut high = gateway.client(Version::V5, "high").await;
    low.subscribe("$share/g/granted", 0).await;
    high.subscribe("$share/g/granted", 2).await;
    for _ in 0..20 {
        publisher.publish("granted", "x", 2).await;
    }
    let mut counts = [0, 0];
    for (number, (client, qos)) in [(&mut low, 0), (&mut high, 2)].into_iter().enumerate() {
        for publish in publishes(client, &mut publisher).await {
            assert_eq!(publish.qos, qos);
            client.acknowledge(&publish).await;
            counts[number] += 1;
        }
    }
    assert_eq!(counts.iter().sum::<u32>(), 20);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn a_qos_2_delivery_is_completed_with_the_member_that_got_it() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let persistent = Connect::new(version, &version.id("got-it")).persistent();
        let (mut first, _) = gateway.connect(&persistent).await;
        first.subscribe("$share/g/completed", 2).await;
        publisher.publish("completed", "x", 2).await;
        let begun = first.expect_publish().await;
        let mut second = gateway.client(version, "second").await;
        second.subscribe("$share/g/completed", 2).await;
        first.cut();
        let (mut first, connack) = gateway.connect(&persistent).await;
        assert!(connack.session_present);
        let again = first.expect_publish().await;
        assert_eq!((again.packet_id, again.dup), (begun.packet_id, true));
        first.acknowledge(&again).await;
        second.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_qos_2_delivery_whose_session_ends_goes_to_nobody_else() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut first = gateway.client(version, "first").await;
        first.subscribe("$share/g/ends", 2).await;
        publisher.publish("ends", "x", 2).await;
        let begun = first.expect_publish().await;
        assert_eq!(begun.qos, 2);
        let mut second = gateway.client(version, "second").await;
        second.subscribe("$share/g/ends", 2).await;
        // Clean, so that the session ends with the connection.
        first.disconnect().await;
        second.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn a_qos_1_delivery_whose_session_ends_goes_to_another_member() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut first = gateway.client(version, "first").await;
        first.subscribe("$share/g/moves-on", 1).await;
        publisher.publish("moves-on", "x", 1).await;
        first.expect_publish().await;
        let mut second = gateway.client(version, "second").await;
        second.subscribe("$share/g/moves-on", 1).await;
        first.disconnect().await;
        assert_eq!(second.expect_message().await.text(), "x");
    }
}

#[tokio::test]
async fn a_delivery_that_a_member_refuses_goes_to_nobody_else() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut first = gateway.client(Version::V5, "first").await;
    let mut second = gateway.client(Version::V5, "second").await;
    first.subscribe("$share/g/refused", 2).await;
    publisher.publish("refused", "one", 1).await;
    publisher.publish("refused", "two", 2).await;
    let one = first.expect_publish().await;
    let two = first.expect_publish().await;
    second.subscribe("$share/g/refused", 2).await;
    first.send(&wire::ack(0x40, one.packet_id, 0x80)).await;
    first.send(&wire::ack(0x50, two.packet_id, 0x97)).await;
    first.expect_nothing(&mut publisher).await;
    second.expect_nothing(&mut publisher).await;
    first.disconnect().await;
    second.expect_nothing(&mut publisher).await;
}

#[tokio::test]
async fn unsubscribing_leaves_the_group_to_the_others() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut publisher = gateway.client(version, "publisher").await;
        let mut first = gateway.client(version, "first").await;
        let mut second = gateway.client(version, "second").await;
        first.subscribe("$share/g/leaves", 1).await;
        second.subscribe("$share/g/leaves", 1).await;
        first.unsubscribe(&["$share/g/leaves"]).await;
        for number in 0..10 {
            publisher.publish("leaves", &number.to_string(), 1).await;
        }
        assert_eq!(publishes(&mut second, &mut publisher).await.len(), 10);
        first.expect_nothing(&mut publisher).await;
    }
}

#[tokio::test]
async fn shared_and_own_subscriptions_of_one_client_are_two() {
    let gateway = TestGateway::start().await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let mut client = gateway.client(Version::V5, "both").await;
    client.subscribe_all(&[("$share/g/both", 1)], &[Property::SubscriptionId(1)]).await;
    client.subscribe_all(&[("both", 1)], &[Property::SubscriptionId(2)]).await;
    publisher.publish("both", "x", 1).await;
    let mut ids = Vec::new();
    for publish in publishes(&mut client, &mut publisher).await {
        client.acknowledge(&publish).await;
        ids.extend(publish.subscription_ids());
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(client.unsubscribe(&["both", "$share/g/both", "$share/h/both"]).await, [0, 0, 0x11]);
}

async fn publishes(client: &mut Client, other: &mut Client) -> Vec<Publish> {
    client
        .until_fence(other)
        .await
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        })
        .collect()
}
