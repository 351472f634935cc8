//! What becomes of topics on their way to the bus and back: mount points, rewriting, subscriptions that nobody asked for; and the attributes that they go by.

use thingway::config::{AccessAttribute, AccessRule, AutoSubscribe, Config, RuleAction, RulePermission, TopicRewrite};
use thingway_mqtt_sn::packet::{ReturnCode, TopicName, TopicRef};

use crate::{
    coap::Coap,
    common::{Client, Connect, Property, TestGateway, Version, wire},
    gateway_with,
    mqtt_sn::MqttSn,
};

fn attribute(name: &str, value: &str) -> AccessAttribute {
    AccessAttribute { name: name.into(), value: value.into() }
}

/// The tenant is what comes before the dash in a client id. Listener `tcp.plain` is mounted nowhere.
fn mount(config: &mut Config) {
    config.access.attributes = vec![attribute("tenant", "nth(1, tokens(clientid, '-'))")];
    let plain = config.listeners.tcp["default"].clone();
    let listeners = &mut config.listeners;
    for listener in listeners.tcp.values_mut().chain(listeners.udp.values_mut()) {
        listener.mountpoint = "t/${client_attrs.tenant}/".into();
    }
    listeners.tcp.insert("plain".into(), plain);
}

async fn plain(gateway: &TestGateway, client_id: &str) -> Client {
    Client::connect(gateway.listener("tcp.plain"), &Connect::new(Version::V5, client_id)).await.0
}

async fn refusal(gateway: &TestGateway, connect: &Connect) -> u8 {
    let mut client = gateway.open(connect.version).await;
    client.send(&connect.bytes()).await;
    client.connack().await.code
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let gateway = gateway_with(|config| {
        mount(config);
        config.mqtt.exclusive_subscription = true;
    })
    .await;
    let mut all = plain(&gateway, "all").await;
    assert_eq!(all.subscribe("t/a/#", 1).await, 1);
    let mut neighbour = gateway.client(Version::V5, "b-2").await;
    for version in [Version::V311, Version::V5] {
        let mut one = gateway.client(version, "a-1").await;
        let mut two = gateway.client(version, "a-2").await;
        let mut other = gateway.client(version, "b-1").await;
        assert_eq!(two.subscribe_all(&[("#", 1), ("$exclusive/only", 1)], &[]).await, [1, 1]);
        assert_eq!(other.subscribe_all(&[("#", 1), ("t/a/#", 1), ("$exclusive/only", 1)], &[]).await, [1, 1, 1]);
        for topic in ["x/y", "$delayed/0/late", "only"] {
            one.publish(topic, "hello", 1).await;
            let expected = topic.trim_start_matches("$delayed/0/");
            let seen = two.expect_message().await;
            assert_eq!((seen.topic.as_str(), seen.text()), (expected, "hello"), "{topic}");
            assert_eq!(all.expect_message().await.topic, format!("t/a/{expected}"));
        }
        other.expect_nothing(&mut neighbour).await;
        two.unsubscribe(&["#", "$exclusive/only"]).await;
        one.publish("x/y", "again", 1).await;
        assert_eq!(all.expect_message().await.text(), "again");
        two.expect_nothing(&mut one).await;
        assert!(all.expect_message().await.topic.starts_with("t/a/fence/"));
        two.disconnect().await;
        other.disconnect().await;
    }
}

#[tokio::test]
async fn shared_retained_and_wills_are_mounted_too() {
    let gateway = gateway_with(mount).await;
    let mut all = plain(&gateway, "all").await;
    all.subscribe("t/#", 1).await;
    let mut member = gateway.client(Version::V5, "a-1").await;
    assert_eq!(member.subscribe("$share/g/jobs", 1).await, 1);
    let mut stranger = gateway.client(Version::V5, "b-1").await;
    assert_eq!(stranger.subscribe("$share/g/jobs", 1).await, 1);
    let willing = Connect::new(Version::V5, "a-2").will("gone", "will", 1, false);
    let (mut willing, _) = gateway.connect(&willing).await;
    for number in 0..4 {
        willing.publish("jobs", &number.to_string(), 1).await;
        assert_eq!(member.expect_message().await.topic, "jobs", "its tenant's group has no other member");
        all.expect_message().await;
    }
    willing.retain("state", "on", 1).await;
    assert_eq!(all.expect_message().await.topic, "t/a/state");
    member.subscribe("+", 1).await;
    let retained = member.expect_message().await;
    assert_eq!((retained.topic.as_str(), retained.retain), ("state", true));
    willing.cut();
    assert_eq!(member.expect_message().await.topic, "gone");
    assert_eq!(all.expect_message().await.topic, "t/a/gone");
    let mut neighbour = gateway.client(Version::V5, "b-2").await;
    stranger.expect_nothing(&mut neighbour).await;
}

#[tokio::test]
async fn every_protocol_is_mounted() {
    let gateway = gateway_with(mount).await;
    let mut all = plain(&gateway, "all").await;
    all.subscribe("t/#", 1).await;
    let mut mqtt = gateway.client(Version::V5, "a-mqtt").await;
    mqtt.subscribe("by/#", 1).await;
    let mut sn = MqttSn::open(&gateway).await;
    sn.connect_as("a-node", true).await;
    assert_eq!(sn.try_subscribe(TopicName::Name("for/#"), 1).await, Ok(1));
    let id = sn.register("by/node").await;
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, ReturnCode::Accepted);
    assert_eq!(mqtt.expect_message().await.topic, "by/node");
    assert_eq!(all.expect_message().await.topic, "t/a/by/node");
    let mut coap = Coap::open(&gateway).await;
    coap.open_connection("a-coap").await;
    assert_eq!(coap.put("by/coap", b"y", &["retain=true"]).await.code, 204);
    assert_eq!(mqtt.expect_message().await.topic, "by/coap");
    assert_eq!(all.expect_message().await.topic, "t/a/by/coap");
    assert_eq!(coap.get("by/coap").await.text(), "y");
    let mut stranger = Coap::open(&gateway).await;
    stranger.open_connection("b-coap").await;
    assert_eq!(stranger.get("by/coap").await.code, 404);
    assert_eq!(coap.observe("by/coap", &["qos=1"]).await.text(), "y");
    mqtt.publish("for/all", "z", 1).await;
    assert_eq!(sn.expect_message().await.topic, "for/all");
    mqtt.publish("by/coap", "new", 1).await;
    let (topic, seen) = coap.notification().await;
    assert_eq!((topic.as_str(), seen.text()), ("by/coap", "new"));
}

#[tokio::test]
async fn who_has_no_mount_point_is_refused() {
    let gateway = gateway_with(|config| {
        mount(config);
        config.access.attributes.push(attribute("mountpoint", "user_property.mount"));
    })
    .await;
    let connect = |id: &str, mount: Option<&str>| {
        let connect = Connect::new(Version::V5, id);
        match mount {
            Some(mount) => connect.property(Property::User("mount".into(), mount.into())),
            None => connect,
        }
    };
    for (id, own, code) in [
        ("a-1", None, 0),
        ("--", None, 0x87),
        ("a/b-1", None, 0x87),
        ("+-1", None, 0x87),
        ("#-1", None, 0x87),
        ("--", Some("own/"), 0),
        ("a-1", Some("own/+/"), 0x87),
        ("a-1", Some("#"), 0x87),
    ] {
        assert_eq!(refusal(&gateway, &connect(id, own)).await, code, "{id} {own:?}");
    }
    let mut sn = MqttSn::open(&gateway).await;
    assert_eq!(sn.try_connect("--", true).await, ReturnCode::NotSupported);
    // Its own counts before the listener's.
    let mut all = plain(&gateway, "all").await;
    all.subscribe("#", 0).await;
    let (mut own, _) = gateway.connect(&connect("a-2", Some("own/"))).await;
    own.publish("x", "x", 1).await;
    assert_eq!(all.expect_message().await.topic, "own/x");
}

#[tokio::test]
async fn kept_sessions_stay_where_they_were_mounted() {
    let gateway = gateway_with(|config| {
        mount(config);
        config.access.attributes = vec![attribute("tenant", "user_property.tenant")];
    })
    .await;
    let connect = |id: &str, tenant: &str| {
        Connect::new(Version::V5, id).persistent().property(Property::User("tenant".into(), tenant.into()))
    };
    let (mut client, connack) = gateway.connect(&connect("c", "a")).await;
    assert!(!connack.session_present);
    client.subscribe("x/#", 1).await;
    client.disconnect().await;
    let (mut publisher, _) = gateway.connect(&connect("p", "a")).await;
    publisher.publish("x/1", "kept", 1).await;
    let (mut client, connack) = gateway.connect(&connect("c", "a")).await;
    assert!(connack.session_present);
    let seen = client.expect_publish().await;
    assert_eq!((seen.topic.as_str(), seen.text()), ("x/1", "kept"));
    // It was not acknowledged, and comes again under its own name.
    client.cut();
    let (mut client, _) = gateway.connect(&connect("c", "a")).await;
    let again = client.expect_message().await;
    assert_eq!((again.topic.as_str(), again.text()), ("x/1", "kept"));
    client.disconnect().await;
    publisher.publish("x/1", "not for others", 1).await;
    // Below another mount point it is another client, who begins anew.
    let (mut client, connack) = gateway.connect(&connect("c", "b")).await;
    assert!(!connack.session_present);
    publisher.publish("x/1", "nor this", 1).await;
    let (mut neighbour, _) = gateway.connect(&connect("n", "b")).await;
    client.expect_nothing(&mut neighbour).await;
}

/// Without subscriptions a session is anybody's who has its name, but not what was sent to whom it was before.
#[tokio::test]
async fn what_was_sent_to_one_tenant_is_not_sent_again_to_another() {
    let gateway = gateway_with(|config| {
        mount(config);
        config.access.attributes = vec![attribute("tenant", "user_property.tenant")];
    })
    .await;
    let connect = |id: &str, tenant: &str| {
        Connect::new(Version::V5, id).persistent().property(Property::User("tenant".into(), tenant.into()))
    };
    for qos in [1, 2] {
        let (mut client, _) = gateway.connect(&connect("c", "a").clean(true)).await;
        client.subscribe("x", qos).await;
        let (mut publisher, _) = gateway.connect(&connect("p", "a")).await;
        publisher.publish("x", "for a alone", qos).await;
        assert_eq!(client.expect_publish().await.text(), "for a alone");
        assert_eq!(client.unsubscribe(&["x"]).await, [0]);
        client.cut();
        let (mut client, _) = gateway.connect(&connect("c", "b")).await;
        let (mut neighbour, _) = gateway.connect(&connect("n", "b")).await;
        client.expect_nothing(&mut neighbour).await;
        client.disconnect().await;
    }
}

fn allow(topics: &[&str]) -> AccessRule {
    AccessRule {
        permission: RulePermission::Allow,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..AccessRule::default()
    }
}

#[tokio::test]
async fn rules_are_about_topics_without_mount_point_or_with_it() {
    for (include, topic) in [(false, "open/#"), (true, "t/a/open/#")] {
        let gateway = gateway_with(|config| {
            mount(config);
            config.access.include_mountpoint = include;
            config.access.rules = vec![allow(&[topic])];
        })
        .await;
        let mut client = gateway.client(Version::V5, "a-1").await;
        assert_eq!(client.subscribe_all(&[("open/x", 1), ("closed", 1), ("#", 0)], &[]).await, [1, 0x87, 0x87]);
        client.publish("open/x", "x", 1).await;
        assert_eq!(client.expect_message().await.topic, "open/x");
        client.publish("$delayed/0/open/x", "x", 1).await;
        assert_eq!(client.expect_message().await.topic, "open/x");
        client.send(&wire::publish(Version::V5, "closed", b"x", 1, 9, &[])).await;
        assert_eq!(client.puback(9).await.code, 0x87);
        let will = |topic| Connect::new(Version::V5, "a-2").will(topic, "x", 0, false);
        assert_eq!(refusal(&gateway, &will("open/x")).await, 0);
        assert_eq!(refusal(&gateway, &will("closed")).await, 0x87);
        let code = refusal(&gateway, &Connect::new(Version::V5, "b-1").will("open/x", "x", 0, false)).await;
        assert_eq!(code, if include { 0x87 } else { 0 }, "of another tenant");
    }
}

#[tokio::test]
async fn topics_are_rewritten() {
    let rewrite = |action, source: &str, pattern: &str, destination: &str| TopicRewrite {
        action,
        source: source.into(),
        pattern: pattern.into(),
        destination: destination.into(),
    };
    let gateway = gateway_with(|config| {
        config.access.rewrite = vec![
            rewrite(RuleAction::All, "old/#", "^old/(.+)$", "new/$1"),
            rewrite(RuleAction::Publish, "up", "^up$", "by/${clientid}/${username}"),
            rewrite(RuleAction::Publish, "bad", "^bad$", "a/#"),
            rewrite(RuleAction::Subscribe, "worse", "^worse$", "a/#/b"),
        ];
        let mut denied = allow(&["new/secret"]);
        denied.permission = RulePermission::Deny;
        config.access.rules = vec![denied, allow(&[])];
    })
    .await;
    let mut all = gateway.client(Version::V5, "all").await;
    assert_eq!(all.subscribe_all(&[("new/x", 1), ("by/#", 1), ("gone", 1)], &[]).await, [1, 1, 1]);
    let connect = Connect::new(Version::V5, "c").username("bob").will("old/x", "will", 1, false);
    let (mut client, _) = gateway.connect(&connect).await;
    assert_eq!(client.subscribe_all(&[("old/x", 1), ("$share/g/old/y", 1), ("worse", 1)], &[]).await, [1, 1, 0x8f]);
    client.publish("old/x", "1", 1).await;
    assert_eq!(all.expect_message().await.topic, "new/x");
    assert_eq!(client.expect_message().await.topic, "new/x");
    client.publish("new/y", "2", 1).await;
    assert_eq!(client.expect_message().await.topic, "new/y");
    client.publish("up", "3", 1).await;
    assert_eq!(all.expect_message().await.topic, "by/c/bob");
    client.send(&wire::publish(Version::V5, "bad", b"x", 1, 9, &[])).await;
    assert_eq!(client.puback(9).await.code, 0x90, "what it becomes is no topic");
    client.send(&wire::publish(Version::V5, "old/secret", b"x", 1, 10, &[])).await;
    assert_eq!(client.puback(10).await.code, 0x87, "rules are about what it becomes");
    assert_eq!(client.unsubscribe(&["old/x"]).await, [0]);
    client.cut();
    let will = all.expect_message().await;
    assert_eq!((will.topic.as_str(), will.text()), ("new/x", "will"));
    let denied = Connect::new(Version::V5, "d").will("old/secret", "x", 0, false);
    assert_eq!(refusal(&gateway, &denied).await, 0x87);
}

#[tokio::test]
async fn clients_are_subscribed_without_asking() {
    let auto = |topic: &str| AutoSubscribe { topic: topic.into(), qos: 1, ..AutoSubscribe::default() };
    let gateway = gateway_with(|config| {
        mount(config);
        config.access.auto_subscribe = vec![auto("c/${clientid}/#"), auto("u/${username}"), auto("secret/#")];
        config.access.rules = vec![allow(&["c/#", "u/#", "fence/#"])];
    })
    .await;
    let mut client = gateway.client(Version::V5, "a-1").await;
    let mut other = gateway.client(Version::V311, "a-2").await;
    let (mut named, _) = gateway.connect(&Connect::new(Version::V5, "a-3").username("bob")).await;
    other.publish("c/a-1/x", "for one", 1).await;
    let seen = client.expect_message().await;
    assert_eq!((seen.topic.as_str(), seen.text(), seen.qos), ("c/a-1/x", "for one", 1));
    other.publish("u/bob", "for bob", 1).await;
    assert_eq!(named.expect_message().await.topic, "u/bob");
    let mut plain = plain(&gateway, "all").await;
    plain.publish("c/all/x", "own", 1).await;
    assert_eq!(plain.expect_message().await.topic, "c/all/x");
    client.expect_nothing(&mut other).await;
    assert_eq!(client.unsubscribe(&["c/a-1/#", "secret/#"]).await, [0, 0x11], "what is denied was not subscribed");
    let mut sn = MqttSn::open(&gateway).await;
    sn.connect_as("a-n", true).await;
    other.publish("c/a-n/x", "for a node", 1).await;
    assert_eq!(sn.expect_message().await.topic, "c/a-n/x");
}

#[tokio::test]
async fn attributes_are_made_of_what_a_client_shows() {
    let gateway = gateway_with(|config| {
        config.access.attributes = vec![
            attribute("site", "coalesce(user_property.site, regex_extract(username, '@(.+)$'))"),
            attribute("SITE", "upper(client_attrs.site)"),
        ];
        config.access.rules = vec![
            AccessRule { attribute: "SITE=NORTH".into(), ..allow(&["north/#"]) },
            allow(&["site/${client_attrs.site}"]),
        ];
    })
    .await;
    let of_property = Connect::new(Version::V5, "1").property(Property::User("site".into(), "north".into()));
    let of_name = Connect::new(Version::V311, "2").username("bob@north");
    for connect in [of_property, of_name] {
        let (mut client, _) = gateway.connect(&connect).await;
        let refused = if connect.version.is_5() { 0x87 } else { 0x80 };
        let codes = client.subscribe_all(&[("north/x", 0), ("site/north", 0), ("site/south", 0)], &[]).await;
        assert_eq!(codes, [0, 0, refused]);
    }
    let mut nobody = gateway.client(Version::V5, "3").await;
    assert_eq!(nobody.subscribe("north/x", 0).await, 0x87);
}
