//! The message layer (RFC 7252, section 4) of one conversation, the same for both sides: it knows duplicates, sends again what must be acknowledged,
//! and matches responses to requests. It knows nothing of resources.
//!
//! | module | what |
//! | --- | --- |
//! | `transmission` | the parameters, and the times that follow from them |
//! | `exchanges` | messages of the peer that came lately, with their answers |
//! | `flights` | confirmable messages of ours that are not acknowledged |

mod exchanges;
mod flights;
mod transmission;

use std::time::Duration;

use smallvec::SmallVec;
use thingway_contract::{Instant, Outbox};

pub use self::transmission::Transmission;
use self::{
    exchanges::{Answer, Exchanges},
    flights::{Flight, Flights},
};
use crate::{
    codec::{Code, FormatError, Header, Kind, Packet, TokenBytes, check},
    hash::Random,
};

/// What a request is answered by: [`Endpoint::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request's message id.
    pub id: u16,
    /// It must be acknowledged.
    pub confirmable: bool,
}

/// What a datagram was.
#[derive(Debug)]
pub enum Incoming {
    /// A request that was not seen before.
    Request(Exchange, Packet),
    /// The response to a request of ours, by the tag it was sent with.
    Response(u32, Packet),
    /// A confirmable message of ours was acknowledged.
    Acknowledged(u32),
    /// The peer does not want what came with this message id; the tag is known if it was confirmable.
    Reset(u16, Option<u32>),
    /// A duplicate, a ping, or an acknowledgement of what is long forgotten: dealt with.
    Nothing,
}

/// Why a datagram was not handled. It was answered where the specification wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// No CoAP message.
    Format(FormatError),
    /// A response to nothing that was asked.
    UnexpectedResponse(Code),
}

/// A message of ours that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A confirmable message that was sent as often as may be, and never acknowledged.
    GivenUp(u32),
    /// A request whose response never came.
    NoResponse(u32),
}

/// A request of ours.
#[derive(Debug)]
struct Asked {
    token: TokenBytes,
    tag: u32,
    /// Responses go on coming (RFC 7641).
    observing: bool,
    expires: Instant,
}

#[derive(Debug, Default)]
struct Requests {
    list: Vec<Asked>,
}

/// Kinds of packet as they are counted: by code, and empty messages apart.
pub(crate) const PACKET_NAMES: [&str; 13] =
    ["empty", "reset", "get", "post", "put", "delete", "fetch", "patch", "ipatch", "other", "2.xx", "4.xx", "5.xx"];

fn kind_number(kind: Kind, code: Code) -> u8 {
    match (kind, code.class()) {
        (Kind::Reset, _) => 1,
        (_, 0) if code == Code::EMPTY => 0,
        (_, 0) if code.0 <= 7 => code.0 + 1,
        (_, 2) => 10,
        (_, 4) => 11,
        (_, 5) => 12,
        _ => 9,
    }
}

/// Tag of messages whose fate nobody asks about.
pub const UNTAGGED: u32 = u32::MAX;

/// One side of a conversation with one peer.
#[derive(Debug)]
pub struct Endpoint {
    random: Random,
    exchanges: Option<Box<Exchanges>>,
    flights: Option<Box<Flights>>,
    asked: Option<Box<Requests>>,
    /// What message ids are the clock's ticks plus.
    first_id: u16,
    /// The tick that the last message id was made of.
    last_tick: u32,
}

impl Endpoint {
    /// The seed decides about message ids and the randomness of back-off: one that a stranger cannot know keeps him from guessing them.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let first_id = random.next() as u16;
        Self { random, exchanges: None, flights: None, asked: None, first_id, last_tick: 0 }
    }

    /// With the same number for all conversations with a peer, none repeats the message ids of the one before within their lifetime: the peer would take
    /// a new message for a duplicate, acknowledge it and drop it.
    #[must_use]
    pub fn with_first_id(mut self, first_id: u16) -> Self {
        self.first_id = first_id;
        self
    }

    /// A number that a stranger cannot know.
    pub fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// Message ids follow the clock where they can, so that none comes again before the peer has forgotten it (section 4.4), also if it was another
    /// conversation that used it. At more than 166 messages a second, with the default parameters, they run ahead of the clock.
    fn fresh_id(&mut self, settings: &Transmission, now: Instant) -> u16 {
        let tick = settings.id_ticks(now.as_millis());
        let ahead = tick.wrapping_sub(self.last_tick);
        self.last_tick = if ahead == 0 || ahead > u32::MAX / 2 { self.last_tick.wrapping_add(1) } else { tick };
        self.first_id.wrapping_add(self.last_tick as u16)
    }

    /// Handles a datagram as far as the message layer can: answers duplicates and pings, rejects what is malformed (sections 4.2 and 4.3).
    pub fn receive(
        &mut self,
        datagram: &[u8],
        settings: &Transmission,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Incoming, MessageError> {
        let header = match check(datagram) {
            Ok(header) => header,
            Err(error) => {
                self.reject_malformed(datagram, error, out);
                return Err(MessageError::Format(error));
            }
        };
        out.count_received(kind_number(header.kind, header.code));
        let incoming = match header.kind {
            Kind::Reset => {
                let flight = self.flights.as_mut().and_then(|flights| flights.take(header.id));
                Ok(Incoming::Reset(header.id, flight.map(|flight| flight.tag)))
            }
            Kind::Acknowledgement => self.on_acknowledgement(header, datagram),
            Kind::Confirmable if header.code == Code::EMPTY => {
                // A ping (section 4.3).
                write_empty(Kind::Reset, header.id, out);
                Ok(Incoming::Nothing)
            }
            Kind::Confirmable | Kind::NonConfirmable => self.on_message(header, datagram, settings, now, out),
        };
        self.launch(settings, now, out);
        incoming
    }

    fn reject_malformed(&self, datagram: &[u8], error: FormatError, out: &mut Outbox) {
        let Some(header) = Header::peek(datagram) else { return };
        // Another version cannot be rejected, for its header may mean anything (section 3).
        if header.kind == Kind::Confirmable && !matches!(error, FormatError::Version(_)) {
            write_empty(Kind::Reset, header.id, out);
        }
    }

    fn on_acknowledgement(&mut self, header: Header, datagram: &[u8]) -> Result<Incoming, MessageError> {
        let flight = self.flights.as_mut().and_then(|flights| flights.take(header.id));
        if header.code == Code::EMPTY {
            return Ok(flight.map_or(Incoming::Nothing, |flight| Incoming::Acknowledged(flight.tag)));
        }
        let packet = Packet::decode(datagram).map_err(MessageError::Format)?;
        match self.match_response(&packet) {
            Some(tag) => Ok(Incoming::Response(tag, packet)),
            None => Err(MessageError::UnexpectedResponse(packet.code())),
        }
    }

    fn on_message(
        &mut self,
        header: Header,
        datagram: &[u8],
        settings: &Transmission,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Incoming, MessageError> {
        let confirmable = header.kind == Kind::Confirmable;
        let exchanges = self.exchanges.get_or_insert_default();
        if let Some(answer) = exchanges.find(header.id, now) {
            match answer {
                Answer::Bytes(bytes) if confirmable => write_bytes(bytes, out),
                Answer::Acknowledgement if confirmable => write_empty(Kind::Acknowledgement, header.id, out),
                _ => {}
            }
            return Ok(Incoming::Nothing);
        }
        let packet = Packet::decode(datagram).map_err(MessageError::Format)?;
        let lifetime = if confirmable { settings.exchange_lifetime() } else { settings.non_lifetime() };
        let safe = !header.code.is_request() || header.code.is_safe();
        if header.code.is_request() {
            exchanges.begin(header.id, safe, now + lifetime, settings.exchanges_max);
            return Ok(Incoming::Request(Exchange { id: header.id, confirmable }, packet));
        }
        let Some(tag) = self.match_response(&packet) else {
            // So an observation that is no longer wanted ends (RFC 7641, section 3.6).
            write_empty(Kind::Reset, header.id, out);
            return Err(MessageError::UnexpectedResponse(header.code));
        };
        let exchanges = self.exchanges.get_or_insert_default();
        exchanges.begin(header.id, safe, now + lifetime, settings.exchanges_max);
        if confirmable {
            exchanges.settle(header.id, Answer::Acknowledgement);
            write_empty(Kind::Acknowledgement, header.id, out);
        }
        Ok(Incoming::Response(tag, packet))
    }

    /// The tag of the request that this is the response to (section 5.3.2).
    fn match_response(&mut self, packet: &Packet) -> Option<u32> {
        let asked = &mut self.asked.as_mut()?.list;
        let at = asked.iter().position(|asked| asked.token.as_slice() == packet.token())?;
        let tag = asked[at].tag;
        if asked[at].observing && packet.code().is_success() {
            asked[at].expires = Instant::NEVER;
        } else {
            asked.swap_remove(at);
        }
        // The response says that the request came, whether or not its acknowledgement did (section 5.2.2).
        if let Some(flights) = &mut self.flights {
            flights.drop_tagged(tag);
        }
        Some(tag)
    }

    /// Sends a response: in the acknowledgement if that was not sent yet (section 5.2.1), else as a message of its own (5.2.2). Type and message id of
    /// the packet are set here.
    pub fn answer(
        &mut self,
        exchange: Exchange,
        packet: &mut Packet,
        settings: &Transmission,
        now: Instant,
        out: &mut Outbox,
    ) {
        if !exchange.confirmable {
            self.send(packet, settings, now, out);
            return;
        }
        if self.exchanges.as_ref().is_some_and(|exchanges| exchanges.is_acknowledged(exchange.id)) {
            self.send_confirmable(packet, UNTAGGED, settings, now, out);
            return;
        }
        packet.set_kind(Kind::Acknowledgement);
        packet.set_id(exchange.id);
        let start = out.wire().len();
        write_packet(packet, out);
        // The datagram is there whole, as what was written since.
        let answer = SmallVec::from_slice(&out.wire()[start..]);
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.settle(exchange.id, Answer::Bytes(answer));
        }
    }

    /// Acknowledges a request whose response takes longer (section 5.2.2), or has none.
    pub fn acknowledge(&mut self, exchange: Exchange, out: &mut Outbox) {
        if exchange.confirmable {
            write_empty(Kind::Acknowledgement, exchange.id, out);
            if let Some(exchanges) = &mut self.exchanges {
                exchanges.settle(exchange.id, Answer::Acknowledgement);
            }
        }
    }

    /// Rejects a message (sections 4.2 and 4.3). Its duplicates are rejected too if it was confirmable.
    pub fn reject(&mut self, exchange: Exchange, out: &mut Outbox) {
        let start = out.wire().len();
        write_empty(Kind::Reset, exchange.id, out);
        let answer = SmallVec::from_slice(&out.wire()[start..]);
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.settle(exchange.id, Answer::Bytes(answer));
        }
    }

    /// Sends a non-confirmable message and tells its id.
    pub fn send(&mut self, packet: &mut Packet, settings: &Transmission, now: Instant, out: &mut Outbox) -> u16 {
        packet.set_kind(Kind::NonConfirmable);
        packet.set_id(self.fresh_id(settings, now));
        write_packet(packet, out);
        packet.id()
    }

    /// Sends a confirmable message as soon as fewer than `NSTART` are under way, and tells its id. What becomes of it is told with the tag.
    pub fn send_confirmable(
        &mut self,
        packet: &mut Packet,
        tag: u32,
        settings: &Transmission,
        now: Instant,
        out: &mut Outbox,
    ) -> u16 {
        packet.set_kind(Kind::Confirmable);
        packet.set_id(self.fresh_id(settings, now));
        let base = u64::from(settings.ack_timeout_ms);
        let spread = base * u64::from(settings.ack_random_permille.saturating_sub(1000)) / 1000;
        let timeout_ms = (base + self.random.below(spread + 1)).max(1);
        let bytes = packet.to_bytes().into_boxed_slice();
        let flight = Flight { id: packet.id(), tag, bytes, deadline: Instant::NEVER, timeout_ms, sent: 0 };
        self.flights.get_or_insert_default().push(flight);
        self.launch(settings, now, out);
        packet.id()
    }

    /// Sends an empty confirmable message, which the peer answers by a reset (section 4.3): [`Incoming::Reset`] comes with the tag.
    pub fn ping(&mut self, tag: u32, settings: &Transmission, now: Instant, out: &mut Outbox) {
        self.send_confirmable(&mut Packet::new(Kind::Confirmable, Code::EMPTY), tag, settings, now, out);
    }

    /// Sends a request; its token must be set. The response comes back with the tag, those of an observation one after another.
    pub fn ask(
        &mut self,
        packet: &mut Packet,
        confirmable: bool,
        tag: u32,
        settings: &Transmission,
        now: Instant,
        out: &mut Outbox,
    ) {
        let observing = packet.uint(crate::codec::option::OBSERVE) == Some(0);
        let expires = now + settings.exchange_lifetime().max(settings.max_transmit_wait());
        let asked = &mut self.asked.get_or_insert_default().list;
        asked.retain(|asked| asked.token.as_slice() != packet.token());
        asked.push(Asked { token: TokenBytes::from_slice(packet.token()), tag, observing, expires });
        if confirmable {
            self.send_confirmable(packet, tag, settings, now, out);
        } else {
            self.send(packet, settings, now, out);
        }
    }

    /// Forgets a request, so that further responses to it are rejected.
    pub fn forget(&mut self, tag: u32) {
        if let Some(asked) = &mut self.asked {
            asked.list.retain(|asked| asked.tag != tag);
        }
        if let Some(flights) = &mut self.flights {
            flights.drop_tagged(tag);
        }
    }

    /// True when a confirmable message would be sent at once.
    pub fn is_free(&self, settings: &Transmission) -> bool {
        self.flights.as_ref().map_or(0, |flights| flights.len()) < usize::from(settings.nstart.max(1))
    }

    /// True while the confirmable message with this id is not acknowledged.
    pub fn is_unacknowledged(&self, id: u16) -> bool {
        self.flights.as_ref().is_some_and(|flights| flights.iter().any(|flight| flight.id == id))
    }

    /// True when a confirmable message with this tag is not acknowledged yet.
    pub fn is_under_way(&self, tag: u32) -> bool {
        self.flights.as_ref().is_some_and(|flights| flights.iter().any(|flight| flight.tag == tag))
    }

    /// Sends what is due again, and tells what came to nothing.
    pub fn timeout(&mut self, settings: &Transmission, now: Instant, out: &mut Outbox) -> SmallVec<[Lost; 2]> {
        let mut lost = SmallVec::new();
        if let Some(flights) = &mut self.flights {
            let mut given_up = SmallVec::<[u16; 2]>::new();
            for flight in flights.active(usize::from(settings.nstart.max(1))) {
                if flight.sent == 0 || flight.deadline > now {
                    continue;
                }
                if flight.sent > settings.retransmissions() {
                    given_up.push(flight.id);
                    continue;
                }
                flight.sent += 1;
                flight.timeout_ms *= 2;
                flight.deadline = now + Duration::from_millis(flight.timeout_ms);
                write_bytes(&flight.bytes, out);
            }
            for id in given_up {
                if let Some(flight) = flights.take(id) {
                    lost.push(Lost::GivenUp(flight.tag));
                }
            }
        }
        if let Some(asked) = &mut self.asked {
            asked.list.retain(|asked| {
                let gone = lost.contains(&Lost::GivenUp(asked.tag));
                if asked.expires <= now && !gone {
                    lost.push(Lost::NoResponse(asked.tag));
                }
                asked.expires > now && !gone
            });
        }
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.prune(now);
        }
        self.launch(settings, now, out);
        self.tidy();
        lost
    }

    /// When [`Endpoint::timeout`] has something to do.
    pub fn deadline(&self) -> Instant {
        let flights = self.flights.as_ref().map_or(Instant::NEVER, |flights| flights.deadline());
        let asked = self.asked.iter().flat_map(|asked| &asked.list).map(|asked| asked.expires).min();
        // Only to give back the memory.
        let exchanges = self.exchanges.as_ref().and_then(|exchanges| exchanges.newest_expires());
        flights.min(asked.unwrap_or(Instant::NEVER)).min(exchanges.unwrap_or(Instant::NEVER))
    }

    /// Until when a duplicate of something that was handled could have a second effect.
    pub fn needed_until(&self) -> Option<Instant> {
        self.exchanges.as_ref().and_then(|exchanges| exchanges.needed_until())
    }

    /// True when nothing of ours is under way or waits for a response.
    pub fn is_idle(&self) -> bool {
        self.flights.as_ref().is_none_or(|flights| flights.len() == 0)
            && self.asked.as_ref().is_none_or(|asked| asked.list.is_empty())
    }

    /// Begins what waited for its turn.
    fn launch(&mut self, settings: &Transmission, now: Instant, out: &mut Outbox) {
        let Some(flights) = &mut self.flights else { return };
        for flight in flights.active(usize::from(settings.nstart.max(1))) {
            if flight.sent == 0 {
                flight.sent = 1;
                flight.deadline = now + Duration::from_millis(flight.timeout_ms);
                write_bytes(&flight.bytes, out);
            }
        }
        if flights.len() == 0 {
            self.flights = None;
        }
    }

    /// Gives back what is empty.
    fn tidy(&mut self) {
        if self.asked.as_ref().is_some_and(|asked| asked.list.is_empty()) {
            self.asked = None;
        }
        if self.exchanges.as_ref().is_some_and(|exchanges| exchanges.is_empty()) {
            self.exchanges = None;
        }
    }
}

fn write_packet(packet: &Packet, out: &mut Outbox) {
    packet.encode(out.wire());
    out.end_datagram();
    out.count_sent(kind_number(packet.kind(), packet.code()));
}

fn write_bytes(bytes: &[u8], out: &mut Outbox) {
    out.wire().extend_from_slice(bytes);
    out.end_datagram();
    if let Some(header) = Header::peek(bytes) {
        out.count_sent(kind_number(header.kind, header.code));
    }
}

fn write_empty(kind: Kind, id: u16, out: &mut Outbox) {
    let first = if kind == Kind::Reset { 0x70 } else { 0x60 };
    let [high, low] = id.to_be_bytes();
    write_bytes(&[first, 0, high, low], out);
}
