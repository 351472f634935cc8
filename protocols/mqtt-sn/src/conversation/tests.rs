use thingway_contract::{Connected, Qos, Request, Token, Transport};

use super::*;

#[test]
fn a_conversation_is_small() {
    assert!(size_of::<Conversation>() <= 72, "{}", size_of::<Conversation>());
    assert!(size_of::<Rare>() <= 56, "{}", size_of::<Rare>());
}

fn peer() -> Peer {
    Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: Box::default(),
        listener: Arc::from("test"),
        certificate: None,
    }
}

/// Requests come before the answers of the same call.
#[test]
fn what_an_answer_promises_is_told_with_it() {
    let now = Instant::from_millis(1000);
    let mut out = Outbox::default();
    let mut machine = Conversation::open(&Arc::default(), &peer(), now);
    let mut take = |machine: &mut Conversation, bytes: &[u8], reply: Option<Reply>| {
        match reply {
            Some(reply) => machine.reply(reply, now, &mut out).expect("asked for"),
            None => machine.receive(&mut Input::new(bytes), now, &mut out).expect("valid"),
        }
        let mut requests = vec![];
        out.swap_requests(&mut requests);
        let told = requests.pop().and_then(|request| match request {
            Request::Keep { parked } => Some((parked.sleep_secs, parked.topic_ids.len())),
            _ => None,
        });
        let answers: Vec<u8> = out.datagrams().map(|datagram| datagram[1]).collect();
        out.clear();
        (told, answers)
    };
    let connected = Box::new(Connected { kept: true, ..Connected::default() });
    assert_eq!(take(&mut machine, &[7, 0x04, 0, 1, 0, 60, b'c'], None), (None, vec![]));
    assert_eq!(take(&mut machine, &[], Some(Reply::Connected(connected))), (None, vec![0x05]));
    assert_eq!(take(&mut machine, &[8, 0x0a, 0, 0, 0, 1, b'u', b'p'], None), (Some((0, 1)), vec![0x0b]));
    assert_eq!(take(&mut machine, &[8, 0x12, 0x20, 0, 1, b'a', b'/', b'b'], None), (None, vec![]));
    let subscribed = Reply::Subscribed { token: Token(1), results: vec![Ok(Qos::AtLeastOnce)] };
    assert_eq!(take(&mut machine, &[], Some(subscribed)), (Some((0, 2)), vec![0x13]));
    assert_eq!(take(&mut machine, &[4, 0x18, 0, 100], None), (Some((100, 2)), vec![0x18]));
    assert_eq!(take(&mut machine, &[7, 0x04, 0, 1, 0, 60, b'c'], None), (Some((0, 2)), vec![0x05]));
    // Nothing is told behind the request for another session.
    assert_eq!(take(&mut machine, &[8, 0x12, 0x20, 0, 2, b'c', b'/', b'd'], None), (None, vec![]));
    assert_eq!(take(&mut machine, &[7, 0x04, 0, 1, 0, 99, b'c'], None), (None, vec![]));
    let subscribed = Reply::Subscribed { token: Token(2), results: vec![Ok(Qos::AtLeastOnce)] };
    assert_eq!(take(&mut machine, &[], Some(subscribed)), (None, vec![0x13]));
    assert_eq!(machine.depart().parked.topic_ids.len(), 3);
}

/// What a client leaves behind pointers while it does nothing: its names.
#[test]
fn an_idle_client_keeps_its_names_only() {
    let mut now = Instant::from_millis(1000);
    let mut out = Outbox::default();
    let mut machine = Conversation::open(&Arc::default(), &peer(), now);
    let mut receive = |machine: &mut Conversation, bytes: &[u8], now| {
        machine.receive(&mut Input::new(bytes), now, &mut out).expect("valid");
    };
    let mut other = Outbox::default();
    receive(&mut machine, &[7, 0x04, 0x04, 1, 0, 60, b'c'], now);
    machine.reply(Reply::Connected(Box::default()), now, &mut other).expect("asked for");
    receive(&mut machine, &[8, 0x12, 0x20, 0, 1, b'a', b'/', b'b'], now);
    let reply = Reply::Subscribed { token: Token(1), results: vec![Ok(Qos::AtLeastOnce)] };
    machine.reply(reply, now, &mut other).expect("asked for");
    while now < Instant::from_millis(50_000) {
        now = machine.deadline();
        if now < Instant::from_millis(50_000) {
            machine.timeout(now, &mut other).expect("in time");
        }
    }
    assert!(machine.rare.is_none() && machine.flow.is_none());
    assert_eq!(machine.registry.as_ref().map(|registry| registry.len()), Some(1));
}
