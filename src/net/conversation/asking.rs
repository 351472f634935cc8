//! What a client wants to do and somebody else has to be asked about: it waits, and whatever it wants next waits behind it.

use std::collections::VecDeque;

use thingway_contract::{Instant, Protocol, Request};

use super::{Conversation, Open, Stage, Turn};
use crate::{
    access::{Access, Inquiring, Question},
    bus::Counter,
    net::{core::CoreLocal, naming::Naming, permit::Permits},
};

/// How long is waited before a place among those who ask is looked for again.
const ASK_AGAIN_MS: u64 = 100;

/// Authorities are being asked.
pub(in crate::net) struct Asked {
    waits: Waits,
    /// What waits for the answers, in its order: what the client has sent with one read, for no more is read until then.
    held: VecDeque<Request>,
    /// The conversation ends when what is held is done.
    ends: bool,
    /// They are asked about the client's subscriptions, which are looked at before anything else is done.
    examines: bool,
}

/// What for.
enum Waits {
    /// For answers.
    Answers(Inquiring),
    /// As many ask as may (`access.pending_max`): until then, and is woken then.
    Place(Instant),
}

impl<P: Protocol> Conversation<P> {
    /// True while somebody is asked what the client may do.
    #[inline]
    pub fn is_asking(&self) -> bool {
        self.asked().is_some()
    }

    fn asked(&self) -> Option<&Asked> {
        match self.stage.as_deref()? {
            Stage::Open(open) => open.asked.as_deref(),
            Stage::Opening(_) => None,
        }
    }

    fn open_mut(&mut self) -> Option<&mut Open> {
        match self.stage.as_deref_mut()? {
            Stage::Open(open) => Some(open),
            Stage::Opening(_) => None,
        }
    }

    /// The protocol wants the conversation to end. False when that must wait until what came before is done.
    pub fn may_end(&mut self) -> bool {
        let asked = self.open_mut().and_then(|open| open.asked.as_mut());
        if let Some(asked) = asked {
            asked.ends = true;
            return false;
        }
        true
    }

    /// Gives a request back that can be decided on now. Another waits here.
    pub(super) fn ask_about(&mut self, request: Request, turn: Turn<'_, P>, core: &CoreLocal) -> Option<Request> {
        if let Some(asked) = self.open_mut().and_then(|open| open.asked.as_mut()) {
            asked.held.push_back(request);
            return None;
        }
        if !turn.service.access.asks() {
            return Some(request);
        }
        let Some(session) = &self.session else { return Some(request) };
        let (service, lane, now) = (turn.service, &core.lane, turn.now);
        let naming = Naming::of_session(session, self.stage.as_deref());
        let mut permits = Permits { stage: &mut self.stage, service, session, lane, now };
        let mut questions = permits.questions(&request, &naming);
        if questions.is_empty() {
            return Some(request);
        }
        // Who sends without a pause is always asked about something: what was to be asked about its subscriptions is asked with that.
        let examines = self.must_examine(turn);
        if examines {
            let mut permits = Permits { stage: &mut self.stage, service, session, lane, now };
            questions.extend(permits.examine().1);
        }
        if !self.ask(questions, examines, turn) {
            return Some(request);
        }
        if let Some(asked) = self.open_mut().and_then(|open| open.asked.as_mut()) {
            asked.held.push_back(request);
        }
        None
    }

    /// Begins to ask. False when there are too many questions already: what cannot be asked about is denied.
    fn ask(&mut self, questions: Vec<Question>, examines: bool, turn: Turn<'_, P>) -> bool {
        let Some(session) = &self.session else { return false };
        let access: &Access = &turn.service.access;
        let Some(Stage::Open(Open { guard: Some(guard), asked, .. })) = self.stage.as_deref_mut() else { return false };
        let Some(inquiring) = access.inquire(guard, session.id(), questions, turn.waker) else { return false };
        let waits = Waits::Answers(inquiring);
        *asked = Some(Box::new(Asked { waits, held: VecDeque::new(), ends: false, examines }));
        true
    }

    /// There are too many questions already to ask about the client's subscriptions: what is to be done for it waits as if somebody had been asked.
    fn wait_for_a_place(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) {
        let at = Instant::from_millis(turn.now.as_millis() + ASK_AGAIN_MS);
        core.wheel.arm(at, turn.waker.clone());
        if let Some(open) = self.open_mut() {
            let waits = Waits::Place(at);
            open.asked = Some(Box::new(Asked { waits, held: VecDeque::new(), ends: false, examines: true }));
        }
    }

    /// Takes the answers, if they are there, and puts into the outbox what has waited for them. True when it has.
    pub(super) fn answered(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) -> bool {
        let Some(Open { guard: Some(guard), asked, .. }) = self.open_mut() else { return false };
        let Some(waiting) = asked else { return false };
        let is_over = match &mut waiting.waits {
            Waits::Answers(inquiring) => guard.learn(inquiring, turn.now, turn.waker),
            Waits::Place(at) => *at <= turn.now,
        };
        if !is_over {
            return false;
        }
        let Some(done) = asked.take() else { return false };
        // What was answered is forgotten with the first request that is done.
        if done.examines
            && !self.look_again(turn, core)
            && let Some(asked) = self.open_mut().and_then(|open| open.asked.as_mut())
        {
            (asked.held, asked.ends) = (done.held, done.ends);
            return false;
        }
        if done.held.is_empty() {
            self.has_decided();
        }
        done.held.into_iter().for_each(|request| core.outbox.request(request));
        if done.ends {
            core.outbox.close();
        }
        true
    }

    /// What was asked about was done: what was answered about it alone is forgotten.
    pub(super) fn has_decided(&mut self) {
        if let Some(Open { guard: Some(guard), asked: None, .. }) = self.open_mut() {
            guard.has_decided();
        }
    }

    /// Looks at the client's subscriptions again when rules have changed, and ends those that it may not have any more. False while somebody has to be asked.
    pub(super) fn examine(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) -> bool {
        if self.session.as_ref().is_some_and(|session| session.takes_doubt())
            && let Some(Open { guard: Some(guard), .. }) = self.open_mut()
        {
            guard.doubt();
        }
        if self.is_asking() {
            // Unless its rights are in question what comes for it goes on.
            return !self.must_examine(turn) && !self.asked().is_some_and(|asked| asked.ends);
        }
        if !self.must_examine(turn) {
            return true;
        }
        let is_done = self.look_again(turn, core);
        if is_done {
            self.has_decided();
        }
        is_done
    }

    /// Looks at the client's subscriptions, and ends those that it may not have any more. False while somebody has to be asked.
    fn look_again(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) -> bool {
        let Some(session) = self.session.clone() else { return true };
        let (service, lane, now) = (turn.service, &core.lane, turn.now);
        let mut permits = Permits { stage: &mut self.stage, service, session: &session, lane, now };
        let (denied, questions) = permits.examine();
        if !questions.is_empty() {
            if !self.ask(questions, true, turn) {
                // Nothing is delivered by what nobody has decided about.
                self.wait_for_a_place(turn, core);
            }
            return false;
        }
        let revokes = !denied.is_empty();
        if revokes {
            core.lane.count(Counter::AuthorizationDeny, denied.len() as u64);
            tracing::info!(client_id = %session.id().as_str(), ended = denied.len(), "rules changed: subscriptions were ended");
            turn.service.bus.unsubscribe(&session, denied.into_iter().map(Ok).collect(), turn.now, &mut core.lane);
        }
        if let Some(Open { guard: Some(guard), .. }) = self.open_mut() {
            guard.has_examined(&turn.service.access, revokes);
        }
        true
    }

    /// Subscriptions were ended because rules have changed: what came by them until then may be in the queue, and is not for the client any more.
    pub(super) fn sifts_until(&self) -> Option<Instant> {
        self.stage.as_deref().and_then(Stage::guarded)?.sifts_until()
    }

    fn must_examine(&self, turn: Turn<'_, P>) -> bool {
        let access = &turn.service.access;
        match self.stage.as_deref() {
            Some(Stage::Open(Open { guard: Some(guard), .. })) => guard.must_examine(access),
            Some(Stage::Opening(_)) => false,
            _ => !access.is_open(),
        }
    }
}
