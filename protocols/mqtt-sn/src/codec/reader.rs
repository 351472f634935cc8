use crate::PacketError;

/// Takes fields off the front of a message's variable part.
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

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], PacketError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(PacketError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PacketError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PacketError> {
        self.array().map(u16::from_be_bytes)
    }

    /// All that is left.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// All that is left, as text. It may hold U+0000, for callers that refuse it themselves.
    pub(crate) fn text(&mut self) -> Result<&'a str, PacketError> {
        std::str::from_utf8(self.bytes()).map_err(|_| PacketError::NotUtf8)
    }

    /// Checks that nothing is left.
    pub(crate) const fn finish(&self) -> Result<(), PacketError> {
        if self.rest.is_empty() { Ok(()) } else { Err(PacketError::TrailingBytes) }
    }
}
