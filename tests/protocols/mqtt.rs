//! MQTT: the client of the other tests, over TCP, WebSocket and QUIC.

use std::{fmt, fs, marker::PhantomData, net::Ipv4Addr, path::PathBuf, sync::Arc};

use quinn::crypto::rustls::QuicClientConfig;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tempfile::TempDir;
use thingway::config::{Config, ListenerKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join},
    net::TcpStream,
};

use crate::{
    common::{Client, Connect, TestGateway, Version, client::Carrier, gateway::listen_as, websocket::WebSocket},
    endpoint::{Arrived, Endpoint, Publication, Seen},
};

/// Whatever carries MQTT's bytes.
pub type AnyCarrier = Box<dyn Carrier>;

/// A version of MQTT over a transport.
pub trait Flavour {
    const NAME: &'static str;
    const VERSION: Version;
    const KIND: ListenerKind;

    async fn open(gateway: &TestGateway) -> AnyCarrier;
}

/// MQTT 3.1.1 over TCP.
pub struct Tcp311;
/// MQTT 5 over TCP.
pub struct Tcp5;
/// MQTT 5 over WebSocket.
pub struct WebSocket5;
/// MQTT 5 over QUIC.
pub struct Quic5;

pub type Mqtt311 = Mqtt<Tcp311>;
pub type Mqtt5 = Mqtt<Tcp5>;
pub type Ws = Mqtt<WebSocket5>;
pub type Quic = Mqtt<Quic5>;

impl Flavour for Tcp311 {
    const NAME: &'static str = "mqtt311";
    const VERSION: Version = Version::V311;
    const KIND: ListenerKind = ListenerKind::Tcp;

    async fn open(gateway: &TestGateway) -> AnyCarrier {
        Box::new(TcpStream::connect(gateway.address).await.expect("the gateway listens"))
    }
}

impl Flavour for Tcp5 {
    const NAME: &'static str = "mqtt5";
    const VERSION: Version = Version::V5;
    const KIND: ListenerKind = ListenerKind::Tcp;

    async fn open(gateway: &TestGateway) -> AnyCarrier {
        Tcp311::open(gateway).await
    }
}

impl Flavour for WebSocket5 {
    const NAME: &'static str = "ws";
    const VERSION: Version = Version::V5;
    const KIND: ListenerKind = ListenerKind::Ws;

    async fn open(gateway: &TestGateway) -> AnyCarrier {
        let socket = WebSocket::connect(gateway.websocket()).await;
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(carry(socket, far));
        Box::new(near)
    }
}

/// Puts a client's bytes into frames and takes the gateway's out of them, until one of the two has ended.
async fn carry(mut socket: WebSocket, mut client: DuplexStream) {
    let mut chunk = vec![0; 4096];
    loop {
        tokio::select! {
            count = client.read(&mut chunk) => match count {
                Ok(count @ 1..) => socket.send(&chunk[..count]).await,
                _ => return,
            },
            frame = socket.frame() => match frame {
                Some((first, payload)) if first & 0x0f < 0x8 => {
                    if client.write_all(&payload).await.is_err() {
                        return;
                    }
                }
                Some(_) => {}
                None => return,
            },
        }
    }
}

impl Flavour for Quic5 {
    const NAME: &'static str = "quic";
    const VERSION: Version = Version::V5;
    const KIND: ListenerKind = ListenerKind::Quic;

    async fn open(gateway: &TestGateway) -> AnyCarrier {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(Certificate::get().pem()).expect("PEM")).expect("a root");
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is there")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"mqtt".to_vec()];
        let crypto = QuicClientConfig::try_from(tls).expect("a cipher suite for QUIC");
        let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let address = gateway.listener("quic.default");
        let connection =
            endpoint.connect(address, "localhost").expect("an address to connect to").await.expect("QUIC is spoken");
        let (send, receive) = connection.open_bi().await.expect("a stream");
        Box::new(join(receive, send))
    }
}

/// The certificate of the QUIC listeners, and its own root.
struct Certificate {
    directory: TempDir,
}

impl Certificate {
    /// The one of this process.
    fn get() -> &'static Self {
        static MADE: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
        MADE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory for a certificate") };
        let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        fs::write(made.pem(), generated.cert.pem()).expect("a place for the certificate");
        fs::write(made.key(), generated.signing_key.serialize_pem()).expect("a place for the key");
        made
    }

    fn pem(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}

/// An MQTT client.
pub struct Mqtt<F> {
    pub client: Client<AnyCarrier>,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Mqtt<F> {
    /// Connects as this CONNECT says, and insists on success.
    pub async fn with(gateway: &TestGateway, connect: &Connect) -> Self {
        let mut client = Client::over(F::open(gateway).await, F::VERSION);
        client.handshake(connect).await;
        Self { client, flavour: PhantomData }
    }
}

impl<F> fmt::Debug for Mqtt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").field("version", &self.client.version).finish_non_exhaustive()
    }
}

impl<F: Flavour> Endpoint for Mqtt<F> {
    const NAME: &'static str = F::NAME;

    fn listen(config: &mut Config) {
        let listener = listen_as(config, F::KIND);
        if F::KIND == ListenerKind::Quic {
            listener.tls.certificate = Certificate::get().pem();
            listener.tls.key = Certificate::get().key();
        }
    }

    async fn connect(gateway: &TestGateway, client_id: &str) -> Self {
        Self::with(gateway, &Connect::new(F::VERSION, client_id)).await
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        assert_eq!(self.client.subscribe(filter, qos).await, qos, "granted for {filter}");
    }

    async fn publish(&mut self, publication: Publication<'_>) {
        let Publication { topic, payload, qos, retain } = publication;
        let text = str::from_utf8(payload).expect("the matrix publishes text");
        self.client.publish_with(topic, text, qos, retain, &[]).await;
        if qos == 0 {
            // Nothing acknowledges it, but packets are handled in order.
            self.client.ping().await;
        }
    }

    async fn expect(&mut self) -> Arrived {
        let publish = self.client.expect_message().await;
        let seen = Seen { qos: Some(publish.qos), retain: Some(publish.retain) };
        Arrived { topic: publish.topic, payload: publish.payload, seen }
    }

    fn seen(qos: u8, retain: bool) -> Seen {
        Seen { qos: Some(qos), retain: Some(retain) }
    }
}
