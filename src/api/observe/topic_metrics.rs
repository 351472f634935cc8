use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thingway_contract::{TopicFilter, TopicLimits};
use utoipa::ToSchema;

use crate::{
    api::{
        error::{ApiError, Body, Path},
        rows::Rows,
        world::{World, date_of_ms, unix_ms},
    },
    watch::{TOPIC_COUNTS, TopicCounts, Watch},
};

/// What the names of counted topics begin with in the store.
pub const PREFIX: &str = "topic_metrics/";
/// Topics that are counted, and those of them with wildcards, each of which is compared with every message.
const TOPICS_MAX: usize = 512;
const FILTERS_MAX: usize = 16;
/// Bytes of a topic: its name is the name of a setting.
const TOPIC_BYTES_MAX: usize = 4096;
/// Samples that rates are told from, one a second.
const SAMPLES: usize = 6;

type Sample = [u64; TOPIC_COUNTS.len()];

/// A topic, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    created_ms: u64,
}

impl Kept {
    /// Of a row that was kept elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_row(topic: &str, row: &str) -> Result<Self, String> {
        check(topic)?;
        serde_json::from_str(row).map_err(|error| error.to_string())
    }
}

/// Checks a topic that is to be counted.
fn check(topic: &str) -> Result<(), &'static str> {
    let filter = TopicFilter::parse(topic, TopicLimits::default()).map_err(|_| "this is no topic")?;
    match filter.filter() != topic || topic.len() > TOPIC_BYTES_MAX {
        true => Err("a topic has at most 4,096 bytes, and no group of a shared subscription"),
        false => Ok(()),
    }
}

/// Whether so many topics can be counted.
fn has_room<'a>(topics: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    let (mut all, mut filters) = (0, 0);
    for topic in topics {
        all += 1;
        filters += usize::from(topic.contains(['+', '#']));
    }
    match () {
        () if all > TOPICS_MAX => Err("at most 512 topics are counted"),
        () if filters > FILTERS_MAX => Err("at most 16 topics with wildcards are counted"),
        () => Ok(()),
    }
}

/// Topics whose messages are counted.
#[derive(Debug)]
pub struct TopicMetrics {
    kept: Rows<Kept>,
    counted: Mutex<BTreeMap<String, Counted>>,
}

#[derive(Debug)]
struct Counted {
    counts: Arc<TopicCounts>,
    reset_ms: Option<u64>,
    samples: VecDeque<Sample>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { counts: Arc::default(), reset_ms: None, samples: VecDeque::from([[0; TOPIC_COUNTS.len()]]) }
    }
}

impl TopicMetrics {
    /// With the topics that were kept. What was counted begins anew.
    pub fn of(settings: &[(String, String)]) -> Result<Self, (String, serde_json::Error)> {
        let kept = Rows::of(PREFIX, settings)?;
        let counted = kept.all().into_iter().map(|(topic, _)| (topic, Counted::default())).collect();
        Ok(Self { kept, counted: Mutex::new(counted) })
    }

    /// Whether these could be counted, too.
    ///
    /// # Errors
    /// Why not.
    pub fn has_room_for(&self, topics: &[&str]) -> Result<(), &'static str> {
        let known = self.kept.all();
        let new = topics.iter().copied().filter(|topic| !known.iter().any(|(known, _)| known == topic));
        has_room(known.iter().map(|(topic, _)| topic.as_str()).chain(new))
    }

    /// Counts these, too, which are kept already.
    pub fn set(&self, topics: Vec<(String, Kept)>, watch: &Watch) {
        for (topic, row) in topics {
            self.kept.set(&topic, Some(row));
            self.counted.lock().entry(topic).or_default();
        }
        self.start(watch);
    }

    /// Whether it is counted.
    pub fn counts_topic(&self, topic: &str) -> bool {
        self.kept.find(topic).is_some()
    }

    /// Has the gateway count them.
    pub fn start(&self, watch: &Watch) {
        let counted = self.counted.lock();
        let all = counted.iter().map(|(topic, counted)| (topic.as_str().into(), counted.counts.clone()));
        watch.count_topics(all);
    }

    /// To be called once a second.
    pub fn tick(&self) {
        for counted in self.counted.lock().values_mut() {
            if counted.samples.len() == SAMPLES {
                counted.samples.pop_front();
            }
            counted.samples.push_back(counted.counts.all());
        }
    }

    /// What was counted of all topics.
    pub fn counts(&self) -> Vec<(String, Sample)> {
        self.counted.lock().iter().map(|(topic, counted)| (topic.clone(), counted.counts.all())).collect()
    }

    fn tell(&self, topic: &str) -> Option<Value> {
        let Kept { created_ms } = self.kept.find(topic)?;
        let counted = self.counted.lock();
        let counted = counted.get(topic)?;
        let now = counted.counts.all();
        let mut metrics = Map::new();
        for (index, name) in TOPIC_COUNTS.iter().enumerate() {
            let of = |sample: Option<&Sample>| sample.map_or(0, |sample| sample[index]);
            let grown = of(counted.samples.back()).saturating_sub(of(counted.samples.front()));
            let secs = counted.samples.len().saturating_sub(1).max(1);
            metrics.insert(format!("{name}.count"), now[index].into());
            metrics.insert(format!("{name}.rate"), json!((grown as f64 / secs as f64 * 100.0).round() / 100.0));
        }
        let mut told = json!({ "topic": topic, "create_time": date_of_ms(created_ms), "metrics": metrics });
        if let Some(reset_ms) = counted.reset_ms {
            told["reset_time"] = date_of_ms(reset_ms).into();
        }
        Some(told)
    }

    /// Begins to count anew; false when there is no such topic.
    fn reset(&self, topic: &str) -> bool {
        let mut counted = self.counted.lock();
        let Some(known) = counted.get_mut(topic) else { return false };
        *known = Counted { reset_ms: Some(unix_ms()), ..Counted::default() };
        true
    }
}

fn not_counted() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "TOPIC_NOT_FOUND", "this topic is not counted")
}

/// Topics whose messages are counted, with what was counted.
#[utoipa::path(
    get, path = "/mqtt/topic_metrics", tag = "observing",
    responses((status = 200, description = "Topics", body = Vec<Value>)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    let metrics = &world.observe.topics;
    Json(metrics.kept.all().iter().filter_map(|(topic, _)| metrics.tell(topic)).collect())
}

/// One topic, with what was counted.
#[utoipa::path(
    get, path = "/mqtt/topic_metrics/{topic}", tag = "observing",
    params(("topic" = String, Path, description = "The topic")),
    responses((status = 200, description = "The topic", body = Value)),
)]
pub async fn find(State(world): State<Arc<World>>, Path(topic): Path<String>) -> Result<Json<Value>, ApiError> {
    world.observe.topics.tell(&topic).map(Json).ok_or_else(not_counted)
}

/// A topic that is to be counted.
#[derive(Deserialize, ToSchema)]
#[schema(as = TopicToCount)]
pub struct Wish {
    topic: String,
}

/// Begins to count a topic's messages.
#[utoipa::path(
    post, path = "/mqtt/topic_metrics", tag = "observing",
    request_body = Wish,
    responses((status = 200, description = "It is counted", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Result<Json<Value>, ApiError> {
    let topic = wish.topic;
    let bad = |why: &str| ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", why);
    let full = |what: &str| ApiError::new(StatusCode::CONFLICT, "EXCEED_LIMIT", what);
    check(&topic).map_err(bad)?;
    let metrics = &world.observe.topics;
    let _changing = world.changes.lock().await;
    if metrics.kept.find(&topic).is_some() {
        return Err(ApiError::exists("this topic is counted already"));
    }
    metrics.has_room_for(&[&topic]).map_err(full)?;
    let row = Kept { created_ms: unix_ms() };
    let change = metrics.kept.change(&topic, Some(&row));
    world.keep(vec![change]).await.map_err(|error| ApiError::store(&error))?;
    metrics.set(vec![(topic.clone(), row)], world.bus.watch());
    metrics.tell(&topic).map(Json).ok_or_else(not_counted)
}

/// What is done with counts.
#[derive(Deserialize, ToSchema)]
#[schema(as = TopicMetricsAction)]
pub struct Order {
    topic: Option<String>,
    /// `reset`
    action: String,
}

/// Begins to count anew: one topic's messages, or those of all.
#[utoipa::path(
    put, path = "/mqtt/topic_metrics", tag = "observing",
    request_body = Order,
    responses((status = 204, description = "They begin at nothing")),
)]
pub async fn reset(State(world): State<Arc<World>>, Body(order): Body<Order>) -> Result<StatusCode, ApiError> {
    if order.action != "reset" {
        return Err(ApiError::bad("action is reset"));
    }
    let metrics = &world.observe.topics;
    let topics = match order.topic {
        Some(topic) => vec![topic],
        None => metrics.kept.all().into_iter().map(|(topic, _)| topic).collect(),
    };
    for topic in topics {
        if !metrics.reset(&topic) {
            return Err(not_counted());
        }
    }
    metrics.start(world.bus.watch());
    Ok(StatusCode::NO_CONTENT)
}

async fn forget(world: &World, topics: Vec<String>) -> Result<StatusCode, ApiError> {
    let metrics = &world.observe.topics;
    let changes = topics.iter().map(|topic| metrics.kept.change(topic, None)).collect();
    world.keep(changes).await.map_err(|error| ApiError::store(&error))?;
    for topic in topics {
        metrics.kept.set(&topic, None);
        metrics.counted.lock().remove(&topic);
    }
    metrics.start(world.bus.watch());
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a topic's messages no more.
#[utoipa::path(
    delete, path = "/mqtt/topic_metrics/{topic}", tag = "observing",
    params(("topic" = String, Path, description = "The topic")),
    responses((status = 204, description = "It is counted no more")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(topic): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    world.observe.topics.kept.find(&topic).ok_or_else(not_counted)?;
    forget(&world, vec![topic]).await
}

/// Counts no topic's messages any more.
#[utoipa::path(
    delete, path = "/mqtt/topic_metrics", tag = "observing",
    responses((status = 204, description = "None is counted")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let topics = world.observe.topics.kept.all().into_iter().map(|(topic, _)| topic).collect();
    forget(&world, topics).await
}
