use thingway_coap::{
    Config,
    blockwise::{Assembly, Block, Piece},
    codec::{Code, Packet, option},
};
use thingway_contract::Qos;

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, put, request, retained, with, with_token, with_uint},
};

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 16) as u8 ^ at as u8).collect()
}

fn block(number: u32, more: bool, exponent: u8) -> u32 {
    Block { number, more, exponent }.value()
}

fn upload(path: &str, number: u32, more: bool, part: &[u8]) -> Packet {
    with_uint(put(path, part), option::BLOCK1, block(number, more, 0))
}

/// A client whose address is known to be real.
fn pair(config: Config) -> (Gateway, Client) {
    let mut gateway = Gateway::new(config);
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    gateway.bus.published.clear();
    gateway.sent.clear();
    (gateway, client)
}

/// Fetches the blocks behind the first.
fn fetch_rest(gateway: &mut Gateway, client: &mut Client, path: &str, first: &Packet) -> Vec<u8> {
    let mut assembly = Assembly::default();
    let mut answer = first.clone();
    let etag = first.first(option::ETAG).map(<[u8]>::to_vec);
    loop {
        assert_eq!(answer.first(option::ETAG).map(<[u8]>::to_vec), etag);
        let block = Block::of_response(&answer).expect("valid").expect("in blocks");
        match assembly.add(block, answer.payload(), 1 << 20) {
            Piece::Whole => return assembly.take(),
            piece => assert_eq!(piece, Piece::More),
        }
        let next = Block { number: block.number + 1, more: false, ..block }.value();
        answer = client.send(gateway, with_uint(get(path), option::BLOCK2, next));
        assert_eq!(answer.code(), Code::CONTENT);
    }
}

#[test]
fn rfc7959_2_5_a_body_in_blocks_is_published_once_and_whole() {
    let (mut gateway, mut client) = pair(Config::default());
    let whole = body(40);
    for (number, part) in whole.chunks(16).enumerate() {
        let more = number < 2;
        let answer = client.send(&mut gateway, upload("ps/a", number as u32, more, part));
        assert_eq!(answer.code(), if more { Code::CONTINUE } else { Code::CHANGED });
        assert_eq!(answer.uint(option::BLOCK1), Some(block(number as u32, more, 0)));
    }
    let published: Vec<&[u8]> = gateway.bus.published.iter().map(|message| message.payload()).collect();
    assert_eq!(published, [&whole[..]]);
}

#[test]
fn rfc7959_2_5_blocks_of_different_bodies_are_not_mixed() {
    let (mut gateway, mut client) = pair(Config::default());
    let part = [1; 16];
    assert_eq!(client.send(&mut gateway, upload("ps/a", 1, false, &part)).code(), Code::REQUEST_ENTITY_INCOMPLETE);
    client.send(&mut gateway, upload("ps/a", 0, true, &part));
    for other in [
        upload("ps/b", 1, false, &part),
        upload("ps/a?qos=0", 1, false, &part),
        with_uint(upload("ps/a", 1, false, &part), option::CONTENT_FORMAT, 50),
        with(upload("ps/a", 1, false, &part), option::REQUEST_TAG, b"2"),
        upload("ps/a", 2, false, &part),
    ] {
        assert_eq!(client.send(&mut gateway, other).code(), Code::REQUEST_ENTITY_INCOMPLETE);
    }
    assert_eq!(client.send(&mut gateway, upload("ps/a", 1, false, &part)).code(), Code::CHANGED);
    assert_eq!(gateway.bus.published.len(), 1);
    client.send(&mut gateway, upload("ps/a", 0, true, &part));
    gateway.pass_ms(93_000);
    let late = client.send(&mut gateway, upload("ps/a", 1, false, &part));
    assert_eq!(late.code(), Code::REQUEST_ENTITY_INCOMPLETE, "the first block is forgotten");
}

#[test]
fn rfc7959_2_9_3_bodies_that_are_too_large_are_refused_at_once_or_when_they_get_so() {
    let (mut gateway, mut client) = pair(Config { body_bytes_max: 40, ..Config::default() });
    let announced = with_uint(upload("ps/a", 0, true, &[1; 16]), option::SIZE1, 41);
    let answer = client.send(&mut gateway, announced);
    assert_eq!((answer.code(), answer.uint(option::SIZE1)), (Code::REQUEST_ENTITY_TOO_LARGE, Some(40)));
    for number in 0..2 {
        assert_eq!(client.send(&mut gateway, upload("ps/a", number, true, &[1; 16])).code(), Code::CONTINUE);
    }
    let answer = client.send(&mut gateway, upload("ps/a", 2, false, &[1; 16]));
    assert_eq!((answer.code(), answer.uint(option::SIZE1)), (Code::REQUEST_ENTITY_TOO_LARGE, Some(40)));
    assert_eq!(client.send(&mut gateway, put("ps/a", &[1; 41])).code(), Code::REQUEST_ENTITY_TOO_LARGE, "in one piece");
    assert!(gateway.bus.published.is_empty());
}

#[test]
fn rfc7959_2_2_bad_blocks_are_refused() {
    let (mut gateway, mut client) = pair(Config::default());
    for request in [
        upload("ps/a", 0, true, &[1; 15]),
        upload("ps/a", 0, false, &[1; 17]),
        with_uint(put("ps/a", b""), option::BLOCK1, 7),
        with_uint(get("ps/a"), option::BLOCK2, 7),
    ] {
        assert_eq!(client.send(&mut gateway, request).code(), Code::BAD_REQUEST);
    }
}

#[test]
fn rfc7959_2_3_smaller_blocks_are_asked_for() {
    let (mut gateway, mut client) = pair(Config { block_bytes_max: 100, ..Config::default() });
    let large = with_uint(put("ps/a", &[1; 1024]), option::BLOCK1, block(0, true, 6));
    let answer = client.send(&mut gateway, large);
    assert_eq!((answer.code(), answer.uint(option::BLOCK1)), (Code::CONTINUE, Some(block(0, true, 2))));
    let rest = with_uint(put("ps/a", &[2; 40]), option::BLOCK1, block(16, false, 2));
    assert_eq!(client.send(&mut gateway, rest).code(), Code::CHANGED);
    assert_eq!(gateway.bus.published[0].payload().len(), 1064);
}

#[test]
fn rfc7959_2_4_a_large_retained_message_is_fetched_in_blocks() {
    let (mut gateway, mut client) = pair(Config::default());
    let whole = body(3000);
    gateway.publish(retained("a", &whole, Some("application/cbor")));
    let first = client.send(&mut gateway, get("ps/a"));
    assert_eq!(first.uint(option::BLOCK2), Some(block(0, true, 6)));
    gateway.publish(retained("a", b"another", None));
    assert_eq!(fetch_rest(&mut gateway, &mut client, "ps/a", &first), whole, "all blocks are of the very same message");
    let beyond = client.send(&mut gateway, with_uint(get("ps/a"), option::BLOCK2, block(3, false, 6)));
    assert_eq!(beyond.code(), Code::BAD_REQUEST);
    assert_eq!(client.send(&mut gateway, get("ps/a")).payload(), b"another");
}

#[test]
fn rfc7959_2_4_the_peer_may_want_smaller_blocks_from_the_start() {
    let (mut gateway, mut client) = pair(Config::default());
    let whole = body(100);
    gateway.publish(retained("a", &whole, None));
    let first = client.send(&mut gateway, with_uint(get("ps/a"), option::BLOCK2, block(0, false, 1)));
    assert_eq!(first.uint(option::BLOCK2), Some(block(0, true, 1)));
    assert_eq!(fetch_rest(&mut gateway, &mut client, "ps/a", &first), whole);
    gateway.pass_ms(93_000);
    let stateless = client.send(&mut gateway, with_uint(get("ps/a"), option::BLOCK2, block(2, false, 1)));
    assert_eq!(stateless.payload(), &whole[64..96], "a transfer that is forgotten goes on with what is retained now");
}

#[test]
fn rfc7959_2_6_the_rest_of_a_large_notification_is_fetched() {
    let (mut gateway, mut client) = pair(Config::default());
    client.observe(&mut gateway, "ps/+", b"1");
    gateway.sent.clear();
    let (first, second) = (body(1500), body(2500));
    gateway.publish(message("a", &first, Qos::AtLeastOnce));
    gateway.publish(message("b", &second, Qos::AtLeastOnce));
    for whole in [first, second] {
        let notification = last_to(&mut gateway, 1);
        assert_eq!(notification.uint(option::BLOCK2), Some(block(0, true, 6)));
        client.acknowledge(&mut gateway, &notification);
        assert!(drain_to(&mut gateway, 1).is_empty(), "the next waits until this one is fetched");
        assert_eq!(fetch_rest(&mut gateway, &mut client, "ps/+", &notification), whole);
    }
}

#[test]
fn rfc7959_2_6_an_observer_that_does_not_fetch_the_rest_does_not_wait_for_ever() {
    let (mut gateway, mut client) = pair(Config::default());
    client.observe(&mut gateway, "ps/a", b"1");
    gateway.publish(message("a", &body(1500), Qos::AtLeastOnce));
    let large = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &large);
    gateway.publish(message("a", b"small", Qos::AtLeastOnce));
    gateway.sent.clear();
    gateway.pass_ms(92_000);
    assert!(drain_to(&mut gateway, 1).is_empty());
    gateway.pass_ms(1000);
    assert_eq!(last_to(&mut gateway, 1).payload(), b"small");
}

#[test]
fn a_fetch_may_come_in_blocks_too() {
    let (mut gateway, mut client) = pair(Config::default());
    let filter = b"\xa1\x04\x73a topic with a type";
    let (first, last) = filter.split_at(16);
    for (number, part, code) in [(0, first, Code::CONTINUE), (1, last, Code::CONTENT)] {
        let mut request = with_uint(request(Code::FETCH, "pubsub"), option::BLOCK1, block(number, number == 0, 0));
        request.set_payload(part.to_vec());
        assert_eq!(client.send(&mut gateway, request).code(), code);
    }
}

#[test]
fn after_an_upload_nothing_is_left_behind() {
    let mut gateway = Gateway::new(Config::default());
    let mut client = Client::new(1);
    client.send(&mut gateway, upload("ps/a", 0, true, &[1; 16]));
    assert_eq!(client.send(&mut gateway, upload("ps/a", 1, false, &[1; 16])).code(), Code::CHANGED);
    gateway.pass_ms(247_000);
    assert!(gateway.machine(1).is_none());
}

#[test]
fn rfc7959_4_the_size_is_told_to_who_asks() {
    let (mut gateway, mut client) = pair(Config::default());
    gateway.publish(retained("a", &body(3000), None));
    let ask = |packet: Packet| with_uint(packet, option::SIZE2, 0);
    let first = client.send(&mut gateway, ask(get("ps/a")));
    assert_eq!((first.uint(option::SIZE2), first.payload().len()), (Some(3000), 1024));
    assert_eq!(client.send(&mut gateway, get("ps/a")).uint(option::SIZE2), None);
    let second = ask(with_uint(get("ps/a"), option::BLOCK2, block(1, false, 6)));
    assert_eq!(client.send(&mut gateway, second).uint(option::SIZE2), Some(3000));
    gateway.publish(retained("a", b"small", None));
    let whole = client.send(&mut gateway, ask(get("ps/a")));
    assert_eq!((whole.uint(option::SIZE2), whole.payload()), (None, &b"small"[..]), "what comes whole needs no size");
}

#[test]
fn rfc7959_4_the_size_has_room_within_the_bound_of_unproven_addresses() {
    for size in [65_536, 200, 100] {
        let mut gateway = Gateway::new(Config::default());
        gateway.publish(retained("a", &vec![1; size], Some("application/octet-stream")));
        for exponent in 0..=6 {
            let asked = with_uint(get("ps/a"), option::BLOCK2, block(0, false, exponent));
            let asked = with_token(with_uint(asked, option::SIZE2, 0), b"12345678");
            let answer = Client::new(1).send(&mut gateway, asked);
            assert_eq!((answer.code(), answer.uint(option::SIZE2)), (Code::CONTENT, Some(size as u32)));
        }
        for padding in 20..400 {
            let asked = with(with_uint(get("ps/a"), option::SIZE2, 0), 65_000, &vec![0; padding]);
            let bytes = asked.to_bytes().len();
            gateway.sent.clear();
            Client::new(2).send(&mut gateway, asked);
            let sent = gateway.sent[0].1.len();
            assert!(sent <= 136.max(3 * bytes), "{sent} bytes for {bytes}");
        }
    }
}
