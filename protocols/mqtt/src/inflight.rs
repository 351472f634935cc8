//! Outgoing QoS 1 and 2 messages under way (MQTT 5.0, sections 4.3, 4.4 and 4.9).

use thingway_contract::{Delivery, Parked, Qos, Unacknowledged};

/// What the client has not fully acknowledged, in the order in which it was first sent.
///
/// A ring indexed by packet identifier: every operation is one look at one slot. The order is a list threaded through
/// the slots, so acknowledgements may come in any order. An identifier whose slot is taken is skipped when a new one is
/// chosen; so the ring holds as many messages as it has slots, whatever the client leaves unacknowledged, and it only
/// grows when it is full.
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
    /// QoS 2: PUBREC came and PUBREL was sent.
    Released,
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
}

/// Rings of up to this many slots are kept when they are empty.
const SLOTS_KEPT_MAX: usize = 64;
const SLOTS_MIN: usize = 4;
const SLOTS_MAX: usize = 1 << 16;

impl Inflight {
    /// Nothing under way; at most `quota` messages without acknowledgement, and `len_max` in all.
    pub(crate) fn new(quota: u16, len_max: u16) -> Self {
        Self { slots: Vec::new(), len: 0, oldest: 0, newest: 0, unsent: 0, next_id: 1, quota, len_max: len_max.max(1) }
    }

    /// The state that an earlier connection left. Nothing of it was sent on this one.
    pub(crate) fn restore(quota: u16, len_max: u16, next_id: u16, outbound: Vec<Unacknowledged>) -> Self {
        let mut inflight = Self::new(quota, len_max);
        inflight.next_id = next_id.max(1);
        for Unacknowledged { packet_id, delivery } in outbound {
            let stage = if delivery.is_some() { Stage::Unsent } else { Stage::Released };
            if packet_id == 0 || inflight.stage(packet_id).is_some() {
                continue;
            }
            while inflight.slots.is_empty() || inflight.slots[inflight.index(packet_id)].id != 0 {
                inflight.grow();
            }
            inflight.append(packet_id, delivery, stage, false);
            if stage == Stage::Unsent && inflight.unsent == 0 {
                inflight.unsent = packet_id;
            }
        }
        inflight
    }

    /// What the next connection needs; nothing is left.
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

    /// The identifier for a new message, or `None` when the window is full or older messages go first. Nothing is taken
    /// yet.
    pub(crate) fn next_id(&mut self) -> Option<u16> {
        if self.quota == 0 || self.unsent != 0 || self.len >= u32::from(self.len_max) {
            return None;
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
        debug_assert_eq!(id, self.next_id, "the identifier that was chosen last");
        self.append(id, Some(delivery), Stage::Sent, true);
        self.quota = self.quota.saturating_sub(1);
        self.next_id = successor(id);
    }

    /// How far the message with this identifier is, and its quality of service; `None` for an unknown identifier.
    pub(crate) fn stage(&self, id: u16) -> Option<(Stage, Qos)> {
        let slot = self.slot(id)?;
        // A message without content is one that was released, as there is only at QoS 2.
        Some((slot.stage, slot.delivery.as_ref().map_or(Qos::ExactlyOnce, |delivery| delivery.qos)))
    }

    /// QoS 2: the client has taken the message over; only the release is missing.
    pub(crate) fn release(&mut self, id: u16) {
        if self.unsent == id {
            self.unsent = self.next_unsent_after(id);
        }
        let index = self.index(id);
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.id == id) {
            slot.delivery = None;
            slot.stage = Stage::Released;
        }
    }

    /// The exchange is over.
    pub(crate) fn remove(&mut self, id: u16) {
        if self.slot(id).is_none() {
            return;
        }
        if self.unsent == id {
            self.unsent = self.next_unsent_after(id);
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
        let mut id = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slot(id)?;
            id = slot.newer;
            Some((slot.id, slot.stage))
        })
        .filter(|(_, stage)| *stage == Stage::Released)
        .map(|(id, _)| id)
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
mod tests {
    use proptest::{collection::vec, prelude::*};
    use thingway_contract::{Message, MessageHead, Properties, Topic, TopicLimits};

    use super::*;

    fn delivery(number: u32, qos: Qos) -> Delivery {
        let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
        let message = Message::new(MessageHead::default(), topic, Properties::default(), &number.to_be_bytes());
        Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
    }

    fn send(inflight: &mut Inflight, number: u32, qos: Qos) -> Option<u16> {
        let id = inflight.next_id()?;
        inflight.insert(id, delivery(number, qos));
        Some(id)
    }

    #[test]
    fn a_slot_is_half_a_cache_line() {
        assert!(size_of::<Slot>() <= 32);
    }

    #[test]
    fn the_window_is_kept() {
        let mut inflight = Inflight::new(2, 100);
        assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), Some(1));
        assert_eq!(send(&mut inflight, 1, Qos::AtLeastOnce), Some(2));
        assert_eq!(send(&mut inflight, 2, Qos::AtLeastOnce), None);
        inflight.remove(1);
        assert_eq!(send(&mut inflight, 2, Qos::AtLeastOnce), Some(3));
        let mut inflight = Inflight::new(100, 1);
        assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), Some(1));
        assert_eq!(send(&mut inflight, 1, Qos::AtLeastOnce), None);
    }

    #[test]
    fn identifiers_wrap_and_skip_those_in_use() {
        let mut inflight = Inflight::new(10, 10);
        let stuck = send(&mut inflight, 0, Qos::AtLeastOnce).expect("room");
        assert_eq!(stuck, 1);
        let mut last = 1;
        for number in 1..200_000 {
            let id = send(&mut inflight, number, Qos::AtLeastOnce).expect("room");
            assert!(id != stuck && id != 0);
            assert!(id > last || last > 65_000, "{id} after {last}");
            last = id;
            inflight.remove(id);
        }
        assert_eq!(inflight.len(), 1);
        assert!(inflight.slots.len() <= SLOTS_MIN, "one stuck message does not grow the ring");
    }

    #[test]
    fn a_full_range_of_identifiers_can_be_under_way() {
        let mut inflight = Inflight::new(u16::MAX, u16::MAX);
        for number in 0..65_535 {
            assert!(send(&mut inflight, number, Qos::AtLeastOnce).is_some());
        }
        assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), None);
        assert_eq!(inflight.slots.len(), SLOTS_MAX);
        for id in 1..=u16::MAX {
            inflight.remove(id);
        }
        assert_eq!((inflight.len(), inflight.slots.capacity()), (0, 0), "a large empty ring is freed");
        assert!(send(&mut inflight, 0, Qos::AtLeastOnce).is_some());
    }

    #[test]
    fn unsent_messages_go_before_new_ones_as_the_quota_allows() {
        let outbound = vec![
            Unacknowledged { packet_id: 9, delivery: Some(delivery(0, Qos::AtLeastOnce)) },
            Unacknowledged { packet_id: 5, delivery: None },
            Unacknowledged { packet_id: 65_535, delivery: Some(delivery(1, Qos::ExactlyOnce)) },
        ];
        let mut inflight = Inflight::restore(1, 100, 65_535, outbound);
        assert_eq!(inflight.released().collect::<Vec<_>>(), [5]);
        assert_eq!(inflight.unsent().map(|(id, _)| id), Some(9));
        assert_eq!(inflight.next_id(), None);
        inflight.mark_sent(9);
        assert!(inflight.unsent().is_none(), "no quota");
        inflight.remove(5);
        assert!(inflight.unsent().is_none(), "a release takes no quota on this connection, so gives none back");
        inflight.remove(9);
        assert_eq!(inflight.unsent().map(|(id, _)| id), Some(65_535));
        inflight.mark_sent(65_535);
        inflight.release(65_535);
        inflight.remove(65_535);
        assert_eq!(inflight.next_id(), Some(65_535));
    }

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        Send(bool),
        /// Acknowledges the message at this position, or an unknown one.
        Finish(usize),
        Release(usize),
        Reconnect(u16),
        Resend,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => any::<bool>().prop_map(Operation::Send),
            3 => (0usize..40).prop_map(Operation::Finish),
            1 => (0usize..40).prop_map(Operation::Release),
            1 => (1u16..20).prop_map(Operation::Reconnect),
            2 => Just(Operation::Resend),
        ]
    }

    proptest! {
        /// The ring against a list: same identifiers, same order, same window.
        #[test]
        fn behaves_like_a_list(operations in vec(operation(), 1..300), start in prop_oneof![Just(1u16), Just(65_530)]) {
            let len_max = 16;
            let mut quota_max = 12u16;
            let mut inflight = Inflight::restore(quota_max, len_max, start, Vec::new());
            let mut model: Vec<(u16, Option<u32>, Stage, bool)> = Vec::new();
            for (number, operation) in (0u32..).zip(operations) {
                let quota = quota_max - model.iter().filter(|entry| entry.3).count() as u16;
                match operation {
                    Operation::Send(exactly) => {
                        let qos = if exactly { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
                        let unsent = model.iter().any(|entry| entry.2 == Stage::Unsent);
                        let allowed = quota > 0 && !unsent && model.len() < usize::from(len_max);
                        let id = send(&mut inflight, number, qos);
                        prop_assert_eq!(id.is_some(), allowed);
                        if let Some(id) = id {
                            prop_assert!(id != 0 && model.iter().all(|entry| entry.0 != id));
                            model.push((id, Some(number), Stage::Sent, true));
                        }
                    }
                    Operation::Finish(position) => {
                        if let Some(&(id, ..)) = model.get(position) {
                            inflight.remove(id);
                            model.remove(position);
                        } else {
                            inflight.remove(0);
                        }
                    }
                    Operation::Release(position) => {
                        if let Some(entry) = model.get_mut(position) {
                            inflight.release(entry.0);
                            entry.1 = None;
                            entry.2 = Stage::Released;
                        }
                    }
                    Operation::Reconnect(quota) => {
                        quota_max = quota;
                        let parked = inflight.park();
                        let parked_ids: Vec<_> = parked.outbound.iter().map(|entry| entry.packet_id).collect();
                        prop_assert_eq!(parked_ids, model.iter().map(|entry| entry.0).collect::<Vec<_>>());
                        inflight = Inflight::restore(quota, len_max, parked.next_packet_id, parked.outbound);
                        for entry in &mut model {
                            entry.2 = if entry.1.is_some() { Stage::Unsent } else { Stage::Released };
                            entry.3 = false;
                        }
                    }
                    Operation::Resend => {
                        let expected = model.iter_mut().find(|entry| entry.2 == Stage::Unsent).filter(|_| quota > 0);
                        let unsent = inflight.unsent().map(|(id, delivery)| (id, delivery.message.payload().to_vec()));
                        match (unsent, expected) {
                            (Some((id, payload)), Some(entry)) => {
                                prop_assert_eq!(id, entry.0);
                                prop_assert_eq!(&payload[..], &entry.1.expect("unsent").to_be_bytes()[..]);
                                inflight.mark_sent(id);
                                entry.2 = Stage::Sent;
                                entry.3 = true;
                            }
                            (None, None) => {}
                            (unsent, _) => prop_assert!(false, "{unsent:?}"),
                        }
                    }
                }
                prop_assert_eq!(inflight.len(), model.len());
                prop_assert_eq!(
                    inflight.released().collect::<Vec<_>>(),
                    model.iter().filter(|e| e.2 == Stage::Released).map(|e| e.0).collect::<Vec<_>>()
                );
                for entry in &model {
                    prop_assert_eq!(inflight.stage(entry.0).map(|(stage, _)| stage), Some(entry.2));
                }
            }
        }
    }
}
