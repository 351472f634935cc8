//! Peers that send too much, or say that they will.

use std::time::Duration;

use thingway::config::OrInfinity;

use crate::{
    bystanders::Bystanders,
    common::{Connect, Packet, TestGateway, Version, publish, wire},
    memory,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_lengths_cost_no_memory() {
    let _turn = memory::alone().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut clients = Vec::new();
    for number in 0..300 {
        clients.push(gateway.client(Version::V311, &format!("announces-{number}")).await);
    }
    let before = memory::resident();
    // Each announces a packet just below the maximum of 1 MiB and sends little of it.
    for client in &mut clients {
        client.send(&[&[0x30, 0xf0, 0xff, 0x3f, 0, 1, b'a'][..], &[b'x'; 100]].concat()).await;
    }
    let mut other = gateway.client(Version::V5, "other").await;
    other.ping().await;
    memory::assert_flat("300 packets of which a hundred bytes came", before, 8 << 20);
    drop(clients);
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_oversized_packet_is_refused_by_its_header() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    for version in [Version::V311, Version::V5] {
        for first in [0x10, 0x30, 0x32, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2] {
            // Just above 1 MiB, and the largest that can be said.
            for length in [&[0x80, 0x80, 0x40][..], &[0xff, 0xff, 0xff, 0x7f]] {
                let bytes = [&[first], length].concat();
                let mut client = gateway.client(version, "oversized").await;
                client.send(&bytes).await;
                client.expect_disconnected(&[0x95]).await;
            }
        }
    }
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_whose_answers_are_not_read_are_not_read_either() {
    let _turn = memory::alone().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    for (what, request) in [
        ("PINGREQ", wire::PINGREQ.repeat(512)),
        ("SUBSCRIBE", wire::subscribe(Version::V5, 1, &[("flood", 0)], &[]).repeat(64)),
        ("PUBLISH", publish(Version::V5, "flood/nobody", b"x", 1, 1, &[]).repeat(64)),
    ] {
        let mut client = gateway.client(Version::V5, "does-not-read").await;
        let before = memory::resident();
        // 64 MiB at most, of which a gateway that answers without end would hold the answers. One that stops reading
        // makes the write stall instead, once the kernel's buffers are full.
        let mut written = 0;
        while written < 64 << 20 && client.send_within(&request, Duration::from_secs(2)).await {
            written += request.len();
        }
        memory::assert_flat(what, before, 8 << 20);
        assert!(written < 64 << 20, "{what}: the gateway has read {written} bytes from a client that reads none");
    }
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_have_a_limit() {
    let _turn = memory::together().await;
    let gateway = TestGateway::with(|config| config.mqtt.subscriptions_max = OrInfinity::Finite(50)).await;
    let bystanders = Bystanders::start(&gateway).await;
    for version in [Version::V311, Version::V5] {
        let mut client = gateway.client(version, "subscribes").await;
        let refused = if version.is_5() { 0x97 } else { 0x80 };
        for number in 0..100 {
            let code = client.subscribe(&format!("limit/{number}"), 0).await;
            assert_eq!(code, if number < 50 { 0 } else { refused }, "number {number}");
        }
        // Replacing is no further subscription, and what is given up makes room.
        assert_eq!(client.subscribe("limit/7", 1).await, 1);
        client.unsubscribe(&["limit/7"]).await;
        assert_eq!(client.subscribe("limit/other", 0).await, 0);
        assert_eq!(client.subscribe("limit/one-more", 0).await, refused);
    }
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_qos_2_messages_have_a_limit() {
    let _turn = memory::together().await;
    let gateway = TestGateway::with(|config| config.mqtt.receive_maximum = 20).await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut client = gateway.client(Version::V5, "unfinished").await;
    for id in 1..=21 {
        client.send(&publish(Version::V5, "unfinished", b"x", 2, id, &[])).await;
    }
    loop {
        match client.packet().await {
            Packet::Pubrec(ack) => assert!(ack.packet_id <= 20),
            Packet::Disconnect(reason) => break assert_eq!(reason.code, 0x93),
            other => panic!("{other:?}"),
        }
    }
    client.expect_closed().await;
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing() {
    let _turn = memory::alone().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut before = None;
    for round in 0..6 {
        for number in 0..500 {
            let version = if number % 2 == 0 { Version::V311 } else { Version::V5 };
            match number % 3 {
                0 => gateway.open(version).await.cut(),
                1 => gateway.client(version, &format!("comes-{round}-{number}")).await.cut(),
                _ => {
                    let mut client = gateway.open(version).await;
                    client.send(&Connect::new(version, "comes").bytes()).await;
                    client.cut();
                }
            }
        }
        let mut last = gateway.client(Version::V5, "last").await;
        last.ping().await;
        let before = *before.get_or_insert_with(memory::resident);
        memory::assert_flat("500 connections at a time", before, 4 << 20);
    }
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_does_not_starve_the_others() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut flooder = gateway.client(Version::V311, "flooder").await;
    let batch = publish(Version::V311, "flood/nobody", &[b'x'; 200], 0, 0, &[]).repeat(200);
    let mut other = gateway.client(Version::V5, "other").await;
    for _ in 0..50 {
        flooder.send(&batch).await;
        flooder.send(&batch).await;
        other.ping().await;
    }
    flooder.ping().await;
    bystanders.finish().await;
}
