//! The registry: the one place that names concrete protocols. From a listener's settings to a running listener that speaks
//! its protocol.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use thingway_coap as coap;
use thingway_contract::{Instant, Peer, Protocol, Qos, TopicLimits, Transport};
use thingway_mqtt as mqtt;
use thingway_mqtt_sn as mqttsn;

use crate::{
    access::{
        Access,
        quota::{RateSettings, Rates, SharedRate},
    },
    bus::{
        Bus, BusConfig, DropOrder, EventConfig, Origin, QueueLimits, Tuning, retained::RetainLimits,
        shared::ShareStrategy,
    },
    config::{self, Config, ListenerProtocol},
    logging::PeerLog,
    net::{
        ByteStream, Cores, PeerRates, Service, datagram,
        faults::Faults,
        limit::{Limits, Opened, Rate},
        listener::{self, ListenError, ListenerHandle, ListenerOptions, StreamSink},
        memory::MemoryListener,
        quic::FrameLength,
        reactor,
        stream::Connection,
    },
};

/// Names of MQTT's packets, by type.
pub const MQTT_PACKET_NAMES: &[&str] = mqtt::Connection::PACKET_NAMES;

/// What all listeners share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The settings.
    pub config: Arc<Config>,
    /// The bus.
    pub bus: Arc<Bus>,
    /// The access rules.
    pub access: Arc<Access>,
    /// Random bytes that nobody else knows, new with each start: what tokens are made with.
    pub secret: [u8; 16],
    /// What limits the log lines that peers cause.
    pub log: Arc<PeerLog>,
}

/// Changes what conversations to come by a listener begin with.
pub struct Tuner(Box<Tune>);

type Tune = dyn Fn(&Config, &config::Listener) + Send + Sync;

impl Tuner {
    fn new<P: Protocol>(
        service: &Service<P>,
        make: impl Fn(&Config, &config::Listener) -> P::Config + Send + Sync + 'static,
    ) -> Self {
        let config = service.config.clone();
        Self(Box::new(move |settings, listener| config.store(Arc::new(make(settings, listener)))))
    }

    /// They begin with what these settings say.
    pub fn tune(&self, settings: &Config, listener: &config::Listener) {
        (self.0)(settings, listener);
    }
}

impl fmt::Debug for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tuner")
    }
}

/// Starts a listener that speaks its protocol.
pub fn start(
    settings: &config::Listener,
    options: ListenerOptions,
    common: &Common,
    cores: &Cores,
) -> Result<(ListenerHandle, Tuner), ListenError> {
    let listener = (options.name.clone(), options.transport());
    match settings.protocol {
        ListenerProtocol::Mqtt => {
            let service = mqtt_service(listener, settings, common, cores);
            let tuner = Tuner::new(&service, mqtt_config);
            Ok((listener::start(options, cores, Streams(service))?, tuner))
        }
        ListenerProtocol::MqttSn => {
            let clock = clock_unix_ms(cores.clock().now());
            let config = mqttsn_config(&common.config, settings, clock);
            // Announcements have told these.
            let (gateway_id, advertise_interval_secs) = (config.gateway_id, config.advertise_interval_secs);
            let service = service::<mqttsn::Conversation>(listener, config, settings, common, cores);
            let tuner = Tuner::new(&service, move |settings, listener| mqttsn::Config {
                gateway_id,
                advertise_interval_secs,
                ..mqttsn_config(settings, listener, clock)
            });
            Ok((datagram::start(options, cores, &service)?, tuner))
        }
        ListenerProtocol::Coap => {
            let (secret, clock) = (common.secret, clock_unix_ms(cores.clock().now()));
            let config = coap_config(&common.config, &secret, clock);
            let service = service::<coap::Conversation>(listener, config, settings, common, cores);
            let tuner = Tuner::new(&service, move |settings, _| coap_config(settings, &secret, clock));
            Ok((datagram::start(options, cores, &service)?, tuner))
        }
    }
}

fn mqtt_service(
    listener: (Arc<str>, Transport),
    settings: &config::Listener,
    common: &Common,
    cores: &Cores,
) -> Arc<Service<mqtt::Connection>> {
    let config = mqtt_config(&common.config, settings);
    service(listener, config, settings, common, cores)
}

/// Starts a listener inside the process. Datagrams are not carried within it: what they would prove is proved by their sockets.
pub fn start_in_memory(
    name: &str,
    settings: &config::Listener,
    limits: Limits,
    common: &Common,
    cores: &Cores,
) -> MemoryListener {
    let name: Arc<str> = name.into();
    let service = mqtt_service((name.clone(), Transport::Memory), settings, common, cores);
    MemoryListener::new(name, limits, cores, Streams(service))
}

/// How a transport with several streams tells a protocol's frames apart.
pub fn frame_length(protocol: ListenerProtocol) -> Option<FrameLength> {
    match protocol {
        ListenerProtocol::Mqtt => Some(FrameLength(|bytes| match mqtt::split(bytes, usize::MAX) {
            Ok(mqtt::Split::Frame(frame)) => Some(frame.total_bytes()),
            Ok(mqtt::Split::Incomplete(total)) => Some(total).filter(|total| *total > 0),
            // No frame at all: the conversation shall see it and say so.
            Err(_) => Some(bytes.len().max(1)),
        })),
        ListenerProtocol::MqttSn | ListenerProtocol::Coap => None,
    }
}

/// What all connections of a listener share.
pub fn service<P: Protocol>(
    listener: (Arc<str>, Transport),
    config: P::Config,
    settings: &config::Listener,
    common: &Common,
    cores: &Cores,
) -> Arc<Service<P>> {
    let (listener, transport) = listener;
    Arc::new(Service {
        origin: Arc::new(Origin { protocol: P::NAME, transport, listener }),
        bus: common.bus.clone(),
        access: common.access.clone(),
        config: Arc::new(ArcSwap::from_pointee(config)),
        cores: cores.clone(),
        clock: cores.clock(),
        faults: Faults::new(common.log.clone()),
        rates: peer_rates(&settings.client_rate),
        shared_rates: Rates::new(&shared_rates(&settings.total_rate)),
    })
}

/// Turns finished transports into connections of a protocol.
pub struct Streams<P: Protocol>(pub Arc<Service<P>>);

impl<P: Protocol> Clone for Streams<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Protocol> StreamSink for Streams<P> {
    fn accept<T: ByteStream>(&self, peer: Peer, io: T, opened: Opened) {
        let shed = opened.shed();
        reactor::spawn(Connection::new(self.0.clone(), peer, io, opened, shed));
    }
}

/// How fast a peer may send. A burst of 0 is what the rate allows in one second.
fn peer_rates(settings: &config::ClientRate) -> PeerRates {
    let rate = |count: u64, per: config::Period, burst: u64| {
        let in_a_second = (u128::from(count) * 1000 / per.duration().as_millis().max(1)).try_into();
        let burst = if burst == 0 { in_a_second.unwrap_or(u64::MAX) } else { burst };
        Rate { count, per: per.duration(), burst: burst.max(1) }
    };
    let (messages, bytes) = (settings.messages.finite(), settings.bytes.finite());
    PeerRates {
        messages: messages.map(|messages| rate(messages.count(), messages.per(), settings.messages_burst.into())),
        bytes: bytes.map(|bytes| rate(bytes.bytes(), bytes.per(), settings.bytes_burst.get())),
    }
}

fn shared_rates(settings: &config::ClientRate) -> RateSettings {
    let PeerRates { messages, bytes } = peer_rates(settings);
    let shared = |Rate { count, per, burst }| SharedRate { count, per, burst };
    RateSettings { messages: messages.map(shared), bytes: bytes.map(shared) }
}

/// The bus's settings.
pub fn bus_config(config: &Config) -> BusConfig {
    let queue = &config.queue;
    BusConfig {
        queue: QueueLimits {
            messages_max: queue.messages_max as usize,
            bytes_max: queue.bytes_max.as_usize(),
            offline_messages_max: queue.offline_messages_max as usize,
            offline_bytes_max: queue.offline_bytes_max.as_usize(),
            offline_qos0: queue.qos0_offline,
            drop_order: match queue.drop {
                config::DropOrder::Oldest => DropOrder::Oldest,
                config::DropOrder::Newest => DropOrder::Newest,
            },
        },
        queue_bytes_total_max: queue.total_bytes_max.as_usize(),
        tuning: tuning(config),
        upgrade_qos: config.mqtt.upgrade_qos,
        events: events(config),
        ..BusConfig::default()
    }
}

/// What of the bus's settings counts at once. What a listener may have for itself is checked by its protocol; the bus allows what any of them does.
pub fn tuning(config: &Config) -> Tuning {
    let listeners = || config.listeners.iter().map(|(_, _, listener)| &*listener.mqtt).chain([&config.mqtt]);
    let retained = &config.retained;
    Tuning {
        retained: RetainLimits {
            messages_max: retained.messages_max.finite().map_or(usize::MAX, |max| max as usize),
            payload_bytes_max: retained.payload_max.as_usize(),
            bytes_max: retained.bytes_max.as_usize(),
        },
        retained_expiry_secs: expiry_secs(retained.expiry),
        delayed_available: config.delayed.enable,
        delayed_messages_max: config.delayed.messages_max as usize,
        delayed_bytes_max: config.delayed.bytes_max.as_usize(),
        delayed_secs_max: config.delayed.interval_max.as_secs_u32(),
        share_strategy: match config.shared.strategy {
            config::Strategy::RoundRobin => ShareStrategy::RoundRobin,
            config::Strategy::Random => ShareStrategy::Random,
            config::Strategy::Sticky => ShareStrategy::Sticky,
            config::Strategy::HashClientId => ShareStrategy::HashClientId,
            config::Strategy::HashTopic => ShareStrategy::HashTopic,
        },
        retain_available: retained.enable && listeners().any(|mqtt| mqtt.retain_available),
        session_expiry_secs_max: listeners().map(|mqtt| expiry_secs(mqtt.session_expiry_max)).max().unwrap_or(u32::MAX),
        subscriptions_max: config.mqtt.subscriptions_max.finite().map_or(usize::MAX, |max| max as usize),
        topic_limits: TopicLimits {
            bytes_max: listeners().map(|mqtt| mqtt.topic_bytes_max.into()).max().unwrap_or(usize::MAX),
            levels_max: listeners().map(|mqtt| mqtt.topic_levels_max.into()).max().unwrap_or(usize::MAX),
        },
    }
}

fn events(config: &Config) -> EventConfig {
    let system = &config.sys_topics;
    let on = system.enable && system.emqx_tree;
    EventConfig {
        node: config.gateway.name.clone(),
        connected: on && system.events.client_connected,
        disconnected: on && system.events.client_disconnected,
        subscribed: on && system.events.client_subscribed,
        unsubscribed: on && system.events.client_unsubscribed,
        clock_zero_unix_ms: 0,
    }
}

fn mqtt_config(config: &Config, listener: &config::Listener) -> mqtt::Config {
    let settings = &listener.mqtt;
    mqtt::Config {
        topic_limits: TopicLimits {
            bytes_max: settings.topic_bytes_max.into(),
            levels_max: settings.topic_levels_max.into(),
        },
        client_id_bytes_max: settings.client_id_bytes_max.into(),
        packet_bytes_max: u32::try_from(settings.max_packet_size.get()).unwrap_or(u32::MAX),
        receive_maximum: settings.receive_maximum,
        inflight_max: settings.inflight_max,
        topic_alias_in_max: settings.topic_alias_maximum,
        topic_alias_out_max: settings.topic_alias_maximum_outbound,
        server_keep_alive_secs: match settings.server_keep_alive.as_secs_u32() {
            0 => None,
            secs => Some(u16::try_from(secs).unwrap_or(u16::MAX)),
        },
        keep_alive_permille: (settings.keep_alive_multiplier * 1000.0) as u32,
        connect_timeout_ms: millis(listener.idle_timeout),
        session_expiry_v3_secs: expiry_secs(settings.session_expiry_default),
        session_expiry_max_secs: expiry_secs(settings.session_expiry_max),
        qos_max: Qos::from_u8(settings.max_qos).unwrap_or(Qos::ExactlyOnce),
        retain_available: settings.retain_available && config.retained.enable,
        wildcard_available: settings.wildcard_subscription,
        shared_available: settings.shared_subscription,
        subscription_ids_available: settings.subscription_identifiers,
        exclusive_available: settings.exclusive_subscription,
        payload_format_checked: settings.validate_payload_format,
        response_information: text(&settings.response_information),
        server_reference: text(&settings.server_reference),
        ..mqtt::Config::default()
    }
}

fn topic_limits(config: &Config) -> TopicLimits {
    TopicLimits { bytes_max: config.mqtt.topic_bytes_max.into(), levels_max: config.mqtt.topic_levels_max.into() }
}

fn mqttsn_config(config: &Config, listener: &config::Listener, clock_unix_ms: u64) -> mqttsn::Config {
    let settings = &config.mqttsn;
    let mut predefined = mqttsn::Predefined::default();
    for topic in &settings.predefined {
        let added = match topic.client.as_str() {
            "" => predefined.insert(topic.id, &topic.topic),
            client => predefined.insert_for(client, topic.id, &topic.topic),
        };
        if let Err(error) = added {
            tracing::error!(id = topic.id, topic = topic.topic, ?error, "a predefined topic is left out");
        }
    }
    let permille = |multiplier: f64| (multiplier * 1000.0) as u32;
    // Where clients outlive a start, another at each, and far from the one before: the golden ratio's multiples are.
    let start = match config.store.durability {
        config::StoreDurability::Memory => 0,
        _ => clock_unix_ms.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32,
    };
    mqttsn::Config {
        first_topic_id: 1 + (start % 65_534) as u16,
        gateway_id: settings.gateway_id,
        advertise_interval_secs: u16::try_from(settings.advertise_interval.as_secs_u32()).unwrap_or(u16::MAX),
        topic_limits: topic_limits(config),
        client_id_bytes_max: settings.client_id_bytes_max.into(),
        assign_client_ids: settings.assign_client_ids,
        predefined,
        qos_minus_one: settings.qos_minus_one,
        qos_minus_one_username: settings.qos_minus_one_username.as_str().into(),
        qos_minus_one_idle_ms: millis(settings.qos_minus_one_idle),
        retry_interval_ms: millis(settings.retry_interval),
        retry_max: settings.retry_max,
        keep_alive_permille: permille(settings.keep_alive_multiplier),
        keep_alive_long_permille: permille(settings.keep_alive_multiplier_long),
        silence_secs_max: settings.silence_max.as_secs_u32(),
        session_expiry_secs: expiry_secs(settings.session_expiry),
        inbound_max: settings.inbound_max,
        topic_ids_max: settings.topic_ids_max,
        will_bytes_max: settings.will_size_max.as_usize(),
        datagram_bytes_max: settings.datagram_size_max.as_usize(),
        roaming: settings.roaming,
        auth_required: settings.auth_required,
        forwarding: settings.forwarding,
        forward_radius: settings.forward_radius,
        connect_timeout_ms: millis(listener.idle_timeout),
        ..mqttsn::Config::default()
    }
}

/// Milliseconds from the beginning of 1970 to that of the clock which says `now`.
fn clock_unix_ms(now: Instant) -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX).saturating_sub(now.as_millis())
}

fn coap_config(config: &Config, secret: &[u8; 16], clock_unix_ms: u64) -> coap::Config {
    let settings = &config.coap;
    let qos = |rule| match rule {
        config::CoapQos::Coap => coap::QosRule::Coap,
        config::CoapQos::Qos0 => coap::QosRule::Fixed(Qos::AtMostOnce),
        config::CoapQos::Qos1 => coap::QosRule::Fixed(Qos::AtLeastOnce),
        config::CoapQos::Qos2 => coap::QosRule::Fixed(Qos::ExactlyOnce),
    };
    coap::Config {
        secret: *secret,
        clock_unix_ms,
        connection_required: settings.connection_required,
        heartbeat_secs: u16::try_from(settings.heartbeat.as_secs_u32()).unwrap_or(u16::MAX),
        session_expiry_secs: settings.session_expiry.as_secs_u32(),
        idle_ms: millis(settings.idle),
        client_id_bytes_max: settings.client_id_bytes_max.into(),
        topic_limits: topic_limits(config),
        notify_type: match settings.notify_type {
            config::NotifyType::Qos => coap::NotifyType::Qos,
            config::NotifyType::Con => coap::NotifyType::Confirmable,
            config::NotifyType::Non => coap::NotifyType::NonConfirmable,
        },
        publish_qos: qos(settings.publish_qos),
        subscribe_qos: qos(settings.subscribe_qos),
        transmission: coap::message::Transmission {
            ack_timeout_ms: millis(settings.ack_timeout),
            ack_random_permille: (settings.ack_random_factor * 1000.0) as u32,
            max_retransmit: settings.max_retransmit,
            nstart: settings.nstart,
            exchanges_max: settings.exchanges_max.into(),
        },
        observations_max: settings.observations_max.into(),
        unconfirmed_max: settings.unconfirmed_max,
        confirm_secs: settings.confirm_interval.as_secs_u32(),
        block_bytes_max: settings.block_size.as_usize(),
        body_bytes_max: settings.body_size_max.as_usize(),
        downloads_max: settings.downloads_max.into(),
        block_ms: millis(settings.block_timeout),
        amplification: match settings.amplification {
            config::Amplification::Blocks => coap::Amplification::Blocks,
            config::Amplification::Echo => coap::Amplification::Echo,
            config::Amplification::Unbounded => coap::Amplification::Unbounded,
        },
        pubsub_path: text(&settings.pubsub_path),
        collection_max: settings.collection_max,
        ..coap::Config::default()
    }
}

fn millis(period: config::Period) -> u32 {
    u32::try_from(period.duration().as_millis()).unwrap_or(u32::MAX)
}

fn expiry_secs(period: config::OrInfinity<config::Period>) -> u32 {
    period.finite().map_or(u32::MAX, |period| period.as_secs_u32())
}

fn text(text: &str) -> Option<Box<str>> {
    Some(text).filter(|text| !text.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_have_bursts_of_a_second() {
        let rates = |text: &str| {
            let config = Config::from_toml(&format!("[listeners.tcp.default.client_rate]\n{text}\n")).expect("good");
            peer_rates(&config.listeners.tcp["default"].client_rate)
        };
        assert_eq!(rates(""), PeerRates::default());
        assert_eq!(rates("messages = \"50/s\"").messages, Some(Rate::per_second(50, 50)));
        let slow = Rate { count: 5, per: Duration::from_secs(10), burst: 1 };
        assert_eq!(rates("messages = \"5/10s\"").messages, Some(slow));
        let bytes = Rate { count: 1024, per: Duration::from_secs(60), burst: 4096 };
        assert_eq!(rates("bytes = \"1KiB/m\"\nbytes_burst = \"4KiB\"").bytes, Some(bytes));
    }

    #[test]
    fn the_bus_allows_what_any_listener_does() {
        let config = Config::from_toml(
            "mqtt.retain_available = false\nmqtt.session_expiry_max = \"1h\"\n\
             [listeners.ws.default.mqtt]\nretain_available = true\nsession_expiry_max = \"2h\"\ntopic_levels_max = 500\n",
        );
        let bus = tuning(&config.expect("good"));
        assert!(bus.retain_available);
        assert_eq!((bus.session_expiry_secs_max, bus.topic_limits.levels_max), (7200, 500));
    }

    /// What every idle connection costs, beside the session and the socket's place in the runtime.
    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<Connection<mqtt::Connection, reactor::Socket, Opened>>();
        // The allocator gives 256.
        assert!(bytes <= 232, "{bytes}");
    }

    /// What every MQTT-SN and CoAP client costs in the driver's table.
    #[test]
    fn a_conversation_of_datagrams_is_small() {
        let (mqttsn, coap) =
            (datagram::talk_bytes::<mqttsn::Conversation>(), datagram::talk_bytes::<coap::Conversation>());
        assert!(mqttsn <= 160, "{mqttsn}");
        assert!(coap <= 232, "{coap}");
    }
}
