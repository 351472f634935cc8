//! Settings: `/configs`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode, http::header, response::IntoResponse};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body},
    query::Query,
    roots,
    world::World,
};
use crate::config::{ACL_CONF, ChangeError, Config, Key, Origin, Problems, Shape, Told};

/// Settings in one request.
const CHANGES_MAX: usize = 1000;

impl ApiError {
    /// A setting cannot be as it was wished.
    pub(super) fn setting(error: ChangeError) -> Self {
        let one = |key: &str, why: &str| json!([{ "path": key, "message": why }]);
        let errors = match &error {
            ChangeError::Refused(Problems(problems)) => problems
                .iter()
                .map(|problem| json!({ "path": problem.key, "message": problem.cause.to_string() }))
                .collect(),
            ChangeError::Fixed { key, why } | ChangeError::Wrong { key, why } => one(key, why),
            ChangeError::NotDone(why) => one("", why),
            ChangeError::File { .. } => return Self::store(&error),
        };
        Self::new(StatusCode::BAD_REQUEST, "BAD_CONFIG_SCHEMA", error.to_string()).with("errors", errors)
    }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list, change)).routes(routes!(schema)).routes(routes!(export))
}

/// Every setting by its dotted key: its value, who set it, whether a change counts, and whether it counts from the next start on. With `key` a part of EMQX's tree.
#[utoipa::path(
    get,
    path = "/configs",
    tag = "settings",
    params(("key" = Option<String>, Query, description = "mqtt, sys_topics, sysmon or log: those of EMQX's tree that there are, by its names")),
    responses((status = 200, description = "Settings by their keys", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    if let Some(key) = query.find("key") {
        return roots::below(&world, key).map(Json);
    }
    let told = world.run_time.tell().into_iter().map(|told| {
        let source = match &told.origin {
            Origin::Default => "default".to_owned(),
            Origin::RunTime { .. } => "run time".to_owned(),
            other => other.to_string(),
        };
        let Told { key, value, settable, pending, .. } = told;
        (key, json!({ "value": value, "source": source, "settable": settable, "pending": pending }))
    });
    Ok(Json(Value::Object(told.collect())))
}

/// Changes settings, by their dotted keys; null takes a change of before away. All of them or none.
#[utoipa::path(
    put,
    path = "/configs",
    tag = "settings",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "Which count at once, and which from the next start on", body = Value)),
)]
pub async fn change(
    State(world): State<Arc<World>>,
    Body(changes): Body<BTreeMap<String, Option<Value>>>,
) -> Result<Json<Value>, ApiError> {
    let (applied, pending) = make(&world, changes).await?;
    Ok(Json(json!({ "applied": applied, "pending": pending })))
}

/// Changes settings, one request after the other.
pub(super) async fn make(
    world: &Arc<World>,
    changes: BTreeMap<String, Option<Value>>,
) -> Result<(Vec<String>, Vec<String>), ApiError> {
    if changes.is_empty() || changes.len() > CHANGES_MAX {
        return Err(ApiError::bad(format!("from 1 to {CHANGES_MAX} settings, by their dotted keys")));
    }
    let _changing = world.changes.lock().await;
    make_in_turn(world, changes).await
}

/// The same for who sees to it that there is one change at a time, and how many settings that are.
pub(super) async fn make_in_turn(
    world: &Arc<World>,
    changes: BTreeMap<String, Option<Value>>,
) -> Result<(Vec<String>, Vec<String>), ApiError> {
    let world = world.clone();
    // It reads and writes files.
    let made = tokio::task::spawn_blocking(move || {
        world.run_time.change(&changes, |config, keys| (world.apply)(config, keys))
    });
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the change has failed");
    made.await.map_err(failed)?.map_err(ApiError::setting)
}

/// What a setting is wanted to be.
pub(super) fn value(world: &World, key: &str) -> Value {
    world.run_time.tell().into_iter().find(|told| told.key == key).map(|told| told.value).unwrap_or_default()
}

/// What is in a table, and in tables within, by dotted keys below `parent`; null is what is taken away.
pub(super) fn flatten(parent: &str, fields: &Map<String, Value>, into: &mut BTreeMap<String, Option<Value>>) {
    for (name, value) in fields {
        let key = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        match value {
            Value::Object(fields) => flatten(&key, fields, into),
            Value::Null => {
                into.insert(key, None);
            }
            other => {
                into.insert(key, Some(other.clone()));
            }
        }
    }
}

/// Every setting with its meaning and what may be written. `{name}` in a key stands for a name that operators choose; those tell what they are at first, too.
#[utoipa::path(
    get,
    path = "/configs/schema",
    tag = "settings",
    responses((status = 200, description = "Sections and their settings", body = Value)),
)]
pub async fn schema() -> Json<Value> {
    let sections = Config::keys().into_iter().map(|section| {
        let mut keys = Vec::new();
        if let Shape::Section(inner) | Shape::Overrides(_, inner) = &section.shape {
            describe(inner, section.name, None, &mut keys);
        }
        json!({ "path": section.name, "doc": doc(&section), "keys": keys })
    });
    Json(json!({ "sections": sections.collect::<Vec<_>>() }))
}

fn doc(key: &Key) -> String {
    key.doc.concat().trim().to_owned()
}

/// `defaults` are those of a thing that operators name.
fn describe(keys: &[Key], parent: &str, defaults: Option<&Value>, into: &mut Vec<Value>) {
    for key in keys {
        let path = format!("{parent}.{}", key.name);
        let default = defaults.and_then(|defaults| defaults.get(key.name));
        match &key.shape {
            Shape::Leaf { expected, is_secret, .. } => {
                let mut told = Map::new();
                told.insert("name".into(), key.name.into());
                told.insert("path".into(), path.as_str().into());
                told.insert("doc".into(), doc(key).into());
                told.insert("expected".into(), key.expected().into());
                let kind = if path == ACL_CONF { "lines" } else { kind_of(expected, *is_secret) };
                told.insert("kind".into(), kind.into());
                if let Some(range) = &key.range {
                    told.insert("min".into(), (*range.start()).into());
                    told.insert("max".into(), (*range.end()).into());
                }
                let choices: Vec<_> = expected.split('"').skip(1).step_by(2).collect();
                if kind_of(expected, *is_secret) == "choice" {
                    told.insert("choices".into(), choices.into());
                }
                if let Some(default) = default {
                    told.insert("default".into(), default.clone());
                }
                into.push(told.into());
            }
            Shape::Section(inner) | Shape::Overrides(_, inner) => describe(inner, &path, default, into),
            Shape::Named(inner, defaults) => {
                let defaults = serde_json::to_value(defaults()).unwrap_or_default();
                describe(inner, &format!("{path}.{{name}}"), Some(&defaults), into);
            }
        }
    }
}

/// What a form shows for it.
fn kind_of(expected: &str, is_secret: bool) -> &'static str {
    let starts = |with: &[&str]| with.iter().any(|with| expected.starts_with(with));
    match expected {
        _ if is_secret && starts(&["a table"]) => "secrets",
        _ if is_secret => "secret",
        "true or false" => "bool",
        _ if starts(&["a whole number", "a number from", "a number,"]) || expected == "a number" => {
            if expected.contains("infinity") { "text" } else { "number" }
        }
        _ if starts(&["one of \"", "\""]) && !expected.contains("list") => "choice",
        _ if starts(&["a list", "a table"]) => "list",
        _ => "text",
    }
}

/// What was changed at run time, as TOML without secrets.
#[utoipa::path(
    get,
    path = "/configs/export",
    tag = "settings",
    responses((status = 200, description = "TOML", body = String, content_type = "text/plain")),
)]
pub async fn export(State(world): State<Arc<World>>) -> Result<impl IntoResponse, ApiError> {
    let text = world.run_time.export().map_err(|error| ApiError::store(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    /// Where `dashboard/src/pages/settings/zh.ts` looks for a translation.
    fn places(path: &str) -> [String; 3] {
        let mut alike: Vec<_> = path.split('.').collect();
        if alike.len() > 2 && ["listeners", "access"].contains(&alike[0]) {
            alike[1] = "*";
        }
        for part in &mut alike {
            if ["client_rate", "total_rate"].contains(part) {
                *part = "*";
            }
        }
        let overridden = match path.split_once(".{name}.mqtt.") {
            Some((listener, rest)) if listener.starts_with("listeners.") => format!("mqtt.{rest}"),
            _ => path.to_owned(),
        };
        [path.to_owned(), alike.join("."), overridden]
    }

    /// A form that makes one of them begins with these.
    #[tokio::test]
    async fn what_operators_name_tells_its_defaults() {
        let Json(schema) = schema().await;
        let sections = schema["sections"].as_array().unwrap();
        let keys = sections.iter().flat_map(|section| section["keys"].as_array().unwrap());
        let find = |path: &str| keys.clone().find(|key| key["path"] == path).unwrap().clone();
        assert_eq!(find("access.http.{name}.method")["default"], "post");
        assert_eq!(find("access.http.{name}.fields")["default"], json!({}));
        assert_eq!(find("access.jwt.{name}.disconnect_after_expire")["default"], true);
        assert_eq!(find("access.postgresql.{name}.limits.connections")["default"], 8);
        assert_eq!(find("access.http.{name}.headers")["kind"], "secrets");
        assert_eq!(find("access.postgresql.{name}.password")["kind"], "secret");
    }

    /// `english.json` has what was translated: what it lacks has no Chinese, and what reads differently has an old one.
    #[tokio::test]
    async fn every_setting_is_translated() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/src/pages/settings/english.json");
        let mut known: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let Json(schema) = schema().await;
        let sections = schema["sections"].as_array().unwrap();
        let described =
            sections.iter().flat_map(|section| [section].into_iter().chain(section["keys"].as_array().unwrap()));
        let (mut used, mut wrong) = (Vec::new(), Vec::new());
        for told in described {
            let (path, doc) = (told["path"].as_str().unwrap(), told["doc"].as_str().unwrap());
            match places(path).into_iter().find(|place| known.contains_key(place)) {
                Some(place) if known[&place] == doc => used.push(place),
                Some(place) => {
                    wrong.push(format!("{path} reads {doc:?}, and {place} is a translation of {:?}", known[&place]))
                }
                None => wrong.push(format!("{path} has no translation of {doc:?}")),
            }
        }
        known.retain(|place, _| !used.contains(place));
        wrong.extend(known.into_keys().map(|place| format!("{place} is no setting any more")));
        wrong.dedup();
        assert!(wrong.is_empty(), "see CONTRIBUTING.md, \"Adding a setting\":\n{}", wrong.join("\n"));
    }
}
