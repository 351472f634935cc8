//! Sessions that the gateway keeps through its own restart: what it is told of the deliveries that came with a packet identifier. The gateway in miniature
//! fails when the end of an exchange is said twice, or of what was not delivered, and when a conversation leaves others than those that are not over.

use thingway_coap::{
    CoapFault, Config, NotifyType,
    codec::{Code, Kind, Packet, option},
};
use thingway_contract::{CloseReason, Instant, Qos};

use crate::{
    connection::open,
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, message_of, put, request, with_token, with_uint},
};

pub fn gateway_of(config: Config) -> Gateway {
    let mut gateway = Gateway::new(Config { session_expiry_secs: 600, heartbeat_secs: 0, ..config });
    gateway.bus.keeps = true;
    gateway
}

pub struct Peer {
    pub client: Client,
    pub token: String,
}

impl Peer {
    pub fn open(gateway: &mut Gateway, port: u16) -> Self {
        let mut client = Client::new(port);
        let token = open(gateway, &mut client, "c1");
        Self { client, token }
    }

    pub fn path(&self, path: &str) -> String {
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}c=c1&t={}", self.token)
    }

    pub fn observe(&mut self, gateway: &mut Gateway, path: &str, token: &[u8]) {
        let answer = self.client.observe(gateway, &self.path(path), token);
        assert!(answer.has(option::OBSERVE));
        gateway.sent.clear();
    }
}

/// A connection that observes `a`.
pub fn observer(config: Config) -> (Gateway, Peer) {
    let mut gateway = gateway_of(config);
    let mut peer = Peer::open(&mut gateway, 1);
    peer.observe(&mut gateway, "ps/a?qos=2", b"1");
    (gateway, peer)
}

pub fn notifications(packets: &[Packet]) -> Vec<&[u8]> {
    packets.iter().filter(|packet| packet.has(option::OBSERVE)).map(Packet::payload).collect()
}

#[test]
fn an_exchange_is_over_when_the_notification_is_acknowledged() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let (mut gateway, mut peer) = observer(Config::default());
        for payload in [b"1", b"2"] {
            gateway.publish(message("a", payload, qos));
        }
        let first = last_to(&mut gateway, 1);
        assert_eq!((first.kind(), first.payload()), (Kind::Confirmable, &b"1"[..]));
        gateway.pass_ms(10_000);
        assert_eq!(gateway.bus.acknowledged, []);
        gateway.sent.clear();
        peer.client.acknowledge(&mut gateway, &first);
        assert_eq!(gateway.bus.acknowledged, [1]);
        peer.client.acknowledge(&mut gateway, &first);
        let second = last_to(&mut gateway, 1);
        peer.client.acknowledge(&mut gateway, &second);
        assert_eq!(gateway.bus.acknowledged, [1, 2]);
    }
}

#[test]
fn an_exchange_is_over_when_the_notification_is_sent_for_good() {
    let (mut gateway, mut peer) = observer(Config { notify_type: NotifyType::NonConfirmable, ..Config::default() });
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    // Nobody has been heard of at this address yet.
    let first = last_to(&mut gateway, 1);
    peer.client.acknowledge(&mut gateway, &first);
    gateway.publish(message("a", b"2", Qos::AtLeastOnce));
    assert_eq!(last_to(&mut gateway, 1).kind(), Kind::NonConfirmable);
    assert_eq!(gateway.bus.acknowledged, [1, 2]);
    gateway.publish(message("a", b"3", Qos::AtMostOnce));
    assert_eq!(gateway.bus.acknowledged, [1, 2], "the end of this one the gateway knows by itself");
}

#[test]
fn a_delivery_to_several_observations_is_over_with_the_last() {
    let (mut gateway, mut peer) = observer(Config::default());
    peer.observe(&mut gateway, "ps/a?qos=1", b"2");
    peer.observe(&mut gateway, "ps/%23?qos=1", b"3");
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    for ended in [false, false, true] {
        assert_eq!(gateway.bus.acknowledged, []);
        let notification = last_to(&mut gateway, 1);
        if ended {
            peer.client.reset(&mut gateway, &notification);
        } else {
            peer.client.acknowledge(&mut gateway, &notification);
        }
    }
    assert_eq!(gateway.bus.acknowledged, [1]);
    gateway.publish(message("a", b"y", Qos::AtLeastOnce));
    let first = last_to(&mut gateway, 1);
    let second = with_uint(with_token(get(&peer.path("ps/a")), b"2"), option::OBSERVE, 1);
    peer.client.send(&mut gateway, second);
    assert_eq!(gateway.bus.acknowledged, [1], "one of them has it and has not said so");
    peer.client.acknowledge(&mut gateway, &first);
    assert_eq!(gateway.bus.acknowledged, [1, 2]);
}

#[test]
fn an_exchange_is_over_when_the_observation_is() {
    type End = fn(&mut Gateway, &mut Peer, &Packet);
    let ends: [End; 3] = [
        |gateway, peer, notification| {
            peer.client.reset(gateway, notification);
        },
        |gateway, peer, _| {
            let cancel = with_uint(with_token(get(&peer.path("ps/a")), b"1"), option::OBSERVE, 1);
            peer.client.send(gateway, cancel);
        },
        |gateway, peer, _| {
            // The token is used for another observation.
            peer.client.observe(gateway, &peer.path("ps/b"), b"1");
        },
    ];
    for end in ends {
        let (mut gateway, mut peer) = observer(Config::default());
        gateway.publish(message("a", b"1", Qos::AtLeastOnce));
        gateway.publish(message("a", b"2", Qos::AtLeastOnce));
        let notification = last_to(&mut gateway, 1);
        end(&mut gateway, &mut peer, &notification);
        assert_eq!(gateway.bus.acknowledged, [1, 2], "also of what was on its way to nobody");
        peer.client.acknowledge(&mut gateway, &notification);
        assert_eq!(gateway.bus.acknowledged, [1, 2]);
    }
}

#[test]
fn an_exchange_is_over_when_its_message_ends_the_observation() {
    let (mut gateway, mut peer) = observer(Config::default());
    let only = with_token(get(&peer.path("ps/b")), b"2");
    peer.client.send(&mut gateway, with_uint(with_uint(only, option::OBSERVE, 0), option::ACCEPT, 50));
    gateway.publish(message_of("b", b"x", Qos::AtLeastOnce, Some("application/cbor"), Instant::NEVER));
    assert_eq!(last_to(&mut gateway, 1).code(), Code::NOT_ACCEPTABLE);
    assert_eq!(gateway.bus.acknowledged, [1]);
}

#[test]
fn an_exchange_is_over_when_its_message_expires_on_the_way_to_the_next_observation() {
    let (mut gateway, mut peer) = observer(Config::default());
    peer.observe(&mut gateway, "ps/a?qos=1", b"2");
    let soon = gateway.now.plus_secs(5);
    gateway.publish(message_of("a", b"x", Qos::AtLeastOnce, None, soon));
    let first = last_to(&mut gateway, 1);
    gateway.pass_ms(6000);
    gateway.sent.clear();
    assert_eq!(gateway.bus.acknowledged, [], "the first may still say that it has it");
    peer.client.acknowledge(&mut gateway, &first);
    assert_eq!(gateway.bus.acknowledged, [1]);
    assert!(drain_to(&mut gateway, 1).is_empty());
}

#[test]
fn nstart_2_each_notification_is_over_by_its_own_acknowledgement() {
    let mut config = Config::default();
    config.transmission.nstart = 2;
    let (mut gateway, mut peer) = observer(config);
    for payload in [b"1", b"2"] {
        gateway.publish(message("a", payload, Qos::AtLeastOnce));
    }
    let sent = drain_to(&mut gateway, 1);
    assert_eq!(notifications(&sent), [b"1", b"2"]);
    peer.client.acknowledge(&mut gateway, &sent[1]);
    assert_eq!(gateway.bus.acknowledged, [2]);
    assert_eq!(gateway.under_way("c1"), [1]);
    peer.client.acknowledge(&mut gateway, &sent[0]);
    assert_eq!(gateway.bus.acknowledged, [2, 1]);
}

#[test]
fn what_a_lost_peer_has_not_acknowledged_is_sent_again_to_the_next_and_then_over() {
    let (mut gateway, peer) = observer(Config::default());
    for payload in [b"1", b"2"] {
        gateway.publish(message("a", payload, Qos::AtLeastOnce));
    }
    gateway.pass_ms(100_000);
    assert_eq!(gateway.faults, [CoapFault::PeerGone]);
    assert_eq!((&gateway.bus.acknowledged[..], &gateway.under_way("c1")[..]), (&[][..], &[1][..]));
    gateway.sent.clear();
    let mut away = Client::new(2);
    away.send_all(&mut gateway, put(&peer.path("ps/b"), b"x"));
    for (payload, acknowledged) in [(b"1", &[1][..]), (b"2", &[1, 2])] {
        let sent = drain_to(&mut gateway, 2);
        let notification = sent.iter().find(|packet| packet.has(option::OBSERVE)).expect("sent again");
        assert_eq!((notification.token(), notification.payload()), (&b"1"[..], &payload[..]));
        away.acknowledge(&mut gateway, notification);
        assert_eq!(gateway.bus.acknowledged, acknowledged);
    }
}

#[test]
fn a_take_over_leaves_each_delivery_once_and_ends_nothing() {
    let (mut gateway, mut peer) = observer(Config::default());
    peer.observe(&mut gateway, "ps/+?qos=1", b"2");
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    let mut away = Client::new(2);
    // The gateway in miniature compares what is left with what it keeps.
    let mut answers = away.send_all(&mut gateway, put(&peer.path("ps/b"), b"y"));
    assert_eq!((&gateway.bus.acknowledged[..], &gateway.under_way("c1")[..]), (&[][..], &[1][..]));
    gateway.sent.clear();
    for _ in 0..2 {
        let notification = answers.into_iter().find(|packet| packet.payload() == b"x").expect("to each observation");
        assert_eq!(gateway.bus.acknowledged, []);
        answers = away.acknowledge(&mut gateway, &notification);
    }
    assert_eq!(gateway.bus.acknowledged, [1]);
}

#[test]
fn observations_go_on_when_the_gateway_that_keeps_them_is_started_again() {
    let (mut gateway, mut peer) = observer(Config::default());
    gateway.publish(message("a", b"0", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    peer.client.acknowledge(&mut gateway, &notification);
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    gateway.publish(message("a", b"2", Qos::AtLeastOnce));
    gateway.sent.clear();
    gateway.restart();
    assert!(drain_to(&mut gateway, 1).is_empty(), "observers are not told that it is over, for it is not");
    assert_eq!(gateway.bus.acknowledged, [1]);
    let heartbeat = request(Code::PUT, &format!("mqtt/connection?c=c1&t={}", peer.token));
    let mut answers = peer.client.send_all(&mut gateway, heartbeat);
    assert_eq!(answers.remove(0).code(), Code::CHANGED, "and so does the connection");
    assert_eq!(notifications(&answers), [b"1"]);
    let next = peer.client.acknowledge(&mut gateway, &answers[0]);
    assert_eq!(notifications(&next), [b"2"]);
    assert!(next[0].uint(option::OBSERVE) > answers[0].uint(option::OBSERVE));
    peer.client.acknowledge(&mut gateway, &next[0]);
    assert_eq!(gateway.bus.acknowledged, [1, 2, 3]);
}

#[test]
fn another_end_ends_observations_and_leaves_the_messages_with_the_session() {
    let (mut gateway, mut peer) = observer(Config::default());
    gateway.publish(message("a", b"0", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    peer.client.acknowledge(&mut gateway, &notification);
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    gateway.sent.clear();
    gateway.close(1, &CloseReason::Administrative);
    assert_eq!(last_to(&mut gateway, 1).code(), Code::SERVICE_UNAVAILABLE);
    assert_eq!((&gateway.bus.acknowledged[..], &gateway.under_way("c1")[..]), (&[1][..], &[2][..]));
}

#[test]
fn what_an_mqtt_connection_left_released_is_over() {
    let (mut gateway, _) = observer(Config::default());
    gateway.restart();
    let released = gateway.leave_released("c1");
    Peer::open(&mut gateway, 1);
    assert_eq!(gateway.bus.acknowledged, [released]);
}
