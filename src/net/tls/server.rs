use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;

use super::{TlsError, TlsOptions};

/// The TLS settings that new handshakes use; they can be replaced while the gateway runs.
#[derive(Debug)]
pub struct TlsServer {
    options: TlsOptions,
    current: ArcSwap<ServerConfig>,
    /// Of the files that were looked at last, good or bad.
    seen: Mutex<Option<u64>>,
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Nothing has changed since the last look.
    Unchanged,
    /// New handshakes use the new files.
    Replaced,
}

impl TlsServer {
    /// Reads the files.
    pub fn load(options: TlsOptions) -> Result<Self, TlsError> {
        let material = options.read()?;
        let config = options.build(&material)?;
        Ok(Self { options, current: ArcSwap::new(config), seen: Mutex::new(Some(material.fingerprint())) })
    }

    /// The settings it was made from.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// What new handshakes use.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks at the files and uses them if they have changed. With an error all stays as it was, and the same files
    /// are not tried again; a file that is not there is an error each time. Live connections are not touched. Reads files: not for a core's own thread.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let material = self.options.read()?;
        let fingerprint = Some(material.fingerprint());
        if std::mem::replace(&mut *self.seen.lock(), fingerprint) == fingerprint {
            return Ok(Reload::Unchanged);
        }
        self.current.store(self.options.build(&material)?);
        Ok(Reload::Replaced)
    }
}
