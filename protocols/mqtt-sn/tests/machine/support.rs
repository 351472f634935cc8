//! A client script on one side, the machine on the other, and between them a gateway and a clock that do what they are told.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use thingway_contract::{
    ClientId, CloseReason, Connect as ConnectRequest, Connected, DatagramProtocol, Delivered, Delivery, Departure,
    DropCause, Fault, Input, Instant, Message, MessageHead, Outbox, Parked, Peer, Properties, Protocol, PublishOutcome,
    PublisherKey, Qos, Refusal, Reply, Request, Standing, SubscribeRefusal, Subscription, Token, Topic, TopicFilter,
    TopicId, TopicLimits, Transport, Will,
};
use thingway_mqtt_sn::{
    Config, Conversation, MqttSnFault, Packet, ReturnCode, State, codec,
    packet::{
        Connack, Connect, Disconnect, Pingreq, Publish, Regack, Register, Suback, Subscribe, TopicName, TopicRef,
    },
};

pub const PUBLISHER: PublisherKey = PublisherKey(77);

/// What a gateway that keeps exchanges is asked, with their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Publish(u16),
    Released(u16),
    Received(u16),
    Acknowledged(u16),
}

/// A request that the gateway has yet to answer.
enum Unanswered {
    Publication(Token),
    Record(Token),
}

/// A client and the machine that serves it.
pub struct Pair {
    pub machine: Conversation,
    pub now: Instant,
    pub node: Vec<u8>,
    out: Outbox,
    /// Datagrams on their way to the client.
    sent: VecDeque<Vec<u8>>,
    /// The session's queue.
    pub queue: VecDeque<Delivery>,
    pub attached: bool,
    /// Requests for sessions, in order.
    pub connects: Vec<ConnectRequest>,
    /// The answer to the next request for a session.
    pub refusal: Option<Refusal>,
    pub present: Option<Parked>,
    /// Requests for sessions stay unanswered.
    pub undecided: bool,
    pub outcome: PublishOutcome,
    pub published: Vec<Message>,
    /// The session is kept through the gateway's own restart.
    pub kept: bool,
    /// What the gateway was asked of exchanges that it keeps.
    asked: Vec<Asked>,
    /// What it was told in case that it is killed.
    told: Vec<Parked>,
    /// Publications and exchanges stay unanswered.
    pub silent: bool,
    unanswered: VecDeque<Unanswered>,
    pub subscriptions: Vec<Subscription>,
    pub subscribe_refusal: Option<SubscribeRefusal>,
    pub unsubscribed: Vec<TopicFilter>,
    pub wills: Vec<Option<Box<Will>>>,
    pub departures: Vec<Departure>,
    pub faults: Vec<MqttSnFault>,
    pub dropped: Vec<DropCause>,
    pub closed: bool,
}

pub fn peer(node: &[u8]) -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: node.into(),
        listener: Arc::from("test"),
        certificate: None,
    }
}

pub fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes).expect("short");
    bytes
}

impl Pair {
    pub fn new(config: Config) -> Self {
        Self::behind(config, &[])
    }

    /// A client behind a forwarder.
    pub fn behind(config: Config, node: &[u8]) -> Self {
        let now = Instant::from_millis(1_000_000);
        Self {
            machine: Conversation::open(&Arc::new(config), &peer(node), now),
            now,
            node: node.to_vec(),
            out: Outbox::default(),
            sent: VecDeque::new(),
            queue: VecDeque::new(),
            attached: false,
            connects: Vec::new(),
            refusal: None,
            present: None,
            undecided: false,
            outcome: PublishOutcome::Accepted,
            published: Vec::new(),
            kept: false,
            asked: Vec::new(),
            told: Vec::new(),
            silent: false,
            unanswered: VecDeque::new(),
            subscriptions: Vec::new(),
            subscribe_refusal: None,
            unsubscribed: Vec::new(),
            wills: Vec::new(),
            departures: Vec::new(),
            faults: Vec::new(),
            dropped: Vec::new(),
            closed: false,
        }
    }

    /// A client "c" with a session.
    pub fn connected(config: Config, clean_session: bool) -> Self {
        let mut pair = Self::new(config);
        pair.connect(clean_session);
        pair.expect(&[accepted()]);
        assert_eq!(pair.machine.state(), State::Active);
        pair
    }

    /// A client "c" with a session that the gateway keeps, which was left with this. The gateway answers when it is told to.
    pub fn kept(parked: Parked) -> Self {
        let mut pair = Self::keeping(parked);
        pair.connect(false);
        pair.silent = true;
        pair
    }

    /// A gateway that keeps sessions, and has one that was left with this.
    pub fn keeping(parked: Parked) -> Self {
        let mut pair = Self::new(Config::default());
        (pair.present, pair.kept) = (Some(parked), true);
        pair
    }

    pub fn active() -> Self {
        Self::connected(Config::default(), true)
    }

    /// A client that has gone to sleep for this long.
    pub fn asleep(secs: u16) -> Self {
        let mut pair = Self::connected(Config::default(), false);
        pair.sleep(secs);
        pair
    }

    pub fn sleep(&mut self, secs: u16) {
        self.send(&Packet::Disconnect(Disconnect { duration_secs: Some(secs) }));
        self.expect(&[goodbye()]);
        assert_eq!(self.machine.state(), State::Asleep);
    }

    pub fn connect(&mut self, clean_session: bool) {
        self.send(&connect(clean_session, false));
    }

    pub fn ping(&mut self, client_id: &str) {
        self.send(&Packet::Pingreq(Pingreq { client_id }));
    }

    /// A topic id for a name.
    pub fn register(&mut self, topic: &str) -> u16 {
        self.send(&Packet::Register(Register { topic_id: 0, message_id: 999, topic }));
        let sent = self.take();
        match Packet::decode(&sent) {
            Ok(Packet::Regack(Regack { topic_id, message_id: 999, code: ReturnCode::Accepted })) => topic_id,
            other => panic!("{other:?}"),
        }
    }

    pub fn subscribe(&mut self, name: &str, qos: Qos) -> u16 {
        let topic = TopicName::Name(name);
        self.send(&Packet::Subscribe(Subscribe { duplicate: false, qos: Some(qos), message_id: 998, topic }));
        let sent = self.take();
        match Packet::decode(&sent) {
            Ok(Packet::Suback(Suback { topic_id, message_id: 998, code: ReturnCode::Accepted, .. })) => topic_id,
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, packet: &Packet<'_>) {
        self.send_raw(&bytes(packet));
    }

    /// Bytes, which get the forwarder's header.
    pub fn send_raw(&mut self, message: &[u8]) {
        let mut datagram = Vec::new();
        if !self.node.is_empty() {
            codec::wrap(&mut datagram, 0, &self.node).expect("short");
        }
        datagram.extend_from_slice(message);
        self.send_datagram(&datagram);
    }

    pub fn send_datagram(&mut self, datagram: &[u8]) {
        assert!(!self.closed, "the conversation is over");
        let mut input = Input::new(datagram);
        let result = self.machine.receive(&mut input, self.now, &mut self.out);
        assert!(input.remaining().is_empty(), "a datagram is consumed whole");
        self.after(result);
    }

    fn after(&mut self, result: Result<(), MqttSnFault>) {
        if let Err(fault) = result {
            let fatal = Conversation::is_fatal(&fault);
            assert_eq!(fatal, fault.kind() == thingway_contract::FaultKind::Timeout);
            self.machine.refuse(&fault, self.now, &mut self.out);
            self.faults.push(fault);
            self.closed |= fatal;
        }
        self.turn();
    }

    /// What the driver does after each input.
    fn turn(&mut self) {
        loop {
            self.gather();
            let mut requests = Vec::new();
            self.out.swap_requests(&mut requests);
            if requests.is_empty() {
                break;
            }
            assert!(requests.iter().filter(|request| matches!(request, Request::Keep { .. })).count() <= 1);
            for request in requests {
                self.answer(request);
            }
        }
        if self.closed {
            let departure = self.machine.depart();
            self.departures.push(departure);
            self.attached = false;
            assert_eq!(self.machine.deadline(), Instant::NEVER);
            return;
        }
        if self.attached {
            self.deliver_queue();
        }
        self.gather();
    }

    fn deliver_queue(&mut self) {
        while let Some(delivery) = self.queue.pop_front() {
            match self.machine.deliver(delivery, self.now, &mut self.out) {
                Delivered::Sent => {}
                Delivered::Later(delivery) => {
                    self.queue.push_front(delivery);
                    return;
                }
                Delivered::Dropped(cause) => self.dropped.push(cause),
            }
        }
        self.machine.drained(self.now, &mut self.out);
    }

    fn gather(&mut self) {
        self.sent.extend(self.out.datagrams().map(<[u8]>::to_vec));
        assert_eq!(self.out.datagrams().map(<[u8]>::len).sum::<usize>(), self.out.wire().len(), "ends of datagrams");
        self.closed |= self.out.is_closing();
        self.out.clear();
    }

    fn answer(&mut self, request: Request) {
        let reply = match request {
            Request::Connect(connect) => {
                if self.attached {
                    let departure = self.machine.depart();
                    self.departures.push(departure);
                    self.attached = false;
                    // Nobody is told any more.
                    self.unanswered.clear();
                }
                let assigned = connect.client_id.is_none();
                self.connects.push(*connect);
                if self.undecided {
                    return;
                }
                match self.refusal.take() {
                    Some(refusal) => Reply::Refused(refusal),
                    None => {
                        self.attached = true;
                        Reply::Connected(Box::new(Connected {
                            assigned_client_id: assigned.then(|| ClientId::new("assigned", 100).expect("valid")),
                            session_present: self.present.is_some(),
                            kept: self.kept,
                            parked: self.present.take().map(Box::new),
                            publisher: PUBLISHER,
                            ..Connected::default()
                        }))
                    }
                }
            }
            Request::Publish { token, packet_id, message } => {
                assert!(self.attached);
                if self.kept {
                    self.asked.push(Asked::Publish(packet_id));
                }
                self.published.push(message);
                if token == Token::NONE {
                    return;
                }
                if self.silent {
                    self.unanswered.push_back(Unanswered::Publication(token));
                    return;
                }
                Reply::Published { token, outcome: self.outcome }
            }
            Request::Released { token, packet_id } => {
                self.asked.push(Asked::Released(packet_id));
                return self.record(token);
            }
            Request::Received { token, packet_id } => {
                self.asked.push(Asked::Received(packet_id));
                return self.record(token);
            }
            Request::Acknowledged { packet_id } => {
                self.asked.push(Asked::Acknowledged(packet_id));
                return;
            }
            Request::Subscribe { token, subscriptions } => {
                let results = subscriptions.into_iter().map(|subscription| {
                    let subscription = subscription?;
                    let qos = subscription.options.qos;
                    self.subscribe_refusal.map_or(Ok(()), Err)?;
                    self.subscriptions.push(subscription);
                    Ok(qos)
                });
                Reply::Subscribed { token, results: results.collect() }
            }
            Request::Unsubscribe { token, filters } => {
                self.unsubscribed.extend(filters.into_iter().flatten());
                Reply::Unsubscribed { token, results: vec![Ok(())] }
            }
            Request::Keep { parked } => {
                assert!(self.attached && self.kept);
                let others = Parked { topic_ids: vec![], sleep_secs: 0, ..Parked::clone(&parked) };
                assert!(others.is_empty(), "not to be kept like this");
                self.told.push(*parked);
                return;
            }
            Request::SetWill { will } => {
                self.wills.push(will);
                return;
            }
            other => panic!("{other:?}"),
        };
        let result = self.machine.reply(reply, self.now, &mut self.out);
        assert_eq!(result, Ok(()));
    }

    fn record(&mut self, token: Token) {
        if self.silent {
            self.unanswered.push_back(Unanswered::Record(token));
        } else {
            assert_eq!(self.machine.reply(Reply::Recorded { token }, self.now, &mut self.out), Ok(()));
        }
    }

    /// Answers what stayed unanswered.
    pub fn answer_all(&mut self) {
        while !self.unanswered.is_empty() {
            self.answer_next();
        }
    }

    /// Answers the oldest request that stayed unanswered, in a turn of its own.
    #[track_caller]
    pub fn answer_next(&mut self) {
        let reply = match self.unanswered.pop_front().expect("a request") {
            Unanswered::Publication(token) => Reply::Published { token, outcome: self.outcome },
            Unanswered::Record(token) => Reply::Recorded { token },
        };
        assert_eq!(self.machine.reply(reply, self.now, &mut self.out), Ok(()));
        self.turn();
    }

    /// What the gateway was asked since this was called last.
    pub fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Sleep and topic ids that the gateway was told since this was called last, in case that it is killed.
    pub fn told(&mut self) -> Vec<(u16, Vec<TopicId>)> {
        self.told.drain(..).map(|parked| (parked.sleep_secs, parked.topic_ids)).collect()
    }

    pub fn deliver(&mut self, topic: &str, payload: &[u8], qos: Qos) {
        self.queue.push_back(delivery(topic, payload, qos));
        self.turn();
    }

    /// Somebody wants to know which messages are acknowledged.
    pub fn watch(&mut self) {
        self.out.set_watched(true);
    }

    /// The payloads of messages that were acknowledged since the last call.
    pub fn acknowledged(&mut self) -> Vec<Vec<u8>> {
        self.out.take_acknowledged().iter().map(|message| message.payload().to_vec()).collect()
    }

    pub fn deliver_this(&mut self, delivery: Delivery) {
        self.queue.push_back(delivery);
        self.turn();
    }

    pub fn close(&mut self, reason: &CloseReason) {
        self.machine.close(reason, self.now, &mut self.out);
        self.turn();
        assert!(self.closed);
    }

    /// Lets time pass, with every deadline kept.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while !self.closed && self.machine.deadline() <= end {
            self.now = self.machine.deadline().max(self.now);
            let result = self.machine.timeout(self.now, &mut self.out);
            self.after(result);
            assert!(self.closed || self.machine.deadline() > self.now, "a deadline that is over has a consequence");
        }
        self.now = end;
    }

    pub fn pass_secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    /// The next datagram to the client, without the forwarder's header.
    #[track_caller]
    pub fn take(&mut self) -> Vec<u8> {
        let datagram = self.sent.pop_front().expect("a datagram");
        match codec::unwrap(&datagram).expect("well-formed") {
            Some(forwarded) => {
                assert_eq!(forwarded.node, self.node);
                forwarded.message.to_vec()
            }
            None => {
                assert!(self.node.is_empty());
                datagram
            }
        }
    }

    /// Exactly these packets were sent to the client.
    #[track_caller]
    pub fn expect(&mut self, packets: &[Packet<'_>]) {
        for packet in packets {
            if self.sent.is_empty() {
                panic!("nothing sent, {packet:?} expected; faults {:?}", self.faults);
            }
            let datagram = self.take();
            assert_eq!(Packet::decode(&datagram), Ok(*packet));
        }
        self.expect_nothing();
    }

    #[track_caller]
    pub fn expect_nothing(&self) {
        let left: Vec<_> = self.sent.iter().map(|datagram| Packet::decode(datagram)).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub fn standing(&self) -> Standing {
        self.machine.standing()
    }

    /// The topics and payloads that were published.
    pub fn published(&self) -> Vec<(&str, &[u8])> {
        self.published.iter().map(|message| (message.topic(), message.payload())).collect()
    }
}

pub fn delivery(topic: &str, payload: &[u8], qos: Qos) -> Delivery {
    let topic = Topic::parse(topic, TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead { qos, ..MessageHead::default() }, topic, Properties::default(), payload);
    Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
}

pub fn connect(clean_session: bool, will: bool) -> Packet<'static> {
    Packet::Connect(Connect { will, clean_session, duration_secs: 60, client_id: "c" })
}

pub const fn accepted() -> Packet<'static> {
    Packet::Connack(Connack { code: ReturnCode::Accepted })
}

pub const fn refused(code: ReturnCode) -> Packet<'static> {
    Packet::Connack(Connack { code })
}

pub const fn goodbye() -> Packet<'static> {
    Packet::Disconnect(Disconnect { duration_secs: None })
}

/// A PUBLISH that is not a repetition.
pub const fn publish(qos: Qos, topic: TopicRef, message_id: u16, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish { duplicate: false, qos: Some(qos), retain: false, topic, message_id, payload })
}

pub const fn again(qos: Qos, topic: TopicRef, message_id: u16, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish { duplicate: true, qos: Some(qos), retain: false, topic, message_id, payload })
}
