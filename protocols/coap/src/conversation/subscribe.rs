use smallvec::SmallVec;
use thingway_contract::{
    FilterKind, Instant, Message, Outbox, Qos, Request, RetainHandling, SubscribeRefusal, Subscription,
    SubscriptionOptions, Token, TopicFilter,
};

use super::{
    Conversation, Pending, Step,
    answer::Answer,
    read::{refusal_answer, representation},
    request::{Observe, Planned, Question},
    session::Task,
};
use crate::{
    blockwise::Block,
    codec::Code,
    observe::{Observation, RECORD, next_sequence, wire_sequence},
    resources::{Query, id_of, record_topic},
};

/// An observation to be registered.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) filter: TopicFilter,
    pub(super) options: SubscriptionOptions,
    /// The retained message is the first representation: there is one topic, and the peer wants it.
    pub(super) reads_first: bool,
    pub(super) check_secs: u32,
    /// Only topics with a representation can be observed, and they end when it is deleted.
    pub(super) is_topic_data: bool,
    /// An empty representation will do.
    pub(super) initialized: bool,
    /// When the topic expires.
    pub(super) ends_at: Instant,
}

impl Registration {
    /// What it becomes when the gateway has subscribed.
    pub(super) fn observation(&self, question: &Question, serial: u32, sequence: u64, now: Instant) -> Observation {
        Observation {
            serial,
            token: question.token.clone(),
            filter: self.filter.clone(),
            options: self.options,
            key: question.key,
            accept: question.accept,
            exponent: question.block2.map_or(Block::EXPONENT_MAX, |block| block.exponent),
            sequence,
            last_id: None,
            unconfirmed: 0,
            confirmed_at: now,
            proven: false,
            check_secs: self.check_secs.min(86_400),
            ends_when_empty: self.is_topic_data,
            ends_at: self.ends_at,
        }
    }
}

impl Conversation {
    pub(super) fn plan_observation(
        &mut self,
        question: &Question,
        observe: Observe,
        topic: &str,
        query: &Query<'_>,
    ) -> Planned {
        if observe == Observe::Invalid {
            return Err(Answer::text(Code::BAD_REQUEST, "invalid observe value"));
        }
        if question.token.is_empty() {
            return Err(Answer::text(Code::BAD_REQUEST, "observe without token"));
        }
        let Ok(filter) = TopicFilter::parse(topic, self.config.topic_limits) else {
            return Err(Answer::text(Code::BAD_REQUEST, "bad topic"));
        };
        let options = SubscriptionOptions {
            qos: query.qos.unwrap_or(self.config.subscribe_qos.of(question.exchange.confirmable)),
            no_local: query.no_local,
            retain_as_published: false,
            retain_handling: query.retain_handling,
            id: 0,
        };
        Ok(Task::Register(Box::new(Registration {
            filter,
            options,
            reads_first: true,
            check_secs: self.config.confirm_secs,
            is_topic_data: false,
            initialized: false,
            ends_at: Instant::NEVER,
        })))
    }

    /// Subscribes. Of a single topic the retained message is read rather than delivered, for it is the answer; it is read after the subscription was
    /// made, so that nothing published in between is missed.
    pub(super) fn register(
        &mut self,
        question: Question,
        mut registration: Box<Registration>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let observations = self.observations.take().unwrap_or_default();
        let present = observations.find_token(&question.token);
        let is_further = |token: &[u8]| token != question.token.as_slice() && observations.find_token(token).is_none();
        let further = self.planned().filter(|(planned, _)| is_further(&planned.token)).count();
        let is_full = present.is_none() && observations.len() + further >= self.config.observations_max;
        let filter = &registration.filter;
        let is_new = present.is_none_or(|present| present.filter != *filter);
        // Observations of the same filter are one subscription, at the highest of their qualities of service.
        let planned = self.planned().filter(|(_, planned)| planned.filter == *filter);
        let planned = planned.map(|(_, planned)| planned.options);
        let same = observations.iter().filter(|other| other.filter == *filter).map(|other| other.options);
        let same: SmallVec<[SubscriptionOptions; 4]> = same.chain(planned).collect();
        let observations = self.observations.insert(observations);
        if is_full {
            return self.answer(&question, Answer::text(Code::SERVICE_UNAVAILABLE, "too many observations"), now, out);
        }
        registration.options.qos = same.iter().map(|other| other.qos).fold(registration.options.qos, Qos::max);
        registration.options.id = same.first().map_or_else(|| observations.fresh_id(), |other| other.id);
        let wants_retained = match registration.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        let is_single = !filter.has_wildcard() && *filter.kind() == FilterKind::Plain;
        registration.reads_first = is_single && wants_retained;
        if is_single {
            registration.options.retain_handling = RetainHandling::DoNotSend;
        }
        let mut subscriptions =
            vec![Ok(Subscription { filter: registration.filter.clone(), options: registration.options })];
        if registration.is_topic_data
            && let Some(filter) = self.record_of(&registration.filter)
        {
            // What becomes of the configuration is told as well, beginning with the present one: it may have changed since it was read.
            let id = registration.options.id | RECORD;
            let options = SubscriptionOptions { qos: Qos::AtLeastOnce, id, ..SubscriptionOptions::default() };
            subscriptions.push(Ok(Subscription { filter, options }));
        }
        if let Some(token) = self.wait(question, Step::Subscribed(registration), now, out) {
            self.observations.get_or_insert_default().mark_changed();
            self.keep(now, out);
            out.request(Request::Subscribe { token, subscriptions });
        }
    }

    pub(super) fn on_subscribed(
        &mut self,
        pending: Pending,
        results: &[Result<Qos, SubscribeRefusal>],
        now: Instant,
        out: &mut Outbox,
    ) {
        let Pending { question, step: Step::Subscribed(registration), .. } = pending else { return };
        let observations = self.observations.get_or_insert_default();
        observations.mark_changed();
        let refused = results.iter().find_map(|result| result.as_ref().err().copied());
        if let Some(refusal) = refused.or(results.is_empty().then_some(SubscribeRefusal::Failed)) {
            // Perhaps one of two was granted, or the last observation with the subscription has ended meanwhile.
            self.unsubscribe_if_last(&registration.filter, registration.is_topic_data, out);
            return self.answer(&question, refusal_answer(refusal), now, out);
        }
        let observations = self.observations.get_or_insert_default();
        let serial = observations.fresh_serial();
        let before = observations.find_token(&question.token).map_or(0, |before| before.sequence);
        let sequence = next_sequence(before, self.config.unix_ms(now));
        let observation = registration.observation(&question, serial, sequence, now);
        let replaced = observations.insert(Observation { proven: self.validated, ..observation });
        if let Some(replaced) = replaced {
            self.drop_notifications(replaced.serial, out);
            self.unsubscribe_if_last(&replaced.filter, replaced.ends_when_empty, out);
        }
        if registration.reads_first || registration.is_topic_data {
            let step = Step::FirstRead { serial, initialized: registration.initialized || !registration.is_topic_data };
            if let Some(token) = self.wait(question, step, now, out) {
                out.request(Request::ReadRetained { token, filter: registration.filter, count_max: 1 });
            }
            return;
        }
        self.answer(
            &question,
            Answer { observe: Some(wire_sequence(sequence)), ..Answer::code(Code::CONTENT) },
            now,
            out,
        );
    }

    /// Answers a registration with the retained message, or with an empty body when there is none and that will do.
    pub(super) fn first_read(
        &mut self,
        question: Question,
        serial: u32,
        message: Option<Message>,
        initialized: bool,
        now: Instant,
        out: &mut Outbox,
    ) {
        let observation = self.observations.as_mut().and_then(|observations| observations.get_mut(serial));
        let ends_at = observation.as_ref().map_or(Instant::NEVER, |observation| observation.ends_at);
        let observe = observation.map(|observation| wire_sequence(observation.sequence));
        let answer = match message {
            Some(message) => {
                let mut answer = representation(&question, message, ends_at, now);
                answer.observe = observe;
                answer
            }
            None if initialized => Answer { observe, ..Answer::code(Code::CONTENT) },
            None => Answer::code(Code::NOT_FOUND),
        };
        if !answer.code.is_success() {
            // An error ends the observation (RFC 7641, section 4.2), so it has no Observe option.
            self.forget_observation(serial, out);
            return self.answer(&question, Answer { observe: None, ..answer }, now, out);
        }
        self.answer(&question, answer, now, out);
    }

    /// Ends the observation with this token, if there is one (RFC 7641, section 4.1).
    pub(super) fn deregister(&mut self, token: &[u8], out: &mut Outbox) {
        let removed = self.observations.as_mut().and_then(|observations| observations.remove_token(token));
        if let Some(removed) = removed {
            self.drop_notifications(removed.serial, out);
            self.unsubscribe_if_last(&removed.filter, removed.ends_when_empty, out);
        }
    }

    /// Ends an observation.
    pub(super) fn forget_observation(&mut self, serial: u32, out: &mut Outbox) {
        let removed = self.observations.as_mut().and_then(|observations| observations.remove(serial));
        if let Some(removed) = removed {
            self.drop_notifications(removed.serial, out);
            self.unsubscribe_if_last(&removed.filter, removed.ends_when_empty, out);
        }
    }

    /// What the gateway was asked to subscribe for and has not answered yet.
    pub(super) fn planned(&self) -> impl Iterator<Item = (&Question, &Registration)> {
        let pending = self.pending.iter().flat_map(|pending| &pending.list);
        pending.filter_map(|pending| match &pending.step {
            Step::Subscribed(registration) => Some((&pending.question, &**registration)),
            _ => None,
        })
    }

    /// Ends the subscriptions to a filter, and to the configuration behind a topic-data resource, unless another observation has them or will.
    fn unsubscribe_if_last(&mut self, filter: &TopicFilter, is_topic_data: bool, out: &mut Outbox) {
        let observations = self.observations.iter().flat_map(|all| all.iter());
        let present = observations.filter(|other| other.filter == *filter).map(|other| other.ends_when_empty);
        let planned = self.planned().filter(|(_, planned)| planned.filter == *filter);
        let others: SmallVec<[bool; 4]> = present.chain(planned.map(|(_, planned)| planned.is_topic_data)).collect();
        let mut filters = Vec::new();
        if others.is_empty() {
            filters.push(Ok(filter.clone()));
        }
        if is_topic_data && !others.contains(&true) {
            filters.extend(self.record_of(filter).map(Ok));
        }
        if !filters.is_empty() {
            out.request(Request::Unsubscribe { token: Token::NONE, filters });
        }
    }

    /// Where the configuration of a topic is kept.
    pub(super) fn record_of(&self, topic: &TopicFilter) -> Option<TopicFilter> {
        TopicFilter::parse(&record_topic(&id_of(topic.filter())), self.config.topic_limits).ok()
    }
}
