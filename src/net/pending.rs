//! What a connection holds only while it must: an incomplete frame, bytes that could not be written, a session to wait for.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use smallvec::SmallVec;
use thingway_contract::{Outbox, Splice};

use super::ByteStream;
use crate::bus::SessionRequest;

/// Most pieces in one vectored write.
const PIECES_MAX: usize = 64;

/// Input that the protocol has not consumed.
#[derive(Debug)]
pub struct Stash {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Length of the frame that begins them, 0 when unknown.
    pub wanted: usize,
}

impl Stash {
    /// Keeps a copy of `bytes`.
    pub fn new(bytes: &[u8], wanted: usize) -> Box<Self> {
        Box::new(Self { bytes: bytes.to_vec(), wanted })
    }

    /// True when the frame is all there.
    pub fn is_complete(&self) -> bool {
        self.bytes.len() >= self.wanted
    }
}

/// A request for a session that another connection holds.
#[derive(Debug)]
pub struct Pending {
    /// To be asked again.
    pub request: SessionRequest,
}

/// Output that the transport did not take yet.
#[derive(Debug, Default)]
pub struct Unwritten {
    wire: Vec<u8>,
    splices: Vec<Splice>,
    written: usize,
}

impl Unwritten {
    /// Takes what is left of an outbox after `written` bytes.
    pub fn new(out: &mut Outbox, written: usize) -> Self {
        let (wire, splices) = out.take_unwritten();
        Self { wire, splices, written }
    }

    /// Writes on; ready when all is written and flushed.
    pub fn poll_write<T: ByteStream>(&mut self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let total = self.wire.len() + self.splices.iter().map(|splice| splice.message.payload().len()).sum::<usize>();
        while self.written < total {
            let pieces = thingway_contract::pieces(&self.wire, &self.splices);
            match ready!(poll_write_pieces(io, pieces, self.written, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Pin::new(io).poll_flush(cx)
    }
}

/// Writes pieces from an offset on: one plain write for one piece, a vectored one for several.
pub fn poll_write_pieces<'a, T: ByteStream>(
    io: &mut T,
    pieces: impl Iterator<Item = &'a [u8]>,
    mut skip: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut slices: SmallVec<[IoSlice<'a>; 8]> = SmallVec::new();
    for piece in pieces {
        if skip >= piece.len() {
            skip -= piece.len();
            continue;
        }
        slices.push(IoSlice::new(&piece[skip..]));
        skip = 0;
        if slices.len() == PIECES_MAX {
            break;
        }
    }
    match slices.as_slice() {
        [] => Poll::Ready(Ok(0)),
        [one] => Pin::new(io).poll_write(cx, one),
        many => Pin::new(io).poll_write_vectored(cx, many),
    }
}
