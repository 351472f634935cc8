//! MongoDB, by a server of our own: no packaged one can be had. It keeps to the wire protocol's document (OP_MSG, BSON, SCRAM-SHA-256), written here a second
//! time, and answers `find` by comparing texts with texts, and by `$ne` and `$gt` where a filter has these.

use std::{num::NonZeroU32, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{UNAVAILABLE, code, contract, gateway};

/// What a document is made of.
#[derive(Clone, Debug, PartialEq)]
enum Bson {
    Text(String),
    Document(Vec<(String, Bson)>),
    Array(Vec<Bson>),
    Bytes(Vec<u8>),
    Truth(bool),
    Int(i32),
    Double(f64),
}

fn text(text: &str) -> Bson {
    Bson::Text(text.into())
}

fn document<const N: usize>(members: [(&str, Bson); N]) -> Vec<(String, Bson)> {
    members.map(|(name, value)| (name.to_owned(), value)).into()
}

fn encode(members: &[(String, Bson)]) -> Vec<u8> {
    let mut out = vec![0; 4];
    for (name, value) in members {
        let (kind, body) = match value {
            Bson::Double(number) => (0x01, number.to_le_bytes().to_vec()),
            Bson::Text(text) => (0x02, [&(text.len() as i32 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()),
            Bson::Document(members) => (0x03, encode(members)),
            Bson::Array(items) => {
                let members: Vec<_> = items.iter().enumerate().map(|(at, it)| (at.to_string(), it.clone())).collect();
                (0x04, encode(&members))
            }
            Bson::Bytes(bytes) => (0x05, [&(bytes.len() as i32).to_le_bytes()[..], &[0], bytes].concat()),
            Bson::Truth(truth) => (0x08, vec![u8::from(*truth)]),
            Bson::Int(number) => (0x10, number.to_le_bytes().to_vec()),
        };
        out.push(kind);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend(body);
    }
    out.push(0);
    let len = (out.len() as i32).to_le_bytes();
    out[..4].copy_from_slice(&len);
    out
}

fn decode(bytes: &[u8]) -> Vec<(String, Bson)> {
    let int = |bytes: &[u8]| i32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(int(bytes) as usize, bytes.len(), "a document says how long it is");
    let (mut rest, mut members) = (&bytes[4..bytes.len() - 1], Vec::new());
    while let Some((kind, after)) = rest.split_first() {
        let end = after.iter().position(|&byte| byte == 0).expect("the end of a name");
        let name = String::from_utf8(after[..end].to_vec()).expect("a name");
        rest = &after[end + 1..];
        let (value, len) = match kind {
            0x01 => (Bson::Double(f64::from_le_bytes(rest[..8].try_into().expect("eight bytes"))), 8),
            0x02 => {
                let len = int(rest) as usize;
                assert_eq!(rest[4 + len - 1], 0, "a text ends with NUL");
                (Bson::Text(String::from_utf8(rest[4..4 + len - 1].to_vec()).expect("text")), 4 + len)
            }
            0x03 | 0x04 => {
                let len = int(rest) as usize;
                let members = decode(&rest[..len]);
                let array = || Bson::Array(members.iter().map(|(_, value)| value.clone()).collect());
                (if *kind == 0x04 { array() } else { Bson::Document(members) }, len)
            }
            0x05 => {
                let len = int(rest) as usize;
                (Bson::Bytes(rest[5..5 + len].to_vec()), 5 + len)
            }
            0x08 => (Bson::Truth(rest[0] == 1), 1),
            0x10 => (Bson::Int(int(rest)), 4),
            kind => panic!("a value of kind {kind}"),
        };
        members.push((name, value));
        rest = &rest[len..];
    }
    members
}

fn find<'a>(members: &'a [(String, Bson)], name: &str) -> Option<&'a Bson> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn find_text<'a>(members: &'a [(String, Bson)], name: &str) -> &'a str {
    match find(members, name) {
        Some(Bson::Text(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

/// Collections with their documents.
type Collections = Vec<(&'static str, Vec<Vec<(String, Bson)>>)>;

/// Whether a document is one that a filter is about.
fn is_about(filter: &[(String, Bson)], document: &[(String, Bson)]) -> bool {
    filter.iter().all(|(name, wanted)| match wanted {
        Bson::Document(operators) => operators.iter().all(|(operator, value)| match operator.as_str() {
            "$ne" => find(document, name) != Some(value),
            "$gt" => find(document, name).is_some(),
            other => panic!("{other}"),
        }),
        wanted => find(document, name) == Some(wanted),
    })
}

async fn serve(mut stream: TcpStream, collections: Arc<Collections>) -> std::io::Result<()> {
    let mut known = false;
    let mut scram = None;
    loop {
        let mut header = [0; 21];
        stream.read_exact(&mut header).await?;
        let number = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((number(12), number(16), header[20]), (2013, 0, 0), "OP_MSG with one section");
        let mut body = vec![0; number(0) as usize - header.len()];
        stream.read_exact(&mut body).await?;
        let command = decode(&body);
        let reply = match command[0].0.as_str() {
            "hello" => document([("maxWireVersion", Bson::Int(21)), ("ok", Bson::Double(1.0))]),
            "saslStart" => {
                assert_eq!((find_text(&command, "mechanism"), find_text(&command, "$db")), ("SCRAM-SHA-256", "admin"));
                let (made, reply) = Scram::begin(find(&command, "payload"));
                scram = Some(made);
                reply
            }
            "saslContinue" => match scram.take().expect("it has begun").proves(find(&command, "payload")) {
                Some(reply) => {
                    known = true;
                    reply
                }
                None => error(18),
            },
            "find" if !known => error(13),
            "find" => {
                assert_eq!(find_text(&command, "$db"), "mqtt");
                let Some(Bson::Document(filter)) = find(&command, "filter") else { panic!("{command:?}") };
                let name = find_text(&command, "find");
                let all = collections.iter().find(|(known, _)| *known == name).map(|(_, all)| all.as_slice());
                let found = all.unwrap_or_default().iter().filter(|document| is_about(filter, document));
                let batch = found.map(|document| Bson::Document(document.clone())).collect();
                let cursor = document([("firstBatch", Bson::Array(batch)), ("id", Bson::Int(0)), ("ns", text("x"))]);
                document([("cursor", Bson::Document(cursor)), ("ok", Bson::Double(1.0))])
            }
            other => panic!("{other}"),
        };
        let reply = encode(&reply);
        let head = [21 + reply.len() as i32, 99, number(4), 2013, 0];
        let head: Vec<u8> = head.into_iter().flat_map(i32::to_le_bytes).chain([0]).collect();
        stream.write_all(&[head, reply].concat()).await?;
    }
}

fn error(code: i32) -> Vec<(String, Bson)> {
    document([("ok", Bson::Double(0.0)), ("errmsg", text("no")), ("code", Bson::Int(code))])
}

/// The server's side of SCRAM-SHA-256 with the user "thingway" and the password "word".
struct Scram {
    so_far: String,
    nonce: String,
}

impl Scram {
    const SALT: &[u8] = b"0123456789abcdef";
    const ROUNDS: u32 = 4096;

    fn payload(payload: Option<&Bson>) -> String {
        let Some(Bson::Bytes(payload)) = payload else { panic!("{payload:?}") };
        String::from_utf8(payload.clone()).expect("text")
    }

    fn step(payload: &str, done: bool) -> Vec<(String, Bson)> {
        document([
            ("conversationId", Bson::Int(1)),
            ("done", Bson::Truth(done)),
            ("payload", Bson::Bytes(payload.into())),
            ("ok", Bson::Double(1.0)),
        ])
    }

    fn begin(payload: Option<&Bson>) -> (Self, Vec<(String, Bson)>) {
        let first = Self::payload(payload);
        let bare = first.strip_prefix("n,,").expect("no binding to a channel");
        let nonce = bare.strip_prefix("n=thingway,r=").expect("a name and a nonce");
        let nonce = format!("{nonce}more");
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(Self::SALT), Self::ROUNDS);
        (Self { so_far: format!("{bare},{answer}"), nonce }, Self::step(&answer, false))
    }

    fn proves(self, payload: Option<&Bson>) -> Option<Vec<(String, Bson)>> {
        let last = Self::payload(payload);
        let (without, proof) = last.split_once(",p=").expect("a proof");
        assert_eq!(without, format!("c=biws,r={}", self.nonce));
        let key = |key: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(Self::ROUNDS).expect("not zero");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, Self::SALT, b"word", &mut salted);
        let client = hmac::sign(&key(&salted), b"Client Key");
        let stored = digest::digest(&digest::SHA256, client.as_ref());
        let all = format!("{},{without}", self.so_far);
        let signature = hmac::sign(&key(stored.as_ref()), all.as_bytes());
        let expected: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        if STANDARD.decode(proof).ok()? != expected {
            return None;
        }
        let server = hmac::sign(&key(&salted), b"Server Key");
        let answer = hmac::sign(&key(server.as_ref()), all.as_bytes());
        Some(Self::step(&format!("v={}", STANDARD.encode(answer)), true))
    }
}

/// Bob, root, and some who are not as they should be; and bob's rules.
fn collections() -> Collections {
    let hash = "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35";
    let user = |name: &str, hash: Bson, superuser: Bson| {
        document([
            ("username", text(name)),
            ("password_hash", hash),
            ("salt", text("salt")),
            ("is_superuser", superuser),
        ])
    };
    let rule = |permission: &str, action: &str, topics: &[&str]| {
        let topics = Bson::Array(topics.iter().map(|topic| text(topic)).collect());
        document([
            ("username", text("bob")),
            ("permission", text(permission)),
            ("action", text(action)),
            ("topics", topics),
        ])
    };
    let users = vec![
        user("bob", text(hash), Bson::Truth(false)),
        user("root", text("e6f2307430e047cc024c2b454ae22a8d32786f289025e545bdb36fe145781af0"), Bson::Truth(true)),
        user("odd", Bson::Double(0.5), Bson::Truth(false)),
        user("perhaps", text(hash), text("perhaps")),
        user("large", text(&"x".repeat(70_000)), Bson::Truth(false)),
    ];
    let rules = vec![
        rule("allow", "publish", &["by/${clientid}/#"]),
        rule("allow", "subscribe", &["news/#", "more/#"]),
        rule("deny", "all", &["secret"]),
    ];
    vec![("mqtt_user", users), ("mqtt_acl", rules)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let collections = Arc::new(collections());
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, collections.clone()));
        }
    });
    let access = format!(
        "[access]\nauthenticators = [\"mongodb.main\"]\nsources = [\"mongodb.main\"]\n\
         [access.mongodb.main]\nserver = \"127.0.0.1:{port}\"\nusername = \"thingway\"\npassword = \"word\"\n\
         filter = '{{\"username\": \"${{username}}\"}}'\nrules_filter = '{{\"username\": \"${{username}}\"}}'\n"
    );
    let whole = gateway(&access).await;
    contract::authenticates(&whole).await;
    contract::authorizes(&whole).await;
    for username in ["odd", "perhaps", "large"] {
        assert_eq!(code(&whole, username, "secret").await, UNAVAILABLE, "{username}");
    }
    for (from, to) in [("\"word\"", "\"other\""), ("username = \"thingway\"", "")] {
        assert_eq!(code(&gateway(&access.replace(from, to)).await, "bob", "secret").await, UNAVAILABLE, "{to}");
    }
}
