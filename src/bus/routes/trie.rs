//! Wildcard filters as a trie whose edges are kept in one concurrent table.
//!
//! An edge is found by its parent's address and its level's text. A node keeps its address for life, and an address is not
//! given out again before every reader that could have seen the old node is gone, so it names a node without a counter or a
//! field. A change touches only the nodes of its own filter: a node with a million children is never copied.

use std::{
    hash::{Hash, Hasher},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use seize::{Guard, LocalGuard};
use smallvec::SmallVec;
use thingway_contract::{Topic, TopicFilter, levels};

use super::{
    subscribers::{Change, Subscribers},
    table::{Alter, Names, Table},
};

const LOCKS: usize = 64;

pub(super) struct Trie<S: Send + Sync + 'static> {
    root: Box<Node<S>>,
    edges: Table<Branch<S>>,
    /// A writer holds the lock of its filter's first level: all nodes below are its own then, save the root.
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
}

/// Every node but the root lives beside the edge that leads to it, and never moves.
struct Branch<S: Send + Sync + 'static> {
    edge: Edge,
    node: Node<S>,
}

struct Node<S: Send + Sync + 'static> {
    /// Of the filter that ends here.
    here: AtomicPtr<Terminal<S>>,
    /// Of the filter that goes on with `#`.
    below: AtomicPtr<Terminal<S>>,
    /// The child named `+`.
    plus: AtomicPtr<Node<S>>,
    /// Children that are not `+`: 0 saves the reader a look-up.
    literals: AtomicU32,
}

/// A filter and its subscribers. Replaced whole.
pub(super) struct Terminal<S: Send + Sync + 'static> {
    pub(super) filter: Arc<str>,
    pub(super) subscribers: Subscribers<S>,
}

/// 24 bytes; levels of up to 14 bytes, that is nearly all, need no memory of their own.
enum Edge {
    Short { parent: usize, len: u8, level: [u8; 14] },
    Long { parent: usize, level: Box<Box<str>> },
}

struct EdgeRef<'a> {
    parent: usize,
    level: &'a str,
}

impl<S: Send + Sync + 'static> Trie<S> {
    pub(super) fn new() -> Self {
        Self {
            root: Box::new(Node::new()),
            edges: Table::new(),
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Lets `change` decide over a filter's subscribers, with other writers to that filter kept out.
    pub(super) fn update<R>(
        &self,
        filter: &TopicFilter,
        guard: &LocalGuard<'_>,
        change: impl FnOnce(Option<&Subscribers<S>>) -> (R, Change<S>),
    ) -> R {
        let _lock = self.lock(filter.filter());
        let mut path: SmallVec<[(&Node<S>, &str); 16]> = SmallVec::new();
        let mut node = &*self.root;
        let mut end = None;
        for level in levels(filter.filter()) {
            if level == "#" {
                end = Some(&node.below);
                break;
            }
            path.push((node, level));
            node = self.child_or_new(node, level, guard);
        }
        let end = end.unwrap_or(&node.here);
        // SAFETY: null or made by a box below; retired only after it was replaced, and the guard is older than that.
        let current = unsafe { guard.protect(end, Ordering::Acquire).as_ref() };
        let (result, change) = change(current.map(|terminal| &terminal.subscribers));
        let new = match change {
            Change::Keep => {
                // Nothing was there and nothing came: the nodes made on the way here go again.
                self.prune(node, path, guard);
                return result;
            }
            Change::Remove => ptr::null_mut(),
            Change::Replace(subscribers) => {
                let filter = current.map_or_else(|| filter.shared_filter().clone(), |terminal| terminal.filter.clone());
                Box::into_raw(Box::new(Terminal { filter, subscribers }))
            }
        };
        let old = guard.swap(end, new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: made by a box, and out of reach of readers to come since the swap.
            unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
        }
        self.prune(node, path, guard);
        result
    }

    /// The terminal of exactly this filter.
    pub(super) fn find<'g>(&'g self, filter: &str, guard: &'g LocalGuard<'g>) -> Option<&'g Terminal<S>> {
        let mut node = &*self.root;
        for level in levels(filter) {
            match level {
                "#" => return terminal(&node.below, guard),
                "+" => node = node.plus(guard)?,
                _ => node = self.literal(node, level, guard)?,
            }
        }
        terminal(&node.here, guard)
    }

    /// Visits every filter that matches. Takes no lock. Tells `meanwhile` each level's number when it is done.
    pub(super) fn matching<'g>(
        &'g self,
        topic: Topic<'_>,
        guard: &'g LocalGuard<'g>,
        meanwhile: impl Fn(usize),
        mut visit: impl FnMut(&'g Terminal<S>),
    ) {
        // No filter beginning with a wildcard matches a name beginning with `$` [MQTT-4.7.2-1].
        let mut wildcards = !topic.is_reserved();
        let mut nodes: SmallVec<[&'g Node<S>; 16]> = SmallVec::new();
        let mut children: SmallVec<[&'g Node<S>; 16]> = SmallVec::new();
        let mut lookups: SmallVec<[(u64, EdgeRef<'_>); 16]> = SmallVec::new();
        nodes.push(&self.root);
        // A level of the topic at a time for all nodes, so that their look-ups wait for memory together.
        for (number, level) in levels(topic.as_str()).enumerate() {
            for node in nodes.drain(..) {
                if node.literals.load(Ordering::Acquire) > 0 {
                    let edge = EdgeRef { parent: node.address(), level };
                    let hash = self.edges.hash(&edge);
                    self.edges.prefetch(hash, guard);
                    lookups.push((hash, edge));
                }
                if wildcards {
                    terminal(&node.below, guard).into_iter().for_each(&mut visit);
                    children.extend(node.plus(guard));
                }
            }
            let found = lookups.drain(..).filter_map(|(hash, edge)| self.edges.get_hashed(hash, &edge, guard));
            children.extend(found.map(|branch| &branch.node));
            std::mem::swap(&mut nodes, &mut children);
            if nodes.is_empty() {
                return;
            }
            wildcards = true;
            meanwhile(number);
        }
        for node in nodes {
            terminal(&node.below, guard).into_iter().for_each(&mut visit);
            terminal(&node.here, guard).into_iter().for_each(&mut visit);
        }
    }

    /// Every filter, in no order. Sees all that are there throughout.
    pub(super) fn iter<'g>(&'g self, guard: &'g LocalGuard<'g>) -> impl Iterator<Item = &'g Terminal<S>> {
        std::iter::once(&*self.root)
            .chain(self.edges.iter(guard).map(|branch| &branch.node))
            .flat_map(|node| [terminal(&node.here, guard), terminal(&node.below, guard)])
            .flatten()
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.edges.len()
    }

    fn lock(&self, filter: &str) -> MutexGuard<'_, ()> {
        use std::hash::BuildHasher;
        let first = levels(filter).next().unwrap_or_default();
        self.locks[self.hasher.hash_one(first) as usize % LOCKS].lock()
    }

    fn literal<'g>(&'g self, node: &Node<S>, level: &str, guard: &'g LocalGuard<'_>) -> Option<&'g Node<S>> {
        self.edges.get(&EdgeRef { parent: node.address(), level }, guard).map(|branch| &branch.node)
    }

    fn child_or_new<'g>(&'g self, node: &Node<S>, level: &str, guard: &'g LocalGuard<'_>) -> &'g Node<S> {
        if let Some(child) = self.literal(node, level, guard) {
            return child;
        }
        let edge = EdgeRef { parent: node.address(), level };
        self.edges.update(&edge, guard, |_| ((), Alter::Put(Branch { edge: Edge::from(&edge), node: Node::new() })));
        let child = self.literal(node, level, guard).expect("put there, and the lock keeps it there");
        if level == "+" {
            node.plus.store(ptr::from_ref(child).cast_mut(), Ordering::Release);
        } else {
            node.literals.fetch_add(1, Ordering::Release);
        }
        child
    }

    /// Removes `node` and its ancestors as far as nothing hangs on them. `path` leads to it.
    fn prune<'a>(&self, mut node: &'a Node<S>, mut path: SmallVec<[(&'a Node<S>, &str); 16]>, guard: &LocalGuard<'_>) {
        while let Some((parent, level)) = path.pop() {
            if !node.is_empty() {
                return;
            }
            let edge = EdgeRef { parent: parent.address(), level };
            if level == "+" {
                // Before the table retires the node that it points to.
                parent.plus.store(ptr::null_mut(), Ordering::Release);
                self.edges.update(&edge, guard, |_| ((), Alter::Remove));
            } else {
                self.edges.update(&edge, guard, |_| ((), Alter::Remove));
                parent.literals.fetch_sub(1, Ordering::Release);
            }
            node = parent;
        }
    }
}

fn terminal<'g, S: Send + Sync + 'static>(
    end: &AtomicPtr<Terminal<S>>,
    guard: &'g LocalGuard<'_>,
) -> Option<&'g Terminal<S>> {
    // SAFETY: null or made by a box; retired only after it was replaced, and the guard is older than that.
    unsafe { guard.protect(end, Ordering::Acquire).as_ref() }
}

impl<S: Send + Sync + 'static> Node<S> {
    fn new() -> Self {
        Self {
            here: AtomicPtr::new(ptr::null_mut()),
            below: AtomicPtr::new(ptr::null_mut()),
            plus: AtomicPtr::new(ptr::null_mut()),
            literals: AtomicU32::new(0),
        }
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    fn plus<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<&'g Self> {
        // SAFETY: null or a node in the table, which is retired only after this pointer was cleared.
        unsafe { guard.protect(&self.plus, Ordering::Acquire).as_ref() }
    }

    /// Asked by the writer that holds the lock.
    fn is_empty(&self) -> bool {
        self.here.load(Ordering::Relaxed).is_null()
            && self.below.load(Ordering::Relaxed).is_null()
            && self.plus.load(Ordering::Relaxed).is_null()
            && self.literals.load(Ordering::Relaxed) == 0
    }
}

impl<S: Send + Sync + 'static> Drop for Node<S> {
    fn drop(&mut self) {
        for end in [*self.here.get_mut(), *self.below.get_mut()] {
            if !end.is_null() {
                // SAFETY: nobody else can reach it any more, and it came from a box.
                drop(unsafe { Box::from_raw(end) });
            }
        }
    }
}

impl Edge {
    fn as_ref(&self) -> (usize, &[u8]) {
        match self {
            Self::Short { parent, len, level } => (*parent, &level[..usize::from(*len)]),
            Self::Long { parent, level } => (*parent, level.as_bytes()),
        }
    }
}

impl From<&EdgeRef<'_>> for Edge {
    fn from(edge: &EdgeRef<'_>) -> Self {
        let mut level = [0; 14];
        match level.get_mut(..edge.level.len()) {
            Some(room) => {
                room.copy_from_slice(edge.level.as_bytes());
                Self::Short { parent: edge.parent, len: edge.level.len() as u8, level }
            }
            None => Self::Long { parent: edge.parent, level: Box::new(Box::from(edge.level)) },
        }
    }
}

impl<S: Send + Sync + 'static> Hash for Branch<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (parent, level) = self.edge.as_ref();
        state.write_usize(parent);
        state.write(level);
    }
}

impl Hash for EdgeRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.parent);
        state.write(self.level.as_bytes());
    }
}

impl<S: Send + Sync + 'static> Names<Branch<S>> for EdgeRef<'_> {
    fn names(&self, branch: &Branch<S>) -> bool {
        (self.parent, self.level.as_bytes()) == branch.edge.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size_of::<Edge>(), 24);
        assert_eq!(size_of::<Node<u8>>(), 32);
        assert_eq!(size_of::<Branch<u8>>(), 56);
        assert_eq!(size_of::<Terminal<u8>>(), 32);
    }
}
