//! Bytes as datagrams and as instructions for whole conversations, for fuzzers.

use std::sync::Arc;

use thingway_contract::{
    CloseReason, Connected, DatagramProtocol, Delivered, Delivery, Input, Instant, Message, MessageHead, Observation,
    Outbox, Parked, Peer, Properties, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, SubscribeRefusal, Token,
    Topic, TopicLimits, Transport, Unacknowledged, UnsubscribeRefusal,
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

/// The exchanges of a session that is kept, as a store has them.
#[derive(Default)]
struct Kept {
    is_kept: bool,
    /// Those that are not over, in the order of delivery.
    exchanges: Vec<Unacknowledged>,
    last_id: u16,
    /// What it was told by the conversation that lives.
    told: Option<Parked>,
}

impl Kept {
    fn next_id(&mut self) -> u16 {
        if !self.is_kept {
            return 0;
        }
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
    }

    fn end(&mut self, packet_id: u16) {
        let at = self.exchanges.iter().position(|exchange| exchange.packet_id == packet_id);
        self.exchanges.remove(at.expect("under way, and not said to be over before"));
    }

    /// What the gateway was told is what would be left now, and the token is not told to end before it does.
    fn compare_told(&self, machine: &Conversation) {
        let told = self.told.as_ref().expect("told in the turn in which the session was granted");
        let left = machine.observed();
        assert_eq!(terms(&told.observations), terms(&left));
        let (told, left) = (told.resumption.expect("of a connection"), machine.resumption().expect("of a connection"));
        assert!(told.key == left.key && told.until >= left.until, "{told:?} instead of {left:?}");
    }

    /// A conversation has left the session: all that is not over is listed, and nothing else.
    fn compare(&self, left: &Parked) {
        let mut listed: Vec<u16> = left.outbound.iter().map(|exchange| exchange.packet_id).collect();
        let mut known: Vec<u16> = self.exchanges.iter().map(|exchange| exchange.packet_id).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert!(!self.is_kept || listed == known, "{listed:?} instead of {known:?}");
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
    /// What the gateway keeps of the session.
    kept: Kept,
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
            kept: Kept::default(),
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
            // Mostly the same one, so that its session goes on.
            let nonce = u64::from(more & 0xf0 == 0xf0);
            let token = crate::resources::connection_token(&self.config.secret, "me", nonce);
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
        for request in requests {
            match request {
                // Has no reply, and is dealt with at once.
                Request::Acknowledged { packet_id } => self.kept.end(packet_id),
                Request::Keep { parked } => {
                    assert!(self.kept.is_kept && self.machine.has_session(), "of a session that there is");
                    assert!(parked.observations.len() <= OBSERVATIONS_MAX);
                    self.kept.told = Some(*parked);
                }
                Request::Connect(_) => {
                    self.depart();
                    self.requests.push(request);
                }
                request => self.requests.push(request),
            }
        }
        assert!(self.machine.observations_len() <= OBSERVATIONS_MAX);
        let is_registering = self.requests.iter().any(|request| matches!(request, Request::Subscribe { .. }));
        if self.kept.is_kept && self.machine.has_session() && !self.closed && !is_registering {
            self.kept.compare_told(&self.machine);
        }
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
            Request::Connect(connect) => match choice & 7 {
                6 => Reply::Refused(Refusal::NoSession),
                7 => Reply::Refused(Refusal::BadCredentials),
                _ => Reply::Connected(Box::new(self.grant(!connect.is_transient(), choice & 8 != 0))),
            },
            Request::Publish { token: Token::NONE, .. }
            | Request::Authenticate { .. }
            | Request::SetWill { .. }
            | Request::Keep { .. }
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
        let packet_id = self.kept.next_id();
        let delivery = Delivery { message, rare: None, subscription_id, qos, retain: false, packet_id };
        let kept = Unacknowledged { packet_id, delivery: Some(delivery.clone()) };
        match self.machine.deliver(delivery, self.now, &mut self.out) {
            Delivered::Sent if packet_id != 0 && qos.is_acknowledged() => self.kept.exchanges.push(kept),
            Delivered::Sent => {}
            Delivered::Later(delivery) => {
                assert!(self.out.is_empty() && delivery.packet_id == packet_id && delivery.qos == qos);
            }
            Delivered::Dropped(_) => assert!(self.out.is_empty()),
        }
        self.after(Ok(()));
    }

    /// The session is another one, or that which was left last.
    fn grant(&mut self, outlives: bool, is_kept: bool) -> Connected {
        self.kept.told = None;
        let mut parked = self.parked.take();
        if !outlives || self.kept.is_kept != is_kept {
            self.kept = Kept { is_kept: outlives && is_kept, last_id: self.kept.last_id, ..Kept::default() };
            parked = None;
        } else if is_kept {
            // Those that MQTT has released come without a message.
            let released = self.kept.next_id();
            self.kept.exchanges.push(Unacknowledged { packet_id: released, delivery: None });
            parked = Some(Parked { outbound: self.kept.exchanges.clone(), ..parked.unwrap_or_default() });
        }
        Connected { kept: self.kept.is_kept, parked: parked.map(Box::new), ..Connected::default() }
    }

    /// The session is left.
    fn depart(&mut self) {
        assert!(self.requests.iter().all(|request| !is_awaited(request)), "the replies will not come any more");
        self.requests.clear();
        self.leave();
    }

    fn leave(&mut self) {
        let was_granted = self.machine.has_session();
        let parked = self.machine.depart().parked;
        assert!(parked.observations.len() <= OBSERVATIONS_MAX);
        if was_granted {
            self.kept.compare(&parked);
            self.parked = Some(parked);
        }
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
        if argument == 2 {
            return self.die();
        }
        let reason = if argument & 1 == 0 { CloseReason::TakenOver } else { CloseReason::ShuttingDown };
        let was_closed = self.closed;
        self.machine.close(&reason, self.now, &mut self.out);
        assert!(was_closed || self.out.is_closing());
        self.after(Ok(()));
        self.leave();
        let (parked, kept, now) = (self.parked.take(), std::mem::take(&mut self.kept), self.now);
        *self = Self { parked, kept, now, ..Self::new(self.config.block_bytes_max) };
    }

    /// The gateway is killed and started again: what it was told is all that there is.
    fn die(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        let parked = if self.machine.has_session() { kept.told.take() } else { self.parked.take() };
        let (parked, now) = (parked.filter(|_| kept.is_kept), self.now);
        let kept = if kept.is_kept { kept } else { Kept::default() };
        *self = Self { parked, kept, now, ..Self::new(self.config.block_bytes_max) };
    }

    fn end(&mut self) {
        self.leave();
    }
}

/// Tokens and filters of observations, and the rest that matters to the observer.
fn terms(observations: &[Observation]) -> Vec<String> {
    let all = observations.iter().map(|observation| Observation { sequence: 0, ..observation.clone() });
    let mut terms: Vec<String> = all.map(|observation| format!("{observation:?}")).collect();
    terms.sort();
    terms
}

/// True for a request whose reply somebody waits for.
fn is_awaited(request: &Request) -> bool {
    !matches!(
        request,
        Request::Publish { token: Token::NONE, .. }
            | Request::Unsubscribe { token: Token::NONE, .. }
            | Request::SetWill { .. }
            | Request::Connect(_)
    )
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
        certificate: None,
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

    /// Instructions of observers whose session is kept, as random ones get there seldom. The byte behind a request is its second argument and the next
    /// instruction.
    #[test]
    fn random_lives_of_observers_break_nothing() {
        const ANSWER_ALL: u8 = 10 << 3 | 7;
        const STEPS: [&[u8]; 23] = [
            // Observations of a topic, of the same once more, and of all.
            &[6 << 3, 1 << 3 | 4, ANSWER_ALL],
            &[6 << 3, 1 << 3 | 5, ANSWER_ALL],
            &[9 << 3, 1 << 3 | 6, ANSWER_ALL],
            // The end of one, a registration whose replies come later, and a refusal.
            &[6 << 3, 1 << 3 | 4 | 1 << 7],
            &[6 << 3, 1 << 3 | 6],
            &[11 << 3 | 3],
            // Deliveries: of each quality of service, to one or another, soon expired.
            &[4 << 3 | 4],
            &[5 << 3 | 4],
            &[5 << 3 | 4],
            &[6 << 3 | 4],
            &[9 << 3 | 4],
            &[21 << 3 | 4],
            // Acknowledgements and resets.
            &[6],
            &[6],
            &[6],
            &[1 << 3 | 6],
            // Publications, and one reply at a time.
            &[3 << 3, 1 << 3 | 4],
            &[10 << 3 | 3],
            // A second passes, half a minute, and the gateway has it go on elsewhere, stops, or is killed.
            &[1 << 3 | 5],
            &[31 << 3 | 5],
            &[7],
            &[1 << 3 | 7],
            &[2 << 3 | 7],
        ];
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let steps = (0..random.below(100)).flat_map(|_| STEPS[random.below(STEPS.len() as u64) as usize]);
            let data: Vec<u8> = steps.copied().collect();
            Driven::new(64).follow(&data);
        }
    }
}
