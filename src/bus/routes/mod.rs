//! Who gets a message: from a topic to its subscribers, read without locks while others subscribe.
//!
//! Exact filters are a table, wildcard filters a trie whose edges are another. Both hold a filter's subscribers sorted by session, so a
//! session that several filters lead to is found by merging and named once.
//!
//! What is removed is dropped when no thread that could have seen it is still routing, and in small batches: the last
//! reference to a session may be let go somewhat later, on any thread that uses the routes.

mod cache;
mod grant;
mod list;
mod subscribers;
mod table;
mod trie;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use seize::{Collector, LocalGuard};
use smallvec::SmallVec;
use thingway_contract::{FilterKind, Message, ShareName, SubscriptionOptions, Topic, TopicFilter};

pub(in crate::bus) use grant::PackedOptions;
pub use grant::{Grant, Target};
pub use subscribers::ExclusiveTaken;

use self::{
    cache::{Cache, Known, TARGETS_MAX},
    list::Entry,
    subscribers::{Change, Cursor, Subscribers},
    table::{Alter, Names, Table},
    trie::Trie,
};
use crate::bus::shared::SharedGroup;

/// All subscriptions of a gateway, of sessions of type `S` that are told apart by their address.
///
/// It sets no limit of its own: the bus bounds the subscriptions of a session.
pub struct Routes<S: Send + Sync + 'static> {
    exact: Table<Exact<S>>,
    wildcard: Trie<S>,
    /// Filters in the trie, on a cache line that only they change: at 0 a reader passes the trie by.
    wildcard_filters: Alone<AtomicUsize>,
    /// Grows with every change, when it is done.
    version: Alone<AtomicU64>,
    counters: Alone<Counters>,
    collector: Collector,
}

/// Working memory of [`Routes::route`], kept by each thread so that routing allocates nothing, and what it remembers of the topics that came last.
pub struct RouteScratch<S> {
    order: BinaryHeap<Reverse<(usize, u32)>>,
    ids: Vec<u32>,
    cache: Cache<S>,
}

impl<S> Default for RouteScratch<S> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), ids: Vec::new(), cache: Cache::default() }
    }
}

impl<S> std::fmt::Debug for RouteScratch<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteScratch").finish_non_exhaustive()
    }
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RouteCounts {
    /// Different filters, without `$share/{group}/` and the like.
    pub filters: usize,
    /// Those of them with a wildcard.
    pub wildcard_filters: usize,
    /// Subscriptions, shared and exclusive ones included.
    pub subscriptions: usize,
    /// Shared subscriptions, each member counted.
    pub shared_subscriptions: usize,
}

/// A filter, as the management interface lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterInfo {
    /// The filter, without `$share/{group}/` and the like.
    pub filter: Arc<str>,
    /// Its plain and exclusive subscriptions.
    pub subscriptions: usize,
    /// Members of its shared subscriptions.
    pub shared_subscriptions: usize,
}

/// A filter without wildcards and its subscribers. Replaced whole.
struct Exact<S: Send + Sync + 'static> {
    filter: Arc<str>,
    subscribers: Subscribers<S>,
}

struct ExactName<'a>(&'a str);

#[derive(Default)]
struct Counters {
    exact_filters: AtomicUsize,
    subscriptions: AtomicUsize,
    shared_subscriptions: AtomicUsize,
    /// Those whose filter begins with `$`.
    reserved: AtomicUsize,
}

/// Keeps what many write away from what all read.
#[repr(align(128))]
#[derive(Default)]
struct Alone<T>(T);

impl<S: Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Send + Sync + 'static> Routes<S> {
    /// No subscriptions.
    pub fn new() -> Self {
        Self {
            exact: Table::new(),
            wildcard: Trie::new(),
            wildcard_filters: Alone::default(),
            // What a cache has not heard of is of version 0.
            version: Alone(AtomicU64::new(1)),
            counters: Alone::default(),
            collector: Collector::new(),
        }
    }

    /// Adds a subscription of any kind, or replaces the options of the same session's subscription; the options before, of which
    /// the retain handling is not kept.
    ///
    /// # Errors
    /// An exclusive filter that another session holds.
    pub fn insert(
        &self,
        filter: &TopicFilter,
        session: &Arc<S>,
        options: SubscriptionOptions,
    ) -> Result<Option<SubscriptionOptions>, ExclusiveTaken> {
        let guard = self.collector.enter();
        let options = PackedOptions::new(options);
        let replaced =
            self.update(filter, &guard, |current| Subscribers::insert(current, filter, session, options, &guard))?;
        self.version.0.fetch_add(1, Ordering::Release);
        if replaced.is_none() {
            self.counters.0.subscriptions.fetch_add(1, Ordering::Relaxed);
            self.counters.0.reserved.fetch_add(usize::from(is_reserved(filter)), Ordering::Relaxed);
            if matches!(filter.kind(), FilterKind::Shared(_)) {
                self.counters.0.shared_subscriptions.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(replaced.map(PackedOptions::unpack))
    }

    /// Takes a subscription out; false when there was none.
    pub fn remove(&self, filter: &TopicFilter, session: &Arc<S>) -> bool {
        let guard = self.collector.enter();
        if self.find(filter.filter(), &guard).is_none() {
            return false;
        }
        let removed = self.update(filter, &guard, |current| match current {
            Some(current) => current.remove(filter, session, &guard),
            None => (None, Change::Keep),
        });
        if removed.is_none() {
            return false;
        }
        self.version.0.fetch_add(1, Ordering::Release);
        self.counters.0.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.counters.0.reserved.fetch_sub(usize::from(is_reserved(filter)), Ordering::Relaxed);
        if matches!(filter.kind(), FilterKind::Shared(_)) {
            self.counters.0.shared_subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// The options of a subscription, of which the retain handling is not kept.
    pub fn options(&self, filter: &TopicFilter, session: &Arc<S>) -> Option<SubscriptionOptions> {
        let guard = self.collector.enter();
        Some(self.find(filter.filter(), &guard)?.find(filter, session, &guard)?.unpack())
    }

    /// A shared subscription, as to find another member for a message that was not acknowledged.
    pub fn group(&self, name: &ShareName) -> Option<Arc<SharedGroup<S>>> {
        let guard = self.collector.enter();
        match self.find(&name.filter, &guard)? {
            Subscribers::One(_) => None,
            Subscribers::Many(many) => many.group(&name.group, &guard).cloned(),
        }
    }

    /// Visits all that a message on `topic` goes to: every session once, and every matching shared subscription once. Returns how
    /// many that were.
    ///
    /// `publisher` is left out of its own messages where its subscription says "no local" [MQTT-3.8.3-3]. Takes no lock. Sees every
    /// subscription that is there from beginning to end. Memory that writers free waits for `visit`, so it should be quick.
    pub fn route(
        &self,
        topic: Topic<'_>,
        publisher: Option<&S>,
        scratch: &mut RouteScratch<S>,
        visit: impl FnMut(Target<'_, S>),
    ) -> usize {
        self.route_bytes(topic.as_str().as_bytes(), || topic, publisher, scratch, visit)
    }

    /// As [`Routes::route`], for the topic of a message.
    pub fn route_named(
        &self,
        message: &Message,
        publisher: Option<&S>,
        scratch: &mut RouteScratch<S>,
        visit: impl FnMut(Target<'_, S>),
    ) -> usize {
        self.route_bytes(message.topic_bytes(), || message.name(), publisher, scratch, visit)
    }

    fn route_bytes<'t>(
        &self,
        name: &[u8],
        topic: impl FnOnce() -> Topic<'t>,
        publisher: Option<&S>,
        scratch: &mut RouteScratch<S>,
        mut visit: impl FnMut(Target<'_, S>),
    ) -> usize {
        let publisher = publisher.map_or(0, |session| std::ptr::from_ref(session).addr());
        // Asked for before anything is read: what changes meanwhile makes it too old.
        let version = self.version.0.load(Ordering::Acquire);
        let came_before = match scratch.cache.find(name, version) {
            Known::Targets(targets) => {
                return targets.iter().map(|entry| visit_alone(entry, publisher, &mut visit)).sum();
            }
            Known::Before(hash) => Some(hash),
            Known::Unknown => None,
        };
        let topic = topic();
        let guard = self.collector.enter();
        let mut cursors: SmallVec<[Cursor<'_, S>; 8]> = SmallVec::new();
        let mut visited = 0;
        self.matching(topic, &guard, |_, subscribers| {
            let many = match subscribers {
                Subscribers::One(entry) => return cursors.push(Cursor::one(entry)),
                Subscribers::Many(many) => many,
            };
            cursors.extend(Cursor::list(&many.plain, &guard));
            if let Some(extra) = many.extra(&guard) {
                cursors.extend(extra.exclusive.as_ref().map(Cursor::one));
                for group in &extra.groups {
                    visited += 1;
                    visit(Target::Shared { group });
                }
            }
        });
        if cursors.len() > 1 {
            return visited + merge(&mut cursors, publisher, scratch, visit);
        }
        let mut targets = SmallVec::new();
        let mut is_short = visited == 0 && came_before.is_some();
        for run in cursors.into_iter().flat_map(Cursor::into_runs) {
            is_short &= targets.len() + run.len() <= TARGETS_MAX;
            if is_short {
                targets.extend(run.iter().cloned());
            }
            for entry in run {
                visited += visit_alone(entry, publisher, &mut visit);
            }
        }
        if let Some(hash) = came_before.filter(|_| is_short) {
            scratch.cache.remember(hash, name, version, targets);
        }
        visited
    }

    /// Visits every filter that matches a topic, in no order.
    pub fn matching_filters(&self, topic: Topic<'_>, mut visit: impl FnMut(FilterInfo)) {
        let guard = self.collector.enter();
        self.matching(topic, &guard, |filter, subscribers| {
            visit(FilterInfo::new(filter.clone(), subscribers, &guard));
        });
    }

    /// All filters, in no order. It keeps nobody from subscribing.
    pub fn filters(&self) -> Vec<Arc<str>> {
        let guard = self.collector.enter();
        let exact = self.exact.iter(&guard).map(|exact| &exact.filter);
        let wildcard = self.wildcard.iter(&guard).map(|terminal| &terminal.filter);
        exact.chain(wildcard).cloned().collect()
    }

    /// A filter, if anybody subscribes to it.
    pub fn filter(&self, filter: &str) -> Option<FilterInfo> {
        let guard = self.collector.enter();
        let subscribers = self.find(filter, &guard)?;
        Some(FilterInfo::new(Arc::from(filter), subscribers, &guard))
    }

    /// True when anybody subscribes to this filter.
    pub fn has(&self, filter: &str) -> bool {
        self.find(filter, &self.collector.enter()).is_some()
    }

    /// The sessions that subscribe to a filter, in no order and as often as they do; `None` when that is more often than `max`.
    pub fn sessions_of(&self, filter: &str, max: usize) -> Option<Vec<Arc<S>>> {
        let guard = self.collector.enter();
        let mut found = Vec::new();
        let is_all = self.find(filter, &guard).is_none_or(|subscribers| add(subscribers, &mut found, max, &guard));
        is_all.then_some(found)
    }

    /// The sessions that subscribe to filters that match a topic, in no order and as often as they do; `None` when that is more often than `max`.
    pub fn sessions_matching(&self, topic: Topic<'_>, max: usize) -> Option<Vec<Arc<S>>> {
        let guard = self.collector.enter();
        let (mut found, mut is_all) = (Vec::new(), true);
        self.matching(topic, &guard, |_, subscribers| {
            is_all = is_all && add(subscribers, &mut found, max, &guard);
        });
        is_all.then_some(found)
    }

    /// True when a filter begins with `$`, as all must that match such a topic [MQTT-4.7.2-1].
    pub fn has_reserved(&self) -> bool {
        self.counters.0.reserved.load(Ordering::Relaxed) > 0
    }

    /// How many there are of each. Exact when nobody writes.
    pub fn counts(&self) -> RouteCounts {
        let wildcard_filters = self.wildcard_filters.0.load(Ordering::Relaxed);
        RouteCounts {
            filters: self.counters.0.exact_filters.load(Ordering::Relaxed) + wildcard_filters,
            wildcard_filters,
            subscriptions: self.counters.0.subscriptions.load(Ordering::Relaxed),
            shared_subscriptions: self.counters.0.shared_subscriptions.load(Ordering::Relaxed),
        }
    }

    fn matching<'g>(
        &'g self,
        topic: Topic<'_>,
        guard: &'g LocalGuard<'g>,
        mut visit: impl FnMut(&'g Arc<str>, &'g Subscribers<S>),
    ) {
        let name = ExactName(topic.as_str());
        let hash = self.exact.hash(&name);
        if self.wildcard_filters.0.load(Ordering::Acquire) > 0 {
            // The exact filter is fetched step by step meanwhile: slot, entry, text.
            self.exact.prefetch(hash, guard);
            let meanwhile = |level| match level {
                0 => self.exact.prefetch_entry(hash, guard),
                2 => self.exact.prefetch_behind(hash, guard, |exact| exact.filter.as_ptr()),
                _ => {}
            };
            self.wildcard.matching(topic, guard, meanwhile, |terminal| visit(&terminal.filter, &terminal.subscribers));
        }
        if let Some(exact) = self.exact.get_hashed(hash, &name, guard) {
            visit(&exact.filter, &exact.subscribers);
        }
    }

    fn find<'g>(&'g self, filter: &str, guard: &'g LocalGuard<'g>) -> Option<&'g Subscribers<S>> {
        if is_wildcard(filter) {
            self.wildcard.find(filter, guard).map(|terminal| &terminal.subscribers)
        } else {
            self.exact.get(&ExactName(filter), guard).map(|exact| &exact.subscribers)
        }
    }

    /// Lets `change` decide over a filter's subscribers while no other writer does.
    fn update<R>(
        &self,
        filter: &TopicFilter,
        guard: &LocalGuard<'_>,
        change: impl FnOnce(Option<&Subscribers<S>>) -> (R, Change<S>),
    ) -> R {
        if filter.has_wildcard() {
            return self.update_wildcard(filter, guard, change);
        }
        self.exact.update(&ExactName(filter.filter()), guard, |current| {
            let (result, change) = change(current.map(|exact| &exact.subscribers));
            let alter = match change {
                Change::Keep => Alter::Keep,
                Change::Replace(subscribers) => {
                    let filter = current.map_or_else(|| filter.shared_filter(), |exact| &exact.filter).clone();
                    Alter::Put(Exact { filter, subscribers })
                }
                Change::Remove => Alter::Remove,
            };
            match (&alter, current) {
                (Alter::Put(_), None) => self.counters.0.exact_filters.fetch_add(1, Ordering::Relaxed),
                (Alter::Remove, Some(_)) => self.counters.0.exact_filters.fetch_sub(1, Ordering::Relaxed),
                _ => 0,
            };
            (result, alter)
        })
    }

    fn update_wildcard<R>(
        &self,
        filter: &TopicFilter,
        guard: &LocalGuard<'_>,
        change: impl FnOnce(Option<&Subscribers<S>>) -> (R, Change<S>),
    ) -> R {
        let mut removed = false;
        let result = self.wildcard.update(filter, guard, |current| {
            let is_new = current.is_none();
            let (result, change) = change(current);
            match change {
                // Counted before it is there, so that no reader passes it by.
                Change::Replace(_) if is_new => {
                    self.wildcard_filters.0.fetch_add(1, Ordering::Release);
                }
                Change::Remove => removed = true,
                _ => {}
            }
            (result, change)
        });
        if removed {
            self.wildcard_filters.0.fetch_sub(1, Ordering::Release);
        }
        result
    }
}

/// Adds a filter's subscribers; false when there would be more than `max`.
fn add<S: Send + Sync + 'static>(
    subscribers: &Subscribers<S>,
    found: &mut Vec<Arc<S>>,
    max: usize,
    guard: &LocalGuard<'_>,
) -> bool {
    let (subscriptions, shared) = subscribers.count(guard);
    if found.len() + subscriptions + shared > max {
        return false;
    }
    subscribers.for_each(guard, |session| found.push(session.clone()));
    true
}

impl<S: Send + Sync + 'static> std::fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Routes").field(&self.counts()).finish()
    }
}

impl FilterInfo {
    fn new<S: Send + Sync + 'static>(filter: Arc<str>, subscribers: &Subscribers<S>, guard: &LocalGuard<'_>) -> Self {
        let (subscriptions, shared_subscriptions) = subscribers.count(guard);
        Self { filter, subscriptions, shared_subscriptions }
    }
}

impl<S: Send + Sync + 'static> Hash for Exact<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.filter.as_bytes());
    }
}

impl Hash for ExactName<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

impl<S: Send + Sync + 'static> Names<Exact<S>> for ExactName<'_> {
    fn names(&self, exact: &Exact<S>) -> bool {
        *exact.filter == *self.0
    }
}

fn is_reserved(filter: &TopicFilter) -> bool {
    filter.filter().starts_with('$')
}

fn is_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

fn visit_alone<S>(entry: &Entry<S>, publisher: usize, visit: &mut impl FnMut(Target<'_, S>)) -> usize {
    if entry.options.no_local() && entry.key() == publisher {
        return 0;
    }
    visit(Target::Direct { session: &entry.session, grant: entry.options.grant() });
    1
}

/// Visits the sessions of several sorted lists, each once, in the time of their sum; a long list between short ones goes by in
/// runs.
fn merge<S: Send + Sync + 'static>(
    cursors: &mut [Cursor<'_, S>],
    publisher: usize,
    scratch: &mut RouteScratch<S>,
    mut visit: impl FnMut(Target<'_, S>),
) -> usize {
    let order = &mut scratch.order;
    order.clear();
    order.extend(cursors.iter().enumerate().map(|(i, cursor)| Reverse((cursor.key(), i as u32))));
    let mut visited = 0;
    while let Some(Reverse((key, i))) = order.pop() {
        let bound = order.peek().map_or(usize::MAX, |Reverse((next, _))| *next);
        if bound != key {
            let cursor = &mut cursors[i as usize];
            loop {
                visited += visit_alone(cursor.head(), publisher, &mut visit);
                if !cursor.advance() {
                    break;
                }
                if cursor.key() >= bound {
                    order.push(Reverse((cursor.key(), i)));
                    break;
                }
            }
            continue;
        }
        let mut combined: Option<Grant<'_>> = None;
        let session = &cursors[i as usize].head().session;
        scratch.ids.clear();
        let mut next = Some(i);
        while let Some(i) = next {
            let cursor = &mut cursors[i as usize];
            let options = cursor.head().options;
            if !(options.no_local() && key == publisher) {
                let grant = combined.get_or_insert(Grant { subscription_id: 0, ..options.grant() });
                grant.qos = grant.qos.max(options.qos());
                grant.retain_as_published |= options.retain_as_published();
                if options.id() != 0 {
                    scratch.ids.push(options.id());
                }
            }
            if cursor.advance() {
                order.push(Reverse((cursor.key(), i)));
            }
            next = match order.peek() {
                Some(Reverse((other, _))) if *other == key => order.pop().map(|Reverse((_, i))| i),
                _ => None,
            };
        }
        if let Some(grant) = combined {
            let (first, further) = scratch.ids.split_first().map_or((0, &[][..]), |(first, further)| (*first, further));
            visit(Target::Direct {
                session,
                grant: Grant { subscription_id: first, further_subscription_ids: further, ..grant },
            });
            visited += 1;
        }
    }
    visited
}

#[cfg(test)]
mod tests;
