use std::{collections::VecDeque, task::Waker};

use thingway_contract::{CloseReason, Delivery, Instant, Qos};

use super::{Errand, Errands, NO_CORE};

/// Bounds of a session's queue. What is dropped at a bound: QoS 0 first, then as [`DropOrder`] says; always counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most deliveries waiting for a connected session.
    pub messages_max: usize,
    /// Most bytes waiting for a connected session. One message is let in whatever its size.
    pub bytes_max: usize,
    /// Most deliveries waiting for a session without a connection.
    pub offline_messages_max: usize,
    /// Most bytes waiting for a session without a connection.
    pub offline_bytes_max: usize,
    /// Keep QoS 0 messages for sessions without a connection.
    pub offline_qos0: bool,
    /// What goes when only QoS 1 and 2 messages are left.
    pub drop_order: DropOrder,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages_max: 20_000,
            bytes_max: 16 * 1024 * 1024,
            offline_messages_max: 10_000,
            offline_bytes_max: 8 * 1024 * 1024,
            offline_qos0: false,
            drop_order: DropOrder::Oldest,
        }
    }
}

impl QueueLimits {
    /// The bounds while all queues together hold more than they may.
    pub(super) fn shrunk(&self) -> Self {
        Self {
            messages_max: (self.messages_max / 8).max(1),
            bytes_max: self.bytes_max / 8,
            offline_messages_max: (self.offline_messages_max / 8).max(1),
            offline_bytes_max: self.offline_bytes_max / 8,
            ..*self
        }
    }
}

/// Which message a full queue gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DropOrder {
    /// The one that waited longest, so that a client that comes back finds the latest.
    #[default]
    Oldest,
    /// The one that came last, so that what was queued stays as it is.
    Newest,
}

/// A connection that takes deliveries out of an inbox.
#[derive(Debug)]
pub(super) struct Attached {
    pub waker: Waker,
    pub core: u16,
    /// When it last took a delivery, in units of [`TAKEN_UNIT_MS`], of which the upper bits do not matter.
    taken: u16,
    /// Another core that it gets deliveries from, and how much they outweigh those of others.
    pull_from: u16,
    pull: u8,
    /// It was woken and has not looked yet.
    pub scheduled: bool,
}

/// A power of two, so that the clock's milliseconds need only be shifted.
const TAKEN_UNIT_MS: u64 = 64;
/// Time for which a connected subscriber may take nothing before its full queue no longer slows its publishers down.
const STUCK_AFTER_MS: u64 = 1024;
/// By so many deliveries another core must outweigh all others before the connection is better there.
const PULL_MAX: u8 = 32;

impl Attached {
    /// A connection that will look into the queue by itself once.
    pub fn new(waker: Waker, core: u16) -> Self {
        Self { waker, core, taken: 0, pull_from: core, pull: 0, scheduled: true }
    }

    /// Notes that it takes deliveries now.
    pub fn takes(&mut self, now: Instant) {
        self.taken = unit(now);
    }

    /// True when it took any lately.
    pub fn is_moving(&self, now: Instant) -> bool {
        u64::from(unit(now).wrapping_sub(self.taken)) < STUCK_AFTER_MS / TAKEN_UNIT_MS
    }

    /// Notes the core that a delivery comes from.
    pub fn pull(&mut self, core: u16) {
        if core == self.core || core == NO_CORE {
            self.pull = self.pull.saturating_sub(2);
        } else if core == self.pull_from {
            self.pull = self.pull.saturating_add(1);
        } else if self.pull == 0 {
            self.pull_from = core;
        } else {
            self.pull -= 1;
        }
    }

    /// The core that nearly all deliveries have come from for a while, if that is another. It takes as long until it is told again.
    pub fn take_pull(&mut self) -> Option<u16> {
        if self.pull < PULL_MAX {
            return None;
        }
        self.pull = 0;
        Some(self.pull_from)
    }
}

fn unit(now: Instant) -> u16 {
    (now.as_millis() / TAKEN_UNIT_MS) as u16
}

/// A session's queue and its line to the connection that serves it: the only queue between a publisher and a subscriber.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Delivery>,
    bytes: usize,
    qos0_queued: u32,
    /// The epoch of the connection attached last; an older connection finds that it is not its own any more.
    pub epoch: u32,
    pub attached: Option<Attached>,
    /// What hardly any has.
    apart: Option<Box<Apart>>,
}

/// What is asked of the connection beside deliveries, and what the queue has lost.
#[derive(Debug, Default)]
struct Apart {
    signal: Option<CloseReason>,
    errands: Option<Box<Errands>>,
    /// Deliveries that a full queue had no room for.
    dropped: u64,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued, and the queue is nearly full.
    Congested,
    /// Queued in place of another of QoS 1 or 2.
    Displaced,
    /// Not queued: QoS 0 to a full queue or to nobody.
    DroppedQos0,
    /// Not queued: the queue is full.
    DroppedFull,
}

impl Inbox {
    pub fn push(&mut self, delivery: Delivery, limits: &QueueLimits) -> Pushed {
        let (messages_max, bytes_max) = if self.attached.is_some() {
            (limits.messages_max, limits.bytes_max)
        } else {
            if delivery.qos == Qos::AtMostOnce && !limits.offline_qos0 {
                return Pushed::DroppedQos0;
            }
            (limits.offline_messages_max, limits.offline_bytes_max)
        };
        let weight = weight(&delivery);
        let mut displaced = false;
        while self.queue.len() >= messages_max || self.bytes + weight > bytes_max && !self.queue.is_empty() {
            self.count_dropped();
            if delivery.qos == Qos::AtMostOnce {
                return Pushed::DroppedQos0;
            }
            if self.qos0_queued > 0 {
                self.drop_oldest_qos0();
                continue;
            }
            let oldest = (limits.drop_order == DropOrder::Oldest).then(|| self.queue.pop_front()).flatten();
            let Some(oldest) = oldest else { return Pushed::DroppedFull };
            self.forget(&oldest);
            displaced = true;
        }
        self.bytes += weight;
        self.qos0_queued += u32::from(delivery.qos == Qos::AtMostOnce);
        self.queue.push_back(delivery);
        if displaced {
            Pushed::Displaced
        } else if self.queue.len() > messages_max - messages_max / 8 || self.bytes > bytes_max - bytes_max / 8 {
            Pushed::Congested
        } else {
            Pushed::Queued
        }
    }

    /// Has the connection end; it is told the first reason.
    pub fn signal(&mut self, reason: CloseReason) {
        self.apart.get_or_insert_default().signal.get_or_insert(reason);
    }

    /// Gives the connection something to do; false when as much waits as may.
    pub fn add_errand(&mut self, errand: Errand) -> bool {
        self.apart.get_or_insert_default().errands.get_or_insert_default().add(errand)
    }

    /// What is asked of the connection beside deliveries; then nothing is.
    #[inline]
    pub fn take_asked(&mut self) -> (Option<CloseReason>, Option<Box<Errands>>) {
        match &self.apart {
            None => (None, None),
            Some(_) => self.take_apart(),
        }
    }

    #[cold]
    fn take_apart(&mut self) -> (Option<CloseReason>, Option<Box<Errands>>) {
        let Some(apart) = &mut self.apart else { return (None, None) };
        let asked = (apart.signal.take(), apart.errands.take());
        if apart.dropped == 0 {
            self.apart = None;
        }
        asked
    }

    /// Deliveries that it had no room for.
    pub fn dropped(&self) -> u64 {
        self.apart.as_ref().map_or(0, |apart| apart.dropped)
    }

    #[cold]
    fn count_dropped(&mut self) {
        self.apart.get_or_insert_default().dropped += 1;
    }

    /// A part of what is queued.
    pub fn part(&self, skip: usize, count: usize) -> Vec<Delivery> {
        self.queue.iter().skip(skip).take(count).cloned().collect()
    }

    /// Makes room for so many that are about to be pushed.
    pub fn reserve(&mut self, count: usize) {
        self.queue.reserve(count);
    }

    /// Deliveries and their bytes, without those that the store knows of: of a session that is kept only QoS 0 is not the store's.
    pub fn own(&self) -> (usize, usize) {
        if self.qos0_queued == 0 {
            return (0, 0);
        }
        let own = self.queue.iter().filter(|delivery| delivery.packet_id == 0);
        own.fold((0, 0), |(count, bytes), delivery| (count + 1, bytes + weight(delivery)))
    }

    /// Puts a delivery at the end whose bounds somebody else has seen to.
    pub fn push_back(&mut self, delivery: Delivery) {
        self.bytes += weight(&delivery);
        self.qos0_queued += u32::from(delivery.qos == Qos::AtMostOnce);
        self.queue.push_back(delivery);
    }

    /// Says whether the connection is going to look.
    pub fn set_scheduled(&mut self, scheduled: bool) {
        if let Some(attached) = &mut self.attached {
            attached.scheduled = scheduled;
        }
    }

    /// Puts a delivery back that could not be sent yet.
    pub fn push_front(&mut self, delivery: Delivery) {
        self.bytes += weight(&delivery);
        self.qos0_queued += u32::from(delivery.qos == Qos::AtMostOnce);
        self.queue.push_front(delivery);
    }

    pub fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.forget(&delivery);
        if self.queue.is_empty() {
            // An idle session holds no buffer; a busy one gets it back from the allocator's free list.
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) {
        let queue = std::mem::take(&mut self.queue);
        self.bytes = 0;
        self.qos0_queued = 0;
        for delivery in queue {
            if keep(&delivery) {
                self.bytes += weight(&delivery);
                self.qos0_queued += u32::from(delivery.qos == Qos::AtMostOnce);
                self.queue.push_back(delivery);
            }
        }
    }

    pub fn take_all(&mut self) -> VecDeque<Delivery> {
        self.bytes = 0;
        self.qos0_queued = 0;
        std::mem::take(&mut self.queue)
    }

    /// Keeps the account of a delivery that left the queue.
    fn forget(&mut self, delivery: &Delivery) {
        self.bytes -= weight(delivery);
        self.qos0_queued -= u32::from(delivery.qos == Qos::AtMostOnce);
    }

    fn drop_oldest_qos0(&mut self) {
        if let Some(at) = self.queue.iter().position(|d| d.qos == Qos::AtMostOnce)
            && let Some(delivery) = self.queue.remove(at)
        {
            self.forget(&delivery);
        }
    }
}

fn weight(delivery: &Delivery) -> usize {
    size_of::<Delivery>() + delivery.message.weight()
}

#[cfg(test)]
mod tests {
    use thingway_contract::{Message, MessageHead, Properties, Topic, TopicLimits};

    use super::*;

    #[test]
    fn an_idle_queue_is_small() {
        assert_eq!(size_of::<Inbox>(), 80);
        assert_eq!(size_of::<Attached>(), 24);
    }

    fn delivery(qos: Qos, payload: u8) -> Delivery {
        let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
        let message = Message::new(MessageHead::default(), topic, Properties::default(), &[payload]);
        Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
    }

    fn limits(order: DropOrder) -> QueueLimits {
        QueueLimits { offline_messages_max: 3, offline_qos0: true, drop_order: order, ..QueueLimits::default() }
    }

    fn payloads(inbox: &mut Inbox) -> Vec<u8> {
        std::iter::from_fn(|| inbox.pop()).map(|d| d.message.payload()[0]).collect()
    }

    #[test]
    fn qos0_goes_first_then_the_oldest() {
        let limits = limits(DropOrder::Oldest);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.push(delivery(Qos::AtLeastOnce, 1), &limits), Pushed::Queued);
        inbox.push(delivery(Qos::AtMostOnce, 2), &limits);
        inbox.push(delivery(Qos::AtLeastOnce, 3), &limits);
        assert_eq!(inbox.dropped(), 0);
        assert_eq!(inbox.push(delivery(Qos::AtMostOnce, 4), &limits), Pushed::DroppedQos0);
        assert_eq!(inbox.push(delivery(Qos::AtLeastOnce, 5), &limits), Pushed::Queued);
        assert_eq!(inbox.push(delivery(Qos::ExactlyOnce, 6), &limits), Pushed::Displaced);
        assert_eq!(inbox.dropped(), 3);
        assert_eq!(inbox.take_asked().0, None);
        assert_eq!(inbox.dropped(), 3, "they stay counted");
        assert_eq!(payloads(&mut inbox), [3, 5, 6]);
        assert_eq!((inbox.bytes(), inbox.qos0_queued), (0, 0));
    }

    #[test]
    fn newest_order_keeps_what_is_there() {
        let limits = limits(DropOrder::Newest);
        let mut inbox = Inbox::default();
        for n in 1..=3 {
            inbox.push(delivery(Qos::AtLeastOnce, n), &limits);
        }
        assert_eq!(inbox.push(delivery(Qos::AtLeastOnce, 4), &limits), Pushed::DroppedFull);
        assert_eq!(payloads(&mut inbox), [1, 2, 3]);
    }

    #[test]
    fn bytes_bound_the_queue_but_one_message_always_fits() {
        let limits = QueueLimits { offline_bytes_max: 1, ..limits(DropOrder::Oldest) };
        let mut inbox = Inbox::default();
        assert_ne!(inbox.push(delivery(Qos::AtLeastOnce, 1), &limits), Pushed::DroppedFull);
        assert_eq!(inbox.push(delivery(Qos::AtLeastOnce, 2), &limits), Pushed::Displaced);
        assert_eq!(payloads(&mut inbox), [2]);
    }

    #[test]
    fn without_a_connection_qos0_is_not_kept_by_default() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.push(delivery(Qos::AtMostOnce, 1), &QueueLimits::default()), Pushed::DroppedQos0);
        assert_eq!(inbox.len(), 0);
    }
}
