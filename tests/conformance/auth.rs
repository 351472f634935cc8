//! Enhanced authentication, section 4.12 of 5.0, as far as a gateway without methods answers it. The exchange itself is
//! tested at the protocol's machine.

use crate::common::{Connect, Packet, Property, TestGateway, Version, publish, wire};

#[tokio::test]
async fn an_unknown_method_is_refused() {
    let gateway = TestGateway::start().await;
    for properties in [
        vec![Property::AuthMethod("unknown".into())],
        vec![Property::AuthMethod("unknown".into()), Property::AuthData(vec![1, 2, 3])],
        vec![Property::AuthMethod(String::new())],
    ] {
        let mut connect = Connect::new(Version::V5, "unknown-method");
        connect.properties = properties;
        let mut client = gateway.open(Version::V5).await;
        client.send(&connect.bytes()).await;
        client.expect_refused(None, &[0x8c]).await;
    }
}

#[tokio::test]
async fn auth_without_a_method_in_connect_is_a_protocol_error() {
    let gateway = TestGateway::start().await;
    for packet in [
        wire::auth(0x18, &[Property::AuthMethod("m".into())]),
        wire::auth(0x19, &[Property::AuthMethod("m".into()), Property::AuthData(vec![1])]),
        wire::auth(0x00, &[]),
        wire::frame(0xf0, &[]),
    ] {
        let mut client = gateway.client(Version::V5, "no-method").await;
        client.send(&packet).await;
        client.expect_disconnected(&[0x82]).await;
    }
}

#[tokio::test]
async fn without_a_method_the_gateway_sends_none() {
    let gateway = TestGateway::start().await;
    let (mut client, connack) = gateway.connect(&Connect::new(Version::V5, "plain").username("u").password("p")).await;
    let methods = |properties: &[Property]| {
        properties.iter().any(|property| matches!(property, Property::AuthMethod(_) | Property::AuthData(_)))
    };
    assert!(!methods(&connack.properties), "{connack:?}");
    client.subscribe("plain", 2).await;
    client.publish("plain", "x", 1).await;
    client.ping().await;
    assert!(client.early().iter().all(|packet| !matches!(packet, Packet::Auth(_))));
}

#[tokio::test]
async fn packets_during_authentication_are_not_processed() {
    let gateway = TestGateway::start().await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    let mut other = gateway.client(Version::V5, "other").await;
    watcher.subscribe("during/auth", 0).await;
    let mut connect = Connect::new(Version::V5, "during-auth");
    connect.properties.push(Property::AuthMethod("unknown".into()));
    let mut bytes = connect.bytes();
    bytes.extend_from_slice(&publish(Version::V5, "during/auth", b"x", 0, 0, &[]));
    let mut client = gateway.open(Version::V5).await;
    client.send(&bytes).await;
    match client.next().await {
        Some(Packet::Connack(connack)) => assert!(connack.code >= 0x80),
        None => {}
        other => panic!("{other:?}"),
    }
    client.expect_closed().await;
    watcher.expect_nothing(&mut other).await;
}

#[tokio::test]
async fn auth_does_not_exist_before_5() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.client(Version::V311, "no-auth").await;
    client.send(&wire::auth(0x18, &[])).await;
    client.expect_disconnected(&[]).await;
}
