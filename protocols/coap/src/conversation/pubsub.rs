//! Topic collections, topics and topic data as draft-ietf-core-coap-pubsub has them.
//!
//! The gateway has one collection, at a path of the operator's choice (`/pubsub`; `/ps` would not do, for the draft puts topics under their collection,
//! and `/ps/x` is EMQX's topic `x`). A topic's configuration is kept as a retained message under `$coap/topics/`, so all conversations see it. Its name is
//! the topic on the bus, and its data the retained message there: the topic is fully created when there is one.
//!
//! With `expiration-date` the configuration is a retained message that expires then, and so are the data; observers, who subscribe to the configuration as well,
//! are told with 4.04. `max-subscribers` and `topic-history` are not served, and not in the configuration that is answered.

use thingway_contract::{
    Instant, Message, Outbox, Qos, Request, RetainHandling, SubscriptionOptions, Token, TopicFilter,
};

use super::{
    Conversation, Step,
    answer::Answer,
    publish::{Condition, Publication},
    request::{Observe, Planned, Question},
    session::Task,
    subscribe::Registration,
};
use crate::{
    blockwise::Body,
    codec::{Code, Packet, option},
    resources::{
        ConfigError, Link, Links, Query, Selection, TOPIC_CONFIG_FORMAT, TopicConfig, entity_tag, id_of, record_topic,
        short_age_secs,
    },
};

/// What is done with the configuration of a topic, or with all.
#[derive(Debug)]
pub(super) enum Errand {
    /// Links to all topics that match, or to their data.
    List { links: Links, data: bool, filter: Option<TopicConfig> },
    /// A new topic, if its name is free.
    Create { config: TopicConfig },
    /// The configuration, or part of it.
    Show { id: String, selection: Option<Selection> },
    /// Another configuration.
    Update { id: String, changes: TopicConfig, partial: bool },
    /// Neither configuration nor data.
    Remove { id: String },
    /// Data is published.
    Put { id: String, publication: Box<Publication> },
    /// Whether it is the first data decides about the answer.
    PutFirst { publication: Box<Publication>, initialized: bool },
    /// Data is read.
    Get { id: String },
    /// Data is observed.
    Observe { id: String, options: SubscriptionOptions },
    /// Data is deleted, and observers are told.
    Clear { id: String },
}

impl Conversation {
    fn pubsub_path(&self) -> &str {
        self.config.pubsub_path.as_deref().unwrap_or_default()
    }

    /// `.well-known/core` (RFC 6690, section 4). Topics are in it only if they are asked for by their type.
    pub(super) fn discover(&self, packet: &Packet) -> Planned {
        let mut links = Links::for_request(packet);
        if self.config.pubsub_path.is_some() {
            for (wanted, data) in [("core.ps.conf", false), ("core.ps.data", true)] {
                if links.wants_type(wanted) {
                    return Ok(Task::Errand(Box::new(Errand::List { links, data, filter: None })));
                }
            }
            links.add(&Link {
                target: format!("/{}", self.pubsub_path()),
                resource_type: "core.ps core.ps.coll",
                format: Some(40),
                observable: false,
            });
        }
        for (target, resource_type, observable) in
            [("/ps", "thingway.ps", true), ("/mqtt/connection", "thingway.connection", false)]
        {
            links.add(&Link { target: target.into(), resource_type, format: None, observable });
        }
        Err(link_format(links))
    }

    pub(super) fn plan_collection(&self, packet: &Packet) -> Planned {
        let links = Links::for_request(packet);
        let errand = match packet.code() {
            Code::GET => {
                let data = links.wants_type("core.ps.data");
                Errand::List { links, data, filter: None }
            }
            Code::FETCH => {
                check_format(packet)?;
                Errand::List { links, data: false, filter: Some(TopicConfig::parse(packet.payload()).map_err(bad)?) }
            }
            _ => {
                check_format(packet)?;
                let config = TopicConfig::create(packet.payload(), self.pubsub_path(), self.config.topic_limits);
                Errand::Create { config: config.map_err(bad)? }
            }
        };
        Ok(Task::Errand(Box::new(errand)))
    }

    pub(super) fn plan_topic_config(&self, packet: &Packet, id: &str) -> Planned {
        let id = known_id(id)?;
        let errand = match packet.code() {
            Code::GET => Errand::Show { id, selection: None },
            Code::FETCH => {
                check_format(packet)?;
                Errand::Show { id, selection: Some(Selection::parse(packet.payload()).map_err(bad)?) }
            }
            Code::DELETE => Errand::Remove { id },
            code => {
                check_format(packet)?;
                let changes = TopicConfig::parse(packet.payload()).map_err(bad)?;
                Errand::Update { id, changes, partial: code == Code::IPATCH }
            }
        };
        Ok(Task::Errand(Box::new(errand)))
    }

    pub(super) fn plan_topic_data(
        &self,
        question: &Question,
        packet: &Packet,
        id: &str,
        observe: Observe,
        is_rest: bool,
        query: &Query<'_>,
    ) -> Planned {
        let id = known_id(id)?;
        let errand = match packet.code() {
            Code::PUT => {
                let publication = Publication {
                    topic: String::new(),
                    qos: query.qos.unwrap_or(self.config.publish_qos.of(question.exchange.confirmable)),
                    retain: true,
                    expiry_secs: query.expiry_secs,
                    ends_at: Instant::NEVER,
                    format: packet.uint(option::CONTENT_FORMAT).and_then(|format| u16::try_from(format).ok()),
                    payload: packet.payload().to_vec(),
                    condition: Condition::of(packet),
                    success: Code::CHANGED,
                };
                Errand::Put { id, publication: Box::new(publication) }
            }
            Code::DELETE => Errand::Clear { id },
            _ if is_rest || matches!(observe, Observe::Absent | Observe::Deregister) => Errand::Get { id },
            _ if observe == Observe::Invalid => return Err(Answer::text(Code::BAD_REQUEST, "invalid observe value")),
            _ if question.token.is_empty() => return Err(Answer::text(Code::BAD_REQUEST, "observe without token")),
            _ => {
                let options = SubscriptionOptions {
                    qos: query.qos.unwrap_or(self.config.subscribe_qos.of(question.exchange.confirmable)),
                    no_local: query.no_local,
                    retain_handling: RetainHandling::Send,
                    ..SubscriptionOptions::default()
                };
                Errand::Observe { id, options }
            }
        };
        Ok(Task::Errand(Box::new(errand)))
    }

    /// Reads the configuration that an errand is about.
    pub(super) fn run(&mut self, question: Question, errand: Box<Errand>, now: Instant, out: &mut Outbox) {
        let (topic, count_max) = match &*errand {
            Errand::List { .. } => (record_topic("+"), self.config.collection_max),
            Errand::Create { config } => (record_topic(&id_of(config.topic_name())), 1),
            Errand::PutFirst { publication, .. } => (publication.topic.clone(), 1),
            Errand::Show { id, .. }
            | Errand::Update { id, .. }
            | Errand::Remove { id }
            | Errand::Put { id, .. }
            | Errand::Get { id }
            | Errand::Observe { id, .. }
            | Errand::Clear { id } => (record_topic(id), 1),
        };
        let Ok(filter) = TopicFilter::parse(&topic, self.config.topic_limits) else {
            return self.answer(&question, Answer::code(Code::NOT_FOUND), now, out);
        };
        if let Some(token) = self.wait(question, Step::Configured(errand), now, out) {
            out.request(Request::ReadRetained { token, filter, count_max });
        }
    }

    pub(super) fn on_configured(
        &mut self,
        question: Question,
        errand: Errand,
        messages: Vec<Message>,
        now: Instant,
        out: &mut Outbox,
    ) {
        match errand {
            Errand::List { links, data, filter } => {
                let answer = self.list(links, data, filter.as_ref(), &messages);
                return self.answer(&question, answer, now, out);
            }
            Errand::Create { config } => return self.create(question, &config, &messages, now, out),
            Errand::PutFirst { mut publication, initialized } => {
                let present = messages.first();
                if publication.condition.take().is_some_and(|condition| !condition.holds(present)) {
                    return self.answer(&question, Answer::code(Code::PRECONDITION_FAILED), now, out);
                }
                if present.is_none() && !initialized {
                    publication.success = Code::CREATED;
                }
                return self.publish(question, publication, now, out);
            }
            _ => {}
        }
        let record = messages.first();
        let ends_at = record.map_or(Instant::NEVER, |message| message.head().expires_at);
        let Some(config) = record.and_then(|message| TopicConfig::parse(message.payload()).ok()) else {
            return self.answer(&question, Answer::code(Code::NOT_FOUND), now, out);
        };
        match errand {
            Errand::Show { selection, .. } => {
                let answer = configuration(Code::CONTENT, &config, selection.as_ref());
                let answer = Answer { max_age_secs: short_age_secs(ends_at, now), ..answer };
                self.answer(&question, answer, now, out);
            }
            Errand::Update { id, changes, partial } => match config.update(changes, partial) {
                Ok(config) => {
                    let answer = configuration(Code::CHANGED, &config, None);
                    self.store(question, &id, Some(&config), answer, now, out);
                }
                Err(error) => self.answer(&question, bad(error), now, out),
            },
            Errand::Remove { id } => {
                self.clear(config.topic_name(), now, out);
                self.store(question, &id, None, Answer::code(Code::DELETED), now, out);
            }
            Errand::Put { mut publication, .. } => {
                if config.content_format().is_some_and(|format| publication.format != Some(format)) {
                    return self.answer(&question, Answer::code(Code::UNSUPPORTED_CONTENT_FORMAT), now, out);
                }
                if publication.payload.is_empty() {
                    // To the bus that would be a deletion.
                    return self.answer(&question, Answer::text(Code::BAD_REQUEST, "empty"), now, out);
                }
                config.topic_name().clone_into(&mut publication.topic);
                publication.ends_at = ends_at;
                let errand = Errand::PutFirst { publication, initialized: config.is_initialized() };
                self.run(question, Box::new(errand), now, out);
            }
            Errand::Get { .. } => match TopicFilter::parse(config.topic_name(), self.config.topic_limits) {
                Ok(filter) => self.read(question, filter, config.is_initialized(), ends_at, now, out),
                Err(_) => self.answer(&question, Answer::code(Code::NOT_FOUND), now, out),
            },
            Errand::Observe { options, .. } => self.observe_data(question, &config, ends_at, options, now, out),
            Errand::Clear { id } => {
                let answer = Answer::code(Code::DELETED);
                if config.is_initialized() {
                    // Half created, as before the first publication.
                    let config = TopicConfig::parse(b"\xa1\x09\xf4").and_then(|changes| config.update(changes, true));
                    if let Ok(config) = config {
                        self.clear(config.topic_name(), now, out);
                        return self.store(question, &id, Some(&config), answer, now, out);
                    }
                }
                let publication =
                    Publication { success: Code::DELETED, ..retained(config.topic_name().into(), None, Vec::new()) };
                self.publish(question, Box::new(publication), now, out);
            }
            Errand::List { .. } | Errand::Create { .. } | Errand::PutFirst { .. } => {}
        }
    }

    fn list(&self, mut links: Links, data: bool, filter: Option<&TopicConfig>, messages: &[Message]) -> Answer {
        let configs = messages.iter().filter_map(|message| TopicConfig::parse(message.payload()).ok());
        for config in configs.filter(|config| filter.is_none_or(|filter| config.matches(filter))) {
            links.add(&if data {
                Link {
                    target: format!("/{}", config.topic_data()),
                    resource_type: "core.ps.data",
                    format: config.content_format(),
                    observable: true,
                }
            } else {
                Link {
                    target: format!("/{}/{}", self.pubsub_path(), id_of(config.topic_name())),
                    resource_type: "core.ps.conf",
                    format: Some(TOPIC_CONFIG_FORMAT),
                    observable: false,
                }
            });
        }
        link_format(links)
    }

    fn create(
        &mut self,
        question: Question,
        config: &TopicConfig,
        present: &[Message],
        now: Instant,
        out: &mut Outbox,
    ) {
        if present.iter().any(|message| !message.payload().is_empty()) {
            return self.answer(&question, Answer::text(Code::BAD_REQUEST, "topic-name is in use"), now, out);
        }
        let id = id_of(config.topic_name());
        let location = vec![self.pubsub_path().to_owned(), id.clone()];
        let answer = Answer { location, ..configuration(Code::CREATED, config, None) };
        self.store(question, &id, Some(config), answer, now, out);
    }

    /// Keeps a configuration until it expires, or none, and then answers.
    fn store(
        &mut self,
        question: Question,
        id: &str,
        config: Option<&TopicConfig>,
        answer: Answer,
        now: Instant,
        out: &mut Outbox,
    ) {
        let ends_at = config.map_or(Instant::NEVER, |config| config.ends_at(self.config.clock_unix_ms));
        if ends_at <= now {
            return self.answer(&question, bad(ConfigError::Past), now, out);
        }
        let payload = config.map(|config| config.to_bytes(None)).unwrap_or_default();
        let record = retained(record_topic(id), config.map(|_| TOPIC_CONFIG_FORMAT), payload);
        let publication = Publication { ends_at, ..record };
        let Some(message) = self.message(&publication, now) else {
            return self.answer(&question, Answer::code(Code::INTERNAL_SERVER_ERROR), now, out);
        };
        if let Some(token) = self.wait(question, Step::Published(Box::new(answer)), now, out) {
            out.request(Request::Publish { token, packet_id: 0, message });
        }
    }

    /// Deletes the data of a topic. Its observers get the empty message that does it, and 4.04.
    fn clear(&mut self, topic: &str, now: Instant, out: &mut Outbox) {
        if let Some(message) = self.message(&retained(topic.to_owned(), None, Vec::new()), now) {
            out.request(Request::Publish { token: Token::NONE, packet_id: 0, message });
        }
    }

    fn observe_data(
        &mut self,
        question: Question,
        config: &TopicConfig,
        ends_at: Instant,
        options: SubscriptionOptions,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Ok(filter) = TopicFilter::parse(config.topic_name(), self.config.topic_limits) else {
            return self.answer(&question, Answer::code(Code::NOT_FOUND), now, out);
        };
        let registration = Registration {
            filter,
            options,
            reads_first: true,
            check_secs: config.observer_check_secs().unwrap_or(self.config.confirm_secs),
            is_topic_data: true,
            initialized: config.is_initialized(),
            ends_at,
        };
        self.register(question, Box::new(registration), now, out);
    }
}

fn retained(topic: String, format: Option<u16>, payload: Vec<u8>) -> Publication {
    Publication {
        topic,
        qos: Qos::AtLeastOnce,
        retain: true,
        expiry_secs: None,
        ends_at: Instant::NEVER,
        format,
        payload,
        condition: None,
        success: Code::CHANGED,
    }
}

fn bad(error: ConfigError) -> Answer {
    Answer::text(Code::BAD_REQUEST, error.text())
}

/// Identifiers are twelve hexadecimal digits; others name nothing, whatever they would be in a topic filter.
fn known_id(id: &str) -> Result<String, Answer> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() == 12 && id.bytes().all(is_hex) { Ok(id.to_owned()) } else { Err(Answer::code(Code::NOT_FOUND)) }
}

/// Configurations have their own Content-Format; a request without one is taken to be of it.
fn check_format(packet: &Packet) -> Result<(), Answer> {
    match packet.uint(option::CONTENT_FORMAT) {
        Some(format) if format != TOPIC_CONFIG_FORMAT.into() => Err(Answer::code(Code::UNSUPPORTED_CONTENT_FORMAT)),
        _ => Ok(()),
    }
}

fn configuration(code: Code, config: &TopicConfig, selection: Option<&Selection>) -> Answer {
    Answer { format: Some(TOPIC_CONFIG_FORMAT), body: Body::Bytes(config.to_bytes(selection)), ..Answer::code(code) }
}

fn link_format(links: Links) -> Answer {
    let body = links.into_bytes();
    let etag = Some(entity_tag(Some(40), &body));
    Answer { format: Some(40), etag, body: Body::Bytes(body), ..Answer::code(Code::CONTENT) }
}
