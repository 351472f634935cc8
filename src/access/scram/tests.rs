use thingway_contract::ClientId;

use super::*;
use crate::access::{
    passwords::{Hashers, HashersSettings},
    users::{User, UserKey, Users},
};

/// A client: what it says, and what it expects to be told.
struct Client {
    hash: ScramHash,
    password: Vec<u8>,
    bare: String,
    gs2_header: &'static str,
}

impl Client {
    fn new(hash: ScramHash, username: &str, password: &str) -> Self {
        let bare = format!("n={username},r=rOprNGfwEbeRWgbNEkqO");
        Self { hash, password: password.into(), bare, gs2_header: "n,," }
    }

    fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.bare)
    }

    /// The last message, and what the server must answer.
    fn last(&self, server_first: &str) -> (String, String) {
        let field =
            |name: &str| server_first.split(',').find_map(|field| field.strip_prefix(name)).expect("it is there");
        let salt = BASE64_STANDARD.decode(field("s=")).expect("base64");
        let iterations: u32 = field("i=").parse().expect("a number");
        let keys = ScramKeys::with_salt(self.hash, &self.password, iterations, &salt);
        let mut salted = vec![0; self.hash.bytes()];
        let algorithm = match self.hash {
            ScramHash::Sha256 => ring::pbkdf2::PBKDF2_HMAC_SHA256,
            ScramHash::Sha512 => ring::pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let rounds = std::num::NonZeroU32::new(iterations).expect("some");
        ring::pbkdf2::derive(algorithm, rounds, &salt, &self.password, &mut salted);
        let binding = BASE64_STANDARD.encode(self.gs2_header);
        let without_proof = format!("c={binding},r={}", field("r="));
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = self.hash.sign(&salted, b"Client Key");
        let signature = self.hash.sign(&keys.stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = self.hash.sign(&keys.server_key, auth_message.as_bytes());
        (
            format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
            format!("v={}", BASE64_STANDARD.encode(server)),
        )
    }
}

fn user(password: &str, hashes: &[ScramHash]) -> User {
    let keys = |hash: &ScramHash| Arc::new(ScramKeys::new(*hash, password.as_bytes(), 4096).expect("salt"));
    User { scram: hashes.iter().map(keys).collect(), ..User::default() }
}

fn scram_by(by: UserKey) -> Scram {
    let hashers = Arc::new(Hashers::start(HashersSettings::default()).expect("threads"));
    let database = Arc::new(UserDatabase::new(by, hashers).expect("random bytes"));
    let users: Users = [
        ("user", User { superuser: true, ..user("pencil", &ScramHash::ALL) }),
        ("ended", User { expires_unix_secs: Some(1), ..user("pencil", &ScramHash::ALL) }),
        ("a,b=c", user("pencil", &ScramHash::ALL)),
        ("only512", user("pencil", &[ScramHash::Sha512])),
        ("none", user("pencil", &[])),
    ]
    .into_iter()
    .map(|(name, user)| (name.into(), Arc::new(user)))
    .collect();
    database.set_stored(users);
    Scram::new(database, b"a secret")
}

fn begin(hash: ScramHash) -> ScramExchange {
    Scram::begin(hash.method()).expect("it is known")
}

/// Awaits a challenge.
fn challenged(step: ScramStep) -> (String, ScramExchange) {
    let ScramStep::Challenge(Some(data), exchange) = step else { panic!("{step:?}") };
    (String::from_utf8(data.to_vec()).expect("text"), exchange)
}

/// A whole exchange: what the server says at the end, or how it refuses.
fn exchange(scram: &Scram, client: &Client, attempt: &Attempt) -> Result<(Box<str>, Grant), Refusal> {
    let first = scram.step(begin(client.hash), Some(client.first().as_bytes()), attempt, 2000);
    let (said, exchange) = match first {
        ScramStep::Refused(_, refusal) => return Err(refusal),
        other => challenged(other),
    };
    let (last, expected) = client.last(&said);
    match scram.step(exchange, Some(last.as_bytes()), attempt, 2000) {
        ScramStep::Proven(username, data, grant) => {
            assert_eq!(data, expected.as_bytes(), "it knows the password, too");
            Ok((username, grant))
        }
        ScramStep::Refused(_, refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// RFC 7677, section 3.
#[test]
fn the_rfcs_own_exchange() {
    let scram = scram_by(UserKey::Username);
    let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let keys = ScramKeys::with_salt(ScramHash::Sha256, b"pencil", 4096, &salt);
    let known = User { scram: [Arc::new(keys)].into(), ..User::default() };
    scram.database.set_stored([("user".into(), Arc::new(known))].into_iter().collect());
    let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("good");
    let random = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let step = scram.answer(ScramHash::Sha256, &first, "user".into(), random, &Attempt::default());
    let (said, exchange) = challenged(step);
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert_eq!(said, format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let step = scram.step(exchange, Some(last.as_bytes()), &Attempt::default(), 0);
    let ScramStep::Proven(username, data, _) = step else { panic!("{step:?}") };
    assert_eq!((&*username, &data[..]), ("user", &b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..]));
}

#[test]
fn who_knows_the_password_is_let_in() {
    let (scram, nobody) = (scram_by(UserKey::Username), Attempt::default());
    for hash in ScramHash::ALL {
        let (username, grant) = exchange(&scram, &Client::new(hash, "user", "pencil"), &nobody).expect("right");
        assert!(&*username == "user" && grant.superuser);
        let escaped = exchange(&scram, &Client::new(hash, "a=2Cb=3Dc", "pencil"), &nobody).expect("right");
        assert_eq!(&*escaped.0, "a,b=c");
        let bound = Client { gs2_header: "y,a=user,", ..Client::new(hash, "user", "pencil") };
        assert!(exchange(&scram, &bound, &nobody).is_ok());
        for (username, password) in [("user", "pencils"), ("user", ""), ("none", "pencil"), ("nobody", "pencil")] {
            let client = Client::new(hash, username, password);
            assert_eq!(exchange(&scram, &client, &nobody).err(), Some(Refusal::BadCredentials), "{username}");
        }
        let ended = exchange(&scram, &Client::new(hash, "ended", "pencil"), &nobody);
        assert_eq!(ended.err(), Some(Refusal::NotAuthorized));
        let ended = exchange(&scram, &Client::new(hash, "ended", "wrong"), &nobody);
        assert_eq!(ended.err(), Some(Refusal::BadCredentials), "only who knows the password is told");
        let for_other = Client { gs2_header: "n,a=root,", ..Client::new(hash, "user", "pencil") };
        assert_eq!(exchange(&scram, &for_other, &nobody).err(), Some(Refusal::BadCredentials));
    }
    assert!(exchange(&scram, &Client::new(ScramHash::Sha512, "only512", "pencil"), &nobody).is_ok());
    assert!(exchange(&scram, &Client::new(ScramHash::Sha256, "only512", "pencil"), &nobody).is_err());
    let other = Attempt { username: Some("bob".into()), ..Attempt::default() };
    let client = Client::new(ScramHash::Sha256, "user", "pencil");
    assert_eq!(exchange(&scram, &client, &other).err(), Some(Refusal::BadCredentials), "CONNECT has another name");
    assert!(Scram::begin("SCRAM-SHA-1").is_none() && Scram::begin("SCRAM-SHA-256-PLUS").is_none());
}

#[test]
fn where_users_are_client_ids_it_must_be_the_own_one() {
    let scram = scram_by(UserKey::ClientId);
    let client = Client::new(ScramHash::Sha256, "user", "pencil");
    let with_id = |id: &str| Attempt { client_id: ClientId::new(id, 99).ok(), ..Attempt::default() };
    assert!(exchange(&scram, &client, &with_id("user")).is_ok());
    assert_eq!(exchange(&scram, &client, &with_id("other")).err(), Some(Refusal::BadCredentials));
    assert_eq!(exchange(&scram, &client, &Attempt::default()).err(), Some(Refusal::BadCredentials));
}

#[test]
fn nobody_learns_who_is_known() {
    let (scram, nobody) = (scram_by(UserKey::Username), Attempt::default());
    let challenge = |scram: &Scram, hash, name: &str| {
        let client = Client::new(hash, name, "pencil");
        let (said, _) = challenged(scram.step(begin(hash), Some(client.first().as_bytes()), &nobody, 0));
        let (nonce, rest) = said.split_once(",s=").expect("a salt");
        assert_eq!(nonce.len(), "r=rOprNGfwEbeRWgbNEkqO".len() + 24, "{said}");
        let (salt, iterations) = rest.split_once(",i=").expect("rounds");
        assert_eq!((BASE64_STANDARD.decode(salt).expect("base64").len(), iterations), (SALT_BYTES, "4096"), "{said}");
        salt.to_owned()
    };
    let again = Scram::new(scram.database.clone(), b"a secret");
    let mut salts = std::collections::HashSet::new();
    for hash in ScramHash::ALL {
        for name in ["user", "nobody", "nobody2", "none"] {
            let salt = challenge(&scram, hash, name);
            assert_eq!(challenge(&scram, hash, name), salt, "{name}: it stays the same");
            assert_eq!(challenge(&again, hash, name), salt, "{name}: and after a restart");
            assert!(salts.insert(salt), "{name}: and is nobody else's");
        }
    }
    let elsewhere = Scram::new(scram.database.clone(), b"another secret");
    assert_ne!(challenge(&elsewhere, ScramHash::Sha256, "nobody"), challenge(&scram, ScramHash::Sha256, "nobody"));
}

#[test]
fn what_comes_out_of_order_or_from_another_exchange_is_refused() {
    let (scram, nobody) = (scram_by(UserKey::Username), Attempt::default());
    let hash = ScramHash::Sha256;
    let client = Client::new(hash, "user", "pencil");
    let start = || challenged(scram.step(begin(hash), Some(client.first().as_bytes()), &nobody, 0));
    let refused = |step: ScramStep| assert!(matches!(step, ScramStep::Refused(_, Refusal::BadCredentials)), "{step:?}");
    // The first message after an empty challenge.
    let ScramStep::Challenge(None, empty) = scram.step(begin(hash), None, &nobody, 0) else { panic!("it is asked") };
    let (said, exchange) = challenged(scram.step(empty, Some(client.first().as_bytes()), &nobody, 0));
    let (last, _) = client.last(&said);
    assert!(matches!(scram.step(exchange, Some(last.as_bytes()), &nobody, 0), ScramStep::Proven(..)));
    // The same again is a replay: the nonce is another one.
    let (_, exchange) = start();
    refused(scram.step(exchange, Some(last.as_bytes()), &nobody, 0));
    // The last message first, the first twice, nothing, and what is cut off or changed.
    refused(scram.step(begin(hash), Some(last.as_bytes()), &nobody, 0));
    let (_, exchange) = start();
    refused(scram.step(exchange, Some(client.first().as_bytes()), &nobody, 0));
    let (_, exchange) = start();
    refused(scram.step(exchange, None, &nobody, 0));
    let changes: [fn(&str) -> String; 5] = [
        |last| last[..last.len() - 4].to_owned(),
        |last| last.replace("c=biws", "c=eSws"),
        |last| last.replace(",r=", ",r=x"),
        |last| last.split(",p=").next().unwrap_or_default().to_owned() + ",p=",
        |last| last.replace(",p=", ",x=1,p="),
    ];
    for change in changes {
        let (said, exchange) = start();
        let (last, _) = client.last(&said);
        refused(scram.step(exchange, Some(change(&last).as_bytes()), &nobody, 0));
    }
}
