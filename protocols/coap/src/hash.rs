//! SipHash-2-4 and a small generator of numbers: what identifiers, tokens and random back-off are made of.

/// For hashes that need not be secret: entity tags, keys of transfers.
pub(crate) const PUBLIC_KEY: [u8; 16] = *b"thingway coap\0\0\0";

/// SipHash-2-4 (Aumasson and Bernstein, 2012), fed in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Sip {
    v: [u64; 4],
    tail: u64,
    length: usize,
}

impl Sip {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| key[at + i]));
        let (k0, k1) = (half(0), half(8));
        let v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Self { v, tail: 0, length: 0 }
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.length.is_multiple_of(8) || rest.len() < 8 {
            let Some((byte, tail)) = rest.split_first() else { return };
            self.tail |= u64::from(*byte) << (self.length % 8 * 8);
            self.length += 1;
            rest = tail;
            if self.length.is_multiple_of(8) {
                let word = std::mem::take(&mut self.tail);
                self.word(word);
            }
        }
        let (words, tail) = rest.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.length += rest.len() - tail.len();
        for byte in tail {
            self.tail |= u64::from(*byte) << (self.length % 8 * 8);
            self.length += 1;
        }
    }

    pub(crate) fn finish(mut self) -> u64 {
        let last = self.tail | (self.length as u64) << 56;
        self.word(last);
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.v.iter().fold(0, |all, word| all ^ word)
    }
}

/// The hash of the pieces one after another, each with its length in front.
pub(crate) fn keyed(key: &[u8; 16], pieces: &[&[u8]]) -> u64 {
    let mut hash = Sip::new(key);
    for piece in pieces {
        hash.write(&(piece.len() as u64).to_le_bytes());
        hash.write(piece);
    }
    hash.finish()
}

/// SplitMix64: numbers that somebody who does not know the seed cannot tell, and that a test can repeat.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, or 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_its_authors_test_vectors() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let message: Vec<u8> = (0..63).collect();
        for (length, expected) in [(0, 0x726f_db47_dd0e_0e31), (1, 0x74f8_39c5_93dc_67fd), (15, 0xa129_ca61_49be_45e5)]
        {
            for split in 0..=length {
                let mut hash = Sip::new(&key);
                hash.write(&message[..split]);
                hash.write(&message[split..length]);
                assert_eq!(hash.finish(), expected, "{length} bytes in pieces of {split}");
            }
        }
    }
}
