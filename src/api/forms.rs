//! Settings of one thing in EMQX's form, where it has a path of its own for them: `/mqtt/retainer`, `/mqtt/delayed`, `/authorization/settings`;
//! those of `/configs/{root}` are in `roots`.
//!
//! They are the settings that `/configs` changes, by other names.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    configs,
    error::{ApiError, Body},
    world::World,
};
use crate::config::{Origin, Period, Size, Told, is_below};

/// A field of EMQX's, by its place, and what it is here.
pub struct Field {
    /// Its names from the outermost in, with dots between.
    place: &'static str,
    means: Means,
}

pub enum Means {
    /// A setting with the same values.
    Setting(&'static str),
    /// Several settings that have one value there; the first is told.
    Settings(&'static [&'static str]),
    /// A setting whose "infinity" is written so.
    Endless { key: &'static str, written: &'static str },
    /// A time, there a whole number of seconds; "0s" is written so.
    Seconds { key: &'static str, none: &'static str },
    /// A whole number of percent, there a text with the sign.
    Percent(&'static str),
    /// A setting some of whose values have other names there: theirs, ours.
    Named { key: &'static str, names: &'static [(&'static str, &'static str)] },
    /// A size, whose units are powers of 1,024 though they are called as those of 1,000.
    Size(&'static str),
    /// False when this setting is 0, whatever else is sent for it. True gives it back what it was configured to be.
    Switch(&'static str),
    /// It is always so, and may be sent back.
    Always(Value),
    /// There is no such thing here. It is not told, and can be nothing but EMQX's default.
    Only(Value),
    /// There is no such thing here, nor below it. Whatever is sent is left alone.
    Unknown,
}

impl Field {
    /// The settings that it is.
    fn keys(&self) -> &[&'static str] {
        match &self.means {
            Means::Settings(keys) => keys,
            Means::Setting(key)
            | Means::Endless { key, .. }
            | Means::Seconds { key, .. }
            | Means::Percent(key)
            | Means::Named { key, .. }
            | Means::Size(key)
            | Means::Switch(key) => std::slice::from_ref(key),
            Means::Always(_) | Means::Only(_) | Means::Unknown => &[],
        }
    }

    /// Whether what is sent at this place is about it.
    fn is_at(&self, place: &str) -> bool {
        match self.means {
            Means::Unknown => is_below(place, &[self.place]),
            _ => place == self.place,
        }
    }
}

pub const fn field(place: &'static str, means: Means) -> Field {
    Field { place, means }
}

/// Of `/mqtt/retainer`.
fn retainer() -> [Field; 8] {
    [
        field("enable", Means::Setting("retained.enable")),
        field("msg_expiry_interval", Means::Endless { key: "retained.expiry", written: "0s" }),
        field("max_payload_size", Means::Size("retained.payload_max")),
        field("msg_clear_interval", Means::Always("0s".into())),
        field("stop_publish_clear_msg", Means::Always(false.into())),
        field("backend.type", Means::Always("built_in_database".into())),
        field("backend.enable", Means::Always(true.into())),
        field("backend.max_retained_messages", Means::Endless { key: "retained.messages_max", written: "0" }),
    ]
}

/// Of `/mqtt/delayed`.
fn delayed() -> [Field; 2] {
    [
        field("enable", Means::Setting("delayed.enable")),
        field("max_delayed_messages", Means::Setting("delayed.messages_max")),
    ]
}

/// Of `/authorization/settings`.
fn authorization() -> [Field; 6] {
    [
        field("no_match", Means::Setting("access.no_match")),
        field("deny_action", Means::Setting("access.deny_action")),
        field("cache.max_size", Means::Setting("access.cache_max")),
        field("cache.enable", Means::Switch("access.cache_max")),
        field("cache.ttl", Means::Unknown),
        field("cache.excludes", Means::Unknown),
    ]
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(retainer_settings, change_retainer))
        .routes(routes!(delayed_settings, change_delayed))
        .routes(routes!(authorization_settings, change_authorization))
}

/// What is wanted, in EMQX's form.
pub fn tell(world: &World, fields: &[Field]) -> Json<Value> {
    let values: BTreeMap<_, _> = world.run_time.tell().into_iter().map(|told| (told.key, told.value)).collect();
    let of = |key: &str| values.get(key).cloned().unwrap_or_default();
    let mut told = Value::Object(Map::new());
    for Field { place, means } in fields {
        let value = match means {
            Means::Setting(key) => of(key),
            Means::Settings(keys) => keys.first().map(|key| of(key)).unwrap_or_default(),
            Means::Endless { key, written } => match of(key) {
                Value::String(text) if text == "infinity" => number_or_text(written),
                value => value,
            },
            Means::Seconds { key, none } => match period(&of(key)) {
                Some(Period::ZERO) => (*none).into(),
                Some(period) => period.as_secs_u32().into(),
                None => of(key),
            },
            Means::Percent(key) => format!("{}%", of(key)).into(),
            Means::Named { key, names } => {
                let value = of(key);
                names.iter().find(|(_, ours)| value == *ours).map_or(value, |(theirs, _)| (*theirs).into())
            }
            Means::Size(key) => match of(key) {
                Value::String(text) => match (text.strip_suffix("iB"), text.parse::<Size>()) {
                    (Some(short), _) => format!("{short}B").into(),
                    (None, Ok(size)) => size.get().into(),
                    (None, Err(_)) => text.into(),
                },
                value => value,
            },
            Means::Switch(key) => (of(key) != 0).into(),
            Means::Always(value) => value.clone(),
            Means::Only(_) | Means::Unknown => continue,
        };
        *place.split('.').fold(&mut told, |inner, name| &mut inner[name]) = value;
    }
    Json(told)
}

/// Changes what is sent and not so already, all of it or nothing, and tells what is wanted then, with the settings that count from the next start on.
pub async fn change(world: &Arc<World>, fields: &[Field], body: &Map<String, Value>) -> Result<Json<Value>, ApiError> {
    let mut sent = BTreeMap::new();
    configs::flatten("", body, &mut sent);
    let _changing = world.changes.lock().await;
    let Json(before) = tell(world, fields);
    let mut changes: BTreeMap<String, Option<Value>> = BTreeMap::new();
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for (place, value) in &sent {
        let Some(field) = fields.iter().find(|field| field.is_at(place)) else {
            return Err(ApiError::bad(format!("{place}: there is no such field")));
        };
        let value = value.clone().unwrap_or_default();
        if before.pointer(&format!("/{}", place.replace('.', "/"))) == Some(&value) {
            continue;
        }
        let bad = |what: &str| ApiError::bad(format!("{place} {what}"));
        let value = match &field.means {
            Means::Setting(_) | Means::Settings(_) => value,
            Means::Endless { written, .. } if value == number_or_text(written) => "infinity".into(),
            Means::Endless { .. } => value,
            Means::Seconds { none, .. } if value == *none => "0s".into(),
            Means::Seconds { none, .. } => match value.as_u64() {
                Some(secs) => format!("{secs}s").into(),
                None => return Err(bad(&format!("is a number of seconds or \"{none}\""))),
            },
            Means::Percent(_) => match value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u8>().ok()) {
                Some(percent) => percent.into(),
                None => return Err(bad("is a whole number of percent such as \"80%\"")),
            },
            Means::Named { names, .. } => {
                names.iter().find(|(theirs, _)| value == *theirs).map_or(value, |(_, ours)| (*ours).into())
            }
            Means::Size(_) => in_powers_of_two(value),
            Means::Switch(key) => {
                match value.as_bool() {
                    Some(false) => off.push(*key),
                    Some(true) => on.push(*key),
                    None => return Err(bad("is true or false")),
                }
                continue;
            }
            Means::Only(only) if value == *only => continue,
            Means::Always(only) | Means::Only(only) => return Err(bad(&format!("can be nothing but {only}"))),
            Means::Unknown => continue,
        };
        changes.extend(field.keys().iter().map(|key| ((*key).to_owned(), Some(value.clone()))));
    }
    for key in on {
        changes.entry(key.to_owned()).or_insert(None);
    }
    changes.extend(off.into_iter().map(|key| (key.to_owned(), Some(0.into()))));
    let pending = match changes.is_empty() {
        true => Vec::new(),
        false => configs::make_in_turn(world, changes).await?.1,
    };
    let mut told = tell(world, fields);
    if !pending.is_empty() {
        told.0["pending"] = json!(pending);
    }
    Ok(told)
}

/// Takes changes of before away: of the field at this place and of what is below it, or with "" of all.
///
/// # Errors
/// When there is no such field, or it is always the same.
pub async fn reset(world: &Arc<World>, fields: &[Field], place: &str) -> Result<(), ApiError> {
    let is_meant = |field: &&Field| place.is_empty() || is_below(field.place, &[place]);
    let keys: Vec<_> = fields.iter().filter(is_meant).flat_map(Field::keys).copied().collect();
    if keys.is_empty() {
        let why = format!("{place}: there is no setting that could be reset");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "NO_DEFAULT_VALUE", why));
    }
    let _changing = world.changes.lock().await;
    let is_changed = |told: &Told| matches!(told.origin, Origin::RunTime { .. }) && keys.contains(&told.key.as_str());
    let changed = world.run_time.tell().into_iter().filter(is_changed);
    match changed.map(|told| (told.key, None)).collect::<BTreeMap<_, _>>() {
        changes if changes.is_empty() => Ok(()),
        changes => configs::make_in_turn(world, changes).await.map(drop),
    }
}

fn period(value: &Value) -> Option<Period> {
    value.as_str()?.parse().ok()
}

fn number_or_text(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

/// EMQX's "1MB" is 1,048,576 bytes.
fn in_powers_of_two(value: Value) -> Value {
    match &value {
        Value::String(text) => {
            let upper = text.trim().to_ascii_uppercase();
            let unit = ["KB", "MB", "GB"].into_iter().find_map(|unit| Some((upper.strip_suffix(unit)?, unit)));
            unit.map_or(value, |(count, unit)| format!("{}{}iB", count.trim(), &unit[..1]).into())
        }
        _ => value,
    }
}

/// How retained messages are kept, in EMQX's form: no end is 0.
#[utoipa::path(
    get,
    path = "/mqtt/retainer",
    tag = "retained messages",
    responses((status = 200, description = "The settings, which are retained.* of `/configs`", body = Value)),
)]
async fn retainer_settings(State(world): State<Arc<World>>) -> Json<Value> {
    tell(&world, &retainer())
}

/// Changes how retained messages are kept.
#[utoipa::path(
    put,
    path = "/mqtt/retainer",
    tag = "retained messages",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The settings, and what of them is pending until the next start", body = Value)),
)]
async fn change_retainer(
    State(world): State<Arc<World>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    change(&world, &retainer(), &body).await
}

/// Whether messages can be delayed, and how many.
#[utoipa::path(
    get,
    path = "/mqtt/delayed",
    tag = "delayed messages",
    responses((status = 200, description = "The settings, which are delayed.* of `/configs`", body = Value)),
)]
async fn delayed_settings(State(world): State<Arc<World>>) -> Json<Value> {
    tell(&world, &delayed())
}

/// Changes whether messages can be delayed, and how many.
#[utoipa::path(
    put,
    path = "/mqtt/delayed",
    tag = "delayed messages",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The settings", body = Value)),
)]
async fn change_delayed(
    State(world): State<Arc<World>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    change(&world, &delayed(), &body).await
}

/// What holds when no rule is about it, and what is remembered.
#[utoipa::path(
    get,
    path = "/authorization/settings",
    tag = "access",
    responses((status = 200, description = "The settings, which are access.* of `/configs`", body = Value)),
)]
async fn authorization_settings(State(world): State<Arc<World>>) -> Json<Value> {
    tell(&world, &authorization())
}

/// Changes what holds when no rule is about it, and what is remembered. It counts at once.
#[utoipa::path(
    put,
    path = "/authorization/settings",
    tag = "access",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The settings", body = Value)),
)]
async fn change_authorization(
    State(world): State<Arc<World>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    change(&world, &authorization(), &body).await
}
