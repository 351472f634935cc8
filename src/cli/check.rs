use std::process::ExitCode;

use super::{ConfigurationArguments, print, report};
use crate::{access_config, config::Loaded};

/// `thingway check`: a summary of a good configuration, or all errors of a bad one and exit code 1. Rules, expressions, rewriting and the files that access
/// needs are read and compiled as a start would.
pub fn check(configuration: &ConfigurationArguments) -> ExitCode {
    let loaded = match configuration.load() {
        Ok(loaded) => loaded,
        Err(problems) => return report(&problems),
    };
    match access_problems(&loaded) {
        Ok(problems) if problems.is_empty() => print(&summary(&loaded)),
        Ok(problems) => {
            for problem in &problems {
                eprintln!("error: {problem}");
            }
            let errors = if problems.len() == 1 { "error" } else { "errors" };
            eprintln!("{} {errors} in the configuration", problems.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn access_problems(loaded: &Loaded) -> std::io::Result<Vec<String>> {
    // It is never driven: what would ask somebody does not come to it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let tell = |error: &access_config::AccessError| match error.key() {
        Some(key) if error.to_string().contains(&*key) => format!("{}: {error}", loaded.origin(&key)),
        Some(key) => format!("{}: {key}: {error}", loaded.origin(&key)),
        None => error.to_string(),
    };
    Ok(access_config::problems(&loaded.config).iter().map(tell).collect())
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
