//! Allocations a message on the whole way: transport, driver, protocol, bus, on one core and after everything has grown to what it needs.
//!
//! What the transport within the process allocates for what it carries is left out: it is no part of a gateway on a network. What is left:
//!
//! * one for each message that comes in: the message itself, which all its deliveries share;
//! * those of each subscriber's queue, which holds nothing while it is empty: its first places for the first message, and what it takes to grow to
//!   what comes before the subscriber has its turn;
//! * where a subscriber's window fills with messages that are not acknowledged, its places, which go when it is empty.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Waker},
};

use thingway::net::memory::pair;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    meter,
    scenarios::{self, SCENARIOS},
};

/// What a round of a scenario costs.
struct Expected {
    name: &'static str,
    /// Of the gateway, in one round.
    allocations: u64,
    /// What the gateway writes in one round: how often, and how many bytes at once.
    writes: &'static [(u64, usize)],
}

/// Bytes of a message of 64 bytes on its topic, without a packet identifier and with it, and of an acknowledgement.
const QOS0: usize = 94;
const QOS1: usize = 96;
const ACK: usize = 4;

const EXPECTED: &[Expected] = &[
    // Ten pairs, bursts of 32: the messages; each queue's first places, and its growth when the rest of the burst comes at once.
    Expected { name: "pairs, QoS 0", allocations: 10 * (32 + 2), writes: &[(10, 32 * QOS0)] },
    Expected { name: "pairs, QoS 1", allocations: 10 * (32 + 2), writes: &[(10, 32 * ACK), (10, 32 * QOS1)] },
    Expected { name: "pairs, QoS 2", allocations: 10 * (32 + 2), writes: &[(30, 32 * ACK), (10, 32 * QOS1)] },
    // The message, and its place in the queue.
    Expected { name: "lone messages, QoS 0", allocations: 20 * 2, writes: &[(20, QOS0)] },
    Expected { name: "lone messages, QoS 1", allocations: 20 * 2, writes: &[(20, ACK), (20, QOS1)] },
    // Eight messages; of each subscriber's queue the first places, and their growth.
    Expected { name: "fan-out 1 to 100, QoS 0", allocations: 8 + 100 * 2, writes: &[(100, 8 * QOS0)] },
    // Four hundred messages, and one queue that doubles from 4 places to 512. With QoS 1 also the window, which does the same, and its box.
    Expected { name: "fan-in 50 to 1, QoS 0", allocations: 400 + 7, writes: &[(1, 400 * QOS0)] },
    Expected { name: "fan-in 50 to 1, QoS 1", allocations: 400 + 7 + 8, writes: &[(50, 8 * ACK), (1, 400 * QOS1)] },
    Expected { name: "keep-alive ping", allocations: 0, writes: &[(50, 2)] },
];

/// Every gateway hashes with other seeds. Where it remembers topics two of them may fall on one place, and then push each other out for ever: about one
/// gateway in twenty has such a pair among twenty topics, and allocates for it.
const ATTEMPTS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_allocation_for_a_message_is_accounted_for() {
    let mut different = Vec::new();
    for Expected { name, allocations, writes } in EXPECTED {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name).expect("a scenario");
        let rounds = scenario.rounds as u64;
        let transport = rounds * writes.iter().map(|(count, bytes)| count * transport(*bytes)).sum::<u64>();
        let expected = rounds * allocations;
        let mut least = u64::MAX;
        for _ in 0..ATTEMPTS {
            let measured = scenarios::run(scenario).await;
            least = least.min(measured.allocations - transport);
            if least <= expected {
                let each = least as f64 / measured.messages as f64;
                println!("{name:<26} {each:.3} allocations a message, {least} in {rounds} rounds");
                break;
            }
        }
        if least != expected {
            different.push(format!("{name}: {least} in {rounds} rounds, not {expected}"));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

/// Allocations of the transport within the process for so many bytes that are written at once to a peer that has read all before.
fn transport(bytes: usize) -> u64 {
    let (mut reader, mut writer) = pair(1 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    let content = vec![0; bytes];
    let mut room = vec![0; bytes];
    let count = meter::allocations(|| {
        let written = Pin::new(&mut writer).poll_write_vectored(&mut cx, &[IoSlice::new(&content)]);
        assert!(matches!(written, std::task::Poll::Ready(Ok(count)) if count == bytes));
    });
    let mut buffer = ReadBuf::new(&mut room);
    assert!(Pin::new(&mut reader).poll_read(&mut cx, &mut buffer).is_ready());
    assert_eq!(buffer.filled().len(), bytes);
    count
}
