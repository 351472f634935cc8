//! How much there is a second: `/monitor_current`.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use axum::{Json, extract::State};
use parking_lot::Mutex;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Path},
    status::{check_node, total},
    world::World,
};
use crate::bus::{Bus, Counter};

/// Samples that are kept, one a second.
const SAMPLES: usize = 6;

/// What was counted lately.
#[derive(Debug, Default)]
pub struct Rates(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    received: u64,
    sent: u64,
    dropped: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

pub const RECEIVED: [Counter; 3] =
    [Counter::MessagesQos0Received, Counter::MessagesQos1Received, Counter::MessagesQos2Received];
pub const SENT: [Counter; 3] = [Counter::MessagesQos0Sent, Counter::MessagesQos1Sent, Counter::MessagesQos2Sent];
pub const DROPPED: [Counter; 7] = [
    Counter::DroppedNoSubscribers,
    Counter::DeliveryQueueFull,
    Counter::DeliveryQos0,
    Counter::DeliveryExpired,
    Counter::DeliveryTooLarge,
    Counter::DeliveryTopicUnknown,
    Counter::DeliveryRevoked,
];

impl Rates {
    /// Takes a sample. To be called once a second.
    pub fn sample(&self, bus: &Bus, at: Instant) {
        let sample = Sample {
            at,
            received: total(bus, &RECEIVED),
            sent: total(bus, &SENT),
            dropped: total(bus, &DROPPED),
            bytes_received: total(bus, &[Counter::BytesReceived]),
            bytes_sent: total(bus, &[Counter::BytesSent]),
        };
        let mut samples = self.0.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn tell(&self) -> [u64; 5] {
        let samples = self.0.lock();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return [0; 5] };
        let secs = last.at.duration_since(first.at).as_secs_f64();
        let rate =
            |before: u64, after: u64| if secs > 0.0 { ((after - before) as f64 / secs).round() as u64 } else { 0 };
        [
            rate(first.received, last.received),
            rate(first.sent, last.sent),
            rate(first.dropped, last.dropped),
            rate(first.bytes_received, last.bytes_received),
            rate(first.bytes_sent, last.bytes_sent),
        ]
    }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(current)).routes(routes!(current_of_node))
}

/// Rates over the last seconds.
#[utoipa::path(
    get,
    path = "/monitor_current",
    tag = "nodes",
    responses((status = 200, description = "Rates and numbers", body = Value)),
)]
pub async fn current(State(world): State<Arc<World>>) -> Json<Value> {
    Json(tell(&world))
}

/// How it is now.
pub fn tell(world: &World) -> Value {
    let [received, sent, dropped, bytes_received, bytes_sent] = world.rates.tell();
    let gauges = world.bus.gauges();
    json!({
        "received_msg_rate": received,
        "sent_msg_rate": sent,
        "dropped_msg_rate": dropped,
        "received_bytes_rate": bytes_received,
        "sent_bytes_rate": bytes_sent,
        "connections": gauges.sessions,
        "live_connections": gauges.connected,
        "topics": gauges.filters,
        "subscriptions": gauges.subscriptions,
        "shared_subscriptions": gauges.shared_subscriptions,
        "retained_msg_count": gauges.retained,
        "node_uptime": world.started.elapsed().as_secs(),
    })
}

/// Rates over the last seconds at a node.
#[utoipa::path(
    get,
    path = "/monitor_current/nodes/{node}",
    tag = "nodes",
    params(("node" = String, Path, description = "The name of the node")),
    responses((status = 200, description = "Rates and numbers", body = Value)),
)]
pub async fn current_of_node(state: State<Arc<World>>, Path(node): Path<String>) -> Result<Json<Value>, ApiError> {
    check_node(&state, &node)?;
    Ok(current(state).await)
}
