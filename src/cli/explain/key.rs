use std::process::ExitCode;

use super::{ConfigurationArguments, print, report};
use crate::config;

/// `thingway explain KEY`: value, origin, default and meaning of a key.
pub fn explain(configuration: &ConfigurationArguments, key: &str) -> ExitCode {
    let loaded = match configuration.load() {
        Ok(loaded) => loaded,
        Err(problems) => return report(&problems),
    };
    match config::explain(&loaded, key) {
        Some(text) => print(&text),
        None => {
            let hint = config::similar_key(key).map(|key| format!(", did you mean {key}?")).unwrap_or_default();
            eprintln!("error: there is no key {key:?}{hint}");
            ExitCode::FAILURE
        }
    }
}
