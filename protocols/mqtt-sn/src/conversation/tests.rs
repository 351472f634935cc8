use thingway_contract::{Qos, Token, Transport};

use super::*;

#[test]
fn a_conversation_is_small() {
    assert!(size_of::<Conversation>() <= 72, "{}", size_of::<Conversation>());
    assert!(size_of::<Rare>() <= 72, "{}", size_of::<Rare>());
}

/// What a client leaves behind pointers while it does nothing: its names.
#[test]
fn an_idle_client_keeps_its_names_only() {
    let peer = Peer {
        remote: None,
        local: None,
        transport: Transport::Memory,
        node: Box::default(),
        listener: Arc::from("test"),
        certificate_identity: None,
    };
    let mut now = Instant::from_millis(1000);
    let mut out = Outbox::default();
    let mut machine = Conversation::open(&Arc::default(), &peer, now);
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
