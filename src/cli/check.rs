use std::process::ExitCode;

use super::{ConfigurationArguments, print, report};
use crate::config::Loaded;

/// `thingway check`: a summary of a good configuration, or all errors of a bad one and exit code 1.
pub fn check(configuration: &ConfigurationArguments) -> ExitCode {
    match configuration.load() {
        Ok(loaded) => print(&summary(&loaded)),
        Err(problems) => report(&problems),
    }
}

fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or_else(|| "none".into(), |path| path.display().to_string());
    let cores = if config.gateway.cores == 0 { "all".into() } else { config.gateway.cores.to_string() };
    let mut text = format!(
        "configuration good\n  file       {file}\n  node       {}\n  cores      {cores}\n  data       {}\n",
        config.gateway.name,
        config.gateway.data_dir.display()
    );
    for (kind, name, listener) in config.listeners.iter() {
        let off = if listener.enable { "" } else { " (off)" };
        text += &format!("  listener   {kind}.{name}: {} on {}{off}\n", listener.protocol, listener.bind);
    }
    text
}
