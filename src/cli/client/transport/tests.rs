use std::fs;

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::handshake::server::{ErrorResponse, Request, Response},
};

use super::*;

async fn connect(transport: &Transport, tls: &TlsArguments, version: Version) -> io::Result<Box<dyn Wire>> {
    Connector::new(transport, tls, version)?.connect(None).await
}

/// More than one WebSocket frame, TLS record or QUIC packet.
const BYTES: usize = 300_000;

struct Fixture {
    directory: TempDir,
    server: Arc<ServerConfig>,
    tls: TlsArguments,
}

/// A self-signed certificate for "localhost" that the client trusts.
fn fixture() -> Fixture {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = TempDir::new().unwrap();
    let cafile = directory.path().join("cert.pem");
    fs::write(&cafile, cert.pem()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    server.alpn_protocols = vec![b"mqtt".to_vec()];
    let tls = TlsArguments { cafile: Some(cafile), ..TlsArguments::default() };
    Fixture { directory, server: Arc::new(server), tls }
}

async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut receive, mut send) = split(stream);
    copy(&mut receive, &mut send).await.unwrap();
    send.shutdown().await.unwrap();
}

/// Sends bytes, awaits them back, and hangs up.
async fn round_trip(target: Transport, tls: &TlsArguments) {
    let mut wire = connect(&target, tls, Version::V5).await.unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut received = vec![0; BYTES];
    let (mut receive, mut send) = split(&mut wire);
    let sending = async {
        send.write_all(&sent).await.unwrap();
        send.flush().await.unwrap();
    };
    tokio::join!(sending, async { receive.read_exact(&mut received).await.unwrap() });
    assert!(received == sent, "{target:?}");
    wire.shutdown().await.unwrap();
}

async fn listener() -> (TcpListener, Host) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Host { name: "localhost".into(), port })
}

#[tokio::test]
async fn tcp_and_unix() {
    let fixture = fixture();
    let (listener, host) = listener().await;
    let server = async { echo(listener.accept().await.unwrap().0).await };
    tokio::join!(server, round_trip(Transport::Tcp(host), &fixture.tls));

    let path = fixture.directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = async { echo(listener.accept().await.unwrap().0).await };
    tokio::join!(server, round_trip(Transport::Unix(path), &fixture.tls));
}

#[tokio::test]
async fn tls() {
    let fixture = fixture();
    let (listener, host) = listener().await;
    let acceptor = TlsAcceptor::from(fixture.server.clone());
    let server = async { echo(acceptor.accept(listener.accept().await.unwrap().0).await.unwrap()).await };
    tokio::join!(server, round_trip(Transport::Tls(host), &fixture.tls));
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let (trusted, stranger) = (fixture(), fixture());
    let (listener, host) = listener().await;
    let acceptor = TlsAcceptor::from(stranger.server.clone());
    let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.is_err() };
    let target = Transport::Tls(host);
    let (refused, client) = tokio::join!(server, connect(&target, &trusted.tls, Version::V5));
    assert!(refused && client.is_err());
}

/// The server's side of a WebSocket, which insists on the path and the sub-protocol.
async fn websocket_echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/mqtt");
        let protocol = request.headers()["Sec-WebSocket-Protocol"].clone();
        assert_eq!(protocol, "mqtt");
        response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        Ok(response)
    };
    let stream = accept_hdr_async(stream, check).await.unwrap();
    echo(WebSocket { stream, rest: Bytes::new() }).await;
}

#[tokio::test]
async fn websocket_plain_and_encrypted() {
    let fixture = fixture();
    let (plain, host) = listener().await;
    let server = async { websocket_echo(plain.accept().await.unwrap().0).await };
    tokio::join!(server, round_trip(Transport::Ws(host, "/mqtt".into()), &fixture.tls));

    let (encrypted, host) = listener().await;
    let acceptor = TlsAcceptor::from(fixture.server.clone());
    let server = async { websocket_echo(acceptor.accept(encrypted.accept().await.unwrap().0).await.unwrap()).await };
    tokio::join!(server, round_trip(Transport::Wss(host, "/mqtt".into()), &fixture.tls));
}

#[tokio::test]
async fn quic() {
    let fixture = fixture();
    let crypto = QuicServerConfig::try_from(fixture.server.clone()).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let host = Host { name: "localhost".into(), port: endpoint.local_addr().unwrap().port() };
    let server = async {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        copy(&mut receive, &mut send).await.unwrap();
        // The client leaves of its own accord once its stream is read to the end.
        connection.closed().await;
    };
    tokio::join!(server, round_trip(Transport::Quic(host), &fixture.tls));
}
