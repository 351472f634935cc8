use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, ready},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes for one datagram, or for several of one size from one source that the kernel hands over together.
const BUFFER_BYTES: usize = 64 * 1024;

/// A UDP socket that takes many datagrams with one system call.
pub(super) struct BatchSocket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Where received datagrams are put. Pages that no datagram reaches cost nothing.
pub(super) struct Arrivals {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    count: usize,
}

/// One received datagram.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub bytes: &'a [u8],
    pub remote: SocketAddr,
    /// The address that it was sent to, where the system says so.
    pub local: Option<IpAddr>,
}

impl BatchSocket {
    /// To be called in the runtime of the socket's core.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state })
    }

    /// Receives a batch.
    pub fn poll_receive(&self, cx: &mut Context<'_>, into: &mut Arrivals) -> Poll<io::Result<()>> {
        into.count = 0;
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = {
                let mut chunks = into.buffers.chunks_exact_mut(BUFFER_BYTES);
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()))
            };
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut into.metas)
            });
            match received {
                Ok(count) => {
                    into.count = count;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends a datagram if the kernel takes it now. With `src_ip` it leaves from that address.
    pub fn try_send(&self, bytes: &[u8], destination: SocketAddr, src_ip: Option<IpAddr>) -> io::Result<()> {
        let transmit = Transmit { destination, ecn: None, contents: bytes, segment_size: None, src_ip };
        self.socket.try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.socket), &transmit))
    }

    /// Ready when the kernel may take a datagram again.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }
}

impl Arrivals {
    pub fn new() -> Self {
        Self { buffers: vec![0; BUFFER_BYTES * BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE], count: 0 }
    }

    /// The datagrams of the last batch.
    pub fn iter(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.metas[..self.count].iter().zip(self.buffers.chunks_exact(BUFFER_BYTES)).flat_map(|(meta, buffer)| {
            let bytes = &buffer[..meta.len];
            // An empty datagram is one, too.
            let empty = bytes.is_empty().then_some(bytes);
            empty.into_iter().chain(bytes.chunks(meta.stride.max(1))).map(|bytes| Arrival {
                bytes,
                remote: meta.addr,
                local: meta.dst_ip,
            })
        })
    }
}
