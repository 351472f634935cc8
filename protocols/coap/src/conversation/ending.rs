use thingway_contract::{CloseReason, Departure, Instant, Observation as ParkedObservation, Outbox, Parked, WillFate};

use super::{Conversation, Fate};
use crate::{
    codec::{Code, TokenBytes},
    observe::{Observation, resumed_sequence},
};

/// Seconds that a session without expiry waits for the conversation that takes it over.
const HANDOVER_SECS: u32 = 30;

impl Conversation {
    /// Tells observers that their observations are over, unless they go on: with another conversation, or when the gateway that keeps them is started
    /// again, which the peer notices by no more than that nothing is answered for a while.
    pub(super) fn close_with(&mut self, reason: &CloseReason, now: Instant, out: &mut Outbox) {
        if self.closed {
            return;
        }
        self.abandon(now, out);
        let is_kept = self.is_connected() && self.session.as_ref().is_some_and(|session| session.kept);
        if *reason == CloseReason::TakenOver {
            self.fate = Fate::TakenOver;
        } else if *reason != CloseReason::ShuttingDown || !is_kept {
            self.fate = Fate::Over;
            if self.validated {
                let code =
                    if *reason == CloseReason::NotAuthorized { Code::UNAUTHORIZED } else { Code::SERVICE_UNAVAILABLE };
                self.end_observations(code, now, out);
            }
        }
        self.closed = true;
        out.close();
    }

    /// What is left of the session. The conversation may go on with another: what it knows of the peer's messages stays.
    pub(super) fn take_departure(&mut self) -> Departure {
        let outbound = self.take_unacknowledged();
        let observations = self.observations.take().map(|mut observations| observations.take_all()).unwrap_or_default();
        for observation in &observations {
            self.endpoint.forget(observation.serial);
        }
        let is_connection = self.is_connected();
        let resumption = self.resumption().filter(|_| matches!(self.fate, Fate::Default | Fate::TakenOver));
        self.session = None;
        if !is_connection {
            return Departure { will: WillFate::Discard, ..Departure::default() };
        }
        let parked =
            Parked { outbound, observations: observations.iter().map(park).collect(), resumption, ..Parked::default() };
        let session_expiry_secs = match self.fate {
            Fate::TakenOver => Some(self.config.session_expiry_secs.max(HANDOVER_SECS)),
            Fate::Left => Some(0),
            Fate::Default | Fate::Over => None,
        };
        Departure { will: WillFate::Discard, session_expiry_secs, parked }
    }

    /// Goes on with what an earlier conversation of the session left. What was released but not completed (MQTT, QoS 2) is over: nobody here will say
    /// so, and a gateway that keeps the exchange is told.
    pub(super) fn restore(&mut self, parked: Parked, is_kept: bool, now: Instant, out: &mut Outbox) {
        if !parked.observations.is_empty() {
            let observations = self.observations.get_or_insert_default();
            for observation in parked.observations {
                let serial = observations.fresh_serial();
                observations.insert(unpark(observation, serial, self.config.unix_ms(now), now));
            }
        }
        for left in parked.outbound {
            if left.delivery.is_some() || is_kept {
                self.send_again(left, out);
            }
        }
    }
}

pub(super) fn park(observation: &Observation) -> ParkedObservation {
    ParkedObservation {
        token: observation.token.as_slice().into(),
        filter: observation.filter.clone(),
        options: observation.options,
        key: observation.key,
        // The lower bits: `resumed_sequence` finds the rest by the clock.
        sequence: observation.sequence as u32,
        accept: observation.accept,
        block_exponent: observation.exponent,
        check_secs: observation.check_secs,
        ends_when_empty: observation.ends_when_empty,
        ends_at: observation.ends_at,
    }
}

fn unpark(parked: ParkedObservation, serial: u32, unix_ms: u64, now: Instant) -> Observation {
    Observation {
        serial,
        token: TokenBytes::from_slice(&parked.token),
        filter: parked.filter,
        options: parked.options,
        key: parked.key,
        accept: parked.accept,
        exponent: parked.block_exponent,
        sequence: resumed_sequence(parked.sequence, unix_ms),
        last_id: None,
        unconfirmed: 0,
        confirmed_at: now,
        proven: false,
        check_secs: parked.check_secs,
        ends_when_empty: parked.ends_when_empty,
        ends_at: parked.ends_at,
    }
}
