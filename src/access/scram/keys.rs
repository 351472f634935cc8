//! What is kept of a password for SCRAM: enough to check a proof, not enough to make one.

use std::{fmt, num::NonZeroU32, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{digest, hmac, pbkdf2, rand::SecureRandom};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::access::passwords::NoRandomness;

/// Rounds of PBKDF2 that RFC 7677 asks for at least, and that new keys have unless more are asked for.
pub const ITERATIONS_MIN: u32 = 4096;
/// Rounds that a client can be asked for.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of a new salt.
pub(super) const SALT_BYTES: usize = 16;
const SALT_BYTES_MAX: usize = 256;

/// The hash that an exchange is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScramHash {
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The method's name.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The hash of a method.
    pub fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.method() == method)
    }

    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self, bytes: &[u8]) -> digest::Digest {
        match self {
            Self::Sha256 => digest::digest(&digest::SHA256, bytes),
            Self::Sha512 => digest::digest(&digest::SHA512, bytes),
        }
    }

    pub(super) fn sign(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), text)
    }
}

/// Keys of one user for one hash (RFC 5802, section 3). Its text form is RFC 5803's, which PostgreSQL has, too:
/// `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(super) hash: ScramHash,
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Zeroizing<Vec<u8>>,
    pub(super) server_key: Zeroizing<Vec<u8>>,
}

/// A text holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not SCRAM keys such as SCRAM-SHA-256$4096:salt$StoredKey:ServerKey, with 4096 to 1000000 iterations")]
pub struct NoScramKeys;

impl ScramKeys {
    /// Keys of a password that is set now.
    ///
    /// # Errors
    /// When there is no salt.
    pub fn new(hash: ScramHash, password: &[u8], iterations: u32) -> Result<Self, NoRandomness> {
        let mut salt = [0; SALT_BYTES];
        ring::rand::SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
        Ok(Self::with_salt(hash, password, iterations, &salt))
    }

    pub(super) fn with_salt(hash: ScramHash, password: &[u8], iterations: u32, salt: &[u8]) -> Self {
        let iterations = iterations.clamp(ITERATIONS_MIN, ITERATIONS_MAX);
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = Zeroizing::new(vec![0; hash.bytes()]);
        let algorithm = match hash {
            ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            ScramHash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        pbkdf2::derive(algorithm, rounds, salt, &prepared(password), &mut salted);
        let client_key = hash.sign(&salted, b"Client Key");
        Self {
            hash,
            iterations,
            salt: salt.into(),
            stored_key: hash.digest(client_key.as_ref()).as_ref().to_vec().into(),
            server_key: hash.sign(&salted, b"Server Key").as_ref().to_vec().into(),
        }
    }

    /// The hash that they are for.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Rounds that the client computes.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether a proof was made by who knows the password. Takes as long for one that is nearly right as for any other.
    pub(super) fn proves(&self, proof: &[u8], auth_message: &[u8]) -> bool {
        let signature = self.hash.sign(&self.stored_key, auth_message);
        if proof.len() != signature.as_ref().len() {
            return false;
        }
        let mut client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(one, other)| one ^ other).collect();
        let found = self.hash.digest(&client_key);
        client_key.zeroize();
        found.as_ref().ct_eq(&self.stored_key).into()
    }
}

/// A password as RFC 4013 prepares it; one that it does not take is taken as it is.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.as_bytes().to_vec()))
}

impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let (salt, stored, server) = (encode(&self.salt), encode(&self.stored_key), encode(&self.server_key));
        write!(f, "{}${}:{salt}${stored}:{server}", self.hash.method(), self.iterations)
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramKeys({})", self.hash.method())
    }
}

impl FromStr for ScramKeys {
    type Err = NoScramKeys;

    fn from_str(text: &str) -> Result<Self, NoScramKeys> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| NoScramKeys);
        let mut parts = text.split('$');
        let (Some(method), Some(cost), Some(keys), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoScramKeys);
        };
        let hash = ScramHash::of_method(method).ok_or(NoScramKeys)?;
        let (iterations, salt) = cost.split_once(':').ok_or(NoScramKeys)?;
        let (stored, server) = keys.split_once(':').ok_or(NoScramKeys)?;
        let iterations: u32 = iterations.parse().map_err(|_| NoScramKeys)?;
        let salt = decode(salt)?;
        let (stored_key, server_key) = (Zeroizing::new(decode(stored)?), Zeroizing::new(decode(server)?));
        let fits = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
            && (1..=SALT_BYTES_MAX).contains(&salt.len())
            && [&stored_key, &server_key].iter().all(|key| key.len() == hash.bytes());
        if fits { Ok(Self { hash, iterations, salt: salt.into(), stored_key, server_key }) } else { Err(NoScramKeys) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_written() {
        for hash in ScramHash::ALL {
            let keys = ScramKeys::new(hash, b"pencil", 5000).expect("salt");
            let text = keys.to_string();
            assert!(text.starts_with(&format!("{}$5000:", hash.method())), "{text}");
            assert_eq!(text.parse(), Ok(keys.clone()));
            assert_eq!(format!("{keys:?}"), format!("ScramKeys({})", hash.method()));
            assert_ne!(ScramKeys::new(hash, b"pencil", 5000).expect("salt"), keys, "each has a salt of its own");
        }
        let good = ScramKeys::new(ScramHash::Sha256, b"pencil", 1).expect("salt").to_string();
        assert!(good.starts_with("SCRAM-SHA-256$4096:"), "never fewer: {good}");
        for bad in [
            String::new(),
            good.replace("4096", "4095"),
            good.replace("4096", "1000001"),
            good.replace("SHA-256", "SHA-1"),
            good.replace("SHA-256", "SHA-512"),
            good.replace('$', ":"),
            format!("{good}$"),
            format!("{good}A"),
        ] {
            assert_eq!(bad.parse::<ScramKeys>(), Err(NoScramKeys), "{bad}");
        }
    }

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013, section 3: a soft hyphen is nothing, and the Roman numeral nine is "IX".
        let keys = |password: &str| ScramKeys::with_salt(ScramHash::Sha256, password.as_bytes(), 4096, b"salt");
        assert_eq!(keys("I\u{ad}X"), keys("IX"));
        assert_eq!(keys("\u{2168}"), keys("IX"));
        assert_ne!(keys("ix"), keys("IX"));
        assert_ne!(keys("\u{7}"), keys(""), "what is prohibited is taken as it is");
    }
}
