//! What is asked of a client's connection: what it has counted, what is under way, and `PUT /clients/{id}/keepalive`.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::Value;
use thingway_contract::{Delivery, Exchanges};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{session, tell};
use crate::{
    api::{
        error::{ApiError, Body, Path},
        world::World,
    },
    bus::{Line, Sent, Session, Traffic},
};

/// For so long a connection is waited for. It answers in its next turn, so only one whose core is in trouble does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For so long all connections of a page are.
const ALL_ANSWER_WITHIN: Duration = Duration::from_millis(500);

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

/// What only a connection knows, and its queue. Nothing is known without one, or when it does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub traffic: Option<Traffic>,
    pub exchanges: Option<Exchanges>,
    /// What its queue had no room for; none of a session that is kept, whose queue is the store's.
    pub queue_dropped: Option<u64>,
}

impl Counts {
    /// Of one session.
    pub async fn of(session: &Session) -> Self {
        let asked = ask(session, |line| (line.traffic(), line.exchanges())).await.ok().flatten();
        let (traffic, exchanges) = asked.unzip();
        let queue_dropped = (session.kept() == 0).then(|| session.queue_dropped());
        Self { traffic, exchanges: exchanges.flatten(), queue_dropped }
    }

    /// Of several, which are all asked before the first answer is awaited. Whose queue somebody else is at is not waited for. Blocks.
    pub fn of_all<'a>(sessions: impl Iterator<Item = &'a Arc<Session>>) -> Vec<Self> {
        let (tell, told) = mpsc::channel();
        let mut counts: Vec<_> = sessions
            .enumerate()
            .map(|(at, session)| {
                let tell = tell.clone();
                session.offer_errand(Box::new(move |line: &mut dyn Line| {
                    let _ = tell.send((at, line.traffic(), line.exchanges()));
                }));
                let queue_dropped = session.queue_dropped_now().filter(|_| session.kept() == 0);
                Self { queue_dropped, ..Self::default() }
            })
            .collect();
        drop(tell);
        // There are no more answers once each errand was done or dropped.
        let deadline = Instant::now() + ALL_ANSWER_WITHIN;
        while let Ok((at, traffic, exchanges)) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            (counts[at].traffic, counts[at].exchanges) = (Some(traffic), exchanges);
        }
        counts
    }
}
