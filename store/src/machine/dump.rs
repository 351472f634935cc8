//! For tests: the whole state as text, and what must hold of it at any time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use thingway_contract::{Qos, Will};

use super::{Machine, queue::Queue};
use crate::{Number, Position};

impl<S> Machine<S> {
    /// The state as far as the log tells it, so that two machines that hold the same give the same text.
    pub(crate) fn dump(&self) -> String {
        let mut out = String::new();
        writeln!(out, "position {}, {} bytes", self.position, self.messages.bytes).expect("written");
        for (at, info) in &self.messages.waiting {
            writeln!(out, "message {at}: {} references, {} bytes", info.references, info.bytes).expect("written");
        }
        for (number, kept) in self.sessions.iter().collect::<BTreeMap<_, _>>() {
            let will =
                |will: &Will| (will.message.topic().to_owned(), will.message.payload().to_vec(), will.delay_secs);
            write!(out, "session {number} {}: attach {}", kept.client_id, kept.attach).expect("written");
            write!(out, ", detached {}, expires {}", kept.detached_at, kept.expiry_secs).expect("written");
            write!(out, ", next {}, inbound {:?}", kept.next_packet_id(), kept.inbound.iter().collect::<Vec<_>>())
                .expect("written");
            write!(out, ", will {:?} rests {}", kept.will.as_deref().map(will), kept.will_rests).expect("written");
            if let Some(extras) = &kept.extras {
                write!(out, ", {extras:?}").expect("written");
            }
            if let Some(shares) = &kept.shares
                && !(shares.groups.is_empty() && shares.drawn.is_empty())
            {
                write!(out, ", groups {:?}, drawn {:?}", shares.groups, shares.drawn).expect("written");
            }
            dump_queue(kept.queue(), &mut out);
        }
        for (number, group) in &self.groups {
            let members: Vec<_> = group.members.iter().map(|(session, options)| (session, options.qos)).collect();
            write!(out, "group {number} {:?}: {members:?}, turn {}", group.name, group.turn).expect("written");
            dump_queue(Some(&group.queue), &mut out);
        }
        let names: BTreeMap<_, _> = self.names.iter().collect();
        let groups: BTreeMap<_, _> = self.group_names.iter().map(|(name, number)| (number, name)).collect();
        let delayed: Vec<_> = self.delayed.iter().map(|(id, (due, _))| (id, due)).collect();
        writeln!(out, "names {names:?}\ngroup names {groups:?}\ndelayed {delayed:?}").expect("written");
        out
    }

    /// # Panics
    /// When the parts of the state contradict each other.
    pub(crate) fn check(&self) {
        let mut references = BTreeMap::<Position, u32>::new();
        let window = self.settings.window;
        for (number, kept) in &self.sessions {
            assert_eq!(self.names.get(&kept.client_id), Some(number), "its name leads to a session");
            let Some(queue) = kept.queue() else { continue };
            self.check_queue(queue, &mut references);
            assert!(queue.window() <= window.messages.max(1));
            let drawn: BTreeSet<_> = kept.shares.iter().flat_map(|shares| shares.drawn.keys().copied()).collect();
            let shared: BTreeSet<_> = queue.iter().filter(|e| e.is_shared()).map(|e| e.packet_id).collect();
            assert_eq!(drawn, shared, "what was drawn is known by its packet identifier");
            if !kept.is_attached() {
                let bound = |id: &u16| queue.iter().any(|e| e.packet_id == *id && e.qos() == Qos::ExactlyOnce);
                assert!(drawn.iter().all(bound), "a member that is not there holds only QoS 2");
                assert!(queue.iter().take(queue.window()).all(|entry| entry.qos() != Qos::AtMostOnce));
            }
        }
        for (number, group) in &self.groups {
            assert_eq!(self.group_names.get(&group.name), Some(number));
            assert!(!group.members.is_empty(), "a group without members");
            for member in group.members.keys() {
                let shares = self.sessions[member].shares.as_ref().expect("it is a member");
                assert!(shares.groups.contains(number));
            }
            assert_eq!(group.queue.window(), 0);
            self.check_queue(&group.queue, &mut references);
            if let Some(entry) = group.queue.get(0) {
                let bytes = self.messages.bytes_of(entry.message);
                let has_room = |member| self.sessions[member].has_room(window, bytes);
                assert!(!group.members.keys().any(has_room), "a message waits although a member has room");
            }
        }
        assert_eq!((self.names.len(), self.group_names.len()), (self.sessions.len(), self.groups.len()));
        let counted: BTreeMap<_, _> = self.messages.waiting.iter().map(|(&at, info)| (at, info.references)).collect();
        assert_eq!(counted, references, "references");
        assert_eq!(self.messages.bytes, self.messages.waiting.values().map(|info| u64::from(info.bytes)).sum::<u64>());
    }

    fn check_queue(&self, queue: &Queue, references: &mut BTreeMap<Position, u32>) {
        let (mut bytes, mut window_bytes, mut distance) = (0, 0, None);
        let front = queue.get(0).map_or(0, |entry| entry.packet_id);
        for (index, entry) in queue.iter().enumerate() {
            let held = if entry.is_received() { 0 } else { u64::from(self.messages.bytes_of(entry.message)) };
            bytes += held;
            if !entry.is_received() {
                *references.entry(entry.message).or_default() += 1;
            }
            assert_eq!(entry.packet_id != 0, index < queue.window(), "identifiers are for the window");
            if index < queue.window() {
                window_bytes += held;
                let further = Some(entry.packet_id.wrapping_sub(front));
                assert!(further > distance, "identifiers go up");
                distance = further;
                assert_eq!(queue.find(entry.packet_id), Some(index));
            }
        }
        assert_eq!((queue.bytes, queue.window_bytes), (bytes, window_bytes), "bytes");
        let waiting = queue.iter().enumerate().skip(queue.window());
        let qos0 = waiting.filter(|(_, entry)| entry.qos() == Qos::AtMostOnce).map(|(index, _)| index).next();
        assert_eq!(queue.waiting_qos0(), qos0);
    }

    /// Packet identifiers of a session's window.
    pub(crate) fn window_ids(&self, session: Number) -> Vec<u16> {
        let queue = self.sessions.get(&session).and_then(|kept| kept.queue());
        queue.map_or(Vec::new(), |queue| queue.iter().take(queue.window()).map(|entry| entry.packet_id).collect())
    }

    /// Where a session's connection was recorded, 0 when it has none.
    pub(crate) fn attach_of(&self, session: Number) -> Position {
        self.sessions.get(&session).map_or(0, |kept| kept.attach)
    }

    /// Rows that there must be once all is written: sessions and groups, and messages.
    pub(crate) fn rows_wanted(&self) -> (BTreeSet<u64>, BTreeSet<Position>) {
        let numbers = self.sessions.keys().chain(self.groups.keys()).copied().collect();
        (numbers, self.messages.waiting.keys().copied().collect())
    }
}

fn dump_queue(queue: Option<&Queue>, out: &mut String) {
    let Some(queue) = queue.filter(|queue| queue.len() > 0) else { return out.push('\n') };
    writeln!(out, ", window {} of {}, {} of {} bytes:", queue.window(), queue.len(), queue.window_bytes, queue.bytes)
        .expect("written");
    for entry in queue.iter() {
        writeln!(out, "  {entry:?}").expect("written");
    }
}
