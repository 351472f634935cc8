use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    ServerConfig,
    pki_types::CertificateDer,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
        WriteTraffic,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    TlsFault,
    scratch::{self, RECORD_BYTES_MAX, WRITE_BYTES_MAX, ensure},
};
use crate::net::listener::ByteStream;

/// Most ciphertext that waits to become complete: a handshake message of 64 KiB in small records, and a record.
const WAITING_BYTES_MAX: usize = 160 * 1024;

/// The server's side of a TLS connection, on rustls's unbuffered API: an idle connection holds rustls's own state and
/// no buffers.
///
/// A write is encrypted at once, at most 32 KiB of it, and counts as taken; what the socket does not take of the
/// records waits here, and until it is gone nothing more is taken. A peer that closes without `close_notify` is
/// treated like one that says goodbye: the protocols above have their own farewell.
pub struct Tls<T> {
    inner: T,
    connection: Box<UnbufferedServerConnection>,
    rare: Option<Box<Rare>>,
    read_closed: bool,
    close_sent: bool,
}

impl<T: fmt::Debug> fmt::Debug for Tls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("inner", &self.inner).field("rare", &self.rare).finish_non_exhaustive()
    }
}

/// What a connection holds only between two halves of something.
#[derive(Debug, Default)]
struct Rare {
    /// An incomplete record.
    incoming: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    taken: usize,
    /// Records that the socket did not take.
    outgoing: Vec<u8>,
    sent: usize,
}

/// Runs a server's handshake. Unbounded in time: put a timeout around it.
pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
    inner: T,
    config: Arc<ServerConfig>,
) -> Result<Tls<T>, TlsFault> {
    let connection = UnbufferedServerConnection::new(config).map_err(TlsFault::Protocol)?;
    let mut tls = Tls { inner, connection: Box::new(connection), rare: None, read_closed: false, close_sent: false };
    match poll_fn(|cx| tls.poll_handshake(cx)).await {
        Ok(()) => Ok(tls),
        Err(error) => {
            // The alert tells the peer why. If the socket does not take it now, the peer has to guess.
            poll_fn(|cx| {
                let _ = tls.poll_output(cx);
                Poll::Ready(())
            })
            .await;
            Err(error.into())
        }
    }
}

impl<T> Tls<T> {
    /// The client's certificate.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// The transport below.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.rare.is_none()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn tidy(&mut self) {
        if self
            .rare
            .as_ref()
            .is_some_and(|rare| rare.incoming.is_empty() && rare.plain.is_empty() && rare.outgoing.is_empty())
        {
            self.rare = None;
        }
    }
}

/// Feeds records to rustls until it wants more; gives how many bytes it is done with, and whether the peer said
/// goodbye. `writing` is called once if data may be written. After an error an alert for the peer is in `outgoing`, and
/// rustls must not be called again.
fn process(
    connection: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
    mut plain: impl FnMut(&[u8]),
    writing: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), rustls::Error>,
) -> Result<(usize, bool), rustls::Error> {
    let (mut done, mut closed) = (0, false);
    loop {
        let UnbufferedStatus { mut discard, state } = connection.process_tls_records(&mut incoming[done..]);
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, outgoing),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => closed = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                writing(&mut traffic, outgoing)?;
                return Ok((done + discard, closed));
            }
            Ok(ConnectionState::Closed) => return Ok((done + discard, true)),
            // `BlockedHandshake`; early data is not accepted and cannot come.
            Ok(_) => return Ok((done + discard, closed)),
            Err(error) => {
                // What is queued comes before records are looked at, which must not happen again.
                while connection.wants_write() {
                    let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                        connection.process_tls_records(&mut [])
                    else {
                        break;
                    };
                    encode(&mut data, outgoing);
                }
                return Err(error);
            }
        }
        done += discard;
    }
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        outgoing.resize(start + required_size, 0);
        let encoded = data.encode(&mut outgoing[start..]);
        debug_assert!(matches!(encoded, Ok(count) if count == required_size));
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Tls<T> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_output(cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.read_closed {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            // Application data can come with the end of the handshake: there is no room for it yet, so it is kept.
            ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Writes the records that wait.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rare) = &mut self.rare else { return Poll::Ready(Ok(())) };
        if rare.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while rare.sent < rare.outgoing.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &rare.outgoing[rare.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rare.sent += count;
        }
        rare.outgoing = Vec::new();
        rare.sent = 0;
        self.tidy();
        Poll::Ready(Ok(()))
    }

    /// Reads once from the transport and decrypts what is complete into `buf`, and beyond it into `rare.plain`.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        scratch::with(|scratch| {
            let waiting = self.rare.as_ref().map_or(0, |rare| rare.incoming.len());
            if waiting > WAITING_BYTES_MAX {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let incoming = ensure(&mut scratch.incoming, waiting + 2 * RECORD_BYTES_MAX);
            let mut space = ReadBuf::new(&mut incoming[waiting..]);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut space))?;
            let end = waiting + space.filled().len();
            if end == waiting {
                self.read_closed = true;
                return Poll::Ready(Ok(()));
            }
            if let Some(rare) = &mut self.rare {
                incoming[..waiting].copy_from_slice(&rare.incoming);
                rare.incoming = Vec::new();
            }
            let (mut overflow, mut outgoing) = (Vec::new(), Vec::new());
            let result = process(
                &mut self.connection,
                &mut incoming[..end],
                &mut outgoing,
                |plain| {
                    let (fits, rest) = plain.split_at(plain.len().min(buf.remaining()));
                    buf.put_slice(fits);
                    overflow.extend_from_slice(rest);
                },
                |_, _| Ok(()),
            );
            let (done, closed) = match &result {
                Ok(fine) => *fine,
                Err(_) => {
                    // rustls must not be called again.
                    self.close_sent = true;
                    (end, true)
                }
            };
            self.read_closed |= closed;
            // After a farewell nothing counts.
            let left = if self.read_closed { &[][..] } else { &incoming[done..end] };
            if !(left.is_empty() && overflow.is_empty() && outgoing.is_empty()) {
                let rare = self.rare.get_or_insert_default();
                rare.incoming = left.to_vec();
                rare.plain.extend_from_slice(&overflow);
                rare.outgoing.extend_from_slice(&outgoing);
            }
            self.tidy();
            Poll::Ready(result.map(|_| ()).map_err(tls_error))
        })
    }

    /// Lets rustls write: `writing` appends records to those that wait.
    fn write_records(
        &mut self,
        outgoing: &mut Vec<u8>,
        writing: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), rustls::Error>,
    ) -> io::Result<()> {
        let Self { connection, rare, .. } = self;
        let (mut none, mut called, mut overflow) = ([], false, Vec::new());
        // An incomplete record must be shown again, as rustls may have begun with it.
        let incoming = rare.as_mut().map_or(&mut none[..], |rare| &mut rare.incoming);
        let result = process(
            connection,
            incoming,
            outgoing,
            |plain| overflow.extend_from_slice(plain),
            |traffic, outgoing| {
                called = true;
                writing(traffic, outgoing)
            },
        );
        let (done, closed) = result.map_err(|error| {
            self.read_closed = true;
            self.close_sent = true;
            tls_error(error)
        })?;
        self.read_closed |= closed;
        if done > 0 || !overflow.is_empty() {
            let rare = self.rare();
            rare.incoming.drain(..done);
            rare.plain.extend_from_slice(&overflow);
        }
        if called { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Sends records; what the socket does not take waits.
    fn send(&mut self, cx: &mut Context<'_>, records: &[u8]) -> io::Result<()> {
        let sent = match Pin::new(&mut self.inner).poll_write(cx, records) {
            Poll::Ready(result) => result?,
            Poll::Pending => 0,
        };
        if sent < records.len() {
            self.rare().outgoing = records[sent..].to_vec();
        }
        self.tidy();
        Ok(())
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encrypt_error(error: &EncryptError) -> rustls::Error {
    match error {
        EncryptError::InsufficientSize(_) => rustls::Error::General("record buffer too small".into()),
        EncryptError::EncryptExhausted => rustls::Error::EncryptError,
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tls<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        loop {
            // What cannot be written now goes with the next call.
            if let Poll::Ready(Err(error)) = this.poll_output(cx) {
                return Poll::Ready(Err(error));
            }
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(rare) = &mut this.rare
                && !rare.plain.is_empty()
            {
                let left = &rare.plain[rare.taken..];
                let count = left.len().min(buf.remaining());
                buf.put_slice(&left[..count]);
                rare.taken += count;
                if rare.taken == rare.plain.len() {
                    rare.plain = Vec::new();
                    rare.taken = 0;
                    this.tidy();
                }
                return Poll::Ready(Ok(()));
            }
            if this.read_closed {
                return Poll::Ready(Ok(()));
            }
            let received = ready!(this.poll_receive(cx, buf));
            // An answer, as to a key update or in the form of an alert, goes out at once if it can.
            let written = this.poll_output(cx);
            received?;
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = written {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tls<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        if this.close_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        scratch::with(|scratch| {
            scratch.plain.clear();
            let plain = match bufs {
                [only] => &only[..only.len().min(WRITE_BYTES_MAX)],
                several => {
                    for buf in several {
                        let room = WRITE_BYTES_MAX - scratch.plain.len();
                        scratch.plain.extend_from_slice(&buf[..buf.len().min(room)]);
                    }
                    &scratch.plain
                }
            };
            if plain.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let outgoing = &mut scratch.outgoing;
            outgoing.clear();
            this.write_records(outgoing, |traffic, outgoing| {
                // A record adds at most 5 bytes of header and 64 for nonce, tag and padding.
                let start = outgoing.len();
                outgoing.resize(start + plain.len() + (plain.len() / 16_384 + 1) * 128, 0);
                let count = traffic.encrypt(plain, &mut outgoing[start..]).map_err(|error| encrypt_error(&error))?;
                outgoing.truncate(start + count);
                Ok(())
            })?;
            this.send(cx, outgoing)?;
            Poll::Ready(Ok(plain.len()))
        })
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
        ready!(this.poll_output(cx))?;
        if !this.close_sent {
            this.close_sent = true;
            let mut outgoing = Vec::new();
            let queued = this.write_records(&mut outgoing, |traffic, outgoing| {
                let start = outgoing.len();
                outgoing.resize(start + 256, 0);
                let count =
                    traffic.queue_close_notify(&mut outgoing[start..]).map_err(|error| encrypt_error(&error))?;
                outgoing.truncate(start + count);
                Ok(())
            });
            // A connection that failed cannot say goodbye, but it can still be shut down.
            if queued.is_ok() {
                this.send(cx, &outgoing)?;
            }
            ready!(this.poll_output(cx))?;
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<T: ByteStream> ByteStream for Tls<T> {
    const MOVES: bool = T::MOVES;

    fn select_main(&mut self) {
        self.inner.select_main();
    }
}
