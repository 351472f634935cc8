use std::{
    fs::{self, File},
    io::Write as _,
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use thingway_store::{change_settings, for_each_setting, setting};
use zeroize::Zeroizing;

use super::password;
use crate::{
    access::psk::{PSK_PREFIX, check_identity, key_from_hex, key_to_hex, parse_keys},
    cli::{
        ConfigurationArguments, print,
        store::{Failure, finish, open_to_change},
    },
    config::Config,
};

/// What to do with pre-shared keys.
#[derive(Debug, Subcommand)]
pub enum PskCommand {
    /// Add a key, or another one for the same identity; it is asked for in hexadecimal digits, or the first line of what is given on standard input
    Add {
        /// The identity that the peer shows
        identity: String,
        /// A file whose first line is the key
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Remove keys
    Remove {
        /// The identities
        #[arg(required = true)]
        identities: Vec<String>,
    },
    /// Tell which identities have keys
    List,
    /// Take over a file of EMQX or Mosquitto: identity:key on each line; all of them or, if anything is wrong, none
    Import {
        /// The file
        file: PathBuf,
        /// Identities that are there already get what the file has
        #[arg(long)]
        replace: bool,
    },
    /// Write all keys to a file of the same form
    Export {
        /// Where to
        file: PathBuf,
    },
}

/// Does it with the store of the configuration.
pub fn run_psk(configuration: &ConfigurationArguments, command: &PskCommand) -> ExitCode {
    finish(configuration, |config| match command {
        PskCommand::Add { identity, key_file } => add(config, identity, key_file.as_deref()),
        PskCommand::Remove { identities } => remove(config, identities),
        PskCommand::List => list(config),
        PskCommand::Import { file, replace } => import(config, file, *replace),
        PskCommand::Export { file } => export(config, file),
    })
}

fn row_key(identity: &str) -> String {
    format!("{PSK_PREFIX}{identity}")
}

fn change(config: &Config, changes: impl IntoIterator<Item = (String, Option<String>)>) -> Result<(), Failure> {
    let mut backend = open_to_change(config)?;
    change_settings(&mut backend, changes).map_err(|error| Failure::Store(config.store_folder(), error))
}

fn is_there(config: &Config, identity: &str) -> Result<bool, Failure> {
    let row = setting(&mut open_to_change(config)?, &row_key(identity));
    Ok(row.map_err(|error| Failure::Store(config.store_folder(), error))?.is_some())
}

fn add(config: &Config, identity: &str, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let wrong = |error: crate::access::psk::KeyError| Failure::Other(error.to_string());
    check_identity(identity).map_err(wrong)?;
    let text = password::read(file)?;
    let text = std::str::from_utf8(&text).unwrap_or_default().trim();
    let key = key_from_hex(text).map_err(wrong)?;
    change(config, [(row_key(identity), Some(key_to_hex(&key).to_string()))])?;
    Ok(print(&format!("{identity:?} has a key\n")))
}

fn remove(config: &Config, identities: &[String]) -> Result<ExitCode, Failure> {
    for identity in identities {
        if !is_there(config, identity)? {
            return Err(Failure::Other(format!("{identity:?} has no key")));
        }
    }
    change(config, identities.iter().map(|identity| (row_key(identity), None)))?;
    Ok(print(&format!("{} removed\n", identities.len())))
}

/// Calls `each` for all identities and their keys as they are written.
fn for_all(config: &Config, mut each: impl FnMut(&str, &str)) -> Result<(), Failure> {
    let told = for_each_setting(&mut open_to_change(config)?, PSK_PREFIX, |key, row| {
        each(key.strip_prefix(PSK_PREFIX).unwrap_or_default(), row);
        ControlFlow::Continue(())
    });
    told.map_err(|error| Failure::Store(config.store_folder(), error))
}

fn list(config: &Config) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for_all(config, |identity, key| text += &format!("{identity}  {} bytes\n", key.len() / 2))?;
    Ok(print(&text))
}

fn import(config: &Config, file: &Path, replace: bool) -> Result<ExitCode, Failure> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| Failure::File(format!("{name}: {error}")))?;
    let keys = parse_keys(&Zeroizing::new(text)).map_err(|error| Failure::File(format!("{name}: {error}")))?;
    if !replace {
        for identity in keys.keys() {
            if is_there(config, identity)? {
                return Err(Failure::Other(format!("{identity:?} has a key already: see --replace")));
            }
        }
    }
    let count = keys.len();
    change(config, keys.iter().map(|(identity, key)| (row_key(identity), Some(key_to_hex(key).to_string()))))?;
    Ok(print(&format!("{count} keys\n")))
}

fn export(config: &Config, file: &Path) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::File(format!("{}: {error}", file.display()));
    let (mut text, mut count) = (Zeroizing::new(String::new()), 0);
    for_all(config, |identity, key| {
        text.push_str(&format!("{identity}:{key}\n"));
        count += 1;
    })?;
    // What is secret is for its owner's eyes from the first byte.
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)?;
    Ok(print(&format!("{count} keys\n")))
}
