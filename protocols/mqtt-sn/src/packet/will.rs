use thingway_contract::Qos;

use super::Flags;
use crate::{PacketError, codec::Reader};

/// What WILLTOPIC and WILLTOPICUPD tell (sections 5.4.7 and 5.4.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WillTopic<'a> {
    /// Quality of service to publish the will with.
    pub qos: Qos,
    /// Retain the will.
    pub retain: bool,
    /// Topic name.
    pub topic: &'a str,
}

impl<'a> WillTopic<'a> {
    /// A message without flags and topic means that there shall be no will.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, PacketError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let flags = Flags(reader.u8()?);
        let qos = flags.qos().ok_or(PacketError::Qos)?;
        Ok(Some(Self { qos, retain: flags.has(Flags::RETAIN), topic: reader.text()? }))
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(Flags::default().with_qos(Some(self.qos)).with(Flags::RETAIN, self.retain).0);
        out.extend_from_slice(self.topic.as_bytes());
    }
}
