//! Users as others write them: EMQX's CSV and JSON, Mosquitto's password files.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::Deserialize;

use super::User;
use crate::access::{
    passwords::{DigestAlgorithm, Mac, PasswordError, SaltPosition, Secret, Stored},
    scram::NoScramKeys,
};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A first line with the names of columns, as EMQX has them: `user_id`, `password` or `password_hash` and `salt`, `is_superuser`.
    Csv,
    /// A list of objects with the same names.
    Json,
    /// `name:hash` on each line, as `mosquitto_passwd` writes it.
    Mosquitto,
}

impl Format {
    /// What a file's name says.
    pub fn of_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
            Some("csv") => Self::Csv,
            Some("json") => Self::Json,
            _ => Self::Mosquitto,
        }
    }
}

/// How EMQX was told to hash: its files do not say. Written `sha256`, `sha512-suffix`, `plain`, `bcrypt`, `pbkdf2-sha256-600000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// What `password_hash` has is the password.
    Plain,
    /// A digest.
    Digest(DigestAlgorithm, SaltPosition),
    /// bcrypt.
    Bcrypt,
    /// PBKDF2 with so many iterations.
    Pbkdf2(Mac, u32),
}

impl Default for Hashing {
    /// EMQX's default.
    fn default() -> Self {
        Self::Digest(DigestAlgorithm::Sha256, SaltPosition::Prefix)
    }
}

/// Why a text is no [`Hashing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected plain, bcrypt, pbkdf2-MAC-ITERATIONS with sha, sha256, sha384 or sha512, or one of md5, sha, sha256 and sha512 with -prefix, -suffix or -disable"
)]
pub struct UnknownHashing;

impl FromStr for Hashing {
    type Err = UnknownHashing;

    fn from_str(text: &str) -> Result<Self, UnknownHashing> {
        if let Some(rest) = text.strip_prefix("pbkdf2-") {
            let (mac, iterations) = rest.split_once('-').ok_or(UnknownHashing)?;
            let mac = match mac {
                "sha" | "sha1" => Mac::Sha1,
                "sha256" => Mac::Sha256,
                "sha384" => Mac::Sha384,
                "sha512" => Mac::Sha512,
                _ => return Err(UnknownHashing),
            };
            return iterations.parse().map(|iterations| Self::Pbkdf2(mac, iterations)).map_err(|_| UnknownHashing);
        }
        let (name, position) = text.split_once('-').unwrap_or((text, ""));
        let position = match position {
            "" | "prefix" => SaltPosition::Prefix,
            "suffix" => SaltPosition::Suffix,
            "disable" => SaltPosition::Disable,
            _ => return Err(UnknownHashing),
        };
        let digest = match text {
            "plain" => return Ok(Self::Plain),
            "bcrypt" => return Ok(Self::Bcrypt),
            _ => match name {
                "md5" => DigestAlgorithm::Md5,
                "sha" | "sha1" => DigestAlgorithm::Sha1,
                "sha256" => DigestAlgorithm::Sha256,
                "sha512" => DigestAlgorithm::Sha512,
                _ => return Err(UnknownHashing),
            },
        };
        Ok(Self::Digest(digest, position))
    }
}

/// A password as a file has it.
pub enum Password {
    /// As it is: to be hashed.
    Plain(Secret),
    /// What another system kept of it.
    Stored(Arc<Stored>),
    /// The file has none.
    None,
}

/// A user of a file. The password is beside it, as it may still have to be hashed.
pub struct NamedUser {
    /// The name.
    pub name: Box<str>,
    /// The password.
    pub password: Password,
    /// The rest.
    pub user: User,
}

impl fmt::Debug for NamedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct ImportError {
    /// The line, or in JSON the number of the object; from 1.
    pub line: u64,
    /// What is wrong. It never quotes what could be a password.
    pub cause: ImportCause,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportCause {
    /// There is no name.
    #[error("a user without a name")]
    Name,
    /// The name came before.
    #[error("user {0:?} is there already")]
    Twice(Box<str>),
    /// A password and a hash, or neither.
    #[error("expected either a password or a password_hash")]
    Password,
    /// What is kept of the password cannot be read.
    #[error("{0}; if another algorithm made it, name that")]
    Hash(PasswordError),
    /// A column or its value is not as it should be.
    #[error("{0}")]
    Column(String),
    /// Not the format at all.
    #[error("{0}")]
    Syntax(String),
}

/// One user by EMQX's names. What is beside these is what an export of ours has in addition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(alias = "username", alias = "clientid")]
    user_id: String,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    password_hash: Option<String>,
    #[serde(default)]
    salt: Option<String>,
    #[serde(default)]
    is_superuser: Option<Flag>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    attributes: Option<BTreeMap<String, String>>,
    #[serde(default)]
    expires_at: Option<u64>,
    #[serde(default)]
    scram: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(u8),
    Text(String),
}

impl Flag {
    fn value(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Number(0) => Some(false),
            Self::Number(1) => Some(true),
            Self::Text(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" | "" => Some(false),
                _ => None,
            },
            Self::Number(_) => None,
        }
    }
}

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, format: Format, hashing: Hashing) -> Result<Vec<NamedUser>, ImportError> {
    let users = match format {
        Format::Csv => parse_csv(text, hashing),
        Format::Json => parse_json(text, hashing),
        Format::Mosquitto => parse_mosquitto(text),
    }?;
    let mut known = std::collections::HashSet::new();
    for (line, user) in &users {
        if !known.insert(&*user.name) {
            return Err(ImportError { line: *line, cause: ImportCause::Twice(user.name.clone()) });
        }
    }
    Ok(users.into_iter().map(|(_, user)| user).collect())
}

type Parsed = Result<Vec<(u64, NamedUser)>, ImportError>;

fn parse_csv(text: &str, hashing: Hashing) -> Parsed {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let line_of = |error: &csv::Error| error.position().map_or(1, csv::Position::line);
    // The library's own words could quote the line.
    let broken = |error: csv::Error| ImportError {
        line: line_of(&error),
        cause: ImportCause::Syntax("not as many columns as the first line has, or not CSV".into()),
    };
    let headers = reader.headers().map_err(broken)?.clone();
    const COLUMNS: [&str; 11] = [
        "user_id",
        "username",
        "clientid",
        "password",
        "password_hash",
        "salt",
        "is_superuser",
        "namespace",
        "attributes",
        "expires_at",
        "scram",
    ];
    if let Some(other) = headers.iter().find(|name| !COLUMNS.contains(name)) {
        let cause = ImportCause::Column(format!("column {other:?} is none of {}", COLUMNS.join(", ")));
        return Err(ImportError { line: 1, cause });
    }
    let mut users = Vec::new();
    for row in reader.records() {
        let row = row.map_err(broken)?;
        let line = row.position().map_or(1, csv::Position::line);
        let field = |name: &str| {
            let index = headers.iter().position(|header| header == name)?;
            row.get(index).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let failed = |cause| ImportError { line, cause };
        let attributes = field("attributes").map(|text| serde_json::from_str(&text)).transpose();
        let expires_at = field("expires_at").map(|text| text.parse()).transpose();
        let record = Record {
            user_id: field("user_id").or_else(|| field("username")).or_else(|| field("clientid")).unwrap_or_default(),
            password: field("password"),
            password_hash: field("password_hash"),
            salt: field("salt"),
            is_superuser: field("is_superuser").map(Flag::Text),
            namespace: field("namespace"),
            attributes: attributes
                .map_err(|_| failed(ImportCause::Column("attributes: expected a JSON object of texts".into())))?,
            expires_at: expires_at
                .map_err(|_| failed(ImportCause::Column("expires_at: expected seconds since 1970".into())))?,
            scram: field("scram").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        };
        users.push((line, user(record, hashing).map_err(failed)?));
    }
    Ok(users)
}

fn parse_json(text: &str, hashing: Hashing) -> Parsed {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| ImportError {
        line: error.line() as u64,
        cause: ImportCause::Syntax("expected a list of objects in JSON".into()),
    })?;
    let one = |(line, value): (u64, serde_json::Value)| {
        let record = Record::deserialize(value).map_err(|_| {
            let expected = "expected user_id, password or password_hash and salt, is_superuser, and nothing else";
            ImportError { line, cause: ImportCause::Column(expected.into()) }
        })?;
        user(record, hashing).map(|user| (line, user)).map_err(|cause| ImportError { line, cause })
    };
    (1..).zip(values).map(one).collect()
}

fn user(record: Record, hashing: Hashing) -> Result<NamedUser, ImportCause> {
    if record.user_id.is_empty() {
        return Err(ImportCause::Name);
    }
    if record.namespace.is_some_and(|namespace| !namespace.is_empty()) {
        return Err(ImportCause::Column("namespace: there are no namespaces".into()));
    }
    let superuser = record.is_superuser.map_or(Some(false), |flag| flag.value());
    let superuser = superuser.ok_or_else(|| ImportCause::Column("is_superuser: expected true or false".into()))?;
    let salt = record.salt.unwrap_or_default();
    let password = match (record.password, record.password_hash) {
        (Some(password), None) => Password::Plain(password.into_bytes().into()),
        (None, Some(hash)) => hashed(&hash, &salt, hashing)?,
        (None, None) if !record.scram.is_empty() => Password::None,
        _ => return Err(ImportCause::Password),
    };
    let scram: Result<Box<[_]>, _> = record.scram.iter().map(|text| text.parse().map(Arc::new)).collect();
    let scram = scram.map_err(|error: NoScramKeys| ImportCause::Column(format!("scram: {error}")))?;
    let user = User {
        password: None,
        scram,
        superuser,
        attributes: record.attributes.unwrap_or_default().into_iter().collect(),
        expires_unix_secs: record.expires_at,
    };
    Ok(NamedUser { name: record.user_id.into(), password, user })
}

/// What a database has of a password, with its salt.
pub(in crate::access) fn hashed(hash: &str, salt: &str, hashing: Hashing) -> Result<Password, ImportCause> {
    // One that says itself what made it needs no telling.
    if let Ok(stored) = hash.parse::<Stored>() {
        return Ok(Password::Stored(Arc::new(stored)));
    }
    let bytes = || unhex(hash).ok_or(ImportCause::Hash(PasswordError::Damaged));
    let stored = match hashing {
        Hashing::Plain => return Ok(Password::Plain(Secret::copy_of(hash.as_bytes()))),
        Hashing::Bcrypt => hash.parse(),
        Hashing::Digest(algorithm, position) => Stored::digest(algorithm, position, salt.as_bytes(), &bytes()?),
        Hashing::Pbkdf2(mac, iterations) => Stored::pbkdf2(mac, iterations, salt.as_bytes(), &bytes()?),
    };
    stored.map(|stored| Password::Stored(Arc::new(stored))).map_err(ImportCause::Hash)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn parse_mosquitto(text: &str) -> Parsed {
    let mut users = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let failed = |cause| ImportError { line, cause };
        let expected = || ImportCause::Syntax("expected name:hash, as mosquitto_passwd writes it".into());
        let (name, hash) = text.split_once(':').ok_or_else(|| failed(expected()))?;
        if name.is_empty() {
            return Err(failed(ImportCause::Name));
        }
        let password = match hash {
            "" => Password::None,
            hash => {
                let stored = hash.parse().map_err(|error| failed(ImportCause::Hash(error)))?;
                Password::Stored(Arc::new(stored))
            }
        };
        users.push((line, NamedUser { name: name.into(), password, user: User::default() }));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::passwords::Memory;

    fn is(user: &NamedUser, password: &str) -> bool {
        match &user.password {
            Password::Plain(plain) => **plain == *password.as_bytes(),
            Password::Stored(stored) => stored.is(password.as_bytes(), &mut Memory::default()),
            Password::None => false,
        }
    }

    /// sha256("de1024f462fb83910fd13151bd4bd235" before "public"), and with the salt behind it: computed by `sha256sum`.
    #[test]
    fn emqx_csv_and_json() {
        let csv = "user_id,password_hash,salt,is_superuser\n\
                   myuser1,HASH1,de1024f462fb83910fd13151bd4bd235,true\n\
                   myuser2,HASH1,de1024f462fb83910fd13151bd4bd235,false\n";
        let csv = csv.replace("HASH1", "0678f2237d6e570d7305ec197279b482addeaec41bb8eae7b6f5392688509051");
        let users = parse(&csv, Format::Csv, Hashing::default()).expect("good");
        assert_eq!(
            users.iter().map(|user| (&*user.name, user.user.superuser)).collect::<Vec<_>>(),
            [("myuser1", true), ("myuser2", false)]
        );
        assert!(users.iter().all(|user| is(user, "public") && !is(user, "private")));
        let json = r#"[{"user_id":"a","password_hash":"68aa57d2163c75d08a6d60e832bbd1c08d94ceb59ed42881a1724cf34ceed22e","salt":"de1024f462fb83910fd13151bd4bd235","is_superuser":true},
                       {"user_id":"b","password":"plain","is_superuser":0,"attributes":{"site":"n"},"expires_at":7}]"#;
        let users = parse(json, Format::Json, "sha256-suffix".parse().expect("known")).expect("good");
        assert!(is(&users[0], "public") && users[0].user.superuser);
        assert!(is(&users[1], "plain") && !users[1].user.superuser);
        assert_eq!((users[1].user.attributes.find("site"), users[1].user.expires_unix_secs), (Some("n"), Some(7)));
    }

    #[test]
    fn the_other_algorithms() {
        let one = |hash: &str, salt: &str, hashing: &str| {
            let text = format!("user_id,password_hash,salt\nu,{hash},{salt}\n");
            let users = parse(&text, Format::Csv, hashing.parse().expect("known")).expect("good");
            is(&users[0], "secret") && !is(&users[0], "Secret")
        };
        assert!(one("secret", "", "plain"));
        assert!(one("45ebb8ff43ba6462edd9a07af58e543c", "4f1c", "md5"));
        assert!(one("610a54787179064a168d08a41e16cd9306c14fde", "4f1c", "sha"));
        assert!(one("141d5f4dea30958e83f476d854134d42d20205b817ec79ea95d232bb9aed1e2b", "4f1c", "pbkdf2-sha256-1000"));
        assert!(one("$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", "", "bcrypt"));
        for text in ["", "sha3", "sha256-middle", "pbkdf2-sha256", "pbkdf2-md5-1", "pbkdf2-sha256-x", "plain-prefix"] {
            assert!(text.parse::<Hashing>().is_err(), "{text}");
        }
    }

    #[test]
    fn mosquitto_files() {
        let text = "# users\n\nu1:$7$101$pRRq2rJNe66gejv6$MHArMR/0sPzFTuzU2biTY1JGZAIkUQKUzhib8ccxhbbG89ZhXHroQpZ5Pj5IQ0iwtCjkHP6UpSw1IMxH/j9Lig==\n\
                    u2:$6$dVMK3qifUpZD8izs$TlMrAxBvdbj5dFN0JRyBwpeRjS3CJXHjGYrqZNfPG8lBKO9h1lI/Y56TZ2XpeL4VK34JbQifzIrgDJwePWnTQw==\nu3:\n";
        let users = parse(text, Format::Mosquitto, Hashing::default()).expect("good");
        assert_eq!(users.len(), 3);
        assert!(is(&users[0], "secret") && is(&users[1], "secret") && !is(&users[2], ""));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_secrets() {
        for (text, format, line, expected) in [
            ("user_id,password\na,hunter2\n,hunter2\n", Format::Csv, 3, "without a name"),
            ("user_id,password\na,hunter2\na,hunter2\n", Format::Csv, 3, "is there already"),
            ("user_id,password,x\n", Format::Csv, 1, "column \"x\""),
            ("user_id,password\na,hunter2,b\n", Format::Csv, 2, "columns"),
            ("user_id\na\n", Format::Csv, 2, "either a password"),
            ("user_id,password_hash\na,hunter2\n", Format::Csv, 2, "damaged password hash"),
            ("user_id,password_hash\na,00ff\n", Format::Csv, 2, "out of bounds"),
            ("user_id,password,is_superuser\na,hunter2,maybe\n", Format::Csv, 2, "is_superuser"),
            ("user_id,password,scram\na,hunter2,SCRAM-SHA-1$4096:hunter2\n", Format::Csv, 2, "scram"),
            ("user_id,password,namespace\na,hunter2,n\n", Format::Csv, 2, "namespace"),
            ("{\"user_id\":\"hunter2\"}", Format::Json, 1, "a list of objects"),
            ("[{\"user_id\":\"a\",\"password\":[\"hunter2\"]}]", Format::Json, 1, "expected user_id"),
            ("a:$7$x\nhunter2", Format::Mosquitto, 1, "damaged"),
            ("hunter2\n", Format::Mosquitto, 1, "name:hash"),
            ("a:hunter2\n", Format::Mosquitto, 1, "no kind of password hash"),
        ] {
            let error = parse(text, format, Hashing::default()).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            let told = error.to_string();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{text}: {told}");
        }
    }
}
