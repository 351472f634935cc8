//! Protocol buffers, as far as OTLP needs them: <https://protobuf.dev/programming-guides/encoding/>.

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Writes a message. Fields with their default value are left out, as version 3 has it, unless they are said to be present.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    /// `int64`, `uint64`, `bool` or an enumeration.
    pub fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.present(field, value);
        }
    }

    /// The same, for a field of a `oneof`.
    pub fn present(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// `fixed64` or `sfixed64`, written even when it is 0.
    pub fn fixed64(&mut self, field: u64, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, field: u64, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `bytes` or `string`.
    pub fn bytes(&mut self, field: u64, value: &[u8]) {
        if !value.is_empty() {
            self.present_bytes(field, value);
        }
    }

    /// The same, for a field of a `oneof`.
    pub fn present_bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message in the message.
    pub fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.key(field, BYTES);
        let start = self.0.len();
        write(self);
        // Its length comes first, and is known last.
        let mut length = Self::default();
        length.varint((self.0.len() - start) as u64);
        self.0.splice(start..start, length.0);
    }

    /// The encoded message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number of any sort.
    Number(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
}

/// Reads the fields of a message, in their order. `None` when the bytes are none.
pub fn read(mut bytes: &[u8], mut see: impl FnMut(u64, Field<'_>)) -> Option<()> {
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let field = match key & 7 {
            VARINT => Field::Number(take_varint(&mut bytes)?),
            FIXED64 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            FIXED32 => Field::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
            BYTES => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            _ => return None,
        };
        see(key >> 3, field);
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::default();
        writer.number(1, 300);
        writer.number(2, 0);
        writer.present(2, 0);
        writer.message(3, |inner| inner.bytes(15, &[7; 200]));
        writer.fixed64(16, u64::MAX);
        writer.fixed32(4, 5);
        writer.bytes(5, b"");
        let bytes = writer.into_bytes();
        assert_eq!(bytes[..3], [0x08, 0xac, 0x02], "the example of the specification");
        let mut told = Vec::new();
        let seen = read(&bytes, |field, value| match value {
            Field::Number(number) => told.push((field, number)),
            Field::Bytes(inner) => told.push((field, inner.len() as u64)),
        });
        assert_eq!(seen, Some(()));
        assert_eq!(told, [(1, 300), (2, 0), (3, 203), (16, u64::MAX), (4, 5)]);
    }

    #[test]
    fn bytes_that_are_no_message_are_seen() {
        for bad in [&b"\x08"[..], b"\x08\x80", b"\x0a\x05abc", b"\x09\x01", b"\x0b", &[0xff; 12]] {
            assert_eq!(read(bad, |_, _| {}), None, "{bad:?}");
        }
    }
}
