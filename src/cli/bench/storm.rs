//! Connections that come and go: CONNECT, CONNACK, DISCONNECT, over TCP.

use std::{
    io::{self, Read, Write},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use socket2::Socket;

use super::{
    dialect::{Dialect, Event, Identity, Mqtt, Next, Step},
    plan::Plan,
    poller::{Interest, Poller},
    shared::{Phase, Shared},
    socket::{self, is_nothing},
    worker::Tally,
};
use crate::cli::client::ClientError;

const EVENTS_MAX: usize = 1024;
const WAIT_NS: u64 = 1_000_000;

struct Slot {
    socket: Option<Socket>,
    is_asked: bool,
    begun_ns: u64,
    serial: u64,
}

/// One thread's part: so many connections at a time.
pub struct Storm {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub thread: usize,
    pub dialect: Mqtt,
    pub slots: usize,
    /// Reset connections instead of closing them in order.
    pub is_reset: bool,
}

impl Storm {
    /// Works until it is told to stop.
    pub fn run(self) -> Result<Tally, ClientError> {
        let mut poller = Poller::new(EVENTS_MAX)?;
        let mut slots: Vec<_> =
            (0..self.slots).map(|_| Slot { socket: None, is_asked: false, begun_ns: 0, serial: 0 }).collect();
        let mut tally = Tally::default();
        let mut serial = self.thread as u64;
        while self.shared.phase() < Phase::Drain {
            let now = self.shared.clock.now_ns();
            for (key, slot) in slots.iter_mut().enumerate() {
                if slot.socket.is_none() {
                    serial += self.plan.threads as u64;
                    if let Err(error) = self.begin(slot, key, serial, &poller) {
                        fail(slot, &mut tally, &error.to_string());
                        // Out of ports or descriptors: those that end make room.
                        break;
                    }
                } else if now.saturating_sub(slot.begun_ns) > self.plan.connect_timeout.as_nanos() as u64 {
                    fail(slot, &mut tally, "not answered in time");
                }
            }
            let counters = &self.shared.counters[self.thread];
            counters.received.store(tally.cycles, Ordering::Relaxed);
            counters.failed.store(tally.failed, Ordering::Relaxed);
            for at in 0..poller.wait(WAIT_NS)? {
                let ready = poller.ready(at);
                let slot = &mut slots[ready.key];
                if slot.socket.is_some()
                    && let Err(error) = self.go_on(slot, ready.write, ready.read, &mut tally)
                {
                    fail(slot, &mut tally, &error.to_string());
                }
            }
        }
        Ok(tally)
    }

    fn begin(&self, slot: &mut Slot, key: usize, serial: u64, poller: &Poller) -> io::Result<()> {
        let begun_ns = self.shared.clock.now_ns();
        let socket = socket::open(self.plan.address, self.plan.sources.of(serial as usize), false)?;
        poller.add(&socket, key, Interest::Edges)?;
        *slot = Slot { socket: Some(socket), is_asked: false, begun_ns, serial };
        Ok(())
    }

    fn go_on(
        &self,
        slot: &mut Slot,
        is_writable: bool,
        is_readable: bool,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        let Some(mut socket) = slot.socket.as_ref() else { return Ok(()) };
        if !slot.is_asked {
            if let Some(error) = socket.take_error()? {
                return Err(error.into());
            }
            if is_writable {
                let client_id = format!("{}s{}", self.plan.prefix, slot.serial);
                let who = Identity { client_id, filter: None, topic: None };
                let mut request = Vec::with_capacity(128);
                self.dialect.introduce(Step::first(0), &who, &self.plan.manners, &mut request)?;
                socket.write_all(&request)?;
                slot.is_asked = true;
            }
        }
        if !is_readable {
            return Ok(());
        }
        let mut buffer = [0; 512];
        let bytes = match socket.read(&mut buffer) {
            Err(error) if is_nothing(&error) => return Ok(()),
            Ok(0) => return Err(ClientError::Closed),
            other => other?,
        };
        // A CONNACK is a few bytes, and comes whole.
        match self.dialect.next(false, &buffer[..bytes]) {
            Next::Frame(Event::Granted { .. }, _) => {}
            Next::Frame(Event::Refused(code), _) => return Err(ClientError::Refused(format!("code {code:#04x}"))),
            _ => return Err(ClientError::Unexpected("instead of CONNACK".into())),
        }
        tally.cycles += 1;
        if self.shared.phase() == Phase::Measure {
            tally.latency_ns.saturating_record(self.shared.clock.now_ns() - slot.begun_ns);
        }
        if self.is_reset {
            socket.set_linger(Some(Duration::ZERO))?;
        } else {
            let mut goodbye = Vec::with_capacity(4);
            self.dialect.goodbye(&mut goodbye);
            socket.write_all(&goodbye)?;
        }
        slot.socket = None;
        Ok(())
    }
}

fn fail(slot: &mut Slot, tally: &mut Tally, why: &str) {
    slot.socket = None;
    tally.failed += 1;
    tally.first_failure.get_or_insert_with(|| why.to_owned());
}
