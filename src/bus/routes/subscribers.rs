use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering},
    },
};

use seize::{Guard, LocalGuard};
use thingway_contract::{FilterKind, TopicFilter};

use super::{
    grant::PackedOptions,
    list::{Entry, SortedList, key_of},
};
use crate::bus::shared::SharedGroup;

/// All that subscribe to one filter: a single plain subscription inline, everything else behind a pointer.
pub(super) enum Subscribers<S: Send + Sync + 'static> {
    One(Entry<S>),
    Many(Box<Many<S>>),
}

/// Changed in place: its address outlives changes, so neither map nor trie is touched by the second subscriber onwards.
pub(super) struct Many<S: Send + Sync + 'static> {
    pub(super) plain: SortedList<S>,
    extra: AtomicPtr<Extra<S>>,
}

/// What few filters have. Replaced whole; null when there is nothing of it.
pub(super) struct Extra<S> {
    /// Sorted by name.
    pub(super) groups: Vec<Arc<SharedGroup<S>>>,
    pub(super) exclusive: Option<Entry<S>>,
}

/// What becomes of a filter's subscribers.
pub(super) enum Change<S: Send + Sync + 'static> {
    Keep,
    Replace(Subscribers<S>),
    Remove,
}

/// The exclusive subscription of a filter belongs to another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExclusiveTaken;

impl<S: Send + Sync + 'static> Subscribers<S> {
    /// Adds a subscription to a filter's `current` subscribers; the options that it replaced, and what to do.
    pub(super) fn insert(
        current: Option<&Self>,
        filter: &TopicFilter,
        session: &Arc<S>,
        options: PackedOptions,
        guard: &LocalGuard<'_>,
    ) -> (Result<Option<PackedOptions>, ExclusiveTaken>, Change<S>) {
        let entry = || Entry { session: session.clone(), options };
        match (filter.kind(), current) {
            (FilterKind::Plain, None) => (Ok(None), Change::Replace(Self::One(entry()))),
            (FilterKind::Plain, Some(Self::One(one))) if Arc::ptr_eq(&one.session, session) => {
                (Ok(Some(one.options)), Change::Replace(Self::One(entry())))
            }
            (FilterKind::Plain, Some(Self::One(one))) => {
                let mut entries = vec![one.clone(), entry()];
                entries.sort_unstable_by_key(Entry::key);
                (Ok(None), Change::Replace(Self::many(entries)))
            }
            (FilterKind::Plain, Some(Self::Many(many))) => {
                (Ok(many.plain.insert(session, options, guard)), Change::Keep)
            }
            (_, Some(Self::Many(many))) => (many.insert_extra(filter, session, options, guard), Change::Keep),
            (_, _) => {
                let many = Self::many(match current {
                    Some(Self::One(one)) => vec![one.clone()],
                    _ => Vec::new(),
                });
                let Self::Many(inner) = &many else { unreachable!("made so above") };
                (inner.insert_extra(filter, session, options, guard), Change::Replace(many))
            }
        }
    }

    /// Takes a subscription out; its options, and what to do.
    pub(super) fn remove(
        &self,
        filter: &TopicFilter,
        session: &Arc<S>,
        guard: &LocalGuard<'_>,
    ) -> (Option<PackedOptions>, Change<S>) {
        match self {
            Self::One(one) if *filter.kind() == FilterKind::Plain && Arc::ptr_eq(&one.session, session) => {
                (Some(one.options), Change::Remove)
            }
            Self::One(_) => (None, Change::Keep),
            Self::Many(many) => {
                let removed = match filter.kind() {
                    FilterKind::Plain => many.plain.remove(session, guard),
                    _ => many.remove_extra(filter, session, guard),
                };
                let change = match (many.extra(guard), many.plain.len()) {
                    (None, 0) => Change::Remove,
                    (None, 1) => match many.plain.chunks(guard).flatten().next() {
                        Some(last) => Change::Replace(Self::One(last.clone())),
                        None => Change::Keep,
                    },
                    _ => Change::Keep,
                };
                (removed, change)
            }
        }
    }

    /// The options of a subscription.
    pub(super) fn find(&self, filter: &TopicFilter, session: &Arc<S>, guard: &LocalGuard<'_>) -> Option<PackedOptions> {
        match (self, filter.kind()) {
            (Self::One(one), FilterKind::Plain) => Arc::ptr_eq(&one.session, session).then_some(one.options),
            (Self::One(_), _) => None,
            (Self::Many(many), FilterKind::Plain) => many.plain.find(session, guard),
            (Self::Many(many), FilterKind::Shared(name)) => {
                let group = many.group(name, guard)?;
                group.options(session).map(PackedOptions::new)
            }
            (Self::Many(many), FilterKind::Exclusive) => {
                let holder = many.extra(guard)?.exclusive.as_ref()?;
                Arc::ptr_eq(&holder.session, session).then_some(holder.options)
            }
        }
    }

    /// Plain and exclusive subscriptions, and members of shared ones.
    pub(super) fn count(&self, guard: &LocalGuard<'_>) -> (usize, usize) {
        match self {
            Self::One(_) => (1, 0),
            Self::Many(many) => {
                let (groups, exclusive) = many
                    .extra(guard)
                    .map_or((&[][..], 0), |extra| (extra.groups.as_slice(), usize::from(extra.exclusive.is_some())));
                (many.plain.len() + exclusive, groups.iter().map(|group| group.len()).sum())
            }
        }
    }

    /// Visits every session that subscribes, as often as it does.
    pub(super) fn for_each(&self, guard: &LocalGuard<'_>, mut visit: impl FnMut(&Arc<S>)) {
        let many = match self {
            Self::One(one) => return visit(&one.session),
            Self::Many(many) => many,
        };
        many.plain.chunks(guard).flatten().for_each(|entry| visit(&entry.session));
        if let Some(extra) = many.extra(guard) {
            extra.exclusive.iter().for_each(|entry| visit(&entry.session));
            extra.groups.iter().for_each(|group| group.for_each_member(&mut visit));
        }
    }

    fn many(entries: Vec<Entry<S>>) -> Self {
        Self::Many(Box::new(Many { plain: SortedList::new(entries), extra: AtomicPtr::new(ptr::null_mut()) }))
    }
}

impl<S: Send + Sync + 'static> Many<S> {
    pub(super) fn extra<'g>(&'g self, guard: &'g LocalGuard<'_>) -> Option<&'g Extra<S>> {
        // SAFETY: null or made by `set_extra`; retired only after it was replaced, and the guard is older than that.
        unsafe { guard.protect(&self.extra, Ordering::Acquire).as_ref() }
    }

    pub(super) fn group<'g>(&'g self, name: &str, guard: &'g LocalGuard<'_>) -> Option<&'g Arc<SharedGroup<S>>> {
        let extra = self.extra(guard)?;
        extra.position(name).ok().map(|found| &extra.groups[found])
    }

    fn insert_extra(
        &self,
        filter: &TopicFilter,
        session: &Arc<S>,
        options: PackedOptions,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<PackedOptions>, ExclusiveTaken> {
        let current = self.extra(guard);
        let FilterKind::Shared(name) = filter.kind() else {
            let holder = current.and_then(|extra| extra.exclusive.as_ref());
            if holder.is_some_and(|holder| !Arc::ptr_eq(&holder.session, session)) {
                return Err(ExclusiveTaken);
            }
            let replaced = holder.map(|holder| holder.options);
            let exclusive = Some(Entry { session: session.clone(), options });
            self.set_extra(Extra { groups: current.map_or_else(Vec::new, |e| e.groups.clone()), exclusive }, guard);
            return Ok(replaced);
        };
        if let Some(group) = self.group(name, guard) {
            return Ok(group.insert(session, options));
        }
        let share = filter.share_name().unwrap_or_else(|| unreachable!("a shared filter has a name"));
        let group = SharedGroup::new(share);
        group.insert(session, options);
        let mut extra = current.cloned().unwrap_or_default();
        let (Ok(position) | Err(position)) = extra.position(name);
        extra.groups.insert(position, Arc::new(group));
        self.set_extra(extra, guard);
        Ok(None)
    }

    fn remove_extra(&self, filter: &TopicFilter, session: &Arc<S>, guard: &LocalGuard<'_>) -> Option<PackedOptions> {
        let current = self.extra(guard)?;
        if let FilterKind::Shared(name) = filter.kind() {
            let position = current.position(name).ok()?;
            let removed = current.groups[position].remove(session)?;
            if current.groups[position].is_empty() {
                let mut extra = current.clone();
                extra.groups.remove(position);
                self.set_extra(extra, guard);
            }
            return Some(removed);
        }
        let holder = current.exclusive.as_ref().filter(|holder| Arc::ptr_eq(&holder.session, session))?;
        self.set_extra(Extra { groups: current.groups.clone(), exclusive: None }, guard);
        Some(holder.options)
    }

    fn set_extra(&self, extra: Extra<S>, guard: &LocalGuard<'_>) {
        let new = if extra.groups.is_empty() && extra.exclusive.is_none() {
            ptr::null_mut()
        } else {
            Box::into_raw(Box::new(extra))
        };
        let old = guard.swap(&self.extra, new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: made by a box above, and out of reach of readers to come since the swap.
            unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
        }
    }
}

impl<S: Send + Sync + 'static> Drop for Many<S> {
    fn drop(&mut self) {
        let extra = *self.extra.get_mut();
        if !extra.is_null() {
            // SAFETY: nobody else can reach it any more, and it came from a box.
            drop(unsafe { Box::from_raw(extra) });
        }
    }
}

impl<S> Extra<S> {
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| (*group.name().group).cmp(name))
    }
}

impl<S> Clone for Extra<S> {
    fn clone(&self) -> Self {
        Self { groups: self.groups.clone(), exclusive: self.exclusive.clone() }
    }
}

impl<S> Default for Extra<S> {
    fn default() -> Self {
        Self { groups: Vec::new(), exclusive: None }
    }
}

/// One sorted run of entries in a merge.
pub(super) struct Cursor<'g, S> {
    run: &'g [Entry<S>],
    rest: Option<super::list::Chunks<'g, S>>,
}

impl<'g, S: Send + Sync + 'static> Cursor<'g, S> {
    pub(super) fn one(entry: &'g Entry<S>) -> Self {
        Self { run: std::slice::from_ref(entry), rest: None }
    }

    /// `None` for an empty list.
    pub(super) fn list(list: &'g SortedList<S>, guard: &'g LocalGuard<'g>) -> Option<Self> {
        let mut rest = list.chunks(guard);
        let run = rest.next()?;
        Some(Self { run, rest: Some(rest) })
    }

    pub(super) fn head(&self) -> &'g Entry<S> {
        &self.run[0]
    }

    pub(super) fn key(&self) -> usize {
        key_of(&self.run[0].session)
    }

    /// Steps on; false at the end.
    pub(super) fn advance(&mut self) -> bool {
        if self.run.len() > 1 {
            self.run = &self.run[1..];
            return true;
        }
        match self.rest.as_mut().and_then(Iterator::next) {
            Some(run) => {
                self.run = run;
                true
            }
            None => false,
        }
    }

    /// What is left, run by run.
    pub(super) fn into_runs(self) -> impl Iterator<Item = &'g [Entry<S>]> {
        std::iter::once(self.run).chain(self.rest.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_subscriber_costs_sixteen_bytes() {
        assert_eq!(size_of::<Subscribers<u8>>(), 16);
    }
}
