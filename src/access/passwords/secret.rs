use std::{fmt, ops::Deref};

use zeroize::Zeroizing;

/// Bytes that are nobody else's business: overwritten when dropped, never shown.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A copy of bytes that whoever has them may keep longer.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec().into())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
