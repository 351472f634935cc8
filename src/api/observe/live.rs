use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::alarms;
use crate::{
    api::{error::ApiError, login::may_look, query::Query, rates, status::resident_bytes, world::World},
    watch::{Alarm, ClientEvent, Listening},
};

/// Streams at a time.
const STREAMS_MAX: usize = 64;
/// Seconds between two looks whether who listens still may.
const CHECK_SECS: u32 = 10;

/// What is told every second, once for all who listen.
#[derive(Debug)]
pub struct Live {
    places: Arc<Semaphore>,
    second: watch::Sender<Arc<str>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS_MAX)), second: watch::Sender::new("".into()) }
    }
}

impl Live {
    /// Tells how it is. To be called once a second.
    pub fn tick(&self, world: &World) {
        if self.second.receiver_count() > 0 {
            self.second.send_replace(monitor(world).into());
        }
    }
}

/// What `/monitor_current` tells, and more.
fn monitor(world: &World) -> String {
    let mut told = rates::tell(world);
    told["time_stamp"] = world.unix_ms(world.now()).into();
    told["memory_used"] = resident_bytes().into();
    let protocols = world.bus.connected_by_protocol().map(|(name, count)| (name.to_owned(), count.into()));
    told["protocols"] = Value::Object(protocols.collect());
    event("monitor", &told)
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn client(world: &World, event: &ClientEvent) -> Value {
    let mut told = json!({
        "event": event.what.as_str(),
        "clientid": event.client_id.as_str(),
        "username": event.username,
        "protocol": event.protocol,
        "ip_address": event.remote.map(|remote| remote.ip().to_canonical().to_string()),
        "ts": world.unix_ms(event.at),
    });
    if let Some(topic) = &event.topic {
        told["topic"] = (&**topic).into();
    }
    if let Some(reason) = event.reason {
        told["reason"] = reason.into();
    }
    told
}

/// One who listens. What it does not take is not collected for it.
struct Stream {
    world: Arc<World>,
    headers: HeaderMap,
    wants_monitor: bool,
    second: watch::Receiver<Arc<str>>,
    clients: Option<Listening>,
    alarms: Option<broadcast::Receiver<Arc<Alarm>>>,
    until_check: u32,
    first: Option<String>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let clients = async {
            match &mut self.clients {
                Some(clients) => clients.next().await,
                None => std::future::pending().await,
            }
        };
        let alarms = async {
            match &mut self.alarms {
                Some(alarms) => alarms.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = self.second.changed() => {
                changed.ok()?;
                if self.until_check == 0 {
                    self.until_check = CHECK_SECS;
                    if !may_look(&self.world, &self.headers, "/live") {
                        return None;
                    }
                }
                self.until_check -= 1;
                let told = self.second.borrow_and_update();
                // A comment shows that somebody is there.
                Some(if self.wants_monitor { told.to_string() } else { ":\n\n".into() })
            }
            told = alarms => Some(match told {
                Ok(alarm) => event("alarm", &alarms::tell(&alarm, &self.world.node)),
                Err(broadcast::error::RecvError::Lagged(missed)) => event("lagged", &json!({ "missed": missed })),
                Err(broadcast::error::RecvError::Closed) => return None,
            }),
            told = clients => Some(match told {
                Ok(told) => event("client", &client(&self.world, &told)),
                Err(missed) => event("lagged", &json!({ "missed": missed })),
            }),
        }
    }
}

/// What happens now, as server-sent events: `monitor` each second, `client`, `alarm`, and `lagged` when some were missed.
#[utoipa::path(
    get, path = "/live", tag = "observing",
    params(("events" = Option<String>, Query, description = "Which: monitor, client, alarm; several with commas between, all without.")),
    responses(
        (status = 200, description = "A stream that lasts as long as its login.", content_type = "text/event-stream", body = String),
        (status = 400, description = "There is no such event.", body = Value),
        (status = 503, description = "64 streams are open.", body = Value),
    )
)]
pub async fn live(State(world): State<Arc<World>>, headers: HeaderMap, query: Query) -> Result<Response, ApiError> {
    const EVENTS: [&str; 3] = ["monitor", "client", "alarm"];
    let wanted: Vec<&str> = query.find("events").map_or(EVENTS.to_vec(), |text| text.split(',').collect());
    if let Some(unknown) = wanted.iter().find(|name| !EVENTS.contains(name)) {
        return Err(ApiError::bad(format!("there are no events {unknown:?}: expected monitor, client or alarm")));
    }
    let full = |_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "too many listen already");
    let place = world.observe.live.places.clone().try_acquire_owned().map_err(full)?;
    let wants_monitor = wanted.contains(&"monitor");
    let stream = Stream {
        wants_monitor,
        second: world.observe.live.second.subscribe(),
        clients: wanted.contains(&"client").then(|| Listening::new(world.bus.watch().clone())),
        alarms: wanted.contains(&"alarm").then(|| world.bus.watch().alarms().listen()),
        until_check: CHECK_SECS,
        first: Some(if wants_monitor { monitor(&world) } else { ":\n\n".into() }),
        headers,
        world,
        _place: place,
    };
    let stream = stream::unfold(stream, async |mut stream| {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), stream))
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response())
}
