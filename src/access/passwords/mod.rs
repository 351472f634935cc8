//! Passwords: what is kept of them, and the threads that try them.

mod digest;
mod pool;
mod secret;
mod text;

use std::{fmt, num::NonZeroU32};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::{pbkdf2, rand::SecureRandom};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub use self::{
    digest::{DigestAlgorithm, SaltPosition},
    pool::{Full, Hashers, HashersSettings},
    secret::Secret,
    text::PasswordError,
};

/// What OWASP recommends for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Ceilings for what is imported: a hash that took longer or more would be a way to stop the gateway.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 64;
const ITERATIONS_MAX: u32 = 10_000_000;
const BCRYPT_COST_MAX: u32 = 16;
const SALT_BYTES_MAX: usize = 1024;
const HASH_BYTES_MAX: usize = 512;

/// What is kept of a password. Its text form is [`fmt::Display`]'s; [`fmt::Debug`] shows only the algorithm.
#[derive(Clone)]
pub struct Stored(Kind);

#[derive(Clone)]
enum Kind {
    Argon2 {
        algorithm: Algorithm,
        version: Version,
        params: Params,
        salt: Box<[u8]>,
        hash: Zeroizing<Vec<u8>>,
    },
    /// The whole text.
    Bcrypt(Zeroizing<String>),
    Pbkdf2 {
        mac: Mac,
        iterations: NonZeroU32,
        salt: Box<[u8]>,
        hash: Zeroizing<Vec<u8>>,
    },
    Digest {
        algorithm: DigestAlgorithm,
        position: SaltPosition,
        salt: Box<[u8]>,
        hash: Zeroizing<Vec<u8>>,
    },
}

/// The function that PBKDF2 goes round with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    /// HMAC-SHA-1.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-384.
    Sha384,
    /// HMAC-SHA-512.
    Sha512,
}

/// Memory that Argon2 works in, kept for the next time.
#[derive(Default)]
pub struct Memory(Vec<Block>);

/// Random bytes could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Stored {
    /// Of a password that is set now: Argon2id with a salt of its own.
    ///
    /// # Errors
    /// When there is no salt.
    pub fn new(password: &[u8], memory: &mut Memory) -> Result<Self, NoRandomness> {
        let mut salt = [0; SALT_BYTES];
        ring::rand::SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the parameters are within Argon2's bounds");
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let mut hash = Zeroizing::new(vec![0; HASH_BYTES]);
        memory
            .argon2(algorithm, version, &params, password, &salt, &mut hash)
            .expect("the lengths are within Argon2's bounds");
        Ok(Self(Kind::Argon2 { algorithm, version, params, salt: salt.into(), hash }))
    }

    /// One that nothing is the password of, and that takes as long to find out as with [`Stored::new`].
    ///
    /// # Errors
    /// When there is no salt.
    pub fn decoy() -> Result<Self, NoRandomness> {
        let mut random = [0; SALT_BYTES + HASH_BYTES];
        ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| NoRandomness)?;
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the parameters are within Argon2's bounds");
        let (salt, hash) = random.split_at(SALT_BYTES);
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        Ok(Self(Kind::Argon2 { algorithm, version, params, salt: salt.into(), hash: hash.to_vec().into() }))
    }

    /// Of a password that lies about as plain text: not worth the time that [`Stored::new`] would take.
    ///
    /// # Errors
    /// When there is no salt.
    pub fn of_plain(password: &[u8]) -> Result<Self, NoRandomness> {
        let mut salt = [0; SALT_BYTES];
        ring::rand::SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
        let (algorithm, position) = (DigestAlgorithm::Sha256, SaltPosition::Prefix);
        let hash = algorithm.salted(position, &salt, password);
        Ok(Self(Kind::Digest { algorithm, position, salt: salt.into(), hash }))
    }

    /// PBKDF2, as it was computed elsewhere.
    ///
    /// # Errors
    /// When something is out of bounds.
    pub fn pbkdf2(mac: Mac, iterations: u32, salt: &[u8], hash: &[u8]) -> Result<Self, PasswordError> {
        let iterations = NonZeroU32::new(iterations).filter(|count| count.get() <= ITERATIONS_MAX);
        let iterations = iterations.ok_or(PasswordError::OutOfBounds)?;
        check_lengths(salt, hash)?;
        Ok(Self(Kind::Pbkdf2 { mac, iterations, salt: salt.into(), hash: hash.to_vec().into() }))
    }

    /// A digest, as it was computed elsewhere.
    ///
    /// # Errors
    /// When its length is not that of the algorithm.
    pub fn digest(
        algorithm: DigestAlgorithm,
        position: SaltPosition,
        salt: &[u8],
        hash: &[u8],
    ) -> Result<Self, PasswordError> {
        check_lengths(salt, hash)?;
        if hash.len() != algorithm.bytes() {
            return Err(PasswordError::OutOfBounds);
        }
        Ok(Self(Kind::Digest { algorithm, position, salt: salt.into(), hash: hash.to_vec().into() }))
    }

    /// Whether this is the password. Takes as long for one that is nearly right as for any other.
    pub fn is(&self, password: &[u8], memory: &mut Memory) -> bool {
        match &self.0 {
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                let mut found = Zeroizing::new(vec![0; hash.len()]);
                let done = memory.argon2(*algorithm, *version, params, password, salt, &mut found);
                done.is_ok() && is_same(hash, &found)
            }
            Kind::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Kind::Pbkdf2 { mac, iterations, salt, hash } => {
                let mut found = Zeroizing::new(vec![0; hash.len()]);
                pbkdf2::derive(mac.algorithm(), *iterations, salt, password, &mut found);
                is_same(hash, &found)
            }
            Kind::Digest { algorithm, position, salt, hash } => {
                is_same(hash, &algorithm.salted(*position, salt, password))
            }
        }
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            Kind::Argon2 { algorithm, .. } => algorithm.as_str(),
            Kind::Bcrypt(_) => "bcrypt",
            Kind::Pbkdf2 { mac, .. } => mac.name(),
            Kind::Digest { algorithm, .. } => algorithm.name(),
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({})", self.algorithm())
    }
}

impl Mac {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "pbkdf2-sha1",
            Self::Sha256 => "pbkdf2-sha256",
            Self::Sha384 => "pbkdf2-sha384",
            Self::Sha512 => "pbkdf2-sha512",
        }
    }

    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

impl Memory {
    fn argon2(
        &mut self,
        algorithm: Algorithm,
        version: Version,
        params: &Params,
        password: &[u8],
        salt: &[u8],
        out: &mut [u8],
    ) -> Result<(), argon2::Error> {
        let count = params.block_count();
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        let argon2 = Argon2::new(algorithm, version, params.clone());
        let done = argon2.hash_password_into_with_memory(password, salt, out, &mut self.0[..count]);
        self.0[..count].iter_mut().for_each(Zeroize::zeroize);
        done
    }
}

fn check_lengths(salt: &[u8], hash: &[u8]) -> Result<(), PasswordError> {
    if salt.len() > SALT_BYTES_MAX || hash.is_empty() || hash.len() > HASH_BYTES_MAX {
        return Err(PasswordError::OutOfBounds);
    }
    Ok(())
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_argon2id_with_the_recommended_cost() {
        let mut memory = Memory::default();
        let stored = Stored::new(b"secret", &mut memory).expect("salt");
        let text = stored.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let again: Stored = text.parse().expect("what was written is read");
        assert!(stored.is(b"secret", &mut memory) && again.is(b"secret", &mut memory));
        assert!(!again.is(b"Secret", &mut memory) && !again.is(b"", &mut memory));
        assert_ne!(Stored::new(b"secret", &mut memory).expect("salt").to_string(), text, "each has a salt of its own");
    }

    #[test]
    fn nothing_of_it_is_shown_by_debug() {
        let stored: Stored = "$2b$04$abcdefghijklmnopqrstuuE5RDkyf3W6BDaB0tAKGRYSBhxV1Cvgy".parse().expect("bcrypt");
        assert_eq!(format!("{stored:?}"), "Stored(bcrypt)");
    }
}
