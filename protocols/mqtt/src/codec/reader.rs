use super::varint;
use crate::PacketError;

/// Takes fields off the front of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PacketError> {
        let (&byte, tail) = self.rest.split_first().ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PacketError> {
        let (bytes, tail) = self.rest.split_first_chunk().ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PacketError> {
        let (bytes, tail) = self.rest.split_first_chunk().ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    pub(crate) fn packet_id(&mut self) -> Result<u16, PacketError> {
        match self.u16()? {
            0 => Err(PacketError::PacketIdZero),
            id => Ok(id),
        }
    }

    /// A variable byte integer in its shortest form [MQTT-1.5.5-1].
    pub(crate) fn varint(&mut self) -> Result<u32, PacketError> {
        let (value, length) = varint::decode(self.rest)?.ok_or(PacketError::Truncated)?;
        if length != varint::len(value) {
            return Err(PacketError::IntegerNotMinimal);
        }
        self.rest = &self.rest[length..];
        Ok(value)
    }

    /// Binary data (section 1.5.6).
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], PacketError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A text that may hold U+0000: for callers that look for it themselves.
    pub(crate) fn utf8(&mut self) -> Result<&'a str, PacketError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| PacketError::NotUtf8)
    }

    /// A UTF-8 encoded string (section 1.5.4).
    pub(crate) fn text(&mut self) -> Result<&'a str, PacketError> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) { Err(PacketError::Nul) } else { Ok(text) }
    }

    /// Checks that nothing is left.
    pub(crate) const fn finish(&self) -> Result<(), PacketError> {
        if self.rest.is_empty() { Ok(()) } else { Err(PacketError::TrailingBytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-1.5.4-1], [MQTT-1.5.4-2]; in 3.1.1 [MQTT-1.5.3-1], [MQTT-1.5.3-2].
    #[test]
    fn texts_are_utf8_without_nul() {
        let text = |bytes| Reader::new(bytes).text();
        assert_eq!(text(&[0, 0]), Ok(""));
        assert_eq!(text(&[0, 2, 0xc3, 0xa4]), Ok("ä"));
        assert_eq!(text(&[0, 2, 0xc3, 0x28]), Err(PacketError::NotUtf8));
        assert_eq!(text(&[0, 3, 0xed, 0xa0, 0x80]), Err(PacketError::NotUtf8), "a surrogate");
        assert_eq!(text(&[0, 2, 0xc0, 0x80]), Err(PacketError::NotUtf8), "an overlong NUL");
        assert_eq!(text(&[0, 2, b'a', 0]), Err(PacketError::Nul));
        assert_eq!(text(&[0, 2, b'a']), Err(PacketError::Truncated));
        assert_eq!(text(&[0]), Err(PacketError::Truncated));
    }

    /// [MQTT-1.5.4-3]; in 3.1.1 [MQTT-1.5.3-3].
    #[test]
    fn a_byte_order_mark_is_kept() {
        assert_eq!(Reader::new(&[0, 3, 0xef, 0xbb, 0xbf]).text(), Ok("\u{feff}"));
    }
}
