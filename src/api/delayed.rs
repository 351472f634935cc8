//! Messages that wait for their time: `/mqtt/delayed`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use thingway_contract::{Instant, Message};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    page::{Page, Paging},
    query::Query,
    status::check_node,
    world::World,
};

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(find, remove))
}

fn tell(world: &World, due: Instant, id: u64, message: &Message) -> Value {
    let (head, now) = (message.head(), world.now());
    json!({
        "msgid": id.to_string(),
        "node": world.node,
        "topic": message.topic(),
        "qos": head.qos as u8,
        "publish_at": world.date(head.received_at),
        "expected_at": world.date(due),
        "delayed_interval": due.since(head.received_at).as_secs(),
        "delayed_remaining": due.since(now).as_secs(),
        "payload_size": message.payload().len(),
    })
}

/// Messages that wait for their time, those that are due first first.
#[utoipa::path(
    get,
    path = "/mqtt/delayed/messages",
    tag = "delayed messages",
    params(Paging),
    responses((status = 200, description = "A page of messages, without their payloads", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut page = Page::of(&query)?.collect();
    let mut all = world.bus.delayed_messages();
    all.sort_unstable_by_key(|(due, id, _)| (*due, *id));
    for (due, id, message) in all {
        page.see(|| (due, id, message));
    }
    Ok(Json(page.into_json(|(due, id, message)| tell(&world, due, id, &message))))
}

fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "MESSAGE_ID_NOT_FOUND", "no such message waits")
}

fn number(world: &World, node: &str, id: &str) -> Result<u64, ApiError> {
    check_node(world, node)?;
    let wrong =
        |_| ApiError::new(StatusCode::BAD_REQUEST, "MESSAGE_ID_SCHEMA_ERROR", "the id of a message is a number");
    id.parse().map_err(wrong)
}

/// A message that waits for its time, with its payload as Base64.
#[utoipa::path(
    get,
    path = "/mqtt/delayed/messages/{node}/{msgid}",
    tag = "delayed messages",
    params(
        ("node" = String, Path, description = "The name of the node"),
        ("msgid" = String, Path, description = "A number, as listings tell it"),
    ),
    responses((status = 200, description = "The message", body = Value)),
)]
pub async fn find(
    State(world): State<Arc<World>>,
    Path((node, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let id = number(&world, &node, &id)?;
    let found = world.bus.delayed_messages().into_iter().find(|(_, other, _)| *other == id);
    let (due, id, message) = found.ok_or_else(missing)?;
    let mut told = tell(&world, due, id, &message);
    told["payload"] = STANDARD.encode(message.payload()).into();
    Ok(Json(told))
}

/// Removes a message that waits for its time: it is never published.
#[utoipa::path(
    delete,
    path = "/mqtt/delayed/messages/{node}/{msgid}",
    tag = "delayed messages",
    params(
        ("node" = String, Path, description = "The name of the node"),
        ("msgid" = String, Path, description = "A number, as listings tell it"),
    ),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(
    State(world): State<Arc<World>>,
    Path((node, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let id = number(&world, &node, &id)?;
    if world.bus.cancel_delayed(id) { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}
