use thingway_coap::{
    CoapFault, Config,
    codec::{Code, Packet, option},
};
use thingway_contract::{CloseReason, Qos, Refusal, Standing};

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, post, put, request, with_token, with_uint},
};

fn gateway() -> Gateway {
    Gateway::new(Config { connection_required: true, secret: [7; 16], ..Config::default() })
}

pub fn open(gateway: &mut Gateway, client: &mut Client, id: &str) -> String {
    let answer = client.send(gateway, post(&format!("mqtt/connection?clientid={id}&username=u&password=p"), b""));
    assert_eq!(answer.code(), Code::CREATED);
    let token = String::from_utf8(answer.payload().to_vec()).expect("text");
    assert!(token.parse::<u64>().expect("a number") < 1 << 53);
    token
}

#[test]
fn emqx_a_connection_is_opened_kept_and_closed() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let token = open(&mut gateway, &mut client, "c1");
    let connect = gateway.bus.connect.as_ref().expect("asked");
    assert_eq!((connect.client_id.as_deref(), connect.keep_alive_secs), (Some("c1"), 30));
    assert_eq!(connect.credentials.password.as_deref(), Some(&b"p"[..]));
    assert_eq!(gateway.standing(1), Some(Standing::Unproven), "the address may be forged until the token is used");
    let heartbeat = request(Code::PUT, &format!("mqtt/connection?clientid=c1&token={token}"));
    assert_eq!(client.send(&mut gateway, heartbeat).code(), Code::CHANGED);
    assert_eq!(gateway.standing(1), Some(Standing::Established));
    let publish = put(&format!("ps/a?c=c1&t={token}"), b"x");
    assert_eq!(client.send(&mut gateway, publish).code(), Code::CHANGED);
    let mut close = request(Code::DELETE, &format!("mqtt/connection?clientid=c1&token={token}"));
    assert_eq!(client.send(&mut gateway, close.clone()).code(), Code::DELETED);
    assert!(!gateway.has_session("c1") && gateway.machine(1).is_none());
    close.set_id(9999);
    assert_eq!(client.send(&mut gateway, close).code(), Code::DELETED, "as often as it takes");
}

#[test]
fn emqx_errors_of_connections() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for (code, path, expected) in [
        (Code::POST, "mqtt/connection", Code::BAD_REQUEST),
        (Code::POST, "mqtt/connection?clientid=", Code::BAD_REQUEST),
        (Code::PUT, "mqtt/connection?clientid=c1", Code::BAD_REQUEST),
        (Code::PUT, "mqtt/connection?token=1", Code::BAD_REQUEST),
        (Code::PUT, "mqtt/connection?clientid=c1&token=1", Code::UNAUTHORIZED),
        (Code::DELETE, "mqtt/connection?clientid=c1&token=x", Code::UNAUTHORIZED),
        (Code::PUT, "ps/a", Code::BAD_REQUEST),
        (Code::PUT, "ps/a?clientid=c1", Code::BAD_REQUEST),
        (Code::PUT, "ps/a?clientid=c1&token=123", Code::UNAUTHORIZED),
        (Code::GET, "ps/a?token=123", Code::BAD_REQUEST),
    ] {
        assert_eq!(client.send(&mut gateway, request(code, path)).code(), expected, "{code} {path}");
    }
    assert_eq!(gateway.bus.connects, 0);
    for (refusal, expected) in [
        (Refusal::BadCredentials, Code::UNAUTHORIZED),
        (Refusal::NotAuthorized, Code::UNAUTHORIZED),
        (Refusal::ClientIdRejected, Code::BAD_REQUEST),
        (Refusal::Busy, Code::SERVICE_UNAVAILABLE),
        (Refusal::ConnectionRateExceeded, Code::TOO_MANY_REQUESTS),
    ] {
        gateway.bus.refusal = Some(refusal);
        assert_eq!(client.send(&mut gateway, post("mqtt/connection?c=c1&u=u&p=p", b"")).code(), expected);
    }
}

#[test]
fn emqx_the_heartbeat_setting_is_used() {
    let mut gateway = Gateway::new(Config { heartbeat_secs: 100, ..Config::default() });
    let mut client = Client::new(1);
    let token = open(&mut gateway, &mut client, "c1");
    for _ in 0..5 {
        gateway.pass_ms(149_000);
        assert!(gateway.has_session("c1"));
        client.send(&mut gateway, request(Code::PUT, &format!("mqtt/connection?c=c1&t={token}")));
    }
    gateway.pass_ms(150_000);
    assert_eq!(gateway.faults, [CoapFault::HeartbeatLost]);
    assert!(!gateway.has_session("c1") && gateway.machine(1).is_none());

    let mut patient = Gateway::new(Config { heartbeat_secs: 0, ..Config::default() });
    open(&mut patient, &mut client, "c1");
    patient.pass_ms(10_000_000);
    assert!(patient.has_session("c1"), "switched off");
}

#[test]
fn a_new_address_with_the_token_goes_on_with_session_and_observations() {
    let mut gateway = gateway();
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let token = open(&mut gateway, &mut home, "c1");
    home.observe(&mut gateway, &format!("ps/a?c=c1&t={token}"), b"obs");
    gateway.publish(message("a", b"unacknowledged", Qos::AtLeastOnce));
    gateway.publish(message("a", b"queued", Qos::AtLeastOnce));
    gateway.sent.clear();
    let mut answers = away.send_all(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    answers.sort_by_key(|answer| answer.code() != Code::CHANGED);
    assert_eq!(answers[0].code(), Code::CHANGED);
    let connect = gateway.bus.connect.as_ref().expect("asked");
    assert!(connect.must_exist && connect.keep_will && !connect.clean_start);
    assert!(gateway.machine(1).is_none());
    let again = &answers[1];
    assert_eq!((again.token(), again.payload()), (&b"obs"[..], &b"unacknowledged"[..]));
    gateway.sent.clear();
    away.acknowledge(&mut gateway, again);
    assert_eq!(last_to(&mut gateway, 2).payload(), b"queued");
    assert!(drain_to(&mut gateway, 1).is_empty());
}

#[test]
fn a_wrong_token_takes_nothing_over() {
    let mut gateway = gateway();
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let token = open(&mut gateway, &mut home, "c1");
    let other = open(&mut gateway, &mut Client::new(3), "c2");
    let wrong = (token.parse::<u64>().expect("a number") ^ 1).to_string();
    for token in [&other, &wrong, &String::from("9007199254740992")] {
        let answer = away.send(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
        assert_eq!(answer.code(), Code::UNAUTHORIZED);
    }
    assert!(gateway.machine(1).is_some() && gateway.bus.published.is_empty());
    home.send(&mut gateway, request(Code::DELETE, &format!("mqtt/connection?c=c1&t={token}")));
    let late = away.send(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    assert_eq!(late.code(), Code::UNAUTHORIZED, "the connection is gone");
}

#[test]
fn a_moved_connection_must_show_its_address_anew() {
    let mut gateway = gateway();
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let token = open(&mut gateway, &mut home, "c1");
    home.send(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    assert!(gateway.machine(1).expect("living").is_validated());
    away.send(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    away.send(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    assert!(!gateway.machine(2).expect("living").is_validated(), "the token was not sent there");
}

#[test]
fn a_connection_whose_peer_is_gone_ends() {
    let mut gateway = Gateway::new(Config { heartbeat_secs: 0, session_expiry_secs: 600, ..Config::default() });
    let mut client = Client::new(1);
    let token = open(&mut gateway, &mut client, "c1");
    client.observe(&mut gateway, &format!("ps/a?c=c1&t={token}"), b"obs");
    gateway.publish(message("a", b"kept", Qos::AtLeastOnce));
    gateway.pass_ms(100_000);
    assert_eq!(gateway.faults, [CoapFault::PeerGone]);
    assert!(gateway.has_session("c1") && gateway.machine(1).is_none());
    gateway.sent.clear();
    let mut back = Client::new(2);
    let answers = back.send_all(&mut gateway, put(&format!("ps/b?c=c1&t={token}"), b"x"));
    assert_eq!(
        answers.iter().filter(|packet| packet.token() == b"obs").map(Packet::payload).collect::<Vec<_>>(),
        [b"kept"]
    );
}

#[test]
fn a_connection_is_opened_anew_from_the_same_address() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    open(&mut gateway, &mut client, "c1");
    let token = open(&mut gateway, &mut client, "c1");
    let publish = put(&format!("ps/a?c=c1&t={token}"), b"x");
    assert_eq!(client.send(&mut gateway, publish).code(), Code::CHANGED);
}

#[test]
fn an_open_connection_is_not_lost_by_a_request_without_its_token() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    let token = open(&mut gateway, &mut client, "c1");
    assert_eq!(client.send(&mut gateway, put("ps/a", b"x")).code(), Code::BAD_REQUEST);
    assert_eq!(client.send(&mut gateway, put(&format!("ps/a?c=c1&t={token}"), b"x")).code(), Code::CHANGED);
    let cancel = with_uint(with_token(get("ps/a"), b"zz"), option::OBSERVE, 1);
    assert_eq!(client.send(&mut gateway, cancel).code(), Code::NO_CONTENT);
}

fn kept_gateway() -> Gateway {
    Gateway::new(Config { connection_required: true, session_expiry_secs: 600, ..Config::default() })
}

fn heartbeat(id: &str, token: &str) -> Packet {
    request(Code::PUT, &format!("mqtt/connection?c={id}&t={token}"))
}

#[test]
fn a_token_ends_with_its_connection_though_the_session_stays() {
    let mut gateway = kept_gateway();
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let first = open(&mut gateway, &mut home, "c1");
    home.observe(&mut gateway, &format!("ps/a?c=c1&t={first}"), b"obs");
    gateway.pass_ms(45_000);
    assert_eq!(gateway.faults, [CoapFault::HeartbeatLost]);
    assert!(gateway.has_session("c1") && gateway.filters() == ["a"]);
    for client in [&mut home, &mut away] {
        assert_eq!(client.send(&mut gateway, heartbeat("c1", &first)).code(), Code::UNAUTHORIZED);
    }
    let second = open(&mut gateway, &mut home, "c1");
    assert!(first != second && gateway.filters() == ["a"], "the session goes on with the credentials");
    assert_eq!(away.send(&mut gateway, heartbeat("c1", &first)).code(), Code::UNAUTHORIZED);
    assert_eq!(home.send(&mut gateway, heartbeat("c1", &second)).code(), Code::CHANGED);
    assert_eq!(away.send(&mut gateway, heartbeat("c1", &second)).code(), Code::CHANGED, "to another address");
    gateway.close(2, &CloseReason::Administrative);
    assert!(gateway.has_session("c1"));
    assert_eq!(home.send(&mut gateway, heartbeat("c1", &second)).code(), Code::UNAUTHORIZED);
}

#[test]
fn the_token_of_a_closed_connection_resumes_no_other_of_its_name() {
    let mut gateway = kept_gateway();
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let close = |token: &str| request(Code::DELETE, &format!("mqtt/connection?c=c1&t={token}"));
    let first = open(&mut gateway, &mut home, "c1");
    assert_eq!(home.send(&mut gateway, close(&first)).code(), Code::DELETED);
    let second = open(&mut gateway, &mut home, "c1");
    home.observe(&mut gateway, &format!("ps/a?c=c1&t={second}"), b"obs");
    gateway.publish(message("a", b"kept", Qos::AtLeastOnce));
    // Nobody acknowledges, nobody sends: the session is left.
    gateway.pass_ms(44_000);
    assert_eq!(away.send(&mut gateway, heartbeat("c1", &first)).code(), Code::UNAUTHORIZED);
    assert_eq!(away.send(&mut gateway, close(&first)).code(), Code::DELETED, "as it is");
    assert!(gateway.has_session("c1") && gateway.filters() == ["a"]);
    let answers = away.send_all(&mut gateway, heartbeat("c1", &second));
    let codes: Vec<Code> = answers.iter().map(Packet::code).collect();
    assert!(codes.contains(&Code::CHANGED), "{codes:?}");
    assert!(answers.iter().any(|packet| packet.payload() == b"kept"));
}

#[test]
fn a_token_cannot_outlive_the_heartbeat_without_a_conversation() {
    let mut gateway = kept_gateway();
    let (mut client, mut other) = (Client::new(1), Client::new(2));
    let token = open(&mut gateway, &mut client, "c1");
    // Another connection is opened from the address; the first is left with its session.
    open(&mut gateway, &mut client, "c2");
    gateway.pass_ms(44_000);
    assert_eq!(other.send(&mut gateway, heartbeat("c1", &token)).code(), Code::CHANGED);
    open(&mut gateway, &mut other, "c3");
    gateway.pass_ms(45_000);
    assert_eq!(other.send(&mut gateway, heartbeat("c1", &token)).code(), Code::UNAUTHORIZED);
    assert!(gateway.has_session("c1"));
}

#[test]
fn a_token_takes_no_session_that_was_left_without_one() {
    let mut gateway = kept_gateway();
    let (mut client, mut other) = (Client::new(1), Client::new(2));
    let token = open(&mut gateway, &mut client, "c1");
    client.send(&mut gateway, request(Code::DELETE, &format!("mqtt/connection?c=c1&t={token}")));
    gateway.leave_session("c1", 77);
    assert_eq!(other.send(&mut gateway, heartbeat("c1", &token)).code(), Code::UNAUTHORIZED);
    assert_eq!(gateway.session_expiry_secs("c1"), Some(77), "as another protocol left it");
}
