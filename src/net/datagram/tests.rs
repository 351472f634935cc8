//! The driver with a protocol of one letter a packet.

use std::{fmt, net::Ipv4Addr, sync::atomic::Ordering::Relaxed, time::Duration};

use thingway_contract::{
    ClientId, Connect, Credentials, Culprit, Delivered, Delivery, Departure, Fault, FaultKind, Input, Instant, Message,
    MessageHead, Outbox, Parked, Peer, Properties, Protocol as Machine, Qos, Reply, Request, Standing, Subscription,
    SubscriptionOptions, Token, Topic, TopicFilter, TopicLimits,
};
use tokio::{net::UdpSocket, time::timeout};

use super::*;
use crate::{
    bus::{Bus, BusConfig, Origin},
    net::{PeerRates, core::Clock, faults::Faults, limit::Limits},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// `C id` connects, `S filter` subscribes, `P topic` publishes, `?` asks whether anybody is there, `U` begins something unproven, `E` is an error, `F` a
/// fatal one; `@x...` is the rest from node `x`. Messages come as `M topic`.
struct Letters {
    node: Box<[u8]>,
    connected: bool,
    begun: bool,
    deadline: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Bad(u8);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad letter {}", self.0)
    }
}

impl Fault for Bad {
    fn culprit(&self) -> Culprit {
        Culprit::Peer
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Malformed
    }
}

impl Letters {
    fn say(&self, text: &str, out: &mut Outbox) {
        out.wire().extend_from_slice(&self.node);
        out.wire().extend_from_slice(text.as_bytes());
        out.end_datagram();
    }
}

impl Machine for Letters {
    const NAME: &'static str = "letters";
    const PACKET_NAMES: &'static [&'static str] = &["any"];
    type Config = ();
    type Fault = Bad;

    fn open(_: &Arc<()>, peer: &Peer, _: Instant) -> Self {
        Self { node: peer.node.clone(), connected: false, begun: false, deadline: Instant::NEVER }
    }

    fn receive(&mut self, input: &mut Input<'_>, now: Instant, out: &mut Outbox) -> Result<(), Bad> {
        let bytes = input.remaining();
        let text = std::str::from_utf8(&bytes[self.node.len()..]).unwrap_or_default();
        let (letter, rest) = (text.bytes().next().unwrap_or(b' '), text.get(2..).unwrap_or_default());
        match letter {
            b'C' => out.request(Request::Connect(Box::new(Connect {
                client_id: ClientId::new(rest, 100).ok(),
                clean_start: true,
                must_exist: false,
                resume_key: None,
                keep_will: false,
                session_expiry_secs: 0,
                credentials: Credentials::default(),
                will: None,
                version: 1,
                keep_alive_secs: 0,
                receive_maximum: 1,
            }))),
            b'S' => {
                let filter = TopicFilter::parse(rest, TopicLimits::default()).expect("the test's filter");
                let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
                out.request(Request::Subscribe {
                    token: Token(1),
                    subscriptions: vec![Ok(Subscription { filter, options })],
                });
            }
            b'P' => {
                let topic = Topic::parse(rest, TopicLimits::default()).expect("the test's topic");
                let message = Message::new(MessageHead::default(), topic, Properties::default(), b"");
                out.request(Request::Publish { token: Token(2), packet_id: 0, message });
            }
            b'?' => self.say("!", out),
            b'U' => {
                self.begun = true;
                self.say("u", out);
            }
            b'T' => {
                self.begun = true;
                self.deadline = now + Duration::from_millis(200);
            }
            _ => return Err(Bad(letter)),
        }
        Ok(())
    }

    fn reply(&mut self, reply: Reply, _: Instant, out: &mut Outbox) -> Result<(), Bad> {
        match reply {
            Reply::Connected(_) => {
                self.connected = true;
                self.say("c", out);
            }
            Reply::Published { outcome, .. } => self.say(&format!("p {outcome:?}"), out),
            Reply::Subscribed { .. } => self.say("s", out),
            _ => self.say("-", out),
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery, _: Instant, out: &mut Outbox) -> Delivered {
        self.say(&format!("M {}", delivery.message.topic()), out);
        Delivered::Sent
    }

    fn timeout(&mut self, _: Instant, out: &mut Outbox) -> Result<(), Bad> {
        self.deadline = Instant::NEVER;
        self.begun = false;
        self.say("late", out);
        Ok(())
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn close(&mut self, reason: &thingway_contract::CloseReason, _: Instant, out: &mut Outbox) {
        self.say(&format!("{reason:?}"), out);
    }

    fn refuse(&mut self, fault: &Bad, _: Instant, out: &mut Outbox) {
        self.say(&fault.to_string(), out);
    }

    fn depart(&mut self) -> Departure {
        self.connected = false;
        Departure { parked: Parked::default(), ..Departure::default() }
    }
}

impl DatagramProtocol for Letters {
    fn node(datagram: &[u8]) -> &[u8] {
        if datagram.first() == Some(&b'@') { datagram.get(..2).unwrap_or_default() } else { &[] }
    }

    fn standing(&self) -> Standing {
        match (self.connected, self.begun) {
            (true, _) => Standing::Established,
            (false, true) => Standing::Unproven,
            (false, false) => Standing::Forgettable,
        }
    }

    fn is_fatal(fault: &Bad) -> bool {
        fault.0 == b'F'
    }
}

struct Site {
    bus: Arc<Bus>,
    cores: Cores,
    handle: ListenerHandle,
}

impl Site {
    fn start(cores: usize, udp: UdpOptions, limits: Limits, rates: PeerRates) -> Self {
        let bus = Arc::new(Bus::new(BusConfig::default(), "auto-"));
        let cores = Cores::start(cores, &bus, Clock::new()).expect("threads");
        let service = Service {
            origin: Arc::new(Origin {
                protocol: Letters::NAME,
                transport: thingway_contract::Transport::Udp,
                listener: "udp.test".into(),
            }),
            bus: bus.clone(),
            access: Arc::default(),
            config: Arc::new(arc_swap::ArcSwap::from_pointee(())),
            cores: cores.clone(),
            clock: cores.clock(),
            faults: Faults::new(Arc::default()),
            rates,
            shared_rates: None,
        };
        let address = Address::One((Ipv4Addr::LOCALHOST, 0).into());
        let mut options = ListenerOptions::new("udp.test", Bind::Udp(address, udp));
        options.limits = limits;
        let handle = start::<Letters>(options, &cores, &Arc::new(service)).expect("a free port");
        Self { bus, cores, handle }
    }

    fn plain() -> Self {
        Self::start(2, UdpOptions::default(), Limits::default(), PeerRates::default())
    }

    async fn peer(&self) -> Talker {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.connect(self.handle.local_address().expect("a UDP address")).await.expect("connected");
        Talker(socket)
    }

    fn counts(&self) -> &crate::net::limit::ListenerCounters {
        &self.handle.shared().counters
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.cores.stop();
    }
}

/// Waits for what follows an answer but may come a moment after it.
async fn eventually(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it holds in time");
}

struct Talker(UdpSocket);

impl Talker {
    async fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).await.expect("sent");
    }

    async fn hear(&self) -> String {
        let mut buffer = [0; 2000];
        let count = timeout(PATIENCE, self.0.recv(&mut buffer)).await.expect("an answer in time").expect("received");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    async fn ask(&self, text: &str) -> String {
        self.send(text).await;
        self.hear().await
    }
}

#[tokio::test]
async fn messages_find_peers_on_all_cores() {
    let site = Site::plain();
    let mut peers = Vec::new();
    for number in 0..20 {
        let peer = site.peer().await;
        assert_eq!(peer.ask(&format!("C peer-{number}")).await, "c");
        assert_eq!(peer.ask("S all").await, "s");
        peers.push(peer);
    }
    assert_eq!(site.bus.gauges().connected, 20);
    peers[0].send("P all").await;
    let mut own = [peers[0].hear().await, peers[0].hear().await];
    own.sort();
    assert_eq!(own, ["M all", "p Accepted"]);
    for peer in &peers[1..] {
        assert_eq!(peer.hear().await, "M all");
    }
}

#[tokio::test]
async fn nodes_behind_one_address_are_apart() {
    let site = Site::plain();
    let forwarder = site.peer().await;
    assert_eq!(forwarder.ask("@aC first").await, "@ac");
    assert_eq!(forwarder.ask("@bC second").await, "@bc");
    assert_eq!(forwarder.ask("@bS to/b").await, "@bs");
    assert_eq!(forwarder.ask("C itself").await, "c");
    assert_eq!(site.bus.gauges().connected, 3);
    forwarder.send("@aP to/b").await;
    let mut heard = [forwarder.hear().await, forwarder.hear().await];
    heard.sort();
    assert_eq!(heard, ["@ap Accepted", "@bM to/b"]);
}

#[tokio::test]
async fn a_question_leaves_nothing_behind() {
    let site = Site::plain();
    let peer = site.peer().await;
    for _ in 0..10 {
        assert_eq!(peer.ask("?").await, "!");
    }
    // An answer is sent before the conversation is forgotten; the next one's answer comes after that.
    assert_eq!(site.counts().accepted.load(Relaxed), 10);
    assert!(site.counts().connections.load(Relaxed) <= 1);
}

#[tokio::test]
async fn errors_do_not_end_a_living_conversation_unless_they_are_fatal() {
    let site = Site::plain();
    let peer = site.peer().await;
    assert_eq!(peer.ask("C stays").await, "c");
    assert_eq!(peer.ask("E").await, "bad letter 69");
    assert_eq!(peer.ask("S t").await, "s");
    assert_eq!(site.bus.gauges().connected, 1);
    assert_eq!(peer.ask("F").await, "bad letter 70");
    assert_eq!(peer.ask("C again").await, "c");
    assert_eq!(site.bus.gauges().sessions, 1, "the first session ended with its conversation");
}

#[tokio::test]
async fn a_second_connect_leaves_the_first_session() {
    let site = Site::plain();
    let peer = site.peer().await;
    assert_eq!(peer.ask("C one").await, "c");
    assert_eq!(peer.ask("C two").await, "c");
    assert_eq!((site.bus.gauges().sessions, site.bus.gauges().connected), (1, 1));
    // Another address takes it over: the old conversation is told and ends.
    let other = site.peer().await;
    assert_eq!(other.ask("C two").await, "c");
    assert_eq!(peer.hear().await, "TakenOver");
    assert_eq!((site.bus.gauges().sessions, site.bus.gauges().connected), (1, 1));
}

#[tokio::test]
async fn a_flood_of_unproven_conversations_ends_its_own_oldest() {
    let udp = UdpOptions { unproven_max: 5, ..UdpOptions::default() };
    let limits = Limits { connections_max: 8, ..Limits::default() };
    let site = Site::start(1, udp, limits, PeerRates::default());
    let living = site.peer().await;
    assert_eq!(living.ask("C living").await, "c");
    let mut flood = Vec::new();
    for _ in 0..20 {
        let peer = site.peer().await;
        assert_eq!(peer.ask("U").await, "u");
        flood.push(peer);
    }
    eventually(|| site.counts().evicted.load(Relaxed) == 15).await;
    assert_eq!(site.counts().connections.load(Relaxed), 6);
    assert_eq!(living.ask("S still/there").await, "s");
    // Full of established ones: nobody new gets in.
    for (number, peer) in flood.iter().take(7).enumerate() {
        assert_eq!(peer.ask(&format!("C peer-{number}")).await, "c");
    }
    let refused = site.counts().refused_full.load(Relaxed);
    flood[10].send("U").await;
    eventually(|| site.counts().refused_full.load(Relaxed) == refused + 1).await;
    assert_eq!(living.ask("S once/more").await, "s");
}

#[tokio::test]
async fn time_passes() {
    let site = Site::plain();
    let peer = site.peer().await;
    assert_eq!(peer.ask("T").await, "late");
}

#[tokio::test]
async fn rates_hold() {
    let rate = Some(Rate { count: 0, per: Duration::from_secs(1), burst: 3 });
    let rates = PeerRates { messages: rate, bytes: None };
    let site = Site::start(1, UdpOptions::default(), Limits::default(), rates);
    let peer = site.peer().await;
    assert_eq!(peer.ask("C a").await, "c");
    for _ in 0..3 {
        assert_eq!(peer.ask("P t").await, "p NoSubscribers");
    }
    assert_eq!(peer.ask("P t").await, "p QuotaExceeded");
    drop(site);

    let site = Site::start(
        1,
        UdpOptions { source_rate: rate, ..UdpOptions::default() },
        Limits::default(),
        PeerRates::default(),
    );
    let (peer, neighbour) = (site.peer().await, site.peer().await);
    for _ in 0..3 {
        assert_eq!(peer.ask("?").await, "!");
    }
    neighbour.send("?").await;
    eventually(|| site.counts().datagrams_refused.load(Relaxed) == 1).await;
}

#[tokio::test]
async fn bytes_have_a_rate_of_their_own() {
    let bytes = Some(Rate { count: 0, per: Duration::from_secs(1), burst: 6 });
    let rates = PeerRates { messages: None, bytes };
    let site = Site::start(1, UdpOptions::default(), Limits::default(), rates);
    let peer = site.peer().await;
    // Three bytes, three of one, and none left.
    assert_eq!(peer.ask("C a").await, "c");
    for _ in 0..3 {
        assert_eq!(peer.ask("?").await, "!");
    }
    peer.send("?").await;
    eventually(|| site.counts().datagrams_refused.load(Relaxed) == 1).await;
    assert_eq!(site.counts().established.load(Relaxed), 1);
}

#[tokio::test]
async fn stopping_tells_the_peers() {
    let site = Site::plain();
    let peer = site.peer().await;
    assert_eq!(peer.ask("C a").await, "c");
    site.handle.stop().await;
    assert_eq!(peer.hear().await, "ShuttingDown");
    assert_eq!((site.bus.gauges().sessions, site.cores.connections()), (0, 0));
}

#[tokio::test]
async fn a_port_is_not_shared_with_another_gateway() {
    let site = Site::plain();
    let address = site.handle.local_address().expect("a UDP address");
    let error = bind(Address::One(address), 2, &UdpOptions::default()).expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
