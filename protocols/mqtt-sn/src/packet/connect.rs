use super::{Flags, ReturnCode};
use crate::{PacketError, codec::Reader};

/// The one protocol id (section 5.3.8).
pub const PROTOCOL_ID: u8 = 1;

/// CONNECT (section 5.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Ask me for a will.
    pub will: bool,
    /// Discard an earlier session, its will too.
    pub clean_session: bool,
    /// Keep-alive interval in seconds.
    pub duration_secs: u16,
    /// Who I am: 1 to 23 characters.
    pub client_id: &'a str,
}

impl<'a> Connect<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let flags = Flags(reader.u8()?);
        let protocol_id = reader.u8()?;
        if protocol_id != PROTOCOL_ID {
            return Err(PacketError::ProtocolId(protocol_id));
        }
        Ok(Self {
            will: flags.has(Flags::WILL),
            clean_session: flags.has(Flags::CLEAN_SESSION),
            duration_secs: reader.u16()?,
            client_id: reader.text()?,
        })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let flags = Flags::default().with(Flags::WILL, self.will).with(Flags::CLEAN_SESSION, self.clean_session);
        out.extend_from_slice(&[flags.0, PROTOCOL_ID]);
        out.extend_from_slice(&self.duration_secs.to_be_bytes());
        out.extend_from_slice(self.client_id.as_bytes());
    }
}

/// CONNACK (section 5.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Granted or not.
    pub code: ReturnCode,
}
