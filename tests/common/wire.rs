//! Bytes of the packets that a client sends, and the readers for those of a server.

use super::property::{Property, put_properties};

/// A version of MQTT by its protocol level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

impl Version {
    pub fn is_5(self) -> bool {
        self == Self::V5
    }

    /// A client identifier of its own for this version, for tests that leave a session behind.
    pub fn id(self, name: &str) -> String {
        format!("{name}-{}", self as u8)
    }
}

/// A CONNECT to be sent.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Vec<Property>,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<Property>,
}

impl Connect {
    /// A clean session without keep-alive.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            username: None,
            password: None,
        }
    }

    /// Asks for a session that stays for as long as it can: Clean Session 0, in 5.0 with an expiry that never comes.
    pub fn persistent(mut self) -> Self {
        self.clean = false;
        if self.version.is_5() {
            self.properties.push(Property::SessionExpiry(u32::MAX));
        }
        self
    }

    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    pub fn will(mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Self {
        self.will =
            Some(Will { topic: topic.into(), payload: payload.as_bytes().into(), qos, retain, properties: Vec::new() });
        self
    }

    pub fn will_property(mut self, property: Property) -> Self {
        self.will.as_mut().expect("a will is there").properties.push(property);
        self
    }

    pub fn username(mut self, name: &str) -> Self {
        self.username = Some(name.into());
        self
    }

    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.as_bytes().into());
        self
    }

    /// The connect flags, section 3.1.2.3.
    pub fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags | u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// The packet with other flags than its fields ask for.
    pub fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let mut body = Vec::new();
        put_string(if self.version == Version::V31 { "MQIsdp" } else { "MQTT" }, &mut body);
        body.push(self.version as u8);
        body.push(flags);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.version.is_5() {
            put_properties(&self.properties, &mut body);
        }
        put_string(&self.client_id, &mut body);
        if let Some(will) = &self.will {
            if self.version.is_5() {
                put_properties(&will.properties, &mut body);
            }
            put_string(&will.topic, &mut body);
            put_binary(&will.payload, &mut body);
        }
        if let Some(name) = &self.username {
            put_string(name, &mut body);
        }
        if let Some(password) = &self.password {
            put_binary(password, &mut body);
        }
        frame(0x10, &body)
    }
}

/// PUBLISH, with packet identifier 0 left out at QoS 0.
pub fn publish(
    version: Version,
    topic: &str,
    payload: &[u8],
    qos: u8,
    packet_id: u16,
    properties: &[Property],
) -> Vec<u8> {
    publish_with(0x30 | qos << 1, version, topic, payload, packet_id, properties)
}

/// PUBLISH with any first byte. The packet identifier is written when that byte says QoS 1, 2 or 3.
pub fn publish_with(
    first: u8,
    version: Version,
    topic: &str,
    payload: &[u8],
    packet_id: u16,
    properties: &[Property],
) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(topic, &mut body);
    if first & 0x06 != 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    if version.is_5() {
        put_properties(properties, &mut body);
    }
    body.extend_from_slice(payload);
    frame(first, &body)
}

/// SUBSCRIBE to filters with their options (of which 3.1.1 has the two lowest bits).
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)], properties: &[Property]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_5() {
        put_properties(properties, &mut body);
    }
    for (filter, options) in filters {
        put_string(filter, &mut body);
        body.push(*options);
    }
    frame(0x82, &body)
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_5() {
        put_properties(&[], &mut body);
    }
    for filter in filters {
        put_string(filter, &mut body);
    }
    frame(0xa2, &body)
}

/// PUBACK (first byte 0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70). A code other than 0 is for 5.0.
pub fn ack(first: u8, packet_id: u16, code: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if code != 0 {
        body.push(code);
    }
    frame(first, &body)
}

/// DISCONNECT of 5.0 with code and properties, or the two bytes of the earlier versions.
pub fn disconnect(version: Version, code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = Vec::new();
    if version.is_5() && (code != 0 || !properties.is_empty()) {
        body.push(code);
        put_properties(properties, &mut body);
    }
    frame(0xe0, &body)
}

/// AUTH.
pub fn auth(code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = vec![code];
    put_properties(properties, &mut body);
    frame(0xf0, &body)
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// A packet of this first byte and body.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_varint(u32::try_from(body.len()).expect("a test's packets are short"), &mut out);
    out.extend_from_slice(body);
    out
}

pub fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub fn put_string(text: &str, out: &mut Vec<u8>) {
    put_binary(text.as_bytes(), out);
}

pub fn put_binary(data: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(data.len()).expect("a test's fields fit in their length");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
}

/// Reads a packet's body and complains of everything that the specification forbids a sender.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn section(&mut self, length: usize) -> Result<Reader<'a>, String> {
        if length > self.0.len() {
            return Err(format!("{length} bytes announced, {} there", self.0.len()));
        }
        let (section, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Reader(section))
    }

    pub fn byte(&mut self) -> Result<u8, String> {
        Ok(self.section(1)?.0[0])
    }

    pub fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.section(2)?.0;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    pub fn binary(&mut self) -> Result<Vec<u8>, String> {
        let length = usize::from(self.u16()?);
        Ok(self.section(length)?.0.to_vec())
    }

    pub fn string(&mut self) -> Result<String, String> {
        let text = String::from_utf8(self.binary()?).map_err(|fault| format!("a string that is not UTF-8: {fault}"))?;
        if text.contains('\0') {
            return Err(format!("a string with U+0000: {text:?}"));
        }
        Ok(text)
    }

    /// A variable byte integer, which must be as short as its value allows [MQTT-1.5.5-1].
    pub fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err("a variable byte integer longer than it need be".into());
                }
                return Ok(value);
            }
        }
        Err("a variable byte integer of more than four bytes".into())
    }

    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}
