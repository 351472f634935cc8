use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use thingway_contract::{Qos, Topic, TopicFilter, TopicLimits};
use thingway_mqtt::Version;

use super::{
    arguments::{CommonArguments, ConnArguments, LoadArguments, PairsArguments, Protocol, PubArguments, SubArguments},
    clock::Clock,
    dialect::{Coap, Dialect, Manners, Mqtt, MqttSn},
    plan::{Kind, Plan},
    raise_descriptor_limit,
    report::Report,
    run::{Watch, Work, conduct},
    shared::Shared,
    stamp::STAMP_BYTES,
    storm::Storm,
    streams::Streams,
    topic::Template,
    worker::Worker,
};
use crate::cli::client::{ClientError, Connector, Host, Target, Transport, Url};

/// Descriptors for everything but clients.
const OTHER_DESCRIPTORS: u64 = 32;
/// Payloads that one datagram holds, whatever stands before it.
const DATAGRAM_PAYLOAD_MAX: usize = 1_024;
/// Pairs of publisher and subscriber in a run: each is 16 bytes.
const STREAMS_MAX: usize = 256 << 20;

/// A run that can begin.
pub struct Prepared {
    plan: Plan,
    watch: Watch,
    speech: Speech,
}

/// What is spoken over what.
enum Speech {
    Mqtt(Mqtt),
    MqttSn(MqttSn),
    Coap(Coap),
    Storm { dialect: Mqtt, slots: usize, is_reset: bool },
    Streams { dialect: Mqtt, connector: Box<Connector>, quic: Option<SocketAddr>, slots: usize },
}

/// `bench conn`.
pub fn conn(arguments: &ConnArguments) -> Result<Prepared, ClientError> {
    let url = url(&arguments.common)?;
    let is_storm = arguments.storm;
    let slots = if is_storm { arguments.concurrency } else { 0 };
    let is_coap = matches!(url.target, Target::Coap(..));
    if is_coap && !arguments.subscribe {
        return Err(usage("clients of CoAP hold nothing but their observations: --subscribe"));
    }
    if is_storm && !matches!(url.target, Target::Mqtt(_)) {
        return Err(usage("--storm is for MQTT"));
    }
    if is_storm && arguments.subscribe {
        return Err(usage("connections of a storm do not subscribe"));
    }
    let mut plan = plan(Kind::Conn, &arguments.common, &url, arguments.qos, &arguments.topic)?;
    match (is_storm, arguments.subscribe) {
        (true, _) => {}
        (false, true) => (plan.groups, plan.subscribers) = (arguments.clients, 1),
        (false, false) => plan.idle = arguments.clients,
    }
    let version = Version::from(arguments.common.mqtt_version);
    let dialect = Mqtt(version);
    let speech = match url.target {
        Target::Mqtt(Transport::Tcp(_)) if is_storm => Speech::Storm { dialect, slots, is_reset: arguments.reset },
        Target::Mqtt(Transport::Tcp(_)) => Speech::Mqtt(dialect),
        Target::Mqtt(ref transport) => {
            if arguments.reset {
                return Err(usage("--reset is for TCP"));
            }
            let connector = Box::new(Connector::new(transport, &arguments.tls, version)?);
            let quic = matches!(transport, Transport::Quic(_)).then_some(plan.address);
            Speech::Streams { dialect, connector, quic, slots }
        }
        Target::MqttSn(_) => Speech::MqttSn(MqttSn),
        Target::Coap(_, ref path) => Speech::Coap(coap(path)),
    };
    if !arguments.topic.contains("%i") && is_coap {
        return Err(usage("each client of CoAP needs a topic of its own: %i in --topic"));
    }
    let kind = if is_storm { "storm" } else { "conn" };
    let sockets = if is_storm { slots } else { arguments.clients };
    prepared(plan, watch(&arguments.common, kind, &url, is_storm), speech, sockets)
}

/// `bench pub`.
pub fn publish(arguments: &PubArguments) -> Result<Prepared, ClientError> {
    let url = url(&arguments.common)?;
    let mut plan = plan(Kind::Pub, &arguments.common, &url, arguments.load.qos, &arguments.topic)?;
    (plan.groups, plan.publishers) = (1, arguments.clients);
    if plan.threads > 1 {
        // A group is never divided, and these have nobody in common.
        (plan.groups, plan.publishers) = (arguments.clients, 1);
    }
    load(&mut plan, &arguments.load, &url)?;
    let speech = speech(&arguments.common, &url)?;
    let sockets = plan.clients();
    prepared(plan, watch(&arguments.common, "pub", &url, false), speech, sockets)
}

/// `bench sub`.
pub fn subscribe(arguments: &SubArguments) -> Result<Prepared, ClientError> {
    let url = url(&arguments.common)?;
    let mut plan = plan(Kind::Sub, &arguments.common, &url, arguments.qos, &arguments.topic)?;
    (plan.groups, plan.subscribers, plan.limit) = (arguments.clients, 1, arguments.limit);
    let speech = speech(&arguments.common, &url)?;
    let sockets = plan.clients();
    prepared(plan, watch(&arguments.common, "sub", &url, false), speech, sockets)
}

/// `bench pairs`.
pub fn pairs(arguments: &PairsArguments) -> Result<Prepared, ClientError> {
    let url = url(&arguments.common)?;
    let own = format!("{}/%g/%i", prefix(&arguments.common).trim_end_matches('-'));
    let topic = arguments.topic.as_deref().unwrap_or(&own);
    let mut plan = plan(Kind::Pairs, &arguments.common, &url, arguments.load.qos, topic)?;
    (plan.groups, plan.publishers) = (arguments.groups, arguments.publishers);
    (plan.subscribers, plan.mute) = (arguments.subscribers, arguments.mute);
    let is_told_apart = plan.topic.tells_groups_apart() || plan.publishers == 1 && plan.topic.tells_clients_apart();
    if plan.groups > 1 && !is_told_apart {
        return Err(usage("groups need topics of their own: %g in --topic"));
    }
    let streams = plan.groups.saturating_mul(plan.publishers).saturating_mul(plan.subscribers);
    if streams > STREAMS_MAX {
        return Err(usage("too many pairs of publisher and subscriber for one process"));
    }
    load(&mut plan, &arguments.load, &url)?;
    let speech = speech(&arguments.common, &url)?;
    let sockets = plan.clients();
    prepared(plan, watch(&arguments.common, "pairs", &url, false), speech, sockets)
}

impl Prepared {
    /// Runs it.
    pub fn run(self) -> Result<Report, ClientError> {
        let Self { plan, watch, speech } = self;
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared::new(plan.threads));
        let works = match speech {
            Speech::Mqtt(dialect) => workers(&dialect, &plan, &shared)?,
            Speech::MqttSn(dialect) => workers(&dialect, &plan, &shared)?,
            Speech::Coap(dialect) => workers(&dialect, &plan, &shared)?,
            Speech::Storm { dialect, slots, is_reset } => (0..plan.threads)
                .map(|thread| {
                    let (plan, shared) = (Arc::clone(&plan), Arc::clone(&shared));
                    let slots = slots.div_ceil(plan.threads);
                    let storm = Storm { plan, shared, thread, dialect, slots, is_reset };
                    Box::new(move || storm.run()) as Work
                })
                .collect(),
            Speech::Streams { dialect, connector, quic, slots } => {
                let connector: Arc<Connector> = connector.into();
                (0..plan.threads)
                    .map(|thread| {
                        let (plan, shared) = (Arc::clone(&plan), Arc::clone(&shared));
                        let (connector, storm) = (Arc::clone(&connector), slots.div_ceil(plan.threads));
                        let streams = Streams { plan, shared, thread, dialect, connector, quic, storm };
                        Box::new(move || streams.run()) as Work
                    })
                    .collect()
            }
        };
        conduct(&plan, &shared, &watch, works)
    }
}

fn workers<D: Dialect>(dialect: &D, plan: &Arc<Plan>, shared: &Arc<Shared>) -> Result<Vec<Work>, ClientError> {
    let worker = |thread| {
        let worker = Worker::new(dialect.clone(), Arc::clone(plan), Arc::clone(shared), thread)?;
        Ok(Box::new(move || worker.run()) as Work)
    };
    (0..plan.threads).map(worker).collect()
}

fn prepared(plan: Plan, watch: Watch, speech: Speech, sockets: usize) -> Result<Prepared, ClientError> {
    // QUIC connections share sockets.
    if !matches!(speech, Speech::Streams { quic: Some(_), .. }) {
        let descriptors = raise_descriptor_limit();
        if descriptors < sockets as u64 + OTHER_DESCRIPTORS {
            return Err(usage(&format!(
                "{sockets} clients need as many descriptors, and this process may have {descriptors}: raise `ulimit -n`, or run several generators"
            )));
        }
    }
    Ok(Prepared { plan, watch, speech })
}

fn url(common: &CommonArguments) -> Result<Url, ClientError> {
    let default = match common.protocol {
        None | Some(Protocol::Mqtt) => "mqtt://localhost",
        Some(Protocol::MqttSn) => "mqtt-sn://localhost",
        Some(Protocol::Coap) => "coap://localhost",
    };
    let url = match &common.url {
        Some(url) => url.clone(),
        None => default.parse().map_err(|error| usage(&format!("{default}: {error}")))?,
    };
    let spoken = match url.target {
        Target::Mqtt(_) => Protocol::Mqtt,
        Target::MqttSn(_) => Protocol::MqttSn,
        Target::Coap(..) => Protocol::Coap,
    };
    if common.protocol.is_some_and(|protocol| protocol != spoken) {
        return Err(usage("--protocol says something else than --url"));
    }
    let has_credentials = common.username.is_some() || url.username.is_some() || common.password.is_some();
    if has_credentials && spoken != Protocol::Mqtt {
        return Err(usage("user names and passwords are for MQTT"));
    }
    Ok(url)
}

/// Where to connect to; for Unix sockets it does not matter.
fn address(url: &Url, common: &CommonArguments) -> Result<SocketAddr, ClientError> {
    let host = match &url.target {
        Target::Mqtt(
            Transport::Tcp(host)
            | Transport::Tls(host)
            | Transport::Ws(host, _)
            | Transport::Wss(host, _)
            | Transport::Quic(host),
        )
        | Target::MqttSn(host)
        | Target::Coap(host, _) => host,
        Target::Mqtt(Transport::Unix(_)) => return Ok(SocketAddr::from(([127, 0, 0, 1], 0))),
    };
    let Host { name, port } = host;
    let source = common.source.as_ref().and_then(|sources| sources.of(0));
    let mut addresses = (name.as_str(), *port).to_socket_addrs()?.collect::<Vec<_>>();
    // Servers that listen on one address of a name listen on the IPv4 one.
    addresses.sort_by_key(|address| address.is_ipv6());
    addresses
        .into_iter()
        .find(|address| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()))
        .ok_or_else(|| usage(&format!("{name} has no address of the kind that --source has")))
}

fn plan(kind: Kind, common: &CommonArguments, url: &Url, qos: Qos, topic: &str) -> Result<Plan, ClientError> {
    positive("--connect-rate", common.connect_rate)?;
    check_topic(kind, topic)?;
    Ok(Plan {
        kind,
        address: address(url, common)?,
        sources: common.source.clone().unwrap_or_default(),
        manners: Manners {
            username: common.username.clone().or_else(|| url.username.clone()),
            password: common.password.clone().or_else(|| url.password.clone()),
            keep_alive_secs: common.keep_alive,
            qos,
        },
        prefix: prefix(common),
        first_number: common.start_number,
        topic: Template::from(topic),
        groups: 0,
        publishers: 0,
        subscribers: 0,
        mute: 0,
        idle: 0,
        payload_bytes: STAMP_BYTES,
        rate: None,
        window: 1,
        limit: None,
        connect_rate: common.connect_rate,
        connect_window: common.connect_window,
        connect_timeout: common.connect_timeout.duration(),
        threads: common.threads,
        warmup: Duration::ZERO,
        duration: common.duration.duration(),
        drain: Duration::ZERO,
    })
}

fn load(plan: &mut Plan, arguments: &LoadArguments, url: &Url) -> Result<(), ClientError> {
    if arguments.size < STAMP_BYTES {
        return Err(usage(&format!("payloads have a time stamp in them: --size is {STAMP_BYTES} at least")));
    }
    if arguments.size > DATAGRAM_PAYLOAD_MAX && !matches!(url.target, Target::Mqtt(_)) {
        return Err(usage(&format!("a datagram holds payloads of up to {DATAGRAM_PAYLOAD_MAX} bytes")));
    }
    positive("--rate", arguments.rate)?;
    plan.payload_bytes = arguments.size;
    (plan.rate, plan.window, plan.limit) = (arguments.rate, arguments.window, arguments.limit);
    plan.warmup = if arguments.limit.is_some() { Duration::ZERO } else { arguments.warmup.duration() };
    plan.drain = arguments.drain.duration();
    Ok(())
}

fn positive(option: &str, rate: Option<f64>) -> Result<(), ClientError> {
    match rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => Err(usage(&format!("{option} is a number above 0"))),
        _ => Ok(()),
    }
}

fn check_topic(kind: Kind, topic: &str) -> Result<(), ClientError> {
    let filled = Template::from(topic).fill(0, 0);
    let limits = TopicLimits { bytes_max: usize::from(u16::MAX), levels_max: usize::MAX };
    match kind {
        Kind::Sub | Kind::Conn => TopicFilter::parse(&filled, limits)
            .map(|_| ())
            .map_err(|error| usage(&format!("this is no topic filter: {error:?}"))),
        Kind::Pub | Kind::Pairs => Topic::parse(&filled, limits).map(|_| ()).map_err(ClientError::Topic),
    }
}

fn prefix(common: &CommonArguments) -> String {
    common.prefix.clone().unwrap_or_else(|| format!("bench{}-", std::process::id()))
}

/// What publishers and subscribers speak.
fn speech(common: &CommonArguments, url: &Url) -> Result<Speech, ClientError> {
    Ok(match &url.target {
        Target::Mqtt(Transport::Tcp(_)) => Speech::Mqtt(Mqtt(common.mqtt_version.into())),
        Target::Mqtt(_) => return Err(usage("messages are sent over TCP and UDP; `conn` knows other transports")),
        Target::MqttSn(_) => Speech::MqttSn(MqttSn),
        Target::Coap(_, path) => Speech::Coap(coap(path)),
    })
}

fn coap(path: &[String]) -> Coap {
    // As unlike that of an earlier run as the clock is.
    let id_before = Clock::start().now_ns() >> 10;
    Coap { path: path.to_vec(), id_before: id_before as u16 }
}

fn watch(common: &CommonArguments, kind: &'static str, url: &Url, is_storm: bool) -> Watch {
    let protocol = match &url.target {
        Target::Mqtt(Transport::Tcp(_)) => "mqtt",
        Target::Mqtt(Transport::Tls(_)) => "mqtts",
        Target::Mqtt(Transport::Ws(..)) => "ws",
        Target::Mqtt(Transport::Wss(..)) => "wss",
        Target::Mqtt(Transport::Quic(_)) => "quic",
        Target::Mqtt(Transport::Unix(_)) => "unix",
        Target::MqttSn(_) => "mqtt-sn",
        Target::Coap(..) => "coap",
    };
    Watch { pid: common.pid, label: common.label.clone(), kind, protocol, is_storm }
}

fn usage(text: &str) -> ClientError {
    ClientError::Usage(text.to_owned())
}
