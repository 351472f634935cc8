//! What was published, acknowledged and received, and what must hold of it.
//!
//! A message is known by its topic and its number there. Every topic has one publisher, so numbers say the order.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::figures::{Fault, Figures, Kind};

/// A topic, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(usize);

/// A client that receives, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiverId(usize);

/// One message: its topic and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    pub topic: TopicId,
    pub number: u32,
}

#[derive(Debug)]
struct Topic {
    name: String,
    /// The topic name of PUBLISH.
    publish_as: String,
    qos: u8,
    kind: Kind,
    /// Number of the first message since the last check.
    first: u32,
    messages: Vec<Message>,
    /// What was retained at the last check.
    retained: Option<u32>,
    /// What was found when somebody looked last.
    found: Option<u32>,
}

/// How far its publisher has come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Offered,
    /// PUBREC came: the publisher never sends it again.
    Taken,
    /// PUBACK or PUBCOMP came.
    Complete,
}

#[derive(Debug)]
struct Message {
    standing: Standing,
    /// It may arrive, but need not, whatever was said.
    optional: bool,
    /// It has no payload and so removes what is retained.
    clear: bool,
    events: Vec<Event>,
}

impl Message {
    fn is_owed(&self) -> bool {
        self.standing >= Standing::Taken && !self.optional
    }
}

/// What happened to a message.
#[allow(dead_code, reason = "told by Debug")]
#[derive(Clone, Copy, Debug)]
pub enum What {
    Sent {
        packet_id: u16,
        duplicate: bool,
    },
    Pubrec,
    PubrelSent,
    Complete,
    /// The publisher's session is gone, and with it the exchange.
    Abandoned,
    /// CONNACK came to the CONNECT with this will.
    WillAccepted,
    /// DISCONNECT was sent, which removes the will.
    WillRemoved,
    /// CONNECT was sent, which removes the will if its delay is not over.
    WillUndone,
    ConnectionLost,
    Arrived {
        packet_id: u16,
        duplicate: bool,
        qos: u8,
    },
    /// It came again under the packet identifier of an exchange that is not over, and was not taken for another.
    Suppressed {
        packet_id: u16,
    },
    PubackSent,
    PubrecSent,
    PubcompSent,
    Released,
}

#[derive(Debug)]
struct Event {
    at: Duration,
    who: Rc<str>,
    what: What,
}

/// A client, or a group of clients, at which messages arrive.
#[derive(Debug)]
struct Sink {
    name: Rc<str>,
    /// What arrives there, with the highest quality of service.
    wants: Vec<(Kind, u8)>,
    is_group: bool,
    /// Those whose subscriptions were acknowledged and not ended.
    active: bool,
    tracks: HashMap<TopicId, Track>,
    /// Exchanges of QoS 2 that it has begun and the server not ended.
    unreleased: usize,
}

impl Sink {
    fn qos(&self, topic: &Topic) -> Option<u8> {
        self.wants.iter().find(|(kind, _)| *kind == topic.kind).map(|(_, qos)| topic.qos.min(*qos))
    }
}

/// What of one topic has arrived at one sink since the last check.
#[derive(Debug, Default)]
struct Track {
    arrivals: Vec<u32>,
    latest: Option<u32>,
}

#[derive(Debug)]
struct Receiver {
    sink: usize,
    group: Option<usize>,
}

/// Everything since the last check, and the sums of all before.
#[derive(Debug)]
pub struct History {
    began: Instant,
    topics: Vec<Topic>,
    names: HashMap<String, TopicId>,
    sinks: Vec<Sink>,
    receivers: Vec<Receiver>,
    /// Kills and starts.
    marks: Vec<(Duration, String)>,
    /// What was lost at earlier checks and may come late.
    lost: HashSet<(usize, MessageId)>,
    pub figures: Figures,
    /// The first fault of each sort with the history of its message, in the order of their finding.
    pub stories: Vec<(Fault, String)>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            topics: Vec::new(),
            names: HashMap::new(),
            sinks: Vec::new(),
            receivers: Vec::new(),
            marks: Vec::new(),
            lost: HashSet::new(),
            figures: Figures::default(),
            stories: Vec::new(),
        }
    }
}

/// The payload of the message with this number. Lengths differ.
fn payload(topic: &str, number: u32) -> String {
    let filling = if number.is_multiple_of(5) { number as usize * 37 % 600 } else { 0 };
    format!("{topic} {number} {}", ".".repeat(filling))
}

/// The number of a message of this topic, if this is its payload.
fn number(topic: &str, bytes: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(bytes).ok()?.split(' ').nth(1)?.parse().ok()?;
    (payload(topic, number).as_bytes() == bytes).then_some(number)
}

impl History {
    pub fn add_topic(&mut self, name: &str, publish_as: &str, qos: u8, kind: Kind) -> TopicId {
        let id = TopicId(self.topics.len());
        let (name, publish_as) = (name.to_owned(), publish_as.to_owned());
        self.names.insert(name.clone(), id);
        self.topics.push(Topic {
            name,
            publish_as,
            qos,
            kind,
            first: 0,
            messages: Vec::new(),
            retained: None,
            found: None,
        });
        id
    }

    /// A client with what it subscribes to, besides what its group does.
    pub fn add_receiver(&mut self, name: &Rc<str>, wants: &[(Kind, u8)], group: Option<usize>) -> ReceiverId {
        let sink = self.add_sink(name, wants, false);
        self.receivers.push(Receiver { sink, group });
        ReceiverId(self.receivers.len() - 1)
    }

    /// A group that shares subscriptions, for [`History::add_receiver`].
    pub fn add_group(&mut self, name: &str, qos: u8) -> usize {
        self.add_sink(&name.into(), &[(Kind::Shared, qos)], true)
    }

    fn add_sink(&mut self, name: &Rc<str>, wants: &[(Kind, u8)], is_group: bool) -> usize {
        let sink = Sink {
            name: Rc::clone(name),
            wants: wants.to_vec(),
            is_group,
            active: is_group,
            tracks: HashMap::new(),
            unreleased: 0,
        };
        self.sinks.push(sink);
        self.sinks.len() - 1
    }

    /// Whether its subscriptions are acknowledged and count from now on.
    pub fn set_active(&mut self, receiver: ReceiverId, active: bool) {
        let sink = &mut self.sinks[self.receivers[receiver.0].sink];
        sink.active = active;
        if !active {
            sink.tracks.clear();
            sink.unreleased = 0;
        }
    }

    /// How many exchanges of QoS 2 it has under way.
    pub fn set_unreleased(&mut self, receiver: ReceiverId, count: usize) {
        self.sinks[self.receivers[receiver.0].sink].unreleased = count;
    }

    /// A kill, a start, or the like.
    pub fn mark(&mut self, text: String) {
        self.marks.push((self.began.elapsed(), text));
    }

    /// The next message of a topic, which nobody has sent yet.
    pub fn offer(&mut self, id: TopicId, clear: bool) -> MessageId {
        let topic = &mut self.topics[id.0];
        topic.messages.push(Message { standing: Standing::Offered, optional: false, clear, events: Vec::new() });
        MessageId { topic: id, number: topic.first + topic.messages.len() as u32 - 1 }
    }

    /// The number that the next message of this topic will have.
    pub fn next_number(&self, topic: &str) -> u32 {
        let topic = &self.topics[self.names[topic].0];
        topic.first + topic.messages.len() as u32
    }

    pub fn publish_as(&self, id: TopicId) -> &str {
        &self.topics[id.0].publish_as
    }

    pub fn topic_name(&self, id: TopicId) -> &str {
        &self.topics[id.0].name
    }

    pub fn qos(&self, id: TopicId) -> u8 {
        self.topics[id.0].qos
    }

    pub fn is_retained(&self, id: TopicId) -> bool {
        self.topics[id.0].kind == Kind::Retained
    }

    pub fn payload(&self, id: MessageId) -> String {
        let topic = &self.topics[id.topic.0];
        let clear = topic.messages[(id.number - topic.first) as usize].clear;
        if clear { String::new() } else { payload(&topic.name, id.number) }
    }

    /// Something happened to a message.
    pub fn note(&mut self, id: MessageId, who: &Rc<str>, what: What) {
        let at = self.began.elapsed();
        let topic = &mut self.topics[id.topic.0];
        let Some(message) = id.number.checked_sub(topic.first).and_then(|at| topic.messages.get_mut(at as usize))
        else {
            return;
        };
        message.events.push(Event { at, who: Rc::clone(who), what });
        match what {
            What::Pubrec => message.standing = message.standing.max(Standing::Taken),
            What::Complete => {
                message.standing = Standing::Complete;
                self.figures.acknowledged[usize::from(topic.qos)] += 1;
            }
            What::WillAccepted => {
                message.standing = Standing::Complete;
                self.figures.wills += 1;
            }
            What::WillRemoved | What::WillUndone => message.optional = true,
            _ => {}
        }
    }

    /// A message came, and was not taken for one that came before. `None` when there is no such message.
    pub fn arrive(
        &mut self,
        receiver: ReceiverId,
        topic: &str,
        payload: &[u8],
        packet_id: u16,
        duplicate: bool,
        qos: u8,
    ) -> Option<MessageId> {
        let Receiver { sink, group } = self.receivers[receiver.0];
        let who = Rc::clone(&self.sinks[sink].name);
        self.figures.arrived += 1;
        let Some(id) = self.find(topic, payload) else {
            let text = String::from_utf8_lossy(payload);
            self.fault(Fault::Spurious, None, format!("{who} got {text:.80?} on {topic:?}, which nobody sent"));
            return None;
        };
        self.note(id, &who, What::Arrived { packet_id, duplicate, qos });
        let sink = match group {
            Some(group) if self.topics[id.topic.0].kind == Kind::Shared => group,
            _ => sink,
        };
        let topic = &self.topics[id.topic.0];
        let Some(granted) = self.sinks[sink].qos(topic) else {
            self.fault(Fault::Spurious, Some(id), format!("{who} got what it did not subscribe to"));
            return Some(id);
        };
        if granted != qos {
            self.fault(Fault::Spurious, Some(id), format!("{who} got with QoS {qos} what it should with {granted}"));
            return Some(id);
        }
        let Some(place) = id.number.checked_sub(topic.first) else {
            let late = self.lost.remove(&(sink, id));
            if !late && granted == 2 {
                *self.figures.duplicated.entry((topic.kind, 2)).or_default() += 1;
                self.fault(Fault::Duplicated, Some(id), format!("{who} got it again after a check"));
            }
            return Some(id);
        };
        let track = self.sinks[sink].tracks.entry(id.topic).or_default();
        if track.arrivals.len() <= place as usize {
            track.arrivals.resize(place as usize + 1, 0);
        }
        let count = &mut track.arrivals[place as usize];
        *count += 1;
        if *count > 1 {
            self.figures.repeated += u64::from(granted == 1);
        } else if let Some(latest) = track.latest.filter(|latest| *latest > id.number) {
            let (is_group, kind) = (self.sinks[sink].is_group, self.topics[id.topic.0].kind);
            if !is_group && kind == Kind::Plain {
                self.fault(Fault::Reordered, Some(id), format!("{who} got it after number {latest}"));
            }
        } else {
            track.latest = Some(id.number);
        }
        Some(id)
    }

    fn find(&self, topic: &str, payload: &[u8]) -> Option<MessageId> {
        let id = *self.names.get(topic)?;
        let topic = &self.topics[id.0];
        let number = number(&topic.name, payload)?;
        (number < topic.first + topic.messages.len() as u32).then_some(MessageId { topic: id, number })
    }

    /// What is retained, all of it, as somebody found it when nobody published.
    pub fn look_at_retained(&mut self, found: &[(String, Vec<u8>)]) {
        let mut values: HashMap<TopicId, u32> = HashMap::new();
        for (topic, payload) in found {
            match self.find(topic, payload) {
                Some(id) => _ = values.insert(id.topic, id.number),
                None => {
                    self.fault(Fault::StaleRetained, None, format!("{topic} has {payload:.80?}, which nobody sent"))
                }
            }
        }
        for at in 0..self.topics.len() {
            let id = TopicId(at);
            let topic = &self.topics[at];
            if topic.kind != Kind::Retained {
                continue;
            }
            let value = values.get(&id).copied();
            let may_be = topic.may_be_retained();
            let first = topic.first;
            self.topics[at].found = value;
            if !may_be.contains(&value) {
                let latest = may_be.first().copied().flatten();
                let number = latest.or(value).unwrap_or(first);
                let text = format!("retained is {value:?}, not one of {may_be:?}");
                self.fault(Fault::StaleRetained, Some(MessageId { topic: id, number }), text);
            }
        }
    }

    /// A fault. The first of its sort is told with the history of its message.
    pub fn fault(&mut self, fault: Fault, message: Option<MessageId>, text: String) {
        *self.figures.faults.entry(fault).or_default() += 1;
        if self.stories.iter().any(|(told, _)| *told == fault) {
            return;
        }
        let mut story = format!("{}: {text}\n", fault.name());
        if let Some(id) = message {
            self.tell(id, &mut story);
        } else {
            self.tell_marks(self.marks.len().saturating_sub(4), Duration::MAX, &mut story);
        }
        self.stories.push((fault, story));
    }

    fn tell(&self, id: MessageId, story: &mut String) {
        let topic = &self.topics[id.topic.0];
        _ = writeln!(story, "history of number {} of {:?}, QoS {}:", id.number, topic.name, topic.qos);
        let message = id.number.checked_sub(topic.first).and_then(|at| topic.messages.get(at as usize));
        let mut told = 0;
        for event in message.map(|message| message.events.as_slice()).unwrap_or_default() {
            if told == 0 {
                told = self.marks.iter().rposition(|(at, _)| *at < event.at).unwrap_or(0);
            }
            told = self.tell_marks(told, event.at, story);
            _ = writeln!(story, "  {:>10.4} s {}: {:?}", event.at.as_secs_f64(), event.who, event.what);
        }
        // What came after its last event, as far as it may say something.
        let until = self.marks.get(told + 4).map_or(Duration::MAX, |(at, _)| *at);
        self.tell_marks(told, until, story);
    }

    fn tell_marks(&self, from: usize, until: Duration, story: &mut String) -> usize {
        let marks = self.marks[from..].iter().take_while(|(at, _)| *at < until);
        from + marks.map(|(at, text)| _ = writeln!(story, "  {:>10.4} s {text}", at.as_secs_f64())).count()
    }

    /// The messages of this topic that this sink must have and has not.
    fn missing<'a>(&'a self, sink: &'a Sink, at: usize) -> impl Iterator<Item = MessageId> + 'a {
        let topic = &self.topics[at];
        let is_wanted = sink.active && sink.qos(topic).is_some();
        let track = sink.tracks.get(&TopicId(at));
        let has =
            move |place: usize| track.is_some_and(|track| track.arrivals.get(place).is_some_and(|count| *count > 0));
        let owed = topic
            .messages
            .iter()
            .enumerate()
            .filter(move |(place, message)| is_wanted && message.is_owed() && !has(*place));
        owed.map(move |(place, _)| MessageId { topic: TopicId(at), number: topic.first + place as u32 })
    }

    /// Whether all that was acknowledged has arrived where it must, and every exchange is over.
    pub fn is_drained(&self) -> bool {
        self.sinks.iter().all(|sink| {
            sink.unreleased == 0 && (0..self.topics.len()).all(|at| self.missing(sink, at).next().is_none())
        })
    }

    /// Checks all since the last time, when nothing is under way, and begins anew.
    pub fn check(&mut self) {
        for sink in 0..self.sinks.len() {
            for at in 0..self.topics.len() {
                self.check_topic(sink, at);
            }
            let Sink { name, unreleased, .. } = &self.sinks[sink];
            if *unreleased > 0 {
                let text = format!("{unreleased} exchanges of {name} have no PUBREL");
                self.fault(Fault::Unreleased, None, text);
            }
        }
        for topic in &mut self.topics {
            topic.retained = topic.found;
            topic.first += topic.messages.len() as u32;
            topic.messages.clear();
        }
        for sink in &mut self.sinks {
            sink.tracks.clear();
        }
        self.marks.clear();
    }

    fn check_topic(&mut self, sink: usize, at: usize) {
        let Topic { kind, .. } = self.topics[at];
        let Some(qos) = self.sinks[sink].qos(&self.topics[at]) else { return };
        let who = Rc::clone(&self.sinks[sink].name);
        let missing: Vec<_> = self.missing(&self.sinks[sink], at).collect();
        for id in missing {
            self.lost.insert((sink, id));
            if kind == Kind::Fence {
                self.fault(Fault::ForgottenSubscription, Some(id), format!("{who} does not get what it subscribed to"));
            } else {
                *self.figures.lost.entry((kind, qos)).or_default() += 1;
                self.fault(Fault::Lost, Some(id), format!("never came to {who}"));
            }
        }
        if qos < 2 {
            return;
        }
        let topic = &self.topics[at];
        let arrivals = self.sinks[sink].tracks.get(&TopicId(at)).map(|track| track.arrivals.as_slice());
        let twice = arrivals.unwrap_or_default().iter().enumerate().filter(|(_, count)| **count > 1);
        let twice: Vec<_> = twice.map(|(place, count)| (topic.first + place as u32, *count)).collect();
        for (number, count) in twice {
            *self.figures.duplicated.entry((kind, qos)).or_default() += 1;
            let id = MessageId { topic: TopicId(at), number };
            self.fault(Fault::Duplicated, Some(id), format!("came to {who} {count} times"));
        }
    }
}

impl Topic {
    /// What may be retained: the latest value that was acknowledged, or one that was sent later.
    fn may_be_retained(&self) -> Vec<Option<u32>> {
        let complete = self.messages.iter().rposition(|message| message.standing == Standing::Complete);
        let mut values = if complete.is_none() { vec![self.retained] } else { Vec::new() };
        values.extend(self.messages.iter().enumerate().skip(complete.unwrap_or(0)).map(|(place, message)| {
            let number = self.first + place as u32;
            (!message.clear).then_some(number)
        }));
        values
    }
}

#[cfg(test)]
mod tests;
