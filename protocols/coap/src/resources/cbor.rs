//! As much of CBOR (RFC 8949) as topic configurations need: maps of numbers or names to numbers, texts, truth values and lists of the same, of definite
//! length.

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Uint(u64),
    Text(String),
    Bool(bool),
    List(Vec<Value>),
}

/// Most entries in a map or list: far more than there are parameters.
const ENTRIES_MAX: u64 = 32;

/// Reads a map that fills the bytes. `None` for anything else.
pub(crate) fn decode_map(mut bytes: &[u8]) -> Option<Vec<(Value, Value)>> {
    let (major, count) = head(&mut bytes)?;
    if major != 5 || count > ENTRIES_MAX {
        return None;
    }
    let entries = (0..count).map(|_| Some((value(&mut bytes, 0)?, value(&mut bytes, 1)?)));
    let entries = entries.collect::<Option<Vec<_>>>()?;
    bytes.is_empty().then_some(entries)
}

/// Major type and argument.
fn head(bytes: &mut &[u8]) -> Option<(u8, u64)> {
    let (first, rest) = bytes.split_first()?;
    let length = match first & 0x1f {
        small @ 0..24 => {
            *bytes = rest;
            return Some((first >> 5, small.into()));
        }
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        // Reserved, and indefinite lengths.
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((first >> 5, argument.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))))
}

fn value(bytes: &mut &[u8], lists: u8) -> Option<Value> {
    let (major, argument) = head(bytes)?;
    match (major, argument) {
        (0, number) => Some(Value::Uint(number)),
        (3, length) => {
            let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
            *bytes = rest;
            Some(Value::Text(std::str::from_utf8(text).ok()?.to_owned()))
        }
        (4, count) if lists > 0 && count <= ENTRIES_MAX => {
            (0..count).map(|_| value(bytes, lists - 1)).collect::<Option<Vec<_>>>().map(Value::List)
        }
        (7, 20) => Some(Value::Bool(false)),
        (7, 21) => Some(Value::Bool(true)),
        _ => None,
    }
}

/// Writes a map's head.
pub(crate) fn write_map(count: usize, bytes: &mut Vec<u8>) {
    write_head(5, count as u64, bytes);
}

/// Writes a value.
pub(crate) fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Uint(number) => write_head(0, *number, bytes),
        Value::Text(text) => {
            write_head(3, text.len() as u64, bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
        Value::Bool(is) => bytes.push(if *is { 0xf5 } else { 0xf4 }),
        Value::List(list) => {
            write_head(4, list.len() as u64, bytes);
            for one in list {
                write(one, bytes);
            }
        }
    }
}

fn write_head(major: u8, argument: u64, bytes: &mut Vec<u8>) {
    let wide = argument.to_be_bytes();
    let (code, length) = match argument {
        0..24 => return bytes.push(major << 5 | argument as u8),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | code);
    bytes.extend_from_slice(&wide[8 - length..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8949_appendix_a_values() {
        for (value, bytes) in [
            (Value::Uint(23), &b"\x17"[..]),
            (Value::Uint(24), b"\x18\x18"),
            (Value::Uint(1000), b"\x19\x03\xe8"),
            (Value::Uint(1_000_000), b"\x1a\0\x0f\x42\x40"),
            (Value::Uint(u64::MAX), b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
            (Value::Text("IETF".into()), b"\x64IETF"),
            (Value::Bool(true), b"\xf5"),
            (Value::List(vec![Value::Uint(1), Value::Text("a".into())]), b"\x82\x01\x61a"),
        ] {
            let mut written = b"\xa1\0".to_vec();
            write(&value, &mut written);
            assert_eq!(&written[2..], bytes);
            assert_eq!(decode_map(&written), Some(vec![(Value::Uint(0), value)]));
        }
    }

    #[test]
    fn what_is_no_such_map_is_refused() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"\xbf\xff",
            b"\xa1\0",
            b"\xa1\0\0\0",
            b"\xa1\0\x62a",
            b"\xa1\0\x61\xff",
            b"\xa1\0\x20",
            b"\xa1\0\xfb\0\0\0\0\0\0\0\0",
            b"\xa1\0\x81\x81\0",
            b"\xa1\0\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(decode_map(bytes), None, "{bytes:x?}");
        }
    }
}
