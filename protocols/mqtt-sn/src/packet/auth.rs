use crate::{EncodeError, PacketError, codec::Reader};

/// The method of user name and password (RFC 4616).
pub const METHOD_PLAIN: &str = "PLAIN";

/// AUTH: what 1.2 has no message for, in the form of the 2.0 draft, which bisquitt has as well. It follows CONNECT, before the will is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Reason code; not used.
    pub reason: u8,
    /// The method.
    pub method: &'a str,
    /// What the method wants.
    pub data: &'a [u8],
}

/// User name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// User name.
    pub username: &'a str,
    /// Password.
    pub password: &'a [u8],
}

impl<'a> Auth<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let reason = reader.u8()?;
        let method_bytes = reader.u8()?;
        let method = reader.take(usize::from(method_bytes))?;
        let method = std::str::from_utf8(method).map_err(|_| PacketError::NotUtf8)?;
        Ok(Self { reason, method, data: reader.bytes() })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let method_bytes = u8::try_from(self.method.len()).map_err(|_| EncodeError::FieldTooLong)?;
        out.extend_from_slice(&[self.reason, method_bytes]);
        out.extend_from_slice(self.method.as_bytes());
        out.extend_from_slice(self.data);
        Ok(())
    }

    /// User name and password, if the method is [`METHOD_PLAIN`] and the data are in its form. An authorization identity is not used.
    pub fn plain(&self) -> Option<Plain<'a>> {
        if self.method != METHOD_PLAIN {
            return None;
        }
        let mut parts = self.data.split(|&byte| byte == 0);
        let (_, username, password) = (parts.next()?, parts.next()?, parts.next()?);
        let username = std::str::from_utf8(username).ok()?;
        (parts.next().is_none() && !username.is_empty()).then_some(Plain { username, password })
    }
}

impl Plain<'_> {
    /// The data of an AUTH with [`METHOD_PLAIN`].
    pub fn to_data(&self) -> Vec<u8> {
        [b"\0", self.username.as_bytes(), b"\0", self.password].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_have_three_parts() {
        let plain = |data| Auth { reason: 0, method: METHOD_PLAIN, data }.plain();
        let expected = Plain { username: "user", password: b"secret" };
        assert_eq!(plain(b"\0user\0secret"), Some(expected));
        assert_eq!(plain(b"somebody\0user\0secret"), Some(expected));
        assert_eq!(expected.to_data(), b"\0user\0secret");
        assert_eq!(plain(b"\0user\0"), Some(Plain { username: "user", password: b"" }));
        for bad in [&b""[..], b"user", b"\0user", b"\0\0secret", b"\0user\0se\0cret", b"\0\xff\0secret"] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
        assert_eq!(Auth { reason: 0, method: "SCRAM", data: b"\0user\0secret" }.plain(), None);
    }
}
