use clap::{Args, Subcommand, ValueEnum};
use thingway_contract::Qos;

use super::sources::Sources;
use crate::{
    cli::client::{MqttVersion, TlsArguments, Url, qos},
    config::Period,
};

/// A load generator. Every run ends by itself and tells throughput, latency and losses; docs/bench.md has the meaning of all it tells
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Open connections and let them rest, or (--storm) come and go
    Conn(Box<ConnArguments>),
    /// Publish
    Pub(Box<PubArguments>),
    /// Subscribe and count
    Sub(Box<SubArguments>),
    /// Publish and subscribe, in groups: fan-out, fan-in, pairs
    Pairs(Box<PairsArguments>),
    /// Be a relay that does nothing but the socket work: what a broker can be compared with
    Relay(RelayArguments),
}

/// What all kinds of runs have in common.
#[derive(Args, Clone, Debug)]
pub struct CommonArguments {
    /// Where: mqtt://, mqtt-sn:// or coap:// with [user[:password]@]host[:port]; `conn` knows mqtts://, ws://, wss://, quic:// and unix: too
    /// [default: localhost, and the port of the protocol]
    #[arg(long)]
    pub url: Option<Url>,
    /// What to speak, where there is no URL that says it [default: mqtt]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// MQTT version
    #[arg(long, short = 'V', value_enum, default_value = "5")]
    pub mqtt_version: MqttVersion,
    /// User name
    #[arg(long, short)]
    pub username: Option<String>,
    /// Password
    #[arg(long, short = 'P')]
    pub password: Option<String>,
    /// Seconds of keep-alive; 0 for none
    #[arg(long, short, default_value_t = 300)]
    pub keep_alive: u16,
    /// What client identifiers begin with [default: bench, the process id and a hyphen]
    #[arg(long)]
    pub prefix: Option<String>,
    /// Number of the first client, for runs of several generators
    #[arg(long, default_value_t = 0)]
    pub start_number: u64,
    /// Addresses to connect from in turn, such as 10.0.0.2,10.0.0.9-10.0.0.40: each has 28,000 ports or so to one server
    #[arg(long, alias = "ifaddr", value_name = "ADDRESSES")]
    pub source: Option<Sources>,
    /// Connections a second [default: as many as are answered]
    #[arg(long, alias = "connrate", short = 'R')]
    pub connect_rate: Option<f64>,
    /// Connections being made at a time
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub connect_window: usize,
    /// How long a connection may take to be made
    #[arg(long, default_value = "30s")]
    pub connect_timeout: Period,
    /// Threads that share the clients
    #[arg(long, short = 'j', default_value_t = 1, value_parser = at_least_one)]
    pub threads: usize,
    /// How long to measure
    #[arg(long, short, default_value = "10s")]
    pub duration: Period,
    /// Process of the server, on this machine, whose processor time and memory are told
    #[arg(long)]
    pub pid: Option<u32>,
    /// Tell the result as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Copied into the result
    #[arg(long, default_value = "")]
    pub label: String,
}

/// `bench conn`.
#[derive(Args, Clone, Debug)]
pub struct ConnArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Clients
    #[arg(long, alias = "count", short = 'n', default_value_t = 1000, value_parser = at_least_one)]
    pub clients: usize,
    /// Subscribe each client to its topic
    #[arg(long)]
    pub subscribe: bool,
    /// Topic; %i is the number of the client
    #[arg(long, short, default_value = "bench/%i")]
    pub topic: String,
    /// Quality of service of the subscription
    #[arg(long, short, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Connect, be answered, disconnect, and begin again
    #[arg(long)]
    pub storm: bool,
    /// Connections of a storm at a time
    #[arg(long, default_value_t = 64, value_parser = at_least_one, requires = "storm")]
    pub concurrency: usize,
    /// End the connections of a storm with a reset instead of DISCONNECT (TCP)
    #[arg(long, requires = "storm")]
    pub reset: bool,
    #[command(flatten)]
    pub tls: TlsArguments,
}

/// What is published.
#[derive(Args, Clone, Debug)]
pub struct LoadArguments {
    /// Quality of service
    #[arg(long, short, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Bytes of a payload, 16 or more
    #[arg(long, alias = "payload", short, default_value_t = 64)]
    pub size: usize,
    /// Messages a second of all publishers together, each at its time [default: as many as the window allows]
    #[arg(long, short)]
    pub rate: Option<f64>,
    /// Messages of a publisher that have not reached all its subscribers, or the server has not acknowledged
    #[arg(long, alias = "inflight", short = 'F', default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub window: u32,
    /// End after so many messages of all publishers together; there is no warming up then
    #[arg(long, short = 'L')]
    pub limit: Option<u64>,
    /// How long to publish before it is measured
    #[arg(long, default_value = "1s")]
    pub warmup: Period,
    /// How long to wait in the end for what is under way
    #[arg(long, default_value = "5s")]
    pub drain: Period,
}

/// `bench pub`.
#[derive(Args, Clone, Debug)]
pub struct PubArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Publishers
    #[arg(long, alias = "count", short = 'n', default_value_t = 100, value_parser = at_least_one)]
    pub clients: usize,
    /// Topic; %i is the number of the publisher
    #[arg(long, short, default_value = "bench/%i")]
    pub topic: String,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `bench sub`.
#[derive(Args, Clone, Debug)]
pub struct SubArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Subscribers
    #[arg(long, alias = "count", short = 'n', default_value_t = 100, value_parser = at_least_one)]
    pub clients: usize,
    /// Topic filter; %i is the number of the subscriber
    #[arg(long, short, default_value = "bench/%i")]
    pub topic: String,
    /// Highest quality of service
    #[arg(long, short, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// End after so many messages to all subscribers together
    #[arg(long, short = 'L')]
    pub limit: Option<u64>,
}

/// `bench pairs`.
#[derive(Args, Clone, Debug)]
pub struct PairsArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Groups that have nothing to do with each other
    #[arg(long, alias = "count", short = 'n', default_value_t = 1, value_parser = at_least_one)]
    pub groups: usize,
    /// Publishers in each group
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub publishers: usize,
    /// Subscribers in each group, to all its publishers
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub subscribers: usize,
    /// Subscribers to everything, which then read nothing
    #[arg(long, default_value_t = 0)]
    pub mute: usize,
    /// Topic of a publisher; %g is the number of its group, %i its own [default: the prefix of client identifiers, then /%g/%i]
    #[arg(long, short)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `bench relay`.
#[derive(Args, Clone, Debug)]
pub struct RelayArguments {
    /// Port on the loopback interface; 0 for any, which is printed
    #[arg(long, default_value_t = 41_880)]
    pub port: u16,
    /// How long to live
    #[arg(long, default_value = "10m")]
    pub lifetime: Period,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Mqtt,
    MqttSn,
    Coap,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}
