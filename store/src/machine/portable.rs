use std::{ops::ControlFlow, sync::Arc};

use smallvec::SmallVec;
use thingway_contract::{Message, Qos, Rare, ShareName, SubscriptionOptions};

use super::{
    Entry, Group, Kept, Library, Machine, delivery,
    flush::{encode_group, encode_session, key, part_key},
    queue::Queue,
    weight,
};
use crate::{Change, Drawn, Epoch, Item, Number, Position, QueuedItem, SessionItem, Table, Target};

/// Telling what is kept.
impl<S> Machine<S> {
    /// Positions of the messages that somebody waits for.
    pub(crate) fn waiting(&self) -> Vec<Position> {
        self.messages.waiting.keys().copied().collect()
    }

    /// Positions of messages whose rows are about to go.
    pub(crate) fn gone(&self) -> &[Position] {
        &self.messages.gone
    }

    pub(crate) fn has_group(&self, name: &ShareName) -> bool {
        self.group_names.contains_key(name)
    }

    pub(crate) fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// Sessions and groups.
    pub(crate) fn tell_owners(&self, visit: &mut dyn FnMut(Item) -> ControlFlow<()>) -> ControlFlow<()> {
        for number in self.numbers() {
            let Some(kept) = self.sessions.get(&number) else { continue };
            visit(Item::Session(Box::new(SessionItem {
                number,
                client_id: kept.client_id.clone(),
                expiry_secs: kept.expiry_secs,
                detached_at: kept.detached_at,
                next_packet_id: kept.next_packet_id(),
                inbound: kept.inbound.iter().collect(),
                will: kept.will.clone(),
                will_rests: kept.will_rests,
                extras: kept.extras.as_deref().cloned().unwrap_or_default(),
            })))?;
        }
        for (&number, group) in &self.groups {
            visit(Item::Group { number, name: group.name.clone(), turn: group.turn })?;
        }
        ControlFlow::Continue(())
    }

    /// What waits in all queues.
    pub(crate) fn tell_queues(
        &self,
        library: &mut dyn Library,
        visit: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for number in self.numbers() {
            let Some(kept) = self.sessions.get(&number) else { continue };
            for entry in kept.queue().into_iter().flat_map(Queue::iter) {
                let drawn = kept.shares.as_ref().and_then(|shares| shares.drawn.get(&entry.packet_id));
                let (waiting, group) = (entry.returned(), drawn.copied().filter(|_| entry.is_shared()));
                let drawn = group.map(|group| Drawn { group, qos: waiting.qos(), retain: waiting.retain() });
                visit(Item::Queued(told(number, entry, drawn, library)))?;
            }
        }
        for (&number, group) in &self.groups {
            for entry in group.queue.iter() {
                visit(Item::Queued(told(number, entry, None, library)))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn numbers(&self) -> Vec<Number> {
        let mut numbers: Vec<_> = self.sessions.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }
}

impl<S> Kept<S> {
    /// Whether this can be the packet identifier of the next entry: they go up along the window, and from its end to the one that is tried next.
    fn check_next(&mut self, packet_id: u16) -> Result<(), &'static str> {
        let next = self.next_packet_id();
        let queue = self.queue_mut();
        if queue.window() < queue.len() {
            return Err("what has a packet identifier comes first in its queue");
        }
        let front = queue.get(0).map_or(packet_id, |entry| entry.packet_id);
        let distance = |id: u16| id.wrapping_sub(front);
        let last = queue.len().checked_sub(1).and_then(|index| queue.get(index));
        if last.is_some_and(|last| distance(packet_id) <= distance(last.packet_id)) {
            return Err("packet identifiers go up along a queue");
        }
        if next != front && distance(next) <= distance(packet_id) {
            return Err("the session's next packet identifier comes after those of its queue");
        }
        Ok(())
    }
}

fn told(queue: Number, entry: Entry, drawn: Option<Drawn>, library: &mut dyn Library) -> QueuedItem {
    let mut item = QueuedItem {
        queue,
        message: None,
        packet_id: entry.packet_id,
        qos: entry.qos(),
        retain: false,
        subscription_ids: Vec::new(),
        drawn,
    };
    if entry.is_received() {
        return item;
    }
    item.message = Some(entry.message);
    item.retain = entry.retain();
    item.subscription_ids.extend(Some(entry.subscription_id).filter(|&id| id != 0));
    if entry.has_rare()
        && let Ok(Some(publish)) = library.load(entry.message)
        && let Some(rare) = delivery(queue, entry, &publish).rare
    {
        item.subscription_ids.extend(&rare.further_subscription_ids);
    }
    item
}

/// Making a machine of items. What is wrong with one is told in words.
impl<S> Machine<S> {
    pub(crate) fn put_session(&mut self, item: SessionItem) -> Result<(), &'static str> {
        let number = item.number;
        if self.sessions.contains_key(&number) || self.groups.contains_key(&number) {
            return Err("another session or group has this number");
        }
        if self.names.contains_key(&item.client_id) {
            return Err("another session is this client's");
        }
        let mut kept = Kept::new(item.client_id.clone());
        kept.expiry_secs = item.expiry_secs;
        kept.detached_at = item.detached_at;
        kept.set_next_packet_id(item.next_packet_id);
        item.inbound.into_iter().for_each(|id| kept.inbound.open(id));
        kept.will = item.will;
        kept.will_rests = item.will_rests;
        kept.extras = Some(Box::new(item.extras)).filter(|extras| !extras.is_empty());
        self.names.insert(item.client_id, number);
        self.sessions.insert(number, Box::new(kept));
        Ok(())
    }

    pub(crate) fn put_group(&mut self, number: Number, name: ShareName, turn: Number) -> Result<(), &'static str> {
        if self.sessions.contains_key(&number) || self.groups.contains_key(&number) {
            return Err("another session or group has this number");
        }
        if self.group_names.insert(name.clone(), number).is_some() {
            return Err("another group has this name");
        }
        self.groups.insert(number, Group { turn, ..Group::new(name) });
        Ok(())
    }

    /// What the machine itself has to know of a subscription.
    pub(crate) fn put_subscription(
        &mut self,
        session: Number,
        share: Option<&ShareName>,
        options: SubscriptionOptions,
    ) -> Result<(), &'static str> {
        if !self.sessions.contains_key(&session) {
            return Err("there is no such session");
        }
        let Some(name) = share else { return Ok(()) };
        let group = self.group_names.get(name).and_then(|number| self.groups.get_mut(number));
        group.ok_or("there is no such group")?.members.insert(session, options);
        Ok(())
    }

    /// Puts it at the end of its queue. Its message's weight is told later. The target to find with the message, if it has something rare.
    pub(crate) fn put_queued(&mut self, item: &QueuedItem) -> Result<Option<Target>, &'static str> {
        let QueuedItem { queue: number, packet_id, qos, retain, .. } = *item;
        let (id, further) = match item.subscription_ids.split_first() {
            Some((&id, further)) => (id, further),
            None => (0, &[][..]),
        };
        let mut entry = Entry::new(item.message.unwrap_or_default(), qos, retain, id);
        if let Some(group) = self.groups.get_mut(&number) {
            if packet_id != 0 || item.message.is_none() || item.drawn.is_some() || id != 0 {
                return Err("what waits in a group has only a message, a quality of service and a retain flag");
            }
            group.queue.push_back(entry, 0);
            self.messages.add(entry.message, 0);
            return Ok(None);
        }
        let kept = self.sessions.get_mut(&number).ok_or("there is no such session or group")?;
        if packet_id == 0 {
            if item.message.is_none() || item.drawn.is_some() {
                return Err("without a packet identifier it has a message and comes from no group");
            }
        } else {
            kept.check_next(packet_id)?;
            if !qos.is_acknowledged() {
                return Err("QoS 0 has no packet identifier");
            }
            if qos != Qos::ExactlyOnce && (item.message.is_none() || item.drawn.is_some()) {
                return Err("only QoS 2 is taken over, or stays with the member of a group that has left");
            }
        }
        if let Some(Drawn { group, qos, retain }) = item.drawn {
            entry = entry.drawn_as(Entry::new(entry.message, qos, retain, 0));
            kept.shares.get_or_insert_default().drawn.insert(packet_id, group);
        }
        if !further.is_empty() {
            entry = entry.with_rare();
        }
        let queue = kept.queue_mut();
        queue.push_back(entry, 0);
        if packet_id != 0 {
            queue.admit(packet_id, 0);
        }
        match item.message {
            Some(at) => self.messages.add(at, 0),
            None => {
                queue.receive(queue.len() - 1, 0);
            }
        }
        let rare =
            || Some(Arc::new(Rare { further_subscription_ids: SmallVec::from_slice(further), ..Rare::default() }));
        let target = || Target { session: number, qos, retain, subscription_id: id, rare: rare() };
        Ok((!further.is_empty()).then(target))
    }

    /// Tells what a message weighs that is in a queue.
    pub(crate) fn put_message(&mut self, at: Position, message: &Message) -> Result<(), &'static str> {
        let info = self.messages.waiting.get_mut(&at).ok_or("no queue has this message")?;
        if info.bytes != 0 {
            return Err("another message has this number");
        }
        info.bytes = weight(message);
        self.messages.bytes += u64::from(info.bytes);
        Ok(())
    }

    /// What is wrong with all of it together.
    pub(crate) fn put_all(&self) -> Result<(), String> {
        if let Some((number, _)) = self.groups.iter().find(|(_, group)| group.members.is_empty()) {
            return Err(format!("group {number} has no members"));
        }
        if let Some((at, _)) = self.messages.waiting.iter().find(|(_, info)| info.bytes == 0) {
            return Err(format!("message {at} is in a queue, but not in the file"));
        }
        Ok(())
    }

    /// The rows of sessions and groups and of their queues.
    pub(crate) fn tell_rows(&self, epoch: Epoch, put: &mut dyn FnMut(Change) -> ControlFlow<()>) -> ControlFlow<()> {
        let sessions = self.numbers().into_iter().filter_map(|number| {
            let kept = self.sessions.get(&number)?;
            Some((number, encode_session(kept, epoch), kept.queue()))
        });
        let groups = self.groups.iter().map(|(&number, group)| (number, encode_group(group), Some(&group.queue)));
        for (number, row, queue) in sessions.chain(groups) {
            put(Change { table: Table::Sessions, key: key(number), value: Some(row) })?;
            for (queue, &part) in
                queue.into_iter().flat_map(|queue| queue.dirty().iter().map(move |part| (queue, part)))
            {
                let value = queue.encode_part(part, |at| self.messages.bytes_of(at));
                put(Change { table: Table::Queues, key: part_key(number, part), value })?;
            }
        }
        ControlFlow::Continue(())
    }
}
