use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use thingway_coap::{
    codec::{Code, Kind, Packet, option},
    message::{Endpoint, Incoming, Lost, MessageError, Transmission},
};
use thingway_contract::{self as contract, Outbox};
use tokio::time::Instant;

use super::answer::Observation;
use crate::cli::client::{error::ClientError, udp::Datagrams};

/// Most notifications that wait to be printed while something is asked; further ones are lost.
const WAITING_MAX: usize = 1024;

/// Something that happened to a request.
#[derive(Debug)]
pub enum Event {
    /// A response to the request with this tag, or one more of an observation.
    Response(u32, Packet),
    /// A request was acknowledged; its response takes longer.
    Acknowledged(u32),
    /// The server can do nothing with the message with this id.
    Reset(u16),
    /// The server does not answer.
    Lost(u32),
}

/// Something to be printed.
#[derive(Debug)]
pub struct Notification {
    /// Of which observation.
    pub tag: u32,
    /// What came.
    pub packet: Packet,
    /// It answers the registration: it is what was there before.
    pub is_first: bool,
}

/// The socket with the message layer.
pub struct Link {
    socket: Datagrams,
    endpoint: Endpoint,
    transmission: Transmission,
    out: Outbox,
    /// Datagrams that are to be sent.
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// Notifications that came while something else was waited for.
    waiting: VecDeque<Notification>,
    last_tag: u32,
    start: Instant,
    /// What the server shall see again, as a proof that this client is where it says (RFC 9175, section 2.3).
    pub(super) echo: Option<Vec<u8>>,
}

impl Link {
    pub fn new(socket: Datagrams, transmission: Transmission) -> Self {
        Self {
            socket,
            endpoint: Endpoint::new(RandomState::new().hash_one(std::process::id())),
            transmission,
            out: Outbox::default(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            waiting: VecDeque::new(),
            last_tag: 0,
            start: Instant::now(),
            echo: None,
        }
    }

    fn now(&self) -> contract::Instant {
        contract::Instant::ZERO + self.start.elapsed()
    }

    /// The next event; `None` when there is none before `until`. May be cancelled and called again.
    pub async fn event(&mut self, until: Option<Instant>) -> Result<Option<Event>, ClientError> {
        loop {
            self.flush().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let deadline = self.endpoint.deadline();
            let deadline = (!deadline.is_never()).then(|| self.start + deadline.since(contract::Instant::ZERO));
            let received = match deadline.into_iter().chain(until).min() {
                Some(deadline) => self.socket.receive_before(deadline).await?,
                None => Some(self.socket.receive().await?),
            };
            match received {
                Some(datagram) => self.take(&datagram)?,
                None if until.is_some_and(|until| until <= Instant::now()) => return Ok(None),
                None => {
                    let now = self.now();
                    for lost in self.endpoint.timeout(&self.transmission, now, &mut self.out) {
                        let (Lost::GivenUp(tag) | Lost::NoResponse(tag)) = lost;
                        self.events.push_back(Event::Lost(tag));
                    }
                }
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) -> Result<(), ClientError> {
        let now = self.now();
        match self.endpoint.receive(datagram, &self.transmission, now, &mut self.out) {
            Ok(Incoming::Response(tag, packet)) => self.events.push_back(Event::Response(tag, packet)),
            Ok(Incoming::Reset(id, _)) => self.events.push_back(Event::Reset(id)),
            Ok(Incoming::Request(exchange, _)) => self.endpoint.reject(exchange, &mut self.out),
            Ok(Incoming::Acknowledged(tag)) => self.events.push_back(Event::Acknowledged(tag)),
            Ok(Incoming::Nothing) => {}
            Err(MessageError::Format(error)) => return Err(ClientError::BadPacket(format!("{error:?}"))),
            // Late, or of an observation that has ended: it was answered with a reset.
            Err(_) => {}
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.outgoing.extend(self.out.datagrams().map(<[u8]>::to_vec));
        self.out.clear();
        while let Some(datagram) = self.outgoing.front() {
            self.socket.send(datagram).await?;
            self.outgoing.pop_front();
        }
        Ok(())
    }

    /// Sends a request, under a new token if it has none yet.
    fn send(&mut self, request: &mut Packet, confirmable: bool, tag: u32) {
        if request.token().is_empty() {
            let token = self.endpoint.random().to_be_bytes();
            request.set_token(&token[..4]);
        }
        let now = self.now();
        self.endpoint.ask(request, confirmable, tag, &self.transmission, now, &mut self.out);
    }

    /// A part of a span of time that nobody can foretell.
    pub fn share_of(&mut self, spread: Duration) -> Duration {
        spread.mul_f64(self.endpoint.random() as f64 / u64::MAX as f64)
    }

    /// What a request is called here.
    pub fn fresh_tag(&mut self) -> u32 {
        self.last_tag += 1;
        self.last_tag
    }

    /// The response to a request, and whether it was surely meant as one; `None` when there is none before `until`. Notifications that come first wait.
    async fn response(
        &mut self,
        tag: u32,
        id: u16,
        until: Option<Instant>,
        name: &'static str,
    ) -> Result<Option<(Packet, bool)>, ClientError> {
        let mut acknowledged = false;
        loop {
            match self.event(until).await? {
                None => {
                    self.endpoint.forget(tag);
                    return Ok(None);
                }
                Some(Event::Response(of, packet)) if of == tag => {
                    let meant = acknowledged || packet.kind() == Kind::Acknowledgement;
                    return Ok(Some((packet, meant)));
                }
                Some(Event::Response(of, packet)) => self.put_back(of, packet, false),
                Some(Event::Acknowledged(of)) => acknowledged |= of == tag,
                Some(Event::Reset(of)) if of == id => {
                    self.endpoint.forget(tag);
                    return Err(ClientError::Rejected(name));
                }
                Some(Event::Lost(of)) if of == tag => return Err(ClientError::Unanswered(name)),
                Some(_) => {}
            }
        }
    }

    /// Sends a confirmable request and awaits the response.
    pub(super) async fn request(&mut self, mut request: Packet, name: &'static str) -> Result<Packet, ClientError> {
        let tag = self.fresh_tag();
        self.send(&mut request, true, tag);
        let response = self.response(tag, request.id(), None, name).await?;
        response.map(|(response, _)| response).ok_or(ClientError::Unanswered(name))
    }

    /// Sends a non-confirmable request. Nobody knows whether there will be a response: it is waited for as long as one usually takes.
    pub(super) async fn tell(
        &mut self,
        mut request: Packet,
        name: &'static str,
    ) -> Result<Option<Packet>, ClientError> {
        let tag = self.fresh_tag();
        self.send(&mut request, false, tag);
        let until = Instant::now() + Duration::from_millis(self.transmission.ack_timeout_ms.into());
        let response = self.response(tag, request.id(), Some(until), name).await?;
        Ok(response.map(|(response, _)| response))
    }

    /// Registers an observation under a tag: its token, and the response.
    ///
    /// When the response is lost a notification may come before it, and the message layer takes that for the response (RFC 7641, section 4.1). The
    /// retained message would be missing then, so it is asked for once more.
    pub async fn observe(&mut self, request: &Packet, tag: u32) -> Result<(Vec<u8>, Packet), ClientError> {
        let mut request = request.clone();
        request.push_uint(option::OBSERVE, 0);
        let mut is_repeated = false;
        loop {
            request.remove(option::ECHO);
            if let Some(echo) = self.echo.take() {
                request.push(option::ECHO, &echo);
            }
            self.send(&mut request, true, tag);
            let response = self.response(tag, request.id(), None, "GET").await?;
            let (response, meant) = response.ok_or(ClientError::Unanswered("GET"))?;
            self.keep_echo(&response);
            let is_challenge = response.code() == Code::UNAUTHORIZED && self.echo.is_some();
            if is_challenge && !request.has(option::ECHO) {
                continue;
            }
            if meant || is_repeated || !response.code().is_success() {
                return Ok((request.token().to_vec(), response));
            }
            self.put_back(tag, response, false);
            is_repeated = true;
        }
    }

    /// Ends an observation. Notifications that are still on their way are not wanted any more.
    pub async fn end_observation(&mut self, observation: Observation) -> Result<Packet, ClientError> {
        self.endpoint.forget(observation.tag);
        let mut request = observation.request;
        request.push_uint(option::OBSERVE, 1);
        request.set_token(observation.again.token());
        self.request(request, "GET").await
    }

    /// Keeps a notification for later.
    pub fn put_back(&mut self, tag: u32, packet: Packet, is_first: bool) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Notification { tag, packet, is_first });
        }
    }

    /// The next notification that was kept.
    pub fn take_notification(&mut self) -> Option<Notification> {
        self.waiting.pop_front()
    }
}
