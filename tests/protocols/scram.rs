//! MQTT 5 clients prove a password without showing it (MQTT 5.0, section 4.12; RFC 5802), when they connect and again while they are connected. The client here
//! is one of its own, made from the RFC. The rows of `docs/security.md` name these tests.

use std::{fs, num::NonZeroU32};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{digest, hmac, pbkdf2};
use tempfile::TempDir;
use thingway::{
    access::scram::{ScramHash, ScramKeys},
    bus::Counter,
    config::Config,
};

use crate::{
    common::{Client, Connect, Packet, Property, TestGateway, Version, client::Carrier, wire},
    gateway_with,
};

pub const SHA256: &str = "SCRAM-SHA-256";
const SHA512: &str = "SCRAM-SHA-512";

/// What a client does for one exchange.
pub struct Prover {
    method: &'static str,
    bare: String,
    password: &'static str,
}

impl Prover {
    pub fn new(method: &'static str, username: &str, password: &'static str) -> Self {
        Self { method, bare: format!("n={username},r=rOprNGfwEbeRWgbNEkqO"), password }
    }

    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// The last message, and what the server says when it knows the password, too.
    pub fn last(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let challenge = std::str::from_utf8(challenge).expect("text");
        let field = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).expect("it is there");
        let (mac, rounds, hash) = match self.method {
            SHA256 => (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256),
            _ => (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512),
        };
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(mac, key), text.as_bytes());
        let iterations: NonZeroU32 = field("i=").parse().expect("a number");
        let mut salted = vec![0; hash.output_len()];
        let salt = BASE64_STANDARD.decode(field("s=")).expect("base64");
        pbkdf2::derive(rounds, iterations, &salt, self.password.as_bytes(), &mut salted);
        let without_proof = format!("c=biws,r={}", field("r="));
        let auth_message = format!("{},{challenge},{without_proof}", self.bare);
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(hash, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), &auth_message);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = sign(sign(&salted, "Server Key").as_ref(), &auth_message);
        let last = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
        (last.into_bytes(), format!("v={}", BASE64_STANDARD.encode(server)).into_bytes())
    }
}

fn users() -> String {
    let keys = |name: &str, password: &str, hash: ScramHash| {
        let keys = ScramKeys::new(hash, password.as_bytes(), 4096).expect("salt");
        format!("{name},{password},false,{keys}\n")
    };
    let mut text = "user_id,password,is_superuser,scram\n".to_owned();
    text += &keys("bob", "pencil", ScramHash::Sha256);
    text += &keys("eve", "rubber", ScramHash::Sha512);
    text
}

/// A gateway whose users are in a file.
async fn guarded(change: impl FnOnce(&mut Config)) -> (TestGateway, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.csv");
    fs::write(&file, users()).expect("written");
    let gateway = gateway_with(|config| {
        config.access.authenticators = vec!["scram".into()];
        config.access.backoff.enable = false;
        config.access.users.file = file;
        change(config);
    })
    .await;
    (gateway, folder)
}

/// A CONNECT with the beginning of a proof.
pub fn proving(client_id: &str, method: &str, data: Option<Vec<u8>>) -> Connect {
    let mut connect = Connect::new(Version::V5, client_id);
    connect.properties.push(Property::AuthMethod(method.into()));
    connect.properties.extend(data.map(Property::AuthData));
    connect
}

pub fn auth(reason: u8, method: &str, data: Vec<u8>) -> Vec<u8> {
    wire::auth(reason, &[Property::AuthMethod(method.into()), Property::AuthData(data)])
}

fn data(properties: &[Property]) -> Vec<u8> {
    let found = properties.iter().find_map(|property| match property {
        Property::AuthData(data) => Some(data.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Awaits an AUTH with this reason and gives back what is in it.
pub async fn awaited<C: Carrier>(client: &mut Client<C>, reason: u8) -> Vec<u8> {
    client
        .take("an AUTH", |packet| match packet {
            Packet::Auth(auth) => {
                assert_eq!(auth.code, reason);
                Some(data(&auth.properties))
            }
            _ => None,
        })
        .await
}

/// Connects; the code of the CONNACK, after what is in it was looked at.
async fn prove(gateway: &TestGateway, client_id: &str, prover: &Prover) -> (Client, u8) {
    let mut client = gateway.open(Version::V5).await;
    client.send(&proving(client_id, prover.method, Some(prover.first())).bytes()).await;
    let challenge = awaited(&mut client, 0x18).await;
    let (last, expected) = prover.last(&challenge);
    client.send(&auth(0x18, prover.method, last)).await;
    let told = client.connack().await;
    if told.code == 0 {
        assert_eq!(data(&told.properties), expected, "the gateway knows the password, too");
        assert!(told.properties.contains(&Property::AuthMethod(prover.method.into())));
    }
    (client, told.code)
}

#[tokio::test]
async fn who_proves_a_password_is_let_in_and_nobody_else() {
    let (gateway, _folder) = guarded(|_| {}).await;
    let (mut bob, code) = prove(&gateway, "b", &Prover::new(SHA256, "bob", "pencil")).await;
    assert_eq!((code, bob.subscribe("x", 1).await), (0, 1));
    bob.publish("x", "heard", 1).await;
    assert_eq!(bob.expect_message().await.text(), "heard");
    assert_eq!(prove(&gateway, "e", &Prover::new(SHA512, "eve", "rubber")).await.1, 0);
    for prover in [
        Prover::new(SHA256, "bob", "pencils"),
        Prover::new(SHA256, "nobody", "pencil"),
        Prover::new(SHA256, "eve", "rubber"),
        Prover::new(SHA512, "bob", "pencil"),
    ] {
        assert_eq!(prove(&gateway, "x", &prover).await.1, 0x86, "{}", prover.bare);
    }
    assert_eq!(gateway.gateway().bus().counters().total(Counter::AuthenticationFailure), 4);
    // A password that is shown is for other authenticators, of which there are none; and there are only these methods.
    let mut client = gateway.open(Version::V5).await;
    client.send(&Connect::new(Version::V5, "c").username("bob").password("pencil").bytes()).await;
    client.expect_refused(None, &[0x86]).await;
    let mut client = gateway.open(Version::V5).await;
    client.send(&proving("c", "SCRAM-SHA-1", Some(b"n,,n=bob,r=x".to_vec())).bytes()).await;
    client.expect_refused(None, &[0x8c]).await;
}

#[tokio::test]
async fn messages_out_of_order_are_refused() {
    let (gateway, _folder) = guarded(|_| {}).await;
    let bob = Prover::new(SHA256, "bob", "pencil");
    // Without a first message the gateway asks for it.
    let mut client = gateway.open(Version::V5).await;
    client.send(&proving("c", SHA256, None).bytes()).await;
    assert_eq!(awaited(&mut client, 0x18).await, b"");
    client.send(&auth(0x18, SHA256, bob.first())).await;
    let challenge = awaited(&mut client, 0x18).await;
    let (last, _) = bob.last(&challenge);
    client.send(&auth(0x18, SHA256, last.clone())).await;
    assert_eq!(client.connack().await.code, 0);
    // What somebody has overheard is of no use.
    let mut replayed = gateway.open(Version::V5).await;
    replayed.send(&proving("d", SHA256, Some(bob.first())).bytes()).await;
    drop(awaited(&mut replayed, 0x18).await);
    replayed.send(&auth(0x18, SHA256, last.clone())).await;
    replayed.expect_refused(None, &[0x86]).await;
    for first in [last, b"".to_vec(), b"n,,n=bob".to_vec(), b"p=tls-unique,,n=bob,r=x".to_vec(), vec![0xff; 9000]] {
        let mut client = gateway.open(Version::V5).await;
        client.send(&proving("e", SHA256, Some(first)).bytes()).await;
        client.expect_refused(None, &[0x86]).await;
    }
    // Another method in the middle, another packet, and nothing at all.
    for packet in [auth(0x18, SHA512, b"x".to_vec()), wire::publish(Version::V5, "x", b"x", 0, 0, &[])] {
        let mut client = gateway.open(Version::V5).await;
        client.send(&proving("f", SHA256, Some(bob.first())).bytes()).await;
        drop(awaited(&mut client, 0x18).await);
        client.send(&packet).await;
        while let Some(packet) = client.next().await {
            let is_refusal = match &packet {
                Packet::Connack(connack) => connack.code >= 0x80,
                Packet::Disconnect(reason) => reason.code >= 0x80,
                _ => false,
            };
            assert!(is_refusal, "{packet:?}");
        }
    }
}

#[tokio::test]
async fn a_client_proves_again_that_it_is_who_it_was() {
    let (gateway, _folder) = guarded(|_| {}).await;
    let bob = Prover::new(SHA256, "bob", "pencil");
    let (mut client, code) = prove(&gateway, "b", &bob).await;
    assert_eq!((code, client.subscribe("x", 0).await), (0, 0));
    for _ in 0..2 {
        client.send(&auth(0x19, SHA256, bob.first())).await;
        let challenge = awaited(&mut client, 0x18).await;
        // Traffic goes on meanwhile.
        client.publish("x", "still", 1).await;
        assert_eq!(client.expect_message().await.text(), "still");
        let (last, expected) = bob.last(&challenge);
        client.send(&auth(0x18, SHA256, last)).await;
        assert_eq!(awaited(&mut client, 0).await, expected);
        client.ping().await;
    }
    // Somebody else's name, and a wrong password, end the connection.
    client.send(&auth(0x19, SHA256, Prover::new(SHA256, "nobody", "pencil").first())).await;
    client.expect_disconnected(&[0x87]).await;
    let (mut client, _) = prove(&gateway, "b", &bob).await;
    let wrong = Prover::new(SHA256, "bob", "pencils");
    client.send(&auth(0x19, SHA256, wrong.first())).await;
    let challenge = awaited(&mut client, 0x18).await;
    client.send(&auth(0x18, SHA256, wrong.last(&challenge).0)).await;
    client.expect_disconnected(&[0x87]).await;
}

#[tokio::test]
async fn failed_proofs_make_wait_and_bans_count() {
    let (gateway, _folder) = guarded(|config| {
        config.access.backoff.enable = true;
        config.access.backoff.per_identity = 2;
        config.access.backoff.per_address = 0;
        config.access.backoff.first = thingway::config::Period::from_secs(3600);
        config.access.backoff.longest = thingway::config::Period::from_secs(3600);
        let ban = thingway::config::AccessBan { username: "eve".into(), ..Default::default() };
        config.access.bans = vec![ban];
    })
    .await;
    let refused = async |prover: &Prover| {
        let mut client = gateway.open(Version::V5).await;
        client.send(&proving("x", prover.method, Some(prover.first())).bytes()).await;
        client.connack().await.code
    };
    for _ in 0..2 {
        assert_eq!(prove(&gateway, "b", &Prover::new(SHA256, "bob", "wrong")).await.1, 0x86);
    }
    assert_eq!(refused(&Prover::new(SHA256, "bob", "pencil")).await, 0x9f, "it has to wait");
    assert_eq!(refused(&Prover::new(SHA512, "eve", "rubber")).await, 0x8a, "it is banned");
}
