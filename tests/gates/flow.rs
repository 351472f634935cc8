//! Publishers, subscribers, and the fixed order in which they speak.

use thingway::net::memory::MemoryListener;

use super::client::{Client, acknowledgements, publish};

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

/// Who publishes to whom.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Each of so many publishers has a subscriber of its own, and all send at once.
    Pairs(usize),
    /// The same, but one pair after the other.
    PairsInTurn(usize),
    /// One publisher, so many subscribers.
    FanOut(usize),
    /// So many publishers, one subscriber.
    FanIn(usize),
}

/// How messages are published and subscribed to.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub qos: u8,
    /// Messages of each publisher that are sent at once.
    pub burst: usize,
    pub payload_bytes: usize,
}

/// Clients that take the messages of a round together.
#[derive(Default)]
struct Group {
    publishers: Vec<Publisher>,
    subscribers: Vec<Client>,
    /// Messages that each subscriber gets in a round.
    messages: usize,
}

struct Publisher {
    client: Client,
    /// What it sends in a round.
    batch: Vec<u8>,
}

pub struct Flow {
    traffic: Traffic,
    groups: Vec<Group>,
    payload: Vec<u8>,
    /// One topic is as long as another.
    frame_bytes: usize,
    /// Of a batch.
    packet_ids: Vec<u16>,
}

impl Flow {
    pub async fn connect(listener: &MemoryListener, shape: Shape, traffic: Traffic) -> Self {
        let (groups, publishers, subscribers) = match shape {
            Shape::Pairs(count) | Shape::PairsInTurn(count) => (count, 1, 1),
            Shape::FanOut(subscribers) => (1, 1, subscribers),
            Shape::FanIn(publishers) => (1, publishers, 1),
        };
        let mut flow = Self {
            traffic,
            groups: Vec::new(),
            payload: (0..traffic.payload_bytes).map(|at| at as u8).collect(),
            frame_bytes: 0,
            packet_ids: (1..=traffic.burst as u16).collect(),
        };
        for number in 0..groups {
            let topic = format!("plant/line/{number:03}/temperature");
            let frame = |id: &u16| publish(&topic, traffic.qos, *id, &flow.payload);
            let batch: Vec<u8> = flow.packet_ids.iter().flat_map(frame).collect();
            flow.frame_bytes = batch.len() / traffic.burst;
            let mut group = Group { messages: publishers * traffic.burst, ..Group::default() };
            for each in 0..publishers {
                let client = Client::connect(listener, &format!("publisher-{number:03}-{each:03}")).await;
                group.publishers.push(Publisher { client, batch: batch.clone() });
            }
            for each in 0..subscribers {
                let mut client = Client::connect(listener, &format!("subscriber-{number:03}-{each:03}")).await;
                client.subscribe(&topic, traffic.qos).await;
                group.subscribers.push(client);
            }
            match flow.groups.last_mut() {
                // Those who send at once.
                Some(all) if matches!(shape, Shape::Pairs(_)) => {
                    all.publishers.extend(group.publishers);
                    all.subscribers.extend(group.subscribers);
                }
                _ => flow.groups.push(group),
            }
        }
        flow
    }

    /// Messages that one round delivers.
    pub fn messages(&self) -> u64 {
        self.groups.iter().map(|group| (group.subscribers.len() * group.messages) as u64).sum()
    }

    /// Every publisher sends its batch, and all that comes of it is awaited and acknowledged.
    pub async fn round(&mut self) {
        let Self { traffic, groups, payload, frame_bytes, packet_ids } = self;
        for group in groups {
            group.publish(traffic.qos, packet_ids).await;
            group.take(traffic.qos, *frame_bytes, payload).await;
        }
    }
}

impl Group {
    async fn publish(&mut self, qos: u8, packet_ids: &[u16]) {
        for Publisher { client, batch } in &mut self.publishers {
            client.send(batch);
        }
        let first = if qos == 2 { PUBREC } else { PUBACK };
        for Publisher { client, .. } in self.publishers.iter_mut().filter(|_| qos > 0) {
            client.expect(&acknowledgements(first, packet_ids)).await;
            if qos == 2 {
                client.send(&acknowledgements(PUBREL, packet_ids));
            }
        }
        for Publisher { client, .. } in self.publishers.iter_mut().filter(|_| qos == 2) {
            client.expect(&acknowledgements(PUBCOMP, packet_ids)).await;
        }
    }

    async fn take(&mut self, qos: u8, frame_bytes: usize, payload: &[u8]) {
        let first = if qos == 2 { PUBREC } else { PUBACK };
        let mut taken = Vec::new();
        for client in &mut self.subscribers {
            let frames = client.receive(self.messages * frame_bytes).await;
            let packet_ids: Vec<u16> = frames.chunks(frame_bytes).map(|frame| packet_id(frame, qos, payload)).collect();
            if qos > 0 {
                client.send(&acknowledgements(first, &packet_ids));
            }
            taken.push(packet_ids);
        }
        for (client, packet_ids) in self.subscribers.iter_mut().zip(&taken).filter(|_| qos == 2) {
            client.expect(&acknowledgements(PUBREL, packet_ids)).await;
            client.send(&acknowledgements(PUBCOMP, packet_ids));
        }
    }
}

/// Checks a message that was delivered, and tells its packet identifier, 0 with QoS 0.
fn packet_id(frame: &[u8], qos: u8, payload: &[u8]) -> u16 {
    assert_eq!(frame[0], 0x30 | qos << 1, "a publication with the quality that was asked for, not a second time");
    let (head, body) = frame.split_at(frame.len() - payload.len());
    assert_eq!(body, payload);
    let [.., high, low] = head else { panic!("a head") };
    if qos == 0 {
        return 0;
    }
    let packet_id = u16::from_be_bytes([*high, *low]);
    assert_ne!(packet_id, 0);
    packet_id
}
