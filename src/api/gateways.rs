//! Protocols beside MQTT: `/gateways`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    clients::{self, Wanted},
    error::{ApiError, Path},
    page::Paging,
    query::Query,
    window::{Cursor, Window},
    world::{ListenerView, World},
};

/// EMQX's names, and ours.
const NAMES: [(&str, &str); 2] = [("coap", "coap"), ("mqttsn", "mqtt-sn")];

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(find)).routes(routes!(clients))
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
    let (name, protocol) = known(&name)?;
    Ok(Json(tell(&world, name, &of(&world, protocol))))
}

fn known(name: &str) -> Result<(&'static str, &'static str), ApiError> {
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "there is no such gateway: coap or mqttsn");
    NAMES.iter().find(|(known, _)| *known == name).copied().ok_or_else(missing)
}

/// Clients that speak a protocol beside MQTT, looked for as all clients are.
#[utoipa::path(
    get,
    path = "/gateways/{name}/clients",
    tag = "gateways",
    params(
        ("name" = String, Path, description = "coap or mqttsn"),
        Paging,
        Cursor,
        ("q" = Option<String>, Query, description = "A part of the client id, the user name or the address"),
        ("like_clientid" = Option<String>, Query),
        ("like_username" = Option<String>, Query),
        ("ip_address" = Option<String>, Query),
    ),
    responses((status = 200, description = "A page of clients", body = Value)),
)]
pub async fn clients(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let (_, protocol) = known(&name)?;
    let wanted = Wanted::of(&query)?.speaking(protocol);
    clients::page(world, &query, Window::of(&query)?, wanted).await
}
