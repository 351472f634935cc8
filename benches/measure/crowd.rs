//! Many clients over UDP behind one socket, each with an address of its own in 127.0.0.0/8.

use std::{
    collections::HashSet,
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    ops::Range,
    time::Duration,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

/// Clients that are asked before the first answer is awaited.
pub const BATCH: usize = 256;
/// After this time without an answer a datagram is sent again.
const RETRY: Duration = Duration::from_millis(500);
/// How often.
const RETRIES: usize = 20;
const BUFFER_BYTES: usize = 64 * 1024;

/// The clients, told apart by their addresses.
pub struct Crowd {
    socket: UdpSocket,
    state: UdpSocketState,
    to: SocketAddr,
    buffers: Vec<u8>,
    /// Datagrams that were sent again.
    pub repeated: usize,
}

impl Crowd {
    pub fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("a socket for datagrams");
        // The kernel's own size if it does not allow this one.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), 8 << 20);
        socket.set_nonblocking(false).expect("a blocking socket");
        socket.set_read_timeout(Some(RETRY)).expect("a time-out");
        Self { socket, state, to, buffers: vec![0; BUFFER_BYTES * BATCH_SIZE], repeated: 0 }
    }

    /// Sends a request as each client of a range, and awaits an answer to each that is as expected.
    pub fn ask(
        &mut self,
        range: Range<usize>,
        request: impl Fn(usize) -> Vec<u8>,
        expected: impl Fn(usize, &[u8]) -> bool,
    ) {
        for first in range.clone().step_by(BATCH) {
            let mut open: HashSet<usize> = (first..(first + BATCH).min(range.end)).collect();
            for attempt in 0.. {
                assert!(attempt < RETRIES, "no answer to {:?}", open.iter().next());
                for &number in &open {
                    self.repeated += usize::from(attempt > 0);
                    self.send(number, &request(number));
                }
                let mut more = true;
                while more && !open.is_empty() {
                    more = self.receive(|number, datagram| {
                        // What comes twice was asked twice.
                        if expected(number, datagram) {
                            open.remove(&number);
                        }
                    });
                }
                if open.is_empty() {
                    break;
                }
            }
        }
    }

    /// Sends a datagram as a client.
    pub fn send(&self, number: usize, contents: &[u8]) {
        let src_ip = Some(IpAddr::V4(address(number)));
        let transmit = Transmit { destination: self.to, ecn: None, contents, segment_size: None, src_ip };
        self.state.send(UdpSockRef::from(&self.socket), &transmit).expect("sent");
    }

    /// Takes a batch of datagrams; false when none came in time.
    pub fn receive(&mut self, mut each: impl FnMut(usize, &[u8])) -> bool {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> =
            self.buffers.chunks_exact_mut(BUFFER_BYTES).map(IoSliceMut::new).collect();
        let Ok(count) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) else { return false };
        for (meta, buffer) in metas[..count].iter().zip(self.buffers.chunks_exact(BUFFER_BYTES)) {
            let Some(IpAddr::V4(to)) = meta.dst_ip else { panic!("the system tells where a datagram was sent to") };
            buffer[..meta.len].chunks(meta.stride).for_each(|datagram| each(number_of(to), datagram));
        }
        true
    }
}

/// From 127.1.0.0 upwards.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + number as u32)
}

fn number_of(address: Ipv4Addr) -> usize {
    u32::from(address).wrapping_sub(0x7f01_0000) as usize
}
