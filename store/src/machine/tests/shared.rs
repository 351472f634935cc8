use super::*;

/// Members of the group `g`, with a grant of QoS 2.
fn members(rig: &mut Rig, clients: &[&'static str]) -> Vec<Number> {
    let join = |client: &&'static str| {
        let number = rig.attach(client);
        rig.subscribe(number, "$share/g/t", 2);
        number
    };
    let numbers = clients.iter().map(join).collect();
    rig.heard();
    numbers
}

fn of<'a>(heard: &'a [(&'static str, Heard)], client: &str) -> Vec<&'a str> {
    let payload = |heard: &'a Heard| match heard {
        Heard::Got { payload, .. } => payload.as_str(),
        other => panic!("{other:?}"),
    };
    heard.iter().filter(|(to, _)| *to == client).map(|(_, heard)| payload(heard)).collect()
}

#[test]
fn one_member_gets_it_the_preferred_or_the_next_in_turn() {
    let mut rig = Rig::new();
    let [_, b, _] = members(&mut rig, &["a", "b", "c"])[..] else { unreachable!() };
    for (preferred, payload) in [(b, "1"), (0, "2"), (0, "3"), (0, "4"), (99, "5")] {
        rig.share(preferred, payload, 1);
    }
    let heard = rig.heard();
    assert_eq!((of(&heard, "a"), of(&heard, "b"), of(&heard, "c")), (vec!["3"], vec!["1", "4"], vec!["2", "5"]));
}

#[test]
fn it_waits_at_the_group_until_a_member_has_room() {
    let mut rig = Rig::window(1);
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.detach(b);
    for payload in ["1", "2", "3", "4"] {
        rig.share(b, payload, 1);
    }
    assert_eq!(rig.heard(), [("a", got(1, "1"))], "who is not there keeps nothing from the others");
    rig.acknowledge(a, 1);
    assert_eq!(rig.heard(), [("a", got(2, "2"))]);
    rig.attach("b");
    assert_eq!(rig.heard(), [("b", back(&[])), ("b", got(1, "3"))]);
    let c = rig.attach("c");
    rig.subscribe(c, "$share/g/t", 2);
    assert_eq!(rig.heard(), [("c", new()), ("c", got(1, "4"))], "a new member gets what waits");
}

#[test]
fn a_large_message_waits_at_the_group_and_not_at_a_member() {
    let bytes = 3 * u64::from(weight(&message("1", Qos::AtLeastOnce)));
    let mut rig = Rig::with(Settings { window: Bounds { messages: 10, bytes }, ..Settings::default() });
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.publish(a, "1", 1);
    rig.publish(b, "1", 1);
    rig.share(a, &"x".repeat(bytes as usize), 1);
    rig.heard();
    rig.detach(a);
    rig.acknowledge(b, 1);
    assert_eq!(rig.heard().len(), 1, "b has room now, and a keeps nothing from it");
}

#[test]
fn a_member_that_leaves_gives_back_what_it_has_not_acknowledged() {
    let mut rig = Rig::window(3);
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.detach(b);
    for (payload, qos) in [("1", 1), ("2", 2), ("3", 2), ("4", 1)] {
        rig.share(a, payload, qos);
    }
    rig.heard();
    rig.detach_unsent(a, 3);
    assert_eq!(rig.queue(a), owned(&[(2, "2")]), "QoS 2 that may have been sent is bound to it");
    rig.attach("b");
    let heard = rig.heard();
    assert_eq!(of(&heard[1..], "b"), ["1", "3", "4"], "in their order");
    assert_eq!(rig.log.deliveries.last().map(|delivery| delivery.qos), Some(Qos::AtLeastOnce));
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[(2, "2")]))]);
    rig.receive(a, 2);
    rig.detach(a);
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[(2, "")]))]);
    rig.acknowledge(a, 2);
    assert!(rig.machine.sessions[&a].shares.as_ref().is_some_and(|shares| shares.drawn.is_empty()));
}

#[test]
fn qos_0_that_may_have_been_sent_goes_to_nobody_else() {
    let mut rig = Rig::new();
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.share(a, "1", 0);
    rig.share(a, "2", 0);
    rig.heard();
    rig.detach_unsent(a, 2);
    assert_eq!(of(&rig.heard(), "b"), ["2"]);
    rig.share(b, "3", 0);
    rig.apply(Record::End { session: b });
    assert_eq!((rig.machine.counts().messages, rig.dropped()), (0, vec![]));
}

#[test]
fn what_is_given_back_is_granted_anew() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    rig.subscribe(a, "$share/g/t", 0);
    let b = rig.attach("b");
    rig.apply(Record::Subscribe {
        session: b,
        filter: filter("$share/g/t"),
        options: SubscriptionOptions { retain_as_published: true, id: 7, ..grant(Qos::ExactlyOnce) },
    });
    let head = MessageHead { qos: Qos::ExactlyOnce, retain: true, ..MessageHead::default() };
    let rare = Some(Arc::new(Rare { share: filter("$share/g/t").share_name(), ..Rare::default() }));
    let publish = Publish {
        message: message("1", Qos::ExactlyOnce).with_head(head),
        retains: false,
        exchange: None,
        targets: SmallVec::from_iter([Target { rare, ..target(a, 2) }]),
        cause: Cause::None,
    };
    rig.apply(Record::Publish(Arc::new(publish)));
    let of = |delivery: &Delivery| (delivery.qos, delivery.retain, delivery.subscription_id);
    assert_eq!(rig.log.deliveries.last().map(of), Some((Qos::AtMostOnce, false, 0)));
    let loads = rig.shelf.loads;
    rig.detach_unsent(a, 1);
    assert_eq!(rig.log.deliveries.last().map(of), Some((Qos::ExactlyOnce, true, 7)));
    assert_eq!(rig.shelf.loads, loads + 1, "it is read for who gets it, and for nothing else");
}

#[test]
fn at_its_end_a_member_gives_back_to_the_others_and_not_to_itself() {
    let mut rig = Rig::new();
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.share(a, "1", 1);
    rig.share(a, "2", 2);
    rig.heard();
    rig.apply(Record::End { session: a });
    assert_eq!(rig.heard(), [("b", got(1, "1"))]);
    assert_eq!(rig.dropped(), [(DropCause::Ended, 1)], "QoS 2 that may have been sent goes to nobody else");
    rig.acknowledge(b, 1);
    assert_eq!(rig.machine.counts().messages, 0);
}

#[test]
fn the_last_member_takes_what_waits_with_it() {
    let mut rig = Rig::window(1);
    let [a] = members(&mut rig, &["a"])[..] else { unreachable!() };
    for payload in ["1", "2", "3"] {
        rig.share(a, payload, 1);
    }
    rig.unsubscribe(a, "$share/g/other");
    rig.unsubscribe(a, "$share/g/t");
    assert_eq!(rig.dropped(), [(DropCause::NoMembers, 2)]);
    assert_eq!(rig.queue(a), owned(&[(1, "1")]), "what it was given is still its own");
    rig.share(a, "4", 1);
    assert_eq!(rig.machine.counts().messages, 1, "there is no such group");
    rig.subscribe(a, "$share/g/t", 1);
    rig.share(a, "5", 1);
    rig.detach(a);
    assert_eq!(rig.dropped(), [(DropCause::NoMembers, 1)], "the group that came again is another");
    rig.apply(Record::End { session: a });
    assert_eq!(rig.dropped(), [(DropCause::NoMembers, 1)]);
    assert_eq!((rig.machine.counts(), rig.machine.groups.len()), (Counts::default(), 0));
}

#[test]
fn a_restart_binds_nothing_to_a_member_that_it_was_not_sent_to() {
    let mut rig = Rig::window(2);
    let [a, b] = members(&mut rig, &["a", "b"])[..] else { unreachable!() };
    rig.share(a, "1", 1);
    rig.share(b, "2", 2);
    let share = |rig: &mut Rig, payload| rig.share(a, payload, 2);
    share(&mut rig, "3");
    rig.apply(Record::Restarted { at: 9 });
    rig.heard();
    assert_eq!((rig.queue(a), rig.queue(b)), (owned(&[(2, "3")]), owned(&[(1, "2")])));
    rig.attach("b");
    assert_eq!(rig.heard(), [("b", back(&[(1, "2")])), ("b", got(2, "1"))]);
}

#[test]
fn a_group_is_bounded_as_a_queue_is() {
    let detached = Bounds { messages: 2, bytes: 1 << 20 };
    let window = Bounds { messages: 1, bytes: 1 << 20 };
    let mut rig = Rig::with(Settings { detached, window, ..Settings::default() });
    let [a] = members(&mut rig, &["a"])[..] else { unreachable!() };
    for (payload, qos) in [("1", 1), ("2", 1), ("3", 0), ("4", 1), ("5", 1)] {
        rig.share(a, payload, qos);
    }
    assert_eq!(rig.dropped(), [(DropCause::Qos0, 1), (DropCause::Full, 1)]);
    for id in 1..4 {
        rig.acknowledge(a, id);
    }
    assert_eq!(of(&rig.heard(), "a"), ["1", "4", "5"]);
}

/// Groups are served in one order, whatever the order of joining.
#[test]
fn a_member_of_two_groups_is_offered_the_older_first() {
    let mut rig = Rig::window(1);
    let other = rig.attach("other");
    rig.subscribe(other, "$share/z/t", 1);
    rig.subscribe(other, "$share/g/t", 1);
    let a = rig.attach("a");
    rig.subscribe(a, "$share/g/t", 1);
    rig.subscribe(a, "$share/z/t", 1);
    let groups = rig.machine.sessions[&a].shares.as_ref().map(|shares| shares.groups.clone());
    assert_eq!(groups, Some(rig.machine.groups.keys().copied().collect()));
    rig.apply(Record::End { session: other });
    rig.share(a, "1", 1);
    rig.share(a, "2", 1);
    let share = filter("$share/z/t").share_name();
    rig.publish_with("3", 1, [Target { rare: Some(Arc::new(Rare { share, ..Rare::default() })), ..target(a, 1) }]);
    rig.heard();
    rig.acknowledge(a, 1);
    assert_eq!(rig.heard(), [("a", got(2, "3"))]);
}
