use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// What is counted, always upwards, by each lane for itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// All counters, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The dotted name, as EMQX has it where the meaning is the same.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

counters! {
    /// Bytes read from peers, after decryption and unframing.
    BytesReceived => "bytes.received",
    /// Bytes written to peers, before framing and encryption.
    BytesSent => "bytes.sent",
    /// Publications received with QoS 0.
    MessagesQos0Received => "messages.qos0.received",
    /// Publications received with QoS 1.
    MessagesQos1Received => "messages.qos1.received",
    /// Publications received with QoS 2.
    MessagesQos2Received => "messages.qos2.received",
    /// Deliveries written with QoS 0.
    MessagesQos0Sent => "messages.qos0.sent",
    /// Deliveries written with QoS 1.
    MessagesQos1Sent => "messages.qos1.sent",
    /// Deliveries written with QoS 2.
    MessagesQos2Sent => "messages.qos2.sent",
    /// Payload and topic bytes of received publications.
    PublishBytesReceived => "publish.bytes.received",
    /// Payload and topic bytes of written deliveries.
    PublishBytesSent => "publish.bytes.sent",
    /// Publications that nobody subscribed to.
    DroppedNoSubscribers => "messages.dropped.no_subscribers",
    /// Publications refused because a ceiling was reached.
    DroppedQuota => "messages.dropped.quota_exceeded",
    /// Deliveries dropped because the subscriber's queue was full.
    DeliveryQueueFull => "delivery.dropped.queue_full",
    /// QoS 0 deliveries dropped because the subscriber was offline or its queue full.
    DeliveryQos0 => "delivery.dropped.qos0_msg",
    /// Deliveries dropped because they expired.
    DeliveryExpired => "delivery.dropped.expired",
    /// Deliveries dropped because the peer does not take packets of that size.
    DeliveryTooLarge => "delivery.dropped.too_large",
    /// Deliveries dropped because the peer cannot be told their topic name.
    DeliveryTopicUnknown => "delivery.dropped.topic_unknown",
    /// Came by a subscription that was ended because rules changed.
    DeliveryRevoked => "delivery.dropped.revoked",
    /// Publications put off with `$delayed`.
    MessagesDelayed => "messages.delayed",
    /// Retained messages stored or replaced.
    MessagesRetained => "messages.retained",
    /// Messages that were delivered but not retained, because a limit on retained messages was reached.
    RetainRefused => "messages.retained.refused",
    /// Subscriptions that were not sent their retained messages, because too many of their session waited for theirs.
    RetainNotSent => "subscriptions.retained.not_sent",
    /// Sessions begun.
    SessionCreated => "session.created",
    /// Sessions taken up again.
    SessionResumed => "session.resumed",
    /// Sessions taken over from a living connection.
    SessionTakenOver => "session.takenover",
    /// Sessions discarded by a clean start.
    SessionDiscarded => "session.discarded",
    /// Sessions ended.
    SessionTerminated => "session.terminated",
    /// Sessions ended by their expiry interval.
    SessionExpired => "session.expired",
    /// Conversations that reached a session.
    ClientConnected => "client.connected",
    /// Conversations that had a session and ended.
    ClientDisconnected => "client.disconnected",
    /// Conversations that were refused a session.
    ClientRefused => "client.refused",
    /// Connections refused because of a ban.
    ClientBanned => "client.banned",
    /// Connections refused because their user or namespace had as many as it may.
    ClientQuota => "client.quota_exceeded",
    /// Connections refused because of what they showed, or did not show.
    AuthenticationFailure => "authentication.failure",
    /// Connections refused because wrong credentials had come too often.
    AuthenticationBackoff => "authentication.backoff",
    /// Connections refused because too many others were being looked into.
    AuthenticationBusy => "authentication.busy",
    /// Connections refused because who was asked about them gave no answer.
    AuthenticationUnavailable => "authentication.unavailable",
    /// Publications, subscriptions and readings that were denied.
    AuthorizationDeny => "authorization.deny",
    /// Successful subscriptions.
    ClientSubscribe => "client.subscribe",
    /// Successful unsubscriptions.
    ClientUnsubscribe => "client.unsubscribe",
    /// Wills published.
    WillsPublished => "wills.published",
    /// Faults: bytes that are no packet.
    FaultMalformed => "faults.malformed",
    /// Faults: a packet in the wrong place.
    FaultProtocolError => "faults.protocol_error",
    /// Faults: a packet over the agreed size.
    FaultTooLarge => "faults.too_large",
    /// Faults: a limit exceeded.
    FaultLimit => "faults.limit_exceeded",
    /// Faults: silence.
    FaultTimeout => "faults.timeout",
    /// Faults: anything else.
    FaultOther => "faults.other",
    /// Times that reading from a peer was put off because a subscriber of its messages was behind.
    Backpressure => "flow.backpressure",
    /// Connections that went to the core which their deliveries come from.
    ConnectionsMoved => "connections.moved",
    /// Times that reading from a peer was put off because it exceeded its rate.
    RateLimited => "flow.rate_limited",
    /// Shared-subscription messages that went to another member because the first left without acknowledging.
    SharedRedispatched => "messages.shared.redispatched",
}

/// Kinds of packet that one protocol may have.
pub const PACKET_KINDS: usize = thingway_contract::PACKET_KINDS;

/// One lane's counters. Only its own thread writes, so an increment is a load and a store.
#[derive(Debug)]
pub struct Counters {
    values: Vec<AtomicU64>,
    packets: Vec<[AtomicU64; 2]>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            values: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            packets: (0..PACKET_KINDS).map(|_| Default::default()).collect(),
        }
    }
}

impl Counters {
    /// Adds to a counter.
    pub fn add(&self, counter: Counter, count: u64) {
        bump(&self.values[counter as usize], count);
    }

    /// Adds packets of a kind.
    pub fn add_packets(&self, kind: usize, received: u64, sent: u64) {
        let [r, s] = &self.packets[kind % PACKET_KINDS];
        bump(r, received);
        bump(s, sent);
    }
}

fn bump(value: &AtomicU64, count: u64) {
    value.store(value.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// All lanes' counters, added up when somebody asks.
#[derive(Debug, Default)]
pub struct CounterSet {
    lanes: Mutex<Vec<Arc<Counters>>>,
}

impl CounterSet {
    /// Counters for one more lane.
    pub fn add_lane(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.lanes.lock().push(counters.clone());
        counters
    }

    /// The sum over all lanes.
    pub fn total(&self, counter: Counter) -> u64 {
        self.lanes.lock().iter().map(|lane| lane.values[counter as usize].load(Ordering::Relaxed)).sum()
    }

    /// Packets of a kind over all lanes: received and sent.
    pub fn packets(&self, kind: usize) -> (u64, u64) {
        self.lanes.lock().iter().fold((0, 0), |(received, sent), lane| {
            let [r, s] = &lane.packets[kind % PACKET_KINDS];
            (received + r.load(Ordering::Relaxed), sent + s.load(Ordering::Relaxed))
        })
    }
}
