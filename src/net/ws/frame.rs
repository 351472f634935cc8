//! Frame headers and masking (RFC 6455, section 5.2).

/// Longest header: 2 bytes, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame (section 5.5).
pub(super) const CONTROL_BYTES_MAX: u64 = 125;

/// What the peer did wrong on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WsFault {
    /// A reserved bit is set, and no extension was agreed.
    #[error("reserved bit set in a WebSocket frame")]
    ReservedBits,
    /// An opcode that is not defined.
    #[error("unknown WebSocket opcode {0}")]
    UnknownOpcode(u8),
    /// A client must mask (section 5.1).
    #[error("unmasked WebSocket frame from a client")]
    Unmasked,
    /// A server must not mask (section 5.1).
    #[error("masked WebSocket frame from a server")]
    Masked,
    /// A control frame in fragments.
    #[error("fragmented WebSocket control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    #[error("WebSocket control frame too long")]
    ControlTooLong,
    /// A continuation of nothing.
    #[error("WebSocket continuation without a beginning")]
    UnexpectedContinuation,
    /// A new message before the last one was finished.
    #[error("WebSocket message begun inside another")]
    UnfinishedMessage,
    /// Only binary frames carry MQTT \[MQTT-6.0.0-1\].
    #[error("text frame on a binary WebSocket")]
    TextFrame,
    /// Longer than the listener allows.
    #[error("WebSocket frame of {0} bytes is too long")]
    FrameTooLong(u64),
    /// A length with the highest bit set.
    #[error("invalid WebSocket length")]
    BadLength,
    /// The payload of a close frame is malformed.
    #[error("malformed WebSocket close frame")]
    BadClose,
}

impl WsFault {
    /// The status code of the close frame that answers it (section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TextFrame => 1003,
            Self::FrameTooLong(_) => 1009,
            _ => 1002,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Mask,
    pub(super) length: u64,
}

/// A masking key, turned so that its first byte is for the next payload byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Mask([u8; 4]);

impl Header {
    /// Length of the header that begins with these two bytes.
    pub(super) const fn length_of(first: [u8; 2]) -> usize {
        let extended = match first[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if first[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// Parses a whole header received in `role`.
    pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Self, WsFault> {
        let (fin, masked) = (bytes[0] & 0x80 != 0, bytes[1] & 0x80 != 0);
        if bytes[0] & 0x70 != 0 {
            return Err(WsFault::ReservedBits);
        }
        let opcode = match bytes[0] & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => return Err(WsFault::UnknownOpcode(other)),
        };
        match (role, masked) {
            (Role::Server, false) => return Err(WsFault::Unmasked),
            (Role::Client, true) => return Err(WsFault::Masked),
            _ => {}
        }
        let (length, rest) = match bytes[1] & 0x7f {
            126 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), &bytes[4..]),
            127 => {
                let (length, rest) = bytes[2..].split_at(8);
                (length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), rest)
            }
            short => (u64::from(short), &bytes[2..]),
        };
        if length >> 63 != 0 {
            return Err(WsFault::BadLength);
        }
        if opcode.is_control() && !fin {
            return Err(WsFault::FragmentedControl);
        }
        if opcode.is_control() && length > CONTROL_BYTES_MAX {
            return Err(WsFault::ControlTooLong);
        }
        let mask = if masked { Mask([rest[0], rest[1], rest[2], rest[3]]) } else { Mask::default() };
        Ok(Self { fin, opcode, mask, length })
    }

    /// Writes the header of an unfragmented frame; gives its length.
    pub(super) fn write(out: &mut [u8; HEADER_BYTES_MAX], opcode: Opcode, length: u64, mask: Option<Mask>) -> usize {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        out[0] = 0x80 | opcode as u8;
        let mut end = match length {
            0..=125 => {
                out[1] = masked | length as u8;
                2
            }
            126..=0xffff => {
                out[1] = masked | 126;
                out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            _ => {
                out[1] = masked | 127;
                out[2..10].copy_from_slice(&length.to_be_bytes());
                10
            }
        };
        if let Some(Mask(key)) = mask {
            out[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        end
    }
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

impl Mask {
    /// A key that the application cannot foresee (section 5.3).
    pub(super) fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self((RandomState::new().hash_one(()) as u32).to_ne_bytes())
    }

    /// Masks or unmasks the next bytes of the payload.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let Mask([a, b, c, d]) = *self;
        if self.0 == [0; 4] {
            return;
        }
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut chunks = bytes.chunks_exact_mut(8);
        for chunk in &mut chunks {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks have 8 bytes"));
            chunk.copy_from_slice(&(word ^ wide).to_ne_bytes());
        }
        for (byte, key) in chunks.into_remainder().iter_mut().zip([a, b, c, d, a, b, c, d]) {
            *byte ^= key;
        }
        self.advance(bytes.len());
    }

    /// Turns the key by a number of payload bytes.
    pub(super) fn advance(&mut self, count: usize) {
        self.0.rotate_left(count % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_at_the_borders() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000, u64::MAX >> 1] {
            for (role, mask) in [(Role::Client, None), (Role::Server, Some(Mask([1, 2, 3, 4])))] {
                let mut bytes = [0; HEADER_BYTES_MAX];
                let end = Header::write(&mut bytes, Opcode::Binary, length, mask);
                assert_eq!(Header::length_of([bytes[0], bytes[1]]), end);
                let expected = Header { fin: true, opcode: Opcode::Binary, mask: mask.unwrap_or_default(), length };
                assert_eq!(Header::parse(&bytes[..end], role), Ok(expected));
            }
        }
    }

    #[test]
    fn malformed_headers() {
        let cases: [(&[u8], WsFault); 8] = [
            (&[0xc2, 0x80, 0, 0, 0, 0], WsFault::ReservedBits),
            (&[0x83, 0x80, 0, 0, 0, 0], WsFault::UnknownOpcode(3)),
            (&[0x8b, 0x80, 0, 0, 0, 0], WsFault::UnknownOpcode(11)),
            (&[0x82, 0x00], WsFault::Unmasked),
            (&[0x09, 0x80, 0, 0, 0, 0], WsFault::FragmentedControl),
            (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], WsFault::ControlTooLong),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], WsFault::BadLength),
            (&[0x88, 0xfe, 1, 0, 0, 0, 0, 0], WsFault::ControlTooLong),
        ];
        for (bytes, fault) in cases {
            assert_eq!(Header::parse(bytes, Role::Server), Err(fault), "{bytes:?}");
        }
        assert_eq!(Header::parse(&[0x82, 0x80, 0, 0, 0, 0], Role::Client), Err(WsFault::Masked));
    }

    #[test]
    fn masking_in_pieces_is_masking_at_once() {
        let plain: Vec<u8> = (0..=255).collect();
        let mut whole = plain.clone();
        Mask([7, 11, 13, 17]).apply(&mut whole);
        assert!(plain.iter().zip(&whole).enumerate().all(|(i, (p, w))| p ^ [7, 11, 13, 17][i % 4] == *w));
        for cut in 0..40 {
            let mut mask = Mask([7, 11, 13, 17]);
            let mut pieces = plain.clone();
            let (head, tail) = pieces.split_at_mut(cut);
            mask.apply(head);
            mask.apply(tail);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }
}
