use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, http::HeaderValue},
};

use thingway_mqtt::Version;

use super::{
    arguments::TlsArguments,
    tls,
    url::{Host, Transport},
};

/// Bytes in both directions, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects.
pub async fn connect(transport: &Transport, tls: &TlsArguments, version: Version) -> io::Result<Box<dyn Wire>> {
    Ok(match transport {
        Transport::Tcp(host) => Box::new(tcp(host).await?),
        Transport::Tls(host) => Box::new(encrypted(host, tls).await?),
        Transport::Ws(host, path) => Box::new(websocket(tcp(host).await?, "ws", host, path, version).await?),
        Transport::Wss(host, path) => {
            Box::new(websocket(encrypted(host, tls).await?, "wss", host, path, version).await?)
        }
        Transport::Quic(host) => Box::new(quic(host, tls).await?),
        Transport::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

async fn tcp(host: &Host) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn encrypted(host: &Host, arguments: &TlsArguments) -> io::Result<TlsStream<TcpStream>> {
    let config = tls::config(arguments, None)?;
    let name = ServerName::try_from(host.name.clone()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp(host).await?).await
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
    let (stream, _) = client_async(request, stream).await.map_err(from_websocket)?;
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

async fn quic(host: &Host, arguments: &TlsArguments) -> io::Result<QuicWire> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let crypto = tls::config(arguments, Some(b"mqtt"))?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).map_err(io::Error::other)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    for address in lookup_host((host.name.as_str(), host.port)).await? {
        match quic_to(address, &host.name, config.clone()).await {
            Ok(wire) => return Ok(wire),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn quic_to(address: SocketAddr, name: &str, config: quinn::ClientConfig) -> io::Result<QuicWire> {
    let local = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let endpoint = quinn::Endpoint::client(SocketAddr::new(local, 0))?;
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
