//! The gateway's side of one MQTT-SN conversation.
//!
//! | module | what |
//! | --- | --- |
//! | `connect` | CONNECT to CONNACK, with AUTH and the will in between, and sessions that are resumed |
//! | `inbound` | messages from the client, QoS -1 to 2, and REGISTER |
//! | `outbound` | messages to the client with their REGISTER, sent again until they are answered |
//! | `answers` | REGACK, PUBACK, PUBREC and PUBCOMP from the client |
//! | `subscribe` | SUBSCRIBE and UNSUBSCRIBE with their answers |
//! | `sleep` | PINGREQ, DISCONNECT, and clients that sleep |
//! | `keeping` | what the gateway is told of topic ids and sleep in case that it is killed |
//! | `will` | the will of a session, and its updates |
//! | `ending` | faults, the gateway's goodbye, and what is left |

mod answers;
mod connect;
mod ending;
mod inbound;
mod keeping;
mod outbound;
mod sleep;
mod subscribe;
#[cfg(test)]
mod tests;
mod will;

use std::sync::Arc;

use thingway_contract::{
    Beacon, ClientId, CloseReason, DatagramProtocol, Delivered, Delivery, Departure, Exchanges, Input, Instant,
    Message, Outbox, Peer, Protocol, PublisherKey, Reply, Standing, Token, Will, WillFate,
};

use self::{
    connect::{Dialogue, LastConnect},
    inbound::Inbound,
    outbound::Outbound,
    subscribe::Asked,
};
use crate::{
    Config, MqttSnFault, Packet, PacketError, PacketType,
    codec::{self, Forwarded},
    packet::{Advertise, GwInfo},
    registry::Registry,
};

/// One client's conversation over MQTT-SN 1.2.
///
/// The common state is in place, the rare behind pointers, and what is the same for all in the shared [`Config`].
#[derive(Debug)]
pub struct Conversation {
    config: Arc<Config>,
    publisher: PublisherKey,
    /// When the last message came, or what was begun last began.
    last_seen: Instant,
    client_id: Option<ClientId>,
    registry: Option<Box<Registry>>,
    flow: Option<Box<Flow>>,
    rare: Option<Box<Rare>>,
    keep_alive_secs: u16,
    /// What the client promised when it went to sleep; 0 while it is active.
    sleep_secs: u16,
    /// The message id to try first.
    next_id: u16,
    phase: Phase,
    marks: u8,
}

/// Messages under way.
#[derive(Debug, Default)]
struct Flow {
    outbound: Outbound,
    inbound: Inbound,
    asked: Vec<Asked>,
}

/// What few conversations have, or only for a moment.
#[derive(Debug, Default)]
struct Rare {
    /// Who it is behind a forwarder.
    node: Box<[u8]>,
    dialogue: Option<Box<Dialogue>>,
    last_connect: Option<LastConnect>,
    /// The present will, of which the client may change a part.
    will: Option<Box<Will>>,
    /// A publication of QoS -1 that waits for its session.
    pending: Option<Message>,
}

/// What a client is doing, as section 6.14 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no session.
    Disconnected,
    /// It is being asked for one.
    Connecting,
    /// It has a session and listens.
    Active,
    /// It has a session and sleeps: messages wait.
    Asleep,
    /// It fetches its messages.
    Awake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no session.
    Idle,
    /// CONNECT came, AUTH is due.
    AwaitingAuth,
    /// WILLTOPIC is due.
    AwaitingWillTopic,
    /// WILLMSG is due.
    AwaitingWillMsg,
    /// The gateway decides about a CONNECT.
    Connecting,
    /// The gateway decides about a PINGREQ from another address.
    Roaming,
    /// The gateway decides about a publication of QoS -1.
    Introducing,
    /// There is a session for publications of QoS -1.
    Anonymous,
    Active,
    Asleep,
    Awake,
    /// It is over, and this becomes of the will.
    Closed(WillFate),
}

/// The gateway has given it a session.
const ATTACHED: u8 = 1;
/// The session ends with the conversation.
const TRANSIENT: u8 = 2;
/// The session went to another conversation.
const TAKEN_OVER: u8 = 4;
/// The gateway keeps the session through its own restart.
const KEPT: u8 = 8;
/// What has changed is told at the end of the turn.
const UNTOLD: u8 = 16;

/// Tokens of `Released` and `Received` have this in front of the message id; those of PUBLISH and SUBSCRIBE are message ids, and
/// UNSUBSCRIBE has another.
const RELEASED: u32 = 2 << 16;
const RECEIVED: u32 = 3 << 16;

impl Protocol for Conversation {
    const NAME: &'static str = "mqtt-sn";
    const PACKET_NAMES: &'static [&'static str] = &PacketType::NAMES;
    type Config = Config;
    type Fault = MqttSnFault;

    fn open(config: &Arc<Config>, peer: &Peer, now: Instant) -> Self {
        let rare = || Box::new(Rare { node: peer.node.clone(), ..Rare::default() });
        Self {
            config: Arc::clone(config),
            publisher: PublisherKey::default(),
            last_seen: now,
            client_id: None,
            registry: None,
            flow: None,
            rare: (!peer.node.is_empty()).then(rare),
            keep_alive_secs: 0,
            sleep_secs: 0,
            next_id: 1,
            phase: Phase::Idle,
            marks: 0,
        }
    }

    fn receive(&mut self, input: &mut Input<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let datagram = input.remaining();
        input.consume(datagram.len());
        let result = self.handle(datagram, now, out);
        self.tell(out);
        self.tidy(now);
        result
    }

    fn reply(&mut self, reply: Reply, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Ok(());
        }
        match reply {
            Reply::Connected(connected) => self.connected(*connected, now, out),
            Reply::Refused(refusal) => self.refused(&refusal, out),
            Reply::Published { token, outcome } => self.published(token, outcome, out),
            Reply::Subscribed { token, results } => self.subscribed(token, &results, out),
            Reply::Unsubscribed { token, .. } => self.unsubscribed(token, out),
            Reply::Recorded { token } => self.recorded(token, now, out),
            // Never asked for.
            Reply::Challenge { .. } | Reply::Reauthenticated { .. } | Reply::Retained { .. } => {}
        }
        self.tell(out);
        self.tidy(now);
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        self.send_delivery(delivery, now, out)
    }

    fn timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        self.tidy(now);
        if now < self.deadline() {
            return Ok(());
        }
        match self.phase {
            Phase::Idle | Phase::Closed(_) => Ok(()),
            Phase::AwaitingAuth | Phase::AwaitingWillTopic | Phase::AwaitingWillMsg => self.dialogue_expired(),
            Phase::Connecting | Phase::Roaming | Phase::Introducing => Err(MqttSnFault::DecisionTimeout),
            Phase::Anonymous => {
                self.phase = Phase::Closed(WillFate::Discard);
                out.close();
                Ok(())
            }
            Phase::Active | Phase::Asleep | Phase::Awake if self.patience_end() <= now => {
                Err(if self.phase == Phase::Active { MqttSnFault::KeepAliveTimeout } else { MqttSnFault::SleepTimeout })
            }
            Phase::Active | Phase::Asleep | Phase::Awake => self.send_again(now, out),
        }
    }

    fn deadline(&self) -> Instant {
        let config = &self.config;
        let own = match self.phase {
            Phase::Closed(_) => return Instant::NEVER,
            Phase::Idle => Instant::NEVER,
            Phase::AwaitingAuth
            | Phase::AwaitingWillTopic
            | Phase::AwaitingWillMsg
            | Phase::Connecting
            | Phase::Roaming
            | Phase::Introducing => {
                let dialogue = self.rare.as_ref().and_then(|rare| rare.dialogue.as_ref());
                let since = dialogue.map_or(self.last_seen, |dialogue| dialogue.since);
                after(since, u64::from(config.connect_timeout_ms))
            }
            Phase::Anonymous => after(self.last_seen, u64::from(config.qos_minus_one_idle_ms)),
            Phase::Asleep => self.patience_end(),
            Phase::Active | Phase::Awake => {
                let again = self.flow.as_ref().and_then(|flow| flow.outbound.sent_at());
                let again = again.map_or(Instant::NEVER, |at| after(at, u64::from(config.retry_interval_ms)));
                again.min(self.patience_end())
            }
        };
        own.min(self.tidy_at())
    }

    fn close(&mut self, reason: &CloseReason, _now: Instant, out: &mut Outbox) {
        self.close_with(reason, out);
    }

    fn refuse(&mut self, fault: &MqttSnFault, _now: Instant, out: &mut Outbox) {
        self.refuse_with(fault, out);
    }

    fn depart(&mut self) -> Departure {
        self.take_departure()
    }

    fn exchanges(&self) -> Option<Exchanges> {
        let flow = self.flow.as_deref();
        Some(Exchanges {
            outbound: flow.map_or(0, |flow| flow.outbound.len()),
            outbound_max: 1,
            inbound: flow.map_or(0, |flow| flow.inbound.unreleased()),
            inbound_max: Some(self.config.inbound_max.into()),
        })
    }

    fn under_way(&self, show: &mut dyn FnMut(u16, &Delivery)) {
        if let Some(flow) = &self.flow {
            flow.outbound.deliveries().for_each(|(id, delivery)| show(id, delivery));
        }
    }

    fn set_keep_alive(&mut self, secs: u16, now: Instant) -> bool {
        if self.phase != Phase::Active {
            return false;
        }
        self.keep_alive_secs = secs;
        self.last_seen = now;
        true
    }
}

impl DatagramProtocol for Conversation {
    fn node(datagram: &[u8]) -> &[u8] {
        codec::node(datagram)
    }

    fn standing(&self) -> Standing {
        match self.phase {
            Phase::Active | Phase::Asleep | Phase::Awake => Standing::Established,
            // A client that connects again has not lost its session yet.
            _ if self.has_session_before() => Standing::Established,
            Phase::AwaitingAuth | Phase::AwaitingWillTopic | Phase::AwaitingWillMsg => Standing::Unproven,
            Phase::Connecting | Phase::Roaming | Phase::Introducing | Phase::Anonymous => Standing::Unproven,
            Phase::Idle | Phase::Closed(_) => Standing::Forgettable,
        }
    }

    fn is_fatal(fault: &MqttSnFault) -> bool {
        fault.is_fatal()
    }

    fn may_move(&self) -> bool {
        // An active client that has another address sends CONNECT from it; only one that slept asks by PINGREQ, which proves nothing.
        self.sleep_secs != 0
    }

    fn drained(&mut self, now: Instant, out: &mut Outbox) {
        self.nothing_left(now, out);
    }

    fn beacon(config: &Config) -> Option<Beacon> {
        if config.advertise_interval_secs == 0 {
            return None;
        }
        let advertise = Advertise { gateway_id: config.gateway_id, duration_secs: config.advertise_interval_secs };
        let mut datagram = Vec::new();
        Packet::Advertise(advertise).encode(&mut datagram).ok()?;
        Some(Beacon { datagram, interval: std::time::Duration::from_secs(advertise.duration_secs.into()) })
    }
}

impl Conversation {
    /// What the client is doing.
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Idle | Phase::Anonymous | Phase::Introducing | Phase::Closed(_) => State::Disconnected,
            Phase::AwaitingAuth
            | Phase::AwaitingWillTopic
            | Phase::AwaitingWillMsg
            | Phase::Connecting
            | Phase::Roaming => State::Connecting,
            Phase::Active => State::Active,
            Phase::Asleep => State::Asleep,
            Phase::Awake => State::Awake,
        }
    }

    /// Outgoing messages that are not fully acknowledged.
    pub fn inflight_len(&self) -> usize {
        self.flow.as_ref().map_or(0, |flow| flow.outbound.len())
    }

    /// The gateway has kept how an exchange of QoS 2 goes on.
    fn recorded(&mut self, token: Token, now: Instant, out: &mut Outbox) {
        let id = token.0 as u16;
        match token.0 - u32::from(id) {
            RELEASED => self.release_is_kept(id, now, out),
            RECEIVED => self.received_is_kept(id, now, out),
            _ => {}
        }
    }

    const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    const fn set(&mut self, mark: u8, on: bool) {
        if on {
            self.marks |= mark;
        } else {
            self.marks &= !mark;
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn flow(&mut self) -> &mut Flow {
        self.flow.get_or_insert_default()
    }

    fn handle(&mut self, datagram: &[u8], now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if datagram.len() > self.config.packet_bytes_max {
            out.count_received(PacketType::COUNTED_UNKNOWN);
            return Err(MqttSnFault::TooLarge);
        }
        let message = match self.unwrapped(datagram, out) {
            Ok(message) => message,
            Err(fault) => {
                out.count_received(PacketType::COUNTED_UNKNOWN);
                return Err(fault);
            }
        };
        match Packet::decode(message) {
            Ok(packet) => {
                out.count_received(packet.packet_type() as u8);
                self.dispatch(packet, now, out)
            }
            Err(error) => {
                out.count_received(PacketType::COUNTED_UNKNOWN);
                Err(MqttSnFault::Packet(error))
            }
        }
    }

    fn unwrapped<'a>(&self, datagram: &'a [u8], out: &mut Outbox) -> Result<&'a [u8], MqttSnFault> {
        match codec::unwrap(datagram).map_err(MqttSnFault::Packet)? {
            None => Ok(datagram),
            Some(_) if !self.config.forwarding => Err(MqttSnFault::ForwardingRefused),
            Some(Forwarded { message, .. }) => {
                out.count_received(PacketType::COUNTED_FORWARDED);
                Ok(message)
            }
        }
    }

    fn dispatch(&mut self, packet: Packet<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let kind = packet.packet_type();
        match packet {
            Packet::SearchGw(_) => {
                self.send(&Packet::GwInfo(GwInfo { gateway_id: self.config.gateway_id, address: &[] }), out);
                return Ok(());
            }
            // Other gateways and clients tell them to everybody.
            Packet::Advertise(_) | Packet::GwInfo(_) => return Ok(()),
            Packet::Connack(_)
            | Packet::WillTopicReq
            | Packet::WillMsgReq
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::WillTopicResp(_)
            | Packet::WillMsgResp(_) => return Err(MqttSnFault::Unexpected(kind)),
            Packet::Connect(connect) => return self.on_connect(connect, now, out),
            Packet::Auth(auth) => return self.on_auth(auth, out),
            Packet::WillTopic(will) => return self.on_will_topic(will, out),
            Packet::WillMsg(payload) => return self.on_will_msg(payload, out),
            Packet::Disconnect(disconnect) => return self.on_disconnect(disconnect, now, out),
            Packet::Publish(publish) if publish.qos.is_none() => return self.on_publish_unasked(&publish, now, out),
            _ => {}
        }
        if self.has_session_before() {
            // The client goes on with the session that it has: the CONNECT was a late copy.
            self.abandon_dialogue();
        }
        match self.phase {
            Phase::Active | Phase::Asleep | Phase::Awake => {}
            Phase::Idle | Phase::Anonymous => {
                if let Packet::Pingreq(ping) = packet
                    && !ping.client_id.is_empty()
                {
                    return self.on_ping_from_elsewhere(ping.client_id, now, out);
                }
                return Err(MqttSnFault::NoSession(kind));
            }
            _ => return Err(MqttSnFault::Unexpected(kind)),
        }
        self.last_seen = now;
        if let Some(last) = self.rare.as_mut().and_then(|rare| rare.last_connect.as_mut()) {
            last.is_latest = false;
        }
        match packet {
            Packet::Register(register) => self.on_register(&register, out),
            Packet::Regack(regack) => self.on_regack(regack, now, out),
            Packet::Publish(publish) => self.on_publish(&publish, now, out),
            Packet::Puback(puback) => self.on_puback(puback, now, out),
            Packet::Pubrec(id) => self.on_pubrec(id, now, out),
            Packet::Pubrel(id) => self.on_pubrel(id, now, out),
            Packet::Pubcomp(id) => self.on_pubcomp(id, now, out),
            Packet::Subscribe(subscribe) => self.on_subscribe(&subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe, out),
            Packet::Pingreq(ping) => self.on_ping(ping.client_id, now, out),
            Packet::WillTopicUpd(will) => self.on_will_topic_update(will, out),
            Packet::WillMsgUpd(payload) => self.on_will_msg_update(payload, out),
            _ => Err(MqttSnFault::Unexpected(kind)),
        }
    }

    /// Writes a message as a datagram of its own.
    fn send(&self, packet: &Packet<'_>, out: &mut Outbox) {
        let start = self.begin_datagram(out);
        if packet.encode(out.wire()).is_err() {
            // Only a topic name could be too long, and the limit of datagrams is checked for those.
            out.wire().truncate(start);
            return;
        }
        out.end_datagram();
        out.count_sent(packet.packet_type() as u8);
    }

    /// Begins a datagram with the forwarder's header, where there is a forwarder.
    fn begin_datagram(&self, out: &mut Outbox) -> usize {
        let start = out.wire().len();
        if let Some(node) = self.node_id() {
            // A node id came in a header, so it fits into one.
            let _ = codec::wrap(out.wire(), self.config.forward_radius, node);
        }
        start
    }

    fn node_id(&self) -> Option<&[u8]> {
        self.rare.as_ref().map(|rare| &*rare.node).filter(|node| !node.is_empty())
    }

    /// Bytes of a datagram that the forwarder's header takes.
    fn header_bytes(&self) -> usize {
        self.node_id().map_or(0, |node| 3 + node.len())
    }

    /// When the client counts as gone, if nothing comes.
    fn patience_end(&self) -> Instant {
        let secs = if self.phase == Phase::Active { self.keep_alive_secs } else { self.sleep_secs };
        match (secs, self.config.silence_secs_max) {
            (0, 0) => Instant::NEVER,
            (0, secs_max) => self.last_seen.plus_secs(secs_max.into()),
            (secs, _) => after(self.last_seen, self.config.patience_ms(secs)),
        }
    }

    /// When something that is only kept for a while can go.
    fn tidy_at(&self) -> Instant {
        let last = self.rare.as_ref().and_then(|rare| rare.last_connect.as_ref());
        last.map_or(Instant::NEVER, |last| last.forget_at(&self.config))
    }

    /// Lets go of what is not needed any more.
    fn tidy(&mut self, now: Instant) {
        if let Some(rare) = &mut self.rare {
            if rare.last_connect.as_ref().is_some_and(|last| last.forget_at(&self.config) <= now) {
                rare.last_connect = None;
            }
            if rare.is_empty() {
                self.rare = None;
            }
        }
        if let Some(flow) = &mut self.flow {
            flow.inbound.tidy(now, self.config.late_copies_ms);
            if flow.is_empty() {
                self.flow = None;
            }
        }
    }

    /// The next message id that is not in use.
    fn take_id(&mut self) -> u16 {
        loop {
            let id = self.next_id.max(1);
            self.next_id = id.wrapping_add(1).max(1);
            let in_use = self.flow.as_ref().is_some_and(|flow| flow.outbound.uses(id));
            if !in_use {
                return id;
            }
        }
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.node.is_empty()
            && self.dialogue.is_none()
            && self.last_connect.is_none()
            && self.will.is_none()
            && self.pending.is_none()
    }
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.outbound.len() == 0 && self.inbound.is_empty() && self.asked.is_empty()
    }
}

fn after(at: Instant, millis: u64) -> Instant {
    Instant::from_millis(at.as_millis().saturating_add(millis))
}

impl From<PacketError> for MqttSnFault {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}
