use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    handshake::{
        client::{Response, generate_key},
        derive_accept_key,
        machine::TryParse,
    },
    http::{StatusCode, header},
};

use super::{FRAME_BYTES_MAX, UpgradeFault, Ws, upgrade::read_head};
use crate::net::listener::IoCause;

/// Longest answer to an upgrade request, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why a client did not get its WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The server answered with another status than 101.
    #[error("the server answered with HTTP status {0}")]
    Refused(u16),
    /// The server's answer is not an upgrade.
    #[error("the server's answer is not a WebSocket upgrade")]
    BadAnswer,
    /// The server did not choose the sub-protocol.
    #[error("the server did not accept the sub-protocol")]
    Subprotocol,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl From<std::io::Error> for ConnectFault {
    fn from(error: std::io::Error) -> Self {
        Self::Io((&error).into())
    }
}

/// Upgrades a client's connection. `host` goes to the `Host` header. Unbounded in time: put a timeout around it.
pub async fn connect<T: AsyncRead + AsyncWrite + Unpin>(
    mut io: T,
    host: &str,
    path: &str,
    subprotocol: &str,
) -> Result<Ws<T>, ConnectFault> {
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;
    let mut bytes = Vec::new();
    let end = read_head(&mut io, &mut bytes, ANSWER_BYTES_MAX).await.map_err(|fault| match fault {
        UpgradeFault::Io(cause) => ConnectFault::Io(cause),
        _ => ConnectFault::BadAnswer,
    })?;
    let Ok(Some((_, response))) = Response::try_parse(&bytes[..end]) else { return Err(ConnectFault::BadAnswer) };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectFault::Refused(response.status().as_u16()));
    }
    let headers = response.headers();
    if headers.get(header::SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| *accept != derive_accept_key(key.as_bytes())) {
        return Err(ConnectFault::BadAnswer);
    }
    if headers.get(header::SEC_WEBSOCKET_PROTOCOL).is_none_or(|chosen| chosen != subprotocol) {
        return Err(ConnectFault::Subprotocol);
    }
    bytes.drain(..end);
    Ok(Ws::client(io, bytes, FRAME_BYTES_MAX))
}
