//! What is told of a store makes the same store again, and a sound store is found sound.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use proptest::prelude::*;
use smallvec::SmallVec;
use thingway_contract::{
    ClientId, Delivery, Instant, Message, MessageHead, Properties, PropertiesBuilder, Property, PublisherKey, Qos,
    Rare, ShareName, SubscriptionOptions, Topic, TopicFilter, TopicId, TopicLimits, Unacknowledged, Will, WillFate,
};
use thingway_store::{
    Appended, Attach, Attached, Backend, Bounds, Cause, Change, Checked, DropCause, Epoch, Exchange, Extras,
    FlushLimits, Host, Import, Item, Keeper, Memory, Number, Publish, Reader, Record, Settings, Table, Target, check,
};

const NOW: u64 = 1_700_000_000_000;

/// What the clients' connections were given and have not acknowledged, in order: packet identifier, quality of service, and whether it was taken over.
#[derive(Default)]
struct Connections([Vec<(u16, Qos, bool)>; 3]);

impl Host for Connections {
    type Session = usize;

    fn attached(&mut self, &client: &usize, attached: Attached) {
        let given = |entry: &Unacknowledged| match &entry.delivery {
            Some(delivery) => (entry.packet_id, delivery.qos, false),
            None => (entry.packet_id, Qos::ExactlyOnce, true),
        };
        self.0[client] = attached.outbound.iter().map(given).collect();
    }

    fn deliver(&mut self, &client: &usize, delivery: Delivery) {
        self.0[client].push((delivery.packet_id, delivery.qos, false));
    }

    fn behind(&mut self, _: &usize, _: bool) {}

    fn dropped(&mut self, _: DropCause, _: u64) {}
}

fn settings() -> Settings {
    let bounds = Bounds { messages: 8, bytes: 1 << 20 };
    Settings {
        attached: bounds,
        detached: bounds,
        window: Bounds { messages: 3, bytes: 1 << 20 },
        ..Settings::default()
    }
}

fn open<B: Backend>(backend: B, now: u64) -> Keeper<usize, B> {
    Keeper::open(backend, settings(), FlushLimits::default(), 1 << 20, Epoch::default(), now).expect("opened").0
}

/// A store that is filled with records.
struct Filled {
    keeper: Keeper<usize, Memory>,
    connections: Connections,
    position: u64,
    /// Numbers and last attachments of the clients' sessions.
    clients: [(Number, u64); 3],
}

impl Filled {
    fn new() -> Self {
        Self {
            keeper: open(Memory::new(), NOW),
            connections: Connections::default(),
            position: 1,
            clients: [(0, 0); 3],
        }
    }

    fn append(&mut self, record: Record) -> u64 {
        self.append_of(record, None)
    }

    fn append_of(&mut self, record: Record, handle: Option<usize>) -> u64 {
        let mut pending = VecDeque::from([Appended { record, handle }]);
        assert_eq!(self.keeper.commit(&mut pending, &mut self.connections).expect("committed"), 1);
        self.position += 1;
        self.position
    }

    fn number(&self, client: usize) -> Number {
        let name = format!("client-{client}");
        self.keeper.sessions().find(|view| view.client_id.as_str() == name).map_or(0, |view| view.number)
    }

    fn attach(&mut self, client: usize, will: bool) {
        let attach = Attach {
            client_id: ClientId::new(&format!("client-{client}"), 100).expect("valid"),
            expiry_secs: 3600 + client as u32,
            will: will.then(|| Box::new(Will { message: message(9, 1), delay_secs: 5, expiry_secs: Some(7) })),
            keep_will: false,
        };
        let at = self.append_of(Record::Attach(Box::new(attach)), Some(client));
        self.clients[client] = (self.number(client), at);
    }

    fn publish(&mut self, payload: u8, retains: bool, targets: &[Target], exchange: Option<Exchange>) {
        let message = message(payload, payload % 3);
        let publish = Publish { message, retains, exchange, targets: targets.into(), cause: Cause::None };
        self.append(Record::Publish(Arc::new(publish)));
    }

    /// One of many things that may happen to a session.
    fn step(&mut self, (kind, client, value): (u8, usize, u8)) {
        let (session, attach) = self.clients[client];
        let exchange = |packet_id| Exchange { session, packet_id };
        let filter = filter(value);
        let given = &mut self.connections.0[client];
        let at = usize::from(value) % given.len().max(1);
        match kind {
            0 => self.attach(client, value % 2 == 0),
            1 => {
                let will = [WillFate::Publish, WillFate::Discard, WillFate::Keep][usize::from(value % 3)];
                let last = given.last().filter(|(_, _, received)| value % 4 == 0 && !received);
                let unsent = last.map_or(0, |(packet_id, ..)| *packet_id);
                given.clear();
                self.append(Record::Detach { session, attach, at: NOW + 5, expiry_secs: None, will, unsent });
            }
            2 => {
                let options = SubscriptionOptions { qos: Qos::AtLeastOnce, id: value.into(), ..Default::default() };
                self.append(Record::Subscribe { session, filter, options });
            }
            3 => {
                self.append(Record::Unsubscribe { session, filter });
            }
            4 => self.publish(value, value % 5 == 0, &[target(session, value)], None),
            5 => self.publish(
                value,
                false,
                &[shared(session), target(session, value)],
                Some(exchange(value.max(1).into())),
            ),
            6 if !given.is_empty() => {
                let (packet_id, ..) = given.remove(at);
                self.append(Record::Acknowledged(exchange(packet_id)));
            }
            7 if given.get(at).is_some_and(|(_, qos, _)| *qos == Qos::ExactlyOnce) => {
                given[at].2 = true;
                let packet_id = given[at].0;
                self.append(Record::Received(exchange(packet_id)));
            }
            8 => {
                self.append(Record::Released(exchange(value.max(1).into())));
            }
            9 => {
                let message = message(value, 1);
                self.append(Record::Delay { id: value.into(), due: NOW + 60_000, message, exchange: None });
            }
            10 => {
                self.append(Record::Spent(Cause::Delayed(value.into())));
            }
            11 => {
                let topic_ids = vec![TopicId { id: value.into(), name: "a/b".into(), known: value % 2 == 0 }];
                let extras = Extras { topic_ids, sleep_secs: 9, ..Extras::default() };
                self.append(Record::Keep { session, extras: Box::new(extras) });
            }
            12 => {
                given.clear();
                self.append(Record::End { session });
            }
            13 => {
                self.keeper.tend(true).expect("tended");
            }
            14 => while self.keeper.tend(true).expect("tended") {},
            _ => {}
        }
    }
}

fn filter(value: u8) -> TopicFilter {
    let text = ["a/#", "b/+", "c", "$share/g/a/#", "$share/h/b", "$queue/q"][usize::from(value % 6)];
    TopicFilter::parse(text, TopicLimits::default()).expect("valid")
}

fn message(payload: u8, qos: u8) -> Message {
    let head = MessageHead {
        qos: Qos::from_u8(qos).expect("valid"),
        retain: payload.is_multiple_of(2),
        publisher: PublisherKey(u64::from(payload % 4)),
        received_at: Instant::from_millis(NOW + u64::from(payload)),
        expires_at: if payload.is_multiple_of(3) { Instant::from_millis(NOW + 1_000_000) } else { Instant::NEVER },
    };
    let mut properties = PropertiesBuilder::new();
    properties.push(Property::UserProperty("name", "value"));
    let properties = if payload.is_multiple_of(2) { properties.as_properties() } else { Properties::default() };
    let text = format!("t/{}", payload % 7);
    let topic = Topic::parse(&text, TopicLimits::default()).expect("valid");
    Message::new(head, topic, properties, &vec![payload; usize::from(payload % 10)])
}

fn target(session: Number, value: u8) -> Target {
    let rare = Rare { further_subscription_ids: SmallVec::from_slice(&[77, 78]), ..Rare::default() };
    Target {
        session,
        qos: Qos::from_u8(value % 3).expect("valid"),
        retain: value.is_multiple_of(7),
        subscription_id: value.into(),
        rare: (value.is_multiple_of(4) && value > 0).then(|| Arc::new(rare)),
    }
}

fn shared(session: Number) -> Target {
    let share = ShareName { group: "g".into(), filter: "a/#".into() };
    let rare = Some(Arc::new(Rare { share: Some(share), ..Rare::default() }));
    Target { session, qos: Qos::ExactlyOnce, retain: false, subscription_id: 0, rare }
}

/// All that is kept, each item as text.
fn told(memory: &Memory, now: u64) -> (Vec<Item>, Vec<String>) {
    let mut items = Vec::new();
    let mut keeper = open(Reader(memory.clone()), now);
    let told = keeper.export(&mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    });
    told.expect("told");
    let text = |item: &Item| match item {
        Item::Message { message, .. } | Item::Retained(message) | Item::Delayed { message, .. } => {
            format!("{item:?} {:?}", message.payload())
        }
        _ => format!("{item:?}"),
    };
    let texts = items.iter().map(text).collect();
    (items, texts)
}

fn imported(items: impl IntoIterator<Item = Item>) -> Result<Memory, String> {
    let mut import = Import::new(Memory::new());
    for item in items {
        import.add(item).map_err(|error| error.to_string())?;
    }
    import.finish().map(|(_, memory)| memory).map_err(|error| error.to_string())
}

fn checked(memory: &Memory) -> Checked {
    check(memory.clone(), settings(), NOW + 100).expect("checked")
}

/// A store with something of every kind.
fn everything() -> Memory {
    let mut filled = Filled::new();
    for client in 0..3 {
        filled.attach(client, client == 1);
        for value in 0..4 {
            filled.step((2, client, value));
        }
    }
    filled.step((11, 0, 3));
    for value in 0..8 {
        filled.step((4, usize::from(value % 3), value + 1));
        filled.step((5, usize::from(value % 3), value + 1));
    }
    filled.step((7, 0, 0));
    filled.step((7, 1, 0));
    filled.step((9, 0, 4));
    while filled.keeper.tend(true).expect("tended") {}
    filled.step((9, 0, 5));
    filled.publish(10, true, &[], None);
    filled.publish(15, true, &[target(filled.clients[2].0, 8)], None);
    filled.step((1, 1, 0));
    filled.keeper.into_backend()
}

#[test]
fn everything_is_told_and_made_again() {
    let memory = everything();
    let (items, texts) = told(&memory, NOW + 100);
    let kinds: Vec<_> = texts.iter().map(|text| text.split([' ', '(']).next().unwrap_or_default()).collect();
    let mut once = kinds.clone();
    once.dedup();
    assert_eq!(once, ["Session", "Group", "Subscription", "Queued", "Message", "Retained", "Delayed"]);
    for part in ["message: None", "subscription_ids: [8, 77, 78]", "will: Some", "topic_ids: [TopicId", "inbound: [3"] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part}\n{texts:#?}");
    }
    let again = imported(items).expect("imported");
    assert_eq!(told(&again, NOW + 999_999).1, texts);
    assert_eq!(checked(&again).problems, [""; 0]);
    assert_eq!(checked(&again).counts, checked(&memory).counts);
}

#[test]
fn items_that_do_not_go_together_are_refused() {
    let (items, _) = told(&everything(), NOW + 100);
    let position = |pick: &dyn Fn(&Item) -> bool| items.iter().position(pick).expect("one of these");
    let session = position(&|item| matches!(item, Item::Session(_)));
    let group = position(&|item| matches!(item, Item::Group { .. }));
    let subscription =
        position(&|item| matches!(item, Item::Subscription { filter, .. } if filter.share_name().is_some()));
    let queued = position(&|item| matches!(item, Item::Queued(queued) if queued.packet_id != 0));
    let message = position(&|item| matches!(item, Item::Message { .. }));
    let retained = position(&|item| matches!(item, Item::Retained(_)));
    let delayed = position(&|item| matches!(item, Item::Delayed { .. }));
    for (twice, why) in [
        (session, "another session or group has this number"),
        (group, "another session or group has this number"),
        (subscription, "the session has this subscription already"),
        (queued, "packet identifiers go up along a queue"),
        (message, "another message has this number"),
        (retained, "another retained message has this topic"),
        (delayed, "another delayed message has this number"),
    ] {
        let mut items = items.clone();
        items.insert(twice, items[twice].clone());
        assert_eq!(imported(items).expect_err("refused"), why);
    }
    for (without, why) in [
        (session, "there is no such session"),
        (group, "there is no such group"),
        (message, "is in a queue, but not in the file"),
    ] {
        let mut items = items.clone();
        items.remove(without);
        let told = imported(items).expect_err("refused");
        assert!(told.ends_with(why), "{told}");
    }
    let queue_end = |number| {
        let last = items.iter().rposition(|item| matches!(item, Item::Queued(queued) if queued.queue == number));
        last.expect("a queue") + 1
    };
    let Item::Queued(sample) = items[queued].clone() else { unreachable!() };
    let added = |change: &dyn Fn(&mut thingway_store::QueuedItem)| {
        let mut item = sample.clone();
        change(&mut item);
        let mut items = items.clone();
        items.insert(queue_end(sample.queue), Item::Queued(item));
        imported(items).expect_err("refused")
    };
    assert_eq!(
        added(&|item| (item.packet_id, item.message) = (0, None)),
        "without a packet identifier it has a message and comes from no group"
    );
    assert_eq!(added(&|item| (item.packet_id, item.queue) = (0, 1 << 40)), "there is no such session or group");
    assert_eq!(added(&|item| item.message = Some(0)), format!("numbers are 1 to {}", 1u64 << 62));
    let mut lonely = items.clone();
    lonely.retain(|item| !matches!(item, Item::Subscription { .. }));
    assert!(imported(lonely).expect_err("refused").ends_with("has no members"));
}

#[test]
fn damage_is_told() {
    let sound = everything();
    assert_eq!(checked(&sound).problems, [""; 0]);
    let mut rows = Vec::new();
    for table in Table::ALL {
        let mut memory = sound.clone();
        let visited = memory.rows(table, &[], &mut |key, row| {
            rows.push((table, key.to_vec(), row.to_vec()));
            ControlFlow::Continue(())
        });
        visited.expect("visited");
    }
    for (table, key, row) in rows {
        let name = format!("{table:?} {}", key.escape_ascii());
        let mut cut = sound.clone();
        cut.write(vec![Change { table, key: key.clone(), value: Some(row[..row.len() - 1].to_vec()) }])
            .expect("written");
        assert!(checked(&cut).problems_len > 0, "{name} cut");
        if matches!(table, Table::Sessions | Table::Messages) {
            let mut gone = sound.clone();
            gone.write(vec![Change { table, key, value: None }]).expect("written");
            assert!(checked(&gone).problems_len > 0, "{name} gone");
        }
    }
    let mut firsts = Vec::new();
    let visited = sound.clone().blocks(0, &mut |first, block| {
        firsts.push((first, block.to_vec()));
        ControlFlow::Continue(())
    });
    visited.expect("visited");
    let end = firsts.last().expect("a log").0 + 1;
    let mut gap = sound.clone();
    gap.append(end + 5, &firsts[0].1).expect("appended");
    assert_eq!(checked(&gap).problems, [format!("log: records {end} to {} are not there", end + 4)]);
    let mut bad = sound.clone();
    bad.append(end, &[0xff, 0xff]).expect("appended");
    assert_eq!(checked(&bad).problems, [format!("log, block {end}: the store is damaged: record {end}")]);
    bad.append(end + 9, &firsts[0].1).expect("appended");
    assert_eq!(checked(&bad).problems_len, 1, "how long a damaged block was is not known");
    let mut unwanted = sound;
    let row = unwanted.row(Table::Messages, &[0; 8]).expect("read");
    assert_eq!(row, None);
    let mut some = None;
    let found = unwanted.rows(Table::Messages, &[], &mut |_, row| {
        some = Some(row.to_vec());
        ControlFlow::Break(())
    });
    found.expect("found");
    unwanted.write(vec![Change { table: Table::Messages, key: vec![0; 8], value: some }]).expect("written");
    assert_eq!(checked(&unwanted).problems, ["message 0 is kept, but in no queue"]);
}

proptest! {
    #[test]
    fn prop_whatever_happened_is_sound_told_and_made_again(
        steps in prop::collection::vec((0u8..15, 0usize..3, any::<u8>()), 0..120)
    ) {
        let mut filled = Filled::new();
        for step in steps {
            filled.step(step);
        }
        let memory = filled.keeper.into_backend();
        prop_assert_eq!(checked(&memory).problems, [""; 0]);
        let (items, texts) = told(&memory, NOW + 100);
        let again = imported(items);
        prop_assert!(again.is_ok(), "{:?}\n{:#?}", again, texts);
        let again = again.unwrap_or_default();
        prop_assert_eq!(told(&again, NOW + 5_000).1, texts);
        prop_assert_eq!(checked(&again).problems, [""; 0]);
        prop_assert_eq!(checked(&again).counts, checked(&memory).counts);
    }
}
