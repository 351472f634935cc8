//! How keys of rows are composed: the table's number, then the row's key. Their order is that of the rows.
//!
//! The database takes keys of up to 65,535 bytes, and a row's may be longer: a topic may have as many, and a session's number comes before it. So rows
//! whose keys are longer than [`KEY_BYTES_MAX`] share, by their first so many bytes, a row of the database that holds them all in order. That row comes
//! right after the one whose key is those bytes, and before all others that begin with them, of which there are none.

use std::collections::BTreeMap;

use thingway_store::Table;

/// Longer ones share a row with those that begin alike.
const KEY_BYTES_MAX: usize = 65_000;
/// The first byte of keys that belong to no table.
const OWN: u8 = 0xff;
/// The position at which the log begins; the blocks before were trimmed.
pub(super) const LOG_START: &[u8] = &[OWN, b's'];

/// Where a row is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In a row of its own, with this key.
    Own(Vec<u8>),
    /// In a row with this key, which it shares, and there with this rest of its key.
    Shared(Vec<u8>, &'a [u8]),
}

pub(super) fn place(table: Table, key: &[u8]) -> Place<'_> {
    match key.split_at_checked(KEY_BYTES_MAX) {
        None | Some((_, [])) => Place::Own(compose(table, key, &[])),
        Some((begin, rest)) => Place::Shared(compose(table, begin, &[0]), rest),
    }
}

/// The prefix that the database is asked for; rows found with it may not have the prefix that was asked for if that is long.
pub(super) fn prefix(table: Table, prefix: &[u8]) -> Vec<u8> {
    compose(table, &prefix[..prefix.len().min(KEY_BYTES_MAX)], &[])
}

/// The key of a row found by the database, and whether it shares it.
pub(super) fn take_apart(key: &[u8]) -> (&[u8], bool) {
    let key = key.get(1..).unwrap_or_default();
    match key.split_at_checked(KEY_BYTES_MAX) {
        Some((begin, [_])) => (begin, true),
        _ => (key, false),
    }
}

fn compose(table: Table, key: &[u8], end: &[u8]) -> Vec<u8> {
    let mut composed = Vec::with_capacity(1 + key.len() + end.len());
    composed.push(table as u8);
    composed.extend_from_slice(key);
    composed.extend_from_slice(end);
    composed
}

/// The rows of a shared one, by the rests of their keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SharedRows(pub(super) BTreeMap<Vec<u8>, Vec<u8>>);

impl SharedRows {
    /// `None` if it is not what [`SharedRows::encode`] gives.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut rows = BTreeMap::new();
        while !bytes.is_empty() {
            let mut part = || {
                let (length, after) = bytes.split_first_chunk()?;
                let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                bytes = after;
                Some(part.to_vec())
            };
            rows.insert(part()?, part()?);
        }
        Some(Self(rows))
    }

    /// `None` if there are none.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in self.0.iter().flat_map(|(rest, value)| [rest, value]) {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_have_rows_of_their_own() {
        let longest = vec![7; KEY_BYTES_MAX];
        assert_eq!(place(Table::Meta, b""), Place::Own(vec![0]));
        assert_eq!(place(Table::Queues, b"ab"), Place::Own(b"\x03ab".to_vec()));
        assert_eq!(place(Table::Meta, &longest), Place::Own([&[0][..], &longest].concat()));
        assert_eq!(take_apart(b"\x03ab"), (&b"ab"[..], false));
        assert_eq!(take_apart(&[&[0][..], &longest].concat()), (&longest[..], false));
    }

    #[test]
    fn long_keys_share() {
        let begin = vec![7; KEY_BYTES_MAX];
        let key = [&begin[..], b"rest"].concat();
        let shared = [&[5][..], &begin, &[0]].concat();
        assert_eq!(place(Table::Retained, &key), Place::Shared(shared.clone(), b"rest"));
        assert_eq!(take_apart(&shared), (&begin[..], true));
        assert_eq!(prefix(Table::Retained, &key), shared[..shared.len() - 1]);
    }

    #[test]
    fn shared_rows_are_read_as_written() {
        let rows = |rows: &[(&[u8], &[u8])]| {
            SharedRows(rows.iter().map(|(rest, value)| (rest.to_vec(), value.to_vec())).collect())
        };
        assert_eq!(rows(&[]).encode(), None);
        let some = rows(&[(b"a", b""), (b"b", b"value")]);
        let bytes = some.encode().expect("bytes");
        assert_eq!(SharedRows::decode(&bytes), Some(some));
        for length in (1..bytes.len()).filter(|&length| length != 9) {
            assert_eq!(SharedRows::decode(&bytes[..length]), None, "{length}");
        }
    }
}
