//! From CONNECT to a session: whether there may be one, and what it waits for.

use thingway_contract::{
    ClientId, ClientIdSource, Connect, Connected, Peer, Protocol, Refusal, Reply, Request, Token, Will,
};

use super::{Conversation, Opening, Stage, Step, Stop, Turn};
use crate::{
    access::{Admission, Admit, Guard, names::Names},
    bus::{ConnectOutcome, ConnectionInfo, Counter, DepartCause, Granted, SessionRequest},
    net::{
        admission::{self, Checking},
        core::CoreLocal,
        naming::{Naming, OwnNames},
    },
};

impl<P: Protocol> Conversation<P> {
    pub(super) fn begin_connect(&mut self, mut connect: Connect, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let Turn { service, now, .. } = turn;
        if let Some(info) = self.session.as_ref().and_then(|session| session.connection()) {
            self.depart(DepartCause::Normal, turn.service, now, &mut core.lane);
            self.stage = Stage::opening(peer_again(&info));
        }
        let Some(Opening { peer, .. }) = self.opening() else { return Err(Stop::Gone) };
        let named = take_client_id(&mut connect, peer);
        if self.shed {
            return self.refuse_session(Refusal::Busy, turn, core);
        }
        let is_assigned = match named {
            Ok(is_assigned) => is_assigned,
            Err(refusal) => return self.refuse_session(refusal, turn, core),
        };
        if connect.credentials.method.is_some() {
            return self.begin_exchange(connect, is_assigned, turn, core);
        }
        match service.access.begin(&connect, peer, P::NAME, now, turn.waker) {
            Admit::Done(admitted) => self.admitted(connect, is_assigned, admitted, turn, core),
            Admit::Later(asking) => {
                let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
                opening.checking = Some(Box::new(Checking { connect, is_assigned, asking }));
                Ok(())
            }
        }
    }

    /// It was decided whether the peer may have a session.
    pub(super) fn admitted(
        &mut self,
        connect: Connect,
        is_assigned: bool,
        admitted: Result<Admission, Refusal>,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
    ) -> Step<P> {
        let Turn { service, now, .. } = turn;
        admission::count(&admitted, &core.lane);
        if service.bus.watch().is_traced() {
            self.trace_admitted(&connect, &admitted, turn);
        }
        let admission = match admitted {
            Ok(admission) => admission,
            Err(refusal) => return self.refuse_session(refusal, turn, core),
        };
        let mount = admission.guard.as_ref().and_then(|guard| guard.mount()).cloned();
        let will = {
            let client_id = connect.client_id.as_ref().map_or("", |id| id.as_str());
            let names = OwnNames::of(admission.names.clone(), mount.is_some());
            let naming = Naming::of_client(names, client_id, admission.username.as_deref(), mount.as_ref());
            connect.will.map(|will| naming.rewritten_will(will).and_then(|will| naming.inward_will(will)))
        };
        let will = match will {
            Some(None) => return self.refuse_session(Refusal::NotAuthorized, turn, core),
            Some(will) => will,
            None => None,
        };
        let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
        opening.guard = admission.guard;
        opening.names = Some(admission.names);
        let remote = opening.peer.remote;
        let request = SessionRequest {
            client_id: connect.client_id,
            clean_start: connect.clean_start,
            must_exist: connect.must_exist,
            resume_key: connect.resume_key,
            keep_will: connect.keep_will,
            session_expiry_secs: connect.session_expiry_secs,
            will,
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
            assigned: is_assigned,
            prefix: mount.map(|mount| mount.prefix().clone()),
        };
        self.connect(Box::new(request), turn, core)
    }

    #[cold]
    fn trace_admitted(&self, connect: &Connect, admitted: &Result<Admission, Refusal>, turn: Turn<'_, P>) {
        let client_id = connect.client_id.as_ref().map_or("", |id| id.as_str());
        let remote = self.opening().and_then(|opening| opening.peer.remote);
        let shown = connect.credentials.username.as_deref();
        let (username, outcome) = match admitted {
            Ok(admission) => (admission.username.as_deref().or(shown), "allowed".to_owned()),
            Err(refusal) => (shown, format!("refused: {refusal:?}")),
        };
        turn.service.bus.watch().admitted(client_id, username, remote, &outcome);
    }

    fn connect(&mut self, mut request: Box<SessionRequest>, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        match turn.service.bus.connect(&mut request, turn.now, &mut core.lane) {
            ConnectOutcome::Granted(granted) => {
                let Granted { session, epoch, connected } = *granted;
                self.session = Some(session);
                self.epoch = epoch;
                self.opened(connected, turn, core)
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

    /// The session is there: what it is guarded by stays, and the client is told.
    fn opened(&mut self, mut connected: Connected, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let service = turn.service;
        connected.authentication_data = self.opening_mut().and_then(|opening| opening.last_data.take());
        let mut guard = self.opening_mut().and_then(|opening| opening.guard.take());
        if let (Some(guard), Some(session)) = (&mut guard, &self.session) {
            guard.watch(&service.access, session, self.epoch);
            if connected.session_present {
                guard.resumes(turn.now);
            }
            if session.subscriptions_len() == 0 {
                guard.has_examined(&service.access, false);
            }
        }
        let names = self.opening_mut().and_then(|opening| opening.names.take());
        let unasked = names.clone().filter(|names| !names.auto_subscriptions.is_empty());
        self.stage = Stage::at_rest(guard, names);
        if let (Some(mount), Some(parked)) = (self.stage.as_deref().and_then(Stage::mount), &mut connected.parked) {
            // A session that has subscriptions elsewhere was discarded. One that had some may have left what is not for this client's eyes.
            parked.outbound.retain_mut(|left| {
                let is_here = left.delivery.as_mut().is_none_or(|delivery| mount.hide(delivery));
                if let (false, Some(session)) = (is_here, &self.session) {
                    core.lane.count(Counter::DeliveryTopicUnknown, 1);
                    service.bus.acknowledged(session, left.packet_id);
                }
                is_here
            });
            parked.will = parked.will.take().and_then(|will| {
                let message = mount.outward(&will.message);
                if let (None, Some(session)) = (&message, &self.session) {
                    service.bus.set_will(session, self.epoch, None);
                }
                Some(Box::new(Will { message: message?, ..*will }))
            });
        }
        let reply = Reply::Connected(Box::new(connected));
        self.machine.reply(reply, turn.now, &mut core.outbox).map_err(Stop::Fault)?;
        if let Some(names) = unasked {
            self.subscribe_unasked(&names, core);
        }
        Ok(())
    }

    /// Subscribes the client to what all are subscribed to without asking, as far as the rules allow that.
    fn subscribe_unasked(&self, names: &Names, core: &mut CoreLocal) {
        let Some(session) = &self.session else { return };
        let wanted = match (self.stage.as_deref().and_then(Stage::guarded), session.connection()) {
            (Some(guard), _) => names.auto_subscriptions(&guard.identity().who(session.id())),
            (None, Some(info)) => names.auto_subscriptions(&Guard::of_connection(&info).identity().who(session.id())),
            (None, None) => return,
        };
        let subscriptions: Vec<_> = wanted.into_iter().map(Ok).collect();
        if !subscriptions.is_empty() {
            core.outbox.request(Request::Subscribe { token: Token::NONE, subscriptions });
        }
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
            let Checking { connect, is_assigned, .. } = *checking;
            self.admitted(connect, is_assigned, admitted, turn, core)?;
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
                self.opened(granted.connected, turn, core)?;
            }
            Some(Err(refusal)) => {
                opening.reserved = None;
                self.refuse_session(refusal, turn, core)?;
            }
        }
        Ok(!self.is_pending())
    }
}

/// Gives the peer the client id that its certificate says, where the listener wants that. True when it had none of its own.
fn take_client_id(connect: &mut Connect, peer: &Peer) -> Result<bool, Refusal> {
    let id = match peer.certificate.as_deref().map(|certificate| &certificate.client_id) {
        None | Some(ClientIdSource::Peer) => return Ok(false),
        Some(ClientIdSource::Missing) => return Err(Refusal::ClientIdRejected),
        Some(ClientIdSource::Certificate(id)) => id,
    };
    let id = ClientId::new(id, usize::from(u16::MAX)).map_err(|_| Refusal::ClientIdRejected)?;
    Ok(connect.client_id.replace(id).is_none())
}

/// The peer of a conversation whose session it was forgotten for.
fn peer_again(info: &ConnectionInfo) -> Peer {
    Peer {
        remote: info.remote,
        local: None,
        transport: info.origin.transport,
        node: Box::default(),
        listener: info.origin.listener.clone(),
        certificate: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thingway_contract::{Certificate, Credentials, Transport};

    use super::*;

    fn named(client_id: Option<&str>, source: Option<ClientIdSource>) -> (Result<bool, Refusal>, Option<String>) {
        let mut connect = Connect {
            client_id: client_id.and_then(|id| ClientId::new(id, 99).ok()),
            clean_start: true,
            must_exist: false,
            resume_key: None,
            keep_will: false,
            session_expiry_secs: 0,
            credentials: Credentials::default(),
            will: None,
            version: 5,
            keep_alive_secs: 0,
            receive_maximum: 1,
        };
        let certificate = source.map(|client_id| Arc::new(Certificate { client_id, ..Certificate::default() }));
        let peer = Peer {
            remote: None,
            local: None,
            transport: Transport::Tls,
            node: Box::default(),
            listener: "tls.default".into(),
            certificate,
        };
        let taken = take_client_id(&mut connect, &peer);
        (taken, connect.client_id.map(|id| id.to_string()))
    }

    #[test]
    fn a_certificate_may_say_the_client_id() {
        let certificate = |id: &str| Some(ClientIdSource::Certificate(id.into()));
        let own = || Some("own".to_owned());
        assert_eq!(named(Some("own"), None), (Ok(false), own()));
        assert_eq!(named(Some("own"), Some(ClientIdSource::Peer)), (Ok(false), own()));
        assert_eq!(named(Some("own"), certificate("device")), (Ok(false), Some("device".into())));
        assert_eq!(named(None, certificate("device")), (Ok(true), Some("device".into())), "it has to be told");
        for refused in [Some(ClientIdSource::Missing), certificate("")] {
            assert_eq!(named(Some("own"), refused), (Err(Refusal::ClientIdRejected), own()));
        }
    }
}
