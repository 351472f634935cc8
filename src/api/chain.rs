//! Who is asked about clients, by EMQX's paths: `/authentication`. They are settings of `access`: `authenticators` is their order.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    authentication::tell_authenticator,
    backends::{self, Changes, Kind},
    error::{ApiError, Body, Path},
    order::{List::Authenticators, Order, take_enable, take_name, take_text},
    world::World,
};

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(find, change, remove))
        .routes(routes!(reorder))
        .routes(routes!(position))
        .routes(routes!(status))
}

/// The one that an id means: its own, or EMQX's, which means the one without a name of its own, or the only one of the kind.
fn find_in(order: &Order, id: &str) -> Result<String, ApiError> {
    match id.strip_prefix("password_based:").unwrap_or(id) {
        "built_in_database" => order.find_service("users"),
        "scram:built_in_database" => order.find_service("scram"),
        id => order.find_service(id),
    }
}

fn tell(world: &World, order: &Order, name: &str) -> Value {
    let mut told = tell_authenticator(world, name);
    if let Some((kind, of)) = name.split_once('.') {
        let at = format!("access.{name}");
        if let Some(kind) = Kind::find(kind) {
            backends::tell(kind, Authenticators, &at, &order.values, &mut told);
        }
        if kind == "jwt" {
            let is_set = |key: &str| order.values.get(&format!("{at}.{key}")).is_some_and(|value| *value != "");
            told["use_jwks"] = is_set("jwks_url").into();
            let hmac = is_set("secret") || is_set("secret_file");
            told["algorithm"] = if hmac { "hmac-based" } else { "public-key" }.into();
        }
        if of == Authenticators.unnamed() {
            told["id"] = if kind == "jwt" { kind.to_owned() } else { format!("password_based:{kind}") }.into();
        }
    }
    told["enable"] = order.is_asked(name).into();
    told["position"] = order.all().position(|known| known == name).into();
    told
}

/// One of them, as it is now.
fn tell_now(world: &World, name: &str) -> Json<Value> {
    Json(tell(world, &Order::of(world, Authenticators), name))
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
    let (mechanism, backend) = (take_text(body, "mechanism")?, take_text(body, "backend")?);
    let kind = match (mechanism.as_deref(), backend.as_deref()) {
        (Some("password_based"), Some("built_in_database")) => "users",
        (Some("scram"), Some("built_in_database")) => "scram",
        (Some("jwt"), None) => "jwt",
        (Some("password_based"), Some(backend)) => Kind::find(backend)
            .map(|kind| kind.name)
            .filter(|kind| *kind != "jwt")
            .ok_or_else(|| ApiError::bad(format!("backend: there is no {backend:?} here")))?,
        (None, _) => return Err(ApiError::bad("mechanism: it has to be there")),
        _ => return Err(ApiError::bad("mechanism and backend: there are no such here")),
    };
    Ok(Common { kind, enable: take_enable(body)?, name: take_name(body)? })
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
    let known = Kind::find(kind).ok_or_else(|| ApiError::bad("there is no such backend here"))?;
    backends::read(known, Authenticators, &format!("access.{name}"), body)
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

/// Who is asked about clients, in order; then those that have settings and are not asked.
#[utoipa::path(
    get,
    path = "/authentication",
    tag = "access",
    responses((status = 200, description = "They, with EMQX's fields", body = Vec<Value>)),
)]
async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    let order = Order::of(&world, Authenticators);
    Json(order.all().map(|name| tell(&world, &order, name)).collect())
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
    let order = Order::of(&world, Authenticators);
    Ok(Json(tell(&world, &order, &find_in(&order, &id)?)))
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
        false => format!("{kind}.{}", name.as_deref().unwrap_or(Authenticators.unnamed())),
    };
    if is_database && !enable {
        return Err(ApiError::bad("enable: the built-in database is there without being asked"));
    }
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Authenticators);
    if order.all().any(|known| *known == name) || !is_database && order.has_settings(&format!("access.{name}")) {
        return Err(ApiError::exists("there is such an authenticator, or a source of this name"));
    }
    let changes = settings(&name, &mut body)?;
    order.keep(&world, &order.switched(&name, enable), changes).await?;
    Ok(tell_now(&world, &name))
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
    let order = Order::of(&world, Authenticators);
    let name = find_in(&order, &id)?;
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
    order.keep(&world, &order.switched(&name, enable), changes).await?;
    Ok(tell_now(&world, &name))
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
    let order = Order::of(&world, Authenticators);
    let name = find_in(&order, &id)?;
    order.keep(&world, &order.switched(&name, false), order.leftovers(&name)).await?;
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
    let order = Order::of(&world, Authenticators);
    let name = find_in(&order, &id)?;
    let asked = order.moved(&name, &position, |id| find_in(&order, id))?;
    order.keep(&world, &asked, Changes::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What one is called in an order.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticatorId {
    /// As for `GET`.
    id: String,
}

/// All of them are asked in this order.
#[utoipa::path(
    put,
    path = "/authentication/order",
    tag = "access",
    request_body(content = Vec<AuthenticatorId>, description = "Each that is asked, once; those that are not have no place"),
    responses((status = 204, description = "It is so, for whoever connects from now on")),
)]
async fn reorder(
    State(world): State<Arc<World>>,
    Body(ids): Body<Vec<AuthenticatorId>>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Authenticators);
    let names = ids.iter().map(|named| find_in(&order, &named.id)).collect::<Result<_, _>>()?;
    order.keep(&world, &order.in_order(names)?, Changes::new()).await?;
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
    let order = Order::of(&world, Authenticators);
    Ok(Json(order.tell_status(&world, &find_in(&order, &id)?)))
}
