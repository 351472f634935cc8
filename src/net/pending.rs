//! What a connection holds only while it must: an incomplete frame, bytes that could not be written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use smallvec::SmallVec;
use thingway_contract::{Outbox, Splice};

use super::ByteStream;

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

/// Output that the transport did not take yet.
#[derive(Debug, Default)]
pub struct Unwritten {
    wire: Vec<u8>,
    splices: Vec<Splice>,
    written: usize,
    answers: usize,
}

impl Unwritten {
    /// Takes what is left of an outbox after `written` bytes.
    pub fn new(out: &mut Outbox, written: usize) -> Self {
        let (wire, splices) = out.take_unwritten();
        Self { wire, splices, written, answers: 0 }
    }

    /// Puts what is in the outbox behind the rest.
    pub fn append(&mut self, out: &mut Outbox) {
        self.answers += out.len();
        let (wire, splices) = out.take_unwritten();
        let before = self.wire.len();
        self.splices.extend(splices.into_iter().map(|splice| Splice { at: splice.at + before, ..splice }));
        self.wire.extend_from_slice(&wire);
    }

    /// Bytes that were appended.
    pub fn answer_bytes(&self) -> usize {
        self.answers
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

#[cfg(test)]
mod tests {
    use thingway_contract::{Message, MessageHead, Properties, Topic, TopicLimits};
    use tokio::io::AsyncReadExt;

    use super::*;

    impl ByteStream for tokio::net::UnixStream {}

    #[tokio::test]
    async fn what_is_appended_comes_after_the_rest() {
        let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
        let long = vec![7; Outbox::SPLICE_BYTES_MIN];
        let message = Message::new(MessageHead::default(), topic, Properties::default(), &long);
        let mut out = Outbox::default();
        let mut fill = |head: &[u8]| {
            out.wire().extend_from_slice(head);
            out.payload(&message);
            out.wire().extend_from_slice(b".");
            std::mem::take(&mut out)
        };
        let mut unwritten = Unwritten::new(&mut fill(b"ab"), 1);
        unwritten.append(&mut fill(b"cd"));
        assert_eq!(unwritten.answer_bytes(), 3 + long.len());

        let (mut near, mut far) = tokio::net::UnixStream::pair().expect("sockets");
        let mut read = Vec::new();
        let write = async {
            std::future::poll_fn(|cx| unwritten.poll_write(&mut near, cx)).await.expect("written");
            drop(near);
        };
        let ((), count) = tokio::join!(write, far.read_to_end(&mut read));
        count.expect("read");
        assert_eq!(read, [b"b", &long[..], b".cd", &long[..], b"."].concat());
    }
}
