//! A fuzz smoke on stable Rust: random input, seeded, for as long as `THINGWAY_FUZZ_SECONDS` says (a second by default).
//!
//! A failure prints its seed; `THINGWAY_FUZZ_SEED=… cargo test --test fuzz` runs that seed again, and nothing else.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod bus;
mod random;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use random::Random;

/// Runs `target` with seed after seed until the time is up.
fn smoke(name: &str, target: impl Fn(&mut Random)) {
    if let Ok(seed) = std::env::var("THINGWAY_FUZZ_SEED") {
        return target(&mut Random::new(seed.parse().expect("a seed is a number")));
    }
    let seconds = std::env::var("THINGWAY_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("whole seconds"));
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let seed = first.wrapping_add(runs);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&mut Random::new(seed)))) {
            eprintln!("{name} failed: THINGWAY_FUZZ_SEED={seed}");
            resume_unwind(panic);
        }
        runs += 1;
    }
    assert!(runs > 0, "{name} never ran");
    println!("{name}: {runs} runs in {seconds} s, seeds from {first}");
}

/// Whole packets of MQTT, to be damaged.
const PACKETS: &[&[u8]] = &[
    b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0",
    b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c",
    b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01c",
    b"\x30\x07\0\x03a/b\0x",
    b"\x32\x09\0\x03a/b\0\x01\0x",
    b"\x34\x0c\0\x03a/b\0\x02\x03\x23\0\x01x",
    b"\x40\x02\0\x01",
    b"\x50\x03\0\x01\0",
    b"\x62\x02\0\x02",
    b"\x70\x02\0\x02",
    b"\x82\x09\0\x05\0\0\x03a/#\x01",
    b"\xa2\x08\0\x06\0\0\x03a/#",
    b"\xc0\0",
    b"\xe0\x01\x04",
    b"\xf0\x06\x18\x04\x15\0\x01M",
];

#[test]
fn mqtt_bytes() {
    smoke("mqtt_bytes", |random| {
        let mut data = Vec::new();
        for _ in 0..random.below(20) {
            match random.below(4) {
                0 => data.extend((0..random.below(40)).map(|_| random.byte())),
                _ => data.extend_from_slice(PACKETS[random.below(PACKETS.len())]),
            }
        }
        for _ in 0..random.below(6) {
            if !data.is_empty() {
                let at = random.below(data.len());
                match random.below(3) {
                    0 => data[at] = random.byte(),
                    1 => data[at] ^= 1 << random.below(8),
                    _ => drop(data.drain(at..(at + random.below(8)).min(data.len()))),
                }
            }
        }
        thingway_mqtt::fuzz_bytes(&data);
    });
}

#[test]
fn bus_operations() {
    smoke("bus_operations", bus::operations);
}
