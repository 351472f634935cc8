use std::io;

use super::{Stage, Worker, flow::InFlight, frame};
use crate::cli::bench::{
    dialect::{Dialect, Event},
    plan::Role,
};

/// Bytes that a publisher may have waiting for its socket, and messages waiting for acknowledgements, before messages that are due wait, too. Their
/// stamps stay what they were, so that the wait shows.
const WAITING_BYTES_MAX: usize = 1 << 20;
const WAITING_ACKNOWLEDGEMENTS_MAX: u32 = 60_000;

/// Time after which a message that may have been lost is sent again, and how often that is done.
const RETRY_NS: u64 = 1_000_000_000;
const RETRIES_MAX: u32 = 5;

impl<D: Dialect> Worker<D> {
    /// Sends what is due or has room, and tells how long to wait for the next message at most.
    pub(super) fn send(&mut self, now: u64) -> io::Result<u64> {
        match self.plan.rate {
            _ if self.flows.is_empty() => Ok(u64::MAX),
            Some(rate) => {
                let rate = rate * self.flows.len() as f64 / self.plan.all_publishers() as f64;
                Ok(self.pace(now, 1e9 / rate))
            }
            None => Ok(self.refill()),
        }
    }

    /// Sends messages at their times.
    fn pace(&mut self, now: u64, interval_ns: f64) -> u64 {
        let begun_ns = self.shared.load_begun_ns();
        let publishers = self.flows.len();
        loop {
            let due_ns = begun_ns + (self.paced as f64 * interval_ns) as u64;
            if due_ns > now {
                return due_ns.saturating_sub(self.shared.clock.now_ns());
            }
            let publisher = (self.paced % publishers as u64) as usize;
            let flow = &self.flows[publisher];
            if flow.allowance == 0 {
                if self.flows.iter().all(|flow| flow.allowance == 0) {
                    return u64::MAX;
                }
            } else if self.clients[self.publishers_at + publisher].out.len() > WAITING_BYTES_MAX
                || flow.unacknowledged > WAITING_ACKNOWLEDGEMENTS_MAX
            {
                return 1_000_000;
            } else {
                self.build(publisher, due_ns);
            }
            self.paced += 1;
        }
    }

    /// Sends as many messages as there is room for.
    fn refill(&mut self) -> u64 {
        let (window, subscribers) = (self.plan.window, self.plan.subscribers as u64);
        let is_acknowledged = self.is_acknowledged();
        // Nothing tells these when to go on but that their bytes are gone.
        let is_free = subscribers == 0 && !is_acknowledged;
        let mut wait_ns = u64::MAX;
        // Two lists in turn, whose room stays.
        let mut eager = std::mem::replace(&mut self.eager, std::mem::take(&mut self.spare));
        for &publisher in &eager {
            let index = self.publishers_at + publisher;
            self.flows[publisher].is_eager = false;
            if self.clients[index].is_full {
                self.mark(publisher);
                continue;
            }
            let room = self.flows[publisher].room(window, subscribers, is_acknowledged);
            if room == 0 || self.clients[index].stage != Stage::Ready {
                continue;
            }
            let now = self.shared.clock.now_ns();
            for _ in 0..room {
                self.build(publisher, now);
            }
            if is_free {
                self.mark(publisher);
                wait_ns = 0;
            }
        }
        eager.clear();
        self.spare = eager;
        wait_ns
    }

    fn is_acknowledged(&self) -> bool {
        self.plan.qos() as u8 > 0
    }

    #[inline]
    pub(super) fn mark(&mut self, publisher: usize) {
        if !self.flows[publisher].is_eager {
            self.flows[publisher].is_eager = true;
            self.eager.push(publisher);
        }
    }

    #[inline]
    fn build(&mut self, publisher: usize, due_ns: u64) {
        let is_acknowledged = self.is_acknowledged();
        let flow = &mut self.flows[publisher];
        flow.id = flow.id % u16::MAX + 1;
        flow.sent += 1;
        flow.allowance -= 1;
        let (id, sequence) = (flow.id, flow.sent as u32);
        if is_acknowledged {
            flow.unacknowledged += 1;
            self.unacknowledged += 1;
            if self.is_noted {
                let sent_ns = self.shared.clock.now_ns();
                flow.in_flight.push_back(InFlight { id, sequence, due_ns, sent_ns, tries: 0, is_received: false });
            }
        }
        self.tally.sent += 1;
        let index = self.publishers_at + publisher;
        let template = &self.templates[publisher];
        frame::<D>(&mut self.clients[index].out, |out| template.append(out, due_ns, sequence, id, false));
        self.touch(index);
    }

    /// The server has a message, or does not take it.
    pub(super) fn acknowledged(&mut self, index: usize, id: u16, is_accepted: bool, now: u64) {
        let Role::Publisher(publisher) = self.clients[index].member.role else { return };
        let (is_acknowledged, subscribers) = (self.is_acknowledged(), self.plan.subscribers as u64);
        let flow = &mut self.flows[publisher];
        if !is_accepted {
            self.tally.rejected += 1;
            flow.forgiven += subscribers;
            self.forgiven += subscribers;
        }
        if !is_acknowledged || flow.unacknowledged == 0 {
            return self.mark(publisher);
        }
        if self.is_noted {
            // The answer to a message that was sent twice comes twice.
            let Some(at) = flow.in_flight.iter().position(|message| message.id == id) else { return };
            let message = flow.in_flight.remove(at);
            if let (true, true, Some(message)) = (subscribers == 0, self.is_recording, message) {
                self.tally.latency_ns.saturating_record(now.saturating_sub(message.due_ns));
            }
        }
        self.tally.acknowledged += u64::from(is_accepted);
        flow.unacknowledged -= 1;
        self.unacknowledged -= 1;
        self.mark(publisher);
    }

    /// The server has a message of QoS 2.
    pub(super) fn received(&mut self, index: usize, id: u16) {
        if let (true, Role::Publisher(publisher)) = (D::DATAGRAMS, self.clients[index].member.role)
            && let Some(message) = self.flows[publisher].in_flight.iter_mut().find(|message| message.id == id)
        {
            message.is_received = true;
        }
    }

    /// Sends again what may have been lost.
    pub(super) fn repeat_messages(&mut self, now: u64) {
        for publisher in 0..self.flows.len() {
            let index = self.publishers_at + publisher;
            let Self { flows, clients, templates, dialect, tally, .. } = self;
            let late = flows[publisher]
                .in_flight
                .iter_mut()
                .filter(|message| now.saturating_sub(message.sent_ns) > RETRY_NS && message.tries < RETRIES_MAX);
            let out = &mut clients[index].out;
            let before = out.len();
            for message in late {
                (message.tries, message.sent_ns) = (message.tries + 1, now);
                tally.repeated += 1;
                let InFlight { id, sequence, due_ns, is_received, .. } = *message;
                frame::<D>(out, |out| match is_received {
                    true => dialect.answer(&Event::Received { id }, &[], out),
                    false => templates[publisher].append(out, due_ns, sequence, id, true),
                });
            }
            if clients[index].out.len() > before {
                self.touch(index);
            }
        }
    }

    /// What is under way is waited for no more.
    pub(super) fn give_up(&mut self) {
        let subscribers = self.plan.subscribers as u64;
        for publisher in 0..self.flows.len() {
            let flow = &mut self.flows[publisher];
            let gone = (flow.sent * subscribers).saturating_sub(flow.delivered + flow.forgiven);
            flow.forgiven += gone;
            flow.unacknowledged = 0;
            flow.in_flight.clear();
            self.forgiven += gone;
            self.mark(publisher);
        }
        self.unacknowledged = 0;
    }
}
