use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use parking_lot::Mutex;

use crate::{api::world::unix_secs, watch::Trace};

/// Bytes of a trace's log. At the limit the trace ends.
pub const LOG_BYTES_MAX: usize = 16 << 20;
/// The same where it is in memory.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// Where the lines of a trace go: a file, or memory.
#[derive(Debug)]
pub struct TraceLog {
    trace: Option<Arc<Trace>>,
    file: Option<PathBuf>,
    bytes: AtomicU64,
    /// When something was written last, in seconds since 1970.
    written_secs: AtomicU64,
    /// One who writes at a time, and what is in memory.
    memory: Mutex<Vec<u8>>,
}

impl TraceLog {
    /// The log of a trace; a file goes on where it was.
    pub fn new(trace: Option<Trace>, file: Option<PathBuf>) -> Self {
        let metadata = file.as_ref().and_then(|file| fs::metadata(file).ok());
        let written = metadata.as_ref().and_then(|file| file.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        Self {
            trace: trace.map(Arc::new),
            file,
            bytes: AtomicU64::new(metadata.map_or(0, |file| file.len())),
            written_secs: AtomicU64::new(written.map_or(0, |since| since.as_secs())),
            memory: Mutex::default(),
        }
    }

    /// When something was written last, in seconds since 1970; 0 for never.
    pub fn written_secs(&self) -> u64 {
        self.written_secs.load(Ordering::Relaxed)
    }

    /// The trace.
    pub fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    /// Bytes that were written.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn bytes_max(&self) -> usize {
        if self.file.is_some() { LOG_BYTES_MAX } else { MEMORY_BYTES_MAX }
    }

    /// Nothing more has room.
    pub fn is_full(&self) -> bool {
        self.bytes() as usize >= self.bytes_max()
    }

    /// Writes what came since. Blocks.
    pub fn flush(&self) -> io::Result<()> {
        let mut memory = self.memory.lock();
        let Some(trace) = &self.trace else { return Ok(()) };
        let mut lines = trace.take();
        let room = self.bytes_max().saturating_sub(self.bytes() as usize);
        if lines.len() > room {
            // Whole lines.
            let end = lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            lines.truncate(end);
            // What is left of the room stays empty.
            self.bytes.fetch_add((room - end) as u64, Ordering::Relaxed);
        }
        if lines.is_empty() {
            return Ok(());
        }
        match &self.file {
            Some(path) => OpenOptions::new().create(true).append(true).open(path)?.write_all(&lines)?,
            None => memory.extend_from_slice(&lines),
        }
        self.bytes.fetch_add(lines.len() as u64, Ordering::Relaxed);
        self.written_secs.store(unix_secs(), Ordering::Relaxed);
        Ok(())
    }

    /// What is there from a position on. Blocks.
    pub fn read(&self, position: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let memory = self.memory.lock();
        let Some(path) = &self.file else {
            let from = usize::try_from(position).unwrap_or(usize::MAX).min(memory.len());
            return Ok(memory[from..memory.len().min(from.saturating_add(bytes_max))].to_vec());
        };
        let mut read = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(position))?;
                file.take(bytes_max as u64).read_to_end(&mut read)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(read)
    }

    /// Takes the file away. Blocks.
    pub fn remove(&self) -> io::Result<()> {
        let _writing = self.memory.lock();
        match self.file.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{TraceForm, TraceLine, TraceOf, TracePayload, Watch};

    fn trace() -> Trace {
        let form = TraceForm { json: false, payload: TracePayload::Text, payload_bytes_max: 1000 };
        Trace::new(TraceOf::Client("c".into()), form)
    }

    fn write(watch: &Watch, payload: &[u8]) {
        let (what, client_id, remote, topic) = ("received", "c", None, Some("t"));
        watch.trace(&TraceLine { tag: "PUBLISH", what, client_id, remote, topic, facts: &[], payload: Some(payload) });
    }

    #[test]
    fn a_log_is_read_from_anywhere_and_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("t.log");
        for round in 1..=2 {
            let log = TraceLog::new(Some(trace()), Some(file.clone()));
            let watch = Watch::default();
            watch.run_traces(log.trace().cloned().into_iter().collect());
            write(&watch, b"hello");
            log.flush().expect("written");
            let all = log.read(0, 1000).expect("read");
            assert_eq!((all.iter().filter(|byte| **byte == b'\n').count(), all.len() as u64), (round, log.bytes()));
            assert_eq!(log.read(log.bytes() - 3, 2).expect("read"), b"lo");
            assert_eq!(log.read(log.bytes() + 5, 2).expect("read"), b"");
        }
        TraceLog::new(None, Some(file.clone())).remove().expect("removed");
        assert!(!file.exists());
    }

    #[test]
    fn a_log_in_memory_is_bounded() {
        let log = TraceLog::new(Some(trace()), None);
        let watch = Watch::default();
        watch.run_traces(log.trace().cloned().into_iter().collect());
        while !log.is_full() {
            write(&watch, &[b'x'; 900]);
            log.flush().expect("memory never fails");
        }
        let all = log.read(0, usize::MAX).expect("read");
        assert!(all.len() <= MEMORY_BYTES_MAX && all.ends_with(b"x\n"), "whole lines");
    }
}
