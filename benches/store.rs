//! The store on the disk next to a plain file: what appending costs beyond the disk itself.
//!
//! `cargo bench --bench store` appends blocks of 1, 64 and 1,024 records of 150 bytes, in turns to a plain file and to the store, and prints medians over
//! `ROUNDS` (11): of the time an append takes, and of the store's ratio to the plain file in the same round. Disks differ and are noisy; the ratio is the
//! figure. Before that it writes `RECORDS` (1,000,000) in blocks of 64 and prints what they take on the disk and in memory, how long the longest append
//! took, and how long opening takes after that. `FOLDER` (`target`) is on the disk that is meant.

mod measure;

use std::{
    env, fs,
    fs::File,
    io::Write,
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use measure::{mebibytes, number, resident_bytes};
use thingway::store::{Embedded, Settings};
use thingway_store::{Backend, Durability};

const RECORD_BYTES: usize = 150;
/// How long a contender appends in a round.
const TURN: Duration = Duration::from_millis(250);

fn main() {
    let folder = env::var("FOLDER").unwrap_or_else(|_| "target".into());
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    grow(&folder.path().join("grown"), number("RECORDS", 1_000_000));
    let rounds = number("ROUNDS", 11).max(1);
    for records in [1, 64, 1_024] {
        compare(folder.path(), records, rounds);
    }
}

fn compare(folder: &Path, records: u64, rounds: usize) {
    let folder = folder.join(records.to_string());
    fs::create_dir_all(&folder).expect("made");
    let open = |name: &str, durability| Embedded::open(&Settings::new(folder.join(name), durability)).expect("opened");
    let (mut fsync, mut os) = (open("fsync", Durability::Fsync), open("os", Durability::Os));
    let plain = |name: &str| File::create(folder.join(name)).expect("made");
    let (mut plain_fsync, mut plain_os) = (plain("plain fsync"), plain("plain os"));
    let (mut positions, mut times) = ([1; 4], [const { Vec::new() }; 4]);
    for _ in 0..rounds {
        for contender in 0..4 {
            let position = &mut positions[contender];
            let time = turn(records, position, |first, block| match contender {
                0 => plain_fsync.write_all(block).and_then(|()| plain_fsync.sync_data()).expect("written"),
                1 => fsync.append(first, block).expect("appended"),
                2 => plain_os.write_all(block).expect("written"),
                _ => os.append(first, block).expect("appended"),
            });
            times[contender].push(time);
        }
    }
    println!("blocks of {records} records of {RECORD_BYTES} bytes, {rounds} rounds");
    for (name, at) in [("fsync", 0), ("os", 2)] {
        let ratios = times[at].iter().zip(&times[at + 1]).map(|(plain, store)| plain / store).collect();
        let (plain, store) = (median(times[at].clone()), median(times[at + 1].clone()));
        println!(
            "  {name:<6} plain file {:>9.1} us an append, store {:>9.1} us; the store appends {:.2} of what the file does ({:.0} records/s)",
            plain * 1e6,
            store * 1e6,
            median(ratios),
            records as f64 / store,
        );
    }
}

/// Appends for a while; the seconds that one append took.
fn turn(records: u64, position: &mut u64, mut append: impl FnMut(u64, &[u8])) -> f64 {
    let (mut spent, mut count) = (Duration::ZERO, 0);
    while spent < TURN {
        let block = block(*position, records);
        let begun = Instant::now();
        append(*position, &block);
        spent += begun.elapsed();
        *position += records;
        count += 1;
    }
    spent.as_secs_f64() / f64::from(count)
}

fn grow(folder: &Path, records: u64) {
    const BLOCK: u64 = 64;
    let settings = Settings::new(folder, Durability::Os);
    let resident_before = resident_bytes();
    let mut store = Embedded::open(&settings).expect("opened");
    let (mut longest, mut resident_max, mut spent) = (Duration::ZERO, 0, Duration::ZERO);
    for first in (1..=records).step_by(BLOCK as usize) {
        let block = block(first, BLOCK);
        let begun = Instant::now();
        store.append(first, &block).expect("appended");
        let took = begun.elapsed();
        (longest, spent) = (longest.max(took), spent + took);
        if (first / BLOCK).is_multiple_of(256) {
            resident_max = resident_max.max(resident_bytes());
        }
    }
    let bytes = bytes_on_disk(folder);
    println!("{records} records in blocks of {BLOCK}, os");
    println!(
        "  appends       {:>9.2} s in all, the longest {:.1} ms",
        spent.as_secs_f64(),
        longest.as_secs_f64() * 1e3
    );
    println!(
        "  disk          {:>9.1} bytes a record ({:.0} MiB; the store says {:.0})",
        bytes as f64 / records as f64,
        mib(bytes),
        mib(store.bytes())
    );
    println!(
        "  memory        {:>9.1} MiB more than before at most",
        mebibytes(resident_max.saturating_sub(resident_before))
    );
    drop(store);
    let begun = Instant::now();
    let mut store = Embedded::open(&settings).expect("opened");
    println!("  opening       {:>9.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    let mut read = 0;
    let mut visit = |_, block: &[u8]| {
        read += block.len();
        ControlFlow::Continue(())
    };
    store.blocks(1, &mut visit).expect("read");
    assert!(read as u64 >= records * RECORD_BYTES as u64, "{read}");
    println!("  reading all   {:>9.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    println!(
        "  memory        {:>9.1} MiB more than before, with it open again",
        mebibytes(resident_bytes().saturating_sub(resident_before))
    );
    let begun = Instant::now();
    store.trim(records).expect("trimmed");
    println!("  trimming all  {:>9.1} ms; {:.0} MiB are left", begun.elapsed().as_secs_f64() * 1e3, mib(store.bytes()));
}

/// Records such as sensors publish.
fn block(first: u64, records: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(records as usize * RECORD_BYTES);
    for number in first..first + records {
        let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let _ = write!(
            block,
            "{{\"device\":\"sensor-{:05}\",\"time\":17000{number:08},\"temperature\":{}.{:02},\"humidity\":{}.{},\"battery\":{},\"id\":\"{chance:016x}\",",
            chance % 10_007,
            15 + chance % 17,
            chance % 97,
            30 + chance % 61,
            chance % 10,
            chance % 101,
        );
        block.resize((number - first + 1) as usize * RECORD_BYTES, b'0');
    }
    block
}

fn bytes_on_disk(path: &Path) -> u64 {
    let data = fs::metadata(path).expect("it is there");
    let inside = data.is_dir().then(|| fs::read_dir(path).expect("a folder")).into_iter().flatten();
    data.blocks() * 512 + inside.map(|entry| bytes_on_disk(&entry.expect("an entry").path())).sum::<u64>()
}

fn mib(bytes: u64) -> f64 {
    mebibytes(bytes as usize)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
