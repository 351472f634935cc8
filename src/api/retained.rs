//! Retained messages: `/mqtt/retainer`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use thingway_contract::{Message, MessageHead, Properties, Topic, TopicFilter};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    page::Paging,
    query::Query,
    window::{Cursor, Found, Window},
    world::World,
};
use crate::{access::is_system, bus::retained::RetainedCursor};

/// How often messages are looked at for one answer, some hundred at a time. Behind them a cursor goes on.
const BATCHES_MAX: usize = 800;
/// Messages that are removed in one go, when all of them are.
const CLEARED_AT_ONCE: usize = 128;

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
    OpenApiRouter::new().routes(routes!(list, clear)).routes(routes!(find, remove))
}

/// Retained messages, without their payloads.
#[utoipa::path(
    get,
    path = "/mqtt/retainer/messages",
    tag = "retained messages",
    params(Paging, Cursor, ("topic" = Option<String>, Query, description = "A filter")),
    responses((status = 200, description = "A page of messages", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Response, ApiError> {
    let window = Window::of(&query)?;
    let mut cursor = match query.find("topic") {
        Some(text) => {
            let wrong = |_| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic filter");
            let filter = TopicFilter::parse(text, world.bus.tuning().topic_limits).map_err(wrong)?;
            RetainedCursor::new(filter.filter())
        }
        None => RetainedCursor::everything(),
    };
    let is_everything = query.find("topic").is_none();
    if let Some(place) = window.after() {
        let wrong = || {
            ApiError::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER", "the cursor was not given since the last start")
        };
        let (shard, seek) = read_place(&world, place).ok_or_else(wrong)?;
        world.bus.retained().resume(&mut cursor, shard, seek);
    }
    world.looking(move |world| walk(world, cursor, &window, is_everything)).await
}

/// Goes on with a walk until there is what is wanted.
fn walk(world: &World, mut cursor: RetainedCursor, window: &Window, is_everything: bool) -> Response {
    let retained = world.bus.retained();
    let (skip, limit) = window.place();
    let mut found = Found::new(window);
    let mut batch = Vec::new();
    let mut behind = None;
    let mut is_over = false;
    for _ in 0..BATCHES_MAX {
        let left = (skip + limit).saturating_sub(found.seen());
        if left == 0 {
            // Whether there is more, and where that is.
            behind.get_or_insert_with(|| write_place(world, &cursor));
        }
        is_over = !retained.next_batch(&mut cursor, world.now(), left.max(1), &mut batch);
        batch.drain(..).for_each(|message| found.see(|| message));
        if is_over || found.is_full() {
            break;
        }
    }
    if !is_over {
        found.leave_uncounted();
    }
    match behind.filter(|_| found.is_full()) {
        Some(place) => found.give_up_at(place),
        None if is_over => {}
        None => found.give_up_at(write_place(world, &cursor)),
    }
    if is_everything && window.after().is_none() {
        found.count(retained.len());
    }
    found.into_answer(window, |message| message.topic().to_owned(), |message| Some(tell(world, &message)))
}

/// A place in a walk, which only this run of the gateway understands.
fn write_place(world: &World, cursor: &RetainedCursor) -> String {
    let (shard, seek) = cursor.place().unwrap_or_default();
    format!("{}:{shard}:{}", world.bus.config().events.clock_zero_unix_ms, String::from_utf8_lossy(seek))
}

fn read_place(world: &World, text: &str) -> Option<(usize, Vec<u8>)> {
    let (run, rest) = text.split_once(':')?;
    let (shard, seek) = rest.split_once(':')?;
    let is_ours = run.parse() == Ok(world.bus.config().events.clock_zero_unix_ms);
    Some((shard.parse().ok().filter(|_| is_ours)?, seek.as_bytes().to_vec()))
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
    let name = Topic::parse(&topic, world.bus.tuning().topic_limits).map_err(wrong)?;
    world.publish(emptied(&world, name)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A message that takes the one away that its topic holds.
fn emptied(world: &World, topic: Topic<'_>) -> Message {
    let head = MessageHead { retain: true, received_at: world.now(), ..MessageHead::default() };
    Message::new(head, topic, Properties::default(), &[])
}

/// Removes all retained messages but those of `$SYS`, each by an empty one, which subscribers get.
#[utoipa::path(
    delete,
    path = "/mqtt/retainer/messages",
    tag = "retained messages",
    responses((status = 204, description = "They are gone")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let mut cursor = RetainedCursor::everything();
    let mut batch = Vec::new();
    let mut all = true;
    let mut goes_on = true;
    while goes_on {
        goes_on = world.bus.retained().next_batch(&mut cursor, world.now(), CLEARED_AT_ONCE, &mut batch);
        let clearing = batch.drain(..).filter(|message| !is_system(message.topic()));
        all &= world.publish_all(clearing.map(|message| emptied(&world, message.name()))).await;
    }
    if all { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::store(&"not all of them are gone")) }
}
