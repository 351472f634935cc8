use thingway_coap::{
    Config,
    codec::{Code, option},
};
use thingway_contract::{Instant, MessageHead, Qos};

use crate::{
    gateway::Gateway,
    support::{Client, get, message_of, retained, with, with_uint},
};

#[test]
fn a_plain_get_reads_the_retained_message() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    assert_eq!(client.send(&mut gateway, get("ps/a/b")).code(), Code::NOT_FOUND);
    gateway.publish(retained("a/b", b"{}", Some("application/json")));
    let answer = client.send(&mut gateway, get("ps/a/b"));
    assert_eq!((answer.code(), answer.payload()), (Code::CONTENT, &b"{}"[..]));
    assert_eq!(answer.uint(option::CONTENT_FORMAT), Some(50));
    assert_eq!((answer.uint(option::MAX_AGE), answer.has(option::OBSERVE)), (None, false));
}

#[test]
fn rfc7252_5_10_6_an_entity_tag_that_the_peer_has_saves_the_body() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    gateway.publish(retained("a", b"1", None));
    let etag = client.send(&mut gateway, get("ps/a")).first(option::ETAG).expect("an entity tag").to_vec();
    let answer = client.send(&mut gateway, with(get("ps/a"), option::ETAG, &etag));
    assert_eq!((answer.code(), answer.payload()), (Code::VALID, &b""[..]));
    assert_eq!(answer.first(option::ETAG), Some(&etag[..]));
    gateway.publish(retained("a", b"2", None));
    assert_eq!(client.send(&mut gateway, with(get("ps/a"), option::ETAG, &etag)).payload(), b"2");
}

#[test]
fn rfc7252_5_10_4_what_the_peer_does_not_take_is_not_sent() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    gateway.publish(retained("a", b"{}", Some("application/json")));
    gateway.publish(retained("b", b"x", None));
    assert_eq!(client.send(&mut gateway, with_uint(get("ps/a"), option::ACCEPT, 50)).code(), Code::CONTENT);
    assert_eq!(client.send(&mut gateway, with_uint(get("ps/a"), option::ACCEPT, 60)).code(), Code::NOT_ACCEPTABLE);
    assert_eq!(client.send(&mut gateway, with_uint(get("ps/b"), option::ACCEPT, 60)).code(), Code::CONTENT);
    for (format, code) in [(40, Code::CONTENT), (50, Code::NOT_ACCEPTABLE)] {
        let links = with_uint(get(".well-known/core"), option::ACCEPT, format);
        assert_eq!(client.send(&mut gateway, links).code(), code);
    }
}

#[test]
fn rfc7252_5_10_5_max_age_is_what_is_left_of_the_messages_life() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    let short = message_of("a", b"x", Qos::AtLeastOnce, None, Instant::from_millis(61_000));
    gateway.publish(short.with_head(MessageHead { retain: true, ..*short.head() }));
    gateway.pass_ms(10_000);
    assert_eq!(client.send(&mut gateway, get("ps/a")).uint(option::MAX_AGE), Some(50));
    gateway.pass_ms(50_000);
    assert_eq!(client.send(&mut gateway, get("ps/a")).code(), Code::NOT_FOUND, "expired");
}

#[test]
fn filters_and_forbidden_topics_cannot_be_read() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    gateway.bus.forbidden.push("secret".into());
    for (path, code) in
        [("ps/a/+", Code::BAD_REQUEST), ("ps/%23", Code::BAD_REQUEST), ("ps/secret", Code::UNAUTHORIZED)]
    {
        assert_eq!(client.send(&mut gateway, get(path)).code(), code, "{path}");
    }
}
