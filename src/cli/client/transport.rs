use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

use thingway_mqtt::Version;

use super::{
    arguments::TlsArguments,
    tls,
    url::{Host, Transport},
};

/// Bytes that are read from a WebSocket at a time.
const READ_BUFFER_BYTES: usize = 4096;

/// Bytes in both directions, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects, as often as is wanted: what all connections have in common is made once.
pub struct Connector {
    transport: Transport,
    version: Version,
    /// Where there is TLS or QUIC.
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// For a server.
    pub fn new(transport: &Transport, arguments: &TlsArguments, version: Version) -> io::Result<Self> {
        let tls = match transport {
            Transport::Tls(_) | Transport::Wss(..) => Some(tls::config(arguments, None)?),
            Transport::Quic(_) => Some(tls::config(arguments, Some(b"mqtt"))?),
            Transport::Tcp(_) | Transport::Ws(..) | Transport::Unix(_) => None,
        };
        Ok(Self { transport: transport.clone(), version, tls })
    }

    /// Connects, from this address if there is one.
    pub async fn connect(&self, source: Option<IpAddr>) -> io::Result<Box<dyn Wire>> {
        Ok(match &self.transport {
            Transport::Tcp(host) => Box::new(tcp(host, source).await?),
            Transport::Tls(host) => Box::new(self.encrypted(host, source).await?),
            Transport::Ws(host, path) => {
                Box::new(websocket(tcp(host, source).await?, "ws", host, path, self.version).await?)
            }
            Transport::Wss(host, path) => {
                Box::new(websocket(self.encrypted(host, source).await?, "wss", host, path, self.version).await?)
            }
            Transport::Quic(host) => Box::new(self.quic(host, source).await?),
            Transport::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    /// Connects by QUIC from an endpoint that is there, which may have other connections.
    pub async fn connect_from(&self, endpoint: &quinn::Endpoint) -> io::Result<Box<dyn Wire>> {
        let Transport::Quic(host) = &self.transport else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only QUIC has endpoints"));
        };
        let address = lookup_host((host.name.as_str(), host.port)).await?.next();
        let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
        Ok(Box::new(quic_from(endpoint.clone(), address, &host.name, self.quic_config()?).await?))
    }

    async fn encrypted(&self, host: &Host, source: Option<IpAddr>) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.name.clone()).map_err(io::Error::other)?;
        TlsConnector::from(self.tls()?).connect(name, tcp(host, source).await?).await
    }

    async fn quic(&self, host: &Host, source: Option<IpAddr>) -> io::Result<QuicWire> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let config = self.quic_config()?;
        for address in lookup_host((host.name.as_str(), host.port)).await? {
            match quic_to(address, source, &host.name, config.clone()).await {
                Ok(wire) => return Ok(wire),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn quic_config(&self) -> io::Result<quinn::ClientConfig> {
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(self.tls()?).map_err(io::Error::other)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        // The protocol's own keep-alive finds out whether the server is there; how long a client may say nothing at all is for the server to say.
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        Ok(config)
    }

    fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        self.tls.clone().ok_or_else(|| io::Error::other("there is no TLS in this transport"))
    }
}

async fn tcp(host: &Host, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect((host.name.as_str(), host.port)).await?,
        Some(source) => tcp_from(host, source).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tcp_from(host: &Host, source: IpAddr) -> io::Result<TcpStream> {
    let address = lookup_host((host.name.as_str(), host.port)).await?.find(|it| it.is_ipv4() == source.is_ipv4());
    let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address of the source's kind"))?;
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The port is chosen when the destination is known, so that each destination has all of them.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    scheme: &str,
    host: &Host,
    path: &str,
    version: Version,
) -> io::Result<WebSocket<S>> {
    let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
    let mut request = format!("{scheme}://{name}:{}{path}", host.port).into_client_request().map_err(from_websocket)?;
    let protocol = if version == Version::V31 { "mqttv3.1" } else { "mqtt" };
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    // Its own default is 128 KiB, which thousands of connections would notice.
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let (stream, _) = client_async_with_config(request, stream, Some(config)).await.map_err(from_websocket)?;
    Ok(WebSocket { stream, rest: Bytes::new() })
}

fn from_websocket(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Bytes in binary frames.
struct WebSocket<S> {
    stream: WebSocketStream<S>,
    /// Of a frame that was larger than the reader's buffer.
    rest: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::other(
                        "a text frame, where only binary ones may be [MQTT-6.0.0-1]",
                    )));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(from_websocket(error))),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(from_websocket)?;
        Pin::new(&mut self.stream).start_send(Message::binary(bytes.to_vec())).map_err(from_websocket)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(from_websocket)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx).map_err(from_websocket)
    }
}

async fn quic_to(
    address: SocketAddr,
    source: Option<IpAddr>,
    name: &str,
    config: quinn::ClientConfig,
) -> io::Result<QuicWire> {
    quic_from(endpoint(address, source)?, address, name, config).await
}

/// A socket for QUIC connections to addresses of this kind.
pub fn endpoint(address: SocketAddr, source: Option<IpAddr>) -> io::Result<quinn::Endpoint> {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    quinn::Endpoint::client(SocketAddr::new(source.unwrap_or(any), 0))
}

async fn quic_from(
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    name: &str,
    config: quinn::ClientConfig,
) -> io::Result<QuicWire> {
    let connection = endpoint.connect_with(config, address, name).map_err(io::Error::other)?.await?;
    let (send, receive) = connection.open_bi().await?;
    Ok(QuicWire { send, receive, connection, endpoint, closing: None })
}

/// One stream of a QUIC connection.
struct QuicWire {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    connection: quinn::Connection,
    endpoint: quinn::Endpoint,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AsyncRead for QuicWire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buffer)
    }
}

impl AsyncWrite for QuicWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    /// Ends the stream, waits until the peer has it all, then ends the connection.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            // An error means that the stream has ended already.
            let _ = self.send.finish();
            let (stopped, connection, endpoint) = (self.send.stopped(), self.connection.clone(), self.endpoint.clone());
            self.closing = Some(Box::pin(async move {
                let _ = stopped.await;
                connection.close(0u32.into(), b"");
                endpoint.wait_idle().await;
            }));
        }
        match &mut self.closing {
            Some(closing) => closing.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
