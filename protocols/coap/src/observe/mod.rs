//! Observing resources (RFC 7641), apart from what the resources are: who observes with which token, sequence numbers, and when a notification must be
//! confirmable.

mod sequence;

pub use sequence::{is_newer, next_sequence, resumed_sequence, wire_sequence};

use smallvec::SmallVec;
use thingway_contract::{Instant, SubscriptionOptions, Topic, TopicFilter};

use crate::codec::TokenBytes;

/// One entry of the list of observers (RFC 7641, section 4.1).
#[derive(Clone, Debug)]
pub struct Observation {
    /// Tells it apart from all others of the conversation, also those that were before.
    pub serial: u32,
    /// What it was registered with, and what its notifications carry.
    pub token: TokenBytes,
    /// What is observed.
    pub filter: TopicFilter,
    /// How it is subscribed; the identifier is shared by observations of the same filter.
    pub options: SubscriptionOptions,
    /// The request that it was registered by: [`crate::codec::option::request_key`].
    pub key: u64,
    /// The only Content-Format that the observer takes.
    pub accept: Option<u16>,
    /// The block size that the observer asked for, as an exponent.
    pub exponent: u8,
    /// The sequence number sent last, of which the observer knows [`wire_sequence`].
    pub sequence: u64,
    /// The message id of the last notification that was not confirmable.
    pub last_id: Option<u16>,
    /// Notifications since one was acknowledged.
    pub unconfirmed: u32,
    /// When one was acknowledged last, or the registration.
    pub confirmed_at: Instant,
    /// An acknowledgement has shown that the observer is there.
    pub proven: bool,
    /// Seconds after which a notification must be confirmable again.
    pub check_secs: u32,
    /// An empty payload ends it with 4.04, as the topic-data resources of the publish/subscribe draft have it.
    pub ends_when_empty: bool,
    /// When it ends with 4.04, because the topic expires.
    pub ends_at: Instant,
}

/// Added to the identifier of a topic-data resource's subscription in that of the subscription to its configuration. Identifiers have 28 bits (MQTT 5.0,
/// section 3.8.2.1.2), of which this is the highest.
pub const RECORD: u32 = 1 << 27;

impl Observation {
    /// True when the next notification must be acknowledged (RFC 7641, section 4.5): the last such is too long ago, or too many went out since.
    pub fn must_confirm(&self, unconfirmed_max: u32, now: Instant) -> bool {
        self.unconfirmed >= unconfirmed_max || self.confirmed_at.plus_secs(self.check_secs.into()) <= now
    }

    /// A notification was acknowledged.
    pub fn confirmed(&mut self, now: Instant) {
        self.proven = true;
        self.unconfirmed = 0;
        self.confirmed_at = now;
    }
}

/// All observations of one peer.
#[derive(Debug, Default)]
pub struct Observations {
    list: Vec<Observation>,
    last_serial: u32,
    last_id: u32,
    changed: bool,
}

impl Observations {
    /// True, once, after there was a change by which the list to be left to another conversation may have become another.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is to become an observation, or was, has changed.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// Other conditions for the observation with a serial number: the seconds after which a notification must be acknowledged, and when it ends.
    pub fn set_terms(&mut self, serial: u32, check_secs: u32, ends_at: Instant) {
        if let Some(observation) = self.list.iter_mut().find(|observation| observation.serial == serial) {
            self.changed |= (observation.check_secs, observation.ends_at) != (check_secs, ends_at);
            (observation.check_secs, observation.ends_at) = (check_secs, ends_at);
        }
    }

    /// The serial number of the next observation.
    pub fn fresh_serial(&mut self) -> u32 {
        // Tags of the message layer: the largest means none.
        self.last_serial = (self.last_serial + 1) % (u32::MAX / 2);
        self.last_serial
    }

    /// A subscription identifier for a filter that no other observation has: one that was not used for long.
    pub fn fresh_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id % (RECORD - 1) + 1;
            if self.list.iter().all(|other| other.options.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Adds an observation; one with the same token makes room and is given back (RFC 7641, section 4.1).
    pub fn insert(&mut self, observation: Observation) -> Option<Observation> {
        self.changed = true;
        let before = self.remove_token(&observation.token);
        self.last_id = self.last_id.max(observation.options.id);
        if self.list.is_empty() {
            // Most peers have one.
            self.list.reserve_exact(1);
        }
        self.list.push(observation);
        before
    }

    /// The serial numbers of those that a delivery with these identifiers is for. The session may have been left with subscriptions that are nobody's
    /// observations any more, and whose identifiers are in use again; so the topic must match, too.
    pub fn targets(&self, ids: &[u32], topic: Topic<'_>) -> SmallVec<[u32; 4]> {
        let fits = |entry: &&Observation| ids.contains(&entry.options.id) && entry.filter.matches(topic);
        self.list.iter().filter(fits).map(|entry| entry.serial).collect()
    }

    /// When the first of them ends.
    pub fn ends_at(&self) -> Instant {
        self.list.iter().map(|observation| observation.ends_at).min().unwrap_or(Instant::NEVER)
    }

    /// The observation with a token.
    pub fn find_token(&self, token: &[u8]) -> Option<&Observation> {
        self.list.iter().find(|observation| observation.token.as_slice() == token)
    }

    /// The observation with a serial number.
    pub fn get_mut(&mut self, serial: u32) -> Option<&mut Observation> {
        self.list.iter_mut().find(|observation| observation.serial == serial)
    }

    /// The observation whose last notification had a message id.
    pub fn find_message(&self, id: u16) -> Option<u32> {
        self.list.iter().find(|observation| observation.last_id == Some(id)).map(|observation| observation.serial)
    }

    /// Removes the observation with a token.
    pub fn remove_token(&mut self, token: &[u8]) -> Option<Observation> {
        let at = self.list.iter().position(|observation| observation.token.as_slice() == token)?;
        self.changed = true;
        Some(self.list.remove(at))
    }

    /// Removes the observation with a serial number.
    pub fn remove(&mut self, serial: u32) -> Option<Observation> {
        let at = self.list.iter().position(|observation| observation.serial == serial)?;
        self.changed = true;
        Some(self.list.remove(at))
    }

    /// All, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Observation> {
        self.list.iter()
    }

    /// Takes all out.
    pub fn take_all(&mut self) -> Vec<Observation> {
        self.changed |= !self.list.is_empty();
        std::mem::take(&mut self.list)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
