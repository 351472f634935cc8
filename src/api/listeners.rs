//! `/listeners`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    world::{ListenerView, World, date_of_ms},
};

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
        .routes(routes!(list))
        .routes(routes!(find))
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
