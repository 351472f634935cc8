use std::sync::Arc;

use smallvec::SmallVec;
use thingway_contract::{ClientId, Instant, MessageHead, Properties, Qos, Topic, TopicLimits};

use super::*;
use crate::{Attach, Cause, Durability, Faulty, Memory, Publish, Target, machine::key};

#[derive(Default)]
struct Log {
    attached: Vec<Attached>,
    deliveries: Vec<Delivery>,
    dropped: Vec<(DropCause, u64)>,
}

impl Host for Log {
    type Session = ();

    fn attached(&mut self, (): &(), attached: Attached) {
        self.attached.push(attached);
    }

    fn deliver(&mut self, (): &(), delivery: Delivery) {
        self.deliveries.push(delivery);
    }

    fn behind(&mut self, (): &(), _: bool) {}

    fn dropped(&mut self, cause: DropCause, count: u64) {
        self.dropped.push((cause, count));
    }
}

fn open<B: Backend>(backend: B) -> Result<(Keeper<(), B>, Found), BackendError> {
    Keeper::open(backend, Settings::default(), FlushLimits::default(), 0, Epoch(1000), 5)
}

fn attach() -> Record {
    let client_id = ClientId::new("a", 10).expect("an identifier");
    Record::Attach(Box::new(Attach { client_id, expiry_secs: 100, will: None, keep_will: false }))
}

fn publish(session: Number, payload: &str, retains: bool) -> Record {
    let topic = Topic::parse("t", TopicLimits::default()).expect("a topic");
    let head = MessageHead { qos: Qos::AtLeastOnce, ..MessageHead::default() };
    let message = Message::new(head, topic, Properties::default(), payload.as_bytes());
    let target = Target { session, qos: Qos::AtLeastOnce, retain: false, subscription_id: 0, rare: None };
    let targets = SmallVec::from_elem(target, 1);
    Record::Publish(Arc::new(Publish { message, retains, exchange: None, targets, cause: Cause::None }))
}

fn commit<B: Backend>(keeper: &mut Keeper<(), B>, log: &mut Log, records: impl IntoIterator<Item = Record>) {
    let appended = |record: Record| {
        let handle = matches!(record, Record::Attach(_)).then_some(());
        Appended { record, handle }
    };
    let mut pending: VecDeque<_> = records.into_iter().map(appended).collect();
    while !pending.is_empty() {
        keeper.commit(&mut pending, log).expect("nothing fails");
    }
}

fn flush<B: Backend>(keeper: &mut Keeper<(), B>) {
    while keeper.tend(true).expect("nothing fails") {}
}

/// A session with six messages, without a connection, and all of it in rows.
fn prepared(backend: Faulty) -> (Keeper<(), Faulty>, Number) {
    let (mut keeper, _) = open(backend).expect("it opens");
    let mut log = Log::default();
    commit(&mut keeper, &mut log, [attach()]);
    let session = keeper.sessions().next().expect("a session").number;
    commit(&mut keeper, &mut log, [Record::Restarted { at: 9 }]);
    for payload in ["1", "2", "3", "4", "5", "6"] {
        commit(&mut keeper, &mut log, [publish(session, payload, false)]);
    }
    flush(&mut keeper);
    // Nothing of it is in memory.
    (open(keeper.into_backend()).expect("it opens").0, session)
}

#[test]
fn a_message_that_is_gone_is_put_on_record_as_over() {
    let (keeper, session) = prepared(Faulty::new(Durability::Fsync, 1));
    let mut backend = keeper.into_backend();
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    };
    backend.rows(Table::Messages, b"", &mut visit).expect("read");
    backend.write(vec![Change { table: Table::Messages, key: keys[1].clone(), value: None }]).expect("written");

    let (mut keeper, _) = open(backend).expect("it opens: nobody has asked for the message");
    let mut log = Log::default();
    commit(&mut keeper, &mut log, [attach()]);
    assert_eq!(log.deliveries.len(), 5);
    assert_eq!(log.dropped, [(DropCause::Unreadable, 1)]);
    assert!(matches!(keeper.tend(false), Err(BackendError::Corrupt(_))), "it is told");
    assert!(keeper.tend(false).is_ok(), "once");
    let position = keeper.machine().position();
    keeper.retry(&mut log).expect("nothing fails");
    assert_eq!(keeper.machine().position(), position + 1);
    assert_eq!(keeper.queued(session).0, 5);
    keeper.retry(&mut log).expect("nothing fails");
    assert_eq!(keeper.machine().position(), position + 1);

    let (keeper, found) = open(keeper.into_backend()).expect("it opens");
    assert_eq!((found.counts.messages, keeper.queued(session).0), (5, 5), "the log has said it");
}

#[test]
fn what_cannot_be_read_for_a_while_refuses_nothing_and_is_given_later() {
    let (mut keeper, session) = prepared(Faulty::new(Durability::Fsync, 1));
    let mut log = Log::default();
    // The first call appends, the second reads the first message.
    let calls = keeper.shelf.backend.calls();
    keeper.shelf.backend.fail_at(calls + 2, crate::Failure::Io);
    commit(&mut keeper, &mut log, [attach()]);
    assert_eq!((log.attached.len(), log.deliveries.len()), (1, 0));
    assert!(matches!(keeper.tend(false), Err(BackendError::Io(_))));
    commit(&mut keeper, &mut log, [publish(session, "7", false)]);
    let payloads: Vec<_> = log.deliveries.iter().map(|delivery| delivery.message.payload().to_vec()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6", "7"].map(Vec::from));
    assert!(log.dropped.is_empty());
}

/// Fails each call of a flush in turn, goes on, and crashes at any point.
#[test]
fn a_flush_goes_on_where_it_failed() {
    for crash in [false, true] {
        let mut failures = 0;
        for call in 1..100 {
            let (mut keeper, session) = prepared(Faulty::new(Durability::Fsync, call));
            commit(&mut keeper, &mut Log::default(), [publish(session, "kept", true)]);
            let calls = keeper.shelf.backend.calls();
            keeper.shelf.backend.fail_at(calls + call, crate::Failure::Io);
            let failed = loop {
                match keeper.tend(true) {
                    Ok(true) => {}
                    Ok(false) => break false,
                    Err(BackendError::Io(_)) => break true,
                    Err(error) => panic!("call {call}: {error}"),
                }
            };
            if !failed {
                break;
            }
            failures += 1;
            let there = usize::from(crash);
            if !crash {
                // It is over, just then.
                commit(&mut keeper, &mut Log::default(), [Record::End { session }]);
                flush(&mut keeper);
                flush(&mut keeper);
            }
            let mut backend = keeper.into_backend();
            backend.kill();
            backend.open();
            let (mut keeper, found) = open(backend).expect("it opens");
            let mut retained = 0;
            keeper.for_each_retained(|message, _| retained += message.payload().len()).expect("read");
            assert_eq!(retained, 4, "call {call}");
            assert_eq!((found.counts.sessions, found.counts.messages), (there, 7 * there), "call {call}");
        }
        assert!(failures > 5, "a flush has that many calls, or more: {failures}");
    }
}

#[test]
fn a_later_format_and_damaged_rows_are_refused() {
    let row = |table, key: &[u8], value: &[u8]| Change { table, key: key.to_vec(), value: Some(value.to_vec()) };
    let refused = |change| {
        let mut memory = Memory::new();
        memory.write(vec![change]).expect("memory never fails");
        open(memory).expect_err("it is refused")
    };
    let later = refused(row(Table::Meta, FORMAT_KEY, &(FORMAT + 1).to_be_bytes()));
    assert!(matches!(later, BackendError::Newer { found, known: FORMAT } if found == FORMAT + 1));
    for (table, key) in [
        (Table::Meta, FORMAT_KEY.to_vec()),
        (Table::Meta, STATE_KEY.to_vec()),
        (Table::Sessions, key(1)),
        (Table::Queues, key(1)),
        (Table::Delayed, b"short".to_vec()),
    ] {
        assert!(matches!(refused(row(table, &key, b"\xff")), BackendError::Corrupt(_)), "{table:?}");
    }
    let mut memory = Memory::new();
    memory.append(1, b"\xffno record").expect("memory never fails");
    assert!(matches!(open(memory).expect_err("it is refused"), BackendError::Corrupt(_)));
}

#[test]
fn only_what_a_flush_covers_is_taken_off_the_log() {
    let unfinished = (1..30).find_map(|call| {
        let (mut keeper, session) = prepared(Faulty::new(Durability::Fsync, 1));
        let calls = keeper.shelf.backend.calls();
        keeper.shelf.backend.fail_at(calls + call, crate::Failure::Io);
        while keeper.tend(true).is_ok_and(|more| more) {}
        keeper.flush.is_some_and(|flush| flush.written).then_some((keeper, session))
    });
    let (mut keeper, session) = unfinished.expect("a call fails when the rows are written");
    let before = keeper.log_bytes;
    commit(&mut keeper, &mut Log::default(), [publish(session, "7", false)]);
    let added = keeper.log_bytes - before;
    assert!(!keeper.tend(true).expect("nothing fails"));
    assert!(added > 0);
    assert_eq!(keeper.log_bytes, added);
}

/// What is kept is read and given out though nothing can be written; and what the log says in the end is the same.
#[test]
fn a_store_without_room_serves_what_it_has_and_keeps_again_when_there_is_some() {
    let (keeper, session) = prepared(Faulty::new(Durability::Fsync, 7));
    let mut backend = keeper.into_backend();
    backend.limit(Some(0));
    let (mut keeper, found) = open(backend).expect("it can be read");
    let replayed = found.replayed;
    assert_eq!((found.counts.sessions, found.counts.messages), (1, 6));
    assert!(keeper.has_no_room() && keeper.is_waiting());
    let mut pending = VecDeque::from([Appended { record: publish(session, "7", false), handle: None }]);
    for _ in 0..3 {
        assert!(matches!(keeper.commit(&mut pending, &mut Log::default()), Err((1, BackendError::Full(_)))));
        assert!(matches!(keeper.commit(&mut VecDeque::new(), &mut Log::default()), Err((0, BackendError::Full(_)))));
        assert_eq!(keeper.tend(true).ok(), Some(false), "there is nothing that rows could tell");
    }
    assert_eq!(keeper.queued(session).0, 6);

    // The next one finds what this one found.
    let mut backend = keeper.into_backend();
    backend.kill();
    backend.open();
    let (mut keeper, found) = open(backend).expect("it can be read");
    assert_eq!((found.counts.sessions, found.counts.messages, found.replayed), (1, 6, replayed));
    keeper.shelf.backend.limit(None);
    assert_eq!(keeper.commit(&mut VecDeque::new(), &mut Log::default()).ok(), Some(0));
    assert!(!keeper.has_no_room() && !keeper.is_waiting());
    commit(&mut keeper, &mut Log::default(), [publish(session, "7", false)]);
    let position = keeper.machine().position();
    let mut backend = keeper.into_backend();
    backend.kill();
    backend.open();
    let (keeper, found) = open(backend).expect("it opens");
    assert_eq!((found.counts.messages, found.replayed), (7, replayed + 2));
    assert_eq!(keeper.machine().position(), position + 1);
}

/// The first thing that is kept brings with it what was owed.
#[test]
fn what_is_kept_first_comes_behind_what_was_owed() {
    let (keeper, session) = prepared(Faulty::new(Durability::Fsync, 8));
    let mut backend = keeper.into_backend();
    backend.limit(Some(0));
    let (mut keeper, found) = open(backend).expect("it can be read");
    let replayed = found.replayed;
    keeper.shelf.backend.limit(None);
    commit(&mut keeper, &mut Log::default(), [publish(session, "7", false), publish(session, "8", false)]);
    assert!(!keeper.has_no_room());
    let mut backend = keeper.into_backend();
    backend.kill();
    backend.open();
    let (mut keeper, found) = open(backend).expect("it opens");
    assert_eq!((found.counts.messages, found.replayed), (8, replayed + 3));
    let last = keeper.machine().position() - 1;
    assert_eq!(keeper.read(last).expect("it is kept").message.payload(), b"8");
}

/// The gateway's clock begins anew, and cannot tell when a message came that an earlier one has taken.
#[test]
fn a_retained_message_is_told_with_the_time_at_which_it_came() {
    let retained = |topic: &str, received_at, expires_at| {
        let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
        let head = MessageHead { received_at, expires_at, ..MessageHead::default() };
        let message = Message::new(head, topic, Properties::default(), b"x");
        let targets = SmallVec::new();
        Record::Publish(Arc::new(Publish { message, retains: true, exchange: None, targets, cause: Cause::None }))
    };
    let at = Instant::from_millis;
    let (mut keeper, _) = open(Memory::new()).expect("it opens");
    commit(&mut keeper, &mut Log::default(), [retained("row", at(5), Instant::NEVER)]);
    flush(&mut keeper);
    commit(&mut keeper, &mut Log::default(), [retained("log", at(7), at(5000))]);
    let told = |epoch, backend| {
        let opened = Keeper::open(backend, Settings::default(), FlushLimits::default(), 0, Epoch(epoch), epoch);
        let (mut keeper, _): (Keeper<(), Memory>, _) = opened.expect("it opens");
        let mut told = Vec::new();
        let mut tell = |message: Message, came: WallMs| {
            let head = *message.head();
            told.push((message.topic().to_owned(), came, head.received_at, head.expires_at));
        };
        keeper.for_each_retained(&mut tell).expect("read");
        told.sort_by_key(|(_, came, ..)| *came);
        (told, keeper.into_backend())
    };
    let backend = keeper.into_backend();
    let (found, backend) = told(2000, backend);
    let row = ("row".to_owned(), 1005, Instant::ZERO, Instant::NEVER);
    assert_eq!(found, [row.clone(), ("log".to_owned(), 1007, Instant::ZERO, at(4000))]);
    let (found, _) = told(1006, backend);
    assert_eq!(found, [row, ("log".to_owned(), 1007, at(1), at(4994))]);
}

/// Names were given again once the gateway had begun anew.
#[test]
fn a_delayed_message_is_not_taken_for_an_earlier_one_of_its_name() {
    let delay = |payload: &str| {
        let topic = Topic::parse("t", TopicLimits::default()).expect("a topic");
        let message = Message::new(MessageHead::default(), topic, Properties::default(), payload.as_bytes());
        Record::Delay { id: 1, due: 100, message, exchange: None }
    };
    let (mut keeper, _) = open(Memory::new()).expect("it opens");
    commit(&mut keeper, &mut Log::default(), [delay("earlier")]);
    flush(&mut keeper);
    commit(&mut keeper, &mut Log::default(), [Record::Spent(Cause::Delayed(1)), delay("later")]);
    for _ in 0..2 {
        (keeper, _) = open(keeper.into_backend()).expect("it opens");
        let mut told = Vec::new();
        keeper.for_each_delayed(|id, _, message| told.push((id, message.payload().to_vec()))).expect("read");
        assert_eq!(told, [(1, b"later".to_vec())]);
        flush(&mut keeper);
    }
}
