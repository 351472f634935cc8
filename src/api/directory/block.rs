//! A few hundred entries of a directory that follow each other: each kind of text in one piece, so that a search reads straight through memory.

use memchr::memmem::Finder;

/// Most entries in a block.
pub const BLOCK_MAX: usize = 512;
/// A block below this is joined with the one before it if both fit well.
const BLOCK_MIN: usize = 64;
const BLOCK_JOINED_MAX: usize = 384;

/// Which entries of a block are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits([u64; BLOCK_MAX / 64]);

impl Bits {
    /// The entries from one to before another.
    pub fn range(from: usize, upto: usize) -> Self {
        let mut bits = Self::default();
        for (number, word) in bits.0.iter_mut().enumerate() {
            let below = |end: usize| match end.saturating_sub(number * 64) {
                0 => 0,
                count @ 1..64 => (1 << count) - 1,
                _ => u64::MAX,
            };
            *word = below(upto) & !below(from);
        }
        bits
    }

    pub fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    pub fn is_empty(&self) -> bool {
        self.0 == Self::default().0
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Those that are set, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(number, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let at = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(number * 64 + at)
            })
        })
    }
}

/// Texts of one kind, one after the other, a NUL behind each: none of them holds one, so nothing that is searched for is found across two.
#[derive(Debug, Default)]
pub struct Column {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Column {
    pub fn bytes_of(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    pub fn get(&self, at: usize) -> &str {
        std::str::from_utf8(self.bytes_of(at)).unwrap_or_default()
    }

    /// Marks the entries whose text holds what is searched for.
    ///
    /// Where many do, they mostly hold it at the same place, as what a program has numbered: so behind a hit that place is looked at first.
    pub fn search(&self, finder: &Finder<'_>, found: &mut Bits) {
        let (mut at, mut from) = (0, 0);
        while let Some(hit) = self.bytes.get(from..).and_then(|rest| finder.find(rest)) {
            let hit = from + hit;
            at = self.entry_from(at, hit as u32);
            if at >= self.ends.len() {
                return;
            }
            let place = hit - self.start(at);
            while self.bytes_of(at).get(place..).is_some_and(|rest| rest.starts_with(finder.needle())) {
                found.set(at);
                at += 1;
                if at >= self.ends.len() {
                    return;
                }
            }
            from = self.start(at);
        }
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] as usize + 1)
    }

    /// The entry, this one or a later one, that a place is in.
    fn entry_from(&self, at: usize, place: u32) -> usize {
        match self.ends.get(at) {
            Some(&end) if end < place => at + self.ends[at..].partition_point(|&end| end < place),
            _ => at,
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        self.bytes.push(0);
    }
}

/// Entries in order. The first column has their names; facts are what is no text.
#[derive(Debug)]
pub struct Block<F> {
    columns: Box<[Column]>,
    facts: Vec<F>,
}

impl<F: Copy> Block<F> {
    fn new(columns: usize) -> Self {
        Self { columns: (0..columns).map(|_| Column::default()).collect(), facts: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.facts.len()
    }

    pub fn name(&self, at: usize) -> &str {
        self.columns[0].get(at)
    }

    pub fn column(&self, number: usize) -> &Column {
        &self.columns[number]
    }

    pub fn facts(&self) -> &[F] {
        &self.facts
    }

    /// The first entry behind a name.
    pub fn after(&self, name: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.columns[0].bytes_of(middle) <= name.as_bytes() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn push(&mut self, name: &str, texts: &[&str], facts: F) {
        let texts = std::iter::once(name).chain(texts.iter().copied());
        self.columns.iter_mut().zip(texts).for_each(|(column, text)| column.push(text.as_bytes()));
        self.facts.push(facts);
    }

    fn copy(&mut self, other: &Self, at: usize) {
        self.columns.iter_mut().zip(&other.columns).for_each(|(column, other)| column.push(other.bytes_of(at)));
        self.facts.push(other.facts[at]);
    }

    /// Gives back room that is not needed.
    fn shrink(&mut self) {
        for column in &mut self.columns {
            column.bytes.shrink_to_fit();
            column.ends.shrink_to_fit();
        }
        self.facts.shrink_to_fit();
    }
}

/// Writes entries in their order into blocks.
pub struct Writer<'a, F> {
    blocks: &'a mut Vec<std::sync::Arc<Block<F>>>,
    columns: usize,
    /// Entries in a block.
    each: usize,
    block: Block<F>,
}

impl<'a, F: Copy> Writer<'a, F> {
    /// For about as many entries as `count`.
    pub fn new(blocks: &'a mut Vec<std::sync::Arc<Block<F>>>, columns: usize, count: usize) -> Self {
        let count = count.max(1);
        let each = count.div_ceil(count.div_ceil(BLOCK_MAX));
        Self { blocks, columns, each, block: Block::new(columns) }
    }

    pub fn push(&mut self, name: &str, texts: &[&str], facts: F) {
        self.block.push(name, texts, facts);
        self.turn();
    }

    pub fn copy(&mut self, other: &Block<F>, at: usize) {
        self.block.copy(other, at);
        self.turn();
    }

    fn turn(&mut self) {
        if self.block.len() >= self.each {
            self.write();
        }
    }

    fn write(&mut self) {
        let mut block = std::mem::replace(&mut self.block, Block::new(self.columns));
        if block.len() == 0 {
            return;
        }
        let is_small = |last: &mut std::sync::Arc<Block<F>>| {
            last.len().min(block.len()) < BLOCK_MIN && last.len() + block.len() <= BLOCK_JOINED_MAX
        };
        if let Some(last) = self.blocks.pop_if(is_small) {
            let mut joined = Block::new(self.columns);
            (0..last.len()).for_each(|at| joined.copy(&last, at));
            (0..block.len()).for_each(|at| joined.copy(&block, at));
            block = joined;
        }
        block.shrink();
        self.blocks.push(block.into());
    }
}

impl<F: Copy> Writer<'_, F> {
    /// Writes what is left.
    pub fn finish(mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_that_were_set() {
        for (from, upto) in [(0, 0), (0, 1), (3, 64), (63, 65), (64, 128), (0, 512), (511, 512), (100, 300)] {
            let mut bits = Bits::range(from, upto);
            assert_eq!(bits.iter().collect::<Vec<_>>(), (from..upto).collect::<Vec<_>>());
            assert_eq!((bits.is_empty(), bits.len()), (from == upto, upto - from));
            bits.and(&Bits::range(64, 512));
            assert_eq!(bits.iter().collect::<Vec<_>>(), (from.max(64)..upto.max(64)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn texts_are_found_within_themselves_only() {
        let mut column = Column::default();
        for text in ["", "ab", "b", "abab", "", "xab"] {
            column.push(text.as_bytes());
        }
        let search = |what: &str| {
            let mut found = Bits::default();
            column.search(&Finder::new(what), &mut found);
            found.iter().collect::<Vec<_>>()
        };
        assert_eq!(search("ab"), [1, 3, 5]);
        assert_eq!(search("b"), [1, 2, 3, 5]);
        assert_eq!(search("bb"), [0; 0]);
        assert_eq!(search("abab"), [3]);
        assert_eq!(search(""), [0, 1, 2, 3, 4, 5]);
        assert_eq!(search("z"), [0; 0]);
        assert_eq!((column.get(0), column.get(3), column.get(5)), ("", "abab", "xab"));
    }

    #[test]
    fn a_search_finds_what_comparing_each_does() {
        // Texts that hold it at the same place, at another, several times, at their end, or not at all.
        let texts: Vec<_> = (0..BLOCK_MAX)
            .map(|number| match number % 23 {
                3 => String::new(),
                7 => format!("xx-{number}-dev"),
                11 => format!("dev{number}dev"),
                13 => "de".to_owned(),
                17 => format!("v-{number}"),
                _ => format!("dev-{number}"),
            })
            .collect();
        let mut column = Column::default();
        texts.iter().for_each(|text| column.push(text.as_bytes()));
        for what in ["dev", "dev-", "-1", "1", "dev-51", "v", "-dev", "devv", "dev11dev", "x", "e"] {
            let mut found = Bits::default();
            column.search(&Finder::new(what), &mut found);
            let expected: Vec<_> = (0..texts.len()).filter(|at| texts[*at].contains(what)).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{what}");
        }
    }
}
