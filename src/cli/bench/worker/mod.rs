//! One thread of a load generator: all its sockets in one epoll set, frames that are built beforehand, one read and one write for a socket and round.
//!
//! | module | what |
//! | --- | --- |
//! | `mod` | the loop, writing |
//! | `connecting` | connections and introductions, with repetition where datagrams get lost |
//! | `reading` | what came, and what it means |
//! | `sending` | who may send, and when |
//! | `flow`, `arrivals` | what a publisher has under way, what a subscriber has seen |

mod arrivals;
mod connecting;
mod flow;
mod reading;
mod sending;

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, atomic::Ordering},
};

use hdrhistogram::Histogram;
use socket2::Socket;

use self::{arrivals::Arrivals, flow::Flow};
use super::{
    dialect::{Dialect, Step},
    plan::{Kind, Member, Plan, Role, Share},
    poller::{Interest, Poller},
    shared::{Phase, Shared},
    socket::is_nothing,
    stamp::{Template, payload},
};
use crate::cli::client::ClientError;

/// Sockets that a round looks at before answers and new messages go out.
const EVENTS_MAX: usize = 1024;
/// Bytes of a read.
const READ_BYTES: usize = 256 * 1024;
/// Time between looks at what is late.
const TICK_NS: u64 = 100_000_000;
/// The longest wait of a round: a change of phase is noticed so soon.
const WAIT_MAX_NS: u64 = 10_000_000;
/// The same while the run ends.
const DRAIN_WAIT_NS: u64 = 1_000_000;
/// When nothing has come for so long although something should, what is under way is given up so that the run goes on.
const STALL_NS: u64 = 2_000_000_000;

/// What a thread has counted in a run.
#[derive(Debug)]
pub struct Tally {
    pub sent: u64,
    pub expected: u64,
    pub received: u64,
    pub acknowledged: u64,
    pub rejected: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Of streams whose publisher is elsewhere: what is missing between the first and the last message.
    pub missing: u64,
    /// Messages that no generator sent.
    pub foreign: u64,
    pub stalls: u64,
    pub repeated: u64,
    pub failed: u64,
    pub broken: u64,
    pub first_failure: Option<String>,
    pub reads: u64,
    /// Connections that came and went, where that is what is measured.
    pub cycles: u64,
    /// Of messages, or of connections where there are no messages.
    pub latency_ns: Histogram<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Connecting,
    Introducing,
    Ready,
    Gone,
}

struct Client {
    socket: Option<Socket>,
    member: Member,
    stage: Stage,
    /// The request of the introduction that waits for its answer.
    step: Step,
    begun_ns: u64,
    asked_ns: u64,
    /// Of a stream: the beginning of a frame that is not all there.
    carry: Vec<u8>,
    /// What is to be written. Datagrams stand behind their lengths, of two bytes.
    out: Vec<u8>,
    /// The socket takes no more for now.
    is_full: bool,
    is_touched: bool,
}

/// One thread's part of a run.
pub struct Worker<D> {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    /// Which of the threads this is.
    thread: usize,
    dialect: D,
    poller: Poller,
    clients: Vec<Client>,
    /// Index of the first publisher; all behind it are publishers.
    publishers_at: usize,
    first_publisher: usize,
    flows: Vec<Flow>,
    templates: Vec<Template>,
    arrivals: Arrivals,
    /// Clients that were begun, oldest first, until they are seen to be through.
    begun: VecDeque<usize>,
    opened: usize,
    under_way: usize,
    ready: usize,
    /// Publishers that may have room for messages.
    eager: Vec<usize>,
    spare: Vec<usize>,
    touched: Vec<usize>,
    full: usize,
    paced: u64,
    pinged: u64,
    begun_ns: u64,
    ticked_ns: u64,
    progress: (u64, u64),
    forgiven: u64,
    unacknowledged: u64,
    buffer: Vec<u8>,
    is_recording: bool,
    /// Each message is noted until it is acknowledged.
    is_noted: bool,
    tally: Tally,
}

/// A histogram of nanoseconds up to two minutes, in three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are sound")
}

impl<D: Dialect> Worker<D> {
    pub fn new(dialect: D, plan: Arc<Plan>, shared: Arc<Shared>, thread: usize) -> Result<Self, ClientError> {
        let Share { members, first_publisher, allowances } = plan.share(thread);
        let bytes = payload(plan.payload_bytes);
        let mut templates = Vec::with_capacity(allowances.len());
        for member in &members {
            if let Some(topic) = &member.identity.topic {
                let number = plan.publisher_number(first_publisher + templates.len());
                templates.push(dialect.template(topic, plan.qos(), &bytes, number)?);
            }
        }
        let subscribers = members.iter().filter(|member| matches!(member.role, Role::Subscriber(_))).count();
        let first_number = plan.publisher_number(first_publisher);
        let (begun_ns, id_before) = (shared.clock.now_ns(), dialect.id_before());
        let publishers_at = members.len() - allowances.len();
        Ok(Self {
            dialect,
            poller: Poller::new(EVENTS_MAX)?,
            publishers_at,
            clients: members.into_iter().map(Client::new).collect(),
            first_publisher,
            flows: allowances.into_iter().map(|allowance| Flow::new(allowance, id_before)).collect(),
            templates,
            arrivals: Arrivals::new(subscribers, plan.subscribers, plan.publishers, first_number),
            begun: VecDeque::new(),
            opened: 0,
            under_way: 0,
            ready: 0,
            eager: Vec::new(),
            spare: Vec::new(),
            touched: Vec::new(),
            full: 0,
            paced: 0,
            pinged: 0,
            begun_ns,
            ticked_ns: begun_ns,
            progress: (0, begun_ns),
            forgiven: 0,
            unacknowledged: 0,
            buffer: vec![0; READ_BYTES + 2 * plan.payload_bytes],
            is_recording: false,
            is_noted: D::DATAGRAMS || plan.kind == Kind::Pub,
            tally: Tally::default(),
            plan,
            shared,
            thread,
        })
    }

    /// Works until it is told to stop.
    pub fn run(mut self) -> Result<Tally, ClientError> {
        // The kernel shall not round waits up to its usual 50 microseconds. Where it may not be asked, latencies are that much worse.
        let _ = nix::sys::prctl::set_timerslack(1_000);
        (0..self.flows.len()).for_each(|publisher| self.mark(publisher));
        loop {
            let phase = self.shared.phase();
            if phase == Phase::Stop {
                break;
            }
            self.is_recording = phase == Phase::Measure || self.plan.kind == Kind::Conn;
            let now = self.shared.clock.now_ns();
            let mut wait_ns = self.connect(now)?;
            if matches!(phase, Phase::WarmUp | Phase::Measure) {
                wait_ns = wait_ns.min(self.send(now)?);
            }
            self.flush_touched()?;
            if now.saturating_sub(self.ticked_ns) >= TICK_NS {
                self.ticked_ns = now;
                self.tick(now, phase)?;
            }
            self.publish_counts(phase);
            if phase == Phase::Drain {
                wait_ns = wait_ns.min(DRAIN_WAIT_NS);
            }
            let count = self.poller.wait(wait_ns.min(WAIT_MAX_NS))?;
            for at in 0..count {
                let ready = self.poller.ready(at);
                if ready.write {
                    self.writable(ready.key)?;
                }
                if ready.read {
                    self.readable(ready.key)?;
                }
            }
        }
        self.leave()?;
        let sent: u64 = self.flows.iter().map(|flow| flow.sent).sum();
        Ok(Tally {
            sent,
            expected: sent * self.plan.subscribers as u64,
            missing: self.arrivals.missing(),
            ..self.tally
        })
    }

    fn publish_counts(&self, phase: Phase) {
        let counters = &self.shared.counters[self.thread];
        let tally = &self.tally;
        for (counter, value) in [
            (&counters.ready, self.ready as u64),
            (&counters.failed, tally.failed),
            (&counters.broken, tally.broken),
            (&counters.sent, tally.sent),
            (&counters.received, tally.received),
            (&counters.acknowledged, tally.acknowledged),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
        let is_settled = self.opened == self.clients.len() && self.under_way == 0;
        counters.is_settled.store(is_settled, Ordering::Release);
        if phase == Phase::Drain {
            counters.is_drained.store(self.is_drained(), Ordering::Release);
        }
    }

    fn is_drained(&self) -> bool {
        let come = self.tally.received - self.tally.duplicated + self.forgiven;
        come >= self.tally.sent * self.plan.subscribers as u64 && self.unacknowledged == 0 && self.full == 0
    }

    /// What is looked at now and then.
    fn tick(&mut self, now: u64, phase: Phase) -> Result<(), ClientError> {
        self.repeat_introductions(now)?;
        self.ping(now);
        if D::DATAGRAMS {
            self.repeat_messages(now);
        }
        let sent = if self.plan.subscribers == 0 { self.tally.sent } else { 0 };
        let moved = self.tally.received + self.tally.acknowledged + sent;
        if moved != self.progress.0 {
            self.progress = (moved, now);
        } else if now.saturating_sub(self.progress.1) > STALL_NS
            && matches!(phase, Phase::WarmUp | Phase::Measure)
            && !self.is_drained()
        {
            self.progress.1 = now;
            self.tally.stalls += 1;
            self.give_up();
        }
        Ok(())
    }

    /// Signs of life go round, so that each client sends one in two thirds of its keep-alive.
    fn ping(&mut self, now: u64) {
        let period_ns = u64::from(self.plan.manners.keep_alive_secs) * 1_000_000_000 * 2 / 3;
        if period_ns == 0 || self.clients.is_empty() {
            return;
        }
        let clients = self.clients.len() as u64;
        let due = (u128::from(now - self.begun_ns) * u128::from(clients) / u128::from(period_ns)) as u64;
        // After a pause each client is asked once, not as often as it was left out.
        self.pinged = self.pinged.max(due.saturating_sub(clients));
        while self.pinged < due {
            let client = (self.pinged % clients) as usize;
            if self.clients[client].stage == Stage::Ready && self.clients[client].member.role != Role::Mute {
                self.put(client, |dialect, out| dialect.ping(out));
            }
            self.pinged += 1;
        }
    }

    /// Appends a frame to what a client has to write.
    #[inline]
    fn put(&mut self, client: usize, write: impl FnOnce(&D, &mut Vec<u8>)) {
        let out = &mut self.clients[client].out;
        let before = out.len();
        frame::<D>(out, |out| write(&self.dialect, out));
        if self.clients[client].out.len() > before {
            self.touch(client);
        }
    }

    #[inline]
    fn touch(&mut self, client: usize) {
        if !self.clients[client].is_touched {
            self.clients[client].is_touched = true;
            self.touched.push(client);
        }
    }

    fn flush_touched(&mut self) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        for &client in &touched {
            self.clients[client].is_touched = false;
            if !self.clients[client].is_full {
                self.flush(client)?;
            }
        }
        touched.clear();
        self.touched = touched;
        Ok(())
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        let Some(socket) = &client.socket else {
            client.out.clear();
            return Ok(());
        };
        let written = if D::DATAGRAMS { send_datagrams(socket, &client.out) } else { send_bytes(socket, &client.out) };
        let Ok(written) = written else {
            self.lose(index, "the connection broke");
            return Ok(());
        };
        let is_full = written < client.out.len();
        if is_full {
            client.out.drain(..written);
        } else {
            client.out.clear();
        }
        if is_full != client.is_full {
            client.is_full = is_full;
            self.full = if is_full { self.full + 1 } else { self.full - 1 };
            self.poller.modify(socket, index, if is_full { Interest::ReadWrite } else { Interest::Read })?;
        }
        Ok(())
    }

    /// A client that was connected is not any more.
    fn lose(&mut self, index: usize, why: &str) {
        let client = &mut self.clients[index];
        client.socket = None;
        client.out.clear();
        if client.is_full {
            client.is_full = false;
            self.full -= 1;
        }
        match client.stage {
            Stage::Connecting | Stage::Introducing => {
                self.under_way -= 1;
                self.tally.failed += 1;
            }
            Stage::Ready => {
                self.ready -= 1;
                self.tally.broken += 1;
            }
            Stage::Waiting | Stage::Gone => {}
        }
        let id = &client.member.identity.client_id;
        self.tally.first_failure.get_or_insert_with(|| format!("{id}: {why}"));
        client.stage = Stage::Gone;
    }

    /// All clients say goodbye, as far as their sockets take it.
    fn leave(&mut self) -> io::Result<()> {
        for index in 0..self.clients.len() {
            if self.clients[index].stage == Stage::Ready && !self.clients[index].is_full {
                self.put(index, |dialect, out| dialect.goodbye(out));
                self.flush(index)?;
            }
        }
        Ok(())
    }
}

/// Appends what `write` writes, as one datagram if there are such.
#[inline]
fn frame<D: Dialect>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if !D::DATAGRAMS {
        return write(out);
    }
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    write(out);
    let bytes = out.len() - start - 2;
    match u16::try_from(bytes) {
        Ok(1..) => out[start..start + 2].copy_from_slice(&(bytes as u16).to_be_bytes()),
        // Nothing, or more than a datagram can be: payloads that long were refused.
        _ => out.truncate(start),
    }
}

/// Writes and tells how much the socket took.
fn send_bytes(mut socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if is_nothing(&error) => Ok(0),
        other => other,
    }
}

/// Sends one datagram after the other and tells how many bytes of the list are done. That nobody listens is told of an earlier datagram; it counts as lost.
fn send_datagrams(socket: &Socket, list: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some((length, rest)) = list[at..].split_first_chunk::<2>() {
        let bytes = usize::from(u16::from_be_bytes(*length));
        match socket.send(&rest[..bytes]) {
            Err(error) if is_nothing(&error) => break,
            Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => return Err(error),
            _ => at += 2 + bytes,
        }
    }
    Ok(at)
}

impl Client {
    fn new(member: Member) -> Self {
        Self {
            socket: None,
            member,
            stage: Stage::Waiting,
            step: Step::default(),
            begun_ns: 0,
            asked_ns: 0,
            carry: Vec::new(),
            out: Vec::new(),
            is_full: false,
            is_touched: false,
        }
    }
}

impl Tally {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.sent, other.sent),
            (&mut self.expected, other.expected),
            (&mut self.received, other.received),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.rejected, other.rejected),
            (&mut self.duplicated, other.duplicated),
            (&mut self.out_of_order, other.out_of_order),
            (&mut self.missing, other.missing),
            (&mut self.foreign, other.foreign),
            (&mut self.stalls, other.stalls),
            (&mut self.repeated, other.repeated),
            (&mut self.failed, other.failed),
            (&mut self.broken, other.broken),
            (&mut self.reads, other.reads),
            (&mut self.cycles, other.cycles),
        ] {
            *sum += more;
        }
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
        // All histograms have the same bounds, so that none can be refused.
        let _ = self.latency_ns.add(&other.latency_ns);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            expected: 0,
            received: 0,
            acknowledged: 0,
            rejected: 0,
            duplicated: 0,
            out_of_order: 0,
            missing: 0,
            foreign: 0,
            stalls: 0,
            repeated: 0,
            failed: 0,
            broken: 0,
            first_failure: None,
            reads: 0,
            cycles: 0,
            latency_ns: histogram(),
        }
    }
}
