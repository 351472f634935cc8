use std::sync::Arc;

use arc_swap::ArcSwap;
use thingway_contract::{Instant, Protocol};

use super::{
    Cores,
    core::Clock,
    faults::Faults,
    limit::{Rate, TokenBucket},
};
use crate::{
    access::{Access, quota::Rates},
    bus::{Bus, Origin},
};

/// What all connections of a listener share.
pub struct Service<P: Protocol> {
    /// By what its connections come.
    pub origin: Arc<Origin>,
    /// The bus.
    pub bus: Arc<Bus>,
    /// The access rules.
    pub access: Arc<Access>,
    /// The protocol's settings for conversations to come; each keeps those that it began with.
    pub config: Arc<ArcSwap<P::Config>>,
    /// The cores.
    pub cores: Cores,
    /// The clock.
    pub clock: Clock,
    /// Where faults of peers are reported.
    pub faults: Faults,
    /// What each peer may send.
    pub rates: PeerRates,
    /// What all peers of the listener together may send; `None` for anything.
    pub shared_rates: Option<Arc<Rates>>,
}

/// How fast a peer may send. One that sends faster is read from more slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerRates {
    /// Publications; `None` for any number.
    pub messages: Option<Rate>,
    /// Bytes of all packets; `None` for any number.
    pub bytes: Option<Rate>,
}

/// What one peer may send now.
#[derive(Debug)]
pub(super) struct Allowance {
    pub(super) messages: Option<TokenBucket>,
    pub(super) bytes: Option<TokenBucket>,
}

impl Allowance {
    /// A full allowance; `None` without a rate.
    pub(super) fn new(rates: &PeerRates, now: Instant) -> Option<Box<Self>> {
        let bucket = |rate: Option<Rate>| rate.map(|rate| TokenBucket::new(rate, now));
        let (messages, bytes) = (bucket(rates.messages), bucket(rates.bytes));
        (messages.is_some() || bytes.is_some()).then(|| Box::new(Self { messages, bytes }))
    }
}
