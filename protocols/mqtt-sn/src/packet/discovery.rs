use crate::{PacketError, codec::Reader};

/// ADVERTISE (section 5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The gateway's id.
    pub gateway_id: u8,
    /// Seconds until the next one.
    pub duration_secs: u16,
}

impl Advertise {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self { gateway_id: reader.u8()?, duration_secs: reader.u16()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(self.gateway_id);
        out.extend_from_slice(&self.duration_secs.to_be_bytes());
    }
}

/// SEARCHGW (section 5.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchGw {
    /// How far it shall go, in hops; 0 is everywhere.
    pub radius: u8,
}

impl SearchGw {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self { radius: reader.u8()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(self.radius);
    }
}

/// GWINFO (section 5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GwInfo<'a> {
    /// The gateway's id.
    pub gateway_id: u8,
    /// Its address, when a client tells of it; empty from the gateway itself.
    pub address: &'a [u8],
}

impl<'a> GwInfo<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(Self { gateway_id: reader.u8()?, address: reader.bytes() })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(self.gateway_id);
        out.extend_from_slice(self.address);
    }
}
