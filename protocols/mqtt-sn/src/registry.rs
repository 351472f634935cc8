use thingway_contract::TopicId;

/// Topic ids that stand for names in one conversation (section 6.5), given out by the gateway from [`TopicIds::first`] upwards.
///
/// Each conversation has its own, as section 7.3 advises, and an id never changes its name: a late datagram then cannot be taken for something else.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// In ascending order of ids.
    entries: Vec<Entry>,
    /// Positions in `entries` in the order of names; empty while there are few, which are looked through.
    order: Vec<u16>,
    /// The id to try next; 0 before the first.
    next: u16,
    /// Entries of which the gateway has it otherwise. One that the client was never told is nothing to tell: forgetting it costs nothing.
    untold: u16,
}

/// Which ids may be given out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicIds {
    /// The one to begin with.
    pub(crate) first: u16,
    /// Most at once.
    pub(crate) count_max: u16,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    id: u16,
    /// The client was told, and has not said otherwise.
    known: bool,
    /// The same as the gateway has it that keeps the session.
    told: bool,
}

/// Up to so many names are looked through.
const UNORDERED_MAX: usize = 16;

/// The gateway is told of all ids when one in so many has changed: a client with as few is told of at each change, and the names that are recorded for
/// one with many are no more than so many times those that have changed.
const UNTOLD_SHARE: usize = 16;

/// 0xFFFF is reserved (section 5.3.11).
const ID_MAX: u16 = 0xfffe;

impl Entry {
    const fn is_untold(&self) -> bool {
        self.known != self.told
    }
}

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

    /// The id of a name, a new one if it has none; `None` when there are as many as may be.
    pub(crate) fn assign(&mut self, name: &str, ids: TopicIds) -> Option<u16> {
        if let Some((id, _)) = self.find(name) {
            return Some(id);
        }
        if self.entries.len() >= usize::from(ids.count_max.min(ID_MAX)) {
            return None;
        }
        let mut id = if self.next == 0 { within(ids.first) } else { self.next };
        // Ends because an id is free.
        let place = loop {
            match self.entries.binary_search_by_key(&id, |entry| entry.id) {
                Ok(_) => id = within(id.wrapping_add(1)),
                Err(place) => break place,
            }
        };
        self.next = within(id.wrapping_add(1));
        self.insert(place, Entry { name: name.into(), id, known: false, told: false });
        Some(id)
    }

    /// Notes whether the client knows an id.
    pub(crate) fn set_known(&mut self, id: u16, known: bool) {
        if let Some(position) = self.position(id) {
            let entry = &mut self.entries[position];
            self.untold -= u16::from(entry.is_untold());
            entry.known = known;
            self.untold += u16::from(entry.is_untold());
        }
    }

    /// The client has forgotten all ids.
    pub(crate) fn set_all_unknown(&mut self) {
        for entry in &mut self.entries {
            entry.known = false;
        }
        self.untold = self.entries.iter().filter(|entry| entry.is_untold()).count() as u16;
    }

    /// Something has changed of which the gateway that keeps the session was not told.
    pub(crate) const fn is_untold(&self) -> bool {
        self.untold > 0
    }

    /// So much of it that it must be.
    pub(crate) const fn must_be_told(&self) -> bool {
        self.is_untold() && self.untold as usize * UNTOLD_SHARE >= self.entries.len()
    }

    /// What the gateway is told: all of it.
    pub(crate) fn tell(&mut self) -> Vec<TopicId> {
        self.untold = 0;
        let tell = |entry: &mut Entry| {
            entry.told = entry.known;
            TopicId { id: entry.id, name: entry.name.clone(), known: entry.known }
        };
        self.entries.iter_mut().map(tell).collect()
    }

    /// What the next conversation needs; nothing is left.
    pub(crate) fn park(self) -> Vec<TopicId> {
        self.entries.into_iter().map(|Entry { name, id, known, .. }| TopicId { id, name, known }).collect()
    }

    /// What an earlier conversation left. What the client knew it still knows.
    pub(crate) fn restore(mut topic_ids: Vec<TopicId>, count_max: u16) -> Self {
        let mut registry = Self::default();
        topic_ids.sort_by_key(|entry| entry.id);
        topic_ids.dedup_by_key(|entry| entry.id);
        for TopicId { id, name, known } in topic_ids {
            let fits = registry.entries.len() < usize::from(count_max);
            if id != 0 && id <= ID_MAX && fits && registry.find(&name).is_none() {
                registry.insert(registry.entries.len(), Entry { name, id, known, told: known });
            }
        }
        registry
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.order.binary_search_by(|&position| (*self.entries[usize::from(position)].name).cmp(name))
    }

    fn insert(&mut self, place: usize, entry: Entry) {
        if self.entries.len() < UNORDERED_MAX {
            // Most clients have one or two names.
            self.entries.reserve_exact(1);
        }
        let is_last = place == self.entries.len();
        self.entries.insert(place, entry);
        if self.entries.len() <= UNORDERED_MAX {
            return;
        }
        if self.order.is_empty() {
            self.order = (0..self.entries.len() as u16).collect();
            let entries = &self.entries;
            self.order.sort_by(|&a, &b| entries[usize::from(a)].name.cmp(&entries[usize::from(b)].name));
            return;
        }
        if !is_last {
            for position in self.order.iter_mut().filter(|position| usize::from(**position) >= place) {
                *position += 1;
            }
        }
        if let Err(rank) = self.search(&self.entries[place].name) {
            self.order.insert(rank, place as u16);
        }
    }
}

/// The id itself, or the first one for what is none.
const fn within(id: u16) -> u16 {
    if id == 0 || id > ID_MAX { 1 } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_most(count_max: u16) -> TopicIds {
        TopicIds { first: 1, count_max }
    }

    #[test]
    fn section_6_5_ids_begin_at_1_and_keep_their_names() {
        let mut registry = Registry::default();
        for number in 0..200u16 {
            let name = format!("t/{}", u32::from(number) * 7919 % 200);
            assert_eq!(registry.assign(&name, at_most(200)), Some(number + 1));
            assert_eq!(registry.assign(&name, at_most(200)), Some(number + 1), "the same name again");
            assert_eq!(registry.name(number + 1), Some(&*name));
        }
        assert_eq!(registry.assign("one/more", at_most(200)), None);
        for id in 1..=200 {
            let name = registry.name(id).expect("there").to_owned();
            assert_eq!(registry.find(&name), Some((id, false)));
        }
        assert_eq!((registry.name(0), registry.name(201), registry.find("t/200")), (None, None, None));
    }

    #[test]
    fn what_the_client_knows_is_noted_and_survives() {
        let mut registry = Registry::default();
        registry.assign("a", at_most(9));
        registry.assign("b", at_most(9));
        registry.set_known(2, true);
        assert_eq!((registry.find("a"), registry.find("b")), (Some((1, false)), Some((2, true))));
        let mut parked = registry.park();
        parked.push(TopicId { id: 7, name: "a".into(), known: true });
        parked.push(TopicId { id: 0, name: "zero".into(), known: true });
        let mut registry = Registry::restore(parked, 9);
        assert_eq!(registry.len(), 2);
        assert_eq!((registry.find("a"), registry.find("b")), (Some((1, false)), Some((2, true))));
        assert_eq!(registry.assign("c", at_most(9)), Some(3));
        registry.set_all_unknown();
        assert_eq!(registry.find("b"), Some((2, false)));
    }

    #[test]
    fn few_ids_are_told_at_each_change_and_many_when_a_sixteenth_has_changed() {
        let ids = at_most(2000);
        let mut registry = Registry::default();
        let (mut times, mut names) = (0, 0);
        for number in 1..=1000 {
            assert_eq!(registry.assign(&format!("t/{number}"), ids), Some(number));
            assert!(!registry.must_be_told(), "the client does not know it yet");
            registry.set_known(number, true);
            registry.set_known(number, true);
            assert!(registry.is_untold() && (number > 16 || registry.must_be_told()));
            if registry.must_be_told() {
                times += 1;
                names += registry.tell().len();
                assert!(!registry.is_untold() && !registry.must_be_told());
            }
        }
        assert!(times < 100 && names < 20_000, "{names} names in {times} records");
        registry.tell();
        registry.set_known(5, false);
        assert!(registry.is_untold() && !registry.must_be_told());
        registry.set_known(5, true);
        assert!(!registry.is_untold(), "as it was told");
        registry.set_all_unknown();
        assert!(registry.must_be_told());
        assert!(registry.tell().iter().all(|entry| !entry.known));
        let mut registry = Registry::restore(registry.park(), 2000);
        registry.set_all_unknown();
        assert!(!registry.is_untold());
    }

    #[test]
    fn the_last_id_is_not_the_reserved_one() {
        let mut registry = Registry::default();
        let ids = TopicIds { first: 0xfffe, count_max: u16::MAX };
        assert_eq!(registry.assign("a", ids), Some(0xfffe));
        assert_eq!(registry.assign("b", ids), Some(1));
        let ids = TopicIds { first: 0xffff, count_max: u16::MAX };
        assert_eq!(Registry::default().assign("a", ids), Some(1));
    }

    #[test]
    fn all_ids_can_be_in_use() {
        let ids = TopicIds { first: 0xfffe, count_max: u16::MAX };
        let left = |id: u16| TopicId { id, name: id.to_string().into(), known: true };
        let mut registry = Registry::restore((2..0xfffe).map(left).collect(), u16::MAX);
        assert_eq!((registry.assign("last", ids), registry.assign("first", ids)), (Some(0xfffe), Some(1)));
        assert_eq!(registry.assign("one/more", ids), None);
        assert_eq!((registry.find("first"), registry.find("2")), (Some((1, false)), Some((2, true))));
    }

    /// What an earlier run of the gateway gave out lies before or behind.
    #[test]
    fn new_ids_begin_where_they_shall_and_skip_those_in_use() {
        let left = |id: u16| TopicId { id, name: format!("left/{id}").into(), known: true };
        let ids = TopicIds { first: 500, count_max: 100 };
        let mut registry = Registry::restore([1, 2, 501, 700].map(left).to_vec(), 100);
        let mut given = vec![];
        for number in 0..40 {
            given.push(registry.assign(&format!("new/{}", number * 17 % 40), ids).expect("there is room"));
        }
        let expected: Vec<u16> = (500..541).filter(|&id| id != 501).collect();
        assert_eq!(given, expected);
        for (number, id) in given.into_iter().enumerate() {
            let name = format!("new/{}", number * 17 % 40);
            assert_eq!((registry.find(&name), registry.name(id)), (Some((id, false)), Some(&*name)));
        }
        for id in [1, 2, 501, 700] {
            assert_eq!(registry.find(&format!("left/{id}")), Some((id, true)));
        }
    }
}
