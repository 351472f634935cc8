//! Scripts against the machine: records in, and what the host hears and what is kept then.

mod queue;
mod session;
mod shared;
mod unread;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use smallvec::SmallVec;
use thingway_contract::{
    ClientId, Delivery, Message, MessageHead, Properties, Qos, Rare, SubscriptionOptions, Topic, TopicFilter,
    TopicLimits, Will, WillFate,
};

use super::*;
use crate::{Attach, Cause, Record};

/// All that was published, and what of it cannot be read.
#[derive(Default)]
struct Shelf {
    messages: BTreeMap<Position, Arc<Publish>>,
    unread: BTreeSet<Position>,
    loads: usize,
}

impl Library for Shelf {
    fn load(&mut self, at: Position) -> Result<Option<Arc<Publish>>, TryAgain> {
        self.loads += 1;
        if self.unread.contains(&at) { Err(TryAgain) } else { Ok(self.messages.get(&at).cloned()) }
    }
}

/// What a connection heard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Attached { present: bool, resumed: Vec<(u16, Option<String>)> },
    Got { id: u16, payload: String, qos: u8 },
    Behind(bool),
}

#[derive(Default)]
struct Log {
    heard: Vec<(&'static str, Heard)>,
    attached: Vec<Attached>,
    deliveries: Vec<Delivery>,
    dropped: Vec<(DropCause, u64)>,
}

impl Host for Log {
    type Session = &'static str;

    fn attached(&mut self, session: &&'static str, attached: Attached) {
        let text = |delivery: &Delivery| payload(&delivery.message);
        let resumed = attached.outbound.iter().map(|open| (open.packet_id, open.delivery.as_ref().map(text))).collect();
        self.heard.push((session, Heard::Attached { present: attached.present, resumed }));
        self.attached.push(attached);
    }

    fn deliver(&mut self, session: &&'static str, delivery: Delivery) {
        let (id, qos) = (delivery.packet_id, delivery.qos as u8);
        self.heard.push((session, Heard::Got { id, payload: payload(&delivery.message), qos }));
        self.deliveries.push(delivery);
    }

    fn behind(&mut self, session: &&'static str, behind: bool) {
        self.heard.push((session, Heard::Behind(behind)));
    }

    fn dropped(&mut self, cause: DropCause, count: u64) {
        self.dropped.push((cause, count));
    }
}

fn payload(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

fn got(id: u16, payload: &str) -> Heard {
    Heard::Got { id, payload: payload.into(), qos: 1 }
}

fn message(payload: &str, qos: Qos) -> Message {
    let head = MessageHead { qos, ..MessageHead::default() };
    let topic = Topic::parse("t", TopicLimits::default()).expect("a topic");
    Message::new(head, topic, Properties::default(), payload.as_bytes())
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, TopicLimits::default()).expect("a filter")
}

fn grant(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..SubscriptionOptions::default() }
}

/// A machine with its log.
struct Rig {
    machine: Machine<&'static str>,
    shelf: Shelf,
    log: Log,
}

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

impl Rig {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self { machine: Machine::new(settings), shelf: Shelf::default(), log: Log::default() }
    }

    /// A window of so many messages.
    fn window(messages: usize) -> Self {
        Self::with(Settings { window: Bounds { messages, bytes: 1 << 20 }, ..Settings::default() })
    }

    fn apply_for(&mut self, record: Record, handle: Option<&'static str>) -> Position {
        let at = self.machine.position() + 1;
        match &record {
            Record::Publish(publish) => drop(self.shelf.messages.insert(at, publish.clone())),
            Record::Delay { message, .. } => {
                let publish = Publish {
                    message: message.clone(),
                    retains: false,
                    exchange: None,
                    targets: SmallVec::new(),
                    cause: Cause::None,
                };
                self.shelf.messages.insert(at, Arc::new(publish));
            }
            _ => {}
        }
        self.machine.apply(at, record, handle, &mut self.shelf, &mut self.log);
        self.machine.check();
        at
    }

    fn apply(&mut self, record: Record) -> Position {
        self.apply_for(record, None)
    }

    fn attach_with(&mut self, client: &'static str, change: impl FnOnce(&mut Attach)) -> Number {
        let client_id = ClientId::new(client, 100).expect("an identifier");
        let mut attach = Attach { client_id, expiry_secs: 100, will: None, keep_will: false };
        change(&mut attach);
        self.apply_for(Record::Attach(Box::new(attach)), Some(client));
        self.machine.find(client).expect("it has a session")
    }

    fn attach(&mut self, client: &'static str) -> Number {
        self.attach_with(client, |_| {})
    }

    /// The session's connection is gone; the message under `unsent` and all behind were not sent.
    fn detach_unsent(&mut self, session: Number, unsent: u16) {
        let attach = self.machine.sessions[&session].attach;
        let (expiry_secs, will) = (None, WillFate::Publish);
        self.apply(Record::Detach { session, attach, at: 5, expiry_secs, will, unsent });
    }

    fn detach(&mut self, session: Number) {
        self.detach_unsent(session, 0);
    }

    fn publish_with(&mut self, payload: &str, qos: usize, targets: impl IntoIterator<Item = Target>) -> Position {
        let (message, targets) = (message(payload, QOS[qos]), targets.into_iter().collect());
        let publish = Publish { message, retains: false, exchange: None, targets, cause: Cause::None };
        self.apply(Record::Publish(Arc::new(publish)))
    }

    fn publish(&mut self, session: Number, payload: &str, qos: usize) -> Position {
        self.publish_with(payload, qos, [target(session, qos)])
    }

    fn subscribe(&mut self, session: Number, text: &str, qos: usize) -> Position {
        self.apply(Record::Subscribe { session, filter: filter(text), options: grant(QOS[qos]) })
    }

    fn unsubscribe(&mut self, session: Number, text: &str) {
        self.apply(Record::Unsubscribe { session, filter: filter(text) });
    }

    /// To the group `g` of `t`, with whom the bus would have it first.
    fn share(&mut self, preferred: Number, payload: &str, qos: usize) -> Position {
        let share = filter("$share/g/t").share_name();
        let rare = Some(Arc::new(Rare { share, ..Rare::default() }));
        self.publish_with(payload, qos, [Target { rare, ..target(preferred, qos) }])
    }

    fn acknowledge(&mut self, session: Number, packet_id: u16) {
        self.apply(Record::Acknowledged(Exchange { session, packet_id }));
    }

    fn receive(&mut self, session: Number, packet_id: u16) {
        self.apply(Record::Received(Exchange { session, packet_id }));
    }

    /// What was heard since this was asked last.
    fn heard(&mut self) -> Vec<(&'static str, Heard)> {
        std::mem::take(&mut self.log.heard)
    }

    fn dropped(&mut self) -> Vec<(DropCause, u64)> {
        std::mem::take(&mut self.log.dropped)
    }

    /// Payloads, with packet identifiers, of what waits for a session.
    fn queue(&self, session: Number) -> Vec<(u16, String)> {
        let queue = self.machine.sessions[&session].queue();
        let text = |entry: Entry| (entry.packet_id, payload(&self.shelf.messages[&entry.message].message));
        queue.map_or(Vec::new(), |queue| queue.iter().map(text).collect())
    }
}

fn target(session: Number, qos: usize) -> Target {
    Target { session, qos: QOS[qos], retain: false, subscription_id: 0, rare: None }
}

/// `resumed` with packet identifiers and payloads, `""` for what the subscriber has taken over.
fn back(resumed: &[(u16, &str)]) -> Heard {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Heard::Attached { present: true, resumed: resumed.iter().map(|&(id, payload)| (id, text(payload))).collect() }
}

fn new() -> Heard {
    Heard::Attached { present: false, resumed: Vec::new() }
}

fn will(payload: &str) -> Option<Box<Will>> {
    Some(Box::new(Will { message: message(payload, Qos::AtLeastOnce), delay_secs: 0, expiry_secs: None }))
}

fn owned(queue: &[(u16, &str)]) -> Vec<(u16, String)> {
    queue.iter().map(|&(id, payload)| (id, payload.to_owned())).collect()
}
