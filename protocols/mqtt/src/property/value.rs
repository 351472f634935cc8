use crate::{
    EncodeError,
    codec::{put_bytes, put_text, put_u16, varint},
};

/// A property's value in its own data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A byte.
    Byte(u8),
    /// A two byte integer.
    Two(u16),
    /// A four byte integer.
    Four(u32),
    /// A variable byte integer.
    Variable(u32),
    /// A UTF-8 encoded string.
    Text(&'a str),
    /// Binary data.
    Bytes(&'a [u8]),
    /// A UTF-8 string pair.
    Pair(&'a str, &'a str),
}

impl Value<'_> {
    pub(super) fn write(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Byte(value) => out.push(value),
            Self::Two(value) => put_u16(out, value),
            Self::Four(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Variable(value) => varint::put(out, value),
            Self::Text(text) => put_text(out, text)?,
            Self::Bytes(bytes) => put_bytes(out, bytes)?,
            Self::Pair(name, value) => {
                put_text(out, name)?;
                put_text(out, value)?;
            }
        }
        Ok(())
    }
}
