//! How long the gateway takes to begin anew, and what sleeping sessions and waiting messages cost.
//!
//! `cargo bench --bench recovery` makes a store of `SESSIONS` (1,000,000) sessions without a connection, one subscription each, and `MESSAGES` (10,000,000)
//! messages with a payload of 64 bytes that wait for them, one session each; then closes it as a kill would, without a word, and opens it again into a
//! bus. It prints bytes on the disk and in memory for each, and the seconds that opening took. With `MESSAGES=0 SESSIONS=10000000` it is the memory of
//! ten million sleeping sessions, which never expire unless `EXPIRY_SECS` says when. `FOLDER` (`target`) is on the disk that is meant. Times depend on the machine: the figure is what is left of a rate that
//! a plain reading of the same bytes has, which is printed beside it.

mod measure;

use std::{
    collections::VecDeque,
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant as Time,
};

use measure::{mebibytes, number, resident_bytes};
use smallvec::SmallVec;
use thingway::{
    bus::{Bus, BusConfig, Handle, NO_CORE},
    store::{self, Journal},
};
use thingway_contract::{
    ClientId, Delivery, Instant, Message, MessageHead, Properties, Qos, SubscriptionOptions, Topic, TopicFilter,
    TopicLimits, WillFate,
};
use thingway_store::{
    Appended, Attach, Attached, Backend, Bounds, Cause, DropCause, Durability, Epoch, FlushLimits, Host, Keeper,
    Publish, Record, Settings, Target,
};

const PAYLOAD_BYTES: usize = 64;
const RECORDS_PER_COMMIT: usize = 1000;

type Kept = Keeper<Handle, Box<dyn Backend>>;

fn main() {
    let (sessions, messages) = (number("SESSIONS", 1_000_000_u64), number("MESSAGES", 10_000_000_u64));
    if let Ok(path) = env::var("OPEN") {
        return open(Path::new(&path), sessions, messages);
    }
    let folder = env::var("FOLDER").unwrap_or_else(|_| "target".into());
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let path = folder.path().join("store");
    make(&path, sessions, messages);
    // In a process of its own, whose memory is only what opening takes.
    let program = env::current_exe().expect("a program");
    let opened = Command::new(program).env("OPEN", &path).status().expect("started");
    assert!(opened.success());
}

fn make(path: &Path, sessions: u64, messages: u64) {
    let begun = Time::now();
    let mut keeper = keeper(path);
    let mut pending = VecDeque::new();
    let expiry_secs = number("EXPIRY_SECS", u32::MAX);
    // Positions begin after the record that a start makes.
    let first = 2;
    for client in 0..sessions {
        // Each session takes three records; its number is the position of the first.
        let session = first + 3 * client;
        let client_id = ClientId::new(&format!("sensor-{client:08}"), 100).expect("valid");
        let attach = Attach { client_id, expiry_secs, will: None, keep_will: false };
        append(Record::Attach(Box::new(attach)), &mut pending, &mut keeper);
        let filter =
            TopicFilter::parse(&format!("plant/{}/sensor-{client:08}/set", client % 1000), TopicLimits::default());
        let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
        append(Record::Subscribe { session, filter: filter.expect("valid"), options }, &mut pending, &mut keeper);
        let detach =
            Record::Detach { session, attach: session, at: 1, expiry_secs: None, will: WillFate::Discard, unsent: 0 };
        append(detach, &mut pending, &mut keeper);
    }
    commit(&mut pending, &mut keeper);
    let sessions_bytes = disk_bytes(path);
    println!(
        "{sessions} sessions made in {:.1} s, {:.0} bytes each on the disk",
        begun.elapsed().as_secs_f64(),
        sessions_bytes as f64 / sessions as f64
    );
    if messages == 0 {
        return;
    }
    let begun = Time::now();
    let mut payload = [0; PAYLOAD_BYTES];
    for number in 0..messages {
        // Nothing that can be compressed.
        for (index, chunk) in payload.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&mix(number * 8 + index as u64).to_le_bytes());
        }
        let client = number % sessions;
        let topic = format!("plant/{}/sensor-{client:08}/set", client % 1000);
        let topic = Topic::parse(&topic, TopicLimits::default()).expect("valid");
        let head = MessageHead { qos: Qos::AtLeastOnce, ..MessageHead::default() };
        let message = Message::new(head, topic, Properties::default(), &payload);
        let session = first + 3 * client;
        let target = Target { session, qos: Qos::AtLeastOnce, retain: false, subscription_id: 0, rare: None };
        let targets = SmallVec::from_elem(target, 1);
        let publish = Publish { message, retains: false, exchange: None, targets, cause: Cause::None };
        append(Record::Publish(Arc::new(publish)), &mut pending, &mut keeper);
    }
    commit(&mut pending, &mut keeper);
    let counts = keeper.counts();
    assert_eq!((counts.sessions as u64, counts.messages as u64), (sessions, messages));
    let bytes = disk_bytes(path) - sessions_bytes.min(disk_bytes(path));
    println!(
        "{messages} messages queued in {:.1} s, {:.0} bytes each on the disk, {:.0} beyond the payload",
        begun.elapsed().as_secs_f64(),
        bytes as f64 / messages as f64,
        bytes as f64 / messages as f64 - PAYLOAD_BYTES as f64
    );
}

fn open(path: &Path, sessions: u64, messages: u64) {
    let plain = Time::now();
    let bytes = read_all(path);
    let plain = plain.elapsed().as_secs_f64();
    let before = resident_bytes();
    let begun = Time::now();
    let mut keeper = keeper(path);
    let opened = begun.elapsed().as_secs_f64();
    let mut bus = Bus::new(BusConfig::default(), "bench-");
    bus.keep(Journal::default());
    let mut lane = bus.lane(NO_CORE);
    bus.restore(&mut keeper, Instant::from_millis(1000), &mut lane).expect("restored");
    let restored = begun.elapsed().as_secs_f64();
    let resident = resident_bytes().saturating_sub(before);
    let (counts, gauges) = (keeper.counts(), bus.gauges());
    assert_eq!(
        (counts.messages as u64, gauges.sessions as u64, gauges.subscriptions as u64),
        (messages, sessions, sessions)
    );
    println!(
        "opened in {restored:.1} s, of which {opened:.1} s reading the log and rows; a plain reading of the {:.0} MiB takes {plain:.1} s",
        bytes as f64 / f64::from(1 << 20)
    );
    println!(
        "  {:.0} MiB resident, {:.0} bytes a session with all that waits for it",
        mebibytes(resident),
        resident as f64 / sessions as f64
    );
}

fn keeper(path: &Path) -> Kept {
    let settings = store::Settings { folder: path.to_owned(), durability: Durability::Os, cache_bytes: 8 << 20 };
    let backend = store::open(&settings).expect("opened");
    let many = Bounds { messages: usize::MAX, bytes: u64::MAX };
    let settings = Settings { detached: many, bytes_total: u64::MAX, ..Settings::default() };
    let (keeper, _) =
        Keeper::open(backend, settings, FlushLimits::default(), 64 << 20, Epoch(0), 1).expect("a store that is sound");
    keeper
}

fn append(record: Record, pending: &mut VecDeque<Appended<Handle>>, keeper: &mut Kept) {
    pending.push_back(Appended { record, handle: None });
    if pending.len() >= RECORDS_PER_COMMIT {
        commit(pending, keeper);
    }
}

fn commit(pending: &mut VecDeque<Appended<Handle>>, keeper: &mut Kept) {
    while !pending.is_empty() {
        keeper.commit(pending, &mut Nobody).map_err(|(_, error)| error).expect("appended");
    }
    while keeper.tend(false).expect("brought up to date") {}
}

/// Bytes that files take on the disk.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(path).iter().filter_map(|file| fs::metadata(file).ok()).map(|data| data.blocks() * 512).sum()
}

fn read_all(path: &Path) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for file in files(path) {
        let mut file = fs::File::open(file).expect("a file");
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            total += count as u64;
        }
    }
    total
}

fn files(path: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Nobody has a connection.
struct Nobody;

impl Host for Nobody {
    type Session = Handle;

    fn attached(&mut self, _: &Handle, _: Attached) {}

    fn deliver(&mut self, _: &Handle, _: Delivery) {}

    fn behind(&mut self, _: &Handle, _: bool) {}

    fn dropped(&mut self, cause: DropCause, count: u64) {
        panic!("{count} dropped: {cause:?}");
    }
}
