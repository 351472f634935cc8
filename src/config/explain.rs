use super::{
    Config, Loaded, Origin,
    check::{spell, suggestion},
    document::wrap,
    file::join,
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
        Shape::Named(inner, _) => {
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
    let mut text = format!("{key} = {}\n", described.show(&value));
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
                let value = loaded.value(&path).map_or_else(String::new, |value| member.show(&value));
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
    let Some(layers::Value::Dict(_, of_kind)) = layers::value_at(&defaults, &parts[..2].join(".")) else { return None };
    let first = of_kind.into_keys().next()?;
    parts[2] = &first;
    layers::value_at(&defaults, &parts.join(".")).map(|value| spell(&value))
}

fn title(key: &str, described: &Key) -> String {
    format!("{key}: {}", described.doc.concat().trim())
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The key that was probably meant by one that does not exist.
pub fn similar_key(key: &str) -> Option<String> {
    let mut keys = Config::keys();
    let mut parent = String::new();
    let mut parts = key.split('.');
    while let Some(name) = parts.next() {
        let Some(found) = keys.iter().find(|key| key.name == name) else { return suggestion(&keys, &parent, name) };
        parent = join(&parent, name);
        keys = match &found.shape {
            Shape::Leaf { .. } => return Some(parent),
            Shape::Section(keys) | Shape::Overrides(_, keys) => keys.clone(),
            Shape::Named(keys, _) => {
                parent = join(&parent, parts.next().map(|_| "default")?);
                keys.clone()
            }
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn explained(assignments: &[&str], key: &str) -> Option<String> {
        let assignments = assignments.iter().map(|text| (*text).to_owned()).collect();
        let loaded = Config::load(&Sources { assignments, ..Sources::default() }).expect("good");
        explain(&loaded, key)
    }

    #[test]
    fn what_is_nobody_elses_business_is_not_told() {
        let set = ["access.jwt.a.secret=hidden", "access.http.a.headers={ a = \"hidden\" }"];
        for key in ["access.jwt.a", "access.jwt.a.secret", "access.http.a", "access.http.a.headers"] {
            let text = explained(&set, key).expect("a key");
            assert!(text.contains("***") && !text.contains("hidden"), "{text}");
        }
        let wrong =
            Sources { assignments: vec!["access.http.a.headers={ a = [\"hidden\"] }".into()], ..Sources::default() };
        let problems = Config::load(&wrong).expect_err("it is wrong").to_string();
        assert!(problems.contains("access.http.a.headers") && !problems.contains("hidden"), "{problems}");
    }

    #[test]
    fn a_key() {
        let text = explained(&["mqtt.max_qos=1"], "mqtt.max_qos").expect("a key");
        let expected = "\
mqtt.max_qos = 1
  set by    command line --set mqtt.max_qos=1
  default   2
  expected  a whole number from 0 to 2
  variable  THINGWAY_MQTT__MAX_QOS

  Highest quality of service for publications and subscriptions.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_inherited_key() {
        let text = explained(&["mqtt.max_qos=1"], "listeners.tcp.default.mqtt.max_qos").expect("a key");
        assert!(text.starts_with("listeners.tcp.default.mqtt.max_qos = 1\n  set by    command line"), "{text}");
        assert!(text.contains("  inherits  mqtt.max_qos\n"), "{text}");
    }

    #[test]
    fn tables() {
        let assignments = ["listeners.tcp.other.bind=:0"];
        let listeners = explained(&assignments, "listeners.tcp").expect("a table");
        assert!(listeners.contains("  listeners.tcp.default\n  listeners.tcp.other\n"), "{listeners}");
        let other = explained(&assignments, "listeners.tcp.other").expect("a table");
        assert!(other.contains("  listeners.tcp.other.bind = \":0\"  # command line --set"), "{other}");
        let mqtt = explained(&[], "mqtt").expect("a table");
        assert!(mqtt.contains("  mqtt.max_qos = 2\n"), "{mqtt}");
    }

    #[test]
    fn no_such_key() {
        for key in
            ["mqtt.max_qoss", "nothing", "listeners.tcp.absent", "listeners.tcp.absent.bind", "mqtt.max_qos.x", ""]
        {
            assert_eq!(explained(&[], key), None, "{key}");
        }
        assert_eq!(similar_key("mqtt.max_qoss").as_deref(), Some("mqtt.max_qos"));
        assert_eq!(similar_key("listeners.tcp.default.bnid").as_deref(), Some("listeners.tcp.default.bind"));
        assert_eq!(similar_key("max_qos").as_deref(), Some("mqtt.max_qos"));
    }
}
