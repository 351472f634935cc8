//! From CONNECT to a session: whether there may be one, and what it waits for.

use bytes::Bytes;
use thingway_contract::{Connect, Peer, Protocol, Refusal, Reply};

use super::{Conversation, Opening, Stage, Step, Stop, Turn};
use crate::{
    access::{Admission, Admit},
    bus::{ConnectOutcome, ConnectionInfo, Counter, DepartCause, Granted, SessionRequest},
    net::{
        admission::{self, Checking},
        core::CoreLocal,
        service::Service,
    },
};

impl<P: Protocol> Conversation<P> {
    pub(super) fn begin_connect(&mut self, connect: Connect, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let Turn { service, now, .. } = turn;
        if let Some(info) = self.session.as_ref().and_then(|session| session.connection()) {
            self.depart(DepartCause::Normal, turn.service, now, &mut core.lane);
            self.stage = Stage::opening(peer_again(&info));
        }
        let Some(Opening { peer, .. }) = self.opening() else { return Err(Stop::Gone) };
        if self.shed {
            return self.refuse_session(Refusal::Busy, turn, core);
        }
        if connect.credentials.method.is_some() {
            return self.begin_exchange(connect, turn, core);
        }
        match service.access.begin(&connect, peer, P::NAME, now, turn.waker) {
            Admit::Done(admitted) => self.admitted(connect, admitted, turn, core),
            Admit::Later(asking) => {
                let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
                opening.checking = Some(Box::new(Checking { connect, asking }));
                Ok(())
            }
        }
    }

    /// It was decided whether the peer may have a session.
    pub(super) fn admitted(
        &mut self,
        connect: Connect,
        admitted: Result<Admission, Refusal>,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
    ) -> Step<P> {
        let Turn { service, now, .. } = turn;
        admission::count(&admitted, &core.lane);
        let admission = match admitted {
            Ok(admission) => admission,
            Err(refusal) => return self.refuse_session(refusal, turn, core),
        };
        let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
        opening.guard = admission.guard;
        let remote = opening.peer.remote;
        let request = SessionRequest {
            client_id: connect.client_id,
            clean_start: connect.clean_start,
            must_exist: connect.must_exist,
            resume_key: connect.resume_key,
            keep_will: connect.keep_will,
            session_expiry_secs: connect.session_expiry_secs,
            will: connect.will,
            info: ConnectionInfo {
                origin: service.origin.clone(),
                version: connect.version,
                remote,
                username: admission.username,
                keep_alive_secs: connect.keep_alive_secs,
                connected_at: now,
                clean_start: connect.clean_start,
            },
            waker: turn.waker.clone(),
            core: core.lane.core(),
            assigned: false,
        };
        self.connect(Box::new(request), turn, core)
    }

    fn connect(&mut self, mut request: Box<SessionRequest>, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        match turn.service.bus.connect(&mut request, turn.now, &mut core.lane) {
            ConnectOutcome::Granted(granted) => {
                let Granted { session, epoch, mut connected } = *granted;
                self.session = Some(session);
                self.epoch = epoch;
                connected.authentication_data = self.opened(turn.service);
                let reply = Reply::Connected(Box::new(connected));
                self.machine.reply(reply, turn.now, &mut core.outbox).map_err(Stop::Fault)
            }
            ConnectOutcome::Occupied => {
                let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
                opening.pending = Some(request);
                Ok(())
            }
            ConnectOutcome::Reserved(reserved) => {
                self.session = Some(reserved.session.clone());
                self.epoch = reserved.epoch;
                let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
                opening.pending = Some(request);
                opening.reserved = Some(reserved);
                Ok(())
            }
            ConnectOutcome::Refused(refusal) => self.refuse_session(refusal, turn, core),
        }
    }

    /// The session is there: what it is guarded by stays, and what its client is told at the end of an exchange is given back.
    fn opened(&mut self, service: &Service<P>) -> Option<Bytes> {
        let last_data = self.opening_mut().and_then(|opening| opening.last_data.take());
        let mut guard = self.opening_mut().and_then(|opening| opening.guard.take());
        if let (Some(guard), Some(session)) = (&mut guard, &self.session) {
            guard.watch(&service.access, session, self.epoch);
            if session.subscriptions_len() == 0 {
                guard.has_examined(&service.access, false);
            }
        }
        self.stage = Stage::at_rest(guard);
        last_data
    }

    fn refuse_session(&mut self, refusal: Refusal, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        core.lane.count(Counter::ClientRefused, 1);
        turn.service.faults.refused(&self.remote(), P::NAME, &refusal, turn.now);
        self.wrote_last_words = true;
        self.machine.reply(Reply::Refused(refusal), turn.now, &mut core.outbox).map_err(Stop::Fault)
    }

    /// Gives replies that had to wait, and asks again for a session that another connection had or that had to be recorded. True when there was an
    /// answer, which may have left requests in the outbox.
    pub fn poll_pending(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P, bool> {
        if self.answered(turn, core) | self.settle(turn.service, core, turn.now)? {
            return Ok(true);
        }
        let Some(opening) = self.opening_mut() else { return Ok(false) };
        if let Some(mut checking) = opening.checking.take() {
            let Some(admitted) = checking.take(&turn.service.access, turn.now, turn.waker) else {
                opening.checking = Some(checking);
                return Ok(false);
            };
            self.admitted(checking.connect, admitted, turn, core)?;
            return Ok(!self.is_pending());
        }
        let Some(request) = opening.pending.take() else { return Ok(false) };
        let Some(reserved) = &opening.reserved else {
            self.connect(request, turn, core)?;
            return Ok(!self.is_pending());
        };
        match turn.service.bus.granted(reserved, &request, turn.now, &mut core.lane) {
            None => opening.pending = Some(request),
            Some(Ok(granted)) => {
                let mut connected = granted.connected;
                connected.authentication_data = self.opened(turn.service);
                let reply = Reply::Connected(Box::new(connected));
                self.machine.reply(reply, turn.now, &mut core.outbox).map_err(Stop::Fault)?;
            }
            Some(Err(refusal)) => {
                opening.reserved = None;
                self.refuse_session(refusal, turn, core)?;
            }
        }
        Ok(!self.is_pending())
    }
}

/// The peer of a conversation whose session it was forgotten for.
fn peer_again(info: &ConnectionInfo) -> Peer {
    Peer {
        remote: info.remote,
        local: None,
        transport: info.origin.transport,
        node: Box::default(),
        listener: info.origin.listener.clone(),
        certificate_identity: None,
    }
}
