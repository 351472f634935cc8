//! An MQTT-SN subscriber with a session, which listens or sleeps (MQTT-SN 1.2, section 6.14). Datagrams do not tell that a gateway is gone: it notices by
//! asking.

use std::{collections::HashMap, net::Ipv4Addr, rc::Rc, time::Duration};

use thingway_contract::Qos;
use thingway_mqtt_sn::packet::{
    Connack, Connect, Disconnect, Packet, Pingreq, Puback, Publish, Regack, Register, ReturnCode, Suback, Subscribe,
    TopicName, TopicRef,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use crate::{
    figures::{Fault, Kind},
    history::{MessageId, ReceiverId, What},
    random::Random,
    subscriber::filter,
    world::{Over, World},
};

/// Time after which a question is asked again. Loopback loses nothing, but a gateway that starts answers late.
const RETRY: Duration = Duration::from_millis(300);
const RETRIES: u32 = 20;
/// Of keep-alive and sleep: longer than any run.
const DURATION_SECS: u16 = 50_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It must connect.
    Lost,
    Active,
    Asleep,
}

/// What it does in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Plan {
    /// Says goodbye and is not there.
    Away,
    /// Listens.
    #[default]
    Listen,
    /// Sleeps and asks for its messages when so many messages were acknowledged.
    Sleep(Vec<u32>),
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connack(ReturnCode),
    Suback {
        message_id: u16,
        code: ReturnCode,
    },
    Pingresp,
    Disconnect,
    /// None came, or the round is over.
    Nothing,
}

#[derive(Debug)]
pub struct MqttSn {
    name: Rc<str>,
    receiver: ReceiverId,
    wants: Vec<(Kind, u8)>,
    socket: UdpSocket,
    state: State,
    subscribed: bool,
    names: HashMap<u16, String>,
    /// Messages of QoS 2 that it has taken and the gateway not released.
    held: HashMap<u16, (Option<MessageId>, Vec<u8>)>,
    last_id: u16,
    plan: Plan,
}

impl MqttSn {
    pub async fn new(world: &World, name: &str, wants: &[(Kind, u8)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(world.mqttsn).await.expect("an address to send to");
        let name = name.into();
        let receiver = world.history().add_receiver(&name, wants, None);
        Self {
            name,
            receiver,
            wants: wants.to_vec(),
            socket,
            state: State::Lost,
            subscribed: false,
            names: HashMap::new(),
            held: HashMap::new(),
            last_id: 0,
            plan: Plan::default(),
        }
    }

    pub fn plan(&mut self, random: &mut Random) {
        let drawn = random.of(0..=9);
        let mut at = 0;
        let wakes = (0..random.of(0..=4)).map(|_| {
            at += random.of(5..=40);
            at
        });
        let wakes = wakes.collect();
        self.plan = match drawn {
            0..=1 => Plan::Away,
            2..=5 => Plan::Listen,
            _ => Plan::Sleep(wakes),
        };
    }

    pub fn plan_drain(&mut self) {
        self.plan = Plan::Listen;
    }

    /// Gets its subscriptions.
    pub async fn prepare(&mut self, world: &World) {
        while !self.subscribed {
            self.activate(world).await;
        }
    }

    pub async fn round(&mut self, world: &World) {
        match std::mem::take(&mut self.plan) {
            Plan::Away => {
                if self.state != State::Lost {
                    self.send(&Packet::Disconnect(Disconnect { duration_secs: None })).await;
                    self.state = State::Lost;
                }
                return;
            }
            Plan::Listen => {
                while !world.is_over() {
                    if self.state != State::Active {
                        self.activate(world).await;
                    } else if !self.is_heard(world).await {
                        continue;
                    }
                    while self.state == State::Active && self.turn(world, None).await != Some(Answer::Nothing) {}
                }
            }
            Plan::Sleep(wakes) => {
                self.fall_asleep(world).await;
                for at in wakes {
                    if !world.until_acknowledged(at).await {
                        break;
                    }
                    self.wake(world).await;
                }
            }
        }
        world.until(|progress| progress.over.is_some()).await;
        if world.progress().over == Some(Over::Killed) {
            self.read_the_rest(world).await;
        }
    }

    /// Whether the gateway still knows it as active.
    async fn is_heard(&mut self, world: &World) -> bool {
        let ping = Packet::Pingreq(Pingreq { client_id: "" });
        let answer = self.ask(world, &ping, |answer| matches!(answer, Answer::Pingresp)).await;
        if answer != Answer::Pingresp {
            self.state = State::Lost;
        }
        self.state == State::Active
    }

    /// Connects, and subscribes if it has not.
    async fn activate(&mut self, world: &World) {
        let name = Rc::clone(&self.name);
        let connect =
            Connect { will: false, clean_session: false, duration_secs: DURATION_SECS, client_id: name.as_ref() };
        let answer = self.ask(world, &Packet::Connect(connect), |answer| matches!(answer, Answer::Connack(_))).await;
        match answer {
            Answer::Connack(ReturnCode::Accepted) => self.state = State::Active,
            Answer::Connack(code) => {
                return world.fault(Fault::Spurious, format!("{name} is refused: {code:?}"));
            }
            _ => return,
        }
        if self.subscribed {
            return;
        }
        for (kind, qos) in self.wants.clone() {
            let message_id = self.message_id();
            let subscribe = Subscribe {
                duplicate: false,
                qos: Qos::from_u8(qos),
                message_id,
                topic: TopicName::Name(filter(kind)),
            };
            let is_its =
                move |answer: &Answer| matches!(answer, Answer::Suback { message_id: id, .. } if *id == message_id);
            match self.ask(world, &Packet::Subscribe(subscribe), is_its).await {
                Answer::Suback { code: ReturnCode::Accepted, .. } => {}
                Answer::Suback { code, .. } => {
                    return world.fault(Fault::Spurious, format!("{name} may not subscribe: {code:?}"));
                }
                _ => return,
            }
        }
        self.subscribed = true;
        world.history().set_active(self.receiver, true);
    }

    async fn fall_asleep(&mut self, world: &World) {
        while self.state != State::Asleep && !world.is_over() {
            if self.state == State::Lost {
                self.activate(world).await;
            }
            if self.state == State::Active {
                let sleep = Packet::Disconnect(Disconnect { duration_secs: Some(DURATION_SECS) });
                // A gateway that does not know it says the same.
                if self.ask(world, &sleep, |answer| matches!(answer, Answer::Disconnect)).await == Answer::Disconnect {
                    self.state = State::Asleep;
                }
            }
        }
    }

    /// Asks for its messages.
    async fn wake(&mut self, world: &World) {
        let name = Rc::clone(&self.name);
        let ping = Packet::Pingreq(Pingreq { client_id: &name });
        match self.ask(world, &ping, |answer| matches!(answer, Answer::Pingresp | Answer::Disconnect)).await {
            Answer::Pingresp => {}
            _ => {
                self.state = State::Lost;
                self.fall_asleep(world).await;
            }
        }
    }

    /// Sends until the answer comes; handles what comes meanwhile.
    async fn ask(&mut self, world: &World, packet: &Packet<'_>, wanted: impl Fn(&Answer) -> bool) -> Answer {
        for _ in 0..=RETRIES {
            self.send(packet).await;
            loop {
                match self.turn(world, Some(Instant::now() + RETRY)).await {
                    Some(answer) if answer == Answer::Nothing && world.is_over() => return Answer::Nothing,
                    Some(Answer::Nothing) => break,
                    Some(answer) if wanted(&answer) => return answer,
                    Some(Answer::Disconnect) => {
                        self.state = State::Lost;
                        return Answer::Disconnect;
                    }
                    _ => {}
                }
            }
        }
        Answer::Nothing
    }

    /// The next datagram, handled. [`Answer::Nothing`] when there is none in time or the round is over.
    async fn turn(&mut self, world: &World, deadline: Option<Instant>) -> Option<Answer> {
        let mut buffer = [0; 2048];
        let count = tokio::select! {
            biased;
            received = self.socket.recv(&mut buffer) => received,
            () = world.until(|progress| progress.over.is_some()) => return Some(Answer::Nothing),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return Some(Answer::Nothing),
        };
        // An error is the system's word of an earlier datagram that nobody took.
        let count = count.ok()?;
        let answer = self.handle(world, &buffer[..count]).await;
        if answer == Some(Answer::Disconnect) && self.state == State::Active {
            self.state = State::Lost;
        }
        answer
    }

    /// What a killed gateway had sent.
    async fn read_the_rest(&mut self, world: &World) {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.try_recv(&mut buffer) {
                Ok(count) => _ = self.handle(world, &buffer[..count]).await,
                Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    async fn handle(&mut self, world: &World, datagram: &[u8]) -> Option<Answer> {
        let packet = match Packet::decode(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                world.fault(Fault::Spurious, format!("{} got {datagram:02x?}: {error}", self.name));
                return None;
            }
        };
        match packet {
            Packet::Connack(Connack { code }) => return Some(Answer::Connack(code)),
            Packet::Suback(Suback { message_id, code, topic_id, .. }) => {
                if topic_id != 0 {
                    self.names.insert(topic_id, filter(Kind::Fence).to_owned());
                }
                return Some(Answer::Suback { message_id, code });
            }
            Packet::Pingresp => return Some(Answer::Pingresp),
            Packet::Disconnect(_) => return Some(Answer::Disconnect),
            Packet::Register(Register { topic_id, message_id, topic }) => {
                self.names.insert(topic_id, topic.to_owned());
                self.send(&Packet::Regack(Regack { topic_id, message_id, code: ReturnCode::Accepted })).await;
            }
            Packet::Publish(publish) => self.receive(world, &publish).await,
            Packet::Pubrel(message_id) => {
                if let Some((Some(id), _)) = self.held.remove(&message_id) {
                    world.history().note(id, &self.name, What::Released);
                }
                world.history().set_unreleased(self.receiver, self.held.len());
                self.send(&Packet::Pubcomp(message_id)).await;
            }
            other => world.fault(Fault::Spurious, format!("{} got {other:?}", self.name)),
        }
        None
    }

    async fn receive(&mut self, world: &World, publish: &Publish<'_>) {
        let Publish { topic, message_id, duplicate, payload, .. } = *publish;
        let topic_id = topic.id();
        let name = match topic {
            TopicRef::Normal(id) => self.names.get(&id),
            _ => None,
        };
        let Some(name) = name else {
            let code = ReturnCode::InvalidTopicId;
            return self.send(&Packet::Puback(Puback { topic_id, message_id, code })).await;
        };
        let qos = publish.qos.map_or(0, |qos| qos as u8);
        if qos == 2
            && let Some((id, held)) = self.held.get(&message_id)
        {
            let mut history = world.history();
            if held == payload {
                if let Some(id) = *id {
                    history.note(id, &self.name, What::Suppressed { packet_id: message_id });
                }
            } else {
                let text = String::from_utf8_lossy(payload);
                let text = format!("{} holds {message_id} and gets {text:.60?} under it", self.name);
                history.fault(Fault::IdentifierReused, *id, text);
            }
        } else {
            let id = world.history().arrive(self.receiver, name, payload, message_id, duplicate, qos);
            world.add_arrived();
            if qos == 2 {
                self.held.insert(message_id, (id, payload.to_vec()));
                world.history().set_unreleased(self.receiver, self.held.len());
            }
        }
        match qos {
            0 => {}
            1 => self.send(&Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::Accepted })).await,
            _ => self.send(&Packet::Pubrec(message_id)).await,
        }
    }

    async fn send(&self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).expect("what is sent here is short");
        // What nobody takes is lost, as datagrams may be.
        _ = self.socket.send(&bytes).await;
    }

    fn message_id(&mut self) -> u16 {
        self.last_id = self.last_id % 1000 + 1;
        self.last_id
    }
}
