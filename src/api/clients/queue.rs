//! What waits for a client: `/clients/{id}/mqueue_messages` and `inflight_messages`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use thingway_contract::Delivery;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{line, session};
use crate::{
    api::{
        error::{ApiError, Path},
        query::Query,
        world::World,
    },
    store::Page,
};

/// Messages in an answer, whatever is asked for: whoever reads them is the one who also keeps what is published.
const COUNT_MAX: usize = 100;
/// Bytes of payloads in an answer. One message is told whatever its size.
const PAYLOADS_MAX: usize = 1 << 20;

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(queued)).routes(routes!(under_way))
}

/// How payloads are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Payloads {
    Untold,
    Plain,
    Base64,
}

/// How a part of them is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// meta.position of the answer before.
    position: Option<String>,
    /// At most 100.
    limit: Option<usize>,
    /// none, base64 or plain.
    payload: Option<String>,
    /// Of all payloads together, at most 1 MiB.
    max_payload_bytes: Option<usize>,
}

struct Wish {
    after: u64,
    count: usize,
    payloads: Payloads,
    payload_bytes_max: usize,
}

impl Wish {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let asked = Asked {
            position: query.find("position").map(str::to_owned),
            limit: query.read("limit")?,
            payload: query.find("payload").map(str::to_owned),
            max_payload_bytes: query.read("max_payload_bytes")?,
        };
        let payloads = match asked.payload.as_deref() {
            None | Some("base64") => Payloads::Base64,
            Some("plain") => Payloads::Plain,
            Some("none") => Payloads::Untold,
            Some(_) => return Err(ApiError::bad("payload is none, base64 or plain")),
        };
        let after = match asked.position.as_deref() {
            None | Some("none" | "") => 0,
            Some(_) => query.read("position")?.unwrap_or(0),
        };
        let limit = asked.limit.unwrap_or(COUNT_MAX);
        let payload_bytes_max = asked.max_payload_bytes.unwrap_or(PAYLOADS_MAX);
        if limit == 0 {
            return Err(ApiError::bad("limit is from 1"));
        }
        Ok(Self {
            after,
            count: limit.min(COUNT_MAX),
            payloads,
            payload_bytes_max: payload_bytes_max.min(PAYLOADS_MAX),
        })
    }
}

/// Messages that wait for a client.
#[utoipa::path(
    get,
    path = "/clients/{id}/mqueue_messages",
    tag = "clients",
    params(("id" = String, Path, description = "The client id"), Asked),
    responses((status = 200, description = "Messages, the oldest first", body = Value)),
)]
pub async fn queued(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    tell(&world, &id, &query, false).await
}

/// Messages that a client was sent and has not taken over.
#[utoipa::path(
    get,
    path = "/clients/{id}/inflight_messages",
    tag = "clients",
    params(("id" = String, Path, description = "The client id"), Asked),
    responses((status = 200, description = "Messages, the oldest first", body = Value)),
)]
pub async fn under_way(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    tell(&world, &id, &query, true).await
}

async fn tell(world: &World, id: &str, query: &Query, is_under_way: bool) -> Result<Json<Value>, ApiError> {
    let wish = Wish::of(query)?;
    let session = session(world, id)?;
    let (waiting, last) = if session.kept() != 0 {
        let page = Page { session: session.kept(), is_under_way, after: wish.after, count: wish.count };
        let journal = world.journal.clone();
        let read = tokio::task::spawn_blocking(move || journal.waiting(page)).await;
        let unread = || {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "they cannot be read at the moment")
        };
        let (waiting, last) = read.ok().flatten().ok_or_else(unread)?;
        (waiting.into_iter().map(|waiting| (waiting.number, waiting.delivery)).collect(), last)
    } else {
        // What is sent or acknowledged meanwhile moves the others: a position counts from the front.
        let skip = usize::try_from(wish.after).unwrap_or(usize::MAX);
        let mut waiting = if is_under_way {
            line::under_way(&session, skip, wish.count + 1).await?
        } else {
            session.waiting(skip, wish.count + 1)
        };
        let last = (waiting.len() > wish.count).then(|| wish.after.saturating_add(wish.count as u64));
        waiting.truncate(wish.count);
        ((wish.after.saturating_add(1)..).zip(waiting).collect::<Vec<_>>(), last)
    };
    let mut payload_bytes = 0;
    let (mut data, mut position) = (Vec::with_capacity(waiting.len()), last);
    for (number, delivery) in waiting {
        payload_bytes += delivery.message.payload().len();
        if wish.payloads != Payloads::Untold && payload_bytes > wish.payload_bytes_max && !data.is_empty() {
            position = data.last().map(|(number, _)| *number);
            break;
        }
        data.push((number, message(world, &delivery, wish.payloads)));
    }
    let data: Vec<_> = data.into_iter().map(|(_, told)| told).collect();
    let position = position.map(|position| position.to_string());
    Ok(Json(json!({ "data": data, "meta": { "position": position, "hasnext": position.is_some() } })))
}

fn message(world: &World, delivery: &Delivery, payloads: Payloads) -> Value {
    let head = delivery.message.head();
    let mut told = json!({
        "topic": delivery.topic(),
        "qos": delivery.qos as u8,
        "retain": delivery.retain,
        "publish_at": world.unix_ms(head.received_at),
        "packet_id": (delivery.packet_id != 0).then_some(delivery.packet_id),
        "payload_size": delivery.message.payload().len(),
    });
    let payload = delivery.message.payload();
    match payloads {
        Payloads::Untold => {}
        Payloads::Plain => told["payload"] = String::from_utf8_lossy(payload).into(),
        Payloads::Base64 => told["payload"] = STANDARD.encode(payload).into(),
    }
    told
}
