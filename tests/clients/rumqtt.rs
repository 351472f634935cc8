//! rumqttc, versions 3.1.1 and 5, inside the test's own process.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rumqttc::{Outgoing, TlsConfiguration};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    runtime::{Handle, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{
    agent::{Agent, Backend, PATIENCE, Reports},
    wire::{Command, Connect, Endpoint, Outcome, Properties, Publish, Received, Report, Subscribe, Transport},
};

/// Packets are bounded by the tests, not by rumqttc's default of 10 KiB.
const PACKET_MAX: usize = 16 << 20;
/// More requests at a time than any test makes.
const REQUESTS_MAX: usize = 16_384;

pub fn rumqttc() -> Agent {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reports = Arc::new(Reports::default());
    let backend = Backing {
        handle: runtime.handle().clone(),
        runtime: Some(runtime),
        reports: Arc::clone(&reports),
        connections: Mutex::default(),
    };
    Agent::new("rumqttc", reports, Box::new(backend))
}

struct Backing {
    handle: Handle,
    runtime: Option<Runtime>,
    reports: Arc<Reports>,
    connections: Mutex<HashMap<String, UnboundedSender<(u64, Command)>>>,
}

impl Backend for Backing {
    fn submit(&self, req: u64, conn: &str, command: Command) {
        match command {
            Command::Connect(connect) => {
                let (sender, commands) = unbounded_channel();
                self.connections.lock().insert(conn.to_owned(), sender);
                let ledger = Ledger {
                    reports: Arc::clone(&self.reports),
                    conn: conn.to_owned(),
                    connect: Some(req),
                    ..Ledger::default()
                };
                match connect.version {
                    4 => _ = self.handle.spawn(v4::run(connect, commands, ledger)),
                    5 => _ = self.handle.spawn(v5::run(connect, commands, ledger)),
                    version => panic!("rumqttc does not speak version {version}"),
                }
            }
            command => {
                if self.connections.lock()[conn].send((req, command)).is_err() {
                    let error = Some("the connection has ended".into());
                    self.reports.add(Report::Done { req, outcome: Outcome { error, ..Outcome::default() } });
                }
            }
        }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Which command waits for which packet. rumqttc numbers packets itself and tells the number in the order of the requests.
#[derive(Default)]
struct Ledger {
    reports: Arc<Reports>,
    conn: String,
    connect: Option<u64>,
    publishing: VecDeque<u64>,
    subscribing: VecDeque<u64>,
    unsubscribing: VecDeque<u64>,
    unacknowledged: HashMap<u16, u64>,
    disconnecting: Option<u64>,
}

impl Ledger {
    fn requested(&mut self, req: u64, command: &Command) {
        match command {
            Command::Publish(_) => self.publishing.push_back(req),
            Command::Subscribe(_) => self.subscribing.push_back(req),
            Command::Unsubscribe { .. } => self.unsubscribing.push_back(req),
            _ => self.disconnecting = Some(req),
        }
    }

    fn sent(&mut self, outgoing: &Outgoing) {
        match outgoing {
            Outgoing::Publish(0) => {
                if let Some(req) = self.publishing.pop_front() {
                    self.done(req, vec![0]);
                }
            }
            Outgoing::Publish(id) => {
                if let Some(req) = self.publishing.pop_front() {
                    self.unacknowledged.insert(*id, req);
                }
            }
            Outgoing::Subscribe(id) => {
                if let Some(req) = self.subscribing.pop_front() {
                    self.unacknowledged.insert(*id, req);
                }
            }
            Outgoing::Unsubscribe(id) => {
                if let Some(req) = self.unsubscribing.pop_front() {
                    self.unacknowledged.insert(*id, req);
                }
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, id: u16, codes: Vec<u8>) {
        if let Some(req) = self.unacknowledged.remove(&id) {
            self.done(req, codes);
        }
    }

    fn connected(&mut self, outcome: Outcome) {
        if let Some(req) = self.connect.take() {
            self.reports.add(Report::Done { req, outcome });
        }
    }

    fn message(&self, message: Received) {
        self.reports.add(Report::Message { conn: self.conn.clone(), message });
    }

    fn closed(&mut self, error: &str, code: Option<u8>) {
        self.connected(Outcome { error: Some(error.to_owned()), ..Outcome::default() });
        self.reports.add(Report::Closed { conn: self.conn.clone(), code });
        if let Some(req) = self.disconnecting.take() {
            self.done(req, Vec::new());
        }
        let lost = self.publishing.drain(..).chain(self.subscribing.drain(..)).chain(self.unsubscribing.drain(..));
        for req in lost.chain(self.unacknowledged.drain().map(|(_, req)| req)) {
            let outcome = Outcome { error: Some(error.to_owned()), ..Outcome::default() };
            self.reports.add(Report::Done { req, outcome });
        }
    }

    fn done(&self, req: u64, codes: Vec<u8>) {
        self.reports.add(Report::Done { req, outcome: Outcome { codes, ..Outcome::default() } });
    }
}

fn transport(endpoint: &Endpoint) -> rumqttc::Transport {
    match endpoint.transport {
        Transport::Tcp | Transport::Quic => rumqttc::Transport::Tcp,
        Transport::Tls => rumqttc::Transport::Tls(tls(endpoint)),
        Transport::Ws => rumqttc::Transport::Ws,
        Transport::Wss => rumqttc::Transport::Wss(tls(endpoint)),
        Transport::Unix => rumqttc::Transport::Unix,
        Transport::Udp => panic!("rumqttc speaks no MQTT-SN"),
    }
}

/// rumqttc takes the whole URL as the host of a WebSocket, and the file as the host of a Unix socket.
fn host(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, path, .. } = endpoint;
    match endpoint.transport {
        Transport::Ws => format!("ws://{host}:{port}{path}"),
        Transport::Wss => format!("wss://{host}:{port}{path}"),
        Transport::Unix => path.clone(),
        Transport::Tcp | Transport::Tls | Transport::Quic | Transport::Udp => host.clone(),
    }
}

fn tls(endpoint: &Endpoint) -> TlsConfiguration {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&endpoint.ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConfiguration::Rustls(Arc::new(config))
}

mod v4 {
    use rumqttc::{
        AsyncClient, Event, LastWill, MqttOptions, NetworkOptions, Packet, SubscribeReasonCode, mqttbytes::qos,
    };

    use super::*;

    pub async fn run(connect: Connect, mut commands: UnboundedReceiver<(u64, Command)>, mut ledger: Ledger) {
        let (client, mut events) = AsyncClient::new(options(&connect), REQUESTS_MAX);
        events.set_network_options(NetworkOptions::new().set_connection_timeout(PATIENCE.as_secs()).clone());
        loop {
            tokio::select! {
                event = events.poll() => match event {
                    Ok(Event::Outgoing(outgoing)) => ledger.sent(&outgoing),
                    Ok(Event::Incoming(packet)) => incoming(packet, &mut ledger),
                    Err(error) => return ledger.closed(&error.to_string(), None),
                },
                command = commands.recv() => {
                    let Some((req, command)) = command else { return };
                    ledger.requested(req, &command);
                    if matches!(command, Command::Kill) {
                        return ledger.closed("killed", None);
                    }
                    request(&client, command);
                }
            }
        }
    }

    fn options(connect: &Connect) -> MqttOptions {
        let mut options = MqttOptions::new(&connect.client_id, host(&connect.endpoint), connect.endpoint.port);
        options.set_transport(transport(&connect.endpoint));
        options.set_clean_session(connect.clean);
        options.set_keep_alive(Duration::from_secs(connect.keep_alive.into()));
        options.set_max_packet_size(PACKET_MAX, PACKET_MAX);
        if let Some(will) = &connect.will {
            let level = qos(will.qos).unwrap();
            options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), level, will.retain));
        }
        options
    }

    fn request(client: &AsyncClient, command: Command) {
        match command {
            Command::Publish(Publish { topic, payload, qos: level, retain, .. }) => {
                client.try_publish(topic, qos(level).unwrap(), retain, payload).unwrap();
            }
            Command::Subscribe(Subscribe { filter, qos: level, .. }) => {
                client.try_subscribe(filter, qos(level).unwrap()).unwrap();
            }
            Command::Unsubscribe { filter } => client.try_unsubscribe(filter).unwrap(),
            _ => client.try_disconnect().unwrap(),
        }
    }

    fn incoming(packet: Packet, ledger: &mut Ledger) {
        match packet {
            Packet::ConnAck(ack) => {
                ledger.connected(Outcome { session_present: ack.session_present, ..Outcome::default() });
            }
            Packet::PubAck(ack) => ledger.acknowledged(ack.pkid, vec![0]),
            Packet::PubComp(ack) => ledger.acknowledged(ack.pkid, vec![0]),
            Packet::SubAck(ack) => {
                let code = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(level) => *level as u8,
                    SubscribeReasonCode::Failure => 0x80,
                };
                ledger.acknowledged(ack.pkid, ack.return_codes.iter().map(code).collect());
            }
            Packet::UnsubAck(ack) => ledger.acknowledged(ack.pkid, Vec::new()),
            Packet::Publish(publish) => ledger.message(Received {
                topic: publish.topic,
                payload: publish.payload.to_vec(),
                qos: publish.qos as u8,
                retain: publish.retain,
                dup: publish.dup,
                properties: Properties::default(),
            }),
            _ => {}
        }
    }
}

mod v5 {
    use rumqttc::v5::{
        AsyncClient, ConnectionError, Event, MqttOptions, StateError,
        mqttbytes::{
            qos,
            v5::{
                Filter, LastWill, Packet, PublishProperties, RetainForwardRule, SubscribeProperties,
                SubscribeReasonCode,
            },
        },
    };

    use super::*;

    pub async fn run(connect: Connect, mut commands: UnboundedReceiver<(u64, Command)>, mut ledger: Ledger) {
        let (client, mut events) = AsyncClient::new(options(&connect), REQUESTS_MAX);
        loop {
            tokio::select! {
                event = events.poll() => match event {
                    Ok(Event::Outgoing(outgoing)) => ledger.sent(&outgoing),
                    Ok(Event::Incoming(packet)) => incoming(packet, &mut ledger),
                    Err(error) => {
                        let code = match &error {
                            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                                Some(*reason_code as u8)
                            }
                            _ => None,
                        };
                        return ledger.closed(&error.to_string(), code);
                    }
                },
                command = commands.recv() => {
                    let Some((req, command)) = command else { return };
                    ledger.requested(req, &command);
                    if matches!(command, Command::Kill) {
                        return ledger.closed("killed", None);
                    }
                    request(&client, command);
                }
            }
        }
    }

    fn options(connect: &Connect) -> MqttOptions {
        let mut options = MqttOptions::new(&connect.client_id, host(&connect.endpoint), connect.endpoint.port);
        options.set_transport(transport(&connect.endpoint));
        options.set_connection_timeout(PATIENCE.as_secs());
        options.set_clean_start(connect.clean);
        options.set_keep_alive(Duration::from_secs(connect.keep_alive.into()));
        options.set_max_packet_size(Some(PACKET_MAX as u32));
        options.set_session_expiry_interval(connect.session_expiry);
        options.set_receive_maximum(connect.receive_maximum);
        options.set_topic_alias_max(connect.topic_alias_maximum);
        if let Some(will) = &connect.will {
            let level = qos(will.qos).unwrap();
            options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), level, will.retain, None));
        }
        options
    }

    fn request(client: &AsyncClient, command: Command) {
        match command {
            Command::Publish(Publish { topic, payload, qos: level, retain, properties }) => {
                let properties = publish_properties(properties);
                let level = qos(level).unwrap();
                client.try_publish_with_properties(topic, level, retain, payload, properties).unwrap();
            }
            Command::Subscribe(subscribe) => {
                let filter = Filter {
                    path: subscribe.filter,
                    qos: qos(subscribe.qos).unwrap(),
                    nolocal: subscribe.no_local,
                    preserve_retain: subscribe.retain_as_published,
                    retain_forward_rule: match subscribe.retain_handling {
                        0 => RetainForwardRule::OnEverySubscribe,
                        1 => RetainForwardRule::OnNewSubscribe,
                        _ => RetainForwardRule::Never,
                    },
                };
                match subscribe.subscription_id {
                    None => client.try_subscribe_many([filter]).unwrap(),
                    Some(id) => {
                        let properties = SubscribeProperties { id: Some(id as usize), user_properties: Vec::new() };
                        client.try_subscribe_many_with_properties([filter], properties).unwrap();
                    }
                }
            }
            Command::Unsubscribe { filter } => client.try_unsubscribe(filter).unwrap(),
            _ => client.try_disconnect().unwrap(),
        }
    }

    fn publish_properties(properties: Properties) -> PublishProperties {
        PublishProperties {
            payload_format_indicator: properties.utf8.map(u8::from),
            message_expiry_interval: properties.expiry,
            topic_alias: properties.topic_alias,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(Into::into),
            user_properties: properties.user,
            subscription_identifiers: Vec::new(),
            content_type: properties.content_type,
        }
    }

    fn incoming(packet: Packet, ledger: &mut Ledger) {
        match packet {
            Packet::ConnAck(ack) => {
                let properties = ack.properties;
                ledger.connected(Outcome {
                    session_present: ack.session_present,
                    assigned_client_id: properties.as_ref().and_then(|p| p.assigned_client_identifier.clone()),
                    topic_alias_maximum: properties.and_then(|p| p.topic_alias_max).unwrap_or(0),
                    ..Outcome::default()
                });
            }
            Packet::PubAck(ack) => ledger.acknowledged(ack.pkid, vec![ack.reason as u8]),
            Packet::PubComp(ack) => ledger.acknowledged(ack.pkid, vec![ack.reason as u8]),
            Packet::SubAck(ack) => {
                let code = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(level) => *level as u8,
                    _ => 0x80,
                };
                ledger.acknowledged(ack.pkid, ack.return_codes.iter().map(code).collect());
            }
            Packet::UnsubAck(ack) => ledger.acknowledged(ack.pkid, Vec::new()),
            Packet::Publish(publish) => {
                let properties = publish.properties.unwrap_or_default();
                ledger.message(Received {
                    topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    dup: publish.dup,
                    properties: Properties {
                        user: properties.user_properties,
                        correlation_data: properties.correlation_data.map(|data| data.to_vec()),
                        content_type: properties.content_type,
                        response_topic: properties.response_topic,
                        expiry: properties.message_expiry_interval,
                        utf8: properties.payload_format_indicator.map(|indicator| indicator == 1),
                        topic_alias: properties.topic_alias,
                        subscription_ids: properties.subscription_identifiers.iter().map(|&id| id as u32).collect(),
                    },
                });
            }
            _ => {}
        }
    }
}
