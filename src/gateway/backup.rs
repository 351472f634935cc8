//! Backups of the store while the gateway runs: the store's thread only marks the moment, another one reads what there was at it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use thingway_store::{Epoch, FlushLimits, Keeper, Reader, Settings};

use crate::{
    bus::Handle,
    config::Config,
    store::{
        Journal,
        portable::{self, ExportError, Written},
    },
};

/// Bytes of messages that a backup holds in memory. Nearly all are read in order.
const CACHE_BYTES: usize = 1 << 20;

/// Where backups are, in `gateway.data_dir`. The interface keeps its archives there, too.
pub(super) const BACKUP_FOLDER: &str = "backup";

/// Where backups go, one at a time.
#[derive(Debug)]
pub(super) struct Backups {
    folder: PathBuf,
    settings: Settings,
    running: Arc<AtomicBool>,
}

impl Backups {
    pub fn new(config: &Config) -> Self {
        let folder = config.gateway.data_dir.join(BACKUP_FOLDER);
        Self { folder, settings: config.store_settings(), running: Arc::default() }
    }

    /// Begins one, unless one is being written.
    pub fn start(&self, journal: &Journal<Handle>) {
        if self.running.swap(true, Ordering::AcqRel) {
            tracing::warn!("a backup is being written already: another was not begun");
            return;
        }
        let (folder, settings, journal) = (self.folder.clone(), self.settings, journal.clone());
        let running = self.running.clone();
        let write = move || {
            let begun = Instant::now();
            let written = write(&folder, settings, &journal);
            // Whoever reads in the log that it is done may ask for the next.
            running.store(false, Ordering::Release);
            match written {
                Ok((path, Written { lines, bytes }, held)) => tracing::info!(
                    "backup {}: {lines} lines, {bytes} bytes, {:.3} s; commits waited {:.3} ms",
                    path.display(),
                    begun.elapsed().as_secs_f64(),
                    held.as_secs_f64() * 1000.0,
                ),
                Err(error) => tracing::error!("no backup was written to {}: {error}", folder.display()),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("backup".into()).spawn(write) {
            tracing::error!("no backup was begun: {error}");
            self.running.store(false, Ordering::Release);
        }
    }
}

fn write(
    folder: &Path,
    settings: Settings,
    journal: &Journal<Handle>,
) -> Result<(PathBuf, Written, Duration), ExportError> {
    fs::create_dir_all(folder)?;
    remove_unfinished(folder)?;
    let now = SystemTime::now();
    let frozen = journal.freeze()?;
    let path = folder.join(format!("{}.jsonl", humantime::format_rfc3339_millis(now).to_string().replace(':', "")));
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (backend, limits) = (Reader(frozen.backend), FlushLimits::default());
    // A machine of its own is made of what there was, as at a start.
    let opened =
        Keeper::<(), _>::open(backend, settings, limits, CACHE_BYTES, Epoch::default(), since.as_millis() as u64);
    let (mut keeper, _) = opened?;
    let written = portable::export_to(&mut keeper, &path)?;
    Ok((path, written, frozen.held))
}

/// Of backups that the gateway's end has cut short.
fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".jsonl.part") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
