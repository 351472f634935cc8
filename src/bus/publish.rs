use std::{
    hash::BuildHasher,
    sync::{Arc, atomic::Ordering},
};

use foldhash::fast::FixedState;
use smallvec::SmallVec;
use thingway_contract::{Delivery, Instant, Message, MessageHead, PublishOutcome, PublisherKey, Qos, Rare, Topic};
use thingway_store::{Cause, Exchange, Target};

use super::{
    Bus, Counter, Lane, Session,
    inbox::{Inbox, Pushed},
    kept::{Kind, target},
    routes::{self, Grant},
    shared::{ShareStrategy, SharedGroup},
};
use crate::watch::Who;

/// What a publication came with.
#[derive(Clone, Copy, Debug, Default)]
struct Occasion {
    /// The publisher's packet identifier, 0 when it may happen twice.
    packet_id: u16,
    cause: Cause,
}

impl Bus {
    /// Publishes a message: retains it if asked, and pushes it to every matching session. The topic was checked when
    /// the message was made; access rules were checked by the caller.
    pub fn publish(
        &self,
        message: Message,
        publisher: Option<&Arc<Session>>,
        now: Instant,
        lane: &mut Lane,
    ) -> PublishOutcome {
        let outcome = self.publish_as(message, publisher, Occasion::default(), now, lane);
        self.flush(lane);
        outcome
    }

    /// Publishes a message that came in an exchange which must not happen twice (QoS 2), under the publisher's packet identifier, 0 for any other. In an
    /// exchange that is open already it is not published again.
    ///
    /// Deliveries to one session that follow each other are queued together: [`Bus::flush`] must be called after the last of several publications, and
    /// before anything else is asked of the bus.
    pub fn publish_exchange(
        &self,
        message: Message,
        publisher: &Arc<Session>,
        packet_id: u16,
        now: Instant,
        lane: &mut Lane,
    ) -> PublishOutcome {
        if packet_id != 0 && self.is_repeated(publisher, packet_id, lane) {
            return PublishOutcome::Accepted;
        }
        let occasion = Occasion { packet_id, ..Occasion::default() };
        self.publish_as(message, Some(publisher), occasion, now, lane)
    }

    /// Publishes what the gateway itself publishes for a cause.
    pub(super) fn publish_by_itself(&self, message: Message, cause: Cause, now: Instant, lane: &mut Lane) {
        self.publish_as(message, None, Occasion { cause, ..Occasion::default() }, now, lane);
        self.flush(lane);
    }

    fn publish_as(
        &self,
        message: Message,
        publisher: Option<&Arc<Session>>,
        occasion: Occasion,
        now: Instant,
        lane: &mut Lane,
    ) -> PublishOutcome {
        lane.now = now;
        let is_watched = self.watch.looks_at_messages();
        let message = match is_watched {
            true => self.watch.published(
                message,
                now,
                publisher.map(|session| || session.who()).as_ref().map(|who| who as &dyn Fn() -> Who),
            ),
            false => message,
        };
        let exchange = self.exchange_of(publisher, occasion.packet_id);
        let is_reserved = message.topic_bytes().first() == Some(&b'$');
        if is_reserved && let Some(rest) = message.topic().strip_prefix("$delayed/") {
            let outcome = self.publish_delayed(&message, rest, exchange, now, lane);
            if outcome == PublishOutcome::Accepted {
                self.open_exchange(exchange, publisher, lane.ticket());
            }
            return outcome;
        }
        let mut retains = false;
        if message.head().retain {
            match self.retain(&message, now, lane) {
                // What the gateway tells of itself is told anew when it starts.
                Ok(kept) => retains = kept && !is_reserved,
                Err(outcome) => return outcome,
            }
        }
        let mut scratch = std::mem::take(&mut lane.routes);
        let publisher_session = publisher.map(Arc::as_ref);
        let reached = self.routes.route_named(&message, publisher_session, &mut scratch, |to| match to {
            routes::Target::Direct { session, grant } => {
                let delivery = self.delivery(&message, &grant, None);
                if session.is_kept() && self.is_recorded(session, &delivery) {
                    let behind = session.is_behind();
                    lane.add_target(target(session.kept(), &delivery), behind);
                } else {
                    self.stage(session, delivery, lane);
                }
            }
            routes::Target::Shared { group } => {
                self.push_shared(group, &message, None, lane);
            }
        });
        lane.routes = scratch;
        let targets = std::mem::take(&mut lane.targets);
        if self.keeping.is_some() {
            if retains || !targets.is_empty() {
                let Occasion { cause, .. } = occasion;
                let kind = Kind { retains, exchange, cause, unasked: cause != Cause::None };
                self.record(&message, targets, kind, lane);
                self.open_exchange(exchange, publisher, lane.ticket());
            } else {
                self.record_spent(occasion.cause);
                self.open_exchange(exchange, publisher, None);
            }
        }
        if reached > 0 || message.head().retain {
            PublishOutcome::Accepted
        } else {
            lane.count(Counter::DroppedNoSubscribers, 1);
            if is_watched {
                self.watch.dropped(
                    &message,
                    publisher.map(|session| || session.who()).as_ref().map(|who| who as &dyn Fn() -> Who),
                );
            }
            PublishOutcome::NoSubscribers
        }
    }

    fn retain(&self, message: &Message, now: Instant, lane: &Lane) -> Result<bool, PublishOutcome> {
        let tuning = self.tuning();
        if !tuning.retain_available {
            return Err(PublishOutcome::RetainNotSupported);
        }
        // At a limit the message still reaches those who are subscribed now; stopping live traffic would be worse.
        let message = with_retained_expiry(message, tuning.retained_expiry_secs, |secs| now.plus_secs(secs.into()));
        let kept = self.retained.insert(message).is_ok();
        lane.count(if kept { Counter::MessagesRetained } else { Counter::RetainRefused }, 1);
        Ok(kept)
    }

    /// `$delayed/{seconds}/{topic}`: published on `topic` when the seconds have passed.
    fn publish_delayed(
        &self,
        message: &Message,
        rest: &str,
        exchange: Option<Exchange>,
        now: Instant,
        lane: &mut Lane,
    ) -> PublishOutcome {
        let limits = self.tuning();
        let parts = rest.split_once('/').and_then(|(secs, topic)| {
            let secs = secs.bytes().all(|b| b.is_ascii_digit()).then(|| secs.parse::<u32>().ok()).flatten()?;
            Some((secs, Topic::parse(topic, limits.topic_limits).ok()?))
        });
        let Some((secs, topic)) =
            parts.filter(|(secs, _)| limits.delayed_available && *secs <= limits.delayed_secs_max)
        else {
            return PublishOutcome::TopicInvalid;
        };
        if topic.is_reserved() {
            return PublishOutcome::TopicInvalid;
        }
        let due = now.plus_secs(secs.into());
        let inner = message.with_topic(topic);
        let id = self.next_delayed.fetch_add(1, Ordering::Relaxed);
        if self.timers.delayed(due, id, inner.clone(), limits.delayed_messages_max, limits.delayed_bytes_max) {
            lane.count(Counter::MessagesDelayed, 1);
            self.record_delay(id, due, inner, exchange, lane);
            PublishOutcome::Accepted
        } else {
            lane.count(Counter::DroppedQuota, 1);
            PublishOutcome::QuotaExceeded
        }
    }

    /// Messages that wait for their time, with when that is and their ids, in no order.
    pub fn delayed_messages(&self) -> Vec<(Instant, u64, Message)> {
        self.timers.delayed_messages()
    }

    /// Has a message that waits for its time never be published; false when it waits no more.
    pub fn cancel_delayed(&self, id: u64) -> bool {
        let was_there = self.timers.cancel_delayed(id);
        if was_there {
            self.record_spent(Cause::Delayed(id));
        }
        was_there
    }

    /// True for a delivery to a kept session that goes through the journal: all that must arrive, and QoS 0 that waits for a connection.
    fn is_recorded(&self, session: &Session, delivery: &Delivery) -> bool {
        delivery.qos.is_acknowledged() || self.config.queue.offline_qos0 && !session.is_connected()
    }

    /// As [`Bus::push`], or on record for a session that is kept.
    pub(super) fn push_or_record(&self, session: &Session, delivery: Delivery, lane: &mut Lane) {
        if session.is_kept() && self.is_recorded(session, &delivery) {
            let target = target(session.kept(), &delivery);
            self.record(&delivery.message, SmallVec::from_elem(target, 1), Kind::default(), lane);
        } else {
            self.push(session, delivery, lane);
        }
    }

    /// As [`Bus::push`], but deliveries to one session that follow each other wait for [`Bus::flush`], to be pushed under one lock.
    fn stage(&self, session: &Arc<Session>, delivery: Delivery, lane: &mut Lane) {
        if !lane.staged.extends(session) {
            self.flush(lane);
            if !lane.staged.begins(session) {
                self.push(session, delivery, lane);
                return;
            }
        }
        if lane.staged.add(delivery) {
            self.flush(lane);
        }
    }

    /// Queues what waits for that.
    pub fn flush(&self, lane: &mut Lane) {
        let Some((session, mut deliveries)) = lane.staged.take() else { return };
        let mut inbox = session.inbox(&self.budget);
        let moving = wake(&mut inbox, lane);
        inbox.reserve(deliveries.len());
        for delivery in deliveries.drain(..) {
            let qos = delivery.qos;
            let pushed = inbox.push(delivery, self.queue_limits());
            account(pushed, qos, moving, lane);
        }
        drop(inbox);
        lane.staged.give_back(deliveries);
    }

    /// Pushes a delivery into a session's queue and wakes its connection if it sleeps. False when it was not queued.
    pub(super) fn push(&self, session: &Session, delivery: Delivery, lane: &mut Lane) -> bool {
        let qos = delivery.qos;
        let mut inbox = session.inbox(&self.budget);
        let pushed = inbox.push(delivery, self.queue_limits());
        let moving = wake(&mut inbox, lane);
        drop(inbox);
        account(pushed, qos, moving, lane)
    }

    /// Gives a message to one member of a group: the first candidate with a connection, else the first that keeps a
    /// queue. `not` was bound to it before and has lost it. False when nobody took it.
    fn push_shared(
        &self,
        group: &SharedGroup<Session>,
        message: &Message,
        not: Option<&Arc<Session>>,
        lane: &mut Lane,
    ) -> bool {
        let strategy = self.tuning().share_strategy;
        let key = match strategy {
            ShareStrategy::HashTopic => FixedState::default().hash_one(message.topic_bytes()),
            _ => message.head().publisher.0,
        };
        let candidates = group.candidates(strategy, key);
        for connected in [true, false] {
            for member in candidates.iter() {
                let session = member.session();
                if not.is_some_and(|not| Arc::ptr_eq(not, session)) || session.is_connected() != connected {
                    continue;
                }
                let rare = Rare { share: Some(group.name().clone()), ..Rare::default() };
                if session.is_kept() && message.head().qos.min(member.grant().qos).is_acknowledged() {
                    // It waits at the group when this member has no room or goes before it is safe.
                    let preferred = if connected { session.kept() } else { 0 };
                    let target = Target {
                        session: preferred,
                        qos: message.head().qos,
                        retain: message.head().retain,
                        subscription_id: 0,
                        rare: Some(Arc::new(rare)),
                    };
                    lane.add_target(target, false);
                    candidates.accepted(member);
                    return true;
                }
                if self.push(session, self.delivery(message, &member.grant(), Some(Arc::new(rare))), lane) {
                    candidates.accepted(member);
                    return true;
                }
            }
        }
        false
    }

    /// A shared message lost its member before it was acknowledged: another member gets it, or the member itself keeps
    /// it when there is no other.
    pub(super) fn redispatch(&self, lost: Delivery, from: &Arc<Session>, lane: &mut Lane) {
        let Some(share) = lost.rare.as_ref().and_then(|rare| rare.share.clone()) else { return };
        if let Some(group) = self.routes.group(&share)
            && self.push_shared(&group, &lost.message, Some(from), lane)
        {
            let targets = std::mem::take(&mut lane.targets);
            if !targets.is_empty() {
                self.record(&lost.message, targets, Kind { unasked: true, ..Kind::default() }, lane);
            }
            lane.count(Counter::SharedRedispatched, 1);
        } else if !from.state.lock().life.has_ended() {
            self.push(from, lost, lane);
        } else {
            lane.count(Counter::DeliveryQueueFull, 1);
        }
    }

    fn delivery(&self, message: &Message, grant: &Grant<'_>, rare: Option<Arc<Rare>>) -> Delivery {
        let rare = match grant.further_subscription_ids {
            [] => rare,
            ids => Some(Arc::new(Rare {
                further_subscription_ids: ids.into(),
                share: rare.as_ref().and_then(|rare| rare.share.clone()),
                ..Rare::default()
            })),
        };
        let qos = if self.config.upgrade_qos { grant.qos } else { message.head().qos.min(grant.qos) };
        Delivery {
            message: message.clone(),
            rare,
            subscription_id: grant.subscription_id,
            qos,
            retain: grant.retain_as_published && message.head().retain,
            packet_id: 0,
        }
    }
}

/// Wakes the connection that serves a queue if it sleeps. True if there is one that takes deliveries: one that has not taken anything for a while would
/// hold its publishers up for nothing, so what it cannot hold is dropped instead.
fn wake(inbox: &mut Inbox, lane: &mut Lane) -> bool {
    let Some(attached) = &mut inbox.attached else { return false };
    if !attached.scheduled {
        lane.wake(attached.core, &attached.waker);
        attached.scheduled = true;
    }
    attached.pull(lane.core());
    attached.is_moving(lane.now)
}

/// Counts what became of a push, and notes if its publisher should be slower. False when the delivery was not queued.
fn account(pushed: Pushed, qos: Qos, moving: bool, lane: &mut Lane) -> bool {
    match pushed {
        Pushed::Queued => return true,
        Pushed::Congested => {
            // An offline queue drains only when its client comes back; slowing publishers down would not help it.
            if moving && qos.is_acknowledged() {
                lane.mark_congested();
            }
            return true;
        }
        Pushed::Displaced => lane.count(Counter::DeliveryQueueFull, 1),
        Pushed::DroppedQos0 => lane.count(Counter::DeliveryQos0, 1),
        Pushed::DroppedFull => lane.count(Counter::DeliveryQueueFull, 1),
    }
    if moving {
        lane.mark_congested();
    }
    pushed == Pushed::Displaced
}

/// The delivery of a retained message to a new subscription.
pub(super) fn retained_delivery(message: &Message, qos: Qos, subscription_id: u32) -> Delivery {
    Delivery {
        message: message.clone(),
        rare: None,
        subscription_id,
        qos: message.head().qos.min(qos),
        retain: true,
        packet_id: 0,
    }
}

/// The message as it is kept: with the expiry of so many seconds that was configured (`u32::MAX` for none) where its publisher gave none; `expires_at` tells when
/// that is, so many seconds after it was published. What the gateway says itself, as under `$SYS`, stays.
pub(super) fn with_retained_expiry(message: &Message, secs: u32, expires_at: impl FnOnce(u32) -> Instant) -> Message {
    let head = message.head();
    if secs == u32::MAX || !head.expires_at.is_never() || head.publisher == PublisherKey::default() {
        return message.clone();
    }
    message.with_head(MessageHead { expires_at: expires_at(secs), ..*head })
}
