//! `/listeners`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    world::{ListenerView, World},
};

fn tell(world: &World, listener: &ListenerView) -> Value {
    let counts = (listener.counts)();
    let max = listener.connections_max.map_or("infinity".into(), Value::from);
    let status = json!({ "running": true, "max_connections": max, "current_connections": counts.connections });
    json!({
        "id": format!("{}:{}", listener.kind, listener.name),
        "type": listener.kind,
        "name": listener.name,
        "protocol": listener.protocol,
        "enable": true,
        "bind": listener.address,
        "status": status,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "node_status": [{ "node": world.node, "status": status }],
    })
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(find))
}

/// Listeners.
#[utoipa::path(
    get,
    path = "/listeners",
    tag = "listeners",
    responses((status = 200, description = "Listeners", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.listeners.iter().map(|listener| tell(&world, listener)).collect())
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
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, "BAD_LISTENER_ID", "there is no such listener, as tcp:default");
    let is_it = |listener: &&ListenerView| id.split_once(':') == Some((listener.kind, &listener.name));
    Ok(Json(tell(&world, world.listeners.iter().find(is_it).ok_or_else(missing)?)))
}
