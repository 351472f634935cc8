//! Keys of programs: `/api_key`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    accounts::Role,
    error::{ApiError, Body, Path},
    rows::Rows,
    tokens::random_text,
    world::{World, date_of_ms, unix_secs},
};

/// What the keys of API keys begin with in the store.
pub const KEY_PREFIX: &str = "api_key/";

pub(super) const KEYS_MAX: usize = 1000;
const NAME_MAX: usize = 100;

pub type Keys = Rows<Key>;

/// A key. Its secret is 256 random bits, so that a digest protects it as well as anything slower would.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Key {
    key: String,
    secret_sha256: String,
    #[serde(default)]
    pub role: Role,
    #[serde(default)]
    desc: String,
    enable: bool,
    created_at: u64,
    /// `None` for never.
    expires_at: Option<u64>,
}

impl Key {
    /// Of a row that was kept elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_row(name: &str, row: &str) -> Result<Self, String> {
        let key: Self = serde_json::from_str(row).map_err(|error| error.to_string())?;
        let is_digest = key.secret_sha256.len() == 64 && key.secret_sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        match () {
            () if !is_name(name) => Err(NAMES.into()),
            () if key.key.is_empty() || key.key.contains(':') || !is_digest => {
                Err("it is no key with its digest".into())
            }
            () if key.desc.len() > 1000 => Err("its description is too long".into()),
            () => Ok(key),
        }
    }

    fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= unix_secs())
    }

    /// Whether this is the key and its secret, and it counts now.
    pub fn is(&self, key: &str, secret: &str) -> bool {
        let is_same = || bool::from(self.secret_sha256.as_bytes().ct_eq(hash(secret).as_bytes()));
        self.key == key && is_same() && self.enable && !self.is_expired()
    }

    fn tell(&self, name: &str) -> Value {
        json!({
            "name": name,
            "api_key": self.key,
            "role": self.role,
            "desc": self.desc,
            "enable": self.enable,
            "expired": self.is_expired(),
            "created_at": date_of_ms(self.created_at * 1000),
            "expired_at": self.expires_at.map_or("infinity".into(), |at| date_of_ms(at.saturating_mul(1000))),
        })
    }
}

const NAMES: &str = "a name has at most 100 letters, digits, \"-\", \"_\" and \".\"";

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(good)
}

fn hash(secret: &str) -> String {
    digest(&SHA256, secret.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When it ends: seconds since 1970, a date, or "infinity".
fn end_of(value: Option<&Value>) -> Result<Option<u64>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if number.as_u64().is_some() => Ok(number.as_u64()),
        Some(Value::String(text)) if text == "infinity" || text == "undefined" => Ok(None),
        Some(Value::String(text)) => {
            let time = humantime::parse_rfc3339_weak(text).ok();
            let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            since.map(|since| Some(since.as_secs())).ok_or_else(|| ApiError::bad("expired_at is no date"))
        }
        Some(_) => Err(ApiError::bad("expired_at is no date")),
    }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(find, change, remove))
}

/// All keys.
#[utoipa::path(
    get,
    path = "/api_key",
    tag = "keys",
    responses((status = 200, description = "Keys, by name, without their secrets", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.keys.all().iter().map(|(name, key)| key.tell(name)).collect())
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewKey)]
pub struct New {
    name: String,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    desc: String,
    enable: Option<bool>,
    expired_at: Option<Value>,
}

/// A new key: the only answer that has the secret in it.
#[utoipa::path(
    post,
    path = "/api_key",
    tag = "keys",
    request_body = New,
    responses((status = 200, description = "The key and its secret", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(new): Body<New>) -> Result<Json<Value>, ApiError> {
    if !is_name(&new.name) || new.desc.len() > 1000 {
        return Err(ApiError::bad(NAMES));
    }
    let failed =
        || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the system gives no random bytes");
    let (id, secret) = (random_text().ok_or_else(failed)?, random_text().ok_or_else(failed)?);
    let key = Key {
        key: id[..16].to_owned(),
        secret_sha256: hash(&secret),
        role: new.role,
        desc: new.desc,
        enable: new.enable.unwrap_or(true),
        created_at: unix_secs(),
        expires_at: end_of(new.expired_at.as_ref())?,
    };
    let _changing = world.changes.lock().await;
    if world.keys.find(&new.name).is_some() {
        return Err(ApiError::exists("there is such a key"));
    }
    if world.keys.len() >= KEYS_MAX {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", format!("there are {KEYS_MAX} keys")));
    }
    keep(&world, &new.name, Some(key.clone())).await?;
    let mut told = key.tell(&new.name);
    told["api_secret"] = secret.into();
    Ok(Json(told))
}

fn found(world: &World, name: &str) -> Result<Key, ApiError> {
    world.keys.find(name).ok_or_else(|| ApiError::not_found("there is no such key"))
}

/// A key.
#[utoipa::path(
    get,
    path = "/api_key/{name}",
    tag = "keys",
    params(("name" = String, Path, description = "The key's name")),
    responses((status = 200, description = "The key without its secret", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(found(&world, &name)?.tell(&name)))
}

#[derive(ToSchema, Deserialize)]
#[schema(as = KeyChange)]
pub struct Change {
    role: Option<Role>,
    desc: Option<String>,
    enable: Option<bool>,
    expired_at: Option<Value>,
}

/// Changes a key.
#[utoipa::path(
    put,
    path = "/api_key/{name}",
    tag = "keys",
    params(("name" = String, Path, description = "The key's name")),
    request_body = Change,
    responses((status = 200, description = "The key", body = Value)),
)]
pub async fn change(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, ApiError> {
    let _changing = world.changes.lock().await;
    let mut key = found(&world, &name)?;
    key.role = change.role.unwrap_or(key.role);
    key.enable = change.enable.unwrap_or(key.enable);
    if let Some(desc) = change.desc.filter(|desc| desc.len() <= 1000) {
        key.desc = desc;
    }
    if change.expired_at.is_some() {
        key.expires_at = end_of(change.expired_at.as_ref())?;
    }
    keep(&world, &name, Some(key.clone())).await?;
    Ok(Json(key.tell(&name)))
}

/// Removes a key.
#[utoipa::path(
    delete,
    path = "/api_key/{name}",
    tag = "keys",
    params(("name" = String, Path, description = "The key's name")),
    responses((status = 204, description = "It counts no more")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    found(&world, &name)?;
    keep(&world, &name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keep(world: &World, name: &str, key: Option<Key>) -> Result<(), ApiError> {
    let change = world.keys.change(name, key.as_ref());
    world.keep(vec![change]).await.map_err(|error| ApiError::store(&error))?;
    world.keys.set(name, key);
    Ok(())
}
