//! The message layer alone, as the side that asks.

use thingway_coap::{
    codec::{Code, Kind, Packet, option},
    message::{Endpoint, Incoming, Lost, MessageError, Transmission},
};
use thingway_contract::{Instant, Outbox};

struct Script {
    endpoint: Endpoint,
    settings: Transmission,
    out: Outbox,
    now: Instant,
}

impl Script {
    fn new(seed: u64) -> Self {
        let settings = Transmission::default();
        Self { endpoint: Endpoint::new(seed), settings, out: Outbox::default(), now: Instant::from_millis(1000) }
    }

    fn sent(&mut self) -> Vec<Packet> {
        let sent = self.out.datagrams().map(|datagram| Packet::decode(datagram).expect("valid")).collect();
        self.out.clear();
        sent
    }

    fn ask(&mut self, tag: u32, token: &[u8], observe: bool) {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        packet.set_token(token);
        if observe {
            packet.push_uint(option::OBSERVE, 0);
        }
        self.endpoint.ask(&mut packet, true, tag, &self.settings, self.now, &mut self.out);
    }

    fn receive(&mut self, kind: Kind, code: Code, id: u16, token: &[u8]) -> Result<Incoming, MessageError> {
        let mut packet = Packet::new(kind, code);
        packet.set_id(id);
        packet.set_token(token);
        self.endpoint.receive(&packet.to_bytes(), &self.settings, self.now, &mut self.out)
    }

    fn timeout(&mut self) -> Vec<Lost> {
        self.now = self.endpoint.deadline();
        self.endpoint.timeout(&self.settings, self.now, &mut self.out).to_vec()
    }
}

#[test]
fn rfc7252_4_2_retransmission_backs_off_from_a_random_begin() {
    let mut firsts = Vec::new();
    for seed in 0..50 {
        let mut script = Script::new(seed);
        script.ask(1, b"t", false);
        let message = script.sent();
        let mut before = script.now;
        let mut gaps = Vec::new();
        for _ in 0..4 {
            assert!(script.timeout().is_empty());
            assert_eq!(script.sent(), message, "the very same message");
            gaps.push((script.now - before).as_millis());
            before = script.now;
        }
        assert!((2000..=3000).contains(&gaps[0]));
        assert!(gaps.windows(2).all(|pair| pair[1] == 2 * pair[0]));
        assert_eq!(script.timeout(), [Lost::GivenUp(1)]);
        assert!(script.sent().is_empty() && script.endpoint.is_idle());
        firsts.push((gaps[0], message[0].id()));
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 45, "times and message ids depend on the seed");
}

#[test]
fn rfc7252_4_7_one_interaction_at_a_time() {
    let mut script = Script::new(1);
    script.ask(1, b"1", false);
    script.ask(2, b"2", false);
    let first = script.sent();
    assert_eq!(first.len(), 1);
    let answer = script.receive(Kind::Acknowledgement, Code::CONTENT, first[0].id(), b"1");
    assert!(matches!(answer, Ok(Incoming::Response(1, _))), "{answer:?}");
    let second = script.sent();
    assert_eq!((second.len(), second[0].token()), (1, &b"2"[..]));
}

#[test]
fn rfc7252_5_2_2_a_separate_response_is_acknowledged_also_when_it_comes_again() {
    let mut script = Script::new(1);
    script.ask(1, b"1", false);
    let id = script.sent()[0].id();
    let empty = script.receive(Kind::Acknowledgement, Code::EMPTY, id, b"");
    assert!(matches!(empty, Ok(Incoming::Acknowledged(1))), "{empty:?}");
    for again in [false, true] {
        let answer = script.receive(Kind::Confirmable, Code::CONTENT, 77, b"1");
        assert_eq!(matches!(answer, Ok(Incoming::Response(1, _))), !again, "{answer:?}");
        let ack = script.sent().pop().expect("acknowledged");
        assert_eq!((ack.kind(), ack.code(), ack.id()), (Kind::Acknowledgement, Code::EMPTY, 77));
    }
    let stranger = script.receive(Kind::Confirmable, Code::CONTENT, 78, b"2");
    assert_eq!(stranger.err(), Some(MessageError::UnexpectedResponse(Code::CONTENT)));
    assert_eq!(script.sent()[0].kind(), Kind::Reset);
}

#[test]
fn rfc7252_5_3_2_a_response_is_its_own_acknowledgement_of_the_request() {
    let mut script = Script::new(1);
    script.ask(1, b"1", false);
    script.sent();
    let answer = script.receive(Kind::NonConfirmable, Code::CONTENT, 5, b"1");
    assert!(matches!(answer, Ok(Incoming::Response(1, _))), "{answer:?}");
    assert!(script.endpoint.is_idle(), "nothing is sent again");
}

#[test]
fn rfc7641_3_2_notifications_go_on_until_they_are_not_wanted() {
    let mut script = Script::new(1);
    script.ask(9, b"o", true);
    let id = script.sent()[0].id();
    script.receive(Kind::Acknowledgement, Code::CONTENT, id, b"o").expect("registered");
    for id in 10..13 {
        let notification = script.receive(Kind::Confirmable, Code::CONTENT, id, b"o");
        assert!(matches!(notification, Ok(Incoming::Response(9, _))), "{notification:?}");
        assert_eq!(script.sent()[0].kind(), Kind::Acknowledgement);
    }
    script.endpoint.forget(9);
    assert!(script.receive(Kind::Confirmable, Code::CONTENT, 20, b"o").is_err());
    assert_eq!(script.sent()[0].kind(), Kind::Reset);
}

#[test]
fn a_request_whose_response_never_comes_is_told() {
    let mut script = Script::new(1);
    script.ask(1, b"1", false);
    let id = script.sent()[0].id();
    script.receive(Kind::Acknowledgement, Code::EMPTY, id, b"").expect("acknowledged");
    assert_eq!(script.timeout(), [Lost::NoResponse(1)]);
    assert_eq!(script.now, Instant::from_millis(248_000), "EXCHANGE_LIFETIME");
}
