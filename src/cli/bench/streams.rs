//! Connections that rest, or come and go, over TLS, WebSocket, QUIC and Unix sockets: a task each, with the transports of `pub` and `sub`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    dialect::{Dialect, Event, Identity, Mqtt, Next, Step},
    plan::Plan,
    shared::{Phase, Shared},
    worker::Tally,
};
use crate::cli::client::{ClientError, Connector, Wire, endpoint};

/// Time between looks at the phase of the run.
const TICK: Duration = Duration::from_millis(10);
/// QUIC connections that share a socket.
const CONNECTIONS_PER_ENDPOINT: usize = 250;
/// Sockets for QUIC at most.
const ENDPOINTS_MAX: usize = 64;
/// Bytes of what a server says in answer, at most.
const ANSWER_BYTES_MAX: usize = 4096;

/// One thread's part of a run.
pub struct Streams {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub thread: usize,
    pub dialect: Mqtt,
    pub connector: Arc<Connector>,
    /// To a server of QUIC.
    pub quic: Option<SocketAddr>,
    /// How many connections come and go at a time; 0 for connections that rest.
    pub storm: usize,
}

struct Crowd {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    dialect: Mqtt,
    connector: Arc<Connector>,
    endpoints: Vec<quinn::Endpoint>,
    thread: usize,
    settled: AtomicU64,
    serial: AtomicU64,
    tally: Mutex<Tally>,
}

impl Streams {
    /// Works until it is told to stop.
    pub fn run(self) -> Result<Tally, ClientError> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.work())
    }

    async fn work(self) -> Result<Tally, ClientError> {
        let Self { plan, shared, thread, dialect, connector, quic, storm } = self;
        let members = plan.share(thread).members;
        let count = if storm > 0 { storm } else { members.len() };
        let mut endpoints = Vec::new();
        if let Some(address) = quic {
            let wanted = count.div_ceil(CONNECTIONS_PER_ENDPOINT).clamp(1, ENDPOINTS_MAX);
            for number in 0..wanted {
                endpoints.push(endpoint(address, plan.sources.of(number))?);
            }
        }
        let crowd = Arc::new(Crowd {
            plan: Arc::clone(&plan),
            shared: Arc::clone(&shared),
            dialect,
            connector,
            endpoints,
            thread,
            settled: AtomicU64::new(0),
            serial: AtomicU64::new(0),
            tally: Mutex::new(Tally::default()),
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if storm > 0 {
            for _ in 0..storm {
                tasks.spawn(Arc::clone(&crowd).come_and_go());
            }
        } else {
            let window = Arc::new(Semaphore::new(plan.connect_window.div_ceil(plan.threads)));
            let begun = Instant::now();
            for (at, member) in members.into_iter().enumerate() {
                let due = plan
                    .connect_rate
                    .map(|rate| begun + Duration::from_secs_f64(at as f64 * plan.threads as f64 / rate));
                tasks.spawn(Arc::clone(&crowd).rest(
                    member.identity,
                    member.number,
                    due,
                    Arc::clone(&window),
                    stopped.clone(),
                ));
            }
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = if storm > 0 { Phase::Drain } else { Phase::Stop };
        while shared.phase() < end {
            tick.tick().await;
            let is_settled = crowd.settled.load(Ordering::Acquire) == count as u64;
            shared.counters[thread].is_settled.store(is_settled, Ordering::Release);
        }
        stop.send_replace(true);
        if storm > 0 {
            tasks.abort_all();
        }
        while tasks.join_next().await.is_some() {}
        for endpoint in &crowd.endpoints {
            endpoint.close(0u32.into(), b"");
            endpoint.wait_idle().await;
        }
        let tally = std::mem::take(&mut *crowd.tally.lock());
        Ok(tally)
    }
}

impl Crowd {
    /// Connects and is introduced.
    async fn open(&self, who: &Identity, number: usize) -> Result<Box<dyn Wire>, ClientError> {
        let source: Option<IpAddr> = self.plan.sources.of(number);
        let connecting = async {
            let mut wire = match self.endpoints.get(number % self.endpoints.len().max(1)) {
                Some(endpoint) => self.connector.connect_from(endpoint).await?,
                None => self.connector.connect(source).await?,
            };
            let mut request = Vec::new();
            for step in 0.. {
                request.clear();
                if !self.dialect.introduce(Step::first(step), who, &self.plan.manners, &mut request)? {
                    break;
                }
                wire.write_all(&request).await?;
                wire.flush().await?;
                self.granted(&mut wire).await?;
            }
            Ok(wire)
        };
        timeout(self.plan.connect_timeout, connecting).await.map_err(|_| ClientError::Timeout)?
    }

    async fn granted(&self, wire: &mut Box<dyn Wire>) -> Result<(), ClientError> {
        let mut answer = Vec::new();
        loop {
            match self.dialect.next(false, &answer) {
                Next::Frame(Event::Granted { .. }, _) => return Ok(()),
                Next::Frame(Event::Refused(code), _) => return Err(ClientError::Refused(format!("code {code:#04x}"))),
                Next::More if answer.len() < ANSWER_BYTES_MAX => {}
                _ => return Err(ClientError::Unexpected("instead of an acknowledgement".into())),
            }
            if wire.read_buf(&mut answer).await? == 0 {
                return Err(ClientError::Closed);
            }
        }
    }

    /// One connection that rests until the end, with its signs of life.
    async fn rest(
        self: Arc<Self>,
        who: Identity,
        number: usize,
        due: Option<Instant>,
        window: Arc<Semaphore>,
        mut stopped: watch::Receiver<bool>,
    ) {
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let counters = &self.shared.counters[self.thread];
        let opened = {
            // The semaphore is never closed.
            let _place = window.acquire().await;
            let begun_ns = self.shared.clock.now_ns();
            let opened = self.open(&who, number).await;
            let taken_ns = self.shared.clock.now_ns() - begun_ns;
            let mut tally = self.tally.lock();
            match &opened {
                Ok(_) => {
                    counters.ready.fetch_add(1, Ordering::Relaxed);
                    tally.latency_ns.saturating_record(taken_ns);
                }
                Err(error) => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    tally.failed += 1;
                    tally.first_failure.get_or_insert_with(|| format!("{}: {error}", who.client_id));
                }
            }
            opened
        };
        self.settled.fetch_add(1, Ordering::AcqRel);
        let Ok(mut wire) = opened else { return };
        if let Err(error) = self.hold(&mut wire, &mut stopped).await {
            counters.broken.fetch_add(1, Ordering::Relaxed);
            let mut tally = self.tally.lock();
            tally.broken += 1;
            tally.first_failure.get_or_insert_with(|| format!("{}: {error}", who.client_id));
        }
    }

    async fn hold(&self, wire: &mut Box<dyn Wire>, stopped: &mut watch::Receiver<bool>) -> io::Result<()> {
        let period = Duration::from_secs(self.plan.manners.keep_alive_secs.into()) * 2 / 3;
        let mut buffer = [0; 64];
        let mut ping_at = Instant::now() + period;
        let mut frame = Vec::new();
        loop {
            tokio::select! {
                // The other end lives as long as this one.
                _ = stopped.changed() => {
                    frame.clear();
                    self.dialect.goodbye(&mut frame);
                    wire.write_all(&frame).await?;
                    return wire.flush().await;
                }
                read = wire.read(&mut buffer) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                () = sleep_until(ping_at), if !period.is_zero() => {
                    ping_at += period;
                    frame.clear();
                    self.dialect.ping(&mut frame);
                    wire.write_all(&frame).await?;
                    wire.flush().await?;
                }
            }
        }
    }

    /// One connection after the other.
    async fn come_and_go(self: Arc<Self>) {
        let counters = &self.shared.counters[self.thread];
        loop {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed) as usize * self.plan.threads + self.thread;
            let who = Identity { client_id: format!("{}s{serial}", self.plan.prefix), filter: None, topic: None };
            let begun_ns = self.shared.clock.now_ns();
            let cycle = async {
                let mut wire = self.open(&who, serial).await?;
                let taken_ns = self.shared.clock.now_ns() - begun_ns;
                let mut goodbye = Vec::new();
                self.dialect.goodbye(&mut goodbye);
                wire.write_all(&goodbye).await?;
                wire.flush().await?;
                Ok::<_, ClientError>(taken_ns)
            };
            let result = cycle.await;
            let mut tally = self.tally.lock();
            match result {
                Ok(taken_ns) => {
                    tally.cycles += 1;
                    counters.received.store(tally.cycles, Ordering::Relaxed);
                    if self.shared.phase() == Phase::Measure {
                        tally.latency_ns.saturating_record(taken_ns);
                    }
                }
                Err(error) => {
                    tally.failed += 1;
                    tally.first_failure.get_or_insert_with(|| format!("{}: {error}", who.client_id));
                }
            }
        }
    }
}
