use serde_json::{Map, Value as Json};
use thingway_contract::Qos;

use super::{
    arguments::{PublishArguments, SubscribeArguments},
    error::ClientError,
};

/// A client that is connected, whatever it speaks: it publishes, subscribes and yields received messages.
pub trait Client: Sized {
    /// Publishes a payload and waits until the server has it, as far as protocol and quality of service tell.
    async fn publish(&mut self, arguments: &PublishArguments, payload: &[u8]) -> Result<(), ClientError>;

    /// Asks for all subscriptions. A refusal may become known only in [`Client::next`] or [`Client::settle`].
    async fn subscribe(&mut self, arguments: &SubscribeArguments) -> Result<(), ClientError>;

    /// The next message; meanwhile the connection is kept alive. May be cancelled and called again.
    async fn next(&mut self) -> Result<Message, ClientError>;

    /// Acknowledges the message that came last.
    async fn acknowledge(&mut self) -> Result<(), ClientError>;

    /// Completes what is under way. Messages that come meanwhile are not acknowledged: they stay with the server.
    async fn settle(&mut self) -> Result<(), ClientError>;

    /// Says goodbye and ends. A server that has gone first is no failure.
    async fn close(self) -> Result<(), ClientError>;
}

/// A received message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Quality of service that it came with, where the protocol tells.
    pub qos: Option<Qos>,
    /// It was retained.
    pub retain: bool,
    /// It was sent again.
    pub duplicate: bool,
    /// What else the protocol tells of it, as it is printed.
    pub properties: Map<String, Json>,
}
