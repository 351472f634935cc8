use serde_json::Map;
use thingway_coap::codec::{Code, Kind, Packet, media_type, option};
use thingway_contract::{TopicFilter, TopicLimits};
use tokio::time::Instant;

use super::request::Requests;
use crate::cli::client::{conversation::Message, error::ClientError, print::insert};

/// What is subscribed to.
#[derive(Debug)]
pub struct Observation {
    /// What the link calls it.
    pub tag: u32,
    /// The filter.
    pub filter: String,
    /// The request that registered it, without Observe.
    pub request: Packet,
    /// The request that registers it again, with its token.
    pub again: Packet,
    /// When that is to be done.
    pub refresh_at: Instant,
}

impl Observation {
    /// The server has ended it.
    pub fn ended(&self, reason: &str) -> ClientError {
        ClientError::Disconnected(format!("no longer subscribed to {}: {reason}", self.filter))
    }

    /// What a notification tells of its message, but for the payload, and whether it was retained.
    ///
    /// Notifications are messages here, and not states of one thing, so that none is left out for being older than another (RFC 7641, section 3.4).
    pub fn message(&self, notification: &Packet, requests: &Requests) -> Message {
        let mut properties = Map::new();
        let format = notification.uint(option::CONTENT_FORMAT).and_then(|format| u16::try_from(format).ok());
        if let Some(format) = format {
            insert(&mut properties, "content_type", &*media_type(format));
        }
        insert(&mut properties, "confirmable", notification.kind() != Kind::NonConfirmable);
        if let Some(secs) = notification.uint(option::MAX_AGE) {
            insert(&mut properties, "expiry_secs", secs);
        }
        Message {
            topic: self.topic(notification, requests),
            payload: Vec::new(),
            // A message of QoS 0 may be confirmable for reasons of its own (RFC 7641, section 4.5).
            qos: None,
            retain: false,
            duplicate: false,
            properties,
        }
    }

    /// The topic: servers that say which of several it is do so by the path of its resource. Others leave it at the filter.
    fn topic(&self, notification: &Packet, requests: &Requests) -> String {
        let path = requests.path();
        let location: Vec<_> = notification.options(option::LOCATION_PATH).map(String::from_utf8_lossy).collect();
        let levels = location.get(path.len()..).filter(|levels| !levels.is_empty());
        match levels.filter(|_| path.iter().zip(&location).all(|(one, other)| one == other)) {
            Some(levels) => levels.join("/"),
            None => {
                let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
                TopicFilter::parse(&self.filter, limits)
                    .map_or_else(|_| self.filter.clone(), |filter| filter.filter().to_owned())
            }
        }
    }
}

/// A response's code for people, with the server's own words where it has some (RFC 7252, section 5.5.2).
pub fn explain(response: &Packet) -> String {
    let code = response.code();
    let mut text = format!("{code} {}", phrase(code));
    if let Ok(words) = std::str::from_utf8(response.payload())
        && !words.is_empty()
    {
        text += &format!(": {words}");
    }
    text
}

const fn phrase(code: Code) -> &'static str {
    match code {
        Code::CREATED => "Created",
        Code::DELETED => "Deleted",
        Code::VALID => "Valid",
        Code::CHANGED => "Changed",
        Code::CONTENT => "Content",
        Code::CONTINUE => "Continue",
        Code::BAD_REQUEST => "Bad Request",
        Code::UNAUTHORIZED => "Unauthorized",
        Code::BAD_OPTION => "Bad Option",
        Code::FORBIDDEN => "Forbidden",
        Code::NOT_FOUND => "Not Found",
        Code::METHOD_NOT_ALLOWED => "Method Not Allowed",
        Code::NOT_ACCEPTABLE => "Not Acceptable",
        Code::REQUEST_ENTITY_INCOMPLETE => "Request Entity Incomplete",
        Code::PRECONDITION_FAILED => "Precondition Failed",
        Code::REQUEST_ENTITY_TOO_LARGE => "Request Entity Too Large",
        Code::UNSUPPORTED_CONTENT_FORMAT => "Unsupported Content-Format",
        Code::TOO_MANY_REQUESTS => "Too Many Requests",
        Code::INTERNAL_SERVER_ERROR => "Internal Server Error",
        Code::NOT_IMPLEMENTED => "Not Implemented",
        Code::SERVICE_UNAVAILABLE => "Service Unavailable",
        Code::PROXYING_NOT_SUPPORTED => "Proxying Not Supported",
        _ => "unknown code",
    }
}
