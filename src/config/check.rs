//! Compares what operators wrote with what the settings are, key by key, so that everything that is wrong is told at once.

use super::{
    file::join,
    layers::{Dict, Value},
    problem::{Cause, Origin, Problem},
    schema::{Key, Shape},
};

/// Keeps of `values` what fits `keys` and tells what does not.
pub fn check(
    keys: &[Key],
    values: Dict,
    parent: &str,
    origin: &dyn Fn(&str) -> Origin,
    problems: &mut Vec<Problem>,
) -> Dict {
    let mut kept = Dict::new();
    for (name, value) in values {
        let path = join(parent, &name);
        let mut tell = |cause| problems.push(Problem { origin: origin(&path), key: path.clone(), cause });
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            let known = keys.iter().map(|key| key.name).collect();
            tell(Cause::UnknownKey { suggestion: suggestion(keys, parent, &name), known });
            continue;
        };
        match (&key.shape, value) {
            (Shape::Leaf { fits, .. }, value) => {
                if fits(&value) && in_range(key, &value) {
                    kept.insert(name, value);
                } else {
                    tell(Cause::BadValue { found: key.show(&value), expected: key.expected() });
                }
            }
            (Shape::Section(keys) | Shape::Overrides(_, keys), Value::Dict(_, values)) => {
                kept.insert(name, Value::from(check(keys, values, &path, origin, problems)));
            }
            (Shape::Named(keys, _), Value::Dict(_, tables)) => {
                kept.insert(name, Value::from(check_named(keys, tables, &path, origin, problems)));
            }
            (_, value) => tell(Cause::BadValue { found: spell(&value), expected: "a table".into() }),
        }
    }
    kept
}

fn check_named(
    keys: &[Key],
    tables: Dict,
    parent: &str,
    origin: &dyn Fn(&str) -> Origin,
    problems: &mut Vec<Problem>,
) -> Dict {
    let mut kept = Dict::new();
    for (name, table) in tables {
        let path = join(parent, &name);
        let mut tell = |found: String, expected: &str| {
            let cause = Cause::BadValue { found, expected: expected.into() };
            problems.push(Problem { origin: origin(&path), key: path.clone(), cause });
        };
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            tell(format!("the name {name:?}"), "1 to 64 letters, digits, - and _");
            continue;
        }
        match table {
            Value::Dict(_, values) => {
                kept.insert(name, Value::from(check(keys, values, &path, origin, problems)));
            }
            value => tell(spell(&value), "a table"),
        }
    }
    kept
}

fn in_range(key: &Key, value: &Value) -> bool {
    let number = value.to_num().and_then(|number| {
        number.to_f64().or_else(|| number.to_i128().map(|n| n as f64)).or_else(|| number.to_u128().map(|n| n as f64))
    });
    match (&key.range, number) {
        (Some(range), Some(number)) => range.contains(&number),
        _ => true,
    }
}

/// A value as an operator would write it.
pub fn spell(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, char) => format!("{:?}", char.to_string()),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => {
            let whole = number.to_i128().map(|n| n.to_string()).or_else(|| number.to_u128().map(|n| n.to_string()));
            whole.unwrap_or_else(|| format!("{:?}", number.to_f64().unwrap_or(f64::NAN)))
        }
        Value::Empty(..) => "nothing".into(),
        Value::Dict(_, dict) if dict.is_empty() => "{}".into(),
        Value::Dict(_, dict) => {
            let entries: Vec<_> = dict.iter().map(|(name, value)| format!("{name} = {}", spell(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(_, items) => format!("[{}]", items.iter().map(spell).collect::<Vec<_>>().join(", ")),
    }
}

/// The key that was probably meant: one with a similar name beside it, or one of the same name elsewhere.
pub fn suggestion(siblings: &[Key], parent: &str, name: &str) -> Option<String> {
    let near = siblings
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len().min(name.len()) / 4);
    if let Some((_, known)) = near {
        return Some(join(parent, known));
    }
    let swapped = siblings.iter().find(|key| {
        let (mut one, mut two): (Vec<_>, Vec<_>) = (key.name.split('_').collect(), name.split('_').collect());
        one.sort_unstable();
        two.sort_unstable();
        one == two
    });
    if let Some(key) = swapped {
        return Some(join(parent, key.name));
    }
    elsewhere(&super::Config::keys(), "", name)
}

fn elsewhere(keys: &[Key], parent: &str, name: &str) -> Option<String> {
    keys.iter().find_map(|key| {
        let path = join(parent, key.name);
        match &key.shape {
            Shape::Leaf { .. } => (key.name == name).then_some(path),
            Shape::Section(keys) => elsewhere(keys, &path, name),
            Shape::Named(keys, _) => elsewhere(keys, &join(&path, "default"), name),
            Shape::Overrides(..) => None,
        }
    })
}
