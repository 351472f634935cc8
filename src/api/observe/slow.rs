use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::{
        error::{ApiError, Body},
        page::Page,
        query::Query,
        world::World,
    },
    watch::{SlowSettings, SlowTime},
};

/// The name of what was set in the store.
pub const KEY: &str = "slow_subscriptions";
const COUNT_MAX: usize = 1000;

/// A time, as EMQX writes it: `500ms`, or a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Value", into = "String")]
#[schema(value_type = String, example = "500ms")]
struct Time(u64);

impl TryFrom<Value> for Time {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let ms = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => {
                humantime::parse_duration(text).ok().and_then(|time| u64::try_from(time.as_millis()).ok())
            }
            _ => None,
        };
        ms.filter(|ms| (1..=7 * 86_400_000).contains(ms))
            .map(Self)
            .ok_or_else(|| format!("{value} is no time from 1ms to 7d"))
    }
}

impl From<Time> for String {
    fn from(Time(ms): Time) -> Self {
        if ms % 1000 == 0 { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SlowStatsType)]
enum StatsType {
    Whole,
    Internal,
    Response,
}

/// Which subscribers are slow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = SlowSubscriptionsSettings)]
pub struct Settings {
    /// Whether anybody looks.
    enable: bool,
    /// Who takes longer is slow.
    threshold: Time,
    /// For so long.
    expire_interval: Time,
    /// How many are told, at most 1,000.
    top_k_num: usize,
    /// From receiving a message until its subscriber has it, or until it is sent, or from then on.
    stats_type: StatsType,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enable: false,
            threshold: Time(500),
            expire_interval: Time(300_000),
            top_k_num: 10,
            stats_type: StatsType::Whole,
        }
    }
}

impl Settings {
    /// Of a row that was kept elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_row(row: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(row).map_err(|error| error.to_string())?;
        settings.check().map(|()| settings)
    }

    fn check(self) -> Result<(), String> {
        match (1..=COUNT_MAX).contains(&self.top_k_num) {
            true => Ok(()),
            false => Err(format!("top_k_num is from 1 to {COUNT_MAX}")),
        }
    }

    fn as_settings(self) -> SlowSettings {
        SlowSettings {
            enable: self.enable,
            threshold_ms: self.threshold.0,
            expire_ms: self.expire_interval.0,
            count_max: self.top_k_num,
            time: match self.stats_type {
                StatsType::Whole => SlowTime::Whole,
                StatsType::Internal => SlowTime::Internal,
                StatsType::Response => SlowTime::Response,
            },
        }
    }
}

/// Which subscribers are slow, as it was set.
#[derive(Debug)]
pub struct SlowSubscriptions(Mutex<Settings>);

impl SlowSubscriptions {
    /// As it was kept.
    pub fn of(settings: &[(String, String)]) -> Result<Self, (String, serde_json::Error)> {
        let kept = settings.iter().find(|(name, _)| name == KEY);
        let kept =
            kept.map(|(name, text)| serde_json::from_str(text).map_err(|error| (name.clone(), error))).transpose()?;
        Ok(Self(Mutex::new(kept.unwrap_or_default())))
    }

    /// It is set otherwise, and kept so.
    pub fn set(&self, settings: Settings, watch: &crate::watch::Watch) {
        *self.0.lock() = settings;
        self.start(watch);
    }

    /// Begins to look, if that was set.
    pub fn start(&self, watch: &crate::watch::Watch) {
        watch.look_for_slow(&self.0.lock().as_settings());
    }
}

/// The slowest subscribers, the slowest first.
#[utoipa::path(
    get, path = "/slow_subscriptions", tag = "observing",
    params(("page" = Option<u64>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, description = "Clients, with what, and how long it took in milliseconds", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let slowest = world.bus.watch().slowest(world.now());
    let tell = |slow: &crate::watch::Slow| {
        json!({
            "clientid": slow.client_id, "node": world.node, "topic": slow.topic,
            "timespan": slow.took_ms, "last_update_time": world.unix_ms(slow.at),
        })
    };
    Ok(Json(Page::of(&query)?.cut(slowest.iter().map(tell).collect())))
}

/// Forgets them.
#[utoipa::path(
    delete, path = "/slow_subscriptions", tag = "observing",
    responses((status = 204, description = "They are forgotten")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> StatusCode {
    world.bus.watch().forget_slow();
    StatusCode::NO_CONTENT
}

/// Which subscribers are slow.
#[utoipa::path(
    get, path = "/slow_subscriptions/settings", tag = "observing",
    responses((status = 200, description = "Settings", body = Settings)),
)]
pub async fn settings(State(world): State<Arc<World>>) -> Json<Settings> {
    Json(*world.observe.slow.0.lock())
}

/// Changes which subscribers are slow.
#[utoipa::path(
    put, path = "/slow_subscriptions/settings", tag = "observing",
    request_body = Settings,
    responses((status = 200, description = "As it is now", body = Settings)),
)]
pub async fn change(State(world): State<Arc<World>>, Body(wish): Body<Settings>) -> Result<Json<Settings>, ApiError> {
    wish.check().map_err(ApiError::bad)?;
    let _changing = world.changes.lock().await;
    let text = serde_json::to_string(&wish).map_err(|error| ApiError::bad(error.to_string()))?;
    world.keep(vec![(KEY.to_owned(), Some(text))]).await.map_err(|error| ApiError::store(&error))?;
    world.observe.slow.set(wish, world.bus.watch());
    Ok(Json(wish))
}
