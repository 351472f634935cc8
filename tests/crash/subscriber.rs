//! A subscriber with a session: it comes and goes, acknowledges late, and takes no message of QoS 2 twice (MQTT 5.0, section 4.3.3).

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use crate::{
    common::{Packet, Publish, Version, wire},
    figures::{Fault, Kind},
    history::{MessageId, ReceiverId, What},
    random::Random,
    session::{Next, Opened, Session},
    world::World,
};

/// What it does in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// It is not there at all.
    is_away: bool,
    /// It comes, if it is not there yet, when so many messages were acknowledged.
    come_at: u32,
    /// It goes when so many have arrived at it.
    leave_after: Option<u32>,
    /// It says DISCONNECT when it goes.
    politely: bool,
    /// It comes back at once.
    back: bool,
    /// So many acknowledgements it holds back.
    lag: usize,
}

#[derive(Debug)]
pub struct Subscriber {
    session: Session,
    receiver: ReceiverId,
    filters: Vec<(String, u8)>,
    /// SUBACK came.
    subscribed: bool,
    /// Messages of QoS 2 that it has taken and the server not released, by packet identifier.
    held: HashMap<u16, (Option<MessageId>, Publish)>,
    /// Acknowledgements to send, in order.
    acks: VecDeque<(u8, u16, Option<MessageId>)>,
    /// For so many rounds it stays away.
    away: u32,
    plan: Plan,
}

impl Subscriber {
    pub fn new(
        world: &World,
        name: &str,
        version: Version,
        receive_maximum: u16,
        wants: &[(Kind, u8)],
        group: Option<(usize, u8)>,
    ) -> Self {
        let session = Session::new(name, version, Some(receive_maximum));
        let receiver = world.history().add_receiver(&session.name, wants, group.map(|(sink, _)| sink));
        let filter = |(kind, qos): &(Kind, u8)| (filter(*kind).to_owned(), *qos);
        let mut filters: Vec<_> = wants.iter().map(filter).collect();
        filters.extend(group.map(|(_, qos)| ("$share/group/s/#".to_owned(), qos)));
        let (held, acks) = (HashMap::new(), VecDeque::new());
        Self { session, receiver, filters, subscribed: false, held, acks, away: 0, plan: Plan::default() }
    }

    /// Draws what it does in the next round. Some are away for long.
    pub fn plan(&mut self, random: &mut Random) {
        let plan = Plan {
            is_away: random.chance(25),
            come_at: random.maybe(60, |random| random.of(0..=60)).unwrap_or(0),
            leave_after: random.maybe(35, |random| random.of(1..=80)),
            politely: random.chance(50),
            back: random.chance(60),
            lag: random.maybe(60, |random| random.of(1..=6)).unwrap_or(0) as usize,
        };
        let away = random.maybe(8, |random| random.of(2..=6));
        self.away = away.unwrap_or(self.away.saturating_sub(1));
        self.plan = Plan { is_away: plan.is_away || self.away > 0, ..plan };
    }

    /// Everything that there is, in the next round.
    pub fn plan_drain(&mut self) {
        self.plan = Plan::default();
        self.away = 0;
    }

    /// Gets its subscriptions, for the first time or after the server has lost them.
    pub async fn prepare(&mut self, world: &World) {
        while !self.subscribed {
            if !self.session.is_connected() && !self.open(world).await {
                world.pause().await;
            }
        }
    }

    pub async fn round(&mut self, world: &World) {
        if self.plan.is_away {
            // A connection that it has from before does what is planned for it.
            self.session.cut();
        }
        if !self.session.is_connected() {
            self.drop_acks();
            if self.plan.is_away || !world.until_acknowledged(self.plan.come_at).await {
                return;
            }
        }
        let mut arrived = 0;
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
            self.flush(world, self.plan.lag).await;
            match self.session.next(world).await {
                Next::Packet(packet) => arrived += u32::from(self.handle(world, packet)),
                Next::Gone => {
                    self.drop_acks();
                    continue;
                }
                Next::Over => return,
            }
            if self.plan.leave_after.is_some_and(|count| count <= arrived) {
                self.plan.leave_after = None;
                if self.plan.politely {
                    self.session.disconnect().await;
                } else {
                    self.session.cut();
                }
                self.drop_acks();
                if !self.plan.back {
                    return;
                }
            }
        }
    }

    async fn open(&mut self, world: &World) -> bool {
        let connect = self.session.connect();
        match self.session.open(world, &connect).await {
            Opened::Gone => return false,
            Opened::Fresh => {
                self.held.clear();
                self.subscribed = false;
            }
            Opened::Resumed => {}
        }
        self.note_held(world);
        if self.subscribed {
            return true;
        }
        let filters: Vec<_> = self.filters.iter().map(|(filter, qos)| (filter.as_str(), *qos)).collect();
        self.session.send(&wire::subscribe(self.session.version, u16::MAX, &filters, &[])).await;
        loop {
            match self.session.next(world).await {
                Next::Packet(Packet::Suback(codes)) if codes.packet_id == u16::MAX => {
                    let granted: Vec<_> = self.filters.iter().map(|(_, qos)| *qos).collect();
                    assert_eq!(codes.codes, granted, "subscriptions are granted as they are asked for");
                    self.subscribed = true;
                    world.history().set_active(self.receiver, true);
                    return true;
                }
                // A session whose SUBACK was lost may get messages before the next one.
                Next::Packet(packet) => _ = self.handle(world, packet),
                Next::Gone | Next::Over => return false,
            }
        }
    }

    /// Acknowledgements that were not sent are not sent on the next connection: the server asks again.
    fn drop_acks(&mut self) {
        self.acks.clear();
    }

    /// True for a message.
    fn handle(&mut self, world: &World, packet: Packet) -> bool {
        match packet {
            Packet::Publish(publish) => self.receive(world, publish),
            Packet::Pubrel(ack) => {
                let id = self.held.remove(&ack.packet_id).and_then(|(id, _)| id);
                self.note_held(world);
                if let Some(id) = id {
                    world.history().note(id, &self.session.name, What::Released);
                }
                self.acks.push_back((0x70, ack.packet_id, id));
                return false;
            }
            other => {
                world.fault(Fault::Spurious, format!("{} got {other:?}", self.session.name));
                return false;
            }
        }
        world.add_arrived();
        true
    }

    fn receive(&mut self, world: &World, publish: Publish) {
        let name: &Rc<str> = &self.session.name;
        let Publish { dup, qos, packet_id, .. } = publish;
        let mut history = world.history();
        if qos == 2
            && let Some((id, held)) = self.held.get(&packet_id)
        {
            if held.topic == publish.topic && held.payload == publish.payload {
                if let Some(id) = *id {
                    history.note(id, name, What::Suppressed { packet_id });
                }
            } else {
                let Publish { topic, payload, .. } = &publish;
                let payload = String::from_utf8_lossy(payload);
                let text = format!("{name} holds {packet_id} and gets {payload:.60?} on {topic} under it");
                history.fault(Fault::IdentifierReused, *id, text);
            }
            self.acks.push_back((0x50, packet_id, *id));
            return;
        }
        let id = history.arrive(self.receiver, &publish.topic, &publish.payload, packet_id, dup, qos);
        match qos {
            0 => {}
            1 => self.acks.push_back((0x40, packet_id, id)),
            _ => {
                self.held.insert(packet_id, (id, publish));
                history.set_unreleased(self.receiver, self.held.len());
                self.acks.push_back((0x50, packet_id, id));
            }
        }
    }

    fn note_held(&self, world: &World) {
        world.history().set_unreleased(self.receiver, self.held.len());
    }

    /// Sends acknowledgements until no more than these are held back.
    async fn flush(&mut self, world: &World, lag: usize) {
        while self.acks.len() > lag
            && let Some((first, packet_id, id)) = self.acks.pop_front()
        {
            if let Some(id) = id {
                let what = match first {
                    0x40 => What::PubackSent,
                    0x50 => What::PubrecSent,
                    _ => What::PubcompSent,
                };
                world.history().note(id, &self.session.name, what);
            }
            self.session.send(&wire::ack(first, packet_id, 0)).await;
        }
    }
}

/// What these topics are subscribed by.
pub fn filter(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "o/#",
        Kind::Shared => "s/#",
        Kind::Delayed => "d/#",
        Kind::Retained => "r/#",
        Kind::Will => "w/+",
        Kind::Fence => "fence",
    }
}
