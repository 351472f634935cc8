use thingway_coap::{
    Config,
    codec::{Code, Packet, option},
};
use thingway_contract::Qos;

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
    let patched = client.send(&mut gateway, with_payload(request(Code::IPATCH, &conf), b"\xa1\x06\x05"));
    assert_eq!(patched.code(), Code::CHANGED);
    assert!(patched.payload().ends_with(b"\x03\x18\x32\x06\x05"));
    let overwritten = client.send(&mut gateway, put(&conf, b"\xa1\x06\x07"));
    assert!(overwritten.payload().ends_with(b"core.ps.data\x06\x07"));
    assert_eq!(client.send(&mut gateway, get(&conf)).payload(), overwritten.payload());
    assert_eq!(client.send(&mut gateway, put(&conf, b"\xa1\0\x61z")).code(), Code::BAD_REQUEST, "names cannot change");
    for (filter, found) in [(&b"\xa1\x06\x07"[..], true), (b"\xa1\x06\x08", false)] {
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
