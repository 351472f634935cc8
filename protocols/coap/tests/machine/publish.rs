use thingway_coap::{
    Config, QosRule,
    codec::{Code, option},
};
use thingway_contract::{Instant, Property, Qos};

use crate::{
    gateway::Gateway,
    support::{Client, get, non, post, put, retained, with, with_uint},
};

fn gateway() -> Gateway {
    Gateway::new(Config::default())
}

#[test]
fn emqx_put_and_post_publish() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for packet in [put("ps/a/b", b"1"), post("ps/a/b", b"2")] {
        assert_eq!(client.send(&mut gateway, packet).code(), Code::CHANGED);
    }
    let published = &gateway.bus.published;
    assert_eq!(published.iter().map(|message| message.topic()).collect::<Vec<_>>(), ["a/b"; 2]);
    assert_eq!(published[1].payload(), b"2");
    assert!(!published[1].head().retain && published[1].head().expires_at.is_never());
    assert_eq!(gateway.bus.connects, 1, "one session for requests with the same credentials");
}

#[test]
fn emqx_parameters_set_quality_of_service_retain_and_expiry() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a?qos=2&retain=true&expiry=60", b"x"));
    client.send(&mut gateway, put("ps/a?q=0&r=1", b"x"));
    let heads: Vec<_> = gateway.bus.published.iter().map(|message| *message.head()).collect();
    assert_eq!((heads[0].qos, heads[0].retain), (Qos::ExactlyOnce, true));
    assert_eq!(heads[0].expires_at, Instant::from_millis(61_000));
    assert_eq!((heads[1].qos, heads[1].retain, heads[1].expires_at), (Qos::AtMostOnce, true, Instant::NEVER));
    assert_ne!(heads[0].publisher, thingway_contract::PublisherKey::default());
    for path in ["ps/a?qos=3", "ps/a?retain=perhaps", "ps/a?expiry=soon"] {
        assert_eq!(client.send(&mut gateway, put(path, b"x")).code(), Code::BAD_REQUEST, "{path}");
    }
}

#[test]
fn emqx_quality_of_service_follows_the_message_type_or_the_setting() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, non(put("ps/a", b"x")));
    client.send(&mut gateway, put("ps/a", b"x"));
    let mut fixed = Gateway::new(Config { publish_qos: QosRule::Fixed(Qos::ExactlyOnce), ..Config::default() });
    client.send(&mut fixed, non(put("ps/a", b"x")));
    client.send(&mut fixed, non(put("ps/a?qos=1", b"x")));
    let all = gateway.bus.published.iter().chain(&fixed.bus.published).map(|message| message.head().qos);
    assert_eq!(all.map(|qos| qos as u8).collect::<Vec<_>>(), [0, 1, 2, 1]);
}

#[test]
fn content_formats_become_content_types() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for format in [50, 60, 4711] {
        client.send(&mut gateway, with_uint(put("ps/a", b"{}"), option::CONTENT_FORMAT, format));
    }
    let properties = |at: usize| gateway.bus.published[at].properties().iter().collect::<Vec<_>>();
    let json = [Property::PayloadFormatIndicator(true), Property::ContentType("application/json")];
    assert_eq!(properties(0), json);
    assert_eq!(properties(1), [Property::ContentType("application/cbor")]);
    assert_eq!(properties(2), [Property::ContentType("coap/4711")]);
}

#[test]
fn bad_topics_are_refused() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    for (path, code) in [
        ("ps/a/+", Code::BAD_REQUEST),
        ("ps/%23", Code::BAD_REQUEST),
        ("ps/", Code::BAD_REQUEST),
        ("ps/a%00", Code::BAD_REQUEST),
        ("ps/%ff", Code::BAD_REQUEST),
        ("ps/$coap/topics/x", Code::FORBIDDEN),
    ] {
        assert_eq!(client.send(&mut gateway, put(path, b"x")).code(), code, "{path}");
    }
    gateway.bus.forbidden.push("secret".into());
    assert_eq!(client.send(&mut gateway, put("ps/secret", b"x")).code(), Code::UNAUTHORIZED);
    assert!(gateway.bus.published.is_empty());
}

#[test]
fn rfc7252_5_10_8_2_if_none_match_publishes_only_where_nothing_is_retained() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let first = with(put("ps/a?retain=1", b"1"), option::IF_NONE_MATCH, b"");
    assert_eq!(client.send(&mut gateway, first.clone()).code(), Code::CHANGED);
    assert_eq!(client.send(&mut gateway, first).code(), Code::PRECONDITION_FAILED);
    assert_eq!(gateway.bus.published.len(), 1);
}

#[test]
fn rfc7252_5_10_8_1_if_match_publishes_only_over_what_the_peer_knows() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let any = with(put("ps/a?retain=1", b"2"), option::IF_MATCH, b"");
    assert_eq!(client.send(&mut gateway, any.clone()).code(), Code::PRECONDITION_FAILED);
    gateway.publish(retained("a", b"1", None));
    let etag = client.send(&mut gateway, get("ps/a")).first(option::ETAG).expect("an entity tag").to_vec();
    let known = with(put("ps/a?retain=1", b"3"), option::IF_MATCH, &etag);
    assert_eq!(client.send(&mut gateway, known.clone()).code(), Code::CHANGED);
    assert_eq!(client.send(&mut gateway, known).code(), Code::PRECONDITION_FAILED);
    assert_eq!(client.send(&mut gateway, any).code(), Code::CHANGED);
}

#[test]
fn rfc8516_who_is_too_fast_is_told_when_to_try_again() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let created = client.send(&mut gateway, post("pubsub", b"\xa2\0\x61a\x02\x6ccore.ps.data"));
    let id = created.options(option::LOCATION_PATH).nth(1).expect("an identifier");
    let data = format!("pubsub/data/{}", std::str::from_utf8(id).expect("text"));
    gateway.bus.is_full = true;
    for packet in [put("ps/a", b"x"), post("ps/a", b"x"), put(&data, b"x")] {
        let answer = client.send(&mut gateway, packet);
        assert_eq!((answer.code(), answer.uint(option::MAX_AGE)), (Code::TOO_MANY_REQUESTS, Some(1)));
    }
    gateway.bus.is_full = false;
    assert_eq!(client.send(&mut gateway, put("ps/a", b"x")).code(), Code::CHANGED);
}

#[test]
fn rfc8516_no_more_requests_wait_than_the_gateway_can_remember() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.send(&mut gateway, put("ps/a", b"x"));
    gateway.delaying = true;
    for _ in 0..64 {
        assert!(client.send_all(&mut gateway, put("ps/a", b"x")).is_empty());
    }
    let answer = client.send(&mut gateway, put("ps/a", b"x"));
    assert_eq!((answer.code(), answer.uint(option::MAX_AGE)), (Code::TOO_MANY_REQUESTS, Some(1)));
    gateway.answer_delayed();
    assert_eq!(gateway.bus.published.len(), 65);
}
