use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thingway_contract::Qos;
use thingway_mqtt::Version;

use super::{error::ClientError, url::Url};
use crate::config::Period;

/// How to connect; the same for `pub` and `sub`.
#[derive(Args, Clone, Debug)]
pub struct ConnectArguments {
    /// Where: mqtt://, mqtts://, ws://, wss://, quic://, mqtt-sn:// or coap:// with [user[:password]@]host[:port][/path], or unix:/path.
    /// The path of coap:// is that of the topics, /ps without one
    #[arg(long, default_value = "mqtt://localhost:1883")]
    pub url: Url,
    /// Client identifier; without one, the server or this program chooses. With CoAP it opens a connection, as does a user name
    #[arg(long = "id", short = 'i', default_value = "")]
    pub client_id: String,
    /// User name
    #[arg(long, short)]
    pub username: Option<String>,
    /// Password
    #[arg(long, short = 'P')]
    pub password: Option<String>,
    /// MQTT version [default: 5]
    #[arg(long, short = 'V', value_enum)]
    pub mqtt_version: Option<MqttVersion>,
    /// Seconds of keep-alive, or between heartbeats of a CoAP connection; 0 for none [default: 60, CoAP 20]
    #[arg(long, short)]
    pub keep_alive: Option<u16>,
    /// Keep the session and use an earlier one (no clean start; not CoAP)
    #[arg(long)]
    pub keep_session: bool,
    /// Seconds that the session outlives the connection (MQTT 5)
    #[arg(long, short = 'x')]
    pub session_expiry: Option<u32>,
    /// How long connecting may take [default: 10s; MQTT-SN and CoAP: as long as their retransmissions take]
    #[arg(long)]
    pub connect_timeout: Option<Period>,
    /// User property of CONNECT (MQTT 5); may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub connect_property: Vec<(String, String)>,
    /// Will
    #[command(flatten)]
    pub will: WillArguments,
    /// TLS
    #[command(flatten)]
    pub tls: TlsArguments,
}

/// A message that the server publishes when the client is gone (not CoAP).
#[derive(Args, Clone, Debug)]
pub struct WillArguments {
    /// Topic of the will (not CoAP)
    #[arg(long)]
    pub will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, default_value = "", requires = "will_topic")]
    pub will_payload: String,
    /// Quality of service of the will
    #[arg(long, default_value = "0", value_parser = qos, requires = "will_topic")]
    pub will_qos: Qos,
    /// Retain the will
    #[arg(long, requires = "will_topic")]
    pub will_retain: bool,
    /// Seconds until the will is published (MQTT 5)
    #[arg(long, requires = "will_topic")]
    pub will_delay: Option<u32>,
}

/// Whom to trust, and what to show.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsArguments {
    /// Take any certificate for the right one
    #[arg(long)]
    pub insecure: bool,
    /// PEM file with the roots to trust, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// PEM file with a certificate to show
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// `pub`.
#[derive(Args, Clone, Debug)]
pub struct PublishArguments {
    /// Topic
    #[arg(long, short, required_unless_present = "predefined_id")]
    pub topic: Option<String>,
    /// Topic id that the server knows beforehand, instead of a topic (MQTT-SN)
    #[arg(long, value_name = "ID", conflicts_with = "topic", value_parser = clap::value_parser!(u16).range(1..))]
    pub predefined_id: Option<u16>,
    /// Payload
    #[arg(long, short, group = "payload")]
    pub message: Option<String>,
    /// File whose bytes are the payload
    #[arg(long, short, group = "payload", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(long, short = 'l', group = "payload")]
    pub stdin_line: bool,
    /// An empty payload, as to clear a retained message
    #[arg(long, short = 'n', group = "payload")]
    pub null_message: bool,
    /// Quality of service; -1 (MQTT-SN): without a connection, to a topic of two characters or a predefined id
    #[arg(long, short, default_value = "0", allow_hyphen_values = true, value_parser = publish_qos)]
    pub qos: PublishQos,
    /// Retain
    #[arg(long, short)]
    pub retain: bool,
    /// How often
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// Time between repetitions
    #[arg(long, default_value = "0s")]
    pub repeat_delay: Period,
    /// Seconds after which the message expires (MQTT 5, CoAP)
    #[arg(long)]
    pub expiry: Option<u32>,
    /// MIME type of the payload (MQTT 5; CoAP, if it has a Content-Format)
    #[arg(long)]
    pub content_type: Option<String>,
    /// Topic for responses (MQTT 5)
    #[arg(long)]
    pub response_topic: Option<String>,
    /// Bytes that a responder repeats (MQTT 5)
    #[arg(long)]
    pub correlation_data: Option<String>,
    /// Say that the payload is UTF-8 text (MQTT 5, CoAP)
    #[arg(long)]
    pub text: bool,
    /// Topic alias (MQTT 5): the topic is sent with the first message only
    #[arg(long)]
    pub topic_alias: Option<u16>,
    /// User property (MQTT 5); may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub user_property: Vec<(String, String)>,
    /// How to connect
    #[command(flatten)]
    pub connect: ConnectArguments,
}

/// `sub`.
#[derive(Args, Clone, Debug)]
pub struct SubscribeArguments {
    /// Topic filter; may be given several times
    #[arg(long = "topic", short, required_unless_present = "predefined_ids")]
    pub topics: Vec<String>,
    /// Topic id that the server knows beforehand, and the topic to print for it (MQTT-SN); may be given several times
    #[arg(long = "predefined-id", value_name = "ID[=TOPIC]", value_parser = predefined)]
    pub predefined_ids: Vec<(u16, Option<String>)>,
    /// Highest quality of service
    #[arg(long, short, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Print the topic before the payload
    #[arg(long, short, conflicts_with = "json")]
    pub verbose: bool,
    /// Print each message as one JSON object, with its flags and properties
    #[arg(long)]
    pub json: bool,
    /// End after so many messages
    #[arg(long, short = 'C')]
    pub count: Option<u64>,
    /// End after this time, with exit code 27
    #[arg(long, short = 'W')]
    pub timeout: Option<Period>,
    /// Leave out retained messages
    #[arg(long, short = 'R')]
    pub no_retained: bool,
    /// Do not get own messages (MQTT 5, CoAP)
    #[arg(long)]
    pub no_local: bool,
    /// Keep the retain flag as the publisher set it (MQTT 5)
    #[arg(long)]
    pub retain_as_published: bool,
    /// When to be sent retained messages (MQTT 5, CoAP): 0 always, 1 if the subscription is new, 2 never [default: 0]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub retain_handling: Option<u8>,
    /// Subscription identifier (MQTT 5)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=268_435_455))]
    pub subscription_id: Option<u32>,
    /// How to connect
    #[command(flatten)]
    pub connect: ConnectArguments,
}

/// An option's name, and whether it was given.
type Given = (&'static str, bool);

impl ConnectArguments {
    /// The user name, as an option or in the URL.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref().or(self.url.username.as_deref())
    }

    /// The password, as an option or in the URL.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref().or(self.url.password.as_deref())
    }

    /// A client identifier for when one is needed and none was given.
    pub fn client_id_or_own(&self) -> String {
        if self.client_id.is_empty() { format!("thingway-{}", std::process::id()) } else { self.client_id.clone() }
    }

    /// Options that only MQTT over streams has.
    pub fn of_mqtt(&self) -> [Given; 8] {
        [
            ("--mqtt-version", self.mqtt_version.is_some()),
            ("--session-expiry", self.session_expiry.is_some()),
            ("--connect-property", !self.connect_property.is_empty()),
            ("--will-delay", self.will.will_delay.is_some()),
            ("--insecure", self.tls.insecure),
            ("--cafile", self.tls.cafile.is_some()),
            ("--cert", self.tls.cert.is_some()),
            ("--key", self.tls.key.is_some()),
        ]
    }

    /// Options about sessions, which outlive what CoAP has, and QoS -1.
    pub fn of_sessions(&self) -> [Given; 2] {
        [("--keep-session", self.keep_session), ("--will-topic", self.will.will_topic.is_some())]
    }

    /// Options about a connection.
    pub fn of_connections(&self) -> [Given; 5] {
        [
            ("--id", !self.client_id.is_empty()),
            ("--username", self.username().is_some()),
            ("--password", self.password().is_some()),
            ("--keep-alive", self.keep_alive.is_some()),
            ("--connect-timeout", self.connect_timeout.is_some()),
        ]
    }
}

impl PublishArguments {
    /// Options that only MQTT 5 has.
    pub fn of_mqtt(&self) -> [Given; 4] {
        [
            ("--response-topic", self.response_topic.is_some()),
            ("--correlation-data", self.correlation_data.is_some()),
            ("--topic-alias", self.topic_alias.is_some()),
            ("--user-property", !self.user_property.is_empty()),
        ]
    }

    /// Options that MQTT 5 and CoAP have.
    pub fn of_mqtt_and_coap(&self) -> [Given; 3] {
        [("--expiry", self.expiry.is_some()), ("--content-type", self.content_type.is_some()), ("--text", self.text)]
    }

    /// Options that only MQTT-SN has.
    pub fn of_mqtt_sn(&self) -> [Given; 2] {
        [("--predefined-id", self.predefined_id.is_some()), ("--qos -1", self.qos.0.is_none())]
    }
}

impl SubscribeArguments {
    /// Options that only MQTT 5 has.
    pub fn of_mqtt(&self) -> [Given; 2] {
        [("--retain-as-published", self.retain_as_published), ("--subscription-id", self.subscription_id.is_some())]
    }

    /// Options that MQTT 5 and CoAP have.
    pub fn of_mqtt_and_coap(&self) -> [Given; 2] {
        [("--no-local", self.no_local), ("--retain-handling", self.retain_handling.is_some())]
    }

    /// Options that only MQTT-SN has.
    pub fn of_mqtt_sn(&self) -> [Given; 1] {
        [("--predefined-id", !self.predefined_ids.is_empty())]
    }
}

/// Refuses the options that were given, for a protocol in which they mean nothing.
pub fn refuse(protocol: &'static str, options: &[Given]) -> Result<(), ClientError> {
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(ClientError::Option { option, protocol }),
        None => Ok(()),
    }
}

/// Quality of service to publish with; `None` is -1, of MQTT-SN: without a connection, and nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishQos(pub Option<Qos>);

/// A version of MQTT as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    /// MQTT 3.1
    #[value(name = "3.1", alias = "31", alias = "mqttv31")]
    V31,
    /// MQTT 3.1.1
    #[value(name = "3.1.1", alias = "311", alias = "mqttv311", alias = "4")]
    V311,
    /// MQTT 5.0
    #[value(name = "5", alias = "5.0", alias = "mqttv5")]
    V5,
}

impl From<MqttVersion> for Version {
    fn from(version: MqttVersion) -> Self {
        match version {
            MqttVersion::V31 => Self::V31,
            MqttVersion::V311 => Self::V311,
            MqttVersion::V5 => Self::V5,
        }
    }
}

/// Reads a quality of service.
pub fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_u8).ok_or_else(|| "expected 0, 1 or 2".into())
}

fn publish_qos(text: &str) -> Result<PublishQos, String> {
    if text == "-1" {
        return Ok(PublishQos(None));
    }
    qos(text).map(|qos| PublishQos(Some(qos))).map_err(|_| "expected 0, 1, 2 or -1".into())
}

fn predefined(text: &str) -> Result<(u16, Option<String>), String> {
    let (id, topic) = text.split_once('=').map_or((text, None), |(id, topic)| (id, Some(topic.to_owned())));
    let id = id.parse().ok().filter(|id| *id != 0).ok_or("expected a number from 1 to 65535, and =topic or nothing")?;
    Ok((id, topic))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok((name.into(), value.into()))
}
