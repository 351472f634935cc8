use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use thingway_contract::Transport;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::{
    listener::{
        Address, Bind, HandshakeFault, ListenerHandle, ListenerOptions, start,
        tests::{Echo, cores, eventually},
    },
    ws::{self, WsOptions},
};

/// A certificate authority with files for it.
pub(in crate::net) struct Authority {
    pub(in crate::net) directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(in crate::net) fn new() -> Self {
        Self::named("test authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    pub(in crate::net) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Issues a certificate with a common name and DNS names, into files of that name.
    pub(in crate::net) fn issue(&self, file: &str, common_name: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        params.serial_number = Some(serial(file));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: self.path().join(format!("{file}.pem")),
            key: self.path().join(format!("{file}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Writes a revocation list with the certificates that were issued into these files. It is good for an hour, or has run out an hour ago.
    pub(in crate::net) fn revoke(&self, path: &Path, files: &[&str], has_run_out: bool) {
        let hour = Duration::from_secs(3600);
        let now = SystemTime::now();
        let revoked = |file: &&str| RevokedCertParams {
            serial_number: serial(file),
            revocation_time: (now - 2 * hour).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (now - 2 * hour).into(),
            next_update: if has_run_out { now - hour } else { now + hour }.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: files.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        let is_text = path.extension().is_some_and(|extension| extension == "pem");
        std::fs::write(path, if is_text { list.pem().unwrap().into_bytes() } else { list.der().to_vec() }).unwrap();
    }

    pub(in crate::net) fn client(&self, certificate: Option<CertificateFiles>) -> ClientTls {
        ClientTls { trust: ServerTrust::Authorities(self.path().join("ca.pem")), certificate, alpn: Vec::new() }
    }
}

/// Each file has a serial number of its own.
fn serial(file: &str) -> SerialNumber {
    SerialNumber::from_slice(file.as_bytes())
}

fn listen(tls: TlsOptions) -> (ListenerHandle, tokio::sync::mpsc::Receiver<(thingway_contract::Peer, bool)>) {
    let mut options = ListenerOptions::new("tls", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())));
    options.tls = Some(tls);
    options.limits.handshake_timeout = Duration::from_secs(20);
    let (echo, peers) = Echo::new();
    (start(options, &cores(2), echo).unwrap(), peers)
}

async fn connect(
    handle: &ListenerHandle,
    client: Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(handle.local_address().unwrap()).await?;
    TlsConnector::from(client).connect(ServerName::try_from(name).unwrap(), tcp).await
}

async fn echoes(stream: &mut tokio_rustls::client::TlsStream<TcpStream>, bytes: &[u8]) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut answer = vec![0; bytes.len()];
    let (written, read) = tokio::join!(
        async {
            writer.write_all(bytes).await?;
            writer.flush().await
        },
        reader.read_exact(&mut answer)
    );
    written?;
    read?;
    assert!(answer == bytes, "the echo differs");
    Ok(())
}

#[tokio::test]
async fn both_versions_carry_small_and_large_data() {
    let authority = Authority::new();
    let (handle, mut peers) = listen(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let roots = config::roots(Path::new("ca"), &std::fs::read(authority.path().join("ca.pem")).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        // Twice, so that the second resumes by ticket.
        for resumed in [false, true] {
            let mut stream = connect(&handle, client.clone(), "localhost").await.unwrap();
            echoes(&mut stream, b"x").await.unwrap();
            let bytes: Vec<u8> = (0..1_500_000u32).map(|at| (at ^ (at >> 7)) as u8).collect();
            echoes(&mut stream, &bytes).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{version:?} {kind:?}");
            assert_eq!(peers.recv().await.unwrap().0.transport, Transport::Tls);
            stream.shutdown().await.unwrap();
            // The echo answers the farewell with its own.
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn only_the_listed_versions_are_spoken() {
    let authority = Authority::new();
    let both = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    for (listed, _) in both {
        let mut options = TlsOptions::new(authority.issue("leaf", "server", &["localhost"]));
        options.versions = vec![listed];
        let (handle, _peers) = listen(options);
        for (version, rustls) in both {
            let roots = config::roots(Path::new("ca"), &std::fs::read(authority.path().join("ca.pem")).unwrap());
            let client = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[rustls])
                .unwrap()
                .with_root_certificates(roots.unwrap())
                .with_no_client_auth();
            let connected = connect(&handle, Arc::new(client), "localhost").await;
            assert_eq!(connected.is_ok(), version == listed, "{listed:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn key_updates_are_answered() {
    let authority = Authority::new();
    let (handle, _) = listen(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    let client = authority.client(None).build().unwrap();
    let mut stream = connect(&handle, client, "localhost").await.unwrap();
    for _ in 0..3 {
        echoes(&mut stream, &[7; 50_000]).await.unwrap();
        stream.get_mut().1.refresh_traffic_keys().unwrap();
    }
    echoes(&mut stream, b"still here").await.unwrap();
}

#[tokio::test]
async fn idle_connection_holds_no_buffers() {
    assert!(size_of::<Tls<()>>() <= 24, "{}", size_of::<Tls<()>>());
    let authority = Authority::new();
    let server = TlsServer::load(TlsOptions::new(authority.issue("leaf", "server", &["localhost"]))).unwrap();
    let (near, far) = tokio::io::duplex(4096);
    let client = TlsConnector::from(authority.client(None).build().unwrap());
    let (tls, stream) =
        tokio::join!(accept(far, server.config()), client.connect(ServerName::try_from("localhost").unwrap(), near));
    let (mut tls, mut stream) = (tls.unwrap(), stream.unwrap());
    assert!(tls.is_idle());
    // Records cut by the small pipe, and a reader with little room.
    let sent = vec![9; 40_000];
    let (_, received) = tokio::join!(
        async {
            stream.write_all(&sent).await.unwrap();
            stream.flush().await.unwrap();
        },
        async {
            let (mut received, mut some) = (Vec::new(), [0; 100]);
            while received.len() < 40_000 {
                let count = tls.read(&mut some).await.unwrap();
                received.extend_from_slice(&some[..count]);
            }
            received
        }
    );
    assert!(received == sent);
    assert!(tls.is_idle());
    // A socket that takes little makes the rest of a record wait, which flushing ends.
    let (_, ()) = tokio::join!(
        async {
            tls.write_all(&sent).await.unwrap();
            tls.flush().await.unwrap();
        },
        async {
            stream.read_exact(&mut vec![0; 40_000]).await.unwrap();
        }
    );
    assert!(tls.is_idle());
}

#[tokio::test]
async fn reading_is_pending_without_data() {
    let authority = Authority::new();
    let server = TlsServer::load(TlsOptions::new(authority.issue("leaf", "server", &["localhost"]))).unwrap();
    let (near, far) = tokio::io::duplex(4096);
    let client = TlsConnector::from(authority.client(None).build().unwrap());
    let (tls, stream) =
        tokio::join!(accept(far, server.config()), client.connect(ServerName::try_from("localhost").unwrap(), near));
    let (mut tls, _stream) = (tls.unwrap(), stream.unwrap());
    let mut space = [0; 10];
    let pending = std::future::poll_fn(|cx| {
        use tokio::io::AsyncRead;
        std::task::Poll::Ready(std::pin::Pin::new(&mut tls).poll_read(cx, &mut ReadBuf::new(&mut space)).is_pending())
    });
    assert!(pending.await);
}

#[tokio::test]
async fn client_certificates_and_identity() {
    let authority = Authority::new();
    let other = Authority::new();
    let mut options = TlsOptions::new(authority.issue("leaf", "server", &["localhost"]));
    options.identity.username = Some(CertificateIdentity::CommonName);
    let authorities = authority.path().join("ca.pem");
    options.client_certificates =
        ClientCertificates::Required { authorities: authorities.clone(), revocation: Revocation::default() };
    let (handle, mut peers) = listen(options.clone());
    let known = authority.client(Some(authority.issue("client", "device 7", &[]))).build().unwrap();
    echoes(&mut connect(&handle, known.clone(), "localhost").await.unwrap(), b"a").await.unwrap();
    assert_eq!(peers.recv().await.unwrap().0.certificate.unwrap().username.as_deref(), Some("device 7"));
    // With TLS 1.3 a client learns of the refusal when it reads.
    let unknown = authority.client(Some(other.issue("client", "device 7", &[]))).build().unwrap();
    for refused in [unknown, authority.client(None).build().unwrap()] {
        let refusal = async { echoes(&mut connect(&handle, refused, "localhost").await?, b"a").await };
        refusal.await.unwrap_err();
    }
    let counters = &handle.shared().counters;
    eventually(|| counters.tls_failures.load(Ordering::Relaxed) == 2).await;
    options.client_certificates = ClientCertificates::Optional { authorities, revocation: Revocation::default() };
    let (handle, mut peers) = listen(options);
    let anonymous = authority.client(None).build().unwrap();
    echoes(&mut connect(&handle, anonymous, "localhost").await.unwrap(), b"a").await.unwrap();
    assert_eq!(peers.recv().await.unwrap().0.certificate, None);
    echoes(&mut connect(&handle, known, "localhost").await.unwrap(), b"a").await.unwrap();
    assert_eq!(peers.recv().await.unwrap().0.certificate.unwrap().username.as_deref(), Some("device 7"));
}

/// Clients of a listener with revocation lists: whether the certificate in `good` and the one in `stolen` are taken.
async fn who_is_let_in(authority: &Authority, handle: &ListenerHandle) -> [bool; 2] {
    let mut taken = [false; 2];
    for (taken, file) in taken.iter_mut().zip(["good", "stolen"]) {
        let client = authority.client(Some(authority.issue(file, file, &[]))).build().unwrap();
        // With TLS 1.3 a client learns of the refusal when it reads.
        let connected = async { echoes(&mut connect(handle, client, "localhost").await?, b"a").await };
        *taken = connected.await.is_ok();
    }
    taken
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let authority = Authority::new();
    let other = Authority::named("other authority");
    let mut options = TlsOptions::new(authority.issue("leaf", "server", &["localhost"]));
    options.reload_interval = Some(Duration::from_millis(5));
    let lists = [authority.path().join("list.pem"), authority.path().join("other.crl")];
    authority.revoke(&lists[0], &[], false);
    other.revoke(&lists[1], &["good"], false);
    let revocation = |refuse_expired| Revocation { lists: lists.to_vec(), refuse_expired };
    let authorities = authority.path().join("ca.pem");
    options.client_certificates =
        ClientCertificates::Required { authorities: authorities.clone(), revocation: revocation(true) };
    let (handle, _peers) = listen(options.clone());
    assert_eq!(who_is_let_in(&authority, &handle).await, [true, true], "another authority's list says nothing of it");
    let reloads = |handle: &ListenerHandle| handle.shared().counters.certificate_reloads.load(Ordering::Relaxed);
    let before = reloads(&handle);
    authority.revoke(&lists[0], &["stolen"], false);
    eventually(|| reloads(&handle) > before).await;
    assert_eq!(who_is_let_in(&authority, &handle).await, [true, false]);
    // A list that is damaged changes nothing.
    let failures = || handle.shared().counters.certificate_reload_failures.load(Ordering::Relaxed);
    std::fs::write(&lists[1], b"\x30\x03junk").unwrap();
    eventually(|| failures() > 0).await;
    assert_eq!(who_is_let_in(&authority, &handle).await, [true, false]);
    let before = reloads(&handle);
    other.revoke(&lists[1], &[], false);
    eventually(|| reloads(&handle) > before).await;
    let before = reloads(&handle);
    authority.revoke(&lists[0], &["stolen"], true);
    eventually(|| reloads(&handle) > before).await;
    assert_eq!(who_is_let_in(&authority, &handle).await, [false, false], "it has run out");
    options.client_certificates = ClientCertificates::Required { authorities, revocation: revocation(false) };
    let (handle, _peers) = listen(options);
    assert_eq!(who_is_let_in(&authority, &handle).await, [true, false], "it has run out, and holds");
}

#[tokio::test]
async fn revoked_certificates_are_refused_by_websocket_too() {
    let authority = Authority::new();
    let mut tls = TlsOptions::new(authority.issue("leaf", "server", &["localhost"]));
    let list = authority.path().join("list.pem");
    authority.revoke(&list, &["stolen"], false);
    tls.client_certificates = ClientCertificates::Required {
        authorities: authority.path().join("ca.pem"),
        revocation: Revocation { lists: vec![list], refuse_expired: true },
    };
    let mut options = ListenerOptions::new("wss", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())));
    options.tls = Some(tls);
    options.websocket = Some(WsOptions::default());
    let (echo, mut peers) = Echo::new();
    let handle = start(options, &cores(1), echo).unwrap();
    for (file, expected) in [("stolen", false), ("good", true)] {
        let client = authority.client(Some(authority.issue(file, file, &[]))).build().unwrap();
        let connected = async {
            let stream = connect(&handle, client, "localhost").await.map_err(drop)?;
            ws::connect(stream, "localhost", "/mqtt", "mqtt").await.map_err(drop).map(drop)
        };
        assert_eq!(connected.await.is_ok(), expected, "{file}");
    }
    assert_eq!(peers.recv().await.unwrap().0.certificate.unwrap().common_name.as_deref(), Some("good"));
    assert_eq!(handle.shared().counters.tls_failures.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn certificate_follows_the_name_asked_for() {
    let authority = Authority::new();
    let mut options = TlsOptions::new(authority.issue("a", "a", &["a.example"]));
    options.certificates.push(authority.issue("b", "b", &["*.b.example"]));
    let (handle, _peers) = listen(options);
    let client = authority.client(None).build().unwrap();
    for name in ["a.example", "x.b.example"] {
        echoes(&mut connect(&handle, client.clone(), name).await.unwrap(), b"a").await.unwrap();
    }
    // The first serves unknown names, and the client sees that it does not fit.
    connect(&handle, client, "c.example").await.unwrap_err();
}

#[tokio::test]
async fn certificates_are_replaced_while_running() {
    let authority = Authority::new();
    let files = authority.issue("leaf", "server", &["old.example"]);
    let mut options = TlsOptions::new(files.clone());
    options.reload_interval = Some(Duration::from_millis(5));
    let (handle, _peers) = listen(options);
    let client = authority.client(None).build().unwrap();
    let mut old = connect(&handle, client.clone(), "old.example").await.unwrap();
    echoes(&mut old, b"a").await.unwrap();
    let counters = &handle.shared().counters;
    // A key that does not fit: the old certificate stays.
    let key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    eventually(|| counters.certificate_reload_failures.load(Ordering::Relaxed) > 0).await;
    echoes(&mut connect(&handle, client.clone(), "old.example").await.unwrap(), b"a").await.unwrap();
    std::fs::write(&files.key, key).unwrap();
    eventually(|| counters.certificate_reloads.load(Ordering::Relaxed) > 0).await;
    let before = counters.certificate_reloads.load(Ordering::Relaxed);
    authority.issue("leaf", "server", &["new.example"]);
    eventually(|| counters.certificate_reloads.load(Ordering::Relaxed) > before).await;
    echoes(&mut connect(&handle, client.clone(), "new.example").await.unwrap(), b"a").await.unwrap();
    connect(&handle, client, "old.example").await.unwrap_err();
    echoes(&mut old, b"still here").await.unwrap();
    handle.stop().await;
}

#[tokio::test]
async fn garbage_gets_an_alert() {
    let authority = Authority::new();
    let server = TlsServer::load(TlsOptions::new(authority.issue("leaf", "server", &["localhost"]))).unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", &[0x16, 3, 1, 0xff, 0xff]]
    {
        let (mut near, far) = tokio::io::duplex(4096);
        near.write_all(garbage).await.unwrap();
        let fault = accept(far, server.config()).await.err().unwrap();
        assert!(matches!(fault, TlsFault::Protocol(_)), "{fault:?}");
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert");
    }
    let (near, far) = tokio::io::duplex(4096);
    drop(near);
    let fault = accept(far, server.config()).await.err().unwrap();
    assert_eq!(HandshakeFault::from(fault), HandshakeFault::Io(std::io::ErrorKind::UnexpectedEof.into()));
}

#[tokio::test]
async fn silent_peers_are_counted_and_closed() {
    let authority = Authority::new();
    let mut options = ListenerOptions::new("tls", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())));
    options.tls = Some(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    options.limits.handshake_timeout = Duration::from_millis(50);
    options.limits.handshakes_max = 1;
    let handle = start(options, &cores(1), Echo::new().0).unwrap();
    let address = handle.local_address().unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut waiting = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(waiting.read(&mut [0; 1]).await.unwrap(), 0);
    let counters = &handle.shared().counters;
    eventually(|| counters.connections.load(Ordering::Relaxed) == 0).await;
    assert_eq!(counters.handshake_timeouts.load(Ordering::Relaxed), 2);
    assert!(counters.handshake_pauses.load(Ordering::Relaxed) >= 1);
    // The place for a handshake is the last to be given back.
    eventually(|| counters.handshakes.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn garbling_peers_are_counted_and_closed() {
    let authority = Authority::new();
    let mut options = ListenerOptions::new("tls", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())));
    options.tls = Some(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    let handle = start(options, &cores(1), Echo::new().0).unwrap();
    let mut garbling = TcpStream::connect(handle.local_address().unwrap()).await.unwrap();
    garbling.write_all(b"hello there").await.unwrap();
    let _ = garbling.read_to_end(&mut Vec::new()).await;
    // What went wrong is counted on the core's thread after the connection has gone.
    let counters = &handle.shared().counters;
    eventually(|| counters.tls_failures.load(Ordering::Relaxed) == 1).await;
    assert_eq!(counters.connections.load(Ordering::Relaxed), 0);
    // The place for a handshake is the last to be given back.
    eventually(|| counters.handshakes.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn websocket_over_tls() {
    let authority = Authority::new();
    let mut options = ListenerOptions::new("wss", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())));
    options.tls = Some(TlsOptions::new(authority.issue("leaf", "server", &["localhost"])));
    options.websocket = Some(WsOptions::default());
    let (echo, mut peers) = Echo::new();
    let handle = start(options, &cores(2), echo).unwrap();
    let tls = connect(&handle, authority.client(None).build().unwrap(), "localhost").await.unwrap();
    let mut ws = ws::connect(tls, "localhost", "/mqtt", "mqtt").await.unwrap();
    ws.write_all(b"through both").await.unwrap();
    ws.flush().await.unwrap();
    let mut answer = [0; 12];
    ws.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"through both");
    assert_eq!(peers.recv().await.unwrap().0.transport, Transport::WebSocketTls);
}

/// A connection's two ends after the handshake; the client's is taken off its transport.
async fn established() -> (Tls<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
    let authority = Authority::new();
    let server = TlsServer::load(TlsOptions::new(authority.issue("leaf", "server", &["localhost"]))).unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = TlsConnector::from(authority.client(None).build().unwrap());
    let (tls, stream) =
        tokio::join!(accept(far, server.config()), client.connect(ServerName::try_from("localhost").unwrap(), near));
    (tls.unwrap(), stream.unwrap().into_inner().0)
}

#[tokio::test]
async fn garbage_after_the_handshake_ends_the_connection() {
    for garbage in [
        &[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20][..],
        b"x\r\n\r\n....",
        &[0x16, 3, 3, 0, 4, 1, 0, 0, 200],
    ] {
        let (mut tls, mut raw) = established().await;
        raw.write_all(garbage).await.unwrap();
        let error = tls.read(&mut [0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        // What comes after is not looked at, and rustls is not asked again.
        assert_eq!(tls.read(&mut [0; 100]).await.unwrap(), 0);
        assert_eq!(tls.write(b"late").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        tls.shutdown().await.unwrap();
    }
    let (mut tls, mut raw) = established().await;
    // Half a record: writing goes on, and the end of the transport is the end.
    raw.write_all(&[0x17, 3, 3, 0, 200, 1, 2]).await.unwrap();
    raw.shutdown().await.unwrap();
    tls.write_all(b"fine").await.unwrap();
    assert_eq!(tls.read(&mut [0; 100]).await.unwrap(), 0);
    tls.write_all(b"still fine").await.unwrap();
    tls.shutdown().await.unwrap();
}

/// The first flight of a client.
fn hello(client: Arc<ClientConfig>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut client = rustls::ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn mangled_hellos_never_panic() {
    use proptest::prelude::*;

    let authority = Authority::new();
    let server = TlsServer::load(TlsOptions::new(authority.issue("leaf", "server", &["localhost"]))).unwrap();
    let hello = hello(authority.client(None).build().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mangling = (
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        1..=400usize,
        prop::collection::vec(any::<u8>(), 0..60),
    );
    proptest!(|((flips, cut, fragment, tail) in mangling)| {
        let mut bytes = hello.clone();
        for (at, value) in flips {
            *at.get_mut(&mut bytes) = value;
        }
        // The handshake message in fragments, one a record.
        let mut records = Vec::new();
        for part in bytes[5..].chunks(fragment) {
            records.extend_from_slice(&[22, 3, 1]);
            records.extend_from_slice(&(part.len() as u16).to_be_bytes());
            records.extend_from_slice(part);
        }
        records.truncate(cut.index(records.len()) + 1);
        records.extend_from_slice(&tail);
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            near.write_all(&records).await.unwrap();
            near.shutdown().await.unwrap();
            prop_assert!(accept(far, server.config()).await.is_err());
            Ok(())
        })?;
    });
}
