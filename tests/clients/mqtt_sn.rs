//! mqttsn, a Python client of MQTT-SN that was written for Eclipse's RSMB.
//!
//! docs/testing.md says what of its version 0.0.4 works; what does not, `scripted` does with the bytes of the specification.

use crate::{
    agent::{Agent, Client, Options, publication},
    process::mqttsn,
    rumqtt::rumqttc,
    server::Server,
    wire::{Publish, Transport},
};

/// QoS -1 to the agent.
const MINUS_ONE: u8 = 255;

fn connect(agent: &Agent, server: &Server, client_id: &str) -> Client {
    agent.connect(server.endpoint(Transport::Udp), Options::new(1, client_id))
}

/// A client of MQTT 5 that hears everything.
fn witness(server: &Server) -> Client {
    let witness = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "witness"));
    assert_eq!(witness.subscribe("#", 2), 2);
    witness
}

#[test]
fn mqttsn_publishes() {
    let Some(agent) = mqttsn("mqttsn_publishes") else { return };
    let server = Server::with("");
    let witness = witness(&server);
    let node = connect(&agent, &server, "node");
    let long = vec![b'x'; 1000];
    for (topic, payload, qos) in [
        ("sensors/a", &b"zero"[..], 0),
        ("sensors/a", b"one", 1),
        ("sensors/a", b"two", 2),
        ("ab", b"a short topic name", 1),
        ("ab", b"without a session", MINUS_ONE),
        // A length of three bytes.
        ("sensors/b", &long, 1),
    ] {
        node.publish(publication(topic, payload, qos));
        let message = witness.next();
        let qos_seen = if qos == MINUS_ONE { 0 } else { qos };
        assert_eq!((message.topic.as_str(), message.payload.as_slice(), message.qos), (topic, payload, qos_seen));
    }
    node.disconnect();
    server.stop();
}

#[test]
fn mqttsn_subscribes() {
    let Some(agent) = mqttsn("mqttsn_subscribes") else { return };
    let server = Server::with("");
    let publisher = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "publisher"));
    publisher.publish(Publish { retain: true, ..publication("sensors/kept", "kept", 1) });
    // It does not tell the topic of a registered id, and takes messages of QoS 0 on short names alone.
    for (topic, granted, published, told) in
        [("sensors/a", 1, 1, ""), ("sensors/b", 2, 2, ""), ("sensors/c", 2, 1, ""), ("ab", 0, 2, "ab")]
    {
        let node = connect(&agent, &server, &format!("node-{published}-{topic}"));
        assert_eq!(node.subscribe(topic, granted), 0);
        for payload in ["first", "second"] {
            publisher.publish(publication(topic, payload, published));
            let message = node.next();
            let seen = (message.topic.as_str(), message.payload.as_slice(), message.qos, message.retain);
            assert_eq!(seen, (told, payload.as_bytes(), granted.min(published), false));
        }
        node.disconnect();
    }
    let node = connect(&agent, &server, "node");
    assert_eq!(node.subscribe("sensors/kept", 1), 0);
    let message = node.next();
    assert_eq!((message.payload.as_slice(), message.qos, message.retain), (&b"kept"[..], 1, true));

    node.unsubscribe("sensors/kept");
    publisher.publish(publication("sensors/kept", "unheard", 1));
    assert_eq!(node.subscribe("sensors/fence", 1), 0);
    publisher.publish(publication("sensors/fence", "fence", 1));
    assert_eq!(node.next().payload, b"fence");
    server.stop();
}

#[test]
fn mqttsn_is_refused() {
    let Some(agent) = mqttsn("mqttsn_is_refused") else { return };
    let server = Server::with("");
    let node = connect(&agent, &server, "node");
    // Rejected: not supported.
    assert_eq!(node.subscribe("bad/#/filter", 1), 3);
    assert_eq!(node.start_publish(publication("$SYS/mine", "x", 1)).succeed().codes, [3]);
    assert_eq!(node.start_publish(publication("mine", "x", 1)).succeed().codes, [0]);
    let (_, outcome) = agent.try_connect(server.endpoint(Transport::Udp), Options::new(1, "x".repeat(200)));
    assert_eq!(outcome.codes, [3], "{outcome:?}");
    server.stop();

    // It has no AUTH, so that where credentials are asked for it gets no answer.
    let server = Server::with("[mqttsn]\nauth_required = true\n");
    let (_, outcome) = agent.try_connect(server.endpoint(Transport::Udp), Options::new(1, "node"));
    assert!(outcome.error.is_some_and(|error| error.contains("imed out") || error.contains("imeout")));
    server.stop();
}
