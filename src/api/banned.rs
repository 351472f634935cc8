//! Bans: `/banned`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Path},
    page::{Page, Paging},
    query::Query,
    world::{World, date_of_ms},
};
use crate::access::{Ban, BanKind, ban_key};

/// EMQX's words for what is banned.
const WORDS: [(BanKind, &str); 6] = [
    (BanKind::ClientId, "clientid"),
    (BanKind::Username, "username"),
    (BanKind::Address, "peerhost"),
    (BanKind::ClientIdPattern, "clientid_re"),
    (BanKind::UsernamePattern, "username_re"),
    (BanKind::Network, "peerhost_net"),
];

fn kind_of(word: &str) -> Result<BanKind, ApiError> {
    let found = WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind);
    found.ok_or_else(|| ApiError::bad("as is clientid, username, peerhost, clientid_re, username_re or peerhost_net"))
}

fn tell(ban: &Ban) -> Value {
    let word = WORDS.iter().find(|(kind, _)| *kind == ban.kind).map_or("", |(_, word)| word);
    let until = ban.until_unix_secs.map_or("infinity".into(), |secs| date_of_ms(secs.saturating_mul(1000)));
    json!({ "as": word, "who": ban.value, "reason": ban.reason, "until": until })
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list, add, clear)).routes(routes!(remove))
}

/// Bans.
#[utoipa::path(
    get,
    path = "/banned",
    tag = "bans",
    params(Paging),
    responses((status = 200, description = "A page of bans", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut bans = world.access.bans();
    bans.sort_by(|a, b| (a.kind, &a.value).cmp(&(b.kind, &b.value)));
    Ok(Json(Page::of(&query)?.cut(bans.iter().map(tell).collect())))
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewBan)]
pub struct Wish {
    #[serde(rename = "as")]
    kind: String,
    who: String,
    #[serde(default)]
    reason: String,
    until: Option<Value>,
}

/// A ban; connections of whom it keeps out are ended.
#[utoipa::path(
    post,
    path = "/banned",
    tag = "bans",
    request_body = Wish,
    responses((status = 200, description = "The ban", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Result<Json<Value>, ApiError> {
    let until_unix_secs = match &wish.until {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) if number.as_u64().is_some() => number.as_u64(),
        Some(Value::String(text)) if text == "infinity" => None,
        Some(Value::String(text)) => {
            let time = humantime::parse_rfc3339_weak(text).ok();
            let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            Some(since.ok_or_else(|| ApiError::bad("until is no date"))?.as_secs())
        }
        Some(_) => return Err(ApiError::bad("until is no date")),
    };
    let ban = Ban { kind: kind_of(&wish.kind)?, value: wish.who.into(), reason: wish.reason.into(), until_unix_secs };
    ban.check().map_err(|error| ApiError::bad(error.to_string()))?;
    let _changing = world.changes.lock().await;
    if world.access.bans().iter().any(|known| known.kind == ban.kind && known.value == ban.value) {
        return Err(ApiError::exists("it is banned already"));
    }
    let (key, row) = ban.to_row();
    world.keep(vec![(key, Some(row))]).await.map_err(|error| ApiError::store(&error))?;
    match world.access.ban(ban.clone()) {
        Ok(true) => {}
        _ => {
            let full = "there are as many bans as there may be (access.bans_max): it counts from the next start on";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", full));
        }
    }
    world.access.end_banned(&world.bus);
    Ok(Json(tell(&ban)))
}

/// Lifts a ban.
#[utoipa::path(
    delete,
    path = "/banned/{kind}/{who}",
    tag = "bans",
    params(
        ("kind" = String, Path, description = "What is banned: clientid, username, peerhost, clientid_re, username_re or peerhost_net"),
        ("who" = String, Path, description = "Who is banned"),
    ),
    responses((status = 204, description = "It is lifted")),
)]
pub async fn remove(
    State(world): State<Arc<World>>,
    Path((word, who)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let kind = kind_of(&word)?;
    let _changing = world.changes.lock().await;
    if !world.access.bans().iter().any(|known| known.kind == kind && *known.value == *who) {
        return Err(ApiError::not_found("it is not banned"));
    }
    world.keep(vec![(ban_key(kind, &who), None)]).await.map_err(|error| ApiError::store(&error))?;
    world.access.unban(kind, &who);
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts all bans.
#[utoipa::path(
    delete,
    path = "/banned",
    tag = "bans",
    responses((status = 204, description = "There are none")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let bans = world.access.bans();
    let changes = bans.iter().map(|ban| (ban_key(ban.kind, &ban.value), None)).collect();
    world.keep(changes).await.map_err(|error| ApiError::store(&error))?;
    bans.iter().for_each(|ban| {
        world.access.unban(ban.kind, &ban.value);
    });
    Ok(StatusCode::NO_CONTENT)
}
