//! Peers that take their time: slow-loris, stalled handshakes, half-open connections, readers that do not read.

use std::time::{Duration, Instant};

use thingway::config::{OrInfinity, Period, Rate, Size};
use tokio::time::sleep;

use crate::{
    bystanders::Bystanders,
    common::{Client, Connect, Packet, Property, TestGateway, Version, publish, subscribe, websocket::WebSocket, wire},
    memory,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_at_a_time_is_served() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut client = gateway.open(version).await;
        let mut bytes = Connect::new(version, "drips").will("will", "w", 1, false).username("u").password("p").bytes();
        bytes.extend_from_slice(&subscribe(version, 1, &[("drips", 1)], &[]));
        bytes.extend_from_slice(&publish(version, "drips", b"byte by byte", 1, 2, &[]));
        bytes.extend_from_slice(&wire::PINGREQ);
        for byte in bytes {
            client.send(&[byte]).await;
        }
        assert_eq!(client.connack().await.code, 0);
        client.suback(1).await;
        client.puback(2).await;
        let message = client.take("the message", |packet| match packet {
            Packet::Publish(publish) => Some(publish.text().to_owned()),
            _ => None,
        });
        assert_eq!(message.await, "byte by byte");
        client.take("PINGRESP", |packet| (*packet == Packet::Pingresp).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_stalls_is_closed() {
    let _turn = memory::together().await;
    let gateway = TestGateway::with(|config| {
        for listener in config.listeners.tcp.values_mut() {
            listener.idle_timeout = Period::from_millis(500);
        }
    })
    .await;
    let bystanders = Bystanders::start(&gateway).await;
    let connect = Connect::new(Version::V5, "stalls").bytes();
    // Nothing at all, the first byte, all but the last; and a byte now and then, which buys no time.
    for length in [0, 1, connect.len() - 1] {
        let started = Instant::now();
        let mut client = gateway.open(Version::V5).await;
        client.send(&connect[..length]).await;
        client.expect_closed().await;
        assert_in_time(started, 500);
    }
    let started = Instant::now();
    let mut client = gateway.open(Version::V5).await;
    let mut bytes = Connect::new(Version::V5, &"x".repeat(1000)).bytes().into_iter();
    while !client.is_closed().await {
        assert!(started.elapsed() < Duration::from_secs(10), "dripping bytes keep a handshake open");
        client.send(&[bytes.next().expect("a thousand bytes last for long")]).await;
        // Time is what is tested here.
        sleep(Duration::from_millis(50)).await;
    }
    assert_in_time(started, 500);
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_silent_connections_are_closed_and_leave_nothing() {
    const CONNECTIONS: usize = 500;
    let _turn = memory::alone().await;
    let gateway = TestGateway::with(|config| {
        for listener in config.listeners.tcp.values_mut() {
            listener.idle_timeout = Period::from_millis(1000);
        }
    })
    .await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut before = None;
    // The first round warms up what is kept for good.
    for _ in 0..4 {
        let mut silent = Vec::new();
        for number in 0..CONNECTIONS {
            let mut client = gateway.open(Version::V311).await;
            // Some have begun: a CONNECT of a megabyte is announced, of which ten bytes come.
            if number % 2 == 0 {
                client.send(b"\x10\xf0\xff\x3f\x00\x04MQTT").await;
            }
            silent.push(client);
        }
        for client in &mut silent {
            client.expect_closed().await;
        }
        drop(silent);
        let before = *before.get_or_insert_with(memory::resident);
        memory::assert_flat("silent connections", before, 4 << 20);
    }
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_websocket_upgrade_is_closed() {
    let _turn = memory::together().await;
    let gateway = TestGateway::with_websocket(|config| {
        for listener in config.listeners.ws.values_mut() {
            listener.handshake_timeout = Period::from_millis(500);
            listener.idle_timeout = Period::from_millis(500);
        }
    })
    .await;
    let bystanders = Bystanders::start(&gateway).await;
    for head in ["", "GET /mqtt HTTP/1.1\r\nHost: a\r\n"] {
        let started = Instant::now();
        let mut client = Client::open(gateway.websocket(), Version::V5).await;
        client.send(head.as_bytes()).await;
        client.bytes_until_closed().await;
        assert_in_time(started, 500);
    }
    // The upgrade is done, and then nothing comes.
    let started = Instant::now();
    let mut socket = WebSocket::connect(gateway.websocket()).await;
    socket.expect_closed().await;
    assert_in_time(started, 500);
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_stalls_is_no_sign_of_life() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let started = Instant::now();
    let (mut client, _) = gateway.connect(&Connect::new(Version::V5, "stalls").keep_alive(1)).await;
    client.send(&[0x30, 0xff, 0x7f, 0, 1, b'a', 0]).await;
    while !client.is_closed().await {
        assert!(started.elapsed() < Duration::from_secs(10), "dripping bytes keep a connection alive");
        // Time is what is tested here.
        sleep(Duration::from_millis(100)).await;
        client.send(b"x").await;
    }
    assert_in_time(started, 1500);
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_connection_ends() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut watcher = gateway.client(Version::V5, "watcher").await;
    watcher.subscribe("half/closed", 0).await;
    for connect in [
        Connect::new(Version::V311, "half-closed").will("half/closed", "gone", 0, false),
        Connect::new(Version::V5, "half-closed").will("half/closed", "gone", 0, false),
    ] {
        // At the end of a packet and within one.
        for last in [&[][..], &[0x30, 10, 0]] {
            let (mut client, _) = gateway.connect(&connect).await;
            client.send(last).await;
            client.half_close().await;
            client.bytes_until_closed().await;
            assert_eq!(watcher.expect_message().await.text(), "gone");
        }
    }
    let mut client = gateway.open(Version::V5).await;
    client.half_close().await;
    client.expect_closed().await;
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_costs_a_bounded_queue() {
    const QUEUE_KIB: u64 = 512;
    let _turn = memory::alone().await;
    let gateway = TestGateway::with(|config| config.queue.bytes_max = Size::kib(QUEUE_KIB)).await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut stuck = gateway.client(Version::V5, "stuck").await;
    stuck.subscribe("stuck", 0).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let payload = "x".repeat(10_000);
    let before = memory::resident();
    // 30 MB for somebody who takes none of it.
    for _ in 0..3000 {
        publisher.publish("stuck", &payload, 0).await;
    }
    publisher.ping().await;
    // The queue, a turn's worth of output, and what the allocator keeps.
    memory::assert_flat("a reader that does not read", before, 8 << 20);
    // What is left when it reads again is in order and nothing else.
    let fence = stuck.until_fence(&mut publisher).await;
    assert!(fence.len() < 3000, "all of it was kept: {}", fence.len());
    assert!(fence.iter().all(|packet| matches!(packet, Packet::Publish(publish) if publish.payload.len() == 10_000)));
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unacknowledged_messages_cost_a_bounded_queue() {
    let _turn = memory::alone().await;
    let gateway = TestGateway::with(|config| {
        config.queue.messages_max = 100;
        config.queue.bytes_max = Size::kib(512);
    })
    .await;
    let bystanders = Bystanders::start(&gateway).await;
    let connect = Connect::new(Version::V5, "silent").property(Property::ReceiveMaximum(10));
    let (mut silent, _) = gateway.connect(&connect).await;
    silent.subscribe("silent", 1).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let before = memory::resident();
    // In batches: a publisher for whose subscriber there is no room is read from more slowly.
    let batch: Vec<u8> = (1..=100).flat_map(|id| publish(Version::V5, "silent", &[b'x'; 1000], 1, id, &[])).collect();
    for _ in 0..50 {
        publisher.send(&batch).await;
        for id in 1..=100 {
            publisher.puback(id).await;
        }
    }
    memory::assert_flat("a reader that does not acknowledge", before, 4 << 20);
    for _ in 0..10 {
        silent.expect_publish().await;
    }
    silent.ping().await;
    assert!(silent.early().is_empty());
    bystanders.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_is_faster_than_it_may_be_is_read_to_the_end() {
    let _turn = memory::together().await;
    let gateway = TestGateway::with(|config| {
        for listener in config.listeners.tcp.values_mut() {
            listener.client_rate.messages = OrInfinity::Finite(Rate::per_second(5000));
            // No other timer shall wake the connection before the client's patience ends.
            listener.idle_timeout = Period::from_secs(600);
        }
    })
    .await;
    let mut publisher = gateway.client(Version::V5, "fast").await;
    // Far more in one piece than is taken at a time, so that some of it waits within the gateway for the rate's sake.
    let batch: Vec<u8> = (1..=3000).flat_map(|id| publish(Version::V5, "fast", &[b'x'; 100], 1, id, &[])).collect();
    for _ in 0..3 {
        publisher.send(&batch).await;
        for id in 1..=3000 {
            publisher.puback(id).await;
        }
    }
}

/// Not before its time, and not long after: the bound is generous for a loaded machine.
fn assert_in_time(started: Instant, wanted_ms: u64) {
    let elapsed = started.elapsed();
    let range = Duration::from_millis(wanted_ms - wanted_ms / 10)..Duration::from_millis(wanted_ms + 5000);
    assert!(range.contains(&elapsed), "closed after {elapsed:?} instead of {wanted_ms} ms");
}
