//! QUIC for clients that have none: bytes of a TCP connection travel in one bidirectional stream of a quinn connection.
//!
//! The client's side is what an MQTT client over QUIC does: ALPN `mqtt`, one connection and one stream a client.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Endpoint, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::copy,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::certificates::Certificates;

/// Which side is QUIC.
#[derive(Clone, Copy)]
pub enum Direction {
    /// Accepts TCP and connects by QUIC.
    ToQuic,
    /// Accepts QUIC and connects by TCP: gives a listener to a stand-in that has none.
    FromQuic,
}

/// Runs until it is dropped.
pub struct QuicBridge {
    port: u16,
    runtime: Option<Runtime>,
}

impl QuicBridge {
    /// Listens on `port` of the loopback interface (0 draws one) and connects to `target`.
    pub fn start(direction: Direction, port: u16, target: u16, certificates: &Certificates) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let port = runtime.block_on(async {
            match direction {
                Direction::ToQuic => to_quic(listen, target, certificates).await,
                Direction::FromQuic => from_quic(listen, target, certificates),
            }
        });
        Self { port, runtime: Some(runtime) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for QuicBridge {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn to_quic(listen: SocketAddr, target: SocketAddr, certificates: &Certificates) -> u16 {
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(client_config(certificates));
    let listener = TcpListener::bind(listen).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                // A refused connection shows as a closed socket, as it does with TCP.
                let Ok(connection) = endpoint.connect(target, "localhost").unwrap().await else { return };
                let Ok((send, receive)) = connection.open_bi().await else { return };
                carry(tcp, send, receive).await;
                connection.close(0u32.into(), b"");
            });
        }
    });
    port
}

fn from_quic(listen: SocketAddr, target: SocketAddr, certificates: &Certificates) -> u16 {
    let endpoint = Endpoint::server(server_config(certificates), listen).unwrap();
    let port = endpoint.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                let Ok((send, receive)) = connection.accept_bi().await else { return };
                let Ok(tcp) = TcpStream::connect(target).await else { return };
                carry(tcp, send, receive).await;
                // The peer closes once it has read the end of the stream.
                _ = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
            });
        }
    });
    port
}

/// Copies both ways until both have ended; an end on one side is passed on to the other.
async fn carry(mut tcp: TcpStream, mut send: quinn::SendStream, mut receive: quinn::RecvStream) {
    _ = tcp.set_nodelay(true);
    let (mut read, mut write) = tcp.split();
    let up = async {
        let copied = copy(&mut read, &mut send).await;
        _ = send.finish();
        copied
    };
    let down = async {
        let copied = copy(&mut receive, &mut write).await;
        _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
        copied
    };
    _ = tokio::try_join!(up, down);
}

fn client_config(certificates: &Certificates) -> quinn::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).unwrap()).unwrap();
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    config.transport_config(Arc::new(transport));
    config
}

fn server_config(certificates: &Certificates) -> quinn::ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(&certificates.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&certificates.key).unwrap()).unwrap();
    let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}
