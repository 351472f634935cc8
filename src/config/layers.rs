//! The layers of the configuration and what they amount to. The only file that knows figment.

use std::{fmt, path::PathBuf};

use figment::{Figment, Metadata, Profile, Provider, Source, providers::Serialized, value::Map};
use serde::{Serialize, de::DeserializeOwned};

use super::problem::Origin;

pub use figment::value::{Dict, Value};

const FILE: &str = "file";
const RUN_TIME: &str = "run time";
const ENVIRONMENT: &str = "environment";
const COMMAND_LINE: &str = "command line";

/// True when a value can be read as a `T`.
pub fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    value.deserialize::<T>().is_ok()
}

/// A serialised value as a tree.
pub fn tree(value: &impl Serialize) -> Dict {
    Value::serialize(value).ok().and_then(Value::into_dict).unwrap_or_default()
}

/// The value at a dotted key of a tree.
pub fn value_at(tree: &Dict, key: &str) -> Option<Value> {
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    match (tree.get(name)?, rest) {
        (value, None) => Some(value.clone()),
        (Value::Dict(_, tree), Some(rest)) => value_at(tree, rest),
        _ => None,
    }
}

/// Layers on top of each other.
#[derive(Clone)]
pub struct Layers(Figment);

impl fmt::Debug for Layers {
    /// Shows nothing of it: passwords are among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layers")
    }
}

struct Layer {
    metadata: Metadata,
    values: Dict,
}

impl Layers {
    /// With nothing on top of these defaults.
    pub fn new(defaults: Dict) -> Self {
        Self(Figment::new().merge(Serialized::defaults(defaults)))
    }

    /// One more layer, whose values beat those below.
    pub fn push(self, origin: Origin, values: Dict) -> Self {
        let metadata = match origin {
            Origin::Default => Metadata::named("defaults"),
            Origin::File { path, .. } => Metadata::from(FILE, path.as_path()),
            Origin::RunTime { path, .. } => Metadata::from(RUN_TIME, path.as_path()),
            Origin::Environment(variable) => Metadata::from(ENVIRONMENT, Source::Custom(variable)),
            Origin::CommandLine(text) => Metadata::from(COMMAND_LINE, Source::Custom(text)),
        };
        Self(self.0.merge(Layer { metadata, values }))
    }

    /// One more layer that fills the gaps of those before.
    pub fn push_below(self, values: Dict) -> Self {
        Self(self.0.join(Layer { metadata: Metadata::named("inherited"), values }))
    }

    /// The value of a dotted key.
    pub fn value(&self, key: &str) -> Option<Value> {
        self.0.find_value(key).ok()
    }

    /// Who set a dotted key. A file's line is 0: only its parser knows it.
    pub fn origin(&self, key: &str) -> Origin {
        let Some(metadata) = self.0.find_metadata(key) else { return Origin::Default };
        match (metadata.name.as_ref(), &metadata.source) {
            (FILE, Some(Source::File(path))) => Origin::File { path: PathBuf::from(path), line: 0 },
            (RUN_TIME, Some(Source::File(path))) => Origin::RunTime { path: PathBuf::from(path), line: 0 },
            (ENVIRONMENT, Some(Source::Custom(variable))) => Origin::Environment(variable.clone()),
            (COMMAND_LINE, Some(Source::Custom(text))) => Origin::CommandLine(text.clone()),
            _ => Origin::Default,
        }
    }

    /// All of it as a typed value; what is missing gets its type's default.
    pub fn extract<T: DeserializeOwned>(&self) -> Result<T, String> {
        self.0.extract().map_err(|error| error.to_string())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}
