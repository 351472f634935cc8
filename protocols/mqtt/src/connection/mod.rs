//! The server's side of one MQTT conversation.
//!
//! | module | what |
//! | --- | --- |
//! | `handshake` | CONNECT, CONNACK and AUTH (sections 3.1, 3.2, 3.15, 4.12) |
//! | `inbound` | messages from the client, QoS 0 to 2 |
//! | `outbound` | messages to the client, QoS 0 to 2, and what is sent again after a reconnect |
//! | `held` | acknowledgements that wait for their turn |
//! | `subscribe` | SUBSCRIBE and UNSUBSCRIBE with their answers |
//! | `ending` | DISCONNECT in both directions, refusals, and what is left |

mod ending;
mod handshake;
mod held;
mod inbound;
mod outbound;
mod subscribe;

use std::sync::Arc;

use thingway_contract::{
    CloseReason, Delivered, Delivery, Departure, Exchanges, Input, Instant, Outbox, Peer, Protocol, PublisherKey,
    Reply, Token, WillFate,
};

use self::{
    handshake::{Authentication, Handshake, Reauthentication},
    inbound::Inbound,
    outbound::Downstream,
};
use crate::{
    Config, MqttFault, PropertyId, PropertyWriter, Reason, Split, Value, Version,
    alias::AliasesIn,
    codec::Frame,
    inflight::Inflight,
    packet::{Ack, PINGRESP, Packet, PacketType},
    split,
};

/// One client's conversation over MQTT 3.1, 3.1.1 or 5.0.
///
/// The common state is in place, the rare behind pointers, and what is the same for all in the shared [`Config`].
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    publisher: PublisherKey,
    /// When the connection began; once connected, when the last packet came.
    last_seen: Instant,
    downstream: Downstream,
    inflight: Option<Box<Inflight>>,
    aliases: Option<Box<AliasesIn>>,
    inbound: Option<Box<Inbound>>,
    handshake: Option<Box<Handshake>>,
    authentication: Option<Box<Authentication>>,
    /// What the client asked for in CONNECT.
    session_expiry_secs: u32,
    /// What DISCONNECT changed it to.
    session_expiry_change: Option<u32>,
    keep_alive_secs: u16,
    /// Most unacknowledged messages that the client takes.
    window: u16,
    /// Incoming QoS 1 and 2 messages that are not fully acknowledged on this connection.
    unacknowledged: u16,
    /// Requests that wait for a reply.
    unanswered: u16,
    phase: Phase,
    /// `None` until CONNECT told it.
    version: Option<Version>,
    /// The gateway keeps the session through its own restart, and is told when an incoming QoS 2 exchange ends.
    kept: bool,
    will: WillFate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    AwaitingConnect,
    /// The gateway decides.
    Connecting,
    /// The client's AUTH is due.
    Challenged,
    Connected,
    /// Nothing is read or written any more.
    Closed,
}

/// Requests of one turn after which reading pauses, so that the gateway can do them.
const REQUESTS_PER_TURN_MAX: usize = 256;

impl Protocol for Connection {
    const NAME: &'static str = "mqtt";
    const PACKET_NAMES: &'static [&'static str] = &PacketType::NAMES;
    type Config = Config;
    type Fault = MqttFault;

    fn open(config: &Arc<Config>, _peer: &Peer, now: Instant) -> Self {
        Self {
            config: Arc::clone(config),
            publisher: PublisherKey::default(),
            last_seen: now,
            downstream: Downstream::default(),
            inflight: None,
            aliases: None,
            inbound: None,
            handshake: None,
            authentication: None,
            session_expiry_secs: 0,
            session_expiry_change: None,
            keep_alive_secs: 0,
            window: 0,
            unacknowledged: 0,
            unanswered: 0,
            phase: Phase::AwaitingConnect,
            version: None,
            kept: false,
            will: WillFate::Publish,
        }
    }

    fn receive(&mut self, input: &mut Input<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        while self.is_reading(out) {
            let bytes = input.remaining();
            if let (Phase::AwaitingConnect, Some(&first)) = (self.phase, bytes.first()) {
                require_connect(first)?;
            }
            match split(bytes, self.config.packet_bytes_max as usize)? {
                Split::Incomplete(frame_bytes) => {
                    input.want(frame_bytes);
                    break;
                }
                Split::Frame(frame) => {
                    input.consume(frame.total_bytes());
                    self.handle(frame, now, out)?;
                    if self.phase == Phase::Connected {
                        self.last_seen = now;
                    }
                }
            }
        }
        Ok(())
    }

    fn reply(&mut self, reply: Reply, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        if self.phase == Phase::Closed {
            if let Reply::Published { token, outcome } = reply {
                self.published_too_late(token, outcome);
            }
            return Ok(());
        }
        match reply {
            Reply::Connected(connected) => self.connected(*connected, now, out),
            Reply::Refused(refusal) => self.refused(&refusal, out),
            Reply::Challenge { data } => self.challenge(data, out),
            Reply::Reauthenticated { data } => self.reauthenticated(data, out),
            Reply::Published { token, outcome } => {
                self.published(token, outcome, out)?;
                self.answered(now, out)
            }
            Reply::Subscribed { token, results } => {
                self.subscribed(token, &results, out)?;
                self.answered(now, out)
            }
            Reply::Unsubscribed { token, results } => {
                self.unsubscribed(token, &results, out)?;
                self.answered(now, out)
            }
            Reply::Recorded { token } => {
                self.recorded(token, out)?;
                self.answered(now, out)
            }
            // Never asked for.
            Reply::Retained { .. } => Ok(()),
        }
    }

    fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        self.send_delivery(delivery, now, out)
    }

    fn timeout(&mut self, now: Instant, _out: &mut Outbox) -> Result<(), MqttFault> {
        if now < self.deadline() {
            return Ok(());
        }
        match self.phase {
            // It may have spoken, but was not listened to.
            Phase::Connected if self.is_behind() => Err(MqttFault::DecisionTimeout),
            Phase::Connected => Err(MqttFault::KeepAliveTimeout),
            Phase::Connecting => Err(MqttFault::DecisionTimeout),
            _ => Err(MqttFault::ConnectTimeout),
        }
    }

    fn deadline(&self) -> Instant {
        let patience_ms = match self.phase {
            Phase::Closed => return Instant::NEVER,
            Phase::Connected if self.keep_alive_secs == 0 => return Instant::NEVER,
            // Seconds times thousandths are milliseconds.
            Phase::Connected => u64::from(self.keep_alive_secs) * u64::from(self.config.keep_alive_permille),
            _ => u64::from(self.config.connect_timeout_ms),
        };
        Instant::from_millis(self.last_seen.as_millis().saturating_add(patience_ms))
    }

    fn close(&mut self, reason: &CloseReason, _now: Instant, out: &mut Outbox) {
        self.close_with(reason, out);
    }

    fn refuse(&mut self, fault: &MqttFault, _now: Instant, out: &mut Outbox) {
        self.refuse_with(fault, out);
    }

    fn depart(&mut self) -> Departure {
        self.take_departure()
    }

    fn exchanges(&self) -> Option<Exchanges> {
        let has_maximum = self.version >= Some(Version::V5);
        Some(Exchanges {
            outbound: self.inflight_len(),
            outbound_max: self.window.into(),
            inbound: self.inbound.as_ref().map_or(0, |inbound| inbound.len()),
            inbound_max: has_maximum.then(|| self.config.receive_maximum.max(1).into()),
        })
    }

    fn under_way(&self, show: &mut dyn FnMut(u16, &Delivery)) {
        if let Some(inflight) = &self.inflight {
            inflight.deliveries().for_each(|(id, delivery)| show(id, delivery));
        }
    }

    fn set_keep_alive(&mut self, secs: u16, now: Instant) -> bool {
        if self.phase != Phase::Connected {
            return false;
        }
        self.keep_alive_secs = secs;
        self.last_seen = now;
        true
    }
}

impl Connection {
    /// The version that the client speaks; `None` until it has said so.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Outgoing QoS 1 and 2 messages that are not fully acknowledged.
    pub fn inflight_len(&self) -> usize {
        self.inflight.as_ref().map_or(0, |inflight| inflight.len())
    }

    /// False while an answer must come first, and when there is enough to do.
    fn is_reading(&self, out: &Outbox) -> bool {
        let waits_for_gateway = match self.phase {
            Phase::Connecting | Phase::Closed => true,
            Phase::Connected => {
                self.is_behind()
                    || self.authentication.as_ref().is_some_and(|auth| auth.again == Reauthentication::Requested)
            }
            Phase::AwaitingConnect | Phase::Challenged => false,
        };
        !waits_for_gateway && out.requests_len() < REQUESTS_PER_TURN_MAX
    }

    /// True while so many replies are missing that nothing more is read. That it is told from 5.0 on how many messages it
    /// may send does not bound what else a client may ask.
    fn is_behind(&self) -> bool {
        let publications = self.config.receive_maximum.max(1);
        let others = if self.version < Some(Version::V5) { 0 } else { REQUESTS_PER_TURN_MAX as u16 };
        self.unanswered >= publications.saturating_add(others)
    }

    /// A request waits for its reply from now on.
    fn await_reply(&mut self) {
        // Reading stops before this could be more than it can hold.
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// The reply to the oldest request came and was passed on.
    fn answered(&mut self, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        // While nothing is read, nobody can tell that the client is silent.
        if self.is_behind() {
            self.last_seen = now;
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        self.send_held(out);
        Ok(())
    }

    /// The gateway has kept that an exchange of QoS 2 went on, so that the client may be told.
    fn recorded(&mut self, token: Token, out: &mut Outbox) -> Result<(), MqttFault> {
        match TokenKind::of(token) {
            Some((TokenKind::Received, id)) if self.release_received(id) => {
                self.acknowledge(PacketType::Pubrel, id, Reason::Success, out);
            }
            Some((TokenKind::Released, id)) if self.is_releasing(id) => {
                self.forget_inbound(id);
                self.acknowledge(PacketType::Pubcomp, id, Reason::Success, out);
            }
            _ => return Err(MqttFault::BadReply),
        }
        Ok(())
    }

    fn handle(&mut self, frame: Frame<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        out.count_received(frame.first >> 4);
        let Some(version) = self.version.filter(|_| self.phase != Phase::AwaitingConnect) else {
            return self.on_connect(frame, out);
        };
        let Frame { first, body, .. } = frame;
        let kind = frame.packet_type(version)?;
        if self.phase == Phase::Challenged && !matches!(kind, PacketType::Auth | PacketType::Disconnect) {
            return Err(MqttFault::Unexpected(kind));
        }
        match kind {
            PacketType::Publish => self.on_publish(version, first, body, now, out),
            PacketType::Puback => self.on_puback(Ack::decode(version, kind, body)?, now, out),
            PacketType::Pubrec => self.on_pubrec(version, Ack::decode(version, kind, body)?, now, out),
            PacketType::Pubrel => self.on_pubrel(version, Ack::decode(version, kind, body)?, out),
            PacketType::Pubcomp => self.on_pubcomp(Ack::decode(version, kind, body)?, now, out),
            PacketType::Subscribe => self.on_subscribe(version, body, out),
            PacketType::Unsubscribe => self.on_unsubscribe(version, body, out),
            PacketType::Pingreq => {
                crate::packet::check_ping(body)?;
                out.wire().extend_from_slice(&PINGRESP);
                out.count_sent(PacketType::Pingresp as u8);
                Ok(())
            }
            PacketType::Disconnect => self.on_disconnect(version, body, out),
            PacketType::Auth => self.on_auth(body, out),
            PacketType::Connect => Err(MqttFault::SecondConnect),
            PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
                Err(MqttFault::Unexpected(kind))
            }
        }
    }

    /// Writes a packet that is not a message.
    ///
    /// # Errors
    /// [`MqttFault::AnswerTooLarge`] when the client does not take packets of this size [MQTT-3.1.2-24], and
    /// [`MqttFault::BadReply`] when something in it is longer than any packet can hold. Nothing is written then.
    fn send(&self, packet: &Packet<'_>, out: &mut Outbox) -> Result<(), MqttFault> {
        let version = self.version.unwrap_or(Version::V311);
        let wire = out.wire();
        let start = wire.len();
        packet.encode(version, wire).map_err(|_| MqttFault::BadReply)?;
        if wire.len() - start > self.downstream.packet_bytes_max as usize {
            wire.truncate(start);
            return Err(MqttFault::AnswerTooLarge(packet.packet_type()));
        }
        out.count_sent(packet.packet_type() as u8);
        Ok(())
    }

    /// Acknowledges, with a reason string where there is a reason and room for it.
    fn acknowledge(&self, kind: PacketType, id: u16, reason: Reason, out: &mut Outbox) {
        let version = self.version.unwrap_or(Version::V311);
        let wire = out.wire();
        let start = wire.len();
        let mut ack = Ack::new(id, reason);
        let mut written = false;
        if reason.is_failure() && version.has_properties() && self.may_explain() {
            let mut properties = PropertyWriter::new();
            written = properties.push(PropertyId::ReasonString, Value::Text(reason.text())).is_ok() && {
                ack.properties = properties.as_block();
                ack.encode(version, kind, wire).is_ok()
            };
            if wire.len() - start > self.downstream.packet_bytes_max as usize {
                wire.truncate(start);
                written = false;
            }
        }
        if !written {
            // At most five bytes, and a client that takes no packet of five bytes got no CONNACK.
            Ack::new(id, reason).encode(version, kind, wire).expect("two numbers always fit");
        }
        out.count_sent(kind as u8);
    }

    /// True when packets other than CONNACK and DISCONNECT may have reason strings.
    fn may_explain(&self) -> bool {
        self.downstream.problem_information && self.config.reason_strings
    }
}

/// A token names the kind of request and its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum TokenKind {
    /// A retained QoS 0 message.
    Qos0 = 0,
    Qos1 = 1,
    Qos2 = 2,
    Subscribe = 3,
    Unsubscribe = 4,
    /// An outgoing QoS 2 message.
    Received = 5,
    /// An incoming QoS 2 message.
    Released = 6,
}

impl TokenKind {
    const fn token(self, packet_id: u16) -> Token {
        Token((self as u32) << 16 | packet_id as u32)
    }

    const fn of(token: Token) -> Option<(Self, u16)> {
        let kind = match token.0 >> 16 {
            0 => Self::Qos0,
            1 => Self::Qos1,
            2 => Self::Qos2,
            3 => Self::Subscribe,
            4 => Self::Unsubscribe,
            5 => Self::Received,
            6 => Self::Released,
            _ => return None,
        };
        Some((kind, token.0 as u16))
    }
}

/// The first byte tells, so that what is no MQTT at all is refused at once [MQTT-3.1.0-1].
fn require_connect(first: u8) -> Result<(), MqttFault> {
    match PacketType::of(first) {
        Some(PacketType::Connect) => Ok(()),
        Some(kind) => Err(MqttFault::NotConnect(kind)),
        None => Err(MqttFault::Packet(crate::PacketError::ReservedType)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 104, "{}", size_of::<Connection>());
    }

    #[test]
    fn tokens_come_back_and_none_is_none_of_them() {
        for kind in [
            TokenKind::Qos0,
            TokenKind::Qos1,
            TokenKind::Qos2,
            TokenKind::Subscribe,
            TokenKind::Unsubscribe,
            TokenKind::Received,
            TokenKind::Released,
        ] {
            assert_eq!(TokenKind::of(kind.token(0xfffe)), Some((kind, 0xfffe)));
        }
        assert_eq!(TokenKind::of(Token::NONE), None);
    }
}
