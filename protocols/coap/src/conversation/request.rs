use std::time::Duration;

use smallvec::SmallVec;
use thingway_contract::{Instant, Outbox};

use super::{Conversation, answer::Answer, session::Task};
use crate::{
    CoapFault,
    blockwise::{Block, Piece, exponent_for},
    codec::{
        Code, Packet, TokenBytes,
        option::{self, OptionError},
    },
    message::Exchange,
    resources::{Query, Resource, echo_is_valid},
};

/// What an answer needs to know of its request.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) exchange: Exchange,
    pub(super) token: TokenBytes,
    pub(super) code: Code,
    /// What it is about, apart from blocks.
    pub(super) key: u64,
    /// Bytes of the datagram.
    pub(super) bytes: usize,
    /// The block of the body that came with it, and is confirmed in the answer.
    pub(super) block1: Option<Block>,
    /// The block of the answer that is wanted.
    pub(super) block2: Option<Block>,
    pub(super) accept: Option<u16>,
    /// Representations that the peer has.
    pub(super) etags: SmallVec<[[u8; 8]; 1]>,
    /// The size of the whole answer is asked for (RFC 7959, section 4).
    pub(super) wants_size: bool,
    /// Classes of answers that are not wanted (RFC 7967).
    pub(super) no_response: u8,
    /// The request was acknowledged alone.
    pub(super) acknowledged: bool,
}

/// The Observe option of a GET (RFC 7641, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observe {
    Absent,
    Register,
    Deregister,
    /// Any other number.
    Invalid,
}

impl Observe {
    pub(super) fn of(packet: &Packet) -> Self {
        match packet.uint(option::OBSERVE) {
            None => Self::Absent,
            Some(0) => Self::Register,
            Some(1) => Self::Deregister,
            Some(_) => Self::Invalid,
        }
    }
}

impl Question {
    fn of(exchange: Exchange, packet: &Packet, bytes: usize) -> Self {
        let etags = packet.options(option::ETAG).filter_map(|etag| etag.try_into().ok());
        Self {
            exchange,
            token: TokenBytes::from_slice(packet.token()),
            code: packet.code(),
            key: option::request_key(packet),
            bytes,
            block1: None,
            block2: None,
            accept: packet.uint(option::ACCEPT).and_then(|format| u16::try_from(format).ok()),
            etags: etags.collect(),
            wants_size: packet.has(option::SIZE2),
            no_response: packet.uint(option::NO_RESPONSE).unwrap_or(0) as u8,
            acknowledged: false,
        }
    }
}

impl Conversation {
    pub(super) fn on_request(
        &mut self,
        exchange: Exchange,
        mut packet: Packet,
        bytes: usize,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), CoapFault> {
        let mut question = Question::of(exchange, &packet, bytes);
        match option::check_request(&packet) {
            Ok(()) => {}
            Err(OptionError::Critical(number)) if !exchange.confirmable => {
                self.endpoint.reject(exchange, out);
                return Err(CoapFault::CriticalOption(number));
            }
            Err(OptionError::Critical(_)) => {
                self.answer(&question, Answer::code(Code::BAD_OPTION), now, out);
                return Ok(());
            }
            Err(OptionError::Proxy) => {
                self.answer(&question, Answer::code(Code::PROXYING_NOT_SUPPORTED), now, out);
                return Ok(());
            }
        }
        if packet.first(option::ECHO).is_some_and(|echo| echo_is_valid(&self.config.secret, self.address, echo, now)) {
            self.validated = true;
        }
        match (Block::of_request(&packet), Block::of_response(&packet)) {
            (Ok(block1), Ok(block2)) => (question.block1, question.block2) = (block1, block2),
            _ => {
                self.answer(&question, Answer::text(Code::BAD_REQUEST, "reserved block size"), now, out);
                return Ok(());
            }
        }
        if question.block2.is_some_and(|block| block.number > 0) && self.answer_from_download(&question, now, out) {
            return Ok(());
        }
        let resource = Resource::of(&packet, self.config.pubsub_path.as_deref());
        if let Err(answer) = check_method(&resource, packet.code()) {
            self.answer(&question, answer, now, out);
            return Ok(());
        }
        if packet.payload().len() > self.config.body_bytes_max {
            let size1 = Some(self.config.body_bytes_max as u32);
            self.answer(&question, Answer { size1, ..Answer::code(Code::REQUEST_ENTITY_TOO_LARGE) }, now, out);
            return Ok(());
        }
        if question.block1.is_some() && !self.assemble(&mut question, &mut packet, now, out) {
            return Ok(());
        }
        self.dispatch(question, packet, resource, now, out);
        Ok(())
    }

    /// Puts the body together (RFC 7959, section 2.5). True when it is whole, and then in the packet; otherwise the block was answered.
    fn assemble(&mut self, question: &mut Question, packet: &mut Packet, now: Instant, out: &mut Outbox) -> bool {
        let Some(block) = question.block1 else { return true };
        let bytes_max = self.config.body_bytes_max;
        let announced = packet.uint(option::SIZE1).unwrap_or(0) as usize;
        let expires = now + Duration::from_millis(self.config.block_ms.into());
        let transfers = self.transfers.get_or_insert_default();
        let piece = if announced > bytes_max {
            Piece::TooLarge
        } else {
            match transfers.upload(question.key, block.number == 0, expires) {
                Some(assembly) => assembly.add(block, packet.payload(), bytes_max),
                None => Piece::OutOfOrder,
            }
        };
        // Larger blocks than these are not refused: the peer is told to go on with smaller ones (section 2.5).
        question.block1 =
            Some(Block { exponent: block.exponent.min(exponent_for(self.config.block_bytes_max)), ..block });
        let answer = match piece {
            Piece::Whole => {
                let body = transfers.upload(question.key, false, expires).map(|assembly| assembly.take());
                transfers.end_upload();
                packet.set_payload(body.unwrap_or_default());
                return true;
            }
            Piece::More => Answer::code(Code::CONTINUE),
            Piece::OutOfOrder => Answer::code(Code::REQUEST_ENTITY_INCOMPLETE),
            Piece::WrongSize => Answer::text(Code::BAD_REQUEST, "block of another size"),
            Piece::TooLarge => {
                transfers.end_upload();
                Answer { size1: Some(bytes_max as u32), ..Answer::code(Code::REQUEST_ENTITY_TOO_LARGE) }
            }
        };
        self.answer(question, answer, now, out);
        false
    }

    fn dispatch(&mut self, question: Question, packet: Packet, resource: Resource, now: Instant, out: &mut Outbox) {
        let query = match Query::of(&packet) {
            Ok(query) => query,
            Err(error) => return self.answer(&question, Answer::text(Code::BAD_REQUEST, error.0), now, out),
        };
        let observe = Observe::of(&packet);
        // The rest of a representation is not observed (RFC 7959, section 2.6).
        let is_rest = question.block2.is_some_and(|block| block.number > 0);
        let planned = match (&resource, packet.code()) {
            (Resource::WellKnown, _) => self.discover(&packet),
            (Resource::Connection, code) => return self.on_connection(question, code, &query, now, out),
            (Resource::Topic(topic), Code::GET) => match observe {
                Observe::Deregister => {
                    self.deregister(&question.token, out);
                    return self.answer(&question, Answer::code(Code::NO_CONTENT), now, out);
                }
                _ if is_rest => self.plan_read(topic),
                Observe::Absent => {
                    self.deregister(&question.token, out);
                    self.plan_read(topic)
                }
                _ => self.plan_observation(&question, observe, topic, &query),
            },
            (Resource::Topic(topic), _) => self.plan_publication(&question, &packet, topic, &query),
            (Resource::Collection, _) => self.plan_collection(&packet),
            (Resource::TopicConfig(id), _) => self.plan_topic_config(&packet, id),
            (Resource::TopicData(id), _) => {
                if packet.code() == Code::GET && matches!(observe, Observe::Absent | Observe::Deregister) && !is_rest {
                    self.deregister(&question.token, out);
                }
                self.plan_topic_data(&question, &packet, id, observe, is_rest, &query)
            }
            (Resource::Unknown, _) => Err(Answer::code(Code::NOT_FOUND)),
            (Resource::Unreadable, _) => Err(Answer::text(Code::BAD_REQUEST, "path is not UTF-8")),
        };
        match planned {
            Ok(task) => self.admit(question, &query, task, now, out),
            Err(answer) => self.answer(&question, answer, now, out),
        }
    }
}

/// What a request asks for, or the answer to it at once.
pub(super) type Planned = Result<Task, Answer>;

/// Methods that a resource has; others get 4.05 (RFC 7252, section 5.8).
fn check_method(resource: &Resource, code: Code) -> Result<(), Answer> {
    let methods: &[Code] = match resource {
        Resource::WellKnown => &[Code::GET],
        Resource::Connection => &[Code::POST, Code::PUT, Code::DELETE],
        Resource::Topic(_) => &[Code::GET, Code::POST, Code::PUT],
        Resource::Collection => &[Code::GET, Code::POST, Code::FETCH],
        Resource::TopicConfig(_) => &[Code::GET, Code::FETCH, Code::PUT, Code::IPATCH, Code::DELETE],
        Resource::TopicData(_) => &[Code::GET, Code::PUT, Code::DELETE],
        Resource::Unknown | Resource::Unreadable if code.0 <= Code::IPATCH.0 => return Ok(()),
        Resource::Unknown | Resource::Unreadable => &[],
    };
    if methods.contains(&code) { Ok(()) } else { Err(Answer::code(Code::METHOD_NOT_ALLOWED)) }
}
