use std::{fmt::Write, process::ExitCode};

use thingway_store::{Backend, Checked, Counts, FORMAT};

use super::{Failure, now, open, print};
use crate::config::Config;

/// `thingway store check`
pub(super) fn check(config: &Config) -> Result<ExitCode, Failure> {
    let folder = config.store_folder();
    let backend = open(config)?;
    let (disk_bytes, cut_bytes) = (backend.bytes(), backend.cut_bytes());
    let checked = thingway_store::check(backend, config.store_settings(), now());
    let checked = checked.map_err(|error| Failure::Store(folder.clone(), error))?;
    let mut text = format!("store          {}, format {FORMAT}\n", folder.display());
    text += &summary(&checked, disk_bytes, cut_bytes);
    let printed = print(&text);
    for problem in &checked.problems {
        eprintln!("problem: {problem}");
    }
    if checked.problems_len > checked.problems.len() {
        eprintln!("and {} more problems", checked.problems_len - checked.problems.len());
    }
    Ok(if checked.problems_len > 0 { ExitCode::FAILURE } else { printed })
}

fn summary(checked: &Checked, disk_bytes: u64, cut_bytes: u64) -> String {
    let Counts { sessions, messages, bytes, delayed } = checked.counts;
    let (retained, retained_bytes) = checked.retained;
    let (blocks, block_bytes, records) = (checked.blocks, checked.block_bytes, checked.records);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14} {value}");
    };
    line("sessions", sessions.to_string());
    line("subscriptions", checked.subscriptions.to_string());
    line("groups", checked.groups.to_string());
    line("queued", format!("{messages} messages, {bytes} bytes"));
    line("retained", format!("{retained} messages, {retained_bytes} bytes"));
    line("delayed", format!("{delayed} messages, {} bytes", checked.delayed_bytes));
    line("settings", checked.settings.to_string());
    line("log", format!("{blocks} blocks, {block_bytes} bytes; {records} records to read again"));
    line("disk", format!("{disk_bytes} bytes"));
    line("cut", format!("{cut_bytes} bytes"));
    line("problems", checked.problems_len.to_string());
    text
}
