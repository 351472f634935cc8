use thingway_contract::{Qos, Topic, TopicLimits};

use crate::{
    EncodeError, PacketError, PropertyBlock, PropertyId, Version,
    codec::{Reader, put_bytes, put_frame, put_text, put_u16},
    packet::PacketType,
    property::Owner,
};

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

/// CONNECT: the first packet of a client (MQTT 5.0, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// Begin without earlier state ("clean session" before 5.0).
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive_secs: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// What to publish when the client is gone.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
}

/// The will in a CONNECT (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where.
    pub topic: &'a str,
    /// What.
    pub payload: &'a [u8],
    /// With which quality of service.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Will properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
}

impl<'a> Connect<'a> {
    /// A client's own CONNECT with nothing but an identifier.
    pub const fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_secs: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: PropertyBlock::EMPTY,
        }
    }

    /// Reads as much as tells the version, so that a refusal can be written in it.
    ///
    /// # Errors
    /// [`PacketError::ProtocolName`] and [`PacketError::ProtocolLevel`] beside those of any text.
    pub(crate) fn peek_version(body: &[u8]) -> Result<Version, PacketError> {
        read_version(&mut Reader::new(body))
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let version = read_version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(version, flags)?;
        let keep_alive_secs = reader.u16()?;
        let properties = read_properties(version, Owner::Connect, &mut reader)?;
        if properties.has(PropertyId::AuthenticationData) && !properties.has(PropertyId::AuthenticationMethod) {
            return Err(PacketError::NoAuthenticationMethod);
        }
        let client_id = reader.text()?;
        let will = if flags & WILL != 0 { Some(read_will(version, flags, &mut reader)?) } else { None };
        // In 3.1 the remaining length has precedence over these two flags.
        let may_lack = version == Version::V31;
        let username =
            if flags & USERNAME != 0 && !(may_lack && reader.is_empty()) { Some(reader.text()?) } else { None };
        let password =
            if flags & PASSWORD != 0 && !(may_lack && reader.is_empty()) { Some(reader.bytes()?) } else { None };
        reader.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { version, clean_start, keep_alive_secs, client_id, will, username, password, properties })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.version < Version::V5 && self.password.is_some() && self.username.is_none() {
            return Err(EncodeError::NotInVersion);
        }
        put_frame(out, PacketType::Connect.first_byte(), |out| {
            put_text(out, self.version.protocol_name())?;
            out.push(self.version.level());
            out.push(self.flags());
            put_u16(out, self.keep_alive_secs);
            if self.version.has_properties() {
                self.properties.write(out)?;
            }
            put_text(out, self.client_id)?;
            if let Some(will) = &self.will {
                if self.version.has_properties() {
                    will.properties.write(out)?;
                }
                put_text(out, will.topic)?;
                put_bytes(out, will.payload)?;
            }
            if let Some(username) = self.username {
                put_text(out, username)?;
            }
            if let Some(password) = self.password {
                put_bytes(out, password)?;
            }
            Ok(())
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.username.is_some() {
            flags |= USERNAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version, PacketError> {
    let name = reader.text()?;
    let level = reader.u8()?;
    match (name, level) {
        ("MQIsdp", 3) => Ok(Version::V31),
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        ("MQIsdp" | "MQTT", other) => Err(PacketError::ProtocolLevel(other)),
        _ => Err(PacketError::ProtocolName),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), PacketError> {
    let will_qos = flags >> 3 & 3;
    let will = flags & WILL != 0;
    if will && will_qos == 3 {
        return Err(PacketError::WillFlags);
    }
    if version < Version::V5 && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return Err(PacketError::PasswordWithoutUsername);
    }
    // 3.1 leaves unused bits undefined.
    if version > Version::V31 {
        if flags & 1 != 0 {
            return Err(PacketError::ConnectFlags);
        }
        if !will && (will_qos != 0 || flags & WILL_RETAIN != 0) {
            return Err(PacketError::WillFlags);
        }
    }
    Ok(())
}

fn read_will<'a>(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Will<'a>, PacketError> {
    let properties = read_properties(version, Owner::Will, reader)?;
    let topic = reader.text()?;
    Topic::parse(topic, TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX }).map_err(PacketError::Topic)?;
    let payload = reader.bytes()?;
    let qos = Qos::from_u8(flags >> 3 & 3).ok_or(PacketError::WillFlags)?;
    Ok(Will { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
}

fn read_properties<'a>(
    version: Version,
    owner: Owner,
    reader: &mut Reader<'a>,
) -> Result<PropertyBlock<'a>, PacketError> {
    if version.has_properties() { PropertyBlock::read(owner, reader) } else { Ok(PropertyBlock::EMPTY) }
}

#[cfg(test)]
mod tests {
    use thingway_contract::TopicError;

    use super::*;
    use crate::{
        PropertyWriter, Value,
        packet::{
            Packet, Sender,
            tests::{check_malformed, check_valid},
        },
    };

    /// A packet around the bytes behind the remaining length.
    fn packet(parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut bytes = vec![0x10, u8::try_from(body.len()).expect("short")];
        bytes.extend(body);
        bytes
    }

    const V31: &[u8] = b"\0\x06MQIsdp\x03";
    const V311: &[u8] = b"\0\x04MQTT\x04";
    const V5: &[u8] = b"\0\x04MQTT\x05";

    #[test]
    fn the_shortest_of_each_version() {
        for (version, head, properties) in
            [(Version::V31, V31, &[][..]), (Version::V311, V311, &[]), (Version::V5, V5, &[0])]
        {
            let bytes = packet(&[head, &[0x02, 0, 0], properties, b"\0\x01c"]);
            check_valid(version, Sender::Client, &bytes, &Packet::Connect(Connect::new(version, "c")));
        }
    }

    #[test]
    fn everything_at_once() {
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::SessionExpiryInterval, Value::Four(10)).expect("fits");
        let mut will_properties = PropertyWriter::new();
        will_properties.push(PropertyId::WillDelayInterval, Value::Four(1)).expect("fits");
        let mut connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_secs: 0x0102,
            client_id: "id",
            will: Some(Will {
                topic: "w/t",
                payload: b"bye",
                qos: Qos::ExactlyOnce,
                retain: true,
                properties: will_properties.as_block(),
            }),
            username: Some("u"),
            password: Some(&[0, 0xff]),
            properties: properties.as_block(),
        };
        let tail: &[&[u8]] = &[b"\0\x03w/t", b"\0\x03bye", b"\0\x01u", b"\0\x02\0\xff"];
        let tail = tail.concat();
        let bytes = packet(&[V5, &[0xf4, 1, 2], b"\x05\x11\0\0\0\x0a", b"\0\x02id", b"\x05\x18\0\0\0\x01", &tail]);
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Connect(connect));
        connect.version = Version::V311;
        connect.properties = PropertyBlock::EMPTY;
        connect.will = connect.will.map(|will| Will { properties: PropertyBlock::EMPTY, ..will });
        let bytes = packet(&[V311, &[0xf4, 1, 2], b"\0\x02id", &tail]);
        check_valid(Version::V311, Sender::Client, &bytes, &Packet::Connect(connect));
        connect.version = Version::V31;
        let bytes = packet(&[V31, &[0xf4, 1, 2], b"\0\x02id", &tail]);
        check_valid(Version::V31, Sender::Client, &bytes, &Packet::Connect(connect));
    }

    #[test]
    fn a_password_alone_is_for_5_only() {
        let mut connect = Connect::new(Version::V5, "");
        connect.password = Some(b"p");
        let bytes = packet(&[V5, &[0x42, 0, 0, 0], b"\0\0", b"\0\x01p"]);
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Connect(connect));
        connect.version = Version::V311;
        assert_eq!(connect.encode(&mut Vec::new()), Err(EncodeError::NotInVersion));
    }

    #[test]
    fn in_3_1_announced_credentials_may_be_missing() {
        let bytes = packet(&[V31, &[0xc2, 0, 0], b"\0\x01c"]);
        let read = crate::packet::tests::decode_whole(Version::V31, Sender::Client, &bytes);
        assert_eq!(read, Ok(Packet::Connect(Connect::new(Version::V31, "c"))));
    }

    #[test]
    fn malformed_ones() {
        for (name, parts, error) in [
            // [MQTT-3.1.2-1], [MQTT-3.1.2-2]
            ("name", &[b"\0\x04MQTX\x04\x02\0\0\0\x01c" as &[u8]][..], PacketError::ProtocolName),
            ("name case", &[b"\0\x04mqtt\x04\x02\0\0\0\x01c"], PacketError::ProtocolName),
            ("level 6", &[b"\0\x04MQTT\x06\x02\0\0\0\0\x01c"], PacketError::ProtocolLevel(6)),
            ("level 3 as MQTT", &[b"\0\x04MQTT\x03\x02\0\0\0\0\x01c"], PacketError::ProtocolLevel(3)),
            ("level 4 as MQIsdp", &[b"\0\x06MQIsdp\x04\x02\0\0\0\x01c"], PacketError::ProtocolLevel(4)),
            // [MQTT-3.1.2-3]
            ("reserved flag", &[V311, b"\x03\0\0\0\x01c"], PacketError::ConnectFlags),
            ("reserved flag in 5", &[V5, b"\x03\0\0\0\0\x01c"], PacketError::ConnectFlags),
            // [MQTT-3.1.2-11] to [MQTT-3.1.2-14]; in 3.1.1 [MQTT-3.1.2-13] to [MQTT-3.1.2-15]
            ("will QoS 3", &[V5, b"\x1e\0\0\0\0\x01c\0\0\x01t\0\0"], PacketError::WillFlags),
            ("will QoS without will", &[V311, b"\x0a\0\0\0\x01c"], PacketError::WillFlags),
            ("will retain without will", &[V5, b"\x22\0\0\0\0\x01c"], PacketError::WillFlags),
            // [MQTT-3.1.2-22] of 3.1.1
            ("password alone", &[V311, b"\x42\0\0\0\x01c\0\x01p"], PacketError::PasswordWithoutUsername),
            ("password alone in 3.1", &[V31, b"\x42\0\0\0\x01c\0\x01p"], PacketError::PasswordWithoutUsername),
            // [MQTT-3.1.3-1], [MQTT-3.1.3-4]
            ("no client id", &[V311, b"\x02\0\0"], PacketError::Truncated),
            ("client id not UTF-8", &[V311, b"\x02\0\0\0\x01\xff"], PacketError::NotUtf8),
            ("client id with NUL", &[V311, b"\x02\0\0\0\x01\0"], PacketError::Nul),
            // [MQTT-3.1.2-9], [MQTT-3.1.3-11]
            ("no will", &[V311, b"\x06\0\0\0\x01c"], PacketError::Truncated),
            ("will topic not UTF-8", &[V311, b"\x06\0\0\0\x01c\0\x01\xff\0\0"], PacketError::NotUtf8),
            (
                "will topic with wildcard",
                &[V5, b"\x06\0\0\0\0\x01c\0\0\x03a/#\0\0"],
                PacketError::Topic(TopicError::WildcardInName),
            ),
            ("will topic empty", &[V311, b"\x06\0\0\0\x01c\0\0\0\0"], PacketError::Topic(TopicError::Empty)),
            // [MQTT-3.1.2-17], [MQTT-3.1.2-19], [MQTT-3.1.3-12]
            ("no user name", &[V311, b"\x82\0\0\0\x01c"], PacketError::Truncated),
            ("no password", &[V311, b"\xc2\0\0\0\x01c\0\x01u"], PacketError::Truncated),
            ("user name not UTF-8", &[V5, b"\x82\0\0\0\0\x01c\0\x01\xc0"], PacketError::NotUtf8),
            ("user name without flag", &[V311, b"\x02\0\0\0\x01c\0\x01u"], PacketError::TrailingBytes),
            ("will without flag", &[V5, b"\x02\0\0\0\0\x01c\0\0\x01t\0\0"], PacketError::TrailingBytes),
            // Properties
            ("no properties", &[V5, b"\x02\0\0"], PacketError::Truncated),
            ("long property length", &[V5, b"\x02\0\0\x80\0\0\x01c"], PacketError::IntegerNotMinimal),
            ("receive maximum 0", &[V5, b"\x02\0\0\x03\x21\0\0\0\x01c"], PacketError::PropertyValue(0x21)),
            ("packet size 0", &[V5, b"\x02\0\0\x05\x27\0\0\0\0\0\x01c"], PacketError::PropertyValue(0x27)),
            ("data alone", &[V5, b"\x02\0\0\x04\x16\0\x01d\0\x01c"], PacketError::NoAuthenticationMethod),
            (
                "two expiries",
                &[V5, b"\x02\0\0\x0a\x11\0\0\0\x01\x11\0\0\0\x01\0\x01c"],
                PacketError::PropertyRepeated(0x11),
            ),
            (
                "will delay outside the will",
                &[V5, b"\x02\0\0\x05\x18\0\0\0\x01\0\x01c"],
                PacketError::PropertyMisplaced(0x18),
            ),
            (
                "session expiry inside the will",
                &[V5, b"\x06\0\0\0\0\x01c\x05\x11\0\0\0\x01\0\x01t\0\0"],
                PacketError::PropertyMisplaced(0x11),
            ),
        ] {
            let bytes = packet(parts);
            let read = crate::packet::tests::decode_whole(Version::V5, Sender::Client, &bytes);
            assert_eq!(read, Err(error), "{name}");
        }
        let by_server = packet(&[V5, b"\x02\0\0\0\0\x01c"]);
        let error = PacketError::Direction(PacketType::Connect);
        check_malformed(Version::V5, Sender::Server, &by_server, error);
    }
}
