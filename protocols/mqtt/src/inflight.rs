//! Outgoing QoS 1 and 2 messages under way (MQTT 5.0, sections 4.3, 4.4 and 4.9).

use thingway_contract::{Delivery, Message, Parked, Qos, Unacknowledged};

/// What the client has not fully acknowledged, in the order in which it was first sent.
///
/// A ring indexed by packet identifier: every operation is one look at one slot. The order is a list threaded through
/// the slots, so acknowledgements may come in any order. An identifier whose slot is taken is skipped when a new one is
/// chosen; so the ring holds as many messages as it has slots, whatever the client leaves unacknowledged, and it only
/// grows when it is full. An identifier that the gateway chose cannot be skipped: for it the ring grows until its slot is
/// free, to 65,536 slots of 32 bytes at the most, so the gateway does well to choose identifiers that are close together.
///
/// An exchange under an identifier that the gateway chose is *kept*: the gateway is told when it is over.
#[derive(Debug)]
pub(crate) struct Inflight {
    slots: Vec<Slot>,
    len: u32,
    /// Packet identifiers; 0 when there is none.
    oldest: u16,
    newest: u16,
    /// The oldest that was not yet sent on this connection.
    unsent: u16,
    next_id: u16,
    /// Messages that may be sent before an acknowledgement (section 4.9).
    quota: u16,
    /// Messages for which PUBREL is due and was not sent.
    received: u16,
    /// Most messages to hold.
    len_max: u16,
}

/// How far the exchange of a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Left by an earlier connection and not sent on this one.
    Unsent,
    /// PUBLISH was sent.
    Sent,
    /// QoS 2: PUBREC came, and PUBREL waits for the gateway.
    Received,
    /// QoS 2: PUBREC came and PUBREL was sent.
    Released {
        /// The content is gone, so this is said here.
        kept: bool,
    },
}

#[derive(Debug)]
struct Slot {
    delivery: Option<Delivery>,
    /// 0 for an empty slot.
    id: u16,
    older: u16,
    newer: u16,
    stage: Stage,
    /// It took one of the quota on this connection.
    counted: bool,
}

impl Slot {
    const EMPTY: Self = Self { delivery: None, id: 0, older: 0, newer: 0, stage: Stage::Unsent, counted: false };

    /// The gateway chose the identifier.
    fn is_kept(&self) -> bool {
        match &self.delivery {
            Some(delivery) => delivery.packet_id == self.id,
            None => self.stage == Stage::Released { kept: true },
        }
    }
}

/// Rings of up to this many slots are kept when they are empty.
const SLOTS_KEPT_MAX: usize = 64;
const SLOTS_MIN: usize = 4;
const SLOTS_MAX: usize = 1 << 16;

impl Inflight {
    /// Nothing under way; at most `quota` messages without acknowledgement, and `len_max` in all.
    pub(crate) fn new(quota: u16, len_max: u16) -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
            oldest: 0,
            newest: 0,
            unsent: 0,
            next_id: 1,
            quota,
            received: 0,
            len_max: len_max.max(1),
        }
    }

    /// The state that an earlier connection left. Nothing of it was sent on this one. What is there without content is
    /// kept if the session is.
    pub(crate) fn restore(
        quota: u16,
        len_max: u16,
        next_id: u16,
        session_kept: bool,
        outbound: Vec<Unacknowledged>,
    ) -> Self {
        let mut inflight = Self::new(quota, len_max);
        inflight.next_id = next_id.max(1);
        for Unacknowledged { packet_id, delivery } in outbound {
            let stage = if delivery.is_some() { Stage::Unsent } else { Stage::Released { kept: session_kept } };
            if packet_id == 0 || inflight.stage(packet_id).is_some() {
                continue;
            }
            inflight.make_room(packet_id);
            inflight.append(packet_id, delivery, stage, false);
            if stage == Stage::Unsent && inflight.unsent == 0 {
                inflight.unsent = packet_id;
            }
        }
        inflight
    }

    /// What the next connection needs; nothing is left. A message that was received but not released goes with its
    /// content: its PUBREL was not sent, so it may be sent again, and then PUBREC comes again.
    pub(crate) fn park(&mut self) -> Parked {
        let mut outbound = Vec::with_capacity(self.len as usize);
        let mut id = self.oldest;
        while id != 0 {
            let index = self.index(id);
            let slot = &mut self.slots[index];
            outbound.push(Unacknowledged { packet_id: id, delivery: slot.delivery.take() });
            id = slot.newer;
        }
        let next_packet_id = self.next_id;
        *self = Self::new(self.quota, self.len_max);
        Parked { outbound, next_packet_id, ..Parked::default() }
    }

    /// Number of messages under way.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// The identifier for a new message: the one that the gateway chose, or if that is 0 the next that is free. `None`
    /// when the window is full, older messages go first, or the gateway's choice is still in use. Nothing is taken yet.
    pub(crate) fn next_id(&mut self, chosen: u16) -> Option<u16> {
        if self.quota == 0 || self.unsent != 0 || self.len >= u32::from(self.len_max) {
            return None;
        }
        if chosen != 0 {
            if self.slot(chosen).is_some() {
                return None;
            }
            self.make_room(chosen);
            return Some(chosen);
        }
        if self.len() == self.slots.len() {
            self.grow();
        }
        // Ends because a slot is free and the identifiers go through all slots.
        loop {
            let id = self.next_id;
            if self.slots[self.index(id)].id == 0 {
                return Some(id);
            }
            self.next_id = successor(id);
        }
    }

    /// A new message was sent with the identifier that [`Inflight::next_id`] gave.
    pub(crate) fn insert(&mut self, id: u16, delivery: Delivery) {
        if delivery.packet_id == 0 {
            debug_assert_eq!(id, self.next_id, "the identifier that was chosen last");
            self.next_id = successor(id);
        }
        self.append(id, Some(delivery), Stage::Sent, true);
        self.quota = self.quota.saturating_sub(1);
    }

    /// The message with this identifier, as long as its content is there.
    pub(crate) fn message(&self, id: u16) -> Option<&Message> {
        Some(&self.slot(id)?.delivery.as_ref()?.message)
    }

    /// How far the message with this identifier is, and its quality of service; `None` for an unknown identifier.
    pub(crate) fn stage(&self, id: u16) -> Option<(Stage, Qos)> {
        let slot = self.slot(id)?;
        // A message without content is one that was released, as there is only at QoS 2.
        Some((slot.stage, slot.delivery.as_ref().map_or(Qos::ExactlyOnce, |delivery| delivery.qos)))
    }

    /// True when the gateway chose this identifier, and wants to know when the exchange is over.
    pub(crate) fn is_kept(&self, id: u16) -> bool {
        self.slot(id).is_some_and(Slot::is_kept)
    }

    /// True while PUBREL is due for a message and was not sent.
    pub(crate) const fn has_received(&self) -> bool {
        self.received != 0
    }

    /// QoS 2: the client has taken the message over; PUBREL waits.
    pub(crate) fn receive(&mut self, id: u16) {
        if let Some(slot) = self.leave_stage(id) {
            slot.stage = Stage::Received;
            self.received += 1;
        }
    }

    /// QoS 2: the client has taken the message over and PUBREL is sent.
    pub(crate) fn release(&mut self, id: u16) {
        if let Some(slot) = self.leave_stage(id) {
            slot.stage = Stage::Released { kept: slot.is_kept() };
            slot.delivery = None;
        }
    }

    /// The exchange is over. True when it was kept.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        if self.leave_stage(id).is_none() {
            return false;
        }
        let index = self.index(id);
        let slot = std::mem::replace(&mut self.slots[index], Slot::EMPTY);
        match slot.older {
            0 => self.oldest = slot.newer,
            older => {
                let index = self.index(older);
                self.slots[index].newer = slot.newer;
            }
        }
        match slot.newer {
            0 => self.newest = slot.older,
            newer => {
                let index = self.index(newer);
                self.slots[index].older = slot.older;
            }
        }
        self.len -= 1;
        if slot.counted {
            self.quota += 1;
        }
        if self.len == 0 && self.slots.len() > SLOTS_KEPT_MAX {
            self.slots = Vec::new();
        }
        slot.is_kept()
    }

    /// The oldest message that was not sent on this connection, while there is quota for it.
    pub(crate) fn unsent(&self) -> Option<(u16, &Delivery)> {
        if self.quota == 0 {
            return None;
        }
        let slot = self.slot(self.unsent)?;
        Some((slot.id, slot.delivery.as_ref()?))
    }

    /// The message that [`Inflight::unsent`] told was sent.
    pub(crate) fn mark_sent(&mut self, id: u16) {
        debug_assert_eq!(id, self.unsent, "messages are sent again in order");
        let next = self.next_unsent_after(id);
        let index = self.index(id);
        let slot = &mut self.slots[index];
        slot.stage = Stage::Sent;
        slot.counted = true;
        self.quota = self.quota.saturating_sub(1);
        self.unsent = next;
    }

    /// Identifiers of the messages that the client has taken over, in order.
    pub(crate) fn released(&self) -> impl Iterator<Item = u16> {
        self.iter().filter(|slot| matches!(slot.stage, Stage::Released { .. })).map(|slot| slot.id)
    }

    /// Messages that the client has not taken over, in order, with their identifiers.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (u16, &Delivery)> {
        self.iter().filter_map(|slot| Some((slot.id, slot.delivery.as_ref()?)))
    }

    fn iter(&self) -> impl Iterator<Item = &Slot> {
        let mut id = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slot(id)?;
            id = slot.newer;
            Some(slot)
        })
    }

    fn index(&self, id: u16) -> usize {
        usize::from(id) & self.slots.len().wrapping_sub(1)
    }

    fn slot(&self, id: u16) -> Option<&Slot> {
        if id == 0 {
            return None;
        }
        self.slots.get(self.index(id)).filter(|slot| slot.id == id)
    }

    /// The slot of a message whose stage ends, with what is counted of the stage put right.
    fn leave_stage(&mut self, id: u16) -> Option<&mut Slot> {
        self.slot(id)?;
        if self.unsent == id {
            self.unsent = self.next_unsent_after(id);
        }
        let index = self.index(id);
        let slot = &mut self.slots[index];
        if slot.stage == Stage::Received {
            self.received -= 1;
        }
        Some(slot)
    }

    fn next_unsent_after(&self, id: u16) -> u16 {
        let mut next = self.slot(id).map_or(0, |slot| slot.newer);
        while let Some(slot) = self.slot(next) {
            if slot.stage == Stage::Unsent {
                return next;
            }
            next = slot.newer;
        }
        0
    }

    fn append(&mut self, id: u16, delivery: Option<Delivery>, stage: Stage, counted: bool) {
        let index = self.index(id);
        debug_assert_eq!(self.slots[index].id, 0, "slot taken");
        self.slots[index] = Slot { delivery, id, older: self.newest, newer: 0, stage, counted };
        match self.newest {
            0 => self.oldest = id,
            newest => {
                let index = self.index(newest);
                self.slots[index].newer = id;
            }
        }
        self.newest = id;
        self.len += 1;
    }

    /// Grows the ring until the slot for an identifier that is not in use is free. Ends, for in the largest ring every
    /// identifier has a slot of its own.
    fn make_room(&mut self, id: u16) {
        while self.slots.is_empty() || self.slots[self.index(id)].id != 0 {
            self.grow();
        }
    }

    /// Doubles the ring. Identifiers that had different slots have different slots in the larger one.
    fn grow(&mut self) {
        let count = (self.slots.len() * 2).clamp(SLOTS_MIN, SLOTS_MAX);
        let old = std::mem::take(&mut self.slots);
        self.slots.reserve_exact(count);
        self.slots.resize_with(count, || Slot::EMPTY);
        for slot in old {
            if slot.id != 0 {
                let index = self.index(slot.id);
                self.slots[index] = slot;
            }
        }
    }
}

/// Packet identifiers go from 65,535 to 1.
const fn successor(id: u16) -> u16 {
    match id.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

#[cfg(test)]
mod tests;
