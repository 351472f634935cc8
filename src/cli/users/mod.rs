//! `thingway users` and `thingway bans`: what the store of a stopped gateway has of both.

mod bans;
mod password;
mod transfer;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Subcommand, ValueEnum};
use thingway_store::{SETTING_NAME_BYTES_MAX, change_settings, for_each_setting, setting};

use super::{
    ConfigurationArguments, print,
    store::{Failure, finish, open_to_change},
};
use crate::{
    access::{
        passwords::{Memory, Stored},
        scram::{ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, ScramKeys},
        users::{ROW_PREFIX, User, name_of_key, row_key},
    },
    access_config::unix_secs,
    config::Config,
    store::Embedded,
};

pub use self::bans::{BansCommand, run_bans};

/// A password from standard input.
pub(super) fn read_password() -> Result<crate::access::passwords::Secret, Failure> {
    password::read(None)
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Add a user; the password is asked for, or the first line of what is given on standard input
    Add {
        /// The user name, or the client id with access.users.by = "client_id"
        name: String,
        /// No rule counts for this user
        #[arg(long)]
        superuser: bool,
        /// An attribute for rules, as site=north; may be given several times
        #[arg(long = "attribute", value_name = "NAME=VALUE")]
        attributes: Vec<String>,
        /// When it ends, as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Keep what SCRAM needs, too, for MQTT 5 clients that prove their password; may be given for both. It is easier to try passwords on than the
        /// other hash is
        #[arg(long, value_name = "HASH")]
        scram: Vec<ScramChoice>,
        /// Rounds that such a client computes
        #[arg(long, default_value_t = ITERATIONS_MIN, value_parser = clap::value_parser!(u32).range(i64::from(ITERATIONS_MIN)..=i64::from(ITERATIONS_MAX)))]
        scram_iterations: u32,
        /// A file whose first line is the password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Set another password, for SCRAM, too, if the user has that
    Passwd {
        /// The user
        name: String,
        /// A file whose first line is the password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove users
    Remove {
        /// The users
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Tell which users there are
    List,
    /// Take over the users of EMQX (CSV or JSON) or Mosquitto (password file); all of them or, if anything is wrong, none
    Import {
        /// The file
        file: PathBuf,
        /// How it is written [default: what its name says]
        #[arg(long)]
        format: Option<FileFormat>,
        /// How EMQX was told to hash: sha256, sha256-suffix, md5-disable, plain, bcrypt, pbkdf2-sha256-600000 and the like
        #[arg(long, default_value = "sha256")]
        hashing: String,
        /// Users that are there already get what the file has
        #[arg(long)]
        replace: bool,
    },
    /// Write all users as CSV or JSON with EMQX's columns, with their password hashes
    Export {
        /// Where to [default: standard output]
        file: Option<PathBuf>,
        /// How [default: what the file's name says, or csv]
        #[arg(long)]
        format: Option<FileFormat>,
    },
}

/// A hash for SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScramChoice {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// How a file with users is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Columns by EMQX's names.
    Csv,
    /// Objects by EMQX's names.
    Json,
    /// name:hash on each line.
    Mosquitto,
}

/// Does it with the store of the configuration.
pub fn run(configuration: &ConfigurationArguments, command: &UsersCommand) -> ExitCode {
    finish(configuration, |config| match command {
        UsersCommand::Add { name, superuser, attributes, expires, scram, scram_iterations, password_file } => {
            let user = User {
                password: None,
                scram: [].into(),
                superuser: *superuser,
                attributes: attributes
                    .iter()
                    .map(|text| attribute(text))
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .collect(),
                expires_unix_secs: expires.as_deref().map(time).transpose()?,
            };
            add(config, name, user, &hashes(scram, *scram_iterations), password_file.as_deref())
        }
        UsersCommand::Passwd { name, password_file } => passwd(config, name, password_file.as_deref()),
        UsersCommand::Remove { names } => remove(config, names),
        UsersCommand::List => list(config),
        UsersCommand::Import { file, format, hashing, replace } => {
            transfer::import(config, file, *format, hashing, *replace)
        }
        UsersCommand::Export { file, format } => transfer::export(config, file.as_deref(), *format),
    })
}

/// Each hash once, with so many rounds.
fn hashes(choices: &[ScramChoice], iterations: u32) -> Vec<(ScramHash, u32)> {
    let chosen = [(ScramChoice::Sha256, ScramHash::Sha256), (ScramChoice::Sha512, ScramHash::Sha512)];
    chosen.into_iter().filter(|(choice, _)| choices.contains(choice)).map(|(_, hash)| (hash, iterations)).collect()
}

/// What SCRAM needs of a password.
fn scram(password: &[u8], hashes: &[(ScramHash, u32)]) -> Result<Box<[Arc<ScramKeys>]>, Failure> {
    let one = |(hash, iterations): &(ScramHash, u32)| ScramKeys::new(*hash, password, *iterations).map(Arc::new);
    hashes.iter().map(one).collect::<Result<_, _>>().map_err(|error| Failure::Other(error.to_string()))
}

fn attribute(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(Failure::Other(format!("{text:?}: expected an attribute as name=value"))),
    }
}

fn time(text: &str) -> Result<u64, Failure> {
    unix_secs(text).ok_or_else(|| Failure::Other(format!("{text:?}: expected a time such as 2027-01-31T00:00:00Z")))
}

fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() + ROW_PREFIX.len() > SETTING_NAME_BYTES_MAX || name.contains('\0') {
        return Err(Failure::Other(format!("a name has 1 to {} bytes", SETTING_NAME_BYTES_MAX - ROW_PREFIX.len())));
    }
    Ok(())
}

fn add(
    config: &Config,
    name: &str,
    user: User,
    hashes: &[(ScramHash, u32)],
    file: Option<&std::path::Path>,
) -> Result<ExitCode, Failure> {
    check_name(name)?;
    let mut backend = open_to_change(config)?;
    if find(config, &mut backend, name)?.is_some() {
        return Err(Failure::Other(format!("user {name:?} is there already: see passwd and remove")));
    }
    let password = password::read(file)?;
    let scram = scram(&password, hashes)?;
    save(config, &mut backend, name, User { password: Some(hash(&password)?), scram, ..user })?;
    Ok(print(&format!("user {name:?} added\n")))
}

fn passwd(config: &Config, name: &str, file: Option<&std::path::Path>) -> Result<ExitCode, Failure> {
    let mut backend = open_to_change(config)?;
    let Some(user) = find(config, &mut backend, name)? else { return Err(missing(name)) };
    let password = password::read(file)?;
    let hashes: Vec<_> = user.scram.iter().map(|keys| (keys.hash(), keys.iterations())).collect();
    let scram = scram(&password, &hashes)?;
    save(config, &mut backend, name, User { password: Some(hash(&password)?), scram, ..user })?;
    Ok(print(&format!("user {name:?} has another password\n")))
}

fn remove(config: &Config, names: &[String]) -> Result<ExitCode, Failure> {
    let mut backend = open_to_change(config)?;
    for name in names {
        if find(config, &mut backend, name)?.is_none() {
            return Err(missing(name));
        }
    }
    let changes = names.iter().map(|name| (row_key(name), None));
    change_settings(&mut backend, changes).map_err(|error| Failure::Store(config.store_folder(), error))?;
    Ok(print(&format!("{} removed\n", names.len())))
}

fn list(config: &Config) -> Result<ExitCode, Failure> {
    let mut backend = open_to_change(config)?;
    let mut text = String::new();
    for (name, user) in all(config, &mut backend)? {
        let algorithm = user.password.as_ref().map_or("no password", |stored| stored.algorithm());
        text += &format!("{name}  {algorithm}");
        for keys in &user.scram {
            text += &format!("  {}", keys.hash().method());
        }
        if user.superuser {
            text += "  superuser";
        }
        for (name, value) in user.attributes.iter() {
            text += &format!("  {name}={value}");
        }
        if let Some(secs) = user.expires_unix_secs {
            let until = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(secs));
            text += &until.map_or_else(String::new, |at| format!("  until {}", humantime::format_rfc3339_seconds(at)));
        }
        text.push('\n');
    }
    Ok(print(&text))
}

fn missing(name: &str) -> Failure {
    Failure::Other(format!("there is no user {name:?}"))
}

fn hash(password: &[u8]) -> Result<Arc<Stored>, Failure> {
    Stored::new(password, &mut Memory::default()).map(Arc::new).map_err(|error| Failure::Other(error.to_string()))
}

fn save(config: &Config, backend: &mut Embedded, name: &str, user: User) -> Result<(), Failure> {
    let changes = [(row_key(name), Some(user.to_row()))];
    change_settings(backend, changes).map_err(|error| Failure::Store(config.store_folder(), error))
}

fn find(config: &Config, backend: &mut Embedded, name: &str) -> Result<Option<User>, Failure> {
    let row = setting(backend, &row_key(name)).map_err(|error| Failure::Store(config.store_folder(), error))?;
    row.map(|row| user_of(name, &row)).transpose()
}

fn user_of(name: &str, row: &str) -> Result<User, Failure> {
    User::from_row(row).map_err(|error| Failure::Other(format!("user {name:?} cannot be read: {error}")))
}

/// All users, by their names.
fn all(config: &Config, backend: &mut Embedded) -> Result<Vec<(String, User)>, Failure> {
    let mut rows = Vec::new();
    for_each_setting(backend, ROW_PREFIX, |key, row| {
        rows.push((name_of_key(key).unwrap_or_default().to_owned(), row.to_owned()));
        ControlFlow::Continue(())
    })
    .map_err(|error| Failure::Store(config.store_folder(), error))?;
    rows.into_iter().map(|(name, row)| user_of(&name, &row).map(|user| (name, user))).collect()
}
