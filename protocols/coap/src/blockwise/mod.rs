//! Block-wise transfers (RFC 7959), apart from resources: bodies in pieces, in both directions and for both sides.
//!
//! | module | what |
//! | --- | --- |
//! | `assembly` | pieces put together: a server takes a request's body with it, a client a response's |
//! | `transfers` | what a server keeps of a peer: one body that comes, a few that go |

mod assembly;
mod transfers;

pub use assembly::{Assembly, Piece};
pub use transfers::{Body, Download, Transfers};

use crate::codec::{Packet, option};

/// The value of a Block option (RFC 7959, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the block, below 2^20.
    pub number: u32,
    /// More blocks follow.
    pub more: bool,
    /// The size as an exponent: 0 is 16 bytes, 6 is 1024.
    pub exponent: u8,
}

/// Why a Block option cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The reserved exponent 7.
    ReservedSize,
}

impl Block {
    /// The largest exponent.
    pub const EXPONENT_MAX: u8 = 6;

    /// Reads one of the Block options.
    pub fn of(packet: &Packet, number: u16) -> Result<Option<Self>, BlockError> {
        let Some(value) = packet.uint(number) else { return Ok(None) };
        let exponent = (value & 7) as u8;
        if exponent > Self::EXPONENT_MAX {
            return Err(BlockError::ReservedSize);
        }
        Ok(Some(Self { number: value >> 4, more: value & 8 != 0, exponent }))
    }

    /// Reads Block1, which is about the request's body.
    pub fn of_request(packet: &Packet) -> Result<Option<Self>, BlockError> {
        Self::of(packet, option::BLOCK1)
    }

    /// Reads Block2, which is about the response's body.
    pub fn of_response(packet: &Packet) -> Result<Option<Self>, BlockError> {
        Self::of(packet, option::BLOCK2)
    }

    /// The option's value.
    pub const fn value(self) -> u32 {
        self.number << 4 | (self.more as u32) << 3 | self.exponent as u32
    }

    /// Bytes in a block of this size.
    pub const fn bytes(self) -> usize {
        16 << self.exponent
    }

    /// Where in the body the block begins.
    pub const fn offset(self) -> usize {
        self.number as usize * self.bytes()
    }

    /// The same place in the body in smaller blocks; unchanged if they are not smaller.
    pub const fn at_most(self, exponent: u8) -> Self {
        if exponent >= self.exponent {
            return self;
        }
        Self { number: self.number << (self.exponent - exponent), more: self.more, exponent }
    }

    /// The part of a body that this block has, and the block with its `more` flag right. `None` when the body ends before it.
    pub fn slice(self, body: &[u8]) -> Option<(Self, &[u8])> {
        let start = self.offset();
        if start >= body.len() && start > 0 {
            return None;
        }
        let end = body.len().min(start + self.bytes());
        Some((Self { more: end < body.len(), ..self }, &body[start..end]))
    }
}

/// The largest exponent whose blocks have no more than so many bytes; 0 when none is small enough.
pub const fn exponent_for(bytes: usize) -> u8 {
    let mut exponent = Block::EXPONENT_MAX;
    while exponent > 0 && 16 << exponent > bytes {
        exponent -= 1;
    }
    exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Code, Kind};

    #[test]
    fn rfc7959_section_2_2_values() {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        packet.push_uint(option::BLOCK2, 0x33);
        packet.push_uint(option::BLOCK1, 0x1f);
        let block = Block { number: 3, more: false, exponent: 3 };
        assert_eq!(Block::of_response(&packet), Ok(Some(block)));
        assert_eq!((block.bytes(), block.offset(), block.value()), (128, 384, 0x33));
        assert_eq!(Block::of_request(&packet), Err(BlockError::ReservedSize));
        assert_eq!(block.at_most(1), Block { number: 12, more: false, exponent: 1 });
        assert_eq!(block.at_most(5), block);
        assert_eq!([15, 16, 100, 1024, 9999].map(exponent_for), [0, 0, 2, 6, 6]);
    }

    #[test]
    fn slices_tile_the_body() {
        for length in [0, 1, 15, 16, 17, 64, 100] {
            let body: Vec<u8> = (0..length).collect();
            let mut seen = Vec::new();
            let mut block = Block { number: 0, more: false, exponent: 0 };
            loop {
                let (is, part) = block.slice(&body).expect("within the body");
                seen.extend_from_slice(part);
                if !is.more {
                    break;
                }
                block.number += 1;
            }
            assert_eq!(seen, body);
            assert_eq!(Block { number: block.number + 1, ..block }.slice(&body), None);
        }
    }
}
