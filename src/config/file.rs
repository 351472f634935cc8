//! A TOML text as values with their line numbers.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::layers::{Dict, Value};

/// What a TOML text says, and where.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The values.
    pub values: Dict,
    /// The line, from 1, on which each dotted key stands first.
    pub lines: BTreeMap<String, usize>,
    /// What is no TOML: line and message. The values are then incomplete.
    pub faults: Vec<(usize, String)>,
}

/// Parses a TOML text as far as possible.
pub fn parse(text: &str) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut parsed = Parsed::default();
    for error in errors {
        let line = line_at(text, error.span().map_or(0, |span| span.start));
        parsed.faults.push((line, error.message().to_owned()));
    }
    parsed.values = convert(text, "", table.get_ref(), &mut parsed.lines);
    parsed
}

/// The key made of a table's key and a name in it.
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn convert(text: &str, parent: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) -> Dict {
    let mut dict = Dict::new();
    for (name, value) in table {
        let key = join(parent, name.get_ref());
        lines.entry(key.clone()).or_insert_with(|| line_at(text, name.span().start));
        dict.insert(name.get_ref().to_string(), convert_value(text, &key, value, lines));
    }
    dict
}

fn convert_value(text: &str, key: &str, value: &Spanned<DeValue<'_>>, lines: &mut BTreeMap<String, usize>) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::from(string.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        // A number beyond 64 bits stays text and then fits no setting.
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::from(integer.as_str()), Value::from),
        DeValue::Float(float) => {
            float.as_str().parse::<f64>().map_or_else(|_| Value::from(float.as_str()), Value::from)
        }
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Array(items) => {
            Value::from(items.iter().map(|item| convert_value(text, key, item, lines)).collect::<Vec<_>>())
        }
        DeValue::Table(table) => Value::from(convert(text, key, table, lines)),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lines() {
        let parsed = parse("# top\na.b = 1\n\n[c]\nd = \"x\"\ne = [\n  1,\n  2,\n]\n[c.f]\ng = -0x10\nh = 2.5\n");
        let lines: Vec<_> = parsed.lines.iter().map(|(key, line)| (key.as_str(), *line)).collect();
        assert_eq!(
            lines,
            [("a", 2), ("a.b", 2), ("c", 4), ("c.d", 5), ("c.e", 6), ("c.f", 10), ("c.f.g", 11), ("c.f.h", 12)]
        );
        assert_eq!(parsed.values["c"].find_ref("d").and_then(Value::as_str), Some("x"));
        assert_eq!(parsed.values["c"].find_ref("f.h"), Some(&Value::from(2.5)));
    }

    #[test]
    fn all_faults_are_told() {
        let parsed = parse("a = 1\nb = \nc = 2\na = 3\n");
        let lines: Vec<_> = parsed.faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4], "{:?}", parsed.faults);
        assert!(parsed.values.contains_key("c"));
    }
}
