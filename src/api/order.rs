//! The two lists of who is asked: about clients that connect, and about what they do. Each is a setting of `access`, and EMQX's scripts change it one by one.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    backends::{Changes, KINDS, Kind},
    configs,
    error::ApiError,
    world::World,
};
use crate::config::own_rules;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Who is asked about clients that connect.
    Authenticators,
    /// Who is asked about what they do.
    Sources,
}

use List::{Authenticators, Sources};

impl List {
    pub const fn key(self) -> &'static str {
        match self {
            Authenticators => "access.authenticators",
            Sources => "access.sources",
        }
    }

    const fn other(self) -> Self {
        match self {
            Authenticators => Sources,
            Sources => Authenticators,
        }
    }

    /// How a service is called that is made without a name. What is asked about topics has settings of its own, even where another of its kind is asked
    /// about clients.
    pub const fn unnamed(self) -> &'static str {
        match self {
            Authenticators => "default",
            Sources => "rules",
        }
    }

    /// The setting without which a service of this kind asks nothing.
    fn asks(self, kind: &Kind) -> &'static str {
        match self {
            Authenticators => kind.asks_about_clients,
            Sources => kind.asks_about_topics,
        }
    }

    /// How the services' states name it.
    const fn role(self) -> &'static str {
        match self {
            Authenticators => "authentication",
            Sources => "authorization",
        }
    }

    fn names(self, values: &BTreeMap<String, Value>) -> Vec<String> {
        let list = values.get(self.key()).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut names: Vec<_> = list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        if let Some(at) = names.iter().position(|name| self == Sources && name == own_rules::ALL) {
            names.splice(at..=at, own_rules::PARTS.map(str::to_owned));
        }
        names
    }
}

/// All settings by their keys, and who is asked.
pub struct Order {
    list: List,
    pub values: BTreeMap<String, Value>,
    /// In order, with the gateway's own rules in parts.
    pub asked: Vec<String>,
    /// Services that could be, and that nobody asks. Those whose settings do not tell what for are in both lists.
    pub off: Vec<String>,
}

impl Order {
    /// As it is wanted now.
    pub fn of(world: &World, list: List) -> Self {
        let values: BTreeMap<_, _> = world.run_time.tell().into_iter().map(|told| (told.key, told.value)).collect();
        let (asked, others) = (list.names(&values), list.other().names(&values));
        let mut off = Vec::new();
        for kind in KINDS.iter().filter(|kind| !list.asks(kind).is_empty()) {
            let (begins, ends) = (format!("access.{}.", kind.name), format!(".{}", list.asks(kind)));
            for (key, value) in values.range(begins.clone()..).take_while(|(key, _)| key.starts_with(&begins)) {
                let name = key[begins.len()..].strip_suffix(&*ends).filter(|name| !name.contains('.'));
                let Some(name) = name.filter(|_| *value != "") else { continue };
                let name = format!("{}.{name}", kind.name);
                if !asked.contains(&name) && !others.contains(&name) {
                    off.push(name);
                }
            }
        }
        Self { list, values, asked, off }
    }

    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.asked.iter().chain(&self.off)
    }

    pub fn is_asked(&self, name: &str) -> bool {
        self.asked.iter().any(|known| known == name)
    }

    /// The other list names it, too.
    fn is_asked_otherwise(&self, name: &str) -> bool {
        self.list.other().names(&self.values).iter().any(|known| known == name)
    }

    /// There are settings in this section.
    pub fn has_settings(&self, section: &str) -> bool {
        let at = format!("{section}.");
        self.values.range(at.clone()..).next().is_some_and(|(key, _)| key.starts_with(&at))
    }

    /// The service that an id means: by its kind and name, or the kind alone, which means the one without a name of its own, or the only one of the kind.
    pub fn find_service(&self, id: &str) -> Result<String, ApiError> {
        let name = id.replacen(':', ".", 1);
        let unnamed = format!("{name}.{}", self.list.unnamed());
        if let Some(found) = self.all().find(|known| **known == name || **known == unnamed) {
            return Ok(found.clone());
        }
        let begins = format!("{name}.");
        let mut alike = self.all().filter(|known| known.starts_with(&begins));
        match (alike.next(), alike.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => Err(ApiError::bad(format!("there are some of {id}: name one, as {name}:NAME"))),
            _ => Err(ApiError::not_found("there is no such thing among those that are asked")),
        }
    }

    /// The order with this one in it, or without it. A new one is asked where EMQX puts it: authenticators last, sources first.
    pub fn switched(&self, name: &str, enable: bool) -> Vec<String> {
        let mut asked = self.asked.clone();
        match (self.is_asked(name), enable) {
            (true, false) => asked.retain(|known| known != name),
            (false, true) if self.list == Sources => asked.insert(0, name.to_owned()),
            (false, true) => asked.push(name.to_owned()),
            _ => {}
        }
        asked
    }

    /// The order with one of them at another place: `front`, `rear`, `before:ID` or `after:ID`.
    pub fn moved(
        &self,
        name: &str,
        position: &str,
        find: impl Fn(&str) -> Result<String, ApiError>,
    ) -> Result<Vec<String>, ApiError> {
        if !self.is_asked(name) {
            return Err(ApiError::bad("it is not enabled"));
        }
        let mut asked = self.switched(name, false);
        let beside = |id: &str| {
            let other = find(id)?;
            let place = asked.iter().position(|known| *known == other);
            place.ok_or_else(|| ApiError::bad(format!("{id} is no other that is asked")))
        };
        let place = match position.split_once(':') {
            None if position == "front" => 0,
            None if position == "rear" => asked.len(),
            Some(("before", id)) => beside(id)?,
            Some(("after", id)) => beside(id)? + 1,
            _ => return Err(ApiError::bad("position: front, rear, before:ID or after:ID")),
        };
        asked.insert(place, name.to_owned());
        Ok(asked)
    }

    /// The order that is wanted, of which each that is asked has to be there once; those that are not have no place.
    pub fn in_order(&self, names: Vec<String>) -> Result<Vec<String>, ApiError> {
        let wanted: Vec<_> = names.into_iter().filter(|name| self.is_asked(name)).collect();
        let is_twice = |(index, name): (usize, &String)| wanted[..index].contains(name);
        match self.asked.iter().find(|known| !wanted.contains(known)) {
            Some(missing) => Err(ApiError::bad(format!("{missing} has no place in it"))),
            None if wanted.iter().enumerate().any(is_twice) => Err(ApiError::bad("each of them once")),
            None => Ok(wanted),
        }
    }

    /// The changes that leave the settings of one to nobody, unless the other list names it, too.
    pub fn leftovers(&self, name: &str) -> Changes {
        let is_service = KINDS.iter().any(|kind| name.split_once('.').is_some_and(|(of, _)| of == kind.name));
        let goes = is_service && !self.is_asked_otherwise(name);
        goes.then(|| (format!("access.{name}"), None)).into_iter().collect()
    }

    /// Keeps settings and who is asked. To be called by who sees to it that there is one change at a time.
    pub async fn keep(&self, world: &Arc<World>, asked: &[String], mut changes: Changes) -> Result<(), ApiError> {
        // What nobody has set is nothing to take away.
        changes.retain(|key, value| value.is_some() || self.values.contains_key(key) || self.has_settings(key));
        if asked != self.asked {
            let mut names = asked.to_vec();
            if let Some(at) = names.windows(own_rules::PARTS.len()).position(|three| three == own_rules::PARTS) {
                names.splice(at..at + own_rules::PARTS.len(), [own_rules::ALL.to_owned()]);
            }
            changes.insert(self.list.key().to_owned(), Some(json!(names)));
        }
        match changes.is_empty() {
            true => Ok(()),
            false => configs::make_in_turn(world, changes).await.map(drop),
        }
    }

    /// How one is, and what became of the questions to it.
    pub fn tell_status(&self, world: &World, name: &str) -> Value {
        let is_it = |line: &crate::access::LineState| *line.name == *name && line.role == self.list.role();
        let line = world.access.lines().into_iter().find(is_it);
        let status = match &line {
            _ if !self.is_asked(name) => "stopped",
            Some(line) if line.is_resting => "disconnected",
            _ => "connected",
        };
        let metrics = match line.map(|line| line.counts) {
            Some(counts) => json!({
                "total": counts.answered + counts.failed + counts.refused,
                "answered": counts.answered, "failed": counts.failed, "refused": counts.refused,
            }),
            None => json!({}),
        };
        let of_node = |name: &str, value: &Value| json!([{ "node": world.node, name: value }]);
        json!({
            "status": status,
            "node_status": of_node("status", &status.into()),
            "metrics": metrics,
            "node_metrics": of_node("metrics", &metrics),
        })
    }
}

/// Takes a text out of a body.
pub fn take_text(body: &mut Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match body.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::bad(format!("{name}: a text"))),
    }
}

/// Takes `enable` out of a body; what says nothing is asked.
pub fn take_enable(body: &mut Map<String, Value>) -> Result<bool, ApiError> {
    match body.remove("enable") {
        None => Ok(true),
        Some(Value::Bool(enable)) => Ok(enable),
        Some(_) => Err(ApiError::bad("enable: true or false")),
    }
}

/// Takes out of a body what a service is to be called.
pub fn take_name(body: &mut Map<String, Value>) -> Result<Option<String>, ApiError> {
    let good = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    match take_text(body, "name")? {
        Some(name) if name.is_empty() || name.len() > 64 || !name.chars().all(good) => {
            Err(ApiError::bad("name: letters, digits, _ and -"))
        }
        name => Ok(name),
    }
}
