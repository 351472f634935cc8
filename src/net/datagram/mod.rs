//! The driver of datagrams: one UDP socket and one hand-written future for each core, and in it all conversations whose datagrams the kernel
//! sends there.
//!
//! The kernel spreads datagrams of a shared port by the peer's address, so an address stays with its core. A peer whose address changes begins a
//! new conversation, perhaps on another core, and finds its session there by its own name: sessions belong to the bus. A table finds the conversation
//! of an address (and of a node behind it); conversations that nothing would be lost with are not kept at all.

mod endpoint;
mod out;
mod socket;
mod sources;
mod table;
mod talk;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use socket2::{Protocol, SockRef, Socket, Type};
use thingway_contract::DatagramProtocol;

use self::{endpoint::Endpoint, socket::BatchSocket};
use super::{
    core::Cores,
    limit::{ListenerShared, Rate},
    listener::{Address, Bind, ListenError, ListenerHandle, ListenerOptions, bind::families},
    service::Service,
};

/// Settings of a listener for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Most conversations on each core whose peers have not shown that they are there. One more ends the oldest of them.
    pub unproven_max: usize,
    /// Most datagrams from one source (an IPv4 address, the first 64 bits of an IPv6 address); further ones are dropped. `None` for any number.
    pub source_rate: Option<Rate>,
    /// Size of the kernel's receive buffer in bytes, up to what the system allows; what arrives when it is full is lost.
    pub receive_buffer_bytes: usize,
    /// Multicast groups whose datagrams are taken, too.
    pub groups: Vec<IpAddr>,
    /// Broadcast and multicast addresses that the gateway announces itself to, when its protocol does that.
    pub announce_to: Vec<SocketAddr>,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            unproven_max: 10_000,
            source_rate: None,
            receive_buffer_bytes: 4 * 1024 * 1024,
            groups: Vec::new(),
            announce_to: Vec::new(),
        }
    }
}

/// Binds and starts a listener for datagrams; it runs on `cores` until [`ListenerHandle::stop`], which ends its conversations, too.
///
/// Nothing is left bound when an error is returned.
pub fn start<P: DatagramProtocol>(
    options: ListenerOptions,
    cores: &Cores,
    service: &Arc<Service<P>>,
) -> Result<ListenerHandle, ListenError> {
    let Bind::Udp(address, udp) = &options.bind else { return Err(ListenError::Combination(options.name)) };
    if options.tls.is_some() || options.websocket.is_some() || options.proxy_protocol {
        return Err(ListenError::Combination(options.name));
    }
    let shared = ListenerShared::new(options.name.clone(), options.limits.clone());
    let (local, sockets) =
        bind(*address, cores.len(), udp).map_err(|cause| ListenError::bind(&options.name, *address, &cause))?;
    for (core, socket) in sockets.into_iter().enumerate() {
        let announce_to = if core == 0 { udp.announce_to.clone() } else { Vec::new() };
        let (service, shared, udp) = (service.clone(), shared.clone(), udp.clone());
        let stopping = shared.stopping();
        cores.spawn_on(core, async move {
            match BatchSocket::new(socket) {
                Ok(socket) => {
                    let endpoint = Endpoint::new(service, shared, udp, local, core, socket);
                    endpoint.run(announce_to, stopping).await;
                }
                Err(error) => tracing::error!(listener = %shared.name, %error, "cannot use a socket"),
            }
        });
    }
    Ok(ListenerHandle::of_datagrams(shared, local))
}

fn bind(address: Address, cores: usize, options: &UdpOptions) -> io::Result<(SocketAddr, Vec<UdpSocket>)> {
    let open = |family: super::listener::bind::Family, share: bool| {
        family.bind(Type::DGRAM, Protocol::UDP, |socket| {
            // A failure leaves the system's own size, with which the gateway works as well.
            let _ = socket.set_recv_buffer_size(options.receive_buffer_bytes);
            only_own_groups(socket);
            socket.set_reuse_port(share)
        })
    };
    let (family, local, first) = families(address, |family| {
        if family.port() != 0 {
            // Sockets that share a port would also share it with a second gateway, and each would get half of the peers.
            open(family, false)?;
        }
        let first = open(family, true)?;
        let local = first.local_addr()?.as_socket().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok((family, local, first))
    })?;
    join(&first, local, &options.groups)?;
    if !options.announce_to.is_empty() {
        SockRef::from(&first).set_broadcast(true)?;
    }
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(open(family.at(local), true)?);
    }
    Ok((local, sockets.into_iter().map(Into::into).collect()))
}

/// Linux gives a socket the datagrams of all groups that anything on the host has joined: each core would answer what came once.
fn only_own_groups(socket: &Socket) {
    // It fails where there is no such option, and that of IPv6 on a socket of IPv4; then there is nothing to switch off.
    #[cfg(target_os = "linux")]
    let _ = (socket.set_multicast_all_v4(false), socket.set_multicast_all_v6(false));
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

fn join(socket: &Socket, local: SocketAddr, groups: &[IpAddr]) -> io::Result<()> {
    groups.iter().try_for_each(|group| match group {
        IpAddr::V4(group) if local.is_ipv4() => socket.join_multicast_v4(group, &Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(group) if local.is_ipv6() => socket.join_multicast_v6(group, 0),
        // One socket for both families takes IPv4 groups by the option of IPv4.
        IpAddr::V4(group) => socket.join_multicast_v4(group, &Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "an IPv6 group on an IPv4 address")),
    })
}

#[cfg(test)]
pub(crate) use endpoint::talk_bytes;

#[cfg(test)]
mod tests;
