use thingway_contract::TopicId;

/// Topic ids that stand for names in one conversation (section 6.5), given out by the gateway from 1 upwards.
///
/// Each conversation has its own, as section 7.3 advises, and an id never changes its name: a late datagram then cannot be taken for something else.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// In ascending order of ids.
    entries: Vec<Entry>,
    /// Positions in `entries` in the order of names; empty while there are few, which are looked through.
    order: Vec<u16>,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    id: u16,
    /// The client was told, and has not said otherwise.
    known: bool,
}

/// Up to so many names are looked through.
const UNORDERED_MAX: usize = 16;

/// 0xFFFF is reserved (section 5.3.11).
const ID_MAX: u16 = 0xfffe;

impl Registry {
    /// The name that an id stands for.
    pub(crate) fn name(&self, id: u16) -> Option<&str> {
        self.position(id).map(|position| &*self.entries[position].name)
    }

    /// The id of a name, and whether the client knows it.
    pub(crate) fn find(&self, name: &str) -> Option<(u16, bool)> {
        let entry = if self.order.is_empty() {
            self.entries.iter().find(|entry| *entry.name == *name)?
        } else {
            &self.entries[usize::from(self.order[self.search(name).ok()?])]
        };
        Some((entry.id, entry.known))
    }

    /// The id of a name, a new one if it has none; `None` when there are `count_max` ids.
    pub(crate) fn assign(&mut self, name: &str, count_max: u16) -> Option<u16> {
        if let Some((id, _)) = self.find(name) {
            return Some(id);
        }
        let id = self.entries.last().map_or(1, |last| last.id.saturating_add(1));
        if id > ID_MAX || self.entries.len() >= usize::from(count_max) {
            return None;
        }
        self.append(Entry { name: name.into(), id, known: false });
        Some(id)
    }

    /// Notes whether the client knows an id.
    pub(crate) fn set_known(&mut self, id: u16, known: bool) {
        if let Some(position) = self.position(id) {
            self.entries[position].known = known;
        }
    }

    /// The client has forgotten all ids.
    pub(crate) fn set_all_unknown(&mut self) {
        for entry in &mut self.entries {
            entry.known = false;
        }
    }

    /// What the next conversation needs; nothing is left.
    pub(crate) fn park(self) -> Vec<TopicId> {
        self.entries.into_iter().map(|Entry { name, id, known }| TopicId { id, name, known }).collect()
    }

    /// What an earlier conversation left. What the client knew it still knows.
    pub(crate) fn restore(mut topic_ids: Vec<TopicId>, count_max: u16) -> Self {
        let mut registry = Self::default();
        topic_ids.sort_by_key(|entry| entry.id);
        topic_ids.dedup_by_key(|entry| entry.id);
        for TopicId { id, name, known } in topic_ids {
            let fits = registry.entries.len() < usize::from(count_max);
            if id != 0 && id <= ID_MAX && fits && registry.find(&name).is_none() {
                registry.append(Entry { name, id, known });
            }
        }
        registry
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.order.binary_search_by(|&position| (*self.entries[usize::from(position)].name).cmp(name))
    }

    fn append(&mut self, entry: Entry) {
        if self.entries.len() < UNORDERED_MAX {
            // Most clients have one or two names.
            self.entries.reserve_exact(1);
        }
        self.entries.push(entry);
        let last = self.entries.len() - 1;
        if self.entries.len() <= UNORDERED_MAX {
            return;
        }
        if self.order.is_empty() {
            self.order = (0..=last as u16).collect();
            let entries = &self.entries;
            self.order.sort_by(|&a, &b| entries[usize::from(a)].name.cmp(&entries[usize::from(b)].name));
        } else if let Err(place) = self.search(&self.entries[last].name) {
            self.order.insert(place, last as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_6_5_ids_begin_at_1_and_keep_their_names() {
        let mut registry = Registry::default();
        for number in 0..200u16 {
            let name = format!("t/{}", u32::from(number) * 7919 % 200);
            assert_eq!(registry.assign(&name, 200), Some(number + 1));
            assert_eq!(registry.assign(&name, 200), Some(number + 1), "the same name again");
            assert_eq!(registry.name(number + 1), Some(&*name));
        }
        assert_eq!(registry.assign("one/more", 200), None);
        for id in 1..=200 {
            let name = registry.name(id).expect("there").to_owned();
            assert_eq!(registry.find(&name), Some((id, false)));
        }
        assert_eq!((registry.name(0), registry.name(201), registry.find("t/200")), (None, None, None));
    }

    #[test]
    fn what_the_client_knows_is_noted_and_survives() {
        let mut registry = Registry::default();
        registry.assign("a", 9);
        registry.assign("b", 9);
        registry.set_known(2, true);
        assert_eq!((registry.find("a"), registry.find("b")), (Some((1, false)), Some((2, true))));
        let mut parked = registry.park();
        parked.push(TopicId { id: 7, name: "a".into(), known: true });
        parked.push(TopicId { id: 0, name: "zero".into(), known: true });
        let mut registry = Registry::restore(parked, 9);
        assert_eq!(registry.len(), 2);
        assert_eq!((registry.find("a"), registry.find("b")), (Some((1, false)), Some((2, true))));
        assert_eq!(registry.assign("c", 9), Some(3));
        registry.set_all_unknown();
        assert_eq!(registry.find("b"), Some((2, false)));
    }

    #[test]
    fn the_last_id_is_not_the_reserved_one() {
        let parked = vec![TopicId { id: 0xfffd, name: "a".into(), known: true }];
        let mut registry = Registry::restore(parked, u16::MAX);
        assert_eq!(registry.assign("b", u16::MAX), Some(0xfffe));
        assert_eq!(registry.assign("c", u16::MAX), None);
    }
}
