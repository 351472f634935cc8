//! Clients and their sessions: `/clients`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use thingway_contract::CloseReason;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Path},
    page::{Page, Paging},
    query::Query,
    world::World,
};
use crate::bus::{Session, SessionInfo};

/// Client ids in one request.
const IDS_MAX: usize = 1000;

fn tell(world: &World, info: &SessionInfo) -> Value {
    let connection = info.connection.as_ref();
    let remote = connection.and_then(|connection| connection.remote);
    let max = world.bus.config().subscriptions_max;
    json!({
        "clientid": info.id.as_str(),
        "username": connection.and_then(|connection| connection.username.as_deref()),
        "node": world.node,
        "connected": connection.is_some(),
        "connected_at": connection.map(|connection| world.date(connection.connected_at)),
        "ip_address": remote.map(|remote| remote.ip().to_canonical().to_string()),
        "port": remote.map(|remote| remote.port()),
        "proto_name": connection.map(|connection| connection.origin.protocol.to_uppercase()),
        "proto_ver": connection.map(|connection| connection.version),
        "listener": connection.map(|connection| connection.origin.listener.replacen('.', ":", 1)),
        "keepalive": connection.map(|connection| connection.keep_alive_secs),
        "clean_start": connection.map(|connection| connection.clean_start),
        "expiry_interval": info.session_expiry_secs,
        "is_persistent": info.session_expiry_secs > 0,
        "durable": info.kept,
        "subscriptions_cnt": info.subscriptions,
        "subscriptions_max": if max == usize::MAX { "infinity".into() } else { Value::from(max) },
        "mqueue_len": info.queued,
        "mqueue_max": world.bus.config().queue.messages_max,
        "total_payload_bytes": info.queued_bytes,
    })
}

/// What clients are looked for by.
struct Wanted<'a> {
    ids: &'a [String],
    usernames: &'a [String],
    like_id: Option<&'a str>,
    like_username: Option<&'a str>,
    address: Option<&'a str>,
    protocol: Option<&'a str>,
    connected: Option<bool>,
    clean_start: Option<bool>,
    version: Option<u8>,
    connected_from_ms: Option<u64>,
    connected_to_ms: Option<u64>,
}

impl<'a> Wanted<'a> {
    fn of(query: &'a Query) -> Result<Self, ApiError> {
        let connected = match query.find("conn_state") {
            None => None,
            Some("connected") => Some(true),
            Some("disconnected" | "idle") => Some(false),
            Some(_) => return Err(ApiError::bad("conn_state is connected, idle or disconnected")),
        };
        Ok(Self {
            ids: query.all("clientid"),
            usernames: query.all("username"),
            like_id: query.find("like_clientid"),
            like_username: query.find("like_username"),
            address: query.find("ip_address"),
            protocol: query.find("proto_name"),
            connected,
            clean_start: query.read("clean_start")?,
            version: query.read("proto_ver")?,
            connected_from_ms: time(query, "gte_connected_at")?,
            connected_to_ms: time(query, "lte_connected_at")?,
        })
    }

    /// Decided by what costs least first.
    fn is_met_by_id(&self, id: &str) -> bool {
        let is_listed = self.ids.is_empty() || self.ids.iter().any(|wanted| wanted == id);
        is_listed && self.like_id.is_none_or(|part| id.contains(part))
    }

    fn asks_for_more(&self) -> bool {
        !self.usernames.is_empty()
            || self.like_username.is_some()
            || self.address.is_some()
            || self.protocol.is_some()
            || self.connected.is_some()
            || self.clean_start.is_some()
            || self.version.is_some()
            || self.connected_from_ms.is_some()
            || self.connected_to_ms.is_some()
    }

    fn is_met_by(&self, world: &World, info: &SessionInfo) -> bool {
        if self.connected.is_some_and(|wanted| wanted != info.connection.is_some()) {
            return false;
        }
        let Some(connection) = &info.connection else {
            let others = Self { connected: None, ..*self };
            return !others.asks_for_more();
        };
        let username = connection.username.as_deref().unwrap_or("");
        let address = || connection.remote.map(|remote| remote.ip().to_canonical().to_string());
        let at = world.unix_ms(connection.connected_at);
        (self.usernames.is_empty() || self.usernames.iter().any(|wanted| *wanted == *username))
            && self.like_username.is_none_or(|part| username.contains(part))
            && self.protocol.is_none_or(|wanted| wanted.eq_ignore_ascii_case(connection.origin.protocol))
            && self.clean_start.is_none_or(|wanted| wanted == connection.clean_start)
            && self.version.is_none_or(|wanted| wanted == connection.version)
            && self.connected_from_ms.is_none_or(|from| at >= from)
            && self.connected_to_ms.is_none_or(|to| at <= to)
            && self.address.is_none_or(|wanted| address().as_deref() == Some(wanted))
    }
}

/// A date, or milliseconds since 1970.
fn time(query: &Query, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.find(name) else { return Ok(None) };
    if let Ok(ms) = text.parse() {
        return Ok(Some(ms));
    }
    let since =
        humantime::parse_rfc3339_weak(text).ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    ms.map(Some).ok_or_else(|| ApiError::bad(format!("{name} is no time")))
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(find, kick))
        .routes(routes!(kick_all))
        .routes(routes!(count))
}

/// Clients and their sessions.
#[utoipa::path(
    get,
    path = "/clients",
    tag = "clients",
    params(
        Paging,
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
    ),
    responses((status = 200, description = "A page of clients", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted::of(&query)?;
    if wanted.ids.len() > IDS_MAX || wanted.usernames.len() > IDS_MAX {
        return Err(ApiError::bad(format!("at most {IDS_MAX} client ids and names")));
    }
    let mut page = Page::of(&query)?.collect();
    let mut look = |session: &Arc<Session>| {
        if !wanted.is_met_by_id(session.id().as_str()) {
            return;
        }
        if !wanted.asks_for_more() {
            return page.see(|| session.info());
        }
        let info = session.info();
        if wanted.is_met_by(&world, &info) {
            page.see(|| info);
        }
    };
    if wanted.ids.is_empty() {
        world.bus.for_each_session(look);
    } else {
        wanted.ids.iter().filter_map(|id| world.bus.session(id)).for_each(|session| look(&session));
    }
    Ok(Json(page.into_json(|info| tell(&world, &info))))
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
    let session = session(&world, &id)?;
    let mut told = tell(&world, &session.info());
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
