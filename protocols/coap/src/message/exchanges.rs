use std::collections::VecDeque;

use smallvec::SmallVec;
use thingway_contract::Instant;

/// Bytes of answers that are kept for a peer's duplicates. Beyond it the oldest answers to safe requests are dropped, which are then handled anew.
const ANSWERS_BYTES_MAX: usize = 4096;

/// Messages of the peer that came lately, so that a duplicate gets the same answer and no second effect (RFC 7252, sections 4.2, 4.3 and 4.5).
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// In the order in which they came.
    entries: VecDeque<Entry>,
    answer_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: u16,
    safe: bool,
    expires: Instant,
    answer: Answer,
}

/// What a duplicate gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: the answer is still to come, or there is none.
    Nothing,
    /// The same acknowledgement without a response: that comes, or came, as a message of its own.
    Acknowledgement,
    /// The very same bytes.
    Bytes(SmallVec<[u8; 16]>),
}

impl Exchanges {
    /// What a message with this id gets if it is a duplicate.
    pub(super) fn find(&mut self, id: u16, now: Instant) -> Option<&Answer> {
        self.prune(now);
        self.entries.iter().rev().find(|entry| entry.id == id).map(|entry| &entry.answer)
    }

    /// A new message begins an exchange.
    pub(super) fn begin(&mut self, id: u16, safe: bool, expires: Instant, limit: usize) {
        while self.entries.len() >= limit.max(1) {
            self.forget_oldest();
        }
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(Entry { id, safe, expires, answer: Answer::Nothing });
    }

    /// What duplicates shall get from now on.
    pub(super) fn settle(&mut self, id: u16, answer: Answer) {
        let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.id == id) else { return };
        self.answer_bytes -= bytes_of(&entry.answer);
        self.answer_bytes += bytes_of(&answer);
        entry.answer = answer;
        while self.answer_bytes > ANSWERS_BYTES_MAX {
            let last = self.entries.len() - 1;
            let large = |entry: &Entry| entry.safe && bytes_of(&entry.answer) > 0;
            let Some(at) = self.entries.iter().take(last).position(large) else { break };
            if let Some(entry) = self.entries.remove(at) {
                self.answer_bytes -= bytes_of(&entry.answer);
            }
        }
    }

    /// True when the exchange was acknowledged without its response.
    pub(super) fn is_acknowledged(&self, id: u16) -> bool {
        self.entries.iter().rev().any(|entry| entry.id == id && entry.answer == Answer::Acknowledgement)
    }

    /// Until when something is remembered whose loss could make a duplicate have a second effect.
    pub(super) fn needed_until(&self) -> Option<Instant> {
        self.entries.iter().filter(|entry| !entry.safe).map(|entry| entry.expires).max()
    }

    /// When all is over, if nothing more comes.
    pub(super) fn newest_expires(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.expires).max()
    }

    pub(super) fn prune(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| entry.expires <= now) {
            self.forget_oldest();
        }
        // Some behind the oldest may live shorter; they go with it, unless they are all that is left.
        if self.newest_expires().is_some_and(|newest| newest <= now) {
            *self = Self::default();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.answer_bytes -= bytes_of(&entry.answer);
        }
    }
}

fn bytes_of(answer: &Answer) -> usize {
    match answer {
        Answer::Bytes(bytes) => bytes.len(),
        Answer::Nothing | Answer::Acknowledgement => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO.plus_secs(secs)
    }

    fn bytes(count: usize) -> Answer {
        Answer::Bytes(SmallVec::from_elem(7, count))
    }

    #[test]
    fn the_oldest_goes_at_the_limit_and_all_at_their_time() {
        let mut exchanges = Exchanges::default();
        for id in 0..4 {
            exchanges.begin(id, false, at(10 + u64::from(id)), 3);
        }
        assert_eq!(exchanges.find(0, at(0)), None);
        assert_eq!(exchanges.find(1, at(0)), Some(&Answer::Nothing));
        assert_eq!(exchanges.needed_until(), Some(at(13)));
        assert_eq!(exchanges.find(1, at(11)), None);
        assert_eq!(exchanges.find(3, at(11)), Some(&Answer::Nothing));
        exchanges.prune(at(13));
        assert!(exchanges.is_empty());
    }

    #[test]
    fn answers_to_safe_requests_make_room() {
        let mut exchanges = Exchanges::default();
        exchanges.begin(1, false, at(9), 9);
        exchanges.settle(1, bytes(100));
        for id in 2..5 {
            exchanges.begin(id, true, at(9), 9);
            exchanges.settle(id, bytes(1500));
        }
        assert_eq!(exchanges.find(1, at(0)), Some(&bytes(100)));
        assert_eq!(exchanges.find(2, at(0)), None, "handled anew");
        assert_eq!(exchanges.find(4, at(0)), Some(&bytes(1500)));
        assert_eq!(exchanges.answer_bytes, 3100);
    }
}
