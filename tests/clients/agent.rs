//! The driver's side of an agent: commands out, reports in, and waiting for them with a deadline.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::wire::{
    Command, Connect, Endpoint, Outcome, Properties, Publish, Received, Report, Subscribe, Transport, Will,
};

/// The longest that any single step may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs commands for connections that it names; reports what happens.
pub trait Backend: Send + Sync {
    /// Starts a command. Its end is reported with `req`.
    fn submit(&self, req: u64, conn: &str, command: Command);
}

/// Where a backend's reports go.
#[derive(Default)]
pub struct Reports {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    done: HashMap<u64, Outcome>,
    received: HashMap<String, VecDeque<Received>>,
    closed: HashMap<String, Option<u8>>,
    dead: Option<String>,
}

impl Reports {
    pub fn add(&self, report: Report) {
        let mut state = self.state.lock();
        match report {
            Report::Done { req, outcome } => _ = state.done.insert(req, outcome),
            Report::Message { conn, message } => state.received.entry(conn).or_default().push_back(message),
            Report::Closed { conn, code } => _ = state.closed.insert(conn, code),
        }
        self.changed.notify_all();
    }

    /// Nothing more will be reported: fails everybody who waits.
    pub fn die(&self, cause: String) {
        self.state.lock().dead.get_or_insert(cause);
        self.changed.notify_all();
    }

    fn wait<T>(&self, what: &str, patience: Duration, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            if let Some(value) = ready(&mut state) {
                return value;
            }
            if let Some(cause) = &state.dead {
                panic!("{what}: the agent ended: {cause}");
            }
            let timed_out = self.changed.wait_until(&mut state, deadline).timed_out();
            assert!(!timed_out, "{what}: nothing after {patience:?}");
        }
    }
}

/// A client library with any number of connections.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    backend: Box<dyn Backend>,
    reports: Arc<Reports>,
    next: AtomicU64,
}

impl Agent {
    pub fn new(name: &'static str, reports: Arc<Reports>, backend: Box<dyn Backend>) -> Self {
        Self { inner: Arc::new(Inner { name, backend, reports, next: AtomicU64::new(1) }) }
    }

    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Connects, and panics with the cause when that fails.
    pub fn connect(&self, endpoint: &Endpoint, options: Options) -> Client {
        let (client, outcome) = self.try_connect(endpoint, options);
        assert_eq!(outcome.error, None, "{}: connect", client.conn);
        client
    }

    pub fn try_connect(&self, endpoint: &Endpoint, options: Options) -> (Client, Outcome) {
        let (client, pending) = self.start_connect(endpoint, options);
        let outcome = pending.wait();
        (Client { outcome: outcome.clone(), ..client }, outcome)
    }

    pub fn start_connect(&self, endpoint: &Endpoint, options: Options) -> (Client, Pending) {
        let Options { version, .. } = options;
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let conn = format!("{}/{:?}/v{version}/{}#{number}", self.inner.name, endpoint.transport, options.client_id);
        let client = Client {
            agent: self.clone(),
            conn,
            transport: endpoint.transport,
            version,
            client_id: options.client_id.clone(),
            outcome: Outcome::default(),
        };
        let pending = client.start(Command::Connect(options.into_command(endpoint.clone())));
        (client, pending)
    }
}

/// How to connect.
#[derive(Clone)]
pub struct Options {
    pub version: u8,
    pub client_id: String,
    pub clean: bool,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub topic_alias_maximum: Option<u16>,
    pub auto_topic_alias: bool,
    pub will: Option<Will>,
}

impl Options {
    pub fn new(version: u8, client_id: impl Into<String>) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            session_expiry: None,
            receive_maximum: None,
            topic_alias_maximum: None,
            auto_topic_alias: false,
            will: None,
        }
    }

    /// A session that outlives its connection.
    pub fn persistent(version: u8, client_id: impl Into<String>) -> Self {
        Self { clean: false, session_expiry: (version == 5).then_some(3600), ..Self::new(version, client_id) }
    }

    fn into_command(self, endpoint: Endpoint) -> Connect {
        Connect {
            endpoint,
            version: self.version,
            client_id: self.client_id,
            clean: self.clean,
            keep_alive: 60,
            username: None,
            password: None,
            session_expiry: self.session_expiry,
            receive_maximum: self.receive_maximum,
            topic_alias_maximum: self.topic_alias_maximum,
            auto_topic_alias: self.auto_topic_alias,
            will: self.will,
        }
    }
}

/// One connection.
pub struct Client {
    agent: Agent,
    conn: String,
    pub transport: Transport,
    pub version: u8,
    pub client_id: String,
    /// What the CONNACK said.
    pub outcome: Outcome,
}

impl Client {
    /// Who this is, for messages of failed assertions.
    pub fn name(&self) -> &str {
        &self.conn
    }

    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Subscribes and returns the granted code.
    pub fn subscribe(&self, filter: &str, qos: u8) -> u8 {
        self.subscribe_with(subscription(filter, qos))
    }

    pub fn subscribe_with(&self, subscribe: Subscribe) -> u8 {
        let filter = subscribe.filter.clone();
        let outcome = self.finish(Command::Subscribe(subscribe));
        assert_eq!(outcome.codes.len(), 1, "{}: codes for {filter}: {outcome:?}", self.conn);
        outcome.codes[0]
    }

    pub fn start_subscribe(&self, filter: &str, qos: u8) -> Pending {
        self.start(Command::Subscribe(subscription(filter, qos)))
    }

    pub fn unsubscribe(&self, filter: &str) {
        self.finish(Command::Unsubscribe { filter: filter.into() });
    }

    /// Publishes and waits for the last packet of the handshake.
    pub fn publish(&self, publish: Publish) {
        self.finish(Command::Publish(publish));
    }

    pub fn start_publish(&self, publish: Publish) -> Pending {
        self.start(Command::Publish(publish))
    }

    pub fn disconnect(&self) {
        self.finish(Command::Disconnect);
    }

    /// Ends the connection without DISCONNECT.
    pub fn kill(&self) {
        self.finish(Command::Kill);
    }

    /// The next message.
    pub fn next(&self) -> Received {
        self.agent.inner.reports.wait(&format!("{}: next message", self.conn), PATIENCE, |state| {
            state.received.get_mut(&self.conn)?.pop_front()
        })
    }

    /// The next `count` messages, or fewer when no more come.
    pub fn receive(&self, count: usize) -> Vec<Received> {
        let reports = &self.agent.inner.reports;
        let deadline = Instant::now() + PATIENCE;
        let mut state = reports.state.lock();
        let enough = |state: &State| state.received.get(&self.conn).is_some_and(|received| received.len() >= count);
        while !enough(&state) && state.dead.is_none() {
            if reports.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let received = state.received.entry(self.conn.clone()).or_default();
        received.drain(..count.min(received.len())).collect()
    }

    /// All messages up to the one with this topic, which is left out.
    pub fn received_before(&self, fence: &str) -> Vec<Received> {
        self.agent.inner.reports.wait(&format!("{}: {fence}", self.conn), PATIENCE, |state| {
            let received = state.received.get_mut(&self.conn)?;
            let index = received.iter().position(|message| message.topic == fence)?;
            let before = received.drain(..index).collect();
            received.pop_front();
            Some(before)
        })
    }

    /// Waits for the end of the connection: the code of the gateway's DISCONNECT, if it sent one.
    pub fn closed(&self) -> Option<u8> {
        self.agent
            .inner
            .reports
            .wait(&format!("{}: close", self.conn), PATIENCE, |state| state.closed.get(&self.conn).copied())
    }

    fn finish(&self, command: Command) -> Outcome {
        let what = format!("{}: {command:.120?}", self.conn);
        let outcome = self.start(command).wait();
        assert_eq!(outcome.error, None, "{what}");
        outcome
    }

    fn start(&self, command: Command) -> Pending {
        let inner = &self.agent.inner;
        let req = inner.next.fetch_add(1, Ordering::Relaxed);
        inner.backend.submit(req, &self.conn, command);
        Pending { agent: self.agent.clone(), conn: self.conn.clone(), req }
    }
}

/// A command on its way.
#[must_use]
pub struct Pending {
    agent: Agent,
    conn: String,
    req: u64,
}

impl Pending {
    pub fn wait(self) -> Outcome {
        let what = format!("{}: answer to command {}", self.conn, self.req);
        self.agent.inner.reports.wait(&what, PATIENCE, |state| state.done.remove(&self.req))
    }

    /// Waits, and panics with the cause when the command failed.
    pub fn succeed(self) -> Outcome {
        let conn = self.conn.clone();
        let outcome = self.wait();
        assert_eq!(outcome.error, None, "{conn}");
        outcome
    }
}

pub fn subscription(filter: &str, qos: u8) -> Subscribe {
    Subscribe {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        subscription_id: None,
    }
}

pub fn publication(topic: impl Into<String>, payload: impl Into<Vec<u8>>, qos: u8) -> Publish {
    Publish { topic: topic.into(), payload: payload.into(), qos, retain: false, properties: Properties::default() }
}
