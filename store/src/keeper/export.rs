use std::{collections::BTreeMap, ops::ControlFlow};

use thingway_contract::Message;

use super::{Keeper, damage, split};
use crate::{
    Backend, BackendError, Item, Table,
    codec::{parse_filter, take_message, take_options},
    wire::Take,
};

/// Called with each item; breaking off ends the telling.
pub type VisitItem<'a> = dyn FnMut(Item) -> ControlFlow<()> + 'a;

impl<S, B: Backend> Keeper<S, B> {
    /// What is there now, for another thread to read: see [`Backend::freeze`]. It holds what was committed, and nothing else.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn freeze(&mut self) -> Result<Box<dyn Backend>, BackendError> {
        self.shelf.backend.freeze()
    }

    /// Tells all that is kept, in an order that only depends on what is kept. The keeper must have been opened with an epoch of zero, so that all times
    /// are of the wall.
    ///
    /// # Errors
    /// When the backend fails, or what it holds is damaged.
    pub fn export(&mut self, visit: &mut VisitItem<'_>) -> Result<(), BackendError> {
        if self.machine.tell_owners(visit).is_break() || self.export_subscriptions(visit)?.is_break() {
            return Ok(());
        }
        let flow = self.machine.tell_queues(&mut self.shelf, visit);
        self.shelf.take_failure().map_or(Ok(()), Err)?;
        if flow.is_break() || self.export_messages(visit)?.is_break() {
            return Ok(());
        }
        self.export_unowned(visit)
    }

    /// Tells what belongs to no session, in the order of [`Keeper::export`]: retained messages, delayed messages, and what operators have set.
    ///
    /// # Errors
    /// As [`Keeper::export`].
    pub fn export_unowned(&mut self, visit: &mut VisitItem<'_>) -> Result<(), BackendError> {
        if self.export_retained(visit)?.is_break() {
            return Ok(());
        }
        let mut flow = ControlFlow::Continue(());
        self.for_each_delayed(|id, due, message| {
            if flow.is_continue() {
                flow = visit(Item::Delayed { id, due, message });
            }
        })?;
        if flow.is_break() {
            return Ok(());
        }
        self.for_each_setting("", |name, value| visit(Item::Setting { name: name.into(), value: value.into() }))
    }

    fn export_subscriptions(&mut self, visit: &mut VisitItem<'_>) -> Result<ControlFlow<()>, BackendError> {
        let machine = &self.machine;
        let mut changed = machine.dirty_subscriptions().peekable();
        let (mut damaged, mut flow) = (None, ControlFlow::Continue(()));
        let mut tell = |session, filter: &[u8], options| match (parse_filter(filter), options) {
            (Some(filter), Some(options)) => visit(Item::Subscription { session, filter, options }),
            _ => damage(&mut damaged, "subscription"),
        };
        self.shelf.backend.rows(Table::Subscriptions, &[], &mut |key, row| {
            let Some(at) = split(key) else { return tell(0, &[], None) };
            while let Some((session, filter, options)) =
                changed.next_if(|(session, filter, _)| (*session, filter.as_bytes()) < at)
            {
                if options.is_some() {
                    flow = tell(session, filter.as_bytes(), options);
                    flow?;
                }
            }
            let changed = changed.next_if(|(session, filter, _)| (*session, filter.as_bytes()) == at);
            let options = match changed {
                Some((_, _, None)) => return ControlFlow::Continue(()),
                Some((_, _, options)) => options,
                None => take_options(&mut Take(row)),
            };
            if machine.has_session(at.0) {
                flow = tell(at.0, at.1, options);
            }
            flow
        })?;
        for (session, filter, options) in changed {
            if flow.is_continue() && options.is_some() {
                flow = tell(session, filter.as_bytes(), options);
            }
        }
        damaged.map_or(Ok(flow), Err)
    }

    fn export_messages(&mut self, visit: &mut VisitItem<'_>) -> Result<ControlFlow<()>, BackendError> {
        for number in self.machine.waiting() {
            let publish = self.shelf.read(number)?;
            if visit(Item::Message { number, message: publish.message.clone() }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn export_retained(&mut self, visit: &mut VisitItem<'_>) -> Result<ControlFlow<()>, BackendError> {
        // Those that have no rows yet are no more than the log holds.
        let mut places: Vec<_> = self.machine.dirty_retained().collect();
        places.sort_unstable();
        let mut changed: BTreeMap<Box<[u8]>, Message> = BTreeMap::new();
        for at in places {
            let publish = self.shelf.read(at)?;
            changed.insert(publish.message.topic_bytes().into(), publish.message.clone());
        }
        let (machine, epoch) = (&self.machine, self.shelf.epoch);
        let (mut damaged, mut flow) = (None, ControlFlow::Continue(()));
        self.shelf.backend.rows(Table::Retained, &[], &mut |topic, row| {
            while let Some(first) = changed.first_entry().filter(|first| &**first.key() < topic) {
                flow = visit(Item::Retained(first.remove()));
                flow?;
            }
            if !std::str::from_utf8(topic).is_ok_and(|topic| machine.is_retained_dirty(topic)) {
                let Some(message) = take_message(&mut Take(row), epoch) else {
                    return damage(&mut damaged, "retained message");
                };
                flow = visit(Item::Retained(message));
            }
            flow
        })?;
        for message in changed.into_values() {
            if flow.is_continue() {
                flow = visit(Item::Retained(message));
            }
        }
        damaged.map_or(Ok(flow), Err)
    }
}
