//! Those who may not connect whatever they show.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{attempt::Attempt, rules::TextCondition};
use crate::network::Network;

/// What the keys of bans begin with in the store.
pub const BAN_PREFIX: &str = "ban/";

/// What is banned: EMQX's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanKind {
    /// A client id.
    ClientId,
    /// A user name.
    Username,
    /// An address.
    Address,
    /// A range of addresses.
    Network,
    /// Client ids that a regular expression is found in.
    ClientIdPattern,
    /// User names that a regular expression is found in.
    UsernamePattern,
}

impl BanKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ClientId, Self::Username, Self::Address, Self::Network, Self::ClientIdPattern, Self::UsernamePattern];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Username => "username",
            Self::Address => "address",
            Self::Network => "network",
            Self::ClientIdPattern => "client_id_pattern",
            Self::UsernamePattern => "username_pattern",
        }
    }
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// What is banned.
    pub kind: BanKind,
    /// Which.
    pub value: Box<str>,
    /// Why, for the operator.
    pub reason: Box<str>,
    /// When it ends, in seconds since 1970; `None` for never.
    pub until_unix_secs: Option<u64>,
}

/// Why a ban is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// Nothing is named.
    #[error("a ban names what is banned")]
    Empty,
    /// No address.
    #[error("{0:?} is no address")]
    Address(Box<str>),
    /// No range.
    #[error("{0:?} is no range of addresses such as \"10.0.0.0/8\"")]
    Network(Box<str>),
    /// No regular expression.
    #[error("{0}")]
    Pattern(String),
    /// A row that is none of a ban.
    #[error("not a ban as it is kept")]
    Row,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    reason: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl Ban {
    /// Checks it.
    ///
    /// # Errors
    /// See [`BanError`].
    pub fn check(&self) -> Result<(), BanError> {
        Compiled::new(self.clone()).map(drop)
    }

    /// Its key and row.
    pub fn to_row(&self) -> (String, String) {
        let row = Row { reason: self.reason.clone(), until: self.until_unix_secs };
        let row = serde_json::to_string(&row).expect("texts and numbers can be written as JSON");
        (ban_key(self.kind, &self.value), row)
    }

    /// From a key and row.
    ///
    /// # Errors
    /// When they are none of a ban.
    pub fn from_row(key: &str, row: &str) -> Result<Self, BanError> {
        let (kind, value) = key.strip_prefix(BAN_PREFIX).and_then(|key| key.split_once('/')).ok_or(BanError::Row)?;
        let kind = BanKind::ALL.into_iter().find(|it| it.as_str() == kind).ok_or(BanError::Row)?;
        // A list of the fields without their names would be taken for them, too.
        let row = Some(row).filter(|row| row.starts_with('{')).ok_or(BanError::Row)?;
        let Row { reason, until } = serde_json::from_str(row).map_err(|_| BanError::Row)?;
        let ban = Self { kind, value: value.into(), reason, until_unix_secs: until };
        ban.check().map(|()| ban)
    }

    fn is_over(&self, now_unix_ms: u64) -> bool {
        self.until_unix_secs.is_some_and(|until| until.saturating_mul(1000) <= now_unix_ms)
    }
}

/// The key of a ban's row.
pub fn ban_key(kind: BanKind, value: &str) -> String {
    format!("{BAN_PREFIX}{}/{value}", kind.as_str())
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.value)
    }
}

struct Compiled {
    ban: Ban,
    test: Test,
}

enum Test {
    Text,
    Address(IpAddr),
    Network(Network),
    Pattern(TextCondition),
}

impl Compiled {
    fn new(ban: Ban) -> Result<Self, BanError> {
        if ban.value.is_empty() {
            return Err(BanError::Empty);
        }
        let test = match ban.kind {
            BanKind::ClientId | BanKind::Username => Test::Text,
            BanKind::Address => {
                let address: IpAddr = ban.value.parse().map_err(|_| BanError::Address(ban.value.clone()))?;
                Test::Address(address.to_canonical())
            }
            BanKind::Network => Test::Network(ban.value.parse().map_err(|_| BanError::Network(ban.value.clone()))?),
            BanKind::ClientIdPattern | BanKind::UsernamePattern => {
                let regex = TextCondition::regex(&ban.value);
                Test::Pattern(regex.map_err(|cause| BanError::Pattern(cause.to_string()))?)
            }
        };
        Ok(Self { ban, test })
    }

    fn holds(&self, attempt: &Attempt) -> bool {
        match &self.test {
            Test::Text => false,
            Test::Address(banned) => attempt.address() == Some(*banned),
            Test::Network(network) => attempt.address().is_some_and(|address| network.contains(address)),
            Test::Pattern(pattern) => {
                let text = match self.ban.kind {
                    BanKind::ClientIdPattern => attempt.client_id.as_ref().map(|id| id.as_str()),
                    _ => attempt.username.as_deref(),
                };
                text.is_some_and(|text| pattern.holds(text))
            }
        }
    }
}

/// All bans.
pub(super) struct Bans {
    table: RwLock<Table>,
    /// So that nobody takes the lock while there is none.
    len: AtomicUsize,
    len_max: AtomicUsize,
}

#[derive(Default)]
struct Table {
    client_ids: HashMap<Box<str>, Ban, RandomState>,
    usernames: HashMap<Box<str>, Ban, RandomState>,
    addresses: HashMap<IpAddr, Ban, RandomState>,
    /// Networks and patterns, which have to be tried one by one.
    others: Vec<Compiled>,
}

impl Table {
    fn len(&self) -> usize {
        self.client_ids.len() + self.usernames.len() + self.addresses.len() + self.others.len()
    }

    fn insert(&mut self, compiled: Compiled) {
        let Compiled { ban, test } = compiled;
        match (ban.kind, &test) {
            (_, Test::Address(address)) => {
                self.addresses.insert(*address, ban);
            }
            (BanKind::ClientId, _) => {
                self.client_ids.insert(ban.value.clone(), ban);
            }
            (BanKind::Username, _) => {
                self.usernames.insert(ban.value.clone(), ban);
            }
            _ => {
                self.others.retain(|other| (other.ban.kind, &other.ban.value) != (ban.kind, &ban.value));
                self.others.push(Compiled { ban, test });
            }
        }
    }

    fn remove(&mut self, kind: BanKind, value: &str) -> bool {
        match kind {
            BanKind::ClientId => self.client_ids.remove(value).is_some(),
            BanKind::Username => self.usernames.remove(value).is_some(),
            BanKind::Address => {
                let address = value.parse::<IpAddr>().ok();
                address.is_some_and(|address| self.addresses.remove(&address.to_canonical()).is_some())
            }
            _ => {
                let before = self.others.len();
                self.others.retain(|other| other.ban.kind != kind || *other.ban.value != *value);
                self.others.len() < before
            }
        }
    }

    fn forget(&mut self, now_unix_ms: u64) {
        self.client_ids.retain(|_, ban| !ban.is_over(now_unix_ms));
        self.usernames.retain(|_, ban| !ban.is_over(now_unix_ms));
        self.addresses.retain(|_, ban| !ban.is_over(now_unix_ms));
        self.others.retain(|compiled| !compiled.ban.is_over(now_unix_ms));
    }
}

impl Bans {
    pub fn new(len_max: usize) -> Self {
        Self { table: RwLock::default(), len: AtomicUsize::new(0), len_max: len_max.into() }
    }

    /// Another number of them at most. Those that are there stay.
    pub fn set_max(&self, len_max: usize) {
        self.len_max.store(len_max, Ordering::Relaxed);
    }

    /// Adds one, or puts it in the place of the one before. False when there are so many that it is left out.
    pub fn add(&self, ban: Ban, now_unix_ms: u64) -> Result<bool, BanError> {
        let compiled = Compiled::new(ban)?;
        let len_max = self.len_max.load(Ordering::Relaxed);
        let mut table = self.table.write();
        if table.len() >= len_max {
            table.forget(now_unix_ms);
        }
        let has_room = table.len() < len_max;
        if has_room {
            table.insert(compiled);
        }
        self.len.store(table.len(), Ordering::Release);
        Ok(has_room)
    }

    /// Takes one away. False when it is not there.
    pub fn remove(&self, kind: BanKind, value: &str) -> bool {
        let mut table = self.table.write();
        let was_there = table.remove(kind, value);
        self.len.store(table.len(), Ordering::Release);
        was_there
    }

    /// The ban that keeps them out.
    pub fn find(&self, attempt: &Attempt, now_unix_ms: u64) -> Option<Ban> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let table = self.table.read();
        let by_id = attempt.client_id.as_ref().and_then(|id| table.client_ids.get(id.as_str()));
        let by_name = || attempt.username.as_deref().and_then(|name| table.usernames.get(name));
        let by_address = || attempt.address().and_then(|address| table.addresses.get(&address));
        let current = |ban: &&Ban| !ban.is_over(now_unix_ms);
        let found = by_id.filter(current).or_else(|| by_name().filter(current));
        let found = found.or_else(|| by_address().filter(current));
        let other = |compiled: &&Compiled| !compiled.ban.is_over(now_unix_ms) && compiled.holds(attempt);
        found.or_else(|| table.others.iter().find(other).map(|compiled| &compiled.ban)).cloned()
    }

    /// Those that are not over.
    pub fn list(&self, now_unix_ms: u64) -> Vec<Ban> {
        let table = self.table.read();
        let named = table.client_ids.values().chain(table.usernames.values()).chain(table.addresses.values());
        let others = table.others.iter().map(|compiled| &compiled.ban);
        named.chain(others).filter(|ban| !ban.is_over(now_unix_ms)).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Bans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bans({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::ClientId;

    use super::*;

    fn ban(kind: BanKind, value: &str, until: Option<u64>) -> Ban {
        Ban { kind, value: value.into(), reason: "test".into(), until_unix_secs: until }
    }

    fn attempt(client_id: &str, username: Option<&str>, address: &str) -> Attempt {
        Attempt {
            client_id: ClientId::new(client_id, 99).ok(),
            username: username.map(Into::into),
            password: None,
            certificate: None,
            remote: format!("{address}:1").parse().ok(),
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        }
    }

    #[test]
    fn every_kind_keeps_out_whom_it_names() {
        for (kind, value, bad, good) in [
            (BanKind::ClientId, "bad", attempt("bad", None, "10.0.0.1"), attempt("badd", Some("bad"), "10.0.0.1")),
            (BanKind::Username, "bad", attempt("c", Some("bad"), "10.0.0.1"), attempt("bad", None, "10.0.0.1")),
            (BanKind::Address, "10.0.0.1", attempt("c", None, "[::ffff:10.0.0.1]"), attempt("c", None, "10.0.0.2")),
            (BanKind::Network, "10.0.0.0/8", attempt("c", None, "10.9.9.9"), attempt("c", None, "11.0.0.0")),
            (BanKind::ClientIdPattern, "^x-", attempt("x-1", None, "10.0.0.1"), attempt("y", Some("x-1"), "10.0.0.1")),
            (
                BanKind::UsernamePattern,
                "e",
                attempt("c", Some("eve"), "10.0.0.1"),
                attempt("e", Some("bob"), "10.0.0.1"),
            ),
        ] {
            let bans = Bans::new(9);
            assert_eq!(bans.find(&bad, 0), None);
            assert_eq!(bans.add(ban(kind, value, Some(2)), 0), Ok(true));
            assert_eq!(bans.find(&bad, 1999), Some(ban(kind, value, Some(2))), "{kind:?}");
            assert_eq!(bans.find(&bad, 2000), None, "it is over");
            assert_eq!(bans.find(&good, 0), None, "{kind:?}");
            assert!(!bans.remove(kind, "other") && bans.remove(kind, value) && !bans.remove(kind, value));
            assert_eq!((bans.find(&bad, 0), bans.len()), (None, 0));
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let bans = Bans::new(2);
        assert_eq!(bans.add(ban(BanKind::ClientId, "a", Some(1)), 0), Ok(true));
        assert_eq!(bans.add(ban(BanKind::Network, "10.0.0.0/8", None), 0), Ok(true));
        assert_eq!(bans.add(ban(BanKind::ClientId, "b", None), 0), Ok(false));
        assert_eq!(bans.add(ban(BanKind::ClientId, "b", None), 1000), Ok(true), "one is over");
        assert_eq!(bans.len(), 2);
    }

    #[test]
    fn rows_are_read_as_written() {
        for (kind, value) in
            [(BanKind::ClientId, "a/b"), (BanKind::Network, "10.0.0.0/8"), (BanKind::ClientIdPattern, "^a")]
        {
            let ban = ban(kind, value, Some(7));
            let (key, row) = ban.to_row();
            assert_eq!(Ban::from_row(&key, &row), Ok(ban));
        }
        for (key, row) in [
            ("ban/x/y", "{}"),
            ("user/x", "{}"),
            ("ban/address/x", "{}"),
            ("ban/client_id/x", "7"),
            ("ban/client_id/", "{}"),
        ] {
            assert!(Ban::from_row(key, row).is_err(), "{key}");
        }
    }
}
