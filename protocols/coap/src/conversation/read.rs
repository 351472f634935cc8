use thingway_contract::{Instant, Message, Outbox, Request, SubscribeRefusal, TopicFilter};

use super::{
    Conversation, Pending, Step,
    answer::Answer,
    request::{Planned, Question},
    session::Task,
};
use crate::{
    blockwise::Body,
    codec::Code,
    resources::{age_secs, entity_tag, format_of},
};

impl Conversation {
    /// A GET without Observe: the retained message.
    pub(super) fn plan_read(&self, topic: &str) -> Planned {
        match TopicFilter::parse(topic, self.config.topic_limits) {
            Ok(filter) if filter.has_wildcard() => Err(Answer::text(Code::BAD_REQUEST, "wildcard without observe")),
            Ok(filter) => Ok(Task::Read(filter)),
            Err(_) => Err(Answer::text(Code::BAD_REQUEST, "bad topic")),
        }
    }

    pub(super) fn read(
        &mut self,
        question: Question,
        filter: TopicFilter,
        initialized: bool,
        ends_at: Instant,
        now: Instant,
        out: &mut Outbox,
    ) {
        if let Some(token) = self.wait(question, Step::Read { initialized, ends_at }, now, out) {
            out.request(Request::ReadRetained { token, filter, count_max: 1 });
        }
    }

    pub(super) fn on_retained(
        &mut self,
        pending: Pending,
        messages: Result<Vec<Message>, SubscribeRefusal>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Pending { question, step, .. } = pending;
        let mut messages = match messages {
            Ok(messages) => messages,
            Err(refusal) => {
                if let Step::FirstRead { serial, .. } = step {
                    self.forget_observation(serial, out);
                }
                return self.answer(&question, refusal_answer(refusal), now, out);
            }
        };
        messages.retain(|message| !message.is_expired(now));
        match step {
            Step::Precondition(mut publication) => {
                let holds = publication.condition.take().is_none_or(|condition| condition.holds(messages.first()));
                if !holds {
                    return self.answer(&question, Answer::code(Code::PRECONDITION_FAILED), now, out);
                }
                self.publish(question, publication, now, out);
            }
            Step::Read { initialized, ends_at } => {
                let answer = match messages.pop() {
                    Some(message) => representation(&question, message, ends_at, now),
                    None if initialized => Answer::code(Code::CONTENT),
                    None => Answer::code(Code::NOT_FOUND),
                };
                self.answer(&question, answer, now, out);
            }
            Step::FirstRead { serial, initialized } => {
                self.first_read(question, serial, messages.pop(), initialized, now, out);
            }
            Step::Configured(errand) => self.on_configured(question, *errand, messages, now, out),
            Step::Published(_) | Step::Subscribed(_) => {}
        }
    }
}

/// A retained message as a representation of its topic, which ends at `ends_at`, or 2.03 for one that the peer has, or 4.06 for one that it does not take.
pub(super) fn representation(question: &Question, message: Message, ends_at: Instant, now: Instant) -> Answer {
    let format = format_of(&message);
    if let (Some(accept), Some(format)) = (question.accept, format)
        && accept != format
    {
        return Answer::code(Code::NOT_ACCEPTABLE);
    }
    let etag = Some(entity_tag(format, message.payload()));
    let max_age_secs = age_secs(&message, ends_at, now);
    if etag.is_some_and(|etag| question.etags.contains(&etag)) {
        return Answer { etag, max_age_secs, ..Answer::code(Code::VALID) };
    }
    Answer { format, etag, max_age_secs, body: Body::Message(message), ..Answer::code(Code::CONTENT) }
}

/// The answer for a subscription, or the reading of retained messages, that is refused.
pub(super) fn refusal_answer(refusal: SubscribeRefusal) -> Answer {
    match refusal {
        SubscribeRefusal::NotAuthorized => Answer::text(Code::UNAUTHORIZED, "not authorized"),
        SubscribeRefusal::FilterInvalid => Answer::text(Code::BAD_REQUEST, "bad topic"),
        SubscribeRefusal::QuotaExceeded => Answer::text(Code::SERVICE_UNAVAILABLE, "too many subscriptions"),
        SubscribeRefusal::ExclusiveTaken => Answer::text(Code::FORBIDDEN, "somebody else subscribes"),
        SubscribeRefusal::SharedNotSupported
        | SubscribeRefusal::WildcardNotSupported
        | SubscribeRefusal::IdentifiersNotSupported
        | SubscribeRefusal::ExclusiveNotSupported => Answer::text(Code::NOT_IMPLEMENTED, "not served here"),
        _ => Answer::code(Code::INTERNAL_SERVER_ERROR),
    }
}
