//! What the matrix does with a client of any protocol.

use thingway::config::Config;

use crate::common::TestGateway;

/// A client of one protocol over one transport.
pub trait Endpoint: Sized {
    /// Name in cells of the matrix.
    const NAME: &'static str;

    /// Adds the listener that it needs.
    fn listen(config: &mut Config);

    /// Connects with a clean session.
    async fn connect(gateway: &TestGateway, client_id: &str) -> Self;

    /// Subscribes and insists on this quality of service.
    async fn subscribe(&mut self, filter: &str, qos: u8);

    /// Publishes, and returns once the gateway has taken it.
    async fn publish(&mut self, publication: Publication<'_>);

    /// The next message, acknowledged as the protocol asks for.
    async fn expect(&mut self) -> Arrived;

    /// What a message with this quality of service and retain flag must look like when it arrives.
    fn seen(qos: u8, retain: bool) -> Seen;
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub topic: String,
    pub payload: Vec<u8>,
    pub seen: Seen,
}

/// What the bytes on the wire tell of a message's delivery; `None` is what the protocol has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub qos: Option<u8>,
    pub retain: Option<bool>,
}
