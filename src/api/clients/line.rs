//! What is asked of a client's connection: what it has counted, what is under way, and `PUT /clients/{id}/keepalive`.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use thingway_contract::Delivery;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{session, tell};
use crate::{
    api::{
        error::{ApiError, Body, Path},
        world::World,
    },
    bus::{Line, Sent, Session},
};

/// For so long a connection is waited for. It answers in its next turn, so only one whose core is in trouble does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(set_keep_alive))
}

/// How often a client has to say something.
#[derive(Deserialize, ToSchema)]
pub struct KeepAlive {
    /// Seconds, 0 for never.
    interval: u16,
}

/// How often a client has to say something, from now on.
#[utoipa::path(
    put,
    path = "/clients/{id}/keepalive",
    tag = "clients",
    params(("id" = String, Path, description = "The client id")),
    request_body = KeepAlive,
    responses((status = 200, description = "The client", body = Value)),
)]
pub async fn set_keep_alive(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(KeepAlive { interval }): Body<KeepAlive>,
) -> Result<Json<Value>, ApiError> {
    let session = session(&world, &id)?;
    match ask(&session, move |line| line.set_keep_alive(interval)).await? {
        Some(true) => tell(&world, session).await,
        Some(false) => Err(ApiError::bad("there is nothing that this client has to say so often")),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, "CLIENTID_NOT_FOUND", "the client has no connection")),
    }
}

/// Asks a session's connection; `None` when there is none.
pub async fn ask<T: Send + 'static>(
    session: &Session,
    question: impl FnOnce(&mut dyn Line) -> T + Send + 'static,
) -> Result<Option<T>, ApiError> {
    let busy = |why| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", why);
    let (tell, told) = oneshot::channel();
    let errand = move |line: &mut dyn Line| {
        // Whoever asked may have gone.
        let _ = tell.send(question(line));
    };
    match session.send_errand(Box::new(errand)) {
        Sent::Given => match tokio::time::timeout(ANSWER_WITHIN, told).await {
            Ok(answer) => Ok(answer.ok()),
            Err(_) => Err(busy("the connection does not answer")),
        },
        Sent::NoConnection => Ok(None),
        Sent::TooMany => Err(busy("the connection is asked too much")),
    }
}

/// A part of what the client was sent and has not taken over.
pub async fn under_way(session: &Session, skip: usize, count: usize) -> Result<Vec<Delivery>, ApiError> {
    let look = move |line: &mut dyn Line| {
        let (mut seen, mut found) = (0_usize, Vec::new());
        line.under_way(&mut |packet_id, delivery| {
            if seen >= skip && found.len() < count {
                found.push(Delivery { packet_id, ..delivery.clone() });
            }
            seen += 1;
        });
        found
    };
    Ok(ask(session, look).await?.unwrap_or_default())
}

/// Adds what only the connection knows. Without one, or when it does not answer, nothing is known of it.
pub async fn add_counts(session: &Session, to: &mut Map<String, Value>) {
    let asked = ask(session, |line| (line.traffic(), line.exchanges())).await.ok().flatten();
    let (traffic, exchanges) = asked.unzip();
    let exchanges = exchanges.flatten();
    let mut put = |name: &str, value: Option<u64>| {
        to.insert(name.to_owned(), value.into());
    };
    put("inflight_cnt", exchanges.map(|exchanges| exchanges.outbound as u64));
    put("inflight_max", exchanges.map(|exchanges| exchanges.outbound_max as u64));
    put("awaiting_rel_cnt", exchanges.map(|exchanges| exchanges.inbound as u64));
    put("awaiting_rel_max", exchanges.and_then(|exchanges| Some(exchanges.inbound_max? as u64)));
    put("recv_oct", traffic.map(|traffic| traffic.bytes_received));
    put("recv_pkt", traffic.map(|traffic| traffic.packets_received));
    put("recv_msg", traffic.map(|traffic| traffic.messages_received.iter().sum()));
    put("recv_msg.dropped", traffic.map(|traffic| traffic.refused));
    put("send_oct", traffic.map(|traffic| traffic.bytes_sent));
    put("send_pkt", traffic.map(|traffic| traffic.packets_sent));
    put("send_msg", traffic.map(|traffic| traffic.messages_sent.iter().sum()));
    put("send_msg.dropped", traffic.map(|traffic| traffic.expired + traffic.too_large));
    put("send_msg.dropped.expired", traffic.map(|traffic| traffic.expired));
    put("send_msg.dropped.too_large", traffic.map(|traffic| traffic.too_large));
    for qos in 0..3 {
        put(&format!("recv_msg.qos{qos}"), traffic.map(|traffic| traffic.messages_received[qos]));
        put(&format!("send_msg.qos{qos}"), traffic.map(|traffic| traffic.messages_sent[qos]));
    }
    put("mqueue_dropped", (session.kept() == 0).then(|| session.queue_dropped()));
    if exchanges.is_some_and(|exchanges| exchanges.inbound_max.is_none()) {
        to.insert("awaiting_rel_max".into(), "infinity".into());
    }
}
