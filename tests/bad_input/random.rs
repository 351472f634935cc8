//! Ten thousand streams of bytes that are mostly nonsense. The seed is fixed: a failure comes again.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::{
    bystanders::Bystanders,
    common::{Connect, PATIENCE, Property, TestGateway, Version, publish, subscribe, websocket, wire},
    memory,
};

const SEED: u64 = 0x7468_696e_6777_6179;
const OVER_TCP: u64 = 9000;
const OVER_WEBSOCKET: u64 = 1000;
/// Streams before memory is looked at for the first time.
const WARM_UP: u64 = 1000;
/// What ten thousand streams may leave behind: less than a kilobyte each, were it all of them.
const GROWTH_BYTES_MAX: usize = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_streams_do_no_harm() {
    let _turn = memory::alone().await;
    let gateway = TestGateway::with_websocket(|_| {}).await;
    let bystanders = Bystanders::start(&gateway).await;
    run(0..WARM_UP, gateway.address, tcp_stream).await;
    let before = memory::resident();
    run(WARM_UP..OVER_TCP, gateway.address, tcp_stream).await;
    run(0..OVER_WEBSOCKET, gateway.websocket(), websocket_stream).await;
    memory::assert_flat("ten thousand streams", before, GROWTH_BYTES_MAX);
    bystanders.finish().await;
    // The gateway is as it was: new clients are served.
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut client = gateway.client(version, "afterwards").await;
        client.subscribe("afterwards", 2).await;
        client.publish("afterwards", "still here", 1).await;
        let message = client.take("the message", |packet| match packet {
            crate::common::Packet::Publish(publish) => Some(publish.text().to_owned()),
            _ => None,
        });
        assert_eq!(message.await, "still here");
    }
}

/// Sends each stream on a connection of its own, 32 at a time, and insists that the gateway ends each.
async fn run(numbers: std::ops::Range<u64>, address: SocketAddr, stream: fn(u64) -> Vec<u8>) {
    let places = Arc::new(Semaphore::new(32));
    let mut tasks = JoinSet::new();
    for number in numbers {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        tasks.spawn(async move {
            let bytes = stream(number);
            let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
            // It may close at any byte, which makes writing and shutting down fail.
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let ended = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "stream {number} is still open: {bytes:02x?}");
            drop(place);
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.expect("the stream has ended");
    }
}

fn tcp_stream(number: u64) -> Vec<u8> {
    let mut random = Random(SEED ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match random.below(4) {
        // Nothing but noise.
        0 => random.bytes(256),
        // Noise behind a good CONNECT.
        1 => [good_connect(&mut random), random.bytes(256)].concat(),
        // Noise in good frames.
        2 => {
            let mut bytes = good_connect(&mut random);
            for _ in 0..random.below(8) {
                let body = random.bytes(40);
                bytes.extend_from_slice(&wire::frame(random.next() as u8, &body));
            }
            bytes
        }
        // A good conversation of which some bytes are changed, lost or doubled.
        _ => {
            let mut bytes = conversation(&mut random);
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            bytes
        }
    }
}

fn websocket_stream(number: u64) -> Vec<u8> {
    let mut random = Random(!SEED ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        .to_vec();
    match random.below(4) {
        // Noise where frames should be.
        0 => bytes.extend(random.bytes(256)),
        // A bad MQTT conversation in good frames.
        1 => {
            for piece in tcp_stream(number).chunks(1 + random.below(50) as usize) {
                bytes.extend(websocket::frame(websocket::FIN | websocket::BINARY, piece));
            }
        }
        // Frames of all kinds.
        2 => {
            for _ in 0..random.below(10) {
                let payload = random.bytes(130);
                bytes.extend(websocket::frame(random.next() as u8, &payload));
            }
        }
        // A bad upgrade.
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
        }
    }
    bytes
}

fn good_connect(random: &mut Random) -> Vec<u8> {
    let version = [Version::V31, Version::V311, Version::V5][random.below(3) as usize];
    let mut connect = Connect::new(version, &format!("random-{}", random.below(50))).keep_alive(5);
    connect.clean = random.below(2) == 0;
    if version.is_5() && random.below(2) == 0 {
        connect.properties.push(Property::SessionExpiry(random.below(3) as u32));
        connect.properties.push(Property::ReceiveMaximum(1 + random.below(5) as u16));
        connect.properties.push(Property::TopicAliasMaximum(random.below(3) as u16));
    }
    if random.below(3) == 0 {
        connect = connect.will("random/will", "w", random.below(3) as u8, false);
    }
    connect.bytes()
}

fn conversation(random: &mut Random) -> Vec<u8> {
    let mut bytes = good_connect(random);
    let version = if bytes.windows(5).any(|part| part == b"MQTT\x05") { Version::V5 } else { Version::V311 };
    for id in 1..=random.below(8) as u16 {
        let topic = ["random/a", "random/b", "random/#", "$share/g/random/a"][random.below(4) as usize];
        bytes.extend(match random.below(7) {
            0 => subscribe(version, id, &[(topic, random.below(3) as u8)], &[]),
            1 => wire::unsubscribe(version, id, &[topic]),
            2 => wire::ack([0x40, 0x50, 0x62, 0x70][random.below(4) as usize], id, 0),
            3 => wire::PINGREQ.to_vec(),
            4 => wire::disconnect(version, 0, &[]),
            _ => {
                let payload = random.bytes(30);
                publish(version, "random/a", &payload, random.below(3) as u8, id, &[])
            }
        });
    }
    bytes
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        (0..self.below(length_max + 1)).map(|_| self.next() as u8).collect()
    }
}
