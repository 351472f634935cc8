use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use serde_json::json;
use thingway_connectors::{HttpService, LineSettings, Question, QuestionMethod, QuestionText};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::access::{
    passwords::Secret,
    rules::{Action, Permission, Who},
};

/// Made for these tests, and used nowhere else: ring makes no RSA keys.
const RSA: &[u8] = include_bytes!("rsa_for_tests.pk8");
const SECRET: &[u8] = b"a secret of more than sixteen bytes";
/// Seconds since 1970, for the judge's clock.
const NOW: u64 = 1_000_000;

/// Somebody who signs.
enum Signer {
    Hmac(Vec<u8>, hmac::Algorithm),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa(encoding: &'static dyn RsaEncoding) -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(RSA).expect("a key"), encoding)
    }

    fn ec(curve: &'static ring::signature::EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
        Self::Ec(EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).expect("a key"))
    }

    fn ed() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(secret, algorithm) => {
                hmac::sign(&hmac::Key::new(*algorithm, secret), text.as_bytes()).as_ref().into()
            }
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, text.as_bytes(), &mut signature).expect("signed");
                signature
            }
            Self::Ec(pair) => pair.sign(&random, text.as_bytes()).expect("signed").as_ref().into(),
            Self::Ed(pair) => pair.sign(text.as_bytes()).as_ref().into(),
        }
    }

    /// The public key as a JSON Web Key.
    fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair, _) => {
                let public: rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "kid": kid, "n": encode(&public.n), "e": encode(&public.e) })
            }
            Self::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "kid": kid, "crv": crv, "x": encode(x), "y": encode(y) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "kid": kid, "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            Self::Hmac(..) => panic!("a secret is not published"),
        }
    }

    fn keys(&self) -> Keys {
        let Self::Hmac(secret, _) = self else {
            let jwk = self.jwk("k");
            let member = |name: &str| jwk[name].as_str().map(ToOwned::to_owned);
            let (kty, crv) = (member("kty").expect("a kind"), member("crv"));
            return Keys::Public(PublicKey::from_jwk(&kty, crv.as_deref(), member).expect("a key"));
        };
        Keys::Secret(HmacSecret::new(secret, false).expect("long enough"))
    }
}

fn hs256() -> Signer {
    Signer::Hmac(SECRET.into(), hmac::HMAC_SHA256)
}

fn token(signer: &Signer, header: Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer.sign(&signed));
    format!("{signed}.{signature}")
}

fn settings(keys: Keys) -> JwtSettings {
    JwtSettings {
        name: "jwt.test".into(),
        source: Source::Password,
        keys,
        claims: Vec::new(),
        leeway: Duration::ZERO,
        acl_claim: "acl".into(),
        superuser_claim: "is_superuser".into(),
        disconnect_after_expire: true,
    }
}

fn attempt(token: &str) -> Arc<Attempt> {
    Arc::new(Attempt {
        username: Some("bob".into()),
        password: Some(Secret::copy_of(token.as_bytes())),
        protocol: "mqtt",
        listener: "test".into(),
        ..Attempt::default()
    })
}

fn judge(settings: JwtSettings) -> JwtAuthenticator {
    let source = (&*settings.name).into();
    JwtAuthenticator { judge: Arc::new(Judge { settings, source, clock: || NOW * 1000 }) }
}

async fn ask(authenticator: &JwtAuthenticator, token: &str) -> Said {
    match authenticator.ask(&attempt(token)) {
        Asked::Said(said) => said,
        Asked::Later(answer) => answer.await,
    }
}

/// What is said of a token, in a word.
async fn word(authenticator: &JwtAuthenticator, token: &str) -> &'static str {
    match ask(authenticator, token).await {
        Said::Ignore => "ignore",
        Said::Allow(_) => "allow",
        Said::Deny(Refusal::BadCredentials) => "bad",
        Said::Deny(Refusal::NotAuthorized) => "not now",
        Said::Deny(Refusal::Unavailable) => "unavailable",
        Said::Deny(_) => "other",
    }
}

#[tokio::test]
async fn every_algorithm_and_none_but_that_of_the_key() {
    let signers = [
        ("HS256", hs256()),
        ("HS384", Signer::Hmac(SECRET.into(), hmac::HMAC_SHA384)),
        ("HS512", Signer::Hmac(SECRET.into(), hmac::HMAC_SHA512)),
        ("RS256", Signer::rsa(&RSA_PKCS1_SHA256)),
        ("RS384", Signer::rsa(&RSA_PKCS1_SHA384)),
        ("RS512", Signer::rsa(&RSA_PKCS1_SHA512)),
        ("PS256", Signer::rsa(&RSA_PSS_SHA256)),
        ("PS384", Signer::rsa(&RSA_PSS_SHA384)),
        ("PS512", Signer::rsa(&RSA_PSS_SHA512)),
        ("ES256", Signer::ec(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        ("ES384", Signer::ec(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("EdDSA", Signer::ed()),
    ];
    for (name, signer) in &signers {
        let judge = judge(settings(signer.keys()));
        let good = token(signer, json!({ "alg": name }), &json!({}));
        assert_eq!(word(&judge, &good).await, "allow", "{name}");
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64");
        bytes[7] ^= 1;
        let changed = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(&bytes));
        assert_eq!(word(&judge, &changed).await, "bad", "{name}: another signature");
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"is_superuser":true}"#);
        let header = signed.split('.').next().expect("a header");
        assert_eq!(word(&judge, &format!("{header}.{payload}.{signature}")).await, "bad", "{name}: another payload");
        assert_eq!(word(&judge, &format!("{signed}.")).await, "bad", "{name}: no signature");
        assert_eq!(word(&judge, &good[..good.len() - 5]).await, "bad", "{name}: cut off");
        for (other, _) in signers.iter().filter(|(other, _)| other != name) {
            // The right signer, but what it says of itself is not so.
            let said = word(&judge, &token(signer, json!({ "alg": other }), &json!({}))).await;
            assert_eq!(said, "bad", "{name} that says {other}");
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    // The classic: a token that is signed by HMAC with the public key, which everybody has, as the secret.
    let ed = Signer::ed();
    let pem = {
        let Signer::Ed(pair) = &ed else { panic!("it is one") };
        let der =
            [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0][..], pair.public_key().as_ref()];
        let text = base64::prelude::BASE64_STANDARD.encode(der.concat());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    };
    let key = PublicKey::from_pem(pem.as_bytes()).expect("a key");
    let judge = judge(settings(Keys::Public(key)));
    assert_eq!(word(&judge, &token(&ed, json!({ "alg": "EdDSA" }), &json!({}))).await, "allow");
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let forged = token(&Signer::Hmac(pem.as_bytes().into(), algorithm), json!({ "alg": name }), &json!({}));
        assert_eq!(word(&judge, &forged).await, "bad", "{name}");
    }
    for header in [json!({ "alg": "none" }), json!({ "alg": "nOnE" }), json!({ "alg": "" }), json!({})] {
        let unsigned = token(&ed, header, &json!({}));
        let unsigned = &unsigned[..=unsigned.rfind('.').expect("three parts")];
        assert_eq!(word(&judge, unsigned).await, "bad");
    }
    // A key that the token itself brings.
    let stranger = Signer::ed();
    let header = json!({ "alg": "EdDSA", "jwk": stranger.jwk("x"), "jku": "http://127.0.0.1:1/" });
    assert_eq!(word(&judge, &token(&stranger, header, &json!({}))).await, "bad");
    assert_eq!(word(&judge, &token(&ed, json!({ "alg": "EdDSA", "crit": ["x"], "x": 1 }), &json!({}))).await, "bad");
}

#[test]
fn keys_that_are_none() {
    assert_eq!(HmacSecret::new(b"short", false).err(), Some(KeyError::Short));
    assert_eq!(HmacSecret::new(b"not base64!", true).err(), Some(KeyError::Base64));
    assert!(HmacSecret::new(b"YSBzZWNyZXQgb2Ygc2l4dGVlbg==\n", true).is_ok());
    assert_eq!(PublicKey::from_pem(b"").err(), Some(KeyError::NoKey));
    assert_eq!(
        PublicKey::from_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").err(),
        Some(KeyError::NoKey)
    );
    for (algorithm, expected) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "P256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "P384"),
        (&rcgen::PKCS_ED25519, "Ed25519"),
    ] {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let key = PublicKey::from_pem(pair.public_key_pem().as_bytes()).expect("a key");
        assert_eq!(format!("{key:?}"), expected);
        let parameters = rcgen::CertificateParams::new(["x".to_owned()]).expect("good");
        let certificate = parameters.self_signed(&pair).expect("signed");
        assert_eq!(PublicKey::from_pem(certificate.pem().as_bytes()), Ok(key));
    }
}

#[tokio::test]
async fn when_a_token_is_good() {
    let strict = judge(settings(hs256().keys()));
    let lenient = judge(JwtSettings { leeway: Duration::from_secs(10), ..settings(hs256().keys()) });
    let sign = |claims: Value| token(&hs256(), json!({ "alg": "HS256" }), &claims);
    for (claims, in_time, with_leeway) in [
        (json!({ "exp": NOW + 1 }), "allow", "allow"),
        (json!({ "exp": NOW }), "not now", "allow"),
        (json!({ "exp": NOW - 9 }), "not now", "allow"),
        (json!({ "exp": NOW - 10 }), "not now", "not now"),
        (json!({ "nbf": NOW }), "allow", "allow"),
        (json!({ "nbf": NOW + 10 }), "not now", "allow"),
        (json!({ "nbf": NOW + 11 }), "not now", "not now"),
        (json!({ "iat": NOW + 11 }), "not now", "not now"),
        (json!({ "exp": 1_000_000.5 }), "allow", "allow"),
        (json!({ "exp": "1000001" }), "bad", "bad"),
        (json!({ "exp": null }), "bad", "bad"),
        (json!({ "exp": -1 }), "bad", "bad"),
        (json!({ "nbf": [] }), "bad", "bad"),
        (json!([]), "bad", "bad"),
    ] {
        assert_eq!(word(&strict, &sign(claims.clone())).await, in_time, "{claims}");
        assert_eq!(word(&lenient, &sign(claims.clone())).await, with_leeway, "{claims} with leeway");
    }
    let Said::Allow(grant) = ask(&lenient, &sign(json!({ "exp": NOW + 5 }))).await else { panic!("it is good") };
    assert_eq!(grant.expires_unix_ms, Some((NOW + 15) * 1000));
    let lasting = judge(JwtSettings { disconnect_after_expire: false, ..settings(hs256().keys()) });
    let Said::Allow(grant) = ask(&lasting, &sign(json!({ "exp": NOW + 5 }))).await else { panic!("it is good") };
    assert!(grant.is_plain());
}

#[tokio::test]
async fn what_a_token_must_claim() {
    let claim = |text: &str| Template::parse(text, crate::access::is_of_attempts).expect("a template");
    let claims = vec![("sub".into(), claim("${username}")), ("aud".into(), claim("mqtt")), ("n".into(), claim("7"))];
    let judge = judge(JwtSettings { claims, ..settings(hs256().keys()) });
    for (claims, expected) in [
        (json!({ "sub": "bob", "aud": "mqtt", "n": 7 }), "allow"),
        (json!({ "sub": "bob", "aud": ["web", "mqtt"], "n": "7" }), "allow"),
        (json!({ "sub": "eve", "aud": "mqtt", "n": 7 }), "bad"),
        (json!({ "sub": ["bob"], "aud": "mqtt", "n": 7 }), "bad"),
        (json!({ "sub": "bob", "aud": ["web"], "n": 7 }), "bad"),
        (json!({ "sub": "bob", "aud": "mqtt" }), "bad"),
        (json!({ "sub": "bob", "aud": "mqtt", "n": true }), "bad"),
        (json!({}), "bad"),
    ] {
        assert_eq!(word(&judge, &token(&hs256(), json!({ "alg": "HS256" }), &claims)).await, expected, "{claims}");
    }
    let unknown = vec![("sub".into(), claim("${peerhost}"))];
    let judge = super::tests::judge(JwtSettings { claims: unknown, ..settings(hs256().keys()) });
    let empty = token(&hs256(), json!({ "alg": "HS256" }), &json!({ "sub": "" }));
    assert_eq!(word(&judge, &empty).await, "bad", "what is not known is not empty");
}

#[tokio::test]
async fn what_a_token_grants() {
    let judge = judge(settings(hs256().keys()));
    let claims = json!({
        "is_superuser": false,
        "client_attrs": { "site": "north" },
        "acl": [{ "permission": "allow", "action": "publish", "topic": "t/${username}" }],
    });
    let Said::Allow(grant) = ask(&judge, &token(&hs256(), json!({ "alg": "HS256" }), &claims)).await else {
        panic!("it is good")
    };
    assert_eq!(grant.attributes.find("site"), Some("north"));
    let who = Who { username: Some("bob"), ..Who::nobody() };
    let write = Action::Publish { qos: thingway_contract::Qos::AtMostOnce, retain: false };
    let rules = grant.rules.expect("there are some");
    assert_eq!(rules.find(&who, write, "t/bob").map(|rule| rule.permission), Some(Permission::Allow));
    for bad in [json!({ "acl": [{}] }), json!({ "is_superuser": "true" }), json!({ "client_attrs": { "a": 1 } })] {
        assert_eq!(word(&judge, &token(&hs256(), json!({ "alg": "HS256" }), &bad)).await, "not now", "{bad}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_for_others_to_judge() {
    let judge = judge(settings(hs256().keys()));
    for password in ["", "secret", "a.b.c", "..", "1.2.3.4"] {
        assert_eq!(word(&judge, password).await, "ignore", "{password}");
    }
    let nothing = Arc::new(Attempt::default());
    assert!(matches!(judge.ask(&nothing), Asked::Said(Said::Ignore)));
    let good = token(&hs256(), json!({ "alg": "HS256" }), &json!({}));
    let named = super::tests::judge(JwtSettings { source: Source::Username, ..settings(hs256().keys()) });
    assert_eq!(word(&named, &good).await, "ignore", "it is not shown as the user name");
    let attempt = Arc::new(Attempt { username: Some(good.as_str().into()), ..Attempt::default() });
    let Asked::Later(answer) = named.ask(&attempt) else { panic!("it is one") };
    assert!(matches!(answer.await, Said::Allow(_)));
}

/// A server that publishes what it is told to, and counts how often it is asked. Without a text it says 503.
async fn publisher(text: Arc<Mutex<Option<String>>>, asked: Arc<Mutex<usize>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    drop(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            *asked.lock() += 1;
            let body = text.lock().clone();
            let status = if body.is_some() { "200 OK" } else { "503 No" };
            let body = body.unwrap_or_default();
            let answer =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }));
    address
}

#[tokio::test]
async fn published_keys_change_while_it_runs() {
    let (first, second) = (Signer::ec(&ECDSA_P256_SHA256_FIXED_SIGNING), Signer::rsa(&RSA_PKCS1_SHA256));
    let set = |keys: Value| json!({ "keys": keys }).to_string();
    let (text, asked) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
    let address = publisher(text.clone(), asked.clone()).await;
    let jwks = || {
        let url = format!("http://{address}/keys");
        let question = QuestionText { method: QuestionMethod::Get, url: &url, headers: &[], fields: &[] };
        let question = Question::parse(&question, |_| false).expect("a request");
        let service = HttpService::new("jwt.test", LineSettings::default(), None).expect("a client");
        Jwks::new("jwt.test", service, question)
    };
    let by_first = token(&first, json!({ "alg": "ES256", "kid": "1" }), &json!({}));
    let by_second = token(&second, json!({ "alg": "RS256", "kid": "2" }), &json!({}));

    let judge = judge(settings(Keys::Published(jwks())));
    assert_eq!(word(&judge, &by_first).await, "unavailable", "there were never any keys");
    assert_eq!((word(&judge, &by_first).await, *asked.lock()), ("unavailable", 1), "it is not asked at once again");

    *text.lock() = Some(set(json!([first.jwk("1")])));
    let keys = jwks();
    let judge = super::tests::judge(settings(Keys::Published(keys.clone())));
    assert_eq!(word(&judge, &by_first).await, "allow");
    assert_eq!(word(&judge, &token(&first, json!({ "alg": "ES256" }), &json!({}))).await, "allow", "without a name");
    *text.lock() = Some(set(json!([second.jwk("2")])));
    let before = *asked.lock();
    for _ in 0..20 {
        assert_eq!(word(&judge, &by_second).await, "bad", "the last time was a moment ago");
    }
    assert_eq!(*asked.lock(), before, "strangers cannot make it ask");
    keys.forget_when_asked().await;
    assert_eq!(word(&judge, &by_second).await, "allow");
    assert_eq!(word(&judge, &by_first).await, "bad", "it is no longer published");

    // Those that were fetched stay while nothing better comes.
    for broken in [None, Some("{}".to_owned()), Some(set(json!([{ "kty": "oct", "k": "AAAA" }])))] {
        *text.lock() = broken;
        keys.forget_when_asked().await;
        assert_eq!(word(&judge, &by_first).await, "bad");
        assert_eq!(word(&judge, &by_second).await, "allow");
    }
    assert!(*asked.lock() >= before + 4);
}

#[tokio::test]
async fn keys_that_nobody_needs_are_not_fetched_again() {
    let (text, asked) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
    let url = format!("http://{}/keys", publisher(text, asked.clone()).await);
    let question = QuestionText { method: QuestionMethod::Get, url: &url, headers: &[], fields: &[] };
    let question = Question::parse(&question, |_| false).expect("a question");
    let service = HttpService::new("jwt.test", LineSettings::default(), None).expect("a service");
    let jwks = Jwks::new("jwt.test", service, question);
    jwks.keep_fresh(Duration::from_secs(3600));
    while *asked.lock() == 0 {
        tokio::task::yield_now().await;
    }
    let task = jwks.task().expect("it keeps them fresh");
    drop(jwks);
    // Without that it would wait for an hour.
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}
