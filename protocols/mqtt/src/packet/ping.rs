use crate::PacketError;

/// PINGREQ whole (MQTT 5.0, section 3.12).
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// PINGRESP whole (MQTT 5.0, section 3.13).
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// Neither has anything behind its fixed header.
pub(crate) const fn decode(body: &[u8]) -> Result<(), PacketError> {
    if body.is_empty() { Ok(()) } else { Err(PacketError::TrailingBytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Version,
        packet::{
            Packet, Sender,
            tests::{decode_whole, encode},
        },
    };

    #[test]
    fn both_are_two_bytes() {
        for version in Version::ALL {
            assert_eq!(encode(version, &Packet::Pingreq), PINGREQ);
            assert_eq!(encode(version, &Packet::Pingresp), PINGRESP);
            assert_eq!(decode_whole(version, Sender::Client, &PINGREQ), Ok(Packet::Pingreq));
            assert_eq!(decode_whole(version, Sender::Server, &PINGRESP), Ok(Packet::Pingresp));
            for kind in [0xc0, 0xd0] {
                let sender = if kind == 0xc0 { Sender::Client } else { Sender::Server };
                assert_eq!(decode_whole(version, sender, &[kind, 1, 0]), Err(PacketError::TrailingBytes));
            }
        }
    }
}
