//! What the gateway tells about itself on `$SYS` topics, in the tree of EMQX and in that of Mosquitto.

use std::{fmt::Display, time::Duration};

use thingway_contract::{Instant, Message, MessageHead, Properties, Topic, TopicLimits};

use super::{Bus, Counter, Gauges, Lane};

/// Settings of the `$SYS` topics.
#[derive(Clone, Debug)]
pub struct SystemConfig {
    /// Name of this node in EMQX's tree.
    pub node: String,
    /// Publish EMQX's tree, `$SYS/brokers/{node}/…`.
    pub emqx_tree: bool,
    /// Publish Mosquitto's tree, `$SYS/broker/…`.
    pub mosquitto_tree: bool,
    /// Time between statistics.
    pub interval: Duration,
    /// Time between signs of life: uptime and date.
    pub heartbeat: Duration,
}

/// Names of packet kinds that are counted in the outboxes of the protocol whose packets the trees tell about.
pub type PacketNames = &'static [&'static str];

/// Publishes the `$SYS` topics when they are due.
#[derive(Debug)]
pub struct System {
    config: SystemConfig,
    packets: PacketNames,
    started: Instant,
    statistics_at: Instant,
    heartbeat_at: Instant,
    loads: Loads,
}

impl System {
    /// Begins at `now`; the first publication is due at once.
    pub fn new(config: SystemConfig, packets: PacketNames, now: Instant) -> Self {
        Self { config, packets, started: now, statistics_at: now, heartbeat_at: now, loads: Loads::default() }
    }

    /// Publishes what is due. `date` is the wall-clock time as text, `heap_bytes` the process's resident memory.
    pub fn tick(&mut self, bus: &Bus, now: Instant, date: &str, heap_bytes: u64, lane: &mut Lane) {
        if self.heartbeat_at <= now {
            self.heartbeat_at = now + self.config.heartbeat;
            self.heartbeat(bus, now, date, lane);
        }
        if self.statistics_at <= now {
            self.statistics_at = now + self.config.interval;
            let snapshot = Snapshot::take(bus, heap_bytes);
            self.loads.update(&snapshot, now);
            if self.config.emqx_tree {
                self.emqx_statistics(bus, &snapshot, now, lane);
            }
            if self.config.mosquitto_tree {
                self.mosquitto_statistics(bus, &snapshot, now, lane);
            }
        }
    }

    fn heartbeat(&self, bus: &Bus, now: Instant, date: &str, lane: &mut Lane) {
        let uptime = now.since(self.started).as_secs();
        let version = env!("CARGO_PKG_VERSION");
        if self.config.emqx_tree {
            let node = &self.config.node;
            let mut say = Speaker { bus, lane, now, prefix: format!("$SYS/brokers/{node}") };
            say.at("version", version);
            say.at("uptime", uptime);
            say.at("datetime", date);
            say.at("sysdescr", "Thingway");
            say.prefix = "$SYS".into();
            say.at("brokers", node);
        }
        if self.config.mosquitto_tree {
            let mut say = Speaker { bus, lane, now, prefix: "$SYS/broker".into() };
            say.at("version", format_args!("thingway version {version}"));
            say.at("uptime", format_args!("{uptime} seconds"));
        }
    }

    fn emqx_statistics(&self, bus: &Bus, snapshot: &Snapshot, now: Instant, lane: &mut Lane) {
        let g = &snapshot.gauges;
        let mut say = Speaker { bus, lane, now, prefix: format!("$SYS/brokers/{}/stats", self.config.node) };
        say.at("connections/count", g.connected);
        say.at("connections/max", g.connected_max);
        say.at("live_connections/count", g.connected);
        say.at("live_connections/max", g.connected_max);
        say.at("sessions/count", g.sessions);
        say.at("topics/count", g.filters);
        say.at("routes/count", g.filters);
        say.at("subscribers/count", g.subscriptions);
        say.at("subscriptions/count", g.subscriptions);
        say.at("subscriptions/shared/count", g.shared_subscriptions);
        say.at("suboptions/count", g.subscriptions);
        say.at("retained/count", g.retained);
        say.at("delayed/count", g.delayed);
        say.prefix = format!("$SYS/brokers/{}/metrics", self.config.node);
        for counter in Counter::ALL {
            say.at(&counter.name().replace('.', "/"), snapshot.total(bus, *counter));
        }
        say.at("messages/received", snapshot.messages_received);
        say.at("messages/sent", snapshot.messages_sent);
        say.at("packets/received", snapshot.packets_received);
        say.at("packets/sent", snapshot.packets_sent);
        for (kind, name) in self.packets.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let (received, sent) = bus.counters().packets(kind);
            say.at(&format!("packets/{name}/received"), received);
            say.at(&format!("packets/{name}/sent"), sent);
        }
    }

    fn mosquitto_statistics(&self, bus: &Bus, snapshot: &Snapshot, now: Instant, lane: &mut Lane) {
        let g = &snapshot.gauges;
        let total = |counter| snapshot.total(bus, counter);
        let mut say = Speaker { bus, lane, now, prefix: "$SYS/broker".into() };
        say.at("clients/total", g.sessions);
        say.at("clients/connected", g.connected);
        say.at("clients/active", g.connected);
        say.at("clients/maximum", g.connected_max);
        say.at("clients/disconnected", g.sessions.saturating_sub(g.connected));
        say.at("clients/inactive", g.sessions.saturating_sub(g.connected));
        say.at("clients/expired", total(Counter::SessionExpired));
        say.at("messages/received", snapshot.packets_received);
        say.at("messages/sent", snapshot.packets_sent);
        say.at("messages/stored", g.retained);
        say.at("store/messages/count", g.retained + g.stored.messages);
        say.at("store/messages/bytes", g.retained_bytes as u64 + g.stored.bytes);
        say.at("publish/messages/received", snapshot.messages_received);
        say.at("publish/messages/sent", snapshot.messages_sent);
        say.at("publish/messages/dropped", snapshot.dropped);
        say.at("publish/bytes/received", total(Counter::PublishBytesReceived));
        say.at("publish/bytes/sent", total(Counter::PublishBytesSent));
        say.at("bytes/received", total(Counter::BytesReceived));
        say.at("bytes/sent", total(Counter::BytesSent));
        say.at("subscriptions/count", g.subscriptions);
        say.at("shared_subscriptions/count", g.shared_subscriptions);
        say.at("retained messages/count", g.retained);
        say.at("heap/current", snapshot.heap_bytes);
        say.at("connections/socket/count", g.connected);
        for (name, load) in LOADS.iter().map(|load| load.0).zip(&self.loads.averages) {
            for (minutes, value) in ["1min", "5min", "15min"].iter().zip(load) {
                say.at(&format!("load/{name}/{minutes}"), format_args!("{value:.2}"));
            }
        }
        for (kind, name) in self.packets.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let (received, sent) = bus.counters().packets(kind);
            say.at(&format!("mqtt/{name}/received"), received);
            say.at(&format!("mqtt/{name}/sent"), sent);
        }
    }
}

struct Snapshot {
    gauges: Gauges,
    messages_received: u64,
    messages_sent: u64,
    packets_received: u64,
    packets_sent: u64,
    dropped: u64,
    heap_bytes: u64,
    bytes_received: u64,
    bytes_sent: u64,
    connects: u64,
}

impl Snapshot {
    fn take(bus: &Bus, heap_bytes: u64) -> Self {
        let total = |counters: &[Counter]| counters.iter().map(|counter| bus.counters().total(*counter)).sum();
        let (packets_received, packets_sent) = (0..super::counters::PACKET_KINDS)
            .map(|kind| bus.counters().packets(kind))
            .fold((0, 0), |(received, sent), (r, s)| (received + r, sent + s));
        Self {
            gauges: bus.gauges(),
            messages_received: total(&[
                Counter::MessagesQos0Received,
                Counter::MessagesQos1Received,
                Counter::MessagesQos2Received,
            ]),
            messages_sent: total(&[Counter::MessagesQos0Sent, Counter::MessagesQos1Sent, Counter::MessagesQos2Sent]),
            packets_received,
            packets_sent,
            dropped: total(&[
                Counter::DeliveryQueueFull,
                Counter::DeliveryQos0,
                Counter::DeliveryExpired,
                Counter::DeliveryTooLarge,
                Counter::DeliveryTopicUnknown,
                Counter::DeliveryRevoked,
            ]),
            heap_bytes,
            bytes_received: total(&[Counter::BytesReceived]),
            bytes_sent: total(&[Counter::BytesSent]),
            connects: total(&[Counter::ClientConnected]),
        }
    }

    fn total(&self, bus: &Bus, counter: Counter) -> u64 {
        bus.counters().total(counter)
    }
}

type Load = (&'static str, fn(&Snapshot) -> u64);

const LOADS: &[Load] = &[
    ("messages/received", |s| s.packets_received),
    ("messages/sent", |s| s.packets_sent),
    ("publish/received", |s| s.messages_received),
    ("publish/sent", |s| s.messages_sent),
    ("publish/dropped", |s| s.dropped),
    ("bytes/received", |s| s.bytes_received),
    ("bytes/sent", |s| s.bytes_sent),
    ("connections", |s| s.connects),
];

/// Moving averages of what happens in a minute, over 1, 5 and 15 minutes, as Mosquitto tells them.
#[derive(Debug, Default)]
struct Loads {
    before: Option<(Instant, Vec<u64>)>,
    averages: Vec<[f64; 3]>,
}

impl Loads {
    fn update(&mut self, snapshot: &Snapshot, now: Instant) {
        let values: Vec<u64> = LOADS.iter().map(|(_, value)| value(snapshot)).collect();
        self.averages.resize(LOADS.len(), [0.0; 3]);
        if let Some((then, before)) = &self.before {
            let minutes = now.since(*then).as_secs_f64() / 60.0;
            if minutes > 0.0 {
                for ((averages, value), before) in self.averages.iter_mut().zip(&values).zip(before) {
                    let per_minute = value.saturating_sub(*before) as f64 / minutes;
                    for (average, span) in averages.iter_mut().zip([1.0, 5.0, 15.0]) {
                        let fade = (-minutes / span).exp();
                        *average = per_minute + fade * (*average - per_minute);
                    }
                }
            }
        }
        self.before = Some((now, values));
    }
}

struct Speaker<'a> {
    bus: &'a Bus,
    lane: &'a mut Lane,
    now: Instant,
    prefix: String,
}

impl Speaker<'_> {
    fn at(&mut self, topic: &str, value: impl Display) {
        let topic = format!("{}/{topic}", self.prefix);
        self.bus.publish_system(&topic, value.to_string().as_bytes(), self.now, self.lane);
    }
}

impl Bus {
    /// Publishes a `$SYS` message and keeps it as that topic's retained message.
    pub fn publish_system(&self, topic: &str, payload: &[u8], now: Instant, lane: &mut Lane) {
        let Ok(topic) = Topic::parse(topic, TopicLimits::default()) else { return };
        let head = MessageHead { retain: true, received_at: now, ..MessageHead::default() };
        self.publish(Message::new(head, topic, Properties::default(), payload), None, now, lane);
    }
}
