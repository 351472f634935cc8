//! Protocols beside MQTT: `/gateways`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    world::{ListenerView, World},
};

/// EMQX's names, and ours.
const NAMES: [(&str, &str); 2] = [("coap", "coap"), ("mqttsn", "mqtt-sn")];

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(find))
}

fn tell(world: &World, name: &str, listeners: &[ListenerView]) -> Value {
    let running = listeners.iter().any(|listener| listener.counts.is_some());
    let connections: usize = listeners.iter().filter_map(|listener| listener.counts).map(|of| of.connections).sum();
    let status = match (listeners, running) {
        ([], _) => "unloaded",
        (_, true) => "running",
        (_, false) => "stopped",
    };
    let listeners = listeners.iter().map(|listener| {
        json!({
            "id": format!("{name}:{}:{}", listener.kind, listener.name),
            "type": listener.kind,
            "name": listener.name,
            "bind": listener.address,
            "running": listener.counts.is_some(),
        })
    });
    json!({
        "name": name,
        "status": status,
        "enable": running,
        "current_connections": connections,
        "listeners": listeners.collect::<Vec<_>>(),
        "node_status": [{ "node": world.node, "status": status, "current_connections": connections }],
    })
}

fn of(world: &World, protocol: &str) -> Vec<ListenerView> {
    world.listeners.views().into_iter().filter(|listener| listener.protocol == protocol).collect()
}

/// Protocols beside MQTT.
#[utoipa::path(
    get,
    path = "/gateways",
    tag = "gateways",
    responses((status = 200, description = "Protocols and their listeners", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(NAMES.iter().map(|(name, protocol)| tell(&world, name, &of(&world, protocol))).collect())
}

/// A protocol beside MQTT.
#[utoipa::path(
    get,
    path = "/gateways/{name}",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn")),
    responses((status = 200, description = "The protocol and its listeners", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "there is no such gateway: coap or mqttsn");
    let (name, protocol) = known.ok_or_else(missing)?;
    Ok(Json(tell(&world, name, &of(&world, protocol))))
}
