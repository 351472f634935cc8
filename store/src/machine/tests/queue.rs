use super::*;

#[test]
fn messages_keep_their_order_through_the_window() {
    let mut rig = Rig::window(2);
    let a = rig.attach("a");
    for payload in ["1", "2", "3", "4"] {
        rig.publish(a, payload, 1);
    }
    assert_eq!(rig.heard(), [("a", new()), ("a", got(1, "1")), ("a", got(2, "2"))]);
    rig.acknowledge(a, 2);
    assert_eq!(rig.heard(), [("a", got(3, "3"))]);
    rig.acknowledge(a, 1);
    rig.acknowledge(a, 1);
    assert_eq!(rig.heard(), [("a", got(4, "4"))]);
    assert_eq!(rig.queue(a), owned(&[(3, "3"), (4, "4")]));
    rig.acknowledge(a, 3);
    rig.acknowledge(a, 4);
    assert_eq!(rig.machine.counts(), Counts { sessions: 1, ..Counts::default() });
}

#[test]
fn the_window_is_bounded_in_bytes_but_for_one_message() {
    let bytes = u64::from(weight(&message("12345", Qos::AtLeastOnce)));
    let window = Bounds { messages: 10, bytes: 2 * bytes };
    let mut rig = Rig::with(Settings { window, ..Settings::default() });
    let a = rig.attach("a");
    rig.publish(a, &"x".repeat(1000), 1);
    rig.publish(a, "12345", 1);
    assert_eq!(rig.heard().len(), 2, "a large one, and then nothing");
    rig.acknowledge(a, 1);
    rig.publish(a, "12345", 1);
    rig.publish(a, "1", 1);
    assert_eq!(rig.heard(), [("a", got(2, "12345")), ("a", got(3, "12345"))]);
}

#[test]
fn what_is_received_makes_room_for_bytes() {
    let bytes = u64::from(weight(&message("1", Qos::ExactlyOnce)));
    let mut rig = Rig::with(Settings { window: Bounds { messages: 10, bytes }, ..Settings::default() });
    let a = rig.attach("a");
    rig.publish(a, "1", 2);
    rig.publish(a, "2", 2);
    rig.heard();
    rig.receive(a, 1);
    assert_eq!(rig.heard(), [("a", Heard::Got { id: 2, payload: "2".into(), qos: 2 })]);
}

/// One that is never acknowledged while all others are: identifiers come around to it, and then it holds up the rest.
#[test]
fn identifiers_go_around_up_to_the_oldest() {
    let mut rig = Rig::window(8);
    let a = rig.attach("a");
    for turn in 0..4 {
        rig.publish(a, "other", 1);
        rig.acknowledge(a, turn + 1);
    }
    rig.publish(a, "oldest", 1);
    let publish = rig.shelf.messages[&2].clone();
    let mut id = 5;
    for _ in 0..65_534 {
        let at = rig.machine.position() + 1;
        rig.machine.apply(at, Record::Publish(publish.clone()), None, &mut rig.shelf, &mut rig.log);
        id = queue_successor(id);
        let Some((_, Heard::Got { id: given, .. })) = rig.log.heard.pop() else { panic!("it was given") };
        assert_eq!(given, id);
        let record = Record::Acknowledged(Exchange { session: a, packet_id: id });
        rig.machine.apply(at + 1, record, None, &mut rig.shelf, &mut rig.log);
    }
    assert_eq!(id, 4, "all of them");
    rig.machine.check();
    rig.heard();
    rig.publish(a, "next", 1);
    assert_eq!(rig.heard(), [], "no identifier is left");
    assert_eq!(rig.queue(a), owned(&[(5, "oldest"), (0, "next")]));
    rig.acknowledge(a, 5);
    assert_eq!(rig.heard(), [("a", got(5, "next"))]);
}

fn queue_successor(id: u16) -> u16 {
    super::super::queue::successor(id)
}

#[test]
fn exchanges_are_found_around_the_end_of_the_range() {
    let mut rig = Rig::window(100);
    let a = rig.attach("a");
    rig.machine.sessions.get_mut(&a).expect("a session").set_next_packet_id(65_533);
    let payloads: Vec<_> = (0..6).map(|n| n.to_string()).collect();
    for payload in &payloads {
        rig.publish(a, payload, 1);
    }
    let ids: Vec<_> = rig.queue(a).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [65_533, 65_534, 65_535, 1, 2, 3]);
    for id in [65_535, 2, 0, 4, 65_532, 9999] {
        rig.acknowledge(a, id);
    }
    assert_eq!(rig.queue(a), owned(&[(65_533, "0"), (65_534, "1"), (1, "3"), (3, "5")]));
    rig.detach_unsent(a, 1);
    assert_eq!(rig.queue(a), owned(&[(65_533, "0"), (65_534, "1"), (0, "3"), (0, "5")]));
    rig.heard();
    rig.attach("a");
    assert_eq!(rig.heard()[1..], [("a", got(1, "3")), ("a", got(2, "5"))], "under the first that is free");
}

#[test]
fn what_was_not_sent_waits_again_and_the_rest_is_resumed_in_order() {
    let mut rig = Rig::window(4);
    let a = rig.attach("a");
    for (payload, qos) in [("1", 1), ("2", 2), ("3", 0), ("4", 2), ("5", 1)] {
        rig.publish(a, payload, qos);
    }
    rig.receive(a, 2);
    rig.receive(a, 1);
    assert_eq!(rig.machine.counts().messages, 4, "what was taken over is not kept any more; QoS 1 is not taken over");
    rig.detach_unsent(a, 4);
    assert_eq!(rig.machine.counts().messages, 3, "QoS 0 that was sent is done with");
    rig.heard();
    rig.publish(a, "6", 1);
    rig.attach("a");
    let qos2 = Heard::Got { id: 4, payload: "4".into(), qos: 2 };
    assert_eq!(rig.heard(), [("a", back(&[(1, "1"), (2, "")])), ("a", qos2), ("a", got(5, "5"))]);
    rig.acknowledge(a, 2);
    assert_eq!(rig.heard(), [("a", got(6, "6"))]);
}

#[test]
fn what_was_taken_over_was_sent_whatever_is_said() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    for payload in ["1", "2", "3"] {
        rig.publish(a, payload, 2);
    }
    rig.receive(a, 2);
    rig.detach_unsent(a, 1);
    rig.heard();
    rig.attach("a");
    assert_eq!(rig.heard()[0], ("a", back(&[(1, "1"), (2, "")])));
}

fn small(messages: usize, bytes: u64, newest_goes: bool) -> Settings {
    let bounds = Bounds { messages, bytes };
    let window = Bounds { messages: 2, bytes: 1 << 20 };
    Settings { attached: bounds, detached: bounds, window, newest_goes, ..Settings::default() }
}

#[test]
fn a_full_queue_gives_up_qos_0_then_the_oldest_that_was_not_given() {
    let mut rig = Rig::with(small(5, 1 << 20, false));
    let a = rig.attach("a");
    for (payload, qos) in [("1", 0), ("2", 1), ("3", 1), ("4", 0), ("5", 1)] {
        rig.publish(a, payload, qos);
    }
    rig.publish(a, "6", 1);
    assert_eq!(rig.dropped(), [(DropCause::Qos0, 1)]);
    assert_eq!(rig.queue(a), owned(&[(1, "1"), (2, "2"), (0, "3"), (0, "5"), (0, "6")]));
    rig.publish(a, "7", 0);
    assert_eq!(rig.dropped(), [(DropCause::Qos0, 1)], "itself");
    rig.publish(a, "8", 1);
    rig.publish(a, "9", 1);
    rig.publish(a, "10", 1);
    rig.publish(a, "11", 1);
    assert_eq!(rig.dropped(), [(DropCause::Full, 1); 4]);
    assert_eq!(rig.queue(a), owned(&[(1, "1"), (2, "2"), (0, "9"), (0, "10"), (0, "11")]));
}

#[test]
fn a_full_queue_may_give_up_the_newest() {
    let mut rig = Rig::with(small(4, 1 << 20, true));
    let a = rig.attach("a");
    for payload in ["1", "2", "3", "4", "5"] {
        rig.publish(a, payload, 2);
    }
    assert_eq!(rig.queue(a), owned(&[(1, "1"), (2, "2"), (0, "3"), (0, "4")]));
    assert_eq!(rig.dropped(), [(DropCause::Full, 1)]);
}

#[test]
fn a_queue_is_bounded_in_bytes_but_for_one_message() {
    let bytes = u64::from(weight(&message("1", Qos::AtLeastOnce)));
    let mut rig = Rig::with(small(100, 3 * bytes, false));
    let a = rig.attach("a");
    rig.detach(a);
    for payload in ["1", "2", "3", "4"] {
        rig.publish(a, payload, 1);
    }
    assert_eq!(rig.queue(a), owned(&[(0, "2"), (0, "3"), (0, "4")]));
    let large = "x".repeat(5000);
    rig.publish(a, &large, 1);
    assert_eq!(rig.queue(a), owned(&[(0, &large)]));
    assert_eq!(rig.dropped(), [(DropCause::Full, 1); 4]);
}

#[test]
fn when_all_queues_hold_too_much_the_bounds_shrink_to_an_eighth() {
    let bytes_total = 10 * u64::from(weight(&message("1", Qos::AtLeastOnce)));
    let mut rig = Rig::with(Settings { bytes_total, ..small(16, 1 << 20, false) });
    let (a, b) = (rig.attach("a"), rig.attach("b"));
    rig.detach(a);
    rig.detach(b);
    for _ in 0..10 {
        rig.publish_with("1", 1, [target(a, 1), target(b, 1)]);
    }
    rig.publish(a, "1", 1);
    assert_eq!((rig.machine.queued(a).0, rig.machine.queued(b).0), (11, 10), "each message counts once");
    rig.publish(a, "1", 1);
    assert_eq!((rig.machine.queued(a).0, rig.machine.queued(b).0), (2, 10));
    assert_eq!(rig.dropped().len(), 10);
}

#[test]
fn a_message_for_many_is_kept_once_and_forgotten_with_the_last() {
    let mut rig = Rig::new();
    let numbers: Vec<_> = ["a", "b", "c", "d"].map(|client| rig.attach(client)).into();
    rig.detach(numbers[1]);
    let at = rig.publish_with("1", 2, numbers.iter().map(|&number| target(number, 2)));
    assert_eq!(rig.machine.counts().messages, 1);
    assert_eq!(rig.machine.counts().bytes, u64::from(weight(&message("1", Qos::ExactlyOnce))));
    rig.acknowledge(numbers[0], 1);
    rig.apply(Record::End { session: numbers[1] });
    rig.receive(numbers[2], 1);
    rig.receive(numbers[2], 1);
    assert!(rig.machine.is_wanted(at));
    rig.apply(Record::End { session: numbers[2] });
    rig.acknowledge(numbers[3], 1);
    assert!(!rig.machine.is_wanted(at));
    assert_eq!(rig.machine.counts().bytes, 0);
}

#[test]
fn a_message_counts_alike_wherever_it_was_read() {
    let body = b"\x32\x05\x00\x01t\x00\x01payload";
    let live = Message::from_body(MessageHead::default(), body, 4..5, 0..0, 7);
    assert_eq!(live.payload(), b"payload");
    assert_eq!(weight(&live), weight(&message("payload", Qos::AtMostOnce)));
    assert_ne!(
        live.weight(),
        message("payload", Qos::AtMostOnce).weight(),
        "which cannot be said of all they keep alive"
    );
}

#[test]
fn the_host_hears_when_a_connection_falls_behind_and_when_it_has_caught_up() {
    let mut rig = Rig::window(2);
    let a = rig.attach("a");
    for _ in 0..66 {
        rig.publish(a, "x", 1);
    }
    assert!(!rig.heard().contains(&("a", Heard::Behind(true))));
    rig.publish(a, "x", 1);
    assert_eq!(rig.heard(), [("a", Heard::Behind(true))]);
    for id in 1..=65 {
        rig.acknowledge(a, id);
    }
    let heard = rig.heard();
    assert_eq!(heard.iter().filter(|(_, heard)| matches!(heard, Heard::Behind(_))).count(), 1);
    assert_eq!(heard.last(), Some(&("a", Heard::Behind(false))));
}

#[test]
fn deliveries_carry_what_the_target_says() {
    let mut rig = Rig::new();
    let (a, b) = (rig.attach("a"), rig.attach("b"));
    let rare = Some(Arc::new(Rare { further_subscription_ids: SmallVec::from_slice(&[8, 9]), ..Rare::default() }));
    let target_a = Target { subscription_id: 7, retain: true, rare: rare.clone(), ..target(a, 1) };
    rig.publish_with("1", 2, [target(b, 2), target_a]);
    let [to_b, to_a] = &rig.log.deliveries[..] else { panic!("two deliveries") };
    assert_eq!((to_b.subscription_id, to_b.retain, to_b.qos, to_b.rare.is_some()), (0, false, Qos::ExactlyOnce, false));
    assert_eq!((to_a.subscription_id, to_a.retain, to_a.qos, &to_a.rare), (7, true, Qos::AtLeastOnce, &rare));
    rig.detach(a);
    rig.attach("a");
    let again = rig.log.attached[2].outbound[0].delivery.as_ref().expect("a message");
    assert_eq!((again.subscription_id, again.retain, again.qos, &again.rare), (7, true, Qos::AtLeastOnce, &rare));
}
