//! The packets that a server sends, read strictly: whatever the specification forbids is an error of the gateway.

use super::{
    property::{Property, read_properties},
    wire::{Reader, Version},
};

/// A packet from the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connack(Connack),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Suback(Codes),
    Unsuback(Codes),
    Pingresp,
    Disconnect(Reason),
    Auth(Reason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    pub session_present: bool,
    pub code: u8,
    pub properties: Vec<Property>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub properties: Vec<Property>,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("tests publish text")
    }

    /// The subscription identifiers in ascending order.
    pub fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .properties
            .iter()
            .filter_map(|property| if let Property::SubscriptionId(id) = property { Some(*id) } else { None })
            .collect();
        ids.sort_unstable();
        ids
    }

    pub fn topic_alias(&self) -> Option<u16> {
        self.properties
            .iter()
            .find_map(|property| if let Property::TopicAlias(alias) = property { Some(*alias) } else { None })
    }

    pub fn message_expiry(&self) -> Option<u32> {
        self.properties
            .iter()
            .find_map(|property| if let Property::MessageExpiry(seconds) = property { Some(*seconds) } else { None })
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub packet_id: u16,
    pub code: u8,
    pub properties: Vec<Property>,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    pub packet_id: u16,
    pub codes: Vec<u8>,
    pub properties: Vec<Property>,
}

/// DISCONNECT or AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: u8,
    pub properties: Vec<Property>,
}

const CONNACK_CODES_311: &[u8] = &[0, 1, 2, 3, 4, 5];
const CONNACK_CODES_5: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
    0x9c, 0x9d, 0x9f,
];
const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_CODES: &[u8] = &[0x00, 0x92];
const SUBACK_CODES_311: &[u8] = &[0, 1, 2, 0x80];
const SUBACK_CODES_5: &[u8] = &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
/// Those of Table 3-10 that a server may send.
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const AUTH_CODES: &[u8] = &[0x00, 0x18];

const CONNACK_PROPERTIES: &[u8] =
    &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a];
const PUBLISH_PROPERTIES: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26];
const ACK_PROPERTIES: &[u8] = &[0x1f, 0x26];
const DISCONNECT_PROPERTIES: &[u8] = &[0x1c, 0x1f, 0x26];
const AUTH_PROPERTIES: &[u8] = &[0x15, 0x16, 0x1f, 0x26];

impl Packet {
    /// Reads the packet of this first byte and body.
    pub fn read(version: Version, first: u8, body: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(body);
        let flags = first & 0x0f;
        let packet = match first >> 4 {
            2 => Self::Connack(connack(version, &mut reader)?),
            3 => return publish(version, flags, reader).map(Self::Publish),
            4 => Self::Puback(ack(version, &mut reader, PUBACK_CODES)?),
            5 => Self::Pubrec(ack(version, &mut reader, PUBACK_CODES)?),
            6 => Self::Pubrel(ack(version, &mut reader, PUBREL_CODES)?),
            7 => Self::Pubcomp(ack(version, &mut reader, PUBREL_CODES)?),
            9 => {
                let known = if version.is_5() { SUBACK_CODES_5 } else { SUBACK_CODES_311 };
                Self::Suback(codes(version, &mut reader, known)?)
            }
            11 => Self::Unsuback(codes(version, &mut reader, UNSUBACK_CODES)?),
            13 => Self::Pingresp,
            14 if version.is_5() => Self::Disconnect(reason(&mut reader, DISCONNECT_CODES, DISCONNECT_PROPERTIES)?),
            15 if version.is_5() => Self::Auth(reason(&mut reader, AUTH_CODES, AUTH_PROPERTIES)?),
            kind => return Err(format!("packet of type {kind} from a server in {version:?}")),
        };
        let flags_wanted = if matches!(packet, Self::Pubrel(_)) { 2 } else { 0 };
        if flags != flags_wanted {
            return Err(format!("flags {flags:#06b} on {packet:?}"));
        }
        if !reader.is_empty() {
            return Err(format!("{} bytes behind {packet:?}", reader.0.len()));
        }
        Ok(packet)
    }
}

fn connack(version: Version, reader: &mut Reader<'_>) -> Result<Connack, String> {
    let flags = reader.byte()?;
    if flags > 1 {
        return Err(format!("reserved connect acknowledge flags are set: {flags:#010b}"));
    }
    let known = if version.is_5() { CONNACK_CODES_5 } else { CONNACK_CODES_311 };
    let code = reader.byte()?;
    if !known.contains(&code) {
        return Err(format!("CONNACK code {code:#04x} in {version:?}"));
    }
    let properties = if version.is_5() { read_properties(reader, CONNACK_PROPERTIES)? } else { Vec::new() };
    Ok(Connack { session_present: flags == 1, code, properties })
}

fn publish(version: Version, flags: u8, mut reader: Reader<'_>) -> Result<Publish, String> {
    let qos = flags >> 1 & 3;
    let dup = flags & 8 != 0;
    if qos == 3 || dup && qos == 0 {
        return Err(format!("flags {flags:#06b} on PUBLISH"));
    }
    let topic = reader.string()?;
    let packet_id = if qos > 0 { reader.u16()? } else { 0 };
    if qos > 0 && packet_id == 0 {
        return Err("PUBLISH with packet identifier 0".into());
    }
    let properties = if version.is_5() { read_properties(&mut reader, PUBLISH_PROPERTIES)? } else { Vec::new() };
    if topic.contains(['#', '+']) {
        return Err(format!("a wildcard in topic name {topic:?}"));
    }
    let aliased = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
    if properties.contains(&Property::TopicAlias(0)) || topic.is_empty() && !aliased {
        return Err(format!("topic {topic:?} with {properties:?}"));
    }
    Ok(Publish { dup, qos, retain: flags & 1 != 0, topic, packet_id, properties, payload: reader.rest() })
}

fn ack(version: Version, reader: &mut Reader<'_>, known: &[u8]) -> Result<Ack, String> {
    let packet_id = reader.u16()?;
    let mut ack = Ack { packet_id, code: 0, properties: Vec::new() };
    if version.is_5() && !reader.is_empty() {
        ack.code = reader.byte()?;
        if !known.contains(&ack.code) {
            return Err(format!("code of {ack:?}"));
        }
        if !reader.is_empty() {
            ack.properties = read_properties(reader, ACK_PROPERTIES)?;
        }
    }
    Ok(ack)
}

fn codes(version: Version, reader: &mut Reader<'_>, known: &[u8]) -> Result<Codes, String> {
    let packet_id = reader.u16()?;
    let properties = if version.is_5() { read_properties(reader, ACK_PROPERTIES)? } else { Vec::new() };
    let codes = reader.rest();
    let bare = known == UNSUBACK_CODES && !version.is_5();
    if codes.is_empty() != bare {
        return Err(format!("{} codes in {version:?}", codes.len()));
    }
    match codes.iter().find(|code| !known.contains(code)) {
        Some(code) => Err(format!("code {code:#04x} in {codes:?}")),
        None => Ok(Codes { packet_id, codes, properties }),
    }
}

fn reason(reader: &mut Reader<'_>, known: &[u8], allowed: &[u8]) -> Result<Reason, String> {
    let mut reason = Reason { code: 0, properties: Vec::new() };
    if !reader.is_empty() {
        reason.code = reader.byte()?;
        if !reader.is_empty() {
            reason.properties = read_properties(reader, allowed)?;
        }
    }
    if known.contains(&reason.code) { Ok(reason) } else { Err(format!("code of {reason:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_bits_of_connack_are_seen() {
        for version in [Version::V311, Version::V5] {
            for bit in 1..8 {
                let body = [1 << bit, 0, 0];
                assert!(Packet::read(version, 0x20, &body[..if version.is_5() { 3 } else { 2 }]).is_err());
            }
        }
        assert!(Packet::read(Version::V5, 0x20, &[1, 0, 0]).is_ok());
    }

    #[test]
    fn codes_of_other_packets_are_seen() {
        let read = |first, body: &[u8]| Packet::read(Version::V5, first, body).is_ok();
        for code in 0..=u8::MAX {
            assert_eq!(read(0x20, &[0, code, 0]), CONNACK_CODES_5.contains(&code));
            assert_eq!(read(0x40, &[0, 1, code]), PUBACK_CODES.contains(&code));
            assert_eq!(read(0x50, &[0, 1, code]), PUBACK_CODES.contains(&code));
            assert_eq!(read(0x62, &[0, 1, code]), matches!(code, 0 | 0x92));
            assert_eq!(read(0x70, &[0, 1, code]), matches!(code, 0 | 0x92));
            assert_eq!(read(0x90, &[0, 1, 0, code]), SUBACK_CODES_5.contains(&code));
            assert_eq!(read(0xb0, &[0, 1, 0, code]), UNSUBACK_CODES.contains(&code));
            assert_eq!(read(0xe0, &[code]), DISCONNECT_CODES.contains(&code));
            assert_eq!(read(0xf0, &[code]), matches!(code, 0 | 0x18));
            let old = |first, body: &[u8]| Packet::read(Version::V311, first, body).is_ok();
            assert_eq!(old(0x20, &[0, code]), code <= 5);
            assert_eq!(old(0x90, &[0, 1, code]), matches!(code, 0..=2 | 0x80));
        }
        // Only a client says "disconnect with will" and "authenticate again".
        assert!(!DISCONNECT_CODES.contains(&0x04) && !AUTH_CODES.contains(&0x19));
    }

    #[test]
    fn properties_of_other_packets_are_seen() {
        let session_expiry = [0x11, 0, 0, 0, 1];
        let read = |first, head: &[u8]| Packet::read(Version::V5, first, &[head, &[5], &session_expiry].concat());
        assert!(read(0x20, &[0, 0]).is_ok());
        assert!(read(0xe0, &[0]).is_err(), "a server's DISCONNECT has none [MQTT-3.14.2-2]");
        assert!(read(0x40, &[0, 1, 0]).is_err());
        assert!(read(0xf0, &[0]).is_err());
    }
}
