use std::io;

use super::rules::RULES;
use crate::{
    access::{
        BanError,
        passwords::NoRandomness,
        psk::KeyFileError,
        rules::RuleError,
        users::{ImportError, UnknownHashing},
    },
    config::ACL_CONF,
};

/// Why access cannot be as it was configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A rule, in the configuration or in a file.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A file that cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The setting that names it.
        key: &'static str,
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A file with users.
    #[error("{path}: {error}")]
    Users {
        /// Which.
        path: String,
        /// What is wrong.
        error: ImportError,
    },
    /// A file with pre-shared keys.
    #[error("{path}: {error}")]
    Keys {
        /// Which.
        path: String,
        /// What is wrong.
        error: KeyFileError,
    },
    /// How the passwords in it were hashed.
    #[error("access.users.file_hashing: {0}")]
    Hashing(#[from] UnknownHashing),
    /// A ban.
    #[error("access.bans:{number}: {error}")]
    Ban {
        /// Its number in the list, from 1.
        number: usize,
        /// What is wrong.
        error: BanError,
    },
    /// When a ban ends.
    #[error("access.bans:{number}: {text:?} is no time such as \"2027-01-31T00:00:00Z\"")]
    Until {
        /// Its number in the list, from 1.
        number: usize,
        /// As it was written.
        text: String,
    },
    /// One of a list of settings.
    #[error("{key}:{number}: {why}")]
    Setting {
        /// The list.
        key: &'static str,
        /// Its number in the list, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// Where the clients of a listener are mounted.
    #[error("listeners.{listener}.mountpoint: {why}")]
    Mount {
        /// The listener, as `tcp.default`.
        listener: String,
        /// What is wrong.
        why: String,
    },
    /// A row of the store.
    #[error("the store's setting {name:?}: {why}")]
    Row {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// No threads for passwords.
    #[error("cannot start the threads that try passwords: {0}")]
    Threads(io::Error),
    /// An authenticator that is not there.
    #[error("access.authenticators: there is no {0}")]
    Unknown(String),
    /// What is said of a service.
    #[error("{why}")]
    Service {
        /// The setting.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A source that is not there.
    #[error("access.sources: there is no {0}")]
    UnknownSource(String),
    /// No salt.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl AccessError {
    /// The setting that is to blame, if it is one.
    pub fn key(&self) -> Option<String> {
        let key = match self {
            Self::Rule(error) if &*error.place.source == RULES => "access.rules",
            Self::Rule(error) if &*error.place.source == ACL_CONF => ACL_CONF,
            Self::Rule(_) => "access.rule_files",
            Self::File { key, .. } => key,
            Self::Users { .. } => "access.users.file",
            Self::Keys { .. } => "access.psk_file",
            Self::Hashing(_) => "access.users.file_hashing",
            Self::Ban { .. } | Self::Until { .. } => "access.bans",
            Self::Setting { key, .. } => key,
            Self::Mount { listener, .. } => return Some(format!("listeners.{listener}.mountpoint")),
            Self::Row { .. } => "gateway.data_dir",
            Self::Service { key, .. } => key,
            Self::Unknown(_) => "access.authenticators",
            Self::UnknownSource(_) => "access.sources",
            Self::Threads(_) | Self::Randomness(_) => return None,
        };
        Some(key.into())
    }
}
