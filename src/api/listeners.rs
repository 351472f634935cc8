//! `/listeners`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Path},
    world::{ListenerView, World, date_of_ms},
};
use crate::config::Origin;

fn tell(world: &World, listener: &ListenerView) -> Value {
    let counts = listener.counts.unwrap_or_default();
    let max = listener.connections_max.map_or("infinity".into(), Value::from);
    let running = listener.counts.is_some();
    let status = json!({ "running": running, "max_connections": max, "current_connections": counts.connections });
    json!({
        "id": format!("{}:{}", listener.kind, listener.name),
        "type": listener.kind,
        "name": listener.name,
        "protocol": listener.protocol,
        "enable": listener.enabled,
        "running": running,
        "bind": listener.address,
        "path": listener.websocket_path,
        "status": status,
        "failure": listener.failure,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "certificate": listener.certificate.as_ref().map(|certificate| json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "not_after": date_of_ms(certificate.not_after_unix_secs.saturating_mul(1000)),
            "names": certificate.names,
        })),
        "node_status": [{ "node": world.node, "status": status }],
    })
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(status))
        .routes(routes!(find, change, remove))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(restart))
}

/// Listeners.
#[utoipa::path(
    get,
    path = "/listeners",
    tag = "listeners",
    responses((status = 200, description = "Listeners", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.listeners.views().iter().map(|listener| tell(&world, listener)).collect())
}

/// How many listeners and connections there are, by type.
#[utoipa::path(
    get,
    path = "/listeners_status",
    tag = "listeners",
    responses((status = 200, description = "A row for each type", body = Value)),
)]
pub async fn status(State(world): State<Arc<World>>) -> Json<Value> {
    let mut types: BTreeMap<_, Vec<ListenerView>> = BTreeMap::new();
    for view in world.listeners.views() {
        types.entry(view.kind).or_default().push(view);
    }
    let one = |(kind, views): (&str, Vec<ListenerView>)| {
        let max = views.iter().map(|view| view.connections_max).try_fold(0_u64, |sum, max| Some(sum + max?));
        let status = json!({
            "running": views.iter().any(|view| view.counts.is_some()),
            "max_connections": max.map_or("infinity".into(), Value::from),
            "current_connections": views.iter().filter_map(|view| view.counts).map(|counts| counts.connections).sum::<usize>(),
        });
        json!({
            "type": kind,
            "enable": views.iter().any(|view| view.enabled),
            "ids": views.iter().map(|view| format!("{kind}:{}", view.name)).collect::<Vec<_>>(),
            "status": status,
            "node_status": [{ "node": world.node, "status": status }],
        })
    };
    Json(types.into_iter().map(one).collect())
}

/// The listener's view, and its name as the configuration has it.
fn found(world: &World, id: &str) -> Result<(ListenerView, String), ApiError> {
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, "BAD_LISTENER_ID", "there is no such listener, as tcp:default");
    let is_it = |listener: &ListenerView| id.split_once(':') == Some((listener.kind, &listener.name));
    let view = world.listeners.views().into_iter().find(is_it).ok_or_else(missing)?;
    let name = format!("{}.{}", view.kind, view.name);
    Ok((view, name))
}

/// A listener.
#[utoipa::path(
    get,
    path = "/listeners/{id}",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    responses((status = 200, description = "The listener", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(tell(&world, &found(&world, &id)?.0)))
}

/// Starts a listener that does not run. Whether it starts with the gateway is a setting.
#[utoipa::path(
    post,
    path = "/listeners/{id}/start",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    responses((status = 200, description = "It runs", body = Value)),
)]
pub async fn start(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let (_, name) = found(&world, &id)?;
    world.listeners.start(&name).await.map_err(ApiError::bad)?;
    find(State(world), Path(id)).await
}

/// Stops a listener, and ends its connections. It starts again with the gateway unless it is switched off by its setting.
#[utoipa::path(
    post,
    path = "/listeners/{id}/stop",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    responses((status = 200, description = "It is stopped", body = Value)),
)]
pub async fn stop(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let (_, name) = found(&world, &id)?;
    world.listeners.stop(&name).await;
    find(State(world), Path(id)).await
}

/// Stops a listener and starts it as it is configured now.
#[utoipa::path(
    post,
    path = "/listeners/{id}/restart",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    responses((status = 200, description = "It runs again", body = Value)),
)]
pub async fn restart(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let (_, name) = found(&world, &id)?;
    world.listeners.stop(&name).await;
    world.listeners.start(&name).await.map_err(ApiError::bad)?;
    find(State(world), Path(id)).await
}

/// The settings of a listener that a body has: its fields, below the listener's key.
fn settings_of(name: &str, body: &Map<String, Value>) -> BTreeMap<String, Option<Value>> {
    let mut changes = BTreeMap::new();
    super::configs::flatten(&format!("listeners.{name}"), body, &mut changes);
    // What listings tell, and is no setting.
    const TOLD: [&str; 12] = [
        "id",
        "type",
        "name",
        "running",
        "path",
        "status",
        "failure",
        "accepted",
        "refused",
        "certificate",
        "node_status",
        "acceptors",
    ];
    for told in TOLD {
        changes.retain(|key, _| {
            let rest = key.strip_prefix("listeners.").and_then(|key| key.strip_prefix(name)).unwrap_or(key);
            !rest.strip_prefix('.').is_some_and(|rest| rest == told || rest.starts_with(&format!("{told}.")))
        });
    }
    changes
}

/// A new listener, of its type, name and settings. It starts unless `enable` is false.
#[utoipa::path(
    post,
    path = "/listeners",
    tag = "listeners",
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The listener", body = Value)),
)]
pub async fn add(
    State(world): State<Arc<World>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    let (kind, name) = (text("type"), text("name"));
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if kind.is_empty() || name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        return Err(ApiError::bad("type is as tcp, and name has at most 64 letters, digits, \"-\" and \"_\""));
    }
    let id = format!("{kind}:{name}");
    if found(&world, &id).is_ok() {
        return Err(ApiError::exists("there is such a listener"));
    }
    let name = format!("{kind}.{name}");
    super::configs::make(&world, settings_of(&name, &body)).await?;
    if body.get("enable") != Some(&Value::Bool(false))
        && let Err(why) = world.listeners.start(&name).await
    {
        // One that cannot listen shall not keep the gateway from its next start.
        super::configs::make(&world, [(format!("listeners.{name}"), None)].into()).await?;
        return Err(ApiError::bad(why));
    }
    find(State(world), Path(id)).await
}

/// Changes the settings of a listener; it is started again if it runs.
#[utoipa::path(
    put,
    path = "/listeners/{id}",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The listener", body = Value)),
)]
pub async fn change(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let (view, name) = found(&world, &id)?;
    super::configs::make(&world, settings_of(&name, &body)).await?;
    let enabled = body.get("enable").and_then(Value::as_bool);
    if view.counts.is_some() || enabled == Some(false) {
        world.listeners.stop(&name).await;
    }
    if view.counts.is_some() && enabled != Some(false) || enabled == Some(true) {
        world.listeners.start(&name).await.map_err(ApiError::bad)?;
    }
    find(State(world), Path(id)).await
}

/// Stops a listener and removes it. One that the file has or that is built in cannot be removed, but switched off.
#[utoipa::path(
    delete,
    path = "/listeners/{id}",
    tag = "listeners",
    params(("id" = String, Path, description = "Its kind and name, as tcp:default")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let (_, name) = found(&world, &id)?;
    let key = format!("listeners.{name}");
    let bind = format!("{key}.bind");
    let is_ours = |told: &crate::config::Told| told.key == bind && matches!(told.origin, Origin::RunTime { .. });
    if !world.run_time.tell().iter().any(is_ours) {
        return Err(ApiError::bad("it is in the configuration: set enable to false, or take it out of the file"));
    }
    super::configs::make(&world, [(key, None)].into()).await?;
    world.listeners.stop(&name).await;
    Ok(StatusCode::NO_CONTENT)
}
