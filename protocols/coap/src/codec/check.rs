use super::{Code, Kind};

/// Why a datagram is no CoAP message (RFC 7252, sections 3 and 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// Fewer than the four bytes of the header.
    TooShort,
    /// Another version than 1: to be ignored silently.
    Version(u8),
    /// A token length of 9 to 15, or a token that is cut off.
    TokenLength(u8),
    /// A code of the reserved classes 1, 6 and 7.
    ReservedClass(Code),
    /// Bytes behind the header of an empty message.
    EmptyWithContent,
    /// 15 as the delta or length of an option.
    ReservedOptionHead,
    /// An option that is cut off.
    OptionTruncated,
    /// An option number above 65,535.
    OptionNumber,
    /// A payload marker with nothing behind it.
    EmptyPayload,
    /// A type that does not go with the code: a request in an acknowledgement, anything in a reset, an empty non-confirmable message.
    TypeAndCode,
}

/// The four bytes that every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub kind: Kind,
    /// The code.
    pub code: Code,
    /// The message id.
    pub id: u16,
}

impl Header {
    /// Reads the header alone, of whatever version.
    pub fn peek(datagram: &[u8]) -> Option<Self> {
        let [first, code, high, low, ..] = *datagram else { return None };
        Some(Self { kind: Kind::of(first), code: Code(code), id: u16::from_be_bytes([high, low]) })
    }
}

/// Checks all that makes a message malformed in one pass. The decoder behind it takes more than the specification allows.
pub fn check(datagram: &[u8]) -> Result<Header, FormatError> {
    let header = Header::peek(datagram).ok_or(FormatError::TooShort)?;
    let version = datagram[0] >> 6;
    if version != 1 {
        return Err(FormatError::Version(version));
    }
    if header.code.is_reserved() {
        return Err(FormatError::ReservedClass(header.code));
    }
    let token_bytes = datagram[0] & 0x0f;
    if token_bytes > 8 || datagram.len() < 4 + usize::from(token_bytes) {
        return Err(FormatError::TokenLength(token_bytes));
    }
    if header.code == Code::EMPTY && datagram.len() > 4 {
        return Err(FormatError::EmptyWithContent);
    }
    let possible = match header.kind {
        Kind::Confirmable => true,
        Kind::NonConfirmable => header.code != Code::EMPTY,
        Kind::Acknowledgement => !header.code.is_request(),
        Kind::Reset => header.code == Code::EMPTY,
    };
    if !possible {
        return Err(FormatError::TypeAndCode);
    }
    check_options(&datagram[4 + usize::from(token_bytes)..])?;
    Ok(header)
}

fn check_options(mut rest: &[u8]) -> Result<(), FormatError> {
    let mut number = 0u32;
    while let [head, tail @ ..] = rest {
        rest = tail;
        if *head == 0xff {
            return if rest.is_empty() { Err(FormatError::EmptyPayload) } else { Ok(()) };
        }
        let delta = extended(head >> 4, &mut rest)?;
        let length = extended(head & 0x0f, &mut rest)?;
        number += delta;
        if number > u32::from(u16::MAX) {
            return Err(FormatError::OptionNumber);
        }
        rest = rest.get(length as usize..).ok_or(FormatError::OptionTruncated)?;
    }
    Ok(())
}

fn extended(nibble: u8, rest: &mut &[u8]) -> Result<u32, FormatError> {
    match (nibble, *rest) {
        (15, _) => Err(FormatError::ReservedOptionHead),
        (14, [high, low, tail @ ..]) => {
            *rest = tail;
            Ok(u32::from(u16::from_be_bytes([*high, *low])) + 269)
        }
        (13, [byte, tail @ ..]) => {
            *rest = tail;
            Ok(u32::from(*byte) + 13)
        }
        (13 | 14, _) => Err(FormatError::OptionTruncated),
        (small, _) => Ok(small.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7252_section_3_malformed_messages_say_why() {
        for (bytes, error) in [
            (&b"\x40\x01\0"[..], FormatError::TooShort),
            (b"\x00\x01\0\0", FormatError::Version(0)),
            (b"\x80\x01\0\0", FormatError::Version(2)),
            (b"\x49\x01\x01\x02123456789", FormatError::TokenLength(9)),
            (b"\x42\x01\0\x001", FormatError::TokenLength(2)),
            (b"\x40\x20\0\0", FormatError::ReservedClass(Code::new(1, 0))),
            (b"\x40\xe1\0\0", FormatError::ReservedClass(Code::new(7, 1))),
            (b"\x41\0\0\0t", FormatError::EmptyWithContent),
            (b"\x40\0\0\0\xffx", FormatError::EmptyWithContent),
            (b"\x40\x01\0\0\xf0", FormatError::ReservedOptionHead),
            (b"\x40\x01\0\0\x0f", FormatError::ReservedOptionHead),
            (b"\x40\x01\0\0\xb2a", FormatError::OptionTruncated),
            (b"\x40\x01\0\0\xd0", FormatError::OptionTruncated),
            (b"\x40\x01\0\0\xe0\x01", FormatError::OptionTruncated),
            (b"\x40\x01\0\0\xe0\xff\xff", FormatError::OptionNumber),
            (b"\x40\x01\0\0\xff", FormatError::EmptyPayload),
            (b"\x50\0\0\0", FormatError::TypeAndCode),
            (b"\x60\x01\0\0", FormatError::TypeAndCode),
            (b"\x70\x45\0\0", FormatError::TypeAndCode),
        ] {
            assert_eq!(check(bytes), Err(error), "{bytes:x?}");
        }
        let header = check(b"\x41\x01\x12\x34t\xb2ps\xffx").expect("well formed");
        assert_eq!(header, Header { kind: Kind::Confirmable, code: Code::GET, id: 0x1234 });
    }
}
