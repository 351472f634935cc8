use super::{
    Config, Loaded, Origin,
    check::spell,
    document::wrap,
    layers,
    load::{self, inherited_from},
    schema::{self, Key, Shape},
};

/// What an operator wants to know about one key, or about all keys of a table, for people. `None`: there is no such key.
pub fn explain(loaded: &Loaded, key: &str) -> Option<String> {
    let keys = Config::keys();
    let described = schema::find(&keys, key)?;
    match &described.shape {
        Shape::Leaf { .. } => leaf(loaded, key, described),
        Shape::Section(inner) | Shape::Overrides(_, inner) => Some(table(loaded, key, described, inner)),
        Shape::Named(inner) => {
            if described.name == last(key) {
                let names = loaded.value(key).and_then(layers::Value::into_dict).unwrap_or_default();
                let mut text = format!("{}\n", title(key, described));
                for name in names.keys() {
                    text += &format!("  {key}.{name}\n");
                }
                Some(text)
            } else {
                loaded.value(key)?;
                Some(table(loaded, key, described, inner))
            }
        }
    }
}

fn leaf(loaded: &Loaded, key: &str, described: &Key) -> Option<String> {
    let value = loaded.value(key)?;
    let mut text = format!("{key} = {}\n", spell(&value));
    let origin = loaded.origin(key);
    text += &format!("  set by    {origin}\n");
    if let Some(general) = inherited_from(key).filter(|_| loaded.is_inherited(key)) {
        text += &format!("  inherits  {general}\n");
    }
    if let Some(default) = default(key) {
        text += &format!("  default   {default}\n");
    }
    text += &format!("  expected  {}\n", described.expected());
    text += &format!("  variable  {}\n", load::name_of_variable(key));
    text += "\n";
    for line in wrap(&described.doc.concat(), 100) {
        text += &format!("  {line}\n");
    }
    Some(text)
}

fn table(loaded: &Loaded, key: &str, described: &Key, inner: &[Key]) -> String {
    let mut text = format!("{}\n", title(key, described));
    for member in inner {
        let path = format!("{key}.{}", member.name);
        match &member.shape {
            Shape::Leaf { .. } => {
                let value = loaded.value(&path).map_or_else(String::new, |value| spell(&value));
                let origin = match loaded.origin(&path) {
                    Origin::Default => String::new(),
                    origin => format!("  # {origin}"),
                };
                text += &format!("  {path} = {value}{origin}\n");
            }
            _ => text += &format!("  {path}.*\n"),
        }
    }
    text
}

/// The default of a key, as an operator would write it. Keys of listeners have the one of their kind's first listener; where to listen has none for
/// listeners that are named anew.
fn default(key: &str) -> Option<String> {
    let defaults = layers::tree(&Config::default());
    if let Some(value) = layers::value_at(&defaults, key) {
        return Some(spell(&value));
    }
    let mut parts: Vec<_> = key.splitn(4, '.').collect();
    if parts.len() < 4 || parts[3] == "bind" {
        return None;
    }
    parts[2] = "default";
    layers::value_at(&defaults, &parts.join(".")).map(|value| spell(&value))
}

fn title(key: &str, described: &Key) -> String {
    format!("{key}: {}", described.doc.concat().trim())
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}
