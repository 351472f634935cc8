//! Listings and searches of the API with a million sessions, while messages flow and clients come and go.
//!
//! `cargo bench --bench listing` connects a million clients: three quarters MQTT inside the process, with user names, and a quarter MQTT-SN over UDP, each from an
//! address of its own in 127.0.0.0/8. `SESSIONS=100000 cargo bench --bench listing` connects fewer. `RATE` (50000) is how many messages a second flow between 50
//! publishers and their subscribers, `CHURN` (100) how many clients a second come and go, `REQUESTS` (200) how often each listing is asked for, over one
//! connection, `QUIET` (5) for how many seconds messages flow before anything is listed.
//!
//! All answers are looked at; one that is not as expected ends the bench with a panic, and so does a message that is lost.

mod measure;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::Value;
use thingway::{
    config::{Bind, Config, Listener, ListenerKind, ListenerProtocol, Listeners, OrInfinity, StoreDurability},
    gateway::Gateway,
    net::memory::{BUFFER_BYTES_MAX, MemoryListener, MemoryStream, pair},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use measure::{crowd::Crowd, mebibytes, number, resident_bytes};

/// Clients that are asked before the first answer is awaited.
const BATCH: usize = 512;
/// Publishers, each with a subscriber of its own.
const PAIRS: usize = 50;
const PASSWORD: &str = "correct horse";
/// How long messages may be under way when no more are sent.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let sessions = number("SESSIONS", 1_000_000).max(1000);
    // As the program does.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build();
    let runtime = runtime.expect("a runtime");
    let gateway = runtime.block_on(gateway());
    let api = gateway.api_address().expect("it is served");
    let listener = Arc::new(gateway.listen_in_memory("memory.default", &Listener::default()));
    let nodes = sessions / 4;
    let devices = sessions - nodes;
    println!("{devices} MQTT clients and {nodes} MQTT-SN clients, {} cores", gateway.cores().len());

    let begun = Instant::now();
    let clients = runtime.block_on(connect_devices(&listener, devices));
    let mut crowd = Crowd::new(gateway.address("udp.mqttsn").expect("it listens"));
    crowd.ask(0..nodes, connect_node, |_, answer| answer.starts_with(&[3, 0x05, 0]));
    let gauges = gateway.bus().gauges();
    println!(
        "  connected in {:.0} s: {} sessions, {} subscriptions, {} filters, {:.0} MiB resident",
        begun.elapsed().as_secs_f64(),
        gauges.sessions,
        gauges.subscriptions,
        gauges.filters,
        mebibytes(resident_bytes())
    );
    assert_eq!(gauges.sessions, sessions);

    let mut caller = Caller::new(api);
    let retained = retain(&mut caller, sessions / 10);
    let (flow, rest) = start_flow(listener);
    flow.measure(Duration::from_secs(number("QUIET", 5)), "before anything is listed");

    let before = resident_bytes();
    for (what, path) in [("clients", "/clients"), ("filters", "/topics")] {
        let begun = Instant::now();
        caller.get(path);
        println!("  first look at all {what}: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
    let took = resident_bytes().saturating_sub(before);
    let entries = sessions + gauges.filters;
    println!(
        "  directories: {:.1} MiB, {:.0} bytes for each of {entries} entries",
        mebibytes(took),
        took as f64 / entries as f64
    );

    flow.begin();
    println!("  {:<52} {:>8} {:>8} {:>8}", "ms", "median", "p99", "most");
    let mut slowest: f64 = 0.0;
    for listing in listings(devices, nodes, retained) {
        slowest = slowest.max(listing.measure(&mut caller, number("REQUESTS", 200)));
    }
    println!("  the slowest p99 is {slowest:.1} ms");
    flow.end("while things were listed");
    rest();
    drop(clients);
    runtime.block_on(gateway.drain(Duration::from_secs(10)));
}

/// A gateway as it is by default but for its listeners.
async fn gateway() -> Gateway {
    let mut config = Config { listeners: Listeners::none(), ..Config::default() };
    let bind: Bind = "127.0.0.1:0".parse().expect("an address");
    config.dashboard.bind = bind.clone();
    config.dashboard.first_password = PASSWORD.into();
    config.store.durability = StoreDurability::Memory;
    config
        .listeners
        .of_mut(ListenerKind::Tcp)
        .insert("default".into(), Listener { bind: bind.clone(), ..Listener::default() });
    let connection_rate = OrInfinity::Infinity;
    let listener = Listener { bind, protocol: ListenerProtocol::MqttSn, connection_rate, ..Listener::default() };
    config.listeners.udp.insert("mqttsn".into(), listener);
    Gateway::start(config).await.expect("a gateway")
}

async fn connect_devices(listener: &MemoryListener, count: usize) -> Vec<MemoryStream> {
    let mut clients = Vec::with_capacity(count);
    for first in (0..count).step_by(BATCH) {
        for number in first..(first + BATCH).min(count) {
            let mut client = open(listener);
            client.write_all(&connect(&format!("device-{number:07}"), Some(&user(number)))).await.expect("it is open");
            client.write_all(&subscribe(&filters(number))).await.expect("it is open");
            clients.push(client);
        }
        for (number, client) in clients.iter_mut().enumerate().skip(first) {
            read_connack(client).await;
            let mut suback = vec![0; 4 + filters(number).len()];
            client.read_exact(&mut suback).await.expect("an answer");
            assert!(suback[4..].iter().all(|code| *code <= 1), "{suback:?}");
        }
    }
    clients
}

fn user(number: usize) -> String {
    format!("tenant-{:05}", number / 10)
}

/// Of its own; every tenth hears what all hear, every thousandth shares the work and has one of QoS 1.
fn filters(number: usize) -> Vec<(String, u8)> {
    let mut filters = vec![(format!("device/{number:07}/command"), 0)];
    if number.is_multiple_of(10) {
        filters.push(("fleet/#".into(), 0));
    }
    if number.is_multiple_of(1000) {
        filters.push(("$share/workers/jobs".into(), 1));
    }
    filters
}

fn open(listener: &MemoryListener) -> MemoryStream {
    let (client, server) = pair(BUFFER_BYTES_MAX);
    listener.accept(server).expect("the listener has no limit");
    client
}

async fn read_connack(client: &mut MemoryStream) {
    let mut connack = [0; 4];
    client.read_exact(&mut connack).await.expect("an answer");
    assert_eq!(connack, [0x20, 2, 0, 0]);
}

/// Retains messages by the API; how many.
fn retain(caller: &mut Caller, count: usize) -> usize {
    for first in (0..count).step_by(1000) {
        let numbers = first..(first + 1000).min(count);
        let one =
            |number| serde_json::json!({ "topic": format!("state/{number:07}"), "payload": "on", "retain": true });
        caller.post("/publish/bulk", &numbers.map(one).collect());
    }
    count
}

/// Messages that flow on a thread of its own.
struct Flow {
    orders: mpsc::Sender<Order>,
    told: mpsc::Receiver<Told>,
}

/// Tell what was since the last order.
struct Order;

struct Told {
    secs: f64,
    sent: u64,
    received: u64,
    came_and_went: u64,
    micros: Histogram<u64>,
}

impl Flow {
    fn begin(&self) {
        self.orders.send(Order).expect("it flows");
        self.told.recv().expect("it flows");
    }

    fn end(&self, when: &str) {
        self.orders.send(Order).expect("it flows");
        let told = self.told.recv().expect("it flows");
        println!(
            "  {when}: {:.0} messages/s for {:.0} s, {} clients came and went; latency in ms: median {:.2}, p99 {:.2}, most {:.2}",
            told.received as f64 / told.secs,
            told.secs,
            told.came_and_went,
            told.micros.value_at_quantile(0.5) as f64 / 1e3,
            told.micros.value_at_quantile(0.99) as f64 / 1e3,
            told.micros.max() as f64 / 1e3,
        );
    }

    fn measure(&self, time: Duration, when: &str) {
        self.begin();
        // Nothing is told before it is asked for: this waits for the time to pass.
        assert!(self.told.recv_timeout(time).is_err(), "it flows");
        self.end(when);
    }
}

/// Has messages flow until the function that is given back is called, which checks that none was lost.
fn start_flow(listener: Arc<MemoryListener>) -> (Flow, impl FnOnce()) {
    let (orders, asked) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(flow(&listener, &stopped, &asked, &tell))
    });
    let rest = move || {
        stop.store(true, Ordering::Relaxed);
        let (sent, received) = thread.join().expect("messages flowed");
        println!("  {sent} messages were sent in all, {} were lost", sent - received);
        assert_eq!(sent, received);
    };
    (Flow { orders, told }, rest)
}

async fn flow(
    listener: &MemoryListener,
    stopped: &AtomicBool,
    asked: &mpsc::Receiver<Order>,
    tell: &mpsc::Sender<Told>,
) -> (u64, u64) {
    let (rate, churn) = (number("RATE", 50_000_u64), number("CHURN", 100_u64));
    let mut ends = Vec::new();
    for number in 0..PAIRS {
        let (mut from, mut to) = (open(listener), open(listener));
        from.write_all(&connect(&format!("publisher-{number}"), None)).await.expect("it is open");
        to.write_all(&connect(&format!("subscriber-{number}"), None)).await.expect("it is open");
        read_connack(&mut from).await;
        read_connack(&mut to).await;
        to.write_all(&subscribe(&[(format!("flow/{number:02}"), 0)])).await.expect("it is open");
        to.read_exact(&mut [0; 5]).await.expect("an answer");
        ends.push((from, to));
    }
    let packet_len = publish(0, 0).len();
    let begun = Instant::now();
    let new = || Told {
        secs: 0.0,
        sent: 0,
        received: 0,
        came_and_went: 0,
        micros: Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds"),
    };
    let (mut all, mut part, mut part_begun) = ((0, 0), new(), begun);
    let mut came = 0;
    let mut passing = std::collections::VecDeque::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut left: Vec<Vec<u8>> = vec![Vec::new(); PAIRS];
    let mut ended: Option<Instant> = None;
    loop {
        let nanos = begun.elapsed().as_nanos() as u64;
        if ended.is_none() {
            let owed = (nanos / 1000 * rate / 1_000_000).saturating_sub(all.0);
            for _ in 0..owed {
                let number = all.0 as usize % PAIRS;
                ends[number].0.write_all(&publish(number, nanos)).await.expect("it is open");
                all.0 += 1;
                part.sent += 1;
            }
            let owed = (nanos / 1000 * churn / 1_000_000).saturating_sub(came);
            for _ in 0..owed {
                let mut client = open(listener);
                client.write_all(&connect(&format!("passing-{came}"), None)).await.expect("it is open");
                client.write_all(&subscribe(&[(format!("passing/{came}"), 0)])).await.expect("it is open");
                passing.push_back(client);
                came += 1;
                if passing.len() > 100 {
                    passing.pop_front();
                    part.came_and_went += 1;
                }
            }
        }
        for ((_, to), left) in ends.iter_mut().zip(&mut left) {
            // What is there, without waiting.
            let read = std::future::poll_fn(|cx| {
                let mut read = tokio::io::ReadBuf::new(&mut buffer);
                let polled = tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut *to), cx, &mut read);
                std::task::Poll::Ready(if polled.is_ready() { read.filled().len() } else { 0 })
            });
            let count = read.await;
            left.extend_from_slice(&buffer[..count]);
            let now = begun.elapsed().as_nanos() as u64;
            let whole = left.len() / packet_len * packet_len;
            for packet in left[..whole].chunks_exact(packet_len) {
                let sent = packet[packet_len - 8..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                part.micros.saturating_record(now.saturating_sub(sent.expect("eight bytes")) / 1000);
                all.1 += 1;
                part.received += 1;
            }
            left.drain(..whole);
        }
        if let Ok(Order) = asked.try_recv() {
            let mut now = std::mem::replace(&mut part, new());
            now.secs = part_begun.elapsed().as_secs_f64();
            part_begun = Instant::now();
            tell.send(now).expect("somebody asked");
        }
        if stopped.load(Ordering::Relaxed) {
            let ended = *ended.get_or_insert_with(Instant::now);
            if all.0 == all.1 || ended.elapsed() > PATIENCE {
                return all;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Something that is listed or searched for.
struct Listing {
    what: &'static str,
    /// The path of the n-th request; `{}` is the cursor of the answer before.
    path: Box<dyn Fn(usize) -> String>,
    /// How many rows there are at least in an answer, and at most.
    rows: (usize, usize),
}

impl Listing {
    /// The 99th percentile in milliseconds.
    fn measure(&self, caller: &mut Caller, requests: usize) -> f64 {
        let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("bounds");
        let mut cursor = String::new();
        for number in 0..requests {
            let path = (self.path)(number).replace("{}", &cursor);
            let begun = Instant::now();
            let text = caller.get(&path);
            micros.saturating_record(begun.elapsed().as_micros() as u64);
            let answer: Value = serde_json::from_slice(&text).expect("JSON");
            let rows = answer["data"].as_array().map_or(1, Vec::len);
            assert!((self.rows.0..=self.rows.1).contains(&rows), "{path}: {rows} rows");
            cursor = answer["meta"]["cursor"].as_str().unwrap_or_default().to_owned();
        }
        let ms = |quantile: f64| micros.value_at_quantile(quantile) as f64 / 1e3;
        println!("  {:<52} {:>8.2} {:>8.2} {:>8.2}", self.what, ms(0.5), ms(0.99), micros.max() as f64 / 1e3);
        ms(0.99)
    }
}

fn listings(devices: usize, nodes: usize, retained: usize) -> Vec<Listing> {
    let new = |what, rows, path: Box<dyn Fn(usize) -> String>| Listing { what, path, rows };
    // Some device or node, another with each request.
    let device = move |n: usize| n * 7919 % devices;
    let node = move |n: usize| n * 7919 % nodes;
    let pages = devices / 100;
    let page = move |n: usize| 1 + n * 7919 % pages;
    vec![
        new("clients: the first page", (100, 100), Box::new(|_| "/clients?limit=100".into())),
        new("clients: any page", (100, 100), Box::new(move |n| format!("/clients?limit=100&page={}", page(n)))),
        new("clients: by cursor", (100, 100), Box::new(|_| "/clients_v2?limit=100&cursor={}".into())),
        new("clients: by cursor, 1,000 at a time", (1, 1000), Box::new(|_| "/clients_v2?limit=1000&cursor={}".into())),
        new(
            "clients: 10,000, the most at a time",
            (1, 10_000),
            Box::new(|_| "/clients_v2?limit=10000&cursor={}".into()),
        ),
        new("clients: one by its id", (1, 1), Box::new(move |n| format!("/clients/device-{:07}", device(n)))),
        new(
            "clients: part of an id that one has",
            (1, 1),
            Box::new(move |n| format!("/clients?like_clientid=ice-{:07}", device(n))),
        ),
        new("clients: part of an id that most have", (100, 100), Box::new(|_| "/clients?like_clientid=evic".into())),
        new(
            "clients: the same, any page",
            (100, 100),
            Box::new(move |n| format!("/clients?like_clientid=evic&page={}", page(n))),
        ),
        new(
            "clients: part of an id that nobody has",
            (0, 0),
            Box::new(|n| format!("/clients?like_clientid=nobody-{n}")),
        ),
        new("clients: a user name", (1, 10), Box::new(move |n| format!("/clients?username={}", user(device(n))))),
        new(
            "clients: two user names",
            (1, 20),
            Box::new(move |n| format!("/clients?username={}&username={}", user(device(n)), user(device(n + 1)))),
        ),
        new(
            "clients: part of a user name",
            (1, 100),
            Box::new(move |n| format!("/clients?like_username=ant-{:05}", device(n) / 10)),
        ),
        new("clients: an address", (1, 1), Box::new(move |n| format!("/clients?ip_address={}", address(node(n))))),
        new(
            "clients: a text in id, name or address, one",
            (1, 100),
            Box::new(move |n| format!("/clients?q={:07}", device(n))),
        ),
        new("clients: a text in id, name or address, many", (100, 100), Box::new(|_| "/clients?q=12".into())),
        new("clients: a protocol", (100, 100), Box::new(|_| "/clients?proto_name=mqtt-sn".into())),
        new("clients: without a connection", (0, 0), Box::new(|_| "/clients?conn_state=disconnected".into())),
        new(
            "clients: a protocol and a part of an id",
            (1, 100),
            Box::new(move |n| format!("/clients?proto_name=MQTT&like_clientid={:04}", n * 37 % 10_000)),
        ),
        new(
            "clients: connected since",
            (100, 100),
            Box::new(|_| "/clients?gte_connected_at=2020-01-01T00:00:00Z".into()),
        ),
        new("subscriptions: the first page", (100, 100), Box::new(|_| "/subscriptions?limit=100".into())),
        new(
            "subscriptions: any page",
            (100, 100),
            Box::new(move |n| format!("/subscriptions?limit=100&page={}", page(n))),
        ),
        new("subscriptions: by cursor", (100, 100), Box::new(|_| "/subscriptions?limit=100&cursor={}".into())),
        new(
            "subscriptions: to a topic, of one",
            (1, 1),
            Box::new(move |n| format!("/subscriptions?match_topic=device/{:07}/command", device(n))),
        ),
        new(
            "subscriptions: to a topic, of a tenth of all",
            (100, 100),
            Box::new(|_| "/subscriptions?match_topic=fleet/x".into()),
        ),
        new(
            "subscriptions: a filter",
            (1, 1),
            Box::new(move |n| format!("/subscriptions?topic=device/{:07}/command", device(n))),
        ),
        new(
            "subscriptions: a filter of a tenth of all",
            (100, 100),
            Box::new(|_| "/subscriptions?topic=fleet/%23".into()),
        ),
        new("subscriptions: a QoS that few have", (1, 100), Box::new(|_| "/subscriptions?qos=1".into())),
        new("subscriptions: a QoS that nobody has", (0, 0), Box::new(|_| "/subscriptions?qos=2".into())),
        new("subscriptions: a shared group", (1, 100), Box::new(|_| "/subscriptions?share_group=workers".into())),
        new(
            "subscriptions: of a client",
            (1, 3),
            Box::new(move |n| format!("/subscriptions?clientid=device-{:07}", device(n))),
        ),
        new("topics: the first page", (100, 100), Box::new(|_| "/topics?limit=100".into())),
        new("topics: any page", (100, 100), Box::new(move |n| format!("/topics?limit=100&page={}", page(n)))),
        new("topics: by cursor", (100, 100), Box::new(|_| "/topics?limit=100&cursor={}".into())),
        new("topics: one", (1, 1), Box::new(move |n| format!("/topics?topic=device/{:07}/command", device(n)))),
        new("retained messages: the first page", (100, 100), Box::new(|_| "/mqtt/retainer/messages?limit=100".into())),
        new(
            "retained messages: by cursor",
            (1, 100),
            Box::new(|_| "/mqtt/retainer/messages?limit=100&cursor={}".into()),
        ),
        new(
            "retained messages: any page",
            (1, 100),
            Box::new(move |n| format!("/mqtt/retainer/messages?limit=100&page={}", 1 + n * 7919 % (retained / 100))),
        ),
        new(
            "retained messages: a filter",
            (100, 100),
            Box::new(|_| "/mqtt/retainer/messages?limit=100&topic=state/%2B".into()),
        ),
        new("stats", (1, 1), Box::new(|_| "/stats".into())),
        new("monitor_current", (1, 1), Box::new(|_| "/monitor_current".into())),
    ]
}

/// Of a node, as the crowd gives them.
fn address(number: usize) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(0x7f01_0000 + number as u32)
}

/// Who asks the API, over one connection.
struct Caller {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Caller {
    fn new(api: SocketAddr) -> Self {
        let stream = TcpStream::connect(api).expect("it is served");
        stream.set_nodelay(true).expect("a socket");
        let mut caller = Self { stream: BufReader::new(stream), token: String::new() };
        let shown = serde_json::json!({ "username": "admin", "password": PASSWORD });
        let told: Value = serde_json::from_slice(&caller.ask("POST", "/login", &shown.to_string())).expect("JSON");
        caller.token = told["token"].as_str().expect("a token").to_owned();
        caller
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        self.ask("GET", path, "")
    }

    fn post(&mut self, path: &str, body: &Value) {
        self.ask("POST", path, &body.to_string());
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let token = &self.token;
        let length = body.len();
        let request = format!(
            "{method} /api/v5{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("it is served");
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status).expect("an answer");
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer");
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a number");
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).expect("an answer");
        let is_well = status.contains(" 200 ") || status.contains(" 202 ");
        assert!(is_well, "{path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }
}

fn connect(id: &str, user: Option<&str>) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(if user.is_some() { 0x82 } else { 2 });
    body.extend(0_u16.to_be_bytes());
    text(&mut body, id);
    user.iter().for_each(|user| text(&mut body, user));
    packet(0x10, &body)
}

fn subscribe(filters: &[(String, u8)]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for (filter, qos) in filters {
        text(&mut body, filter);
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// With the time in it.
fn publish(pair: usize, nanos: u64) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, &format!("flow/{pair:02}"));
    body.extend(nanos.to_be_bytes());
    packet(0x30, &body)
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "a length of one byte");
    [&[kind, body.len() as u8], body].concat()
}

fn connect_node(number: usize) -> Vec<u8> {
    // Clean session, protocol 1, a keep-alive of 18 hours.
    let body = [&[0x04, 0x04, 1, 0xff, 0xff], format!("node-{number:07}").as_bytes()].concat();
    [&[body.len() as u8 + 1], &body[..]].concat()
}
