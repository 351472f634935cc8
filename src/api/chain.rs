//! Who is asked about clients, by EMQX's paths: `/authentication`. They are settings of `access`: `authenticators` is their order.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    authentication::tell_authenticator,
    backends::{self, Changes, KINDS},
    configs,
    error::{ApiError, Body, Path},
    world::World,
};

const ORDER: &str = "access.authenticators";
/// What is made without a name is called so.
const UNNAMED: &str = "default";

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(find, change, remove))
        .routes(routes!(position))
        .routes(routes!(status))
}

/// All settings by their keys, and who is asked.
struct Wanted {
    values: BTreeMap<String, Value>,
    asked: Vec<String>,
    /// Those that have settings, and are not asked.
    off: Vec<String>,
}

impl Wanted {
    fn of(world: &World) -> Self {
        let values: BTreeMap<_, _> = world.run_time.tell().into_iter().map(|told| (told.key, told.value)).collect();
        let names = |key: &str| -> Vec<String> {
            let list = values.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let (asked, sources) = (names(ORDER), names("access.sources"));
        let mut off = Vec::new();
        for (kind, asks) in KINDS {
            let (begins, ends) = (format!("access.{kind}."), format!(".{asks}"));
            for (key, value) in values.range(begins.clone()..).take_while(|(key, _)| key.starts_with(&begins)) {
                let name = key[begins.len()..].strip_suffix(&*ends).filter(|name| !name.contains('.'));
                let Some(name) = name.filter(|_| *value != "") else { continue };
                let name = format!("{kind}.{name}");
                if !asked.contains(&name) && !sources.contains(&name) {
                    off.push(name);
                }
            }
        }
        Self { values, asked, off }
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.asked.iter().chain(&self.off)
    }

    /// The one that an id means: its own, or EMQX's, which means the one without a name of its own, or the only one of the kind.
    fn find(&self, id: &str) -> Result<String, ApiError> {
        let missing = || ApiError::not_found("there is no such authenticator");
        let name = match id.strip_prefix("password_based:").unwrap_or(id) {
            "built_in_database" => "users".to_owned(),
            "scram:built_in_database" => "scram".to_owned(),
            id => id.replacen(':', ".", 1),
        };
        if let Some(found) = self.all().find(|known| **known == name) {
            return Ok(found.clone());
        }
        let unnamed = format!("{name}.{UNNAMED}");
        if let Some(found) = self.all().find(|known| **known == unnamed) {
            return Ok(found.clone());
        }
        let begins = format!("{name}.");
        let mut alike = self.all().filter(|known| known.starts_with(&begins));
        match (alike.next(), alike.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => Err(ApiError::bad(format!("there are some of {id}: name one, as {name}:NAME"))),
            _ => Err(missing()),
        }
    }

    fn tell(&self, world: &World, name: &str) -> Value {
        let mut told = tell_authenticator(world, name);
        if let Some((kind, of)) = name.split_once('.') {
            let at = format!("access.{name}");
            backends::tell(kind, &at, &self.values, &mut told);
            if kind == "jwt" {
                let is_set = |key: &str| self.values.get(&format!("{at}.{key}")).is_some_and(|value| *value != "");
                told["use_jwks"] = is_set("jwks_url").into();
                let hmac = is_set("secret") || is_set("secret_file");
                told["algorithm"] = if hmac { "hmac-based" } else { "public-key" }.into();
            }
            if of == UNNAMED {
                told["id"] = if kind == "jwt" { kind.to_owned() } else { format!("password_based:{kind}") }.into();
            }
        }
        let place = self.all().position(|known| known == name);
        told["enable"] = self.asked.iter().any(|known| known == name).into();
        told["position"] = place.into();
        told
    }
}

/// What is no field of the backend.
struct Common {
    /// As the settings name it: `postgresql`, `users`.
    kind: &'static str,
    enable: bool,
    name: Option<String>,
}

/// Takes what all have out of a body.
fn common(body: &mut Map<String, Value>) -> Result<Common, ApiError> {
    let mut text = |name: &str| match body.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::bad(format!("{name}: a text"))),
    };
    let (mechanism, backend, name) = (text("mechanism")?, text("backend")?, text("name")?);
    let kind = match (mechanism.as_deref(), backend.as_deref()) {
        (Some("password_based"), Some("built_in_database")) => "users",
        (Some("scram"), Some("built_in_database")) => "scram",
        (Some("jwt"), None) => "jwt",
        (Some("password_based"), Some(backend)) => KINDS
            .iter()
            .map(|(kind, _)| *kind)
            .find(|kind| *kind == backend && backend != "jwt")
            .ok_or_else(|| ApiError::bad(format!("backend: there is no {backend:?} here")))?,
        (None, _) => return Err(ApiError::bad("mechanism: it has to be there")),
        _ => return Err(ApiError::bad("mechanism and backend: there are no such here")),
    };
    let enable = match body.remove("enable") {
        None | Some(Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(_) => return Err(ApiError::bad("enable: true or false")),
    };
    let is_name = |name: &str| {
        let good = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
        !name.is_empty() && name.len() <= 64 && name.chars().all(good)
    };
    match name {
        Some(name) if !is_name(&name) => Err(ApiError::bad("name: letters, digits, _ and -")),
        name => Ok(Common { kind, enable, name }),
    }
}

/// What is told, and can be sent back as it is.
const TOLD_ONLY: [&str; 4] = ["id", "position", "users_count", "file_users_count"];

/// The settings of a body. `name` is that of the authenticator.
fn settings(name: &str, body: &mut Map<String, Value>) -> Result<Changes, ApiError> {
    TOLD_ONLY.iter().for_each(|told| drop(body.remove(*told)));
    let Some((kind, _)) = name.split_once('.') else { return database_settings(name, body) };
    if kind == "jwt" {
        let jwks = body.remove("use_jwks").is_some_and(|wanted| wanted == true);
        let algorithm = body.remove("algorithm");
        let has = |name: &str| body.get(name).is_some_and(|value| *value != "");
        if jwks != has("endpoint") {
            return Err(ApiError::bad("use_jwks: it is true when there is an endpoint, and only then"));
        }
        match algorithm {
            None => {}
            Some(Value::String(algorithm)) if algorithm == "hmac-based" && !jwks && has("secret") => {}
            Some(Value::String(algorithm)) if algorithm == "public-key" && (jwks || has("public_key")) => {}
            Some(_) => {
                let why = "algorithm: \"hmac-based\" goes with secret, \"public-key\" with public_key or endpoint";
                return Err(ApiError::bad(why));
            }
        }
    }
    backends::read(kind, &format!("access.{name}"), body)
}

/// Of the built-in database, whose settings are few.
fn database_settings(name: &str, body: &Map<String, Value>) -> Result<Changes, ApiError> {
    let mut changes = Changes::new();
    for (field, value) in body {
        let known = match (name, &**field, value.as_str()) {
            ("users" | "scram", "user_id_type", Some("username")) => Some(("by", "username".into())),
            ("users" | "scram", "user_id_type", Some("clientid")) => Some(("by", "client_id".into())),
            ("users", "password_hash_algorithm", _) => Some(("file_hashing", backends::hashing(field, value)?.into())),
            ("scram", "algorithm", Some("sha256")) => None,
            ("scram", "iteration_count", _) if *value == 4096 => None,
            _ => return Err(ApiError::bad(format!("{field}: there is no such field here, or only with its default"))),
        };
        if let Some((key, value)) = known {
            changes.insert(format!("access.users.{key}"), Some(value));
        }
    }
    Ok(changes)
}

/// Keeps settings and who is asked.
async fn keep(world: &Arc<World>, wanted: &Wanted, asked: &[String], mut changes: Changes) -> Result<(), ApiError> {
    // What nobody has set is nothing to take away.
    changes.retain(|key, value| value.is_some() || wanted.values.contains_key(key));
    if asked != wanted.asked {
        changes.insert(ORDER.to_owned(), Some(json!(asked)));
    }
    match changes.is_empty() {
        true => Ok(()),
        false => configs::make_in_turn(world, changes).await.map(drop),
    }
}

/// Who is asked about clients, in order; then those that have settings and are not asked.
#[utoipa::path(
    get,
    path = "/authentication",
    tag = "access",
    responses((status = 200, description = "They, with EMQX's fields", body = Vec<Value>)),
)]
async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    let wanted = Wanted::of(&world);
    Json(wanted.all().map(|name| wanted.tell(&world, name)).collect())
}

/// One of those who are asked.
#[utoipa::path(
    get,
    path = "/authentication/{id}",
    tag = "access",
    params(("id" = String, Path, description = "As the list has it, or EMQX's: password_based:built_in_database, password_based:postgresql, jwt")),
    responses((status = 200, description = "What it is", body = Value)),
)]
async fn find(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted::of(&world);
    let name = wanted.find(&id)?;
    Ok(Json(wanted.tell(&world, &name)))
}

/// One more, who is asked after the others about whoever connects from now on.
#[utoipa::path(
    post,
    path = "/authentication",
    tag = "access",
    request_body(content = BTreeMap<String, Value>, description = "mechanism, backend and EMQX's fields of it; name for a further one of a kind"),
    responses((status = 200, description = "What it is", body = Value)),
)]
async fn add(
    State(world): State<Arc<World>>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let Common { kind, enable, name } = common(&mut body)?;
    let is_database = ["users", "scram"].contains(&kind);
    let name = match is_database {
        true => kind.to_owned(),
        false => format!("{kind}.{}", name.as_deref().unwrap_or(UNNAMED)),
    };
    if is_database && !enable {
        return Err(ApiError::bad("enable: the built-in database is there without being asked"));
    }
    let _changing = world.changes.lock().await;
    let wanted = Wanted::of(&world);
    let at = format!("access.{name}.");
    let has_settings = wanted.values.range(at.clone()..).next().is_some_and(|(key, _)| key.starts_with(&at));
    if wanted.all().any(|known| *known == name) || !is_database && has_settings {
        return Err(ApiError::exists("there is such an authenticator, or a source of this name"));
    }
    let changes = settings(&name, &mut body)?;
    let mut asked = wanted.asked.clone();
    if enable {
        asked.push(name.clone());
    }
    keep(&world, &wanted, &asked, changes).await?;
    Ok(Json(Wanted::of(&world).tell(&world, &name)))
}

/// Other settings in place of those that it has. What it is not asked for while `enable` is false is kept.
#[utoipa::path(
    put,
    path = "/authentication/{id}",
    tag = "access",
    params(("id" = String, Path, description = "As for GET")),
    request_body(content = BTreeMap<String, Value>, description = "As for POST; secrets may be sent as they were told"),
    responses((status = 200, description = "What it is", body = Value)),
)]
async fn change(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let _changing = world.changes.lock().await;
    let wanted = Wanted::of(&world);
    let name = wanted.find(&id)?;
    let (kind, of) = name.split_once('.').unwrap_or((&name, ""));
    let Common { kind: sent, enable, name: called } = common(&mut body)?;
    if sent != kind || called.is_some_and(|called| called != of) {
        return Err(ApiError::bad("mechanism, backend and name stay what they are"));
    }
    if of.is_empty() && !enable {
        return Err(ApiError::bad(
            "enable: the built-in database is there without being asked; DELETE ends that it is",
        ));
    }
    let changes = settings(&name, &mut body)?;
    let mut asked = wanted.asked.clone();
    match (asked.contains(&name), enable) {
        (true, false) => asked.retain(|known| *known != name),
        (false, true) => asked.push(name.clone()),
        _ => {}
    }
    keep(&world, &wanted, &asked, changes).await?;
    Ok(Json(Wanted::of(&world).tell(&world, &name)))
}

/// It is not asked any more, and its settings go, unless it is a source, too. Users stay.
#[utoipa::path(
    delete,
    path = "/authentication/{id}",
    tag = "access",
    params(("id" = String, Path, description = "As for GET")),
    responses((status = 204, description = "It is gone, for whoever connects from now on")),
)]
async fn remove(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let wanted = Wanted::of(&world);
    let name = wanted.find(&id)?;
    let asked: Vec<_> = wanted.asked.iter().filter(|known| **known != name).cloned().collect();
    let mut changes = Changes::new();
    let is_source = wanted.values.get("access.sources").and_then(Value::as_array);
    if name.contains('.') && !is_source.is_some_and(|sources| sources.contains(&json!(name))) {
        changes.insert(format!("access.{name}"), None);
    }
    changes.insert(ORDER.to_owned(), Some(json!(asked)));
    configs::make_in_turn(&world, changes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// It is asked at another place.
#[utoipa::path(
    put,
    path = "/authentication/{id}/position/{position}",
    tag = "access",
    params(
        ("id" = String, Path, description = "As for GET"),
        ("position" = String, Path, description = "front, rear, before:ID or after:ID"),
    ),
    responses((status = 204, description = "It is there, for whoever connects from now on")),
)]
async fn position(
    State(world): State<Arc<World>>,
    Path((id, position)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let wanted = Wanted::of(&world);
    let name = wanted.find(&id)?;
    if !wanted.asked.contains(&name) {
        return Err(ApiError::bad("it is not enabled"));
    }
    let mut asked: Vec<_> = wanted.asked.iter().filter(|known| **known != name).cloned().collect();
    let beside = |id: &str| {
        let other = wanted.find(id)?;
        asked
            .iter()
            .position(|known| *known == other)
            .ok_or_else(|| ApiError::bad(format!("{id} is no other that is asked")))
    };
    let place = match position.split_once(':') {
        None if position == "front" => 0,
        None if position == "rear" => asked.len(),
        Some(("before", id)) => beside(id)?,
        Some(("after", id)) => beside(id)? + 1,
        _ => return Err(ApiError::bad("position: front, rear, before:ID or after:ID")),
    };
    asked.insert(place, name);
    keep(&world, &wanted, &asked, Changes::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How it is, and what became of the questions to it.
#[utoipa::path(
    get,
    path = "/authentication/{id}/status",
    tag = "access",
    params(("id" = String, Path, description = "As for GET")),
    responses((status = 200, description = "connected, or disconnected while a service has failed too often and is left alone; stopped when it is not asked", body = Value)),
)]
async fn status(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted::of(&world);
    let name = wanted.find(&id)?;
    let line = world.access.lines().into_iter().find(|line| *line.name == *name && line.role == "authentication");
    let status = match &line {
        _ if !wanted.asked.contains(&name) => "stopped",
        Some(line) if line.is_resting => "disconnected",
        _ => "connected",
    };
    let metrics = match line.map(|line| line.counts) {
        Some(counts) => json!({
            "total": counts.answered + counts.failed + counts.refused,
            "answered": counts.answered, "failed": counts.failed, "refused": counts.refused,
        }),
        None => json!({}),
    };
    let of_node = |name: &str, value: &Value| json!([{ "node": world.node, name: value }]);
    Ok(Json(json!({
        "status": status,
        "node_status": of_node("status", &status.into()),
        "metrics": metrics,
        "node_metrics": of_node("metrics", &metrics),
    })))
}
