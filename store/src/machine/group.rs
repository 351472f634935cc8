use std::collections::BTreeMap;

use thingway_contract::{Qos, ShareName, SubscriptionOptions};

use super::{DropCause, Entry, Host, Library, Machine, queue::Queue, session::trim};
use crate::{Number, Position, Publish, Target};

/// A group of shared subscriptions: what no member has taken yet waits here, so that no member that stays away keeps it from the others.
#[derive(Debug)]
pub(super) struct Group {
    pub name: ShareName,
    /// By session, so that all who read the log go through them in one order.
    pub members: BTreeMap<Number, SubscriptionOptions>,
    pub queue: Queue,
    /// The member that got the last message.
    pub turn: Number,
    /// It has rows.
    pub stored: bool,
    pub dirty: bool,
}

impl Group {
    pub fn new(name: ShareName) -> Self {
        Self { name, members: BTreeMap::new(), queue: Queue::default(), turn: 0, stored: false, dirty: false }
    }

    /// The members after the one that got the last message, in a circle.
    fn in_turn(&self) -> impl Iterator<Item = Number> {
        let (before, after) = (self.members.range(..=self.turn), self.members.range(self.turn + 1..));
        after.chain(before).map(|(&number, _)| number)
    }
}

impl<S> Machine<S> {
    pub(super) fn mark_group(&mut self, number: Number) {
        if let Some(group) = self.groups.get_mut(&number).filter(|group| !group.dirty) {
            group.dirty = true;
            self.dirty.numbers.push(number);
        }
    }

    /// A session joins a group, or has other options in it.
    pub(super) fn join(
        &mut self,
        at: Position,
        session: Number,
        name: ShareName,
        options: SubscriptionOptions,
    ) -> Number {
        let number = *self.group_names.entry(name.clone()).or_insert(at);
        self.groups.entry(number).or_insert_with(|| Group::new(name)).members.insert(session, options);
        self.mark_group(number);
        if let Some(kept) = self.sessions.get_mut(&session) {
            kept.shares.get_or_insert_default().join(number);
        }
        number
    }

    /// A session leaves a group. The last one takes its queue with it.
    pub(super) fn leave<H: Host<Session = S>>(&mut self, session: Number, number: Number, host: &mut H) {
        if let Some(shares) = self.sessions.get_mut(&session).and_then(|kept| kept.shares.as_mut()) {
            shares.groups.retain(|&group| group != number);
        }
        let Some(group) = self.groups.get_mut(&number) else { return };
        group.members.remove(&session);
        if !group.members.is_empty() {
            return;
        }
        let Some(group) = self.groups.remove(&number) else { return };
        self.group_names.remove(&group.name);
        for entry in group.queue.iter() {
            self.messages.release(entry.message);
        }
        host.dropped(DropCause::NoMembers, group.queue.len() as u64);
        if group.stored {
            self.dirty.ended.push(number);
        }
    }

    /// A message for whichever member, the target's first. It waits at the group until one has room.
    pub(super) fn enqueue_shared<H: Host<Session = S>>(
        &mut self,
        at: Position,
        target: &Target,
        bytes: u32,
        publish: &Publish,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(&number) = target.share().and_then(|name| self.group_names.get(name)) else { return };
        let bounds = self.bounds(false);
        let Some(group) = self.groups.get_mut(&number) else { return };
        let entry = Entry::new(at, publish.message.head().qos, publish.message.head().retain, 0);
        self.messages.add(at, bytes);
        group.queue.push_back(entry, bytes);
        trim(&mut group.queue, bounds, self.settings.newest_goes, &mut self.messages, host);
        self.mark_group(number);
        self.distribute(number, Some(target.session), Some((at, publish)), library, host);
    }

    /// Gives what waits at a group to members with room.
    pub(super) fn distribute<H: Host<Session = S>>(
        &mut self,
        number: Number,
        mut preferred: Option<Number>,
        fresh: Option<(Position, &Publish)>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let window = self.settings.window;
        let Some(group) = self.groups.get_mut(&number) else { return };
        let mut given = Vec::new();
        while let Some(entry) = group.queue.get(0) {
            let bytes = self.messages.bytes_of(entry.message);
            let has_room = |member: &Number| {
                group.members.contains_key(member)
                    && self.sessions.get(member).is_some_and(|kept| kept.has_room(window, bytes))
            };
            let Some(member) = preferred.take().filter(has_room).or_else(|| group.in_turn().find(has_room)) else {
                break;
            };
            group.queue.remove(0, bytes);
            group.turn = member;
            let options = group.members.get(&member).copied().unwrap_or_default();
            let Some(kept) = self.sessions.get_mut(&member) else { break };
            kept.queue_mut().push_back(entry.drawn(options), bytes);
            if let Some(id) = kept.fill(member, window, &mut self.messages, fresh, library, host) {
                kept.shares.get_or_insert_default().drawn.insert(id, number);
            }
            given.push(member);
        }
        if !given.is_empty() {
            self.mark_group(number);
            for member in given {
                self.mark_session(member);
            }
        }
    }

    /// What a session drew from groups and has not acknowledged goes back there, but for what it may have seen among the first `sent` entries: QoS 0 is
    /// done with, and QoS 2 is bound to it [MQTT-4.8.2-4], or given up when the session is over [MQTT-4.8.2-5]. How many of the first entries are left.
    pub(super) fn give_back<H: Host<Session = S>>(
        &mut self,
        session: Number,
        mut sent: usize,
        over: bool,
        library: &mut dyn Library,
        host: &mut H,
    ) -> usize {
        let Some(kept) = self.sessions.get_mut(&session) else { return sent };
        let Some(mut shares) = kept.shares.take() else { return sent };
        let mut touched = Vec::new();
        let queue = kept.queue_mut();
        for index in (0..queue.len()).rev() {
            let Some(entry) = queue.get(index).filter(|entry| entry.is_shared()) else { continue };
            let (qos, seen) = (entry.qos(), index < sent);
            if seen && qos == Qos::ExactlyOnce && !over {
                continue;
            }
            let Some(number) = shares.drawn.remove(&entry.packet_id) else { continue };
            let bytes = if entry.is_received() { 0 } else { self.messages.bytes_of(entry.message) };
            queue.remove(index, bytes);
            sent -= usize::from(seen);
            if entry.is_received() {
                continue;
            }
            if seen && qos != Qos::AtLeastOnce {
                self.messages.release(entry.message);
                if qos == Qos::ExactlyOnce {
                    host.dropped(DropCause::Ended, 1);
                }
                continue;
            }
            match self.groups.get_mut(&number) {
                Some(group) => {
                    group.queue.push_front(entry.returned(), bytes);
                    touched.push(number);
                }
                None => {
                    self.messages.release(entry.message);
                    host.dropped(DropCause::NoMembers, 1);
                }
            }
        }
        kept.shares = Some(shares).filter(|shares| !shares.groups.is_empty() || !shares.drawn.is_empty());
        self.mark_session(session);
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            self.mark_group(number);
            self.distribute(number, None, None, library, host);
        }
        sent
    }
}
