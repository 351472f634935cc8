//! The refusal matrix: who is not to come in, over each transport, and the exact words in which each is told. `docs/security.md` has the same table.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use coap_lite::{CoapOption, MessageClass, MessageType, Packet as CoapPacket, RequestType};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use thingway::{
    access::scram::{ScramHash, ScramKeys},
    config::{AccessBan, AccessJwt, Config},
};
use thingway_contract::Qos;
use thingway_mqtt_sn::packet::{Auth, Connect as SnConnect, Packet as SnPacket, Publish, TopicRef};

use crate::{
    coap::{Coap, Request},
    common::{Client, Connect, Packet, TestGateway, Version, wire},
    gateway_with,
    mqtt::{AnyCarrier, Flavour, Quic5, Tcp5, Tcp311, WebSocket5},
    mqtt_sn::MqttSn,
    scram::{Prover, SHA256, auth, awaited, proving},
};

/// Columns of the table.
const TRANSPORTS: [&str; 6] = ["MQTT 3.1.1", "MQTT 5", "WebSocket", "QUIC", "MQTT-SN", "CoAP"];

/// Rows of the table: what a stranger does, and what is said to it over each transport.
const REFUSALS: [(&str, [&str; 6]); 11] = [
    ("anonymous", ["CONNACK 5", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 3", "4.01"]),
    ("wrong password", ["CONNACK 4", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 3", "4.01"]),
    ("unknown name", ["CONNACK 4", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 3", "4.01"]),
    ("expired credentials", ["CONNACK 5", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 3", "4.01"]),
    ("banned", ["CONNACK 5", "CONNACK 0x8a", "CONNACK 0x8a", "CONNACK 0x8a", "CONNACK 3", "4.01"]),
    (
        "a token ends while its client is connected",
        ["closed", "DISCONNECT 0x87", "DISCONNECT 0x87", "DISCONNECT 0x87", "DISCONNECT", "4.01"],
    ),
    (
        "replayed: that token, after its end",
        ["CONNACK 5", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 0x87", "CONNACK 3", "4.01"],
    ),
    (
        "replayed: a good token, by another name",
        ["CONNACK 4", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 3", "4.01"],
    ),
    (
        "replayed: a good token, by a banned client",
        ["CONNACK 5", "CONNACK 0x8a", "CONNACK 0x8a", "CONNACK 0x8a", "CONNACK 3", "4.01"],
    ),
    (
        "replayed: a proof of SCRAM (as a password where there is no AUTH)",
        ["CONNACK 4", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 0x86", "CONNACK 3", "4.01"],
    ),
    ("replayed: a publication, from elsewhere", ["closed", "closed", "closed", "closed", "DISCONNECT", "4.01"]),
];

const SECRET: &str = "a secret that is long enough for the table";

/// What a client shows.
#[derive(Clone, Copy, Debug)]
struct Shown<'a> {
    client_id: &'a str,
    credentials: Option<(&'a str, &'a str)>,
}

impl<'a> Shown<'a> {
    fn new(client_id: &'a str, username: &'a str, password: &'a str) -> Self {
        Self { client_id, credentials: Some((username, password)) }
    }

    fn connect(&self, version: Version) -> Connect {
        let connect = Connect::new(version, self.client_id);
        match self.credentials {
            Some((username, password)) => connect.username(username).password(password),
            None => connect,
        }
    }
}

fn token(claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256" })), encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn unix_secs() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// Users with passwords, tokens and proofs, and one client that is banned. `auth_required` says whether MQTT-SN asks for AUTH.
async fn guarded(auth_required: bool) -> (TestGateway, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.csv");
    let keys = ScramKeys::new(ScramHash::Sha256, b"pencil", 4096).expect("salt");
    let ended = unix_secs() - 1;
    let users =
        format!("user_id,password,scram,expires_at\nbob,secret,,\nended,secret,,{ended}\nprover,pencil,{keys},\n");
    fs::write(&file, users).expect("written");
    let gateway = gateway_with(|config: &mut Config| {
        config.mqttsn.auth_required = auth_required;
        config.access.backoff.enable = false;
        config.access.authenticators = vec!["jwt.main".into(), "users".into(), "scram".into()];
        config.access.users.file = file;
        let jwt = AccessJwt { secret: SECRET.into(), claims: [("sub", "${username}")].into(), ..Default::default() };
        config.access.jwt = BTreeMap::from([("main".into(), jwt)]);
        config.access.bans = vec![AccessBan { client_id: "stolen".into(), ..AccessBan::default() }];
    })
    .await;
    (gateway, folder)
}

fn connack(version: Version, code: u8) -> String {
    if version.is_5() && code != 0 { format!("CONNACK {code:#04x}") } else { format!("CONNACK {code}") }
}

/// What the gateway says as it ends a connection, or that it says nothing.
async fn last_words(client: &mut Client<AnyCarrier>) -> String {
    match client.next().await {
        Some(Packet::Disconnect(reason)) => format!("DISCONNECT {:#04x}", reason.code),
        Some(other) => format!("{other:?}"),
        None => "closed".to_owned(),
    }
}

async fn mqtt<F: Flavour>(gateway: &TestGateway, shown: Shown<'_>) -> (Client<AnyCarrier>, String) {
    let mut client = Client::over(F::open(gateway).await, F::VERSION);
    client.send(&shown.connect(F::VERSION).bytes()).await;
    let code = client.connack().await.code;
    (client, connack(F::VERSION, code))
}

async fn mqttsn(gateway: &TestGateway, shown: Shown<'_>) -> (MqttSn, String) {
    let mut client = MqttSn::open(gateway).await;
    let code = match shown.credentials {
        Some((username, password)) => client.connect_with_password(shown.client_id, username, password).await,
        None => client.try_connect(shown.client_id, true).await,
    };
    let told = format!("CONNACK {}", code as u8);
    (client, told)
}

async fn coap(gateway: &TestGateway, shown: Shown<'_>) -> (Coap, String) {
    let mut client = Coap::open(gateway).await;
    let mut request = Request::new(RequestType::Post, "mqtt/connection").query(format!("clientid={}", shown.client_id));
    if let Some((username, password)) = shown.credentials {
        request = request.query(format!("username={username}")).query(format!("password={password}"));
    }
    let told = code_of(client.request(&request).await.code);
    (client, told)
}

/// A code as RFC 7252 writes it.
fn code_of(code: u16) -> String {
    format!("{}.{:02}", code / 100, code % 100)
}

/// What is said to one who shows this, over each transport.
async fn told(gateway: &TestGateway, mqttsn_gateway: &TestGateway, shown: Shown<'_>) -> [String; 6] {
    [
        mqtt::<Tcp311>(gateway, shown).await.1,
        mqtt::<Tcp5>(gateway, shown).await.1,
        mqtt::<WebSocket5>(gateway, shown).await.1,
        mqtt::<Quic5>(gateway, shown).await.1,
        mqttsn(mqttsn_gateway, shown).await.1,
        coap(gateway, shown).await.1,
    ]
}

/// Each transport's client of a token that ends soon: how it is told so.
async fn ends_with_its_token(gateway: &TestGateway, token: &str) -> [String; 6] {
    let shown = |client_id| Shown::new(client_id, "bob", token);
    let (mut old, at_old) = mqtt::<Tcp311>(gateway, shown("e-311")).await;
    let (mut new, at_new) = mqtt::<Tcp5>(gateway, shown("e-5")).await;
    let (mut ws, at_ws) = mqtt::<WebSocket5>(gateway, shown("e-ws")).await;
    let (mut quic, at_quic) = mqtt::<Quic5>(gateway, shown("e-quic")).await;
    let (mut sn, at_sn) = mqttsn(gateway, shown("e-sn")).await;
    for told in [at_old, at_new, at_ws, at_quic, at_sn] {
        assert_eq!(told, "CONNACK 0", "the token is good");
    }
    let mut client = Coap::open(gateway).await;
    client.open_connection_as("e-coap", &["username=bob", &format!("password={token}")]).await;
    assert_eq!(client.observe("seen", &[]).await.code, 205);
    [
        last_words(&mut old).await,
        last_words(&mut new).await,
        last_words(&mut ws).await,
        last_words(&mut quic).await,
        sn.take("DISCONNECT", |packet| matches!(packet, SnPacket::Disconnect(_)).then(|| "DISCONNECT".into())).await,
        code_of(client.notification().await.1.code),
    ]
}

/// Begins an exchange of SCRAM and answers the challenge with what was answered to another one.
async fn proof_again<F: Flavour>(gateway: &TestGateway, prover: &Prover, overheard: &[u8]) -> String {
    let mut client = Client::over(F::open(gateway).await, F::VERSION);
    client.send(&proving("replayer", SHA256, Some(prover.first())).bytes()).await;
    drop(awaited(&mut client, 0x18).await);
    client.send(&auth(0x18, SHA256, overheard.to_vec())).await;
    connack(F::VERSION, client.connack().await.code)
}

/// The same over all transports. Where nothing can be proved, what was overheard is tried as a password.
async fn proofs_again(gateway: &TestGateway) -> [String; 6] {
    let prover = Prover::new(SHA256, "prover", "pencil");
    let mut client = Client::over(Tcp5::open(gateway).await, Version::V5);
    client.send(&proving("overheard", SHA256, Some(prover.first())).bytes()).await;
    let (proof, _) = prover.last(&awaited(&mut client, 0x18).await);
    client.send(&auth(0x18, SHA256, proof.clone())).await;
    assert_eq!(client.connack().await.code, 0, "the proof is good once");
    let as_password = str::from_utf8(&proof).expect("text");
    let shown = Shown::new("replayer", "prover", as_password);
    let mut sn = MqttSn::open(gateway).await;
    let connect = SnConnect { will: false, clean_session: true, duration_secs: 60, client_id: "replayer" };
    sn.send(&SnPacket::Connect(connect)).await;
    sn.send(&SnPacket::Auth(Auth { reason: 0, method: SHA256, data: &proof })).await;
    let no_such_method = sn.connack().await;
    let (_, at_sn) = mqttsn(gateway, shown).await;
    assert_eq!(at_sn, format!("CONNACK {}", no_such_method as u8), "as a password it is no better");
    [
        mqtt::<Tcp311>(gateway, shown).await.1,
        proof_again::<Tcp5>(gateway, &prover, &proof).await,
        proof_again::<WebSocket5>(gateway, &prover, &proof).await,
        proof_again::<Quic5>(gateway, &prover, &proof).await,
        at_sn,
        coap(gateway, shown).await.1,
    ]
}

/// A CoAP request to publish, as it was overheard.
fn coap_publication(message_id: u16, topic: &str, parameters: &[String]) -> Vec<u8> {
    let mut packet = CoapPacket::new();
    packet.header.set_type(MessageType::Confirmable);
    packet.header.code = MessageClass::Request(RequestType::Put);
    packet.header.message_id = message_id;
    packet.set_token(message_id.to_be_bytes().to_vec());
    packet.add_option(CoapOption::UriPath, b"ps".to_vec());
    packet.add_option(CoapOption::UriPath, topic.as_bytes().to_vec());
    for parameter in parameters {
        packet.add_option(CoapOption::UriQuery, parameter.as_bytes().to_vec());
    }
    packet.payload = b"again".to_vec();
    packet.to_bytes().expect("a short packet")
}

fn sn_publication(id: u16, qos: Qos) -> SnPacket<'static> {
    let topic = TopicRef::Normal(id);
    SnPacket::Publish(Publish {
        duplicate: false,
        qos: Some(qos),
        retain: false,
        topic,
        message_id: 77,
        payload: b"again",
    })
}

async fn unconnected<F: Flavour>(gateway: &TestGateway) -> String {
    let mut client = Client::over(F::open(gateway).await, F::VERSION);
    client.send(&wire::publish(F::VERSION, "heard", b"again", 1, 7, &[])).await;
    last_words(&mut client).await
}

/// What was overheard of a publication is sent from elsewhere. Nobody gets it.
async fn publications_again(gateway: &TestGateway) -> [String; 6] {
    let mut witness = Client::over(Tcp5::open(gateway).await, Version::V5);
    witness.handshake(&Shown::new("witness", "bob", "secret").connect(Version::V5)).await;
    let mut other = Client::over(Tcp5::open(gateway).await, Version::V5);
    other.handshake(&Shown::new("other", "bob", "secret").connect(Version::V5)).await;
    witness.subscribe("heard", 1).await;

    let (mut node, _) = mqttsn(gateway, Shown::new("node", "bob", "secret")).await;
    let id = node.register("heard").await;
    let mut stranger = MqttSn::open(gateway).await;
    stranger.send(&sn_publication(id, Qos::AtLeastOnce)).await;
    let at_sn =
        stranger.take("DISCONNECT", |packet| matches!(packet, SnPacket::Disconnect(_)).then(|| "DISCONNECT".into()));
    let at_sn = at_sn.await;
    node.ping().await;

    // The token of a connection is good as long as the connection is.
    let mut sensor = Coap::open(gateway).await;
    sensor.open_connection_as("sensor", &["username=bob", "password=secret"]).await;
    let parameters = ["clientid=sensor".to_owned(), format!("token={}", sensor.token())];
    assert_eq!(sensor.request(&Request::new(RequestType::Delete, "mqtt/connection")).await.code, 202);
    let mut stranger = Coap::open(gateway).await;
    stranger.send_raw(&coap_publication(9, "heard", &parameters)).await;
    let at_coap = code_of(stranger.take("a response", |_| true).await.code);
    let told = [
        unconnected::<Tcp311>(gateway).await,
        unconnected::<Tcp5>(gateway).await,
        unconnected::<WebSocket5>(gateway).await,
        unconnected::<Quic5>(gateway).await,
        at_sn,
        at_coap,
    ];
    witness.expect_nothing(&mut other).await;
    told
}

#[tokio::test]
async fn each_stranger_is_refused_in_each_transports_words() {
    let (gateway, _folder) = guarded(true).await;
    // Without AUTH a CONNECT of MQTT-SN shows nothing and is decided about at once.
    let (trusting, _other_folder) = guarded(false).await;
    let good = token(&json!({ "sub": "bob", "exp": unix_secs() + 3600 }));
    let ending = token(&json!({ "sub": "bob", "exp": unix_secs() + 5 }));
    for (row, expected) in REFUSALS {
        let shows = |shown| told(&gateway, &gateway, shown);
        let said = match row {
            "anonymous" => told(&gateway, &trusting, Shown { client_id: "stranger", credentials: None }).await,
            "wrong password" => shows(Shown::new("stranger", "bob", "wrong")).await,
            "unknown name" => shows(Shown::new("stranger", "nobody", "secret")).await,
            "expired credentials" => shows(Shown::new("stranger", "ended", "secret")).await,
            "banned" => shows(Shown::new("stolen", "bob", "secret")).await,
            "a token ends while its client is connected" => ends_with_its_token(&gateway, &ending).await,
            "replayed: that token, after its end" => shows(Shown::new("replayer", "bob", &ending)).await,
            "replayed: a good token, by another name" => shows(Shown::new("replayer", "eve", &good)).await,
            "replayed: a good token, by a banned client" => shows(Shown::new("stolen", "bob", &good)).await,
            "replayed: a proof of SCRAM (as a password where there is no AUTH)" => proofs_again(&gateway).await,
            "replayed: a publication, from elsewhere" => publications_again(&gateway).await,
            other => panic!("no such row: {other}"),
        };
        for ((transport, expected), said) in TRANSPORTS.iter().zip(expected).zip(&said) {
            assert_eq!(said, expected, "{row} over {transport}");
        }
    }
    // The same credentials that were refused are good from those whose they are: it was not the gateway that was closed.
    for shown in [Shown::new("b", "bob", "secret"), Shown::new("b", "bob", &good)] {
        let welcome = ["CONNACK 0", "CONNACK 0", "CONNACK 0", "CONNACK 0", "CONNACK 0", "2.01"];
        assert_eq!(told(&gateway, &gateway, shown).await, welcome, "{shown:?}");
    }
}

/// MQTT-SN's QoS 2 and CoAP's message ids tell a datagram that comes again from the same address: it does nothing a second time.
#[tokio::test]
async fn datagrams_that_come_again_do_nothing_again() {
    let (gateway, _folder) = guarded(true).await;
    let shown = |client_id| Shown::new(client_id, "bob", "secret");
    let (mut witness, _) = mqtt::<Tcp5>(&gateway, shown("witness")).await;
    let (mut other, _) = mqtt::<Tcp5>(&gateway, shown("other")).await;
    witness.subscribe("heard", 2).await;

    let (mut node, _) = mqttsn(&gateway, shown("node")).await;
    let id = node.register("heard").await;
    for _ in 0..2 {
        node.send(&sn_publication(id, Qos::ExactlyOnce)).await;
        node.take("PUBREC", |packet| matches!(packet, SnPacket::Pubrec(77)).then_some(())).await;
    }
    node.send(&SnPacket::Pubrel(77)).await;
    node.take("PUBCOMP", |packet| matches!(packet, SnPacket::Pubcomp(77)).then_some(())).await;
    assert_eq!(witness.expect_message().await.text(), "again");
    witness.expect_nothing(&mut other).await;

    let mut sensor = Coap::open(&gateway).await;
    sensor.open_connection_as("sensor", &["username=bob", "password=secret"]).await;
    let datagram = coap_publication(900, "heard", &["clientid=sensor".to_owned(), format!("token={}", sensor.token())]);
    for _ in 0..2 {
        sensor.send_raw(&datagram).await;
        assert_eq!(sensor.take("a response", |_| true).await.code, 204);
    }
    assert_eq!(witness.expect_message().await.text(), "again");
    witness.expect_nothing(&mut other).await;
}

/// The table in `docs/security.md` is this one.
#[test]
fn the_page_has_the_same_table() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).expect("the page");
    let table = page.split("## Who is refused, over which transport").nth(1).expect("the section");
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<_> = rows.map(cells).collect();
    assert_eq!(rows[0][1..], TRANSPORTS);
    assert_eq!(rows.len(), REFUSALS.len() + 2);
    for ((row, expected), written) in REFUSALS.iter().zip(&rows[2..]) {
        assert_eq!((written[0].as_str(), &written[1..]), (*row, &expected.map(str::to_owned)[..]));
    }
}
