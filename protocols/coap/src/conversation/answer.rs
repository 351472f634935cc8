use std::time::Duration;

use thingway_contract::{Instant, Outbox};

use super::{Conversation, request::Question};
use crate::{
    Amplification,
    blockwise::{Block, Body, Download, exponent_for},
    codec::{Code, Kind, Packet, option},
    message::UNTAGGED,
    resources::{echo_value, entity_tag},
};

/// An answer before it is a packet.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) format: Option<u16>,
    pub(super) etag: Option<[u8; 8]>,
    pub(super) max_age_secs: Option<u32>,
    pub(super) observe: Option<u32>,
    pub(super) size1: Option<u32>,
    pub(super) location: Vec<String>,
    pub(super) body: Body,
}

/// What may be sent for a request of whatever size to an address that may be forged: what RFC 9175, section 2.4, item 3, calls a safe default. It is what
/// keeps to three times the smallest request in bytes on the wire: 3 * (62 + 4) - 62, with 14 + 40 + 8 bytes of headers of Ethernet, IPv6 and UDP, and a
/// CoAP header of 4.
pub(super) const UNVALIDATED_BYTES: usize = 136;

/// Most bytes of the options that come with blocks, Block2 and ETag.
const BLOCK_OPTIONS_BYTES: usize = 5 + 9;

/// Most bytes of Size2, where it is asked for.
const SIZE2_BYTES: usize = 5;

/// Most bytes of the Echo option.
const ECHO_BYTES: usize = 11;

/// Seconds after which one who was too fast may try again (RFC 8516): rates are counted by the second.
const RETRY_SECS: u32 = 1;

impl Answer {
    pub(super) const fn code(code: Code) -> Self {
        let (format, etag, max_age_secs, observe, size1) = (None, None, None, None, None);
        Self { code, format, etag, max_age_secs, observe, size1, location: Vec::new(), body: Body::Empty }
    }

    /// An error with a few words for people (RFC 7252, section 5.5.2).
    pub(super) fn text(code: Code, text: &'static str) -> Self {
        Self { body: Body::Bytes(text.into()), ..Self::code(code) }
    }

    /// Refused for coming too fast, or too many at a time (RFC 8516).
    pub(super) fn too_many(text: &'static str) -> Self {
        Self { max_age_secs: Some(RETRY_SECS), ..Self::text(Code::TOO_MANY_REQUESTS, text) }
    }

    fn head(&self, question: &Question) -> Packet {
        let mut packet = Packet::new(Kind::Acknowledgement, self.code);
        packet.set_token(&question.token);
        if let Some(etag) = self.etag {
            packet.push(option::ETAG, &etag);
        }
        if let Some(sequence) = self.observe {
            packet.push_uint(option::OBSERVE, sequence);
        }
        for segment in &self.location {
            packet.push(option::LOCATION_PATH, segment.as_bytes());
        }
        if let Some(format) = self.format {
            packet.push_uint(option::CONTENT_FORMAT, format.into());
        }
        if let Some(secs) = self.max_age_secs {
            packet.push_uint(option::MAX_AGE, secs);
        }
        if let Some(block) = question.block1 {
            packet.push_uint(option::BLOCK1, block.value());
        }
        if let Some(bytes) = self.size1 {
            packet.push_uint(option::SIZE1, bytes);
        }
        packet
    }
}

impl Conversation {
    /// Most bytes that may go to the peer's address because of a datagram of this size.
    pub(super) fn bytes_allowed(&self, request_bytes: usize) -> usize {
        if self.validated || self.config.amplification == Amplification::Unbounded {
            return usize::MAX;
        }
        UNVALIDATED_BYTES.max(3 * request_bytes)
    }

    fn write_answer(&mut self, question: &Question, packet: &mut Packet, now: Instant, out: &mut Outbox) {
        if !question.acknowledged {
            self.endpoint.answer(question.exchange, packet, &self.config.transmission, now, out);
        } else if packet.has(option::ECHO) {
            // To an address that may be forged it would be sent again and again if it had to be acknowledged (RFC 9175, section 2.4, item 3).
            self.endpoint.send(packet, &self.config.transmission, now, out);
        } else {
            // Also when the exchange is forgotten by now.
            self.endpoint.send_confirmable(packet, UNTAGGED, &self.config.transmission, now, out);
        }
    }

    pub(super) fn answer(&mut self, question: &Question, mut answer: Answer, now: Instant, out: &mut Outbox) {
        let class = answer.code.class();
        if class >= 1 && question.no_response & 1 << (class - 1) != 0 {
            if !question.acknowledged {
                self.endpoint.acknowledge(question.exchange, out);
            }
            return;
        }
        if let (Code::CONTENT, Some(format), Some(accept)) = (answer.code, answer.format, question.accept)
            && format != accept
        {
            answer = Answer::code(Code::NOT_ACCEPTABLE);
        }
        let allowed = self.bytes_allowed(question.bytes);
        let mut packet = answer.head(question);
        let body_bytes = answer.body.as_bytes().len();
        if !answer.code.is_success() {
            if packet.to_bytes().len() + 1 + body_bytes <= allowed {
                packet.set_payload(answer.body.as_bytes().to_vec());
            }
            return self.write_answer(question, &mut packet, now, out);
        }
        let exponent_max = exponent_for(self.config.block_bytes_max);
        let wanted = question.block2.unwrap_or(Block { number: 0, more: false, exponent: exponent_max });
        let mut block = wanted.at_most(exponent_max);
        let mut bounded = false;
        if allowed != usize::MAX && body_bytes > 0 {
            let head_bytes = packet.to_bytes().len() + 1;
            let options_bytes = BLOCK_OPTIONS_BYTES + if question.wants_size { SIZE2_BYTES } else { 0 };
            let in_blocks = block.number > 0 || question.block2.is_some() || body_bytes > block.bytes();
            let needed = body_bytes.min(block.bytes()) + if in_blocks { options_bytes } else { 0 };
            if head_bytes + needed > allowed {
                let room = allowed.saturating_sub(head_bytes + options_bytes + ECHO_BYTES);
                let challenge = self.config.amplification == Amplification::Echo && question.code.is_safe();
                if challenge || room < 16 && question.code.is_safe() {
                    return self.challenge(question, now, out);
                }
                block = block.at_most(exponent_for(room));
                bounded = true;
            }
        }
        let in_blocks = block.number > 0 || question.block2.is_some() || body_bytes > block.bytes();
        if in_blocks && body_bytes > 0 {
            let Some((block, part)) = block.slice(answer.body.as_bytes()) else {
                return self.answer_beyond(question, now, out);
            };
            let part = part.to_vec();
            if block.more || block.number > 0 {
                let etag = answer.etag.unwrap_or_else(|| entity_tag(answer.format, answer.body.as_bytes()));
                if answer.etag.replace(etag).is_none() {
                    packet.push(option::ETAG, &etag);
                }
                if block.number == 0 {
                    self.keep_download(question.key, &answer, etag, now);
                }
            }
            packet.push_uint(option::BLOCK2, block.value());
            if question.wants_size {
                packet.push_uint(option::SIZE2, u32::try_from(body_bytes).unwrap_or(u32::MAX));
            }
            packet.set_payload(part);
        } else {
            packet.set_payload(answer.body.as_bytes().to_vec());
        }
        // The peer may show that it is there, and get larger blocks.
        let has_room = in_blocks && packet.to_bytes().len() + ECHO_BYTES <= allowed;
        if allowed != usize::MAX && (bounded || has_room) {
            packet.push(option::ECHO, &echo_value(&self.config.secret, self.address, now));
        }
        self.write_answer(question, &mut packet, now, out);
    }

    fn answer_beyond(&mut self, question: &Question, now: Instant, out: &mut Outbox) {
        let mut packet = Answer::code(Code::BAD_REQUEST).head(question);
        packet.set_payload(b"no such block".to_vec());
        self.write_answer(question, &mut packet, now, out);
    }

    /// Asks the peer to come again with a value that only somebody at its address gets to see (RFC 9175, section 2.3).
    fn challenge(&mut self, question: &Question, now: Instant, out: &mut Outbox) {
        let mut packet = Answer::code(Code::UNAUTHORIZED).head(question);
        packet.push(option::ECHO, &echo_value(&self.config.secret, self.address, now));
        self.write_answer(question, &mut packet, now, out);
    }

    fn keep_download(&mut self, key: u64, answer: &Answer, etag: [u8; 8], now: Instant) {
        let download = Download {
            key,
            body: answer.body.clone(),
            etag,
            format: answer.format,
            max_age_secs: answer.max_age_secs,
            expires: now + Duration::from_millis(self.config.block_ms.into()),
            holds: false,
        };
        self.transfers.get_or_insert_default().keep(download, self.config.downloads_max);
    }

    /// Answers with a block of a body that is being fetched. False when there is none: then the representation of now is the one.
    pub(super) fn answer_from_download(&mut self, question: &Question, now: Instant, out: &mut Outbox) -> bool {
        let expires = now + Duration::from_millis(self.config.block_ms.into());
        let Some(transfers) = &mut self.transfers else { return false };
        let Some(download) = transfers.fetch(question.key, expires) else { return false };
        let exponent_max = exponent_for(self.config.block_bytes_max);
        let end = question
            .block2
            .map_or(0, |block| block.at_most(exponent_max).offset() + block.at_most(exponent_max).bytes());
        // With the last block the body is fetched; it stays for blocks that are asked for once more.
        download.holds &= end < download.body.as_bytes().len();
        let answer = Answer {
            format: download.format,
            etag: Some(download.etag),
            max_age_secs: download.max_age_secs,
            body: download.body.clone(),
            ..Answer::code(Code::CONTENT)
        };
        self.answer(question, answer, now, out);
        true
    }
}
