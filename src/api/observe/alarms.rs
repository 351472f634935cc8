use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::{
        error::{ApiError, Body},
        page::Page,
        query::Query,
        world::{World, date_of_ms, unix_ms},
    },
    watch::Alarm,
};

/// An alarm, as EMQX shows it.
pub fn tell(alarm: &Alarm, node: &str) -> Value {
    let until = alarm.deactivated_ms.unwrap_or_else(unix_ms);
    json!({
        "node": node,
        "name": alarm.name,
        "message": alarm.message,
        "details": alarm.details,
        "duration": until.saturating_sub(alarm.activated_ms),
        "activate_at": date_of_ms(alarm.activated_ms),
        "deactivate_at": alarm.deactivated_ms.map_or("infinity".into(), date_of_ms),
    })
}

/// Alarms: those that are not over, or with `activated=false` those of the last day that are.
#[utoipa::path(
    get,
    path = "/alarms",
    tag = "observing",
    params(
        ("activated" = Option<bool>, Query, description = "Those that are not over"),
        ("page" = Option<u64>, Query),
        ("limit" = Option<u64>, Query),
    ),
    responses((status = 200, description = "Alarms", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let alarms = world.bus.watch().alarms();
    let found = match query.read("activated")?.unwrap_or(true) {
        true => alarms.active(),
        false => alarms.over(unix_ms()),
    };
    Ok(Json(Page::of(&query)?.cut(found.iter().map(|alarm| tell(alarm, &world.node)).collect())))
}

/// Forgets alarms that are over.
#[utoipa::path(
    delete,
    path = "/alarms",
    tag = "observing",
    responses((status = 204, description = "They are forgotten")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> StatusCode {
    world.bus.watch().alarms().forget();
    StatusCode::NO_CONTENT
}

/// An alarm that is to be over.
#[derive(Deserialize, ToSchema)]
#[schema(as = AlarmToEnd)]
pub struct Wish {
    /// Its name.
    name: Option<String>,
}

/// Ends an alarm by hand. It comes again with the next look if it is true still.
#[utoipa::path(
    post,
    path = "/alarms/force_deactivate",
    tag = "observing",
    request_body = Wish,
    responses((status = 204, description = "It is over")),
)]
pub async fn end(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Result<StatusCode, ApiError> {
    let bad = |code, why: &str| ApiError::new(StatusCode::BAD_REQUEST, code, why);
    let name = wish.name.filter(|name| !name.is_empty()).ok_or_else(|| bad("INVALID_PARAMETER", "name is required"))?;
    let ended = world.bus.watch().alarms().end(&name, unix_ms());
    let alarm = ended.ok_or_else(|| bad("NOT_FOUND", "Alarm not found or already deactivated"))?;
    world.with_lane(|lane, now| world.bus.tell_alarm(&world.node, &alarm, now, lane));
    Ok(StatusCode::NO_CONTENT)
}
