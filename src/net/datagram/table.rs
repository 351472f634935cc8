use std::{
    hash::{BuildHasher, Hash},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Who a conversation is with: an address, and perhaps a node behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// IPv4 addresses are mapped.
    ip: [u8; 16],
    scope: u32,
    port: u16,
    node: Node,
}

/// The bytes that name a node; none for the address itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node(
    #[expect(clippy::box_collection, reason = "rare: in place it would cost every conversation its size")]
    Option<Box<Vec<u8>>>,
);

impl Place {
    pub fn new(address: SocketAddr, node: &[u8]) -> Self {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let node = Node((!node.is_empty()).then(|| Box::new(node.to_vec())));
        Self { ip: ip.octets(), scope, port: address.port(), node }
    }

    /// The address as people write it.
    pub fn address(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), self.port),
            None => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }

    /// The address as a socket of this family sends to it.
    pub fn destination(&self, by_v6: bool) -> SocketAddr {
        if by_v6 { SocketAddrV6::new(self.ip.into(), self.port, 0, self.scope).into() } else { self.address() }
    }

    pub fn node(&self) -> &[u8] {
        self.node.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// Bytes of slots that are made at a time: one of the allocator's sizes, and whole pages.
const CHUNK_BYTES: usize = 40 * 1024;

/// Conversations by place. A conversation keeps its index for life; indexes are used again.
///
/// Slots come in chunks that never move: a growing vector would hold twice what it needs, and copy all conversations each time.
pub(super) struct Table<C> {
    chunks: Vec<Vec<Slot<C>>>,
    slots_len: usize,
    free: Vec<u32>,
    by_place: HashTable<u32>,
    hasher: RandomState,
}

type Slot<C> = Option<(Place, C)>;

impl<C> Table<C> {
    /// Slots that are made at a time.
    const CHUNK: usize = CHUNK_BYTES / size_of::<Slot<C>>();

    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            slots_len: 0,
            free: Vec::new(),
            by_place: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    pub fn find(&self, place: &Place) -> Option<u32> {
        let same = |index: &u32| self.place(*index) == Some(place);
        self.by_place.find(self.hasher.hash_one(place), same).copied()
    }

    /// Adds a conversation, made with its index, at a place that has none.
    pub fn insert(&mut self, place: Place, make: impl FnOnce(u32) -> C) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| self.add_slot());
        let hash = self.hasher.hash_one(&place);
        if let Some(slot) = self.slot_mut(index) {
            *slot = Some((place, make(index)));
        }
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        self.by_place.insert_unique(hash, index, |index| {
            let entry = slot_of(chunks, *index).and_then(Slot::as_ref);
            entry.map_or(0, |(place, _)| hasher.hash_one(place))
        });
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<(Place, C)> {
        let slot = self.slot_mut(index)?;
        let entry = slot.take()?;
        if let Ok(found) = self.by_place.find_entry(self.hasher.hash_one(&entry.0), |other| *other == index) {
            found.remove();
        }
        self.free.push(index);
        Some(entry)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<(&Place, &mut C)> {
        let (place, conversation) = self.slot_mut(index)?.as_mut()?;
        Some((place, conversation))
    }

    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flatten().zip(0..).filter(|(slot, _)| slot.is_some()).map(|(_, index)| index)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots_len - self.free.len()
    }

    fn add_slot(&mut self) -> u32 {
        if self.slots_len.is_multiple_of(Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(None);
        }
        self.slots_len += 1;
        (self.slots_len - 1) as u32
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<C>> {
        self.chunks.get_mut(index as usize / Self::CHUNK)?.get_mut(index as usize % Self::CHUNK)
    }

    fn place(&self, index: u32) -> Option<&Place> {
        slot_of(&self.chunks, index)?.as_ref().map(|(place, _)| place)
    }
}

fn slot_of<C>(chunks: &[Vec<Slot<C>>], index: u32) -> Option<&Slot<C>> {
    chunks.get(index as usize / Table::<C>::CHUNK)?.get(index as usize % Table::<C>::CHUNK)
}

#[cfg(test)]
pub(super) const fn slot_bytes<C>() -> usize {
    size_of::<Slot<C>>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_place_is_small_and_comes_back() {
        assert!(size_of::<Place>() <= 32, "{}", size_of::<Place>());
        for text in ["127.0.0.1:5", "[::1]:6", "[fe80::1%3]:7"] {
            let place = Place::new(address(text), b"n");
            assert_eq!((place.address(), place.node()), (address(text), &b"n"[..]));
        }
        let by_v4 = Place::new(address("10.1.2.3:9"), b"");
        assert_eq!(by_v4, Place::new(address("[::ffff:10.1.2.3]:9"), b""), "the same peer by either socket");
        assert_eq!(by_v4.destination(true), address("[::ffff:10.1.2.3]:9"));
        assert_eq!(by_v4.destination(false), address("10.1.2.3:9"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec((any::<bool>(), 0u16..40, 0u8..3), 1..200)) {
            let mut table = Table::new();
            let mut model = BTreeMap::new();
            for (insert, port, node) in steps {
                let place = Place::new(SocketAddr::from(([10, 0, 0, 1], port)), &vec![7; node.into()]);
                let key = (port, node);
                match (table.find(&place), insert) {
                    (Some(index), false) => {
                        prop_assert_eq!(Some((index, place.clone())), model.remove(&key));
                        prop_assert_eq!(table.remove(index), Some((place, key)));
                        prop_assert!(table.remove(index).is_none());
                    }
                    (None, true) => {
                        let index = table.insert(place.clone(), |_| key);
                        model.insert(key, (index, place));
                    }
                    (found, _) => prop_assert_eq!(found, model.get(&key).map(|(index, _)| *index)),
                }
                prop_assert_eq!(table.len(), model.len());
                let mut indexes: Vec<_> = model.values().map(|(index, _)| *index).collect();
                indexes.sort_unstable();
                prop_assert_eq!(table.indexes().collect::<Vec<_>>(), indexes);
            }
        }
    }
}
