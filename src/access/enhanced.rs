//! Exchanges of more than one message before a client is let in (MQTT 5.0, section 4.12), and again while it is connected.

use std::{sync::Arc, task::Waker};

use bytes::Bytes;
use thingway_contract::{ClientId, Connect, Instant, Peer, Refusal, Transport};

use super::{
    Access, Admit, Guard,
    attempt::{Attempt, Grant},
    chain::Decision,
    entering::Entering,
    entrance::Entrance,
    guard::Identity,
    scram::{Scram, ScramExchange, ScramStep},
    unix_ms,
};
use crate::bus::ConnectionInfo;

/// An exchange with one client.
#[derive(Debug)]
pub struct Exchange {
    scram: Arc<Scram>,
    exchange: ScramExchange,
    attempt: Attempt,
    spoofable: bool,
    /// What counted when it began. Not of a client that is connected, which may take its time: what was to be dropped would stay for it.
    entrance: Option<Arc<Entrance>>,
}

/// What an exchange comes to before the client is connected.
#[derive(Debug)]
pub enum Exchanged {
    /// The client is told this, and answers.
    Challenge(Option<Bytes>, Box<Exchange>),
    /// It is over. The client is told this if it is let in.
    Over(Option<Bytes>, Admit),
}

/// What an exchange comes to with a client that is connected.
#[derive(Debug)]
pub enum ExchangedAgain {
    /// The client is told this, and answers.
    Challenge(Option<Bytes>, Box<Exchange>),
    /// It is still who it was, and is told this. What it may do is said anew.
    Proven(Bytes, Box<Guard>),
    /// It is not.
    Refused(Refusal),
}

#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum Turn {
    Challenge(Option<Bytes>, Box<Exchange>),
    Over(Attempt, bool, Result<(Bytes, Grant), Refusal>),
}

impl Access {
    /// Begins an exchange with somebody who wants to connect and has named a method.
    pub fn begin_exchange(
        &self,
        connect: &Connect,
        peer: &Peer,
        protocol: &'static str,
        now: Instant,
        waker: &Waker,
    ) -> Exchanged {
        let entrance = self.entrance.load_full();
        let mut attempt = Attempt::new(connect, peer, protocol);
        entrance.find_attributes(&mut attempt);
        let Some((scram, exchange)) = entrance.method(connect.credentials.method.as_deref()) else {
            return Exchanged::Over(None, Admit::Done(Err(Refusal::BadAuthenticationMethod)));
        };
        if self.bans.find(&attempt, unix_ms()).is_some() {
            return Exchanged::Over(None, Admit::Done(Err(Refusal::Banned)));
        }
        let spoofable = peer.transport == Transport::Udp;
        let exchange = Exchange { scram, exchange, attempt, spoofable, entrance: Some(entrance) };
        self.go_on(exchange, connect.credentials.data.as_deref(), connect, now, waker)
    }

    /// Takes the client's next message.
    pub fn go_on(
        &self,
        exchange: Exchange,
        data: Option<&[u8]>,
        connect: &Connect,
        now: Instant,
        waker: &Waker,
    ) -> Exchanged {
        let entrance = &exchange.entrance.clone().unwrap_or_else(|| self.entrance.load_full());
        match self.turn(entrance, exchange, data, now) {
            Turn::Challenge(data, exchange) => Exchanged::Challenge(data, exchange),
            Turn::Over(attempt, spoofable, result) => {
                let (data, outcome) = match result {
                    Ok((data, grant)) => (Some(data), Ok(grant)),
                    Err(refusal) => (None, Err(refusal)),
                };
                let decision = Decision { by: Some("scram".into()), outcome };
                let entering = Entering { access: self, entrance, connect, now, waker };
                Exchanged::Over(data, entering.finish(&attempt, spoofable, decision))
            }
        }
    }

    /// Begins an exchange with somebody who is connected under a name, which must stay the same.
    pub fn begin_again(&self, method: &str, client_id: &ClientId, info: &ConnectionInfo) -> Option<Box<Exchange>> {
        let attempt = Attempt {
            client_id: Some(client_id.clone()),
            username: info.username.clone(),
            remote: info.remote,
            listener: info.origin.listener.clone(),
            protocol: info.origin.protocol,
            ..Attempt::default()
        };
        let spoofable = info.origin.transport == Transport::Udp;
        let (scram, exchange) = self.entrance.load().method(Some(method))?;
        Some(Box::new(Exchange { scram, exchange, attempt, spoofable, entrance: None }))
    }

    /// Takes the next message of a client that is connected, and known to be this one.
    pub fn go_on_again(
        &self,
        exchange: Exchange,
        data: Option<&[u8]>,
        known: Option<&Identity>,
        now: Instant,
    ) -> ExchangedAgain {
        let entrance = self.entrance.load_full();
        let backoff = entrance.backoff.as_ref();
        match self.turn(&entrance, exchange, data, now) {
            Turn::Challenge(data, exchange) => ExchangedAgain::Challenge(data, exchange),
            Turn::Over(attempt, spoofable, Ok((data, grant))) => {
                if let Some(backoff) = backoff {
                    backoff.succeeded(&attempt, spoofable);
                }
                let identity = match known {
                    // What it showed first goes on to hold.
                    Some(known) => {
                        let attributes = grant.attributes.over(&known.grant.attributes);
                        known.with_grant(Grant { attributes, ..grant })
                    }
                    None => Identity::new(&attempt, grant),
                };
                ExchangedAgain::Proven(data, Box::new(Guard::new(identity.into(), None, None)))
            }
            Turn::Over(attempt, spoofable, Err(refusal)) => {
                if let (Some(backoff), Refusal::BadCredentials) = (backoff, &refusal) {
                    backoff.failed(&attempt, spoofable, now.as_millis());
                }
                ExchangedAgain::Refused(refusal)
            }
        }
    }

    fn turn(&self, entrance: &Entrance, exchange: Exchange, data: Option<&[u8]>, now: Instant) -> Turn {
        let Exchange { scram, exchange, mut attempt, spoofable, entrance: began_by } = exchange;
        match scram.step(exchange, data, &attempt, unix_ms()) {
            ScramStep::Challenge(data, exchange) => {
                if let Some(username) = exchange.username() {
                    attempt.username = Some(username.into());
                    if let Some(refusal) = self.turned_away(entrance, &attempt, spoofable, now) {
                        return Turn::Over(attempt, spoofable, Err(refusal));
                    }
                }
                Turn::Challenge(data, Box::new(Exchange { scram, exchange, attempt, spoofable, entrance: began_by }))
            }
            ScramStep::Proven(username, data, grant) => {
                attempt.username = Some(username);
                Turn::Over(attempt, spoofable, Ok((data, grant)))
            }
            ScramStep::Refused(username, refusal) => {
                attempt.username = username.or(attempt.username);
                Turn::Over(attempt, spoofable, Err(refusal))
            }
        }
    }

    /// Now that a name is known: whether it is kept out, or has to wait.
    fn turned_away(&self, entrance: &Entrance, attempt: &Attempt, spoofable: bool, now: Instant) -> Option<Refusal> {
        if self.bans.find(attempt, unix_ms()).is_some() {
            return Some(Refusal::Banned);
        }
        let waits = entrance.backoff.as_ref().is_some_and(|it| it.holds(attempt, spoofable, now.as_millis()));
        waits.then_some(Refusal::ConnectionRateExceeded)
    }
}

impl Entrance {
    /// The exchange of a method that is not another's.
    fn method(&self, method: Option<&str>) -> Option<(Arc<Scram>, ScramExchange)> {
        Some((self.settings.scram.clone()?, Scram::begin(method?)?))
    }
}
