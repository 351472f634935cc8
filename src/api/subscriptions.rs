//! Subscriptions and the topics that they are about.

mod search;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};
use thingway_contract::{Qos, RetainHandling, Subscription, SubscriptionOptions, Topic, TopicFilter, TopicLimits};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::search::Filters;
use self::search::Wanted;
use super::{
    clients::session,
    error::{ApiError, Body, Path},
    page::Paging,
    query::Query,
    window::{Cursor, Found, Window},
    world::World,
};
use crate::bus::Session;

/// Subscriptions in one request.
const BULK_MAX: usize = 1000;

fn tell(world: &World, id: &str, filter: &TopicFilter, options: &SubscriptionOptions) -> Value {
    json!({
        "clientid": id,
        "node": world.node,
        "topic": filter.to_string(),
        "qos": options.qos as u8,
        "nl": u8::from(options.no_local),
        "rap": u8::from(options.retain_as_published),
        "rh": match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        },
    })
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_client))
        .routes(routes!(subscribe))
        .routes(routes!(subscribe_all))
        .routes(routes!(unsubscribe))
        .routes(routes!(unsubscribe_all))
        .routes(routes!(topics))
        .routes(routes!(topic))
}

/// Subscriptions of all clients.
#[utoipa::path(
    get,
    path = "/subscriptions",
    tag = "subscriptions",
    params(
        Paging,
        Cursor,
        ("clientid" = Option<String>, Query),
        ("qos" = Option<u8>, Query),
        ("topic" = Option<String>, Query, description = "The filter itself"),
        ("match_topic" = Option<String>, Query, description = "A topic that the filter matches"),
        ("share_group" = Option<String>, Query),
    ),
    responses((status = 200, description = "A page of subscriptions", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Response, ApiError> {
    let window = Window::of(&query)?;
    let wanted = Wanted::of(&world, &query)?;
    world.looking(move |world| wanted.find(world, &window)).await
}

/// Subscriptions of a client.
#[utoipa::path(
    get,
    path = "/clients/{id}/subscriptions",
    tag = "subscriptions",
    params(("id" = String, Path, description = "The client id")),
    responses((status = 200, description = "Subscriptions", body = Value)),
)]
pub async fn of_client(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let session = session(&world, &id)?;
    Ok(Json(of_session(&world, &session)))
}

/// Those of a session.
pub(super) fn of_session(world: &World, session: &Session) -> Value {
    let all = session.subscriptions();
    all.iter().map(|(filter, options)| tell(world, session.id().as_str(), filter, options)).collect()
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewSubscription)]
pub struct Wish {
    topic: String,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    nl: u8,
    #[serde(default)]
    rap: u8,
    #[serde(default)]
    rh: u8,
}

fn parse_topic<'a>(world: &World, text: &'a str) -> Result<Topic<'a>, ApiError> {
    let wrong = |_| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic name");
    Topic::parse(text, world.bus.config().topic_limits).map_err(wrong)
}

fn parse_filter(limits: TopicLimits, text: &str) -> Result<TopicFilter, ApiError> {
    let wrong = |_| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic filter");
    TopicFilter::parse(text, limits).map_err(wrong)
}

impl Wish {
    fn read(&self, limits: TopicLimits) -> Result<Subscription, ApiError> {
        let qos = Qos::from_u8(self.qos).ok_or_else(|| ApiError::bad("qos is 0, 1 or 2"))?;
        let retain_handling = match self.rh {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(ApiError::bad("rh is 0, 1 or 2")),
        };
        let options = SubscriptionOptions {
            qos,
            no_local: self.nl == 1,
            retain_as_published: self.rap == 1,
            retain_handling,
            id: 0,
        };
        Ok(Subscription { filter: parse_filter(limits, &self.topic)?, options })
    }
}

/// Subscribes on behalf of a client: its rules are not asked.
#[utoipa::path(
    post,
    path = "/clients/{id}/subscribe",
    tag = "subscriptions",
    params(("id" = String, Path, description = "The client id")),
    request_body = Wish,
    responses((status = 200, description = "The subscription", body = Value)),
)]
pub async fn subscribe(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(wish): Body<Wish>,
) -> Result<Json<Value>, ApiError> {
    let mut told = subscribe_session(&world, &session(&world, &id)?, &[wish])?;
    Ok(Json(told.pop().unwrap_or_default()))
}

/// Subscribes on behalf of a client to several filters.
#[utoipa::path(
    post,
    path = "/clients/{id}/subscribe/bulk",
    tag = "subscriptions",
    params(("id" = String, Path, description = "The client id")),
    request_body = Vec<Wish>,
    responses((status = 200, description = "The subscriptions", body = Value)),
)]
pub async fn subscribe_all(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(wishes): Body<Vec<Wish>>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(subscribe_session(&world, &session(&world, &id)?, &wishes)?.into()))
}

/// Subscribes a session, and gives what is told of it.
pub(super) fn subscribe_session(
    world: &World,
    session: &Arc<Session>,
    wishes: &[Wish],
) -> Result<Vec<Value>, ApiError> {
    if wishes.len() > BULK_MAX {
        return Err(ApiError::bad(format!("at most {BULK_MAX} subscriptions")));
    }
    let id = session.id().as_str();
    let limits = world.bus.config().topic_limits;
    let wanted = wishes.iter().map(|wish| wish.read(limits)).collect::<Result<Vec<_>, _>>()?;
    let told = wanted.iter().map(|wanted| tell(world, id, &wanted.filter, &wanted.options)).collect();
    let wanted = wanted.into_iter().map(Ok).collect();
    let results = world.with_lane(|lane, now| world.bus.subscribe(session, wanted, now, lane));
    match results.into_iter().find_map(Result::err) {
        Some(refusal) => Err(ApiError::bad(format!("refused: {refusal:?}"))),
        None => Ok(told),
    }
}

#[derive(ToSchema, Deserialize)]
#[schema(as = Unsubscription)]
pub struct Gone {
    topic: String,
}

/// Unsubscribes on behalf of a client.
#[utoipa::path(
    post,
    path = "/clients/{id}/unsubscribe",
    tag = "subscriptions",
    params(("id" = String, Path, description = "The client id")),
    request_body = Gone,
    responses((status = 204, description = "It is gone")),
)]
pub async fn unsubscribe(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(gone): Body<Gone>,
) -> Result<StatusCode, ApiError> {
    unsubscribe_session(&world, &session(&world, &id)?, &[&gone.topic])
}

/// Unsubscribes on behalf of a client from several filters.
#[utoipa::path(
    post,
    path = "/clients/{id}/unsubscribe/bulk",
    tag = "subscriptions",
    params(("id" = String, Path, description = "The client id")),
    request_body = Vec<Gone>,
    responses((status = 204, description = "They are gone")),
)]
pub async fn unsubscribe_all(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(gone): Body<Vec<Gone>>,
) -> Result<StatusCode, ApiError> {
    let gone: Vec<_> = gone.iter().map(|gone| gone.topic.as_str()).collect();
    unsubscribe_session(&world, &session(&world, &id)?, &gone)
}

/// Unsubscribes a session.
pub(super) fn unsubscribe_session(
    world: &World,
    session: &Arc<Session>,
    gone: &[&str],
) -> Result<StatusCode, ApiError> {
    let limits = world.bus.config().topic_limits;
    let filters = gone.iter().map(|topic| parse_filter(limits, topic)).collect::<Result<Vec<_>, _>>()?;
    let filters = filters.into_iter().map(Ok).collect();
    world.with_lane(|lane, now| world.bus.unsubscribe(session, filters, now, lane));
    Ok(StatusCode::NO_CONTENT)
}

/// Filters that somebody subscribes to, in the order of their bytes.
#[utoipa::path(
    get,
    path = "/topics",
    tag = "subscriptions",
    params(Paging, Cursor, ("topic" = Option<String>, Query)),
    responses((status = 200, description = "A page of filters", body = Value)),
)]
pub async fn topics(State(world): State<Arc<World>>, query: Query) -> Result<Response, ApiError> {
    let window = Window::of(&query)?;
    let topic = query.find("topic").map(Arc::from);
    let look = move |world: &World| {
        let directory = &world.directories.filters;
        let view = match topic {
            Some(topic) => directory.some(&world.bus, vec![topic]).into(),
            None => directory.look(&world.bus),
        };
        let mut found = Found::new(&window);
        for (block, from) in view.blocks_after(window.after()) {
            if !found.pass(block.len() - from) {
                (from..block.len()).for_each(|at| found.see(|| block.name(at).to_owned()));
            }
        }
        let tell = |filter: String| Some(json!({ "topic": filter, "node": world.node }));
        found.into_answer(&window, String::clone, tell)
    };
    world.looking(look).await
}

/// A filter that somebody subscribes to.
#[utoipa::path(
    get,
    path = "/topics/{topic}",
    tag = "subscriptions",
    params(("topic" = String, Path, description = "The filter, with its slashes as %2F")),
    responses((status = 200, description = "The filter", body = Value)),
)]
pub async fn topic(State(world): State<Arc<World>>, Path(topic): Path<String>) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "TOPIC_NOT_FOUND", "nobody subscribes to it");
    let info = world.bus.routes().filter(&topic).ok_or_else(missing)?;
    Ok(Json(json!([{ "topic": &*info.filter, "node": world.node }])))
}
