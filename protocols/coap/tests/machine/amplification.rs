use thingway_coap::{
    Amplification, Config,
    blockwise::Block,
    codec::{Code, Kind, Packet, option},
};
use thingway_contract::Qos;

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, retained, with, with_uint},
};

fn gateway(amplification: Amplification) -> Gateway {
    let mut gateway = Gateway::new(Config { amplification, ..Config::default() });
    gateway.publish(retained("a", &[7; 5000], Some("application/octet-stream")));
    gateway
}

#[test]
fn rfc9175_2_4_large_answers_come_in_small_blocks_to_an_address_that_may_be_forged() {
    let mut gateway = gateway(Amplification::Blocks);
    let mut client = Client::new(1);
    let first = client.send(&mut gateway, get("ps/a"));
    assert!(gateway.sent[0].1.len() <= 136, "{}", gateway.sent[0].1.len());
    let block = Block::of_response(&first).expect("valid").expect("in blocks");
    assert_eq!((first.code(), block.more, block.bytes()), (Code::CONTENT, true, 64));
    let next = with_uint(get("ps/a"), option::BLOCK2, Block { number: 1, ..block }.value());
    let second = client.send(&mut gateway, next.clone());
    assert_eq!(second.payload().len(), 64);
    let large = with_uint(get("ps/a"), option::BLOCK2, Block { number: 1, more: false, exponent: 6 }.value());
    let smaller = client.send(&mut gateway, large.clone());
    let moved = Block::of_response(&smaller).expect("valid").expect("in blocks");
    assert_eq!((moved.offset(), smaller.payload().len()), (1024, 64));
    assert!(gateway.sent.iter().all(|(_, bytes)| bytes.len() <= 136));

    let echo = second.first(option::ECHO).expect("a value to send back").to_vec();
    assert_eq!(client.send(&mut gateway, with(large, option::ECHO, &echo)).payload().len(), 1024);
    assert!(gateway.machine(1).expect("living").is_validated());
}

#[test]
fn rfc9175_2_3_the_peer_is_asked_to_come_again() {
    let mut gateway = gateway(Amplification::Echo);
    let mut client = Client::new(1);
    let refused = client.send(&mut gateway, get("ps/a"));
    assert_eq!(refused.code(), Code::UNAUTHORIZED);
    let echo = refused.first(option::ECHO).expect("a value to send back").to_vec();
    let stranger = Client::new(2).send(&mut gateway, with(get("ps/a"), option::ECHO, &echo));
    assert_eq!(stranger.code(), Code::UNAUTHORIZED, "it is good for one address");
    let answer = client.send(&mut gateway, with(get("ps/a"), option::ECHO, &echo));
    assert_eq!((answer.code(), answer.payload().len()), (Code::CONTENT, 1024));
    let small = Client::new(3).send(&mut gateway, get("ps/nothing"));
    assert_eq!(small.code(), Code::NOT_FOUND, "small answers need no proof");
}

#[test]
fn rfc9175_2_4_a_large_request_may_have_a_large_answer() {
    let mut gateway = gateway(Amplification::Blocks);
    let padded = with(get("ps/a"), 65_000, &[0; 500]);
    assert_eq!(Client::new(1).send(&mut gateway, padded).payload().len(), 1024);
}

#[test]
fn the_bound_can_be_switched_off() {
    let mut gateway = gateway(Amplification::Unbounded);
    assert_eq!(Client::new(1).send(&mut gateway, get("ps/a")).payload().len(), 1024);
}

#[test]
fn rfc7641_7_one_small_notification_goes_to_an_observer_that_was_never_heard_of() {
    let mut gateway = gateway(Amplification::Blocks);
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/b?qos=0", b"1");
    gateway.sent.clear();
    for _ in 0..20 {
        gateway.publish(message("b", &[1; 2000], Qos::AtMostOnce));
    }
    assert_eq!(gateway.sent.len(), 1);
    assert!(gateway.sent[0].1.len() <= 136);
    let notification = last_to(&mut gateway, 1);
    assert_eq!((notification.kind(), notification.has(option::ECHO)), (Kind::Confirmable, false));
    client.reset(&mut gateway, &notification);
    gateway.pass_ms(1000);
    assert!(gateway.sent.is_empty() && gateway.filters().is_empty());
}

#[test]
fn rfc9175_2_4_an_echo_option_is_never_in_a_message_that_is_sent_again() {
    for amplification in [Amplification::Blocks, Amplification::Echo] {
        let mut gateway = gateway(amplification);
        let mut client = Client::new(1);
        client.send(&mut gateway, get("ps/nothing"));
        gateway.delaying = true;
        assert!(client.send_all(&mut gateway, get("ps/a")).is_empty());
        gateway.pass_ms(1000);
        assert_eq!(last_to(&mut gateway, 1).code(), Code::EMPTY, "acknowledged alone");
        gateway.answer_delayed();
        gateway.pass_ms(100_000);
        let sent = drain_to(&mut gateway, 1);
        let kinds: Vec<Kind> = sent.iter().map(Packet::kind).collect();
        assert_eq!(kinds, [Kind::NonConfirmable]);
        assert!(sent[0].has(option::ECHO));
    }
}
