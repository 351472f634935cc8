//! Gateways that end without warning: what they were told of observations and tokens is what observers go on with.

use thingway_coap::{
    CoapFault, Config,
    codec::{Code, Packet, option},
    observe::is_newer,
};
use thingway_contract::{Instant, Qos};

use crate::{
    gateway::Gateway,
    kept::{Peer, gateway_of, notifications, observer},
    support::{
        Client, drain_to, get, last_to, message, message_of, post, put, request, retained, with_token, with_uint,
    },
};

fn heartbeat(peer: &Peer) -> Packet {
    request(Code::PUT, &peer.path("mqtt/connection"))
}

fn cancel(peer: &Peer, path: &str, token: &[u8]) -> Packet {
    with_uint(with_token(get(&peer.path(path)), token), option::OBSERVE, 1)
}

/// Tokens and filters of the observations that are on disk.
fn told(gateway: &mut Gateway) -> Vec<(String, String)> {
    let observations = &gateway.told("c1").observations;
    let text = |token: &[u8]| String::from_utf8(token.to_vec()).expect("text");
    observations.iter().map(|one| (text(&one.token), one.filter.to_string())).collect()
}

/// The expected form of what [`told`] gives.
fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(token, filter)| ((*token).to_owned(), (*filter).to_owned())).collect()
}

/// The peer acknowledges all notifications that come, beginning with these; their payloads.
fn acknowledge_all(gateway: &mut Gateway, peer: &mut Peer, mut packets: Vec<Packet>) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(notification) = packets.iter().find(|packet| packet.has(option::OBSERVE)).cloned() {
        payloads.push(notification.payload().to_vec());
        packets = peer.client.acknowledge(gateway, &notification);
    }
    gateway.sent.clear();
    payloads
}

#[test]
fn observers_get_their_messages_after_a_crash() {
    let (mut gateway, mut peer) = observer(Config::default());
    peer.observe(&mut gateway, "ps/%23?qos=1", b"2");
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    let first = drain_to(&mut gateway, 1);
    assert_eq!(acknowledge_all(&mut gateway, &mut peer, first), [b"1", b"1"]);
    gateway.publish(message("a", b"2", Qos::AtLeastOnce));
    gateway.publish(message("b", b"3", Qos::AtLeastOnce));
    gateway.sent.clear();
    gateway.die();
    let answers = peer.client.send_all(&mut gateway, heartbeat(&peer));
    assert_eq!(answers[0].code(), Code::CHANGED, "with the token that it has");
    assert_eq!(acknowledge_all(&mut gateway, &mut peer, answers), [b"2", b"2", b"3"]);
    gateway.publish(message("a", b"4", Qos::AtLeastOnce));
    let later = drain_to(&mut gateway, 1);
    assert_eq!(acknowledge_all(&mut gateway, &mut peer, later), [b"4", b"4"]);
    assert_eq!(gateway.bus.acknowledged, [1, 2, 3, 4]);
}

#[test]
fn a_crash_leaves_the_observations_also_to_another_connection() {
    let (mut gateway, _) = observer(Config::default());
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    gateway.sent.clear();
    gateway.die();
    let mut peer = Peer::open(&mut gateway, 1);
    let sent = drain_to(&mut gateway, 1);
    assert_eq!(acknowledge_all(&mut gateway, &mut peer, sent), [b"1"]);
    gateway.die();
    assert_eq!(peer.client.send(&mut gateway, heartbeat(&peer)).code(), Code::CHANGED, "its token was told, too");
    assert_eq!(gateway.machine(1).expect("living").observations_len(), 1);
}

#[test]
fn rfc7641_3_4_numbers_are_newer_after_a_crash() {
    let (mut gateway, mut peer) = observer(Config::default());
    let mut last: Option<(u32, u64)> = None;
    for round in 0..4 {
        for _ in 0..20 {
            gateway.publish(message("a", b"x", Qos::AtLeastOnce));
            let notification = last_to(&mut gateway, 1);
            let number = notification.uint(option::OBSERVE).expect("a number");
            let unix_ms = gateway.config.clock_unix_ms + gateway.now.as_millis();
            if let Some((before, then)) = last.replace((number, unix_ms)) {
                let (then, now) = (Instant::from_millis(then), Instant::from_millis(unix_ms));
                assert!(is_newer(before, then, number, now), "{before} then {number}");
            }
            peer.client.acknowledge(&mut gateway, &notification);
        }
        gateway.pass_ms(10_000 * round);
        gateway.die();
        peer.client.send(&mut gateway, heartbeat(&peer));
    }
}

#[test]
fn an_observation_is_told_before_the_subscription_that_is_answered_for() {
    let mut gateway = gateway_of(Config::default());
    let mut peer = Peer::open(&mut gateway, 1);
    let observe = with_uint(with_token(get(&peer.path("ps/a?qos=1")), b"1"), option::OBSERVE, 0);
    gateway.delaying = true;
    assert!(peer.client.send_all(&mut gateway, observe.clone()).is_empty());
    gateway.answer_first();
    assert_eq!((told(&mut gateway), gateway.filters()), (pairs(&[("1", "a")]), vec![]));
    gateway.die();
    // Nothing was promised, so it is asked for again.
    assert_eq!(peer.client.send(&mut gateway, heartbeat(&peer)).code(), Code::CHANGED);
    assert_eq!(peer.client.send(&mut gateway, observe).code(), Code::CONTENT);
    assert_eq!(gateway.machine(1).expect("living").observations_len(), 1);
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    assert_eq!(last_to(&mut gateway, 1).payload(), b"x");
}

#[test]
fn what_ends_an_observation_is_told() {
    type End = fn(&mut Gateway, &mut Peer);
    let ends: [End; 4] = [
        |gateway, peer| {
            assert_eq!(peer.client.send(gateway, cancel(peer, "ps/b", b"2")).code(), Code::NO_CONTENT);
        },
        |gateway, peer| {
            gateway.publish(message("b", b"x", Qos::AtLeastOnce));
            let notification = last_to(gateway, 1);
            peer.client.reset(gateway, &notification);
        },
        |gateway, _| {
            // In the turn of the delivery.
            gateway.publish(message_of("b", b"x", Qos::AtLeastOnce, Some("text/plain"), Instant::NEVER));
        },
        |gateway, peer| {
            // The token is used for another.
            peer.observe(gateway, "ps/a?qos=2", b"2");
            assert_eq!(told(gateway), pairs(&[("1", "a"), ("2", "a")]));
            peer.client.send(gateway, cancel(peer, "ps/a", b"2"));
        },
    ];
    for end in ends {
        let (mut gateway, mut peer) = observer(Config::default());
        let observe = with_uint(with_token(get(&peer.path("ps/b?qos=1")), b"2"), option::OBSERVE, 0);
        peer.client.send(&mut gateway, with_uint(observe, option::ACCEPT, 50));
        gateway.sent.clear();
        assert_eq!(told(&mut gateway), pairs(&[("1", "a"), ("2", "b")]));
        end(&mut gateway, &mut peer);
        assert_eq!((told(&mut gateway), gateway.filters()), (pairs(&[("1", "a")]), vec!["a".to_owned()]));
        gateway.die();
        peer.client.send(&mut gateway, heartbeat(&peer));
        assert_eq!(gateway.machine(1).expect("living").observations_len(), 1);
    }
}

#[test]
fn what_is_refused_is_not_kept() {
    let (mut gateway, mut peer) = observer(Config::default());
    gateway.bus.forbidden.push("b".into());
    let refused = peer.client.observe(&mut gateway, &peer.path("ps/b"), b"2");
    assert_eq!((refused.code(), told(&mut gateway)), (Code::UNAUTHORIZED, pairs(&[("1", "a")])));
    // An error ends the observation, here that of what does not exist.
    gateway.publish(retained("c", b"x", Some("text/plain")));
    let unacceptable = with_uint(with_token(get(&peer.path("ps/c")), b"3"), option::OBSERVE, 0);
    let answer = peer.client.send(&mut gateway, with_uint(unacceptable, option::ACCEPT, 50));
    assert_eq!((answer.code(), told(&mut gateway)), (Code::NOT_ACCEPTABLE, pairs(&[("1", "a")])));
}

#[test]
fn terms_of_an_observation_are_told_with_the_configuration_and_its_end_with_the_topic() {
    let mut gateway = gateway_of(Config::default());
    let mut peer = Peer::open(&mut gateway, 1);
    let coded = |packet| with_uint(packet, option::CONTENT_FORMAT, 606);
    let create = b"\xa4\0\x61e\x02\x6ccore.ps.data\x05\x741970-01-01T00:10:00Z\x09\xf5";
    let created = peer.client.send(&mut gateway, coded(post(&peer.path("pubsub"), create)));
    let id = created.options(option::LOCATION_PATH).nth(1).map(|id| String::from_utf8(id.to_vec()));
    let id = id.expect("an identifier").expect("text");
    peer.observe(&mut gateway, &format!("pubsub/data/{id}"), b"1");
    let terms = |gateway: &mut Gateway| {
        let observations = &gateway.told("c1").observations;
        observations.iter().map(|one| (one.check_secs, one.ends_at.as_millis())).collect::<Vec<_>>()
    };
    assert_eq!(terms(&mut gateway), [(86_400, 600_000)]);
    // observer-check is 60 from now on, and expiration-date later.
    let update = b"\xa2\x05\x741970-01-01T00:20:00Z\x07\x18\x3c";
    let mut update_request = request(Code::IPATCH, &peer.path(&format!("pubsub/{id}")));
    update_request.set_payload(update.to_vec());
    assert_eq!(peer.client.send(&mut gateway, coded(update_request)).code(), Code::CHANGED);
    assert_eq!(terms(&mut gateway), [(60, 1_200_000)]);
    gateway.pass_ms(1_199_000 - gateway.now.as_millis());
    assert_eq!(terms(&mut gateway).len(), 1);
    gateway.pass_ms(1000);
    assert_eq!(terms(&mut gateway), [], "in the turn of the deadline");
}

#[test]
fn notifications_and_the_same_registration_are_nothing_to_tell() {
    let (mut gateway, mut peer) = observer(Config::default());
    // The token, and the observation.
    assert_eq!(gateway.bus.told, 2);
    for _ in 0..50 {
        gateway.publish(message("a", b"x", Qos::AtLeastOnce));
        let sent = drain_to(&mut gateway, 1);
        acknowledge_all(&mut gateway, &mut peer, sent);
        peer.client.send(&mut gateway, put(&peer.path("ps/b"), b"y"));
        peer.observe(&mut gateway, "ps/a?qos=2", b"1");
    }
    assert_eq!(gateway.bus.told, 2);
    peer.observe(&mut gateway, "ps/a?qos=2&nl=1", b"1");
    assert_eq!(gateway.bus.told, 3);
}

#[test]
fn few_heartbeats_are_told_and_no_token_ends_too_early() {
    let mut gateway = Gateway::new(Config { session_expiry_secs: 600, ..Config::default() });
    gateway.bus.keeps = true;
    let mut peer = Peer::open(&mut gateway, 1);
    for _ in 0..120 {
        gateway.pass_ms(30_000);
        assert_eq!(peer.client.send(&mut gateway, heartbeat(&peer)).code(), Code::CHANGED);
        let until = gateway.told("c1").resumption.expect("a token").until;
        let (earliest, latest) = (gateway.now.plus_secs(180), gateway.now.plus_secs(360));
        assert!(earliest <= until && until <= latest, "{until:?} at {:?}", gateway.now);
    }
    assert!((10..=20).contains(&gateway.bus.told), "{} in an hour", gateway.bus.told);
    gateway.pass_ms(44_000);
    gateway.die();
    assert_eq!(peer.client.send(&mut gateway, heartbeat(&peer)).code(), Code::CHANGED);
    gateway.pass_ms(45_000);
    assert_eq!(gateway.faults, [CoapFault::HeartbeatLost]);
    gateway.die();
    assert_eq!(peer.client.send(&mut gateway, heartbeat(&peer)).code(), Code::UNAUTHORIZED, "it was over before");
}

#[test]
fn nothing_is_told_of_a_session_that_is_left() {
    let (mut gateway, mut peer) = observer(Config::default());
    gateway.delaying = true;
    let observe = with_uint(with_token(get(&peer.path("ps/b?qos=1")), b"2"), option::OBSERVE, 0);
    peer.client.send_all(&mut gateway, observe);
    peer.client.send_all(&mut gateway, post("mqtt/connection?clientid=c2&username=u&password=p", b""));
    gateway.bus.forbidden.push("b".into());
    gateway.answer_delayed();
    assert_eq!(told(&mut gateway), pairs(&[("1", "a")]), "by the departure");
    assert_eq!(gateway.told("c2").observations, [], "and of the next nothing that was of this one");
}

#[test]
fn what_nobody_observes_after_a_crash_is_over() {
    let (mut gateway, _) = observer(Config::default());
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    gateway.publish(message("a", b"2", Qos::AtLeastOnce));
    // The end of the observation is on disk, that of the subscription is not yet.
    gateway.told("c1").observations.clear();
    gateway.die();
    let mut peer = Peer::open(&mut gateway, 1);
    assert_eq!(gateway.bus.acknowledged, [1, 2]);
    // The subscription is still there, and its identifier is that of the next observation.
    peer.observe(&mut gateway, "ps/b", b"1");
    gateway.publish(message("a", b"3", Qos::AtLeastOnce));
    gateway.publish(message("b", b"4", Qos::AtLeastOnce));
    assert_eq!(notifications(&drain_to(&mut gateway, 1)), [b"4"]);
    assert_eq!(gateway.bus.acknowledged, [1, 2, 3]);
}

#[test]
fn sessions_that_are_not_kept_are_not_told_of() {
    let mut gateway = Gateway::new(Config::default());
    let mut peer = Peer::open(&mut gateway, 1);
    peer.observe(&mut gateway, "ps/a", b"1");
    Client::new(2).observe(&mut gateway, "ps/a", b"1");
    assert_eq!(gateway.bus.told, 0);
}
