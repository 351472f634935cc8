//! What is in an archive beside settings, by EMQX's names for such tables; and rows as they are checked before anything is changed.

use std::sync::Arc;

use crate::{
    access::{
        BAN_PREFIX, Ban,
        passwords::Secret,
        psk::{PSK_PREFIX, check_identity, key_from_hex},
        rules::{HeldRules, Holder, RULE_PREFIX, written_rules},
        users::{ROW_PREFIX, User, name_of_key},
    },
    api::{
        accounts::{ACCOUNT_PREFIX, Account},
        authentication::check_user_name,
        keys::{KEY_PREFIX, Key},
        observe::{CountedTopic, SLOW_KEY, SlowSettings, TOPIC_PREFIX},
    },
};

/// A part of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Users,
    Rules,
    Bans,
    PreSharedKeys,
    Accounts,
    ApiKeys,
    TopicMetrics,
    SlowSubscriptions,
    Retained,
    Delayed,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Users,
        Self::Rules,
        Self::Bans,
        Self::PreSharedKeys,
        Self::Accounts,
        Self::ApiKeys,
        Self::TopicMetrics,
        Self::SlowSubscriptions,
        Self::Retained,
        Self::Delayed,
    ];

    /// Its name: EMQX's, where it has such a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "builtin_authn",
            Self::Rules => "builtin_authz",
            Self::Bans => "banned",
            Self::PreSharedKeys => "psk",
            Self::Accounts => "dashboard_users",
            Self::ApiKeys => "api_keys",
            Self::TopicMetrics => "topic_metrics",
            Self::SlowSubscriptions => "slow_subscriptions",
            Self::Retained => "builtin_retainer",
            Self::Delayed => "delayed",
        }
    }

    /// The table of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        // What EMQX has apart is kept with the users here.
        let name = if name == "builtin_authn_scram" { "builtin_authn" } else { name };
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The table that a setting of the store belongs to; `None` for one that is nobody's but this gateway's.
    pub fn of_key(key: &str) -> Option<Self> {
        let prefixes = [
            (ROW_PREFIX, Self::Users),
            (RULE_PREFIX, Self::Rules),
            (BAN_PREFIX, Self::Bans),
            (PSK_PREFIX, Self::PreSharedKeys),
            (ACCOUNT_PREFIX, Self::Accounts),
            (KEY_PREFIX, Self::ApiKeys),
            (TOPIC_PREFIX, Self::TopicMetrics),
        ];
        match prefixes.into_iter().find(|(prefix, _)| key.starts_with(prefix)) {
            Some((_, table)) => Some(table),
            None => (key == SLOW_KEY).then_some(Self::SlowSubscriptions),
        }
    }

    /// Who has this may manage accounts or keys, which a key may not.
    pub const fn is_for_accounts_only(self) -> bool {
        matches!(self, Self::Accounts | Self::ApiKeys)
    }
}

/// A row that could be taken over as it is.
#[derive(Debug)]
pub enum Row {
    User(Box<str>, Arc<User>),
    Rules(Holder, Arc<HeldRules>),
    Ban(Ban),
    PreSharedKey(Box<str>, Secret),
    Account(String, Account),
    ApiKey(String, Key),
    Topic(String, CountedTopic),
    Slow(SlowSettings),
}

impl Row {
    /// Reads a setting of the store.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &str, value: &str) -> Result<Self, String> {
        let table = Table::of_key(key).ok_or("no archive has such a setting")?;
        let after = |prefix: &str| key.strip_prefix(prefix).unwrap_or_default();
        Ok(match table {
            Table::Users => {
                let name = name_of_key(key).unwrap_or_default();
                check_user_name(name)?;
                Self::User(name.into(), Arc::new(User::from_row(value).map_err(text)?))
            }
            Table::Rules => {
                let holder = Holder::of_key(key).ok_or("it names no client id, no user name and not all")?;
                let rules = HeldRules::new(&holder, written_rules(value).map_err(text)?).map_err(text)?;
                Self::Rules(holder, Arc::new(rules))
            }
            Table::Bans => Self::Ban(Ban::from_row(key, value).map_err(text)?),
            Table::PreSharedKeys => {
                let identity = after(PSK_PREFIX);
                check_identity(identity).map_err(text)?;
                Self::PreSharedKey(identity.into(), key_from_hex(value).map_err(text)?)
            }
            Table::Accounts => {
                let name = after(ACCOUNT_PREFIX);
                Self::Account(name.to_owned(), Account::of_row(name, value)?)
            }
            Table::ApiKeys => {
                let name = after(KEY_PREFIX);
                Self::ApiKey(name.to_owned(), Key::of_row(name, value)?)
            }
            Table::TopicMetrics => {
                let topic = after(TOPIC_PREFIX);
                Self::Topic(topic.to_owned(), CountedTopic::of_row(topic, value)?)
            }
            Table::SlowSubscriptions => Self::Slow(SlowSettings::of_row(value)?),
            Table::Retained | Table::Delayed => return Err("it is no setting".into()),
        })
    }

    /// Where it belongs.
    pub const fn table(&self) -> Table {
        match self {
            Self::User(..) => Table::Users,
            Self::Rules(..) => Table::Rules,
            Self::Ban(_) => Table::Bans,
            Self::PreSharedKey(..) => Table::PreSharedKeys,
            Self::Account(..) => Table::Accounts,
            Self::ApiKey(..) => Table::ApiKeys,
            Self::Topic(..) => Table::TopicMetrics,
            Self::Slow(_) => Table::SlowSubscriptions,
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_table_and_is_checked() {
        let hash = crate::access::passwords::Stored::of_plain(b"secret").expect("salt");
        let user = format!("{{\"password\":{:?}}}", hash.to_string());
        let account = format!("{{\"password\":{:?},\"role\":\"viewer\"}}", hash.to_string());
        let key = format!(
            "{{\"key\":\"k\",\"secret_sha256\":\"{}\",\"enable\":true,\"created_at\":1,\"expires_at\":null}}",
            "a".repeat(64)
        );
        let psk = "00".repeat(16);
        for (row, value, bad, table) in [
            ("user/bob", &*user, "{\"password\":\"x\"}", Table::Users),
            (
                "rule/username/bob",
                "[{\"permission\":\"allow\",\"action\":\"publish\",\"topic\":\"a\"}]",
                "[{}]",
                Table::Rules,
            ),
            ("ban/client_id/eve", "{}", "[]", Table::Bans),
            ("psk/device", &psk, "00", Table::PreSharedKeys),
            ("account/eve", &account, "{}", Table::Accounts),
            ("api_key/k", &key, "{}", Table::ApiKeys),
            ("topic_metrics/a/b", "{\"created_ms\":1}", "{}", Table::TopicMetrics),
            ("slow_subscriptions", "{\"top_k_num\":5}", "{\"top_k_num\":0}", Table::SlowSubscriptions),
        ] {
            let read = Row::read(row, value).unwrap_or_else(|why| panic!("{row}: {why}"));
            assert_eq!((read.table(), Table::of_name(table.name())), (table, Some(table)), "{row}");
            assert!(Row::read(row, bad).is_err(), "{row} {bad}");
        }
        for (row, value) in [
            ("audit/0000000000000000", "{}"),
            ("monitor/10/1", "{}"),
            ("user/", "{}"),
            ("rule/nobody", "[]"),
            ("account/a b", &*account),
            ("account/a", "{\"password\":\"public\"}"),
            ("api_key/a/b", &*key),
            ("topic_metrics/a/#/b", "{\"created_ms\":1}"),
            ("psk/a:b", &*psk),
        ] {
            assert!(Row::read(row, value).is_err(), "{row}");
        }
        assert_eq!(Table::of_name("builtin_authn_scram"), Some(Table::Users));
    }
}
