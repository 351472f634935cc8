use std::{hash::BuildHasher, sync::Arc, time::Duration};

use foldhash::fast::FixedState;
use thingway_contract::{Delivery, Instant, Message, MessageHead, PublishOutcome, PublisherKey, Qos, Rare, Topic};

use super::{
    Bus, Counter, Lane, Session,
    inbox::Pushed,
    routes::{Grant, Target},
    shared::{ShareStrategy, SharedGroup},
};

/// How long a connected subscriber may take nothing before its full queue no longer slows its publishers down.
const STUCK_AFTER: Duration = Duration::from_secs(1);

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
        lane.now = now;
        let topic = message.name();
        if topic.is_reserved()
            && let Some(rest) = topic.as_str().strip_prefix("$delayed/")
        {
            return self.publish_delayed(&message, rest, now, lane);
        }
        if message.head().retain
            && let Err(outcome) = self.retain(&message, now, lane)
        {
            return outcome;
        }
        let mut scratch = std::mem::take(&mut lane.routes);
        let reached = self.routes.route(topic, publisher.map(Arc::as_ref), &mut scratch, |target| match target {
            Target::Direct { session, grant } => {
                self.push(session, self.delivery(&message, &grant, None), lane);
            }
            Target::Shared { group } => {
                self.push_shared(group, &message, None, lane);
            }
        });
        lane.routes = scratch;
        if reached > 0 || message.head().retain {
            PublishOutcome::Accepted
        } else {
            lane.count(Counter::DroppedNoSubscribers, 1);
            PublishOutcome::NoSubscribers
        }
    }

    fn retain(&self, message: &Message, now: Instant, lane: &Lane) -> Result<(), PublishOutcome> {
        if !self.config.retain_available {
            return Err(PublishOutcome::RetainNotSupported);
        }
        // At a limit the message still reaches those who are subscribed now; stopping live traffic would be worse.
        let kept = self.retained.insert(self.with_retained_expiry(message, now)).is_ok();
        lane.count(if kept { Counter::MessagesRetained } else { Counter::RetainRefused }, 1);
        Ok(())
    }

    /// The message as it is kept: with the expiry that was configured where its publisher gave none. What the gateway says
    /// itself, as under `$SYS`, stays.
    fn with_retained_expiry(&self, message: &Message, now: Instant) -> Message {
        let head = message.head();
        let secs = self.config.retained_expiry_secs;
        if secs == u32::MAX || !head.expires_at.is_never() || head.publisher == PublisherKey::default() {
            return message.clone();
        }
        message.with_head(MessageHead { expires_at: now.plus_secs(secs.into()), ..*head })
    }

    /// `$delayed/{seconds}/{topic}`: published on `topic` when the seconds have passed.
    fn publish_delayed(&self, message: &Message, rest: &str, now: Instant, lane: &Lane) -> PublishOutcome {
        let parts = rest.split_once('/').and_then(|(secs, topic)| {
            let secs = secs.bytes().all(|b| b.is_ascii_digit()).then(|| secs.parse::<u32>().ok()).flatten()?;
            Some((secs, Topic::parse(topic, self.config.topic_limits).ok()?))
        });
        let Some((secs, topic)) =
            parts.filter(|(secs, _)| self.config.delayed_available && *secs <= self.config.delayed_secs_max)
        else {
            return PublishOutcome::TopicInvalid;
        };
        if topic.is_reserved() {
            return PublishOutcome::TopicInvalid;
        }
        let due = now.plus_secs(secs.into());
        let limits = &self.config;
        let inner = message.with_topic(topic);
        if self.timers.delayed(due, inner, limits.delayed_messages_max, limits.delayed_bytes_max) {
            lane.count(Counter::MessagesDelayed, 1);
            PublishOutcome::Accepted
        } else {
            lane.count(Counter::DroppedQuota, 1);
            PublishOutcome::QuotaExceeded
        }
    }

    /// Pushes a delivery into a session's queue and wakes its connection if it sleeps. False when it was not queued.
    pub(super) fn push(&self, session: &Session, delivery: Delivery, lane: &mut Lane) -> bool {
        let qos = delivery.qos;
        let mut inbox = session.inbox();
        let pushed = inbox.push(delivery, self.queue_limits());
        if let Some(attached) = inbox.attached.as_mut().filter(|attached| !attached.scheduled) {
            lane.wake(attached.core, &attached.waker);
            attached.scheduled = true;
        }
        let connected = inbox.attached.is_some();
        // A subscriber that has not taken anything for a while would hold its publishers up for nothing: what it
        // cannot hold is dropped instead.
        let moving = connected && lane.now.since(inbox.taken_at) < STUCK_AFTER;
        drop(inbox);
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

    /// Gives a message to one member of a group: the first candidate with a connection, else the first that keeps a
    /// queue. `not` was bound to it before and has lost it. False when nobody took it.
    fn push_shared(
        &self,
        group: &SharedGroup<Session>,
        message: &Message,
        not: Option<&Arc<Session>>,
        lane: &mut Lane,
    ) -> bool {
        let strategy = self.config.share_strategy;
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
            lane.count(Counter::SharedRedispatched, 1);
        } else if !from.state.lock().ended {
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
            })),
        };
        let qos = if self.config.upgrade_qos { grant.qos } else { message.head().qos.min(grant.qos) };
        Delivery {
            message: message.clone(),
            rare,
            subscription_id: grant.subscription_id,
            qos,
            retain: grant.retain_as_published && message.head().retain,
        }
    }
}

/// The delivery of a retained message to a new subscription.
pub(super) fn retained_delivery(message: &Message, qos: Qos, subscription_id: u32) -> Delivery {
    Delivery { message: message.clone(), rare: None, subscription_id, qos: message.head().qos.min(qos), retain: true }
}
