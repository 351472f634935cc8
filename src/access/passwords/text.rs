//! How a stored password is written: as others do where they have a form for it, and alike where not.
//!
//! `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, `$2b$12$...`, `$pbkdf2-sha256$i=600000$salt$hash`, `$digest-sha256$p=prefix$salt$hash`; read are, too,
//! Mosquitto's `$6$salt$hash` (SHA-512 of password and salt) and `$7$iterations$salt$hash` (PBKDF2 with SHA-512).

use std::{fmt, str::FromStr};

use argon2::{Algorithm, Params, Version};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::{
    BCRYPT_COST_MAX, DigestAlgorithm, Kind, MEMORY_KIB_MAX, Mac, PASSES_MAX, SaltPosition, Stored, check_lengths,
};

/// Writes without padding and reads with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is no stored password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It begins with no algorithm that is known here.
    #[error("no kind of password hash that is known here")]
    Unknown,
    /// Its parts are not those of its algorithm.
    #[error("a damaged password hash")]
    Damaged,
    /// A parameter is outside what the algorithm has, or would take the gateway too long.
    #[error("a password hash with a parameter out of bounds")]
    OutOfBounds,
}

use PasswordError::{Damaged, OutOfBounds, Unknown};

impl FromStr for Stored {
    type Err = PasswordError;

    fn from_str(text: &str) -> Result<Self, PasswordError> {
        let mut parts = text.strip_prefix('$').ok_or(Unknown)?.split('$');
        let name = parts.next().ok_or(Unknown)?;
        let rest: Vec<_> = parts.collect();
        match (name, rest.as_slice()) {
            ("argon2id" | "argon2i" | "argon2d", _) => argon2(name, &rest),
            ("2a" | "2b" | "2x" | "2y", [cost, _]) => bcrypt(text, cost),
            ("6", [salt, hash]) => {
                Self::digest(DigestAlgorithm::Sha512, SaltPosition::Suffix, &bytes(salt)?, &bytes(hash)?)
            }
            ("7", [iterations, salt, hash]) => {
                Self::pbkdf2(Mac::Sha512, number(iterations)?, &bytes(salt)?, &bytes(hash)?)
            }
            (_, [parameter, salt, hash]) => {
                let (key, value) = parameter.split_once('=').ok_or(Damaged)?;
                let (salt, hash) = (bytes(salt)?, bytes(hash)?);
                if let Some(mac) = Mac::ALL.into_iter().find(|mac| mac.name() == name) {
                    return if key == "i" { Self::pbkdf2(mac, number(value)?, &salt, &hash) } else { Err(Damaged) };
                }
                let algorithm = DigestAlgorithm::ALL.into_iter().find(|it| it.name() == name).ok_or(Unknown)?;
                let position = SaltPosition::ALL.into_iter().find(|it| key == "p" && it.name() == value);
                Self::digest(algorithm, position.ok_or(Damaged)?, &salt, &hash)
            }
            ("2a" | "2b" | "2x" | "2y" | "6" | "7", _) => Err(Damaged),
            _ => Err(Unknown),
        }
    }
}

fn argon2(name: &str, parts: &[&str]) -> Result<Stored, PasswordError> {
    let (version, parameters, salt, hash) = match parts {
        [version, parameters, salt, hash] => {
            (number(version.strip_prefix("v=").ok_or(Damaged)?)?, parameters, salt, hash)
        }
        [parameters, salt, hash] => (0x10, parameters, salt, hash),
        _ => return Err(Damaged),
    };
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for parameter in parameters.split(',') {
        match parameter.split_once('=').ok_or(Damaged)? {
            ("m", value) => memory = Some(number(value)?),
            ("t", value) => passes = Some(number(value)?),
            ("p", value) => lanes = Some(number(value)?),
            _ => return Err(Damaged),
        }
    }
    let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else { return Err(Damaged) };
    if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > memory / 8 {
        return Err(OutOfBounds);
    }
    let params = Params::new(memory, passes, lanes, None).map_err(|_| OutOfBounds)?;
    let (salt, hash) = (bytes(salt)?, bytes(hash)?);
    check_lengths(&salt, &hash)?;
    if salt.len() < argon2::MIN_SALT_LEN || hash.len() < Params::MIN_OUTPUT_LEN {
        return Err(OutOfBounds);
    }
    let algorithm = Algorithm::new(name).map_err(|_| Unknown)?;
    let version = Version::try_from(version).map_err(|_| OutOfBounds)?;
    Ok(Stored(Kind::Argon2 { algorithm, version, params, salt: salt.to_vec().into(), hash }))
}

fn bcrypt(text: &str, cost: &str) -> Result<Stored, PasswordError> {
    if text.len() != 60 || !text.is_ascii() {
        return Err(Damaged);
    }
    // What is out of bounds is no hash that anybody has made.
    if !(4..=BCRYPT_COST_MAX).contains(&number(cost)?) {
        return Err(OutOfBounds);
    }
    text.parse::<bcrypt::HashParts>().map_err(|_| Damaged)?;
    Ok(Stored(Kind::Bcrypt(text.to_owned().into())))
}

fn number(text: &str) -> Result<u32, PasswordError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Damaged);
    }
    text.parse().map_err(|_| OutOfBounds)
}

fn bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    BASE64.decode(text).map(Into::into).map_err(|_| Damaged)
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = match &self.0 {
            Kind::Bcrypt(text) => return f.write_str(text),
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
                write!(f, "${}$v={}$m={memory},t={passes},p={lanes}", algorithm.as_str(), u32::from(*version))?;
                (salt, hash)
            }
            Kind::Pbkdf2 { mac, iterations, salt, hash } => {
                write!(f, "${}$i={iterations}", mac.name())?;
                (salt, hash)
            }
            Kind::Digest { algorithm, position, salt, hash } => {
                write!(f, "${}$p={}", algorithm.name(), position.name())?;
                (salt, hash)
            }
        };
        write!(f, "${}${}", BASE64.encode(salt), BASE64.encode(hash.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::passwords::Memory;

    /// Made by other programs: `mosquitto_passwd`, Python's hashlib, libargon2 and libxcrypt.
    #[test]
    fn what_others_have_made_is_understood() {
        let mut memory = Memory::default();
        for (password, text) in VECTORS {
            let stored: Stored = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(stored.is(password.as_bytes(), &mut memory), "{text}");
            assert!(!stored.is(format!("{password}x").as_bytes(), &mut memory), "{text}");
            let again: Stored = stored.to_string().parse().expect("what was written is read");
            assert_eq!(again.to_string(), stored.to_string());
            assert!(again.is(password.as_bytes(), &mut memory), "{stored}");
        }
    }

    #[test]
    fn what_is_no_hash_is_told_apart() {
        for (text, error) in [
            ("", Unknown),
            ("secret", Unknown),
            ("$1$salt$hash", Unknown),
            ("$9$x", Unknown),
            ("$2b$12$short", Damaged),
            ("$6$c2FsdA==", Damaged),
            ("$6$c2FsdA==$c2FsdA==", OutOfBounds),
            ("$7$0$c2FsdA==$c2FsdA==", OutOfBounds),
            ("$7$99999999$c2FsdA==$c2FsdA==", OutOfBounds),
            ("$argon2id$v=19$m=999999999,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", OutOfBounds),
            ("$argon2id$v=19$m=64,t=2,p=4294967295$c2FsdHNhbHQ$aGFzaGhhc2g", OutOfBounds),
            ("$argon2id$v=19$m=64,t=2$c2FsdHNhbHQ$aGFzaGhhc2g", Damaged),
            ("$2b$31$abcdefghijklmnopqrstuuE5RDkyf3W6BDaB0tAKGRYSBhxV1Cvgy", OutOfBounds),
            ("$pbkdf2-sha256$x=1$c2FsdA$c2FsdA", Damaged),
            ("$digest-sha256$p=between$c2FsdA$c2FsdA", Damaged),
        ] {
            assert_eq!(text.parse::<Stored>().err(), Some(error), "{text}");
        }
    }
    const VECTORS: &[(&str, &str)] = &[
        ("secret", "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
        ("secret", "$2y$05$zyxwvutsrqponmlkjihgfe3ndEiL3GiIakKnDuqccvufF6mWkaRqC"),
        ("password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"),
        ("password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
        (
            "secret",
            "$7$101$pRRq2rJNe66gejv6$MHArMR/0sPzFTuzU2biTY1JGZAIkUQKUzhib8ccxhbbG89ZhXHroQpZ5Pj5IQ0iwtCjkHP6UpSw1IMxH/j9Lig==",
        ),
        (
            "secret",
            "$6$dVMK3qifUpZD8izs$TlMrAxBvdbj5dFN0JRyBwpeRjS3CJXHjGYrqZNfPG8lBKO9h1lI/Y56TZ2XpeL4VK34JbQifzIrgDJwePWnTQw==",
        ),
        ("secret", "$pbkdf2-sha1$i=1000$NGYxYw$DIArwGblcDvcrstbMgN5A/9MDTM"),
        ("secret", "$pbkdf2-sha256$i=1000$NGYxYw$FB1fTeowlY6D9HbYVBNNQtICBbgX7HnqldIyu5rtHis"),
        ("secret", "$pbkdf2-sha384$i=1000$NGYxYw$N1X1SGPDSFs5hoD51LTk7x3rAvM8pJxVqvK3MqTsuIeVNjDeVRkW6roL26lHoOGo"),
        (
            "secret",
            "$pbkdf2-sha512$i=1000$NGYxYw$ElKI+7ayvBpdAobjbW9/Q4tjeNEtmAlN6ocLqk01sEzIKrPVtGWrZ6zHcgeMoNMcHcyLo7SDGOzk8+uNwwmYxQ",
        ),
        ("secret", "$digest-md5$p=prefix$NGYxYw$Reu4/0O6ZGLt2aB69Y5UPA"),
        ("secret", "$digest-sha1$p=prefix$NGYxYw$YQpUeHF5BkoWjQikHhbNkwbBT94"),
        ("secret", "$digest-sha256$p=prefix$NGYxYw$ZIpNxqPK0+NSXgIOH8flWP8FVuUaJ06RB6lzFgAnN/g"),
        (
            "secret",
            "$digest-sha512$p=prefix$NGYxYw$EYGQf8o4B+Ymh4/LqJIpIUGcxaXmFhdmVrifgkFs9wrCUqh1TCOYyItsTaudsDZIWl6xVzGujt4vA5mYEQa8Lw",
        ),
        ("secret", "$digest-sha256$p=suffix$NGYxYw$LPDnkUaG6vthFW4EW1sMS0A0hmhGQuVGFu8aDAkp53A"),
        ("secret", "$digest-md5$p=disable$$Xr4ilOzQ4PCOq3aQ0qbuaQ"),
    ];
}
