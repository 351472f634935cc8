//! Reading archives: all of one is checked before anything is changed.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{BufReader, Read},
    mem,
};

use serde::Deserialize;
use thingway_contract::Message;
use thingway_store::{Item, WallMs};

use super::{
    archive::{ArchiveError, Reader, UNPACKED_MAX},
    export::{FORMAT, MANIFEST, Manifest, SETTINGS, STORE, VERSION},
    tables::{Row, Table},
};
use crate::{
    access::is_system,
    config::changes_of,
    store::portable::{self, LinesError},
};

/// Bytes of an entry that is held in memory.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
const SETTINGS_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a line: the largest packet that MQTT has, as Base64.
const LINE_BYTES_MAX: u64 = 384 << 20;
/// Bytes of rows, which are held in memory until all is checked.
const ROWS_BYTES_MAX: usize = 512 << 20;

/// Changes of settings, by their keys.
pub type Changes = BTreeMap<String, Option<serde_json::Value>>;

/// An archive with nothing wrong in it.
#[derive(Debug)]
pub struct Checked {
    pub manifest: Manifest,
    pub tables: Vec<Table>,
    pub settings: Changes,
    /// With the keys and values that they were read from.
    pub rows: Vec<(String, String, Row)>,
    pub has_messages: bool,
}

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// The file is no archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is one of something else.
    #[error("it is no archive of Thingway's: its first entry is no {MANIFEST} with \"format\": \"{FORMAT}\"")]
    Foreign,
    /// A later gateway has written it.
    #[error(
        "{MANIFEST}: version {0}, written by a later gateway; this one reads up to version {VERSION}: import it there"
    )]
    Newer(u32),
    /// A part of it.
    #[error("{entry}: {why}")]
    Entry {
        /// Which.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Wrong {
    fn entry(entry: &str, why: impl Into<String>) -> Self {
        Self::Entry { entry: entry.to_owned(), why: why.into() }
    }
}

/// A message of an archive, whose times are the wall's.
#[derive(Debug)]
pub enum Kept {
    Retained(Message),
    Delayed(WallMs, Message),
}

/// Checks an archive. Blocks.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn check(file: File) -> Result<Checked, Wrong> {
    let mut rows = Rows::default();
    let mut has_messages = false;
    let mut take = |item: Item, tables: &[Table]| {
        let listed = |table: Table| match tables.contains(&table) {
            true => Ok(()),
            false => Err(format!("the manifest does not say that there is {}", table.name())),
        };
        let (table, message) = match item {
            Item::Setting { name, value } => return listed(rows.add(name.into(), value.into())?),
            Item::Retained(message) => (Table::Retained, message),
            Item::Delayed { message, .. } => (Table::Delayed, message),
            _ => return Err("sessions and what belongs to them are in no archive".into()),
        };
        has_messages = true;
        listed(table)?;
        check_message(&message)
    };
    let (manifest, tables, settings) =
        walk(file, |line, item, tables| take(item, tables).map_err(|why| LinesError::Line { line, why }))?;
    Ok(Checked { manifest, tables, settings, rows: rows.all, has_messages })
}

fn check_message(message: &Message) -> Result<(), String> {
    match () {
        () if is_system(message.topic()) => Err(format!("{:?} is the gateway's own", message.topic())),
        () if message.name().is_reserved() && message.topic().starts_with("$delayed/") => {
            Err(format!("{:?} is no topic to publish to", message.topic()))
        }
        () if message.payload().is_empty() && message.head().retain => Err("a retained message has a payload".into()),
        () => Ok(()),
    }
}

/// Visits the messages of an archive that was checked. Blocks.
///
/// # Errors
/// When it cannot be read any more, or what `visit` says.
pub fn for_each_message(file: File, mut visit: impl FnMut(Kept) -> Result<(), String>) -> Result<(), Wrong> {
    let visited = walk(file, |line, item, _| {
        let visited = match item {
            Item::Retained(message) => visit(Kept::Retained(message)),
            Item::Delayed { due, message, .. } => visit(Kept::Delayed(due, message)),
            _ => Ok(()),
        };
        visited.map_err(|why| LinesError::Line { line, why })
    });
    visited.map(drop)
}

#[derive(Default)]
struct Rows {
    all: Vec<(String, String, Row)>,
    keys: HashSet<String>,
    bytes: usize,
}

impl Rows {
    fn add(&mut self, key: String, value: String) -> Result<Table, String> {
        self.bytes += 2 * key.len() + value.len();
        if self.bytes > ROWS_BYTES_MAX {
            return Err(format!("rows have more than {ROWS_BYTES_MAX} bytes"));
        }
        let row = Row::read(&key, &value).map_err(|why| format!("{key:?}: {why}"))?;
        if !self.keys.insert(key.clone()) {
            return Err(format!("{key:?} came before"));
        }
        let table = row.table();
        self.all.push((key, value, row));
        Ok(table)
    }
}

/// Goes through an archive once.
fn walk(
    file: File,
    mut take: impl FnMut(u64, Item, &[Table]) -> Result<(), LinesError>,
) -> Result<(Manifest, Vec<Table>, Changes), Wrong> {
    let mut reader = Reader::new(file, UNPACKED_MAX);
    if reader.next()?.as_deref() != Some(MANIFEST) {
        return Err(Wrong::Foreign);
    }
    let manifest = manifest(&whole(&mut reader, MANIFEST, MANIFEST_BYTES_MAX)?)?;
    let tables = tables(&manifest)?;
    let (mut settings, mut seen) = (Changes::new(), Vec::new());
    while let Some(entry) = reader.next()? {
        if seen.contains(&entry) {
            return Err(Wrong::entry(&entry, "it came before"));
        }
        match entry.as_str() {
            SETTINGS => {
                let text = String::from_utf8(whole(&mut reader, SETTINGS, SETTINGS_BYTES_MAX)?);
                let text = text.map_err(|_| Wrong::entry(SETTINGS, "it is not UTF-8"))?;
                settings = changes_of(&text).map_err(|why| Wrong::entry(SETTINGS, why))?;
            }
            STORE => {
                let mut input = BufReader::with_capacity(1 << 16, &mut reader);
                let read = portable::read(&mut input, LINE_BYTES_MAX, |line, item| take(line, item, &tables));
                read.map_err(|error| match error {
                    LinesError::Read(error) => Wrong::Archive(error.into()),
                    other => Wrong::entry(STORE, other.to_string()),
                })?;
            }
            other => return Err(Wrong::entry(other, "no archive has such an entry")),
        }
        seen.push(entry);
    }
    if let Some(missing) = [SETTINGS, STORE].into_iter().find(|entry| !seen.iter().any(|seen| seen == entry)) {
        return Err(Wrong::entry(missing, "it is missing"));
    }
    Ok((manifest, tables, settings))
}

fn whole(reader: &mut Reader<File>, entry: &str, bytes_max: u64) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    let count = reader.take(bytes_max + 1).read_to_end(&mut bytes).map_err(ArchiveError::from)?;
    match count as u64 > bytes_max {
        true => Err(Wrong::entry(entry, format!("it has more than {bytes_max} bytes"))),
        false => Ok(mem::take(&mut bytes)),
    }
}

fn manifest(bytes: &[u8]) -> Result<Manifest, Wrong> {
    #[derive(Deserialize)]
    struct Header {
        format: String,
        version: u32,
    }
    // What a later one has beside these may be anything.
    let header = serde_json::from_slice::<Header>(bytes).ok().filter(|header| header.format == FORMAT);
    match header.ok_or(Wrong::Foreign)?.version {
        version if version > VERSION => Err(Wrong::Newer(version)),
        _ => serde_json::from_slice(bytes).map_err(|error| Wrong::entry(MANIFEST, error.to_string())),
    }
}

fn tables(manifest: &Manifest) -> Result<Vec<Table>, Wrong> {
    let known = |name: &String| {
        Table::of_name(name).ok_or_else(|| Wrong::entry(MANIFEST, format!("there is no table set {name:?}")))
    };
    manifest.table_sets.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::api::data::archive::Writer;

    const GOOD: &str = r#"{"format":"thingway data","version":1,"table_sets":["banned","builtin_retainer","delayed"]}"#;
    const LINES: &str = concat!(
        r#"{"format":"thingway store","version":1}"#,
        "\n",
        r#"{"kind":"retained","message":{"topic":"a","payload":"x","qos":1,"retain":true,"received_at":7}}"#,
        "\n",
        r#"{"kind":"delayed","number":1,"due":9,"message":{"topic":"b","payload":"y","qos":1,"received_at":7}}"#,
        "\n",
        r#"{"kind":"setting","name":"ban/client_id/eve","value":"{}"}"#,
        "\n",
        r#"{"kind":"end","lines":4}"#,
        "\n",
    );

    fn archive(files: &[(&str, &str)]) -> File {
        let mut writer = Writer::new(tempfile::tempfile().expect("a file"));
        for (name, content) in files {
            writer.add(name, 0, content.len() as u64, &mut content.as_bytes()).expect("written");
        }
        let mut file = writer.finish().expect("written");
        file.seek(SeekFrom::Start(0)).expect("the beginning");
        file
    }

    fn wrong(files: &[(&str, &str)]) -> String {
        check(archive(files)).map(drop).expect_err("it is wrong").to_string()
    }

    #[test]
    fn all_of_an_archive_is_read() {
        let files = [(MANIFEST, GOOD), (SETTINGS, "[mqtt]\nmax_qos = 1\n"), (STORE, LINES)];
        let checked = check(archive(&files)).expect("good");
        assert_eq!(checked.tables, [Table::Bans, Table::Retained, Table::Delayed]);
        assert_eq!(checked.settings["mqtt.max_qos"], Some(1.into()));
        assert_eq!((checked.rows.len(), checked.has_messages), (1, true));
        let mut topics = Vec::new();
        for_each_message(archive(&files), |kept| {
            topics.push(match kept {
                Kept::Retained(message) => (message.topic().to_owned(), 0),
                Kept::Delayed(due, message) => (message.topic().to_owned(), due),
            });
            Ok(())
        })
        .expect("it was checked");
        assert_eq!(topics, [("a".to_owned(), 0), ("b".to_owned(), 9)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let with = |manifest: &str, settings: &str, lines: &str| {
            wrong(&[(MANIFEST, manifest), (SETTINGS, settings), (STORE, lines)])
        };
        assert!(wrong(&[]).contains("no archive of Thingway's"));
        assert!(wrong(&[("emqx-export/META.hocon", "x"), (MANIFEST, GOOD)]).contains("no archive of Thingway's"));
        assert!(with("{}", "", LINES).contains("no archive of Thingway's"));
        assert!(with(&GOOD.replace(":1,", ":2,\"new\":1,"), "", LINES).contains("later gateway"));
        assert!(with(&GOOD.replace("banned", "rules"), "", LINES).contains("no table set \"rules\""));
        assert!(with(&GOOD.replace("\"banned\",", ""), "", LINES).contains("line 4: the manifest does not say"));
        assert!(with(GOOD, "[mqtt", LINES).starts_with("settings.toml: "));
        assert!(
            with(GOOD, "", &LINES.replace(r#""value":"{}""#, r#""value":"[]""#)).starts_with("store.jsonl: line 4: ")
        );
        assert!(with(GOOD, "", &LINES.replace("ban/client_id", "audit")).contains("no archive has such a setting"));
        assert!(with(GOOD, "", &LINES.replace("\"topic\":\"a\"", "\"topic\":\"$SYS/a\"")).contains("line 2"));
        assert!(with(GOOD, "", LINES.trim_end()).contains("line 5"));
        let session = r#"{"kind":"session","number":1,"client_id":"c","detached_at":1,"next_packet_id":1}"#;
        let lines = LINES.replacen("{\"kind\":\"retained\"", &format!("{session}\n{{\"kind\":\"retained\""), 1);
        assert!(with(GOOD, "", &lines).contains("line 2: sessions"));
        assert_eq!(wrong(&[(MANIFEST, GOOD), (STORE, LINES)]), "settings.toml: it is missing");
        assert_eq!(wrong(&[(MANIFEST, GOOD), ("../x", "")]), "../x: no archive has such an entry");
        assert_eq!(wrong(&[(MANIFEST, GOOD), (SETTINGS, ""), (SETTINGS, "")]), "settings.toml: it came before");
        let large = " ".repeat(MANIFEST_BYTES_MAX as usize + 1);
        assert!(with(&large, "", LINES).contains("more than 65536 bytes"));
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"no archive").expect("written");
        file.seek(SeekFrom::Start(0)).expect("the beginning");
        assert!(matches!(check(file), Err(Wrong::Archive(_))));
    }
}
