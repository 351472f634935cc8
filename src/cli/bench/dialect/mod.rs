//! What is spoken: frames to send, and what frames that come mean. Only as much as a generator needs; a client for people is in `cli::client`.

mod coap;
mod mqtt;
mod mqttsn;

use thingway_contract::Qos;

use super::stamp::Template;
use crate::cli::client::ClientError;

pub use coap::Coap;
pub use mqtt::Mqtt;
pub use mqttsn::MqttSn;

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub client_id: String,
    /// What it subscribes to.
    pub filter: Option<String>,
    /// What it publishes to.
    pub topic: Option<String>,
}

/// What all clients of a run have in common.
#[derive(Clone, Debug)]
pub struct Manners {
    pub username: Option<String>,
    pub password: Option<String>,
    pub keep_alive_secs: u16,
    pub qos: Qos,
}

/// A request of the introduction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub number: u8,
    /// How often it was sent in vain.
    pub tries: u16,
}

impl Step {
    /// A request that was not sent yet.
    pub fn first(number: u8) -> Self {
        Self { number, tries: 0 }
    }
}

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request of the introduction was granted, maybe with a topic id.
    Granted { topic_id: Option<u16> },
    /// A request was refused with this code.
    Refused(u8),
    /// A message.
    Message { qos: u8, id: u16, topic_id: u16, payload: &'a [u8] },
    /// The server has the message, for good.
    Acknowledged { id: u16 },
    /// The server does not take the message.
    Rejected { id: u16 },
    /// The server has the message of QoS 2, and waits for its release.
    Received { id: u16 },
    /// The server releases its message of QoS 2.
    Released { id: u16 },
    /// The server gives a name a topic id.
    Register { topic_id: u16, id: u16 },
    /// The server ends the connection, with a code if it has one.
    Ended(u8),
    /// Nothing that matters.
    Other,
}

/// What is at the front of the bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame of so many bytes.
    Frame(Event<'a>, usize),
    /// Not all of a frame.
    More,
    /// No frame.
    Bad,
}

/// A protocol.
pub trait Dialect: Clone + Send + Sync + 'static {
    /// Whether each frame is a datagram.
    const DATAGRAMS: bool;

    /// Appends a request of the introduction, and says whether there is one with this number.
    fn introduce(&self, step: Step, who: &Identity, manners: &Manners, out: &mut Vec<u8>) -> Result<bool, ClientError>;

    /// The packet identifier that comes before a publisher's first.
    fn id_before(&self) -> u16 {
        0
    }

    /// Reads a frame. Before the introduction is over, an answer to it is what is meant by the same bytes.
    fn next<'a>(&self, is_introduced: bool, bytes: &'a [u8]) -> Next<'a>;

    /// Appends what has to be answered to a frame that means this.
    fn answer(&self, event: &Event<'_>, frame: &[u8], out: &mut Vec<u8>);

    /// A publication with this payload.
    fn template(&self, topic: &str, qos: Qos, payload: &[u8], publisher: u32) -> Result<Template, ClientError>;

    /// Appends a sign of life, if there are any.
    fn ping(&self, out: &mut Vec<u8>);

    /// Appends a farewell, if there is any.
    fn goodbye(&self, out: &mut Vec<u8>);
}
