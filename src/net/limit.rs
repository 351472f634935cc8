//! What a listener lets in: how many connections, how fast, how many handshakes at once; and the counts of what it did.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use thingway_contract::{Instant, PACKET_KINDS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Limits of one listener. What happens at each limit is said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most open connections, handshakes included. One more is closed at once.
    pub connections_max: usize,
    /// Most new connections a second. Above it the listener stops accepting until the next is due: newcomers wait in
    /// the kernel's backlog, so that a reconnect storm is spread out and nobody has to try again.
    pub rate: Option<Rate>,
    /// Most handshakes (PROXY, TLS, WebSocket, QUIC) at the same time. Above it the listener stops accepting until one
    /// is done or times out, and newcomers wait in the backlog; a QUIC newcomer is refused instead.
    pub handshakes_max: usize,
    /// Longest time for all handshakes of a connection together. At its end the connection is closed.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024_000,
            rate: None,
            handshakes_max: 1000,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Long-term average: so many in each span; 0 lets nothing through after the burst.
    pub count: u64,
    /// The span; at least a millisecond.
    pub per: Duration,
    /// Most at once after a quiet time; at least 1.
    pub burst: u64,
}

impl Rate {
    /// So many a second.
    pub const fn per_second(count: u64, burst: u64) -> Self {
        Self { count, per: Duration::from_secs(1), burst }
    }
}

/// A token bucket. It starts full; time is an argument.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// In parts of a token: a millisecond adds as many as the rate has tokens in its span, and a token has as many as the
    /// span has milliseconds. Below zero it is a debt.
    level: i128,
    updated: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        let mut bucket = Self { rate, level: 0, updated: now };
        bucket.level = bucket.full();
        bucket
    }

    /// Takes a token, or says how long to wait until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let token = self.parts(1);
        if self.level >= token {
            self.level -= token;
            return Ok(());
        }
        Err(self.wait(token))
    }

    /// True when nothing has been taken for so long that it holds its burst again.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.full()
    }

    /// Takes so many tokens in any case; those that are not there become a debt. Says how long it takes until the debt
    /// is paid: zero without one.
    pub fn charge(&mut self, count: u64, now: Instant) -> Duration {
        self.refill(now);
        self.level = self.level.saturating_sub(self.parts(count));
        self.wait(0)
    }

    fn refill(&mut self, now: Instant) {
        let gained = (now.since(self.updated).as_millis() as i128).saturating_mul(i128::from(self.rate.count));
        self.level = self.level.saturating_add(gained).min(self.full());
        self.updated = self.updated.max(now);
    }

    /// Time until the bucket holds so many parts; an hour, which will be asked again, when it never does.
    fn wait(&self, parts: i128) -> Duration {
        const NEVER: Duration = Duration::from_secs(3600);
        let missing = parts - self.level;
        match i128::from(self.rate.count) {
            _ if missing <= 0 => Duration::ZERO,
            0 => NEVER,
            per_ms => Duration::from_millis(u64::try_from((missing + per_ms - 1) / per_ms).unwrap_or(u64::MAX)),
        }
    }

    fn full(&self) -> i128 {
        self.parts(self.rate.burst.max(1))
    }

    fn parts(&self, tokens: u64) -> i128 {
        i128::from(tokens).saturating_mul((self.rate.per.as_millis() as i128).max(1))
    }
}

/// What a listener has done since it was made. Counts only grow, except for those called gauges.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections taken from the kernel.
    pub accepted: AtomicU64,
    /// Gauge: connections open now, handshakes included.
    pub connections: AtomicUsize,
    /// Gauge: handshakes going on now.
    pub handshakes: AtomicUsize,
    /// Connections handed to the protocol.
    pub established: AtomicU64,
    /// Connections closed at once because [`Limits::connections_max`] was reached.
    pub refused_full: AtomicU64,
    /// Times that accepting paused because of [`Limits::rate`].
    pub rate_pauses: AtomicU64,
    /// Times that accepting paused (QUIC: a connection was refused) because of [`Limits::handshakes_max`].
    pub handshake_pauses: AtomicU64,
    /// Handshakes ended by [`Limits::handshake_timeout`].
    pub handshake_timeouts: AtomicU64,
    /// PROXY headers that were missing or malformed.
    pub proxy_failures: AtomicU64,
    /// TLS handshakes that failed, QUIC's included.
    pub tls_failures: AtomicU64,
    /// WebSocket upgrades that were refused.
    pub websocket_failures: AtomicU64,
    /// Peers that left, or whose socket failed, during a handshake.
    pub handshake_aborts: AtomicU64,
    /// Connections handed over with the order to answer that the server is busy.
    pub shed: AtomicU64,
    /// Conversations of datagrams that were ended for newer ones, their peers having shown nothing of themselves.
    pub evicted: AtomicU64,
    /// Datagrams that arrived.
    pub datagrams_received: AtomicU64,
    /// Datagrams that were dropped for a rate, for want of a place, or because an answer was still awaited.
    pub datagrams_refused: AtomicU64,
    /// Datagrams that were sent.
    pub datagrams_sent: AtomicU64,
    /// Datagrams that the system did not take.
    pub datagrams_unsent: AtomicU64,
    /// Packets of datagrams by kind, received and sent, as the protocol names the kinds.
    pub packets: [(AtomicU64, AtomicU64); PACKET_KINDS],
    /// Failures of `accept`, such as no free descriptor.
    pub accept_errors: AtomicU64,
    /// Certificates replaced while running.
    pub certificate_reloads: AtomicU64,
    /// Changed certificates that could not be used.
    pub certificate_reload_failures: AtomicU64,
}

/// State of one listener that its accept loops, handshakes and connections share.
#[derive(Debug)]
pub struct ListenerShared {
    /// The listener's name.
    pub name: Arc<str>,
    /// What happened so far.
    pub counters: ListenerCounters,
    /// While set, connections are handed over marked as shed, so that the protocol answers that the server is busy.
    pub shed: AtomicBool,
    pub(super) limits: Limits,
    stop: watch::Sender<bool>,
    bucket: Option<Mutex<TokenBucket>>,
    handshakes: Arc<Semaphore>,
    started: tokio::time::Instant,
}

impl ListenerShared {
    pub(super) fn new(name: Arc<str>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            name,
            counters: ListenerCounters::default(),
            shed: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            bucket: limits.rate.map(|rate| Mutex::new(TokenBucket::new(rate, Instant::ZERO))),
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max.clamp(1, Semaphore::MAX_PERMITS))),
            started: tokio::time::Instant::now(),
            limits,
        })
    }

    /// Counts a connection in; `None` when the listener is full.
    pub(super) fn open(self: &Arc<Self>) -> Option<Opened> {
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let before = self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let opened = Opened { shared: self.clone(), shed: false };
        if before >= self.limits.connections_max {
            self.counters.refused_full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(opened)
    }

    /// Waits until the connection rate allows one more.
    pub(super) async fn pass_rate(&self) {
        let Some(bucket) = &self.bucket else { return };
        loop {
            let taken = bucket.lock().take(self.now());
            let Err(wait) = taken else { return };
            self.counters.rate_pauses.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
    }

    /// True when the connection rate allows one more now.
    pub(super) fn try_rate(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.lock().take(self.now()).is_ok())
    }

    /// Waits for a free place for a handshake.
    pub(super) async fn handshake(self: &Arc<Self>) -> Handshake {
        let permit = match self.handshakes.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.counters.handshake_pauses.fetch_add(1, Ordering::Relaxed);
                self.handshakes.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        self.counters.handshakes.fetch_add(1, Ordering::Relaxed);
        Handshake { shared: self.clone(), _permit: permit }
    }

    /// A place for a handshake if there is one now.
    pub(super) fn try_handshake(self: &Arc<Self>) -> Option<Handshake> {
        let Ok(permit) = self.handshakes.clone().try_acquire_owned() else {
            self.counters.handshake_pauses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.counters.handshakes.fetch_add(1, Ordering::Relaxed);
        Some(Handshake { shared: self.clone(), _permit: permit })
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Resolves when the listener is told to stop. The listener counts as stopped when all these are dropped.
    pub(super) fn stopping(&self) -> Stopping {
        Stopping(self.stop.subscribe())
    }

    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }
}

/// Holds the stop of a listener open until it is dropped.
#[derive(Debug)]
pub(super) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    pub(super) async fn wait(&mut self) {
        // An error means that the listener itself is gone, which is a stop as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A connection's place in its listener's counts, until it is dropped.
#[derive(Debug)]
pub struct Opened {
    shared: Arc<ListenerShared>,
    shed: bool,
}

impl Opened {
    /// True when the gateway has too much to do: the protocol shall tell the peer that the server is busy.
    pub fn shed(&self) -> bool {
        self.shed
    }

    /// The listener that let the connection in.
    pub fn listener(&self) -> &Arc<ListenerShared> {
        &self.shared
    }

    /// Notes that the handshakes are over and the connection goes to the protocol.
    pub(super) fn establish(mut self) -> Self {
        self.shared.counters.established.fetch_add(1, Ordering::Relaxed);
        if self.shared.shed.load(Ordering::Relaxed) {
            self.shared.counters.shed.fetch_add(1, Ordering::Relaxed);
            self.shed = true;
        }
        self
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shared.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handshake's place in its listener's counts, until it is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    shared: Arc<ListenerShared>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.shared.counters.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn bucket_gives_burst_then_rate() {
        let mut bucket = TokenBucket::new(Rate::per_second(10, 3), at(0));
        assert_eq!([(); 4].map(|()| bucket.take(at(0)).is_ok()), [true, true, true, false]);
        assert_eq!(bucket.take(at(40)), Err(Duration::from_millis(60)));
        assert_eq!(bucket.take(at(100)), Ok(()));
        assert_eq!(bucket.take(at(100)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn bucket_never_holds_more_than_its_burst() {
        let mut bucket = TokenBucket::new(Rate::per_second(1000, 2), at(0));
        let taken = (0..10).filter(|_| bucket.take(at(1_000_000)).is_ok()).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn bucket_survives_a_clock_that_steps_back_and_rate_zero() {
        let mut bucket = TokenBucket::new(Rate::per_second(0, 0), at(500));
        assert_eq!(bucket.take(at(100)), Ok(()));
        assert!(bucket.take(at(u64::MAX / 2)).is_err());
    }

    #[test]
    fn bucket_counts_over_the_span_of_its_rate() {
        let rate = Rate { count: 5, per: Duration::from_secs(10), burst: 1 };
        let mut bucket = TokenBucket::new(rate, at(0));
        assert_eq!(bucket.take(at(0)), Ok(()));
        assert_eq!(bucket.take(at(0)), Err(Duration::from_secs(2)));
        assert_eq!(bucket.take(at(2000)), Ok(()));
    }

    #[test]
    fn bucket_goes_into_debt_and_pays_it_back() {
        let mut bucket = TokenBucket::new(Rate::per_second(10, 5), at(0));
        assert_eq!(bucket.charge(5, at(0)), Duration::ZERO);
        assert_eq!(bucket.charge(20, at(0)), Duration::from_secs(2));
        assert_eq!(bucket.take(at(2000)), Err(Duration::from_millis(100)), "the debt is paid and no more");
        assert_eq!(bucket.charge(1, at(2100)), Duration::ZERO);
        assert!(bucket.charge(u64::MAX, at(2100)) > Duration::from_secs(1 << 40), "no overflow");
    }

    #[test]
    fn places_are_given_back() {
        let shared = ListenerShared::new("x".into(), Limits { connections_max: 1, ..Limits::default() });
        let first = shared.open();
        assert!(first.is_some());
        assert!(shared.open().is_none());
        drop(first);
        assert!(shared.open().is_some());
        assert_eq!(shared.counters.refused_full.load(Ordering::Relaxed), 1);
        assert_eq!(shared.counters.connections.load(Ordering::Relaxed), 0);
    }
}
