use std::{ops::ControlFlow, sync::Arc};

use thingway_contract::{
    Delivery, FilterKind, Instant, Message, Qos, RetainHandling, SubscribeRefusal, Subscription, TopicFilter,
    UnsubscribeRefusal,
};
use thingway_store::Record;

use super::{Bus, Counter, Lane, Session, publish::retained_delivery, retained::RetainedCursor, session::Replay};

/// Most filters of one session whose retained messages are still being sent. Further subscriptions get none; they are
/// counted.
const REPLAYS_MAX: usize = 1024;

impl Bus {
    /// Subscribes a session. Refusals are passed through in place. Retained messages follow as the session's queue has
    /// room for them: see [`Bus::replay_retained`].
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        subscriptions: Vec<Result<Subscription, SubscribeRefusal>>,
        now: Instant,
        lane: &mut Lane,
    ) -> Vec<Result<Qos, SubscribeRefusal>> {
        let results = subscriptions
            .into_iter()
            .map(|wanted| {
                let subscription = wanted?;
                let filter = subscription.filter.clone();
                let qos = self.subscribe_one(session, subscription, lane)?;
                self.note_filter(&filter, session);
                self.note_client(session);
                self.tell_subscribed(session, &filter, qos as u8, now, lane);
                Ok(qos)
            })
            .collect();
        self.replay_retained(session, now, lane);
        results
    }

    fn subscribe_one(
        &self,
        session: &Arc<Session>,
        Subscription { filter, options }: Subscription,
        lane: &mut Lane,
    ) -> Result<Qos, SubscribeRefusal> {
        let mut state = session.state.lock();
        if state.life.has_ended() {
            return Err(SubscribeRefusal::Failed);
        }
        let is_new = !state.subscriptions.contains(&filter);
        if is_new && state.subscriptions.len() >= self.tuning().subscriptions_max {
            return Err(SubscribeRefusal::QuotaExceeded);
        }
        self.routes.insert(&filter, session, options).map_err(|_| SubscribeRefusal::ExclusiveTaken)?;
        state.subscriptions.insert(filter.clone(), options);
        self.record_change(session, |session| Record::Subscribe { session, filter: filter.clone(), options }, lane);
        lane.count(Counter::ClientSubscribe, 1);
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        // Shared subscriptions get no retained messages (MQTT 5.0, section 4.8.2).
        if wanted && !matches!(filter.kind(), FilterKind::Shared(_)) && !self.retained.is_empty() {
            let replays = &mut state.rare().replays;
            if replays.len() < REPLAYS_MAX {
                let cursor = RetainedCursor::new(filter.filter());
                replays.push_back(Replay { filter, options, cursor });
            } else {
                lane.count(Counter::RetainNotSent, 1);
            }
        }
        Ok(options.qos)
    }

    /// Goes on sending retained messages to a session's new subscriptions while its queue has room. The connection
    /// calls this again when it has emptied the queue. True when some were queued.
    pub fn replay_retained(&self, session: &Arc<Session>, now: Instant, lane: &mut Lane) -> bool {
        const BATCH: usize = 512;
        lane.now = now;
        let mut state = session.state.lock();
        if self.is_replay_held(session, &mut state) {
            return false;
        }
        let Some(replays) = state.known_rare().map(|rare| &mut rare.replays) else { return false };
        let mut batch = Vec::new();
        let mut deliveries: Vec<Delivery> = Vec::new();
        if let Some(replay) = replays.front_mut() {
            let more = self.retained.next_batch(&mut replay.cursor, now, BATCH, &mut batch);
            let options = replay.options;
            deliveries.extend(batch.iter().map(|message| retained_delivery(message, options.qos, options.id)));
            if !more {
                replays.pop_front();
            }
        }
        let unfinished = !replays.is_empty();
        state.tidy();
        session.set_replaying(unfinished);
        drop(state);
        let any = !deliveries.is_empty();
        for delivery in deliveries {
            self.push_or_record(session, delivery, lane);
        }
        if session.is_kept() {
            Self::hold_replay(&mut session.state.lock(), lane.ticket());
        }
        any || unfinished
    }

    /// Retained messages that match a filter, at most `count_max` of them, in no order.
    pub fn read_retained(&self, filter: &TopicFilter, count_max: usize, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        if *filter.kind() != FilterKind::Plain || count_max == 0 {
            return messages;
        }
        if !filter.has_wildcard() {
            messages.extend(self.retained.get(filter.filter(), now));
            return messages;
        }
        self.retained.matching(filter.filter(), now, |message| {
            messages.push(message.clone());
            if messages.len() < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        messages
    }

    /// Unsubscribes a session.
    pub fn unsubscribe(
        &self,
        session: &Arc<Session>,
        filters: Vec<Result<TopicFilter, UnsubscribeRefusal>>,
        now: Instant,
        lane: &mut Lane,
    ) -> Vec<Result<(), UnsubscribeRefusal>> {
        let one = |filter: Result<TopicFilter, _>| {
            let filter = filter?;
            self.unsubscribe_one(session, &filter, lane)?;
            self.note_filter(&filter, session);
            self.note_client(session);
            self.tell_unsubscribed(session, &filter, now, lane);
            Ok(())
        };
        filters.into_iter().map(one).collect()
    }

    fn unsubscribe_one(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        lane: &mut Lane,
    ) -> Result<(), UnsubscribeRefusal> {
        let mut state = session.state.lock();
        if !state.subscriptions.remove(filter) {
            return Err(UnsubscribeRefusal::NotSubscribed);
        }
        self.record_change(session, |session| Record::Unsubscribe { session, filter: filter.clone() }, lane);
        if let Some(rare) = state.known_rare() {
            rare.replays.retain(|replay| replay.filter != *filter);
        }
        self.routes.remove(filter, session);
        lane.count(Counter::ClientUnsubscribe, 1);
        Ok(())
    }
}
