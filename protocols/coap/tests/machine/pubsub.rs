use thingway_coap::{
    Config,
    codec::{Code, Kind, Packet, option},
};
use thingway_contract::{Instant, Qos};

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, post, put, request, retained, with, with_token, with_uint},
};

const CREATE: &[u8] = b"\xa3\0\x63a/b\x02\x6ccore.ps.data\x03\x18\x32";

fn pair() -> (Gateway, Client) {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    (gateway, client)
}

fn fetch(path: &str, payload: &[u8]) -> Packet {
    with_uint(with_payload(request(Code::FETCH, path), payload), option::CONTENT_FORMAT, 606)
}

fn with_payload(mut packet: Packet, payload: &[u8]) -> Packet {
    packet.set_payload(payload.to_vec());
    packet
}

/// Creates a topic; the paths of its configuration and of its data.
fn create(gateway: &mut Gateway, client: &mut Client, payload: &[u8]) -> (String, String) {
    let answer = client.send(gateway, with_uint(post("pubsub", payload), option::CONTENT_FORMAT, 606));
    assert_eq!((answer.code(), answer.uint(option::CONTENT_FORMAT)), (Code::CREATED, Some(606)));
    let segments: Vec<&str> =
        answer.options(option::LOCATION_PATH).map(|one| std::str::from_utf8(one).expect("text")).collect();
    let id = segments[1];
    assert_eq!(segments[0], "pubsub");
    (format!("pubsub/{id}"), format!("pubsub/data/{id}"))
}

fn text(packet: &Packet) -> &str {
    std::str::from_utf8(packet.payload()).expect("text")
}

#[test]
fn pubsub_broker_and_collection_are_discovered() {
    let (mut gateway, mut client) = pair();
    for query in ["", "?rt=core.ps", "?rt=core.ps.coll", "?href=/pubsub"] {
        let answer = client.send(&mut gateway, get(&format!(".well-known/core{query}")));
        assert_eq!(answer.uint(option::CONTENT_FORMAT), Some(40));
        assert!(text(&answer).starts_with("</pubsub>;rt=\"core.ps core.ps.coll\";ct=40"), "{}", text(&answer));
    }
    assert_eq!(text(&client.send(&mut gateway, get(".well-known/core?rt=x"))), "");
    let (conf, data) = create(&mut gateway, &mut client, CREATE);
    let conf_link = format!("</{conf}>;rt=\"core.ps.conf\";ct=606");
    let data_link = format!("</{data}>;rt=\"core.ps.data\";ct=50;obs");
    for (path, expected) in [
        (".well-known/core?rt=core.ps.conf", &conf_link),
        (".well-known/core?rt=core.ps.data", &data_link),
        ("pubsub", &conf_link),
        ("pubsub?rt=core.ps.data", &data_link),
    ] {
        assert_eq!(text(&client.send(&mut gateway, get(path))), expected, "{path}");
    }
}

#[test]
fn pubsub_topics_are_created_once() {
    let (mut gateway, mut client) = pair();
    create(&mut gateway, &mut client, CREATE);
    for (payload, format, code) in [
        (CREATE, 606, Code::BAD_REQUEST),
        (b"\xa1\0\x61a", 606, Code::BAD_REQUEST),
        (b"no map", 606, Code::BAD_REQUEST),
        (CREATE, 50, Code::UNSUPPORTED_CONTENT_FORMAT),
    ] {
        let answer = client.send(&mut gateway, with_uint(post("pubsub", payload), option::CONTENT_FORMAT, format));
        assert_eq!(answer.code(), code);
    }
    assert_eq!(gateway.bus.retained.keys().filter(|topic| topic.starts_with("$coap/topics/")).count(), 1);
}

#[test]
fn pubsub_configurations_are_read_updated_and_filtered() {
    let (mut gateway, mut client) = pair();
    let (conf, _) = create(&mut gateway, &mut client, CREATE);
    let whole = client.send(&mut gateway, get(&conf));
    assert_eq!((whole.code(), whole.uint(option::CONTENT_FORMAT)), (Code::CONTENT, Some(606)));
    assert!(whole.payload().starts_with(b"\xa4\0\x63a/b\x01"));
    let part = client.send(&mut gateway, fetch(&conf, b"\xa1\x0a\x82\x6atopic-name\x74topic-content-format"));
    assert_eq!(part.payload(), b"\xa2\0\x63a/b\x03\x18\x32");
    let patched = client.send(&mut gateway, with_payload(request(Code::IPATCH, &conf), b"\xa1\x07\x05"));
    assert_eq!(patched.code(), Code::CHANGED);
    assert!(patched.payload().ends_with(b"\x03\x18\x32\x07\x05"));
    let overwritten = client.send(&mut gateway, put(&conf, b"\xa1\x07\x07"));
    assert!(overwritten.payload().ends_with(b"core.ps.data\x07\x07"));
    assert_eq!(client.send(&mut gateway, get(&conf)).payload(), overwritten.payload());
    assert_eq!(client.send(&mut gateway, put(&conf, b"\xa1\0\x61z")).code(), Code::BAD_REQUEST, "names cannot change");
    for (filter, found) in [(&b"\xa1\x07\x07"[..], true), (b"\xa1\x07\x08", false)] {
        assert_eq!(!client.send(&mut gateway, fetch("pubsub", filter)).payload().is_empty(), found);
    }
    for path in ["pubsub/000000000000", "pubsub/+", "pubsub/%23", "pubsub/data/000000000000"] {
        assert_eq!(client.send(&mut gateway, get(path)).code(), Code::NOT_FOUND, "{path}");
    }
}

#[test]
fn pubsub_data_is_published_read_and_is_the_topic_of_its_name() {
    let (mut gateway, mut client) = pair();
    let (_, data) = create(&mut gateway, &mut client, CREATE);
    assert_eq!(client.send(&mut gateway, get(&data)).code(), Code::NOT_FOUND, "half created");
    let json = |payload: &[u8]| with_uint(put(&data, payload), option::CONTENT_FORMAT, 50);
    assert_eq!(client.send(&mut gateway, put(&data, b"{}")).code(), Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(client.send(&mut gateway, json(b"")).code(), Code::BAD_REQUEST);
    assert_eq!(client.send(&mut gateway, json(b"{}")).code(), Code::CREATED);
    assert_eq!(client.send(&mut gateway, json(b"[]")).code(), Code::CHANGED);
    assert_eq!(
        client.send(&mut gateway, with(json(b"1"), option::IF_NONE_MATCH, b"")).code(),
        Code::PRECONDITION_FAILED
    );
    for path in [&data[..], "ps/a/b"] {
        let answer = client.send(&mut gateway, get(path));
        assert_eq!((answer.payload(), answer.uint(option::CONTENT_FORMAT)), (&b"[]"[..], Some(50)), "{path}");
    }
    assert_eq!(gateway.bus.retained["a/b"].payload(), b"[]");
}

#[test]
fn pubsub_data_is_observed_until_it_is_deleted() {
    let (mut gateway, mut client) = pair();
    let (conf, data) = create(&mut gateway, &mut client, CREATE);
    let early = client.observe(&mut gateway, &data, b"1");
    assert_eq!((early.code(), early.has(option::OBSERVE)), (Code::NOT_FOUND, false));
    assert!(gateway.filters().is_empty());
    gateway.publish(retained("a/b", b"[0]", Some("application/json")));
    let first = client.observe(&mut gateway, &data, b"1");
    assert_eq!((first.payload(), first.has(option::OBSERVE)), (&b"[0]"[..], true));
    gateway.publish(message("a/b", b"[1]", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    assert_eq!((notification.token(), notification.payload()), (&b"1"[..], &b"[1]"[..]));
    client.acknowledge(&mut gateway, &notification);
    let mut other = Client::new(2);
    for path in [&data, &conf] {
        gateway.publish(retained("a/b", b"[0]", Some("application/json")));
        client.observe(&mut gateway, &data, b"1");
        gateway.sent.clear();
        assert_eq!(other.send(&mut gateway, request(Code::DELETE, path)).code(), Code::DELETED);
        let sent = drain_to(&mut gateway, 1);
        let last: Vec<_> = sent.iter().filter(|packet| packet.token() == b"1").collect();
        assert_eq!((last.len(), last[0].code(), last[0].has(option::OBSERVE)), (1, Code::NOT_FOUND, false));
        client.acknowledge(&mut gateway, &last[0].clone());
        assert!(gateway.filters().is_empty() && !gateway.bus.retained.contains_key("a/b"));
        assert_eq!(client.send(&mut gateway, get(&data)).code(), Code::NOT_FOUND);
    }
    assert_eq!(client.send(&mut gateway, get(&conf)).code(), Code::NOT_FOUND);
    create(&mut gateway, &mut client, CREATE);
}

#[test]
fn pubsub_an_initialized_topic_can_be_observed_before_there_is_data() {
    let (mut gateway, mut client) = pair();
    let (_, data) = create(&mut gateway, &mut client, b"\xa3\0\x61i\x02\x6ccore.ps.data\x09\xf5");
    let first = client.observe(&mut gateway, &data, b"1");
    assert_eq!((first.code(), first.has(option::OBSERVE), first.payload()), (Code::CONTENT, true, &b""[..]));
    assert_eq!(client.send(&mut gateway, put(&data, b"x")).code(), Code::CHANGED);
    let ended = client.send(&mut gateway, with_uint(with_token(get(&data), b"1"), option::OBSERVE, 1));
    assert_eq!((ended.code(), ended.payload()), (Code::CONTENT, &b"x"[..]), "as RFC 7641 has it");
    assert!(gateway.filters().is_empty());
    assert_eq!(client.send(&mut gateway, request(Code::DELETE, &data)).code(), Code::DELETED);
    assert_eq!(client.send(&mut gateway, get(&data)).code(), Code::NOT_FOUND);
}

#[test]
fn pubsub_can_be_switched_off_or_moved() {
    let mut off = Gateway::new(Config { pubsub_path: None, ..Config::default() });
    let mut moved = Gateway::new(Config { pubsub_path: Some("topics".into()), ..Config::default() });
    let mut client = Client::new(1);
    assert_eq!(client.send(&mut off, get("pubsub")).code(), Code::NOT_FOUND);
    assert_eq!(client.send(&mut moved, get("pubsub")).code(), Code::NOT_FOUND);
    assert_eq!(client.send(&mut moved, get("topics")).code(), Code::CONTENT);
    assert!(!text(&client.send(&mut off, get(".well-known/core"))).contains("core.ps"));
}

/// Creates topic `e`, which expires at a minute and second of 1970, where the clock of these tests begins.
fn create_until(gateway: &mut Gateway, client: &mut Client, minute: &str) -> (String, String) {
    let mut payload = b"\xa3\0\x61e\x02\x6ccore.ps.data".to_vec();
    payload.extend_from_slice(&until(minute)[1..]);
    create(gateway, client, &payload)
}

/// A configuration with nothing but an expiration date.
fn until(minute: &str) -> Vec<u8> {
    let mut payload = b"\xa1\x05\x74".to_vec();
    payload.extend_from_slice(format!("1970-01-01T00:{minute}Z").as_bytes());
    payload
}

#[test]
fn pubsub_an_expired_topic_is_gone_and_observers_are_told() {
    let (mut gateway, mut client) = pair();
    let (conf, data) = create_until(&mut gateway, &mut client, "10:00");
    assert!(text_within(&client.send(&mut gateway, get(&conf)), "1970-01-01T00:10:00Z"));
    assert_eq!(client.send(&mut gateway, put(&data, b"x")).code(), Code::CREATED);
    let at = Instant::from_millis(600_000);
    assert_eq!(gateway.bus.retained["e"].head().expires_at, at);
    let first = client.observe(&mut gateway, &data, b"1");
    assert_eq!((first.payload(), first.uint(option::MAX_AGE)), (&b"x"[..], None), "the data may change before");
    gateway.pass_ms(570_000 - gateway.now.as_millis());
    for path in [&data, &conf] {
        assert_eq!(client.send(&mut gateway, get(path)).uint(option::MAX_AGE), Some(30), "{path}");
    }
    gateway.sent.clear();
    gateway.pass_ms(29_999);
    assert!(drain_to(&mut gateway, 1).is_empty());
    gateway.pass_ms(1);
    let last = last_to(&mut gateway, 1);
    assert_eq!((last.token(), last.code(), last.has(option::OBSERVE)), (&b"1"[..], Code::NOT_FOUND, false));
    assert!(gateway.filters().is_empty());
    client.acknowledge(&mut gateway, &last);
    for request in [get(&data), get(&conf), put(&data, b"y"), request(Code::DELETE, &conf), get("ps/e")] {
        assert_eq!(client.send(&mut gateway, request).code(), Code::NOT_FOUND);
    }
    assert_eq!(text(&client.send(&mut gateway, get("pubsub"))), "");
    create_until(&mut gateway, &mut client, "20:00");
}

fn text_within(packet: &Packet, wanted: &str) -> bool {
    packet.payload().windows(wanted.len()).any(|part| part == wanted.as_bytes())
}

#[test]
fn pubsub_observers_follow_changes_of_the_configuration() {
    let (mut gateway, mut client) = pair();
    let mut other = Client::new(2);
    let (conf, data) = create_until(&mut gateway, &mut client, "10:00");
    client.send(&mut gateway, put(&data, b"x"));
    client.observe(&mut gateway, &data, b"1");
    let change = |payload: Vec<u8>| with_payload(request(Code::IPATCH, &conf), &payload);
    assert_eq!(other.send(&mut gateway, change(until("20:00"))).code(), Code::CHANGED);
    gateway.pass_ms(700_000);
    assert_eq!(gateway.machine(1).expect("living").observations_len(), 1, "it lives longer");
    assert_eq!(other.send(&mut gateway, put(&data, b"x")).code(), Code::CREATED, "older data ended as they were to");
    let notification = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &notification);
    assert_eq!(other.send(&mut gateway, change(until("13:00"))).code(), Code::CHANGED);
    gateway.sent.clear();
    gateway.pass_ms(780_000 - gateway.now.as_millis());
    let last = last_to(&mut gateway, 1);
    assert_eq!(last.code(), Code::NOT_FOUND, "it ends earlier");
    client.acknowledge(&mut gateway, &last);

    let (conf, data) = create(&mut gateway, &mut client, b"\xa3\0\x61c\x02\x6ccore.ps.data\x09\xf5");
    client.observe(&mut gateway, &format!("{data}?qos=0"), b"2");
    // Every notification must be acknowledged when a second has passed since the last.
    other.send(&mut gateway, with_payload(request(Code::IPATCH, &conf), b"\xa1\x07\x01"));
    for (ms, kind) in [(0, Kind::NonConfirmable), (1000, Kind::Confirmable)] {
        gateway.pass_ms(ms);
        gateway.sent.clear();
        gateway.publish(message("c", b"x", Qos::AtMostOnce));
        assert_eq!(last_to(&mut gateway, 1).kind(), kind);
    }
}

#[test]
fn pubsub_an_observation_that_moves_still_ends_with_its_topic() {
    let mut gateway = Gateway::new(Config { heartbeat_secs: 0, ..Config::default() });
    let (mut home, mut away) = (Client::new(1), Client::new(2));
    let token = home.send(&mut gateway, post("mqtt/connection?c=c1", b""));
    let query = format!("c=c1&t={}", text(&token));
    let mut payload = b"\xa3\0\x61e\x02\x6ccore.ps.data".to_vec();
    payload.extend_from_slice(&until("03:00")[1..]);
    let created = home.send(&mut gateway, post(&format!("pubsub?{query}"), &payload));
    let id = created.options(option::LOCATION_PATH).nth(1).map(|id| String::from_utf8(id.to_vec()).expect("text"));
    let data = format!("pubsub/data/{}?{query}", id.expect("an identifier"));
    home.send(&mut gateway, put(&data, b"x"));
    home.observe(&mut gateway, &data, b"1");
    away.send(&mut gateway, get(&data));
    gateway.sent.clear();
    // Before it would be asked whether anybody is there.
    gateway.pass_ms(179_000);
    let last = last_to(&mut gateway, 2);
    assert_eq!((last.token(), last.code()), (&b"1"[..], Code::NOT_FOUND));
}

#[test]
fn pubsub_dates_must_be_dates_that_are_to_come() {
    let (mut gateway, mut client) = pair();
    let (conf, _) = create_until(&mut gateway, &mut client, "10:00");
    gateway.pass_ms(300_000);
    for minute in ["60:00", "05:00", "00:01"] {
        let change = with_payload(request(Code::IPATCH, &conf), &until(minute));
        assert_eq!(client.send(&mut gateway, change).code(), Code::BAD_REQUEST, "{minute}");
    }
    let mut payload = b"\xa3\0\x61z\x02\x6ccore.ps.data".to_vec();
    payload.extend_from_slice(&until("05:00")[1..]);
    assert_eq!(client.send(&mut gateway, post("pubsub", &payload)).code(), Code::BAD_REQUEST);
}

#[test]
fn pubsub_what_is_not_served_is_not_in_the_answer() {
    let (mut gateway, mut client) = pair();
    let asked = b"\xa5\0\x61l\x02\x6ccore.ps.data\x04\x61t\x06\x01\x08\x05";
    let created = client.send(&mut gateway, post("pubsub", asked));
    assert_eq!(created.code(), Code::CREATED);
    assert!(created.payload().starts_with(b"\xa4\0\x61l\x01") && created.payload().ends_with(b"core.ps.data\x04\x61t"));
}
