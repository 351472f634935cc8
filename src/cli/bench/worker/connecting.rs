use std::sync::Arc;

use super::{Stage, Worker};
use crate::cli::{
    bench::{
        dialect::{Dialect, Step},
        plan::{Kind, Role},
        poller::Interest,
        socket,
    },
    client::ClientError,
};

/// Connections that are begun in a round, so that those under way are not forgotten over it.
const BEGUN_MAX: usize = 64;

/// Time after which a request that may have been lost is sent again, and how often that is done.
const RETRY_NS: u64 = 1_000_000_000;
const RETRIES_MAX: u16 = 10;

impl<D: Dialect> Worker<D> {
    /// Begins connections that are due, and tells how long to wait for the next one at most.
    pub(super) fn connect(&mut self, now: u64) -> Result<u64, ClientError> {
        if self.opened == self.clients.len() {
            return Ok(u64::MAX);
        }
        let plan = Arc::clone(&self.plan);
        let window = plan.connect_window.div_ceil(plan.threads);
        let due = match plan.connect_rate {
            None => usize::MAX,
            Some(rate) => {
                (((now - self.begun_ns) as f64 / 1e9 * rate / plan.threads as f64) as usize).saturating_add(1)
            }
        };
        for _ in 0..BEGUN_MAX {
            if self.opened >= due.min(self.clients.len()) || self.under_way >= window {
                break;
            }
            self.open(self.opened, now)?;
            self.opened += 1;
        }
        Ok(if self.under_way < window && self.opened < due { 0 } else { 1_000_000 })
    }

    fn open(&mut self, index: usize, now: u64) -> Result<(), ClientError> {
        let client = &mut self.clients[index];
        client.begun_ns = now;
        self.under_way += 1;
        self.begun.push_back(index);
        client.stage = Stage::Connecting;
        let source = self.plan.sources.of(client.member.number);
        match socket::open(self.plan.address, source, D::DATAGRAMS) {
            Err(error) => self.lose(index, &format!("cannot connect: {error}")),
            Ok(socket) => {
                let interest = if D::DATAGRAMS { Interest::Read } else { Interest::ReadWrite };
                self.poller.add(&socket, index, interest)?;
                self.clients[index].socket = Some(socket);
                if D::DATAGRAMS {
                    self.introduce(index, 0, now)?;
                }
            }
        }
        Ok(())
    }

    /// A socket takes bytes (again).
    pub(super) fn writable(&mut self, index: usize) -> Result<(), ClientError> {
        let client = &mut self.clients[index];
        let Some(socket) = &client.socket else { return Ok(()) };
        if client.stage != Stage::Connecting {
            return Ok(self.flush(index)?);
        }
        match socket.take_error() {
            Ok(None) => {
                self.poller.modify(socket, index, Interest::Read)?;
                let now = self.shared.clock.now_ns();
                self.introduce(index, 0, now)
            }
            Ok(Some(error)) | Err(error) => {
                self.lose(index, &format!("cannot connect: {error}"));
                Ok(())
            }
        }
    }

    /// Sends a request of the introduction, if there is one more.
    pub(super) fn introduce(&mut self, index: usize, step: u8, now: u64) -> Result<(), ClientError> {
        let client = &mut self.clients[index];
        (client.stage, client.step, client.asked_ns) = (Stage::Introducing, Step::first(step), now);
        if self.ask(index)? {
            return Ok(());
        }
        let client = &mut self.clients[index];
        client.stage = Stage::Ready;
        self.under_way -= 1;
        self.ready += 1;
        if self.plan.kind == Kind::Conn {
            self.tally.latency_ns.saturating_record(now - client.begun_ns);
        }
        if let (Role::Mute, Some(socket)) = (client.member.role, &client.socket) {
            self.poller.remove(socket)?;
        }
        Ok(())
    }

    /// Writes the request that is to be answered next.
    fn ask(&mut self, index: usize) -> Result<bool, ClientError> {
        let (plan, client) = (Arc::clone(&self.plan), &self.clients[index]);
        let mut request = Vec::new();
        let step = client.step;
        if !self.dialect.introduce(step, &client.member.identity, &plan.manners, &mut request)? {
            return Ok(false);
        }
        self.put(index, |_, out| out.extend_from_slice(&request));
        Ok(true)
    }

    /// Asks again where requests get lost, and gives up clients that were not answered in time.
    pub(super) fn repeat_introductions(&mut self, now: u64) -> Result<(), ClientError> {
        let timeout_ns = self.plan.connect_timeout.as_nanos() as u64;
        let mut begun = std::mem::take(&mut self.begun);
        begun.retain(|&index| matches!(self.clients[index].stage, Stage::Connecting | Stage::Introducing));
        for &index in &begun {
            let client = &mut self.clients[index];
            if now.saturating_sub(client.begun_ns) > timeout_ns {
                self.lose(index, "not answered in time");
            } else if D::DATAGRAMS && now.saturating_sub(client.asked_ns) > RETRY_NS && client.step.tries < RETRIES_MAX
            {
                client.step.tries += 1;
                client.asked_ns = now;
                self.ask(index)?;
            }
        }
        self.begun = begun;
        Ok(())
    }
}
