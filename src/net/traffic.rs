//! What a connection counts for itself. Its own core does, in places that nobody else looks at.

use std::mem;

use thingway_contract::Qos;

use super::service::Allowance;
use crate::bus::Traffic;

/// What was received and sent in one turn of a connection.
#[derive(Debug, Default)]
pub struct Tally {
    traffic: Traffic,
    /// There is more in it than bytes and packets.
    has_messages: bool,
    /// There is more in it than messages, and bytes and packets that [`Few`] has room for.
    has_more: bool,
}

impl Tally {
    /// Forgets what a turn that panicked has left.
    #[inline]
    pub(super) fn tidy(&mut self) {
        if self.has_messages || self.traffic.bytes_received | self.traffic.bytes_sent != 0 {
            *self = Self::default();
        }
    }

    #[inline]
    pub(super) fn received(&mut self, bytes: usize) {
        self.traffic.bytes_received += bytes as u64;
    }

    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        self.traffic.bytes_sent += bytes as u64;
    }

    #[inline]
    pub(super) fn packets(&mut self, received: u64, sent: u64) {
        self.traffic.packets_received += received;
        self.traffic.packets_sent += sent;
    }

    #[inline]
    pub(super) fn message_received(&mut self, qos: Qos) {
        self.has_messages = true;
        self.traffic.messages_received[qos as usize] += 1;
    }

    #[inline]
    pub(super) fn messages_sent(&mut self, messages: [u64; 3]) {
        self.has_messages = true;
        add_each(&mut self.traffic.messages_sent, messages);
    }

    fn has_more(&mut self) {
        (self.has_messages, self.has_more) = (true, true);
    }

    #[cold]
    pub(super) fn message_refused(&mut self) {
        self.has_more();
        self.traffic.refused += 1;
    }

    #[cold]
    pub(super) fn message_expired(&mut self) {
        self.has_more();
        self.traffic.expired += 1;
    }

    #[cold]
    pub(super) fn message_too_large(&mut self) {
        self.has_more();
        self.traffic.too_large += 1;
    }
}

/// What a connection has in place: enough for one that does little. What is more than that is [`Apart`].
#[derive(Debug, Default)]
pub(super) struct Few {
    bytes_received: u32,
    bytes_sent: u32,
    packets_received: u16,
    packets_sent: u16,
}

/// What most connections have none of.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// What the peer may send, when that is limited.
    pub allowance: Option<Box<Allowance>>,
    /// Over for protocol and bus: see [`super::stream`].
    pub linger: Option<Linger>,
    /// What [`Few`] has no room for.
    traffic: Traffic,
}

/// Last bytes are written, and the peer's end is awaited until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linger {
    pub until: thingway_contract::Instant,
    pub discarded: usize,
}

impl Apart {
    /// For a peer that may not send as much as it likes.
    pub fn of(allowance: Option<Box<Allowance>>) -> Option<Box<Self>> {
        allowance.map(|allowance| Box::new(Self { allowance: Some(allowance), ..Self::default() }))
    }
}

impl Few {
    /// Takes over what was counted in a turn. True when there is more than it has room for, which is left there for [`Few::carry`].
    #[inline]
    pub fn add(&mut self, tally: &mut Tally) -> bool {
        let turn = &mut tally.traffic;
        turn.bytes_received += u64::from(self.bytes_received);
        turn.bytes_sent += u64::from(self.bytes_sent);
        turn.packets_received += u64::from(self.packets_received);
        turn.packets_sent += u64::from(self.packets_sent);
        let is_over = (turn.bytes_received | turn.bytes_sent) >> u32::BITS != 0
            || (turn.packets_received | turn.packets_sent) >> u16::BITS != 0;
        if is_over {
            *self = Self::default();
            tally.has_more = true;
            return true;
        }
        self.bytes_received = mem::take(&mut turn.bytes_received) as u32;
        self.bytes_sent = mem::take(&mut turn.bytes_sent) as u32;
        self.packets_received = mem::take(&mut turn.packets_received) as u16;
        self.packets_sent = mem::take(&mut turn.packets_sent) as u16;
        tally.has_messages
    }

    /// Takes over the rest.
    pub fn carry(tally: &mut Tally, apart: &mut Apart) {
        let (turn, all) = (&mut tally.traffic, &mut apart.traffic);
        add_each(&mut all.messages_received, mem::take(&mut turn.messages_received));
        add_each(&mut all.messages_sent, mem::take(&mut turn.messages_sent));
        tally.has_messages = false;
        if mem::take(&mut tally.has_more) {
            let turn = mem::take(turn);
            all.bytes_received += turn.bytes_received;
            all.bytes_sent += turn.bytes_sent;
            all.packets_received += turn.packets_received;
            all.packets_sent += turn.packets_sent;
            all.refused += turn.refused;
            all.expired += turn.expired;
            all.too_large += turn.too_large;
        }
    }

    /// All that was counted since the connection began.
    pub fn all(&self, apart: Option<&Apart>) -> Traffic {
        let mut all = apart.map(|apart| apart.traffic).unwrap_or_default();
        all.bytes_received += u64::from(self.bytes_received);
        all.bytes_sent += u64::from(self.bytes_sent);
        all.packets_received += u64::from(self.packets_received);
        all.packets_sent += u64::from(self.packets_sent);
        all
    }
}

/// Without a loop, which costs more than it does where it is not unrolled.
#[inline]
fn add_each([zero, one, two]: &mut [u64; 3], more: [u64; 3]) {
    *zero += more[0];
    *one += more[1];
    *two += more[2];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_from_few_to_many() {
        assert_eq!(size_of::<Few>(), 12);
        let (mut few, mut apart, mut tally) = (Few::default(), None::<Box<Apart>>, Tally::default());
        let mut turn = |count: &dyn Fn(&mut Tally)| {
            count(&mut tally);
            if few.add(&mut tally) {
                Few::carry(&mut tally, apart.get_or_insert_default());
            }
            (few.all(apart.as_deref()), apart.is_some())
        };
        for number in 1..=65_535 {
            let (all, is_apart) = turn(&|tally| {
                tally.received(1000);
                tally.sent(2);
                tally.packets(1, 1);
            });
            assert_eq!((all.bytes_received, all.bytes_sent), (number * 1000, number * 2));
            assert_eq!((all.packets_received, all.packets_sent, is_apart), (number, number, false));
        }
        let (all, is_apart) = turn(&|tally| tally.packets(2, 0));
        assert_eq!((all.packets_received, all.packets_sent, is_apart), (65_537, 65_535, true));
        let (all, _) = turn(&|tally| {
            tally.received(5_000_000_000);
            tally.sent(7);
            tally.message_received(Qos::ExactlyOnce);
            tally.messages_sent([1, 2, 3]);
            tally.message_refused();
            tally.message_expired();
            tally.message_too_large();
        });
        assert_eq!((all.bytes_received, all.bytes_sent), (5_065_535_000, 131_077));
        assert_eq!((all.messages_received, all.messages_sent), ([0, 0, 1], [1, 2, 3]));
        assert_eq!((all.refused, all.expired, all.too_large), (1, 1, 1));
        let (again, _) = turn(&|tally| tally.messages_sent([1, 0, 0]));
        assert_eq!(again, Traffic { messages_sent: [2, 2, 3], ..all });
    }
}
