//! Clients whose sessions are begun and ended, and clients with wills.

use crate::{
    common::{Packet, Property, Version, wire},
    history::{Fault, Kind, MessageId, ReceiverId, TopicId, What},
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
    /// Ends the session by a clean one.
    End,
}

/// A client that begins a session with a subscription, looks after it now and then, and ends it.
#[derive(Debug)]
pub struct Visitor {
    session: Session,
    receiver: ReceiverId,
    subscribed: bool,
    visit: Visit,
    at: u32,
}

impl Visitor {
    pub fn new(world: &World, index: u32) -> Self {
        let version = if index.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let session = Session::new(&format!("visitor{index}"), version, None);
        let receiver = world.history().add_receiver(&session.name, &[(Kind::Fence, 1)], None);
        Self { session, receiver, subscribed: false, visit: Visit::Rest, at: 0 }
    }

    pub fn plan(&mut self, random: &mut Random) {
        self.visit = [Visit::Rest, Visit::Come, Visit::Come, Visit::End][random.of(0..=3) as usize];
        self.at = random.of(0..=60);
    }

    /// Looks after its subscription, if there should be one.
    pub fn plan_drain(&mut self) {
        self.visit = if self.session.known == Known::Present && self.subscribed { Visit::Come } else { Visit::Rest };
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
                Visit::Come => self.come(world).await,
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
            Opened::Fresh => self.subscribed = false,
            Opened::Resumed => {}
        }
        if !self.subscribed {
            let filter = (subscriber::filter(Kind::Fence), 1);
            self.session.send(&wire::subscribe(self.session.version, u16::MAX, &[filter], &[])).await;
        }
        loop {
            match self.session.next(world).await {
                Next::Packet(Packet::Suback(_)) => {
                    self.subscribed = true;
                    world.history().set_active(self.receiver, true);
                }
                Next::Packet(Packet::Publish(publish)) => {
                    let (id, dup, qos) = (publish.packet_id, publish.dup, publish.qos);
                    world.history().arrive(self.receiver, &publish.topic, &publish.payload, id, dup, qos);
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

    async fn end(&mut self, world: &World) -> bool {
        self.subscribed = false;
        world.history().set_active(self.receiver, false);
        // Without an expiry, in version 5, the new session ends with its connection.
        let connect = wire::Connect::new(self.session.version, &self.session.name);
        match self.session.open(world, &connect).await {
            Opened::Gone => false,
            Opened::Fresh | Opened::Resumed => {
                self.session.disconnect().await;
                true
            }
        }
    }
}

/// A client whose connections have a will each, which is the message of its topic with the number of the connection.
#[derive(Debug)]
pub struct Mortal {
    session: Session,
    topic: TopicId,
    /// The will of the present connection.
    will: Option<MessageId>,
    /// When its connections end in this round, and whether by DISCONNECT.
    ends: Vec<(u32, bool)>,
}

impl Mortal {
    pub fn new(world: &World, index: u32) -> Self {
        let version = if index.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let name = format!("w/{index}");
        let topic = world.history().add_topic(&name, &name, 1, Kind::Will);
        Self { session: Session::new(&format!("mortal{index}"), version, None), topic, will: None, ends: Vec::new() }
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
            if let Some(will) = self.will.take().filter(|_| self.session.is_connected()) {
                let what = if politely { What::WillRemoved } else { What::ConnectionLost };
                world.history().note(will, &self.session.name, what);
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
                connect = connect.will_property(Property::WillDelay(0));
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
