use thingway_contract::{
    Instant, Message, MessageHead, Outbox, PublishOutcome, Qos, Request, Topic, TopicError, TopicFilter,
};

use super::{
    Conversation, Pending, Step,
    answer::Answer,
    request::{Planned, Question},
    session::Task,
};
use crate::{
    codec::{Code, Packet, option},
    resources::{Query, entity_tag, format_of, properties_of},
};

/// A message to be published, before it has a publisher.
#[derive(Debug)]
pub(super) struct Publication {
    /// Checked.
    pub(super) topic: String,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) expiry_secs: Option<u32>,
    /// When it expires at the latest, for its topic does.
    pub(super) ends_at: Instant,
    pub(super) format: Option<u16>,
    pub(super) payload: Vec<u8>,
    pub(super) condition: Option<Condition>,
    /// The code of the answer when it is published.
    pub(super) success: Code,
}

/// What must hold of the retained message (RFC 7252, section 5.10.8).
#[derive(Debug)]
pub(super) struct Condition {
    /// If-None-Match: there must be none.
    none: bool,
    /// If-Match: it must be one of these; an empty one stands for any.
    any_of: Vec<Vec<u8>>,
}

impl Condition {
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let none = packet.has(option::IF_NONE_MATCH);
        let any_of: Vec<Vec<u8>> = packet.options(option::IF_MATCH).map(<[u8]>::to_vec).collect();
        (none || !any_of.is_empty()).then_some(Self { none, any_of })
    }

    pub(super) fn holds(&self, present: Option<&Message>) -> bool {
        let etag = present.map(|message| entity_tag(format_of(message), message.payload()));
        let matches = |wanted: &Vec<u8>| etag.is_some_and(|etag| wanted.is_empty() || *wanted == etag);
        !(self.none && etag.is_some()) && (self.any_of.is_empty() || self.any_of.iter().any(matches))
    }
}

/// Where configurations of topics are kept: they have a face of their own.
const RESERVED: &str = "$coap/";

impl Conversation {
    pub(super) fn plan_publication(
        &mut self,
        question: &Question,
        packet: &Packet,
        topic: &str,
        query: &Query<'_>,
    ) -> Planned {
        match Topic::parse(topic, self.config.topic_limits) {
            Err(TopicError::WildcardInName) => return Err(Answer::text(Code::BAD_REQUEST, "wildcard in topic")),
            Err(_) => return Err(Answer::text(Code::BAD_REQUEST, "bad topic")),
            Ok(_) if topic.starts_with(RESERVED) => return Err(Answer::code(Code::FORBIDDEN)),
            Ok(_) => {}
        }
        Ok(Task::Publish(Box::new(Publication {
            topic: topic.to_owned(),
            qos: query.qos.unwrap_or(self.config.publish_qos.of(question.exchange.confirmable)),
            retain: query.retain.unwrap_or(false),
            expiry_secs: query.expiry_secs,
            ends_at: Instant::NEVER,
            format: packet.uint(option::CONTENT_FORMAT).and_then(|format| u16::try_from(format).ok()),
            payload: packet.payload().to_vec(),
            condition: Condition::of(packet),
            success: Code::CHANGED,
        })))
    }

    /// Publishes, after a look at the retained message if the request has conditions.
    pub(super) fn publish(
        &mut self,
        question: Question,
        publication: Box<Publication>,
        now: Instant,
        out: &mut Outbox,
    ) {
        if publication.condition.is_some() {
            let Ok(filter) = TopicFilter::parse(&publication.topic, self.config.topic_limits) else {
                return self.answer(&question, Answer::text(Code::BAD_REQUEST, "bad topic"), now, out);
            };
            if let Some(token) = self.wait(question, Step::Precondition(publication), now, out) {
                out.request(Request::ReadRetained { token, filter, count_max: 1 });
            }
            return;
        }
        let Some(message) = self.message(&publication, now) else {
            return self.answer(&question, Answer::text(Code::BAD_REQUEST, "bad topic"), now, out);
        };
        let success = Box::new(Answer::code(publication.success));
        if let Some(token) = self.wait(question, Step::Published(success), now, out) {
            out.request(Request::Publish { token, packet_id: 0, message });
        }
    }

    pub(super) fn message(&self, publication: &Publication, now: Instant) -> Option<Message> {
        let topic = Topic::parse(&publication.topic, self.config.topic_limits).ok()?;
        let head = MessageHead {
            qos: publication.qos,
            retain: publication.retain,
            publisher: self.session.as_ref().map(|session| session.publisher).unwrap_or_default(),
            received_at: now,
            expires_at: publication
                .expiry_secs
                .map_or(Instant::NEVER, |secs| now.plus_secs(secs.into()))
                .min(publication.ends_at),
        };
        let properties = properties_of(publication.format, &publication.payload);
        Some(Message::new(head, topic, properties.as_properties(), &publication.payload))
    }

    pub(super) fn on_published(&mut self, pending: Pending, outcome: PublishOutcome, now: Instant, out: &mut Outbox) {
        let Step::Published(success) = pending.step else { return };
        let answer = match outcome {
            PublishOutcome::Accepted | PublishOutcome::NoSubscribers => *success,
            PublishOutcome::NotAuthorized => Answer::text(Code::UNAUTHORIZED, "not authorized"),
            PublishOutcome::QuotaExceeded => Answer::too_many("quota exceeded"),
            PublishOutcome::TopicInvalid => Answer::text(Code::BAD_REQUEST, "bad topic"),
            PublishOutcome::RetainNotSupported => Answer::text(Code::NOT_IMPLEMENTED, "retain is off"),
            _ => Answer::code(Code::INTERNAL_SERVER_ERROR),
        };
        self.answer(&pending.question, answer, now, out);
    }
}
