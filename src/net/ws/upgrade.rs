use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    self,
    error::{CapacityError, ProtocolError},
    handshake::{
        machine::TryParse,
        server::{Request, create_response, write_response},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

use super::{Ws, WsOptions};
use crate::{net::listener::IoCause, network::Networks};

/// How long a refused client has to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Why an upgrade was refused. All but `Io` are the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeFault {
    /// Not HTTP.
    #[error("not an HTTP request")]
    Malformed,
    /// Not GET.
    #[error("HTTP method is not GET")]
    Method,
    /// HTTP before 1.1.
    #[error("HTTP version below 1.1")]
    HttpVersion,
    /// No proper upgrade headers.
    #[error("not a WebSocket upgrade")]
    NotAnUpgrade,
    /// A WebSocket version other than 13.
    #[error("unsupported WebSocket version")]
    WebSocketVersion,
    /// More bytes, or more lines, of headers than allowed.
    #[error("request headers too large")]
    TooLarge,
    /// Another path.
    #[error("wrong path")]
    Path,
    /// An origin that is not on the list.
    #[error("origin not allowed")]
    Origin,
    /// None of the accepted sub-protocols \[MQTT-6.0.0-3\].
    #[error("no accepted sub-protocol offered")]
    Subprotocol,
    /// The connection broke, or the client left.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl UpgradeFault {
    const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::WebSocketVersion | Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Malformed | Self::Subprotocol | Self::Io(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<std::io::Error> for UpgradeFault {
    fn from(error: std::io::Error) -> Self {
        Self::Io((&error).into())
    }
}

/// A finished upgrade.
#[derive(Debug)]
pub struct Upgraded<T> {
    /// The transport.
    pub io: Ws<T>,
    /// The client's address as a trusted proxy tells it; its port is not known and zero.
    pub forwarded_for: Option<SocketAddr>,
}

/// Upgrades a server's connection. `remote` is the other end of it, which is believed about `X-Forwarded-For` when it
/// is among `trusted`. A refused client gets an HTTP answer. Unbounded in time: put a timeout around it.
pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
    mut io: T,
    options: &WsOptions,
    remote: Option<IpAddr>,
    trusted: &Networks,
) -> Result<Upgraded<T>, UpgradeFault> {
    let mut bytes = Vec::new();
    let verdict = match read_head(&mut io, &mut bytes, options.header_bytes_max).await {
        Ok(end) => judge(&bytes[..end], options).map(|(request, answer)| (end, request, answer)),
        Err(fault) => Err(fault),
    };
    let (end, request, answer) = match verdict {
        Ok(fine) => fine,
        Err(fault) => {
            if !matches!(fault, UpgradeFault::Io(_)) {
                // Best effort: the client is wrong whether it hears so or not.
                let _ = tokio::time::timeout(LINGER, refuse(&mut io, fault)).await;
            }
            return Err(fault);
        }
    };
    io.write_all(&answer).await?;
    io.flush().await?;
    let forwarded_for = match remote {
        Some(remote) if options.forwarded_for && trusted.contain(remote) => forwarded_for(request.headers(), trusted),
        _ => None,
    };
    bytes.drain(..end);
    bytes.shrink_to_fit();
    Ok(Upgraded { io: Ws::server(io, bytes, options.frame_bytes_max), forwarded_for })
}

/// Reads until the empty line; gives the length of the head. What was read behind it stays in `bytes`.
pub(super) async fn read_head<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<usize, UpgradeFault> {
    loop {
        let searched = bytes.len().saturating_sub(3);
        bytes.reserve(1024);
        if io.read_buf(bytes).await? == 0 {
            return Err(UpgradeFault::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(at) = bytes[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
            let end = searched + at + 4;
            return if end <= bytes_max { Ok(end) } else { Err(UpgradeFault::TooLarge) };
        }
        if bytes.len() >= bytes_max {
            return Err(UpgradeFault::TooLarge);
        }
        // Bytes that no HTTP request begins with need not be waited for.
        if !bytes[0].is_ascii_alphabetic() {
            return Err(UpgradeFault::Malformed);
        }
    }
}

fn judge(head: &[u8], options: &WsOptions) -> Result<(Request, Vec<u8>), UpgradeFault> {
    let request = match Request::try_parse(head) {
        Ok(Some((_, request))) => request,
        Ok(None) => return Err(UpgradeFault::Malformed),
        Err(error) => return Err(library_fault(&error)),
    };
    if request.uri().path() != options.path {
        return Err(UpgradeFault::Path);
    }
    let mut response = create_response(&request).map_err(|error| library_fault(&error))?;
    check_origin(request.headers(), options)?;
    match choose_subprotocol(request.headers(), options) {
        Some(chosen) => {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        None if options.subprotocol_required => return Err(UpgradeFault::Subprotocol),
        None => {}
    }
    let mut answer = Vec::new();
    write_response(&mut answer, &response).map_err(|_| UpgradeFault::Malformed)?;
    Ok((request, answer))
}

fn library_fault(error: &tungstenite::Error) -> UpgradeFault {
    match error {
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => UpgradeFault::Method,
        tungstenite::Error::Protocol(ProtocolError::WrongHttpVersion) => UpgradeFault::HttpVersion,
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => UpgradeFault::WebSocketVersion,
        tungstenite::Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => UpgradeFault::NotAnUpgrade,
        tungstenite::Error::Capacity(CapacityError::TooManyHeaders) => UpgradeFault::TooLarge,
        _ => UpgradeFault::Malformed,
    }
}

fn check_origin(headers: &HeaderMap, options: &WsOptions) -> Result<(), UpgradeFault> {
    if options.origins.is_empty() {
        return Ok(());
    }
    let allowed = match headers.get(header::ORIGIN) {
        None => options.origin_absent_allowed,
        Some(origin) => options.origins.iter().any(|known| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes())),
    };
    if allowed { Ok(()) } else { Err(UpgradeFault::Origin) }
}

/// The first accepted sub-protocol that is offered, as the client wrote it: `mqtt` wherever it can be [MQTT-6.0.0-4].
fn choose_subprotocol(headers: &HeaderMap, options: &WsOptions) -> Option<HeaderValue> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    let chosen =
        options.subprotocols.iter().find_map(|known| offered.iter().find(|name| known.eq_ignore_ascii_case(name)))?;
    HeaderValue::from_str(chosen).ok()
}

/// The last address in the list that is not a trusted proxy: what stands before it the client may have made up.
fn forwarded_for(headers: &HeaderMap, trusted: &Networks) -> Option<SocketAddr> {
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut farthest = None;
    for text in listed.into_iter().rev() {
        let parsed = text.parse::<SocketAddr>().or_else(|_| {
            let ip = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>()?;
            Ok::<_, std::net::AddrParseError>(SocketAddr::new(ip, 0))
        });
        let Ok(address) = parsed else { break };
        farthest = Some(address);
        if !trusted.contain(address.ip()) {
            break;
        }
    }
    farthest
}

async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(io: &mut T, fault: UpgradeFault) -> std::io::Result<()> {
    let extra = match fault {
        UpgradeFault::Method => "Allow: GET\r\n",
        UpgradeFault::WebSocketVersion => "Sec-WebSocket-Version: 13\r\n",
        UpgradeFault::NotAnUpgrade => "Upgrade: websocket\r\n",
        _ => "",
    };
    let text = fault.to_string();
    let answer = format!(
        "HTTP/1.1 {}\r\n{extra}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n",
        fault.status(),
        text.len() + 1,
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    // Closing with unread bytes would reset the connection and take the answer away from the client.
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if io.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, extra: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
        )
        .into_bytes()
    }

    fn verdict(bytes: &[u8], options: &WsOptions) -> Result<String, UpgradeFault> {
        judge(bytes, options).map(|(_, answer)| String::from_utf8(answer).unwrap())
    }

    #[test]
    fn prefers_mqtt_to_its_old_names() {
        let answer = verdict(
            &head("/mqtt?x=1", "Sec-WebSocket-Protocol: chat, mqttv3.1\r\nSec-WebSocket-Protocol: mqtt\r\n"),
            &WsOptions::default(),
        )
        .unwrap();
        assert!(answer.starts_with("HTTP/1.1 101"));
        assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"));
        // The example of RFC 6455, section 1.3.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn refusals() {
        let options = WsOptions::default();
        let mqtt = "Sec-WebSocket-Protocol: mqtt\r\n";
        let many = "A: b\r\n".repeat(200);
        let cases = [
            (head("/other", mqtt), UpgradeFault::Path),
            (head("/mqtt", ""), UpgradeFault::Subprotocol),
            (head("/mqtt", "Sec-WebSocket-Protocol: chat\r\n"), UpgradeFault::Subprotocol),
            (head("/mqtt", &many), UpgradeFault::TooLarge),
            (b"POST /mqtt HTTP/1.1\r\n\r\n".to_vec(), UpgradeFault::Method),
            (b"GET /mqtt HTTP/1.0\r\n\r\n".to_vec(), UpgradeFault::HttpVersion),
            (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), UpgradeFault::NotAnUpgrade),
            (b"nonsense\r\n\r\n".to_vec(), UpgradeFault::Malformed),
        ];
        for (bytes, fault) in cases {
            assert_eq!(verdict(&bytes, &options), Err(fault), "{}", String::from_utf8_lossy(&bytes));
        }
        let old = String::from_utf8(head("/mqtt", mqtt)).unwrap().replace("Version: 13", "Version: 8");
        assert_eq!(verdict(old.as_bytes(), &options), Err(UpgradeFault::WebSocketVersion));
        let optional = WsOptions { subprotocol_required: false, ..options };
        assert!(!verdict(&head("/mqtt", ""), &optional).unwrap().contains("sec-websocket-protocol"));
    }

    #[test]
    fn origins() {
        let mut options = WsOptions { origins: vec!["https://a.example".into()], ..WsOptions::default() };
        let with = |origin: &str| head("/mqtt", &format!("Sec-WebSocket-Protocol: mqtt\r\n{origin}"));
        assert!(verdict(&with("Origin: https://A.example\r\n"), &options).is_ok());
        assert_eq!(verdict(&with("Origin: https://b.example\r\n"), &options), Err(UpgradeFault::Origin));
        assert!(verdict(&with(""), &options).is_ok());
        options.origin_absent_allowed = false;
        assert_eq!(verdict(&with(""), &options), Err(UpgradeFault::Origin));
    }

    #[test]
    fn forwarded_address_is_the_last_untrusted() {
        let trusted: Networks = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
        let told = |list: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", list.parse().unwrap());
            forwarded_for(&headers, &trusted).map(|address| address.to_string())
        };
        assert_eq!(told("6.6.6.6, 192.0.2.7, 10.1.1.1"), Some("192.0.2.7:0".into()));
        assert_eq!(told("[2001:db8::1]:4711"), Some("[2001:db8::1]:4711".into()));
        assert_eq!(told("2001:db8::1"), Some("[2001:db8::1]:0".into()));
        assert_eq!(told("10.9.9.9, 10.1.1.1"), Some("10.9.9.9:0".into()));
        assert_eq!(told("unknown"), None);
    }
}
