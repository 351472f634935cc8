//! Pre-shared keys, by the identity that a peer shows: for DTLS (RFC 4279), which asks for them here. Keys are overwritten when dropped, and never shown.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq as _;

use super::passwords::Secret;

/// What the keys of rows begin with.
pub const PSK_PREFIX: &str = "psk/";
/// Longest identity, in bytes; transports have to take 128 (RFC 4279, section 5.3).
pub const IDENTITY_BYTES_MAX: usize = 1024;
/// Shortest and longest key, in bytes. Less than 16 can be guessed.
pub const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=256;
/// Most keys in a file, and in the store.
pub const KEYS_MAX: usize = 1_000_000;

/// Keys by their identities.
pub type KeyMap = HashMap<Box<str>, Secret>;

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The identity is empty, too long, or has something in it that is no text for a line.
    #[error("an identity has 1 to {IDENTITY_BYTES_MAX} bytes without \":\" and control characters")]
    Identity,
    /// Other characters than hexadecimal digits, or an odd number of them.
    #[error("a key is written in pairs of hexadecimal digits")]
    NotHex,
    /// Too short or too long.
    #[error("a key has {} to {} bytes", KEY_BYTES.start(), KEY_BYTES.end())]
    Length,
}

/// Why a file with keys is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// A line without a colon.
    #[error("line {0}: expected identity:key")]
    NoColon(usize),
    /// A line that is wrong.
    #[error("line {0}: {1}")]
    Line(usize, KeyError),
    /// An identity that came before.
    #[error("line {0}: this identity came before")]
    Twice(usize),
    /// Too many.
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

/// Checks an identity.
///
/// # Errors
/// [`KeyError::Identity`].
pub fn check_identity(identity: &str) -> Result<(), KeyError> {
    let is_good =
        (1..=IDENTITY_BYTES_MAX).contains(&identity.len()) && !identity.contains(|c: char| c == ':' || c.is_control());
    if is_good { Ok(()) } else { Err(KeyError::Identity) }
}

/// Reads a key in hexadecimal digits.
///
/// # Errors
/// See [`KeyError`].
pub fn key_from_hex(text: &str) -> Result<Secret, KeyError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(KeyError::NotHex);
    }
    if !KEY_BYTES.contains(&(text.len() / 2)) {
        return Err(KeyError::Length);
    }
    // Never moved while it grows, which would leave copies behind.
    let mut key = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks_exact(2) {
        key.push(digit(pair[0]).unwrap_or_default() << 4 | digit(pair[1]).unwrap_or_default());
    }
    Ok(key.into())
}

/// A key in hexadecimal digits.
pub fn key_to_hex(key: &Secret) -> zeroize::Zeroizing<String> {
    let mut text = zeroize::Zeroizing::new(String::with_capacity(key.len() * 2));
    for byte in key.iter() {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads a file: `identity:key` on each line; empty lines and those that begin with `#` are left out.
///
/// # Errors
/// The first line that is wrong.
pub fn parse_keys(text: &str) -> Result<KeyMap, KeyFileError> {
    let mut keys = KeyMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (identity, key) = line.split_once(':').ok_or(KeyFileError::NoColon(number))?;
        let wrong = |error| KeyFileError::Line(number, error);
        check_identity(identity).map_err(wrong)?;
        let key = key_from_hex(key.trim()).map_err(wrong)?;
        if keys.insert(identity.into(), key).is_some() {
            return Err(KeyFileError::Twice(number));
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
    }
    Ok(keys)
}

/// All keys that the gateway knows. Those of the file count before those of the store.
#[derive(Debug, Default)]
pub struct PreSharedKeys {
    file: ArcSwap<KeyMap>,
    stored: ArcSwap<KeyMap>,
}

impl PreSharedKeys {
    /// Puts the file's keys in the place of those before.
    pub fn set_file(&self, keys: KeyMap) {
        self.file.store(keys.into());
    }

    /// Puts the store's keys in the place of those before.
    pub fn set_stored(&self, keys: KeyMap) {
        self.stored.store(keys.into());
    }

    /// Changes the store's keys; `None` takes one away. It counts for the next handshake.
    pub fn change_stored(&self, changes: impl IntoIterator<Item = (Box<str>, Option<Secret>)>) {
        let mut keys = KeyMap::clone(&self.stored.load());
        for (identity, key) in changes {
            match key {
                Some(key) => keys.insert(identity, key),
                None => keys.remove(&identity),
            };
        }
        self.set_stored(keys);
    }

    /// The key of an identity.
    pub fn find(&self, identity: &str) -> Option<Secret> {
        let (file, stored) = (self.file.load(), self.stored.load());
        file.get(identity).or_else(|| stored.get(identity)).cloned()
    }

    /// Whether the store has a key for an identity.
    pub fn is_stored(&self, identity: &str) -> bool {
        self.stored.load().contains_key(identity)
    }

    /// Whether this is the key of an identity, compared in constant time; so is that of an identity that nobody has.
    pub fn proves(&self, identity: &str, key: &[u8]) -> bool {
        let known = self.find(identity);
        let expected = known.as_deref().unwrap_or(&[0; 32]);
        bool::from(expected.ct_eq(key)) & known.is_some()
    }

    /// How many there are: in the file and in the store.
    pub fn len(&self) -> (usize, usize) {
        (self.file.load().len(), self.stored.load().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeFF";

    #[test]
    fn keys_are_found_by_identity() {
        let text = format!("# devices\n\none:{KEY}\n two:{KEY}00 \n");
        let keys = PreSharedKeys::default();
        keys.set_file(parse_keys(&text).expect("good"));
        let stored = |key: &str| key_from_hex(key).expect("a key");
        let other = "ff".repeat(16);
        keys.set_stored([("one".into(), stored(&other)), ("three".into(), stored(&other))].into());
        assert_eq!(keys.len(), (2, 2));
        assert_eq!(*key_to_hex(&keys.find("one").expect("known")), KEY.to_lowercase());
        assert_eq!(keys.find("two").expect("known").len(), 17);
        assert!(keys.proves("three", &[0xff; 16]) && !keys.proves("three", &[0xfe; 16]));
        assert!(!keys.proves("three", &[0xff; 15]) && !keys.proves("four", &[0; 32]) && keys.find("four").is_none());
        keys.set_file(KeyMap::new());
        assert!(keys.proves("one", &[0xff; 16]) && keys.find("two").is_none());
        assert!(!format!("{keys:?}").contains("17"), "nothing of them is shown");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_keys() {
        for (text, expected) in [
            ("a", KeyFileError::NoColon(1)),
            (&*format!(":{KEY}"), KeyFileError::Line(1, KeyError::Identity)),
            (&*format!("{}:{KEY}", "x".repeat(2000)), KeyFileError::Line(1, KeyError::Identity)),
            ("\na:secret", KeyFileError::Line(2, KeyError::NotHex)),
            ("a:123", KeyFileError::Line(1, KeyError::NotHex)),
            ("a:1234", KeyFileError::Line(1, KeyError::Length)),
            (&*format!("a:{}", "00".repeat(300)), KeyFileError::Line(1, KeyError::Length)),
            (&*format!("a:{KEY}\na:{KEY}"), KeyFileError::Twice(2)),
        ] {
            let error = parse_keys(text).expect_err(text);
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
