//! Enhanced authentication: messages go to and fro before there is a session, and again while there is one.

use bytes::Bytes;
use thingway_contract::{CloseReason, Connect, Protocol, Refusal, Reply};

use super::{Conversation, Open, Opening, Stage, Step, Stop, Turn};
use crate::{
    access::{Admit, Exchange, Exchanged, ExchangedAgain},
    bus::Counter,
    net::{admission::Checking, core::CoreLocal},
};

/// A client wants to connect, and an exchange with it goes on.
pub(in crate::net) struct Ongoing {
    connect: Connect,
    exchange: Box<Exchange>,
}

impl<P: Protocol> Conversation<P> {
    /// A client wants to connect by an exchange.
    pub(super) fn begin_exchange(&mut self, connect: Connect, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let Some(Opening { peer, .. }) = self.opening() else { return Err(Stop::Gone) };
        let exchanged = turn.service.access.begin_exchange(&connect, peer, P::NAME, turn.now, turn.waker);
        self.exchanged(connect, exchanged, turn, core)
    }

    /// A client that wants to connect goes on with it.
    pub(super) fn go_on(&mut self, data: Option<&Bytes>, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let ongoing = self.opening_mut().and_then(|opening| opening.exchange.take());
        // Only a protocol that is wrong goes on with what was not begun.
        let Some(ongoing) = ongoing else { return Err(Stop::Gone) };
        let Ongoing { connect, exchange } = *ongoing;
        let data = data.map(|data| &data[..]);
        let exchanged = turn.service.access.go_on(*exchange, data, &connect, turn.now, turn.waker);
        self.exchanged(connect, exchanged, turn, core)
    }

    fn exchanged(
        &mut self,
        connect: Connect,
        exchanged: Exchanged,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
    ) -> Step<P> {
        let Some(opening) = self.opening_mut() else { return Err(Stop::Gone) };
        match exchanged {
            Exchanged::Challenge(data, exchange) => {
                opening.exchange = Some(Box::new(Ongoing { connect, exchange }));
                self.machine.reply(Reply::Challenge { data }, turn.now, &mut core.outbox).map_err(Stop::Fault)
            }
            Exchanged::Over(data, admit) => {
                opening.last_data = data;
                match admit {
                    Admit::Done(admitted) => self.admitted(connect, admitted, turn, core),
                    Admit::Later(asking) => {
                        opening.checking = Some(Box::new(Checking { connect, asking }));
                        Ok(())
                    }
                }
            }
        }
    }

    /// A client that is connected proves again who it is.
    pub(super) fn authenticate_again(
        &mut self,
        method: &str,
        data: Option<&Bytes>,
        turn: Turn<'_, P>,
        core: &CoreLocal,
    ) -> Step<P, Reply> {
        let access = &turn.service.access;
        let Some(session) = &self.session else { return Err(Stop::Gone) };
        let begun = match self.stage.as_deref_mut() {
            Some(Stage::Open(open)) => open.again.take(),
            _ => None,
        };
        let begin = || access.begin_again(method, session.id(), &session.connection()?);
        let Some(exchange) = begun.or_else(begin) else {
            return Ok(Reply::Refused(Refusal::BadAuthenticationMethod));
        };
        match access.go_on_again(*exchange, data.map(|data| &data[..]), turn.now) {
            ExchangedAgain::Challenge(data, exchange) => {
                let stage = self.stage.get_or_insert_with(|| Box::new(Stage::Open(Open::default())));
                let Stage::Open(open) = &mut **stage else { return Err(Stop::Gone) };
                open.again = Some(exchange);
                Ok(Reply::Challenge { data })
            }
            ExchangedAgain::Proven(data, mut guard) => {
                if let Some(guard) = &mut guard {
                    guard.watch(access, session, self.epoch);
                }
                let stage = self.stage.get_or_insert_with(|| Box::new(Stage::Open(Open::default())));
                let Stage::Open(open) = &mut **stage else { return Err(Stop::Gone) };
                open.guard = guard;
                Ok(Reply::Reauthenticated { data: Some(data) })
            }
            ExchangedAgain::Refused(refusal) => {
                core.lane.count(Counter::AuthenticationFailure, 1);
                if refusal == Refusal::Banned {
                    return Err(Stop::Gateway(CloseReason::NotAuthorized));
                }
                Ok(Reply::Refused(refusal))
            }
        }
    }
}
