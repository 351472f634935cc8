//! What happens to clients, told on `$SYS/brokers/{node}/clients/{client id}/{event}` in EMQX's form.

use std::fmt::Write;

use serde_json::json;
use thingway_contract::{
    ClientId, FaultKind, Instant, Message, MessageHead, Properties, Topic, TopicFilter, TopicLimits,
};

use super::{Bus, ConnectionInfo, Lane, Session};
use crate::watch::{ClientEvent, Happened};

/// Which events are published.
#[derive(Clone, Debug, Default)]
pub struct EventConfig {
    /// Name of this node.
    pub node: String,
    /// A client got a session.
    pub connected: bool,
    /// A client's connection ended.
    pub disconnected: bool,
    /// A client subscribed.
    pub subscribed: bool,
    /// A client unsubscribed.
    pub unsubscribed: bool,
    /// Wall-clock time at the bus clock's zero, in milliseconds since 1970.
    pub clock_zero_unix_ms: u64,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepartCause {
    /// The peer said goodbye.
    Normal,
    /// The transport ended or failed.
    Closed,
    /// The peer or the gateway was at fault.
    Fault(FaultKind),
    /// Another connection took the session over.
    TakenOver,
    /// An operator ended it.
    Kicked,
    /// The gateway ended it for another reason.
    Gateway,
}

impl DepartCause {
    /// The word in events and metrics, as EMQX has it where the meaning is the same.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Closed => "tcp_closed",
            Self::Fault(FaultKind::Timeout) => "keepalive_timeout",
            Self::Fault(kind) => kind.as_str(),
            Self::TakenOver => "takenover",
            Self::Kicked => "kicked",
            Self::Gateway => "server_initiated",
        }
    }
}

impl Bus {
    pub(super) fn tell_connected(
        &self,
        id: &ClientId,
        info: &ConnectionInfo,
        expiry_secs: u32,
        now: Instant,
        lane: &mut Lane,
    ) {
        self.watch.happened(|| ClientEvent::of(Happened::Connected, id, Some(info), now));
        if !self.config.events.connected {
            return;
        }
        self.tell(id, "connected", now, lane, |ts| {
            let mut event = client(id, info, ts);
            event["connected_at"] = ts.into();
            event["keepalive"] = info.keep_alive_secs.into();
            event["expiry_interval"] = expiry_secs.into();
            event["clean_start"] = info.clean_start.into();
            event["connack"] = 0.into();
            event
        });
    }

    pub(super) fn tell_disconnected(
        &self,
        id: &ClientId,
        info: &ConnectionInfo,
        cause: DepartCause,
        now: Instant,
        lane: &mut Lane,
    ) {
        self.watch.happened(|| ClientEvent {
            reason: Some(cause.as_str()),
            ..ClientEvent::of(Happened::Disconnected, id, Some(info), now)
        });
        if !self.config.events.disconnected {
            return;
        }
        self.tell(id, "disconnected", now, lane, |ts| {
            let mut event = client(id, info, ts);
            event["disconnected_at"] = ts.into();
            event["reason"] = cause.as_str().into();
            event
        });
    }

    pub(super) fn tell_subscribed(
        &self,
        session: &Session,
        filter: &TopicFilter,
        qos: u8,
        now: Instant,
        lane: &mut Lane,
    ) {
        self.watch.happened(|| ClientEvent::about(Happened::Subscribed, session, filter, now));
        if self.config.events.subscribed {
            let id = session.id();
            let event = |ts| json!({ "clientid": id.as_str(), "topic": filter.to_string(), "subopts": { "qos": qos }, "ts": ts });
            self.tell(id, "subscribed", now, lane, event);
        }
    }

    pub(super) fn tell_unsubscribed(&self, session: &Session, filter: &TopicFilter, now: Instant, lane: &mut Lane) {
        self.watch.happened(|| ClientEvent::about(Happened::Unsubscribed, session, filter, now));
        if self.config.events.unsubscribed {
            let id = session.id();
            let event = |ts| json!({ "clientid": id.as_str(), "topic": filter.to_string(), "ts": ts });
            self.tell(id, "unsubscribed", now, lane, event);
        }
    }

    /// Publishes an event, which is only put into words when somebody listens.
    fn tell(&self, id: &str, what: &str, now: Instant, lane: &mut Lane, event: impl FnOnce(u64) -> serde_json::Value) {
        if !self.routes.has_reserved() {
            return;
        }
        // A client id may hold what a topic level may not.
        let mut topic = String::with_capacity(64);
        let level = id.replace(['/', '+', '#'], "_");
        if write!(topic, "$SYS/brokers/{}/clients/{level}/{what}", self.config.events.node).is_err() {
            return;
        }
        let Ok(topic) = Topic::parse(&topic, TopicLimits::default()) else { return };
        let mut listened = false;
        self.routes.matching_filters(topic, |_| listened = true);
        if listened {
            let ts = self.config.events.clock_zero_unix_ms + now.as_millis();
            let head = MessageHead { received_at: now, ..MessageHead::default() };
            let payload = event(ts).to_string();
            self.publish(Message::new(head, topic, Properties::default(), payload.as_bytes()), None, now, lane);
        }
    }
}

impl ClientEvent {
    fn of(what: Happened, id: &ClientId, info: Option<&ConnectionInfo>, at: Instant) -> Self {
        Self {
            what,
            client_id: id.clone(),
            username: info.and_then(|info| info.username.clone()),
            protocol: info.map_or("", |info| info.origin.protocol),
            remote: info.and_then(|info| info.remote),
            topic: None,
            reason: None,
            at,
        }
    }

    fn about(what: Happened, session: &Session, filter: &TopicFilter, at: Instant) -> Self {
        let info = session.connection();
        Self { topic: Some(filter.to_string().into()), ..Self::of(what, session.id(), info.as_ref(), at) }
    }
}

fn client(id: &str, info: &ConnectionInfo, ts: u64) -> serde_json::Value {
    json!({
        "clientid": id,
        "username": info.username.as_deref().unwrap_or("undefined"),
        "ipaddress": info.remote.map_or_else(|| "local".to_owned(), |remote| remote.ip().to_string()),
        "sockport": info.remote.map_or(0, |remote| remote.port()),
        "proto_name": info.origin.protocol.to_uppercase(),
        "proto_ver": info.version,
        "ts": ts,
    })
}
