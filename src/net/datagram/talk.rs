use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use parking_lot::Mutex;
use thingway_contract::{DatagramProtocol, Input, Instant, Standing};

use crate::{
    bus::Counter,
    net::{
        conversation::{Batch, Conversation, Step, Stop, Turn},
        core::CoreLocal,
        service::Allowance,
        traffic::Few,
        wheel::TimerId,
    },
};

/// Batches of deliveries in one turn of a conversation.
const DELIVERIES_PER_TURN: usize = 4;

/// A conversation and what the driver keeps for it.
pub(super) struct Talk<P: DatagramProtocol> {
    pub conversation: Conversation<P>,
    pub nudge: Arc<Nudge>,
    pub timer: Option<TimerId>,
    /// What it has received and sent, but for what the endpoint has beside.
    pub few: Few,
    /// Index in [`Out::locals`].
    pub local: u16,
    /// As it was at the end of the last turn.
    pub standing: Standing,
}

/// Conversations that were woken.
#[derive(Default)]
pub(super) struct Woken {
    pub nudges: Mutex<Vec<Arc<Nudge>>>,
    pub waker: Mutex<Option<Waker>>,
}

/// Wakes one conversation, and tells whether it is still the one.
pub(super) struct Nudge {
    pub woken: Arc<Woken>,
    pub index: u32,
    pub queued: AtomicBool,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut nudges = self.woken.nudges.lock();
        nudges.push(self.clone());
        if nudges.len() == 1 {
            drop(nudges);
            if let Some(waker) = &*self.woken.waker.lock() {
                waker.wake_by_ref();
            }
        }
    }
}

impl<P: DatagramProtocol> Talk<P> {
    pub fn work(
        &mut self,
        datagram: Option<&[u8]>,
        clogged: bool,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
        mut allowance: Option<&mut Allowance>,
        refused: &mut u64,
    ) -> Step<P> {
        let now = turn.now;
        let mut fresh = self.conversation.poll_pending(turn, core)?;
        self.answer(turn, core, allowance.as_deref_mut())?;
        if self.conversation.machine.deadline() <= now && !self.conversation.is_pending() {
            let outcome = self.conversation.machine.timeout(now, &mut core.outbox);
            self.answer(turn, core, allowance.as_deref_mut())?;
            outcome.map_err(Stop::Fault)?;
            fresh = true;
        }
        if let Some(datagram) = datagram {
            if self.conversation.is_full() || !self.may_send(allowance.as_deref_mut(), datagram.len(), turn) {
                // The peer sends it again.
                *refused += 1;
            } else {
                self.receive(datagram, turn, core, allowance.as_deref_mut())?;
                fresh = true;
            }
        }
        self.conversation.blocked &= !fresh;
        for _ in 0..DELIVERIES_PER_TURN {
            let hold = clogged || self.conversation.is_pending();
            match self.conversation.deliver_batch(hold, turn, core)? {
                Batch::More => {}
                Batch::Held => return self.answer(turn, core, allowance),
                Batch::Drained => {
                    self.conversation.machine.drained(now, &mut core.outbox);
                    return self.answer(turn, core, allowance);
                }
            }
        }
        turn.waker.wake_by_ref();
        self.answer(turn, core, allowance)
    }

    fn receive(
        &mut self,
        datagram: &[u8],
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
        mut allowance: Option<&mut Allowance>,
    ) -> Step<P> {
        let outcome = self.conversation.machine.receive(&mut Input::new(datagram), turn.now, &mut core.outbox);
        self.answer(turn, core, allowance.as_deref_mut())?;
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) if P::is_fatal(&fault) => Err(Stop::Fault(fault)),
            Err(fault) => {
                self.conversation.report(&fault, turn.service, &core.lane, turn.now);
                self.conversation.machine.refuse(&fault, turn.now, &mut core.outbox);
                self.answer(turn, core, allowance)
            }
        }
    }

    /// Whether a datagram may be taken.
    fn may_send(&self, allowance: Option<&mut Allowance>, bytes: usize, turn: Turn<'_, P>) -> bool {
        let mut shared = turn.service.shared_rates.iter().chain(self.conversation.rates());
        may_send(allowance, bytes, turn.now) && shared.all(|rates| rates.take_bytes(bytes, turn.now))
    }

    fn answer(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal, mut allowance: Option<&mut Allowance>) -> Step<P> {
        let outcome = self.conversation.answer(turn, core, |lane, rates| {
            let bucket = allowance.as_mut().and_then(|allowance| allowance.messages.as_mut());
            let mut shared = turn.service.shared_rates.iter().chain(rates);
            let may = bucket.is_none_or(|bucket| bucket.take(turn.now).is_ok())
                && shared.all(|rates| rates.take_message(turn.now));
            lane.count(Counter::RateLimited, u64::from(!may));
            may
        });
        // Queues that are nearly full cannot slow a sender of datagrams down; what they cannot hold is dropped by their own rule.
        core.lane.take_congested();
        outcome
    }
}

fn may_send(allowance: Option<&mut Allowance>, bytes: usize, now: Instant) -> bool {
    let bucket = allowance.and_then(|allowance| allowance.bytes.as_mut());
    // What is beyond the last byte of the allowance becomes a debt, as a datagram cannot be taken in parts.
    bucket.is_none_or(|bucket| {
        let may = bucket.take(now).is_ok();
        if may {
            bucket.charge((bytes as u64).saturating_sub(1), now);
        }
        may
    })
}
