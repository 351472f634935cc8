//! Names that clients do not choose, in EMQX's form: `/mqtt/topic_rewrite` and `/mqtt/auto_subscribe`. They are `access.rewrite` and `access.auto_subscribe`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    configs,
    error::{ApiError, Body},
    world::World,
};

const REWRITE: &str = "access.rewrite";
const AUTO_SUBSCRIBE: &str = "access.auto_subscribe";

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(rewrites, change_rewrites)).routes(routes!(automatic, change_automatic))
}

/// A rule by which topics become others.
#[derive(ToSchema, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rewrite {
    /// "publish", "subscribe" or "all".
    action: String,
    /// Filter of the topics that it is about.
    source_topic: String,
    /// What the topic becomes, with $1 to $9 for the groups of `re`.
    dest_topic: String,
    /// A regular expression. Where it is not found the topic stays what it is.
    re: String,
}

/// A subscription that clients have without asking.
#[derive(ToSchema, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Automatic {
    /// The filter, with placeholders.
    topic: String,
    /// Highest quality of service.
    #[serde(default)]
    #[schema(maximum = 2)]
    qos: u8,
    /// Not the client's own publications: 1.
    #[serde(default)]
    #[schema(maximum = 1)]
    nl: u8,
    /// Keep the publisher's retain flag: 1.
    #[serde(default)]
    #[schema(maximum = 1)]
    rap: u8,
    /// Retained messages: 0 always, 1 only if the subscription is new, 2 never.
    #[serde(default)]
    #[schema(maximum = 2)]
    rh: u8,
}

/// The entries of a setting that is a list.
fn entries(world: &World, key: &str) -> Vec<Value> {
    match configs::value(world, key) {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    }
}

async fn keep(world: &Arc<World>, key: &str, entries: Vec<Value>) -> Result<(), ApiError> {
    let changes = BTreeMap::from([(key.to_owned(), Some(Value::Array(entries)))]);
    configs::make(world, changes).await.map(drop)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn tell_rewrites(world: &World) -> Json<Vec<Rewrite>> {
    let one = |of: &Value| Rewrite {
        action: text(of, "action"),
        source_topic: text(of, "source"),
        dest_topic: text(of, "destination"),
        re: text(of, "pattern"),
    };
    Json(entries(world, REWRITE).iter().map(one).collect())
}

fn tell_automatic(world: &World) -> Json<Vec<Automatic>> {
    let number = |of: &Value, name: &str| of[name].as_u64().and_then(|of| of.try_into().ok()).unwrap_or(0);
    let flag = |of: &Value, name: &str| (of[name] == true).into();
    let one = |of: &Value| Automatic {
        topic: text(of, "topic"),
        qos: number(of, "qos"),
        nl: flag(of, "no_local"),
        rap: flag(of, "retain_as_published"),
        rh: number(of, "retain_handling"),
    };
    Json(entries(world, AUTO_SUBSCRIBE).iter().map(one).collect())
}

/// Topics that become others.
#[utoipa::path(
    get,
    path = "/mqtt/topic_rewrite",
    tag = "access",
    responses((status = 200, description = "The rules, which are access.rewrite of `/configs`", body = Vec<Rewrite>)),
)]
async fn rewrites(State(world): State<Arc<World>>) -> Json<Vec<Rewrite>> {
    tell_rewrites(&world)
}

/// Other rules in place of those that there are, for whoever connects from now on.
#[utoipa::path(
    put,
    path = "/mqtt/topic_rewrite",
    tag = "access",
    request_body = Vec<Rewrite>,
    responses((status = 200, description = "The rules", body = Vec<Rewrite>)),
)]
async fn change_rewrites(
    State(world): State<Arc<World>>,
    Body(rules): Body<Vec<Rewrite>>,
) -> Result<Json<Vec<Rewrite>>, ApiError> {
    let one = |Rewrite { action, source_topic, dest_topic, re }| json!({ "action": action, "source": source_topic, "destination": dest_topic, "pattern": re });
    keep(&world, REWRITE, rules.into_iter().map(one).collect()).await?;
    Ok(tell_rewrites(&world))
}

/// What clients are subscribed to without asking.
#[utoipa::path(
    get,
    path = "/mqtt/auto_subscribe",
    tag = "access",
    responses((status = 200, description = "The subscriptions, which are access.auto_subscribe of `/configs`", body = Vec<Automatic>)),
)]
async fn automatic(State(world): State<Arc<World>>) -> Json<Vec<Automatic>> {
    tell_automatic(&world)
}

/// Other subscriptions in place of those that there are, for whoever connects from now on.
#[utoipa::path(
    put,
    path = "/mqtt/auto_subscribe",
    tag = "access",
    request_body = Vec<Automatic>,
    responses((status = 200, description = "The subscriptions", body = Vec<Automatic>)),
)]
async fn change_automatic(
    State(world): State<Arc<World>>,
    Body(all): Body<Vec<Automatic>>,
) -> Result<Json<Vec<Automatic>>, ApiError> {
    if all.iter().any(|one| one.nl > 1 || one.rap > 1) {
        return Err(ApiError::bad("nl and rap are 0 or 1"));
    }
    let one = |Automatic { topic, qos, nl, rap, rh }| json!({ "topic": topic, "qos": qos, "no_local": nl == 1, "retain_as_published": rap == 1, "retain_handling": rh });
    keep(&world, AUTO_SUBSCRIBE, all.into_iter().map(one).collect()).await?;
    Ok(tell_automatic(&world))
}
