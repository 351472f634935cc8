//! Option numbers and what the specifications say of them (RFC 7252, section 5.10).

use super::{Code, Packet};

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $min:literal..=$max:literal $(, $repeatable:ident)?;)*) => {
        $($(#[$doc])* pub const $name: u16 = $number;)*

        /// Least and most bytes of a value, and whether the option may be there several times.
        const fn rule(number: u16) -> Option<(usize, usize, bool)> {
            match number {
                $($number => Some(($min, $max, false $(|| options!(@ $repeatable))?)),)*
                _ => None,
            }
        }
    };
    (@ repeatable) => { true };
}

options! {
    /// If-Match (RFC 7252, section 5.10.8.1).
    IF_MATCH = 1, 0..=8, repeatable;
    /// Uri-Host (section 5.10.1).
    URI_HOST = 3, 1..=255;
    /// ETag (section 5.10.6).
    ETAG = 4, 1..=8, repeatable;
    /// If-None-Match (section 5.10.8.2).
    IF_NONE_MATCH = 5, 0..=0;
    /// Observe (RFC 7641, section 2).
    OBSERVE = 6, 0..=3;
    /// Uri-Port (RFC 7252, section 5.10.1).
    URI_PORT = 7, 0..=2;
    /// Location-Path (section 5.10.7).
    LOCATION_PATH = 8, 0..=255, repeatable;
    /// Uri-Path (section 5.10.1).
    URI_PATH = 11, 0..=255, repeatable;
    /// Content-Format (section 5.10.3).
    CONTENT_FORMAT = 12, 0..=2;
    /// Max-Age (section 5.10.5).
    MAX_AGE = 14, 0..=4;
    /// Uri-Query (section 5.10.1).
    URI_QUERY = 15, 0..=255, repeatable;
    /// Accept (section 5.10.4).
    ACCEPT = 17, 0..=2;
    /// Location-Query (section 5.10.7).
    LOCATION_QUERY = 20, 0..=255, repeatable;
    /// Block2 (RFC 7959, section 2.1).
    BLOCK2 = 23, 0..=3;
    /// Block1 (RFC 7959, section 2.1).
    BLOCK1 = 27, 0..=3;
    /// Size2 (RFC 7959, section 4).
    SIZE2 = 28, 0..=4;
    /// Proxy-Uri (RFC 7252, section 5.10.2).
    PROXY_URI = 35, 1..=1034;
    /// Proxy-Scheme (section 5.10.2).
    PROXY_SCHEME = 39, 1..=255;
    /// Size1 (RFC 7959, section 4).
    SIZE1 = 60, 0..=4;
    /// Echo (RFC 9175, section 2.2).
    ECHO = 252, 1..=40;
    /// No-Response (RFC 7967, section 2).
    NO_RESPONSE = 258, 0..=1;
    /// Request-Tag (RFC 9175, section 3.2).
    REQUEST_TAG = 292, 0..=8, repeatable;
}

/// Why a request's options cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// A critical option that is not known here, or known with another length or number of values (RFC 7252, sections 5.4.1, 5.4.3, 5.4.5).
    Critical(u16),
    /// Proxy-Uri or Proxy-Scheme (section 5.7.2).
    Proxy,
}

/// True for options that may not be ignored: odd numbers (RFC 7252, section 5.4.6).
pub const fn is_critical(number: u16) -> bool {
    number & 1 == 1
}

/// True for options that do not take part in the cache key (RFC 7252, section 5.4.6).
pub const fn is_no_cache_key(number: u16) -> bool {
    number & 0x1e == 0x1c
}

pub(super) const fn is_length_valid(number: u16, bytes: usize) -> bool {
    match rule(number) {
        Some((min, max, _)) => bytes >= min && bytes <= max,
        None => true,
    }
}

/// A number in the fewest bytes, or in more with zeros in front (RFC 7252, section 3.2).
pub fn decode_uint(value: &[u8]) -> Option<u32> {
    if value.len() > 4 {
        return None;
    }
    Some(value.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
}

/// Checks that a request has no option that must be known and is not. Elective ones that are unknown, too long or there once too often are ignored.
pub fn check_request(packet: &Packet) -> Result<(), OptionError> {
    let mut before = None;
    for (number, value) in packet.all_options() {
        let again = before == Some(number);
        before = Some(number);
        if !is_critical(number) {
            continue;
        }
        match (number, rule(number)) {
            (PROXY_URI | PROXY_SCHEME, _) => return Err(OptionError::Proxy),
            (_, Some((min, max, repeatable)))
                if (min..=max).contains(&value.len()) && (repeatable || !again) && is_for_requests(number) => {}
            _ => return Err(OptionError::Critical(number)),
        }
    }
    Ok(())
}

/// True for options that a request to a method can have; the rest of the table is for responses and elective.
const fn is_for_requests(number: u16) -> bool {
    !matches!(number, LOCATION_PATH | LOCATION_QUERY)
}

/// What tells requests to the same thing apart: the method and all options that take part in the cache key, but the block options (RFC 7959, section
/// 2.4). ETag and Observe are left out as well: the blocks behind a first answer are asked for without them.
pub fn request_key(packet: &Packet) -> u64 {
    let mut hash = crate::hash::Sip::new(&crate::hash::PUBLIC_KEY);
    hash.write(&[packet.code().0]);
    for (number, value) in packet.all_options() {
        if is_no_cache_key(number) || matches!(number, BLOCK1 | BLOCK2 | ETAG | OBSERVE | ECHO | URI_HOST | URI_PORT) {
            continue;
        }
        hash.write(&number.to_be_bytes());
        hash.write(&(value.len() as u16).to_be_bytes());
        hash.write(value);
    }
    // What is asked for is in the body of a FETCH; the pieces of one have nothing in common but the rest.
    if packet.code() == Code::FETCH && !packet.has(BLOCK1) {
        hash.write(packet.payload());
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;

    fn with(options: &[(u16, &[u8])]) -> Packet {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        for (number, value) in options {
            packet.push(*number, value);
        }
        packet
    }

    #[test]
    fn rfc7252_section_5_4_critical_options_must_be_known_and_right() {
        for (options, expected) in [
            (&[(URI_PATH, &b"a"[..]), (URI_PATH, b"b"), (URI_HOST, b"h"), (URI_PORT, b"\x16\x33")][..], Ok(())),
            (&[(9, b"")], Err(OptionError::Critical(9))),
            (&[(65_001, b"")], Err(OptionError::Critical(65_001))),
            (&[(65_000, b"unknown and elective")], Ok(())),
            (&[(URI_HOST, b"a"), (URI_HOST, b"b")], Err(OptionError::Critical(URI_HOST))),
            (&[(ACCEPT, b"\0\0\0")], Err(OptionError::Critical(ACCEPT))),
            (&[(IF_NONE_MATCH, b"x")], Err(OptionError::Critical(IF_NONE_MATCH))),
            (&[(OBSERVE, b"1234")], Ok(())),
            (&[(PROXY_URI, b"coap://x")], Err(OptionError::Proxy)),
            (&[(PROXY_SCHEME, b"coap")], Err(OptionError::Proxy)),
        ] {
            assert_eq!(check_request(&with(options)), expected, "{options:?}");
        }
    }

    #[test]
    fn rfc7959_section_2_4_the_key_is_of_what_the_request_is_about() {
        let plain = request_key(&with(&[(URI_PATH, b"a"), (URI_QUERY, b"q")]));
        assert_eq!(plain, request_key(&with(&[(URI_PATH, b"a"), (URI_QUERY, b"q"), (BLOCK2, b"\x10"), (SIZE1, b"1")])));
        assert_ne!(plain, request_key(&with(&[(URI_PATH, b"a"), (URI_PATH, b"q")])));
        assert_ne!(plain, request_key(&with(&[(URI_PATH, b"a"), (URI_QUERY, b"q"), (REQUEST_TAG, b"")])));
    }
}
