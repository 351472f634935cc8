//! Every client library over every transport and version that it speaks, each to each.

use std::{collections::BTreeMap, thread};

use crate::{
    agent::{Agent, Client, Options, publication},
    mosquitto::mosquitto,
    process::{aiomqtt, browser, mqtt_js, paho},
    rumqtt::rumqttc,
    server::Server,
    wire::Transport::{self, Quic, Tcp, Tls, Unix, Ws, Wss},
};

/// Larger than any socket's or frame's usual buffer, and needs a remaining length of three bytes.
const LARGE: usize = 256 << 10;
const LARGE_FOR_PAHO: usize = 8 << 10;

/// Topic, quality of service and payload.
type Arrived = (String, u8, Vec<u8>);

/// A library and what it speaks.
struct Row {
    agent: Agent,
    transports: &'static [Transport],
    versions: &'static [u8],
}

fn rows(test: &str, server: &Server) -> Vec<Row> {
    let row = |transports, versions| move |agent| Row { agent, transports, versions };
    [
        mqtt_js(test).map(row(&[Tcp, Tls, Ws, Wss, Unix, Quic], &[3, 4, 5])),
        browser(test, &server.certificates).map(row(&[Ws, Wss], &[3, 4, 5])),
        paho(test).map(row(&[Tcp, Tls, Ws, Wss, Unix, Quic], &[3, 4, 5])),
        aiomqtt(test).map(row(&[Tcp, Tls, Ws, Wss, Unix], &[4, 5])),
        mosquitto(test).map(row(&[Tcp, Tls, Unix], &[3, 4, 5])),
        Some(rumqttc()).map(row(&[Tcp, Tls, Ws, Wss, Unix, Quic], &[4, 5])),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Connects every combination, all at once.
fn connect_all(rows: &[Row], server: &Server) -> Vec<Client> {
    let mut started = Vec::new();
    for row in rows {
        for &transport in row.transports {
            for &version in row.versions {
                // Version 3.1 allows 23 characters.
                let id = format!("{}-{transport:?}-{version}", row.agent.name()).to_lowercase();
                started.push(row.agent.start_connect(server.endpoint(transport), Options::new(version, id)));
            }
        }
    }
    let connected = started.into_iter().map(|(client, pending)| {
        let outcome = pending.wait();
        assert_eq!(outcome.error, None, "{}: connect", client.name());
        client
    });
    connected.collect()
}

/// Every ordered pair of (library, transport, version), for every pair of published and subscribed quality of service: each message
/// arrives, once, whole, with the lower quality of the two.
#[test]
fn every_client_reaches_every_client() {
    let test = "every_client_reaches_every_client";
    let server = Server::start();
    let rows = rows(test, &server);
    let clients = connect_all(&rows, &server);

    let subscribing: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..3).map(move |granted| (client, granted)))
        .map(|(client, granted)| (client.start_subscribe(&format!("matrix/{granted}/#"), granted), granted))
        .collect();
    for (pending, granted) in subscribing {
        assert_eq!(pending.succeed().codes, [granted]);
    }
    for client in &clients {
        assert_eq!(client.subscribe("fence", 2), 2);
    }

    for published in 0..3 {
        let publishing: Vec<_> = clients
            .iter()
            .flat_map(|client| (0..3).map(move |granted| (client, granted)))
            .map(|(client, granted)| {
                let topic = format!("matrix/{granted}/{published}/{}", client.client_id);
                client.start_publish(publication(topic, payload(client), published))
            })
            .collect();
        publishing.into_iter().for_each(|pending| _ = pending.succeed());
    }

    // What the gateway took before the fence it has queued before the fence.
    clients[0].publish(publication("fence", "", 2));
    let mut expected: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..9).map(move |pair| (client, pair / 3, pair % 3)))
        .map(|(publisher, granted, published)| {
            let topic = format!("matrix/{granted}/{published}/{}", publisher.client_id);
            (topic, granted.min(published), payload(publisher))
        })
        .collect();
    expected.sort();
    let mut differing = Vec::new();
    for client in &clients {
        let received = if client.agent().name() == "mosquitto" {
            // A process a subscription, so the fence says nothing of the others.
            client.receive(expected.len() + 1).into_iter().filter(|message| message.topic != "fence").collect()
        } else {
            client.received_before("fence")
        };
        let mut received: Vec<_> = received
            .into_iter()
            .map(|message| {
                assert!(!message.retain, "{}: {message:?}", client.name());
                (message.topic, message.qos, message.payload)
            })
            .collect();
        received.sort();
        differing.extend(difference(client.name(), &expected, &received));
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    println!("{} clients, {} deliveries each", clients.len(), expected.len());
    clients.iter().for_each(Client::disconnect);
    server.stop();
}

/// Bytes that are no text, and tell who sent them.
fn payload(client: &Client) -> Vec<u8> {
    [b"\0\xff\xc3\x28", client.client_id.as_bytes()].concat()
}

/// What is missing and what is too much, a few of each.
fn difference(who: &str, expected: &[Arrived], received: &[Arrived]) -> Option<String> {
    let mut balance = BTreeMap::<&Arrived, i32>::new();
    expected.iter().for_each(|item| *balance.entry(item).or_default() += 1);
    received.iter().for_each(|item| *balance.entry(item).or_default() -= 1);
    balance.retain(|_, count| *count != 0);
    let (missing, excess): (Vec<_>, Vec<_>) = balance.into_iter().partition(|(_, count)| *count > 0);
    let some = |items: &[(&Arrived, i32)]| {
        let some: Vec<_> =
            items.iter().take(5).map(|((topic, qos, _), count)| format!("{topic} at {qos} ({count})")).collect();
        format!("{} [{}]", items.len(), some.join(", "))
    };
    (!missing.is_empty() || !excess.is_empty())
        .then(|| format!("{who}: missing {}, unexpected {}", some(&missing), some(&excess)))
}

/// A quarter of a mebibyte from every transport to every transport, by every library: packets are split over segments, records, frames
/// and stream reads.
#[test]
fn large_payloads_cross_every_pair_of_transports() {
    let test = "large_payloads_cross_every_pair_of_transports";
    let server = Server::start();
    let rows = rows(test, &server);
    let mut clients = Vec::new();
    for row in &rows {
        for &transport in row.transports {
            let version = row.versions[row.versions.len() - 1];
            let id = format!("large-{}-{transport:?}", row.agent.name());
            clients.push(row.agent.connect(server.endpoint(transport), Options::new(version, id)));
        }
    }
    // One receiver a transport, a different library each where there is one.
    let mut receivers = BTreeMap::<Transport, &Client>::new();
    for (index, &transport) in Transport::ALL.iter().enumerate() {
        let able: Vec<_> = clients.iter().filter(|client| client.transport == transport).collect();
        receivers.insert(transport, able[index % able.len()]);
    }
    for receiver in receivers.values() {
        assert_eq!(receiver.subscribe("large/#", 1), 1);
    }
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                let topic = format!("large/{}", client.client_id);
                client.publish(publication(topic, pattern(client), 1));
            });
        }
    });
    for receiver in receivers.values() {
        let mut from: Vec<_> = clients.iter().collect();
        for message in receiver.receive(clients.len()) {
            let topic = message.topic;
            let index = from.iter().position(|client| topic.strip_prefix("large/") == Some(&client.client_id));
            let client = from.swap_remove(index.unwrap_or_else(|| panic!("{}: {topic} twice", receiver.name())));
            let whole = message.payload == pattern(client);
            assert!(whole, "{}: {topic} of {} bytes differs", receiver.name(), message.payload.len());
        }
        let missing: Vec<_> = from.iter().map(|client| client.name()).collect();
        assert!(missing.is_empty(), "{}: nothing from {missing:?}", receiver.name());
    }
    server.stop();
}

/// What this client publishes: bytes that never repeat with a period that a buffer could have.
fn pattern(client: &Client) -> Vec<u8> {
    // paho-mqtt 2.2, and aiomqtt with it, forgets a packet whose WebSocket frame its socket takes only in part.
    let paho = ["paho", "aiomqtt"].contains(&client.agent().name());
    let length = if paho && matches!(client.transport, Ws | Wss) { LARGE_FOR_PAHO } else { LARGE };
    let fold = |state: u32, byte| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let mut state = client.client_id.bytes().fold(0x9e37_79b9, fold);
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}
