//! A client script on one side, the machine on the other, and between them a gateway and a clock that do what they are
//! told.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use thingway_contract::{
    CloseReason, Connect as ConnectRequest, Connected, Delivered, Delivery, Departure, Input, Instant, Message,
    MessageHead, Outbox, Parked, Peer, Properties, PropertiesBuilder, Property, Protocol, PublishOutcome, PublisherKey,
    Qos, Reply, Request, SubscribeRefusal, Subscription, SubscriptionOptions, Token, Topic, TopicFilter, TopicLimits,
    Transport, UnsubscribeRefusal,
};
use thingway_mqtt::{
    Config, Connection, MqttFault, PropertyBlock, PropertyId, PropertyWriter, Reason, Split, Value, Version,
    packet::{
        Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, Sender, Suback, Subscribe,
        SubscribeFilters, Unsuback, Unsubscribe, UnsubscribeFilters, Will,
    },
    split,
};

pub const BOTH: [Version; 2] = [Version::V311, Version::V5];
pub const PUBLISHER: PublisherKey = PublisherKey(77);

/// Properties of a packet under construction.
pub type Extras<'a> = &'a [(PropertyId, Value<'a>)];

/// A client and the machine that serves it.
pub struct Pair {
    pub machine: Connection,
    pub version: Version,
    pub now: Instant,
    out: Outbox,
    /// Bytes on their way to the machine.
    input: Vec<u8>,
    /// Whole packets on their way to the client.
    packets: VecDeque<Vec<u8>>,
    requests: VecDeque<Request>,
    /// Answers requests as they come, when on.
    pub automatic: bool,
    /// What the automatic gateway answers publications with.
    pub outcome: PublishOutcome,
    /// What the automatic gateway saw published.
    pub published: Vec<Message>,
    /// Exchanges that it was told are over.
    pub acknowledged: Vec<u16>,
    pub fault: Option<MqttFault>,
    pub closed: bool,
}

/// A request with its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Publish(u16),
    Received(u16),
    Released(u16),
    Acknowledged(u16),
}

/// A CONNECT under construction.
#[derive(Clone)]
pub struct Opening<'a> {
    pub client_id: &'a str,
    pub clean_start: bool,
    pub keep_alive_secs: u16,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: Extras<'a>,
    pub will: Option<(&'a str, &'a [u8], Qos, bool, Extras<'a>)>,
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Self {
            client_id: "client",
            clean_start: true,
            keep_alive_secs: 0,
            username: None,
            password: None,
            properties: &[],
            will: None,
        }
    }
}

pub fn writer(properties: Extras<'_>) -> PropertyWriter {
    let mut writer = PropertyWriter::new();
    for (id, value) in properties {
        writer.push(*id, *value).expect("short");
    }
    writer
}

pub fn peer() -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: Box::default(),
        listener: Arc::from("test"),
        certificate: None,
    }
}

impl Pair {
    /// A connection on which nothing was said yet.
    pub fn open(version: Version, config: Config) -> Self {
        let now = Instant::from_millis(1_000_000);
        Self {
            machine: Connection::open(&Arc::new(config), &peer(), now),
            version,
            now,
            out: Outbox::default(),
            input: Vec::new(),
            packets: VecDeque::new(),
            requests: VecDeque::new(),
            automatic: false,
            outcome: PublishOutcome::Accepted,
            published: Vec::new(),
            acknowledged: Vec::new(),
            fault: None,
            closed: false,
        }
    }

    /// A client that is connected, with an automatic gateway.
    pub fn connected(version: Version) -> Self {
        Self::connected_with(version, Config::default(), &Opening::default())
    }

    pub fn connected_with(version: Version, config: Config, opening: &Opening<'_>) -> Self {
        Self::resumed_with(version, config, opening, None)
    }

    /// A client that is connected to a session with this state.
    pub fn resumed(version: Version, parked: Parked) -> Self {
        let opening = Opening { clean_start: false, ..Opening::default() };
        Self::resumed_with(version, Config::default(), &opening, Some(parked))
    }

    pub fn resumed_with(version: Version, config: Config, opening: &Opening<'_>, parked: Option<Parked>) -> Self {
        Self::granted_with(version, config, opening, parked, false)
    }

    /// A client whose session is kept through the gateway's restart, with a gateway that answers when it is told to.
    pub fn kept(version: Version) -> Self {
        Self::kept_with(version, Config::default(), Parked::default())
    }

    pub fn kept_with(version: Version, config: Config, parked: Parked) -> Self {
        let opening = Opening { clean_start: false, ..Opening::default() };
        let mut pair = Self::granted_with(version, config, &opening, Some(parked), true);
        pair.automatic = false;
        pair
    }

    pub fn granted_with(
        version: Version,
        config: Config,
        opening: &Opening<'_>,
        parked: Option<Parked>,
        kept: bool,
    ) -> Self {
        let mut pair = Self::open(version, config);
        pair.send_connect(opening);
        let request = pair.connect_request();
        pair.reply(Reply::Connected(Box::new(Connected {
            session_present: parked.is_some(),
            kept,
            session_expiry_secs: request.session_expiry_secs,
            parked: parked.map(Box::new),
            publisher: PUBLISHER,
            ..Connected::default()
        })));
        let connack = pair.next_packet();
        let Packet::Connack(connack) = decode(version, &connack) else { panic!("CONNACK") };
        assert!(connack.is_accepted());
        pair.automatic = true;
        pair
    }

    pub fn send_connect(&mut self, opening: &Opening<'_>) {
        let v5 = self.version == Version::V5;
        let properties = writer(if v5 { opening.properties } else { &[] });
        let will_properties = opening.will.map(|will| writer(if v5 { will.4 } else { &[] }));
        let connect = Connect {
            version: self.version,
            clean_start: opening.clean_start,
            keep_alive_secs: opening.keep_alive_secs,
            client_id: opening.client_id,
            will: opening.will.map(|(topic, payload, qos, retain, _)| Will {
                topic,
                payload,
                qos,
                retain,
                properties: will_properties.as_ref().map_or(PropertyBlock::EMPTY, PropertyWriter::as_block),
            }),
            username: opening.username,
            password: opening.password,
            properties: properties.as_block(),
        };
        self.send(&Packet::Connect(connect));
    }

    /// The client sends a packet.
    pub fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("fits");
        self.send_bytes(&bytes);
    }

    /// The client sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.drive();
    }

    /// Calls the machine as a driver does, until it wants nothing more.
    fn drive(&mut self) {
        loop {
            if self.closed {
                return;
            }
            let mut input = Input::new(&self.input);
            let result = self.machine.receive(&mut input, self.now, &mut self.out);
            let consumed = input.consumed();
            self.input.drain(..consumed);
            self.after(result);
            let answered = self.answer_automatically();
            if consumed == 0 && !answered {
                return;
            }
        }
    }

    fn after(&mut self, result: Result<(), MqttFault>) {
        if let Err(fault) = result {
            assert!(!self.closed, "a fault after the end");
            self.machine.refuse(&fault, self.now, &mut self.out);
            assert!(self.out.is_closing(), "refusing closes");
            self.fault = Some(fault);
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.closed |= self.out.is_closing();
        let mut spare = Vec::new();
        self.out.swap_requests(&mut spare);
        self.requests.extend(spare);
        let bytes: Vec<u8> = self.out.pieces().flatten().copied().collect();
        self.out.clear();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Ok(Split::Frame(frame)) = split(rest, usize::MAX) else { panic!("not whole packets: {rest:02x?}") };
            let (packet, tail) = rest.split_at(frame.total_bytes());
            Packet::decode(self.version, Sender::Server, frame)
                .unwrap_or_else(|error| panic!("the machine wrote {packet:02x?}: {error}"));
            self.packets.push_back(packet.to_vec());
            rest = tail;
        }
    }

    fn answer_automatically(&mut self) -> bool {
        let mut answered = false;
        while self.automatic && !self.closed && self.answer_oldest() {
            answered = true;
        }
        answered
    }

    /// The gateway grants the oldest request. False when there is none.
    fn answer_oldest(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        let reply = match request {
            Request::Publish { token, message, .. } => {
                self.published.push(message);
                if token == Token::NONE {
                    return true;
                }
                Reply::Published { token, outcome: self.outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                let grant = |s: Result<Subscription, SubscribeRefusal>| s.map(|s| s.options.qos);
                Reply::Subscribed { token, results: subscriptions.into_iter().map(grant).collect() }
            }
            Request::Unsubscribe { token, filters } => {
                let done = |f: Result<TopicFilter, UnsubscribeRefusal>| f.map(|_| ());
                Reply::Unsubscribed { token, results: filters.into_iter().map(done).collect() }
            }
            Request::Released { token, .. } | Request::Received { token, .. } => Reply::Recorded { token },
            Request::Acknowledged { packet_id } => {
                self.acknowledged.push(packet_id);
                return true;
            }
            other => panic!("not answered automatically: {other:?}"),
        };
        let result = self.machine.reply(reply, self.now, &mut self.out);
        self.after(result);
        true
    }

    /// The gateway answers its oldest request, which must be there, with success or the outcome that is set.
    pub fn answer(&mut self) {
        assert!(self.answer_oldest(), "nothing was asked");
        self.drive();
    }

    /// The most requests that the machine made in one call, when it is given these bytes.
    pub fn largest_turn(&mut self, bytes: &[u8]) -> usize {
        let mut input = Input::new(bytes);
        let mut most = 0;
        loop {
            let before = input.consumed();
            let result = self.machine.receive(&mut input, self.now, &mut self.out);
            most = most.max(self.out.requests_len());
            self.after(result);
            if input.consumed() == before {
                return most;
            }
        }
    }

    /// How many of the bytes the machine consumed, and how many it wants behind them.
    pub fn wanted(&mut self, bytes: &[u8]) -> (usize, usize) {
        let mut input = Input::new(bytes);
        let result = self.machine.receive(&mut input, self.now, &mut self.out);
        self.after(result);
        (input.consumed(), input.wanted())
    }

    /// Packets received and sent so far, by type.
    pub fn counts(&mut self) -> [(u32, u32); 16] {
        let mut counts = [(0, 0); 16];
        self.out.drain_counts(|kind, received, sent| counts[kind] = (received, sent));
        counts
    }

    /// The gateway answers.
    pub fn reply(&mut self, reply: Reply) {
        let result = self.machine.reply(reply, self.now, &mut self.out);
        self.after(result);
        self.drive();
    }

    pub fn answer_publish(&mut self, outcome: PublishOutcome) -> Message {
        match self.requests.pop_front() {
            Some(Request::Publish { token, message, .. }) => {
                if token != Token::NONE {
                    self.reply(Reply::Published { token, outcome });
                }
                message
            }
            other => panic!("no publication: {other:?}"),
        }
    }

    pub fn connect_request(&mut self) -> ConnectRequest {
        match self.requests.pop_front() {
            Some(Request::Connect(connect)) => *connect,
            other => panic!("no connect: {other:?}, fault {:?}", self.fault),
        }
    }

    pub fn subscribe_request(&mut self) -> (Token, Vec<Result<Subscription, SubscribeRefusal>>) {
        match self.requests.pop_front() {
            Some(Request::Subscribe { token, subscriptions }) => (token, subscriptions),
            other => panic!("no subscription: {other:?}, fault {:?}", self.fault),
        }
    }

    pub fn request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The requests that wait, in short.
    pub fn asked(&self) -> Vec<Asked> {
        let in_short = |request: &Request| match request {
            Request::Publish { packet_id, .. } => Asked::Publish(*packet_id),
            Request::Received { packet_id, .. } => Asked::Received(*packet_id),
            Request::Released { packet_id, .. } => Asked::Released(*packet_id),
            Request::Acknowledged { packet_id } => Asked::Acknowledged(*packet_id),
            other => panic!("unexpected {other:?}"),
        };
        self.requests.iter().map(in_short).collect()
    }

    pub fn requests_len(&self) -> usize {
        self.requests.len()
    }

    pub fn grant(&mut self, connected: Connected) {
        self.reply(Reply::Connected(Box::new(connected)));
    }

    /// The gateway has a message for the client.
    pub fn deliver(&mut self, delivery: Delivery) -> Delivered {
        let delivered = self.machine.deliver(delivery, self.now, &mut self.out);
        self.collect();
        delivered
    }

    /// Delivers what must be sent at once.
    pub fn deliver_now(&mut self, delivery: Delivery) {
        let delivered = self.deliver(delivery);
        assert!(matches!(delivered, Delivered::Sent), "{delivered:?}");
    }

    pub fn close(&mut self, reason: &CloseReason) {
        self.machine.close(reason, self.now, &mut self.out);
        self.collect();
    }

    pub fn depart(&mut self) -> Departure {
        self.machine.depart()
    }

    pub fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Lets time pass, and calls the machine if its deadline is over.
    pub fn wait(&mut self, duration: Duration) {
        self.advance(duration);
        if self.machine.deadline() <= self.now && !self.closed {
            let result = self.machine.timeout(self.now, &mut self.out);
            self.after(result);
        }
    }

    /// The client reads a packet.
    pub fn next_packet(&mut self) -> Vec<u8> {
        self.packets.pop_front().unwrap_or_else(|| panic!("nothing was sent; fault {:?}", self.fault))
    }

    /// The client reads exactly this packet.
    pub fn expect(&mut self, packet: &Packet<'_>) {
        let bytes = self.next_packet();
        assert_eq!(&decode(self.version, &bytes), packet);
    }

    /// The client reads an acknowledgement with this reason, whatever it says in words.
    pub fn expect_ack(&mut self, kind: PacketType, id: u16, reason: Reason) {
        let bytes = self.next_packet();
        let packet = decode(self.version, &bytes);
        assert_eq!(packet.packet_type(), kind);
        match packet {
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
                assert_eq!((ack.packet_id, ack.reason), (id, reason));
            }
            other => panic!("no acknowledgement: {other:?}"),
        }
    }

    pub fn expect_nothing(&self) {
        assert!(self.packets.is_empty(), "unexpected: {:02x?}", self.packets);
    }

    /// The connection ended for this reason and the client was told so (5.0), or just ended.
    pub fn expect_end(&mut self, fault: &MqttFault, reason: Reason) {
        assert_eq!(self.fault.as_ref(), Some(fault));
        assert_eq!(fault.reason(), reason);
        self.expect_disconnect(reason);
    }

    pub fn expect_disconnect(&mut self, reason: Reason) {
        assert!(self.closed, "still open");
        if self.version == Version::V5 {
            let bytes = self.next_packet();
            let Packet::Disconnect(disconnect) = decode(self.version, &bytes) else { panic!("DISCONNECT") };
            assert_eq!(disconnect.reason, reason);
        }
        self.expect_nothing();
    }

    pub fn expect_connack_code(&mut self, code: u8) {
        let bytes = self.next_packet();
        let Packet::Connack(connack) = decode(self.version, &bytes) else { panic!("CONNACK") };
        assert_eq!(connack.code, code);
        assert!(!connack.session_present || code == 0);
        assert_eq!(self.closed, code != 0);
        self.expect_nothing();
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    // The client's packets in short.

    pub fn publish(&mut self, qos: Qos, packet_id: u16, topic: &str, payload: &[u8]) {
        self.publish_with(false, qos, packet_id, topic, payload, &[]);
    }

    pub fn publish_with(
        &mut self,
        duplicate: bool,
        qos: Qos,
        packet_id: u16,
        topic: &str,
        payload: &[u8],
        extras: Extras<'_>,
    ) {
        let properties = writer(extras);
        let properties = properties.as_block();
        let publish = Publish { duplicate, qos, retain: false, topic, packet_id, properties, payload };
        self.send(&Packet::Publish(publish));
    }

    pub fn subscribe(&mut self, packet_id: u16, filters: &[(&str, SubscriptionOptions)], extras: Extras<'_>) {
        let mut list = Vec::new();
        for (filter, options) in filters {
            SubscribeFilters::push(&mut list, filter, *options).expect("short");
        }
        let properties = writer(extras);
        let filters = SubscribeFilters::from_encoded(&list);
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties: properties.as_block(), filters }));
    }

    pub fn unsubscribe(&mut self, packet_id: u16, filters: &[&str]) {
        let mut list = Vec::new();
        for filter in filters {
            UnsubscribeFilters::push(&mut list, filter).expect("short");
        }
        let filters = UnsubscribeFilters::from_encoded(&list);
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties: PropertyBlock::EMPTY, filters }));
    }

    pub fn puback(&mut self, id: u16) {
        self.send(&Packet::Puback(Ack::success(id)));
    }

    pub fn pubrec(&mut self, id: u16) {
        self.send(&Packet::Pubrec(Ack::success(id)));
    }

    pub fn pubrel(&mut self, id: u16) {
        self.send(&Packet::Pubrel(Ack::success(id)));
    }

    pub fn pubcomp(&mut self, id: u16) {
        self.send(&Packet::Pubcomp(Ack::success(id)));
    }

    pub fn disconnect(&mut self, reason: Reason, extras: Extras<'_>) {
        let properties = writer(extras);
        self.send(&Packet::Disconnect(Disconnect { reason, properties: properties.as_block() }));
    }

    pub fn auth(&mut self, reason: Reason, extras: Extras<'_>) {
        let properties = writer(extras);
        self.send(&Packet::Auth(Auth { reason, properties: properties.as_block() }));
    }
}

/// Reads a packet of the server.
pub fn decode(version: Version, bytes: &[u8]) -> Packet<'_> {
    let Ok(Split::Frame(frame)) = split(bytes, usize::MAX) else { panic!("a whole packet") };
    Packet::decode(version, Sender::Server, frame).expect("valid")
}

pub fn publish_of(version: Version, bytes: &[u8]) -> Publish<'_> {
    match decode(version, bytes) {
        Packet::Publish(publish) => publish,
        other => panic!("no PUBLISH: {other:?}"),
    }
}

pub fn connack_of(bytes: &[u8]) -> Connack<'_> {
    match decode(Version::V5, bytes) {
        Packet::Connack(connack) => connack,
        other => panic!("no CONNACK: {other:?}"),
    }
}

pub fn suback_of(version: Version, bytes: &[u8]) -> Suback<'_> {
    match decode(version, bytes) {
        Packet::Suback(suback) => suback,
        other => panic!("no SUBACK: {other:?}"),
    }
}

pub fn unsuback_of(version: Version, bytes: &[u8]) -> Unsuback<'_> {
    match decode(version, bytes) {
        Packet::Unsuback(unsuback) => unsuback,
        other => panic!("no UNSUBACK: {other:?}"),
    }
}

/// A PUBLISH as a client sends or gets it, without properties.
pub fn plain<'a>(qos: Qos, packet_id: u16, topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish { duplicate: false, qos, retain: false, topic, packet_id, properties: PropertyBlock::EMPTY, payload }
}

pub fn message(topic: &str, payload: &[u8]) -> Message {
    message_with(MessageHead::default(), topic, &[], payload)
}

pub fn message_with(head: MessageHead, topic: &str, properties: &[Property<'_>], payload: &[u8]) -> Message {
    let mut builder = PropertiesBuilder::new();
    for property in properties {
        builder.push(*property);
    }
    let topic = Topic::parse(topic, TopicLimits::default()).expect("valid");
    let properties: Properties<'_> = builder.as_properties();
    Message::new(head, topic, properties, payload)
}

pub fn delivery(qos: Qos, topic: &str, payload: &[u8]) -> Delivery {
    delivery_of(qos, message(topic, payload))
}

pub fn delivery_of(qos: Qos, message: Message) -> Delivery {
    Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
}

pub fn options(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..SubscriptionOptions::default() }
}
