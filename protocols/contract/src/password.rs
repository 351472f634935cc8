use std::{fmt, ops::Deref};

use zeroize::Zeroizing;

/// A password on its way to whoever knows it: overwritten when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Box<[u8]>>);

impl Password {
    /// A copy of bytes that lie in a buffer.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl Deref for Password {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_shown() {
        let password = Password::copy_of(b"secret");
        assert_eq!(&*password, b"secret");
        assert_eq!(format!("{password:?}"), "Password");
    }
}
