//! A gateway in miniature: a bus, and a driver of conversations that does what the contract says of drivers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use thingway_coap::{Config, Conversation};
use thingway_contract::{
    ClientId, CloseReason, Connect, Connected, DatagramProtocol, Delivered, Delivery, Departure, FilterKind, Input,
    Instant, Message, Outbox, Parked, Peer, Protocol, PublishOutcome, PublisherKey, Qos, Rare, Refusal, Reply, Request,
    RetainHandling, Standing, SubscribeRefusal, Subscription, Token, Transport, Unacknowledged, UnsubscribeRefusal,
    filter_matches,
};

#[derive(Default)]
struct Session {
    owner: Option<u16>,
    subscriptions: Vec<Subscription>,
    queue: VecDeque<Delivery>,
    parked: Option<Parked>,
    expiry_secs: u32,
    key: PublisherKey,
    /// Exchanges that are kept, in order: those whose message is not in the queue any more were delivered.
    exchanges: Vec<Unacknowledged>,
    last_packet_id: u16,
    kept: bool,
    /// What is on disk for the next conversation.
    told: Option<Parked>,
}

impl Session {
    fn enqueue(&mut self, mut delivery: Delivery) {
        if self.kept {
            self.last_packet_id += 1;
            delivery.packet_id = self.last_packet_id;
            let delivery = Some(delivery.clone());
            self.exchanges.push(Unacknowledged { packet_id: self.last_packet_id, delivery });
        }
        self.queue.push_back(delivery);
    }

    fn is_queued(&self, packet_id: u16) -> bool {
        self.queue.iter().any(|delivery| delivery.packet_id == packet_id)
    }

    /// The exchange is over, which may be said once, and of what was delivered.
    fn end_exchange(&mut self, packet_id: u16) {
        assert!(!self.is_queued(packet_id), "{packet_id} was not delivered");
        let before = self.exchanges.len();
        self.exchanges.retain(|one| one.packet_id != packet_id);
        assert_eq!(self.exchanges.len() + 1, before, "{packet_id} is not under way");
    }

    /// What was delivered and is not acknowledged.
    fn under_way(&self) -> Vec<Unacknowledged> {
        self.exchanges.iter().filter(|one| !self.is_queued(one.packet_id)).cloned().collect()
    }
}

#[derive(Default)]
pub struct Bus {
    /// Sessions that outlive their connections are kept on disk.
    pub keeps: bool,
    /// How often one that lives was to be kept anew.
    pub told: usize,
    /// The end of these exchanges was said, in order.
    pub acknowledged: Vec<u16>,
    pub retained: BTreeMap<String, Message>,
    /// All that was published, in order.
    pub published: Vec<Message>,
    /// The last Connect.
    pub connect: Option<Connect>,
    /// How many were asked for.
    pub connects: usize,
    /// What the next Connects get.
    pub refusal: Option<Refusal>,
    /// Nothing more may be published.
    pub is_full: bool,
    /// Topics and filters that nobody may use.
    pub forbidden: Vec<String>,
    sessions: BTreeMap<String, Session>,
    last_key: u64,
}

struct Driven {
    machine: Conversation,
    session: Option<String>,
    /// The machine answered Later.
    waits: bool,
}

pub struct Gateway {
    pub bus: Bus,
    pub config: Arc<Config>,
    pub now: Instant,
    /// Requests are not answered until [`Gateway::answer_delayed`].
    pub delaying: bool,
    delayed: VecDeque<(u16, Request)>,
    conversations: HashMap<u16, Driven>,
    out: Outbox,
    /// Datagrams that were sent, with the port they went to.
    pub sent: Vec<(u16, Vec<u8>)>,
    /// Faults of the machines.
    pub faults: Vec<thingway_coap::CoapFault>,
}

impl Gateway {
    pub fn new(config: Config) -> Self {
        Self {
            bus: Bus::default(),
            config: Arc::new(config),
            now: Instant::from_millis(1000),
            delaying: false,
            delayed: VecDeque::new(),
            conversations: HashMap::new(),
            out: Outbox::default(),
            sent: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub fn machine(&self, port: u16) -> Option<&Conversation> {
        self.conversations.get(&port).map(|driven| &driven.machine)
    }

    pub fn standing(&self, port: u16) -> Option<Standing> {
        self.machine(port).map(DatagramProtocol::standing)
    }

    pub fn has_session(&self, client_id: &str) -> bool {
        self.bus.sessions.contains_key(client_id)
    }

    /// A session as a conversation of another protocol leaves it.
    pub fn leave_session(&mut self, client_id: &str, expiry_secs: u32) {
        self.bus.sessions.insert(client_id.into(), Session { expiry_secs, ..Session::default() });
    }

    pub fn session_expiry_secs(&self, client_id: &str) -> Option<u32> {
        self.bus.sessions.get(client_id).map(|session| session.expiry_secs)
    }

    /// Identifiers of what a kept session's conversation has not acknowledged.
    pub fn under_way(&self, client_id: &str) -> Vec<u16> {
        let session = self.bus.sessions.get(client_id);
        session.map(Session::under_way).unwrap_or_default().iter().map(|left| left.packet_id).collect()
    }

    /// An MQTT connection has left the session behind a message of QoS 2 that was released.
    pub fn leave_released(&mut self, client_id: &str) -> u16 {
        let session = self.bus.sessions.get_mut(client_id).expect("there");
        session.last_packet_id += 1;
        session.exchanges.push(Unacknowledged { packet_id: session.last_packet_id, delivery: None });
        session.last_packet_id
    }

    /// The gateway stops and is started again: what is kept is there, the rest is not.
    pub fn restart(&mut self) {
        for port in self.conversations.keys().copied().collect::<Vec<_>>() {
            self.close(port, &CloseReason::ShuttingDown);
        }
        self.die();
    }

    /// The gateway is killed and started again after a second, with a clock of its own: nobody departs. No message expires meanwhile.
    pub fn die(&mut self) {
        let start = Instant::from_millis(1000);
        let gone_ms = self.now.as_millis();
        let clock_unix_ms = self.config.clock_unix_ms + gone_ms;
        self.config = Arc::new(Config { clock_unix_ms, ..(*self.config).clone() });
        self.now = start;
        let since = |at: &mut Instant| {
            if !at.is_never() {
                *at = Instant::from_millis(at.as_millis().saturating_sub(gone_ms));
            }
        };
        self.conversations.clear();
        self.delayed.clear();
        self.delaying = false;
        self.bus.sessions.retain(|_, session| session.kept);
        for session in self.bus.sessions.values_mut() {
            session.owner = None;
            session.parked = session.told.as_mut().map(|told| {
                told.resumption.iter_mut().for_each(|resumption| since(&mut resumption.until));
                told.observations.iter_mut().for_each(|observation| since(&mut observation.ends_at));
                told.clone()
            });
        }
    }

    /// What is on disk for the next conversation of a session.
    pub fn told(&mut self, client_id: &str) -> &mut Parked {
        self.bus.sessions.get_mut(client_id).and_then(|session| session.told.as_mut()).expect("something is kept")
    }

    /// Filters that all sessions together subscribe to.
    pub fn filters(&self) -> Vec<String> {
        let all = self.bus.sessions.values().flat_map(|session| &session.subscriptions);
        all.map(|subscription| subscription.filter.to_string()).collect()
    }

    /// The quality of service that somebody subscribes to a filter with.
    pub fn subscribed_qos(&self, filter: &str) -> Option<Qos> {
        let mut all = self.bus.sessions.values().flat_map(|session| &session.subscriptions);
        all.find(|subscription| subscription.filter.filter() == filter).map(|subscription| subscription.options.qos)
    }

    /// A datagram comes from a port; the answers are those that go there at once.
    pub fn receive(&mut self, port: u16, datagram: &[u8]) -> Vec<Vec<u8>> {
        let config = &self.config;
        let now = self.now;
        self.conversations.entry(port).or_insert_with(|| Driven {
            machine: Conversation::open(config, &peer(port), now),
            session: None,
            waits: false,
        });
        let before = self.sent.len();
        self.turn(port, |machine, now, out| {
            let mut input = Input::new(datagram);
            let result = machine.receive(&mut input, now, out);
            assert_eq!(input.consumed(), datagram.len());
            result
        });
        self.settle();
        self.sent[before..].iter().filter(|(to, _)| *to == port).map(|(_, bytes)| bytes.clone()).collect()
    }

    /// Somebody wants to know which messages are acknowledged.
    pub fn watch(&mut self) {
        self.out.set_watched(true);
    }

    /// The payloads of messages that were acknowledged since the last call.
    pub fn acknowledged(&mut self) -> Vec<Vec<u8>> {
        self.out.take_acknowledged().iter().map(|message| message.payload().to_vec()).collect()
    }

    /// Publishes as somebody else.
    pub fn publish(&mut self, message: Message) {
        self.route(message, PublisherKey(u64::MAX));
        self.settle();
    }

    /// Moves the clock, with every deadline on the way.
    pub fn pass_ms(&mut self, ms: u64) {
        let end = Instant::from_millis(self.now.as_millis() + ms);
        while let Some(next) = self.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.fire();
        }
        self.now = end;
    }

    pub fn deadline(&self) -> Option<Instant> {
        let all = self.conversations.values().map(|driven| driven.machine.deadline());
        all.min().filter(|deadline| !deadline.is_never())
    }

    /// Calls those whose deadline has passed.
    pub fn fire(&mut self) {
        let now = self.now;
        let due = self.conversations.iter().filter(|(_, driven)| driven.machine.deadline() <= now);
        let due: Vec<u16> = due.map(|(port, _)| *port).collect();
        for port in due {
            self.turn(port, |machine, now, out| machine.timeout(now, out));
        }
        self.settle();
    }

    pub fn close(&mut self, port: u16, reason: &CloseReason) {
        self.turn(port, |machine, now, out| {
            machine.close(reason, now, out);
            Ok(())
        });
        self.settle();
    }

    /// Answers the first of the requests that wait.
    pub fn answer_first(&mut self) {
        let (port, request) = self.delayed.pop_front().expect("something is asked");
        self.answer(port, request);
        self.settle();
    }

    pub fn answer_delayed(&mut self) {
        self.delaying = false;
        while let Some((port, request)) = self.delayed.pop_front() {
            self.answer(port, request);
        }
        self.settle();
    }

    fn turn(
        &mut self,
        port: u16,
        verb: impl FnOnce(&mut Conversation, Instant, &mut Outbox) -> Result<(), thingway_coap::CoapFault>,
    ) {
        let Some(driven) = self.conversations.get_mut(&port) else { return };
        driven.waits = false;
        let result = verb(&mut driven.machine, self.now, &mut self.out);
        let mut ended = false;
        if let Err(fault) = result {
            driven.machine.refuse(&fault, self.now, &mut self.out);
            ended = Conversation::is_fatal(&fault);
            self.faults.push(fault);
        }
        self.after(port, ended);
    }

    fn after(&mut self, port: u16, mut ended: bool) {
        let sent = self.out.datagrams().map(|datagram| (port, datagram.to_vec()));
        self.sent.extend(sent);
        ended |= self.out.is_closing();
        self.out.clear();
        let mut requests = Vec::new();
        self.out.swap_requests(&mut requests);
        for request in requests {
            if let Request::Acknowledged { packet_id } = request {
                let name = self.conversations.get(&port).and_then(|driven| driven.session.clone()).expect("a session");
                self.bus.sessions.get_mut(&name).expect("living").end_exchange(packet_id);
                self.bus.acknowledged.push(packet_id);
                continue;
            }
            if self.delaying {
                self.delayed.push_back((port, request));
            } else {
                self.answer(port, request);
            }
        }
        if ended {
            self.depart(port);
            self.conversations.remove(&port);
        }
    }

    fn depart(&mut self, port: u16) {
        let Some(driven) = self.conversations.get_mut(&port) else { return };
        let Departure { session_expiry_secs, parked, .. } = driven.machine.depart();
        let Some(name) = driven.session.take() else { return };
        let Some(session) = self.bus.sessions.get_mut(&name) else { return };
        session.owner = None;
        session.parked = Some(parked).filter(|parked| !parked.is_empty());
        if session.kept {
            let told: Vec<u16> =
                session.parked.iter().flat_map(|left| &left.outbound).map(|left| left.packet_id).collect();
            let known: Vec<u16> = session.under_way().iter().map(|left| left.packet_id).collect();
            assert_eq!(told, known, "what is not acknowledged is listed, and nothing else");
            session.told.clone_from(&session.parked);
        }
        if session_expiry_secs.unwrap_or(session.expiry_secs) == 0 {
            self.bus.sessions.remove(&name);
        }
    }

    fn answer(&mut self, port: u16, request: Request) {
        let session = self.conversations.get(&port).and_then(|driven| driven.session.clone());
        let reply = match request {
            Request::Connect(connect) => self.connect(port, *connect),
            Request::Publish { token, message, .. } => {
                let key = session.and_then(|name| self.bus.sessions.get(&name)).map(|session| session.key);
                let key = key.expect("nothing is asked without a session");
                let forbidden = self.bus.forbidden.contains(&message.topic().to_owned());
                if !forbidden && !self.bus.is_full {
                    self.route(message, key);
                }
                if token == Token::NONE {
                    return;
                }
                let outcome = match (forbidden, self.bus.is_full) {
                    (true, _) => PublishOutcome::NotAuthorized,
                    (false, true) => PublishOutcome::QuotaExceeded,
                    (false, false) => PublishOutcome::Accepted,
                };
                Reply::Published { token, outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                let name = session.expect("nothing is asked without a session");
                let results = subscriptions.into_iter().map(|one| self.subscribe(&name, one)).collect();
                Reply::Subscribed { token, results }
            }
            Request::Unsubscribe { token, filters } => {
                let name = session.expect("nothing is asked without a session");
                let mut results = Vec::new();
                for filter in filters.into_iter().flatten() {
                    let subscriptions = &mut self.bus.sessions.get_mut(&name).expect("living").subscriptions;
                    let before = subscriptions.len();
                    subscriptions.retain(|one| one.filter != filter);
                    let found = subscriptions.len() < before;
                    results.push(if found { Ok(()) } else { Err(UnsubscribeRefusal::NotSubscribed) });
                }
                if token == Token::NONE {
                    return;
                }
                Reply::Unsubscribed { token, results }
            }
            Request::Acknowledged { .. } => unreachable!("nobody waits for it"),
            Request::Released { token, .. } | Request::Received { token, .. } => Reply::Recorded { token },
            Request::ReadRetained { token, filter, count_max } => {
                session.expect("nothing is asked without a session");
                let messages = if self.bus.forbidden.contains(&filter.to_string()) {
                    Err(SubscribeRefusal::NotAuthorized)
                } else {
                    let all = self.bus.retained.values().filter(|message| filter.matches(message.name()));
                    Ok(all.take(count_max as usize).cloned().collect())
                };
                Reply::Retained { token, messages }
            }
            Request::Keep { parked } => {
                let session = session.and_then(|name| self.bus.sessions.get_mut(&name)).expect("of a session");
                assert!(session.kept && parked.outbound.is_empty());
                session.told = Some(*parked);
                self.bus.told += 1;
                return;
            }
            Request::SetWill { .. } | Request::Authenticate { .. } => return,
        };
        self.turn(port, |machine, now, out| machine.reply(reply, now, out));
    }

    fn connect(&mut self, port: u16, connect: Connect) -> Reply {
        // A second request leaves the first session.
        self.depart(port);
        self.bus.connects += 1;
        let assigned = connect.client_id.is_none();
        let name =
            connect.client_id.as_ref().map_or_else(|| format!("assigned-{}", self.bus.connects), ToString::to_string);
        let (clean, must_exist, expiry_secs) = (connect.clean_start, connect.must_exist, connect.session_expiry_secs);
        let resume_key = connect.resume_key;
        self.bus.connect = Some(connect);
        if let Some(refusal) = self.bus.refusal.clone() {
            return Reply::Refused(refusal);
        }
        if must_exist && !self.has_session(&name) {
            return Reply::Refused(Refusal::NoSession);
        }
        if let Some(owner) = self.bus.sessions.get(&name).and_then(|session| session.owner) {
            self.turn(owner, |machine, now, out| {
                machine.close(&CloseReason::TakenOver, now, out);
                Ok(())
            });
        }
        let left = self.bus.sessions.get(&name).and_then(|session| session.parked.as_ref());
        if must_exist && !left.map_or(resume_key.is_none(), |left| left.is_resumed_by(resume_key, self.now)) {
            return Reply::Refused(Refusal::NoSession);
        }
        if clean {
            self.bus.sessions.remove(&name);
        }
        let session_present = self.has_session(&name);
        if !session_present {
            self.bus.last_key += 1;
            let kept = self.bus.keeps && expiry_secs > 0;
            let session = Session { key: PublisherKey(self.bus.last_key), kept, ..Session::default() };
            self.bus.sessions.insert(name.clone(), session);
        }
        let session = self.bus.sessions.get_mut(&name).expect("made");
        session.owner = Some(port);
        session.expiry_secs = expiry_secs;
        let mut parked = session.parked.take();
        if session.kept {
            parked = Some(Parked { outbound: session.under_way(), ..parked.unwrap_or_default() });
        }
        let connected = Connected {
            assigned_client_id: ClientId::new(&name, 99).ok().filter(|_| assigned),
            session_present,
            kept: session.kept,
            parked: parked.map(Box::new),
            publisher: session.key,
            ..Connected::default()
        };
        if let Some(driven) = self.conversations.get_mut(&port) {
            driven.session = Some(name);
        }
        Reply::Connected(Box::new(connected))
    }

    fn subscribe(
        &mut self,
        name: &str,
        subscription: Result<Subscription, SubscribeRefusal>,
    ) -> Result<Qos, SubscribeRefusal> {
        let subscription = subscription?;
        assert!(subscription.options.id < 1 << 28, "a subscription identifier has 28 bits");
        if self.bus.forbidden.contains(&subscription.filter.to_string()) {
            return Err(SubscribeRefusal::NotAuthorized);
        }
        let session = self.bus.sessions.get_mut(name).expect("living");
        let before = session.subscriptions.len();
        session.subscriptions.retain(|one| one.filter != subscription.filter);
        let is_new = session.subscriptions.len() == before;
        let wanted = match subscription.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && *subscription.filter.kind() == FilterKind::Plain {
            for message in self.bus.retained.values().filter(|message| subscription.filter.matches(message.name())) {
                let qos = message.head().qos.min(subscription.options.qos);
                let id = subscription.options.id;
                let message = message.clone();
                session.enqueue(Delivery { message, rare: None, subscription_id: id, qos, retain: true, packet_id: 0 });
            }
        }
        let qos = subscription.options.qos;
        session.subscriptions.push(subscription);
        Ok(qos)
    }

    fn route(&mut self, message: Message, from: PublisherKey) {
        self.bus.published.push(message.clone());
        for session in self.bus.sessions.values_mut() {
            let fits = |one: &&Subscription| {
                filter_matches(one.filter.filter(), message.topic()) && !(one.options.no_local && session.key == from)
            };
            let matching: Vec<&Subscription> = session.subscriptions.iter().filter(fits).collect();
            let Some(qos) = matching.iter().map(|one| one.options.qos).max() else { continue };
            let mut ids = matching.iter().map(|one| one.options.id);
            let subscription_id = ids.next().unwrap_or(0);
            let further: smallvec::SmallVec<[u32; 4]> = ids.collect();
            let rare =
                (!further.is_empty()).then(|| Arc::new(Rare { further_subscription_ids: further, ..Rare::default() }));
            let qos = qos.min(message.head().qos);
            session.enqueue(Delivery {
                message: message.clone(),
                rare,
                subscription_id,
                qos,
                retain: false,
                packet_id: 0,
            });
        }
        if message.head().retain {
            if message.payload().is_empty() {
                self.bus.retained.remove(message.topic());
            } else {
                self.bus.retained.insert(message.topic().to_owned(), message);
            }
        }
    }

    /// Delivers what can be delivered, and forgets who can be forgotten.
    fn settle(&mut self) {
        loop {
            let waiting = self.conversations.iter().find_map(|(port, driven)| {
                let session = self.bus.sessions.get(driven.session.as_ref()?)?;
                (!driven.waits && !session.queue.is_empty()).then_some(*port)
            });
            let Some(port) = waiting else { break };
            let driven = self.conversations.get_mut(&port).expect("found");
            let session = self.bus.sessions.get_mut(driven.session.as_ref().expect("found")).expect("found");
            let delivery = session.queue.pop_front().expect("found");
            let (qos, packet_id) = (delivery.qos, delivery.packet_id);
            match driven.machine.deliver(delivery, self.now, &mut self.out) {
                Delivered::Dropped(_) if packet_id != 0 => session.end_exchange(packet_id),
                Delivered::Sent if packet_id != 0 && !qos.is_acknowledged() => session.end_exchange(packet_id),
                Delivered::Sent | Delivered::Dropped(_) => {}
                Delivered::Later(delivery) => {
                    session.queue.push_front(delivery);
                    driven.waits = true;
                }
            }
            self.after(port, false);
        }
        let forgettable = self.conversations.iter().filter(|(_, one)| one.machine.standing() == Standing::Forgettable);
        let forgettable: Vec<u16> = forgettable.map(|(port, _)| *port).collect();
        for port in forgettable {
            self.depart(port);
            self.conversations.remove(&port);
        }
    }
}

pub fn peer(port: u16) -> Peer {
    Peer {
        remote: Some(SocketAddr::from(([192, 0, 2, 1], port))),
        local: None,
        transport: Transport::Udp,
        node: Box::default(),
        listener: "coap".into(),
        certificate: None,
    }
}
