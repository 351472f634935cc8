//! Directories: what listings and searches read instead of a million sessions.
//!
//! A directory has the names of things in order, with the few texts that are searched for, packed into blocks of some hundred. It is made when somebody looks
//! first, is kept up to date by what the bus notes of changes, and goes when nobody has looked for a while: a gateway that nobody looks at pays nothing for it.
//! Whoever looks gets a view that does not change, and holds no lock.

mod block;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use self::block::{BLOCK_MAX, Writer};
pub use self::block::{Bits, Block};
use crate::bus::{Bus, Feed};

/// For so many seconds a directory stays that nobody looks at.
const IDLE_SECS_MAX: u32 = 300;

/// What a directory is of.
pub trait Source: Send + Sync + 'static {
    /// A name.
    type Name: Deref<Target = str> + Clone + Ord + Send;
    /// What is no text.
    type Facts: Copy + Send + Sync;
    /// Texts of an entry, its name among them.
    const COLUMNS: usize;

    /// Where changes are noted.
    fn feed<'a>(&self, bus: &'a Bus) -> &'a Feed<Self::Name>;
    /// All names that there are.
    fn names(&self, bus: &Bus) -> Vec<Self::Name>;
    /// Tells the other texts and the facts of a name, if there still is such a thing.
    fn read(&self, bus: &Bus, name: &str, tell: &mut dyn FnMut(&[&str], Self::Facts));
}

/// A directory as it was at some moment.
#[derive(Debug)]
pub struct View<F> {
    blocks: Vec<Arc<Block<F>>>,
}

/// A directory, which is there only while somebody looks.
#[derive(Debug)]
pub struct Directory<S: Source> {
    source: S,
    present: Mutex<Present<S::Facts>>,
    /// It is there.
    is_open: AtomicBool,
}

#[derive(Debug)]
struct Present<F> {
    view: Option<Arc<View<F>>>,
    idle_secs: u32,
}

impl<S: Source> Directory<S> {
    /// Not there yet.
    pub fn new(source: S) -> Self {
        Self { source, present: Mutex::new(Present { view: None, idle_secs: 0 }), is_open: AtomicBool::new(false) }
    }

    /// What it is of.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// All that there is now. The first look takes as long as reading everything does: it is not for those who must not wait.
    pub fn look(&self, bus: &Bus) -> Arc<View<S::Facts>> {
        let mut present = self.present.lock();
        present.idle_secs = 0;
        self.refresh(&mut present, bus)
    }

    /// A view of some of it, as it is now.
    pub fn some(&self, bus: &Bus, names: Vec<S::Name>) -> View<S::Facts> {
        View::default().changed(&self.source, bus, sorted(names))
    }

    /// True while somebody looks.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// To be called once a second while it is open: takes over what has changed, so that the next look need not, or ends it when nobody looks any more.
    pub fn keep_up(&self, bus: &Bus) {
        let mut present = self.present.lock();
        if present.view.is_none() {
            return;
        }
        present.idle_secs += 1;
        if present.idle_secs > IDLE_SECS_MAX {
            self.source.feed(bus).ignore();
            self.is_open.store(false, Ordering::Relaxed);
            present.view = None;
        } else {
            self.refresh(&mut present, bus);
        }
    }

    fn refresh(&self, present: &mut Present<S::Facts>, bus: &Bus) -> Arc<View<S::Facts>> {
        let feed = self.source.feed(bus);
        let known = present.view.as_ref().and_then(|view| Some((view, feed.take()?)));
        let view = match known {
            Some((view, changed)) if changed.is_empty() => return view.clone(),
            Some((view, changed)) => view.changed(&self.source, bus, sorted(changed)),
            None => {
                feed.watch();
                self.is_open.store(true, Ordering::Relaxed);
                View::default().changed(&self.source, bus, sorted(self.source.names(bus)))
            }
        };
        present.view.insert(Arc::new(view)).clone()
    }
}

impl<F> Default for View<F> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<F: Copy> View<F> {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// The blocks with entries behind a name, and the first such entry of each.
    pub fn blocks_after<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = (&'a Block<F>, usize)> {
        let first = name.map_or(0, |name| self.blocks.partition_point(|block| block.name(0) <= name).saturating_sub(1));
        let blocks = self.blocks[first..].iter().enumerate();
        blocks.map(move |(number, block)| match name {
            Some(name) if number == 0 => (&**block, block.after(name)),
            _ => (&**block, 0),
        })
    }

    /// The same but for what has changed, of which the names are in order.
    fn changed<S: Source<Facts = F>>(&self, source: &S, bus: &Bus, changed: Vec<S::Name>) -> Self {
        let mut blocks = Vec::with_capacity(self.blocks.len() + changed.len().div_ceil(BLOCK_MAX));
        let mut rest = &changed[..];
        if self.blocks.is_empty() {
            merge(None, rest, source, bus, &mut blocks);
        }
        for (number, block) in self.blocks.iter().enumerate() {
            // Every name belongs to the last block that does not begin behind it, or to the first.
            let upto = match self.blocks.get(number + 1) {
                Some(next) => rest.partition_point(|name| **name < *next.name(0)),
                None => rest.len(),
            };
            let (here, others) = rest.split_at(upto);
            rest = others;
            if here.is_empty() {
                blocks.push(block.clone());
            } else {
                merge(Some(block), here, source, bus, &mut blocks);
            }
        }
        Self { blocks }
    }
}

/// Writes a block anew with what has changed in it.
fn merge<S: Source>(
    old: Option<&Block<S::Facts>>,
    changed: &[S::Name],
    source: &S,
    bus: &Bus,
    into: &mut Vec<Arc<Block<S::Facts>>>,
) {
    let old_len = old.map_or(0, Block::len);
    let mut writer = Writer::new(into, S::COLUMNS, old_len + changed.len());
    let mut at = 0;
    for name in changed {
        while let Some(old) = old.filter(|old| at < old_len && *old.name(at) < **name) {
            writer.copy(old, at);
            at += 1;
        }
        if old.is_some_and(|old| at < old_len && *old.name(at) == **name) {
            at += 1;
        }
        source.read(bus, name, &mut |texts, facts| writer.push(name, texts, facts));
    }
    for at in at..old_len {
        old.iter().for_each(|old| writer.copy(old, at));
    }
    writer.finish();
}

/// In order, each once. Texts that differ in their first bytes are told apart without a look at them.
fn sorted<N: Deref<Target = str> + Ord>(names: Vec<N>) -> Vec<N> {
    let beginning = |name: &str| {
        let mut bytes = [0; 16];
        let count = name.len().min(bytes.len());
        bytes[..count].copy_from_slice(&name.as_bytes()[..count]);
        u128::from_be_bytes(bytes)
    };
    let mut keyed: Vec<_> = names.into_iter().map(|name| (beginning(&name), name)).collect();
    keyed.sort_unstable();
    keyed.dedup();
    keyed.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
