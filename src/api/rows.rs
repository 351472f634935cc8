use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};

/// Things that are kept as settings of the store, by their names.
#[derive(Debug)]
pub struct Rows<T> {
    prefix: &'static str,
    rows: RwLock<BTreeMap<String, T>>,
}

impl<T: Clone + Serialize + DeserializeOwned> Rows<T> {
    /// Those among the store's settings whose keys begin so.
    ///
    /// # Errors
    /// The key of the first that cannot be read, and why.
    pub fn of(prefix: &'static str, settings: &[(String, String)]) -> Result<Self, (String, serde_json::Error)> {
        let mut rows = BTreeMap::new();
        for (key, value) in settings {
            if let Some(name) = key.strip_prefix(prefix) {
                rows.insert(name.to_owned(), serde_json::from_str(value).map_err(|error| (key.clone(), error))?);
            }
        }
        Ok(Self { prefix, rows: RwLock::new(rows) })
    }

    /// One of them.
    pub fn find(&self, name: &str) -> Option<T> {
        self.rows.read().get(name).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(String, T)> {
        self.rows.read().iter().map(|(name, row)| (name.clone(), row.clone())).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.read().len()
    }

    /// The change of the store that writes a row, or takes it away.
    pub fn change(&self, name: &str, row: Option<&T>) -> (String, Option<String>) {
        let text = |row| serde_json::to_string(row).expect("texts and numbers can be written as JSON");
        (format!("{}{name}", self.prefix), row.map(text))
    }

    /// A row as it is kept now.
    pub fn set(&self, name: &str, row: Option<T>) {
        let mut rows = self.rows.write();
        match row {
            Some(row) => rows.insert(name.to_owned(), row),
            None => rows.remove(name),
        };
    }
}
