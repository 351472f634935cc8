use std::{fmt, ops::Deref, sync::Arc};

/// The identity of a session, unique over all protocols and connections of a gateway.
///
/// UTF-8, 1 to 65,535 bytes, without NUL. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

/// Why a text cannot be a [`ClientId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientIdError {
    /// No characters.
    Empty,
    /// More bytes than the protocol or the operator allows.
    TooLong,
    /// Holds U+0000.
    Nul,
}

impl ClientId {
    /// Parses a client identifier of at most `bytes_max` bytes.
    pub fn new(text: &str, bytes_max: usize) -> Result<Self, ClientIdError> {
        if text.is_empty() {
            return Err(ClientIdError::Empty);
        }
        if text.len() > bytes_max.min(usize::from(u16::MAX)) {
            return Err(ClientIdError::TooLong);
        }
        if text.contains('\0') {
            return Err(ClientIdError::Nul);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ClientId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(ClientId::new("", 10), Err(ClientIdError::Empty));
        assert_eq!(ClientId::new("abc", 2), Err(ClientIdError::TooLong));
        assert_eq!(ClientId::new("a\0c", 9), Err(ClientIdError::Nul));
        assert_eq!(ClientId::new("abc", 3).map(|id| id.to_string()), Ok("abc".into()));
    }
}
