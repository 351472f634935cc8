//! Shared subscriptions: one message to one member of a group (MQTT 5.0, section 4.8.2).

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use thingway_contract::{ShareName, SubscriptionOptions};

use crate::bus::routes::{Grant, PackedOptions};

/// How a group chooses the member that a message is offered to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ShareStrategy {
    /// Each member in turn.
    #[default]
    RoundRobin,
    /// Any member.
    Random,
    /// The member that took the last message, until it no longer takes one.
    Sticky,
    /// The same member for the same publisher, by the hash of its client identifier.
    HashClientId,
    /// The same member for the same topic, by the hash of the topic name.
    HashTopic,
}

/// The members of one `$share/{group}/{filter}`. Reading takes no lock and allocates nothing.
///
/// Joining and leaving copy the member list, in the size of the group.
pub struct SharedGroup<S> {
    name: ShareName,
    members: ArcSwap<Vec<ShareMember<S>>>,
    turn: AtomicU64,
    /// Address of the member that accepted last, 0 for none.
    favourite: AtomicUsize,
}

/// A session in a group.
#[derive(Debug)]
pub struct ShareMember<S> {
    session: Arc<S>,
    options: PackedOptions,
}

impl<S> Clone for ShareMember<S> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), options: self.options }
    }
}

impl<S> ShareMember<S> {
    /// The session.
    pub fn session(&self) -> &Arc<S> {
        &self.session
    }

    /// How it is to receive the group's messages.
    pub fn grant(&self) -> Grant<'static> {
        self.options.grant()
    }
}

impl<S> SharedGroup<S> {
    pub(in crate::bus) fn new(name: ShareName) -> Self {
        Self {
            name,
            members: ArcSwap::from_pointee(Vec::new()),
            turn: AtomicU64::new(0),
            favourite: AtomicUsize::new(0),
        }
    }

    /// The group and the filter that it shares.
    pub fn name(&self) -> &ShareName {
        &self.name
    }

    /// Members now.
    pub fn len(&self) -> usize {
        self.members.load().len()
    }

    /// True for a group that its last member has left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members in the order in which a message should be offered to them. Every member comes once.
    ///
    /// `key_hash` is the hash of the client identifier or topic for the two hashing strategies, and ignored by the others. A hash's
    /// member changes for few keys when members join or leave. Each call counts as a message.
    pub fn candidates(&self, strategy: ShareStrategy, key_hash: u64) -> Candidates<'_, S> {
        let members = self.members.load();
        let count = members.len();
        let first = match (strategy, count) {
            (_, 0 | 1) => 0,
            (ShareStrategy::RoundRobin, _) => (self.turn.fetch_add(1, Ordering::Relaxed) % count as u64) as usize,
            (ShareStrategy::Random, _) => {
                (mix(self.turn.fetch_add(1, Ordering::Relaxed) ^ self.seed()) % count as u64) as usize
            }
            (ShareStrategy::Sticky, _) => {
                let favourite = self.favourite.load(Ordering::Relaxed);
                members.iter().position(|member| Arc::as_ptr(&member.session).addr() == favourite).unwrap_or_else(
                    // Groups of the same sessions on many filters should not all stick to the first that joined.
                    || (mix(self.seed()) % count as u64) as usize,
                )
            }
            (ShareStrategy::HashClientId | ShareStrategy::HashTopic, _) => jump(key_hash, count),
        };
        Candidates { group: self, members, first }
    }

    /// Adds or replaces a member; the options it replaced. Writers must exclude each other.
    pub(in crate::bus) fn insert(&self, session: &Arc<S>, options: PackedOptions) -> Option<PackedOptions> {
        let mut members = Vec::clone(&self.members.load());
        let replaced = match members.iter_mut().find(|member| Arc::ptr_eq(&member.session, session)) {
            Some(member) => Some(std::mem::replace(&mut member.options, options)),
            None => {
                members.push(ShareMember { session: session.clone(), options });
                None
            }
        };
        self.members.store(Arc::new(members));
        replaced
    }

    /// Takes a member out; its options. Writers must exclude each other.
    pub(in crate::bus) fn remove(&self, session: &Arc<S>) -> Option<PackedOptions> {
        let current = self.members.load();
        let position = current.iter().position(|member| Arc::ptr_eq(&member.session, session))?;
        let mut members = Vec::clone(&current);
        // The last takes its place, so that hashes move for two members only.
        let member = members.swap_remove(position);
        self.members.store(Arc::new(members));
        Some(member.options)
    }

    /// The options of a member.
    pub fn options(&self, session: &Arc<S>) -> Option<SubscriptionOptions> {
        self.members.load().iter().find(|member| Arc::ptr_eq(&member.session, session)).map(|m| m.options.unpack())
    }

    /// Visits the members, in no order.
    pub fn for_each_member(&self, mut visit: impl FnMut(&Arc<S>)) {
        self.members.load().iter().for_each(|member| visit(&member.session));
    }

    fn seed(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }
}

impl<S> std::fmt::Debug for SharedGroup<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedGroup").field("name", &self.name).field("members", &self.len()).finish()
    }
}

/// A group's members as they were when the message came, in the order for that message.
pub struct Candidates<'a, S> {
    group: &'a SharedGroup<S>,
    members: arc_swap::Guard<Arc<Vec<ShareMember<S>>>>,
    first: usize,
}

impl<S> Candidates<'_, S> {
    /// The members in order; may be walked several times, as for the connected first and then for the offline.
    pub fn iter(&self) -> impl Iterator<Item = &ShareMember<S>> {
        let (before, from) = self.members.split_at(self.first);
        from.iter().chain(before)
    }

    /// Tells a sticky group who took the message.
    pub fn accepted(&self, member: &ShareMember<S>) {
        let address = Arc::as_ptr(&member.session).addr();
        // Reading first keeps the line shared between cores while the favourite stays.
        if self.group.favourite.load(Ordering::Relaxed) != address {
            self.group.favourite.store(address, Ordering::Relaxed);
        }
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Jump consistent hash (Lamping and Veach, 2014): growing from n to n + 1 buckets moves one key in n + 1.
fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0_i64);
    while next < buckets as i64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as i64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_of(count: usize) -> (SharedGroup<usize>, Vec<Arc<usize>>) {
        let group = SharedGroup::new(ShareName { group: "g".into(), filter: "t".into() });
        let sessions: Vec<_> = (0..count).map(Arc::new).collect();
        for session in &sessions {
            assert_eq!(group.insert(session, PackedOptions::new(SubscriptionOptions::default())), None);
        }
        (group, sessions)
    }

    fn order(group: &SharedGroup<usize>, strategy: ShareStrategy, key: u64) -> Vec<usize> {
        group.candidates(strategy, key).iter().map(|member| **member.session()).collect()
    }

    #[test]
    fn every_strategy_offers_to_every_member_once() {
        let (group, _sessions) = group_of(7);
        for strategy in [
            ShareStrategy::RoundRobin,
            ShareStrategy::Random,
            ShareStrategy::Sticky,
            ShareStrategy::HashClientId,
            ShareStrategy::HashTopic,
        ] {
            for key in 0..40 {
                let mut members = order(&group, strategy, mix(key));
                members.sort_unstable();
                assert_eq!(members, (0..7).collect::<Vec<_>>(), "{strategy:?}");
            }
        }
    }

    #[test]
    fn round_robin_is_even() {
        let (group, _sessions) = group_of(3);
        let firsts: Vec<_> = (0..6).map(|_| order(&group, ShareStrategy::RoundRobin, 0)[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn random_reaches_everybody() {
        let (group, _sessions) = group_of(5);
        let mut counts = [0; 5];
        for _ in 0..5000 {
            counts[order(&group, ShareStrategy::Random, 0)[0]] += 1;
        }
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
    }

    #[test]
    fn sticky_stays_until_its_member_leaves() {
        let (group, sessions) = group_of(4);
        let candidates = group.candidates(ShareStrategy::Sticky, 0);
        let third = candidates.iter().find(|member| **member.session() == 2).expect("a member");
        candidates.accepted(third);
        assert_eq!(order(&group, ShareStrategy::Sticky, 0)[0], 2);
        assert!(group.remove(&sessions[2]).is_some() && group.remove(&sessions[2]).is_none());
        assert!(!order(&group, ShareStrategy::Sticky, 0).contains(&2));
    }

    #[test]
    fn hashes_move_little_when_a_member_joins_or_leaves() {
        let (group, sessions) = group_of(10);
        let owners = |group: &_| -> Vec<usize> {
            (0..10_000).map(|key| order(group, ShareStrategy::HashTopic, mix(key))[0]).collect()
        };
        let before = owners(&group);
        assert_eq!(before, owners(&group));
        let eleventh = Arc::new(10);
        group.insert(&eleventh, PackedOptions::new(SubscriptionOptions::default()));
        let joined = owners(&group);
        let moved = before.iter().zip(&joined).filter(|(a, b)| a != b).count();
        assert!((700..1200).contains(&moved), "{moved} of 10000 moved to the eleventh");
        group.remove(&sessions[4]);
        let left = owners(&group);
        let moved = joined.iter().zip(&left).filter(|(a, b)| a != b).count();
        assert!((1400..2400).contains(&moved), "{moved} of 10000 moved when one of eleven left");
    }

    #[test]
    fn an_empty_group_offers_nobody() {
        let (group, _) = group_of(0);
        assert!(group.is_empty() && order(&group, ShareStrategy::Random, 1).is_empty());
    }
}
