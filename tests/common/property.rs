//! Properties of MQTT 5.0, section 2.2.2.

use super::wire::{Reader, put_binary, put_string, put_varint};

/// One property with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthMethod(String),
    AuthData(Vec<u8>),
    RequestProblem(u8),
    WillDelay(u32),
    RequestResponse(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    SubscriptionIdsAvailable(u8),
    SharedAvailable(u8),
    /// Bytes as they are, to write what is not a property.
    Raw(Vec<u8>),
}

impl Property {
    /// The identifier of Table 2-4.
    pub fn id(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpiry(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionId(_) => 0x0b,
            Self::SessionExpiry(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthMethod(_) => 0x15,
            Self::AuthData(_) => 0x16,
            Self::RequestProblem(_) => 0x17,
            Self::WillDelay(_) => 0x18,
            Self::RequestResponse(_) => 0x19,
            Self::ResponseInformation(_) => 0x1a,
            Self::ServerReference(_) => 0x1c,
            Self::ReasonString(_) => 0x1f,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQos(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardAvailable(_) => 0x28,
            Self::SubscriptionIdsAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2a,
            Self::Raw(bytes) => bytes.first().copied().unwrap_or(0),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        if let Self::Raw(bytes) = self {
            out.extend_from_slice(bytes);
            return;
        }
        out.push(self.id());
        match self {
            Self::PayloadFormat(value)
            | Self::RequestProblem(value)
            | Self::RequestResponse(value)
            | Self::MaximumQos(value)
            | Self::RetainAvailable(value)
            | Self::WildcardAvailable(value)
            | Self::SubscriptionIdsAvailable(value)
            | Self::SharedAvailable(value) => out.push(*value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::MessageExpiry(value)
            | Self::SessionExpiry(value)
            | Self::WillDelay(value)
            | Self::MaximumPacketSize(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::SubscriptionId(value) => put_varint(*value, out),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_string(text, out),
            Self::CorrelationData(data) | Self::AuthData(data) => put_binary(data, out),
            Self::User(name, value) => {
                put_string(name, out);
                put_string(value, out);
            }
            Self::Raw(_) => unreachable!("written above"),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, String> {
        let id = reader.varint()?;
        Ok(match id {
            0x01 => Self::PayloadFormat(reader.byte()?),
            0x02 => Self::MessageExpiry(reader.u32()?),
            0x03 => Self::ContentType(reader.string()?),
            0x08 => Self::ResponseTopic(reader.string()?),
            0x09 => Self::CorrelationData(reader.binary()?),
            0x0b => Self::SubscriptionId(reader.varint()?),
            0x11 => Self::SessionExpiry(reader.u32()?),
            0x12 => Self::AssignedClientId(reader.string()?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            0x15 => Self::AuthMethod(reader.string()?),
            0x16 => Self::AuthData(reader.binary()?),
            0x1a => Self::ResponseInformation(reader.string()?),
            0x1c => Self::ServerReference(reader.string()?),
            0x1f => Self::ReasonString(reader.string()?),
            0x21 => Self::ReceiveMaximum(reader.u16()?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            0x23 => Self::TopicAlias(reader.u16()?),
            0x24 => Self::MaximumQos(reader.byte()?),
            0x25 => Self::RetainAvailable(reader.byte()?),
            0x26 => Self::User(reader.string()?, reader.string()?),
            0x27 => Self::MaximumPacketSize(reader.u32()?),
            0x28 => Self::WildcardAvailable(reader.byte()?),
            0x29 => Self::SubscriptionIdsAvailable(reader.byte()?),
            0x2a => Self::SharedAvailable(reader.byte()?),
            other => return Err(format!("property {other:#04x} in a packet from a server")),
        })
    }
}

/// Writes a property section with its length.
pub fn put_properties(properties: &[Property], out: &mut Vec<u8>) {
    let mut section = Vec::new();
    for property in properties {
        property.put(&mut section);
    }
    put_varint(u32::try_from(section.len()).expect("a test's properties are short"), out);
    out.extend_from_slice(&section);
}

/// Reads a property section, of which only those in `allowed` may be there, each once but for user properties and,
/// in PUBLISH, subscription identifiers.
pub fn read_properties(reader: &mut Reader<'_>, allowed: &[u8]) -> Result<Vec<Property>, String> {
    let length = reader.varint()? as usize;
    let mut section = reader.section(length)?;
    let mut found: Vec<Property> = Vec::new();
    while !section.is_empty() {
        let property = Property::read(&mut section)?;
        if !allowed.contains(&property.id()) {
            return Err(format!("{property:?} does not belong into this packet"));
        }
        if !matches!(property.id(), 0x26 | 0x0b) && found.iter().any(|other| other.id() == property.id()) {
            return Err(format!("{property:?} comes twice"));
        }
        found.push(property);
    }
    Ok(found)
}
