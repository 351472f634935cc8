//! A client as it is told: all fields, or those that are asked for. Rows are written straight into the answer, for a page may have ten thousand.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::search::address_of;
use crate::{
    api::{date::Date, error::ApiError, query::Query, world::World},
    bus::{ConnectionInfo, SessionInfo},
};

/// What a field tells.
enum Told<'a> {
    Nothing,
    Is(bool),
    Count(u64),
    Text(&'a str),
    Made(String),
    Date(Date),
}

type Tell = for<'a> fn(&'a World, &'a SessionInfo) -> Told<'a>;

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
    ("ip_address", |_, info| of(info, |connection| some(connection.remote, |remote| Told::Made(address_of(remote))))),
    ("is_persistent", |_, info| Told::Is(info.session_expiry_secs > 0)),
    ("keepalive", |_, info| of(info, |connection| count(connection.keep_alive_secs))),
    ("listener", |_, info| of(info, |connection| Told::Made(connection.origin.listener.replacen('.', ":", 1)))),
    ("mqueue_len", |_, info| Told::Count(info.queued as u64)),
    ("mqueue_max", |world, info| {
        let queue = &world.bus.config().queue;
        let max = if info.connection.is_some() { queue.messages_max } else { queue.offline_messages_max };
        Told::Count(max as u64)
    }),
    ("node", |world, _| Told::Text(&world.node)),
    ("port", |_, info| of(info, |connection| some(connection.remote, |remote| count(remote.port())))),
    ("proto_name", |_, info| of(info, |connection| Told::Made(connection.origin.protocol.to_uppercase()))),
    ("proto_ver", |_, info| of(info, |connection| count(connection.version))),
    ("subscriptions_cnt", |_, info| Told::Count(info.subscriptions as u64)),
    ("subscriptions_max", |world, _| match world.bus.config().subscriptions_max {
        usize::MAX => Told::Text("infinity"),
        max => Told::Count(max as u64),
    }),
    ("total_payload_bytes", |_, info| Told::Count(info.queued_bytes as u64)),
    ("username", |_, info| of(info, |connection| some(connection.username.as_deref(), Told::Text))),
];

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
            Self::Made(text) => serializer.serialize_str(text),
            Self::Date(date) => date.serialize(serializer),
        }
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
        let bit = |wanted: &str| FIELDS.iter().position(|(name, _)| *name == wanted).map_or(0, |at| 1 << at);
        match text.split(',').map(|name| bit(name.trim())).fold(0, |bits, bit| bits | bit) {
            0 => Err(ApiError::bad("fields names no field of a client")),
            bits => Ok(Self(bits)),
        }
    }
}

/// A client, to be written as JSON.
pub struct Row<'a> {
    pub world: &'a World,
    pub info: SessionInfo,
    pub fields: Fields,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, (name, tell)) in FIELDS.iter().enumerate() {
            if self.fields.0 & 1 << at != 0 {
                map.serialize_entry(name, &tell(self.world, &self.info))?;
            }
        }
        map.end()
    }
}

const _: () = assert!(FIELDS.len() < 64);
