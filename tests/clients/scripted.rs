//! A peer that sends the specifications' own bytes, for what no packaged client does.
//!
//! Everything is written out byte by byte, in both directions: MQTT-SN 1.2, section 5, and RFC 7252, section 3.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::{
    agent::{Client, Options, PATIENCE, publication},
    rumqtt::rumqttc,
    server::Server,
    wire::Transport,
};

struct Peer(UdpSocket);

impl Peer {
    fn new(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        loop {
            match self.0.recv(&mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    return buffer;
                }
                // As after the process was stopped and went on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no datagram: {error}"),
            }
        }
    }

    /// Sends one datagram and insists on the next that comes.
    fn exchange(&self, sent: &[u8], expected: &[u8]) {
        self.send(sent);
        let received = self.receive();
        assert!(received == expected, "{received:02x?} instead of {expected:02x?} after {sent:02x?}");
    }

    fn expect(&self, expected: &[u8]) {
        let received = self.receive();
        assert!(received == expected, "{received:02x?} instead of {expected:02x?}");
    }
}

/// A message of MQTT-SN with a length of one byte.
fn sn(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[2 + body.len() as u8, kind], body].concat()
}

/// CONNECT: flags, protocol id, duration, client id.
fn connect(flags: u8, duration: u16, client_id: &str) -> Vec<u8> {
    sn(0x04, &[&[flags, 0x01], &duration.to_be_bytes()[..], client_id.as_bytes()].concat())
}

const CLEAN: u8 = 0x04;
const WILL: u8 = 0x08;
const CONNACK: [u8; 3] = [0x03, 0x05, 0x00];
const PINGREQ: [u8; 2] = [0x02, 0x16];
const PINGRESP: [u8; 2] = [0x02, 0x17];
const DISCONNECT: [u8; 2] = [0x02, 0x18];

fn witness(server: &Server) -> Client {
    let witness = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "witness"));
    assert_eq!(witness.subscribe("#", 2), 2);
    witness
}

fn expect(witness: &Client, topic: &str, payload: &[u8], qos: u8) {
    let message = witness.next();
    assert_eq!((message.topic.as_str(), message.payload.as_slice(), message.qos), (topic, payload, qos));
}

#[test]
fn mqttsn_discovery_and_lengths() {
    let server = Server::with("[mqttsn]\ngateway_id = 9\n");
    let peer = Peer::new(server.mqttsn());
    // SEARCHGW with radius 0; GWINFO has the gateway's id and no address, as it comes from the gateway itself.
    peer.exchange(&[0x03, 0x01, 0x00], &[0x03, 0x02, 0x09]);
    // The long form of the length is taken for any length.
    peer.exchange(&[0x01, 0x00, 0x05, 0x01, 0x00], &[0x03, 0x02, 0x09]);
    peer.exchange(&connect(CLEAN, 60, "peer"), &CONNACK);
    peer.exchange(&[0x01, 0x00, 0x04, 0x16], &PINGRESP);
    // A datagram whose length is wrong says nothing, and what follows is answered.
    peer.send(&[0x05, 0x16]);
    peer.send(&[]);
    peer.exchange(&PINGREQ, &PINGRESP);
    peer.exchange(&DISCONNECT, &DISCONNECT);
    server.stop();
}

/// A gateway that keeps nothing through its own restart gives out topic ids from 1 at each start.
const TOPIC_IDS_FROM_ONE: &str = "[store]\ndurability = \"memory\"\n";

#[test]
fn mqttsn_forwarder_encapsulation() {
    let server = Server::with(TOPIC_IDS_FROM_ONE);
    let witness = witness(&server);
    let peer = Peer::new(server.mqttsn());
    // Length of the header, 0xFE, Ctrl, wireless node id; then the message.
    let from = |node: &[u8], message: &[u8]| [&[3 + node.len() as u8, 0xfe, 0x00], node, message].concat();
    peer.exchange(&from(b"\xaa", &connect(CLEAN, 60, "one")), &from(b"\xaa", &CONNACK));
    peer.exchange(&from(b"\xbb\xcc", &connect(CLEAN, 60, "two")), &from(b"\xbb\xcc", &CONNACK));
    // REGISTER, REGACK: each node has topic ids of its own.
    let register = |name: &[u8]| sn(0x0a, &[&[0x00, 0x00, 0x00, 0x01], name].concat());
    let regack = sn(0x0b, &[0x00, 0x01, 0x00, 0x01, 0x00]);
    peer.exchange(&from(b"\xaa", &register(b"from/one")), &from(b"\xaa", &regack));
    peer.exchange(&from(b"\xbb\xcc", &register(b"from/two")), &from(b"\xbb\xcc", &regack));
    let publish = |payload: &[u8]| sn(0x0c, &[&[0x20, 0x00, 0x01, 0x00, 0x02], payload].concat());
    let puback = sn(0x0d, &[0x00, 0x01, 0x00, 0x02, 0x00]);
    peer.exchange(&from(b"\xbb\xcc", &publish(b"2")), &from(b"\xbb\xcc", &puback));
    expect(&witness, "from/two", b"2", 1);
    peer.exchange(&from(b"\xaa", &publish(b"1")), &from(b"\xaa", &puback));
    expect(&witness, "from/one", b"1", 1);
    // The forwarder itself has no session.
    peer.exchange(&PINGREQ, &DISCONNECT);
    server.stop();
}

#[test]
fn mqttsn_qos_minus_one() {
    let server = Server::with("[[mqttsn.predefined]]\nid = 258\ntopic = \"known/beforehand\"\n");
    let witness = witness(&server);
    let peer = Peer::new(server.mqttsn());
    // Flags: QoS 0b11, topic id type 0b10 short, 0b01 predefined.
    peer.send(&sn(0x0c, b"\x62ab\x00\x00short"));
    expect(&witness, "ab", b"short", 0);
    peer.send(&sn(0x0c, b"\x61\x01\x02\x00\x00predefined"));
    expect(&witness, "known/beforehand", b"predefined", 0);
    // An unknown id: PUBACK with "invalid topic ID". A registered one cannot be known.
    peer.exchange(&sn(0x0c, b"\x61\x01\x03\x00\x00x"), &sn(0x0d, &[0x01, 0x03, 0x00, 0x00, 0x02]));
    peer.exchange(&sn(0x0c, b"\x60\x00\x01\x00\x00x"), &sn(0x0d, &[0x00, 0x01, 0x00, 0x00, 0x02]));
    server.stop();

    let server = Server::with("[mqttsn]\nqos_minus_one = false\n");
    let peer = Peer::new(server.mqttsn());
    peer.exchange(&sn(0x0c, b"\x62ab\x00\x00x"), &sn(0x0d, b"ab\x00\x00\x03"));
    server.stop();
}

#[test]
fn mqttsn_quality_of_service_2_without_a_second_message() {
    let server = Server::with("");
    let witness = witness(&server);
    let peer = Peer::new(server.mqttsn());
    peer.exchange(&connect(CLEAN, 60, "peer"), &CONNACK);
    let publish = sn(0x0c, b"\x42ab\x00\x07once");
    let again = sn(0x0c, b"\xc2ab\x00\x07once");
    peer.exchange(&publish, &sn(0x0f, &[0x00, 0x07]));
    peer.exchange(&again, &sn(0x0f, &[0x00, 0x07]));
    peer.exchange(&sn(0x10, &[0x00, 0x07]), &sn(0x0e, &[0x00, 0x07]));
    peer.exchange(&sn(0x10, &[0x00, 0x07]), &sn(0x0e, &[0x00, 0x07]));
    expect(&witness, "ab", b"once", 2);
    peer.exchange(&sn(0x0c, b"\x22ab\x00\x08next"), &sn(0x0d, b"ab\x00\x08\x00"));
    expect(&witness, "ab", b"next", 1);
    server.stop();
}

/// What is not acknowledged is sent again with DUP, as often as the operator says (Tretry and Nretry, section 6.13). Then the node counts as gone, and
/// finds the message when it comes back.
#[test]
fn mqttsn_lost_acknowledgements() {
    let server = Server::with("[mqttsn]\nretry_interval = \"200ms\"\nretry_max = 2\n");
    let publisher = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "publisher"));
    let peer = Peer::new(server.mqttsn());
    peer.exchange(&connect(0, 60, "node"), &CONNACK);
    peer.exchange(&sn(0x12, b"\x22\x00\x01ab"), &sn(0x13, b"\x20ab\x00\x01\x00"));
    publisher.publish(publication("ab", "x", 1));
    peer.expect(&sn(0x0c, b"\x22ab\x00\x01x"));
    peer.expect(&sn(0x0c, b"\xa2ab\x00\x01x"));
    peer.expect(&sn(0x0c, b"\xa2ab\x00\x01x"));
    peer.expect(&DISCONNECT);
    peer.exchange(&connect(0, 60, "node"), &CONNACK);
    peer.expect(&sn(0x0c, b"\xa2ab\x00\x01x"));
    peer.send(&sn(0x0d, b"ab\x00\x01\x00"));
    peer.exchange(&PINGREQ, &PINGRESP);
    server.stop();
}

#[test]
fn mqttsn_sleep_and_wake() {
    let server = Server::with(TOPIC_IDS_FROM_ONE);
    let publisher = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "publisher"));
    let peer = Peer::new(server.mqttsn());
    peer.exchange(&connect(0, 60, "node"), &CONNACK);
    // SUBSCRIBE at QoS 1 to a name and to a wildcard, whose SUBACK has topic id 0.
    peer.exchange(&sn(0x12, b"\x20\x00\x01sleep/a"), &sn(0x13, &[0x20, 0x00, 0x01, 0x00, 0x01, 0x00]));
    peer.exchange(&sn(0x12, b"\x20\x00\x02other/+"), &sn(0x13, &[0x20, 0x00, 0x00, 0x00, 0x02, 0x00]));
    // DISCONNECT with a duration is answered without one.
    peer.exchange(&sn(0x18, &[0x00, 0x3c]), &DISCONNECT);
    publisher.publish(publication("sleep/a", "one", 1));
    publisher.publish(publication("other/b", "two", 1));

    // PINGREQ with the client id: PUBLISH, REGISTER and PUBLISH, each after the answer to the one before, then PINGRESP.
    peer.send(&sn(0x16, b"node"));
    let publish = peer.receive();
    assert_eq!(
        (publish[0], publish[1], publish[2], &publish[3..5]),
        (10, 0x0c, 0x20, &[0x00, 0x01][..]),
        "{publish:02x?}"
    );
    assert_eq!(&publish[7..], b"one");
    peer.send(&sn(0x0d, &[0x00, 0x01, publish[5], publish[6], 0x00]));
    let register = peer.receive();
    assert_eq!((register[1], &register[6..]), (0x0a, &b"other/b"[..]), "{register:02x?}");
    let (id, message_id) = ([register[2], register[3]], [register[4], register[5]]);
    peer.send(&sn(0x0b, &[id[0], id[1], message_id[0], message_id[1], 0x00]));
    let publish = peer.receive();
    assert_eq!((publish[1], publish[2], &publish[3..5], &publish[7..]), (0x0c, 0x20, &id[..], &b"two"[..]));
    peer.send(&sn(0x0d, &[id[0], id[1], publish[5], publish[6], 0x00]));
    peer.expect(&PINGRESP);
    peer.exchange(&sn(0x16, b"node"), &PINGRESP);

    // From another address it is the same node, as it knows its name.
    publisher.publish(publication("sleep/a", "three", 1));
    let moved = Peer::new(server.mqttsn());
    moved.send(&sn(0x16, b"node"));
    let publish = moved.receive();
    assert_eq!((publish[1], &publish[3..5], &publish[7..]), (0x0c, &[0x00, 0x01][..], &b"three"[..]), "{publish:02x?}");
    moved.send(&sn(0x0d, &[0x00, 0x01, publish[5], publish[6], 0x00]));
    moved.expect(&PINGRESP);
    server.stop();
}

#[test]
fn mqttsn_wills() {
    let server = Server::with("");
    let witness = witness(&server);
    let peer = Peer::new(server.mqttsn());
    // WILLTOPICREQ, WILLTOPIC (QoS 1), WILLMSGREQ, WILLMSG, CONNACK; a keep-alive of one second.
    peer.exchange(&connect(CLEAN | WILL, 1, "node"), &sn(0x06, &[]));
    peer.exchange(&sn(0x07, b"\x20last/words"), &sn(0x08, &[]));
    peer.exchange(&sn(0x09, b"gone"), &CONNACK);
    // WILLMSGUPD, WILLMSGRESP.
    peer.exchange(&sn(0x1c, b"far away"), &sn(0x1d, &[0x00]));
    expect(&witness, "last/words", b"far away", 1);
    peer.expect(&DISCONNECT);

    // An empty WILLTOPIC is no will, and a goodbye deletes one.
    peer.exchange(&connect(CLEAN | WILL, 60, "node"), &sn(0x06, &[]));
    peer.exchange(&sn(0x07, &[]), &CONNACK);
    // Another duration, as the same CONNECT once more would be a copy of the one that was answered.
    peer.exchange(&connect(CLEAN | WILL, 61, "node"), &sn(0x06, &[]));
    peer.exchange(&sn(0x07, b"\x00last/words"), &sn(0x08, &[]));
    peer.exchange(&sn(0x09, b"unheard"), &CONNACK);
    peer.exchange(&DISCONNECT, &DISCONNECT);
    peer.send(&sn(0x0c, b"\x62ab\x00\x00next"));
    expect(&witness, "ab", b"next", 0);
    server.stop();
}

#[test]
fn mqttsn_credentials() {
    let server = Server::with("[mqttsn]\nauth_required = true\n");
    let peer = Peer::new(server.mqttsn());
    // AUTH as the 2.0 draft has it: type 0x03, reason code, length and name of the method, data.
    let auth = |method: &[u8], data: &[u8]| sn(0x03, &[&[0x00, method.len() as u8], method, data].concat());
    peer.send(&connect(CLEAN, 60, "node"));
    peer.exchange(&auth(b"PLAIN", b"\0user\0secret"), &CONNACK);
    let other = Peer::new(server.mqttsn());
    other.send(&connect(CLEAN, 60, "node"));
    other.exchange(&auth(b"GUESS", b"x"), &[0x03, 0x05, 0x03]);
    // Who only knows the name gets nothing, and the node keeps its session.
    other.exchange(&sn(0x16, b"node"), &DISCONNECT);
    peer.exchange(&PINGREQ, &PINGRESP);
    server.stop();
}

/// A message of CoAP: version 1, type, code and message id, then the rest.
fn coap(kind: u8, code: u8, id: u16, rest: &[u8]) -> Vec<u8> {
    [&[0x40 | kind << 4, code], &id.to_be_bytes()[..], rest].concat()
}

const CON: u8 = 0;
const NON: u8 = 1;
const ACK: u8 = 2;
const RST: u8 = 3;

#[test]
fn coap_message_layer() {
    let server = Server::with("");
    let witness = witness(&server);
    let peer = Peer::new(server.coap());
    // A ping is reset (section 4.3).
    peer.exchange(&coap(CON, 0x00, 0x1234, &[]), &coap(RST, 0x00, 0x1234, &[]));
    // Uri-Path "ps" and "a", payload "x": published once, however often it comes, and answered each time (section 4.5).
    let put = coap(CON, 0x03, 1, b"\xb2ps\x01a\xffx");
    let changed = coap(ACK, 0x44, 1, &[]);
    peer.exchange(&put, &changed);
    peer.exchange(&put, &changed);
    expect(&witness, "a", b"x", 1);
    peer.exchange(&coap(CON, 0x03, 2, b"\xb2ps\x01a\xffy"), &coap(ACK, 0x44, 2, &[]));
    expect(&witness, "a", b"y", 1);
    // An unknown critical option (9) is 4.02 in a confirmable request and reset in another (section 5.4.1).
    peer.exchange(&coap(CON, 0x01, 3, b"\x91?\x22ps\x01a"), &coap(ACK, 0x82, 3, &[]));
    peer.exchange(&coap(NON, 0x01, 4, b"\x91?\x22ps\x01a"), &coap(RST, 0x00, 4, &[]));
    // Malformed: a token length of 9, a payload marker without payload, a reserved class, options that end early.
    for (first, code, rest) in [
        (0x49, 0x01, &b"123456789"[..]),
        (0x40, 0x01, b"\xff"),
        (0x40, 0x20, b""),
        (0x40, 0x01, b"\xb9ps"),
        (0x40, 0x00, b"x"),
    ] {
        peer.exchange(&[&[first, code, 0x00, 0x05], rest].concat(), &coap(RST, 0x00, 5, &[]));
    }
    // Another version is ignored, as are runts (section 3).
    peer.send(&[0x80, 0x01, 0x00, 0x06]);
    peer.send(&[0x40]);
    peer.exchange(&coap(CON, 0x00, 7, &[]), &coap(RST, 0x00, 7, &[]));
    // An unknown method is 4.05.
    peer.exchange(&coap(CON, 0x09, 8, b"\xb2ps\x01a"), &coap(ACK, 0x85, 8, &[]));
    server.stop();
}

#[test]
fn coap_observation_ends_by_reset() {
    let server = Server::with("");
    let publisher = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "publisher"));
    let peer = Peer::new(server.coap());
    // GET with token 0x77, Observe (6) empty for 0, Uri-Path "ps", "a".
    peer.send(&[&[0x41, 0x01, 0x00, 0x01, 0x77, 0x60][..], b"\x52ps\x01a"].concat());
    let first = peer.receive();
    assert_eq!(&first[..5], [0x61, 0x45, 0x00, 0x01, 0x77], "{first:02x?}");
    assert_eq!(first[5] >> 4, 6, "an Observe option: {first:02x?}");
    publisher.publish(publication("a", "one", 1));
    let notification = peer.receive();
    // Confirmable, 2.05, the token, and a later sequence number.
    assert_eq!((notification[0], notification[1], notification[4]), (0x41, 0x45, 0x77), "{notification:02x?}");
    assert!(notification.ends_with(b"\xffone"), "{notification:02x?}");
    peer.send(&[0x70, 0x00, notification[2], notification[3]]);
    peer.exchange(&coap(CON, 0x00, 9, &[]), &coap(RST, 0x00, 9, &[]));
    publisher.publish(publication("a", "two", 1));
    publisher.publish(publication("a", "three", 1));
    peer.exchange(&coap(CON, 0x00, 10, &[]), &coap(RST, 0x00, 10, &[]));
    server.stop();
}

/// What nobody acknowledges is sent again, after 2 to 3 seconds the first time (section 4.2).
#[test]
fn coap_notifications_are_sent_again() {
    let server = Server::with("[coap]\nack_timeout = \"200ms\"\n");
    let publisher = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "publisher"));
    let peer = Peer::new(server.coap());
    peer.send(&[&[0x41, 0x01, 0x00, 0x01, 0x77, 0x60][..], b"\x52ps\x01a"].concat());
    peer.receive();
    publisher.publish(publication("a", "one", 1));
    let first = peer.receive();
    let again = peer.receive();
    assert_eq!((first[0], &first[1..5]), (0x41, &again[1..5]), "the same message");
    peer.send(&[0x60, 0x00, first[2], first[3]]);
    publisher.publish(publication("a", "two", 1));
    assert!(peer.receive().ends_with(b"two"), "what was acknowledged does not come again");
    assert!(server.stop() < Duration::from_secs(10));
}
