//! Bytes as datagrams and as instructions for whole conversations, for fuzzers.

use std::sync::Arc;

use thingway_contract::{
    CloseReason, Connected, DatagramProtocol, Delivered, Delivery, Input, Instant, Message, MessageHead, Outbox,
    Parked, Peer, Properties, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, SubscribeRefusal, Token, Topic,
    TopicLimits, Transport, UnsubscribeRefusal,
};

use crate::{
    CoapFault, Config, Conversation,
    blockwise::{Assembly, Block},
    codec::{Code, Kind, Packet, option},
};

const OBSERVATIONS_MAX: usize = 3;
/// What conversations here are sent at most, head and block together.
const DATAGRAM_BYTES_MAX: usize = 64 + 1024;

/// Feeds bytes to the codec, to one conversation as datagrams, and to another as instructions. Panics when something is wrong.
pub fn fuzz_bytes(data: &[u8]) {
    if let Ok(packet) = Packet::decode(data) {
        assert_eq!(Packet::decode(&packet.to_bytes()), Ok(packet), "what was read can be written");
    }
    let mut raw = Driven::new(64);
    for datagram in data.chunks(29) {
        raw.feed(datagram);
        raw.answer_all(datagram[0]);
    }
    raw.end();
    for block_bytes_max in [64, 1024] {
        Driven::new(block_bytes_max).follow(data);
    }
    assemble(data);
}

/// Blocks in any order never make a body with a hole in it.
fn assemble(data: &[u8]) {
    let mut assembly = Assembly::default();
    for part in data.chunks(18) {
        let block = Block { number: u32::from(part[0] & 3), more: part[0] & 4 != 0, exponent: 0 };
        let before = assembly.len();
        assembly.add(block, &part[1..], 40);
        assert!(assembly.len() <= 40 && assembly.len() <= before.max(block.offset()) + 17);
    }
}

struct Driven {
    machine: Conversation,
    config: Arc<Config>,
    now: Instant,
    out: Outbox,
    requests: Vec<Request>,
    /// The message id of the last confirmable message.
    last_id: u16,
    /// Bytes of the largest datagram that may still be answered.
    input_bytes: usize,
    parked: Option<Parked>,
    number: u8,
    closed: bool,
}

impl Driven {
    fn new(block_bytes_max: usize) -> Self {
        let config = Arc::new(Config {
            observations_max: OBSERVATIONS_MAX,
            block_bytes_max,
            body_bytes_max: 256,
            downloads_max: 2,
            session_expiry_secs: 60,
            ..Config::default()
        });
        let now = Instant::from_millis(1000);
        Self {
            machine: Conversation::open(&config, &peer(), now),
            config,
            now,
            out: Outbox::default(),
            requests: Vec::new(),
            last_id: 0,
            input_bytes: 0,
            parked: None,
            number: 0,
            closed: false,
        }
    }

    fn follow(&mut self, mut data: &[u8]) {
        while let Some((&instruction, rest)) = data.split_first() {
            data = rest;
            let argument = instruction >> 3;
            match instruction & 7 {
                0 | 1 => self.feed_valid(argument, rest.first().copied().unwrap_or(0)),
                2 => {
                    let (bytes, rest) = data.split_at(usize::from(argument).min(data.len()));
                    self.feed(bytes);
                    data = rest;
                }
                3 => self.answer(argument),
                4 => self.deliver(argument),
                5 => self.pass_time(argument),
                6 => self.acknowledge(argument),
                _ if argument < 4 => self.close(argument),
                _ => self.answer_all(argument),
            }
        }
        self.end();
    }

    /// Requests that are understood, so that conversations get far.
    fn feed_valid(&mut self, choice: u8, more: u8) {
        self.number = self.number.wrapping_add(1);
        let (code, path): (Code, &[&str]) = match choice & 15 {
            0 => (Code::POST, &["mqtt", "connection"]),
            1 => (Code::PUT, &["mqtt", "connection"]),
            2 => (Code::DELETE, &["mqtt", "connection"]),
            3..=5 => (Code::PUT, &["ps", "t"]),
            6..=8 => (Code::GET, &["ps", "t"]),
            9 => (Code::GET, &["ps", "+"]),
            10 => (Code::GET, &[".well-known", "core"]),
            11 => (Code::POST, &["pubsub"]),
            12 => (Code::FETCH, &["pubsub"]),
            13 => (Code::PUT, &["pubsub", "data", "0123456789ab"]),
            14 => (Code::GET, &["pubsub", "data", "0123456789ab"]),
            _ => (Code::IPATCH, &["pubsub", "0123456789ab"]),
        };
        let kind = if choice & 16 == 0 { Kind::Confirmable } else { Kind::NonConfirmable };
        let mut packet = Packet::new(kind, code);
        packet.set_id(u16::from(self.number));
        packet.set_token(&[more & 3]);
        for segment in path {
            packet.push(option::URI_PATH, segment.as_bytes());
        }
        if code == Code::GET && more & 4 != 0 {
            packet.push_uint(option::OBSERVE, u32::from(more >> 7));
        }
        if more & 8 != 0 {
            packet.push(option::URI_QUERY, b"c=me");
            let token = crate::resources::connection_token(&self.config.secret, "me", more.into());
            packet.push(option::URI_QUERY, format!("t={token}").as_bytes());
        }
        let block = Block { number: u32::from(more >> 5), more: more & 16 != 0, exponent: 0 };
        match more & 0x30 {
            0x10 => packet.push_uint(option::BLOCK1, block.value()),
            0x20 => packet.push_uint(option::BLOCK2, block.value()),
            _ => {}
        }
        packet.set_payload(match code {
            Code::POST => b"\xa2\0\x61t\x02\x6ccore.ps.data".to_vec(),
            Code::FETCH | Code::IPATCH => b"\xa1\x06\x05".to_vec(),
            Code::PUT => vec![more; 16],
            _ => Vec::new(),
        });
        self.feed(&packet.to_bytes());
    }

    fn feed(&mut self, datagram: &[u8]) {
        if self.closed {
            return;
        }
        let mut input = Input::new(datagram);
        self.input_bytes = self.input_bytes.max(datagram.len());
        let result = self.machine.receive(&mut input, self.now, &mut self.out);
        assert_eq!(input.consumed(), datagram.len());
        self.after(result);
    }

    fn after(&mut self, result: Result<(), CoapFault>) {
        if let Err(fault) = result {
            self.machine.refuse(&fault, self.now, &mut self.out);
            self.closed |= Conversation::is_fatal(&fault);
        }
        let allowed = if self.machine.is_validated() { DATAGRAM_BYTES_MAX } else { 136.max(3 * self.input_bytes) };
        for datagram in self.out.datagrams() {
            let packet = Packet::decode(datagram).expect("valid");
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{} bytes", datagram.len());
            assert!(datagram.len() <= allowed, "{} bytes to an address that may be forged: {packet:?}", datagram.len());
            if packet.kind() == Kind::Confirmable {
                self.last_id = packet.id();
            }
        }
        self.closed |= self.out.is_closing();
        self.out.clear();
        let mut requests = Vec::new();
        self.out.swap_requests(&mut requests);
        self.requests.append(&mut requests);
        assert!(self.machine.observations_len() <= OBSERVATIONS_MAX);
        // Both must be answered at all times.
        let _ = (self.machine.standing(), self.machine.deadline());
    }

    fn answer_all(&mut self, choice: u8) {
        while !self.requests.is_empty() && !self.closed {
            self.answer(choice);
        }
    }

    fn answer(&mut self, choice: u8) {
        if self.requests.is_empty() || self.closed {
            return;
        }
        let reply = match self.requests.remove(0) {
            Request::Connect(_) => {
                let _ = self.machine.depart();
                match choice & 7 {
                    6 => Reply::Refused(Refusal::NoSession),
                    7 => Reply::Refused(Refusal::BadCredentials),
                    _ => {
                        let parked = self.parked.take().map(Box::new);
                        Reply::Connected(Box::new(Connected { parked, ..Connected::default() }))
                    }
                }
            }
            Request::Publish { token: Token::NONE, .. }
            | Request::Authenticate { .. }
            | Request::SetWill { .. }
            | Request::Acknowledged { .. } => return,
            Request::Released { token, .. } | Request::Received { token, .. } => Reply::Recorded { token },
            Request::Publish { token, .. } => {
                let outcome = if choice & 1 == 0 { PublishOutcome::Accepted } else { PublishOutcome::NotAuthorized };
                Reply::Published { token, outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                let result = if choice & 1 == 0 { Ok(Qos::AtLeastOnce) } else { Err(SubscribeRefusal::NotAuthorized) };
                Reply::Subscribed { token, results: vec![result; subscriptions.len()] }
            }
            Request::Unsubscribe { token, .. } => {
                Reply::Unsubscribed { token, results: vec![Err(UnsubscribeRefusal::NotSubscribed)] }
            }
            Request::ReadRetained { token, filter, .. } => {
                let payload: &[u8] = if filter.filter().starts_with('$') {
                    b"\xa2\0\x61t\x02\x6ccore.ps.data"
                } else {
                    &[b'r'; 15_300][..usize::from(choice) * 60]
                };
                let messages = match choice & 3 {
                    0 => Ok(Vec::new()),
                    1 => Err(SubscribeRefusal::NotAuthorized),
                    _ => Ok(vec![message("t", payload, Instant::NEVER)]),
                };
                Reply::Retained { token, messages }
            }
        };
        let result = self.machine.reply(reply, self.now, &mut self.out);
        self.after(result);
    }

    fn deliver(&mut self, choice: u8) {
        let expires_at = if choice & 16 != 0 { self.now.plus_secs(1) } else { Instant::NEVER };
        let message = message("t", &vec![choice; usize::from(choice) * 50], expires_at);
        let qos = Qos::from_u8(choice & 3).unwrap_or_default();
        let subscription_id = u32::from(choice >> 2 & 3);
        let delivery = Delivery { message, rare: None, subscription_id, qos, retain: false, packet_id: 0 };
        if let Delivered::Later(_) | Delivered::Dropped(_) = self.machine.deliver(delivery, self.now, &mut self.out) {
            assert!(self.out.is_empty());
        }
        self.after(Ok(()));
    }

    fn pass_time(&mut self, argument: u8) {
        self.now = self.now.plus_secs(u64::from(argument));
        for _ in 0..100 {
            if self.closed || self.machine.deadline() > self.now {
                return;
            }
            let result = self.machine.timeout(self.now, &mut self.out);
            self.after(result);
        }
        panic!("a deadline that is over has a consequence");
    }

    fn acknowledge(&mut self, argument: u8) {
        let first = if argument & 1 == 0 { 0x60 } else { 0x70 };
        let [high, low] = self.last_id.to_be_bytes();
        self.feed(&[first, 0, high, low]);
    }

    fn close(&mut self, argument: u8) {
        let reason = if argument & 1 == 0 { CloseReason::TakenOver } else { CloseReason::ShuttingDown };
        let was_closed = self.closed;
        self.machine.close(&reason, self.now, &mut self.out);
        assert!(was_closed || self.out.is_closing());
        self.after(Ok(()));
        let parked = self.machine.depart().parked;
        let now = self.now;
        *self = Self { parked: Some(parked), now, ..Self::new(self.config.block_bytes_max) };
    }

    fn end(&mut self) {
        let parked = self.machine.depart().parked;
        assert!(parked.observations.len() <= OBSERVATIONS_MAX);
    }
}

fn message(topic: &str, payload: &[u8], expires_at: Instant) -> Message {
    let topic = Topic::parse(topic, TopicLimits::default()).expect("valid");
    Message::new(MessageHead { expires_at, ..MessageHead::default() }, topic, Properties::default(), payload)
}

fn peer() -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Udp,
        node: Box::default(),
        listener: "coap".into(),
        certificate_identity: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Random;

    #[test]
    fn random_instructions_break_nothing() {
        for seed in 0..2000 {
            let mut random = Random::new(seed);
            let length = random.below(300);
            let data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            fuzz_bytes(&data);
        }
    }
}
