//! An MQTT-SN client over UDP, made of the codec alone: it sends nothing twice and forgets nothing, as loopback loses nothing.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
};

use thingway::config::{Config, ListenerProtocol};
use thingway_contract::Qos;
use thingway_mqtt_sn::{
    codec::{unwrap, wrap},
    packet::{
        Auth, Connect, Disconnect, METHOD_PLAIN, Packet, PacketType, Pingreq, Plain, Puback, Publish, Regack, Register,
        ReturnCode, Subscribe, TopicName, TopicRef, Unsubscribe, WillTopic,
    },
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    common::{PATIENCE, TestGateway, gateway::listen_udp},
    endpoint::{Arrived, Endpoint, Publication, Seen},
};

/// A client that has a socket of its own.
#[derive(Debug)]
pub struct MqttSn {
    socket: UdpSocket,
    /// The node id that a forwarder puts before everything.
    node: Option<Vec<u8>>,
    /// Datagrams that came while another was waited for.
    early: VecDeque<Vec<u8>>,
    /// Topic ids of this conversation.
    names: HashMap<u16, String>,
    message_id_last: u16,
}

/// A PUBLISH from the gateway, its topic id resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub topic_ref: TopicRef,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub duplicate: bool,
    pub message_id: u16,
}

impl MqttSn {
    /// A socket from which nothing was sent yet.
    pub async fn open(gateway: &TestGateway) -> Self {
        Self::open_to(gateway.listener("udp.mqttsn")).await
    }

    /// The same for any address.
    pub async fn open_to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(address).await.expect("an address to send to");
        Self { socket, node: None, early: VecDeque::new(), names: HashMap::new(), message_id_last: 0 }
    }

    /// From now on behind a forwarder, as this node.
    pub fn behind_forwarder(mut self, node: &[u8]) -> Self {
        self.node = Some(node.to_vec());
        self
    }

    /// The same client behind another port, as after a NAT has forgotten it: what it knew it still knows.
    pub async fn move_to_other_port(&mut self) {
        let address = self.socket.peer_addr().expect("a connected socket");
        self.socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        self.socket.connect(address).await.expect("an address to send to");
    }

    /// CONNECT, and insists on success.
    pub async fn connect_as(&mut self, client_id: &str, clean_session: bool) {
        let code = self.try_connect(client_id, clean_session).await;
        assert_eq!(code, ReturnCode::Accepted, "CONNACK to {client_id}");
    }

    /// CONNECT with this keep-alive duration in seconds, and insists on success.
    pub async fn connect_for(&mut self, client_id: &str, duration_secs: u16) {
        self.send(&Packet::Connect(Connect { will: false, clean_session: true, duration_secs, client_id })).await;
        assert_eq!(self.connack().await, ReturnCode::Accepted, "CONNACK to {client_id}");
    }

    /// CONNECT and the code of its CONNACK.
    pub async fn try_connect(&mut self, client_id: &str, clean_session: bool) -> ReturnCode {
        self.send(&Packet::Connect(Connect { will: false, clean_session, duration_secs: 60, client_id })).await;
        self.connack().await
    }

    /// CONNECT and AUTH, and the code of CONNACK.
    pub async fn connect_with_password(&mut self, client_id: &str, username: &str, password: &str) -> ReturnCode {
        self.send(&Packet::Connect(Connect { will: false, clean_session: true, duration_secs: 60, client_id })).await;
        let data = Plain { username, password: password.as_bytes() }.to_data();
        self.send(&Packet::Auth(Auth { reason: 0, method: METHOD_PLAIN, data: &data })).await;
        self.connack().await
    }

    /// CONNECT with a will, and insists on success.
    pub async fn connect_with_will(
        &mut self,
        client_id: &str,
        duration_secs: u16,
        will: WillTopic<'_>,
        message: &[u8],
    ) {
        self.send(&Packet::Connect(Connect { will: true, clean_session: true, duration_secs, client_id })).await;
        self.take("WILLTOPICREQ", |packet| matches!(packet, Packet::WillTopicReq).then_some(())).await;
        self.send(&Packet::WillTopic(Some(will))).await;
        self.take("WILLMSGREQ", |packet| matches!(packet, Packet::WillMsgReq).then_some(())).await;
        self.send(&Packet::WillMsg(message)).await;
        assert_eq!(self.connack().await, ReturnCode::Accepted);
    }

    pub async fn connack(&mut self) -> ReturnCode {
        self.take("CONNACK", |packet| if let Packet::Connack(connack) = packet { Some(connack.code) } else { None })
            .await
    }

    /// Registers a topic name and returns its id.
    pub async fn register(&mut self, topic: &str) -> u16 {
        let message_id = self.message_id();
        self.send(&Packet::Register(Register { topic_id: 0, message_id, topic })).await;
        let regack = self.take("REGACK", |packet| match packet {
            Packet::Regack(regack) if regack.message_id == message_id => Some(*regack),
            _ => None,
        });
        let regack = regack.await;
        assert_eq!(regack.code, ReturnCode::Accepted, "REGACK for {topic}");
        self.names.insert(regack.topic_id, topic.to_owned());
        regack.topic_id
    }

    /// Subscribes and returns the granted quality of service or why not.
    pub async fn try_subscribe(&mut self, topic: TopicName<'_>, qos: u8) -> Result<u8, ReturnCode> {
        let message_id = self.message_id();
        let packet = Subscribe { duplicate: false, qos: Qos::from_u8(qos), message_id, topic };
        self.send(&Packet::Subscribe(packet)).await;
        let suback = self.take("SUBACK", |packet| match packet {
            Packet::Suback(suback) if suback.message_id == message_id => Some(*suback),
            _ => None,
        });
        let suback = suback.await;
        if let (TopicName::Name(name), 1..) = (topic, suback.topic_id) {
            self.names.insert(suback.topic_id, name.to_owned());
        }
        if suback.code == ReturnCode::Accepted { Ok(suback.qos as u8) } else { Err(suback.code) }
    }

    pub async fn unsubscribe(&mut self, topic: &str) {
        let message_id = self.message_id();
        self.send(&Packet::Unsubscribe(Unsubscribe { message_id, topic: TopicName::Name(topic) })).await;
        self.take("UNSUBACK", |packet| matches!(packet, Packet::Unsuback(id) if *id == message_id).then_some(())).await;
    }

    /// Publishes with any topic id and goes through the acknowledgements; the code of a PUBACK, and accepted without one.
    pub async fn publish_to(&mut self, topic: TopicRef, payload: &[u8], qos: u8, retain: bool) -> ReturnCode {
        let message_id = if qos == 0 { 0 } else { self.message_id() };
        let qos_asked = Qos::from_u8(qos);
        let publish = Publish { duplicate: false, qos: qos_asked, retain, topic, message_id, payload };
        self.send(&Packet::Publish(publish)).await;
        if qos == 0 {
            return ReturnCode::Accepted;
        }
        // PUBREC, or PUBACK as the end of it.
        let code = self.take("PUBACK or PUBREC", |packet| match packet {
            Packet::Puback(puback) if puback.message_id == message_id => Some(Some(puback.code)),
            Packet::Pubrec(id) if *id == message_id => Some(None),
            _ => None,
        });
        if let Some(code) = code.await {
            return code;
        }
        assert_eq!(qos, 2, "PUBREC for QoS {qos}");
        self.send(&Packet::Pubrel(message_id)).await;
        self.take("PUBCOMP", |packet| matches!(packet, Packet::Pubcomp(id) if *id == message_id).then_some(())).await;
        ReturnCode::Accepted
    }

    /// The next PUBLISH, which is not acknowledged.
    pub async fn expect_publish(&mut self) -> Received {
        let (publish, topic_ref) = self
            .take("PUBLISH", |packet| {
                let Packet::Publish(publish) = packet else { return None };
                let received = Received {
                    topic: String::new(),
                    topic_ref: publish.topic,
                    payload: publish.payload.to_vec(),
                    qos: publish.qos.expect("a gateway sends no QoS -1") as u8,
                    retain: publish.retain,
                    duplicate: publish.duplicate,
                    message_id: publish.message_id,
                };
                Some((received, publish.topic))
            })
            .await;
        let topic = match topic_ref {
            TopicRef::Normal(id) => self.names.get(&id).unwrap_or_else(|| panic!("id {id} was not registered")).clone(),
            TopicRef::Predefined(id) => format!("predefined {id}"),
            TopicRef::Short(name) => String::from_utf8(name.to_vec()).expect("a short topic name is text"),
        };
        Received { topic, ..publish }
    }

    /// The next PUBLISH, acknowledged.
    pub async fn expect_message(&mut self) -> Received {
        let received = self.expect_publish().await;
        self.acknowledge(&received).await;
        received
    }

    /// Goes through all acknowledgements of a received PUBLISH.
    pub async fn acknowledge(&mut self, received: &Received) {
        let message_id = received.message_id;
        match received.qos {
            0 => {}
            1 => {
                let topic_id = received.topic_ref.id();
                self.send(&Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::Accepted })).await;
            }
            _ => {
                self.send(&Packet::Pubrec(message_id)).await;
                let released =
                    |packet: &Packet<'_>| matches!(packet, Packet::Pubrel(id) if *id == message_id).then_some(());
                self.take("PUBREL", released).await;
                self.send(&Packet::Pubcomp(message_id)).await;
            }
        }
    }

    /// PINGREQ without a client id and its answer.
    pub async fn ping(&mut self) {
        self.send(&Packet::Pingreq(Pingreq { client_id: "" })).await;
        self.pingresp().await;
    }

    pub async fn pingresp(&mut self) {
        self.take("PINGRESP", |packet| matches!(packet, Packet::Pingresp).then_some(())).await;
    }

    /// A sleeping client asks for its messages: all until PINGRESP, acknowledged.
    pub async fn wake(&mut self, client_id: &str) -> Vec<Received> {
        self.send(&Packet::Pingreq(Pingreq { client_id })).await;
        let mut received = Vec::new();
        loop {
            let kind = |packet: &Packet<'_>| match packet {
                Packet::Publish(_) => Some(PacketType::Publish),
                Packet::Pingresp => Some(PacketType::Pingresp),
                _ => None,
            };
            if self.peek("PUBLISH or PINGRESP", kind).await == PacketType::Pingresp {
                self.pingresp().await;
                return received;
            }
            received.push(self.expect_message().await);
        }
    }

    /// True when no datagram has come that was not looked at.
    pub fn is_silent(&self) -> bool {
        let mut buffer = [0; 1];
        self.early.is_empty() && self.socket.try_recv(&mut buffer).is_err()
    }

    /// DISCONNECT with a duration: goes to sleep.
    pub async fn sleep(&mut self, duration_secs: u16) {
        self.disconnect_for(Some(duration_secs)).await;
    }

    /// DISCONNECT and its answer.
    pub async fn disconnect(&mut self) {
        self.disconnect_for(None).await;
    }

    async fn disconnect_for(&mut self, duration_secs: Option<u16>) {
        self.send(&Packet::Disconnect(Disconnect { duration_secs })).await;
        self.take("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)).then_some(())).await;
    }

    pub async fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        if let Some(node) = &self.node {
            wrap(&mut bytes, 0, node).expect("a short node id");
        }
        packet.encode(&mut bytes).expect("a test's packets are short");
        self.send_raw(&bytes).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.send(bytes).await.expect("the gateway's port is open");
    }

    /// Waits for a message that `wanted` takes; others stay for later.
    pub async fn take<T>(&mut self, what: &str, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        let (at, found) = self.find(what, wanted).await;
        self.early.remove(at);
        found
    }

    /// The same, but it stays to be taken.
    async fn peek<T>(&mut self, what: &str, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        self.find(what, wanted).await.1
    }

    async fn find<T>(&mut self, what: &str, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> (usize, T) {
        let mut looked_at = 0;
        loop {
            for (at, datagram) in self.early.iter().enumerate().skip(looked_at) {
                if let Some(found) = wanted(&Packet::decode(datagram).expect("checked when it came")) {
                    return (at, found);
                }
            }
            looked_at = self.early.len();
            match timeout(PATIENCE, self.read()).await {
                Ok(datagram) => self.early.extend(datagram),
                Err(_) => panic!("{what} wanted, but only {:02x?} came", self.early),
            }
        }
    }

    /// The next datagram that the client does not answer by itself, as it does REGISTER.
    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_535];
        let count = self.socket.recv(&mut buffer).await.expect("the gateway's port is open");
        buffer.truncate(count);
        let message = match (unwrap(&buffer).expect("a good header"), &self.node) {
            (Some(forwarded), Some(node)) => {
                assert_eq!(forwarded.node, node, "for another node");
                forwarded.message.to_vec()
            }
            (None, None) => buffer,
            (_, node) => panic!("{buffer:02x?} for {node:?}"),
        };
        let packet = Packet::decode(&message).unwrap_or_else(|fault| panic!("{fault:?} in {message:02x?}"));
        let Packet::Register(Register { topic_id, message_id, topic }) = packet else { return Some(message) };
        self.names.insert(topic_id, topic.to_owned());
        self.send(&Packet::Regack(Regack { topic_id, message_id, code: ReturnCode::Accepted })).await;
        None
    }

    fn message_id(&mut self) -> u16 {
        self.message_id_last += 1;
        self.message_id_last
    }
}

impl Endpoint for MqttSn {
    const NAME: &'static str = "mqttsn";

    fn listen(config: &mut Config) {
        listen_udp(config, ListenerProtocol::MqttSn);
    }

    async fn connect(gateway: &TestGateway, client_id: &str) -> Self {
        let mut client = Self::open(gateway).await;
        client.connect_as(client_id, true).await;
        client
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        assert_eq!(self.try_subscribe(TopicName::Name(filter), qos).await, Ok(qos), "granted for {filter}");
    }

    async fn publish(&mut self, publication: Publication<'_>) {
        let Publication { topic, payload, qos, retain } = publication;
        let id = self.register(topic).await;
        let code = self.publish_to(TopicRef::Normal(id), payload, qos, retain).await;
        assert_eq!(code, ReturnCode::Accepted);
        if qos == 0 {
            // Nothing acknowledges it, but messages are handled in order.
            self.ping().await;
        }
    }

    async fn expect(&mut self) -> Arrived {
        let received = self.expect_message().await;
        let seen = Seen { qos: Some(received.qos), retain: Some(received.retain) };
        Arrived { topic: received.topic, payload: received.payload, seen }
    }

    fn seen(qos: u8, retain: bool) -> Seen {
        Seen { qos: Some(qos), retain: Some(retain) }
    }
}
