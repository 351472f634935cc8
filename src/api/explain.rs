//! Why somebody may connect, publish or subscribe: `/access/explain`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use thingway_contract::{ClientId, Qos, TopicFilter, TopicLimits, Transport};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body},
    world::World,
};
use crate::access::{Attempt, Verdict, Wanted, passwords::Secret};

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// What somebody wants.
#[derive(Clone, Copy, ToSchema, Deserialize)]
#[schema(as = ExplainedAction)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Connect,
    Publish,
    Subscribe,
}

#[derive(ToSchema, Deserialize)]
#[schema(as = ExplainWish)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    action: Action,
    clientid: String,
    username: Option<String>,
    /// Who shows one is let in first, as when it connects; nothing is counted.
    password: Option<String>,
    peerhost: Option<String>,
    /// As tcp:default.
    listener: Option<String>,
    /// mqtt, mqtt-sn or coap.
    protocol: Option<String>,
    /// The topic, or the filter.
    topic: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
}

/// What would come of it, and why: every step, and who decides.
#[utoipa::path(
    post,
    path = "/access/explain",
    tag = "access",
    request_body = Wish,
    responses((status = 200, description = "outcome (allow or deny), decided_by, and steps with source, says (allow, deny, ignore or changes) and rule", body = Value)),
)]
pub async fn explain(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Result<Json<Value>, ApiError> {
    let qos = Qos::from_u8(wish.qos).ok_or_else(|| ApiError::bad("qos is 0, 1 or 2"))?;
    let protocol = match wish.protocol.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("mqtt") => "mqtt",
        Some("mqtt-sn" | "mqttsn") => "mqtt-sn",
        Some("coap") => "coap",
        Some(_) => return Err(ApiError::bad("protocol is mqtt, mqtt-sn or coap")),
    };
    let address = wish.peerhost.as_deref().filter(|text| !text.is_empty()).map(str::parse::<IpAddr>).transpose();
    let address = address.map_err(|_| ApiError::bad("peerhost is no address"))?;
    let topic = || wish.topic.clone().ok_or_else(|| ApiError::bad("name a topic"));
    let wanted = match wish.action {
        Action::Connect => Wanted::Connect,
        Action::Publish => Wanted::Publish { topic: topic()?.into(), qos, retain: wish.retain },
        Action::Subscribe => {
            let filter = TopicFilter::parse(&topic()?, TopicLimits { bytes_max: 65_535, levels_max: usize::MAX });
            let wrong = |_| ApiError::new(axum::http::StatusCode::BAD_REQUEST, "BAD_TOPIC", "it is no topic filter");
            Wanted::Subscribe { filter: filter.map_err(wrong)?, qos }
        }
    };
    let attempt = Attempt {
        client_id: ClientId::new(&wish.clientid, 65_535).ok(),
        username: wish.username.map(Into::into),
        password: wish.password.map(|text| Secret::from(text.into_bytes())),
        remote: address.map(|address| SocketAddr::new(address, 0)),
        listener: wish.listener.as_deref().unwrap_or("tcp:default").replacen(':', ".", 1).into(),
        protocol,
        ..Attempt::default()
    };
    let transport = if protocol == "mqtt" { Transport::Tcp } else { Transport::Udp };
    let explained = world.access.explain(attempt, transport, &wanted, world.now()).await;
    let steps = explained.steps.into_iter().map(|step| {
        let says = match step.says {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Ignore => "ignore",
            Verdict::Changes => "changes",
        };
        match step.detail {
            Some(detail) => json!({ "source": step.source, "says": says, "rule": detail }),
            None => json!({ "source": step.source, "says": says }),
        }
    });
    let outcome = if explained.allowed { "allow" } else { "deny" };
    Ok(Json(json!({ "outcome": outcome, "decided_by": explained.decided_by, "steps": steps.collect::<Vec<_>>() })))
}
