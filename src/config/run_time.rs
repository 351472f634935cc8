//! What operators change while the gateway runs: one more layer, over the file and below the environment and the command line.
//!
//! It is a file of its own in the data directory, so that whoever looks at the configuration sees it whether the gateway runs or not, and so that the
//! environment and the command line are a way out when a change has locked everybody out.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use toml::{Table, Value as TomlValue};

use super::{
    Config, Loaded, Origin, Problems, Sources,
    in_effect::{self, copy, counts_at_once, is_below},
    layers::{self, Dict, Value},
    schema::{self, Key, Shape},
};

/// The file in `gateway.data_dir`.
pub const RUN_TIME_FILE: &str = "settings.toml";

/// What cannot be changed while the gateway runs: where it keeps things, this layer included, and what counts once only.
const FIXED: [&str; 4] = ["gateway.data_dir", "store", "dashboard.first_password", "dashboard.first_password_file"];

/// Why a change was not made. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// These settings cannot be changed so.
    #[error("{0}")]
    Refused(Problems),
    /// These cannot be changed at all, for this reason.
    #[error("{key}: {why}")]
    Fixed {
        /// The setting.
        key: String,
        /// Why.
        why: String,
    },
    /// What this one says cannot be.
    #[error("{}", with_key(key, why))]
    Wrong {
        /// The setting.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The gateway cannot do what they say.
    #[error("{0}")]
    NotDone(String),
    /// The file cannot be read or written.
    #[error("{path}: {kind}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        kind: io::ErrorKind,
    },
}

/// What is wrong, with its setting in front unless it is told already.
fn with_key(key: &str, why: &str) -> String {
    if why.starts_with(key) { why.to_owned() } else { format!("{key}: {why}") }
}

/// A setting, as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its dotted key.
    pub key: String,
    /// Its value; three asterisks for one that is not to be shown.
    pub value: serde_json::Value,
    /// Who set it.
    pub origin: Origin,
    /// Whether a change counts.
    pub settable: bool,
    /// The value counts from the next start on.
    pub pending: bool,
}

/// The settings of a running gateway.
#[derive(Debug)]
pub struct RunTime {
    base: Base,
    path: PathBuf,
    state: Mutex<State>,
    /// Held by whoever changes something, so that what was applied last is what is wanted.
    changing: Mutex<()>,
}

#[derive(Debug)]
enum Base {
    Sources(Sources),
    Embedded(Box<Config>),
}

struct State {
    /// As they will be at the next start.
    wanted: Arc<Loaded>,
    /// As they are in effect.
    effective: Dict,
}

impl State {
    /// Others are wanted; those that count at once do. Gives them as a tree.
    fn replace(&mut self, loaded: Arc<Loaded>) -> Dict {
        let after = layers::tree(&loaded.config);
        in_effect::take(&after, &mut self.effective, &loaded.config);
        self.wanted = loaded;
        after
    }
}

impl std::fmt::Debug for State {
    /// Shows nothing of it: passwords are among the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

/// Where the layer is, for a gateway that keeps its things there.
pub fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join(RUN_TIME_FILE)
}

impl RunTime {
    /// Of a gateway that was started with what these sources say.
    pub fn new(loaded: Loaded, sources: Sources) -> Self {
        Self::with(Base::Sources(sources), loaded)
    }

    /// Of a gateway that a program starts with this configuration, over which a layer that is there from before counts: [`RunTime::current`] has both.
    ///
    /// # Errors
    /// When the layer that is there cannot be read, or does not fit.
    pub fn embedded(config: &Config) -> Result<Self, Problems> {
        let base = Base::Embedded(Box::new(config.clone()));
        let loaded = base.load(None)?;
        Ok(Self::with(base, loaded))
    }

    fn with(base: Base, loaded: Loaded) -> Self {
        let path = path_in(&loaded.config.gateway.data_dir);
        let state = State { effective: layers::tree(&loaded.config), wanted: Arc::new(loaded) };
        Self { base, path, state: Mutex::new(state), changing: Mutex::new(()) }
    }

    /// The settings as they will be at the next start; those that can count at once do.
    pub fn current(&self) -> Arc<Loaded> {
        self.state.lock().wanted.clone()
    }

    /// Reads all layers again, as something else may have changed them. `apply` is asked to do what counts at once.
    ///
    /// # Errors
    /// What is wrong; then nothing has changed.
    pub fn read_again(&self, apply: impl FnOnce(&Config) -> Result<(), ChangeError>) -> Result<(), ChangeError> {
        let _changing = self.changing.lock();
        let loaded = Arc::new(self.base.load(None).map_err(ChangeError::Refused)?);
        apply(&loaded.config)?;
        self.state.lock().replace(loaded);
        Ok(())
    }

    /// The layer as it is kept; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&self) -> Result<String, ChangeError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(self.file_error(&error)),
        }
    }

    /// The layer as TOML for somebody else: without what is secret, whose keys are told in a comment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn export(&self) -> Result<String, ChangeError> {
        let mut table = self.table()?;
        let mut secrets = Vec::new();
        let tree = super::file::parse(&self.text()?).values;
        each_leaf(&Config::keys(), &tree, "", &mut |key, path, _| {
            if key.is_secret() {
                secrets.push(path.to_owned());
            }
        });
        secrets.iter().for_each(|key| take(&mut table, key));
        let mut text = match secrets.is_empty() {
            true => String::new(),
            false => format!("# Left out, since they are secret: {}\n", secrets.join(", ")),
        };
        text += &toml::to_string(&table).map_err(|error| ChangeError::NotDone(error.to_string()))?;
        Ok(text)
    }

    /// The layer as it is kept, secrets included: as much of it as is below these keys, or all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn part(&self, roots: Option<&[String]>) -> Result<String, ChangeError> {
        let mut table = self.table()?;
        if let Some(roots) = roots {
            table.retain(|name, _| roots.iter().any(|root| root == name));
        }
        toml::to_string(&table).map_err(|error| ChangeError::NotDone(error.to_string()))
    }

    fn table(&self) -> Result<Table, ChangeError> {
        toml::from_str(&self.text()?).map_err(|error| {
            ChangeError::NotDone(format!(
                "{} was changed by somebody else, and is no TOML: {error}",
                self.path.display()
            ))
        })
    }

    /// Changes values, or takes them away (`None`). All of them or none: `apply` is asked to do what counts at once, and told its keys, before anything is kept.
    /// Gives the keys that count at once, and those that do not yet.
    ///
    /// # Errors
    /// Why nothing is changed.
    pub fn change(
        &self,
        changes: &BTreeMap<String, Option<serde_json::Value>>,
        apply: impl Fn(&Config, &[String]) -> Result<(), ChangeError>,
    ) -> Result<(Vec<String>, Vec<String>), ChangeError> {
        let _changing = self.changing.lock();
        let keys = Config::keys();
        for key in changes.keys() {
            self.check_settable(&keys, key)?;
        }
        let mut table = self.table()?;
        for (key, value) in changes {
            match value.as_ref().map(toml_of) {
                Some(Some(value)) => put(&mut table, key, value),
                Some(None) => {
                    let why = "a list or table has a null in it".to_owned();
                    return Err(ChangeError::Fixed { key: key.clone(), why });
                }
                None => take(&mut table, key),
            }
        }
        let text = toml::to_string(&table).map_err(|error| ChangeError::NotDone(error.to_string()))?;
        let loaded = Arc::new(self.base.load(Some(&text)).map_err(ChangeError::Refused)?);
        let (now, later): (Vec<_>, Vec<_>) = changes.keys().cloned().partition(|key| counts_at_once(key));
        apply(&loaded.config, &now)?;
        if let Err(error) = self.write(&text) {
            if let Err(error) = apply(&self.current().config, &now) {
                tracing::error!(%error, "a change that could not be kept cannot be taken back before the next start");
            }
            return Err(self.file_error(&error));
        }
        let mut state = self.state.lock();
        let after = state.replace(loaded);
        let is_later = |key: &String| layers::value_at(&after, key) != layers::value_at(&state.effective, key);
        let later = later.into_iter().filter(is_later).collect();
        Ok((now, later))
    }

    /// What is told of a listener, as `listeners.tcp.default`, counts now: it was started.
    pub fn in_effect(&self, key: &str) {
        let mut state = self.state.lock();
        let tree = layers::tree(&state.wanted.config);
        copy(&tree, &mut state.effective, key);
    }

    /// Every setting.
    pub fn tell(&self) -> Vec<Told> {
        let state = self.state.lock();
        let tree = layers::tree(&state.wanted.config);
        let mut told = Vec::new();
        each_leaf(&Config::keys(), &tree, "", &mut |key, path, value| {
            let origin = state.wanted.origin(path);
            let settable = !is_below(path, &FIXED) && !is_above(&origin);
            let pending = layers::value_at(&state.effective, path).as_ref() != Some(value);
            told.push(Told { key: path.to_owned(), value: shown(key, value), origin, settable, pending });
        });
        told
    }

    fn check_settable(&self, keys: &[Key], key: &str) -> Result<(), ChangeError> {
        let fixed = |why: String| Err(ChangeError::Fixed { key: key.to_owned(), why });
        if is_below(key, &FIXED) {
            return fixed("it cannot be changed while the gateway runs".into());
        }
        match schema::find(keys, key) {
            Some(Key { shape: Shape::Leaf { .. }, .. }) => {}
            // A listener or authenticator as a whole can be made or taken away: its key has the name behind that of the table.
            Some(Key { shape: Shape::Named(..), .. }) if key.split('.').count() == 3 => {}
            Some(_) => return fixed("it is a table: change its keys".into()),
            None => return fixed("there is no such setting".into()),
        }
        match self.state.lock().wanted.origin(key) {
            origin if is_above(&origin) => {
                fixed(format!("it is set by the {origin}, which beats a change at run time"))
            }
            _ => Ok(()),
        }
    }

    fn file_error(&self, error: &io::Error) -> ChangeError {
        ChangeError::File { path: self.path.clone(), kind: error.kind() }
    }

    /// The old file or the new one is there at any time.
    fn write(&self, text: &str) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;

        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let new = self.path.with_extension("toml.new");
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        fs::File::open(directory)?.sync_all()
    }
}

impl Base {
    fn load(&self, run_time: Option<&str>) -> Result<Loaded, Problems> {
        match self {
            Self::Sources(sources) => Config::load_with(sources, run_time),
            Self::Embedded(config) => Config::load_over(config, run_time),
        }
    }
}

/// What a layer that was kept elsewhere sets, as changes of this one.
///
/// # Errors
/// When it is no TOML: in words, with line and column.
pub fn changes_of(layer: &str) -> Result<BTreeMap<String, Option<serde_json::Value>>, String> {
    let table: Table = toml::from_str(layer).map_err(|error| error.to_string())?;
    let (keys, mut changes) = (Config::keys(), BTreeMap::new());
    flatten(&keys, "", table, &mut changes)?;
    Ok(changes)
}

fn flatten(
    keys: &[Key],
    parent: &str,
    table: Table,
    into: &mut BTreeMap<String, Option<serde_json::Value>>,
) -> Result<(), String> {
    for (name, value) in table {
        let path = super::file::join(parent, &name);
        let is_leaf = schema::find(keys, &path).is_none_or(|key| matches!(key.shape, Shape::Leaf { .. }));
        match value {
            // An empty one makes a listener or an authenticator that has all its defaults.
            TomlValue::Table(inner) if !is_leaf && !inner.is_empty() => flatten(keys, &path, inner, into)?,
            value => {
                let value = serde_json::to_value(value).map_err(|error| format!("{path}: {error}"))?;
                into.insert(path, Some(value));
            }
        }
    }
    Ok(())
}

/// This layer is beaten.
fn is_above(origin: &Origin) -> bool {
    matches!(origin, Origin::Environment(_) | Origin::CommandLine(_))
}

fn each_leaf(keys: &[Key], tree: &Dict, parent: &str, see: &mut impl FnMut(&Key, &str, &Value)) {
    for key in keys {
        let path = super::file::join(parent, key.name);
        match (&key.shape, tree.get(key.name)) {
            (Shape::Leaf { .. }, Some(value)) => see(key, &path, value),
            (Shape::Section(keys) | Shape::Overrides(_, keys), Some(Value::Dict(_, tree))) => {
                each_leaf(keys, tree, &path, see);
            }
            (Shape::Named(keys, _), Some(Value::Dict(_, all))) => {
                for (name, of) in all {
                    let Value::Dict(_, tree) = of else { continue };
                    each_leaf(keys, tree, &format!("{path}.{name}"), see);
                }
            }
            _ => {}
        }
    }
}

fn shown(key: &Key, value: &Value) -> serde_json::Value {
    let is_empty = match value {
        Value::String(_, text) => text.is_empty(),
        Value::Dict(_, values) => values.is_empty(),
        _ => false,
    };
    match key.is_secret() && !is_empty {
        true => super::value::SHOWN.into(),
        false => serde_json::to_value(value).unwrap_or_default(),
    }
}

/// A value as TOML has it; `None` for what TOML has not.
fn toml_of(value: &serde_json::Value) -> Option<TomlValue> {
    Some(match value {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(flag) => (*flag).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => TomlValue::Array(items.iter().map(toml_of).collect::<Option<_>>()?),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some((name.clone(), toml_of(value)?)));
            TomlValue::Table(fields.collect::<Option<_>>()?)
        }
    })
}

fn put(table: &mut Table, key: &str, value: TomlValue) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((name, rest)) => {
            let inner = table.entry(name).or_insert_with(|| Table::new().into());
            if !inner.is_table() {
                *inner = Table::new().into();
            }
            if let TomlValue::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Takes a key away, and tables that are empty then.
fn take(table: &mut Table, key: &str) {
    let Some((name, rest)) = key.split_once('.') else {
        table.remove(key);
        return;
    };
    if let Some(TomlValue::Table(inner)) = table.get_mut(name) {
        take(inner, rest);
        if inner.is_empty() {
            table.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Problem;

    fn changes(changes: serde_json::Value) -> BTreeMap<String, Option<serde_json::Value>> {
        serde_json::from_value(changes).expect("changes")
    }

    fn set(run_time: &RunTime, wanted: serde_json::Value) -> Result<(Vec<String>, Vec<String>), ChangeError> {
        run_time.change(&changes(wanted), |_, _| Ok(()))
    }

    struct Place {
        folder: tempfile::TempDir,
        sources: Sources,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("thingway.toml");
            fs::write(&file, "[mqtt]\nmax_qos = 1\nretain_available = false\n").expect("a file");
            let sources = Sources {
                file: Some(file),
                environment: vec![("THINGWAY_MQTT__RECEIVE_MAXIMUM".into(), "7".into())],
                assignments: vec![format!("gateway.data_dir={}", folder.path().display())],
            };
            Self { folder, sources }
        }

        fn start(&self) -> RunTime {
            RunTime::new(Config::load(&self.sources).expect("good"), self.sources.clone())
        }
    }

    #[test]
    fn a_layer_of_elsewhere_is_taken_over_as_changes() {
        let place = Place::new();
        let run_time = place.start();
        let layer = "[mqtt]\nmax_qos = 2\n[listeners.tcp.extra]\nbind = \"127.0.0.1:0\"\n[listeners.tcp.usual]\n[access.jwt.j.claims]\nname = \"{username}\"\n";
        let found = changes_of(layer).expect("TOML");
        let keys: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["access.jwt.j.claims", "listeners.tcp.extra.bind", "listeners.tcp.usual", "mqtt.max_qos"]);
        let wanted: BTreeMap<_, _> = found
            .into_iter()
            .filter(|(key, _)| ["listeners.tcp.extra.bind", "mqtt.max_qos"].contains(&key.as_str()))
            .collect();
        run_time.change(&wanted, |_, _| Ok(())).expect("it fits");
        assert_eq!(run_time.part(Some(&["mqtt".into()])).as_deref(), Ok("[mqtt]\nmax_qos = 2\n"));
        assert_eq!(changes_of(&run_time.part(None).expect("kept")).expect("TOML").len(), wanted.len());
        assert!(changes_of("[mqtt").is_err());
        let unknown = changes_of("[mqtt]\nno_such = [1]\n[nowhere.at]\nall = 1\n").expect("TOML");
        assert_eq!(unknown.keys().collect::<Vec<_>>(), ["mqtt.no_such", "nowhere"]);
        assert!(matches!(run_time.change(&unknown, |_, _| Ok(())), Err(ChangeError::Fixed { .. })));
    }

    #[test]
    fn it_beats_the_file_and_is_beaten_by_the_environment() {
        let place = Place::new();
        let run_time = place.start();
        assert_eq!(run_time.text(), Ok(String::new()));
        let done = set(
            &run_time,
            json!({ "mqtt.max_qos": 2, "mqtt.upgrade_qos": true, "log.level": "warn", "queue.messages_max": 5 }),
        );
        assert_eq!(
            done,
            Ok((
                vec!["log.level".into(), "mqtt.max_qos".into()],
                vec!["mqtt.upgrade_qos".into(), "queue.messages_max".into()]
            ))
        );
        let told = run_time.tell();
        let find = |key: &str| told.iter().find(|told| told.key == key).expect("a setting").clone();
        let qos = find("mqtt.max_qos");
        assert_eq!((qos.value, qos.settable, qos.pending), (json!(2), true, false));
        assert!(matches!(qos.origin, Origin::RunTime { line: 5, .. }), "{:?}", qos.origin);
        assert!(!find("log.level").pending);
        assert!(!find("mqtt.receive_maximum").settable);
        assert!(!find("gateway.data_dir").settable);
        assert!(matches!(find("mqtt.retain_available").origin, Origin::File { line: 3, .. }));
        assert!(!find("listeners.tcp.default.mqtt.max_qos").pending, "listeners inherit it");
        assert!(find("mqtt.upgrade_qos").pending);

        let again = place.start();
        assert_eq!(again.current().config.mqtt.max_qos, 2);
        assert!(again.tell().iter().all(|told| !told.pending));
        assert_eq!(set(&again, json!({ "mqtt.max_qos": null })), Ok((vec!["mqtt.max_qos".into()], vec![])));
        assert_eq!(again.current().config.mqtt.max_qos, 1, "the file's");
        assert_eq!(
            again.text(),
            Ok("[log]\nlevel = \"warn\"\n\n[mqtt]\nupgrade_qos = true\n\n[queue]\nmessages_max = 5\n".into())
        );
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let place = Place::new();
        let run_time = place.start();
        for wrong in [
            json!({ "mqtt.max_qos": 3 }),
            json!({ "mqtt.max_qos": 0, "queue.messages_max": 0 }),
            json!({ "mqtt.max_qoss": 1 }),
            json!({ "mqtt": 1 }),
            json!({ "listeners": {} }),
            json!({ "": 1 }),
            json!({ "mqtt.receive_maximum": 8 }),
            json!({ "gateway.data_dir": "/elsewhere" }),
            json!({ "store.durability": "os" }),
            json!({ "access.rules": [null] }),
            json!({ "listeners.tcp.default.bind": ":8883" }),
        ] {
            assert!(set(&run_time, wrong.clone()).is_err(), "{wrong}");
        }
        let refused = run_time
            .change(&changes(json!({ "log.level": "warn" })), |_, _| Err(ChangeError::NotDone("no such level".into())));
        assert_eq!(refused, Err(ChangeError::NotDone("no such level".into())));
        assert_eq!(run_time.text(), Ok(String::new()));
        assert_eq!(run_time.current().config, place.start().current().config);
    }

    #[test]
    fn listeners_come_and_go() {
        let place = Place::new();
        let run_time = place.start();
        let made =
            set(&run_time, json!({ "listeners.tcp.other.bind": ":7", "listeners.tcp.other.max_connections": 5 }));
        assert!(made.is_ok(), "{made:?}");
        assert_eq!(run_time.current().config.listeners.tcp.len(), 2);
        let pending = || run_time.tell().iter().any(|told| told.key == "listeners.tcp.other.bind" && told.pending);
        assert!(pending());
        run_time.in_effect("listeners.tcp.other");
        assert!(!pending());
        assert!(set(&run_time, json!({ "listeners.tcp.other": null })).is_ok());
        assert_eq!(run_time.current().config.listeners.tcp.len(), 1);
        assert_eq!(run_time.text(), Ok(String::new()));
    }

    #[test]
    fn a_program_with_a_configuration_of_its_own_has_it_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.gateway.data_dir = folder.path().into();
        config.mqtt.max_qos = 1;
        config.listeners.tcp.get_mut("default").expect("a listener").mqtt.0.max_qos = 0;
        let run_time = RunTime::embedded(&config).expect("good");
        assert_eq!(run_time.current().config, config);
        assert!(set(&run_time, json!({ "mqtt.retain_available": false })).is_ok());
        let current = run_time.current();
        assert_eq!((current.config.mqtt.retain_available, current.config.mqtt.max_qos), (false, 1));
        assert_eq!(current.config.listeners.tcp["default"].mqtt.0.max_qos, 0);
    }

    #[test]
    fn a_file_that_somebody_broke_is_told() {
        let place = Place::new();
        fs::write(place.folder.path().join(RUN_TIME_FILE), "[mqtt]\nmax_qos = 9\n").expect("a file");
        let problems = Config::load(&place.sources).expect_err("it is wrong");
        assert_eq!(problems.0.len(), 1);
        let Problem { origin, key, .. } = &problems.0[0];
        assert!(matches!(origin, Origin::RunTime { line: 2, .. }), "{origin:?}");
        assert_eq!(key, "mqtt.max_qos");
    }
}
