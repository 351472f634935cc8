use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    task::{Context, Poll, ready},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes for one datagram, or for several of one size from one source that the kernel hands over together.
const BUFFER_BYTES: usize = 64 * 1024;

/// Most datagrams sent with one system call.
pub(super) const SEND_BATCH: usize = 64;

/// A UDP socket that takes and sends many datagrams with one system call.
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

/// Datagrams to be sent, in order.
#[derive(Default)]
pub(super) struct Departures {
    bytes: Vec<u8>,
    datagrams: Vec<Departure>,
}

#[derive(Clone, Copy, Debug)]
struct Departure {
    end: usize,
    destination: SocketAddr,
    source: Option<IpAddr>,
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

    /// Sends datagrams from the `first` on, as many as the kernel takes of those that leave from the same address; at least one.
    ///
    /// # Errors
    /// What the kernel says about the first of them.
    pub fn try_send_batch(&self, departures: &Departures, first: usize) -> io::Result<usize> {
        let Some(Departure { source, .. }) = departures.datagrams.get(first).copied() else { return Ok(0) };
        let batch: Vec<_> =
            departures.iter().skip(first).take(SEND_BATCH).take_while(|(_, _, other)| *other == source).collect();
        let slices: Vec<_> = batch.iter().map(|(bytes, ..)| [IoSlice::new(bytes)]).collect();
        let addresses: Vec<_> = batch.iter().map(|(_, to, _)| Some(SockaddrStorage::from(*to))).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let descriptor = self.socket.as_raw_fd();
        let sent = |space: Option<Vec<u8>>, controls: &[ControlMessage<'_>]| {
            let mut headers = MultiHeaders::preallocate(batch.len(), space);
            let results = sendmmsg(descriptor, &mut headers, &slices, &addresses, controls, flags)?;
            Ok(results.count())
        };
        self.socket.try_io(Interest::WRITABLE, || match (source, batch[0].1) {
            (Some(IpAddr::V4(ip)), SocketAddr::V4(_)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                sent(Some(cmsg_space!(libc::in_pktinfo)), &[ControlMessage::Ipv4PacketInfo(&info)])
            }
            (Some(ip), SocketAddr::V6(_)) => {
                let ip = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let info = libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: libc::in6_addr { s6_addr: ip.octets() } };
                sent(Some(cmsg_space!(libc::in6_pktinfo)), &[ControlMessage::Ipv6PacketInfo(&info)])
            }
            _ => sent(None, &[]),
        })
    }

    /// Ready when the kernel may take a datagram again.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }
}

impl Departures {
    pub fn push(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        self.bytes.extend_from_slice(bytes);
        self.datagrams.push(Departure { end: self.bytes.len(), destination, source });
    }

    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr, Option<IpAddr>)> {
        let starts = std::iter::once(0).chain(self.datagrams.iter().map(|datagram| datagram.end));
        let parts = self.datagrams.iter().zip(starts);
        parts.map(|(datagram, start)| (&self.bytes[start..datagram.end], datagram.destination, datagram.source))
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
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
