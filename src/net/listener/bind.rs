use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{Address, SocketOptions};

/// Sockets that listen on one address, one for each core.
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    pub(super) sockets: Vec<std::net::TcpListener>,
}

/// A socket's address, and whether an IPv6 socket leaves IPv4 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Family {
    address: SocketAddr,
    only_v6: bool,
}

/// Binds `address` once for each core.
pub(super) fn tcp(address: Address, cores: usize, options: &SocketOptions) -> io::Result<Bound> {
    let (family, local, first) = families(address, |family| {
        if family.address.port() != 0 {
            // Sockets that share a port would also share it with a second gateway, and each would get half of the peers.
            // A socket that does not share finds out whether anybody listens.
            open(family, false)?;
        }
        let first = open(family, true)?;
        Ok((family, first.local_addr()?.as_socket().unwrap_or(family.address), first))
    })?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(open(family.at(local), true)?);
    }
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    for socket in &sockets {
        // Accepted sockets inherit the buffer sizes, which must be known before the window scale is agreed.
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        tune(SockRef::from(socket), options)?;
        socket.listen(backlog)?;
    }
    Ok(Bound { local, sockets: sockets.into_iter().map(Into::into).collect() })
}

/// Sets the options of connections on the socket that they are accepted from, which hands them on: seven system calls fewer for each of them.
fn tune(socket: SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    const SHORTEST: Duration = Duration::from_secs(1);
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(keepalive) = options.keepalive {
        let times = TcpKeepalive::new()
            .with_time(keepalive.idle.max(SHORTEST))
            .with_interval(keepalive.interval.max(SHORTEST))
            .with_retries(keepalive.probes);
        socket.set_tcp_keepalive(&times)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(options.user_timeout)?;
    Ok(())
}

/// Opens what an address means with `open`, which is asked a second time only when the system has no IPv6.
pub(in crate::net) fn families<T>(address: Address, mut open: impl FnMut(Family) -> io::Result<T>) -> io::Result<T> {
    match address {
        Address::One(address) => open(Family { address, only_v6: true }),
        Address::Every(port) => match open(Family { address: (Ipv6Addr::UNSPECIFIED, port).into(), only_v6: false }) {
            Err(error) if lacks_v6(&error) => {
                open(Family { address: (Ipv4Addr::UNSPECIFIED, port).into(), only_v6: false })
            }
            result => result,
        },
    }
}

/// True when the kernel says that it has no IPv6 at all (`EAFNOSUPPORT`), or none on this machine (`EADDRNOTAVAIL`).
fn lacks_v6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

impl Family {
    /// The port that is asked for.
    pub(in crate::net) fn port(self) -> u16 {
        self.address.port()
    }

    /// The same for an address that is known now.
    pub(in crate::net) fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// A socket of the address's family that is bound to it, after `prepare`.
    pub(in crate::net) fn bind(
        self,
        kind: Type,
        protocol: Protocol,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        prepare(&socket)?;
        if self.address.is_ipv6() {
            socket.set_only_v6(self.only_v6)?;
        }
        socket.bind(&self.address.into())?;
        Ok(socket)
    }
}

fn open(family: Family, shared: bool) -> io::Result<Socket> {
    family.bind(Type::STREAM, Protocol::TCP, |socket| {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Keepalive, *};

    const EVERY_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7);
    const EVERY_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7);

    #[test]
    fn accepted_connections_are_tuned() {
        let (idle, interval) = (Duration::from_secs(77), Duration::from_secs(11));
        let keepalive = Some(Keepalive { idle, interval, probes: 7 });
        let options = SocketOptions { keepalive, ..SocketOptions::default() };
        let bound = tcp(Address::One("127.0.0.1:0".parse().unwrap()), 1, &options).unwrap();
        let _client = std::net::TcpStream::connect(bound.local).unwrap();
        bound.sockets[0].set_nonblocking(false).unwrap();
        let (stream, _) = bound.sockets[0].accept().unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 7);
    }

    /// What was tried when IPv6 sockets fail with this error number.
    fn tried(address: Address, failing: Option<i32>) -> (bool, Vec<(SocketAddr, bool)>) {
        let mut tried = Vec::new();
        let result = families(address, |family| {
            tried.push((family.address, family.only_v6));
            match failing {
                Some(number) if family.address.is_ipv6() => Err(io::Error::from_raw_os_error(number)),
                _ => Ok(()),
            }
        });
        (result.is_ok(), tried)
    }

    #[test]
    fn every_address_is_one_socket_for_both_families() {
        assert_eq!(tried(Address::Every(7), None), (true, vec![(EVERY_V6, false)]));
    }

    #[test]
    fn every_address_is_ipv4_alone_without_ipv6() {
        for missing in [97, 99] {
            let both = vec![(EVERY_V6, false), (EVERY_V4, false)];
            assert_eq!(tried(Address::Every(7), Some(missing)), (true, both));
        }
        assert_eq!(tried(Address::Every(7), Some(98)), (false, vec![(EVERY_V6, false)]), "a busy port is busy");
    }

    #[test]
    fn the_ipv6_wildcard_leaves_ipv4_alone() {
        assert_eq!(tried(Address::One(EVERY_V6), None), (true, vec![(EVERY_V6, true)]));
        assert_eq!(tried(Address::One(EVERY_V6), Some(97)), (false, vec![(EVERY_V6, true)]));
    }
}
