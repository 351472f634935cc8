//! The order in which authenticators are asked, and how they are: `/authentication/{id}/position`, `/authentication/{id}/status`.
//!
//! The order is the setting `access.authenticators`; what a service is told is `access.KIND.NAME.*`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    configs,
    error::{ApiError, Body, Path},
    world::World,
};

/// The setting.
const ORDER: &str = "access.authenticators";

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(add)).routes(routes!(remove)).routes(routes!(place)).routes(routes!(status))
}

/// The place in the order of the one that an id means: `built_in_database`, `scram:built_in_database`, `KIND:NAME`, or EMQX's `password_based:KIND` and `jwt` for
/// the only one of its kind.
pub(super) fn find(names: &[String], id: &str) -> Option<usize> {
    let id = id.strip_prefix("password_based:").unwrap_or(id);
    let exact = match id {
        "built_in_database" => "users".to_owned(),
        "scram:built_in_database" => "scram".to_owned(),
        other => other.replacen(':', ".", 1),
    };
    if let Some(at) = names.iter().position(|name| *name == exact) {
        return Some(at);
    }
    let mut of_kind =
        names.iter().enumerate().filter(|(_, name)| name.split_once('.').is_some_and(|(kind, _)| kind == id));
    match (of_kind.next(), of_kind.next()) {
        (Some((at, _)), None) => Some(at),
        _ => None,
    }
}

fn order(world: &World) -> Vec<String> {
    let told = configs::value(world, ORDER);
    let names = told.as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn known(names: &[String], id: &str) -> Result<usize, ApiError> {
    find(names, id).ok_or_else(|| ApiError::not_found("there is no such authenticator"))
}

async fn set(world: &Arc<World>, names: Vec<String>) -> Result<(), ApiError> {
    configs::make_in_turn(world, BTreeMap::from([(ORDER.to_owned(), Some(names.into()))])).await?;
    Ok(())
}

/// Has the built-in database asked, as the last: with passwords or by SCRAM. Others are made with their settings, access.* of `/configs`.
#[utoipa::path(
    post,
    path = "/authentication",
    tag = "access",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The authenticator", body = Value)),
)]
async fn add(State(world): State<Arc<World>>, Body(wish): Body<Map<String, Value>>) -> Result<Json<Value>, ApiError> {
    let text = |name: &str| wish.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = match (text("mechanism"), text("backend")) {
        ("password_based", "built_in_database") => "users",
        ("scram", "built_in_database") => "scram",
        _ => {
            return Err(ApiError::bad(
                "only built_in_database is made here, password_based or scram: set access.KIND.NAME.* and access.authenticators",
            ));
        }
    };
    if let Some(other) = wish.keys().find(|field| !["mechanism", "backend"].contains(&field.as_str())) {
        return Err(ApiError::bad(format!("{other}: it is a setting, access.users.* of /configs")));
    }
    let _changing = world.changes.lock().await;
    let mut names = order(&world);
    if names.iter().any(|known| known == name) {
        return Err(ApiError::exists("it is asked already"));
    }
    names.push(name.to_owned());
    let place = names.len() - 1;
    set(&world, names).await?;
    Ok(Json(super::authentication::tell_authenticator(&world, place, name)))
}

/// An authenticator is asked no more. Its settings stay.
#[utoipa::path(
    delete,
    path = "/authentication/{id}",
    tag = "access",
    params(("id" = String, Path, description = "As the list has it, or EMQX's for the only one of its kind")),
    responses((status = 204, description = "It is asked no more")),
)]
async fn remove(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let mut names = order(&world);
    names.remove(known(&names, &id)?);
    set(&world, names).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another place in the order.
#[utoipa::path(
    put,
    path = "/authentication/{id}/position/{position}",
    tag = "access",
    params(
        ("id" = String, Path, description = "As the list has it, or EMQX's for the only one of its kind"),
        ("position" = String, Path, description = "front, rear, before:ID or after:ID"),
    ),
    responses((status = 204, description = "It is asked there")),
)]
async fn place(
    State(world): State<Arc<World>>,
    Path((id, position)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let mut names = order(&world);
    let name = names.remove(known(&names, &id)?);
    let at = match position.split_once(':') {
        None if position == "front" => 0,
        None if position == "rear" => names.len(),
        Some(("before", other)) => known(&names, other)?,
        Some(("after", other)) => known(&names, other)? + 1,
        _ => return Err(ApiError::bad("a position is front, rear, before:ID or after:ID")),
    };
    names.insert(at, name);
    set(&world, names).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How an authenticator is: whether the service that it asks answers, and what became of questions.
#[utoipa::path(
    get,
    path = "/authentication/{id}/status",
    tag = "access",
    params(("id" = String, Path, description = "As the list has it, or EMQX's for the only one of its kind")),
    responses((status = 200, description = "Its state", body = Value)),
)]
async fn status(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let settings = world.access.settings();
    let names: Vec<_> = settings.chain.names().map(str::to_owned).collect();
    let name = &names[known(&names, &id)?];
    let line = settings.chain.lines().find(|line| *line.name == **name);
    let status = if line.as_ref().is_some_and(|line| line.is_resting) { "disconnected" } else { "connected" };
    let questions = line.map(|line| line.counts).unwrap_or_default();
    let metrics = json!({ "total": questions.answered + questions.failed, "failed": questions.failed, "refused": questions.refused });
    Ok(Json(json!({
        "status": status,
        "node_status": [{ "node": world.node, "status": status }],
        "metrics": metrics,
        "node_metrics": [{ "node": world.node, "metrics": metrics }],
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_emqx_means_the_only_one_of_its_kind() {
        let names = ["users", "http.a", "jwt.a", "jwt.b", "certificate"].map(str::to_owned);
        for (id, at) in [
            ("built_in_database", Some(0)),
            ("password_based:built_in_database", Some(0)),
            ("password_based:http", Some(1)),
            ("http:a", Some(1)),
            ("password_based:http:a", Some(1)),
            ("jwt", None),
            ("jwt:b", Some(3)),
            ("certificate", Some(4)),
            ("scram:built_in_database", None),
            ("", None),
        ] {
            assert_eq!(find(&names, id), at, "{id}");
        }
    }
}
