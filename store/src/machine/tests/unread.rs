//! What cannot be read changes nothing of what is kept.

use super::*;

#[test]
fn a_connection_waits_until_a_message_can_be_read() {
    let mut rig = Rig::window(2);
    let a = rig.attach("a");
    let all = ["1", "2", "3", "4"].map(|payload| rig.publish(a, payload, 1));
    rig.heard();
    rig.shelf.unread.insert(all[2]);
    rig.acknowledge(a, 1);
    rig.acknowledge(a, 2);
    assert_eq!(rig.heard(), [], "not even the fourth, which could be read: they come in order");
    assert_eq!(rig.queue(a), owned(&[(3, "3"), (4, "4")]), "but the log has its way");
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), []);
    rig.shelf.unread.clear();
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), [("a", got(3, "3")), ("a", got(4, "4"))]);
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!((rig.heard(), rig.dropped()), (vec![], vec![]));
}

#[test]
fn acknowledgements_that_come_meanwhile_are_no_harm() {
    let mut rig = Rig::window(3);
    let a = rig.attach("a");
    let all = ["1", "2", "3", "4", "5"].map(|payload| rig.publish(a, payload, 1));
    rig.shelf.unread.insert(all[3]);
    rig.acknowledge(a, 1);
    rig.acknowledge(a, 2);
    rig.heard();
    // The one that could not be read, though it was never sent; then one that was sent.
    rig.acknowledge(a, 4);
    rig.acknowledge(a, 3);
    rig.publish(a, "6", 1);
    assert_eq!(rig.heard(), []);
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), [("a", got(5, "5")), ("a", got(6, "6"))]);
}

#[test]
fn a_connection_is_told_of_its_session_when_that_can_be_read() {
    let mut rig = Rig::window(2);
    let a = rig.attach("a");
    let all = ["1", "2", "3"].map(|payload| rig.publish(a, payload, 1));
    rig.detach(a);
    rig.heard();
    rig.shelf.unread.insert(all[1]);
    rig.attach("a");
    rig.publish(a, "4", 1);
    assert_eq!(rig.heard(), []);
    rig.acknowledge(a, 1);
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), []);
    rig.shelf.unread.clear();
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), [("a", back(&[(2, "2")])), ("a", got(3, "3"))]);
    assert_eq!(rig.queue(a), owned(&[(2, "2"), (3, "3"), (0, "4")]));
}

#[test]
fn whoever_has_left_hears_nothing() {
    let mut rig = Rig::new();
    let a = rig.attach("a");
    rig.detach(a);
    let at = rig.publish(a, "1", 1);
    rig.shelf.unread.insert(at);
    rig.attach("a");
    rig.heard();
    rig.detach(a);
    rig.shelf.unread.clear();
    rig.machine.retry(&mut rig.shelf, &mut rig.log);
    assert_eq!(rig.heard(), []);
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[(1, "1")]))]);
}

#[test]
fn what_is_nowhere_to_be_found_is_over_when_the_log_says_so() {
    let mut rig = Rig::window(2);
    let a = rig.attach("a");
    rig.detach(a);
    let all = ["1", "2", "3"].map(|payload| rig.publish(a, payload, 1));
    rig.shelf.messages.remove(&all[0]);
    rig.heard();
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[])), ("a", got(2, "2"))]);
    assert_eq!(rig.dropped(), [(DropCause::Unreadable, 1)]);
    let lost = Exchange { session: a, packet_id: 1 };
    assert_eq!(rig.machine.lost(), [lost]);
    assert_eq!(rig.machine.lost(), [lost], "as long as it is there");
    rig.detach_unsent(a, 0);
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[(2, "2")]))]);
    rig.apply(Record::Acknowledged(lost));
    assert_eq!(rig.machine.lost(), []);
    assert_eq!(rig.heard(), [("a", got(3, "3"))]);
}

#[test]
fn an_identifier_that_another_message_has_now_is_not_lost() {
    let bounds = Bounds { messages: 1, bytes: 1 << 20 };
    let mut rig = Rig::with(Settings { detached: bounds, ..Settings::default() });
    let a = rig.attach("a");
    rig.detach(a);
    let at = rig.publish(a, "1", 1);
    rig.shelf.messages.remove(&at);
    rig.attach("a");
    rig.detach_unsent(a, 1);
    rig.publish(a, "2", 1);
    rig.heard();
    rig.attach("a");
    assert_eq!(rig.heard(), [("a", back(&[])), ("a", got(1, "2"))]);
    assert_eq!(rig.machine.lost(), []);
}
