//! Lists of settings in EMQX's form, where they have a path of their own: `/mqtt/topic_rewrite` and `/mqtt/auto_subscribe`.
//!
//! They are the settings that `/configs` changes, with EMQX's names for the fields of their entries.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    configs,
    error::{ApiError, Body},
    world::World,
};

/// A list: its setting, and for each field of an entry EMQX's name, ours, and how it is said.
struct List {
    key: &'static str,
    fields: &'static [(&'static str, &'static str, Said)],
}

/// How a value is said there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// As here; the entry must have it.
    Needed,
    /// As here.
    Same,
    /// 0 for false and 1 for true.
    Digit,
}

const REWRITE: List = List {
    key: "access.rewrite",
    fields: &[
        ("action", "action", Said::Needed),
        ("source_topic", "source", Said::Needed),
        ("re", "pattern", Said::Needed),
        ("dest_topic", "destination", Said::Needed),
    ],
};

const AUTO_SUBSCRIBE: List = List {
    key: "access.auto_subscribe",
    fields: &[
        ("topic", "topic", Said::Needed),
        ("qos", "qos", Said::Same),
        ("nl", "no_local", Said::Digit),
        ("rap", "retain_as_published", Said::Digit),
        ("rh", "retain_handling", Said::Same),
    ],
};

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(rewriting, change_rewriting))
        .routes(routes!(subscriptions, change_subscriptions))
}

impl List {
    fn tell(&self, world: &World) -> Json<Value> {
        let entries = configs::value(world, self.key);
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
        Json(entries.iter().map(|entry| self.tell_entry(entry)).collect())
    }

    fn tell_entry(&self, entry: &Value) -> Value {
        let fields = self.fields.iter().map(|(theirs, ours, said)| {
            let value = match said {
                Said::Digit => u8::from(entry[*ours] == true).into(),
                Said::Needed | Said::Same => entry[*ours].clone(),
            };
            ((*theirs).to_owned(), value)
        });
        Value::Object(fields.collect())
    }

    fn read_entry(&self, entry: &Map<String, Value>) -> Result<Value, ApiError> {
        let mut read = Map::new();
        for (name, value) in entry {
            let Some((_, ours, said)) = self.fields.iter().find(|(theirs, ..)| theirs == name) else {
                return Err(ApiError::bad(format!("{name}: there is no such field")));
            };
            let value = match (said, value.as_u64()) {
                (Said::Digit, Some(digit @ (0 | 1))) => (digit == 1).into(),
                (Said::Digit, _) => return Err(ApiError::bad(format!("{name} is 0 or 1"))),
                (Said::Needed | Said::Same, _) => value.clone(),
            };
            read.insert((*ours).to_owned(), value);
        }
        let needed = self.fields.iter().filter(|(.., said)| *said == Said::Needed);
        match needed.map(|(theirs, ..)| theirs).find(|theirs| !entry.contains_key(**theirs)) {
            Some(missing) => Err(ApiError::bad(format!("{missing} is missing"))),
            None => Ok(Value::Object(read)),
        }
    }

    /// Puts these in the place of those that are there.
    async fn change(&self, world: &Arc<World>, entries: &[Map<String, Value>]) -> Result<Json<Value>, ApiError> {
        let read = entries.iter().map(|entry| self.read_entry(entry)).collect::<Result<Vec<_>, _>>()?;
        configs::make(world, BTreeMap::from([(self.key.to_owned(), Some(json!(read)))])).await?;
        Ok(self.tell(world))
    }
}

/// Rules by which topics become others.
#[utoipa::path(
    get,
    path = "/mqtt/topic_rewrite",
    tag = "access",
    responses((status = 200, description = "The rules, which are access.rewrite of `/configs`", body = Vec<Value>)),
)]
async fn rewriting(State(world): State<Arc<World>>) -> Json<Value> {
    REWRITE.tell(&world)
}

/// Other rules by which topics become others, in the place of those that are there.
#[utoipa::path(
    put,
    path = "/mqtt/topic_rewrite",
    tag = "access",
    request_body = Vec<BTreeMap<String, Value>>,
    responses((status = 200, description = "The rules", body = Vec<Value>)),
)]
async fn change_rewriting(
    State(world): State<Arc<World>>,
    Body(entries): Body<Vec<Map<String, Value>>>,
) -> Result<Json<Value>, ApiError> {
    REWRITE.change(&world, &entries).await
}

/// What clients are subscribed to when they connect.
#[utoipa::path(
    get,
    path = "/mqtt/auto_subscribe",
    tag = "access",
    responses((status = 200, description = "The subscriptions, which are access.auto_subscribe of `/configs`", body = Vec<Value>)),
)]
async fn subscriptions(State(world): State<Arc<World>>) -> Json<Value> {
    AUTO_SUBSCRIBE.tell(&world)
}

/// What clients are to be subscribed to when they connect, in the place of what they were.
#[utoipa::path(
    put,
    path = "/mqtt/auto_subscribe",
    tag = "access",
    request_body = Vec<BTreeMap<String, Value>>,
    responses((status = 200, description = "The subscriptions", body = Vec<Value>)),
)]
async fn change_subscriptions(
    State(world): State<Arc<World>>,
    Body(entries): Body<Vec<Map<String, Value>>>,
) -> Result<Json<Value>, ApiError> {
    AUTO_SUBSCRIBE.change(&world, &entries).await
}
