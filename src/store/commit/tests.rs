use std::{cell::RefCell, sync::mpsc};

use smallvec::SmallVec;
use thingway_contract::{ClientId, Delivery, Message, MessageHead, Properties, Qos, Topic, TopicLimits};
use thingway_store::{
    Attach, Attached, Cause, DropCause, Durability, Epoch, Failure, Faulty, FlushLimits, Publish, Settings, Target,
};

use super::*;

/// What the machine tells, and who is woken.
enum Told {
    Attached(u64),
    Delivered(Delivery),
    Woken(u16),
}

struct Listener(mpsc::Sender<Told>);

impl Host for Listener {
    type Session = ();

    fn attached(&mut self, (): &(), attached: Attached) {
        let _ = self.0.send(Told::Attached(attached.session));
    }

    fn deliver(&mut self, (): &(), delivery: Delivery) {
        let _ = self.0.send(Told::Delivered(delivery));
    }

    fn behind(&mut self, (): &(), _: bool) {}

    fn dropped(&mut self, _: DropCause, _: u64) {}
}

impl Wake for Listener {
    fn wake(&mut self, core: u16, _: Waker) {
        let _ = self.0.send(Told::Woken(core));
    }

    fn finish(&mut self) {}
}

struct Bench {
    journal: Journal<()>,
    told: mpsc::Receiver<Told>,
    delivered: RefCell<Vec<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn start(backend: Faulty) -> Self {
        Self::start_with(backend, Journal::default())
    }

    /// With what was appended before.
    fn start_with(backend: Faulty, journal: Journal<()>) -> Self {
        let (settings, limits) = (Settings::default(), FlushLimits::default());
        let (keeper, _) =
            Keeper::open(backend, settings, limits, 1 << 20, Epoch::default(), 0).expect("an empty store");
        let (sender, told) = mpsc::channel();
        let thread = journal.start(keeper, Listener(sender)).expect("a thread");
        Self { journal, told, delivered: RefCell::default(), thread: Some(thread) }
    }

    fn next(&self) -> Told {
        let told = self.told.recv_timeout(Duration::from_secs(20)).expect("something is told in time");
        if let Told::Delivered(delivery) = &told {
            self.delivered.borrow_mut().push(delivery.message.payload().to_vec());
        }
        told
    }

    /// All that was delivered, when all is done.
    fn delivered(&mut self) -> Vec<Vec<u8>> {
        self.journal.stop();
        assert!(self.thread.take().is_some_and(|thread| thread.join().is_ok()));
        while self.told.try_recv().is_ok_and(|told| {
            if let Told::Delivered(delivery) = told {
                self.delivered.borrow_mut().push(delivery.message.payload().to_vec());
            }
            true
        }) {}
        self.delivered.take()
    }

    fn attach(&self) -> u64 {
        let client_id = ClientId::new("client", 100).expect("valid");
        let attach = Attach { client_id, expiry_secs: 60, will: None, keep_will: false };
        self.journal.append(Record::Attach(Box::new(attach)), Some(()));
        loop {
            if let Told::Attached(session) = self.next() {
                return session;
            }
        }
    }

    /// The ticket's fate, once its waker was woken.
    fn outcome(&self, ticket: Ticket) -> Settled {
        self.journal.wake_when_settled(ticket, 7, Waker::noop());
        loop {
            match self.journal.settled(ticket) {
                Settled::Not => while !matches!(self.next(), Told::Woken(7)) {},
                settled => return settled,
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.journal.stop();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

fn publish(session: u64, payload: &[u8]) -> Record {
    let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
    let head = MessageHead { qos: Qos::AtLeastOnce, ..MessageHead::default() };
    let message = Message::new(head, topic, Properties::default(), payload);
    let target = Target { session, qos: Qos::AtLeastOnce, retain: false, subscription_id: 0, rare: None };
    let targets = SmallVec::from_elem(target, 1);
    Record::Publish(Arc::new(Publish { message, retains: false, exchange: None, targets, cause: Cause::None }))
}

#[test]
fn what_is_kept_is_applied_in_order_before_anybody_hears_of_it() {
    let mut bench = Bench::start(Faulty::new(Durability::Fsync, 1));
    let session = bench.attach();
    let tickets: Vec<_> =
        (0..100_u8).map(|number| bench.journal.append_awaited(publish(session, &[number]), None)).collect();
    assert!(tickets.is_sorted());
    let last = *tickets.last().expect("a hundred");
    while bench.journal.settled(last) == Settled::Not {
        std::thread::yield_now();
    }
    assert!(tickets.iter().all(|&ticket| bench.journal.settled(ticket) == Settled::Kept));
    assert!(bench.delivered().into_iter().flatten().eq(0..100));
}

#[test]
fn whoever_waits_is_woken_on_its_core_and_one_that_comes_late_at_once() {
    let bench = Bench::start(Faulty::new(Durability::Fsync, 2));
    let session = bench.attach();
    let ticket = bench.journal.append_awaited(publish(session, b"x"), None);
    assert_eq!(bench.outcome(ticket), Settled::Kept);
    assert_eq!(bench.outcome(ticket), Settled::Kept);
}

/// A full disk refuses whom it can, tries the rest again, and all is well when there is room.
#[test]
fn what_cannot_be_kept_is_refused_and_what_must_be_is_tried_again() {
    let mut backend = Faulty::new(Durability::Fsync, 3);
    // The calls that open it and attach the client go well.
    let opened = calls_of_opening();
    let attach = 1;
    for call in 1..=2 {
        backend.fail_at(opened + attach + call, Failure::Full);
    }
    let mut bench = Bench::start(backend);
    let session = bench.attach();
    let refused = bench.journal.append_awaited(publish(session, b"refused"), None);
    assert_eq!(bench.outcome(refused), Settled::Refused);
    // Nobody waits for this one, so it is tried until it is kept, and goes before what comes later.
    bench.journal.append(publish(session, b"tried again"), None);
    let kept = loop {
        let ticket = bench.journal.append_awaited(publish(session, b"kept"), None);
        if bench.outcome(ticket) == Settled::Kept {
            break ticket;
        }
    };
    assert_eq!(bench.journal.settled(kept), Settled::Kept);
    assert_eq!(bench.delivered(), [b"tried again".to_vec(), b"kept".to_vec()]);
}

#[test]
fn a_reader_finds_what_was_appended_before_it_asked_and_nothing_later() {
    let (settings, limits) = (Settings::default(), FlushLimits::default());
    let open = |backend: Box<dyn Backend>| {
        Keeper::<(), _>::open(backend, settings, limits, 1 << 20, Epoch::default(), 0).expect("opened").0
    };
    let journal = Journal::default();
    let thread = journal.start(open(Box::new(thingway_store::Memory::new())), Listener(mpsc::channel().0));
    let retained = |number: u32| {
        let topic = format!("t/{number}");
        let topic = Topic::parse(&topic, TopicLimits::default()).expect("valid");
        let message = Message::new(MessageHead::default(), topic, Properties::default(), b"kept");
        let targets = SmallVec::new();
        Record::Publish(Arc::new(Publish { message, retains: true, exchange: None, targets, cause: Cause::None }))
    };
    for number in 1..=50 {
        journal.append(retained(number), None);
        let frozen = journal.freeze().expect("frozen");
        journal.append(retained(1000 + number), None);
        let (mut found, mut keeper) = (0, open(frozen.backend));
        keeper.for_each_retained(|_, _| found += 1).expect("read");
        assert_eq!(found, number * 2 - 1);
    }
    journal.stop();
    assert!(thread.expect("a thread").join().is_ok());
    assert!(journal.freeze().is_err(), "it is closed");
}

#[test]
fn what_cannot_be_frozen_is_told() {
    let bench = Bench::start(Faulty::new(Durability::Memory, 1));
    assert!(matches!(bench.journal.freeze(), Err(BackendError::Io(_))));
}

fn calls_of_opening() -> u64 {
    let probe = Faulty::new(Durability::Fsync, 3);
    let (settings, limits) = (Settings::default(), FlushLimits::default());
    let (keeper, _) = Keeper::<(), _>::open(probe, settings, limits, 0, Epoch::default(), 0).expect("empty");
    keeper.into_backend().calls()
}

/// More refusals than are remembered: what is forgotten is not taken for kept.
#[test]
fn a_refusal_that_is_forgotten_is_a_refusal() {
    let mut backend = Faulty::new(Durability::Fsync, 4);
    for call in 1..=100 {
        backend.fail_at(calls_of_opening() + call, Failure::Full);
    }
    let journal = Journal::default();
    let tickets: Vec<_> =
        (0..REFUSALS_MAX + 10).map(|_| journal.append_awaited(Record::End { session: 1 }, None)).collect();
    let bench = Bench::start_with(backend, journal);
    let (first, last) = (tickets[0], *tickets.last().expect("many"));
    assert_eq!(bench.outcome(last), Settled::Refused);
    assert_eq!(bench.outcome(first), Settled::Refused);
    // And when others were kept since.
    while bench.outcome(bench.journal.append_awaited(Record::End { session: 1 }, None)) != Settled::Kept {}
    assert_eq!(bench.journal.settled(tickets[1]), Settled::Refused);
}

/// Nobody appends anything meanwhile.
#[test]
fn what_could_not_be_read_is_tried_again_by_itself() {
    let (settings, limits) = (Settings::default(), FlushLimits::default());
    let (mut keeper, _) =
        Keeper::<(), _>::open(Faulty::new(Durability::Fsync, 5), settings, limits, 0, Epoch::default(), 0)
            .expect("empty");
    let attach = || {
        let client_id = ClientId::new("client", 100).expect("valid");
        Record::Attach(Box::new(Attach { client_id, expiry_secs: 60, will: None, keep_will: false }))
    };
    let mut host = Listener(mpsc::channel().0);
    let appended = |record| VecDeque::from([Appended { record, handle: None }]);
    keeper.commit(&mut appended(attach()), &mut host).expect("kept");
    let session = keeper.sessions().next().expect("a session").number;
    keeper.commit(&mut appended(Record::Restarted { at: 1 }), &mut host).expect("kept");
    keeper.commit(&mut appended(publish(session, b"waits")), &mut host).expect("kept");
    let mut backend = keeper.into_backend();
    let before = backend.calls();
    let (keeper, _) = Keeper::<(), _>::open(backend, settings, limits, 0, Epoch::default(), 0).expect("opened");
    backend = keeper.into_backend();
    // It is opened once more, with one block more to read; then the connection is recorded, and the message read, which fails, and fails again.
    let opening = backend.calls() - before + 1;
    let read = backend.calls() + opening + 2;
    for call in [read, read + 1] {
        backend.fail_at(call, Failure::Io);
    }
    let mut bench = Bench::start(backend);
    bench.attach();
    assert!(matches!(bench.next(), Told::Delivered(_)));
    assert_eq!(bench.delivered(), [b"waits".to_vec()]);
}

#[test]
fn what_waits_is_counted_for_each_session_and_for_all() {
    let bench = Bench::start(Faulty::new(Durability::Fsync, 6));
    let session = bench.attach();
    assert_eq!(bench.journal.queued(vec![session, 999]), Some(vec![Queued::default(); 2]));
    for payload in [b"one", b"two"] {
        bench.journal.append(publish(session, payload), None);
    }
    let queued = bench.journal.queued(vec![999, session]).expect("it runs");
    assert_eq!((queued[0], queued[1].messages), (Queued::default(), 2));
    assert_eq!(bench.journal.queued_in_all(), queued[1]);
    let page = Page { session, is_under_way: true, after: 0, count: 1 };
    let (first, last) = bench.journal.waiting(page).expect("they can be read");
    assert_eq!((first.len(), first[0].delivery.message.payload(), last), (1, &b"one"[..], Some(first[0].number)));
    let (second, last) = bench.journal.waiting(Page { after: first[0].number, ..page }).expect("they can be read");
    assert_eq!((second.len(), second[0].delivery.message.payload(), last), (1, &b"two"[..], None));
    assert!(bench.journal.waiting(Page { is_under_way: false, ..page }).expect("they can be read").0.is_empty());
    bench.journal.stop();
    assert!(bench.journal.queued(vec![session]).is_none());
}

/// On a full disk, say: an operator who stops the gateway does not wait until somebody makes room.
#[test]
fn what_cannot_be_kept_does_not_hold_up_the_end() {
    let mut backend = Faulty::new(Durability::Fsync, 9);
    let opened = calls_of_opening();
    for call in 2..=10_000 {
        backend.fail_at(opened + call, Failure::Full);
    }
    let mut bench = Bench::start(backend);
    let session = bench.attach();
    bench.journal.append(publish(session, b"must be kept"), None);
    assert!(bench.delivered().is_empty());
}
