use std::hash::{DefaultHasher, Hash, Hasher};

use thingway_contract::{Instant, Observation as ParkedObservation, Outbox, Parked, Request, Resumption};

use super::{Conversation, ending::park};
use crate::observe::next_sequence;

/// The token is told to be good for so many times the silence that ends a connection, and told again when half of that is over: after some three
/// minutes with a heartbeat every 30 seconds.
const TOLD_PATIENCES: u64 = 8;

/// What the gateway was told last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    fingerprint: u64,
    /// How long the token is good.
    until: Instant,
}

/// What a gateway that keeps the session is told while it lives, for it may end without warning: the observations, and the connection's token.
///
/// An observation is told before the gateway is asked to subscribe: the reply to that comes when the subscription is on record, and with it all
/// that was told before. So what the peer has an answer to survives. What is refused then, and any other end of an observation, is told at the end
/// of the turn; an observer that gets what it does not want any more, from a gateway that was killed before that was on record, resets it. The
/// token of a new connection is told in the turn in which the peer gets it, for there is nothing to wait for: from a gateway killed right then the
/// peer gets 4.01, and finds its session and its observations when it opens another connection.
///
/// A sequence number alone is nothing to tell, as the next conversation takes its own from the clock ([`next_sequence`]). Nor is each heartbeat:
/// the end of the token is told to be later than it is, never earlier.
impl Conversation {
    /// Tells the gateway what the next conversation needs, unless it was told. To be called at the end of each turn.
    pub(super) fn keep(&mut self, now: Instant, out: &mut Outbox) {
        let Some(session) = self.session.as_ref().filter(|session| session.kept && !self.closed) else { return };
        if self.deciding.as_ref().is_some_and(|deciding| deciding.is_asked()) {
            // The session is left, and what is left with it is told by the departure.
            return;
        }
        let Some(key) = self.resumption().map(|resumption| resumption.key) else { return };
        let told = session.told;
        let is_due = told.is_none_or(|told| told.until < self.silence_ends(TOLD_PATIENCES / 2));
        let is_changed = self.observations.as_mut().is_some_and(|observations| observations.take_changed());
        if !is_due && !is_changed {
            return;
        }
        let observations = self.expected_observations(now);
        let fingerprint = self.fingerprint(key, &observations);
        if !is_due && told.is_some_and(|told| told.fingerprint == fingerprint) {
            return;
        }
        let until = self.silence_ends(TOLD_PATIENCES);
        if let Some(session) = &mut self.session {
            session.told = Some(Told { fingerprint, until });
        }
        let resumption = Some(Resumption { key, until });
        out.request(Request::Keep { parked: Box::new(Parked { observations, resumption, ..Parked::default() }) });
    }

    /// All observations.
    pub(crate) fn observed(&self) -> Vec<ParkedObservation> {
        self.observations.iter().flat_map(|all| all.iter()).map(park).collect()
    }

    /// All observations as they are when those that the gateway is asked for are granted.
    fn expected_observations(&self, now: Instant) -> Vec<ParkedObservation> {
        let mut expected = self.observed();
        for (question, registration) in self.planned() {
            let sequence = next_sequence(0, self.config.unix_ms(now));
            let observation = park(&registration.observation(question, 0, sequence, now));
            expected.retain(|other| other.token != observation.token);
            expected.push(observation);
        }
        expected
    }

    /// Stands for all of it but the sequence numbers, in any order.
    fn fingerprint(&self, key: u64, observations: &[ParkedObservation]) -> u64 {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            self.config.secret.hash(&mut hasher);
            value(&mut hasher);
            hasher.finish()
        };
        let each = observations.iter().map(|observation| {
            let ParkedObservation { token, filter, options, key, accept, .. } = observation;
            let ParkedObservation { block_exponent, check_secs, ends_when_empty, ends_at, .. } = observation;
            hash(&|hasher| {
                (token, filter, options, key, accept).hash(hasher);
                (block_exponent, check_secs, ends_when_empty, ends_at).hash(hasher);
            })
        });
        each.fold(hash(&|hasher| key.hash(hasher)), u64::wrapping_add)
    }
}
