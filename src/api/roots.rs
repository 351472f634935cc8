//! Settings in the form of EMQX's tree, as far as Thingway has them: `/configs/{root}`, `/configs_reset/{root}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body},
    forms::{self, Field, Means, field},
    query::Query,
    world::World,
};

/// What holds for all listeners and MQTT clients.
const ZONE: &str = "global_zone";

/// The fields below a root.
fn fields(root: &str) -> Option<Vec<Field>> {
    Some(match root {
        ZONE => zone(),
        "sys_topics" => sys_topics(),
        "sysmon" => sysmon(),
        "log" => log(),
        _ => return None,
    })
}

fn zone() -> Vec<Field> {
    vec![
        field("mqtt.max_packet_size", Means::Size("mqtt.max_packet_size")),
        field("mqtt.max_clientid_len", Means::Setting("mqtt.client_id_bytes_max")),
        field("mqtt.max_topic_levels", Means::Setting("mqtt.topic_levels_max")),
        field("mqtt.max_topic_alias", Means::Setting("mqtt.topic_alias_maximum")),
        field("mqtt.max_qos_allowed", Means::Setting("mqtt.max_qos")),
        field("mqtt.retain_available", Means::Setting("mqtt.retain_available")),
        field("mqtt.wildcard_subscription", Means::Setting("mqtt.wildcard_subscription")),
        field("mqtt.shared_subscription", Means::Setting("mqtt.shared_subscription")),
        field("mqtt.exclusive_subscription", Means::Setting("mqtt.exclusive_subscription")),
        field(
            "mqtt.shared_subscription_strategy",
            Means::Named { key: "shared.strategy", names: &[("hash_clientid", "hash_client_id")] },
        ),
        field("mqtt.server_keepalive", Means::Seconds { key: "mqtt.server_keep_alive", none: "disabled" }),
        field("mqtt.keepalive_multiplier", Means::Setting("mqtt.keep_alive_multiplier")),
        field("mqtt.session_expiry_interval", Means::Setting("mqtt.session_expiry_default")),
        field("mqtt.max_session_expiry_interval", Means::Setting("mqtt.session_expiry_max")),
        field("mqtt.max_inflight", Means::Setting("mqtt.inflight_max")),
        field("mqtt.max_subscriptions", Means::Setting("mqtt.subscriptions_max")),
        field("mqtt.upgrade_qos", Means::Setting("mqtt.upgrade_qos")),
        field("mqtt.response_information", Means::Setting("mqtt.response_information")),
        field("mqtt.max_mqueue_len", Means::Settings(&["queue.messages_max", "queue.offline_messages_max"])),
        field("mqtt.mqueue_store_qos0", Means::Setting("queue.qos0_offline")),
        field("mqtt.mqueue_priorities", Means::Always("disabled".into())),
        field("mqtt.ignore_loop_deliver", Means::Always(false.into())),
        field("mqtt.retry_interval", Means::Always("infinity".into())),
        field("mqtt.message_expiry_interval", Means::Always("infinity".into())),
        // Of one listener, in `/listeners/{id}`, or of `access.attributes`.
        field("mqtt.idle_timeout", Means::Only("15s".into())),
        field("mqtt.use_username_as_clientid", Means::Only(false.into())),
        field("mqtt.peer_cert_as_username", Means::Only("disabled".into())),
        field("mqtt.peer_cert_as_clientid", Means::Only("disabled".into())),
        field("mqtt.client_attrs_init", Means::Only(json!([]))),
        field("mqtt.clientid_override", Means::Only("disabled".into())),
        field("mqtt.strict_mode", Means::Only(false.into())),
        field("mqtt.max_awaiting_rel", Means::Only(100.into())),
        field("mqtt.await_rel_timeout", Means::Only("300s".into())),
        field("mqtt.keepalive_check_interval", Means::Only("30s".into())),
        field("mqtt.mqueue_default_priority", Means::Only("lowest".into())),
        field("mqtt.shared_subscription_initial_sticky_pick", Means::Only("random".into())),
        field("flapping_detect.enable", Means::Only(false.into())),
        field("flapping_detect", Means::Unknown),
        field("force_shutdown", Means::Unknown),
        field("force_gc", Means::Unknown),
        field("durable_sessions", Means::Unknown),
    ]
}

fn sys_topics() -> Vec<Field> {
    vec![
        field("sys_msg_interval", Means::Setting("sys_topics.interval")),
        field("sys_heartbeat_interval", Means::Setting("sys_topics.heartbeat")),
        field("sys_event_messages.client_connected", Means::Setting("sys_topics.events.client_connected")),
        field("sys_event_messages.client_disconnected", Means::Setting("sys_topics.events.client_disconnected")),
        field("sys_event_messages.client_subscribed", Means::Setting("sys_topics.events.client_subscribed")),
        field("sys_event_messages.client_unsubscribed", Means::Setting("sys_topics.events.client_unsubscribed")),
    ]
}

fn sysmon() -> Vec<Field> {
    vec![
        field("os.cpu_high_watermark", Means::Percent("alarms.cpu_high")),
        field("os.sysmem_high_watermark", Means::Percent("alarms.memory_high")),
        field("os.cpu_check_interval", Means::Setting("alarms.check_interval")),
        field("os.mem_check_interval", Means::Setting("alarms.check_interval")),
        field("os.cpu_low_watermark", Means::Unknown),
        field("os.procmem_high_watermark", Means::Unknown),
        field("vm", Means::Unknown),
    ]
}

fn log() -> Vec<Field> {
    vec![
        field("console.enable", Means::Always(true.into())),
        field("console.level", Means::Named { key: "log.level", names: &[("warning", "warn")] }),
        field("console.formatter", Means::Setting("log.format")),
        field("console.time_offset", Means::Only("system".into())),
        field("console.timestamp_format", Means::Only("auto".into())),
        field("console.payload_encode", Means::Only("text".into())),
        field("throttling", Means::Unknown),
    ]
}

fn find(root: &str) -> Result<Vec<Field>, ApiError> {
    fields(root).ok_or_else(|| no_such(root))
}

fn no_such(part: &str) -> ApiError {
    ApiError::not_found(format!("{part}: there is no such part of the settings"))
}

/// What is below one key of EMQX's tree: `/configs?key=mqtt`.
pub fn below(world: &World, key: &str) -> Result<Value, ApiError> {
    let told = match key {
        // Its parts are EMQX's roots.
        ZONE => None,
        _ => match fields(key) {
            Some(fields) => Some(forms::tell(world, &fields).0),
            None => forms::tell(world, &zone()).0.get(key).cloned(),
        },
    };
    told.map(|told| json!({ key: told })).ok_or_else(|| no_such(key))
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(tell, change)).routes(routes!(reset))
}

/// A part of EMQX's tree, as far as there are such settings: `global_zone`, `sys_topics`, `sysmon` or `log`.
#[utoipa::path(
    get,
    path = "/configs/{root}",
    tag = "settings",
    params(("root" = String, Path, description = "global_zone, sys_topics, sysmon or log")),
    responses((status = 200, description = "The settings by EMQX's names", body = Value)),
)]
async fn tell(State(world): State<Arc<World>>, Path(root): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(forms::tell(&world, &find(&root)?))
}

/// Changes what is sent of a part of EMQX's tree, all of it or nothing.
#[utoipa::path(
    put,
    path = "/configs/{root}",
    tag = "settings",
    params(("root" = String, Path, description = "global_zone, sys_topics, sysmon or log")),
    request_body = BTreeMap<String, Value>,
    responses((status = 200, description = "The settings, and what of them is pending until the next start", body = Value)),
)]
async fn change(
    State(world): State<Arc<World>>,
    Path(root): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    forms::change(&world, &find(&root)?, &body).await
}

/// Takes changes of before away, of all of a part of EMQX's tree or of what is below `conf_path`: what the configuration says counts again.
#[utoipa::path(
    post,
    path = "/configs_reset/{root}",
    tag = "settings",
    params(
        ("root" = String, Path, description = "global_zone, sys_topics, sysmon or log"),
        ("conf_path" = Option<String>, Query, description = "names below it, with dots between: os.cpu_high_watermark"),
    ),
    responses((status = 200, description = "They are as configured")),
)]
async fn reset(State(world): State<Arc<World>>, Path(root): Path<String>, query: Query) -> Result<(), ApiError> {
    forms::reset(&world, &find(&root)?, query.find("conf_path").unwrap_or_default()).await
}
