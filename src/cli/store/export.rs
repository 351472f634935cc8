use std::{
    io::{self, BufWriter},
    path::Path,
    process::ExitCode,
};

use super::{Failure, open, read};
use crate::{
    config::Config,
    store::portable::{self, ExportError, Written},
};

/// `thingway store export`
pub(super) fn export(config: &Config, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let mut keeper = read(config, open(config)?)?;
    let written = match file {
        Some(path) => portable::export_to(&mut keeper, path),
        None => portable::export(&mut keeper, &mut BufWriter::new(io::stdout().lock())),
    };
    match written {
        Ok(Written { lines, bytes }) => {
            // Standard output may be the export.
            eprintln!("{lines} lines, {bytes} bytes");
            Ok(ExitCode::SUCCESS)
        }
        Err(ExportError::Store(error)) => Err(Failure::Store(config.store_folder(), error)),
        Err(ExportError::Write(error)) => {
            let place = file.map_or_else(|| "standard output".into(), |path| path.display().to_string());
            Err(Failure::Other(format!("{place}: {error}")))
        }
    }
}
