//! Publishers that send datagrams: over MQTT-SN with QoS 1, and over CoAP with confirmable requests. One message is under way at a time, and is sent until
//! it is acknowledged.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    rc::Rc,
    time::Duration,
};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet as CoapPacket, RequestType};
use thingway_contract::Qos;
use thingway_mqtt_sn::packet::{
    Connack, Connect, Packet, Puback, Publish, Regack, Register, ReturnCode, TopicName, TopicRef,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use crate::{
    figures::{Fault, Kind},
    history::{MessageId, TopicId, What},
    random::Random,
    world::World,
};

/// Time after which a message is sent again. Loopback loses nothing, but a gateway that starts answers late.
const RETRY: Duration = Duration::from_millis(300);
const KEEP_ALIVE_SECS: u16 = 50_000;

/// What a device speaks.
#[derive(Debug)]
enum Speech {
    MqttSn {
        connected: bool,
        /// What it was told to say instead of topic names.
        ids: HashMap<TopicId, u16>,
    },
    Coap,
}

/// What a datagram says to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connack(ReturnCode),
    Regack {
        message_id: u16,
        topic_id: u16,
        code: ReturnCode,
    },
    Puback {
        message_id: u16,
        code: ReturnCode,
    },
    /// It has no connection.
    Disconnected,
    /// A response to the request with this token, as RFC 7252 writes its code, without the dot.
    Response {
        token: u16,
        code: u16,
    },
    /// The response comes later.
    Later,
}

#[derive(Debug)]
pub struct Device {
    name: Rc<str>,
    topics: [TopicId; 2],
    socket: UdpSocket,
    speech: Speech,
    script: VecDeque<TopicId>,
    /// What is not acknowledged, with the identifier that it was sent under, if it was.
    current: Option<(MessageId, Option<u16>)>,
    last_id: u16,
}

impl Device {
    pub async fn mqttsn(world: &World) -> Self {
        Self::new(world, "node", world.mqttsn, Speech::MqttSn { connected: false, ids: HashMap::new() }).await
    }

    pub async fn coap(world: &World) -> Self {
        Self::new(world, "coap", world.coap, Speech::Coap).await
    }

    async fn new(world: &World, name: &str, to: std::net::SocketAddr, speech: Speech) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(to).await.expect("an address to send to");
        let topics = ["a", "b"].map(|part| {
            let topic = format!("o/{name}/{part}");
            world.history().add_topic(&topic, &topic, 1, Kind::Plain)
        });
        Self { name: name.into(), topics, socket, speech, script: VecDeque::new(), current: None, last_id: 0 }
    }

    pub fn plan(&mut self, random: &mut Random) {
        self.script = (0..random.of(1..=12)).map(|_| self.topics[random.of(0..=1) as usize]).collect();
    }

    /// Only what is under way, in the next round.
    pub fn plan_drain(&mut self) {
        self.script.clear();
    }

    pub async fn round(&mut self, world: &World) {
        loop {
            if self.current.is_none() {
                let Some(topic) = self.script.pop_front() else { break };
                self.current = Some((world.history().offer(topic, false), None));
            }
            let is_over = !match &self.speech {
                Speech::MqttSn { .. } => self.publish_mqttsn(world).await,
                Speech::Coap => self.publish_coap(world).await,
            };
            if is_over {
                // The next gateway has to be told who this is.
                if let Speech::MqttSn { connected, .. } = &mut self.speech {
                    *connected = false;
                }
                return;
            }
        }
        world.add_finished();
    }

    /// Goes a step further with the present message. False when the round is over.
    async fn publish_mqttsn(&mut self, world: &World) -> bool {
        let (Some((id, sent_as)), Speech::MqttSn { connected, ids }) = (self.current, &self.speech) else {
            return true;
        };
        if !connected {
            // The session is kept, and with it what it says instead of topic names.
            let connect = Connect {
                will: false,
                clean_session: false,
                duration_secs: KEEP_ALIVE_SECS,
                client_id: &Rc::clone(&self.name),
            };
            let asked = self.ask(world, &Packet::Connect(connect), |answer| matches!(answer, Answer::Connack(_))).await;
            return match (asked, &mut self.speech) {
                (Some(Answer::Connack(ReturnCode::Accepted)), Speech::MqttSn { connected, .. }) => {
                    *connected = true;
                    true
                }
                (answer, _) => self.is_not_over(world, answer),
            };
        }
        let Some(&topic_id) = ids.get(&id.topic) else {
            let message_id = self.next_id();
            let topic = world.history().publish_as(id.topic).to_owned();
            let register = Packet::Register(Register { topic_id: 0, message_id, topic: &topic });
            let is_its =
                move |answer: &Answer| matches!(answer, Answer::Regack { message_id: id, .. } if *id == message_id);
            return match (self.ask(world, &register, is_its).await, &mut self.speech) {
                (Some(Answer::Regack { topic_id, code: ReturnCode::Accepted, .. }), Speech::MqttSn { ids, .. }) => {
                    ids.insert(id.topic, topic_id);
                    true
                }
                (answer, _) => self.is_not_over(world, answer),
            };
        };
        let payload = world.history().payload(id);
        let message_id = sent_as.unwrap_or_else(|| self.next_id());
        let duplicate = sent_as.is_some();
        world.history().note(id, &self.name, What::Sent { packet_id: message_id, duplicate });
        self.current = Some((id, Some(message_id)));
        let publish = Packet::Publish(Publish {
            duplicate,
            qos: Some(Qos::AtLeastOnce),
            retain: false,
            topic: TopicRef::Normal(topic_id),
            message_id,
            payload: payload.as_bytes(),
        });
        let is_its =
            move |answer: &Answer| matches!(answer, Answer::Puback { message_id: id, .. } if *id == message_id);
        match (self.ask(world, &publish, is_its).await, &mut self.speech) {
            (Some(Answer::Puback { code: ReturnCode::Accepted, .. }), _) => {
                self.complete(world, id);
                true
            }
            (Some(Answer::Puback { code: ReturnCode::InvalidTopicId, .. }), Speech::MqttSn { ids, .. }) => {
                // What it was told before may mean something else by now.
                ids.clear();
                true
            }
            (answer, _) => self.is_not_over(world, answer),
        }
    }

    async fn publish_coap(&mut self, world: &World) -> bool {
        let Some((id, sent_as)) = self.current else { return true };
        let token = sent_as.unwrap_or_else(|| self.next_id());
        world.history().note(id, &self.name, What::Sent { packet_id: token, duplicate: sent_as.is_some() });
        self.current = Some((id, Some(token)));
        let mut packet = CoapPacket::new();
        packet.header.set_type(MessageType::Confirmable);
        packet.header.code = MessageClass::Request(RequestType::Put);
        packet.header.message_id = token;
        packet.set_token(token.to_be_bytes().to_vec());
        let topic = world.history().publish_as(id.topic).to_owned();
        for segment in ["ps"].into_iter().chain(topic.split('/')) {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        packet.payload = world.history().payload(id).into_bytes();
        let bytes = packet.to_bytes_unlimited().expect("options with values");
        let is_its = move |answer: &Answer| matches!(answer, Answer::Response { token: its, .. } if *its == token);
        match self.ask_bytes(world, &bytes, is_its).await {
            Some(Answer::Response { code: 204, .. }) => {
                self.complete(world, id);
                true
            }
            answer => self.is_not_over(world, answer),
        }
    }

    fn complete(&mut self, world: &World, id: MessageId) {
        world.history().note(id, &self.name, What::Complete);
        world.add_acknowledged();
        self.current = None;
    }

    /// What is to be done about an answer that is not the one that was hoped for: it is asked again, unless the round is over.
    fn is_not_over(&mut self, world: &World, answer: Option<Answer>) -> bool {
        match answer {
            Some(Answer::Disconnected) => {
                if let Speech::MqttSn { connected, .. } = &mut self.speech {
                    *connected = false;
                }
            }
            Some(refused) => world.fault(Fault::Spurious, format!("{} got {refused:?}", self.name)),
            None => {}
        }
        !world.is_over()
    }

    async fn ask(&mut self, world: &World, packet: &Packet<'_>, wanted: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).expect("what is sent here is short");
        self.ask_bytes(world, &bytes, wanted).await
    }

    /// Sends, and waits for the answer. `None` when none came in time, or before the end of the round.
    async fn ask_bytes(&mut self, world: &World, bytes: &[u8], wanted: impl Fn(&Answer) -> bool) -> Option<Answer> {
        // What nobody takes is lost, as datagrams may be.
        _ = self.socket.send(bytes).await;
        let mut deadline = Instant::now() + RETRY;
        loop {
            let mut buffer = [0; 2048];
            let count = tokio::select! {
                biased;
                received = self.socket.recv(&mut buffer) => received,
                // What a killed gateway had sent and was not read yet comes first in the next round.
                () = world.until(|progress| progress.over.is_some()) => return None,
                () = sleep_until(deadline) => return None,
            };
            // An error is the system's word of an earlier datagram that nobody took.
            let Ok(count) = count else { continue };
            match self.read(world, &buffer[..count]) {
                Some(Answer::Later) => deadline = Instant::now() + 20 * RETRY,
                Some(answer) if wanted(&answer) || answer == Answer::Disconnected => return Some(answer),
                _ => {}
            }
        }
    }

    fn read(&self, world: &World, datagram: &[u8]) -> Option<Answer> {
        if matches!(self.speech, Speech::Coap) {
            return self.read_coap(datagram);
        }
        match Packet::decode(datagram) {
            Ok(Packet::Connack(Connack { code })) => Some(Answer::Connack(code)),
            Ok(Packet::Regack(Regack { topic_id, message_id, code })) => {
                Some(Answer::Regack { message_id, topic_id, code })
            }
            Ok(Packet::Puback(Puback { message_id, code, .. })) => Some(Answer::Puback { message_id, code }),
            Ok(Packet::Disconnect(_)) => Some(Answer::Disconnected),
            other => {
                world.fault(Fault::Spurious, format!("{} got {other:?}", self.name));
                None
            }
        }
    }

    fn read_coap(&self, datagram: &[u8]) -> Option<Answer> {
        let packet = CoapPacket::from_bytes(datagram).ok()?;
        let code = u16::from(datagram[1] >> 5) * 100 + u16::from(datagram[1] & 0x1f);
        if code == 0 {
            return Some(Answer::Later);
        }
        if packet.header.get_type() == MessageType::Confirmable {
            let [high, low] = packet.header.message_id.to_be_bytes();
            _ = self.socket.try_send(&[0x60, 0, high, low]);
        }
        let token = packet.get_token().try_into().ok()?;
        Some(Answer::Response { token: u16::from_be_bytes(token), code })
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id % 60_000 + 1;
        self.last_id
    }
}

/// What is retained, as an MQTT-SN client finds it. Nobody publishes meanwhile.
pub async fn look_at_retained(world: &World, filter: &str) -> Vec<(String, Vec<u8>)> {
    let mut looker = Looker::new(world).await;
    let connect = Connect { will: false, clean_session: true, duration_secs: KEEP_ALIVE_SECS, client_id: "look-sn" };
    looker.ask(&Packet::Connect(connect), |packet| matches!(packet, Packet::Connack(_))).await;
    // The last message that is looked for is one of its own.
    let register = Packet::Register(Register { topic_id: 0, message_id: 1, topic: "looked/sn" });
    looker.ask(&register, |packet| matches!(packet, Packet::Regack(_))).await;
    for (message_id, filter) in [(2, filter), (3, "looked/sn")] {
        let topic = TopicName::Name(filter);
        let subscribe =
            thingway_mqtt_sn::packet::Subscribe { duplicate: false, qos: Some(Qos::AtMostOnce), message_id, topic };
        let is_its = |packet: &Packet<'_>| matches!(packet, Packet::Suback(suback) if suback.message_id == message_id);
        looker.ask(&Packet::Subscribe(subscribe), is_its).await;
    }
    let topic = TopicRef::Normal(looker.ids["looked/sn"]);
    let publish =
        Publish { duplicate: false, qos: Some(Qos::AtMostOnce), retain: false, topic, message_id: 0, payload: b"" };
    looker.send(&Packet::Publish(publish)).await;
    while !looker.saw_the_end {
        looker.next().await;
    }
    looker.send(&Packet::Disconnect(thingway_mqtt_sn::packet::Disconnect { duration_secs: None })).await;
    looker.found
}

struct Looker {
    socket: UdpSocket,
    names: HashMap<u16, String>,
    ids: HashMap<String, u16>,
    found: Vec<(String, Vec<u8>)>,
    saw_the_end: bool,
}

impl Looker {
    async fn new(world: &World) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(world.mqttsn).await.expect("an address to send to");
        Self { socket, names: HashMap::new(), ids: HashMap::new(), found: Vec::new(), saw_the_end: false }
    }

    async fn send(&self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).expect("what is sent here is short");
        self.socket.send(&bytes).await.expect("the gateway is there");
    }

    /// The gateway is alive and loopback loses nothing: what is asked once is answered.
    async fn ask(&mut self, packet: &Packet<'_>, wanted: impl Fn(&Packet<'_>) -> bool) {
        self.send(packet).await;
        loop {
            let datagram = self.next().await;
            if wanted(&Packet::decode(&datagram).expect("it was decoded before")) {
                return;
            }
        }
    }

    /// The next datagram, handled.
    async fn next(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let received = tokio::time::timeout(crate::common::PATIENCE, self.socket.recv(&mut buffer)).await;
        buffer.truncate(received.expect("an answer in time").expect("the gateway is there"));
        match Packet::decode(&buffer).expect("a message of MQTT-SN") {
            Packet::Register(Register { topic_id, message_id, topic }) => {
                self.names.insert(topic_id, topic.to_owned());
                self.send(&Packet::Regack(Regack { topic_id, message_id, code: ReturnCode::Accepted })).await;
            }
            Packet::Regack(Regack { topic_id, .. }) => {
                self.ids.insert("looked/sn".into(), topic_id);
                self.names.insert(topic_id, "looked/sn".into());
            }
            Packet::Publish(Publish { topic, payload, .. }) => match self.names.get(&topic.id()) {
                Some(name) if name == "looked/sn" => self.saw_the_end = true,
                Some(name) => self.found.push((name.clone(), payload.to_vec())),
                None => panic!("{topic:?} was not registered"),
            },
            _ => {}
        }
        buffer
    }
}
