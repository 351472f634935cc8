//! Clients whose sessions are begun and ended, and clients with wills.

use crate::{
    common::{Packet, Property, Publish, Version, wire},
    figures::{Fault, Kind},
    history::{MessageId, ReceiverId, TopicId, What},
    random::Random,
    session::{Known, Next, Opened, Session},
    subscriber,
    world::World,
};

/// What a visitor does in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Visit {
    #[default]
    Rest,
    /// Connects, and subscribes if it has not.
    Come,
    /// Connects and ends its subscription.
    Unsubscribe,
    /// Connects as it is.
    Look,
    /// Ends the session by a clean one.
    End,
}

/// A client that begins a session with a subscription, looks after it now and then, and ends it.
#[derive(Debug)]
pub struct Visitor {
    session: Session,
    receiver: ReceiverId,
    subscription: Known,
    /// Messages from this number on were sent after its subscription had ended.
    ended_at: u32,
    visit: Visit,
    at: u32,
}

impl Visitor {
    pub fn new(world: &World, index: u32) -> Self {
        let version = if index.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let session = Session::new(&format!("visitor{index}"), version, None);
        let receiver = world.history().add_receiver(&session.name, &[(Kind::Fence, 1)], None);
        Self { session, receiver, subscription: Known::Absent, ended_at: 0, visit: Visit::Rest, at: 0 }
    }

    pub fn plan(&mut self, random: &mut Random) {
        let visits = [Visit::Rest, Visit::Come, Visit::Come, Visit::Come, Visit::Unsubscribe, Visit::End];
        self.visit = visits[random.of(0..=5) as usize];
        self.at = random.of(0..=60);
    }

    /// Looks whether it gets what it must, or gets what it must not.
    pub fn plan_drain(&mut self) {
        self.visit = if self.session.known == Known::Present { Visit::Look } else { Visit::Rest };
        self.at = 0;
    }

    pub async fn round(&mut self, world: &World) {
        self.session.cut();
        if self.visit == Visit::Rest || !world.until_acknowledged(self.at).await {
            return;
        }
        while !world.is_over() {
            let done = match self.visit {
                Visit::Rest => true,
                Visit::Come | Visit::Unsubscribe | Visit::Look => self.come(world).await,
                Visit::End => self.end(world).await,
            };
            if done {
                return;
            }
            world.pause().await;
        }
    }

    async fn come(&mut self, world: &World) -> bool {
        let connect = self.session.connect();
        match self.session.open(world, &connect).await {
            Opened::Gone => return false,
            Opened::Fresh => self.end_subscription(world),
            Opened::Resumed => {}
        }
        let (version, filter) = (self.session.version, subscriber::filter(Kind::Fence));
        match (self.visit, self.subscription) {
            (Visit::Come, Known::Absent | Known::Unsure) => {
                self.subscription = Known::Unsure;
                self.session.send(&wire::subscribe(version, u16::MAX, &[(filter, 1)], &[])).await;
            }
            (Visit::Unsubscribe, Known::Present | Known::Unsure) => {
                self.subscription = Known::Unsure;
                world.history().set_active(self.receiver, false);
                self.session.send(&wire::unsubscribe(version, u16::MAX, &[filter])).await;
            }
            _ => {}
        }
        loop {
            match self.session.next(world).await {
                Next::Packet(Packet::Suback(_)) => {
                    self.subscription = Known::Present;
                    world.history().set_active(self.receiver, true);
                }
                Next::Packet(Packet::Unsuback(_)) => self.end_subscription(world),
                Next::Packet(Packet::Publish(publish)) => {
                    let id = publish.packet_id;
                    self.receive(world, &publish);
                    self.session.send(&wire::ack(0x40, id, 0)).await;
                    world.add_arrived();
                }
                Next::Packet(other) => {
                    world.fault(Fault::Spurious, format!("{} got {other:?}", self.session.name));
                }
                Next::Gone | Next::Over => return true,
            }
        }
    }

    fn receive(&self, world: &World, publish: &Publish) {
        let Publish { topic, payload, packet_id, dup, qos, .. } = publish;
        let mut history = world.history();
        let found = history.arrive(self.receiver, topic, payload, *packet_id, *dup, *qos);
        if self.subscription == Known::Absent && found.is_some_and(|found| found.number >= self.ended_at) {
            let text = format!("{} gets what it has unsubscribed from", self.session.name);
            history.fault(Fault::Resurrected, found, text);
        }
    }

    fn end_subscription(&mut self, world: &World) {
        self.subscription = Known::Absent;
        let mut history = world.history();
        self.ended_at = history.next_number("fence");
        history.set_active(self.receiver, false);
    }

    async fn end(&mut self, world: &World) -> bool {
        world.history().set_active(self.receiver, false);
        self.subscription = Known::Unsure;
        // Without an expiry, in version 5, the new session ends with its connection.
        let connect = wire::Connect::new(self.session.version, &self.session.name);
        match self.session.open(world, &connect).await {
            Opened::Gone => false,
            Opened::Fresh | Opened::Resumed => {
                self.end_subscription(world);
                self.session.disconnect().await;
                true
            }
        }
    }
}

/// The one whose wills are put off for a second. Only MQTT 5 has that.
const DELAYED: u32 = 2;

/// A client whose connections have a will each, which is the message of its topic with the number of the connection.
#[derive(Debug)]
pub struct Mortal {
    session: Session,
    topic: TopicId,
    /// The will of the present connection.
    will: Option<MessageId>,
    /// Seconds for which its wills are put off.
    delay_secs: u32,
    /// The will of the last connection, which is not sent if the next one comes before its delay is over [MQTT-3.1.3-9].
    resting: Option<MessageId>,
    /// When its connections end in this round, and whether by DISCONNECT.
    ends: Vec<(u32, bool)>,
}

impl Mortal {
    pub fn new(world: &World, index: u32) -> Self {
        let version = if index.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let name = format!("w/{index}");
        let topic = world.history().add_topic(&name, &name, 1, Kind::Will);
        let session = Session::new(&format!("mortal{index}"), version, None);
        let delay_secs = u32::from(index == DELAYED);
        Self { session, topic, will: None, delay_secs, resting: None, ends: Vec::new() }
    }

    pub fn plan(&mut self, random: &mut Random) {
        self.ends.clear();
        let mut at = 0;
        for _ in 0..random.of(0..=2) {
            at += random.of(5..=60);
            self.ends.push((at, random.chance(30)));
        }
    }

    /// Breaks its connection.
    pub fn plan_drain(&mut self) {
        self.ends = vec![(0, false)];
    }

    pub async fn round(&mut self, world: &World) {
        for (at, politely) in std::mem::take(&mut self.ends) {
            if at > 0 && !self.session.is_connected() && !self.open(world).await {
                return;
            }
            if !world.until_acknowledged(at).await {
                break;
            }
            if let Some(will) = self.will.take() {
                if self.session.is_connected() {
                    let what = if politely { What::WillRemoved } else { What::ConnectionLost };
                    world.history().note(will, &self.session.name, what);
                }
                self.resting = Some(will);
            }
            if politely {
                self.session.disconnect().await;
            } else {
                self.session.cut();
            }
        }
        // To see whether the connection lives on into the next round.
        while let Next::Packet(other) = self.session.next(world).await {
            world.fault(Fault::Spurious, format!("{} got {other:?}", self.session.name));
        }
    }

    /// False when the round is over.
    async fn open(&mut self, world: &World) -> bool {
        loop {
            let will = world.history().offer(self.topic, false);
            let (topic, payload) = {
                let history = world.history();
                (history.topic_name(self.topic).to_owned(), history.payload(will))
            };
            let mut connect = self.session.connect().will(&topic, &payload, 1, false);
            if self.session.version.is_5() {
                connect = connect.will_property(Property::WillDelay(self.delay_secs));
            }
            // Whatever becomes of this attempt, the gateway may have heard of it.
            let before = self.will.take().or(self.resting.take()).filter(|_| self.delay_secs > 0);
            if let Some(before) = before {
                world.history().note(before, &self.session.name, What::WillUndone);
            }
            if self.session.open(world, &connect).await != Opened::Gone {
                world.history().note(will, &self.session.name, What::WillAccepted);
                self.will = Some(will);
                return true;
            }
            if world.is_over() {
                return false;
            }
            world.pause().await;
        }
    }
}
