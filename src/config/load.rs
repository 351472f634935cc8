use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    Bind, Config, ListenerKind, Security,
    check::check,
    file,
    layers::{self, Dict, Layers, Value},
    problem::{Cause, Origin, Problem, Problems},
    run_time,
    schema::{self, Key, Shape},
    validate,
    value::SHOWN,
};

const PREFIX: &str = "THINGWAY_";

/// Files that are read when none is named, the first that is there.
pub const USUAL_FILES: [&str; 2] = ["thingway.toml", "/etc/thingway/thingway.toml"];

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file. `None`: there is none.
    pub file: Option<PathBuf>,
    /// The environment. `THINGWAY_MQTT__MAX_QOS` sets `mqtt.max_qos`; variables without `__` are no settings.
    pub environment: Vec<(String, String)>,
    /// `key=value` from the command line, the later ones beating the earlier.
    pub assignments: Vec<String>,
}

/// A configuration that is good, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// Without what listeners inherit.
    layers: Layers,
    lines: Lines,
}

/// On which lines keys stand.
#[derive(Clone, Debug, Default)]
struct Lines {
    file: BTreeMap<String, usize>,
    run_time: BTreeMap<String, usize>,
}

/// What is read.
#[derive(Clone)]
struct Texts<'a> {
    /// The values below all layers.
    base: Dict,
    file: (&'a Path, &'a str),
    run_time: Option<(&'a Path, &'a str)>,
    environment: &'a [(String, String)],
    assignments: &'a [String],
}

impl<'a> Texts<'a> {
    /// A file alone, over the built-in defaults.
    fn of_file(path: &'a Path, text: &'a str) -> Self {
        Self { base: defaults(), file: (path, text), run_time: None, environment: &[], assignments: &[] }
    }
}

impl Sources {
    /// The file at `path`, or the first of [`USUAL_FILES`] that is there; this process's environment; and assignments.
    pub fn of_process(path: Option<PathBuf>, assignments: Vec<String>) -> Self {
        let usual = || USUAL_FILES.iter().map(PathBuf::from).find(|path| path.exists());
        Self {
            file: path.or_else(usual),
            // Names and values that are not UTF-8 cannot be settings.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            assignments,
        }
    }
}

impl Config {
    /// Reads and checks the configuration. Errors: everything that is wrong with it, in the order of the layers.
    pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
        Self::load_with(sources, None)
    }

    /// The same with another text for what was changed at run time.
    pub(super) fn load_with(sources: &Sources, run_time: Option<&str>) -> Result<Loaded, Problems> {
        let mut problems = Vec::new();
        let text = match &sources.file {
            None => String::new(),
            Some(path) => fs::read_to_string(path).unwrap_or_else(|error| {
                let origin = Origin::File { path: path.clone(), line: 0 };
                problems.push(Problem { origin, key: String::new(), cause: Cause::FileUnreadable(error.kind()) });
                String::new()
            }),
        };
        let path = sources.file.clone().unwrap_or_default();
        let text = Texts {
            base: defaults(),
            file: (&path, &text),
            run_time: None,
            environment: &sources.environment,
            assignments: &sources.assignments,
        };
        let loaded = over_run_time(&text, run_time, problems)?;
        Ok(Loaded { file: sources.file.clone(), ..loaded })
    }

    /// A configuration that is there already, with what was changed at run time over it.
    pub(super) fn load_over(config: &Self, run_time: Option<&str>) -> Result<Loaded, Problems> {
        let text = Texts { base: layers::tree(config), ..Texts::of_file(Path::new(""), "") };
        over_run_time(&text, run_time, Vec::new())
    }

    /// The settings that a TOML text makes, over the defaults. For tests and for programs that embed the gateway.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        load(&Texts::of_file(Path::new("configuration"), text), Vec::new()).map(|loaded| loaded.config)
    }
}

impl Loaded {
    /// Who set a key: for a value that a listener inherits, who set it in the section that it inherits from.
    pub fn origin(&self, key: &str) -> Origin {
        match origin_of(&self.layers, &self.lines, key) {
            Origin::Default => inherited_from(key).map_or(Origin::Default, |key| self.origin(&key)),
            origin => origin,
        }
    }

    /// True when a listener has this value from the general section.
    pub fn is_inherited(&self, key: &str) -> bool {
        inherited_from(key).is_some() && origin_of(&self.layers, &self.lines, key) == Origin::Default
    }

    /// The value of a key or table as it counts.
    pub fn value(&self, key: &str) -> Option<Value> {
        layers::value_at(&layers::tree(&self.config), key)
    }
}

/// The variable of the environment that sets a key.
pub fn name_of_variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The key whose value counts where a listener's own table is silent: `mqtt.max_qos` for `listeners.tcp.default.mqtt.max_qos`.
pub fn inherited_from(key: &str) -> Option<String> {
    let mut parts = key.splitn(5, '.');
    match (parts.next(), parts.nth(2), parts.next()) {
        (Some("listeners"), Some("mqtt"), Some(rest)) => Some(format!("mqtt.{rest}")),
        _ => None,
    }
}

/// With what was changed at run time, which lies where the other layers say that the gateway keeps its things.
fn over_run_time(texts: &Texts<'_>, run_time: Option<&str>, problems: Vec<Problem>) -> Result<Loaded, Problems> {
    let loaded = load(texts, problems)?;
    let path = run_time::path_in(&loaded.config.gateway.data_dir);
    let read;
    let text = match run_time {
        Some(text) => text,
        None => match fs::read_to_string(&path) {
            Ok(text) => {
                read = text;
                &read
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
            Err(error) => {
                let origin = Origin::RunTime { path, line: 0 };
                let cause = Cause::FileUnreadable(error.kind());
                return Err(Problems(vec![Problem { origin, key: String::new(), cause }]));
            }
        },
    };
    load(&Texts { run_time: Some((&path, text)), ..texts.clone() }, Vec::new())
}

/// One more layer, of a text in TOML.
fn push_toml(
    layers: Layers,
    keys: &[Key],
    text: &str,
    at: &dyn Fn(usize) -> Origin,
    problems: &mut Vec<Problem>,
) -> (Layers, BTreeMap<String, usize>) {
    let parsed = file::parse(text);
    for (line, message) in parsed.faults {
        problems.push(Problem { origin: at(line), key: String::new(), cause: Cause::Syntax(message) });
    }
    let lines = parsed.lines;
    let origin = |key: &str| at(lines.get(key).copied().unwrap_or(0));
    let values = check(keys, parsed.values, "", &origin, problems);
    (layers.push(at(0), values), lines)
}

fn load(texts: &Texts<'_>, mut problems: Vec<Problem>) -> Result<Loaded, Problems> {
    let Texts { base, file: (path, text), run_time, environment, assignments } = texts;
    let keys = Config::keys();
    let in_file = |line: usize| Origin::File { path: path.to_path_buf(), line };
    let (mut layers, file) = push_toml(Layers::new(base.clone()), &keys, text, &in_file, &mut problems);
    let mut lines = Lines { file, ..Lines::default() };
    if let Some((path, text)) = run_time {
        let at = |line: usize| Origin::RunTime { path: path.to_path_buf(), line };
        (layers, lines.run_time) = push_toml(layers, &keys, text, &at, &mut problems);
    }

    for (variable, text) in *environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Environment(variable.clone());
        if !name.contains("__") {
            // Others put variables of this form there too, as Kubernetes does for a service named "thingway".
            if let Some(key) = leaf_with_flat_name(&keys, &name.to_ascii_lowercase()) {
                let variable = name_of_variable(&key);
                problems.push(Problem { origin, key, cause: Cause::SingleUnderscore { variable } });
            }
            continue;
        }
        let key = name.to_ascii_lowercase().replace("__", ".");
        layers = assign(layers, &keys, &key, text, origin, &mut problems);
    }
    for assignment in *assignments {
        let origin = Origin::CommandLine(shown(&keys, assignment));
        match assignment.split_once('=') {
            Some((key, text)) => layers = assign(layers, &keys, key.trim(), text.trim(), origin, &mut problems),
            None => problems.push(Problem { origin, key: String::new(), cause: Cause::NotAnAssignment }),
        }
    }

    match inherit(layers.clone()).extract::<Config>() {
        Ok(mut config) => {
            if config.gateway.security == Security::Hardened {
                keep_near(&mut config, &layers);
            }
            let origin = |key: &str| origin_of(&layers, &lines, key);
            validate::validate(&config, &layers, &origin, &mut problems);
            if problems.is_empty() { Ok(Loaded { config, file: None, layers, lines }) } else { Err(Problems(problems)) }
        }
        // Each value was tried on its own before, so this is not reached as long as a value does not change its meaning in company.
        Err(message) => {
            problems.push(Problem { origin: Origin::Default, key: String::new(), cause: Cause::Syntax(message) });
            Err(Problems(problems))
        }
    }
}

/// Listeners that were not told where to listen do so on the loopback address.
fn keep_near(config: &mut Config, layers: &Layers) {
    let dashboard = &mut config.dashboard;
    for (bind, key) in [(&mut dashboard.bind, "dashboard.bind"), (&mut dashboard.tls.bind, "dashboard.tls.bind")] {
        if let (Bind::Any(port), Origin::Default) = (&*bind, layers.origin(key)) {
            *bind = Bind::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
        }
    }
    for kind in ListenerKind::ALL {
        for (name, listener) in config.listeners.of_mut(*kind) {
            if let (Bind::Any(port), Origin::Default) =
                (&listener.bind, layers.origin(&format!("listeners.{kind}.{name}.bind")))
            {
                listener.bind = Bind::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
            }
        }
    }
}

/// The built-in defaults as a tree. What listeners inherit is left out, or it would beat what they inherit it from.
fn defaults() -> Dict {
    let mut tree = layers::tree(&Config::default());
    if let Some(Value::Dict(_, kinds)) = tree.get_mut("listeners") {
        for listeners in kinds.values_mut() {
            let Value::Dict(_, listeners) = listeners else { continue };
            for listener in listeners.values_mut() {
                if let Value::Dict(_, listener) = listener {
                    listener.remove("mqtt");
                }
            }
        }
    }
    tree
}

/// Gives each listener the general values where it has none of its own.
fn inherit(layers: Layers) -> Layers {
    let (Some(general), Some(Value::Dict(_, kinds))) = (layers.value("mqtt"), layers.value("listeners")) else {
        return layers;
    };
    let mut filled = Dict::new();
    for (kind, listeners) in kinds {
        let Value::Dict(_, listeners) = listeners else { continue };
        let listeners: Dict = listeners
            .into_keys()
            .map(|name| (name, Value::from(Dict::from([("mqtt".to_owned(), general.clone())]))))
            .collect();
        filled.insert(kind, Value::from(listeners));
    }
    layers.push_below(Dict::from([("listeners".to_owned(), Value::from(filled))]))
}

/// An assignment as it may be shown.
fn shown(keys: &[Key], assignment: &str) -> String {
    match assignment.split_once('=') {
        Some((key, _)) if schema::find(keys, key.trim()).is_some_and(Key::is_secret) => format!("{key}={SHOWN}"),
        // One that is not found may have been meant to be one.
        Some((key, _)) if schema::find(keys, key.trim()).is_none() => format!("{key}=..."),
        _ => assignment.into(),
    }
}

fn assign(layers: Layers, keys: &[Key], key: &str, text: &str, origin: Origin, problems: &mut Vec<Problem>) -> Layers {
    let value = match schema::find(keys, key) {
        Some(Key { shape: Shape::Leaf { fits, .. }, .. }) => typed(text, *fits),
        _ => Value::from(text),
    };
    let nested = key.rsplit('.').fold(value, |value, name| Value::from(Dict::from([(name.to_owned(), value)])));
    let values = check(keys, nested.into_dict().unwrap_or_default(), "", &|_| origin.clone(), problems);
    layers.push(origin, values)
}

/// A text without quotation marks as the value that the setting wants: as TOML reads it, or else as a string.
fn typed(text: &str, fits: fn(&Value) -> bool) -> Value {
    let parsed = file::parse(&format!("value = {text}"));
    match parsed.values.get("value") {
        Some(value) if parsed.faults.is_empty() && parsed.values.len() == 1 && fits(value) => value.clone(),
        _ => {
            let string = Value::from(text);
            match parsed.values.get("value") {
                // For the sake of the error message: `max_qos=3` is a number, if a wrong one.
                Some(value) if parsed.faults.is_empty() && !fits(&string) => value.clone(),
                _ => string,
            }
        }
    }
}

fn origin_of(layers: &Layers, lines: &Lines, key: &str) -> Origin {
    let line = |lines: &BTreeMap<String, usize>| lines.get(key).copied().unwrap_or(0);
    match layers.origin(key) {
        Origin::File { path, .. } => Origin::File { path, line: line(&lines.file) },
        Origin::RunTime { path, .. } => Origin::RunTime { path, line: line(&lines.run_time) },
        origin => origin,
    }
}

fn leaf_with_flat_name(keys: &[Key], flat: &str) -> Option<String> {
    keys.iter().find_map(|key| {
        let rest = flat.strip_prefix(key.name)?;
        match &key.shape {
            Shape::Leaf { .. } => rest.is_empty().then(|| key.name.to_owned()),
            Shape::Section(keys) | Shape::Overrides(_, keys) => {
                leaf_with_flat_name(keys, rest.strip_prefix('_')?).map(|rest| file::join(key.name, &rest))
            }
            Shape::Named(keys, _) => {
                let (name, rest) = rest.strip_prefix('_')?.split_once('_')?;
                leaf_with_flat_name(keys, rest).map(|rest| format!("{}.{name}.{rest}", key.name))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bind, DropOrder, Period};

    fn problems(text: &str) -> String {
        Config::from_toml(text).expect_err("is wrong").to_string()
    }

    fn layered(text: &str, environment: &[(&str, &str)], assignments: &[&str]) -> Result<Loaded, Problems> {
        let environment: Vec<_> = environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let assignments: Vec<_> = assignments.iter().map(|text| (*text).to_owned()).collect();
        let texts =
            Texts { environment: &environment, assignments: &assignments, ..Texts::of_file(Path::new("t.toml"), text) };
        load(&texts, Vec::new())
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(Config::from_toml(""), Ok(Config::default()));
    }

    #[test]
    fn later_layers_beat_earlier_ones() {
        let file = "[mqtt]\nmax_qos = 1\nreceive_maximum = 7\nsubscriptions_max = 5\n";
        let environment = [
            ("THINGWAY_MQTT__MAX_QOS", "0"),
            ("THINGWAY_MQTT__RECEIVE_MAXIMUM", "8"),
            ("PATH", "/bin"),
            ("THINGWAY_PORT", "x"),
        ];
        let loaded = layered(file, &environment, &["mqtt.max_qos=2", "queue.drop = newest"]).expect("good");
        let config = &loaded.config;
        assert_eq!((config.mqtt.max_qos, config.mqtt.receive_maximum, config.queue.drop), (2, 8, DropOrder::Newest));
        let line = |line| Origin::File { path: "t.toml".into(), line };
        assert_eq!(loaded.origin("mqtt.max_qos"), Origin::CommandLine("mqtt.max_qos=2".into()));
        assert_eq!(loaded.origin("mqtt.receive_maximum"), Origin::Environment("THINGWAY_MQTT__RECEIVE_MAXIMUM".into()));
        assert_eq!(loaded.origin("mqtt.subscriptions_max"), line(4));
        assert_eq!(loaded.origin("mqtt.upgrade_qos"), Origin::Default);
        assert_eq!(loaded.origin("listeners.tcp.default.mqtt.subscriptions_max"), line(4));
    }

    #[test]
    fn texts_of_the_environment_become_what_the_setting_wants() {
        let environment = [
            ("THINGWAY_LISTENERS__TCP__DEFAULT__BIND", "[::]:0"),
            ("THINGWAY_LISTENERS__WS__DEFAULT__BIND", "0"),
            ("THINGWAY_LISTENERS__TCP__DEFAULT__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("THINGWAY_GATEWAY__NAME", "123"),
            ("THINGWAY_GATEWAY__DATA_DIR", "/var/lib/thingway"),
            ("THINGWAY_RETAINED__EXPIRY", "infinity"),
            ("THINGWAY_MQTT__KEEP_ALIVE_MULTIPLIER", "2"),
        ];
        let config = layered("", &environment, &["mqtt.session_expiry_max=1h30m"]).expect("good").config;
        assert_eq!(config.listeners.tcp["default"].bind, Bind::Address("[::]:0".parse().expect("an address")));
        assert_eq!(config.listeners.ws["default"].bind, Bind::Any(0));
        assert_eq!(config.listeners.tcp["default"].trusted_proxies.len(), 1);
        assert_eq!(config.gateway.name, "123");
        assert_eq!(config.mqtt.session_expiry_max.finite(), Some(Period::from_secs(5400)));
        assert!((config.mqtt.keep_alive_multiplier - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn all_problems_are_told_with_their_places() {
        let text = problems(
            "[mqtt]\nmax_qos = 3\nmax_pakcet_size = \"1MiB\"\nmax_packet_size = \"1 potato\"\n\n[listener]\n[listeners.tcp.default]\nbind = 99999\n\
             [queue]\ndrop = \"none\"\nmax_qos = 1\nmessages_max = 0\n[listeners.vsock.x]\n[gateway]\ncores = \"many\"\nname = \"a b\"\n",
        );
        let expected = "\
configuration:15: gateway.cores: found \"many\", expected a whole number from 0 to 65535
configuration:6: listener: unknown key, did you mean listeners?
configuration:8: listeners.tcp.default.bind: found 99999, expected where to listen, such as \":1883\", \"0.0.0.0:1883\", \"[::]:1883\" or \"/run/thingway.sock\"
configuration:13: listeners.vsock: unknown key, expected one of tcp, tls, ws, wss, quic, udp, unix
configuration:4: mqtt.max_packet_size: found \"1 potato\", expected a number of bytes such as \"64KiB\" or \"1MiB\"
configuration:3: mqtt.max_pakcet_size: unknown key, did you mean mqtt.max_packet_size?
configuration:2: mqtt.max_qos: found 3, expected a whole number from 0 to 2
configuration:10: queue.drop: found \"none\", expected \"oldest\" or \"newest\"
configuration:11: queue.max_qos: unknown key, did you mean mqtt.max_qos?
configuration:12: queue.messages_max: found 0, expected a whole number from 1 to 10000000
configuration:16: gateway.name: found \"a b\", expected 1 to 64 letters, digits, - _ . and @";
        assert_eq!(text, expected);
    }

    #[test]
    fn hardened_listeners_stay_near_unless_told_otherwise() {
        let text = "gateway.security = \"hardened\"\n[listeners.tcp.default]\nbind = 1883\n[listeners.tcp.other]\nbind = \":7\"\n";
        let config = Config::from_toml(text).expect("good");
        assert_eq!(config.listeners.tcp["default"].bind, Bind::Any(1883));
        assert_eq!(config.listeners.tcp["other"].bind, Bind::Any(7));
        assert_eq!(config.listeners.tls["default"].bind.to_string(), "127.0.0.1:8883");
        assert_eq!(config.listeners.udp["coap"].bind.to_string(), "127.0.0.1:5683");
        assert!(Config::from_toml("").expect("good").listeners.tls["default"].bind == Bind::Any(8883));
    }

    #[test]
    fn bad_toml_is_told_with_its_line() {
        let text = problems("[mqtt]\nmax_qos = = 1\n");
        assert!(text.starts_with("configuration:2: no TOML: "), "{text}");
    }

    #[test]
    fn environment_and_command_line_are_named() {
        let environment =
            [("THINGWAY_MQTT__MAX_QOS", "three"), ("THINGWAY_MQTT_MAX_QOS", "1"), ("THINGWAY_MQTT__NAME", "x")];
        let problems = layered("", &environment, &["log.level", "mqtt.max_qos=9"]).expect_err("is wrong").to_string();
        let expected = "\
environment variable THINGWAY_MQTT__MAX_QOS: mqtt.max_qos: found \"three\", expected a whole number from 0 to 2
environment variable THINGWAY_MQTT_MAX_QOS: mqtt.max_qos: two underscores stand between the parts, did you mean THINGWAY_MQTT__MAX_QOS?
environment variable THINGWAY_MQTT__NAME: mqtt.name: unknown key, did you mean gateway.name?
command line --set log.level: expected key=value
command line --set mqtt.max_qos=9: mqtt.max_qos: found 9, expected a whole number from 0 to 2";
        assert_eq!(problems, expected);
    }

    #[test]
    fn listeners_inherit_and_override() {
        let config = Config::from_toml(
            "[mqtt]\nmax_qos = 1\nretain_available = false\n[listeners.tcp.other]\nbind = \":0\"\n[listeners.tcp.other.mqtt]\nmax_qos = 0\n",
        )
        .expect("good");
        let other = &config.listeners.tcp["other"].mqtt;
        assert_eq!((other.max_qos, other.retain_available), (0, false));
        assert_eq!(config.listeners.tcp["default"].mqtt.max_qos, 1);
        assert_eq!(config.listeners.iter().count(), 9);
    }

    #[test]
    fn a_named_file_must_be_there() {
        let sources = Sources { file: Some("/nonexistent/thingway.toml".into()), ..Sources::default() };
        let problems = Config::load(&sources).expect_err("is wrong");
        assert_eq!(problems.0[0].cause, Cause::FileUnreadable(std::io::ErrorKind::NotFound));
        assert_eq!(problems.to_string(), "/nonexistent/thingway.toml: cannot be read: entity not found");
    }
}
