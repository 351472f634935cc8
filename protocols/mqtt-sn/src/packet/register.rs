use super::ReturnCode;
use crate::{PacketError, codec::Reader};

/// REGISTER (section 5.4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// The id that the gateway gives the name; 0 from a client, which asks for one.
    pub topic_id: u16,
    /// Names the request.
    pub message_id: u16,
    /// The topic name.
    pub topic: &'a str,
}

impl<'a> Register<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(Self { topic_id: reader.u16()?, message_id: reader.u16()?, topic: reader.text()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.topic_id.to_be_bytes());
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(self.topic.as_bytes());
    }
}

/// REGACK (section 5.4.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regack {
    /// The id.
    pub topic_id: u16,
    /// The request's.
    pub message_id: u16,
    /// Taken or not.
    pub code: ReturnCode,
}

impl Regack {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self { topic_id: reader.u16()?, message_id: reader.u16()?, code: ReturnCode::read(reader)? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.topic_id.to_be_bytes());
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.push(self.code as u8);
    }
}
