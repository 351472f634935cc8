//! Users from other systems, and to them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use thingway_store::change_settings;
use zeroize::Zeroizing;

use super::{FileFormat, all, check_name, find};
use crate::{
    access::{
        passwords::{Memory, NoRandomness, Stored},
        users::{Format, Hashing, NamedUser, Password, User, parse, row_key},
    },
    cli::{
        print,
        store::{Failure, open_to_change},
    },
    config::Config,
};

pub fn import(
    config: &Config,
    file: &Path,
    format: Option<FileFormat>,
    hashing: &str,
    replace: bool,
) -> Result<ExitCode, Failure> {
    let name = file.display().to_string();
    let hashing: Hashing = hashing.parse().map_err(|error| Failure::Other(format!("--hashing: {error}")))?;
    let format = match format {
        Some(FileFormat::Csv) => Format::Csv,
        Some(FileFormat::Json) => Format::Json,
        Some(FileFormat::Mosquitto) => Format::Mosquitto,
        None => Format::of_name(&name),
    };
    let text =
        fs::read_to_string(file).map(Zeroizing::new).map_err(|error| Failure::File(format!("{name}: {error}")))?;
    let users = parse(&text, format, hashing).map_err(|error| Failure::File(format!("{name}: {error}")))?;
    let mut backend = open_to_change(config)?;
    for user in &users {
        check_name(&user.name)?;
        if !replace && find(config, &mut backend, &user.name)?.is_some() {
            return Err(Failure::Other(format!("user {:?} is there already: see --replace", user.name)));
        }
    }
    let count = users.len();
    let rows = hash_all(users).map_err(|error| Failure::Other(error.to_string()))?;
    change_settings(&mut backend, rows).map_err(|error| Failure::Store(config.store_folder(), error))?;
    Ok(print(&format!("{count} users\n")))
}

/// Passwords that are not hashed are hashed, on all processors.
fn hash_all(users: Vec<NamedUser>) -> Result<Vec<(String, Option<String>)>, NoRandomness> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut memory = Memory::default();
        let mut rows = Vec::new();
        while let Some(NamedUser { name, password, user }) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
            let password = match password {
                Password::Plain(plain) => Some(Arc::new(Stored::new(plain, &mut memory)?)),
                Password::Stored(stored) => Some(stored.clone()),
                Password::None => None,
            };
            rows.push((row_key(name), Some(User { password, ..user.clone() }.to_row())));
        }
        Ok(rows)
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(users.len().max(1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let mut rows = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(done) => rows.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(rows)
    })
}

#[derive(Serialize)]
struct Exported<'a> {
    user_id: &'a str,
    password_hash: Option<String>,
    salt: &'static str,
    is_superuser: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scram: Vec<String>,
}

pub fn export(config: &Config, file: Option<&Path>, format: Option<FileFormat>) -> Result<ExitCode, Failure> {
    let json = match format {
        Some(FileFormat::Json) => true,
        Some(FileFormat::Csv) => false,
        Some(FileFormat::Mosquitto) => {
            return Err(Failure::Other("an export is CSV or JSON: Mosquitto has no form for all that there is".into()));
        }
        None => file.is_some_and(|file| Format::of_name(&file.display().to_string()) == Format::Json),
    };
    let mut backend = open_to_change(config)?;
    let users = all(config, &mut backend)?;
    let exported = users.iter().map(|(name, user)| Exported {
        user_id: name,
        password_hash: user.password.as_ref().map(ToString::to_string),
        salt: "",
        is_superuser: user.superuser,
        attributes: user.attributes.iter().collect(),
        expires_at: user.expires_unix_secs,
        scram: user.scram.iter().map(ToString::to_string).collect(),
    });
    let text = if json {
        let list: Vec<_> = exported.collect();
        let text = serde_json::to_string_pretty(&list).map_err(|error| Failure::Other(error.to_string()))?;
        format!("{text}\n")
    } else {
        csv_of(exported).map_err(|error| Failure::Other(error.to_string()))?
    };
    let Some(file) = file else { return Ok(print(&text)) };
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(file);
    let written = written.and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()));
    written.map_err(|error| Failure::Other(format!("{}: {error}", file.display())))?;
    Ok(print(&format!("{} users\n", users.len())))
}

fn csv_of<'a>(users: impl Iterator<Item = Exported<'a>>) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["user_id", "password_hash", "salt", "is_superuser", "attributes", "expires_at", "scram"])?;
    for user in users {
        let attributes = match user.attributes.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&user.attributes).unwrap_or_default(),
        };
        writer.write_record([
            user.user_id,
            &user.password_hash.unwrap_or_default(),
            user.salt,
            if user.is_superuser { "true" } else { "false" },
            &attributes,
            &user.expires_at.map_or_else(String::new, |at| at.to_string()),
            &user.scram.join(" "),
        ])?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}
