//! Users as the store keeps them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::User;
use crate::access::{passwords::PasswordError, scram::NoScramKeys};

/// What the keys of users begin with.
pub const ROW_PREFIX: &str = "user/";

/// The key of a user's row.
pub fn row_key(name: &str) -> String {
    format!("{ROW_PREFIX}{name}")
}

/// Whose row it is.
pub fn name_of_key(key: &str) -> Option<&str> {
    key.strip_prefix(ROW_PREFIX)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scram: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    superuser: bool,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    attributes: std::collections::BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

/// Why a row is none of a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// It is no JSON object.
    #[error("not a JSON object")]
    NoObject,
    /// It is not the JSON that is written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// What it has of the password cannot be read.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// What it has for SCRAM cannot be read.
    #[error(transparent)]
    Scram(#[from] NoScramKeys),
}

impl User {
    /// As a row.
    pub fn to_row(&self) -> String {
        let row = Row {
            password: self.password.as_ref().map(ToString::to_string),
            scram: self.scram.iter().map(ToString::to_string).collect(),
            superuser: self.superuser,
            attributes: self.attributes.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            expires_at: self.expires_unix_secs,
        };
        serde_json::to_string(&row).expect("texts and numbers can be written as JSON")
    }

    /// From a row.
    ///
    /// # Errors
    /// See [`RowError`].
    pub fn from_row(text: &str) -> Result<Self, RowError> {
        // A list of the fields without their names would be taken for them, too.
        if !text.starts_with('{') {
            return Err(RowError::NoObject);
        }
        let row: Row = serde_json::from_str(text)?;
        Ok(Self {
            password: row.password.map(|text| text.parse().map(Arc::new)).transpose()?,
            scram: row.scram.iter().map(|text| text.parse().map(Arc::new)).collect::<Result<_, _>>()?,
            superuser: row.superuser,
            attributes: row.attributes.into_iter().collect(),
            expires_unix_secs: row.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{
        passwords::{Memory, Stored},
        scram::{ScramHash, ScramKeys},
    };

    #[test]
    fn rows_are_read_as_written() {
        let user = User {
            password: Some(Arc::new(Stored::of_plain(b"secret").expect("salt"))),
            scram: [Arc::new(ScramKeys::new(ScramHash::Sha512, b"secret", 4096).expect("salt"))].into(),
            superuser: true,
            attributes: [("site", "north")].into_iter().collect(),
            expires_unix_secs: Some(7),
        };
        let again = User::from_row(&user.to_row()).expect("a row");
        assert_eq!(again.to_row(), user.to_row());
        assert!(again.password.expect("one").is(b"secret", &mut Memory::default()));
        assert_eq!(User::default().to_row(), "{}");
        for bad in ["", "{\"password\":\"x\"}", "{\"scram\":[\"x\"]}", "{\"other\":1}", "7"] {
            assert!(User::from_row(bad).is_err(), "{bad}");
        }
        assert_eq!(name_of_key(&row_key("a/b")), Some("a/b"));
        assert_eq!(name_of_key("ban/x"), None);
    }
}
