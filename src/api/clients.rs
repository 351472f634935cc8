//! Clients and their sessions: `/clients`.

mod line;
mod queue;
mod row;
mod search;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde_json::Value;
use thingway_contract::{ClientId, CloseReason};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::search::{Clients, Wanted};
use self::{
    line::Counts,
    row::{Fields, Row},
};
use super::{
    error::{ApiError, Body, Path},
    page::Paging,
    query::Query,
    window::{Cursor, Window},
    world::World,
};
use crate::bus::Session;

/// Client ids in one request.
const IDS_MAX: usize = 1000;
/// Rows of a page whose connections are asked what they have counted; a longer page tells nothing of it.
const COUNTED_MAX: usize = 1000;

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_by_cursor))
        .routes(routes!(find, kick))
        .routes(routes!(kick_all))
        .routes(routes!(count))
        .merge(line::routes())
        .merge(queue::routes())
}

/// Clients and their sessions.
#[utoipa::path(
    get,
    path = "/clients",
    tag = "clients",
    params(
        Paging,
        Cursor,
        ("fields" = Option<String>, Query, description = "Names of fields, with commas between them"),
        ("q" = Option<String>, Query, description = "A part of the client id, the user name or the address"),
        ("clientid" = Option<Vec<String>>, Query),
        ("username" = Option<Vec<String>>, Query),
        ("like_clientid" = Option<String>, Query),
        ("like_username" = Option<String>, Query),
        ("ip_address" = Option<String>, Query),
        ("conn_state" = Option<String>, Query, description = "connected, idle or disconnected"),
        ("clean_start" = Option<bool>, Query),
        ("proto_name" = Option<String>, Query),
        ("proto_ver" = Option<u8>, Query),
        ("gte_connected_at" = Option<String>, Query, description = "A date, or milliseconds since 1970"),
        ("lte_connected_at" = Option<String>, Query, description = "A date, or milliseconds since 1970"),
        ("gte_created_at" = Option<String>, Query, description = "A date, or milliseconds since 1970; to the second"),
        ("lte_created_at" = Option<String>, Query, description = "A date, or milliseconds since 1970; to the second"),
    ),
    responses((status = 200, description = "A page of clients", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Response, ApiError> {
    let window = Window::of(&query)?;
    page(world, &query, window, Wanted::of(&query)?).await
}

/// Clients and their sessions, by cursor.
#[utoipa::path(
    get,
    path = "/clients_v2",
    tag = "clients",
    params(
        Cursor,
        ("limit" = Option<usize>, Query),
        ("fields" = Option<String>, Query, description = "Names of fields, with commas between them"),
        ("q" = Option<String>, Query, description = "A part of the client id, the user name or the address"),
        ("clientid" = Option<Vec<String>>, Query),
        ("username" = Option<Vec<String>>, Query),
        ("like_clientid" = Option<String>, Query),
        ("like_username" = Option<String>, Query),
        ("ip_address" = Option<String>, Query),
        ("conn_state" = Option<String>, Query, description = "connected, idle or disconnected"),
        ("clean_start" = Option<bool>, Query),
        ("proto_name" = Option<String>, Query),
        ("proto_ver" = Option<u8>, Query),
        ("gte_connected_at" = Option<String>, Query, description = "A date, or milliseconds since 1970"),
        ("lte_connected_at" = Option<String>, Query, description = "A date, or milliseconds since 1970"),
        ("gte_created_at" = Option<String>, Query, description = "A date, or milliseconds since 1970; to the second"),
        ("lte_created_at" = Option<String>, Query, description = "A date, or milliseconds since 1970; to the second"),
    ),
    responses((status = 200, description = "Clients behind the cursor", body = Value)),
)]
pub async fn list_by_cursor(State(world): State<Arc<World>>, query: Query) -> Result<Response, ApiError> {
    let window = Window::of_cursor(&query)?;
    page(world, &query, window, Wanted::of(&query)?).await
}

/// A part of the clients that are wanted.
pub(super) async fn page(
    world: Arc<World>,
    query: &Query,
    window: Window,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    let fields = Fields::of(query)?;
    let ids = query.all("clientid");
    if ids.len() > IDS_MAX {
        return Err(ApiError::bad(format!("at most {IDS_MAX} client ids")));
    }
    // One that can be no client's is nobody's.
    let ids: Vec<_> = ids.iter().filter_map(|id| ClientId::new(id, usize::MAX).ok()).collect();
    let is_listed = query.find("clientid").is_some();
    let look = move |world: &World| {
        let directory = &world.directories.clients;
        let found = if is_listed {
            wanted.find(directory.source(), &directory.some(&world.bus, ids), &window)
        } else {
            wanted.find(directory.source(), &directory.look(&world.bus), &window)
        };
        // Whoever has gone since is left out.
        let sessions: Vec<_> = found.items().iter().map(|id| world.bus.session(id)).collect();
        let fields = if sessions.len() > COUNTED_MAX { fields.without_counts() } else { fields };
        let mut counts =
            if fields.have_counts() { Counts::of_all(sessions.iter().flatten()) } else { Vec::new() }.into_iter();
        let mut sessions = sessions.into_iter();
        found.into_answer(&window, ClientId::to_string, |_| {
            let session = sessions.next()??;
            Some(Row { world, info: session.info(), fields, counts: counts.next().unwrap_or_default() })
        })
    };
    world.looking(look).await
}

pub(super) fn session(world: &World, id: &str) -> Result<Arc<Session>, ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "CLIENTID_NOT_FOUND", "Client ID not found");
    world.bus.session(id).ok_or_else(missing)
}

/// A client.
#[utoipa::path(
    get,
    path = "/clients/{id}",
    tag = "clients",
    params(("id" = String, Path, description = "The client id")),
    responses((status = 200, description = "The client", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    tell(&world, session(&world, &id)?).await
}

/// All that is known of a session, by its connection and the store as well.
pub(super) async fn tell(world: &World, session: Arc<Session>) -> Result<Json<Value>, ApiError> {
    let row = Row { world, info: session.info(), fields: Fields::ALL, counts: Counts::of(&session).await };
    let mut told = serde_json::to_value(row).map_err(|error| ApiError::internal(&error))?;
    let bus = world.bus.clone();
    // What the store holds for it is asked of the store.
    let queued = tokio::task::spawn_blocking(move || bus.queued(&[session]));
    if let Some(queued) = queued.await.ok().and_then(|all| all.into_iter().next()) {
        told["mqueue_len"] = queued.messages.into();
        told["total_payload_bytes"] = queued.bytes.into();
    }
    Ok(Json(told))
}

/// Ends its connection; its session stays if it is to.
#[utoipa::path(
    delete,
    path = "/clients/{id}",
    tag = "clients",
    params(("id" = String, Path, description = "The client id")),
    responses((status = 204, description = "It is told to go")),
)]
pub async fn kick(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    session(&world, &id)?.signal(CloseReason::Administrative);
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the connections of several clients.
#[utoipa::path(
    post,
    path = "/clients/kickout/bulk",
    tag = "clients",
    request_body = Vec<String>,
    responses((status = 204, description = "They are told to go")),
)]
pub async fn kick_all(State(world): State<Arc<World>>, Body(ids): Body<Vec<String>>) -> Result<StatusCode, ApiError> {
    if ids.len() > IDS_MAX {
        return Err(ApiError::bad(format!("at most {IDS_MAX} client ids")));
    }
    for session in ids.iter().filter_map(|id| world.bus.session(id)) {
        session.signal(CloseReason::Administrative);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How many sessions there are.
#[utoipa::path(
    get,
    path = "/sessions_count",
    tag = "clients",
    responses((status = 200, description = "A number as text", body = String, content_type = "text/plain")),
)]
pub async fn count(State(world): State<Arc<World>>) -> String {
    world.bus.gauges().sessions.to_string()
}
