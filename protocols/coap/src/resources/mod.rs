//! What paths, queries and bodies mean; nothing here keeps state.
//!
//! | module | what |
//! | --- | --- |
//! | `path` | which resource a path names, and which topic |
//! | `query` | parameters in the query |
//! | `date` | dates as texts |
//! | `content` | messages as representations: format, entity tag, age |
//! | `links` | link format and its filters (RFC 6690) |
//! | `cbor` | the little CBOR that topic configurations need |
//! | `topic_config` | topic configurations of the publish/subscribe draft |
//! | `secret` | connection tokens and Echo values |

mod cbor;
mod content;
mod date;
mod links;
mod path;
mod query;
mod secret;
mod topic_config;

pub(crate) use content::{age_secs, entity_tag, format_of, properties_of, short_age_secs};
pub(crate) use links::{Link, Links};
pub(crate) use path::Resource;
pub(crate) use query::Query;
pub(crate) use secret::{address_key, connection_token, echo_is_valid, echo_value, is_token_valid};
pub(crate) use topic_config::{
    ConfigError, FORMAT as TOPIC_CONFIG_FORMAT, Selection, TopicConfig, id_of, record_topic,
};
