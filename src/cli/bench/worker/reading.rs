use std::io::{self, Read};

use super::{Stage, Worker};
use crate::cli::{
    bench::{
        dialect::{Dialect, Event, Next},
        plan::Role,
        socket::is_nothing,
        stamp::{Arrival, Stamp},
    },
    client::ClientError,
};

/// Datagrams that are taken from a socket in a round, before others have their turn.
const DATAGRAMS_MAX: usize = 64;

/// Messages whose stamp is further away than this were sent by something else.
const FOREIGN_NS: u64 = 3_600_000_000_000;

impl<D: Dialect> Worker<D> {
    /// A socket has something, or has ended.
    pub(super) fn readable(&mut self, index: usize) -> Result<(), ClientError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = if D::DATAGRAMS { self.read_datagrams(index, &mut buffer) } else { self.read(index, &mut buffer) };
        self.buffer = buffer;
        result
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), ClientError> {
        let client = &mut self.clients[index];
        let Some(mut socket) = client.socket.as_ref() else { return Ok(()) };
        let carried = client.carry.len();
        buffer[..carried].copy_from_slice(&client.carry);
        self.tally.reads += 1;
        let end = match socket.read(&mut buffer[carried..]) {
            Ok(0) => {
                self.lose(index, "the server closed the connection");
                return Ok(());
            }
            Ok(bytes) => carried + bytes,
            Err(error) if is_nothing(&error) => return Ok(()),
            Err(error) => {
                self.lose(index, &error.to_string());
                return Ok(());
            }
        };
        client.carry.clear();
        let now = self.shared.clock.now_ns();
        let mut at = 0;
        loop {
            let rest = &buffer[at..end];
            match self.dialect.next(self.clients[index].stage == Stage::Ready, rest) {
                Next::Frame(event, bytes) => {
                    self.handle(index, event, &rest[..bytes], now)?;
                    at += bytes;
                }
                Next::More => break,
                Next::Bad => {
                    self.lose(index, "the server sent something that is no packet");
                    return Ok(());
                }
            }
        }
        // What the buffer cannot hold is no frame of this run.
        if end - at == buffer.len() {
            self.lose(index, "the server sent a packet that is too large");
        } else if at < end {
            self.clients[index].carry.extend_from_slice(&buffer[at..end]);
        }
        Ok(())
    }

    fn read_datagrams(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), ClientError> {
        for _ in 0..DATAGRAMS_MAX {
            let Some(mut socket) = self.clients[index].socket.as_ref() else { return Ok(()) };
            self.tally.reads += 1;
            let bytes = match socket.read(buffer) {
                Ok(bytes) => bytes,
                // Nobody listens there yet: what was sent is sent again.
                Err(error) if is_nothing(&error) || error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                Err(error) => {
                    self.lose(index, &error.to_string());
                    return Ok(());
                }
            };
            let now = self.shared.clock.now_ns();
            let datagram = &buffer[..bytes];
            match self.dialect.next(self.clients[index].stage == Stage::Ready, datagram) {
                Next::Frame(event, _) => self.handle(index, event, datagram, now)?,
                Next::More | Next::Bad => self.lose(index, "the server sent a datagram that is no message"),
            }
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, index: usize, event: Event<'_>, bytes: &[u8], now: u64) -> Result<(), ClientError> {
        match event {
            Event::Message { payload, .. } => self.message(index, payload, now),
            Event::Acknowledged { id } => self.acknowledged(index, id, true, now),
            Event::Rejected { id } => self.acknowledged(index, id, false, now),
            Event::Received { id } => self.received(index, id),
            Event::Granted { topic_id } => {
                if self.clients[index].stage == Stage::Introducing {
                    if let (Role::Publisher(publisher), Some(id)) = (self.clients[index].member.role, topic_id) {
                        self.templates[publisher].set_topic_id(id);
                    }
                    let step = self.clients[index].step.number + 1;
                    self.introduce(index, step, now)?;
                }
            }
            Event::Refused(code) => self.lose(index, &format!("refused with code {code:#04x}")),
            Event::Ended(code) => self.lose(index, &format!("the server ended the connection with code {code:#04x}")),
            Event::Register { .. } | Event::Released { .. } | Event::Other => {}
        }
        self.put(index, |dialect, out| dialect.answer(&event, bytes, out));
        Ok(())
    }

    #[inline]
    fn message(&mut self, index: usize, payload: &[u8], now: u64) {
        let Role::Subscriber(subscriber) = self.clients[index].member.role else { return };
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.due_ns.abs_diff(now) < FOREIGN_NS) else {
            self.tally.foreign += 1;
            return;
        };
        let Some(arrival) = self.arrivals.note(subscriber, stamp) else {
            self.tally.foreign += 1;
            return;
        };
        self.tally.received += 1;
        match arrival {
            Arrival::New => {}
            Arrival::Late => self.tally.out_of_order += 1,
            Arrival::Again => {
                self.tally.duplicated += 1;
                return;
            }
        }
        if self.is_recording {
            self.tally.latency_ns.saturating_record(now.saturating_sub(stamp.due_ns));
        }
        let first_number = self.plan.publisher_number(self.first_publisher);
        let publisher = stamp.publisher.wrapping_sub(first_number) as usize;
        if let Some(flow) = self.flows.get_mut(publisher) {
            flow.delivered += 1;
            self.mark(publisher);
        }
    }
}
