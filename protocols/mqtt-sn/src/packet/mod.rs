//! The messages of section 5.4, the same for both directions, and AUTH.
//!
//! | module | messages |
//! | --- | --- |
//! | `discovery` | ADVERTISE, SEARCHGW, GWINFO |
//! | `auth` | AUTH, which 1.2 does not have |
//! | `connect` | CONNECT, CONNACK |
//! | `will` | WILLTOPICREQ, WILLTOPIC, WILLMSGREQ, WILLMSG, and their updates |
//! | `register` | REGISTER, REGACK |
//! | `publish` | PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP |
//! | `subscribe` | SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK |
//! | `ending` | PINGREQ, PINGRESP, DISCONNECT |

mod auth;
mod connect;
mod discovery;
mod ending;
mod flags;
mod kind;
mod publish;
mod register;
mod return_code;
mod subscribe;
mod topic;
mod will;

#[cfg(test)]
mod tests;

pub use auth::{Auth, METHOD_PLAIN, Plain};
pub use connect::{Connack, Connect, PROTOCOL_ID};
pub use discovery::{Advertise, GwInfo, SearchGw};
pub use ending::{Disconnect, Pingreq};
pub use flags::Flags;
pub use kind::{FORWARDED, PacketType};
pub(crate) use publish::{PUBLISH_HEAD_BYTES, put_publish};
pub use publish::{Puback, Publish};
pub use register::{Regack, Register};
pub use return_code::ReturnCode;
pub use subscribe::{Suback, Subscribe, Unsubscribe};
pub use topic::{TopicName, TopicRef};
pub use will::WillTopic;

use crate::{
    EncodeError, PacketError,
    codec::{Reader, put_frame, split},
};

/// Any message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A gateway announces itself to all.
    Advertise(Advertise),
    /// A client looks for a gateway.
    SearchGw(SearchGw),
    /// Where a gateway is.
    GwInfo(GwInfo<'a>),
    /// Credentials.
    Auth(Auth<'a>),
    /// A client asks for a session.
    Connect(Connect<'a>),
    /// The answer to CONNECT.
    Connack(Connack),
    /// The gateway asks for the will's topic.
    WillTopicReq,
    /// The will's topic, or `None` for no will.
    WillTopic(Option<WillTopic<'a>>),
    /// The gateway asks for the will's message.
    WillMsgReq,
    /// The will's message.
    WillMsg(&'a [u8]),
    /// A topic name for a topic id.
    Register(Register<'a>),
    /// The answer to REGISTER.
    Regack(Regack),
    /// A message.
    Publish(Publish<'a>),
    /// The answer to PUBLISH: received with QoS 1, or refused.
    Puback(Puback),
    /// QoS 2: received.
    Pubrec(u16),
    /// QoS 2: released.
    Pubrel(u16),
    /// QoS 2: complete.
    Pubcomp(u16),
    /// A client asks for a subscription.
    Subscribe(Subscribe<'a>),
    /// The answer to SUBSCRIBE.
    Suback(Suback),
    /// A client ends a subscription.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to UNSUBSCRIBE.
    Unsuback(u16),
    /// Is anybody there; from a sleeping client: what is there for me.
    Pingreq(Pingreq<'a>),
    /// The answer to PINGREQ.
    Pingresp,
    /// Goodbye, or good night.
    Disconnect(Disconnect),
    /// Another topic for the will, or `None` for no will.
    WillTopicUpd(Option<WillTopic<'a>>),
    /// The answer to WILLTOPICUPD.
    WillTopicResp(ReturnCode),
    /// Another message for the will.
    WillMsgUpd(&'a [u8]),
    /// The answer to WILLMSGUPD.
    WillMsgResp(ReturnCode),
}

impl<'a> Packet<'a> {
    /// Reads the one message in a datagram that was not forwarded, or was unwrapped.
    ///
    /// # Errors
    /// Any [`PacketError`] but those of forwarding.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let frame = split(datagram)?;
        if frame.total_bytes != datagram.len() {
            return Err(PacketError::TrailingBytes);
        }
        let kind = PacketType::of(frame.kind).ok_or(PacketError::UnknownType(frame.kind))?;
        let mut reader = Reader::new(frame.body);
        let packet = Self::read(kind, &mut reader)?;
        reader.finish()?;
        Ok(packet)
    }

    fn read(kind: PacketType, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(match kind {
            PacketType::Advertise => Self::Advertise(Advertise::read(reader)?),
            PacketType::SearchGw => Self::SearchGw(SearchGw::read(reader)?),
            PacketType::GwInfo => Self::GwInfo(GwInfo::read(reader)?),
            PacketType::Auth => Self::Auth(Auth::read(reader)?),
            PacketType::Connect => Self::Connect(Connect::read(reader)?),
            PacketType::Connack => Self::Connack(Connack { code: ReturnCode::read(reader)? }),
            PacketType::WillTopicReq => Self::WillTopicReq,
            PacketType::WillTopic => Self::WillTopic(WillTopic::read(reader)?),
            PacketType::WillMsgReq => Self::WillMsgReq,
            PacketType::WillMsg => Self::WillMsg(reader.bytes()),
            PacketType::Register => Self::Register(Register::read(reader)?),
            PacketType::Regack => Self::Regack(Regack::read(reader)?),
            PacketType::Publish => Self::Publish(Publish::read(reader)?),
            PacketType::Puback => Self::Puback(Puback::read(reader)?),
            PacketType::Pubcomp => Self::Pubcomp(reader.u16()?),
            PacketType::Pubrec => Self::Pubrec(reader.u16()?),
            PacketType::Pubrel => Self::Pubrel(reader.u16()?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::read(reader)?),
            PacketType::Suback => Self::Suback(Suback::read(reader)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::read(reader)?),
            PacketType::Unsuback => Self::Unsuback(reader.u16()?),
            PacketType::Pingreq => Self::Pingreq(Pingreq::read(reader)?),
            PacketType::Pingresp => Self::Pingresp,
            PacketType::Disconnect => Self::Disconnect(Disconnect::read(reader)?),
            PacketType::WillTopicUpd => Self::WillTopicUpd(WillTopic::read(reader)?),
            PacketType::WillTopicResp => Self::WillTopicResp(ReturnCode::read(reader)?),
            PacketType::WillMsgUpd => Self::WillMsgUpd(reader.bytes()),
            PacketType::WillMsgResp => Self::WillMsgResp(ReturnCode::read(reader)?),
        })
    }

    /// The message's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Advertise(_) => PacketType::Advertise,
            Self::SearchGw(_) => PacketType::SearchGw,
            Self::GwInfo(_) => PacketType::GwInfo,
            Self::Auth(_) => PacketType::Auth,
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::WillTopicReq => PacketType::WillTopicReq,
            Self::WillTopic(_) => PacketType::WillTopic,
            Self::WillMsgReq => PacketType::WillMsgReq,
            Self::WillMsg(_) => PacketType::WillMsg,
            Self::Register(_) => PacketType::Register,
            Self::Regack(_) => PacketType::Regack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq(_) => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::WillTopicUpd(_) => PacketType::WillTopicUpd,
            Self::WillTopicResp(_) => PacketType::WillTopicResp,
            Self::WillMsgUpd(_) => PacketType::WillMsgUpd,
            Self::WillMsgResp(_) => PacketType::WillMsgResp,
        }
    }

    /// Appends the message.
    ///
    /// # Errors
    /// Any [`EncodeError`] but that of forwarding; nothing is written then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, self.packet_type() as u8, |out| {
            match self {
                Self::Advertise(advertise) => advertise.put(out),
                Self::SearchGw(search) => search.put(out),
                Self::GwInfo(info) => info.put(out),
                Self::Auth(auth) => return auth.put(out),
                Self::Connect(connect) => connect.put(out),
                Self::Connack(connack) => out.push(connack.code as u8),
                Self::WillTopicReq | Self::WillMsgReq | Self::Pingresp => {}
                Self::WillTopic(will) | Self::WillTopicUpd(will) => {
                    if let Some(will) = will {
                        will.put(out);
                    }
                }
                Self::WillMsg(payload) | Self::WillMsgUpd(payload) => out.extend_from_slice(payload),
                Self::Register(register) => register.put(out),
                Self::Regack(regack) => regack.put(out),
                Self::Publish(publish) => publish.put(out),
                Self::Puback(puback) => puback.put(out),
                Self::Pubrec(id) | Self::Pubrel(id) | Self::Pubcomp(id) | Self::Unsuback(id) => {
                    out.extend_from_slice(&id.to_be_bytes());
                }
                Self::Subscribe(subscribe) => subscribe.put(out),
                Self::Suback(suback) => suback.put(out),
                Self::Unsubscribe(unsubscribe) => unsubscribe.put(out),
                Self::Pingreq(ping) => ping.put(out),
                Self::Disconnect(disconnect) => disconnect.put(out),
                Self::WillTopicResp(code) | Self::WillMsgResp(code) => out.push(*code as u8),
            }
            Ok(())
        })
    }
}
