//! `config/thingway.toml`: every key with its default, commented, written from what the settings say about themselves.

use super::{
    Config, ListenerKind,
    check::spell,
    layers::{self, Dict},
    schema::{Key, Shape},
};

const WIDTH: usize = 118;

const PREFACE: &str = "\
# Every setting of Thingway with its default. The gateway needs no file: uncomment what shall be different.
#
# Each layer beats the one before: built-in defaults, this file, changes at run time, the environment, the command line.
# The file is what --config names, or else ./thingway.toml, or else /etc/thingway/thingway.toml.
# In the environment, mqtt.max_qos is THINGWAY_MQTT__MAX_QOS; on the command line, --set mqtt.max_qos=1.
# `thingway check` tells what is wrong with a configuration, `thingway explain mqtt.max_qos` which layer set a value.
#
# Times are written \"500ms\", \"15s\", \"1m\", \"2h\", \"7d\"; sizes \"64KiB\", \"1MiB\" (1024) or \"1MB\" (1000); rates \"100/s\", \"64KiB/s\".
# This file is written by `thingway config`; a test compares it with the program.
";

/// The text of the file.
pub fn document() -> String {
    let defaults = layers::tree(&Config::default());
    let mut text = PREFACE.to_owned();
    for section in Config::keys() {
        let values = layers::value_at(&defaults, section.name).and_then(layers::Value::into_dict).unwrap_or_default();
        text += "\n";
        comment(&section, &mut text);
        match &section.shape {
            Shape::Section(keys) if section.name == "listeners" => listeners(keys, &values, &mut text),
            Shape::Section(keys) => table(section.name, keys, &values, &mut text),
            _ => {}
        }
    }
    text
}

/// Breaks a text into lines of at most `width` characters where words allow.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn table(path: &str, keys: &[Key], values: &Dict, text: &mut String) {
    *text += &format!("[{path}]\n");
    leaves(keys, values, text);
    for key in keys {
        if let (Shape::Section(keys), Some(layers::Value::Dict(_, values))) = (&key.shape, values.get(key.name)) {
            *text += "\n";
            comment(key, text);
            table(&format!("{path}.{}", key.name), keys, values, text);
        }
        if let Shape::Named(keys, defaults) = &key.shape {
            *text += "\n";
            comment(key, text);
            *text += "# One of them has these keys, and any name in the place of \"main\":\n";
            template(&format!("{path}.{}.main", key.name), keys, &defaults(), text);
        }
    }
}

/// A table that is not there unless somebody writes it: nothing of it is a line that could be uncommented by itself.
fn template(path: &str, keys: &[Key], values: &Dict, text: &mut String) {
    *text += &format!("#   [{path}]\n");
    for key in keys {
        if let (Shape::Leaf { .. }, Some(value)) = (&key.shape, values.get(key.name)) {
            comment(key, text);
            *text += &format!("#   {} = {}\n", key.name, spell(value));
        }
    }
    for key in keys {
        if let (Shape::Section(keys), Some(layers::Value::Dict(_, values))) = (&key.shape, values.get(key.name)) {
            comment(key, text);
            template(&format!("{path}.{}", key.name), keys, values, text);
        }
    }
}

fn leaves(keys: &[Key], values: &Dict, text: &mut String) {
    for key in keys {
        if let (Shape::Leaf { .. }, Some(value)) = (&key.shape, values.get(key.name)) {
            comment(key, text);
            *text += &format!("#{} = {}\n", key.name, spell(value));
        }
    }
}

/// All keys for the first kind of listener that has them, and for the others only what differs.
fn listeners(kinds: &[Key], values: &Dict, text: &mut String) {
    let mut documented: Vec<&str> = Vec::new();
    for (kind, key) in ListenerKind::ALL.iter().zip(kinds) {
        let (Shape::Named(keys, _), Some(layers::Value::Dict(_, listeners))) = (&key.shape, values.get(kind.as_str()))
        else {
            continue;
        };
        *text += "\n";
        comment(key, text);
        for (index, (name, values)) in listeners.iter().enumerate() {
            let layers::Value::Dict(_, values) = values else { continue };
            if index > 0 {
                *text += "\n";
            }
            listener(*kind, &format!("listeners.{kind}.{name}"), keys, values, &mut documented, text);
        }
    }
}

fn listener(
    kind: ListenerKind,
    path: &str,
    keys: &[Key],
    values: &Dict,
    documented: &mut Vec<&str>,
    text: &mut String,
) {
    *text += &format!("[{path}]\n");
    if kind == ListenerKind::Tcp {
        leaves(keys, values, text);
    } else {
        let names: &[&str] =
            if kind == ListenerKind::Udp { &["enable", "bind", "protocol"] } else { &["enable", "bind"] };
        for name in names {
            *text += &format!("#{name} = {}\n", values.get(*name).map(spell).unwrap_or_default());
        }
        *text += "# All keys of listeners.tcp.default that are not in a table are for this kind, too.\n";
    }
    for key in keys {
        let has = kind.has_table(key.name) && !documented.contains(&key.name);
        let path = format!("{path}.{}", key.name);
        match (&key.shape, values.get(key.name)) {
            (Shape::Section(keys), Some(layers::Value::Dict(_, values))) if has => {
                documented.push(key.name);
                *text += "\n";
                comment(key, text);
                table(&path, keys, values, text);
            }
            (Shape::Overrides(general, keys), _) if has => {
                documented.push(key.name);
                *text += "\n";
                comment(key, text);
                let but = general_only(general, keys).join("` and `");
                *text += &format!("# Each key of the section `{general}` may stand here, but for `{but}`.\n[{path}]\n");
            }
            _ => {}
        }
    }
}

/// Names in a section that its overrides do not have.
fn general_only(section: &str, overrides: &[Key]) -> Vec<&'static str> {
    let sections = Config::keys();
    let general = sections.iter().find(|key| key.name == section).map(|key| &key.shape);
    let Some(Shape::Section(keys)) = general else { return Vec::new() };
    keys.iter().map(|key| key.name).filter(|name| overrides.iter().all(|key| key.name != *name)).collect()
}

fn comment(key: &Key, text: &mut String) {
    for line in wrap(&key.doc.concat(), WIDTH) {
        *text += &format!("# {line}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../config/thingway.toml");

    #[test]
    fn the_file_is_what_the_program_says() {
        assert!(FILE == document(), "write it anew: cargo run -- config > config/thingway.toml");
    }

    #[test]
    fn the_file_changes_nothing() {
        assert_eq!(Config::from_toml(FILE), Ok(Config::default()));
    }

    #[test]
    fn its_values_are_the_defaults() {
        let uncommented: String = FILE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert_eq!(Config::from_toml(&uncommented), Ok(Config::default()));
    }

    #[test]
    fn every_key_is_in_it() {
        fn names(keys: &[Key], into: &mut Vec<&'static str>) {
            for key in keys {
                match &key.shape {
                    Shape::Leaf { .. } => into.push(key.name),
                    Shape::Section(keys) | Shape::Named(keys, _) => names(keys, into),
                    Shape::Overrides(..) => {}
                }
            }
        }
        let mut all = Vec::new();
        names(&Config::keys(), &mut all);
        let is_there = |name: &str| ["#", "#   "].iter().any(|sign| FILE.contains(&format!("\n{sign}{name} = ")));
        let missing: Vec<_> = all.iter().filter(|name| !is_there(name)).collect();
        assert_eq!(missing, Vec::<&&str>::new());
    }

    #[test]
    fn wraps_at_words() {
        assert_eq!(wrap("  one two  three ", 7), ["one two", "three"]);
        assert_eq!(wrap("overlong-word x", 4), ["overlong-word", "x"]);
    }
}
