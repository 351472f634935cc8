//! DISCONNECT, PINGREQ and the end of connections, sections 3.12 to 3.14 and 4.13.

use crate::common::{ALL, BOTH, Connect, Packet, Property, TestGateway, Version, publish, wire};

#[tokio::test]
async fn pingreq_is_answered() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "ping").await;
        for _ in 0..10 {
            client.send(&wire::PINGREQ).await;
            assert_eq!(client.packet().await, Packet::Pingresp);
        }
        client.send(&wire::PINGREQ.repeat(50)).await;
        for _ in 0..50 {
            assert_eq!(client.packet().await, Packet::Pingresp);
        }
    }
}

#[tokio::test]
async fn the_connection_is_closed_after_disconnect() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut client = gateway.client(version, "closed").await;
        client.send(&wire::disconnect(version, 0, &[])).await;
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn nothing_after_disconnect_is_processed() {
    let gateway = TestGateway::start().await;
    for version in ALL {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut other = gateway.client(version, "other").await;
        watcher.subscribe("after/disconnect", 0).await;
        let mut client = gateway.client(version, "talks-on").await;
        let mut bytes = publish(version, "after/disconnect", b"before", 0, 0, &[]);
        bytes.extend_from_slice(&wire::disconnect(version, 0, &[]));
        bytes.extend_from_slice(&publish(version, "after/disconnect", b"after", 0, 0, &[]));
        client.send(&bytes).await;
        client.expect_closed().await;
        assert_eq!(watcher.expect_message().await.text(), "before");
        watcher.expect_nothing(&mut other).await;
    }
}

#[tokio::test]
async fn disconnect_of_5_comes_in_three_lengths() {
    let gateway = TestGateway::start().await;
    for bytes in [&[0xe0, 0][..], &[0xe0, 1, 0], &[0xe0, 2, 0, 0]] {
        let mut client = gateway.client(Version::V5, "lengths").await;
        client.send(bytes).await;
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn bad_disconnects_are_refused() {
    let gateway = TestGateway::start().await;
    for (what, body, codes) in [
        ("a code that does not exist", vec![0x03, 0], &[0x81, 0x82][..]),
        ("a code that only a server sends", vec![0x8e, 0], &[0x81, 0x82]),
        ("a code of another packet", vec![0x10, 0], &[0x81, 0x82]),
        ("a property of CONNECT", vec![0, 3, 0x21, 0, 1], &[0x81, 0x82]),
        ("a server reference", vec![0, 4, 0x1c, 0, 1, b'a'], &[0x81, 0x82]),
        ("session expiry twice", vec![0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0], &[0x81, 0x82]),
        ("properties that are cut off", vec![0, 5, 0x11, 0, 0], &[0x81]),
        ("bytes behind the properties", vec![0, 0, 0], &[0x81]),
    ] {
        let mut client = gateway.client(Version::V5, "bad-disconnect").await;
        client.send(&wire::frame(0xe0, &body)).await;
        eprintln!("{what}");
        client.expect_disconnected(codes).await;
    }
    let mut client = gateway.client(Version::V311, "bad-disconnect").await;
    client.send(&[0xe0, 1, 0]).await;
    client.expect_disconnected(&[]).await;
}

#[tokio::test]
async fn packets_that_only_a_server_sends_end_the_connection() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        for packet in [
            vec![0x20, 2, 0, 0],
            vec![0x20, 3, 0, 0, 0],
            vec![0x90, 3, 0, 1, 0],
            vec![0x90, 4, 0, 1, 0, 0],
            vec![0xb0, 2, 0, 1],
            vec![0xb0, 4, 0, 1, 0, 0],
            vec![0xd0, 0],
            vec![0x00, 0],
        ] {
            let mut client = gateway.client(version, "servers").await;
            client.send(&packet).await;
            client.expect_disconnected(&[0x81, 0x82]).await;
        }
    }
}

#[tokio::test]
async fn acknowledgement_codes_that_do_not_exist_are_refused() {
    let gateway = TestGateway::start().await;
    for (first, code) in
        [(0x40, 0x01), (0x40, 0x92), (0x50, 0x02), (0x50, 0x92), (0x62, 0x80), (0x62, 0x10), (0x70, 0x97)]
    {
        let mut client = gateway.client(Version::V5, "ack-codes").await;
        client.send(&wire::ack(first, 1, code)).await;
        client.expect_disconnected(&[0x81, 0x82]).await;
    }
}

#[tokio::test]
async fn acknowledgements_nobody_waits_for_are_harmless() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut client = gateway.client(version, "unasked").await;
        client.send(&wire::ack(0x40, 1, 0)).await;
        client.send(&wire::ack(0x70, 1, 0)).await;
        client.ping().await;
        assert!(client.early().is_empty());
        // A PUBREC of unknown identifier is answered, in 5.0 with a code that says so.
        client.send(&wire::ack(0x50, 2, 0)).await;
        let pubrel = client.pubrel(2).await;
        assert!(matches!(pubrel.code, 0 | 0x92));
    }
}

#[tokio::test]
async fn the_connection_ends_after_every_code_of_failure() {
    let gateway = TestGateway::start().await;
    // One CONNACK and one DISCONNECT of 0x80 or more: the gateway closes without waiting for the client.
    let mut client = gateway.open(Version::V5).await;
    client.send(&Connect::new(Version::V5, "x").property(Property::ReceiveMaximum(0)).bytes()).await;
    assert!(client.connack().await.code >= 0x80);
    client.expect_closed().await;
    let mut client = gateway.client(Version::V5, "failure").await;
    client.send(&[0x30, 0]).await;
    client.expect_disconnected(&[0x81, 0x82]).await;
}

#[tokio::test]
async fn one_clients_fault_is_nobody_elses() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut bystander = gateway.client(version, "bystander").await;
        bystander.subscribe("bystander", 1).await;
        let mut faulty = gateway.client(version, "faulty").await;
        faulty.send(&[0x30, 0xff, 0xff, 0xff, 0xff]).await;
        faulty.expect_disconnected(&[0x81]).await;
        bystander.publish("bystander", "x", 1).await;
        assert_eq!(bystander.expect_message().await.text(), "x");
    }
}

#[tokio::test]
async fn what_came_before_a_malformed_packet_counts_and_is_nobody_elses() {
    let gateway = TestGateway::start().await;
    for version in BOTH {
        let mut watcher = gateway.client(version, "watcher").await;
        let mut bystander = gateway.client(version, "bystander").await;
        watcher.subscribe("before/fault", 1).await;
        for round in 0..10 {
            // All in one piece, so that it is read in one turn.
            let mut bytes = publish(version, "before/fault", round.to_string().as_bytes(), 1, 1, &[]);
            bytes.extend_from_slice(&crate::common::subscribe(version, 2, &[("only/mine", 0)], &[]));
            bytes.extend_from_slice(&publish(version, "before/fault", b"second", 2, 3, &[]));
            bytes.extend_from_slice(&[0x00, 0x00]);
            let mut faulty = gateway.client(version, "faulty").await;
            faulty.send(&bytes).await;
            while faulty.next().await.is_some() {}
            // The bystander gets no acknowledgement and no subscription of the other.
            bystander.ping().await;
            watcher.publish("only/mine", "x", 0).await;
            bystander.expect_nothing(&mut watcher).await;
            assert_eq!(watcher.expect_message().await.text(), round.to_string());
            assert_eq!(watcher.expect_message().await.text(), "second");
        }
    }
}
