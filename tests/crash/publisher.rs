//! A publisher with a session: what it has not finished when its connection ends it goes on with on the next one (MQTT 5.0, section 4.4).

use std::{collections::VecDeque, rc::Rc};

use crate::{
    common::{Packet, Version, wire},
    figures::{Fault, Kind},
    history::{MessageId, TopicId, What},
    random::Random,
    session::{Next, Opened, Session},
    world::World,
};

/// A message under way.
#[derive(Debug)]
struct Outgoing {
    packet_id: u16,
    id: MessageId,
    /// PUBREC came, and PUBREL is sent instead of PUBLISH.
    is_released: bool,
}

/// What it does in a round.
#[derive(Debug, Default)]
struct Plan {
    /// Topics to publish on, and whether the message has no payload.
    script: VecDeque<(TopicId, bool)>,
    /// Messages under way at a time.
    window: usize,
    /// After how many acknowledgements its connection breaks.
    cut_after: Option<u32>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default)]
enum End {
    #[default]
    Stay,
    Disconnect,
    Cut,
}

#[derive(Debug)]
pub struct Publisher {
    session: Session,
    /// With how often each is drawn.
    topics: Vec<(TopicId, u32)>,
    outgoing: VecDeque<Outgoing>,
    plan: Plan,
}

impl Publisher {
    pub fn new(world: &World, index: u32) -> Self {
        let version = if index.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let mut history = world.history();
        let mut topics = Vec::new();
        for qos in [1, 2] {
            let mut add = |name: String, prefix: &str, kind, weight| {
                let publish_as = format!("{prefix}{name}");
                topics.push((history.add_topic(&name, &publish_as, qos, kind), weight));
            };
            add(format!("o/{index}/a{qos}"), "", Kind::Plain, 15);
            add(format!("o/{index}/b{qos}"), "", Kind::Plain, 10);
            add(format!("s/{index}/{qos}"), "", Kind::Shared, 8);
            add(format!("r/{index}/{qos}"), "", Kind::Retained, 10);
            if world.is_thingway {
                add(format!("d/{index}/{qos}"), "$delayed/1/", Kind::Delayed, 5);
            }
        }
        let session = Session::new(&format!("publisher{index}"), version, None);
        Self { session, topics, outgoing: VecDeque::new(), plan: Plan::default() }
    }

    /// Draws what it does in the next round.
    pub fn plan(&mut self, random: &mut Random) {
        let count = random.of(5..=50);
        let total = self.topics.iter().map(|(_, weight)| weight).sum::<u32>();
        let script = (0..count).map(|_| {
            let mut drawn = random.of(0..=total - 1);
            let at = self.topics.iter().position(|(_, weight)| match drawn.checked_sub(*weight) {
                Some(rest) => {
                    drawn = rest;
                    false
                }
                None => true,
            });
            (self.topics[at.expect("the weights add up")].0, random.chance(10))
        });
        self.plan = Plan {
            script: script.collect(),
            window: random.of(1..=16) as usize,
            cut_after: random.maybe(15, |random| random.of(1..=count)),
            end: [End::Stay, End::Stay, End::Disconnect, End::Cut][random.of(0..=3) as usize],
        };
    }

    /// Only what is under way, in the next round.
    pub fn plan_drain(&mut self) {
        self.plan = Plan { window: 1, ..Plan::default() };
    }

    pub async fn round(&mut self, world: &World) {
        let mut acknowledged = 0;
        loop {
            if !self.session.is_connected() {
                if world.is_over() {
                    return;
                }
                if !self.open(world).await {
                    world.pause().await;
                    continue;
                }
            }
            while self.outgoing.len() < self.plan.window
                && let Some((topic, clear)) = self.plan.script.pop_front()
            {
                self.publish(world, topic, clear).await;
            }
            if self.outgoing.is_empty() {
                break;
            }
            match self.session.next(world).await {
                Next::Packet(packet) => acknowledged += u32::from(self.handle(world, packet).await),
                Next::Gone => continue,
                // It is not, before all publishers have finished.
                Next::Over => return,
            }
            if self.plan.cut_after.is_some_and(|count| count <= acknowledged) {
                self.plan.cut_after = None;
                self.session.cut();
            }
        }
        world.add_finished();
        match self.plan.end {
            End::Stay => {}
            End::Disconnect => self.session.disconnect().await,
            End::Cut => self.session.cut(),
        }
        while let Next::Packet(packet) = self.session.next(world).await {
            self.handle(world, packet).await;
        }
    }

    async fn open(&mut self, world: &World) -> bool {
        let connect = self.session.connect();
        match self.session.open(world, &connect).await {
            Opened::Gone => return false,
            Opened::Fresh => {
                for outgoing in self.outgoing.drain(..) {
                    world.history().note(outgoing.id, &self.session.name, What::Abandoned);
                }
            }
            Opened::Resumed => {}
        }
        // All of it, in its order [MQTT-4.4.0-1, MQTT-4.6.0-1].
        for at in 0..self.outgoing.len() {
            self.send(world, at, true).await;
        }
        true
    }

    async fn publish(&mut self, world: &World, topic: TopicId, clear: bool) {
        let id = {
            let mut history = world.history();
            let clear = clear && history.is_retained(topic);
            history.offer(topic, clear)
        };
        let outgoing = &self.outgoing;
        let packet_id = self.session.packet_id(|id| outgoing.iter().any(|other| other.packet_id == id));
        self.outgoing.push_back(Outgoing { packet_id, id, is_released: false });
        self.send(world, self.outgoing.len() - 1, false).await;
    }

    /// Sends PUBLISH, or PUBREL.
    async fn send(&mut self, world: &World, at: usize, duplicate: bool) {
        let Outgoing { packet_id, id, is_released } = self.outgoing[at];
        let bytes = if is_released {
            wire::ack(0x62, packet_id, 0)
        } else {
            let history = world.history();
            let flags = history.qos(id.topic) << 1 | u8::from(history.is_retained(id.topic)) | u8::from(duplicate) << 3;
            let (topic, payload) = (history.publish_as(id.topic), history.payload(id));
            wire::publish_with(0x30 | flags, self.session.version, topic, payload.as_bytes(), packet_id, &[])
        };
        let what = if is_released { What::PubrelSent } else { What::Sent { packet_id, duplicate } };
        world.history().note(id, &self.session.name, what);
        self.session.send(&bytes).await;
    }

    /// True for a last acknowledgement.
    async fn handle(&mut self, world: &World, packet: Packet) -> bool {
        let (ack, qos, is_last) = match &packet {
            Packet::Puback(ack) => (ack, 1, true),
            Packet::Pubrec(ack) => (ack, 2, false),
            Packet::Pubcomp(ack) => (ack, 2, true),
            _ => {
                world.fault(Fault::Spurious, format!("{} got {packet:?}", self.session.name));
                return false;
            }
        };
        let at = self.outgoing.iter().position(|outgoing| outgoing.packet_id == ack.packet_id);
        let Some(at) = at.filter(|at| {
            let outgoing = &self.outgoing[*at];
            world.history().qos(outgoing.id.topic) == qos && (qos == 1 || outgoing.is_released || !is_last)
        }) else {
            world.fault(Fault::Spurious, format!("{} got {packet:?} and waits for none", self.session.name));
            return false;
        };
        let id = self.outgoing[at].id;
        if ack.code >= 0x80 && !matches!(packet, Packet::Pubcomp(_)) {
            // Refused: whatever becomes of it.
            world.history().fault(Fault::Spurious, Some(id), format!("{} got {packet:?}", self.session.name));
            self.outgoing.remove(at);
            return true;
        }
        let name: &Rc<str> = &self.session.name;
        if is_last {
            world.history().note(id, name, What::Complete);
            world.add_acknowledged();
            self.outgoing.remove(at);
        } else {
            world.history().note(id, name, What::Pubrec);
            self.outgoing[at].is_released = true;
            self.send(world, at, false).await;
        }
        is_last
    }
}
