use thingway_contract::{Message, Qos};

use super::{Flags, PacketType, ReturnCode, TopicRef};
use crate::{
    PacketError,
    codec::{Reader, frame_bytes},
};

/// Bytes of a PUBLISH between type and payload.
pub(crate) const PUBLISH_HEAD_BYTES: usize = 5;

/// PUBLISH (section 5.4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent again.
    pub duplicate: bool,
    /// Quality of service; `None` for -1.
    pub qos: Option<Qos>,
    /// Retain it; from the gateway: it was retained.
    pub retain: bool,
    /// What stands for the topic name.
    pub topic: TopicRef,
    /// Names the message at QoS 1 and 2; 0 otherwise.
    pub message_id: u16,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let flags = Flags(reader.u8()?);
        Ok(Self {
            duplicate: flags.has(Flags::DUP),
            qos: flags.qos(),
            retain: flags.has(Flags::RETAIN),
            topic: TopicRef::of(flags.topic_type(), reader.u16()?)?,
            message_id: reader.u16()?,
            payload: reader.bytes(),
        })
    }

    fn flags(&self) -> Flags {
        Flags(self.topic.kind()).with_qos(self.qos).with(Flags::DUP, self.duplicate).with(Flags::RETAIN, self.retain)
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_head(&self, out);
        out.extend_from_slice(self.payload);
    }
}

fn put_head(publish: &Publish<'_>, out: &mut Vec<u8>) {
    out.push(publish.flags().0);
    out.extend_from_slice(&publish.topic.id().to_be_bytes());
    out.extend_from_slice(&publish.message_id.to_be_bytes());
}

/// Appends a PUBLISH with the payload of `message`, which must fit into one message.
pub(crate) fn put_publish(publish: &Publish<'_>, message: &Message, out: &mut Vec<u8>) {
    let payload = message.payload();
    let total_bytes = frame_bytes(PUBLISH_HEAD_BYTES + payload.len());
    out.reserve(total_bytes);
    match u8::try_from(total_bytes) {
        Ok(length) => out.push(length),
        Err(_) => {
            debug_assert!(total_bytes <= usize::from(u16::MAX), "checked by the caller");
            out.push(1);
            out.extend_from_slice(&(total_bytes as u16).to_be_bytes());
        }
    }
    out.push(PacketType::Publish as u8);
    put_head(publish, out);
    out.extend_from_slice(payload);
}

/// PUBACK (section 5.4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puback {
    /// The PUBLISH's.
    pub topic_id: u16,
    /// The PUBLISH's.
    pub message_id: u16,
    /// Taken or not.
    pub code: ReturnCode,
}

impl Puback {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self { topic_id: reader.u16()?, message_id: reader.u16()?, code: ReturnCode::read(reader)? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.topic_id.to_be_bytes());
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.push(self.code as u8);
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::{MessageHead, Properties, Topic, TopicLimits};

    use super::*;
    use crate::Packet;

    #[test]
    fn both_ways_to_write_a_publish_agree() {
        for bytes in [0, 1, 248, 249, 1400] {
            let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
            let payload = vec![7; bytes];
            let message = Message::new(MessageHead::default(), topic, Properties::default(), &payload);
            let publish = Publish {
                duplicate: bytes > 100,
                qos: Some(Qos::ExactlyOnce),
                retain: true,
                topic: TopicRef::Predefined(0x1234),
                message_id: 9,
                payload: &payload,
            };
            let (mut one, mut other) = (Vec::new(), Vec::new());
            put_publish(&publish, &message, &mut one);
            Packet::Publish(publish).encode(&mut other).expect("fits");
            assert_eq!(one, other);
        }
    }
}
