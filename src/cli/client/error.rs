use std::io;

use thingway_contract::TopicError;

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The transport failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Connecting took too long.
    #[error("no connection within the time")]
    Timeout,
    /// The server did not answer a ping.
    #[error("the server has not answered within the keep-alive interval")]
    Silent,
    /// The server did not answer a request, however often it was sent.
    #[error("the server does not answer {0}")]
    Unanswered(&'static str),
    /// The server hung up.
    #[error("the server closed the connection")]
    Closed,
    /// The server refused the connection.
    #[error("connection refused: {0}")]
    Refused(String),
    /// The server ended the connection.
    #[error("disconnected by the server: {0}")]
    Disconnected(String),
    /// The server refused a subscription.
    #[error("subscription to {filter} refused: {reason}")]
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// Why.
        reason: String,
    },
    /// The server could do nothing with a request.
    #[error("the server rejected {0} with a reset")]
    Rejected(&'static str),
    /// The server refused a publication.
    #[error("publication refused: {0}")]
    PublicationRefused(String),
    /// The server sent something that is no packet.
    #[error("the server sent a bad packet: {0}")]
    BadPacket(String),
    /// The server sent a packet that may not come now.
    #[error("the server sent an unexpected packet: {0}")]
    Unexpected(String),
    /// The topic is not one.
    #[error("this is no topic to publish to: {0:?}")]
    Topic(TopicError),
    /// What was asked for cannot be said in the protocol.
    #[error("this cannot be encoded: {0}")]
    Encode(String),
    /// An option that means nothing in the protocol of the URL.
    #[error("{option} means nothing to {protocol}")]
    Option {
        /// The option.
        option: &'static str,
        /// The protocol.
        protocol: &'static str,
    },
    /// What was asked for does not go together.
    #[error("{0}")]
    Usage(String),
}

impl From<thingway_mqtt::PacketError> for ClientError {
    fn from(error: thingway_mqtt::PacketError) -> Self {
        Self::BadPacket(format!("{error:?}"))
    }
}

impl From<thingway_mqtt::EncodeError> for ClientError {
    fn from(error: thingway_mqtt::EncodeError) -> Self {
        Self::Encode(format!("{error:?}"))
    }
}

impl From<thingway_mqtt_sn::PacketError> for ClientError {
    fn from(error: thingway_mqtt_sn::PacketError) -> Self {
        Self::BadPacket(error.to_string())
    }
}

impl From<thingway_mqtt_sn::EncodeError> for ClientError {
    fn from(error: thingway_mqtt_sn::EncodeError) -> Self {
        Self::Encode(error.to_string())
    }
}
