//! Pre-shared keys of the store: `/psk`. Keys go in, and never out.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use super::{
    error::{ApiError, Body, Path},
    page::{Page, Paging},
    query::Query,
    world::World,
};
use crate::access::{
    passwords::Secret,
    psk::{KEYS_MAX, PSK_PREFIX, check_identity, key_from_hex, key_to_hex},
};

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

fn tell(identity: &str, key_bytes: usize) -> Value {
    json!({ "identity": identity, "key_bytes": key_bytes })
}

/// Identities with keys, by name; those of a file are not listed.
#[utoipa::path(
    get,
    path = "/psk",
    tag = "access",
    params(Paging, ("like_identity" = Option<String>, Query, description = "A part of the identity")),
    responses((status = 200, description = "A page of identities, without their keys", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let part = query.find("like_identity");
    let mut page = Page::of(&query)?.collect();
    for (identity, key_bytes) in world.access.keys().stored() {
        if part.is_none_or(|part| identity.contains(part)) {
            page.see(|| tell(&identity, key_bytes));
        }
    }
    Ok(Json(page.into_json(|told| told)))
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewPreSharedKey)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// What the peer shows: 1 to 1,024 bytes without ":" and control characters.
    identity: String,
    /// 16 to 256 bytes in hexadecimal digits.
    key: String,
    /// Another one may be there, which this replaces.
    #[serde(default)]
    replace: bool,
}

/// A key for an identity. It counts for the next handshake.
#[utoipa::path(
    post,
    path = "/psk",
    tag = "access",
    request_body = New,
    responses((status = 201, description = "The identity", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(new): Body<New>) -> Result<(StatusCode, Json<Value>), ApiError> {
    check_identity(&new.identity).map_err(|error| ApiError::bad(error.to_string()))?;
    let key = key_from_hex(&Zeroizing::new(new.key)).map_err(|error| ApiError::bad(error.to_string()))?;
    let told = tell(&new.identity, key.len());
    let _changing = world.changes.lock().await;
    let keys = world.access.keys();
    let is_known = keys.is_stored(&new.identity);
    if is_known && !new.replace {
        return Err(ApiError::exists("this identity has a key: say replace to give it another"));
    }
    if !is_known && keys.len().1 >= KEYS_MAX {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", format!("there are {KEYS_MAX} keys")));
    }
    save(&world, new.identity, Some(key)).await?;
    Ok((StatusCode::CREATED, Json(told)))
}

/// Takes the key of an identity away. Who is connected stays.
#[utoipa::path(
    delete,
    path = "/psk/{identity}",
    tag = "access",
    params(("identity" = String, Path, description = "The identity")),
    responses((status = 204, description = "It has no key any more")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(identity): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    if !world.access.keys().is_stored(&identity) {
        return Err(ApiError::not_found("this identity has no key in the store"));
    }
    save(&world, identity, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a key and lets it count, or leaves all as it was. Whoever has asked for it may be gone meanwhile.
async fn save(world: &Arc<World>, identity: String, key: Option<Secret>) -> Result<(), ApiError> {
    let world = world.clone();
    let saved = tokio::spawn(async move {
        let row = key.as_ref().map(|key| key_to_hex(key).to_string());
        world.keep(vec![(format!("{PSK_PREFIX}{identity}"), row)]).await.map_err(|error| ApiError::store(&error))?;
        world.access.keys().change_stored([(identity.into(), key)]);
        Ok(())
    });
    saved.await.unwrap_or_else(|error| Err(ApiError::store(&error)))
}
