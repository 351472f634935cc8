//! Numbers that follow from a seed: SplitMix64.

use std::ops::RangeInclusive;

/// A stream of numbers. What is drawn from one changes nothing in another, so that a client's part of a schedule does not depend on what others drew.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed and name.
    pub fn new(seed: u64, name: [u64; 2]) -> Self {
        let mut random = Self(seed);
        for part in name {
            random.0 = random.next() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number of this range.
    pub fn of(&mut self, range: RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end() - range.start()) + 1;
        range.start() + (self.next() % span) as u32
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.of(0..=99) < percent
    }

    /// `value`, in so many of a hundred cases.
    pub fn maybe<T>(&mut self, percent: u32, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| value(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_follows_from_its_seed_and_name() {
        let draw = |seed, name| {
            let mut random = Random::new(seed, name);
            [(); 20].map(|()| random.of(0..=999))
        };
        assert_eq!(draw(1, [2, 3]), draw(1, [2, 3]));
        for (seed, name) in [(2, [2, 3]), (1, [3, 3]), (1, [2, 4]), (1, [3, 2])] {
            assert_ne!(draw(1, [2, 3]), draw(seed, name));
        }
    }

    #[test]
    fn numbers_are_of_their_range_and_all_of_it() {
        let mut random = Random::new(1, [0, 0]);
        let mut seen = [0; 4];
        for _ in 0..1000 {
            seen[random.of(3..=6) as usize - 3] += 1;
        }
        assert!(seen.iter().all(|count| (200..300).contains(count)), "{seen:?}");
        assert!((200..300).contains(&(0..1000).filter(|_| random.chance(25)).count()));
    }
}
