//! Retained messages: `/mqtt/retainer`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use thingway_contract::{Message, MessageHead, Properties, Topic, TopicFilter};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    page::{Page, Paging},
    query::Query,
    world::World,
};
use crate::{access::is_system, bus::retained::RetainedCursor};

/// Messages looked at in one go.
const BATCH: usize = 1000;

fn tell(world: &World, message: &Message) -> Value {
    let head = message.head();
    json!({
        "topic": message.topic(),
        "qos": head.qos as u8,
        "publish_at": world.date(head.received_at),
        "payload_size": message.payload().len(),
        "expires_at": (!head.expires_at.is_never()).then(|| world.date(head.expires_at)),
    })
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(find, remove))
}

/// Retained messages, without their payloads.
#[utoipa::path(
    get,
    path = "/mqtt/retainer/messages",
    tag = "retained messages",
    params(Paging, ("topic" = Option<String>, Query, description = "A filter")),
    responses((status = 200, description = "A page of messages", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut cursor = match query.find("topic") {
        Some(text) => {
            let wrong = |_| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic filter");
            let filter = TopicFilter::parse(text, world.bus.config().topic_limits).map_err(wrong)?;
            RetainedCursor::new(filter.filter())
        }
        None => RetainedCursor::everything(),
    };
    let mut page = Page::of(&query)?.collect();
    let mut batch = Vec::new();
    loop {
        let more = world.bus.retained().next_batch(&mut cursor, world.now(), BATCH, &mut batch);
        batch.drain(..).for_each(|message| page.see(|| message));
        if !more {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(Json(page.into_json(|message| tell(&world, &message))))
}

fn found(world: &World, topic: &str) -> Result<Message, ApiError> {
    let missing = || ApiError::not_found("nothing is retained on that topic");
    world.bus.retained().get(topic, world.now()).ok_or_else(missing)
}

/// A retained message, with its payload as Base64.
#[utoipa::path(
    get,
    path = "/mqtt/retainer/message/{topic}",
    tag = "retained messages",
    params(("topic" = String, Path, description = "The topic, with its slashes as %2F")),
    responses((status = 200, description = "The message", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(topic): Path<String>) -> Result<Json<Value>, ApiError> {
    let message = found(&world, &topic)?;
    let mut told = tell(&world, &message);
    told["payload"] = STANDARD.encode(message.payload()).into();
    Ok(Json(told))
}

/// Removes a retained message by an empty one, which subscribers get.
#[utoipa::path(
    delete,
    path = "/mqtt/retainer/message/{topic}",
    tag = "retained messages",
    params(("topic" = String, Path, description = "The topic, with its slashes as %2F")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(topic): Path<String>) -> Result<StatusCode, ApiError> {
    found(&world, &topic)?;
    if is_system(&topic) {
        return Err(ApiError::forbidden("$SYS is the gateway's own"));
    }
    let wrong = |_| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic name");
    let name = Topic::parse(&topic, world.bus.config().topic_limits).map_err(wrong)?;
    let head = MessageHead { retain: true, received_at: world.now(), ..MessageHead::default() };
    world.publish(Message::new(head, name, Properties::default(), &[])).await;
    Ok(StatusCode::NO_CONTENT)
}
