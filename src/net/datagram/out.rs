use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Context,
};

use thingway_contract::{DatagramProtocol, Outbox};

use super::{
    socket::{BatchSocket, Departures, SEND_BATCH},
    table::Place,
};
use crate::net::service::Service;

/// Datagrams kept while the kernel takes none. Deliveries then wait in their queues; answers beyond it are lost, as on any network.
const UNSENT_MAX: usize = 1024;
/// Most different addresses of the gateway that peers are answered from; beyond it the system chooses.
const LOCALS_MAX: usize = 1024;

/// What is sent by.
pub(super) struct Out {
    pub socket: Arc<BatchSocket>,
    pub by_v6: bool,
    /// Addresses of the gateway that peers have sent to.
    locals: Vec<IpAddr>,
    /// To be sent at the end of the turn, or when there are enough.
    departures: Departures,
    /// What the kernel did not take.
    unsent: VecDeque<Unsent>,
    pub tally: Tally,
}

struct Unsent {
    bytes: Box<[u8]>,
    destination: SocketAddr,
    source: Option<IpAddr>,
}

/// What happened in a turn of the core, added to the listener's counts at its end.
#[derive(Default)]
pub(super) struct Tally {
    pub received: u64,
    pub refused: u64,
    pub sent: u64,
    pub unsent: u64,
    pub bytes_sent: u64,
}

impl Out {
    pub fn new(socket: BatchSocket, local: SocketAddr) -> Self {
        Self {
            socket: Arc::new(socket),
            by_v6: local.is_ipv6(),
            locals: Vec::new(),
            departures: Departures::default(),
            unsent: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    pub fn is_clogged(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The index of an address of the gateway.
    pub fn local(&mut self, ip: Option<IpAddr>) -> u16 {
        // Nothing is sent from a group's address.
        let Some(ip) = ip.filter(|ip| !ip.to_canonical().is_multicast()) else { return u16::MAX };
        let index = self.locals.iter().position(|known| *known == ip).or_else(|| {
            (self.locals.len() < LOCALS_MAX).then(|| {
                self.locals.push(ip);
                self.locals.len() - 1
            })
        });
        index.map_or(u16::MAX, |index| index as u16)
    }

    /// Sends the datagrams in an outbox to a place, from the address with this index.
    pub fn send_all(&mut self, outbox: &Outbox, place: &Place, local: u16) {
        let destination = place.destination(self.by_v6);
        let source = self.locals.get(usize::from(local)).copied();
        outbox.datagrams().for_each(|datagram| self.send(datagram, destination, source));
    }

    fn send(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if !self.unsent.is_empty() {
            return self.keep(bytes, destination, source);
        }
        self.departures.push(bytes, destination, source);
        if self.departures.len() >= SEND_BATCH {
            self.dispatch();
        }
    }

    /// Gives the kernel what was collected; what it does not take now is kept.
    pub fn dispatch(&mut self) {
        let departures = std::mem::take(&mut self.departures);
        let mut first = 0;
        let mut clogged = false;
        while first < departures.len() && !clogged {
            match self.socket.try_send_batch(&departures, first) {
                Ok(count) => {
                    departures.iter().skip(first).take(count).for_each(|(bytes, ..)| self.count(bytes.len(), true));
                    first += count.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => clogged = true,
                Err(_) => {
                    // Alone, it may go from another address.
                    if let Some((bytes, destination, source)) = departures.iter().nth(first) {
                        let sent = self.try_send(bytes, destination, source);
                        self.count(bytes.len(), sent.is_ok());
                    }
                    first += 1;
                }
            }
        }
        for (bytes, destination, source) in departures.iter().skip(first) {
            self.keep(bytes, destination, source);
        }
        // The buffers are used again.
        self.departures = departures;
        self.departures.clear();
    }

    fn keep(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(Unsent { bytes: bytes.into(), destination, source });
        } else {
            self.count(bytes.len(), false);
        }
    }

    fn try_send(&self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) -> io::Result<()> {
        match self.socket.try_send(bytes, destination, source) {
            // What was sent to a broadcast address cannot be answered from it.
            Err(error) if source.is_some() && error.kind() != io::ErrorKind::WouldBlock => {
                self.socket.try_send(bytes, destination, None)
            }
            result => result,
        }
    }

    pub fn flush(&mut self, cx: &mut Context<'_>) {
        self.dispatch();
        while let Some(next) = self.unsent.front() {
            match self.try_send(&next.bytes, next.destination, next.source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.socket.poll_writable(cx).is_pending() {
                        return;
                    }
                }
                sent => {
                    let bytes = next.bytes.len();
                    self.unsent.pop_front();
                    self.count(bytes, sent.is_ok());
                }
            }
        }
    }

    fn count(&mut self, bytes: usize, sent: bool) {
        if sent {
            self.tally.sent += 1;
            self.tally.bytes_sent += bytes as u64;
        } else {
            self.tally.unsent += 1;
        }
    }
}

/// Sends the protocol's beacon at its intervals; never ends when there is nothing to send.
pub(super) async fn announce<P: DatagramProtocol>(
    service: Arc<Service<P>>,
    socket: Arc<BatchSocket>,
    by_v6: bool,
    announce_to: Vec<SocketAddr>,
) {
    let Some(beacon) = P::beacon(&service.config.load()).filter(|_| !announce_to.is_empty()) else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval(beacon.interval);
    loop {
        interval.tick().await;
        for address in &announce_to {
            let destination = Place::new(*address, &[]).destination(by_v6);
            if let Err(error) = socket.try_send(&beacon.datagram, destination, None) {
                tracing::debug!(%address, %error, "an announcement was not sent");
            }
        }
    }
}
