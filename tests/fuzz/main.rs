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

/// Datagrams of MQTT-SN, to be damaged.
const MQTT_SN_DATAGRAMS: &[&[u8]] = &[
    b"\x03\x01\x01",
    b"\x07\x04\x04\x01\0\x0ac",
    b"\x07\x04\x08\x01\0\x0ac",
    b"\x0c\x03PLAIN\0u\0p",
    b"\x05\x07\x20wt",
    b"\x04\x09wm",
    b"\x09\x0a\0\0\0\x01a/b",
    b"\x08\x0d\x20\0\x01\0\x02x",
    b"\x08\x0c\x62ab\0\0x",
    b"\x08\x0c\x40\0\x01\0\x03x",
    b"\x08\x12\x20\0\x04a/#",
    b"\x07\x0b\0\x01\0\x05\0",
    b"\x04\x10\0\x03",
    b"\x03\x16c",
    b"\x04\x18\0\x0a",
    b"\x05\xfe\0nn\x07\x04\x04\x01\0\x0ac",
    b"\x01\0\x09\x0c\0\0\x01\0\0",
];

/// Datagrams of CoAP, to be damaged.
const COAP_DATAGRAMS: &[&[u8]] = &[
    b"\x40\0\0\x01",
    b"\x41\x01\0\x02t\x60\x52ps\x01a",
    b"\x40\x03\0\x03\xb2ps\x01a\xffx",
    b"\x50\x02\0\x04\xb2ps\x01a\x45q=1&r\xffx",
    b"\x41\x03\0\x05t\xb2ps\x01a\xd1\x03\x08\xff0123456789abcdef",
    b"\x41\x01\0\x06t\xbb.well-known\x04core",
    b"\x41\x02\0\x07t\xb4mqtt\x0aconnection\x4ac=1&u=2&p=3",
    b"\x60\0\0\x01",
    b"\x70\0\0\x02",
];

/// A few of these packets and some noise, in parts damaged.
fn damaged(random: &mut Random, packets: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..random.below(20) {
        match random.below(4) {
            0 => data.extend((0..random.below(40)).map(|_| random.byte())),
            _ => data.extend_from_slice(packets[random.below(packets.len())]),
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
    data
}

#[test]
fn mqtt_bytes() {
    smoke("mqtt_bytes", |random| thingway_mqtt::fuzz_bytes(&damaged(random, PACKETS)));
}

#[test]
fn mqtt_sn_bytes() {
    smoke("mqtt_sn_bytes", |random| thingway_mqtt_sn::fuzz_bytes(&damaged(random, MQTT_SN_DATAGRAMS)));
}

#[test]
fn coap_bytes() {
    smoke("coap_bytes", |random| thingway_coap::fuzz_bytes(&damaged(random, COAP_DATAGRAMS)));
}

/// Records as they are in the store's log, to be damaged: an acknowledgement, the end of a session, a start, an unsubscription.
const RECORDS: &[&[u8]] =
    &[b"\x0b\x07\x05", b"\x03\x05", b"\x0e\x09", b"\x07\x05\x03a/b\x0b\x07\x05", b"\x09\x01\x02\x00\x01\x05\x01t\x01x"];

#[test]
fn store_bytes() {
    smoke("store_bytes", |random| thingway_store::fuzz_bytes(&damaged(random, RECORDS)));
}

#[test]
fn bus_operations() {
    smoke("bus_operations", bus::operations);
}
