use proptest::{collection::vec, prelude::*};
use thingway_contract::{Message, MessageHead, Properties, Topic, TopicLimits};

use super::*;

fn delivery(number: u32, qos: Qos) -> Delivery {
    let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), &number.to_be_bytes());
    Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
}

fn send(inflight: &mut Inflight, number: u32, qos: Qos) -> Option<u16> {
    let id = inflight.next_id(0)?;
    inflight.insert(id, delivery(number, qos));
    Some(id)
}

#[test]
fn a_slot_is_half_a_cache_line() {
    assert!(size_of::<Slot>() <= 32);
}

#[test]
fn the_window_is_kept() {
    let mut inflight = Inflight::new(2, 100);
    assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), Some(1));
    assert_eq!(send(&mut inflight, 1, Qos::AtLeastOnce), Some(2));
    assert_eq!(send(&mut inflight, 2, Qos::AtLeastOnce), None);
    inflight.remove(1);
    assert_eq!(send(&mut inflight, 2, Qos::AtLeastOnce), Some(3));
    let mut inflight = Inflight::new(100, 1);
    assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), Some(1));
    assert_eq!(send(&mut inflight, 1, Qos::AtLeastOnce), None);
}

#[test]
fn identifiers_wrap_and_skip_those_in_use() {
    let mut inflight = Inflight::new(10, 10);
    let stuck = send(&mut inflight, 0, Qos::AtLeastOnce).expect("room");
    assert_eq!(stuck, 1);
    let mut last = 1;
    for number in 1..200_000 {
        let id = send(&mut inflight, number, Qos::AtLeastOnce).expect("room");
        assert!(id != stuck && id != 0);
        assert!(id > last || last > 65_000, "{id} after {last}");
        last = id;
        inflight.remove(id);
    }
    assert_eq!(inflight.len(), 1);
    assert!(inflight.slots.len() <= SLOTS_MIN, "one stuck message does not grow the ring");
}

#[test]
fn a_full_range_of_identifiers_can_be_under_way() {
    let mut inflight = Inflight::new(u16::MAX, u16::MAX);
    for number in 0..65_535 {
        assert!(send(&mut inflight, number, Qos::AtLeastOnce).is_some());
    }
    assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), None);
    assert_eq!(inflight.slots.len(), SLOTS_MAX);
    for id in 1..=u16::MAX {
        inflight.remove(id);
    }
    assert_eq!((inflight.len(), inflight.slots.capacity()), (0, 0), "a large empty ring is freed");
    assert!(send(&mut inflight, 0, Qos::AtLeastOnce).is_some());
}

#[test]
fn unsent_messages_go_before_new_ones_as_the_quota_allows() {
    let outbound = vec![
        Unacknowledged { packet_id: 9, delivery: Some(delivery(0, Qos::AtLeastOnce)) },
        Unacknowledged { packet_id: 5, delivery: None },
        Unacknowledged { packet_id: 65_535, delivery: Some(delivery(1, Qos::ExactlyOnce)) },
    ];
    let mut inflight = Inflight::restore(1, 100, 65_535, false, outbound);
    assert_eq!(inflight.released().collect::<Vec<_>>(), [5]);
    assert_eq!(inflight.unsent().map(|(id, _)| id), Some(9));
    assert_eq!(inflight.next_id(0), None);
    inflight.mark_sent(9);
    assert!(inflight.unsent().is_none(), "no quota");
    inflight.remove(5);
    assert!(inflight.unsent().is_none(), "a release takes no quota on this connection, so gives none back");
    inflight.remove(9);
    assert_eq!(inflight.unsent().map(|(id, _)| id), Some(65_535));
    inflight.mark_sent(65_535);
    inflight.release(65_535);
    inflight.remove(65_535);
    assert_eq!(inflight.next_id(0), Some(65_535));
}

fn kept(number: u32, qos: Qos, packet_id: u16) -> Delivery {
    Delivery { packet_id, ..delivery(number, qos) }
}

/// Sends under an identifier that the gateway chose.
fn send_kept(inflight: &mut Inflight, number: u32, qos: Qos, packet_id: u16) -> Option<u16> {
    let id = inflight.next_id(packet_id)?;
    inflight.insert(id, kept(number, qos, packet_id));
    Some(id)
}

#[test]
fn a_chosen_identifier_is_used_and_its_end_is_told() {
    let mut inflight = Inflight::new(100, 100);
    assert_eq!(send(&mut inflight, 0, Qos::AtLeastOnce), Some(1));
    for (number, id) in [(1, 2), (2, 5), (3, 9), (4, 60_000)] {
        assert_eq!(send_kept(&mut inflight, number, Qos::ExactlyOnce, id), Some(id));
    }
    // In use, by whomever.
    for id in [1, 2, 60_000] {
        assert_eq!(send_kept(&mut inflight, 5, Qos::AtLeastOnce, id), None);
    }
    // The ring's own choice goes on where it was, past those.
    assert_eq!(send(&mut inflight, 5, Qos::AtLeastOnce), Some(3));
    assert_eq!(send(&mut inflight, 6, Qos::AtLeastOnce), Some(4));
    assert!([1, 3, 4].iter().all(|&id| !inflight.is_kept(id)));
    assert!(!inflight.remove(1) && !inflight.remove(1));
    inflight.release(5);
    inflight.receive(9);
    assert!([2, 5, 9, 60_000].iter().all(|&id| inflight.is_kept(id)));
    assert!([2, 5, 9, 60_000].iter().all(|&id| inflight.remove(id)));
    assert!(!inflight.has_received());
}

#[test]
fn chosen_identifiers_keep_the_window() {
    let mut inflight = Inflight::new(2, 100);
    assert_eq!(send_kept(&mut inflight, 0, Qos::AtLeastOnce, 8), Some(8));
    assert_eq!(send_kept(&mut inflight, 1, Qos::AtLeastOnce, 7), Some(7));
    assert_eq!(send_kept(&mut inflight, 2, Qos::AtLeastOnce, 6), None);
    inflight.remove(7);
    assert_eq!(send_kept(&mut inflight, 2, Qos::AtLeastOnce, 6), Some(6));
}

#[test]
fn the_ring_grows_for_identifiers_that_share_a_slot() {
    let mut inflight = Inflight::new(100, 100);
    for (id, slots) in [(1, 4), (5, 8), (9, 16), (32_769, 65_536)] {
        assert_eq!(send_kept(&mut inflight, 0, Qos::AtLeastOnce, id), Some(id));
        assert_eq!(inflight.slots.len(), slots);
    }
    for id in [1, 5, 9, 32_769] {
        inflight.remove(id);
    }
    assert_eq!(inflight.slots.capacity(), 0);
}

#[test]
fn what_was_received_but_not_released_is_left_with_its_content() {
    let mut inflight = Inflight::new(100, 100);
    for id in 1..=3 {
        send_kept(&mut inflight, 0, Qos::ExactlyOnce, id);
    }
    inflight.receive(1);
    inflight.receive(2);
    inflight.release(2);
    let left: Vec<_> = inflight.park().outbound.into_iter().map(|e| (e.packet_id, e.delivery.is_some())).collect();
    assert_eq!(left, [(1, true), (2, false), (3, true)]);
    assert!(!inflight.has_received());
}

/// A message under way, as the list knows it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u16,
    number: Option<u32>,
    stage: Stage,
    counted: bool,
    kept: bool,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Of QoS 2, and under an identifier that the gateway chose, or 0.
    Send(bool, u16),
    /// Acknowledges the message at this position, or an unknown one.
    Finish(usize),
    Receive(usize),
    Release(usize),
    /// With another quota.
    Reconnect(u16),
    Resend,
}

fn operation() -> impl Strategy<Value = Operation> {
    let chosen = prop_oneof![2 => Just(0), 1 => 1u16..30, 1 => 65_520..=u16::MAX];
    prop_oneof![
        4 => (any::<bool>(), chosen).prop_map(|(exactly, chosen)| Operation::Send(exactly, chosen)),
        3 => (0usize..40).prop_map(Operation::Finish),
        1 => (0usize..40).prop_map(Operation::Receive),
        1 => (0usize..40).prop_map(Operation::Release),
        1 => (1u16..20).prop_map(Operation::Reconnect),
        2 => Just(Operation::Resend),
    ]
}

proptest! {
    /// The ring against a list: same identifiers, same order, same window.
    #[test]
    fn behaves_like_a_list(operations in vec(operation(), 1..300), start in prop_oneof![Just(1u16), Just(65_530)]) {
        let len_max = 16;
        let mut quota_max = 12u16;
        let mut inflight = Inflight::restore(quota_max, len_max, start, true, Vec::new());
        let mut model: Vec<Entry> = Vec::new();
        for (number, operation) in (0u32..).zip(operations) {
            let quota = quota_max - model.iter().filter(|entry| entry.counted).count() as u16;
            match operation {
                Operation::Send(exactly, chosen) => {
                    let qos = if exactly { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
                    let unsent = model.iter().any(|entry| entry.stage == Stage::Unsent);
                    let in_use = model.iter().any(|entry| entry.id == chosen);
                    let allowed = quota > 0 && !unsent && !in_use && model.len() < usize::from(len_max);
                    let id = send_kept(&mut inflight, number, qos, chosen);
                    prop_assert_eq!(id.is_some(), allowed);
                    if let Some(id) = id {
                        prop_assert!(id == chosen || chosen == 0);
                        prop_assert!(id != 0 && model.iter().all(|entry| entry.id != id));
                        let (stage, kept) = (Stage::Sent, chosen != 0);
                        model.push(Entry { id, number: Some(number), stage, counted: true, kept });
                    }
                }
                Operation::Finish(position) => {
                    if let Some(&Entry { id, kept, .. }) = model.get(position) {
                        prop_assert_eq!(inflight.remove(id), kept);
                        model.remove(position);
                    } else {
                        prop_assert!(!inflight.remove(0));
                    }
                }
                Operation::Receive(position) => {
                    if let Some(entry) = model.get_mut(position).filter(|entry| entry.number.is_some()) {
                        inflight.receive(entry.id);
                        entry.stage = Stage::Received;
                    }
                }
                Operation::Release(position) => {
                    if let Some(entry) = model.get_mut(position) {
                        inflight.release(entry.id);
                        entry.number = None;
                        entry.stage = Stage::Released { kept: entry.kept };
                    }
                }
                Operation::Reconnect(quota) => {
                    quota_max = quota;
                    let parked = inflight.park();
                    let parked_ids: Vec<_> = parked.outbound.iter().map(|entry| entry.packet_id).collect();
                    prop_assert_eq!(parked_ids, model.iter().map(|entry| entry.id).collect::<Vec<_>>());
                    inflight = Inflight::restore(quota, len_max, parked.next_packet_id, true, parked.outbound);
                    for entry in &mut model {
                        // What has no content is kept with the session.
                        entry.kept |= entry.number.is_none();
                        entry.stage =
                            if entry.number.is_some() { Stage::Unsent } else { Stage::Released { kept: true } };
                        entry.counted = false;
                    }
                }
                Operation::Resend => {
                    let expected = model.iter_mut().find(|entry| entry.stage == Stage::Unsent).filter(|_| quota > 0);
                    let unsent = inflight.unsent().map(|(id, delivery)| (id, delivery.message.payload().to_vec()));
                    match (unsent, expected) {
                        (Some((id, payload)), Some(entry)) => {
                            prop_assert_eq!(id, entry.id);
                            prop_assert_eq!(&payload[..], &entry.number.expect("unsent").to_be_bytes()[..]);
                            inflight.mark_sent(id);
                            entry.stage = Stage::Sent;
                            entry.counted = true;
                        }
                        (None, None) => {}
                        (unsent, _) => prop_assert!(false, "{unsent:?}"),
                    }
                }
            }
            prop_assert_eq!(inflight.len(), model.len());
            prop_assert_eq!(inflight.has_received(), model.iter().any(|entry| entry.stage == Stage::Received));
            prop_assert_eq!(
                inflight.released().collect::<Vec<_>>(),
                model.iter().filter(|e| matches!(e.stage, Stage::Released { .. })).map(|e| e.id).collect::<Vec<_>>()
            );
            for entry in &model {
                prop_assert_eq!(inflight.stage(entry.id).map(|(stage, _)| stage), Some(entry.stage));
                prop_assert_eq!(inflight.is_kept(entry.id), entry.kept);
            }
        }
    }
}
