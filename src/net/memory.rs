//! Connections inside the process: two ends of a bounded two-way pipe, and the listener that takes them. For embedding,
//! tests and measurements; nothing of the system is involved.

mod listener;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listener::ByteStream;
pub use listener::{MemoryListener, OpenError};

/// Usual limit on the bytes that wait in one direction.
pub const BUFFER_BYTES_MAX: u32 = 64 * 1024;
/// Smallest buffer, as far as the limit allows it.
const BUFFER_BYTES_MIN: usize = 64;

/// Makes the two ends of a connection.
///
/// At most `buffer_bytes_max` bytes (at least 1) wait in each direction; then writes wait until the other end has read.
/// A direction in which nothing waits holds no buffer.
pub fn pair(buffer_bytes_max: u32) -> (MemoryStream, MemoryStream) {
    let pipe = Pipe { directions: Default::default(), bytes_max: buffer_bytes_max.max(1) };
    let pipe = Arc::new(Mutex::new(pipe));
    (MemoryStream { pipe: pipe.clone(), side: 0 }, MemoryStream { pipe, side: 1 })
}

/// One end of a connection inside the process.
///
/// Dropping it ends both directions: the other end reads what was written, then the end of the stream, and its writes fail
/// with `BrokenPipe`. Shutting down ends the outgoing direction alone.
pub struct MemoryStream {
    pipe: Arc<Mutex<Pipe>>,
    /// The direction that this end writes to.
    side: u8,
}

struct Pipe {
    directions: [Direction; 2],
    bytes_max: u32,
}

#[derive(Default)]
struct Direction {
    /// Never empty.
    held: Option<Box<Held>>,
    reader: Option<Waker>,
    /// The writing end will write no more.
    ended: bool,
    /// The reading end is gone.
    deaf: bool,
}

#[derive(Default)]
struct Held {
    bytes: VecDeque<u8>,
    /// Only a full buffer is waited for, so there is one.
    writer: Option<Waker>,
}

impl Held {
    fn append(&mut self, bytes: &[u8], bytes_max: usize) -> usize {
        let held = self.bytes.len();
        let count = bytes.len().min(bytes_max - held);
        if held + count > self.bytes.capacity() {
            // Grows by doubling, but not beyond the limit as the queue itself would.
            let wanted = (held + count).next_power_of_two().max(BUFFER_BYTES_MIN).min(bytes_max);
            self.bytes.reserve_exact(wanted - held);
        }
        self.bytes.extend(&bytes[..count]);
        count
    }

    fn read(&mut self, buffer: &mut ReadBuf<'_>) {
        let (first, second) = self.bytes.as_slices();
        let mut count = 0;
        for part in [first, second] {
            let taken = part.len().min(buffer.remaining());
            buffer.put_slice(&part[..taken]);
            count += taken;
        }
        self.bytes.drain(..count);
    }
}

impl MemoryStream {
    fn outgoing(&self) -> usize {
        usize::from(self.side)
    }

    fn incoming(&self) -> usize {
        1 - usize::from(self.side)
    }

    fn poll_write_all<'a>(
        &self,
        cx: &Context<'_>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe.lock();
        let bytes_max = pipe.bytes_max as usize;
        let direction = &mut pipe.directions[self.outgoing()];
        if direction.ended || direction.deaf {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if parts.clone().all(<[u8]>::is_empty) {
            return Poll::Ready(Ok(0));
        }
        let held = direction.held.get_or_insert_default();
        let count = parts.map(|part| held.append(part, bytes_max)).sum();
        // Wakers are woken and dropped without the lock: what they keep alive may be an end of this very pipe.
        if count == 0 {
            let former = wait(&mut held.writer, cx);
            drop(pipe);
            drop(former);
            return Poll::Pending;
        }
        let reader = direction.reader.take();
        drop(pipe);
        wake(reader);
        Poll::Ready(Ok(count))
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut pipe = self.pipe.lock();
        let direction = &mut pipe.directions[self.incoming()];
        let Some(held) = &mut direction.held else {
            if direction.ended {
                return Poll::Ready(Ok(()));
            }
            let former = wait(&mut direction.reader, cx);
            drop(pipe);
            drop(former);
            return Poll::Pending;
        };
        held.read(buffer);
        let writer = held.writer.take();
        let emptied = direction.held.take_if(|held| held.bytes.is_empty());
        drop(pipe);
        drop(emptied);
        wake(writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, parts.iter().map(|part| &**part))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe.lock();
        let direction = &mut pipe.directions[self.outgoing()];
        direction.ended = true;
        let reader = direction.reader.take();
        drop(pipe);
        wake(reader);
        Poll::Ready(Ok(()))
    }
}

impl ByteStream for MemoryStream {
    const ENDS_BY_DROP: bool = true;
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock();
        let outgoing = &mut pipe.directions[self.outgoing()];
        outgoing.ended = true;
        let reader = outgoing.reader.take();
        let own_writer = outgoing.held.as_mut().and_then(|held| held.writer.take());
        let incoming = &mut pipe.directions[self.incoming()];
        incoming.deaf = true;
        let writer = incoming.held.take().and_then(|held| held.writer);
        let own_reader = incoming.reader.take();
        drop(pipe);
        drop((own_reader, own_writer));
        wake(reader);
        wake(writer);
    }
}

/// Puts the caller's waker in its place; the former one is the caller's to drop.
fn wait(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => place.replace(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
