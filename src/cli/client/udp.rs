use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    net::{UdpSocket, lookup_host},
    time::{Instant, timeout_at},
};

use super::url::Host;

/// Longest datagram that there can be.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Most datagrams that are sent anew to the next of the host's addresses.
const UNHEARD_MAX: usize = 4;

/// A socket that talks to one server.
///
/// A host may have several addresses, and only the first answer tells which of them the server uses. Until then, when the machine says that nobody listens
/// there, what was sent goes to the next address.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    others: Vec<SocketAddr>,
    /// What was sent and nobody has answered.
    unheard: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// Finds the host. Nothing is sent.
    pub async fn open(host: &Host) -> io::Result<Self> {
        let mut others: Vec<SocketAddr> = lookup_host((host.name.as_str(), host.port)).await?.collect();
        others.reverse();
        loop {
            let Some(address) = others.pop() else {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
            };
            match socket_to(address).await {
                Ok(socket) => {
                    return Ok(Self { socket, others, unheard: Vec::new(), buffer: vec![0; DATAGRAM_BYTES_MAX] });
                }
                Err(error) if others.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Sends a datagram.
    pub async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        if !self.others.is_empty() {
            self.unheard.truncate(UNHEARD_MAX - 1);
            self.unheard.push(datagram.to_vec());
        }
        match self.socket.send(datagram).await {
            Ok(_) => Ok(()),
            // It tells what became of an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.fall_back(error).await,
            Err(error) => Err(error),
        }
    }

    /// The next datagram. May be cancelled and called again.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.socket.recv(&mut self.buffer).await {
                Ok(bytes) => {
                    self.others.clear();
                    self.unheard.clear();
                    return Ok(self.buffer[..bytes].to_vec());
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.fall_back(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// The next datagram, or `None` when there is none before `deadline`.
    pub async fn receive_before(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        match timeout_at(deadline, self.receive()).await {
            Ok(received) => received.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn fall_back(&mut self, error: io::Error) -> io::Result<()> {
        let Some(address) = self.others.pop() else { return Err(error) };
        self.socket = socket_to(address).await?;
        for datagram in &self.unheard {
            self.socket.send(datagram).await?;
        }
        Ok(())
    }
}

async fn socket_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let local = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_nobody_listens_at_the_first() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut client = Datagrams {
            socket: socket_to(nobody).await.unwrap(),
            others: vec![server.local_addr().unwrap()],
            unheard: Vec::new(),
            buffer: vec![0; 16],
        };
        client.send(b"one").await.unwrap();
        let answer = async {
            let mut buffer = [0; 16];
            let (bytes, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..bytes], b"one");
            server.send_to(b"two", from).await.unwrap();
        };
        let (received, ()) = tokio::join!(client.receive(), answer);
        assert_eq!(received.unwrap(), b"two");
        assert!(client.unheard.is_empty() && client.others.is_empty());
    }

    #[tokio::test]
    async fn nobody_at_all_is_an_error() {
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut client = Datagrams::open(&Host { name: "127.0.0.1".into(), port: nobody.port() }).await.unwrap();
        client.send(b"one").await.unwrap();
        assert_eq!(client.receive().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
