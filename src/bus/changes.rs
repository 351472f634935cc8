//! What has changed since somebody looked: names of clients and of filters, for those who keep a directory of them.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use parking_lot::Mutex;

/// Lists that notes are spread over, so that connections do not queue at one lock.
const LISTS: usize = 16;
/// Most notes in a list. With more, whoever looks has to look at everything anew.
const NOTES_MAX: usize = 16_384;

/// Names of what has changed, as long as somebody watches; a look at an atomic while nobody does.
///
/// A name is noted when its change is done. What it names now is to be asked of the bus, so the order of notes does not matter, nor that one comes twice.
#[derive(Debug)]
pub struct Feed<T> {
    is_watched: AtomicBool,
    has_lost: AtomicBool,
    lists: Box<[Mutex<Vec<T>>]>,
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        let lists = (0..LISTS).map(|_| Mutex::default()).collect();
        Self { is_watched: AtomicBool::new(false), has_lost: AtomicBool::new(false), lists }
    }
}

impl<T: PartialEq> Feed<T> {
    /// Changes are noted from now on. What is looked at after this is either found as it is, or noted.
    pub fn watch(&self) {
        self.ignore();
        self.is_watched.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Nothing is noted any more, and nothing is left of what was.
    pub fn ignore(&self) {
        self.is_watched.store(false, Ordering::SeqCst);
        self.lists.iter().for_each(|list| *list.lock() = Vec::new());
        self.has_lost.store(false, Ordering::SeqCst);
    }

    /// What was noted since the last time; `None` when there was more than can be noted: then anything may have changed.
    pub fn take(&self) -> Option<Vec<T>> {
        let lost = self.has_lost.swap(false, Ordering::SeqCst);
        let mut taken = Vec::new();
        for list in &self.lists {
            let list = std::mem::take(&mut *list.lock());
            if taken.is_empty() {
                taken = list;
            } else {
                taken.extend(list);
            }
        }
        (!lost).then_some(taken)
    }

    /// Notes a change that is done. `by` spreads the notes over the lists.
    pub(super) fn note(&self, by: u64, name: impl FnOnce() -> T) {
        // Whoever begins to watch just now and looks before the change was done, is seen here.
        fence(Ordering::SeqCst);
        if !self.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let name = name();
        let mut list = self.lists[by as usize % LISTS].lock();
        if list.last() == Some(&name) {
            return;
        }
        if list.len() < NOTES_MAX {
            list.push(name);
        } else {
            self.has_lost.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_taken_while_somebody_watches() {
        let feed = Feed::default();
        feed.note(1, || panic!("nobody watches"));
        feed.watch();
        for number in [1, 1, 2, 17] {
            feed.note(number, || number);
        }
        let mut taken = feed.take().expect("few");
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 17]);
        assert_eq!(feed.take(), Some(vec![]));
        for number in 0..=NOTES_MAX as u64 {
            feed.note(0, || number);
        }
        assert_eq!(feed.take(), None, "more than a list holds");
        assert_eq!(feed.take(), Some(vec![]));
        feed.note(1, || 1);
        feed.ignore();
        assert_eq!(feed.take(), Some(vec![]));
    }
}
