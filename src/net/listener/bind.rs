use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::SocketOptions;

/// Sockets that listen on one address, one for each core.
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    pub(super) sockets: Vec<std::net::TcpListener>,
}

/// Binds `address` once for each core. `all` are the listener's addresses.
pub(super) fn tcp(address: SocketAddr, all: &[SocketAddr], cores: usize, options: &SocketOptions) -> io::Result<Bound> {
    let only_v6 = only_v6(address, all);
    if address.port() != 0 {
        // Sockets that share a port would also share it with a second gateway, and each would get half of the peers. A
        // socket that does not share finds out whether anybody listens.
        open(address, only_v6, false)?;
    }
    let first = open(address, only_v6, true)?;
    let local = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(open(local, only_v6, true)?);
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
        socket.listen(backlog)?;
    }
    Ok(Bound { local, sockets: sockets.into_iter().map(Into::into).collect() })
}

/// Sets the options of an accepted connection. A peer that is gone already makes some fail; reading will tell.
pub(super) fn tune(socket: SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(idle) = options.keepalive {
        let interval = (idle / 4).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(idle.max(Duration::from_secs(1))).with_interval(interval);
        socket.set_tcp_keepalive(&keepalive.with_retries(4))?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(options.user_timeout)?;
    Ok(())
}

/// True when an IPv6 wildcard must leave IPv4 to another address of the list.
pub(in crate::net) fn only_v6(address: SocketAddr, all: &[SocketAddr]) -> bool {
    all.iter().any(|other| other.is_ipv4() && other.port() == address.port())
}

fn open(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
