//! A client as it is told: all fields, or those that are asked for.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::search::address_of;
use crate::{
    api::{error::ApiError, query::Query, world::World},
    bus::SessionInfo,
};

type Tell = fn(&World, &SessionInfo) -> Value;

/// Fields by name.
const FIELDS: &[(&str, Tell)] = &[
    ("clean_start", |_, info| of(info, |connection| connection.clean_start.into())),
    ("clientid", |_, info| info.id.as_str().into()),
    ("connected", |_, info| info.connection.is_some().into()),
    ("connected_at", |world, info| of(info, |connection| world.date(connection.connected_at).into())),
    ("durable", |_, info| info.kept.into()),
    ("expiry_interval", |_, info| info.session_expiry_secs.into()),
    ("ip_address", |_, info| of(info, |connection| connection.remote.map(address_of).into())),
    ("is_persistent", |_, info| (info.session_expiry_secs > 0).into()),
    ("keepalive", |_, info| of(info, |connection| connection.keep_alive_secs.into())),
    ("listener", |_, info| of(info, |connection| connection.origin.listener.replacen('.', ":", 1).into())),
    ("mqueue_len", |_, info| info.queued.into()),
    ("mqueue_max", |world, _| world.bus.config().queue.messages_max.into()),
    ("node", |world, _| world.node.as_str().into()),
    ("port", |_, info| of(info, |connection| connection.remote.map(|remote| remote.port()).into())),
    ("proto_name", |_, info| of(info, |connection| connection.origin.protocol.to_uppercase().into())),
    ("proto_ver", |_, info| of(info, |connection| connection.version.into())),
    ("subscriptions_cnt", |_, info| info.subscriptions.into()),
    ("subscriptions_max", |world, _| match world.bus.config().subscriptions_max {
        usize::MAX => "infinity".into(),
        max => max.into(),
    }),
    ("total_payload_bytes", |_, info| info.queued_bytes.into()),
    ("username", |_, info| of(info, |connection| connection.username.as_deref().into())),
];

fn of(info: &SessionInfo, tell: impl FnOnce(&crate::bus::ConnectionInfo) -> Value) -> Value {
    info.connection.as_ref().map_or(Value::Null, tell)
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
