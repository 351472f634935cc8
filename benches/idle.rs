//! Idle connections at scale: resident bytes for each, and the processor time that keep-alive takes.
//!
//! `cargo bench --bench idle` opens a million MQTT connections inside the process, `CONNECTIONS=10000 cargo bench --bench
//! idle` fewer. `KEEP_ALIVE` (seconds, 60) is what they ask for, `IDLE` (seconds, 5) how long they are left alone, `CORES`
//! (0: all) how many threads serve them. `SIZES=1` counts allocations and tells what sizes a connection holds.
//!
//! All answers are checked; a wrong or missing one ends the bench with a panic.

mod measure;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use thingway::{
    config::{Bind, Config, Listener, ListenerKind, Listeners, StoreDurability},
    gateway::Gateway,
    net::memory::{BUFFER_BYTES_MAX, MemoryStream, pair},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use measure::{COUNTING, LIVE_BYTES, Slope, Threads, mebibytes, number, report_time, resident_bytes};

/// Connections that are asked before the first answer is awaited.
const BATCH: usize = 512;
/// Connections that are sent a message at the end.
const SUBSCRIBERS: usize = 16;
/// How long the gateway may take to forget all connections.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    COUNTING.store(number("SIZES", 0) != 0, Ordering::Relaxed);
    let count = number("CONNECTIONS", 1_000_000).max(4);
    let keep_alive_secs = number("KEEP_ALIVE", 60u16);
    // As the program does: connections have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run(count, keep_alive_secs));
}

async fn run(count: usize, keep_alive_secs: u16) {
    let gateway = gateway().await;
    let listener = gateway.listen_in_memory("memory.default", &Listener::default());
    println!("{count} connections, keep-alive {keep_alive_secs} s, {} cores", gateway.cores().len());

    let mut server_ends = Vec::with_capacity(count);
    let mut clients = Clients { ends: Vec::with_capacity(count) };
    let mut transport = Slope::begin();
    for number in 0..count {
        let (client, server) = pair(BUFFER_BYTES_MAX);
        clients.ends.push(client);
        server_ends.push(Some(server));
        transport.sample(number + 1, count);
    }
    transport.report("clients");
    println!("    both ends of the transport and what they share: not the gateway's");

    let begun = (Instant::now(), Threads::now());
    let mut gateways = Slope::begin();
    // A quarter at a time, so that it can be looked at when everything is quiet.
    for quarter in 1..=4 {
        let upto = count * quarter / 4;
        for first in (count * (quarter - 1) / 4..upto).step_by(BATCH) {
            let batch = first..(first + BATCH).min(upto);
            for server in &mut server_ends[batch.clone()] {
                let server = server.take().expect("each is taken once");
                listener.accept(server).expect("the listener has no limit");
            }
            let connect = |number| connect(number, keep_alive_secs);
            clients.ask(batch.clone(), connect, &[0x20, 2, 0, 0]).await;
            clients.ask(batch, subscribe, &[0x90, 3, 0, 1, 0]).await;
        }
        gateways.sample(upto, count);
    }
    report_time("connect and subscribe", count, &begun);
    let resident = gateways.report("gateway");
    gateways.report_sizes();
    let gauges = gateway.bus().gauges();
    assert_eq!((gauges.connected, gauges.sessions, gauges.subscriptions), (count, count, count));
    println!("  gateway says           {} connected, {} subscriptions", gauges.connected, gauges.subscriptions);

    let begun = (Instant::now(), Threads::now());
    clients.ask(0..count, |_| vec![0xc0, 0], &[0xd0, 0]).await;
    report_time("keep-alive round", count, &begun);
    println!("    {count} PINGREQ were answered");

    let begun = (Instant::now(), Threads::now());
    tokio::time::sleep(Duration::from_secs(number("IDLE", 5))).await;
    report_time("left alone", count, &begun);

    publish_to_some(&mut clients, count, |server| listener.accept(server).expect("the listener has no limit")).await;
    assert_eq!(gateway.bus().gauges().connected, count);

    let begun = (Instant::now(), Threads::now());
    drop(clients);
    drop(server_ends);
    while gateway.bus().gauges().sessions > 0 || gateway.cores().connections() > 0 {
        assert!(begun.0.elapsed() < PATIENCE, "connections are left: {:?}", gateway.bus().gauges());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    report_time("close", count, &begun);
    let gauges = gateway.bus().gauges();
    assert_eq!((gauges.connected, gauges.subscriptions, gauges.filters), (0, 0, 0));
    println!(
        "  left                   0 sessions; {:.1} MiB resident, {:.1} MiB with all, {:.1} MiB before",
        mebibytes(resident_bytes()),
        mebibytes(resident),
        mebibytes(transport.resident_before),
    );
    if COUNTING.load(Ordering::Relaxed) {
        let asked = LIVE_BYTES.load(Ordering::Relaxed) as f64;
        println!("    {:.1} MiB of it asked for: tables that keep their room", asked / f64::from(1 << 20));
    }
    gateway.drain(Duration::from_secs(5)).await;
}

/// A gateway as it is by default but for its listeners, of which it needs one.
async fn gateway() -> Gateway {
    let mut config = Config { listeners: Listeners::none(), ..Config::default() };
    config.dashboard.enable = false;
    config.gateway.cores = number("CORES", 0);
    config.store.durability = StoreDurability::Memory;
    let bind: Bind = "127.0.0.1:0".parse().expect("an address");
    config.listeners.of_mut(ListenerKind::Tcp).insert("default".into(), Listener { bind, ..Listener::default() });
    Gateway::start(config).await.expect("a gateway")
}

struct Clients {
    ends: Vec<MemoryStream>,
}

impl Clients {
    /// Sends a request on each connection of a range, and awaits the same answer on each.
    async fn ask(&mut self, range: std::ops::Range<usize>, request: impl Fn(usize) -> Vec<u8>, expected: &[u8]) {
        let mut answer = vec![0; expected.len()];
        for first in range.clone().step_by(BATCH) {
            let batch = first..(first + BATCH).min(range.end);
            for number in batch.clone() {
                self.ends[number].write_all(&request(number)).await.expect("the connection is open");
            }
            for number in batch {
                self.ends[number].read_exact(&mut answer).await.expect("an answer");
                assert_eq!(answer, expected, "connection {number}");
            }
        }
    }
}

async fn publish_to_some(clients: &mut Clients, count: usize, accept: impl Fn(MemoryStream)) {
    let (mut publisher, server) = pair(BUFFER_BYTES_MAX);
    accept(server);
    publisher.write_all(&connect(count, 60)).await.expect("the connection is open");
    let mut connack = [0; 4];
    publisher.read_exact(&mut connack).await.expect("an answer");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let chosen: Vec<_> = (0..SUBSCRIBERS.min(count)).map(|at| at * (count - 1) / SUBSCRIBERS).collect();
    for &number in &chosen {
        publisher.write_all(&publish(number)).await.expect("the connection is open");
    }
    for &number in &chosen {
        let expected = publish(number);
        let mut packet = vec![0; expected.len()];
        clients.ends[number].read_exact(&mut packet).await.expect("a message");
        assert_eq!(packet, expected);
    }
    publisher.write_all(&[0xe0, 0]).await.expect("the connection is open");
    assert_eq!(publisher.read(&mut connack).await.expect("the end of the stream"), 0);
    println!("  {} of them were sent a message and got it", chosen.len());
}

fn connect(number: usize, keep_alive_secs: u16) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\x02".to_vec();
    body.extend(keep_alive_secs.to_be_bytes());
    text(&mut body, &format!("device-{number:07}"));
    packet(0x10, &body)
}

fn subscribe(number: usize) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, &topic(number));
    body.push(0);
    packet(0x82, &body)
}

fn publish(number: usize) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, &topic(number));
    body.extend(b"wake up");
    packet(0x30, &body)
}

fn topic(number: usize) -> String {
    format!("device/{number:07}/command")
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "a length of one byte");
    [&[kind, body.len() as u8], body].concat()
}
