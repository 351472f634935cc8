use std::{ops::ControlFlow, process::ExitCode};

use clap::{Subcommand, ValueEnum};
use thingway_store::{SETTING_NAME_BYTES_MAX, change_settings, for_each_setting, setting};

use super::time;
use crate::{
    access::{BAN_PREFIX, Ban, BanKind, ban_key},
    cli::{
        ConfigurationArguments, print,
        store::{Failure, finish, open_to_change},
    },
    config::Config,
};

/// What to do with bans.
#[derive(Debug, Subcommand)]
pub enum BansCommand {
    /// Keep somebody out
    Add {
        /// What is named
        kind: Kind,
        /// Which
        value: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Until when, as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Let somebody in again
    Remove {
        /// What is named
        kind: Kind,
        /// Which
        value: String,
    },
    /// Tell which bans there are in the store
    List,
}

/// What a ban names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A client id
    ClientId,
    /// A user name
    Username,
    /// An address
    Address,
    /// A range of addresses
    Network,
    /// A regular expression that is found in client ids
    ClientIdPattern,
    /// A regular expression that is found in user names
    UsernamePattern,
}

impl From<Kind> for BanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::ClientId => Self::ClientId,
            Kind::Username => Self::Username,
            Kind::Address => Self::Address,
            Kind::Network => Self::Network,
            Kind::ClientIdPattern => Self::ClientIdPattern,
            Kind::UsernamePattern => Self::UsernamePattern,
        }
    }
}

/// Does it with the store of the configuration.
pub fn run_bans(configuration: &ConfigurationArguments, command: &BansCommand) -> ExitCode {
    finish(configuration, |config| match command {
        BansCommand::Add { kind, value, reason, until } => {
            let until_unix_secs = until.as_deref().map(time).transpose()?;
            add(
                config,
                &Ban {
                    kind: (*kind).into(),
                    value: value.as_str().into(),
                    reason: reason.as_str().into(),
                    until_unix_secs,
                },
            )
        }
        BansCommand::Remove { kind, value } => remove(config, (*kind).into(), value),
        BansCommand::List => list(config),
    })
}

fn add(config: &Config, ban: &Ban) -> Result<ExitCode, Failure> {
    ban.check().map_err(|error| Failure::Other(error.to_string()))?;
    let (key, row) = ban.to_row();
    if key.len() > SETTING_NAME_BYTES_MAX {
        return Err(Failure::Other("it is too long".into()));
    }
    change(config, key, Some(row))?;
    Ok(print(&format!("{ban} banned\n")))
}

fn remove(config: &Config, kind: BanKind, value: &str) -> Result<ExitCode, Failure> {
    let key = ban_key(kind, value);
    let found = setting(&mut open_to_change(config)?, &key);
    if found.map_err(|error| Failure::Store(config.store_folder(), error))?.is_none() {
        return Err(Failure::Other(format!("{} {value:?} is not banned in the store", kind.as_str())));
    }
    change(config, key, None)?;
    Ok(print(&format!("{} {value:?} may come in again\n", kind.as_str())))
}

fn change(config: &Config, key: String, row: Option<String>) -> Result<(), Failure> {
    let mut backend = open_to_change(config)?;
    change_settings(&mut backend, [(key, row)]).map_err(|error| Failure::Store(config.store_folder(), error))
}

fn list(config: &Config) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    let told = for_each_setting(&mut open_to_change(config)?, BAN_PREFIX, |key, row| {
        match Ban::from_row(key, row) {
            Ok(ban) => {
                text += &ban.to_string();
                if !ban.reason.is_empty() {
                    text += &format!(", {}", ban.reason);
                }
                let until = ban.until_unix_secs.map(std::time::Duration::from_secs);
                if let Some(until) = until.and_then(|secs| std::time::UNIX_EPOCH.checked_add(secs)) {
                    text += &format!(", until {}", humantime::format_rfc3339_seconds(until));
                }
            }
            Err(error) => text += &format!("{key}: {error}"),
        }
        text.push('\n');
        ControlFlow::Continue(())
    });
    told.map_err(|error| Failure::Store(config.store_folder(), error))?;
    Ok(print(&text))
}
