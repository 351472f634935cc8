//! A client as it is told: all fields, or those that are asked for. Rows are written straight into the answer, for a page may have ten thousand.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

use thingway_contract::Exchanges;

use super::line::Counts;
use crate::{
    api::{date::Date, error::ApiError, query::Query, world::World},
    bus::{ConnectionInfo, SessionInfo, Traffic},
};

/// What a field tells.
enum Told<'a> {
    Nothing,
    Is(bool),
    Count(u64),
    Text(&'a str),
    Address(SocketAddr),
    /// In capitals.
    Protocol(&'a str),
    /// A listener by its kind and name, as EMQX writes it.
    Listener(&'a str),
    Date(Date),
}

type Tell = for<'a> fn(&'a World, &'a SessionInfo) -> Told<'a>;
type TellCount = fn(&Counts) -> Told<'static>;

/// Fields by name.
const FIELDS: &[(&str, Tell)] = &[
    ("clean_start", |_, info| of(info, |connection| Told::Is(connection.clean_start))),
    ("clientid", |_, info| Told::Text(info.id.as_str())),
    ("connected", |_, info| Told::Is(info.connection.is_some())),
    ("connected_at", |world, info| {
        of(info, |connection| Told::Date(Date::of_ms(world.unix_ms(connection.connected_at))))
    }),
    ("created_at", |_, info| second(info.began_secs)),
    ("disconnected_at", |_, info| second(info.left_secs)),
    ("durable", |_, info| Told::Is(info.kept)),
    ("expiry_interval", |_, info| count(info.session_expiry_secs)),
    ("ip_address", |_, info| of(info, |connection| some(connection.remote, Told::Address))),
    ("is_persistent", |_, info| Told::Is(info.session_expiry_secs > 0)),
    ("keepalive", |_, info| of(info, |connection| count(connection.keep_alive_secs))),
    ("listener", |_, info| of(info, |connection| Told::Listener(&connection.origin.listener))),
    ("mqueue_len", |_, info| Told::Count(info.queued as u64)),
    ("mqueue_max", |world, info| {
        let queue = &world.bus.config().queue;
        let max = if info.connection.is_some() { queue.messages_max } else { queue.offline_messages_max };
        Told::Count(max as u64)
    }),
    ("node", |world, _| Told::Text(&world.node)),
    ("port", |_, info| of(info, |connection| some(connection.remote, |remote| count(remote.port())))),
    ("proto_name", |_, info| of(info, |connection| Told::Protocol(connection.origin.protocol))),
    ("proto_ver", |_, info| of(info, |connection| count(connection.version))),
    ("subscriptions_cnt", |_, info| Told::Count(info.subscriptions as u64)),
    ("subscriptions_max", |world, _| match world.bus.tuning().subscriptions_max {
        usize::MAX => Told::Text("infinity"),
        max => Told::Count(max as u64),
    }),
    ("total_payload_bytes", |_, info| Told::Count(info.queued_bytes as u64)),
    ("username", |_, info| of(info, |connection| some(connection.username.as_deref(), Told::Text))),
];

/// Fields that the client's connection is asked for.
const COUNTS: &[(&str, TellCount)] = &[
    ("awaiting_rel_cnt", |counts| under_way(counts, |exchanges| exchanges.inbound)),
    ("awaiting_rel_max", |counts| {
        some(counts.exchanges, |exchanges| match exchanges.inbound_max {
            Some(max) => Told::Count(max as u64),
            None => Told::Text("infinity"),
        })
    }),
    ("inflight_cnt", |counts| under_way(counts, |exchanges| exchanges.outbound)),
    ("inflight_max", |counts| under_way(counts, |exchanges| exchanges.outbound_max)),
    ("mqueue_dropped", |counts| some(counts.queue_dropped, Told::Count)),
    ("recv_msg", |counts| counted(counts, |traffic| traffic.messages_received.iter().sum())),
    ("recv_msg.dropped", |counts| counted(counts, |traffic| traffic.refused)),
    ("recv_msg.qos0", |counts| counted(counts, |traffic| traffic.messages_received[0])),
    ("recv_msg.qos1", |counts| counted(counts, |traffic| traffic.messages_received[1])),
    ("recv_msg.qos2", |counts| counted(counts, |traffic| traffic.messages_received[2])),
    ("recv_oct", |counts| counted(counts, |traffic| traffic.bytes_received)),
    ("recv_pkt", |counts| counted(counts, |traffic| traffic.packets_received)),
    ("send_msg", |counts| counted(counts, |traffic| traffic.messages_sent.iter().sum())),
    ("send_msg.dropped", |counts| counted(counts, |traffic| traffic.expired + traffic.too_large)),
    ("send_msg.dropped.expired", |counts| counted(counts, |traffic| traffic.expired)),
    ("send_msg.dropped.too_large", |counts| counted(counts, |traffic| traffic.too_large)),
    ("send_msg.qos0", |counts| counted(counts, |traffic| traffic.messages_sent[0])),
    ("send_msg.qos1", |counts| counted(counts, |traffic| traffic.messages_sent[1])),
    ("send_msg.qos2", |counts| counted(counts, |traffic| traffic.messages_sent[2])),
    ("send_oct", |counts| counted(counts, |traffic| traffic.bytes_sent)),
    ("send_pkt", |counts| counted(counts, |traffic| traffic.packets_sent)),
];

fn counted(counts: &Counts, tell: impl FnOnce(Traffic) -> u64) -> Told<'static> {
    some(counts.traffic, |traffic| Told::Count(tell(traffic)))
}

fn under_way(counts: &Counts, tell: impl FnOnce(Exchanges) -> usize) -> Told<'static> {
    some(counts.exchanges, |exchanges| Told::Count(tell(exchanges) as u64))
}

fn of<'a>(info: &'a SessionInfo, tell: impl FnOnce(&'a ConnectionInfo) -> Told<'a>) -> Told<'a> {
    some(info.connection.as_ref(), tell)
}

fn some<'a, T>(of: Option<T>, tell: impl FnOnce(T) -> Told<'a>) -> Told<'a> {
    of.map_or(Told::Nothing, tell)
}

fn count(of: impl Into<u64>) -> Told<'static> {
    Told::Count(of.into())
}

fn second(unix_secs: Option<u32>) -> Told<'static> {
    some(unix_secs, |secs| Told::Date(Date::of_ms(u64::from(secs) * 1000)))
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::Is(is) => serializer.serialize_bool(*is),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Address(remote) => serializer.collect_str(&remote.ip().to_canonical()),
            Self::Protocol(name) => serializer.collect_str(&Capitals(name)),
            Self::Listener(name) => {
                let (kind, own) = name.split_once('.').unwrap_or((name, ""));
                serializer.collect_str(&format_args!("{kind}:{own}"))
            }
            Self::Date(date) => date.serialize(serializer),
        }
    }
}

/// ASCII in capitals.
struct Capitals<'a>(&'a str);

impl fmt::Display for Capitals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| f.write_char(char.to_ascii_uppercase()))
    }
}

/// Which fields are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u64);

impl Fields {
    pub const ALL: Self = Self(u64::MAX);

    /// Of `fields`: names with commas between them, or `all`. A name of EMQX's that there is no such field for is none.
    ///
    /// # Errors
    /// When it names none that there is.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        let Some(text) = query.find("fields").filter(|text| *text != "all") else { return Ok(Self::ALL) };
        let names = || FIELDS.iter().map(|(name, _)| *name).chain(COUNTS.iter().map(|(name, _)| *name));
        let bit = |wanted: &str| names().position(|name| name == wanted).map_or(0, |at| 1 << at);
        match text.split(',').map(|name| bit(name.trim())).fold(0, |bits, bit| bits | bit) {
            0 => Err(ApiError::bad("fields names no field of a client")),
            bits => Ok(Self(bits)),
        }
    }

    /// Connections have to be asked for some of them.
    pub fn have_counts(self) -> bool {
        self != self.without_counts()
    }

    /// The others.
    pub fn without_counts(self) -> Self {
        Self(self.0 & ((1 << FIELDS.len()) - 1))
    }
}

/// A client, to be written as JSON.
pub struct Row<'a> {
    pub world: &'a World,
    pub info: SessionInfo,
    pub fields: Fields,
    pub counts: Counts,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, (name, tell)) in FIELDS.iter().enumerate() {
            if self.fields.0 & 1 << at != 0 {
                map.serialize_entry(name, &tell(self.world, &self.info))?;
            }
        }
        for (at, (name, tell)) in COUNTS.iter().enumerate() {
            if self.fields.0 & 1 << (FIELDS.len() + at) != 0 {
                map.serialize_entry(name, &tell(&self.counts))?;
            }
        }
        map.end()
    }
}

const _: () = assert!(FIELDS.len() + COUNTS.len() < 64);
