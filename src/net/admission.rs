//! A connection whose right to a session is being looked into.

use std::task::Waker;

use thingway_contract::{Connect, Instant, Refusal};

use crate::{
    access::{Access, Admission, Asking},
    bus::{Counter, Lane},
};

/// What a conversation wants, until it is decided whether it may have it.
pub(super) struct Checking {
    pub connect: Connect,
    /// The client id was chosen for it.
    pub is_assigned: bool,
    pub asking: Asking,
}

impl Checking {
    /// The decision, once it is made.
    pub fn take(&mut self, access: &Access, now: Instant, waker: &Waker) -> Option<Result<Admission, Refusal>> {
        access.take(&mut self.asking, &self.connect, now, waker)
    }
}

/// Counts a decision.
pub(super) fn count(admitted: &Result<Admission, Refusal>, lane: &Lane) {
    let counter = match admitted {
        Ok(_) => return,
        Err(Refusal::Banned) => Counter::ClientBanned,
        Err(Refusal::ConnectionRateExceeded) => Counter::AuthenticationBackoff,
        Err(Refusal::Busy) => Counter::AuthenticationBusy,
        Err(Refusal::Unavailable) => Counter::AuthenticationUnavailable,
        Err(Refusal::QuotaExceeded) => Counter::ClientQuota,
        Err(Refusal::NoSession) => return,
        Err(_) => Counter::AuthenticationFailure,
    };
    lane.count(counter, 1);
}
