//! The commands that every agent takes and the reports that it makes: one JSON object a line where an agent is a process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How bytes reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
    Unix,
    /// A TCP port of [`crate::bridge`] to the agents.
    Quic,
    /// MQTT-SN.
    Udp,
}

impl Transport {
    /// Those of MQTT.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss, Self::Unix, Self::Quic];
}

/// Where to connect.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// The WebSocket's path, or the file of a Unix socket.
    pub path: String,
    /// The certificate authority to trust.
    pub ca: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Command {
    Connect(Connect),
    Subscribe(Subscribe),
    Unsubscribe { filter: String },
    Publish(Publish),
    Disconnect,
    Kill,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// 3, 4 or 5.
    pub version: u8,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub username: Option<String>,
    pub password: Option<String>,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub topic_alias_maximum: Option<u16>,
    /// Let the library replace topics by aliases of its own choosing.
    pub auto_topic_alias: bool,
    pub will: Option<Will>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Will {
    pub topic: String,
    #[serde(with = "hex")]
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: u8,
    pub subscription_id: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Publish {
    pub topic: String,
    #[serde(with = "hex")]
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// MQTT 5 properties of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Properties {
    pub user: Vec<(String, String)>,
    #[serde(with = "optional_hex")]
    pub correlation_data: Option<Vec<u8>>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub expiry: Option<u32>,
    pub utf8: Option<bool>,
    pub topic_alias: Option<u16>,
    pub subscription_ids: Vec<u32>,
}

/// A message that a client received.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Received {
    pub topic: String,
    #[serde(with = "hex")]
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    #[serde(default)]
    pub properties: Properties,
}

/// How a command ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    pub error: Option<String>,
    /// Reason codes of the acknowledgement.
    pub codes: Vec<u8>,
    pub session_present: bool,
    pub assigned_client_id: Option<String>,
    pub topic_alias_maximum: u16,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub enum Report {
    Done {
        req: u64,
        #[serde(flatten)]
        outcome: Outcome,
    },
    Message {
        conn: String,
        #[serde(flatten)]
        message: Received,
    },
    /// The connection ended; `code` is the reason when the gateway sent a DISCONNECT.
    Closed { conn: String, code: Option<u8> },
}

pub mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn encode(bytes: &[u8]) -> String {
        bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let pair = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8);
        text.as_bytes().chunks(2).map(pair).collect()
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        decode(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

mod optional_hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(super::hex::encode).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| super::hex::decode(&text).ok_or_else(|| D::Error::custom("not hexadecimal")))
            .transpose()
    }
}
