//! A certificate says who a client is: its client id, its attributes and where it is mounted, and proving again who it is changes none of that. The rows of
//! `docs/security.md` name these tests.

use std::{fs, net::Ipv4Addr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use thingway::{
    access::scram::{ScramHash, ScramKeys},
    config::{AccessAttribute, ClientAuth, Config, ListenerKind, TlsIdentity},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    common::{Client, Connect, Packet, TestGateway, Version, gateway::listen_as},
    gateway_with,
    scram::{Prover, SHA256, auth, awaited, proving},
};

/// An authority, with a file for each certificate and key.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).expect("a certificate").pem())
            .expect("written");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files `{name}.pem` and `{name}.key`.
    fn issue(&self, name: &str, common_name: Option<&str>) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common_name) = common_name {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("written");
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    /// A connection with this certificate.
    async fn open(&self, gateway: &TestGateway, name: &str) -> Client<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).expect("PEM")).expect("a root");
        let chain = vec![CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).expect("PEM")];
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("PEM");
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a certificate and its key");
        let stream = TcpStream::connect(gateway.listener("tls.default")).await.expect("the gateway listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("TLS is spoken");
        Client::over(stream, Version::V5)
    }
}

/// TLS whose client ids are those of the certificates ("tenant.device"), each mounted at its tenant; `tcp.default` is mounted nowhere.
async fn start(authority: &Authority) -> TestGateway {
    authority.issue("server", Some("localhost"));
    let keys = ScramKeys::new(ScramHash::Sha256, b"pencil", 4096).expect("salt");
    fs::write(authority.file("users.csv"), format!("user_id,password,scram\nbob,pencil,{keys}\n")).expect("written");
    gateway_with(|config: &mut Config| {
        let listener = listen_as(config, ListenerKind::Tls);
        listener.bind = thingway::config::Bind::Address((Ipv4Addr::LOCALHOST, 0).into());
        listener.tls.certificate = authority.file("server.pem");
        listener.tls.key = authority.file("server.key");
        listener.tls.client_auth = ClientAuth::Required;
        listener.tls.client_ca = authority.file("ca.pem");
        listener.tls.identity_as_client_id = TlsIdentity::Cn;
        listener.mountpoint = "t/${client_attrs.tenant}/".into();
        config.access.authenticators = vec!["users".into(), "scram".into()];
        config.access.users.file = authority.file("users.csv");
        let value = "nth(1, tokens(cert_common_name, '.'))".into();
        config.access.attributes = vec![AccessAttribute { name: "tenant".into(), value }];
    })
    .await
}

#[tokio::test]
async fn a_certificate_says_the_client_id_whatever_the_client_says() {
    let authority = Authority::new();
    let gateway = start(&authority).await;
    authority.issue("pump", Some("acme.pump"));
    authority.issue("nameless", None);
    let shown = |client_id: &str| Connect::new(Version::V5, client_id).username("bob").password("pencil");
    for claimed in ["another", "", "acme.pump"] {
        let mut client = authority.open(&gateway, "pump").await;
        client.handshake(&shown(claimed)).await;
        let sessions =
            |id: &str| gateway.gateway().bus().session(&thingway_contract::ClientId::new(id, 100).expect("an id"));
        assert!(sessions("acme.pump").is_some_and(|session| session.is_connected()), "{claimed}");
        assert!(claimed == "acme.pump" || claimed.is_empty() || sessions(claimed).is_none(), "{claimed}");
        client.disconnect().await;
    }
    let mut client = authority.open(&gateway, "nameless").await;
    client.send(&shown("another").bytes()).await;
    client.expect_refused(None, &[0x85]).await;
}

/// MQTT 5.0, section 4.12.1.
#[tokio::test]
async fn proving_again_changes_neither_client_id_nor_mount_point() {
    let authority = Authority::new();
    let gateway = start(&authority).await;
    authority.issue("pump", Some("acme.pump"));
    let (mut witness, _) =
        gateway.connect(&Connect::new(Version::V5, "witness").username("bob").password("pencil")).await;
    assert_eq!(witness.subscribe("#", 1).await, 1);

    let bob = Prover::new(SHA256, "bob", "pencil");
    let mut client = authority.open(&gateway, "pump").await;
    client.send(&proving("another", SHA256, Some(bob.first())).bytes()).await;
    let (last, _) = bob.last(&awaited(&mut client, 0x18).await);
    client.send(&auth(0x18, SHA256, last)).await;
    assert_eq!(client.connack().await.code, 0);
    assert_eq!(client.subscribe("for/it", 1).await, 1);
    for round in 0..3 {
        if round > 0 {
            client.send(&auth(0x19, SHA256, bob.first())).await;
            let (last, _) = bob.last(&awaited(&mut client, 0x18).await);
            client.send(&auth(0x18, SHA256, last)).await;
            drop(awaited(&mut client, 0).await);
        }
        client.publish("from/it", "x", 1).await;
        assert_eq!(witness.expect_message().await.topic, "t/acme/from/it", "after {round} proofs");
        witness.publish("t/acme/for/it", "y", 1).await;
        let seen = client.expect_message().await;
        assert_eq!((seen.topic.as_str(), seen.text()), ("for/it", "y"), "after {round} proofs");
        witness
            .take("its own", |packet| {
                matches!(packet, Packet::Publish(own) if own.topic == "t/acme/for/it").then_some(())
            })
            .await;
        let id = thingway_contract::ClientId::new("acme.pump", 100).expect("an id");
        assert!(gateway.gateway().bus().session(&id).is_some_and(|session| session.is_connected()));
    }
}
