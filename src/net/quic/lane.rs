use std::{
    io,
    task::{Context, Poll, ready},
};

use quinn::{RecvStream, SendStream, StreamId};
use tokio::io::ReadBuf;

use super::FrameLength;

/// Bytes after which a frame's length must be known; otherwise they are passed on for the protocol to refuse.
const HEAD_BYTES_MAX: usize = 16;
/// Most bytes read at once behind an incomplete frame.
const READ_BYTES: usize = 4096;

/// One stream of a connection.
pub(super) struct Lane {
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    /// An incomplete frame, or complete ones that the reader had no room for.
    buffer: Vec<u8>,
    /// Bytes, first in `buffer` and then to come, that may be passed on: the rest of whole frames.
    ready: usize,
    /// The peer has finished its side.
    pub(super) ended: bool,
}

impl Lane {
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { send, receive, buffer: Vec::new(), ready: 0, ended: false }
    }

    pub(super) fn id(&self) -> StreamId {
        self.send.id()
    }

    /// True while a frame was passed on in part: no other lane may be read.
    pub(super) fn is_inside_frame(&self) -> bool {
        self.ready > 0
    }

    /// Passes on whole frames, or parts of one that is too long to keep. Nothing at the end of the stream.
    pub(super) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        frame_length: FrameLength,
        buffer_bytes_max: usize,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 {
                return self.poll_pass(cx, buf);
            }
            if self.buffer.is_empty() {
                let start = buf.filled().len();
                ready!(self.receive.poll_read_buf(cx, buf))?;
                let fresh = &buf.filled()[start..];
                if fresh.is_empty() {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                let whole = whole_frames(fresh, frame_length);
                self.buffer = fresh[whole..].to_vec();
                buf.set_filled(start + whole);
                if whole > 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            self.ready = whole_frames(&self.buffer, frame_length);
            if self.ready > 0 {
                continue;
            }
            match frame_length.of(&self.buffer) {
                Some(length) if length > buffer_bytes_max => self.ready = length,
                None if self.buffer.len() >= HEAD_BYTES_MAX => self.ready = self.buffer.len(),
                _ => {
                    let mut fresh = [0; READ_BYTES];
                    let count = ready!(self.receive.poll_read(cx, &mut fresh))?;
                    if count == 0 {
                        self.ended = true;
                        return Poll::Ready(Ok(()));
                    }
                    self.buffer.extend_from_slice(&fresh[..count]);
                }
            }
        }
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = self.ready.min(buf.remaining());
        let count = if self.buffer.is_empty() {
            let count = ready!(self.receive.poll_read(cx, buf.initialize_unfilled_to(room)))?;
            buf.advance(count);
            if count == 0 {
                self.ended = true;
            }
            count
        } else {
            let count = room.min(self.buffer.len());
            buf.put_slice(&self.buffer[..count]);
            self.buffer.drain(..count);
            if self.buffer.is_empty() {
                self.buffer = Vec::new();
            }
            count
        };
        self.ready -= count;
        Poll::Ready(Ok(()))
    }
}

/// Length of the whole frames at the front.
fn whole_frames(bytes: &[u8], frame_length: FrameLength) -> usize {
    let mut whole = 0;
    while whole < bytes.len() {
        match frame_length.of(&bytes[whole..]) {
            Some(length) if length > 0 && length <= bytes.len() - whole => whole += length,
            _ => break,
        }
    }
    whole
}

/// Where in a frame a sequence of bytes is.
pub(super) struct Boundary {
    frame_length: FrameLength,
    /// First bytes of a frame whose length is not known yet.
    head: Vec<u8>,
    left: usize,
}

impl Boundary {
    pub(super) fn new(frame_length: FrameLength) -> Self {
        Self { frame_length, head: Vec::new(), left: 0 }
    }

    /// True between frames.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }

    /// How many bytes surely belong to the frame.
    pub(super) fn left(&self) -> usize {
        self.left.max(1)
    }

    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = &bytes[count..];
                continue;
            }
            let before = self.head.len();
            let taken = bytes.len().min(HEAD_BYTES_MAX);
            self.head.extend_from_slice(&bytes[..taken]);
            match self.frame_length.of(&self.head) {
                Some(length) => {
                    // The head's bytes that were seen before are behind us.
                    self.left = length.saturating_sub(before).max(1);
                    self.head = Vec::new();
                }
                None => {
                    self.head.truncate(HEAD_BYTES_MAX);
                    bytes = &bytes[taken..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bytes of length, which count themselves.
    fn two(bytes: &[u8]) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
    }

    #[test]
    fn boundaries_are_found_in_pieces_of_any_size() {
        let stream: Vec<u8> = [2u16, 3, 40, 2, 300, 5]
            .into_iter()
            .flat_map(|length| [&length.to_be_bytes()[..], &vec![9; usize::from(length) - 2]].concat())
            .collect();
        let ends = [2, 5, 45, 47, 347, 352];
        for piece in 1..=60 {
            let (mut boundary, mut at) = (Boundary::new(FrameLength(two)), 0);
            for bytes in stream.chunks(piece) {
                boundary.advance(bytes);
                at += bytes.len();
                assert_eq!(boundary.is_between(), ends.contains(&at), "piece {piece}, at {at}");
            }
        }
    }

    #[test]
    fn whole_frames_stop_at_an_incomplete_one() {
        assert_eq!(whole_frames(&[0, 2, 0, 3, 7, 0, 9, 1], FrameLength(two)), 5);
        assert_eq!(whole_frames(&[0, 2, 0], FrameLength(two)), 2);
        assert_eq!(whole_frames(&[0, 0, 0, 0], FrameLength(two)), 0, "a frame of no length would never end");
    }
}
