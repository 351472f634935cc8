//! Lines as objects, and what they tell.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use thingway_contract::{
    ClientId, Instant, Message, MessageHead, Observation, PropertiesBuilder, Property, PublisherKey, Qos, Resumption,
    RetainHandling, ShareName, SubscriptionOptions, Topic, TopicFilter, TopicId, TopicLimits, Will,
};
use thingway_store::{Drawn, Extras, Item, QueuedItem, SessionItem};

/// The operator's limits may be others than those when something was accepted.
const LIMITS: TopicLimits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
/// Publishers of an earlier run are nobody's of this one.
const EARLIER_RUN: PublisherKey = PublisherKey(u64::MAX);

type Parsed<T> = Result<T, String>;

/// A line after the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line {
    Session(Box<Session>),
    Group(Group),
    Subscription(Subscription),
    Queued(Queued),
    Message(NumberedMessage),
    Retained(RetainedMessage),
    Delayed(DelayedMessage),
    Setting(Setting),
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setting {
    name: Box<str>,
    value: Box<str>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub lines: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    number: u64,
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_secs: Option<u32>,
    detached_at: u64,
    next_packet_id: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inbound: Vec<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    will: Option<WillObject>,
    #[serde(default, skip_serializing_if = "is_false")]
    will_rests: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topic_ids: Vec<TopicIdObject>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    observations: Vec<ObservationObject>,
    #[serde(default, skip_serializing_if = "is_zero")]
    sleep_secs: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumption: Option<ResumptionObject>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WillObject {
    delay_secs: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_secs: Option<u32>,
    message: MessageObject,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicIdObject {
    id: u16,
    name: String,
    known: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservationObject {
    token_base64: String,
    filter: String,
    options: OptionsObject,
    key: u64,
    sequence: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept: Option<u16>,
    block_exponent: u8,
    check_secs: u32,
    ends_when_empty: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumptionObject {
    key: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    number: u64,
    group: String,
    filter: String,
    turn: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    session: u64,
    filter: String,
    options: OptionsObject,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionsObject {
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    no_local: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    retain_as_published: bool,
    #[serde(default, skip_serializing_if = "Handling::is_usual")]
    retain_handling: Handling,
    #[serde(default, skip_serializing_if = "is_zero")]
    id: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Handling {
    #[default]
    Send,
    SendIfNew,
    DoNotSend,
}

impl Handling {
    fn is_usual(&self) -> bool {
        *self == Self::Send
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Queued {
    queue: u64,
    stage: Stage,
    #[serde(default, skip_serializing_if = "is_zero")]
    packet_id: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<u64>,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscription_ids: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drawn: Option<DrawnObject>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawnObject {
    group: u64,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    retain: bool,
}

/// How far the exchange with the subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// It has not begun.
    Waiting,
    /// It was given to a connection and has a packet identifier.
    Sent,
    /// The subscriber has taken the message over (PUBREC), and only its release is missing.
    Received,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumberedMessage {
    number: u64,
    message: MessageObject,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetainedMessage {
    message: MessageObject,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DelayedMessage {
    number: u64,
    due: u64,
    message: MessageObject,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageObject {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    retain: bool,
    received_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<PropertyObject>,
    /// Published by the gateway itself.
    #[serde(default, skip_serializing_if = "is_false")]
    own: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PropertyObject {
    PayloadIsText(bool),
    ContentType(String),
    ResponseTopic(String),
    CorrelationDataBase64(String),
    UserProperty(String, String),
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<Item> for Line {
    fn from(item: Item) -> Self {
        match item {
            Item::Session(session) => Self::Session(Box::new((*session).into())),
            Item::Group { number, name, turn } => {
                Self::Group(Group { number, group: name.group.to_string(), filter: name.filter.to_string(), turn })
            }
            Item::Subscription { session, filter, options } => {
                Self::Subscription(Subscription { session, filter: filter.to_string(), options: options.into() })
            }
            Item::Queued(queued) => Self::Queued(queued.into()),
            Item::Message { number, message } => Self::Message(NumberedMessage { number, message: (&message).into() }),
            Item::Retained(message) => Self::Retained(RetainedMessage { message: (&message).into() }),
            Item::Delayed { id, due, message } => {
                Self::Delayed(DelayedMessage { number: id, due, message: (&message).into() })
            }
            Item::Setting { name, value } => Self::Setting(Setting { name, value }),
        }
    }
}

impl Line {
    /// What the line tells; `None` for the last one.
    pub fn item(self) -> Parsed<Option<Item>> {
        Ok(Some(match self {
            Self::Session(session) => Item::Session(Box::new(session.item()?)),
            Self::Group(Group { number, group, filter, turn }) => {
                Item::Group { number, name: ShareName { group: group.into(), filter: filter.into() }, turn }
            }
            Self::Subscription(Subscription { session, filter, options }) => {
                Item::Subscription { session, filter: topic_filter(&filter)?, options: options.options()? }
            }
            Self::Queued(queued) => Item::Queued(queued.item()?),
            Self::Message(NumberedMessage { number, message }) => Item::Message { number, message: message.message()? },
            Self::Retained(RetainedMessage { message }) => Item::Retained(message.message()?),
            Self::Delayed(DelayedMessage { number, due, message }) => {
                Item::Delayed { id: number, due, message: message.message()? }
            }
            Self::Setting(Setting { name, value }) => Item::Setting { name, value },
            Self::End(_) => return Ok(None),
        }))
    }
}

impl From<SessionItem> for Session {
    fn from(item: SessionItem) -> Self {
        let Extras { topic_ids, observations, sleep_secs, resumption } = item.extras;
        let resumption = resumption.map(|Resumption { key, until }| ResumptionObject { key, until: time(until) });
        let topic_ids =
            topic_ids.into_iter().map(|TopicId { id, name, known }| TopicIdObject { id, name: name.into(), known });
        Self {
            number: item.number,
            client_id: item.client_id.as_str().into(),
            expiry_secs: Some(item.expiry_secs).filter(|&secs| secs != u32::MAX),
            detached_at: item.detached_at,
            next_packet_id: item.next_packet_id,
            inbound: item.inbound,
            will: item.will.map(|will| WillObject {
                delay_secs: will.delay_secs,
                expiry_secs: will.expiry_secs,
                message: (&will.message).into(),
            }),
            will_rests: item.will_rests,
            topic_ids: topic_ids.collect(),
            observations: observations.into_iter().map(Into::into).collect(),
            sleep_secs,
            resumption,
        }
    }
}

impl Session {
    fn item(self) -> Parsed<SessionItem> {
        let client_id = ClientId::new(&self.client_id, usize::MAX);
        let topic_ids = self.topic_ids.into_iter();
        let extras = Extras {
            topic_ids: topic_ids
                .map(|TopicIdObject { id, name, known }| TopicId { id, name: name.into(), known })
                .collect(),
            observations: self.observations.into_iter().map(ObservationObject::observation).collect::<Parsed<_>>()?,
            sleep_secs: self.sleep_secs,
            resumption: self.resumption.map(|it| Resumption { key: it.key, until: instant(it.until) }),
        };
        let will = self.will.map(|will| {
            let WillObject { delay_secs, expiry_secs, message } = will;
            message.message().map(|message| Box::new(Will { message, delay_secs, expiry_secs }))
        });
        Ok(SessionItem {
            number: self.number,
            client_id: client_id.map_err(|error| format!("client_id: {error:?}"))?,
            expiry_secs: self.expiry_secs.unwrap_or(u32::MAX),
            detached_at: self.detached_at,
            next_packet_id: self.next_packet_id,
            inbound: self.inbound,
            will: will.transpose()?,
            will_rests: self.will_rests,
            extras,
        })
    }
}

impl From<Observation> for ObservationObject {
    fn from(it: Observation) -> Self {
        Self {
            token_base64: BASE64_STANDARD.encode(&it.token),
            filter: it.filter.to_string(),
            options: it.options.into(),
            key: it.key,
            sequence: it.sequence,
            accept: it.accept,
            block_exponent: it.block_exponent,
            check_secs: it.check_secs,
            ends_when_empty: it.ends_when_empty,
            ends_at: time(it.ends_at),
        }
    }
}

impl ObservationObject {
    fn observation(self) -> Parsed<Observation> {
        Ok(Observation {
            token: bytes("token_base64", &self.token_base64)?.into(),
            filter: topic_filter(&self.filter)?,
            options: self.options.options()?,
            key: self.key,
            sequence: self.sequence,
            accept: self.accept,
            block_exponent: self.block_exponent,
            check_secs: self.check_secs,
            ends_when_empty: self.ends_when_empty,
            ends_at: instant(self.ends_at),
        })
    }
}

impl From<SubscriptionOptions> for OptionsObject {
    fn from(options: SubscriptionOptions) -> Self {
        let SubscriptionOptions { qos, no_local, retain_as_published, retain_handling, id } = options;
        let retain_handling = match retain_handling {
            RetainHandling::Send => Handling::Send,
            RetainHandling::SendIfNew => Handling::SendIfNew,
            RetainHandling::DoNotSend => Handling::DoNotSend,
        };
        Self { qos: qos as u8, no_local, retain_as_published, retain_handling, id }
    }
}

impl OptionsObject {
    fn options(self) -> Parsed<SubscriptionOptions> {
        let Self { no_local, retain_as_published, id, .. } = self;
        let retain_handling = match self.retain_handling {
            Handling::Send => RetainHandling::Send,
            Handling::SendIfNew => RetainHandling::SendIfNew,
            Handling::DoNotSend => RetainHandling::DoNotSend,
        };
        Ok(SubscriptionOptions { qos: quality(self.qos)?, no_local, retain_as_published, retain_handling, id })
    }
}

impl From<QueuedItem> for Queued {
    fn from(item: QueuedItem) -> Self {
        let QueuedItem { queue, message, packet_id, qos, retain, subscription_ids, drawn } = item;
        let drawn = drawn.map(|it| DrawnObject { group: it.group, qos: it.qos as u8, retain: it.retain });
        let stage = match (message, packet_id) {
            (None, _) => Stage::Received,
            (_, 0) => Stage::Waiting,
            _ => Stage::Sent,
        };
        Self { queue, stage, packet_id, message, qos: qos as u8, retain, subscription_ids, drawn }
    }
}

impl Queued {
    fn item(self) -> Parsed<QueuedItem> {
        let Self { queue, stage, packet_id, message, retain, subscription_ids, .. } = self;
        let drawn = self
            .drawn
            .map(|DrawnObject { group, qos, retain }| Parsed::Ok(Drawn { group, qos: quality(qos)?, retain }));
        let drawn = drawn.transpose()?;
        let item = QueuedItem { queue, message, packet_id, qos: quality(self.qos)?, retain, subscription_ids, drawn };
        if Self::from(item.clone()).stage != stage {
            return Err("stage: waiting has a message, sent a message and a packet_id, received a packet_id".into());
        }
        Ok(item)
    }
}

impl From<&Message> for MessageObject {
    fn from(message: &Message) -> Self {
        let head = message.head();
        let text = std::str::from_utf8(message.payload()).ok().filter(|text| text.chars().all(is_printed));
        Self {
            topic: message.topic().into(),
            payload: text.map(Into::into),
            payload_base64: text.is_none().then(|| BASE64_STANDARD.encode(message.payload())),
            qos: head.qos as u8,
            retain: head.retain,
            received_at: head.received_at.as_millis(),
            expires_at: time(head.expires_at),
            properties: message.properties().iter().map(Into::into).collect(),
            own: head.publisher == PublisherKey::default(),
        }
    }
}

/// Other control characters take six bytes each in JSON.
fn is_printed(character: char) -> bool {
    !character.is_control() || matches!(character, '\t' | '\n' | '\r')
}

impl MessageObject {
    fn message(self) -> Parsed<Message> {
        let topic = Topic::parse(&self.topic, LIMITS).map_err(|error| format!("topic {:?}: {error:?}", self.topic))?;
        let payload = match (self.payload, self.payload_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => bytes("payload_base64", &text)?,
            _ => return Err("a message has either payload or payload_base64".into()),
        };
        let mut properties = PropertiesBuilder::new();
        for property in &self.properties {
            property.push(&mut properties)?;
        }
        let properties = properties.as_properties();
        let head = MessageHead {
            qos: quality(self.qos)?,
            retain: self.retain,
            publisher: if self.own { PublisherKey::default() } else { EARLIER_RUN },
            received_at: Instant::from_millis(self.received_at),
            expires_at: instant(self.expires_at),
        };
        let total = topic.as_str().len() + properties.as_bytes().len() + payload.len();
        if u32::try_from(total).is_err() {
            return Err("the message is too large".into());
        }
        Ok(Message::new(head, topic, properties, &payload))
    }
}

impl From<Property<'_>> for PropertyObject {
    fn from(property: Property<'_>) -> Self {
        match property {
            Property::PayloadFormatIndicator(is_text) => Self::PayloadIsText(is_text),
            Property::ContentType(text) => Self::ContentType(text.into()),
            Property::ResponseTopic(text) => Self::ResponseTopic(text.into()),
            Property::CorrelationData(bytes) => Self::CorrelationDataBase64(BASE64_STANDARD.encode(bytes)),
            Property::UserProperty(name, value) => Self::UserProperty(name.into(), value.into()),
        }
    }
}

impl PropertyObject {
    fn push(&self, builder: &mut PropertiesBuilder) -> Parsed<()> {
        fn text(text: &str) -> Parsed<&str> {
            let fits = text.len() <= usize::from(u16::MAX) && !text.contains('\0');
            fits.then_some(text).ok_or_else(|| "texts of properties have up to 65535 bytes and no NUL".into())
        }
        let data;
        builder.push(match self {
            Self::PayloadIsText(is_text) => Property::PayloadFormatIndicator(*is_text),
            Self::ContentType(it) => Property::ContentType(text(it)?),
            Self::ResponseTopic(it) => Property::ResponseTopic(text(it)?),
            Self::CorrelationDataBase64(it) => {
                data = bytes("correlation_data_base64", it)?;
                if data.len() > usize::from(u16::MAX) {
                    return Err("correlation data has up to 65535 bytes".into());
                }
                Property::CorrelationData(&data)
            }
            Self::UserProperty(name, value) => Property::UserProperty(text(name)?, text(value)?),
        });
        Ok(())
    }
}

fn quality(number: u8) -> Parsed<Qos> {
    Qos::from_u8(number).ok_or_else(|| format!("qos {number}: it is 0, 1 or 2"))
}

fn topic_filter(text: &str) -> Parsed<TopicFilter> {
    TopicFilter::parse(text, LIMITS).map_err(|error| format!("filter {text:?}: {error:?}"))
}

fn bytes(name: &str, text: &str) -> Parsed<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(|error| format!("{name}: {error}"))
}

fn time(at: Instant) -> Option<u64> {
    (!at.is_never()).then(|| at.as_millis())
}

fn instant(at: Option<u64>) -> Instant {
    at.map_or(Instant::NEVER, Instant::from_millis)
}
