//! The entry for fuzzing: arbitrary bytes through the codec and through whole conversations.

mod model;

use std::{collections::VecDeque, sync::Arc};

use thingway_contract::{
    ClientId, CloseReason, Connect, Connected, DatagramProtocol, Delivered, Delivery, Input, Instant, Message,
    MessageHead, Outbox, Parked, Peer, Properties, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, Standing,
    SubscribeRefusal, Token, Topic, TopicLimits, Transport,
};

use self::model::Exchanges;
use crate::{Config, Conversation, MqttSnFault, Packet, PacketType, Predefined, State, codec};

/// Runs arbitrary bytes through the decoder, and through conversations with a gateway that the bytes script, with and without a forwarder.
///
/// # Panics
/// When an invariant does not hold: what is decoded encodes to something that decodes to the same; what the machine writes can be read by a client and
/// is no larger than it may be; who has no session gets no more bytes than it sent; only time ends a conversation; a deadline that is over has a
/// consequence; a sleeping client gets PINGRESP when all is acknowledged; of exchanges that the gateway keeps nothing is said before it has, each end is
/// told once, and nothing is asked twice; of topic ids and sleep it is told what it would need if it were killed.
pub fn fuzz_bytes(data: &[u8]) {
    fuzz_codec(data);
    for node in [&b""[..], b"nd"] {
        let mut peer = Simulation::new(node, data.len() as u8);
        for piece in data.chunks(23) {
            peer.receive_raw(piece);
        }
        peer.end();
        let mut peer = Simulation::new(node, data.len() as u8);
        peer.receive(&[7, PacketType::Connect as u8, 0, 1, 0, 60, b'c']);
        for piece in data.chunks(11) {
            peer.receive(piece);
        }
        peer.end();
        Simulation::new(node, data.first().copied().unwrap_or_default()).follow(data);
    }
}

fn fuzz_codec(data: &[u8]) {
    let _ = codec::unwrap(data);
    let _ = codec::node(data);
    let Ok(packet) = Packet::decode(data) else { return };
    let mut again = Vec::new();
    // The long form of the length may have been used for all that it holds.
    packet.encode(&mut again).expect("what was read can be written");
    assert_eq!(Packet::decode(&again), Ok(packet));
}

const DATAGRAM_BYTES_MAX: usize = 40;
const INBOUND_MAX: u16 = 3;

/// A machine with a small gateway, checked at each step.
struct Simulation {
    config: Arc<Config>,
    node: Vec<u8>,
    machine: Conversation,
    now: Instant,
    out: Outbox,
    requests: VecDeque<Request>,
    queue: VecDeque<Delivery>,
    attached: bool,
    /// The gateway keeps sessions through its own restart.
    keeps: bool,
    /// It keeps the present one, or the last.
    kept: bool,
    exchanges: Exchanges,
    /// A session was granted in this turn.
    granted: bool,
    parked: Option<Parked>,
    closed: bool,
    number: u8,
}

impl Simulation {
    fn new(node: &[u8], choice: u8) -> Self {
        let mut predefined = Predefined::default();
        predefined.insert(1, "pre/one").expect("free");
        predefined.insert_for("c", 2, "pre/two").expect("free");
        let config = Arc::new(Config {
            predefined,
            auth_required: choice & 7 == 7,
            assign_client_ids: choice & 8 != 0,
            roaming: choice & 16 == 0,
            inbound_max: INBOUND_MAX,
            topic_ids_max: 20,
            will_bytes_max: 8,
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            ..Config::default()
        });
        let now = Instant::from_millis(1000);
        Self {
            machine: Conversation::open(&config, &peer(node), now),
            config,
            node: node.to_vec(),
            now,
            out: Outbox::default(),
            requests: VecDeque::new(),
            queue: VecDeque::new(),
            attached: false,
            keeps: choice & 32 != 0,
            kept: false,
            exchanges: Exchanges::default(),
            granted: false,
            parked: None,
            closed: false,
            number: 0,
        }
    }

    /// The bytes are instructions, some of them followed by bytes for the machine.
    fn follow(&mut self, mut data: &[u8]) {
        while let Some((&instruction, rest)) = data.split_first() {
            data = self.follow_one(instruction, rest);
        }
        self.end();
    }

    /// Follows one instruction, and tells what is left of the bytes after it.
    fn follow_one<'a>(&mut self, instruction: u8, data: &'a [u8]) -> &'a [u8] {
        let argument = instruction >> 3;
        match instruction & 7 {
            0 => {
                let (bytes, rest) = data.split_at(usize::from(argument).min(data.len()));
                self.receive(bytes);
                return rest;
            }
            1 => self.receive_setup(argument),
            2 | 3 => self.receive_valid(argument, data.first().copied().unwrap_or_default()),
            4 => self.answer(argument),
            5 => self.deliver(argument),
            6 => self.pass_time(argument),
            _ if argument & 0b11 == 0 => self.close(argument),
            _ => self.answer_all(),
        }
        data
    }

    /// What sets up conversations and puts them to sleep.
    fn receive_setup(&mut self, argument: u8) {
        let bytes: &[u8] = match argument & 15 {
            0 => &[7, 0x04, 0x04, 1, 0, 60, b'c'],
            1 => &[7, 0x04, 0x00, 1, 0, 60, b'c'],
            2 => &[7, 0x04, 0x08, 1, 0, 60, b'c'],
            3 => &[4, 0x07, 0x20, b'w'],
            4 => &[2, 0x07],
            5 => &[3, 0x09, b'm'],
            6 => &[4, 0x18, 0, 50],
            7 => &[3, 0x16, b'c'],
            8 => &[2, 0x16],
            9 => &[2, 0x18],
            10 => b"\x0d\x03\0\x05PLAIN\0u\0p",
            11 => &[9, 0x0c, 0x62, b'a', b'b', 0, 0, 1, 2],
            12 => &[4, 0x1a, 0x10, b'v'],
            13 => &[3, 0x1c, b'n'],
            14 => &[7, 0x04, 0x0c, 1, 0, 0, b'd'],
            _ => &[3, 0x01, 0],
        };
        self.receive(bytes);
        if argument & 16 != 0 {
            self.answer_all();
        }
    }

    /// Short messages that are valid in a session.
    fn receive_valid(&mut self, argument: u8, more: u8) {
        let id = argument & 3;
        let topic = more & 3;
        let bytes: &[u8] = match argument >> 2 {
            0 => &[8, 0x0c, 0x20 | more & 0x82, 0, topic, 0, id, more],
            1 => &[8, 0x0c, 0x42 | more & 0x80, b'a', b'b', 0, id, more & 7],
            2 => &[7, 0x0d, 0, topic, 0, more >> 4, (more >> 2) & 3],
            3 => &[4, 0x0f, 0, more & 15],
            4 => &[4, 0x10, 0, id],
            5 => &[4, 0x0e, 0, more & 15],
            6 => &[8, 0x12, 0x20 | more & 0x80, 0, id, b'a', b'/', if more & 4 == 0 { b'+' } else { b'b' }],
            _ => &[7, 0x0b, 0, topic, 0, more >> 4, (more >> 2) & 3],
        };
        self.receive(bytes);
    }

    /// A message, which gets the forwarder's header.
    fn receive(&mut self, message: &[u8]) {
        let mut datagram = Vec::new();
        if !self.node.is_empty() {
            codec::wrap(&mut datagram, 0, &self.node).expect("short");
        }
        datagram.extend_from_slice(message);
        self.receive_raw(&datagram);
    }

    fn receive_raw(&mut self, datagram: &[u8]) {
        if self.closed {
            return;
        }
        let stranger = !self.attached;
        self.granted = false;
        let mut input = Input::new(datagram);
        let result = self.machine.receive(&mut input, self.now, &mut self.out);
        assert!(input.remaining().is_empty(), "a datagram is consumed whole");
        let sent = self.after(result);
        if stranger && !self.granted {
            assert!(sent <= datagram.len() + self.header_bytes() + 1, "{sent} for {datagram:02x?}");
        }
    }

    fn header_bytes(&self) -> usize {
        if self.node.is_empty() { 0 } else { 3 + self.node.len() }
    }

    /// The driver's part of a turn; tells how many bytes were sent.
    fn after(&mut self, result: Result<(), MqttSnFault>) -> usize {
        if let Err(fault) = result {
            let fatal = Conversation::is_fatal(&fault);
            self.machine.refuse(&fault, self.now, &mut self.out);
            assert_eq!(self.out.is_closing(), fatal, "{fault}");
        }
        let mut sent = self.gather();
        if self.closed {
            return sent;
        }
        // Those for a session must be answered before anything else.
        while matches!(self.requests.front(), Some(Request::Connect(_)) if self.number & 7 != 7) {
            self.answer(self.number);
        }
        if self.attached {
            sent += self.deliver_queue();
        } else {
            assert_ne!(self.machine.standing(), Standing::Established);
        }
        sent
    }

    fn deliver_queue(&mut self) -> usize {
        while let Some(delivery) = self.queue.pop_front() {
            let before = self.out.wire().len();
            let again = delivery.clone();
            match self.machine.deliver(delivery, self.now, &mut self.out) {
                Delivered::Sent => {
                    assert!(self.out.wire().len() > before, "something was sent");
                    self.exchanges.sent(again);
                }
                Delivered::Later(delivery) => {
                    assert_eq!(self.out.wire().len(), before);
                    self.queue.push_front(delivery);
                    return self.gather();
                }
                Delivered::Dropped(_) => assert_eq!(self.out.wire().len(), before),
            }
        }
        let sent = self.gather();
        let was_awake = self.machine.state() == State::Awake;
        self.machine.drained(self.now, &mut self.out);
        let told = self.gather();
        assert_eq!(told > 0, was_awake && self.machine.inflight_len() == 0, "PINGRESP");
        assert!(told == 0 || self.machine.state() == State::Asleep);
        sent + told
    }

    fn gather(&mut self) -> usize {
        let sent = self.out.wire().len();
        let mut ended = 0;
        for datagram in self.out.datagrams() {
            assert!(!self.closed, "nothing is written after the end");
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{datagram:02x?}");
            ended += datagram.len();
            let message = match codec::unwrap(datagram).expect("well-formed") {
                Some(forwarded) => {
                    assert_eq!(forwarded.node, self.node);
                    forwarded.message
                }
                None => {
                    assert!(self.node.is_empty());
                    datagram
                }
            };
            let packet = Packet::decode(message);
            match packet {
                Ok(packet) => self.exchanges.written(&packet),
                Err(error) => panic!("{error} from {datagram:02x?}"),
            }
        }
        assert_eq!(ended, sent, "each datagram is ended");
        self.closed |= self.out.is_closing();
        self.out.clear();
        let mut requests = Vec::new();
        self.out.swap_requests(&mut requests);
        let keeps = requests.iter().filter(|request| matches!(request, Request::Keep { .. })).count();
        assert!(keeps <= 1, "once is enough");
        for request in requests {
            if let Request::Keep { .. } = request {
                let leaves = |request: &Request| matches!(request, Request::Connect(_));
                assert!(self.attached && !self.requests.iter().any(leaves), "the departure tells it");
            }
            self.exchanges.asked(&request, self.kept);
            self.requests.push_back(request);
        }
        sent
    }

    fn answer_all(&mut self) {
        while !self.requests.is_empty() && !self.closed {
            self.answer(0);
        }
    }

    fn answer(&mut self, choice: u8) {
        if self.closed {
            return;
        }
        let Some(request) = self.requests.pop_front() else { return };
        let outcome = match choice & 3 {
            1 => PublishOutcome::NotAuthorized,
            2 => PublishOutcome::QuotaExceeded,
            _ => PublishOutcome::Accepted,
        };
        self.exchanges.done(&request, outcome);
        let reply = match request {
            Request::Connect(connect) => self.decide(choice, &connect),
            Request::Publish { token: Token::NONE, .. }
            | Request::Released { token: Token::NONE, .. }
            | Request::SetWill { .. }
            | Request::Keep { .. }
            | Request::Acknowledged { .. } => return,
            Request::Released { token, .. } | Request::Received { token, .. } => Reply::Recorded { token },
            Request::Publish { token, .. } => Reply::Published { token, outcome },
            Request::Subscribe { token, subscriptions } => {
                let results = subscriptions.into_iter().map(|subscription| match choice & 1 {
                    0 => subscription.map(|subscription| subscription.options.qos),
                    _ => Err(SubscribeRefusal::NotAuthorized),
                });
                Reply::Subscribed { token, results: results.collect() }
            }
            Request::Unsubscribe { token, .. } => Reply::Unsubscribed { token, results: vec![Ok(())] },
            Request::Authenticate { .. } | Request::ReadRetained { .. } => panic!("never asked"),
        };
        let result = self.machine.reply(reply, self.now, &mut self.out);
        assert_eq!(result, Ok(()));
        self.after(result);
    }

    /// Grants a session, or refuses it.
    fn decide(&mut self, choice: u8, connect: &Connect) -> Reply {
        if self.attached {
            self.depart();
        }
        let keeps = self.keeps && connect.session_expiry_secs > 0;
        let parked = self.parked.take().filter(|_| !connect.clean_start && keeps == self.kept);
        let refusal = match choice & 7 {
            5 => Some(Refusal::Busy),
            6 => Some(Refusal::NoSession),
            _ => (connect.must_exist && parked.is_none()).then_some(Refusal::NoSession),
        };
        if parked.is_none() {
            self.exchanges = Exchanges::default();
            self.queue.iter_mut().for_each(|delivery| delivery.packet_id = 0);
        }
        if let Some(refusal) = refusal {
            self.parked = parked;
            return Reply::Refused(refusal);
        }
        (self.attached, self.granted, self.kept) = (true, true, keeps);
        Reply::Connected(Box::new(Connected {
            assigned_client_id: ClientId::new("assigned", 100).ok(),
            session_present: parked.is_some(),
            kept: keeps,
            parked: parked.map(Box::new),
            ..Connected::default()
        }))
    }

    fn deliver(&mut self, choice: u8) {
        self.number = self.number.wrapping_add(1);
        if self.queue.len() >= 10 {
            return;
        }
        let topic =
            ["ab", "t", "a/long/topic", "pre/one", "pre/two", "x/y", "z", "a/topic/of/more/than/forty/bytes/in/all"];
        let topic = Topic::parse(topic[usize::from(choice) & 7], TopicLimits::default()).expect("valid");
        let expires_at = if choice & 16 != 0 { self.now.plus_secs(5) } else { Instant::NEVER };
        let head = MessageHead { expires_at, ..MessageHead::default() };
        let message = Message::new(head, topic, Properties::default(), &vec![self.number; usize::from(choice)]);
        let qos = Qos::from_u8(self.number & 3).unwrap_or_default();
        self.queue.push_back(Delivery {
            message,
            rare: None,
            subscription_id: 0,
            qos,
            retain: choice & 8 != 0,
            packet_id: if self.kept && self.number & 4 == 0 { self.exchanges.free_id(&self.queue) } else { 0 },
        });
        if self.attached && !self.closed {
            self.after(Ok(()));
        }
    }

    fn pass_time(&mut self, argument: u8) {
        let end = self.now.plus_secs(u64::from(argument) * 2);
        let mut steps = 0;
        while !self.closed && self.machine.deadline() <= end {
            steps += 1;
            assert!(steps < 50, "a deadline that is over has a consequence");
            self.now = self.now.max(self.machine.deadline());
            let result = self.machine.timeout(self.now, &mut self.out);
            self.after(result);
        }
        self.now = end;
    }

    fn close(&mut self, argument: u8) {
        if self.closed {
            return;
        }
        let reason = match argument >> 2 {
            0 => CloseReason::TakenOver,
            1 => CloseReason::ShuttingDown,
            2..=5 if self.attached && self.kept => return self.kill(),
            _ => CloseReason::RateExceeded,
        };
        self.machine.close(&reason, self.now, &mut self.out);
        self.gather();
        assert!(self.closed);
        self.depart();
        assert_eq!(self.machine.deadline(), Instant::NEVER);
        self.come_back();
    }

    fn kill(&mut self) {
        let state = self.machine.state();
        let left = self.machine.depart().parked;
        self.exchanges.kill(&left, state, &mut self.queue);
        self.parked = Some(self.exchanges.parked());
        self.come_back();
    }

    /// The client begins another conversation.
    fn come_back(&mut self) {
        let mut next = Self::new(&self.node, 0);
        next.config = Arc::clone(&self.config);
        next.machine = Conversation::open(&self.config, &peer(&self.node), self.now);
        (next.now, next.parked) = (self.now, self.parked.take());
        (next.keeps, next.kept) = (self.keeps, self.kept);
        next.exchanges = std::mem::take(&mut self.exchanges);
        next.queue = std::mem::take(&mut self.queue);
        *self = next;
    }

    fn depart(&mut self) {
        let state = self.machine.state();
        let mut parked = self.machine.depart().parked;
        let attached = std::mem::replace(&mut self.attached, false);
        // What was asked is done, and there is nobody to tell.
        for request in self.requests.drain(..) {
            self.exchanges.done(&request, PublishOutcome::Accepted);
        }
        let mut ids: Vec<u16> = parked.outbound.iter().map(|entry| entry.packet_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), parked.outbound.len(), "identifiers are used once");
        assert!(!ids.contains(&0) && !parked.inbound.contains(&0));
        assert!(parked.inbound.len() <= usize::from(INBOUND_MAX), "{:?}", parked.inbound);
        assert!(parked.topic_ids.len() <= 20);
        if self.kept {
            if attached {
                self.exchanges.check_left(&parked, state);
            }
            parked = self.exchanges.parked();
        }
        self.parked = Some(parked);
    }

    fn end(&mut self) {
        self.depart();
        if self.closed {
            assert_eq!(self.machine.deadline(), Instant::NEVER);
        }
    }
}

fn peer(node: &[u8]) -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: node.into(),
        listener: Arc::from("fuzz"),
        certificate: None,
    }
}

#[cfg(test)]
mod tests;
