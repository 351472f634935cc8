use std::collections::{BTreeSet, VecDeque};

use thingway_contract::{Qos, SubscriptionOptions};

use super::Bounds;
use crate::{
    Position,
    wire::{Put, Take},
};

/// Entries of a queue that are stored as one row. Tests have short queues.
const PART_ENTRIES: u64 = if cfg!(test) { 4 } else { 256 };
/// Number of the first entry of a queue: far from zero, for entries may come back to the front.
const FIRST: u64 = 1 << 40;

/// A message that waits for a session, or whose exchange with it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub message: Position,
    pub subscription_id: u32,
    /// 0 until it is given to a connection.
    pub packet_id: u16,
    flags: u8,
    /// Of one drawn from a group: the flags that it had there.
    waiting: u8,
}

impl Entry {
    const RETAIN: u8 = 4;
    const RARE: u8 = 8;
    const SHARED: u8 = 16;
    const RECEIVED: u8 = 32;

    pub fn new(message: Position, qos: Qos, retain: bool, subscription_id: u32) -> Self {
        let flags = qos as u8 | if retain { Self::RETAIN } else { 0 };
        Self { message, subscription_id, packet_id: 0, flags, waiting: 0 }
    }

    /// With something that only the message's record tells.
    pub fn with_rare(self) -> Self {
        Self { flags: self.flags | Self::RARE, ..self }
    }

    /// What a member with these options gets of what waits at a group.
    pub fn drawn(self, options: SubscriptionOptions) -> Self {
        let retain = self.retain() && options.retain_as_published;
        let entry = Self::new(self.message, self.qos().min(options.qos), retain, options.id);
        Self { flags: entry.flags | Self::SHARED, waiting: self.flags, ..entry }
    }

    /// Drawn from a group, where it was this.
    pub fn drawn_as(self, waiting: Self) -> Self {
        Self { flags: self.flags | Self::SHARED, waiting: waiting.flags, ..self }
    }

    /// What waited at the group before it was drawn.
    pub fn returned(self) -> Self {
        Self { message: self.message, subscription_id: 0, packet_id: 0, flags: self.waiting, waiting: 0 }
    }

    pub fn qos(self) -> Qos {
        Qos::from_u8(self.flags & 3).unwrap_or_default()
    }

    pub fn retain(self) -> bool {
        self.flags & Self::RETAIN != 0
    }

    pub fn has_rare(self) -> bool {
        self.flags & Self::RARE != 0
    }

    pub fn is_shared(self) -> bool {
        self.flags & Self::SHARED != 0
    }

    /// The subscriber has taken the message over.
    pub fn is_received(self) -> bool {
        self.flags & Self::RECEIVED != 0
    }

    fn put(self, bytes: u32, out: &mut Vec<u8>) {
        out.push(self.flags);
        out.number(self.message);
        out.number(self.subscription_id.into());
        out.number(self.packet_id.into());
        out.number(bytes.into());
        if self.is_shared() {
            out.push(self.waiting);
        }
    }

    fn take(take: &mut Take<'_>) -> Option<(Self, u32)> {
        let flags = take.byte()?;
        Qos::from_u8(flags & 3)?;
        let (message, subscription_id, packet_id) = (take.number()?, take.int()?, take.short()?);
        let bytes = take.int()?;
        let waiting = if flags & Self::SHARED == 0 { 0 } else { take.byte()? };
        Qos::from_u8(waiting & 3)?;
        Some((Self { message, subscription_id, packet_id, flags, waiting }, bytes))
    }
}

/// What waits for a session or a group, in order; at its front a window of what was given to the session's connection.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// Number of the first entry, counted through the queue's life.
    first: u64,
    /// Entries of the window.
    window: u32,
    /// Entries of QoS 0 behind it.
    qos0: u32,
    /// Bytes of all messages, and of those in the window.
    pub bytes: u64,
    pub window_bytes: u64,
    /// Parts that are not as they are stored.
    dirty: BTreeSet<u64>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of the first entry.
    pub fn first_number(&self) -> u64 {
        self.first
    }

    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// The oldest entry of QoS 0 behind the window.
    pub fn waiting_qos0(&self) -> Option<usize> {
        let is_qos0 = |index: &usize| self.entries[*index].qos() == Qos::AtMostOnce;
        let last = self.entries.len().checked_sub(1)?;
        match self.qos0 {
            0 => None,
            // As a rule the one that has just come.
            1 if is_qos0(&last) => Some(last),
            _ => (self.window()..=last).find(is_qos0),
        }
    }

    /// Nothing waits, and nothing has to be stored.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.dirty.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<Entry> {
        self.entries.get(index).copied()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator {
        self.entries.iter().copied()
    }

    pub fn push_back(&mut self, entry: Entry, bytes: u32) {
        if self.entries.is_empty() && self.first == 0 {
            self.first = FIRST;
        }
        self.entries.push_back(entry);
        self.add(entry, bytes);
        self.touch(self.entries.len() - 1);
    }

    /// Gives an entry back its place at the front.
    pub fn push_front(&mut self, entry: Entry, bytes: u32) {
        if self.first == 0 {
            self.first = FIRST;
        }
        self.first -= 1;
        self.entries.push_front(entry);
        self.add(entry, bytes);
        self.touch(0);
    }

    fn add(&mut self, entry: Entry, bytes: u32) {
        self.bytes += u64::from(bytes);
        self.qos0 += u32::from(entry.qos() == Qos::AtMostOnce);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, index: usize, bytes: u32) -> Option<Entry> {
        let entry = self.entries.remove(index)?;
        self.bytes = self.bytes.saturating_sub(bytes.into());
        if index < self.window() {
            self.window -= 1;
            self.window_bytes = self.window_bytes.saturating_sub(bytes.into());
        } else {
            self.qos0 -= u32::from(entry.qos() == Qos::AtMostOnce);
        }
        // Either those before it get the next number each, or those behind it the one before.
        let (number, end) = (self.first + index as u64, self.first + self.entries.len() as u64);
        if index <= self.entries.len() / 2 {
            self.dirty.extend(self.first / PART_ENTRIES..=number / PART_ENTRIES);
            self.first += 1;
        } else {
            self.dirty.extend(number / PART_ENTRIES..=end / PART_ENTRIES);
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }

    /// The next entry joins the window under this packet identifier.
    pub fn admit(&mut self, packet_id: u16, bytes: u32) -> Option<Entry> {
        let index = self.window();
        let entry = self.entries.get_mut(index)?;
        entry.packet_id = packet_id;
        let entry = *entry;
        self.window += 1;
        self.window_bytes += u64::from(bytes);
        self.qos0 -= u32::from(entry.qos() == Qos::AtMostOnce);
        self.touch(index);
        Some(entry)
    }

    /// The last entry of the window leaves it, and waits again; its packet identifier is free.
    pub fn dismiss(&mut self, bytes: u32) {
        let Some(index) = self.window().checked_sub(1) else { return };
        self.entries[index].packet_id = 0;
        self.window -= 1;
        self.window_bytes = self.window_bytes.saturating_sub(bytes.into());
        self.qos0 += u32::from(self.entries[index].qos() == Qos::AtMostOnce);
        self.touch(index);
    }

    /// Where the window has this packet identifier. Identifiers go up along the window, around the end of their range.
    pub fn find(&self, packet_id: u16) -> Option<usize> {
        let front = self.entries.front()?.packet_id;
        let distance = |id: u16| id.wrapping_sub(front);
        let (mut low, mut high) = (0, self.window());
        while low < high {
            let middle = usize::midpoint(low, high);
            if distance(self.entries[middle].packet_id) < distance(packet_id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.window() && self.entries[low].packet_id == packet_id).then_some(low)
    }

    /// How many of the window's first entries may have been sent, when the first that was not is `unsent`; all of them when there is none such. Whatever
    /// is said, what the subscriber has taken over was sent.
    pub fn sent(&self, unsent: u16) -> usize {
        let told = self.find(unsent).unwrap_or(self.window());
        let received = (told..self.window()).rfind(|&index| self.entries[index].is_received());
        received.map_or(told, |index| index + 1)
    }

    /// The packet identifier for the next entry of the window, `next` or the one after it; `None` while the window has no room for a message of so many
    /// bytes.
    ///
    /// Nor has it when the identifiers have gone all the way around to that of the first entry: they go up along the window, and what has waited for its
    /// acknowledgement since 65,534 messages holds up what comes then.
    pub fn room(&self, bounds: Bounds, bytes: u32, next: u16) -> Option<u16> {
        let next = next.max(1);
        if self.window == 0 {
            return Some(next);
        }
        let free = self.window() < bounds.messages
            && self.window_bytes + u64::from(bytes) <= bounds.bytes
            && self.entries[0].packet_id != next;
        free.then_some(next)
    }

    /// The subscriber has taken this one over. False when it had before.
    pub fn receive(&mut self, index: usize, bytes: u32) -> bool {
        let Some(entry) = self.entries.get_mut(index).filter(|entry| !entry.is_received()) else { return false };
        entry.flags |= Entry::RECEIVED;
        self.bytes = self.bytes.saturating_sub(bytes.into());
        self.window_bytes = self.window_bytes.saturating_sub(bytes.into());
        self.touch(index);
        true
    }

    pub fn touch(&mut self, index: usize) {
        self.dirty.insert((self.first + index as u64) / PART_ENTRIES);
    }

    pub fn dirty(&self) -> &BTreeSet<u64> {
        &self.dirty
    }

    pub fn clean(&mut self) {
        self.dirty.clear();
    }

    /// What a row holds of it, `None` for nothing.
    pub fn encode_part(&self, part: u64, bytes: impl Fn(Position) -> u32) -> Option<Vec<u8>> {
        let from = (part * PART_ENTRIES).max(self.first);
        let to = ((part + 1) * PART_ENTRIES).min(self.first + self.entries.len() as u64);
        if from >= to {
            return None;
        }
        let mut out = Vec::new();
        out.number(from);
        for number in from..to {
            let entry = self.entries[(number - self.first) as usize];
            entry.put(if entry.is_received() { 0 } else { bytes(entry.message) }, &mut out);
        }
        Some(out)
    }

    /// Puts the next part's row behind what was restored before; tells each entry and its bytes.
    pub fn restore_part(&mut self, row: &[u8], mut told: impl FnMut(Entry, u32)) -> Option<()> {
        let mut take = Take(row);
        let from = take.number()?;
        if self.entries.is_empty() {
            self.first = from;
        }
        if from != self.first.checked_add(self.entries.len() as u64)? || from > FIRST * 2 {
            return None;
        }
        while !take.is_empty() {
            let (entry, bytes) = Entry::take(&mut take)?;
            let index = self.entries.len();
            self.entries.push_back(entry);
            self.add(entry, bytes);
            if entry.packet_id != 0 {
                if index != self.window() {
                    return None;
                }
                self.admit(entry.packet_id, bytes)?;
            }
            told(entry, bytes);
        }
        self.clean();
        Some(())
    }
}

/// Packet identifiers go from 65,535 to 1.
pub(crate) const fn successor(id: u16) -> u16 {
    match id.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
