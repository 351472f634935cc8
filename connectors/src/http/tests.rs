use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{breaker::BreakerSettings, template::Values};

/// What the server does with the connection after each request, whose text it has told.
#[derive(Clone, Copy)]
enum Then {
    /// Answers, and reads on.
    Answer(&'static [u8]),
    /// Answers, and ends its side.
    End(&'static [u8]),
    /// Answers with so many bytes more than it had announced room for.
    Flood(&'static [u8]),
    /// Says nothing.
    Wait,
}

struct Nothing;

impl Values for Nothing {
    fn value(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// A server that does the same with each connection. It tells the first line of each request.
async fn server(then: Then) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (tell, told) = mpsc::channel(1000);
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(serve(stream, then, connection, tell.clone()));
        }
    });
    (address, told)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    then: Then,
    connection: usize,
    tell: mpsc::Sender<String>,
) {
    let mut held = Vec::new();
    loop {
        while !held.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut held).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&held).into_owned();
        let _ = tell.try_send(format!("{connection} {}", text.lines().next().unwrap_or_default()));
        held.clear();
        match then {
            Then::Answer(bytes) => {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Then::End(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Then::Flood(bytes) => {
                let _ = stream.write_all(bytes).await;
                while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
                return;
            }
            Then::Wait => {
                let _ = stream.read_buf(&mut held).await;
                return;
            }
        }
    }
}

fn settings() -> LineSettings {
    LineSettings { timeout: Duration::from_secs(30), ..LineSettings::default() }
}

fn get(origin: &str) -> Request<Full<Bytes>> {
    let url = format!("{origin}/x");
    let text = QuestionText { method: QuestionMethod::Get, url: &url, headers: &[], fields: &[] };
    Question::parse(&text, |_| false).expect("a request").fill(&Nothing).expect("it fits")
}

async fn ask(then: Then) -> Result<HttpAnswer, Failure> {
    let (address, _told) = server(then).await;
    let service = HttpService::new("test", settings(), None).expect("a client");
    service.ask(get(&format!("http://{address}"))).await
}

#[tokio::test]
async fn answers_come_over_one_connection() {
    let (address, mut told) = server(Then::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
    let service = HttpService::new("test", settings(), None).expect("a client");
    for _ in 0..3 {
        let answer = service.ask(get(&format!("http://{address}"))).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
        assert_eq!(told.recv().await.as_deref(), Some("0 GET /x HTTP/1.1"));
    }
    assert_eq!(service.counts(), LineCounts { answered: 3, ..LineCounts::default() });
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let (address, mut told) = server(Then::End(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")).await;
    let service = HttpService::new("test", settings(), None).expect("a client");
    for connection in 0..3 {
        assert_eq!(service.ask(get(&format!("http://{address}"))).await.expect("an answer").status, 404);
        assert_eq!(told.recv().await, Some(format!("{connection} GET /x HTTP/1.1")));
    }
}

#[tokio::test]
async fn answers_that_are_none() {
    let is = |answer: Result<HttpAnswer, Failure>, expected: fn(&Failure) -> bool| {
        let failure = answer.expect_err("no answer");
        assert!(expected(&failure), "{failure:?}");
    };
    let unreachable: fn(&Failure) -> bool = |failure| matches!(failure, Failure::Unreachable(_));
    let malformed: fn(&Failure) -> bool = |failure| matches!(failure, Failure::Malformed(_));
    let too_large: fn(&Failure) -> bool = |failure| *failure == Failure::TooLarge;
    is(ask(Then::End(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}")).await, unreachable);
    is(ask(Then::End(b"")).await, unreachable);
    is(ask(Then::End(b"HTTP/1.1 200 OK\r\n")).await, unreachable);
    is(ask(Then::Answer(b"SSH-2.0-OpenSSH\r\n\r\n")).await, malformed);
    is(ask(Then::Flood(b"HTTP/1.1 200 OK\r\n\r\n")).await, too_large);
    is(ask(Then::Flood(b"HTTP/1.1 200 OK\r\nx: ")).await, malformed);
    is(ask(Then::Answer(b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\n\r\n")).await, unreachable);
    let refused: fn(&Failure) -> bool = |failure| matches!(failure, Failure::Refused(_));
    is(ask(Then::Answer(b"HTTP/1.1 302 F\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n")).await, refused);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_only_so_long_and_then_left_alone() {
    let (address, mut told) = server(Then::Wait).await;
    let breaker = BreakerSettings { failures: 2, ..BreakerSettings::default() };
    let settings = LineSettings { timeout: Duration::from_millis(20), breaker, ..LineSettings::default() };
    let service = HttpService::new("test", settings, None).expect("a client");
    for _ in 0..2 {
        assert_eq!(service.ask(get(&format!("http://{address}"))).await.err(), Some(Failure::Timeout));
    }
    assert_eq!(service.ask(get(&format!("http://{address}"))).await.err(), Some(Failure::Resting));
    assert!(service.is_resting());
    while told.try_recv().is_ok() {}
}

#[tokio::test]
async fn only_authorities_that_were_named_are_trusted() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let (tell, _told) = mpsc::channel(1000);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let stream: Result<tokio_rustls::server::TlsStream<TcpStream>, _> = acceptor.accept(stream).await;
                if let Ok(stream) = stream {
                    let answer = Then::Answer(b"HTTP/1.1 204 No\r\n\r\n");
                    serve(stream, answer, 0, tell).await;
                }
            });
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    fs::write(&path, own.cert.pem()).expect("written");
    let service = HttpService::new("test", settings(), Some(&path)).expect("a client");
    assert_eq!(service.ask(get(&format!("https://localhost:{port}"))).await.expect("trusted").status, 204);
    // Another name than the certificate has.
    let answer = service.ask(get(&format!("https://127.0.0.1:{port}"))).await;
    assert!(matches!(answer, Err(Failure::Unreachable(_))), "{answer:?}");
    let stranger = HttpService::new("test", settings(), None).expect("a client");
    let answer = stranger.ask(get(&format!("https://localhost:{port}"))).await;
    assert!(matches!(answer, Err(Failure::Unreachable(_))), "{answer:?}");
    fs::write(&path, "no certificate").expect("written");
    assert!(matches!(HttpService::new("test", settings(), Some(&path)), Err(HttpError::NoAuthority(_))));
    let gone = folder.path().join("gone.pem");
    assert!(matches!(HttpService::new("test", settings(), Some(&gone)), Err(HttpError::AuthorityFile { .. })));
}

#[tokio::test]
async fn what_is_sent_gets_every_status_and_how_long_to_wait() {
    const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno";
    let (address, _told) = server(Then::Answer(BUSY)).await;
    let service = HttpService::new("test", settings(), None).expect("a client");
    let reply = service.send(get(&format!("http://{address}"))).await.expect("an answer");
    assert_eq!(reply, HttpReply { status: 503, retry_after: Some(Duration::from_secs(7)), body: b"no".to_vec() });
    assert_eq!(service.counts(), LineCounts { answered: 1, ..LineCounts::default() });
    let at = |text: &'static str| {
        let headers = [(RETRY_AFTER, text.parse().expect("a value"))].into_iter().collect();
        retry_after(&headers, std::time::UNIX_EPOCH + Duration::from_secs(784_111_770))
    };
    assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
    assert_eq!(at("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
    assert_eq!((at("soon"), at("-1")), (None, None));
}
