use quinn::{ClientConfig, crypto::rustls::QuicClientConfig};
use thingway_contract::Transport;

use super::*;
use crate::net::{
    listener::{
        Address, Bind, ListenError, ListenerHandle, ListenerOptions, start,
        tests::{Echo, cores, eventually},
    },
    tls::{CertificateIdentity, ClientCertificates, Revocation, TlsOptions, tests::Authority},
    ws::WsOptions,
};

/// The first byte is the frame's length.
fn first_byte(bytes: &[u8]) -> Option<usize> {
    bytes.first().map(|length| usize::from(*length))
}

fn options(authority: &Authority, quic: QuicOptions) -> ListenerOptions {
    let mut options = ListenerOptions::new("quic", Bind::Quic(Address::One("127.0.0.1:0".parse().unwrap()), quic));
    options.tls = Some(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    options
}

fn client(authority: &Authority, alpn: &[u8], certificate: bool) -> Endpoint {
    let mut tls = authority.client(certificate.then(|| authority.issue("client", "device 9", &[])));
    tls.alpn = vec![alpn.to_vec()];
    let crypto = QuicClientConfig::try_from(tls.build().unwrap()).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    endpoint
}

async fn connect(endpoint: &Endpoint, handle: &ListenerHandle) -> Result<quinn::Connection, quinn::ConnectionError> {
    endpoint.connect(handle.local_address().unwrap(), "localhost").unwrap().await
}

async fn read(receive: &mut quinn::RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    receive.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn one_stream_carries_small_and_large_data() {
    let authority = Authority::new();
    let (echo, mut peers) = Echo::new();
    let handle = start(options(&authority, QuicOptions::default()), &cores(3), echo).unwrap();
    let endpoint = client(&authority, b"mqtt", false);
    for _ in 0..4 {
        let connection = connect(&endpoint, &handle).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(b"hello").await.unwrap();
        assert_eq!(read(&mut receive, 5).await, b"hello");
        let (peer, _) = peers.recv().await.unwrap();
        assert_eq!(peer.transport, Transport::Quic);
        assert_eq!(peer.remote, endpoint.local_addr().ok());
        let bytes: Vec<u8> = (0..1_000_000u32).map(|at| (at ^ (at >> 9)) as u8).collect();
        let (written, answer) = tokio::join!(send.write_all(&bytes), read(&mut receive, bytes.len()));
        written.unwrap();
        assert!(answer == bytes);
        // The echo answers the end with its own, and loses nothing on the way.
        send.write_all(b"last words").await.unwrap();
        send.finish().unwrap();
        assert_eq!(receive.read_to_end(100).await.unwrap(), b"last words");
    }
    eventually(|| handle.shared().counters.connections.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn identity_and_application_protocol() {
    let authority = Authority::new();
    let mut listener = options(&authority, QuicOptions { retry: Retry::Always, ..QuicOptions::default() });
    let tls = listener.tls.as_mut().unwrap();
    tls.identity.username = Some(CertificateIdentity::CommonName);
    let authorities = authority.path().join("ca.pem");
    let list = authority.path().join("list.pem");
    authority.revoke(&list, &[], false);
    tls.client_certificates = ClientCertificates::Required {
        authorities,
        revocation: Revocation { lists: vec![list.clone()], refuse_expired: true },
    };
    let (echo, mut peers) = Echo::new();
    let handle = start(listener, &cores(2), echo).unwrap();
    let endpoint = client(&authority, b"mqtt", true);
    let connection = connect(&endpoint, &handle).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    assert_eq!(peers.recv().await.unwrap().0.certificate.unwrap().username.as_deref(), Some("device 9"));
    let other = client(&authority, b"h3", true);
    connect(&other, &handle).await.unwrap_err();
    eventually(|| handle.shared().counters.tls_failures.load(Ordering::Relaxed) == 1).await;
    // Revoked: it learns of that when it waits for something.
    authority.revoke(&list, &["client"], false);
    let mut listener = options(&authority, QuicOptions::default());
    let revocation = Revocation { lists: vec![list], refuse_expired: true };
    listener.tls.as_mut().unwrap().client_certificates =
        ClientCertificates::Required { authorities: authority.path().join("ca.pem"), revocation };
    let handle = start(listener, &cores(2), Echo::new().0).unwrap();
    if let Ok(connection) = connect(&endpoint, &handle).await {
        let quinn::ConnectionError::ConnectionClosed(close) = connection.closed().await else { panic!("not told") };
        assert!(String::from_utf8_lossy(&close.reason).contains("Revoked"), "{close:?}");
    }
    eventually(|| handle.shared().counters.tls_failures.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn limits_and_silence() {
    let authority = Authority::new();
    let mut listener = options(&authority, QuicOptions::default());
    listener.limits.connections_max = 1;
    listener.limits.handshake_timeout = Duration::from_millis(400);
    let handle = start(listener, &cores(1), Echo::new().0).unwrap();
    let endpoint = client(&authority, b"mqtt", false);
    let silent = connect(&endpoint, &handle).await.unwrap();
    let refused = connect(&endpoint, &handle).await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    // No stream within the time for handshakes: closed.
    silent.closed().await;
    let counters = &handle.shared().counters;
    assert_eq!(counters.handshake_timeouts.load(Ordering::Relaxed), 1);
    assert_eq!(counters.refused_full.load(Ordering::Relaxed), 1);
    // Garbage is no connection.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for size in [1, 20, 1200] {
        socket.send_to(&vec![0xc3; size], handle.local_address().unwrap()).await.unwrap();
    }
    let connection = connect(&endpoint, &handle).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(b"fine").await.unwrap();
    assert_eq!(read(&mut receive, 4).await, b"fine");
    handle.stop().await;
    send.write_all(b"goes on").await.unwrap();
    assert_eq!(read(&mut receive, 7).await, b"goes on");
}

#[tokio::test]
async fn several_streams_are_merged_by_frame_and_answered_where_they_came_from() {
    let authority = Authority::new();
    let quic = QuicOptions { frame_length: Some(FrameLength(first_byte)), streams_max: 3, ..QuicOptions::default() };
    let handle = start(options(&authority, quic), &cores(2), Echo::new().0).unwrap();
    let endpoint = client(&authority, b"mqtt", false);
    let connection = connect(&endpoint, &handle).await.unwrap();
    let (mut main, mut main_answers) = connection.open_bi().await.unwrap();
    main.write_all(&[3, 1, 1]).await.unwrap();
    assert_eq!(read(&mut main_answers, 3).await, [3, 1, 1]);
    // An incomplete frame on the main stream holds nobody up, and is completed later.
    main.write_all(&[4, 1]).await.unwrap();
    let (mut second, mut second_answers) = connection.open_bi().await.unwrap();
    for _ in 0..20 {
        second.write_all(&[2, 2, 5, 2, 2]).await.unwrap();
        assert_eq!(read(&mut second_answers, 2).await, [2, 2]);
        second.write_all(&[2, 2]).await.unwrap();
        assert_eq!(read(&mut second_answers, 5).await, [5, 2, 2, 2, 2]);
    }
    main.write_all(&[1, 1]).await.unwrap();
    assert_eq!(read(&mut main_answers, 4).await, [4, 1, 1, 1]);
    // Streams come and go; only three at once.
    second.finish().unwrap();
    for _ in 0..10 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&[3, 7, 7]).await.unwrap();
        assert_eq!(read(&mut receive, 3).await, [3, 7, 7]);
        send.finish().unwrap();
        main.write_all(&[2, 1]).await.unwrap();
        assert_eq!(read(&mut main_answers, 2).await, [2, 1]);
    }
    // A stream that is given up in the middle of a frame takes nothing with it.
    let (mut broken, _) = connection.open_bi().await.unwrap();
    broken.write_all(&[9, 9]).await.unwrap();
    broken.reset(0u32.into()).unwrap();
    main.write_all(&[2, 1]).await.unwrap();
    assert_eq!(read(&mut main_answers, 2).await, [2, 1]);
    main.finish().unwrap();
    assert_eq!(main_answers.read_to_end(10).await.unwrap(), b"");
}

#[tokio::test]
async fn a_frame_beyond_the_buffer_is_passed_on_in_parts() {
    fn two(bytes: &[u8]) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
    }
    let authority = Authority::new();
    let quic =
        QuicOptions { frame_length: Some(FrameLength(two)), frame_buffer_bytes_max: 100, ..QuicOptions::default() };
    let handle = start(options(&authority, quic), &cores(1), Echo::new().0).unwrap();
    let connection = connect(&client(&authority, b"mqtt", false), &handle).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let frame = [&50_000u16.to_be_bytes()[..], &vec![3; 49_998]].concat();
    send.write_all(&frame[..30_000]).await.unwrap();
    // It begins to come back before it is whole.
    let mut answer = read(&mut receive, 20_000).await;
    send.write_all(&frame[30_000..]).await.unwrap();
    answer.extend(read(&mut receive, 30_000).await);
    assert!(answer == frame);
}

#[tokio::test]
async fn main_is_selected_between_frames_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::net::listener::ByteStream;

    let authority = Authority::new();
    let tls = TlsOptions { alpn: vec![b"mqtt".to_vec()], ..TlsOptions::new(authority.issue("l", "l", &["localhost"])) };
    let tls = TlsServer::load(tls).unwrap();
    let quic = QuicOptions { frame_length: Some(FrameLength(first_byte)), ..QuicOptions::default() };
    let mut server = Server { tls: Arc::new(tls), transport: Arc::new(transport(&quic)), current: None };
    let config = (*server.config().unwrap()).clone();
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let clients = client(&authority, b"mqtt", false);
    let (connection, accepted) = tokio::join!(clients.connect(address, "localhost").unwrap(), async {
        endpoint.accept().await.unwrap().await.unwrap()
    });
    let connection = connection.unwrap();
    let (mut main, mut main_answers) = connection.open_bi().await.unwrap();
    main.write_all(&[1]).await.unwrap();
    let (send, receive) = accepted.accept_bi().await.unwrap();
    let mut stream = QuicStream::new(accepted, send, receive, &quic);
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    let (mut second, mut second_answers) = connection.open_bi().await.unwrap();
    second.write_all(&[2, 2]).await.unwrap();
    assert_eq!(stream.read_u16().await.unwrap(), 0x0202);
    stream.write_all(&[5, 1, 1]).await.unwrap();
    stream.select_main();
    stream.write_all(&[1, 1, 2, 9]).await.unwrap();
    assert_eq!(read(&mut second_answers, 5).await, [5, 1, 1, 1, 1]);
    assert_eq!(read(&mut main_answers, 2).await, [2, 9]);
}

#[tokio::test]
async fn settings_that_do_not_fit() {
    let authority = Authority::new();
    let without = ListenerOptions { tls: None, ..options(&authority, QuicOptions::default()) };
    let refused = start(without, &cores(1), Echo::new().0).unwrap_err();
    assert_eq!(refused, ListenError::Combination("quic".into()));
    let with = ListenerOptions { websocket: Some(WsOptions::default()), ..options(&authority, QuicOptions::default()) };
    let refused = start(with, &cores(1), Echo::new().0).unwrap_err();
    assert_eq!(refused, ListenError::Combination("quic".into()));
}
