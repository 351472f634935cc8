//! Which settings count as soon as they are changed, and which wait for a start.

use super::{
    Config,
    layers::{self, Dict, Value},
};

/// What counts at once, some of it for connections to come only. Listeners' own settings do when they are started again, but for [`OF_LISTENERS`];
/// everything else from the next start on.
const AT_ONCE: [&str; 8] = ["access", "coap", "delayed", "log.level", "mqtt", "mqttsn", "retained", "shared.strategy"];

/// What of these counts from the next start on: what each delivery is asked about, and what announcements have told.
const BUT: [&str; 3] = ["mqtt.upgrade_qos", "mqttsn.advertise_interval", "mqttsn.gateway_id"];

/// What of a listener counts at once.
const OF_LISTENERS: [&str; 2] = ["idle_timeout", "mqtt"];

/// What is in effect follows what is wanted now, as far as that counts at once.
pub(super) fn take(wanted: &Dict, effective: &mut Dict, config: &Config) {
    let before = effective.clone();
    for key in AT_ONCE {
        copy(wanted, effective, key);
    }
    for key in BUT {
        copy(&before, effective, key);
    }
    for (kind, name, _) in config.listeners.iter() {
        let listener = format!("listeners.{kind}.{name}");
        // One that is new counts when it is started.
        if layers::value_at(&before, &listener).is_some() {
            OF_LISTENERS.iter().for_each(|key| copy(wanted, effective, &format!("{listener}.{key}")));
        }
    }
}

/// It counts without a start, of the gateway or of a listener.
pub(super) fn counts_at_once(key: &str) -> bool {
    if let Some(of) = key.strip_prefix("listeners.") {
        return of.splitn(3, '.').nth(2).is_some_and(|rest| is_below(rest, &OF_LISTENERS));
    }
    is_below(key, &AT_ONCE) && !is_below(key, &BUT)
}

/// It is one of these keys, or below one.
pub fn is_below(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|of| key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Copies a value, or its absence.
pub(super) fn copy(from: &Dict, to: &mut Dict, key: &str) {
    let mut to = to;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            let entry = to.entry(part.to_owned()).or_insert_with(|| Value::from(Dict::new()));
            let Value::Dict(_, inner) = entry else { return };
            to = inner;
            continue;
        }
        match layers::value_at(from, key) {
            Some(value) => to.insert(part.to_owned(), value),
            None => to.remove(part),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What operators read about it names the same settings.
    #[test]
    fn the_table_of_what_counts_at_once_is_true() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let text = fs::read_to_string(file).expect("it is there");
        let table = text.split_once("These count at once").expect("the table").1;
        let rows = table.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
        let mut told: Vec<String> = Vec::new();
        for row in rows {
            let cell = row.split('|').nth(1).unwrap_or_default();
            // Every other piece stands between backticks.
            let written = cell.split('`').skip(1).step_by(2);
            let names: Vec<_> = written.map(|name| name.strip_suffix(".*").unwrap_or(name)).collect();
            let section = names[0];
            // What is excepted is written without its section.
            told.extend(names.into_iter().map(|name| {
                let full = format!("{section}.{name}");
                if BUT.contains(&full.as_str()) { full } else { name.to_owned() }
            }));
        }
        let of_listeners = OF_LISTENERS.map(|name| format!("listeners.*.{name}"));
        let mut known: Vec<String> = AT_ONCE.iter().chain(&BUT).map(|name| (*name).to_owned()).collect();
        known.extend(of_listeners);
        told.sort();
        known.sort();
        assert_eq!(told, known);
    }
}
