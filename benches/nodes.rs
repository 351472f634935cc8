//! MQTT-SN clients at scale: resident bytes for each, and the processor time of connecting and of keep-alive.
//!
//! `cargo bench --bench nodes` connects a million clients over UDP, each from an address of its own in 127.0.0.0/8, all through one
//! socket; `CLIENTS=10000 cargo bench --bench nodes` fewer. `SUBSCRIBE=1` has each subscribe to a topic of its own. `CORES` (0: all)
//! is how many threads serve them. `REST` (seconds, 45) is how long they are left alone. `SIZES=1` counts allocations and tells what sizes a client holds.
//!
//! All answers are checked, lost datagrams are sent again; a wrong answer or none ends the bench with a panic.

mod measure;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use thingway::{
    config::{Bind, Config, Listener, ListenerProtocol, Listeners, OrInfinity, StoreDurability},
    gateway::Gateway,
};

use measure::{COUNTING, Slope, Threads, crowd::Crowd, mebibytes, number, report_time, resident_bytes};

/// Clients that are sent a message at the end.
const CHOSEN: usize = 16;
/// How long the gateway may take to forget all clients.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    COUNTING.store(number("SIZES", 0) != 0, Ordering::Relaxed);
    let count = number("CLIENTS", 1_000_000).max(4);
    let subscribe = number("SUBSCRIBE", 0) != 0;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    let runtime = runtime.expect("a runtime");
    let gateway = runtime.block_on(gateway());
    let to = gateway.address("udp.mqttsn").expect("it listens");
    println!("{count} clients, subscribed: {subscribe}, {} cores", gateway.cores().len());

    let mut clients = Crowd::new(to);
    let begun = (Instant::now(), Threads::now());
    let mut slope = Slope::begin();
    for quarter in 1..=4 {
        let range = count * (quarter - 1) / 4..count * quarter / 4;
        clients.ask(range.clone(), connect, |_, answer| answer.starts_with(&[3, 0x05, 0]));
        if subscribe {
            clients.ask(range.clone(), self::subscribe, |_, answer| answer.starts_with(&[8, 0x13]));
        }
        slope.sample(range.end, count);
    }
    report_time("connect and subscribe", count, &begun);
    let resident = slope.report("gateway");
    slope.report_sizes();
    let gauges = gateway.bus().gauges();
    assert_eq!((gauges.connected, gauges.sessions), (count, count));
    assert_eq!(gauges.subscriptions, if subscribe { count } else { 0 });
    println!("  gateway says           {} connected, {} subscriptions", gauges.connected, gauges.subscriptions);

    // What is kept for copies of CONNECT that come late is forgotten.
    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(number("REST", 45))).await });
    let settled = (resident_bytes() as f64 - slope.resident_before as f64) / count as f64;
    println!("  at rest      {settled:>9.1} bytes a client, all things taken together");

    let begun = (Instant::now(), Threads::now());
    clients.ask(0..count, |_| vec![2, 0x16], |_, answer| answer.starts_with(&[2, 0x17]));
    report_time("keep-alive round", count, &begun);
    println!("    {count} PINGREQ were answered");

    let chosen: Vec<_> = (0..CHOSEN.min(count)).map(|at| at * (count - 1) / CHOSEN).collect();
    for &number in &chosen {
        if !subscribe {
            clients.ask(number..number + 1, self::subscribe, |_, answer| answer.starts_with(&[8, 0x13]));
        }
    }
    for &number in &chosen {
        clients.ask(number..number + 1, publish, |_, answer| answer.starts_with(&[7, 0x0d]));
    }
    println!("  {} of them published with QoS 1 and were answered", chosen.len());

    let begun = (Instant::now(), Threads::now());
    clients.ask(0..count, |_| vec![2, 0x18], |_, answer| answer.starts_with(&[2, 0x18]));
    while gateway.bus().gauges().sessions > 0 || gateway.cores().connections() > 0 {
        assert!(begun.0.elapsed() < PATIENCE, "clients are left: {:?}", gateway.bus().gauges());
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
    report_time("disconnect", count, &begun);
    println!(
        "  left                   0 sessions; {:.1} MiB resident, {:.1} MiB with all, {:.1} MiB before; {} datagrams sent again",
        mebibytes(resident_bytes()),
        mebibytes(resident),
        mebibytes(slope.resident_before),
        clients.repeated,
    );
    runtime.block_on(gateway.drain(Duration::from_secs(5)));
}

/// A gateway as it is by default but for its listeners, of which it needs one.
async fn gateway() -> Gateway {
    let mut config = Config { listeners: Listeners::none(), ..Config::default() };
    config.dashboard.enable = false;
    config.gateway.cores = number("CORES", 0);
    config.store.durability = StoreDurability::Memory;
    let bind: Bind = "127.0.0.1:0".parse().expect("an address");
    let connection_rate = OrInfinity::Infinity;
    let listener = Listener { bind, protocol: ListenerProtocol::MqttSn, connection_rate, ..Listener::default() };
    config.listeners.udp.insert("mqttsn".into(), listener);
    Gateway::start(config).await.expect("a gateway")
}

fn connect(number: usize) -> Vec<u8> {
    // Clean session, protocol 1, a keep-alive of 18 hours.
    packet(0x04, &[&[0x04, 1, 0xff, 0xff], format!("node-{number:07}").as_bytes()].concat())
}

fn subscribe(number: usize) -> Vec<u8> {
    packet(0x12, &[&[0x00, 0, 1], format!("node/{number:07}/command").as_bytes()].concat())
}

fn publish(number: usize) -> Vec<u8> {
    // A short topic, QoS 1.
    packet(0x0c, &[&[0x22, b'n', b'n'], &(number as u16).max(1).to_be_bytes()[..], b"hello"].concat())
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[body.len() as u8 + 2, kind], body].concat()
}
