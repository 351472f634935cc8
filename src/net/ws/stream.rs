use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{HEADER_BYTES_MAX, Header, Mask, Opcode, Role, WsFault};
use crate::net::listener::ByteStream;

/// Most slices that one write passes on.
const SLICES_MAX: usize = 64;
/// Most bytes that a client masks, and so copies, for one frame.
const CLIENT_FRAME_BYTES: usize = 16 * 1024;

/// A WebSocket after its upgrade, as a byte stream in binary frames.
///
/// What is read goes straight into the caller's buffer and is unmasked there; what is written becomes one frame for
/// each call, with its header in front in the same vectored write. Pings are answered, at most the latest that waits
/// (RFC 6455, section 5.5.3). A fault of the peer is answered with a close frame and given as an error of kind
/// `InvalidData` that holds the [`WsFault`]. After a close frame reading ends.
#[derive(Debug)]
pub struct Ws<T> {
    inner: T,
    /// Payload bytes of the frame being read that are still to come.
    read_left: u64,
    /// Payload bytes that were announced to the peer and not written yet.
    write_left: u64,
    frame_bytes_max: u64,
    rare: Option<Box<Rare>>,
    read_mask: Mask,
    write_mask: Mask,
    header: [u8; HEADER_BYTES_MAX],
    header_length: u8,
    phase: Phase,
    role: Role,
    /// A message has begun and not ended.
    fragmented: bool,
    read_closed: bool,
    close_sent: bool,
}

/// What only some connections have, and only for a while.
#[derive(Debug, Default)]
struct Rare {
    /// Raw bytes that were read together with the upgrade.
    tail: Vec<u8>,
    /// Payload of the control frame being read.
    control: Vec<u8>,
    /// Raw bytes that must be written before anything else.
    output: Vec<u8>,
    sent: usize,
    /// Answer to a ping, to be written between frames.
    pong: Option<Vec<u8>>,
    /// Close frame to be written between frames: its payload.
    close: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Header,
    Data,
    Control(Opcode),
}

impl<T> Ws<T> {
    /// The server's side, after the upgrade. `tail` was read behind the request.
    pub(super) fn server(inner: T, tail: Vec<u8>, frame_bytes_max: u64) -> Self {
        Self::new(inner, Role::Server, tail, frame_bytes_max)
    }

    /// The client's side, after the upgrade. `tail` was read behind the response.
    pub(super) fn client(inner: T, tail: Vec<u8>, frame_bytes_max: u64) -> Self {
        Self::new(inner, Role::Client, tail, frame_bytes_max)
    }

    fn new(inner: T, role: Role, tail: Vec<u8>, frame_bytes_max: u64) -> Self {
        let rare = (!tail.is_empty()).then(|| Box::new(Rare { tail, ..Rare::default() }));
        Self {
            inner,
            read_left: 0,
            write_left: 0,
            frame_bytes_max,
            rare,
            read_mask: Mask::default(),
            write_mask: Mask::default(),
            header: [0; HEADER_BYTES_MAX],
            header_length: 0,
            phase: Phase::Header,
            role,
            fragmented: false,
            read_closed: false,
            close_sent: false,
        }
    }

    /// Turns raw bytes into payload, in place; gives the payload's length.
    fn deframe(&mut self, raw: &mut [u8]) -> Result<usize, WsFault> {
        let (mut read, mut kept) = (0, 0);
        while read < raw.len() && !self.read_closed {
            let available = raw.len() - read;
            match self.phase {
                Phase::Header => {
                    let have = usize::from(self.header_length);
                    let need = if have < 2 { 2 } else { Header::length_of([self.header[0], self.header[1]]) };
                    let count = available.min(need - have);
                    self.header[have..have + count].copy_from_slice(&raw[read..read + count]);
                    self.header_length += count as u8;
                    read += count;
                    let have = have + count;
                    if have >= 2 && have == Header::length_of([self.header[0], self.header[1]]) {
                        self.header_length = 0;
                        self.begin(Header::parse(&self.header[..have], self.role)?)?;
                    }
                }
                Phase::Data => {
                    let count = available.min(usize::try_from(self.read_left).unwrap_or(usize::MAX));
                    raw.copy_within(read..read + count, kept);
                    self.read_mask.apply(&mut raw[kept..kept + count]);
                    read += count;
                    kept += count;
                    self.read_left -= count as u64;
                    if self.read_left == 0 {
                        self.phase = Phase::Header;
                    }
                }
                Phase::Control(opcode) => {
                    let count = available.min(usize::try_from(self.read_left).unwrap_or(usize::MAX));
                    let bytes = &mut raw[read..read + count];
                    self.read_mask.apply(bytes);
                    // At most 125 bytes, as the header was checked.
                    self.rare.get_or_insert_default().control.extend_from_slice(bytes);
                    read += count;
                    self.read_left -= count as u64;
                    if self.read_left == 0 {
                        self.phase = Phase::Header;
                        self.control(opcode)?;
                    }
                }
            }
        }
        Ok(kept)
    }

    fn begin(&mut self, header: Header) -> Result<(), WsFault> {
        match header.opcode {
            Opcode::Text => return Err(WsFault::TextFrame),
            Opcode::Binary if self.fragmented => return Err(WsFault::UnfinishedMessage),
            Opcode::Continuation if !self.fragmented => return Err(WsFault::UnexpectedContinuation),
            Opcode::Binary | Opcode::Continuation => {
                if header.length > self.frame_bytes_max {
                    return Err(WsFault::FrameTooLong(header.length));
                }
                self.fragmented = !header.fin;
                if header.length > 0 {
                    self.phase = Phase::Data;
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong if header.length == 0 => self.control(header.opcode)?,
            control @ (Opcode::Close | Opcode::Ping | Opcode::Pong) => self.phase = Phase::Control(control),
        }
        self.read_left = header.length;
        self.read_mask = header.mask;
        Ok(())
    }

    /// Handles a whole control frame.
    fn control(&mut self, opcode: Opcode) -> Result<(), WsFault> {
        let payload = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.control)).unwrap_or_default();
        match opcode {
            Opcode::Ping => self.rare.get_or_insert_default().pong = Some(payload),
            Opcode::Close => {
                self.read_closed = true;
                check_close(&payload)?;
                // The answer repeats the code (section 5.5.1).
                self.close(payload.get(..2).unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, payload: &[u8]) {
        if !self.close_sent {
            let rare = self.rare.get_or_insert_default();
            rare.close.get_or_insert_with(|| payload.to_vec());
        }
    }
}

fn check_close(payload: &[u8]) -> Result<(), WsFault> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(WsFault::BadClose),
    };
    let code_fine = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if code_fine && std::str::from_utf8(reason).is_ok() { Ok(()) } else { Err(WsFault::BadClose) }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Ws<T> {
    /// Writes what must go out before more data: the rest of a frame's header, an answer to a ping, a close frame.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rare) = &mut self.rare {
            if rare.sent < rare.output.len() {
                let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &rare.output[rare.sent..]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                rare.sent += count;
                continue;
            }
            rare.output = Vec::new();
            rare.sent = 0;
            if self.write_left == 0 && !self.close_sent {
                let (opcode, payload) = match (rare.pong.take(), rare.close.take()) {
                    (None, Some(payload)) => (Opcode::Close, Some(payload)),
                    (pong, close) => {
                        rare.close = close;
                        (Opcode::Pong, pong)
                    }
                };
                if let Some(payload) = payload {
                    self.close_sent = opcode == Opcode::Close;
                    rare.output = control_frame(opcode, payload, self.role);
                    continue;
                }
            }
            if rare.tail.is_empty() && rare.control.is_empty() && rare.pong.is_none() && rare.close.is_none() {
                self.rare = None;
            }
            break;
        }
        Poll::Ready(Ok(()))
    }

    /// Begins a frame over all of `bufs`; gives the payload bytes that went out with its header, if it got that far.
    fn poll_begin_frame(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut total = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let mut header = [0; HEADER_BYTES_MAX];
        let (length, count) = match self.role {
            Role::Server => {
                let length = Header::write(&mut header, Opcode::Binary, total as u64, None);
                let mut slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = SmallVec::new();
                slices.push(IoSlice::new(&header[..length]));
                slices.extend(bufs.iter().map(|buf| IoSlice::new(buf)));
                (length, ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &slices))?)
            }
            Role::Client => {
                total = total.min(CLIENT_FRAME_BYTES);
                let mask = Mask::random();
                let length = Header::write(&mut header, Opcode::Binary, total as u64, Some(mask));
                let mut frame = header[..length].to_vec();
                gather_masked(&mut frame, bufs, total, mask);
                let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &frame))?;
                self.write_mask = mask;
                (length, count)
            }
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        // From here on the peer knows of `total` bytes: they will come from this and the following calls.
        self.write_left = total as u64;
        if count < length {
            self.rare.get_or_insert_default().output = header[count..length].to_vec();
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(Ok(self.wrote(count - length)))
    }

    /// Goes on with a frame that was begun.
    fn poll_continue_frame(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut left = usize::try_from(self.write_left).unwrap_or(usize::MAX);
        let count = match self.role {
            Role::Server => {
                let mut slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = SmallVec::new();
                for buf in bufs {
                    let part = &buf[..buf.len().min(left)];
                    left -= part.len();
                    slices.push(IoSlice::new(part));
                }
                ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &slices))?
            }
            Role::Client => {
                let mut part = Vec::new();
                gather_masked(&mut part, bufs, left, self.write_mask);
                ready!(Pin::new(&mut self.inner).poll_write(cx, &part))?
            }
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(self.wrote(count)))
    }

    fn wrote(&mut self, count: usize) -> usize {
        self.write_left -= count as u64;
        self.write_mask.advance(count);
        count
    }
}

fn gather_masked(out: &mut Vec<u8>, bufs: &[IoSlice<'_>], limit: usize, mut mask: Mask) {
    let start = out.len();
    for buf in bufs {
        let room = limit - (out.len() - start);
        out.extend_from_slice(&buf[..buf.len().min(room)]);
    }
    mask.apply(&mut out[start..]);
}

fn control_frame(opcode: Opcode, mut payload: Vec<u8>, role: Role) -> Vec<u8> {
    let mut header = [0; HEADER_BYTES_MAX];
    let mask = (role == Role::Client).then(Mask::random);
    let length = Header::write(&mut header, opcode, payload.len() as u64, mask);
    if let Some(mut mask) = mask {
        mask.apply(&mut payload);
    }
    [&header[..length], &payload].concat()
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Ws<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // What cannot be written now goes with the next write or read.
            if let Poll::Ready(Err(error)) = this.poll_output(cx) {
                return Poll::Ready(Err(error));
            }
            if this.read_closed || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let start = buf.filled().len();
            match &mut this.rare {
                Some(rare) if !rare.tail.is_empty() => {
                    let count = rare.tail.len().min(buf.remaining());
                    buf.put_slice(&rare.tail[..count]);
                    rare.tail.drain(..count);
                }
                _ => ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?,
            }
            if buf.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            match this.deframe(&mut buf.filled_mut()[start..]) {
                Ok(0) => buf.set_filled(start),
                Ok(kept) => {
                    buf.set_filled(start + kept);
                    // An answer that cannot be written now waits; an error will come back.
                    let _ = this.poll_output(cx);
                    return Poll::Ready(Ok(()));
                }
                Err(fault) => {
                    buf.set_filled(start);
                    this.read_closed = true;
                    this.close(&fault.close_code().to_be_bytes());
                    let _ = this.poll_output(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Ws<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bufs = &bufs[..bufs.len().min(SLICES_MAX - 1)];
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(this.poll_output(cx))?;
            if this.close_sent {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = match this.write_left {
                0 => ready!(this.poll_begin_frame(cx, bufs))?,
                _ => ready!(this.poll_continue_frame(cx, bufs))?,
            };
            // Zero: only the header, or a part of it, went out.
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.close(&1000u16.to_be_bytes());
        ready!(this.poll_output(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<T: ByteStream> ByteStream for Ws<T> {
    const MOVES: bool = T::MOVES;

    fn select_main(&mut self) {
        self.inner.select_main();
    }
}

#[cfg(test)]
mod tests;
