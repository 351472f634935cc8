//! Requests and answers as a script writes them.

use thingway_coap::codec::{Code, Kind, Packet, option};
use thingway_contract::{Instant, Message, MessageHead, PropertiesBuilder, Property, Qos, Topic, TopicLimits};

use crate::gateway::Gateway;

/// A client at a port, with its own message ids.
pub struct Client {
    pub port: u16,
    next_id: u16,
}

impl Client {
    pub const fn new(port: u16) -> Self {
        Self { port, next_id: 100 }
    }

    pub fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a request under a fresh message id; the datagrams that come back at once.
    pub fn send_all(&mut self, gateway: &mut Gateway, mut request: Packet) -> Vec<Packet> {
        request.set_id(self.id());
        decode_all(gateway.receive(self.port, &request.to_bytes()))
    }

    /// Sends a request; its answer. Notifications may come with it.
    pub fn send(&mut self, gateway: &mut Gateway, request: Packet) -> Packet {
        let (token, kind) = (request.token().to_vec(), request.kind());
        let expected = if kind == Kind::Confirmable { Kind::Acknowledgement } else { kind };
        let answers = self.send_all(gateway, request);
        let mut answers = answers.into_iter().filter(|packet| packet.kind() == expected && packet.token() == token);
        answers.next().expect("an answer at once")
    }

    /// Registers an observation; the first representation.
    pub fn observe(&mut self, gateway: &mut Gateway, path: &str, token: &[u8]) -> Packet {
        self.send(gateway, with_uint(with_token(get(path), token), option::OBSERVE, 0))
    }

    /// Makes the gateway know that the address is real, by a small notification that is acknowledged.
    pub fn validate(&mut self, gateway: &mut Gateway) {
        self.observe(gateway, "ps/validation", b"validate");
        gateway.publish(message("validation", b"x", Qos::AtLeastOnce));
        let notification = last_to(gateway, self.port);
        self.acknowledge(gateway, &notification);
        self.send(gateway, with_uint(with_token(get("ps/validation"), b"validate"), option::OBSERVE, 1));
        assert!(gateway.machine(self.port).expect("living").is_validated());
    }

    pub fn acknowledge(&mut self, gateway: &mut Gateway, packet: &Packet) -> Vec<Packet> {
        let mut ack = Packet::new(Kind::Acknowledgement, Code::EMPTY);
        ack.set_id(packet.id());
        decode_all(gateway.receive(self.port, &ack.to_bytes()))
    }

    pub fn reset(&mut self, gateway: &mut Gateway, packet: &Packet) -> Vec<Packet> {
        let mut reset = Packet::new(Kind::Reset, Code::EMPTY);
        reset.set_id(packet.id());
        decode_all(gateway.receive(self.port, &reset.to_bytes()))
    }
}

fn decode_all(datagrams: Vec<Vec<u8>>) -> Vec<Packet> {
    datagrams.iter().map(|datagram| Packet::decode(datagram).expect("the machine writes what is valid")).collect()
}

/// All datagrams that went to a port since the last call; those to others are forgotten.
pub fn drain_to(gateway: &mut Gateway, port: u16) -> Vec<Packet> {
    let sent = std::mem::take(&mut gateway.sent);
    decode_all(sent.into_iter().filter(|(to, _)| *to == port).map(|(_, bytes)| bytes).collect())
}

pub fn last_to(gateway: &mut Gateway, port: u16) -> Packet {
    drain_to(gateway, port).pop().expect("something was sent")
}

pub fn request(code: Code, path: &str) -> Packet {
    let mut packet = Packet::new(Kind::Confirmable, code);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    for segment in path.split('/') {
        packet.push(option::URI_PATH, segment.as_bytes());
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        packet.push(option::URI_QUERY, parameter.as_bytes());
    }
    packet.set_token(b"t");
    packet
}

pub fn get(path: &str) -> Packet {
    request(Code::GET, path)
}

pub fn put(path: &str, payload: &[u8]) -> Packet {
    let mut packet = request(Code::PUT, path);
    packet.set_payload(payload.to_vec());
    packet
}

pub fn post(path: &str, payload: &[u8]) -> Packet {
    let mut packet = request(Code::POST, path);
    packet.set_payload(payload.to_vec());
    packet
}

pub fn with_token(mut packet: Packet, token: &[u8]) -> Packet {
    packet.set_token(token);
    packet
}

pub fn with_uint(mut packet: Packet, number: u16, value: u32) -> Packet {
    packet.push_uint(number, value);
    packet
}

pub fn with(mut packet: Packet, number: u16, value: &[u8]) -> Packet {
    packet.push(number, value);
    packet
}

pub fn non(mut packet: Packet) -> Packet {
    packet.set_kind(Kind::NonConfirmable);
    packet
}

pub fn message(topic: &str, payload: &[u8], qos: Qos) -> Message {
    message_of(topic, payload, qos, None, Instant::NEVER)
}

pub fn retained(topic: &str, payload: &[u8], content_type: Option<&str>) -> Message {
    let message = message_of(topic, payload, Qos::AtLeastOnce, content_type, Instant::NEVER);
    message.with_head(MessageHead { retain: true, ..*message.head() })
}

pub fn message_of(topic: &str, payload: &[u8], qos: Qos, content_type: Option<&str>, expires_at: Instant) -> Message {
    let mut properties = PropertiesBuilder::new();
    if let Some(content_type) = content_type {
        properties.push(Property::ContentType(content_type));
    }
    let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
    let head = MessageHead { qos, expires_at, ..MessageHead::default() };
    Message::new(head, topic, properties.as_properties(), payload)
}
