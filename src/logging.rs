//! The log: where it goes, and how much of it misbehaving peers may cause.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

use thingway_contract::Instant;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is none.
    #[error("bad log level: {0}")]
    Filter(#[from] ParseError),
    /// The file cannot be opened.
    #[error("cannot open the log file {0}: {1}")]
    File(PathBuf, io::Error),
    /// The log is gone.
    #[error("the log's filter cannot be changed: {0}")]
    Change(#[from] reload::Error),
    /// There is a log already.
    #[error("the log was set up before: {0}")]
    Again(#[from] TryInitError),
}

/// Sets up the process's log. `filter` is a level or a list like `info,thingway::net=debug`; without a file it goes to standard error.
pub fn init(filter: &str, format: Format, file: Option<&Path>) -> Result<(), LoggingError> {
    let targets: Targets = filter.replace(' ', "").parse()?;
    let layer = match file {
        None => layer(format, io::stderr, io::stderr().is_terminal()),
        Some(path) => {
            // One write a line, at the end of the file: other programs may truncate or move it at any time.
            let file = OpenOptions::new().create(true).append(true).open(path);
            layer(format, Arc::new(file.map_err(|error| LoggingError::File(path.into(), error))?), false)
        }
    };
    let (filter, handle) = reload::Layer::new(targets);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    // The first one that was set up is the only one.
    let _ = FILTER.set(handle);
    Ok(())
}

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Writes from now on what this filter says. Nothing happens where there is no log.
///
/// # Errors
/// When the filter is none.
pub fn set_filter(filter: &str) -> Result<(), LoggingError> {
    let targets: Targets = filter.replace(' ', "").parse()?;
    match FILTER.get() {
        Some(handle) => Ok(handle.reload(targets)?),
        None => Ok(()),
    }
}

fn layer<W>(format: Format, writer: W, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(colour);
    match format {
        Format::Text => layer.with_target(false).boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// Decides which of the lines that peers cause are written, so that a flood of bad input is no flood of lines.
///
/// Each kind of line has `count` lines in each span of `per`; the kinds are few and fixed by the program.
#[derive(Debug)]
pub struct PeerLog {
    count: u64,
    per: Duration,
    kinds: Mutex<BTreeMap<&'static str, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    written: u64,
    suppressed: u64,
}

impl Default for PeerLog {
    /// One line of each kind a second on average, as the configuration has it by default.
    fn default() -> Self {
        Self::new(60, Duration::from_secs(60))
    }
}

impl PeerLog {
    /// At most `count` lines of each kind in each span of `per`.
    pub fn new(count: u64, per: Duration) -> Self {
        Self { count, per, kinds: Mutex::default() }
    }

    /// Whether a line of this kind is written now: `Some` with the number of lines left out since the last one that was.
    pub fn admit(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock();
        let window = kinds.entry(kind).or_insert(Window { start: now, written: 0, suppressed: 0 });
        if now.since(window.start) >= self.per {
            window.start = now;
            window.written = 0;
        }
        if window.written >= self.count {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }

    /// What was left out in spans that have passed, to be told when no further line of the kind comes: kinds and numbers. Forgets them.
    pub fn overdue(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut overdue = Vec::new();
        for (kind, window) in self.kinds.lock().iter_mut() {
            if window.suppressed != 0 && now.since(window.start) >= self.per {
                overdue.push((*kind, std::mem::take(&mut window.suppressed)));
            }
        }
        overdue
    }

    /// Writes how many lines were left out in spans that have passed. To be called every now and then.
    pub fn flush(&self, now: Instant) {
        for (kind, suppressed) in self.overdue(now) {
            tracing::warn!(kind, suppressed, "lines about peers were left out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn so_many_in_each_span() {
        let log = PeerLog::new(2, SECOND);
        let admitted: Vec<_> =
            [0, 10, 20, 999, 1000, 1001, 1002].map(|millis| log.admit("malformed", at(millis))).into();
        assert_eq!(admitted, [Some(0), Some(0), None, None, Some(2), Some(0), None]);
        assert_eq!(log.admit("timeout", at(20)), Some(0), "kinds do not count for each other");
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let log = PeerLog::new(1, SECOND);
        for millis in 0..5 {
            log.admit("malformed", at(millis));
        }
        assert_eq!(log.overdue(at(999)), [], "the span is not over");
        assert_eq!(log.overdue(at(1000)), [("malformed", 4)]);
        assert_eq!(log.overdue(at(1000)), []);
        assert_eq!(log.admit("malformed", at(1000)), Some(0));
    }

    #[test]
    fn nothing_passes_without_lines() {
        let log = PeerLog::new(0, SECOND);
        assert_eq!(log.admit("malformed", at(0)), None);
        assert_eq!(log.overdue(at(5000)), [("malformed", 1)]);
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        assert!(matches!(init("a=b=c", Format::Text, None), Err(LoggingError::Filter(_))));
        let missing = Path::new("/nonexistent/thingway.log");
        assert!(matches!(init("info", Format::Json, Some(missing)), Err(LoggingError::File(..))));
    }
}
