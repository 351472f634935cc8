use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use quinn::{Connection, RecvStream, SendStream, StreamId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    FrameLength, QuicOptions,
    lane::{Boundary, Lane},
};
use crate::net::listener::ByteStream;

/// How long the end of a connection waits for the peer to have all that was written.
const FAREWELL: Duration = Duration::from_secs(2);

/// The streams of a QUIC connection as one byte stream.
///
/// The first stream that the client opens is the main one: its end is the end. Frames that come on further streams of
/// the client are merged in whole; what is written right after they were read goes back to the stream that they came
/// on, and all else, after [`ByteStream::select_main`], to the main stream.
pub struct QuicStream {
    /// The main stream first.
    lanes: Vec<Lane>,
    connection: Connection,
    multi: Option<Box<Multi>>,
    farewell: Option<BoxFuture<'static, ()>>,
}

/// What more than one stream needs.
struct Multi {
    frame_length: FrameLength,
    buffer_bytes_max: usize,
    /// The next stream that the peer opens; `None` when there will be no more.
    accepting: Option<BoxFuture<'static, Option<(SendStream, RecvStream)>>>,
    /// The lane to be read next.
    turn: usize,
    /// The stream that is written to.
    current: StreamId,
    /// The stream that is written to from the next frame on.
    wanted: StreamId,
    written: Boundary,
}

impl QuicStream {
    /// `send` and `receive` are the main stream.
    pub(super) fn new(connection: Connection, send: SendStream, receive: RecvStream, options: &QuicOptions) -> Self {
        let main = send.id();
        let multi = options.frame_length.filter(|_| options.streams_max > 1).map(|frame_length| {
            Box::new(Multi {
                frame_length,
                buffer_bytes_max: options.frame_buffer_bytes_max,
                accepting: Some(next_stream(connection.clone())),
                turn: 0,
                current: main,
                wanted: main,
                written: Boundary::new(frame_length),
            })
        });
        Self { lanes: vec![Lane::new(send, receive)], connection, multi, farewell: None }
    }

    /// Takes streams that the peer has opened. Their number is bounded by what the peer may open.
    fn accept_streams(&mut self, cx: &mut Context<'_>) {
        let Some(multi) = &mut self.multi else { return };
        while let Some(accepting) = &mut multi.accepting {
            let Poll::Ready(stream) = accepting.as_mut().poll(cx) else { return };
            multi.accepting = stream.map(|(send, receive)| {
                self.lanes.push(Lane::new(send, receive));
                next_stream(self.connection.clone())
            });
        }
    }

    /// Forgets streams that the peer has finished and that no answer is written to.
    fn forget_ended(&mut self) {
        let Some(multi) = &self.multi else { return };
        let (current, wanted, main) = (multi.current, multi.wanted, self.lanes[0].id());
        self.lanes.retain_mut(|lane| {
            let id = lane.id();
            let keep = !lane.ended || id == main || id == current || id == wanted;
            if !keep {
                // It fails only if the peer has stopped the stream.
                let _ = lane.send.finish();
            }
            keep
        });
    }

    fn poll_read_lanes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.accept_streams(cx);
        let Some(multi) = &mut self.multi else {
            return self.lanes[0].receive.poll_read_buf(cx, buf).map_err(Into::into);
        };
        let start = buf.filled().len();
        let inside = self.lanes.iter().position(Lane::is_inside_frame);
        let order = match inside {
            Some(lane) => lane..lane + 1,
            None => multi.turn..multi.turn + self.lanes.len(),
        };
        for turn in order {
            let index = turn % self.lanes.len();
            let lane = &mut self.lanes[index];
            if lane.ended {
                continue;
            }
            let polled = lane.poll_frames(cx, buf, multi.frame_length, multi.buffer_bytes_max);
            let Poll::Ready(result) = polled else { continue };
            if let Err(error) = result {
                if index == 0 || lane.is_inside_frame() {
                    return Poll::Ready(Err(error));
                }
                // The peer gave this stream up, and with it what is incomplete.
                lane.ended = true;
                continue;
            }
            if buf.filled().len() > start {
                multi.wanted = lane.id();
                multi.turn = index + 1;
                self.forget_ended();
                return Poll::Ready(Ok(()));
            }
            // The end of the stream, which on the main stream is the end of all.
            if index == 0 {
                return Poll::Ready(Ok(()));
            }
            if lane.is_inside_frame() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.forget_ended();
        Poll::Pending
    }

    /// Where the next bytes go, and how many of them at most. `None` is a stream that is gone in the middle of a frame.
    fn route(&mut self) -> (Option<usize>, usize) {
        let Some(multi) = &mut self.multi else { return (Some(0), usize::MAX) };
        if multi.current != multi.wanted && multi.written.is_between() {
            multi.current = multi.wanted;
        }
        let lane = self.lanes.iter().position(|lane| lane.id() == multi.current);
        if lane.is_none() && multi.written.is_between() {
            multi.current = self.lanes[0].id();
            multi.wanted = multi.current;
            return (Some(0), usize::MAX);
        }
        let limit = match lane.is_some() && multi.current == multi.wanted {
            true => usize::MAX,
            false => multi.written.left(),
        };
        (lane, limit)
    }

    fn wrote(&mut self, bytes: &[u8]) {
        if let Some(multi) = &mut self.multi {
            multi.written.advance(bytes);
        }
    }
}

fn next_stream(connection: Connection) -> BoxFuture<'static, Option<(SendStream, RecvStream)>> {
    Box::pin(async move { connection.accept_bi().await.ok() })
}

impl AsyncRead for QuicStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.get_mut().poll_read_lanes(cx, buf)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let (lane, limit) = this.route();
            let part = &buf[..buf.len().min(limit)];
            let Some(index) = lane else {
                // Nobody is left to read the rest of this frame.
                this.wrote(part);
                return Poll::Ready(Ok(part.len()));
            };
            match ready!(Pin::new(&mut this.lanes[index].send).poll_write(cx, part)) {
                Ok(count) => {
                    this.wrote(&part[..count]);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if index == 0 => return Poll::Ready(Err(error.into())),
                Err(_) => {
                    this.lanes.remove(index);
                }
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut total = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match Pin::new(&mut *this).poll_write(cx, buf) {
                Poll::Ready(Ok(count)) => {
                    total += count;
                    if count < buf.len() {
                        break;
                    }
                }
                // What went before counts; an error will come back.
                _ if total > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Finishes all streams and waits, for at most two seconds, until the peer has what was written: dropping the
    /// connection earlier would take it back.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let lanes = &mut this.lanes;
        let farewell = this.farewell.get_or_insert_with(|| {
            let waiting: Vec<_> = lanes
                .iter_mut()
                .map(|lane| {
                    // It fails only if the peer has stopped the stream.
                    let _ = lane.send.finish();
                    lane.send.stopped()
                })
                .collect();
            Box::pin(async move {
                let all = async {
                    for stopped in waiting {
                        // However it ends, it needs no more waiting.
                        let _ = stopped.await;
                    }
                };
                let _ = tokio::time::timeout(FAREWELL, all).await;
            })
        });
        ready!(farewell.as_mut().poll(cx));
        this.farewell = Some(Box::pin(std::future::ready(())));
        this.connection.close(quinn::VarInt::from_u32(0), b"");
        Poll::Ready(Ok(()))
    }
}

impl ByteStream for QuicStream {
    const STREAMS: bool = true;

    fn select_main(&mut self) {
        if let Some(multi) = &mut self.multi {
            multi.wanted = self.lanes[0].id();
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream").field("remote", &self.connection.remote_address()).finish_non_exhaustive()
    }
}
