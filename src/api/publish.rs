//! `/publish`: messages from those who speak nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use thingway_contract::{Instant, Message, MessageHead, PropertiesBuilder, Property, PublishOutcome, Qos, Topic};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body},
    world::{World, unix_secs},
};
use crate::access::is_system;

/// Messages in one request.
const BULK_MAX: usize = 10_000;

#[derive(ToSchema, Deserialize)]
#[schema(as = Publication)]
pub struct Wish {
    topic: String,
    #[serde(default)]
    payload: String,
    payload_encoding: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    properties: Option<Wanted>,
}

#[derive(ToSchema, Deserialize)]
#[schema(as = PublicationProperties)]
struct Wanted {
    payload_format_indicator: Option<u8>,
    message_expiry_interval: Option<u32>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    user_properties: serde_json::Map<String, Value>,
}

/// What is wrong with a message: EMQX answers with MQTT's codes here.
struct Wrong(u8, &'static str);

impl Wish {
    fn read(&self, world: &World, now: Instant) -> Result<Message, Wrong> {
        let topic = Topic::parse(&self.topic, world.bus.tuning().topic_limits);
        let topic = topic.ok().filter(|topic| !is_system(topic.as_str())).ok_or(Wrong(144, "topic_name_invalid"))?;
        let qos = Qos::from_u8(self.qos).ok_or(Wrong(155, "qos_not_supported"))?;
        let decoded;
        let payload = match self.payload_encoding.as_deref() {
            None | Some("plain") => self.payload.as_bytes(),
            Some("base64") => {
                decoded = STANDARD.decode(&self.payload).map_err(|_| Wrong(153, "payload_format_invalid"))?;
                &decoded
            }
            Some(_) => return Err(Wrong(153, "payload_encoding is plain or base64")),
        };
        let mut head = MessageHead { qos, retain: self.retain, received_at: now, ..MessageHead::default() };
        let mut properties = PropertiesBuilder::new();
        if let Some(wanted) = &self.properties {
            if let Some(secs) = wanted.message_expiry_interval {
                head.expires_at = now.plus_secs(secs.into());
            }
            if wanted.payload_format_indicator == Some(1) {
                properties.push(Property::PayloadFormatIndicator(true));
            }
            if let Some(topic) = &wanted.response_topic {
                Topic::parse(topic, world.bus.tuning().topic_limits)
                    .map_err(|_| Wrong(144, "response_topic is no topic"))?;
                properties.push(Property::ResponseTopic(topic));
            }
            if let Some(data) = &wanted.correlation_data {
                properties.push(Property::CorrelationData(data.as_bytes()));
            }
            if let Some(kind) = &wanted.content_type {
                properties.push(Property::ContentType(kind));
            }
            for (name, value) in &wanted.user_properties {
                let values = match value {
                    Value::Array(values) => values.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for value in values {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    properties.push(Property::UserProperty(name, &text));
                }
            }
        }
        Ok(Message::new(head, topic, properties.as_properties(), payload))
    }
}

/// A number for a message, as text. The gateway does not keep it.
fn message_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016X}{:016X}", unix_secs(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn publish(world: &World, wish: &Wish) -> (StatusCode, Value) {
    let told = |status, code: u8, message: &str| (status, json!({ "reason_code": code, "message": message }));
    let message = match wish.read(world, world.now()) {
        Ok(message) => message,
        Err(Wrong(code, message)) => return told(StatusCode::BAD_REQUEST, code, message),
    };
    match world.publish(message).await {
        PublishOutcome::Accepted => (StatusCode::OK, json!({ "id": message_id() })),
        PublishOutcome::NoSubscribers => told(StatusCode::ACCEPTED, 16, "no_matching_subscribers"),
        PublishOutcome::TopicInvalid => told(StatusCode::BAD_REQUEST, 144, "topic_name_invalid"),
        PublishOutcome::RetainNotSupported => told(StatusCode::BAD_REQUEST, 154, "retain_not_supported"),
        PublishOutcome::QuotaExceeded => told(StatusCode::SERVICE_UNAVAILABLE, 151, "quota_exceeded"),
        _ => told(StatusCode::INTERNAL_SERVER_ERROR, 131, "the message was not taken"),
    }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(many))
}

/// Publishes a message; what must be kept is kept before it is answered.
#[utoipa::path(
    post,
    path = "/publish",
    tag = "publish",
    request_body = Wish,
    responses(
        (status = 200, description = "It was taken", body = Value),
        (status = 202, description = "It was taken, and nobody subscribes to it", body = Value),
        (status = 400, description = "It cannot be so: MQTT's code for why", body = Value),
        (status = 503, description = "There is no room for it", body = Value),
    ),
)]
pub async fn one(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Response {
    let (status, told) = publish(&world, &wish).await;
    (status, Json(told)).into_response()
}

/// Publishes messages in their order; what cannot be read refuses all before anything is published.
#[utoipa::path(
    post,
    path = "/publish/bulk",
    tag = "publish",
    request_body = Vec<Wish>,
    responses(
        (status = 200, description = "All were taken", body = Value),
        (status = 202, description = "All were taken, and to one at least nobody subscribes", body = Value),
        (status = 400, description = "Those that cannot be so, with MQTT's codes for why", body = Value),
        (status = 503, description = "There is no room for one of them", body = Value),
    ),
)]
pub async fn many(State(world): State<Arc<World>>, Body(wishes): Body<Vec<Wish>>) -> Result<Response, ApiError> {
    if wishes.len() > BULK_MAX {
        return Err(ApiError::bad(format!("at most {BULK_MAX} messages")));
    }
    let now = world.now();
    let wrong: Vec<_> = wishes
        .iter()
        .filter_map(|wish| {
            wish.read(&world, now)
                .err()
                .map(|Wrong(code, message)| json!({ "reason_code": code, "message": message, "topic": wish.topic }))
        })
        .collect();
    if !wrong.is_empty() {
        return Ok((StatusCode::BAD_REQUEST, Json(Value::from(wrong))).into_response());
    }
    let (mut worst, mut told) = (StatusCode::OK, Vec::with_capacity(wishes.len()));
    for wish in &wishes {
        let (status, answer) = publish(&world, wish).await;
        worst = worst.max(status);
        told.push(answer);
    }
    Ok((worst, Json(Value::from(told))).into_response())
}
