use super::varint;
use crate::{PacketError, Version, packet::PacketType};

/// A whole packet, split at its fixed header (MQTT 5.0, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// What comes behind the remaining length.
    pub body: &'a [u8],
    /// Bytes of the fixed header, 2 to 5.
    pub header_bytes: usize,
}

/// What [`split`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not yet a whole packet. When its length is known already it is here, otherwise 0.
    Incomplete(usize),
    /// A whole packet at the front.
    Frame(Frame<'a>),
}

impl Frame<'_> {
    /// Bytes of the whole packet.
    pub fn total_bytes(&self) -> usize {
        self.header_bytes + self.body.len()
    }

    /// The packet's type, after a check of the flags and the form of the remaining length for `version`.
    ///
    /// # Errors
    /// [`PacketError::ReservedType`], [`PacketError::FixedHeaderFlags`] or [`PacketError::IntegerNotMinimal`].
    pub fn packet_type(&self, version: Version) -> Result<PacketType, PacketError> {
        let kind = PacketType::of(self.first).ok_or(PacketError::ReservedType)?;
        if kind == PacketType::Auth && version < Version::V5 {
            return Err(PacketError::ReservedType);
        }
        if !flags_are_valid(kind, self.first & 0x0f, version) {
            return Err(PacketError::FixedHeaderFlags);
        }
        if version >= Version::V5 && self.header_bytes != 1 + varint::len(self.body.len() as u32) {
            return Err(PacketError::IntegerNotMinimal);
        }
        Ok(kind)
    }
}

/// Splits the first packet off `bytes`.
///
/// # Errors
/// [`PacketError::TooLarge`] as soon as the fixed header announces more than `bytes_max` in all,
/// [`PacketError::ReservedType`] for type 0, and [`PacketError::IntegerTooLong`].
pub fn split(bytes: &[u8], bytes_max: usize) -> Result<Split<'_>, PacketError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Split::Incomplete(0));
    };
    if first < 0x10 {
        return Err(PacketError::ReservedType);
    }
    let Some((body_bytes, length_bytes)) = varint::decode(rest)? else {
        return Ok(Split::Incomplete(0));
    };
    let header_bytes = 1 + length_bytes;
    let total_bytes = header_bytes + body_bytes as usize;
    if total_bytes > bytes_max {
        return Err(PacketError::TooLarge);
    }
    match bytes.get(header_bytes..total_bytes) {
        Some(body) => Ok(Split::Frame(Frame { first, body, header_bytes })),
        None => Ok(Split::Incomplete(total_bytes)),
    }
}

/// Table 2-2: the flags of each type. In 3.1 unused flags have no prescribed value and DUP marks a repeated PUBREL,
/// SUBSCRIBE or UNSUBSCRIBE.
fn flags_are_valid(kind: PacketType, flags: u8, version: Version) -> bool {
    let with_qos_1 = matches!(kind, PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe);
    match kind {
        PacketType::Publish => true,
        _ if version == Version::V31 => !with_qos_1 || flags & 0b0110 == 0b0010,
        _ => flags == if with_qos_1 { 0b0010 } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_whole_packets_and_announces_lengths() {
        let frame = Frame { first: 0xc0, body: &[], header_bytes: 2 };
        assert_eq!(split(&[0xc0, 0, 0xd0], 100), Ok(Split::Frame(frame)));
        assert_eq!(frame.total_bytes(), 2);
        assert_eq!(split(&[], 100), Ok(Split::Incomplete(0)));
        assert_eq!(split(&[0x30], 100), Ok(Split::Incomplete(0)));
        assert_eq!(split(&[0x30, 0x80], 100), Ok(Split::Incomplete(0)));
        assert_eq!(split(&[0x30, 0x09, 1], 100), Ok(Split::Incomplete(11)));
        assert_eq!(split(&[0x30, 0x80, 0x01, 1], 200), Ok(Split::Incomplete(131)));
    }

    #[test]
    fn refuses_by_the_fixed_header_alone() {
        assert_eq!(split(&[0x30, 0x62], 99), Err(PacketError::TooLarge));
        assert_eq!(split(&[0x30, 0x61], 99), Ok(Split::Incomplete(99)));
        assert_eq!(split(&[0x00], 99), Err(PacketError::ReservedType));
        assert_eq!(split(&[0x30, 0xff, 0xff, 0xff, 0xff], 99), Err(PacketError::IntegerTooLong));
    }

    /// [MQTT-2.1.3-1], in 3.1.1 [MQTT-2.2.2-1] and [MQTT-2.2.2-2]; for single types [MQTT-3.6.1-1], [MQTT-3.8.1-1],
    /// [MQTT-3.10.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1].
    #[test]
    fn every_type_has_its_flags() {
        for nibble in 1..=15u8 {
            for flags in 0..16u8 {
                let kind = PacketType::of(nibble << 4).expect("a type");
                let frame = Frame { first: nibble << 4 | flags, body: &[], header_bytes: 2 };
                let valid = match kind {
                    PacketType::Publish => true,
                    PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => flags == 2,
                    _ => flags == 0,
                };
                let expected = if valid { Ok(kind) } else { Err(PacketError::FixedHeaderFlags) };
                assert_eq!(frame.packet_type(Version::V5), expected);
                if kind == PacketType::Auth {
                    assert_eq!(frame.packet_type(Version::V311), Err(PacketError::ReservedType));
                    assert_eq!(frame.packet_type(Version::V31), Err(PacketError::ReservedType));
                } else {
                    assert_eq!(frame.packet_type(Version::V311), expected);
                }
            }
        }
        let repeated = Frame { first: 0x6a, body: &[], header_bytes: 2 };
        assert_eq!(repeated.packet_type(Version::V31), Ok(PacketType::Pubrel));
        assert_eq!(repeated.packet_type(Version::V311), Err(PacketError::FixedHeaderFlags));
    }

    /// [MQTT-1.5.5-1]
    #[test]
    fn a_padded_length_is_malformed_in_5_only() {
        let Ok(Split::Frame(frame)) = split(&[0xc0, 0x80, 0x00], 99) else { panic!("a frame") };
        assert_eq!(frame.packet_type(Version::V5), Err(PacketError::IntegerNotMinimal));
        assert_eq!(frame.packet_type(Version::V311), Ok(PacketType::Pingreq));
    }
}
