use crate::{PacketError, codec::Reader};

/// PINGREQ (section 5.4.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pingreq<'a> {
    /// Who asks, from a sleeping client that wants its messages; empty otherwise.
    pub client_id: &'a str,
}

impl<'a> Pingreq<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(Self { client_id: reader.text()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.client_id.as_bytes());
    }
}

/// DISCONNECT (section 5.4.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// How long the client will sleep at most, in seconds; `None` for goodbye.
    pub duration_secs: Option<u16>,
}

impl Disconnect {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let duration_secs = if reader.is_empty() { None } else { Some(reader.u16()?) };
        Ok(Self { duration_secs })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        if let Some(secs) = self.duration_secs {
            out.extend_from_slice(&secs.to_be_bytes());
        }
    }
}
