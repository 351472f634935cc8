use thingway_coap::{
    CoapFault, Config,
    codec::{Code, FormatError, Kind, Packet, option},
};
use thingway_contract::{CloseReason, Standing};

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, non, post, put, request, with, with_uint},
};

fn gateway() -> Gateway {
    Gateway::new(Config::default())
}

#[test]
fn rfc7252_4_2_a_confirmable_request_is_answered_in_its_acknowledgement() {
    let mut gateway = gateway();
    let mut request = put("ps/a", b"x");
    request.set_id(0x1234);
    let answers = gateway.receive(1, &request.to_bytes());
    assert_eq!(answers, [b"\x61\x44\x12\x34t"]);
}

#[test]
fn rfc7252_4_3_a_non_confirmable_request_is_answered_likewise() {
    let mut gateway = gateway();
    let answer = Client::new(1).send(&mut gateway, non(put("ps/a", b"x")));
    assert_eq!((answer.kind(), answer.code()), (Kind::NonConfirmable, Code::CHANGED));
}

#[test]
fn rfc7252_4_5_a_duplicate_gets_the_same_answer_and_no_second_effect() {
    let mut gateway = gateway();
    let mut request = put("ps/a", b"x");
    request.set_id(7);
    let first = gateway.receive(1, &request.to_bytes());
    gateway.pass_ms(246_000);
    assert_eq!(gateway.receive(1, &request.to_bytes()), first);
    assert_eq!(gateway.bus.published.len(), 1);
    gateway.pass_ms(2_000);
    gateway.receive(1, &request.to_bytes());
    assert_eq!(gateway.bus.published.len(), 2, "after EXCHANGE_LIFETIME it is another message");
}

#[test]
fn rfc7252_4_5_a_non_confirmable_duplicate_is_ignored() {
    let mut gateway = gateway();
    let mut request = non(put("ps/a", b"x"));
    request.set_id(7);
    assert_eq!(gateway.receive(1, &request.to_bytes()).len(), 1);
    assert!(gateway.receive(1, &request.to_bytes()).is_empty());
    assert_eq!(gateway.bus.published.len(), 1);
    gateway.pass_ms(145_000);
    assert!(gateway.machine(1).is_none(), "after NON_LIFETIME nothing is left to remember");
}

#[test]
fn rfc7252_4_5_at_the_limit_the_oldest_exchange_is_forgotten() {
    let mut config = Config::default();
    config.transmission.exchanges_max = 4;
    let mut gateway = Gateway::new(config);
    for id in 1..=5 {
        let mut request = put("ps/a", b"x");
        request.set_id(id);
        gateway.receive(1, &request.to_bytes());
    }
    let mut repeated = put("ps/a", b"x");
    repeated.set_id(2);
    gateway.receive(1, &repeated.to_bytes());
    assert_eq!(gateway.bus.published.len(), 5);
    repeated.set_id(1);
    gateway.receive(1, &repeated.to_bytes());
    assert_eq!(gateway.bus.published.len(), 6);
}

#[test]
fn rfc7252_4_3_a_ping_is_answered_by_a_reset_and_forgotten() {
    let mut gateway = gateway();
    assert_eq!(gateway.receive(1, b"\x40\0\x12\x34"), [b"\x70\0\x12\x34"]);
    assert!(gateway.machine(1).is_none());
    assert!(gateway.faults.is_empty());
}

#[test]
fn rfc7252_4_2_malformed_confirmable_messages_are_reset_and_others_ignored() {
    let mut gateway = gateway();
    assert_eq!(gateway.receive(1, b"\x40\x01\x12\x34\xff"), [b"\x70\0\x12\x34"]);
    assert_eq!(gateway.receive(1, b"\x40\x21\x12\x34"), [b"\x70\0\x12\x34"], "a reserved class");
    assert!(gateway.receive(1, b"\x50\x01\x12\x34\xff").is_empty());
    assert!(gateway.receive(1, b"\x80\x01\x12\x34").is_empty(), "another version");
    assert!(gateway.receive(1, b"\x40\x01").is_empty());
    assert_eq!(gateway.faults.last(), Some(&CoapFault::Malformed(FormatError::TooShort)));
    assert_eq!(gateway.faults.len(), 5);
    assert!(gateway.faults.iter().all(|fault| !fault.is_fatal()));
    assert!(gateway.machine(1).is_none());
}

#[test]
fn rfc7252_4_2_responses_that_nobody_asked_for_are_reset() {
    let mut gateway = gateway();
    assert_eq!(gateway.receive(1, b"\x40\x45\x12\x34"), [b"\x70\0\x12\x34"]);
    assert!(gateway.receive(1, b"\x60\x45\x12\x34").is_empty());
    assert_eq!(gateway.faults, vec![CoapFault::UnexpectedResponse(Code::CONTENT); 2]);
}

#[test]
fn rfc7252_5_4_1_unknown_critical_options() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    assert_eq!(client.send(&mut gateway, with(put("ps/a", b"x"), 9, b"oscore")).code(), Code::BAD_OPTION);
    let answer = client.send_all(&mut gateway, with(non(put("ps/a", b"x")), 65_001, b"")).remove(0);
    assert_eq!(answer.kind(), Kind::Reset);
    assert_eq!(gateway.faults, [CoapFault::CriticalOption(65_001)]);
    assert_eq!(client.send(&mut gateway, with(put("ps/a", b"x"), 65_000, b"elective")).code(), Code::CHANGED);
    assert_eq!(gateway.bus.published.len(), 1);
}

#[test]
fn rfc7252_5_7_2_proxying_is_not_supported() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for (number, value) in [(option::PROXY_URI, &b"coap://x/y"[..]), (option::PROXY_SCHEME, b"http")] {
        assert_eq!(client.send(&mut gateway, with(get("ps/a"), number, value)).code(), Code::PROXYING_NOT_SUPPORTED);
    }
}

#[test]
fn rfc7252_5_8_methods_and_paths() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for (code, path, expected) in [
        (Code::DELETE, "ps/a", Code::METHOD_NOT_ALLOWED),
        (Code(0x1e), "ps/a", Code::METHOD_NOT_ALLOWED),
        (Code::PATCH, "pubsub/x", Code::METHOD_NOT_ALLOWED),
        (Code::GET, "mqtt/connection", Code::METHOD_NOT_ALLOWED),
        (Code::POST, ".well-known/core", Code::METHOD_NOT_ALLOWED),
        (Code(0x1e), "nowhere", Code::METHOD_NOT_ALLOWED),
        (Code::GET, "nowhere", Code::NOT_FOUND),
        (Code::GET, "ps", Code::NOT_FOUND),
    ] {
        assert_eq!(client.send(&mut gateway, request(code, path)).code(), expected, "{code} {path}");
    }
    let hosted = with_uint(with(put("ps/a", b"x"), option::URI_HOST, b"gateway.example"), option::URI_PORT, 5683);
    assert_eq!(client.send(&mut gateway, hosted).code(), Code::CHANGED);
}

#[test]
fn rfc7252_5_2_2_a_late_answer_is_a_message_of_its_own() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    gateway.delaying = true;
    let mut late = put("ps/a", b"x");
    late.set_id(9);
    assert!(gateway.receive(1, &late.to_bytes()).is_empty());
    gateway.pass_ms(1000);
    assert_eq!(gateway.sent.pop(), Some((1, b"\x60\0\0\x09".to_vec())));
    gateway.answer_delayed();
    let answer = drain_to(&mut gateway, 1).pop().expect("the response");
    assert_eq!((answer.kind(), answer.code(), answer.token()), (Kind::Confirmable, Code::CHANGED, &b"t"[..]));
    assert_ne!(answer.id(), 9);
    assert_eq!(gateway.receive(1, &late.to_bytes()), [b"\x60\0\0\x09"], "a duplicate is acknowledged again");
    gateway.pass_ms(3000);
    assert_eq!(drain_to(&mut gateway, 1).pop(), Some(answer.clone()), "sent again");
    client.acknowledge(&mut gateway, &answer);
    gateway.pass_ms(100_000);
    assert!(drain_to(&mut gateway, 1).is_empty());
    assert_eq!(gateway.bus.published.len(), 1);
}

#[test]
fn a_request_during_the_decision_about_the_peer_is_ignored_and_may_come_again() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    gateway.delaying = true;
    client.send_all(&mut gateway, put("ps/a", b"1"));
    let mut second = put("ps/a", b"2");
    second.set_id(500);
    assert!(gateway.receive(1, &second.to_bytes()).is_empty());
    assert_eq!(gateway.faults, [CoapFault::Busy]);
    gateway.answer_delayed();
    assert_eq!(
        Packet::decode(&gateway.receive(1, &second.to_bytes())[0]).map(|answer| answer.code()),
        Ok(Code::CHANGED)
    );
    assert_eq!(gateway.bus.published.len(), 2);
}

#[test]
fn rfc7967_answers_that_are_not_wanted_are_left_out() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let quiet = |packet| with_uint(packet, option::NO_RESPONSE, 2);
    assert!(client.send_all(&mut gateway, quiet(non(put("ps/a", b"x")))).is_empty());
    let acknowledged = client.send_all(&mut gateway, quiet(put("ps/a", b"x"))).remove(0);
    assert_eq!((acknowledged.kind(), acknowledged.code()), (Kind::Acknowledgement, Code::EMPTY));
    assert_eq!(client.send(&mut gateway, quiet(post("ps/%23", b"x"))).code(), Code::BAD_REQUEST);
    assert_eq!(gateway.bus.published.len(), 2);
}

#[test]
fn who_only_asks_what_is_there_leaves_nothing_behind() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, get(".well-known/core?rt=nothing"));
    assert!(gateway.machine(1).is_none());
    client.send(&mut gateway, put("ps/a", b"x"));
    assert_eq!(gateway.standing(1), Some(Standing::Unproven));
    gateway.pass_ms(247_000);
    assert!(gateway.machine(1).is_none() && !gateway.has_session("assigned-1"));
}

#[test]
fn rfc7252_4_4_a_new_conversation_repeats_no_message_id_of_the_one_before() {
    let mut gateway = Gateway::new(Config { idle_ms: 1000, ..Config::default() });
    let mut client = Client::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for turn in 0..300 {
        for _ in 0..20 {
            let answer = client.send(&mut gateway, non(get("ps/a")));
            assert!(seen.insert(answer.id()), "in turn {turn}");
        }
        gateway.pass_ms(1000);
        assert!(gateway.machine(1).is_none(), "forgotten");
    }
}

#[test]
fn rfc7252_5_2_2_an_answer_that_takes_seconds_is_given_once() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a", b"0"));
    gateway.delaying = true;
    let mut late = put("ps/a", b"x");
    late.set_id(9);
    assert!(gateway.receive(1, &late.to_bytes()).is_empty());
    gateway.pass_ms(500);
    assert!(gateway.receive(1, &late.to_bytes()).is_empty(), "a duplicate before the acknowledgement");
    gateway.sent.clear();
    gateway.pass_ms(500);
    assert_eq!(gateway.sent.pop(), Some((1, b"\x60\0\0\x09".to_vec())));
    for _ in 0..4 {
        gateway.pass_ms(3000);
        assert_eq!(gateway.receive(1, &late.to_bytes()), [b"\x60\0\0\x09"], "it was lost, and the request came again");
    }
    gateway.sent.clear();
    gateway.answer_delayed();
    let answers = drain_to(&mut gateway, 1);
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].kind(), answers[0].code(), answers[0].token()),
        (Kind::Confirmable, Code::CHANGED, &b"t"[..])
    );
    assert_eq!(gateway.receive(1, &late.to_bytes()), [b"\x60\0\0\x09"]);
    client.acknowledge(&mut gateway, &answers[0]);
    gateway.sent.clear();
    assert_eq!(gateway.receive(1, &late.to_bytes()), [b"\x60\0\0\x09"]);
    gateway.pass_ms(100_000);
    assert_eq!(drain_to(&mut gateway, 1).len(), 1, "no second answer");
    assert_eq!(gateway.bus.published.iter().map(|message| message.payload()).collect::<Vec<_>>(), [b"0", b"x"]);
}

#[test]
fn rfc7252_5_2_2_who_was_acknowledged_gets_a_message_of_its_own_also_when_the_exchange_is_forgotten() {
    let mut config = Config::default();
    config.transmission.exchanges_max = 1;
    let mut gateway = Gateway::new(config);
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a", b"0"));
    gateway.delaying = true;
    client.send_all(&mut gateway, put("ps/a", b"1"));
    gateway.pass_ms(1000);
    client.send_all(&mut gateway, put("ps/a", b"2"));
    gateway.sent.clear();
    gateway.answer_delayed();
    let kinds: Vec<Kind> = drain_to(&mut gateway, 1).iter().map(Packet::kind).collect();
    assert_eq!(kinds, [Kind::Confirmable, Kind::Acknowledgement]);
}

#[test]
fn another_session_is_asked_for_when_all_is_answered_in_the_one_before() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a?u=me", b"0"));
    gateway.delaying = true;
    client.send_all(&mut gateway, put("ps/a?u=me", b"1"));
    client.send_all(&mut gateway, put("ps/a?u=you", b"2"));
    gateway.pass_ms(500);
    assert_eq!(gateway.bus.connects, 1);
    gateway.sent.clear();
    gateway.answer_delayed();
    let codes: Vec<Code> = drain_to(&mut gateway, 1).iter().map(Packet::code).collect();
    assert_eq!(codes, [Code::CHANGED, Code::CHANGED]);
    assert_eq!((gateway.bus.connects, gateway.bus.published.len()), (2, 3));
}

#[test]
fn who_waits_when_the_gateway_stops_is_told() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a", b"0"));
    gateway.delaying = true;
    client.send_all(&mut gateway, put("ps/a", b"1"));
    gateway.sent.clear();
    gateway.close(1, &CloseReason::ShuttingDown);
    let codes: Vec<Code> = drain_to(&mut gateway, 1).iter().map(Packet::code).collect();
    assert_eq!(codes, [Code::SERVICE_UNAVAILABLE]);
}

#[test]
fn rfc7252_4_4_a_gateway_that_is_started_again_repeats_no_message_id() {
    let mut seen = std::collections::BTreeSet::new();
    for start in 0..3 {
        // The same secret, and clocks that begin with the process.
        let clock_unix_ms = 1_700_000_000_000 + start * 60_000;
        let mut gateway = Gateway::new(Config { clock_unix_ms, ..Config::default() });
        let mut client = Client::new(1);
        for _ in 0..1000 {
            gateway.pass_ms(20);
            let answer = client.send(&mut gateway, non(get("ps/a")));
            assert!(seen.insert(answer.id()), "after start {start}");
        }
    }
}
