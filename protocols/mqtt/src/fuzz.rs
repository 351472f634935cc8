//! The entry for fuzzing: arbitrary bytes through the codec and through whole conversations.

mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use thingway_contract::{
    ClientId, CloseReason, Connected, Delivered, Delivery, Input, Instant, Message, MessageHead, Outbox, Parked, Peer,
    Properties, PropertiesBuilder, Property, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, SubscribeRefusal,
    Token, Topic, TopicLimits, Transport,
};

use self::model::Model;
use crate::{
    Config, Connection, MqttFault, PropertyId, PropertyWriter, Split, Value, Version,
    packet::{Connect, Packet, PacketType, Sender},
    split,
};

/// Runs arbitrary bytes through the decoder of each version in both directions, and through conversations with a
/// gateway that the bytes script.
///
/// # Panics
/// When an invariant does not hold: what is decoded encodes to something that decodes to the same; what the machine
/// writes can be read by a client and is no larger than the client takes; windows are kept; what a gateway keeps
/// of exchanges fits what it is asked and what the client is told, and acknowledgements leave in order, however late the
/// gateway answers; nothing happens after the end.
pub fn fuzz_bytes(data: &[u8]) {
    for version in Version::ALL {
        fuzz_codec(version, Sender::Client, data);
        fuzz_codec(version, Sender::Server, data);
        Conversation::new(version, false).feed_raw(data);
        for kept in [false, true] {
            let mut conversation = Conversation::new(version, kept);
            conversation.connect(version, 0);
            conversation.feed_raw(data);
            Conversation::new(version, kept).follow(data);
        }
    }
}

fn fuzz_codec(version: Version, sender: Sender, mut data: &[u8]) {
    let mut again = Vec::new();
    while let Ok(Split::Frame(frame)) = split(data, usize::MAX) {
        data = &data[frame.total_bytes()..];
        let Ok(packet) = Packet::decode(version, sender, frame) else { continue };
        let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        again.clear();
        packet.encode(version, &mut again).expect("what was read can be written");
        let Ok(Split::Frame(frame)) = split(&again, usize::MAX) else { panic!("a whole packet") };
        assert_eq!(Packet::decode(version, sender, frame), Ok(packet));
    }
}

const RECEIVE_MAXIMUM: u16 = 5;
const INFLIGHT_MAX: u16 = 4;
const PACKET_BYTES_MAX: u32 = 40;

/// A machine with a small gateway, checked at each step.
struct Conversation {
    config: Arc<Config>,
    machine: Connection,
    version: Version,
    now: Instant,
    out: Outbox,
    requests: Vec<Request>,
    input: Vec<u8>,
    /// The largest packet that the client takes.
    packet_bytes_max: usize,
    parked: Option<Parked>,
    number: u8,
    closed: bool,
    model: Model,
    /// What the last call wrote: the kinds of packet with their identifiers, 0 for none.
    written: Vec<(PacketType, u16)>,
    /// What a client answers to what it was sent.
    answers: Vec<[u8; 4]>,
    /// The client's packets come one at a time, so that what is written is held against the model.
    stepwise: bool,
}

impl Conversation {
    fn new(version: Version, kept: bool) -> Self {
        let config = Arc::new(Config {
            receive_maximum: RECEIVE_MAXIMUM,
            inflight_max: INFLIGHT_MAX,
            topic_alias_in_max: 3,
            topic_alias_out_max: 2,
            packet_bytes_max: 1 << 16,
            ..Config::default()
        });
        let now = Instant::from_millis(1000);
        Self {
            machine: Connection::open(&config, &peer(), now),
            config,
            version,
            now,
            out: Outbox::default(),
            requests: Vec::new(),
            input: Vec::new(),
            packet_bytes_max: usize::MAX,
            parked: None,
            number: 0,
            closed: false,
            model: Model::new(kept),
            written: Vec::new(),
            answers: Vec::new(),
            stepwise: false,
        }
    }

    fn connect(&mut self, version: Version, choice: u8) {
        let mut properties = PropertyWriter::new();
        let mut connect = Connect::new(version, "fuzz");
        connect.clean_start = choice & 1 == 0;
        connect.keep_alive_secs = u16::from(choice & 2) * 30;
        if version == Version::V5 {
            let mut push = |id, value: Value<'_>| {
                properties.push(id, value).expect("short");
            };
            push(PropertyId::TopicAliasMaximum, Value::Two(9));
            push(PropertyId::SessionExpiryInterval, Value::Four(100));
            if choice & 4 != 0 {
                push(PropertyId::ReceiveMaximum, Value::Two(2));
                push(PropertyId::MaximumPacketSize, Value::Four(PACKET_BYTES_MAX));
                // Later ones are no handshake, or swallowed by a packet that was begun.
                if self.machine.version().is_none() && self.input.is_empty() {
                    self.packet_bytes_max = PACKET_BYTES_MAX as usize;
                }
            }
            if choice & 8 != 0 {
                push(PropertyId::AuthenticationMethod, Value::Text("M"));
            }
            if choice & 16 != 0 {
                push(PropertyId::RequestProblemInformation, Value::Byte(0));
            }
        }
        connect.properties = properties.as_block();
        let mut bytes = Vec::new();
        connect_packet(&connect, &mut bytes);
        self.feed(&bytes);
        self.answer_all();
    }

    /// All bytes as they are, in pieces, with a gateway that answers at once.
    fn feed_raw(&mut self, data: &[u8]) {
        for piece in data.chunks(61) {
            self.feed(piece);
            self.answer_all();
            self.deliver(piece[0]);
        }
        self.end();
    }

    /// The bytes are instructions, some of them followed by bytes for the machine.
    fn follow(&mut self, mut data: &[u8]) {
        self.stepwise = true;
        while let Some((&instruction, rest)) = data.split_first() {
            data = rest;
            let argument = instruction >> 3;
            match instruction & 7 {
                0 => self.connect(self.version, argument),
                1 => {
                    let (bytes, rest) = data.split_at(usize::from(argument).min(data.len()));
                    self.feed(bytes);
                    data = rest;
                }
                2 => self.feed_valid(argument),
                3 => self.answer(argument),
                4 => self.deliver(argument),
                5 => self.pass_time(argument),
                6 if argument < 4 => self.close(argument),
                6 => self.go_on(argument),
                _ => {
                    self.reconnect();
                    if argument & 1 != 0 {
                        self.connect(self.version, argument & !9);
                    }
                }
            }
        }
        self.end();
    }

    /// Short packets that are valid in all versions, so that conversations get far.
    fn feed_valid(&mut self, argument: u8) {
        let id = argument & 3;
        let gap: &[u8] = if self.version == Version::V5 { &[0] } else { &[] };
        let packet = |first: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            [&[first, body.len() as u8], &body[..]].concat()
        };
        let bytes = match argument >> 2 {
            0 => packet(0x32 | id << 3 & 8, &[b"\0\x01t", &[0, id + 1], gap, b"x"]),
            1 => packet(0x34 | id << 3 & 8, &[b"\0\x01t", &[0, id + 1], gap, b"x"]),
            2 => packet(0x40, &[&[0, id + 1]]),
            3 => packet(0x50, &[&[0, id + 1]]),
            4 => packet(0x62, &[&[0, id + 1]]),
            5 => packet(0x70, &[&[0, id + 1]]),
            6 => packet(0x82, &[&[0, id + 1], gap, b"\0\x03a/#", &[id.min(2)]]),
            // Not the text that it says it is.
            _ if id > 1 && self.version == Version::V5 => {
                packet(0x30 | (id - 1) << 1, &[b"\0\x01t\0\x01\x02\x01\x01\xff"])
            }
            _ => packet(0xf0, &[&[0x18 | id & 1], b"\x04\x15\0\x01M"]),
        };
        self.feed(&bytes);
    }

    /// The client answers one of the packets that it was sent.
    fn go_on(&mut self, argument: u8) {
        if !self.answers.is_empty() {
            let answer = self.answers.remove(usize::from(argument - 4) % self.answers.len());
            self.feed(&answer);
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        if !self.stepwise {
            self.receive(self.input.len());
            return;
        }
        while let Ok(Split::Frame(frame)) = split(&self.input, self.config.packet_bytes_max as usize) {
            let frame_bytes = frame.total_bytes();
            if self.receive(frame_bytes) == 0 || self.closed {
                return;
            }
        }
        self.receive(self.input.len());
    }

    /// The machine gets so many bytes, and tells how many it took.
    fn receive(&mut self, bytes: usize) -> usize {
        let given: Vec<u8> = self.input[..bytes].to_vec();
        let mut input = Input::new(&given);
        let result = self.machine.receive(&mut input, self.now, &mut self.out);
        let consumed = input.consumed();
        assert!(consumed <= bytes);
        assert!(input.wanted() == 0 || input.wanted() > bytes - consumed, "wants what it has");
        self.input.drain(..consumed);
        if let (true, Ok(()), Some(version), Ok(Split::Frame(frame))) =
            (self.stepwise && consumed != 0, &result, self.machine.version(), split(&given, usize::MAX))
        {
            self.model.client_sent(version, frame);
        }
        self.after(result);
        consumed
    }

    fn after(&mut self, result: Result<(), MqttFault>) {
        if let Err(fault) = result {
            self.machine.refuse(&fault, self.now, &mut self.out);
            assert!(self.out.is_closing(), "refusing closes");
        }
        self.check();
    }

    fn check(&mut self) {
        let was_closed = self.closed;
        self.closed |= self.out.is_closing();
        let bytes: Vec<u8> = self.out.pieces().flatten().copied().collect();
        assert!(bytes.is_empty() || !was_closed, "nothing is written after the end");
        self.out.clear();
        let mut requests = Vec::new();
        self.out.swap_requests(&mut requests);
        if self.is_modelled() {
            requests.iter().for_each(|request| self.model.asked(request));
        }
        self.requests.append(&mut requests);
        self.written.clear();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let version = self.machine.version().expect("nothing is written before the version is known");
            let Ok(Split::Frame(frame)) = split(rest, self.packet_bytes_max) else {
                panic!("not whole packets of the client's size: {rest:02x?}");
            };
            let packet = Packet::decode(version, Sender::Server, frame);
            let Ok(packet) = packet else { panic!("{packet:?} from {rest:02x?}") };
            if self.stepwise {
                self.model.written(&packet);
            }
            let id = packet_id(&packet);
            self.written.push((packet.packet_type(), id));
            let first = match packet {
                Packet::Publish(publish) => [0, 0x40, 0x50][publish.qos as usize],
                Packet::Pubrec(ack) if !ack.reason.is_failure() => 0x62,
                Packet::Pubrel(_) => 0x70,
                _ => 0,
            };
            if first != 0 {
                let [high, low] = id.to_be_bytes();
                self.answers.push([first, 2, high, low]);
            }
            rest = &rest[frame.total_bytes()..];
        }
        assert!(self.machine.inflight_len() <= usize::from(INFLIGHT_MAX));
        if self.stepwise && !self.closed && self.requests.is_empty() {
            self.model.check_settled();
        }
    }

    /// Without its packets one by one, a client that nobody keeps is not followed.
    fn is_modelled(&self) -> bool {
        self.stepwise || self.model.kept
    }

    fn answer_all(&mut self) {
        while !self.requests.is_empty() && !self.closed {
            self.answer(0);
        }
        self.feed(&[]);
    }

    fn answer(&mut self, choice: u8) {
        if self.requests.is_empty() || self.closed {
            return;
        }
        let version = self.machine.version().unwrap_or(self.version);
        let request = self.requests.remove(0);
        let due = self.model.recorded(&request);
        let reply = match request {
            Request::Connect(_) | Request::Authenticate { .. } => match choice & 7 {
                5 => Reply::Refused(Refusal::UseAnotherServer("b:1".into())),
                6 => Reply::Challenge { data: Some(vec![choice; usize::from(choice)].into()) },
                7 => Reply::Reauthenticated { data: None },
                _ => Reply::Connected(Box::new(Connected {
                    assigned_client_id: ClientId::new("assigned", 100).ok(),
                    session_present: self.parked.is_some(),
                    kept: self.model.kept,
                    parked: self.parked.take().map(Box::new),
                    ..Connected::default()
                })),
            },
            Request::Publish { token: Token::NONE, .. } => return,
            Request::Publish { token, message, .. } => {
                let outcome = match choice & 7 {
                    1 => PublishOutcome::NoSubscribers,
                    2 => PublishOutcome::NotAuthorized,
                    3 => PublishOutcome::QuotaExceeded,
                    4 => PublishOutcome::RetainNotSupported,
                    _ => PublishOutcome::Accepted,
                };
                if self.is_modelled() {
                    self.model.published(version, token, message.head().qos, outcome);
                }
                Reply::Published { token, outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                let answer = |subscription: Result<thingway_contract::Subscription, _>| match choice & 1 {
                    0 => subscription.map(|subscription| subscription.options.qos),
                    _ => Err(SubscribeRefusal::NotAuthorized),
                };
                Reply::Subscribed { token, results: subscriptions.into_iter().map(answer).collect() }
            }
            Request::Unsubscribe { token, filters } => {
                let results = filters.into_iter().map(|filter| filter.map(|_| ())).collect();
                Reply::Unsubscribed { token, results }
            }
            Request::Released { token, .. } | Request::Received { token, .. } => Reply::Recorded { token },
            Request::SetWill { .. }
            | Request::Keep { .. }
            | Request::ReadRetained { .. }
            | Request::Acknowledged { .. } => return,
        };
        let result = self.machine.reply(reply, self.now, &mut self.out);
        self.after(result);
        assert!(due.is_none_or(|due| self.written.contains(&due)), "{due:?} is due");
        self.feed(&[]);
    }

    fn deliver(&mut self, choice: u8) {
        self.number = self.number.wrapping_add(1);
        let topic = if choice & 4 == 0 { "t" } else { "a/long/topic" };
        let topic = Topic::parse(topic, TopicLimits::default()).expect("valid");
        let mut properties = PropertiesBuilder::new();
        if choice & 8 != 0 {
            properties.push(Property::UserProperty("k", "v"));
        }
        let expires_at = if choice & 16 != 0 { self.now.plus_secs(1) } else { Instant::NEVER };
        let head = MessageHead { expires_at, ..MessageHead::default() };
        let properties: Properties<'_> = properties.as_properties();
        let message = Message::new(head, topic, properties, &vec![self.number; usize::from(choice)]);
        let qos = Qos::from_u8(choice & 3).unwrap_or_default();
        // Few and far apart, so that they are soon used again and share slots.
        let packet_id = if self.model.kept { [0, 1, 5, 2, 9, 0xfffd][usize::from(self.number % 6)] } else { 0 };
        let may_be_sent = packet_id == 0 || !qos.is_acknowledged() || !self.model.is_chosen(packet_id);
        let delivery = Delivery {
            message,
            rare: None,
            subscription_id: u32::from(choice & 4),
            qos,
            retain: choice & 8 != 0,
            packet_id,
        };
        let is_sent = match self.machine.deliver(delivery, self.now, &mut self.out) {
            Delivered::Sent => {
                assert!(!self.closed && !self.out.is_empty() && may_be_sent);
                true
            }
            Delivered::Later(_) | Delivered::Dropped(_) => {
                assert!(self.out.is_empty());
                false
            }
        };
        self.check();
        if is_sent && qos.is_acknowledged() {
            let [(PacketType::Publish, id)] = self.written[..] else { panic!("one PUBLISH: {:?}", self.written) };
            assert!(!self.model.is_chosen(id) && id != 0);
            if packet_id != 0 {
                assert_eq!(id, packet_id);
                self.model.sent(id);
            }
        }
    }

    fn pass_time(&mut self, argument: u8) {
        self.now = self.now.plus_secs(u64::from(argument) * 4);
        if self.machine.deadline() <= self.now && !self.closed {
            let result = self.machine.timeout(self.now, &mut self.out);
            assert!(result.is_err(), "a deadline that is over has a consequence");
            self.after(result);
        }
    }

    fn close(&mut self, argument: u8) {
        let reason = match argument & 3 {
            0 => CloseReason::TakenOver,
            1 => CloseReason::ShuttingDown,
            2 => CloseReason::UseAnotherServer("b:1".into()),
            _ => CloseReason::RateExceeded,
        };
        self.machine.close(&reason, self.now, &mut self.out);
        assert!(self.closed || self.out.is_closing());
        self.check();
    }

    fn reconnect(&mut self) {
        let mut parked = self.end();
        // Without a session, what was left before is still there.
        let granted = self.parked.take().is_none_or(|earlier| {
            parked = earlier;
            false
        });
        let mut next = Self::new(self.version, self.model.kept);
        next.now = self.now;
        next.config = Arc::clone(&self.config);
        next.model = std::mem::take(&mut self.model);
        next.stepwise = self.stepwise;
        if granted {
            next.model.depart(&parked);
        }
        next.parked = Some(parked);
        *self = next;
    }

    fn end(&mut self) -> Parked {
        let parked = self.machine.depart().parked;
        assert!(parked.outbound.len() <= usize::from(INFLIGHT_MAX));
        let mut ids: Vec<u16> = parked.outbound.iter().map(|entry| entry.packet_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), parked.outbound.len(), "identifiers are used once");
        assert!(ids.first() != Some(&0) && parked.inbound.first() != Some(&0));
        assert_eq!(self.machine.deadline(), Instant::NEVER);
        parked
    }
}

fn packet_id(packet: &Packet<'_>) -> u16 {
    match packet {
        Packet::Publish(publish) => publish.packet_id,
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => ack.packet_id,
        _ => 0,
    }
}

fn connect_packet(connect: &Connect<'_>, bytes: &mut Vec<u8>) {
    Packet::Connect(*connect).encode(connect.version, bytes).expect("short");
}

fn peer() -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: Box::default(),
        listener: Arc::from("fuzz"),
        certificate: None,
    }
}
