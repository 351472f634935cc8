//! Protocols beside MQTT: `/gateways`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use thingway_contract::CloseReason;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    clients::{self, Wanted},
    error::{ApiError, Body, Path},
    page::Paging,
    query::Query,
    subscriptions::{self, Wish},
    window::{Cursor, Window},
    world::{ListenerView, World},
};
use crate::bus::Session;

/// EMQX's names, and ours.
const NAMES: [(&str, &str); 2] = [("coap", "coap"), ("mqttsn", "mqtt-sn")];

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(find))
        .routes(routes!(listeners))
        .routes(routes!(clients))
        .routes(routes!(client, kick))
        .routes(routes!(subscriptions, subscribe))
        .routes(routes!(unsubscribe))
}

fn tell(world: &World, name: &str, listeners: &[ListenerView]) -> Value {
    let running = listeners.iter().any(|listener| listener.counts.is_some());
    let connections: usize = listeners.iter().filter_map(|listener| listener.counts).map(|of| of.connections).sum();
    let status = match (listeners, running) {
        ([], _) => "unloaded",
        (_, true) => "running",
        (_, false) => "stopped",
    };
    json!({
        "name": name,
        "status": status,
        "enable": running,
        "current_connections": connections,
        "listeners": tell_listeners(name, listeners),
        "node_status": [{ "node": world.node, "status": status, "current_connections": connections }],
    })
}

fn tell_listeners(name: &str, listeners: &[ListenerView]) -> Vec<Value> {
    let tell = |listener: &ListenerView| {
        json!({
            "id": format!("{name}:{}:{}", listener.kind, listener.name),
            "type": listener.kind,
            "name": listener.name,
            "bind": listener.address,
            "running": listener.counts.is_some(),
        })
    };
    listeners.iter().map(tell).collect()
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

/// The listeners of a protocol beside MQTT. They are made and changed as all listeners are: `/listeners`.
#[utoipa::path(
    get,
    path = "/gateways/{name}/listeners",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn")),
    responses((status = 200, description = "The listeners", body = Vec<Value>)),
)]
pub async fn listeners(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let (name, protocol) = known(&name)?;
    Ok(Json(tell_listeners(name, &of(&world, protocol)).into()))
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

/// A client of the protocol, while it is connected: whose session is left says nothing of how it came.
fn client_of(world: &World, name: &str, id: &str) -> Result<Arc<Session>, ApiError> {
    let (_, protocol) = known(name)?;
    let speaks = |session: &Arc<Session>| session.connection().is_some_and(|of| of.origin.protocol == protocol);
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "the gateway has no such client");
    world.bus.session(id).filter(speaks).ok_or_else(missing)
}

/// A client that speaks a protocol beside MQTT and is connected.
#[utoipa::path(
    get,
    path = "/gateways/{name}/clients/{id}",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn"), ("id" = String, Path, description = "The client id")),
    responses((status = 200, description = "The client", body = Value)),
)]
pub async fn client(
    State(world): State<Arc<World>>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let session = client_of(&world, &name, &id)?;
    clients::tell(&world, session).await
}

/// Ends its connection.
#[utoipa::path(
    delete,
    path = "/gateways/{name}/clients/{id}",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn"), ("id" = String, Path, description = "The client id")),
    responses((status = 204, description = "It is told to go")),
)]
pub async fn kick(
    State(world): State<Arc<World>>,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    client_of(&world, &name, &id)?.signal(CloseReason::Administrative);
    Ok(StatusCode::NO_CONTENT)
}

/// Its subscriptions; observations, of a CoAP client.
#[utoipa::path(
    get,
    path = "/gateways/{name}/clients/{id}/subscriptions",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn"), ("id" = String, Path, description = "The client id")),
    responses((status = 200, description = "Subscriptions", body = Vec<Value>)),
)]
pub async fn subscriptions(
    State(world): State<Arc<World>>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let session = client_of(&world, &name, &id)?;
    Ok(Json(subscriptions::of_session(&world, &session)))
}

/// Subscribes on its behalf: rules are not asked. A CoAP client observes for itself, as each observation has a token that it chooses.
#[utoipa::path(
    post,
    path = "/gateways/{name}/clients/{id}/subscriptions",
    tag = "gateways",
    params(("name" = String, Path, description = "coap or mqttsn"), ("id" = String, Path, description = "The client id")),
    request_body = Wish,
    responses((status = 201, description = "The subscription", body = Value)),
)]
pub async fn subscribe(
    State(world): State<Arc<World>>,
    Path((name, id)): Path<(String, String)>,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let session = client_of(&world, &name, &id)?;
    if name == "coap" {
        return Err(ApiError::bad("a CoAP client observes for itself"));
    }
    let mut told = subscriptions::subscribe_session(&world, &session, &[wish])?;
    Ok((StatusCode::CREATED, Json(told.pop().unwrap_or_default())))
}

/// Unsubscribes on its behalf.
#[utoipa::path(
    delete,
    path = "/gateways/{name}/clients/{id}/subscriptions/{topic}",
    tag = "gateways",
    params(
        ("name" = String, Path, description = "coap or mqttsn"),
        ("id" = String, Path, description = "The client id"),
        ("topic" = String, Path, description = "The filter, its slashes as %2F"),
    ),
    responses((status = 204, description = "It is gone")),
)]
pub async fn unsubscribe(
    State(world): State<Arc<World>>,
    Path((name, id, topic)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let session = client_of(&world, &name, &id)?;
    subscriptions::unsubscribe_session(&world, &session, &[topic.as_str()])
}
