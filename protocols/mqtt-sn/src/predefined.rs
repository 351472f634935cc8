use std::collections::{BTreeMap, HashMap};

use thingway_contract::{Topic, TopicError, TopicLimits};

/// Topic ids that gateway and clients know beforehand (section 6.7): for all clients, and for single ones, whose own come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predefined {
    global: Table,
    clients: HashMap<Box<str>, Table>,
}

/// Why a predefined topic cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PredefinedError {
    /// 0x0000 and 0xFFFF are reserved (section 5.3.11).
    ReservedId,
    /// The id has another name already.
    IdTaken,
    /// The name has another id already.
    NameTaken,
    /// Not a topic name.
    Topic(TopicError),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    names: BTreeMap<u16, Box<str>>,
    ids: HashMap<Box<str>, u16>,
}

impl Table {
    fn insert(&mut self, id: u16, name: &str) -> Result<(), PredefinedError> {
        if id == 0 || id == u16::MAX {
            return Err(PredefinedError::ReservedId);
        }
        Topic::parse(name, TopicLimits::default()).map_err(PredefinedError::Topic)?;
        if self.names.get(&id).is_some_and(|other| **other != *name) {
            return Err(PredefinedError::IdTaken);
        }
        if self.ids.get(name).is_some_and(|&other| other != id) {
            return Err(PredefinedError::NameTaken);
        }
        self.names.insert(id, name.into());
        self.ids.insert(name.into(), id);
        Ok(())
    }
}

impl Predefined {
    /// Adds an id that all clients know.
    ///
    /// # Errors
    /// See [`PredefinedError`]; nothing is added then.
    pub fn insert(&mut self, id: u16, name: &str) -> Result<(), PredefinedError> {
        self.global.insert(id, name)
    }

    /// Adds an id that one client knows.
    ///
    /// # Errors
    /// See [`PredefinedError`]; nothing is added then.
    pub fn insert_for(&mut self, client_id: &str, id: u16, name: &str) -> Result<(), PredefinedError> {
        self.clients.entry(client_id.into()).or_default().insert(id, name)
    }

    /// The name that `id` stands for with this client, or with anybody.
    pub fn name(&self, client_id: Option<&str>, id: u16) -> Option<&str> {
        let own = self.own(client_id).and_then(|table| table.names.get(&id));
        own.or_else(|| self.global.names.get(&id)).map(|name| &**name)
    }

    /// The id that stands for `name` with this client, or with anybody.
    pub fn id(&self, client_id: Option<&str>, name: &str) -> Option<u16> {
        let own = self.own(client_id);
        if let Some(&id) = own.and_then(|table| table.ids.get(name)) {
            return Some(id);
        }
        let id = *self.global.ids.get(name)?;
        // With this client the id may stand for something else.
        own.is_none_or(|table| !table.names.contains_key(&id)).then_some(id)
    }

    fn own(&self, client_id: Option<&str>) -> Option<&Table> {
        if self.clients.is_empty() { None } else { self.clients.get(client_id?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_6_7_a_clients_own_ids_come_first() {
        let mut predefined = Predefined::default();
        predefined.insert(1, "all/one").expect("free");
        predefined.insert(2, "all/two").expect("free");
        predefined.insert_for("c", 1, "own/one").expect("free");
        assert_eq!(predefined.name(None, 1), Some("all/one"));
        assert_eq!(predefined.name(Some("other"), 1), Some("all/one"));
        assert_eq!(predefined.name(Some("c"), 1), Some("own/one"));
        assert_eq!(predefined.name(Some("c"), 2), Some("all/two"));
        assert_eq!(predefined.id(Some("c"), "own/one"), Some(1));
        assert_eq!(predefined.id(Some("c"), "all/one"), None, "its id is taken by another name");
        assert_eq!(predefined.id(Some("other"), "all/one"), Some(1));
        assert_eq!(predefined.id(None, "own/one"), None);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut predefined = Predefined::default();
        assert_eq!(predefined.insert(0, "a"), Err(PredefinedError::ReservedId));
        assert_eq!(predefined.insert(0xffff, "a"), Err(PredefinedError::ReservedId));
        assert_eq!(predefined.insert(1, "a/+"), Err(PredefinedError::Topic(TopicError::WildcardInName)));
        assert_eq!(predefined.insert(1, "a"), Ok(()));
        assert_eq!(predefined.insert(1, "a"), Ok(()));
        assert_eq!(predefined.insert(1, "b"), Err(PredefinedError::IdTaken));
        assert_eq!(predefined.insert(2, "a"), Err(PredefinedError::NameTaken));
    }
}
