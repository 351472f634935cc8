//! All that is kept as lines of JSON: an export. `docs/durability.md` tells the format.

mod line;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufWriter, Read, Write},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thingway_store::{Backend, BackendError, Counts, Import, ImportError, Item, Keeper, VisitItem};

use self::line::{End, Line};

/// The version of the lines that are written, and the latest that is read.
const VERSION: u32 = 1;
const FORMAT: &str = "thingway store";
/// More than the first line takes, so that what is no export at all is not read far.
const HEADER_BYTES_MAX: u64 = 4096;
/// More than any message takes as a line.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] BackendError),
    /// The export could not be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes an export. The keeper was opened with an epoch of zero.
///
/// # Errors
/// When the store cannot be read, or `out` fails. What is in `out` then has no last line.
pub fn export<S, B: Backend>(keeper: &mut Keeper<S, B>, out: &mut dyn Write) -> Result<Written, ExportError> {
    write_items(out, |visit| keeper.export(visit))
}

/// Writes an export of what belongs to no session, as far as it is wanted. The keeper was opened with an epoch of zero.
///
/// # Errors
/// As [`export`].
pub fn export_unowned<S, B: Backend>(
    keeper: &mut Keeper<S, B>,
    out: &mut dyn Write,
    mut is_wanted: impl FnMut(&Item) -> bool,
) -> Result<Written, ExportError> {
    write_items(out, |visit| {
        keeper.export_unowned(&mut |item| match is_wanted(&item) {
            true => visit(item),
            false => ControlFlow::Continue(()),
        })
    })
}

fn write_items(
    out: &mut dyn Write,
    tell: impl FnOnce(&mut VisitItem<'_>) -> Result<(), BackendError>,
) -> Result<Written, ExportError> {
    let mut lines = Lines { out, written: Written::default(), text: Vec::new() };
    lines.write(&Header { format: FORMAT.into(), version: VERSION })?;
    let mut failure = None;
    tell(&mut |item: Item| match lines.write(&Line::from(item)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failure.map_or(Ok(()), Err)?;
    let lines_before = lines.written.lines;
    lines.write(&Line::End(End { lines: lines_before }))?;
    lines.out.flush()?;
    Ok(lines.written)
}

/// Writes an export to a file, which only its owner may read. It is there when it is complete.
///
/// # Errors
/// As [`export`]. There is no new file then.
pub fn export_to<S, B: Backend>(keeper: &mut Keeper<S, B>, path: &Path) -> Result<Written, ExportError> {
    let unfinished = unfinished(path);
    let written = write_all(keeper, &unfinished);
    match written {
        Ok(written) => {
            fs::rename(&unfinished, path)?;
            File::open(folder_of(path))?.sync_all()?;
            Ok(written)
        }
        Err(error) => {
            // What it could not write may be why it cannot be removed.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// Where an export is written until it is complete.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_all<S, B: Backend>(keeper: &mut Keeper<S, B>, path: &Path) -> Result<Written, ExportError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let written = export(keeper, &mut out)?;
    out.get_ref().sync_all()?;
    Ok(written)
}

struct Lines<'a> {
    out: &'a mut dyn Write,
    written: Written,
    text: Vec<u8>,
}

impl Lines<'_> {
    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, line)?;
        self.text.push(b'\n');
        self.out.write_all(&self.text)?;
        self.written.lines += 1;
        self.written.bytes += self.text.len() as u64;
        Ok(())
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Sessions, and what waits for them.
    pub counts: Counts,
    /// Retained messages.
    pub retained: usize,
    /// What operators have set.
    pub settings: usize,
}

/// Why an export was not read.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// A line that cannot be taken.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The lines could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// The store could not be written.
    #[error(transparent)]
    Store(BackendError),
}

/// Reads an export into a backend with nothing in it, and gives that back.
///
/// # Errors
/// What is in the backend then is no store.
pub fn import<B: Backend>(input: &mut dyn BufRead, backend: B) -> Result<(Imported, B), LinesError> {
    let mut import = Import::new(backend);
    let lines = read(input, LINE_BYTES_MAX, |line, item| import.add(item).map_err(|error| refused(error, line)))?;
    let (retained, settings) = (import.retained(), import.settings());
    let (counts, backend) = import.finish().map_err(|error| refused(error, lines))?;
    Ok((Imported { counts, retained, settings }, backend))
}

/// Reads an export, item by item, each with the number of its line. Gives the number of lines.
///
/// # Errors
/// The first line that is wrong, or longer than so many bytes; or what `take` says.
pub fn read(
    input: &mut dyn BufRead,
    line_bytes_max: u64,
    mut take: impl FnMut(u64, Item) -> Result<(), LinesError>,
) -> Result<u64, LinesError> {
    let (mut line, mut text, mut ended) = (0, Vec::new(), false);
    loop {
        let bytes_max = if line == 0 { HEADER_BYTES_MAX } else { line_bytes_max };
        if !next_line(input, bytes_max, &mut text).map_err(LinesError::Read)? {
            break;
        }
        let at = |why| LinesError::Line { line: line + 1, why };
        if text.last() != Some(&b'\n') {
            let is_long = text.len() as u64 >= bytes_max;
            return Err(at(if is_long { "it is too long".into() } else { "it ends early".into() }));
        }
        if ended {
            return Err(at("there is something after the last line".into()));
        }
        if line == 0 {
            check_header(&text).map_err(at)?;
        } else {
            let read: Line = serde_json::from_slice(&text).map_err(|error| at(told(&error)))?;
            if let Line::End(End { lines }) = read {
                if lines != line {
                    return Err(at(format!("{line} lines come before it, not {lines}: some are missing or too many")));
                }
                ended = true;
            } else if let Some(item) = read.item().map_err(at)? {
                take(line + 1, item)?;
            }
        }
        line += 1;
    }
    match ended {
        true => Ok(line),
        false => Err(LinesError::Line { line: line + 1, why: "the last line is missing: the file is cut".into() }),
    }
}

fn next_line(input: &mut dyn BufRead, bytes_max: u64, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    Ok(input.take(bytes_max).read_until(b'\n', text)? > 0)
}

fn check_header(text: &[u8]) -> Result<(), String> {
    let header = serde_json::from_slice::<Header>(text).ok().filter(|header| header.format == FORMAT);
    match header {
        None => Err(format!("it is not the first line of an export, which has \"format\":\"{FORMAT}\"")),
        Some(Header { version, .. }) if version > VERSION => Err(format!(
            "version {version}, written by a later gateway; this one reads up to version {VERSION}: import it with that gateway"
        )),
        Some(_) => Ok(()),
    }
}

/// Without the place in the line where it is all one line; with the column.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} at column {}", error.column()),
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

fn refused(error: ImportError, line: u64) -> LinesError {
    match error {
        ImportError::Item(why) => LinesError::Line { line, why: why.into() },
        ImportError::Backend(error) => LinesError::Store(error),
    }
}

#[cfg(test)]
mod tests;
