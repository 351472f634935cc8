use super::Block;

/// A body that comes in blocks, in order and without gaps (RFC 7959, section 2.5: atomic).
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
    /// Where the last block began.
    last: usize,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Taken, and more is to come.
    More,
    /// Taken, and it was the last: [`Assembly::take`] has the body.
    Whole,
    /// It does not go where the body ends so far: 4.08.
    OutOfOrder,
    /// The body would have more bytes than allowed: 4.13.
    TooLarge,
    /// Another number of bytes than its size says, though more blocks follow: 4.00.
    WrongSize,
}

impl Assembly {
    /// Takes a block. Number 0 begins anew, and the last block once more changes nothing.
    pub fn add(&mut self, block: Block, bytes: &[u8], bytes_max: usize) -> Piece {
        if block.more && bytes.len() != block.bytes() || bytes.len() > block.bytes() {
            return Piece::WrongSize;
        }
        let start = block.offset();
        if start == 0 {
            self.bytes.clear();
        }
        let again = start == self.last && start > 0 && self.bytes.get(start..) == Some(bytes);
        if start != self.bytes.len() && !again {
            return Piece::OutOfOrder;
        }
        if start + bytes.len() > bytes_max {
            self.take();
            return Piece::TooLarge;
        }
        if !again {
            self.bytes.extend_from_slice(bytes);
            self.last = start;
        }
        if block.more { Piece::More } else { Piece::Whole }
    }

    /// The body so far; the assembly is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        self.last = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn block(number: u32, more: bool) -> Block {
        Block { number, more, exponent: 0 }
    }

    #[test]
    fn rfc7959_section_2_5_blocks_come_in_order() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(block(1, true), &[1; 16], 99), Piece::OutOfOrder);
        assert_eq!(assembly.add(block(0, true), &[1; 16], 99), Piece::More);
        assert_eq!(assembly.add(block(1, true), &[2; 16], 99), Piece::More);
        assert_eq!(assembly.add(block(1, true), &[2; 16], 99), Piece::More, "the same block once more");
        assert_eq!(assembly.len(), 32);
        assert_eq!(assembly.add(block(1, true), &[3; 16], 99), Piece::OutOfOrder, "another block in its place");
        assert_eq!(assembly.add(block(3, false), &[3; 2], 99), Piece::OutOfOrder);
        assert_eq!(assembly.add(block(2, true), &[3; 2], 99), Piece::WrongSize);
        assert_eq!(assembly.add(block(2, false), &[3; 2], 99), Piece::Whole);
        assert_eq!(assembly.take().len(), 34);
        assert!(assembly.is_empty());
    }

    #[test]
    fn rfc7959_section_2_9_3_too_much_is_given_up() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(block(0, true), &[1; 16], 20), Piece::More);
        assert_eq!(assembly.add(block(1, true), &[1; 16], 20), Piece::TooLarge);
        assert!(assembly.is_empty());
        assert_eq!(assembly.add(block(0, true), &[1; 16], 20), Piece::More);
        assert_eq!(assembly.add(block(0, true), &[2; 16], 20), Piece::More, "number 0 begins anew");
        assert_eq!(assembly.take(), [2; 16]);
    }
}
