use serde::de::DeserializeOwned;

pub use figment::value::Value;

/// True when a value can be read as a `T`.
pub fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    value.deserialize::<T>().is_ok()
}
