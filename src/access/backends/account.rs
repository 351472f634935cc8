//! What a database says of somebody, understood.

use std::{collections::BTreeMap, sync::Arc};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use thingway_connectors::{Field, Row};

use crate::access::{
    attempt::{Attributes, Grant},
    passwords::{DigestAlgorithm, SaltPosition, Stored},
    users::{Hashing, Password, hashed},
};

/// Reads with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Attributes that one client may have.
const ATTRIBUTES_MAX: usize = 64;

/// What is kept of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordForm {
    /// A hash and its salt.
    Hashed(Hashing),
    /// As directories keep it: `{SSHA}` and the like, or as this says.
    Directory(Hashing),
    /// Nothing: the password was tried by the service itself.
    Tried,
}

/// The names of columns, or of fields, or of attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// What is kept of the password, or, as [`PasswordForm::Tried`], whether it was right. The first that is there counts.
    pub password: Box<[Box<str>]>,
    /// The salt.
    pub salt: Box<str>,
    /// No rule counts for it.
    pub is_superuser: Box<str>,
}

impl Default for Columns {
    /// EMQX's names.
    fn default() -> Self {
        Self {
            password: ["password_hash".into(), "password".into()].into(),
            salt: "salt".into(),
            is_superuser: "is_superuser".into(),
        }
    }
}

/// Somebody whom a database knows.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub proof: Proof,
    pub grant: Grant,
}

/// How it is found out whether a password is right.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// By any of these; directories may keep several.
    Stored(Box<[Arc<Stored>]>),
    /// It was.
    Right,
    /// It was not.
    Wrong,
}

/// Why a row is of no use. Never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRow {
    #[error("{0} is not there")]
    Missing(Box<str>),
    #[error("{0}: {1}")]
    Bad(Box<str>, &'static str),
    #[error("{0}: {1}; is it hashed otherwise than password_hash says?")]
    Hash(Box<str>, String),
}

impl Account {
    pub fn of_row(row: &Row, columns: &Columns, form: PasswordForm) -> Result<Self, BadRow> {
        let bad = |name: &str, why| BadRow::Bad(name.into(), why);
        let (name, password) = columns
            .password
            .iter()
            .find_map(|name| Some((&**name, row.find(name)?)))
            .ok_or_else(|| BadRow::Missing(columns.password.first().cloned().unwrap_or_default()))?;
        let salt = match row.find(&columns.salt) {
            None => String::new(),
            Some(salt) => salt.text().ok_or_else(|| bad(&columns.salt, "expected text"))?.into_owned(),
        };
        let proof = proof(name, password, &salt, form)?;
        let superuser = match row.find(&columns.is_superuser).map(first) {
            None => false,
            Some(field) => field.truth().ok_or_else(|| bad(&columns.is_superuser, "expected true or false"))?,
        };
        let attributes = match row.find("client_attrs") {
            None => Attributes::default(),
            Some(field) => field
                .text()
                .and_then(|text| attributes(&text))
                .ok_or_else(|| bad("client_attrs", "expected an object in JSON with texts, at most 64"))?,
        };
        let expires_unix_ms = match row.find("expires_at") {
            None => None,
            Some(field) => {
                let secs = field.integer().and_then(|secs| u64::try_from(secs).ok());
                let secs = secs.ok_or_else(|| bad("expires_at", "expected seconds since 1970"))?;
                Some(secs.saturating_mul(1000))
            }
        };
        Ok(Self { proof, grant: Grant { superuser, attributes, rules: None, expires_unix_ms } })
    }
}

fn first(field: &Field) -> &Field {
    match field {
        Field::List(all) => all.first().unwrap_or(&Field::Null),
        one => one,
    }
}

fn proof(name: &str, password: &Field, salt: &str, form: PasswordForm) -> Result<Proof, BadRow> {
    let text = |field: &Field| match field.text() {
        Some(text) => Ok(text.into_owned()),
        None => Err(BadRow::Bad(name.into(), "expected text")),
    };
    let stored = |made: Result<Arc<Stored>, String>| made.map_err(|why| BadRow::Hash(name.into(), why));
    match form {
        PasswordForm::Tried => match password.truth() {
            Some(true) => Ok(Proof::Right),
            Some(false) => Ok(Proof::Wrong),
            None => Err(BadRow::Bad(name.into(), "expected true or false")),
        },
        PasswordForm::Hashed(hashing) => {
            let text = zeroize::Zeroizing::new(text(password)?);
            Ok(Proof::Stored([stored(of_hash(&text, salt, hashing))?].into()))
        }
        PasswordForm::Directory(hashing) => {
            let all = match password {
                Field::List(all) => all.as_slice(),
                one => std::slice::from_ref(one),
            };
            let one = |field: &Field| {
                let text = zeroize::Zeroizing::new(text(field)?);
                stored(of_directory(&text, salt, hashing))
            };
            all.iter().map(one).collect::<Result<_, _>>().map(Proof::Stored)
        }
    }
}

fn of_hash(text: &str, salt: &str, hashing: Hashing) -> Result<Arc<Stored>, String> {
    match hashed(text, salt, hashing).map_err(|cause| cause.to_string())? {
        Password::Stored(stored) => Ok(stored),
        Password::Plain(plain) => Stored::of_plain(&plain).map(Arc::new).map_err(|error| error.to_string()),
        Password::None => Err("there is none".into()),
    }
}

/// RFC 2307, section 5.3, with the schemes that came after it: the digest, and then the salt.
fn of_directory(text: &str, salt: &str, hashing: Hashing) -> Result<Arc<Stored>, String> {
    let Some((scheme, rest)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return of_hash(text, salt, hashing);
    };
    use DigestAlgorithm::{Md5, Sha1, Sha256, Sha512};
    let (algorithm, salted, bytes) = match scheme.to_ascii_uppercase().as_str() {
        "MD5" => (Md5, false, 16),
        "SMD5" => (Md5, true, 16),
        "SHA" => (Sha1, false, 20),
        "SSHA" => (Sha1, true, 20),
        "SHA256" => (Sha256, false, 32),
        "SSHA256" => (Sha256, true, 32),
        "SHA512" => (Sha512, false, 64),
        "SSHA512" => (Sha512, true, 64),
        // $2b$..., $argon2id$... and the like say themselves what they are.
        "CRYPT" | "BCRYPT" if !rest.starts_with("$2") => return Err("a kind of crypt that is not known here".into()),
        "CRYPT" | "ARGON2" | "BCRYPT" => {
            return rest.parse().map(Arc::new).map_err(|why: crate::access::passwords::PasswordError| why.to_string());
        }
        _ => return Err("a scheme that is not known here".into()),
    };
    let all = BASE64.decode(rest).map_err(|_| "no base64")?;
    let (hash, salt) = all.split_at_checked(bytes).ok_or("too short for its scheme")?;
    let position = if salted { SaltPosition::Suffix } else { SaltPosition::Disable };
    if !salted && !salt.is_empty() {
        return Err("too long for its scheme".into());
    }
    Stored::digest(algorithm, position, salt, hash).map(Arc::new).map_err(|why| why.to_string())
}

fn attributes(text: &str) -> Option<Attributes> {
    let all: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    (all.len() <= ATTRIBUTES_MAX).then(|| all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::passwords::Memory;

    fn text(text: &str) -> Field {
        Field::Text(zeroize::Zeroizing::new(text.into()))
    }

    fn row(pairs: &[(&str, Field)]) -> Row {
        pairs.iter().map(|(name, field)| (*name, field.clone())).collect()
    }

    fn read(pairs: &[(&str, Field)], form: PasswordForm) -> Result<Account, BadRow> {
        Account::of_row(&row(pairs), &Columns::default(), form)
    }

    fn is(account: &Account, password: &str) -> bool {
        let Proof::Stored(all) = &account.proof else { panic!("{account:?}") };
        all.iter().any(|stored| stored.is(password.as_bytes(), &mut Memory::default()))
    }

    #[test]
    fn emqx_rows() {
        // Made with `printf saltsecret | sha256sum`.
        let hash = "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35";
        let form = PasswordForm::Hashed("sha256".parse().expect("known"));
        let account =
            read(&[("password_hash", text(hash)), ("salt", text("salt")), ("is_superuser", Field::Integer(1))], form);
        let account = account.expect("good");
        assert!(account.grant.superuser && is(&account, "secret") && !is(&account, "saltsecret"));
        let plain = PasswordForm::Hashed(Hashing::Plain);
        let account = read(
            &[
                ("password", text("secret")),
                ("client_attrs", text(r#"{"site":"north"}"#)),
                ("expires_at", Field::Integer(7)),
                ("is_superuser", Field::Null),
            ],
            plain,
        );
        let account = account.expect("good");
        assert!(is(&account, "secret") && !is(&account, "secre") && !is(&account, ""));
        assert_eq!(account.grant.attributes.find("site"), Some("north"));
        assert_eq!((account.grant.expires_unix_ms, account.grant.superuser), (Some(7000), false));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told_without_its_values() {
        let sha = PasswordForm::Hashed(Hashing::default());
        let plain = PasswordForm::Hashed(Hashing::Plain);
        let password = ("password_hash", text("hunter2"));
        for (pairs, form, expected) in [
            (vec![], plain, "password_hash is not there"),
            (vec![("password_hash", Field::Null)], plain, "password_hash is not there"),
            (vec![("password_hash", Field::Bytes(vec![0xff].into()))], plain, "password_hash: expected text"),
            (vec![password.clone()], sha, "password_hash: a damaged password hash"),
            (vec![password.clone(), ("is_superuser", text("hunter2"))], plain, "is_superuser: expected true or false"),
            (vec![password.clone(), ("client_attrs", text("[1]"))], plain, "client_attrs: expected an object"),
            (vec![password.clone(), ("expires_at", text("soon"))], plain, "expires_at: expected seconds"),
            (vec![password.clone(), ("salt", Field::List(Vec::new()))], plain, "salt: expected text"),
            (vec![password], PasswordForm::Tried, "password_hash: expected true or false"),
        ] {
            let told = read(&pairs, form).expect_err(expected).to_string();
            assert!(told.starts_with(expected) && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn directories_write_the_scheme_in_front() {
        let form = PasswordForm::Directory(Hashing::Plain);
        // Made with `openssl dgst -binary` and base64, the salt being "pepper".
        for kept in [
            "{SSHA}D4kSuvPIF4rZzl+dW9Km/1788fBwZXBwZXI=",
            "{SMD5}F181LfrvtwhsBmo25pvgnHBlcHBlcg==",
            "{SSHA256}N+1jIGzbrz9mdVSdrfQLph9BHVnsV+x8EuQ5oxfV05twZXBwZXI=",
            "{SSHA512}yreFFnGZtsvzvla8i9E2vdgYkV/W/fffWI58oF/Bz6gCBig8LFcqTU6mYV4HpwNgAq53rou6YGObsfQ+inK2+XBlcHBlcg==",
            "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
            "{sha256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        ] {
            let account = read(&[("password_hash", text(kept))], form).expect("good");
            assert!(is(&account, "secret") && !is(&account, "other"), "{kept}");
        }
        let several = Field::List(vec![text("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), text("other")]);
        let several = read(&[("password_hash", several)], form).expect("good");
        assert!(is(&several, "secret") && is(&several, "other") && !is(&several, "third"));
        for bad in
            ["{SSHA}AAAA", "{SHA}!", "{NTLM}x", "{MD5}5en6G6MezRroT3XKqkdPOmY/BfQ=", "{CRYPT}ab", "{CRYPT}$6$AAAA$AAAA"]
        {
            assert!(read(&[("password_hash", text(bad))], form).is_err(), "{bad}");
        }
    }
}
