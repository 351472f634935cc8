//! What clients may do: the rules of the built-in database, and what is remembered: `/authorization`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use thingway_store::SETTING_NAME_BYTES_MAX;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Path},
    page::{Page, Paging},
    query::Query,
    world::World,
};
use crate::access::rules::{HeldRules, Holder, HolderKind, RULES_MAX, RuleDatabase, WrittenRule, row_of_rules};

/// Client ids and user names with rules, each.
pub(super) const HOLDERS_MAX: usize = 1_000_000;

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(forget))
        .routes(routes!(forget_client))
        .routes(routes!(clear))
        .routes(routes!(of_users, add_users))
        .routes(routes!(of_user, put_user, remove_user))
        .routes(routes!(of_clients, add_clients))
        .routes(routes!(of_client, put_client, remove_client))
        .routes(routes!(of_all, put_all, remove_all))
}

/// Whatever connections remember of what was decided is forgotten; existing subscriptions are looked at again.
#[utoipa::path(
    delete,
    path = "/authorization/cache",
    tag = "access",
    responses((status = 204, description = "It is forgotten")),
)]
pub async fn forget(State(world): State<Arc<World>>) -> StatusCode {
    world.access.forget_decisions();
    StatusCode::NO_CONTENT
}

/// What one client's connection remembers of what was decided is forgotten; its subscriptions are looked at again.
#[utoipa::path(
    delete,
    path = "/clients/{id}/authorization/cache",
    tag = "access",
    params(("id" = String, Path, description = "The client id")),
    responses((status = 204, description = "It is forgotten")),
)]
pub async fn forget_client(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "CLIENTID_NOT_FOUND", "there is no such client");
    world.bus.session(&id).ok_or_else(missing)?.doubt();
    Ok(StatusCode::NO_CONTENT)
}

/// Rules of one holder, by EMQX's names.
#[derive(ToSchema, Deserialize)]
#[schema(as = UserRules)]
#[serde(deny_unknown_fields)]
pub struct OfUser {
    username: Option<String>,
    /// EMQX's rules: permission, action, topic, qos, retain, ipaddr, clientid_re, username_re, listener_re. At most 100.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<WrittenRule>,
}

/// Rules of one client, by EMQX's names.
#[derive(ToSchema, Deserialize)]
#[schema(as = ClientRules)]
#[serde(deny_unknown_fields)]
pub struct OfClient {
    clientid: Option<String>,
    /// As for users.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<WrittenRule>,
}

/// Rules for all.
#[derive(ToSchema, Deserialize)]
#[schema(as = RulesForAll)]
#[serde(deny_unknown_fields)]
pub struct ForAll {
    /// As for users.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<WrittenRule>,
}

fn tell(kind: HolderKind, name: &str, rules: &HeldRules) -> Value {
    let field = match kind {
        HolderKind::ClientId => "clientid",
        HolderKind::Username => "username",
    };
    json!({ field: name, "rules": rules.written() })
}

fn database(world: &World) -> Result<Arc<RuleDatabase>, ApiError> {
    let missing = || ApiError::not_found("nobody asks the built-in database: access.sources has no \"rules\"");
    world.access.stored_rules().ok_or_else(missing)
}

fn holder(kind: HolderKind, name: &str) -> Result<Holder, ApiError> {
    let holder = match kind {
        HolderKind::ClientId => Holder::ClientId(name.into()),
        HolderKind::Username => Holder::Username(name.into()),
    };
    if name.is_empty() || name.contains('\0') || holder.key().len() > SETTING_NAME_BYTES_MAX {
        return Err(ApiError::bad(format!(
            "a name has at least one byte, and at most {SETTING_NAME_BYTES_MAX} with what is in front of it in the store"
        )));
    }
    Ok(holder)
}

fn compiled(holder: &Holder, rules: Vec<WrittenRule>) -> Result<Option<Arc<HeldRules>>, ApiError> {
    if rules.is_empty() {
        return Ok(None);
    }
    if rules.len() > RULES_MAX {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "EXCEED_LIMIT",
            format!("at most {RULES_MAX} rules for each"),
        ));
    }
    HeldRules::new(holder, rules).map(|rules| Some(Arc::new(rules))).map_err(|error| ApiError::bad(error.to_string()))
}

type Changes = Vec<(Holder, Option<Arc<HeldRules>>)>;

/// Keeps rules and lets them count, or leaves all as it was. Whoever has asked for it may be gone meanwhile.
async fn save(world: &Arc<World>, changes: Changes) -> Result<StatusCode, ApiError> {
    let world = world.clone();
    let saved = tokio::spawn(async move {
        let row = |(holder, rules): &(Holder, Option<Arc<HeldRules>>)| {
            (holder.key(), rules.as_ref().map(|rules| row_of_rules(rules.written())))
        };
        world.keep(changes.iter().map(row).collect()).await.map_err(|error| ApiError::store(&error))?;
        world.access.set_stored_rules(changes);
        Ok(StatusCode::NO_CONTENT)
    });
    saved.await.unwrap_or_else(|error| Err(ApiError::store(&error)))
}

fn list(world: &World, kind: HolderKind, query: &Query, like: &str) -> Result<Json<Value>, ApiError> {
    let database = database(world)?;
    let part = query.find(like);
    let mut collected = Page::of(query)?.collect();
    for (name, rules) in database.holders(kind) {
        if part.is_none_or(|part| name.contains(part)) {
            collected.see(|| tell(kind, name, rules));
        }
    }
    Ok(Json(collected.into_json(|told| told)))
}

fn missing() -> ApiError {
    ApiError::not_found("it has no rules")
}

fn find(world: &World, kind: HolderKind, name: &str) -> Result<Json<Value>, ApiError> {
    let database = database(world)?;
    database.held(&holder(kind, name)?).map(|rules| Json(tell(kind, name, rules))).ok_or_else(missing)
}

async fn add(
    world: &Arc<World>,
    kind: HolderKind,
    all: Vec<(Option<String>, Vec<WrittenRule>)>,
) -> Result<StatusCode, ApiError> {
    let mut changes = Changes::new();
    for (name, rules) in all {
        let holder = holder(kind, name.as_deref().unwrap_or_default())?;
        let rules = compiled(&holder, rules)?;
        changes.push((holder, rules));
    }
    let _changing = world.changes.lock().await;
    let database = database(world)?;
    if let Some((holder, _)) = changes.iter().find(|(holder, _)| database.held(holder).is_some()) {
        return Err(ApiError::exists(format!("{} has rules already", holder.key())));
    }
    if database.holders(kind).len() + changes.len() > HOLDERS_MAX {
        let most = format!("at most {HOLDERS_MAX} have rules");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", most));
    }
    save(world, changes).await
}

async fn put(
    world: &Arc<World>,
    kind: HolderKind,
    name: &str,
    said: Option<String>,
    rules: Vec<WrittenRule>,
) -> Result<StatusCode, ApiError> {
    if said.is_some_and(|said| said != name) {
        return Err(ApiError::bad("the name in the body is another"));
    }
    let holder = holder(kind, name)?;
    let rules = compiled(&holder, rules)?;
    let _changing = world.changes.lock().await;
    database(world)?.held(&holder).ok_or_else(missing)?;
    save(world, vec![(holder, rules)]).await
}

async fn remove(world: &Arc<World>, kind: HolderKind, name: &str) -> Result<StatusCode, ApiError> {
    let holder = holder(kind, name)?;
    let _changing = world.changes.lock().await;
    database(world)?.held(&holder).ok_or_else(missing)?;
    save(world, vec![(holder, None)]).await
}

/// Takes all rules of the built-in database away.
#[utoipa::path(
    delete,
    path = "/authorization/sources/built_in_database/rules",
    tag = "access",
    responses((status = 204, description = "There are none")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let database = database(&world)?;
    let of_clients = database.holders(HolderKind::ClientId).into_iter().map(|(id, _)| Holder::ClientId(id.into()));
    let of_users = database.holders(HolderKind::Username).into_iter().map(|(name, _)| Holder::Username(name.into()));
    let all = of_clients.chain(of_users).chain([Holder::All]).map(|holder| (holder, None)).collect();
    save(&world, all).await
}

/// Rules of the built-in database for user names.
#[utoipa::path(
    get,
    path = "/authorization/sources/built_in_database/rules/users",
    tag = "access",
    params(Paging, ("like_username" = Option<String>, Query, description = "A part of the user name")),
    responses((status = 200, description = "A page, by user name", body = Value)),
)]
pub async fn of_users(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    list(&world, HolderKind::Username, &query, "like_username")
}

/// Rules for user names that have none; they count at once.
#[utoipa::path(
    post,
    path = "/authorization/sources/built_in_database/rules/users",
    tag = "access",
    request_body = Vec<OfUser>,
    responses((status = 204, description = "They count")),
)]
pub async fn add_users(State(world): State<Arc<World>>, Body(all): Body<Vec<OfUser>>) -> Result<StatusCode, ApiError> {
    add(&world, HolderKind::Username, all.into_iter().map(|one| (one.username, one.rules)).collect()).await
}

/// Rules of one user name.
#[utoipa::path(
    get,
    path = "/authorization/sources/built_in_database/rules/users/{username}",
    tag = "access",
    params(("username" = String, Path, description = "The user name")),
    responses((status = 200, description = "Its rules", body = Value)),
)]
pub async fn of_user(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    find(&world, HolderKind::Username, &name)
}

/// Other rules for a user name that has some; they count at once.
#[utoipa::path(
    put,
    path = "/authorization/sources/built_in_database/rules/users/{username}",
    tag = "access",
    params(("username" = String, Path, description = "The user name")),
    request_body = OfUser,
    responses((status = 204, description = "They count")),
)]
pub async fn put_user(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    Body(body): Body<OfUser>,
) -> Result<StatusCode, ApiError> {
    put(&world, HolderKind::Username, &name, body.username, body.rules).await
}

/// Takes the rules of a user name away.
#[utoipa::path(
    delete,
    path = "/authorization/sources/built_in_database/rules/users/{username}",
    tag = "access",
    params(("username" = String, Path, description = "The user name")),
    responses((status = 204, description = "They are gone")),
)]
pub async fn remove_user(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    remove(&world, HolderKind::Username, &name).await
}

/// Rules of the built-in database for client ids.
#[utoipa::path(
    get,
    path = "/authorization/sources/built_in_database/rules/clients",
    tag = "access",
    params(Paging, ("like_clientid" = Option<String>, Query, description = "A part of the client id")),
    responses((status = 200, description = "A page, by client id", body = Value)),
)]
pub async fn of_clients(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    list(&world, HolderKind::ClientId, &query, "like_clientid")
}

/// Rules for client ids that have none; they count at once.
#[utoipa::path(
    post,
    path = "/authorization/sources/built_in_database/rules/clients",
    tag = "access",
    request_body = Vec<OfClient>,
    responses((status = 204, description = "They count")),
)]
pub async fn add_clients(
    State(world): State<Arc<World>>,
    Body(all): Body<Vec<OfClient>>,
) -> Result<StatusCode, ApiError> {
    add(&world, HolderKind::ClientId, all.into_iter().map(|one| (one.clientid, one.rules)).collect()).await
}

/// Rules of one client id.
#[utoipa::path(
    get,
    path = "/authorization/sources/built_in_database/rules/clients/{clientid}",
    tag = "access",
    params(("clientid" = String, Path, description = "The client id")),
    responses((status = 200, description = "Its rules", body = Value)),
)]
pub async fn of_client(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    find(&world, HolderKind::ClientId, &id)
}

/// Other rules for a client id that has some; they count at once.
#[utoipa::path(
    put,
    path = "/authorization/sources/built_in_database/rules/clients/{clientid}",
    tag = "access",
    params(("clientid" = String, Path, description = "The client id")),
    request_body = OfClient,
    responses((status = 204, description = "They count")),
)]
pub async fn put_client(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(body): Body<OfClient>,
) -> Result<StatusCode, ApiError> {
    put(&world, HolderKind::ClientId, &id, body.clientid, body.rules).await
}

/// Takes the rules of a client id away.
#[utoipa::path(
    delete,
    path = "/authorization/sources/built_in_database/rules/clients/{clientid}",
    tag = "access",
    params(("clientid" = String, Path, description = "The client id")),
    responses((status = 204, description = "They are gone")),
)]
pub async fn remove_client(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    remove(&world, HolderKind::ClientId, &id).await
}

/// Rules of the built-in database for all.
#[utoipa::path(
    get,
    path = "/authorization/sources/built_in_database/rules/all",
    tag = "access",
    responses((status = 200, description = "The rules", body = Value)),
)]
pub async fn of_all(State(world): State<Arc<World>>) -> Result<Json<Value>, ApiError> {
    let database = database(&world)?;
    Ok(Json(json!({ "rules": database.held(&Holder::All).map_or(&[][..], HeldRules::written) })))
}

/// Other rules for all; they count at once.
#[utoipa::path(
    post,
    path = "/authorization/sources/built_in_database/rules/all",
    tag = "access",
    request_body = ForAll,
    responses((status = 204, description = "They count")),
)]
pub async fn put_all(State(world): State<Arc<World>>, Body(body): Body<ForAll>) -> Result<StatusCode, ApiError> {
    let rules = compiled(&Holder::All, body.rules)?;
    let _changing = world.changes.lock().await;
    database(&world)?;
    save(&world, vec![(Holder::All, rules)]).await
}

/// Takes the rules for all away.
#[utoipa::path(
    delete,
    path = "/authorization/sources/built_in_database/rules/all",
    tag = "access",
    responses((status = 204, description = "There are none")),
)]
pub async fn remove_all(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    database(&world)?;
    save(&world, vec![(Holder::All, None)]).await
}
