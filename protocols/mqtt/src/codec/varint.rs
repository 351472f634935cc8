//! Variable byte integers (MQTT 5.0, section 1.5.5).

use crate::PacketError;

/// The largest value that four bytes hold.
pub const MAX: u32 = 268_435_455;

/// Bytes that `value` takes: 1 to 4. Values above [`MAX`] cannot be encoded.
pub const fn len(value: u32) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Appends `value`, which must not be above [`MAX`].
pub fn put(out: &mut Vec<u8>, mut value: u32) {
    debug_assert!(value <= MAX, "no variable byte integer holds {value}");
    while value > 127 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads an integer from the front: its value and how many bytes it took, or `None` when more bytes are needed.
///
/// # Errors
/// [`PacketError::IntegerTooLong`] when the fourth byte announces a fifth. A needlessly long form is not refused here,
/// as versions before 5.0 do not forbid it: compare with [`len`].
pub fn decode(bytes: &[u8]) -> Result<Option<(u32, usize)>, PacketError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(PacketError::IntegerTooLong) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The limits of each length, table 1-1. [MQTT-1.5.5-1]
    #[test]
    fn lengths_change_where_the_specification_says() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(len(value), bytes.len());
            assert_eq!(decode(bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn five_bytes_are_refused_at_the_fourth() {
        assert_eq!(decode(&[0x80, 0x80, 0x80, 0x80]), Err(PacketError::IntegerTooLong));
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0x01]), Err(PacketError::IntegerTooLong));
    }

    #[test]
    fn a_long_form_is_told_by_its_length() {
        assert_eq!(decode(&[0x81, 0x00]), Ok(Some((1, 2))));
        assert_ne!(len(1), 2);
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(decode(&out), Ok(Some((value, len(value)))));
        }
    }
}
