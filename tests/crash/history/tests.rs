use super::*;

const COMPLETE: What = What::Complete;

/// A publisher's topic of each quality of service, one that is retained, and one subscriber of QoS 2.
struct Scene {
    history: History,
    name: Rc<str>,
    topics: [TopicId; 3],
    receiver: ReceiverId,
}

impl Scene {
    fn new() -> Self {
        let mut history = History::default();
        let topics = [
            history.add_topic("o/1", "o/1", 1, Kind::Plain),
            history.add_topic("o/2", "o/2", 2, Kind::Plain),
            history.add_topic("r/1", "r/1", 1, Kind::Retained),
        ];
        let receiver = history.add_receiver(&"subscriber".into(), &[(Kind::Plain, 2)], None);
        history.set_active(receiver, true);
        Self { history, name: "publisher".into(), topics, receiver }
    }

    fn publish(&mut self, topic: usize, what: &[What]) -> MessageId {
        let id = self.history.offer(self.topics[topic], false);
        for what in what {
            self.history.note(id, &self.name, *what);
        }
        id
    }

    fn arrive(&mut self, id: MessageId) {
        let topic = self.history.topic_name(id.topic).to_owned();
        let (payload, qos) = (payload(&topic, id.number), self.history.qos(id.topic));
        self.history.arrive(self.receiver, &topic, payload.as_bytes(), 1, false, qos);
    }

    fn faults(&mut self) -> Vec<(Fault, u64)> {
        self.history.check();
        self.history.figures.faults.iter().map(|(fault, count)| (*fault, *count)).collect()
    }
}

#[test]
fn what_arrives_as_it_should_is_no_fault() {
    let mut scene = Scene::new();
    for topic in [0, 1] {
        for _ in 0..7 {
            let id = scene.publish(topic, &[COMPLETE]);
            scene.arrive(id);
        }
    }
    assert!(scene.history.is_drained());
    assert_eq!(scene.faults(), []);
    assert_eq!(scene.history.figures.acknowledged, [0, 7, 7]);
}

#[test]
fn a_message_that_was_acknowledged_is_missed() {
    for (topic, what) in [(0, COMPLETE), (1, COMPLETE), (1, What::Pubrec)] {
        let mut scene = Scene::new();
        scene.publish(topic, &[What::Sent { packet_id: 1, duplicate: false }, what]);
        assert!(!scene.history.is_drained());
        assert_eq!(scene.faults(), [(Fault::Lost, 1)]);
        let [(Fault::Lost, story)] = scene.history.stories.as_slice() else { panic!("one story") };
        assert!(story.contains("publisher: Sent { packet_id: 1"), "{story}");
    }
}

#[test]
fn a_message_that_was_not_acknowledged_is_not_missed() {
    let mut scene = Scene::new();
    scene.publish(0, &[What::Sent { packet_id: 1, duplicate: false }]);
    scene.publish(0, &[COMPLETE, What::WillRemoved]);
    assert!(scene.history.is_drained());
    assert_eq!(scene.faults(), []);
}

#[test]
fn nothing_is_owed_to_a_subscription_that_was_not_granted() {
    let mut scene = Scene::new();
    scene.history.set_active(scene.receiver, false);
    scene.publish(0, &[COMPLETE]);
    assert_eq!(scene.faults(), []);
}

#[test]
fn twice_is_a_fault_of_qos_2_alone() {
    let mut scene = Scene::new();
    let id = scene.publish(0, &[COMPLETE]);
    scene.arrive(id);
    scene.arrive(id);
    assert_eq!(scene.history.figures.repeated, 1);
    // Whether it was acknowledged or not.
    for what in [&[COMPLETE] as &[_], &[]] {
        let id = scene.publish(1, what);
        scene.arrive(id);
        scene.arrive(id);
    }
    assert_eq!(scene.faults(), [(Fault::Duplicated, 2)]);
}

#[test]
fn twice_is_a_fault_after_a_check_too() {
    let mut scene = Scene::new();
    let id = scene.publish(1, &[COMPLETE]);
    scene.arrive(id);
    assert_eq!(scene.faults(), []);
    scene.arrive(id);
    assert_eq!(scene.faults(), [(Fault::Duplicated, 1)]);
}

#[test]
fn what_was_lost_may_come_late() {
    let mut scene = Scene::new();
    let id = scene.publish(1, &[COMPLETE]);
    assert_eq!(scene.faults(), [(Fault::Lost, 1)]);
    scene.arrive(id);
    assert_eq!(scene.faults(), [(Fault::Lost, 1)]);
}

#[test]
fn first_arrivals_are_in_order_and_later_ones_need_not() {
    let mut scene = Scene::new();
    let ids = [(); 3].map(|()| scene.publish(0, &[COMPLETE]));
    for at in [0, 1, 0, 1, 2, 1] {
        scene.arrive(ids[at]);
    }
    assert_eq!(scene.faults(), []);
    let ids = [(); 3].map(|()| scene.publish(0, &[COMPLETE]));
    for at in [0, 2, 1] {
        scene.arrive(ids[at]);
    }
    assert_eq!(scene.faults(), [(Fault::Reordered, 1)]);
}

#[test]
fn what_nobody_sent_is_seen() {
    let mut scene = Scene::new();
    let Scene { history, receiver, .. } = &mut scene;
    for (topic, payload) in [("o/1", "o/1 0 "), ("o/1", "other"), ("o/9", "o/9 0 ")] {
        assert_eq!(history.arrive(*receiver, topic, payload.as_bytes(), 1, false, 1), None);
    }
    // Number 5 is followed by 185 bytes.
    let id = [(); 6].map(|()| scene.publish(0, &[COMPLETE]))[5];
    let damaged = payload("o/1", id.number).replacen("..", ".", 1);
    assert_eq!(scene.history.arrive(scene.receiver, "o/1", damaged.as_bytes(), 1, false, 1), None);
    assert_eq!(scene.history.figures.count(Fault::Spurious), 4);
}

#[test]
fn a_group_has_each_message_once() {
    let mut history = History::default();
    let topic = history.add_topic("s/2", "s/2", 2, Kind::Shared);
    let group = history.add_group("group", 2);
    let members = ["a", "b"].map(|name| history.add_receiver(&name.into(), &[], Some(group)));
    let publish = |history: &mut History, members: &[ReceiverId]| {
        let id = history.offer(topic, false);
        history.note(id, &"publisher".into(), COMPLETE);
        for member in members {
            history.arrive(*member, "s/2", payload("s/2", id.number).as_bytes(), 1, false, 2);
        }
    };
    // In any order among its members.
    publish(&mut history, &members[..1]);
    publish(&mut history, &members[1..]);
    history.check();
    assert_eq!(history.figures.total(), 0);
    publish(&mut history, &[]);
    publish(&mut history, &members);
    history.check();
    assert_eq!((history.figures.count(Fault::Lost), history.figures.count(Fault::Duplicated)), (1, 1));
}

#[test]
fn a_subscription_without_fence_is_forgotten() {
    let mut history = History::default();
    let topic = history.add_topic("fence", "fence", 1, Kind::Fence);
    let receiver = history.add_receiver(&"a".into(), &[(Kind::Fence, 1)], None);
    history.set_active(receiver, true);
    let id = history.offer(topic, false);
    history.note(id, &"control".into(), COMPLETE);
    history.check();
    assert_eq!(history.figures.count(Fault::ForgottenSubscription), 1);
    assert_eq!(history.figures.count(Fault::Lost), 0);
}

#[test]
fn retained_is_the_latest_acknowledged_or_a_later_one() {
    let number = |number: u32| [("r/1".to_owned(), payload("r/1", number).into_bytes())];
    for (found, faults) in [(Some(0), 1), (Some(1), 0), (Some(2), 0), (Some(3), 2), (None, 1)] {
        // Number 3 was never sent either.
        let mut scene = Scene::new();
        scene.publish(2, &[COMPLETE]);
        scene.publish(2, &[COMPLETE]);
        scene.publish(2, &[]);
        let found = found.map(number);
        scene.history.look_at_retained(found.as_ref().map(|found| found.as_slice()).unwrap_or_default());
        assert_eq!(scene.history.figures.count(Fault::StaleRetained), faults, "{found:?}");
    }
}

#[test]
fn retained_is_removed_and_stays_over_a_check() {
    let mut scene = Scene::new();
    let id = scene.publish(2, &[COMPLETE]);
    let found = [("r/1".to_owned(), payload("r/1", id.number).into_bytes())];
    scene.history.look_at_retained(&found);
    assert_eq!(scene.faults(), []);
    scene.history.look_at_retained(&found);
    assert_eq!(scene.faults(), []);
    let clear = scene.history.offer(scene.topics[2], true);
    assert_eq!(scene.history.payload(clear), "");
    // As long as it is not acknowledged, both may be.
    scene.history.look_at_retained(&found);
    scene.history.look_at_retained(&[]);
    assert_eq!(scene.history.figures.total(), 0);
    scene.history.note(clear, &scene.name, COMPLETE);
    scene.history.look_at_retained(&[]);
    assert_eq!(scene.history.figures.total(), 0);
    scene.history.look_at_retained(&found);
    assert_eq!(scene.faults(), [(Fault::StaleRetained, 1)]);
}

#[test]
fn an_exchange_without_end_is_seen() {
    let mut scene = Scene::new();
    scene.history.set_unreleased(scene.receiver, 1);
    assert!(!scene.history.is_drained());
    assert_eq!(scene.faults(), [(Fault::Unreleased, 1)]);
}
