use super::*;
use crate::Extras;

#[test]
fn a_session_is_small_while_it_sleeps() {
    // Ten million of them, with a name of 20 bytes: this in a box, the box in a table, the name, and the name in a table. Two gigabytes.
    type Handle = (Arc<str>, u32);
    assert!(size_of::<Kept<Handle>>() <= 96, "{}", size_of::<Kept<Handle>>());
    let entry = size_of::<(Number, Box<Kept<Handle>>)>() + size_of::<(ClientId, Number)>() + 2;
    assert!(size_of::<Kept<Handle>>() + 2 * entry + 16 + 20 <= 220, "{entry}");
    let mut rig = Rig::new();
    let a = rig.attach("a");
    rig.publish(a, "1", 1);
    rig.acknowledge(a, 1);
    rig.detach(a);
    rig.machine.flushed();
    let kept = &rig.machine.sessions[&a];
    assert!(kept.queue().is_none() && kept.link.is_none() && kept.shares.is_none());
}

#[test]
fn inbound_exchanges_are_open_until_released() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    for packet_id in [5, 3, 5, 9] {
        let exchange = Some(Exchange { session: a, packet_id });
        let publish = Publish {
            message: message("x", Qos::ExactlyOnce),
            retains: false,
            exchange,
            targets: SmallVec::new(),
            cause: Cause::None,
        };
        rig.apply(Record::Publish(Arc::new(publish)));
    }
    rig.apply(Record::Delay {
        id: 1,
        due: 9,
        message: message("later", Qos::ExactlyOnce),
        exchange: Some(Exchange { session: a, packet_id: 2 }),
    });
    rig.apply(Record::Released(Exchange { session: a, packet_id: 3 }));
    rig.detach(a);
    rig.attach("a");
    assert_eq!(rig.log.attached[1].inbound, [5, 9, 2]);
    for packet_id in [5, 9, 2, 2] {
        rig.apply(Record::Released(Exchange { session: a, packet_id }));
    }
    rig.attach("a");
    assert!(rig.log.attached[2].inbound.is_empty());
}

#[test]
fn a_will_counts_rests_and_is_spent() {
    let mut rig = Rig::new();
    let a = rig.attach_with("a", |attach| attach.will = will("1"));
    let told = |rig: &Rig| rig.log.attached.last().and_then(|attached| Some(payload(&attached.will.as_ref()?.message)));
    let viewed = |rig: &Rig| {
        let view = rig.machine.sessions().next().expect("a session");
        view.will.map(|will| payload(&will.message))
    };
    assert_eq!(told(&rig).as_deref(), Some("1"));
    rig.detach(a);
    assert_eq!(viewed(&rig).as_deref(), Some("1"), "it is to be published");
    rig.apply(Record::Spent(Cause::Will(a)));
    assert_eq!(viewed(&rig), None);

    rig.attach_with("a", |attach| attach.will = will("2"));
    let attach = rig.machine.sessions[&a].attach;
    let (expiry_secs, unsent) = (None, 0);
    rig.apply(Record::Detach { session: a, attach, at: 9, expiry_secs, will: WillFate::Keep, unsent });
    assert_eq!(viewed(&rig), None, "it rests");
    rig.attach_with("a", |attach| attach.keep_will = true);
    assert_eq!((told(&rig).as_deref(), viewed(&rig).as_deref()), (Some("2"), Some("2")), "it counts again");
    rig.apply(Record::SetWill { session: a, will: will("3") });
    assert_eq!(viewed(&rig).as_deref(), Some("3"));
    let attach = rig.machine.sessions[&a].attach;
    rig.apply(Record::Detach { session: a, attach, at: 9, expiry_secs, will: WillFate::Discard, unsent });
    assert_eq!(viewed(&rig), None);
    rig.attach_with("a", |attach| attach.keep_will = true);
    assert_eq!(told(&rig), None);
    rig.apply(Record::SetWill { session: a, will: will("4") });
    rig.attach("a");
    assert_eq!(told(&rig), None, "whoever does not ask for it has none");
}

#[test]
fn what_a_conversation_leaves_is_found_by_the_next() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    let extras = Extras { sleep_secs: 7, ..Extras::default() };
    rig.apply(Record::Keep { session: a, extras: Box::new(extras.clone()) });
    rig.attach("a");
    assert_eq!(rig.log.attached[1].extras.as_deref(), Some(&extras));
    rig.apply(Record::Keep { session: a, extras: Box::default() });
    rig.attach("a");
    assert_eq!(rig.log.attached[2].extras, None);
}

#[test]
fn a_connection_takes_over_from_one_that_said_nothing() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    let first = rig.log.attached[0].attach;
    rig.publish(a, "1", 1);
    assert_eq!(rig.attach("a"), a);
    assert_eq!(rig.heard().last(), Some(&("a", back(&[(1, "1")]))));
    let (at, expiry_secs, will, unsent) = (9, Some(0), WillFate::Discard, 0);
    rig.apply(Record::Detach { session: a, attach: first, at, expiry_secs, will, unsent });
    rig.publish(a, "2", 1);
    assert_eq!(rig.heard(), [("a", got(2, "2"))], "who is gone is not who has it");
    rig.detach(a);
    rig.apply(Record::Detach { session: a, attach: 0, at, expiry_secs, will, unsent });
    assert_eq!(rig.machine.find("a"), Some(a), "nobody has it");
}

#[test]
fn a_session_that_ends_with_its_connection_is_made_anew_at_a_takeover() {
    let mut rig = Rig::new();
    let a = rig.attach_with("a", |attach| attach.expiry_secs = 0);
    rig.publish(a, "1", 1);
    rig.heard();
    let again = rig.attach("a");
    assert_ne!(a, again);
    assert_eq!(rig.heard(), [("a", new())]);
    assert_eq!(rig.machine.counts(), Counts { sessions: 1, ..Counts::default() });
}

#[test]
fn an_end_takes_all_with_it() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    rig.subscribe(a, "x", 1);
    rig.publish(a, "1", 1);
    rig.apply(Record::End { session: a });
    rig.apply(Record::End { session: a });
    assert_eq!(rig.machine.find("a"), None);
    assert_eq!(rig.machine.counts(), Counts::default());
    assert_eq!(rig.machine.dirty_subscriptions().count(), 0);
    // Nobody is there any more.
    let dirty = rig.machine.dirty();
    rig.publish(a, "2", 1);
    rig.subscribe(a, "x", 1);
    rig.unsubscribe(a, "x");
    rig.acknowledge(a, 1);
    rig.receive(a, 1);
    rig.apply(Record::SetWill { session: a, will: will("1") });
    assert_eq!(rig.machine.dirty(), dirty);
    assert_ne!(rig.attach("a"), a, "another session has another number");
}

#[test]
fn a_detach_may_end_it_and_a_restart_too() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    let attach = rig.machine.sessions[&a].attach;
    let (expiry_secs, will, unsent) = (Some(0), WillFate::Publish, 0);
    rig.apply(Record::Detach { session: a, attach, at: 9, expiry_secs, will, unsent });
    assert_eq!(rig.machine.find("a"), None);
    rig.attach_with("b", |attach| attach.expiry_secs = 0);
    let c = rig.attach("c");
    let d = rig.attach("d");
    rig.detach(d);
    rig.publish(c, "1", 1);
    rig.publish(c, "2", 0);
    rig.apply(Record::Restarted { at: 77 });
    assert_eq!(rig.machine.find("b"), None);
    let mut views: Vec<_> = rig.machine.sessions().map(|view| (view.number, view.attached, view.detached_at)).collect();
    views.sort_unstable();
    assert_eq!(views, [(c, false, 77), (d, false, 5)]);
    assert_eq!(rig.queue(c), owned(&[(1, "1")]));
}

#[test]
fn delayed_messages_wait_until_they_are_published() {
    let mut rig = Rig::new();
    let delay = |id| Record::Delay { id, due: 100 * id, message: message("x", Qos::AtLeastOnce), exchange: None };
    rig.apply(delay(1));
    let at = rig.apply(delay(2));
    rig.apply(Record::Spent(Cause::Delayed(1)));
    assert_eq!(rig.machine.delayed().collect::<Vec<_>>(), [(2, 200, at)]);
    let publish = Publish {
        message: message("x", Qos::AtLeastOnce),
        retains: false,
        exchange: None,
        targets: SmallVec::new(),
        cause: Cause::Delayed(2),
    };
    rig.apply(Record::Publish(Arc::new(publish)));
    assert_eq!(rig.machine.counts().delayed, 0);
}
