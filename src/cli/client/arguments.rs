use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thingway_contract::Qos;
use thingway_mqtt::Version;

use super::url::Url;
use crate::config::Period;

/// How to connect; the same for `pub` and `sub`.
#[derive(Args, Clone, Debug)]
pub struct ConnectArguments {
    /// Where: mqtt://, mqtts://, ws://, wss:// or quic:// with [user[:password]@]host[:port][/path], or unix:/path
    #[arg(long, default_value = "mqtt://localhost:1883")]
    pub url: Url,
    /// Client identifier; without one, the server or this program chooses
    #[arg(long = "id", short = 'i', default_value = "")]
    pub client_id: String,
    /// User name
    #[arg(long, short)]
    pub username: Option<String>,
    /// Password
    #[arg(long, short = 'P')]
    pub password: Option<String>,
    /// MQTT version
    #[arg(long, short = 'V', value_enum, default_value = "5")]
    pub mqtt_version: MqttVersion,
    /// Seconds of keep-alive, 0 for none
    #[arg(long, short, default_value_t = 60)]
    pub keep_alive: u16,
    /// Keep the session and use an earlier one (no clean start)
    #[arg(long)]
    pub keep_session: bool,
    /// Seconds that the session outlives the connection (MQTT 5)
    #[arg(long, short = 'x', default_value_t = 0)]
    pub session_expiry: u32,
    /// How long connecting may take
    #[arg(long, default_value = "10s")]
    pub connect_timeout: Period,
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

/// A message that the server publishes when the client is gone.
#[derive(Args, Clone, Debug)]
pub struct WillArguments {
    /// Topic of the will
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
    #[arg(long, default_value_t = 0, requires = "will_topic")]
    pub will_delay: u32,
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
    #[arg(long, short)]
    pub topic: String,
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
    /// Quality of service
    #[arg(long, short, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Retain
    #[arg(long, short)]
    pub retain: bool,
    /// How often
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// Time between repetitions
    #[arg(long, default_value = "0s")]
    pub repeat_delay: Period,
    /// Seconds after which the message expires (MQTT 5)
    #[arg(long)]
    pub expiry: Option<u32>,
    /// MIME type of the payload (MQTT 5)
    #[arg(long)]
    pub content_type: Option<String>,
    /// Topic for responses (MQTT 5)
    #[arg(long)]
    pub response_topic: Option<String>,
    /// Bytes that a responder repeats (MQTT 5)
    #[arg(long)]
    pub correlation_data: Option<String>,
    /// Say that the payload is UTF-8 text (MQTT 5)
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
    #[arg(long = "topic", short, required = true)]
    pub topics: Vec<String>,
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
    /// Do not get own messages (MQTT 5)
    #[arg(long)]
    pub no_local: bool,
    /// Keep the retain flag as the publisher set it (MQTT 5)
    #[arg(long)]
    pub retain_as_published: bool,
    /// When to be sent retained messages (MQTT 5): 0 always, 1 if the subscription is new, 2 never
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub retain_handling: u8,
    /// Subscription identifier (MQTT 5)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=268_435_455))]
    pub subscription_id: Option<u32>,
    /// How to connect
    #[command(flatten)]
    pub connect: ConnectArguments,
}

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

fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_u8).ok_or_else(|| "expected 0, 1 or 2".into())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok((name.into(), value.into()))
}
