//! The last retained message of every topic (MQTT 5.0, section 3.3.1.3).
//!
//! Messages are kept sorted by topic with `/` before every other character, so that a level's subtree lies together: `#` is a
//! range, and what `+` does not lead to is leapt over. The cost of a wildcard is proportional to what it matches.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
    ops::{Bound, ControlFlow, Range},
    sync::atomic::{AtomicUsize, Ordering as Memory},
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use thingway_contract::{Instant, Message, levels};

const SHARDS: usize = 32;
/// Most messages that are cloned, and most topics looked at, under one lock.
const BATCH: usize = 128;
const STEPS_PER_BATCH: usize = 4 * BATCH;
/// What a message costs beside its own weight: its place in the order, half-filled nodes counted, and its place by deadline.
const OVERHEAD: usize = 32;

/// Bounds on what is retained. At a bound new messages are refused; nothing is pushed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainLimits {
    /// Most messages, that is topics.
    pub messages_max: usize,
    /// Most bytes in one payload.
    pub payload_bytes_max: usize,
    /// Most bytes in all messages together, bookkeeping included.
    pub bytes_max: usize,
}

impl Default for RetainLimits {
    fn default() -> Self {
        Self { messages_max: 1_000_000, payload_bytes_max: 1024 * 1024, bytes_max: 1024 * 1024 * 1024 }
    }
}

/// Why a message was not retained. What its topic held before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetainRefusal {
    /// Its payload is larger than allowed.
    PayloadTooLarge,
    /// The topic is new, and there are as many as may be.
    TooManyMessages,
    /// All messages together would take more bytes than allowed.
    TooManyBytes,
}

/// All retained messages. Safe to use from many threads.
///
/// Topics are spread over locks by their first level. A lock is held for one change, or for a bounded batch of reading.
pub struct Retained {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    limits: ArcSwap<RetainLimits>,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// Where a walk over the messages that match a filter has come to. It holds no lock and nothing else of [`Retained`].
///
/// A walk sees every message that is there from its beginning to its end, once, in no promised order.
#[derive(Clone, Debug)]
pub struct RetainedCursor {
    filter: Box<str>,
    /// Reserved topics too, whatever the filter begins with.
    reserved: bool,
    /// Still to be visited; `None` until the first batch.
    shards: Option<Range<usize>>,
    /// The walk goes on in the first shard at this topic.
    seek: Vec<u8>,
}

#[derive(Default)]
struct Shard {
    topics: BTreeSet<ByTopic>,
    /// By deadline and address of those that expire.
    deadlines: BTreeMap<(Instant, usize), Message>,
}

impl Retained {
    /// Nothing yet.
    pub fn new(limits: RetainLimits) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::default(),
            limits: ArcSwap::from_pointee(limits),
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// New bounds for messages to come; what is kept stays.
    pub fn set_limits(&self, limits: RetainLimits) {
        self.limits.store(limits.into());
    }

    /// Messages kept, expired ones included until they are swept.
    pub fn len(&self) -> usize {
        self.messages.load(Memory::Relaxed)
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes kept, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Memory::Relaxed)
    }

    /// Keeps a message in the place of its topic's last, which is returned. One with an empty payload removes only
    /// [MQTT-3.3.1-6], [MQTT-3.3.1-7].
    ///
    /// # Errors
    /// At a limit; the topic's last message stays.
    pub fn insert(&self, message: Message) -> Result<Option<Message>, RetainRefusal> {
        if message.payload().is_empty() {
            return Ok(self.remove(message.topic()));
        }
        let limits = **self.limits.load();
        if message.payload().len() > limits.payload_bytes_max {
            return Err(RetainRefusal::PayloadTooLarge);
        }
        let mut shard = self.shard(message.topic_bytes()).write();
        let old = shard.topics.get(&Seek(message.topic_bytes()) as &dyn Key).map_or(0, |old| cost(&old.0));
        self.reserve(old, cost(&message), limits)?;
        if let Some(place) = deadline(&message) {
            shard.deadlines.insert(place, message.clone());
        }
        let replaced = shard.topics.replace(ByTopic(message)).map(|ByTopic(old)| old);
        if let Some(place) = replaced.as_ref().and_then(deadline) {
            shard.deadlines.remove(&place);
        }
        Ok(replaced)
    }

    /// Forgets a topic's message, which is returned.
    pub fn remove(&self, topic: &str) -> Option<Message> {
        let mut shard = self.shard(topic.as_bytes()).write();
        let ByTopic(message) = shard.topics.take(&Seek(topic.as_bytes()) as &dyn Key)?;
        if let Some(place) = deadline(&message) {
            shard.deadlines.remove(&place);
        }
        self.release(&message);
        Some(message)
    }

    /// A topic's message, unless it has expired.
    pub fn get(&self, topic: &str, now: Instant) -> Option<Message> {
        let shard = self.shard(topic.as_bytes()).read();
        let ByTopic(message) = shard.topics.get(&Seek(topic.as_bytes()) as &dyn Key)?;
        (!message.is_expired(now)).then(|| message.clone())
    }

    /// Visits the messages that match a filter, as [`RetainedCursor`] describes it, until `visit` breaks. No lock is held meanwhile.
    pub fn matching(&self, filter: &str, now: Instant, mut visit: impl FnMut(&Message) -> ControlFlow<()>) {
        let mut cursor = RetainedCursor::new(filter);
        let mut batch = Vec::new();
        loop {
            let more = self.next_batch(&mut cursor, now, BATCH, &mut batch);
            if batch.iter().try_for_each(&mut visit).is_break() || !more {
                return;
            }
            batch.clear();
        }
    }

    /// Appends the next messages of a walk to `batch`: at most `limit`, and no more than are read in one go under a lock, which may
    /// be none. False when the walk is over.
    pub fn next_batch(
        &self,
        cursor: &mut RetainedCursor,
        now: Instant,
        limit: usize,
        batch: &mut Vec<Message>,
    ) -> bool {
        let RetainedCursor { filter, reserved, shards, seek } = cursor;
        let shards = shards.get_or_insert_with(|| {
            first_seek(filter, seek);
            self.shards_of(filter)
        });
        let Some(number) = shards.clone().next() else { return false };
        let full = batch.len() + limit.min(BATCH);
        let single = !filter.ends_with(['+', '#']);
        let shard = self.shards[number].read();
        let mut steps = 0;
        'seek: loop {
            let from = Seek(seek);
            for ByTopic(message) in
                shard.topics.range::<dyn Key, _>((Bound::Included(&from as &dyn Key), Bound::Unbounded))
            {
                if batch.len() == full || steps == STEPS_PER_BATCH {
                    seek.clear();
                    seek.extend_from_slice(message.topic_bytes());
                    return true;
                }
                steps += 1;
                let verdict = judge(filter, message.topic_bytes(), *reserved, single);
                if verdict.hit && !message.is_expired(now) {
                    batch.push(message.clone());
                }
                match verdict.then {
                    Then::Next => {}
                    Then::Leap(leap) => {
                        leap.write(message.topic_bytes(), seek);
                        continue 'seek;
                    }
                    Then::Over => break 'seek,
                }
            }
            break;
        }
        first_seek(filter, seek);
        shards.start += 1;
        shards.start < shards.end
    }

    /// Forgets messages that have expired, at most `budget`; how many that were. Its time is proportional to that.
    ///
    /// `gone` is called with each of them before anything else can be retained on its topic, so it must be short.
    pub fn expire(&self, now: Instant, budget: usize, mut gone: impl FnMut(&Message)) -> usize {
        let mut swept = 0;
        for shard in &self.shards {
            while swept < budget && shard.read().is_due(now) {
                // Freed after the lock is.
                let mut freed = Vec::new();
                let mut shard = shard.write();
                while freed.len() < BATCH.min(budget - swept) && shard.is_due(now) {
                    let Some((_, message)) = shard.deadlines.pop_first() else { break };
                    gone(&message);
                    freed.extend(shard.topics.take(&Seek(message.topic_bytes()) as &dyn Key));
                    self.release(&message);
                }
                drop(shard);
                swept += freed.len();
            }
        }
        swept
    }

    /// Lets a walk begin where another over the same filter had come to, as [`RetainedCursor::place`] told.
    pub fn resume(&self, cursor: &mut RetainedCursor, shard: usize, seek: Vec<u8>) {
        let shards = self.shards_of(&cursor.filter);
        cursor.shards = Some(shard.clamp(shards.start, shards.end)..shards.end);
        cursor.seek = seek;
    }

    fn shards_of(&self, filter: &str) -> Range<usize> {
        match levels(filter).next() {
            Some("+" | "#") | None => 0..SHARDS,
            Some(first) => {
                let only = self.shard_of(first.as_bytes());
                only..only + 1
            }
        }
    }

    fn shard(&self, topic: &[u8]) -> &RwLock<Shard> {
        &self.shards[self.shard_of(topic.split(|&byte| byte == b'/').next().unwrap_or_default())]
    }

    fn shard_of(&self, first_level: &[u8]) -> usize {
        self.hasher.hash_one(first_level) as usize % SHARDS
    }

    /// Counts a message of `new` bytes in the place of one of `old`, which is 0 for none.
    fn reserve(&self, old: usize, new: usize, limits: RetainLimits) -> Result<(), RetainRefusal> {
        let bounded = |counter: &AtomicUsize, add: usize, max: usize| {
            counter.fetch_update(Memory::Relaxed, Memory::Relaxed, |now| now.checked_add(add).filter(|sum| *sum <= max))
        };
        if old == 0 {
            bounded(&self.messages, 1, limits.messages_max).map_err(|_| RetainRefusal::TooManyMessages)?;
        }
        let result = if new <= old {
            self.bytes.fetch_sub(old - new, Memory::Relaxed);
            Ok(0)
        } else {
            bounded(&self.bytes, new - old, limits.bytes_max)
        };
        if result.is_err() && old == 0 {
            self.messages.fetch_sub(1, Memory::Relaxed);
        }
        result.map(|_| ()).map_err(|_| RetainRefusal::TooManyBytes)
    }

    fn release(&self, message: &Message) {
        self.messages.fetch_sub(1, Memory::Relaxed);
        self.bytes.fetch_sub(cost(message), Memory::Relaxed);
    }
}

impl std::fmt::Debug for Retained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retained").field("messages", &self.len()).field("bytes", &self.bytes()).finish()
    }
}

impl RetainedCursor {
    /// A walk over what matches a filter, without `$share/{group}/` and the like. A wildcard in front matches no topic beginning
    /// with `$` [MQTT-4.7.2-1].
    pub fn new(filter: &str) -> Self {
        Self { filter: Box::from(filter), reserved: false, shards: None, seek: Vec::new() }
    }

    /// A walk over everything, topics beginning with `$` included.
    pub fn everything() -> Self {
        Self { reserved: true, ..Self::new("#") }
    }

    /// Where it has come to, for [`Retained::resume`]; `None` before the first batch. It means nothing to a gateway that was started anew.
    pub fn place(&self) -> Option<(usize, &[u8])> {
        Some((self.shards.as_ref()?.start, &self.seek))
    }
}

impl Shard {
    fn is_due(&self, now: Instant) -> bool {
        self.deadlines.first_key_value().is_some_and(|((deadline, _), _)| *deadline <= now)
    }
}

fn cost(message: &Message) -> usize {
    message.weight() + OVERHEAD
}

fn deadline(message: &Message) -> Option<(Instant, usize)> {
    let expires_at = message.head().expires_at;
    (!expires_at.is_never()).then(|| (expires_at, message.topic_bytes().as_ptr().addr()))
}

/// A message in the order of topics.
struct ByTopic(Message);

/// A place in the order of topics, which need not be a topic.
struct Seek<'a>(&'a [u8]);

/// What [`ByTopic`] and [`Seek`] are compared by, so that a message needs no second copy of its topic as a key.
trait Key {
    fn bytes(&self) -> &[u8];
}

impl Key for ByTopic {
    fn bytes(&self) -> &[u8] {
        self.0.topic_bytes()
    }
}

impl Key for Seek<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Borrow<dyn Key + 'a> for ByTopic {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for dyn Key + '_ {}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for ByTopic {}

/// Byte order with `/` as the least. A topic holds no NUL, so nothing else is as low.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    let common = a.len().min(b.len());
    let mut at = 0;
    // Whole words first: topics share long beginnings.
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            at += (difference.trailing_zeros() / 8) as usize;
            return rank(a[at]).cmp(&rank(b[at]));
        }
        at += 8;
    }
    match (at..common).find(|&i| a[i] != b[i]) {
        Some(i) => rank(a[i]).cmp(&rank(b[i])),
        None => a.len().cmp(&b.len()),
    }
}

/// What a filter makes of a topic in a walk in order.
struct Verdict<'f> {
    hit: bool,
    then: Then<'f>,
}

enum Then<'f> {
    /// Look at the next topic.
    Next,
    /// Nothing before that place matches.
    Leap(Leap<'f>),
    /// Nothing after this topic matches.
    Over,
}

/// A place behind a topic: its first `keep` bytes, and what follows them.
struct Leap<'f> {
    keep: usize,
    tail: Tail<'f>,
}

enum Tail<'f> {
    /// Behind the whole subtree.
    Behind,
    /// Behind all reserved topics.
    Unreserved,
    /// The least that this rest of the filter matches, in the place of the level that begins at `keep`.
    Level(&'f str),
    /// The same, a level deeper.
    Below(&'f str),
}

impl Leap<'_> {
    fn write(&self, topic: &[u8], seek: &mut Vec<u8>) {
        seek.clear();
        seek.extend_from_slice(&topic[..self.keep]);
        match self.tail {
            // After `/`, which ranks as 0, and not after any other character.
            Tail::Behind => seek.push(1),
            Tail::Unreserved => seek.push(b'$' + 1),
            Tail::Level(rest) => extend_least(seek, rest),
            Tail::Below(rest) => {
                seek.push(b'/');
                extend_least(seek, rest);
            }
        }
    }
}

/// The least topic that can match, into `seek`.
fn first_seek(filter: &str, seek: &mut Vec<u8>) {
    seek.clear();
    extend_least(seek, filter);
}

/// Appends the levels before the first wildcard.
fn extend_least(seek: &mut Vec<u8>, filter: &str) {
    for (number, level) in levels(filter).enumerate() {
        if level == "#" {
            return;
        }
        if number > 0 {
            seek.push(b'/');
        }
        if level == "+" {
            return;
        }
        seek.extend_from_slice(level.as_bytes());
    }
}

/// `single` says that the filter's last level is no wildcard: then one topic at most matches for each choice of its `+`.
fn judge<'f>(filter: &'f str, topic: &[u8], reserved: bool, single: bool) -> Verdict<'f> {
    let miss = |then| Verdict { hit: false, then };
    if !reserved && topic.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        return miss(Then::Leap(Leap { keep: 0, tail: Tail::Unreserved }));
    }
    // The way out of a subtree without further matches: the next choice for the last `+`.
    let out = |chosen: Option<usize>| match chosen {
        Some(keep) => Then::Leap(Leap { keep, tail: Tail::Behind }),
        None => Then::Over,
    };
    let mut chosen = None;
    let mut rest = Some(filter);
    let mut start = Some(0);
    while let Some(wanted) = rest {
        let (level, after) = wanted.split_once('/').map_or((wanted, None), |(level, after)| (level, Some(after)));
        if level == "#" {
            return Verdict { hit: true, then: Then::Next };
        }
        let Some(from) = start else {
            return miss(Then::Leap(Leap { keep: topic.len(), tail: Tail::Below(wanted) }));
        };
        let end = topic[from..].iter().position(|&byte| byte == b'/').map_or(topic.len(), |len| from + len);
        if level == "+" {
            chosen = Some(end);
        } else {
            match topic[from..end].cmp(level.as_bytes()) {
                Ordering::Less => return miss(Then::Leap(Leap { keep: from, tail: Tail::Level(wanted) })),
                Ordering::Greater => return miss(out(chosen)),
                Ordering::Equal => {}
            }
        }
        start = (end < topic.len()).then_some(end + 1);
        rest = after;
    }
    if start.is_some() {
        return miss(out(chosen));
    }
    Verdict { hit: true, then: if single { out(chosen) } else { Then::Next } }
}

#[cfg(test)]
mod tests;
