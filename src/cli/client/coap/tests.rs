use thingway_coap::{blockwise::Block, codec::Kind, message::Transmission};

use super::*;
use crate::cli::client::{
    conversation::Client as _,
    publish::publish,
    testing::{Peer, pub_arguments, sub_arguments},
};

/// So long that nothing is sent again.
const PATIENT: Transmission = Transmission {
    ack_timeout_ms: 60_000,
    ack_random_permille: 1000,
    max_retransmit: 4,
    nstart: 1,
    exchanges_max: 128,
};

/// So short that much is sent again.
const HASTY: Transmission = Transmission { ack_timeout_ms: 100, max_retransmit: 6, ..PATIENT };

async fn link(peer: &Peer, transmission: Transmission) -> Link {
    Link::new(Datagrams::open(&peer.host()).await.unwrap(), transmission)
}

fn requests(peer: &Peer) -> Requests {
    Requests::new(&peer.host(), &["ps".into()])
}

/// Publishes as the command does, while `script` plays the server.
async fn published(
    line: &str,
    transmission: Transmission,
    script: impl AsyncFnOnce(&mut Peer),
) -> Result<(), ClientError> {
    let mut peer = Peer::new().await;
    let arguments = pub_arguments(&format!("--url coap://h {line}"));
    check_publish(&arguments)?;
    let (link, requests) = (link(&peer, transmission).await, requests(&peer));
    let work = async { publish(Client::over(link, requests, &arguments.connect).await?, &arguments).await };
    let (result, ()) = tokio::join!(work, script(&mut peer));
    result
}

/// Subscribes, takes `count` messages and ends, while `script` plays the server.
async fn subscribed(
    line: &str,
    count: usize,
    transmission: Transmission,
    script: impl AsyncFnOnce(&mut Peer),
) -> Result<Vec<Message>, ClientError> {
    let mut peer = Peer::new().await;
    let arguments = sub_arguments(&format!("--url coap://h {line}"));
    check_subscribe(&arguments)?;
    let (link, requests) = (link(&peer, transmission).await, requests(&peer));
    let work = async {
        let mut client = Client::over(link, requests, &arguments.connect).await?;
        client.subscribe(&arguments).await?;
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(client.next().await?);
            client.acknowledge().await?;
        }
        client.settle().await?;
        client.close().await?;
        Ok(messages)
    };
    let (result, ()) = tokio::join!(work, script(&mut peer));
    result
}

/// Messages as topic, payload, whether they were confirmable, and retain flag.
fn told(messages: &[Message]) -> Vec<(&str, &[u8], bool, bool)> {
    let told = |message| {
        let Message { topic, payload, retain, properties, .. }: &Message = message;
        (&**topic, &**payload, properties["confirmable"] == true, *retain)
    };
    messages.iter().map(told).collect()
}

/// The next request: its method, path and query on one line.
async fn asked(peer: &mut Peer, expected: &str) -> Packet {
    let request = Packet::decode(&peer.next().await).unwrap();
    let join = |number, separator: &str| {
        let values: Vec<_> = request.options(number).map(String::from_utf8_lossy).collect();
        values.join(separator)
    };
    let code = request.code();
    assert_eq!(format!("{code} {}?{}", join(option::URI_PATH, "/"), join(option::URI_QUERY, "&")), expected);
    request
}

/// The response in the acknowledgement of a request.
fn answer(request: &Packet, code: Code, payload: &[u8]) -> Packet {
    let mut packet = Packet::new(Kind::Acknowledgement, code);
    packet.set_id(request.id());
    packet.set_token(request.token());
    packet.set_payload(payload.to_vec());
    packet
}

/// The answer to a registration.
fn observed(request: &Packet, payload: &[u8]) -> Packet {
    let mut packet = answer(request, Code::CONTENT, payload);
    packet.push_uint(option::OBSERVE, 1);
    packet
}

fn notification(request: &Packet, kind: Kind, id: u16, payload: &[u8]) -> Packet {
    let mut packet = observed(request, payload);
    packet.set_kind(kind);
    packet.set_id(id);
    packet
}

fn empty(kind: Kind, id: u16) -> Vec<u8> {
    let mut packet = Packet::new(kind, Code::EMPTY);
    packet.set_id(id);
    packet.to_bytes()
}

/// The client ends an observation.
async fn ended(peer: &mut Peer, registration: &Packet) {
    let request = Packet::decode(&peer.next().await).unwrap();
    assert_eq!((request.code(), request.uint(option::OBSERVE)), (Code::GET, Some(1)));
    assert_eq!(request.token(), registration.token());
    peer.says(&answer(&request, Code::NO_CONTENT, b"").to_bytes()).await;
}

#[tokio::test]
async fn qos_1_is_confirmable_and_sent_until_it_is_answered() {
    let line = "-t a/b -m x -q 1 -r --expiry 60 --content-type application/json";
    let result = published(line, HASTY, async |peer| {
        let request = asked(peer, "0.03 ps/a/b?qos=1&retain=true&expiry=60").await;
        assert_eq!(request.kind(), Kind::Confirmable);
        assert_eq!((request.uint(option::CONTENT_FORMAT), request.payload()), (Some(50), &b"x"[..]));
        peer.hears(&request.to_bytes()).await;
        peer.hears(&request.to_bytes()).await;
        peer.says(&answer(&request, Code::CHANGED, b"").to_bytes()).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_max_retransmit() {
    let transmission = Transmission { max_retransmit: 2, ..HASTY };
    let result = published("-t a -m x -q 1", transmission, async |peer| {
        let request = asked(peer, "0.03 ps/a?qos=1").await;
        peer.hears(&request.to_bytes()).await;
        peer.hears(&request.to_bytes()).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "the server does not answer PUT");
}

#[tokio::test]
async fn qos_0_is_not_confirmable_and_an_answer_is_no_need() {
    let result = published("-t a -m x --text --repeat 2", HASTY, async |peer| {
        let request = asked(peer, "0.03 ps/a?qos=0").await;
        assert_eq!((request.kind(), request.uint(option::CONTENT_FORMAT)), (Kind::NonConfirmable, Some(0)));
        asked(peer, "0.03 ps/a?qos=0").await;
    });
    result.await.unwrap();
    let result = published("-t a -m x", PATIENT, async |peer| {
        let request = asked(peer, "0.03 ps/a?qos=0").await;
        let mut refusal = answer(&request, Code::UNAUTHORIZED, b"not authorized");
        refusal.set_kind(Kind::NonConfirmable);
        peer.says(&refusal.to_bytes()).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "publication refused: 4.01 Unauthorized: not authorized");
}

#[tokio::test]
async fn answers_may_come_apart_from_the_acknowledgement() {
    let result = published("-t a -m x -q 2", HASTY, async |peer| {
        let request = asked(peer, "0.03 ps/a?qos=2").await;
        peer.says(&empty(Kind::Acknowledgement, request.id())).await;
        let mut response = answer(&request, Code::new(5, 9), b"");
        response.set_kind(Kind::Confirmable);
        response.set_id(77);
        peer.says(&response.to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 77)).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "publication refused: 5.09 unknown code");
}

#[tokio::test]
async fn a_reset_is_a_refusal() {
    for qos in 0..2 {
        let line = format!("-t a -m x -q {qos}");
        let result = published(&line, PATIENT, async |peer| {
            let request = asked(peer, &format!("0.03 ps/a?qos={qos}")).await;
            peer.says(&empty(Kind::Reset, request.id())).await;
        });
        assert_eq!(result.await.unwrap_err().to_string(), "the server rejected PUT with a reset");
    }
}

#[tokio::test]
async fn large_payloads_go_in_blocks() {
    let payload: String = ('a'..='z').cycle().take(2500).collect();
    let line = format!("-t a -q 0 -m {payload}");
    let result = published(&line, PATIENT, async |peer| {
        let mut body = Vec::new();
        // The server wants smaller blocks after the first, and forgets all once.
        for (number, exponent, more, code) in [
            (0, 6, true, Code::CONTINUE),
            (2, 5, true, Code::CONTINUE),
            (3, 5, true, Code::REQUEST_ENTITY_INCOMPLETE),
            (0, 5, true, Code::CONTINUE),
            (1, 5, true, Code::CONTINUE),
            (2, 5, true, Code::CONTINUE),
            (3, 5, true, Code::CONTINUE),
            (4, 5, false, Code::CHANGED),
        ] {
            let request = asked(peer, "0.03 ps/a?qos=0").await;
            assert_eq!(request.kind(), Kind::Confirmable);
            let block = Block { number, more, exponent };
            assert_eq!(Block::of_request(&request), Ok(Some(block)));
            assert_eq!(request.uint(option::SIZE1), (number == 0).then_some(2500));
            body.truncate(block.offset());
            body.extend_from_slice(request.payload());
            let mut response = answer(&request, code, b"");
            response.push_uint(option::BLOCK1, Block { exponent: 5, ..block }.value());
            peer.says(&response.to_bytes()).await;
        }
        assert!(body == payload.as_bytes());
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told() {
    let line = format!("-t a -m {}", "x".repeat(1025));
    let result = published(&line, PATIENT, async |peer| {
        let request = asked(peer, "0.03 ps/a?qos=0").await;
        peer.says(&answer(&request, Code::REQUEST_ENTITY_TOO_LARGE, b"").to_bytes()).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "publication refused: 4.13 Request Entity Too Large");
}

#[tokio::test]
async fn a_connection_is_opened_kept_and_closed() {
    let line = "-t a/# -i me -u name -P word -k 1 -q 1";
    let result = subscribed(line, 1, HASTY, async |peer| {
        let request = asked(peer, "0.02 mqtt/connection?clientid=me&username=name&password=word").await;
        peer.says(&answer(&request, Code::CREATED, b"123").to_bytes()).await;
        let registration = asked(peer, "0.01 ps/a/#?clientid=me&token=123&qos=1").await;
        peer.says(&observed(&registration, b"").to_bytes()).await;
        let beat = asked(peer, "0.03 mqtt/connection?clientid=me&token=123").await;
        peer.hears(&beat.to_bytes()).await;
        peer.says(&answer(&beat, Code::CHANGED, b"").to_bytes()).await;
        let mut message = notification(&registration, Kind::Confirmable, 7, b"x");
        for segment in ["ps", "a", "", "b"] {
            message.push(option::LOCATION_PATH, segment.as_bytes());
        }
        peer.says(&message.to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 7)).await;
        ended(peer, &registration).await;
        let request = asked(peer, "0.04 mqtt/connection?clientid=me&token=123").await;
        peer.says(&answer(&request, Code::DELETED, b"").to_bytes()).await;
    });
    assert_eq!(told(&result.await.unwrap()), [("a//b", &b"x"[..], true, false)]);
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let result = published("-t a -m x -u name", PATIENT, async |peer| {
        let own = format!("0.02 mqtt/connection?clientid=thingway-{}&username=name", std::process::id());
        let request = asked(peer, &own).await;
        peer.says(&answer(&request, Code::BAD_REQUEST, b"Login Failed").to_bytes()).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "connection refused: 4.00 Bad Request: Login Failed");
}

#[tokio::test]
async fn retained_and_live_messages_of_several_filters() {
    let result = subscribed("-t a -t b --no-local --retain-handling 1", 4, PATIENT, async |peer| {
        let a = asked(peer, "0.01 ps/a?qos=0&nl=1&rh=1").await;
        let mut retained = observed(&a, b"kept");
        retained.push_uint(option::CONTENT_FORMAT, 50);
        retained.push_uint(option::MAX_AGE, 9);
        peer.says(&retained.to_bytes()).await;
        let b = asked(peer, "0.01 ps/b?qos=0&nl=1&rh=1").await;
        // Before the answer, and a duplicate that is acknowledged once more.
        peer.says(&notification(&a, Kind::Confirmable, 7, b"x").to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 7)).await;
        peer.says(&notification(&a, Kind::Confirmable, 7, b"x").to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 7)).await;
        peer.says(&observed(&b, b"").to_bytes()).await;
        peer.says(&notification(&b, Kind::NonConfirmable, 8, b"y").to_bytes()).await;
        peer.says(&notification(&b, Kind::NonConfirmable, 8, b"y").to_bytes()).await;
        // An empty message is one, too.
        peer.says(&notification(&b, Kind::NonConfirmable, 9, b"").to_bytes()).await;
        ended(peer, &a).await;
        ended(peer, &b).await;
    });
    let messages = result.await.unwrap();
    assert_eq!(
        told(&messages),
        [
            ("a", &b"kept"[..], true, true),
            ("a", b"x", true, false),
            ("b", b"y", false, false),
            ("b", b"", false, false)
        ]
    );
    let properties = serde_json::Value::Object(messages[0].properties.clone());
    assert_eq!(
        properties,
        serde_json::json!({"content_type": "application/json", "confirmable": true, "expiry_secs": 9})
    );
}

#[tokio::test]
async fn without_retained_messages_none_are_asked_for() {
    let result = subscribed("-t a -R", 0, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0&rh=2").await;
        peer.says(&observed(&request, b"").to_bytes()).await;
        ended(peer, &request).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_a_notification_overtook_is_asked_for_again() {
    let result = subscribed("-t a", 2, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        peer.says(&notification(&request, Kind::Confirmable, 7, b"new").to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 7)).await;
        let again = asked(peer, "0.01 ps/a?qos=0").await;
        assert_eq!(again.token(), request.token());
        assert_ne!(again.id(), request.id());
        peer.says(&observed(&again, b"kept").to_bytes()).await;
        ended(peer, &request).await;
    });
    assert_eq!(told(&result.await.unwrap()), [("a", &b"new"[..], true, false), ("a", b"kept", true, true)]);
}

#[tokio::test]
async fn after_silence_observations_are_registered_again() {
    let mut peer = Peer::new().await;
    let arguments = sub_arguments("--url coap://h -t a");
    let (link, requests) = (link(&peer, PATIENT).await, requests(&peer));
    let work = async {
        let mut client = Client::over(link, requests, &arguments.connect).await?;
        client.refresh = Refresh { after: Duration::from_millis(50), spread: Duration::ZERO };
        client.subscribe(&arguments).await?;
        Ok::<_, ClientError>(([client.next().await?, client.next().await?], client.next().await))
    };
    let script = async {
        let request = asked(&mut peer, "0.01 ps/a?qos=0").await;
        peer.says(&observed(&request, b"kept").to_bytes()).await;
        // The server knows it still.
        let again = asked(&mut peer, "0.01 ps/a?qos=0&rh=1").await;
        assert_eq!((again.token(), again.uint(option::OBSERVE)), (request.token(), Some(0)));
        peer.says(&observed(&again, b"").to_bytes()).await;
        // Now it does not.
        let again = asked(&mut peer, "0.01 ps/a?qos=0&rh=1").await;
        assert_eq!((again.token(), again.uint(option::OBSERVE)), (request.token(), Some(0)));
        peer.says(&observed(&again, b"kept").to_bytes()).await;
        let again = asked(&mut peer, "0.01 ps/a?qos=0&rh=1").await;
        peer.says(&answer(&again, Code::NOT_FOUND, b"").to_bytes()).await;
    };
    let (result, ()) = tokio::join!(work, script);
    let (messages, end) = result.unwrap();
    assert_eq!(told(&messages), [("a", &b"kept"[..], true, true), ("a", b"kept", true, true)]);
    let error = end.unwrap_err();
    assert_eq!(error.to_string(), "disconnected by the server: no longer subscribed to a: 4.04 Not Found");
}

#[tokio::test]
async fn large_notifications_are_fetched() {
    let body: Vec<u8> = (0..100).collect();
    let result = subscribed("-t a/+ -q 1", 2, HASTY, async |peer| {
        let registration = asked(peer, "0.01 ps/a/+?qos=1").await;
        peer.says(&observed(&registration, b"").to_bytes()).await;
        let block = |number| Block { number, more: true, exponent: 1 }.slice(&body).expect("there");
        let blocked = |mut packet: Packet, number| {
            let (block, _) = block(number);
            packet.push(option::ETAG, b"tag");
            packet.push_uint(option::BLOCK2, block.value());
            packet
        };
        let first = notification(&registration, Kind::Confirmable, 7, block(0).1);
        peer.says(&blocked(first, 0).to_bytes()).await;
        peer.hears(&empty(Kind::Acknowledgement, 7)).await;
        for number in 1..4 {
            let request = asked(peer, "0.01 ps/a/+?qos=1").await;
            assert_ne!(request.token(), registration.token());
            assert!(!request.has(option::OBSERVE));
            let wanted = Block { number, more: false, exponent: 1 };
            assert_eq!(Block::of_response(&request), Ok(Some(wanted)));
            // The first answer is lost.
            peer.hears(&request.to_bytes()).await;
            if number == 2 {
                // Another message meanwhile.
                peer.says(&notification(&registration, Kind::NonConfirmable, 8, b"next").to_bytes()).await;
            }
            peer.says(&blocked(answer(&request, Code::CONTENT, block(number).1), number).to_bytes()).await;
        }
        ended(peer, &registration).await;
    });
    assert_eq!(told(&result.await.unwrap()), [("a/+", &body[..], true, false), ("a/+", b"next", false, false)]);
}

#[tokio::test]
async fn a_proof_of_the_address_is_given() {
    let result = subscribed("-t a", 1, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        assert!(!request.has(option::ECHO));
        let mut challenge = answer(&request, Code::UNAUTHORIZED, b"");
        challenge.push(option::ECHO, b"proof");
        peer.says(&challenge.to_bytes()).await;
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        assert_eq!(request.first(option::ECHO), Some(&b"proof"[..]));
        let mut retained = observed(&request, b"kept");
        retained.push(option::ECHO, b"again");
        peer.says(&retained.to_bytes()).await;
        let request = Packet::decode(&peer.next().await).unwrap();
        assert_eq!(request.uint(option::OBSERVE), Some(1));
        peer.says(&answer(&request, Code::NO_CONTENT, b"").to_bytes()).await;
    });
    assert_eq!(told(&result.await.unwrap()), [("a", &b"kept"[..], true, true)]);
}

#[tokio::test]
async fn refused_and_ended_subscriptions_are_told() {
    let refused = subscribed("-t a", 1, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        peer.says(&answer(&request, Code::FORBIDDEN, b"").to_bytes()).await;
    });
    assert_eq!(refused.await.unwrap_err().to_string(), "subscription to a refused: 4.03 Forbidden");
    let unobservable = subscribed("-t a", 1, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        peer.says(&answer(&request, Code::CONTENT, b"kept").to_bytes()).await;
    });
    assert_eq!(
        unobservable.await.unwrap_err().to_string(),
        "subscription to a refused: the server answered, but does not let observe"
    );
    let ended = subscribed("-t a", 1, PATIENT, async |peer| {
        let request = asked(peer, "0.01 ps/a?qos=0").await;
        peer.says(&observed(&request, b"").to_bytes()).await;
        let mut last = answer(&request, Code::SERVICE_UNAVAILABLE, b"");
        last.set_kind(Kind::NonConfirmable);
        last.set_id(9);
        peer.says(&last.to_bytes()).await;
    });
    assert_eq!(
        ended.await.unwrap_err().to_string(),
        "disconnected by the server: no longer subscribed to a: 5.03 Service Unavailable"
    );
}

#[test]
fn options_without_a_meaning_are_refused() {
    let unconnected = "CoAP without a connection, which --id or --username would ask for";
    for (line, text) in [
        ("-t a -m x --will-topic w", "--will-topic means nothing to CoAP"),
        ("-t a -m x --keep-session", "--keep-session means nothing to CoAP"),
        ("-t a -m x --user-property a=b", "--user-property means nothing to CoAP"),
        ("-t a -m x --cafile f", "--cafile means nothing to CoAP"),
        ("-t a -m x -q -1", "--qos -1 means nothing to CoAP"),
        ("--predefined-id 1 -m x", "--predefined-id means nothing to CoAP"),
        ("-t a -m x -k 5", &format!("--keep-alive means nothing to {unconnected}")),
        ("-t a -m x -P word", &format!("--password means nothing to {unconnected}")),
        ("-t a -m x --content-type a/b", "--content-type a/b has no Content-Format, which CoAP needs"),
        ("-t a -m x --content-type text/plain --text", "CoAP tells one of --content-type and --text"),
    ] {
        assert_eq!(check_publish(&pub_arguments(&format!("--url coap://h {line}"))).unwrap_err().to_string(), text);
    }
    for (line, text) in [
        ("-t a --retain-as-published", "--retain-as-published means nothing to CoAP"),
        ("--predefined-id 1", "--predefined-id means nothing to CoAP"),
    ] {
        assert_eq!(check_subscribe(&sub_arguments(&format!("--url coap://h {line}"))).unwrap_err().to_string(), text);
    }
    assert!(check_publish(&pub_arguments("--url coap://me@h -t a -m x -k 5")).is_ok());
}
