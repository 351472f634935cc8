//! What many clients may have together: places of a user and of a namespace, and what they may send.

use thingway::{
    bus::Counter,
    config::{AccessAttribute, ClientRate, Config, OrInfinity},
};
use thingway_mqtt_sn::packet::{ReturnCode, TopicRef};

use crate::{
    coap::Coap,
    common::{Client, Connect, TestGateway, Version, wire},
    gateway_with,
    mqtt_sn::MqttSn,
};

/// The namespace is what comes before the dash in a client id.
fn namespaces(config: &mut Config) {
    let value = "regex_extract(clientid, '^([a-z]+)-')".into();
    config.access.attributes = vec![AccessAttribute { name: "tenant".into(), value }];
    config.access.quota.namespace = "tenant".into();
}

fn user(version: Version, client_id: &str, name: &str) -> Connect {
    Connect { username: Some(name.into()), ..Connect::new(version, client_id) }
}

async fn try_connect(gateway: &TestGateway, connect: &Connect) -> (Client, u8) {
    let mut client = gateway.open(connect.version).await;
    client.send(&connect.bytes()).await;
    let code = client.connack().await.code;
    (client, code)
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let gateway = gateway_with(|config| config.access.quota.connections_per_user = OrInfinity::Finite(1)).await;
    let bob = |version, id| user(version, id, "bob");
    let (first, code) = try_connect(&gateway, &bob(Version::V5, "1")).await;
    assert_eq!(code, 0);
    assert_eq!(try_connect(&gateway, &bob(Version::V5, "2")).await.1, 0x97);
    assert_eq!(try_connect(&gateway, &bob(Version::V311, "2")).await.1, 3);
    assert_eq!(try_connect(&gateway, &user(Version::V5, "3", "eve")).await.1, 0, "another user");
    let (mut anonymous, code) = try_connect(&gateway, &Connect::new(Version::V5, "4")).await;
    assert_eq!(code, 0, "who has no name has no quota");
    anonymous.ping().await;
    let (again, code) = try_connect(&gateway, &bob(Version::V5, "1")).await;
    assert_eq!(code, 0, "the same client comes again");
    assert_eq!(gateway.gateway().bus().counters().total(Counter::ClientQuota), 2);
    drop((first, again));
    // Its place is free when the gateway has seen that it is gone.
    while try_connect(&gateway, &bob(Version::V5, "2")).await.1 != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_namespace_has_so_many_connections_in_all_protocols() {
    let gateway = gateway_with(|config| {
        namespaces(config);
        config.access.quota.connections_per_namespace = OrInfinity::Finite(3);
    })
    .await;
    let mut mqtt = gateway.client(Version::V5, "a-1").await;
    let mut sn = MqttSn::open(&gateway).await;
    sn.connect_as("a-2", true).await;
    let mut coap = Coap::open(&gateway).await;
    coap.open_connection("a-3").await;
    assert_eq!(try_connect(&gateway, &Connect::new(Version::V5, "a-4")).await.1, 0x97);
    let mut other = MqttSn::open(&gateway).await;
    assert_eq!(other.try_connect("a-5", true).await, ReturnCode::Congestion);
    assert_eq!(try_connect(&gateway, &Connect::new(Version::V5, "b-1")).await.1, 0);
    assert_eq!(try_connect(&gateway, &Connect::new(Version::V5, "none")).await.1, 0);
    mqtt.ping().await;
    sn.disconnect().await;
    while try_connect(&gateway, &Connect::new(Version::V5, "a-4")).await.1 != 0 {
        tokio::task::yield_now().await;
    }
}

fn rate(messages: &str, burst: u32) -> ClientRate {
    ClientRate {
        messages: OrInfinity::Finite(messages.parse().expect("a rate")),
        messages_burst: burst,
        ..ClientRate::default()
    }
}

#[tokio::test]
async fn a_namespace_is_slowed_down_and_loses_nothing() {
    let gateway = gateway_with(|config| {
        namespaces(config);
        config.access.quota.namespace_rate = rate("1000/s", 5);
    })
    .await;
    let limited = || gateway.gateway().bus().counters().total(Counter::RateLimited);
    let mut free = gateway.client(Version::V5, "none").await;
    free.subscribe("x", 0).await;
    let burst: Vec<u8> = (0..10).flat_map(|_| wire::publish(Version::V5, "x", b"x", 0, 0, &[])).collect();
    free.send(&burst).await;
    for _ in 0..10 {
        free.expect_publish().await;
    }
    assert_eq!(limited(), 0, "it is in no namespace");
    for id in ["a-1", "a-2"] {
        let mut client = gateway.client(Version::V5, id).await;
        client.send(&burst).await;
        for _ in 0..10 {
            free.expect_publish().await;
        }
        client.ping().await;
    }
    assert!(limited() > 0);
}

#[tokio::test]
async fn all_clients_of_a_listener_are_refused_together_over_datagrams() {
    let gateway = gateway_with(|config| {
        for listener in config.listeners.udp.values_mut() {
            listener.total_rate = rate("1/h", 3);
        }
    })
    .await;
    let mut one = Coap::open(&gateway).await;
    one.open_connection("1").await;
    let mut two = Coap::open(&gateway).await;
    two.open_connection("2").await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(one.put("x", b"x", &[]).await.code);
        codes.push(two.put("x", b"x", &[]).await.code);
    }
    assert_eq!(codes, [204, 204, 204, 429, 429, 429]);
    let mut sn = MqttSn::open(&gateway).await;
    sn.connect_as("n", true).await;
    let id = sn.register("topic").await;
    for expected in [ReturnCode::Accepted; 3].into_iter().chain([ReturnCode::Congestion; 2]) {
        assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, expected, "each listener has its own");
    }
}
