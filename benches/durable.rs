//! Durable QoS 1 through the whole gateway, next to the disk's own limit.
//!
//! `cargo bench --bench durable` lets 1, 64 and 1,024 publishers (`PUBLISHERS=1,64,1024`), each with one message under way at a time, publish to a
//! subscriber that is away and whose session is kept, in turns with a loop that appends as many records of the same size to a plain file and calls
//! fdatasync. It prints medians over `ROUNDS` (7), and the gateway's share of the plain loop in the same round. With 64 publishers the loop appends 64
//! records a time: what a store could do at best that answers each publisher only when its message is on the disk. The third contender is the gateway
//! without anything to keep: the same publishers to a subscriber that is connected and whose session is not kept, once with a store on the disk and once
//! with `durability = "memory"`, which shows what the store costs others. Publishers run in this process, on the machine's remaining cores.

mod measure;

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use measure::number;
use thingway::{
    config::{Bind, Config, Listener, ListenerKind, Listeners, StoreDurability},
    gateway::Gateway,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PAYLOAD: &[u8] = &[b'x'; 64];
/// Bytes of such a message in the log: head, topic, payload and one target.
const RECORD_BYTES: usize = 96;

fn main() {
    let folder = env::var("FOLDER").unwrap_or_else(|_| "target".into());
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let rounds = number("ROUNDS", 7_usize).max(1);
    let turn = Duration::from_millis(number("TURN_MS", 1500));
    let list = env::var("PUBLISHERS").unwrap_or_else(|_| "1,64,1024".into());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    for publishers in list.split(',').map(|number| number.parse::<usize>().expect("a number")) {
        let durable = runtime.block_on(gateway(&folder.path().join(format!("d{publishers}")), StoreDurability::Fsync));
        let memory = runtime.block_on(gateway(&folder.path().join(format!("m{publishers}")), StoreDurability::Memory));
        let address = |gateway: &Gateway| gateway.address("tcp.default").expect("an address");
        let (to, beside) = (address(&durable), address(&memory));
        subscribe_and_leave(to);
        let (_present, _present_there) = (subscribe_and_stay(to), subscribe_and_stay(beside));
        let mut rows: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            rows[0].push(plain(&folder.path().join("plain"), publishers, turn));
            rows[1].push(runtime.block_on(publish(to, "kept/t", publishers, turn)));
            rows[2].push(runtime.block_on(publish(to, "other/t", publishers, turn)));
            rows[3].push(runtime.block_on(publish(beside, "other/t", publishers, turn)));
        }
        let share = |of: usize, to: usize| median(rows[of].iter().zip(&rows[to]).map(|(a, b)| a / b).collect());
        println!(
            "{publishers} publishers, one message of {} bytes under way each; medians of {rounds} rounds",
            PAYLOAD.len()
        );
        println!("  plain append and fdatasync  {:9.0} messages/s", median(rows[0].clone()));
        println!(
            "  kept, durability fsync      {:9.0} messages/s; {:.2} of the plain loop",
            median(rows[1].clone()),
            share(1, 0)
        );
        println!("  not kept, beside a store    {:9.0} messages/s", median(rows[2].clone()));
        println!(
            "  not kept, durability memory {:9.0} messages/s; beside a store {:.2} of it",
            median(rows[3].clone()),
            share(2, 3)
        );
        runtime.block_on(async {
            durable.drain(Duration::from_secs(1)).await;
            memory.drain(Duration::from_secs(1)).await;
        });
    }
}

async fn gateway(folder: &Path, durability: StoreDurability) -> Gateway {
    let mut config = Config { listeners: Listeners::none(), ..Config::default() };
    config.dashboard.enable = false;
    config.gateway.data_dir = folder.to_owned();
    config.store.durability = durability;
    // The subscriber is away all the time.
    config.queue.offline_messages_max = 1000;
    let bind: Bind = "127.0.0.1:0".parse().expect("an address");
    config.listeners.of_mut(ListenerKind::Tcp).insert("default".into(), Listener { bind, ..Listener::default() });
    Gateway::start(config).await.expect("a gateway")
}

/// MQTT 3.1.1: CONNECT.
fn connect_packet(id: &str, clean: bool) -> Vec<u8> {
    let flags = if clean { 2 } else { 0 };
    let mut body = [&[0, 4][..], b"MQTT", &[4, flags, 0, 0]].concat();
    body.extend_from_slice(&(id.len() as u16).to_be_bytes());
    body.extend_from_slice(id.as_bytes());
    [&[0x10, body.len() as u8][..], &body].concat()
}

fn subscribe(to: SocketAddr, id: &str, clean: bool, filter: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("connected");
    stream.write_all(&connect_packet(id, clean)).expect("sent");
    stream.read_exact(&mut [0; 4]).expect("CONNACK");
    let body = [&[0, 1, 0, filter.len() as u8][..], filter.as_bytes(), &[1]].concat();
    stream.write_all(&[&[0x82, body.len() as u8][..], &body].concat()).expect("sent");
    stream.read_exact(&mut [0; 5]).expect("SUBACK");
    stream
}

fn subscribe_and_leave(to: SocketAddr) {
    let mut stream = subscribe(to, "away", false, "kept/#");
    stream.write_all(&[0xe0, 0]).expect("sent");
    let _ = stream.read(&mut [0]);
}

/// A subscriber that reads, and acknowledges nothing but by QoS 0.
fn subscribe_and_stay(to: SocketAddr) -> std::thread::JoinHandle<()> {
    let mut stream = TcpStream::connect(to).expect("connected");
    stream.write_all(&connect_packet("present", true)).expect("sent");
    stream.read_exact(&mut [0; 4]).expect("CONNACK");
    stream.write_all(b"\x82\x0c\x00\x01\x00\x07other/#\x00").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("SUBACK");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    })
}

/// Messages that were acknowledged, per second.
async fn publish(to: SocketAddr, topic: &str, publishers: usize, turn: Duration) -> f64 {
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    let body = [&[0, topic.len() as u8][..], topic.as_bytes(), &[0, 1], PAYLOAD].concat();
    let packet = Arc::new([&[0x32, body.len() as u8][..], &body].concat());
    for number in 0..publishers {
        let (count, over, packet) = (count.clone(), over.clone(), packet.clone());
        let mut stream = tokio::net::TcpStream::connect(to).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.write_all(&connect_packet(&format!("p{number}"), true)).await.expect("sent");
        stream.read_exact(&mut [0; 4]).await.expect("CONNACK");
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&packet).await.expect("sent");
                stream.read_exact(&mut [0; 4]).await.expect("PUBACK");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    // What was under way when the clock starts is counted, what is when it stops is not.
    count.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(turn).await;
    let done = count.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a publisher");
    }
    done as f64 / seconds
}

fn plain(path: &Path, records: usize, turn: Duration) -> f64 {
    let mut file = fs::File::create(path).expect("a file");
    let block = vec![7; records * RECORD_BYTES];
    let begun = Instant::now();
    let mut appended = 0;
    while begun.elapsed() < turn {
        file.write_all(&block).expect("written");
        file.sync_data().expect("on the disk");
        appended += records;
    }
    appended as f64 / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
