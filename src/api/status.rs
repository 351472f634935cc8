//! How the node is: `/status`, `/nodes`, `/stats`, `/metrics` and what Prometheus reads.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    families::{exposition, families},
    query::Query,
    rates::{DROPPED, RECEIVED, SENT},
    world::World,
};
use crate::bus::{Bus, Counter};

pub(super) fn total(bus: &Bus, counters: &[Counter]) -> u64 {
    counters.iter().map(|counter| bus.counters().total(*counter)).sum()
}

pub(super) fn check_node(world: &World, node: &str) -> Result<(), ApiError> {
    if node == world.node { Ok(()) } else { Err(ApiError::not_found("there is no such node")) }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(nodes))
        .routes(routes!(node))
        .routes(routes!(stats))
        .routes(routes!(node_stats))
        .routes(routes!(metrics))
        .routes(routes!(node_metrics))
        .routes(routes!(prometheus))
}

/// What is served to everybody.
pub fn public_routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(status))
}

/// How the node is: for load balancers, without logging in.
#[utoipa::path(
    get,
    path = "/status",
    tag = "nodes",
    params(("format" = Option<String>, Query, description = "`json` for an object, else text")),
    responses((status = 200, description = "It runs", content((String = "text/plain"), (Value = "application/json")))),
    security(),
)]
pub async fn status(State(world): State<Arc<World>>, query: Query) -> Response {
    if query.find("format") == Some("json") {
        let told = json!({ "node_name": world.node, "rel_vsn": env!("CARGO_PKG_VERSION"), "broker_status": "started", "app_status": "running" });
        return Json(told).into_response();
    }
    format!("Node {} is started\nthingway is running", world.node).into_response()
}

/// All nodes.
#[utoipa::path(
    get,
    path = "/nodes",
    tag = "nodes",
    responses((status = 200, description = "Nodes", body = Value)),
)]
pub async fn nodes(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!([tell(&world)]))
}

/// A node.
#[utoipa::path(
    get,
    path = "/nodes/{node}",
    tag = "nodes",
    params(("node" = String, Path, description = "The name of the node")),
    responses((status = 200, description = "The node", body = Value)),
)]
pub async fn node(State(world): State<Arc<World>>, Path(node): Path<String>) -> Result<Json<Value>, ApiError> {
    check_node(&world, &node)?;
    Ok(Json(tell(&world)))
}

fn tell(world: &World) -> Value {
    let gauges = world.bus.gauges();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut loads = load.split_whitespace().map(|text| text.parse::<f64>().ok());
    let max_fds = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(0, |(soft, _)| soft);
    json!({
        "node": world.node,
        "node_status": "running",
        "role": "core",
        "version": env!("CARGO_PKG_VERSION"),
        "edition": "Opensource",
        "uptime": u64::try_from(world.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "connections": gauges.sessions,
        "live_connections": gauges.connected,
        "cluster_sessions": gauges.sessions,
        "load1": loads.next().flatten(),
        "load5": loads.next().flatten(),
        "load15": loads.next().flatten(),
        "max_fds": max_fds,
        "memory_used": resident_bytes(),
        "memory_total": memory_total(),
    })
}

/// Resident memory of this process in bytes; 0 where that cannot be told.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kib_of(&status, "VmRSS:")
}

fn memory_total() -> u64 {
    kib_of(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:")
}

/// The value of a line such as `VmRSS:  12 kB`, in bytes.
fn kib_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

pub(super) fn all_stats(world: &World) -> Vec<(&'static str, u64)> {
    let gauges = world.bus.gauges();
    let stats = [
        ("connections.count", gauges.sessions),
        ("live_connections.count", gauges.connected),
        ("live_connections.max", gauges.connected_max),
        ("sessions.count", gauges.sessions),
        ("cluster_sessions.count", gauges.sessions),
        ("channels.count", gauges.connected),
        ("topics.count", gauges.filters),
        ("subscribers.count", gauges.subscriptions),
        ("subscriptions.count", gauges.subscriptions),
        ("subscriptions.shared.count", gauges.shared_subscriptions),
        ("suboptions.count", gauges.subscriptions),
        ("retained.count", gauges.retained),
        ("delayed.count", gauges.delayed),
    ];
    stats.into_iter().map(|(name, count)| (name, count as u64)).collect()
}

fn object(numbers: impl IntoIterator<Item = (impl Into<String>, u64)>) -> Map<String, Value> {
    numbers.into_iter().map(|(name, number)| (name.into(), number.into())).collect()
}

/// What there is now: an array of nodes, or an object with `aggregate=true`.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "nodes",
    params(("aggregate" = Option<bool>, Query)),
    responses((status = 200, description = "Numbers by name", body = Value)),
)]
pub async fn stats(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut stats = object(all_stats(&world));
    if query.read("aggregate")?.unwrap_or(false) {
        return Ok(Json(stats.into()));
    }
    stats.insert("node".into(), world.node.clone().into());
    Ok(Json(json!([stats])))
}

/// What there is now at a node.
#[utoipa::path(
    get,
    path = "/nodes/{node}/stats",
    tag = "nodes",
    params(("node" = String, Path, description = "The name of the node")),
    responses((status = 200, description = "Numbers by name", body = Value)),
)]
pub async fn node_stats(State(world): State<Arc<World>>, Path(node): Path<String>) -> Result<Json<Value>, ApiError> {
    check_node(&world, &node)?;
    Ok(Json(object(all_stats(&world)).into()))
}

pub(super) fn all_metrics(world: &World) -> Vec<(String, u64)> {
    let bus = &*world.bus;
    let mut metrics: Vec<_> =
        Counter::ALL.iter().map(|counter| (counter.name().to_owned(), bus.counters().total(*counter))).collect();
    metrics.push(("messages.received".into(), total(bus, &RECEIVED)));
    metrics.push(("messages.publish".into(), total(bus, &RECEIVED)));
    metrics.push(("messages.sent".into(), total(bus, &SENT)));
    metrics.push(("messages.dropped".into(), total(bus, &[Counter::DroppedNoSubscribers, Counter::DroppedQuota])));
    metrics.push(("delivery.dropped".into(), total(bus, &DROPPED[1..])));
    let (mut all_received, mut all_sent) = (0, 0);
    for (kind, name) in world.packets.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let (received, sent) = bus.counters().packets(kind);
        metrics.push((format!("packets.{name}.received"), received));
        metrics.push((format!("packets.{name}.sent"), sent));
        all_received += received;
        all_sent += sent;
    }
    metrics.push(("packets.received".into(), all_received));
    metrics.push(("packets.sent".into(), all_sent));
    metrics
}

/// What was counted: an array of nodes, or an object with `aggregate=true`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "nodes",
    params(("aggregate" = Option<bool>, Query)),
    responses((status = 200, description = "Numbers by name", body = Value)),
)]
pub async fn metrics(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut metrics = object(all_metrics(&world));
    if query.read("aggregate")?.unwrap_or(false) {
        return Ok(Json(metrics.into()));
    }
    metrics.insert("node".into(), world.node.clone().into());
    Ok(Json(json!([metrics])))
}

/// What was counted at a node.
#[utoipa::path(
    get,
    path = "/nodes/{node}/metrics",
    tag = "nodes",
    params(("node" = String, Path, description = "The name of the node")),
    responses((status = 200, description = "Numbers by name", body = Value)),
)]
pub async fn node_metrics(State(world): State<Arc<World>>, Path(node): Path<String>) -> Result<Json<Value>, ApiError> {
    check_node(&world, &node)?;
    Ok(Json(object(all_metrics(&world)).into()))
}

/// All of it for Prometheus: EMQX's names where the meaning is the same, and the gateway's own.
#[utoipa::path(
    get,
    path = "/prometheus/stats",
    tag = "nodes",
    responses((status = 200, description = "The text format, version 0.0.4", body = String, content_type = "text/plain")),
)]
pub async fn prometheus(State(world): State<Arc<World>>) -> Response {
    let text = exposition(&families(&world));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
