//! What lies between TCP and a protocol: PROXY, WebSocket, and the Unix socket.

use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderValue, Request},
    },
};

use super::*;
use crate::net::{unix::UnixOptions, ws::WsOptions};

fn websocket() -> ListenerOptions {
    ListenerOptions { websocket: Some(WsOptions::default()), ..options() }
}

fn request(address: SocketAddr, path: &str, subprotocol: Option<&'static str>) -> Request<()> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
    }
    request
}

#[tokio::test]
async fn a_websocket_library_talks_to_us() {
    let (echo, mut peers) = Echo::new();
    let handle = start(websocket(), &cores(2), echo).unwrap();
    let address = handle.local_address().unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut client, response) = client_async(request(address, "/mqtt", Some("mqtt")), tcp).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    assert_eq!(peers.recv().await.unwrap().0.transport, Transport::WebSocket);
    for size in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        let sent = vec![size as u8; size];
        client.send(Message::binary(sent.clone())).await.unwrap();
        let mut received = Vec::new();
        while received.len() < size {
            received.extend_from_slice(&client.next().await.unwrap().unwrap().into_data());
        }
        assert!(received == sent);
    }
    client.send(Message::Ping(b"you there"[..].into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(b"you there"[..].into()));
    client.close(None).await.unwrap();
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn wrong_requests_get_an_http_answer() {
    let handle = start(websocket(), &cores(1), Echo::new().0).unwrap();
    let address = handle.local_address().unwrap();
    let long: &'static str = "x".repeat(9000).leak();
    for (path, subprotocol, status) in
        [("/", Some("mqtt"), 404), ("/mqtt", Some("chat"), 400), ("/mqtt", None, 400), ("/mqtt", Some(long), 431)]
    {
        let tcp = TcpStream::connect(address).await.unwrap();
        let error = client_async(request(address, path, subprotocol), tcp).await.unwrap_err();
        let tungstenite::Error::Http(response) = error else { panic!("{error}") };
        assert_eq!(response.status(), status);
    }
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let counters = &handle.shared().counters;
    eventually(|| counters.websocket_failures.load(Ordering::Relaxed) == 5).await;
    assert_eq!(counters.established.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn slow_upgrade_is_cut_off() {
    let mut options = websocket();
    options.limits.handshake_timeout = Duration::from_millis(40);
    let handle = start(options, &cores(1), Echo::new().0).unwrap();
    let mut tcp = TcpStream::connect(handle.local_address().unwrap()).await.unwrap();
    tcp.write_all(b"GET /mqtt HTTP/1.1\r\nHost: slow").await.unwrap();
    assert_eq!(tcp.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let counters = &handle.shared().counters;
    eventually(|| counters.handshake_timeouts.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn forwarded_address_counts_only_from_a_trusted_proxy() {
    for (trusted, expected) in [("127.0.0.0/8", Some("192.0.2.9:0")), ("10.0.0.0/8", None)] {
        let mut options = websocket();
        options.trusted_proxies = [trusted.parse().unwrap()].into_iter().collect();
        let (echo, mut peers) = Echo::new();
        let handle = start(options, &cores(1), echo).unwrap();
        let address = handle.local_address().unwrap();
        let mut request = request(address, "/mqtt", Some("mqtt"));
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("192.0.2.9"));
        let tcp = TcpStream::connect(address).await.unwrap();
        let own = tcp.local_addr().unwrap();
        client_async(request, tcp).await.unwrap();
        let expected = expected.map_or(own, |text| text.parse().unwrap());
        assert_eq!(peers.recv().await.unwrap().0.remote, Some(expected));
    }
}

#[tokio::test]
async fn proxy_header_counts_only_from_a_trusted_proxy() {
    let mut options = options();
    options.proxy_protocol = true;
    options.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    let (echo, mut peers) = Echo::new();
    let handle = start(options.clone(), &cores(2), echo).unwrap();
    let address = handle.local_address().unwrap();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 1883\r\n").await.unwrap();
    echoes(&mut tcp).await;
    let (peer, _) = peers.recv().await.unwrap();
    assert_eq!(peer.remote, "192.0.2.1:56324".parse().ok());
    assert_eq!(peer.local, "192.0.2.2:1883".parse().ok());
    let mut without = TcpStream::connect(address).await.unwrap();
    without.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").await.unwrap();
    assert_eq!(without.read(&mut [0; 1]).await.unwrap_or(0), 0);
    eventually(|| handle.shared().counters.proxy_failures.load(Ordering::Relaxed) == 1).await;
    options.trusted_proxies = ["192.0.2.0/24".parse().unwrap()].into_iter().collect();
    let handle = start(options, &cores(2), Echo::new().0).unwrap();
    // Not trusted: what looks like a header is data.
    let mut tcp = TcpStream::connect(handle.local_address().unwrap()).await.unwrap();
    tcp.write_all(b"PROXY").await.unwrap();
    let mut answer = [0; 5];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"PROXY");
}

#[tokio::test]
async fn unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mqtt.sock");
    let bind = Bind::Unix(UnixOptions { path: path.clone(), mode: 0o660 });
    let (echo, mut peers) = Echo::new();
    let handle = start(ListenerOptions::new("unix", bind.clone()), &cores(2), echo).unwrap();
    for _ in 0..3 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        let (peer, _) = peers.recv().await.unwrap();
        assert_eq!((peer.remote, peer.transport), (None, Transport::Unix));
    }
    let second = start(ListenerOptions::new("two", bind.clone()), &cores(1), Echo::new().0).unwrap_err();
    assert!(matches!(second, ListenError::Path { cause, .. } if cause.kind == std::io::ErrorKind::AddrInUse));
    handle.stop().await;
    assert!(!path.exists());
    let layered = ListenerOptions { websocket: Some(WsOptions::default()), ..ListenerOptions::new("w", bind) };
    let refused = start(layered, &cores(1), Echo::new().0).unwrap_err();
    assert_eq!(refused, ListenError::Combination("w".into()));
}
