use thingway_contract::Qos;

use super::{Flags, ReturnCode, TopicName};
use crate::{PacketError, codec::Reader};

/// SUBSCRIBE (section 5.4.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Sent again.
    pub duplicate: bool,
    /// Highest quality of service to deliver with; `None` for -1, which makes no sense here.
    pub qos: Option<Qos>,
    /// Names the request.
    pub message_id: u16,
    /// To what.
    pub topic: TopicName<'a>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let flags = Flags(reader.u8()?);
        Ok(Self {
            duplicate: flags.has(Flags::DUP),
            qos: flags.qos(),
            message_id: reader.u16()?,
            topic: TopicName::read(flags.topic_type(), reader)?,
        })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let flags = Flags(self.topic.kind()).with_qos(self.qos).with(Flags::DUP, self.duplicate);
        out.push(flags.0);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        self.topic.put(out);
    }
}

/// SUBACK (section 5.4.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback {
    /// Granted quality of service.
    pub qos: Qos,
    /// The id that messages on this topic will have; 0 for a filter with wildcards.
    pub topic_id: u16,
    /// The request's.
    pub message_id: u16,
    /// Granted or not.
    pub code: ReturnCode,
}

impl Suback {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self {
            qos: Flags(reader.u8()?).qos().ok_or(PacketError::Qos)?,
            topic_id: reader.u16()?,
            message_id: reader.u16()?,
            code: ReturnCode::read(reader)?,
        })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(Flags::default().with_qos(Some(self.qos)).0);
        out.extend_from_slice(&self.topic_id.to_be_bytes());
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.push(self.code as u8);
    }
}

/// UNSUBSCRIBE (section 5.4.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Names the request.
    pub message_id: u16,
    /// From what.
    pub topic: TopicName<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let flags = Flags(reader.u8()?);
        Ok(Self { message_id: reader.u16()?, topic: TopicName::read(flags.topic_type(), reader)? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(self.topic.kind());
        out.extend_from_slice(&self.message_id.to_be_bytes());
        self.topic.put(out);
    }
}
