//! Sessions that the gateway keeps through its own restart: it chooses the ids of what it sends, is told how exchanges go on, and answers turns later.

use thingway_contract::{CloseReason, Delivery, DropCause, Parked, Protocol, PublishOutcome, Qos, Unacknowledged};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, PacketType, ReturnCode, State,
    packet::{Puback, Regack, Register, TopicRef},
};

use crate::support::{Asked::*, *};

pub const AB: TopicRef = TopicRef::Short(*b"ab");

pub fn register(topic_id: u16, message_id: u16, topic: &str) -> Packet<'_> {
    Packet::Register(Register { topic_id, message_id, topic })
}

pub fn regack(topic_id: u16, message_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Regack(Regack { topic_id, message_id, code })
}

pub fn puback(message_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Puback(Puback { topic_id: AB.id(), message_id, code })
}

pub fn chosen(topic: &str, qos: Qos, packet_id: u16) -> Delivery {
    Delivery { packet_id, ..delivery(topic, b"x", qos) }
}

pub fn unacknowledged(delivery: Delivery) -> Unacknowledged {
    Unacknowledged { packet_id: delivery.packet_id, delivery: Some(delivery) }
}

const fn released(packet_id: u16) -> Unacknowledged {
    Unacknowledged { packet_id, delivery: None }
}

pub fn left(outbound: Vec<Unacknowledged>) -> Parked {
    Parked { outbound, ..Parked::default() }
}

/// The id of the next REGISTER.
fn next_register(pair: &mut Pair) -> u16 {
    loop {
        if let Ok(Packet::Register(register)) = Packet::decode(&pair.take()) {
            return register.message_id;
        }
    }
}

/// A client of a session that is kept, with nothing under way.
pub fn kept() -> Pair {
    let mut pair = Pair::kept(Parked::default());
    pair.expect(&[accepted()]);
    pair
}

#[test]
fn the_gateways_id_is_sent_and_its_end_is_told() {
    let mut pair = kept();
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 60_000));
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 60_000, b"x")]);
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 1));
    pair.expect_nothing();
    pair.send(&puback(60_000, ReturnCode::Accepted));
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"x")]);
    pair.send(&puback(60_000, ReturnCode::Accepted));
    pair.send(&puback(1, ReturnCode::Accepted));
    assert_eq!(pair.asked(), [Acknowledged(60_000), Acknowledged(1)]);
    // Of the machine's own choice nobody is told, and QoS 0 has no exchange.
    pair.deliver("ab", b"own", Qos::AtLeastOnce);
    pair.send(&puback(1, ReturnCode::Accepted));
    pair.deliver_this(chosen("ab", Qos::AtMostOnce, 9));
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"own"), publish(Qos::AtMostOnce, AB, 0, b"x")]);
    assert_eq!(pair.asked(), []);
    assert!(pair.machine.depart().parked.is_empty());
}

#[test]
fn the_machines_own_ids_keep_away_from_the_gateways() {
    let mut pair = kept();
    for (topic_id, id, own) in [(1, 1, 2), (2, 3, 4), (3, 5, 6)] {
        let topic = format!("a/{topic_id}");
        pair.deliver_this(chosen(&topic, Qos::AtLeastOnce, id));
        pair.expect(&[register(topic_id, own, &topic)]);
        // While its name is told, nothing else is sent.
        pair.deliver_this(chosen("ab", Qos::AtMostOnce, 0));
        pair.expect_nothing();
        pair.send(&regack(topic_id, own, ReturnCode::Accepted));
        pair.expect(&[
            publish(Qos::AtLeastOnce, TopicRef::Normal(topic_id), id, b"x"),
            publish(Qos::AtMostOnce, AB, 0, b"x"),
        ]);
        pair.send(&puback(id, ReturnCode::Accepted));
        assert_eq!(pair.asked(), [Acknowledged(id)]);
    }
    // Those that wait from before are under way as well.
    let outbound = [1, 2, 4].map(|id| unacknowledged(chosen("a/b", Qos::AtLeastOnce, id)));
    let mut pair = Pair::kept(left(outbound.to_vec()));
    pair.expect(&[accepted(), register(1, 3, "a/b")]);
    pair.send(&regack(1, 3, ReturnCode::Accepted));
    pair.expect(&[again(Qos::AtLeastOnce, TopicRef::Normal(1), 1, b"x")]);
    pair.send(&Packet::Puback(Puback { topic_id: 1, message_id: 1, code: ReturnCode::InvalidTopicId }));
    pair.expect(&[register(1, 5, "a/b")]);
}

#[test]
fn what_the_client_does_not_take_is_told_as_over() {
    let mut pair = kept();
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        pair.deliver_this(chosen("ab", qos, 5));
        pair.send(&puback(5, ReturnCode::Congestion));
        assert_eq!(pair.asked(), []);
        pair.send(&puback(5, ReturnCode::NotSupported));
        assert_eq!(pair.asked(), [Acknowledged(5)]);
    }
    // A name that it does not take.
    for (qos, asked) in
        [(Qos::AtMostOnce, &[][..]), (Qos::AtLeastOnce, &[Acknowledged(7)]), (Qos::ExactlyOnce, &[Acknowledged(7)])]
    {
        for code in [ReturnCode::NotSupported, ReturnCode::InvalidTopicId] {
            pair.deliver_this(chosen("a/b", qos, 7));
            let id = next_register(&mut pair);
            pair.send(&regack(1, id, code));
            assert_eq!(pair.asked(), asked);
        }
    }
    assert!(pair.machine.depart().parked.outbound.is_empty());
}

#[test]
fn a_client_that_never_learns_a_name_costs_its_message() {
    let mut pair = kept();
    pair.deliver_this(chosen("a/b", Qos::ExactlyOnce, 7));
    for round in 0..=Config::default().retry_max + 1 {
        let id = next_register(&mut pair);
        pair.send(&regack(1, id, ReturnCode::Accepted));
        pair.send(&Packet::Puback(Puback { topic_id: 1, message_id: 7, code: ReturnCode::InvalidTopicId }));
        // It is told again at once the first time.
        if round > 0 {
            assert_eq!(pair.asked(), []);
            pair.pass_secs(10);
        }
    }
    assert_eq!(pair.asked(), [Acknowledged(7)]);
    // Nor does one for which there is no id left.
    let mut pair = Pair::new(Config { topic_ids_max: 1, ..Config::default() });
    pair.kept = true;
    pair.connect(false);
    pair.expect(&[accepted()]);
    pair.register("a/b");
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 8));
    pair.send(&puback(8, ReturnCode::InvalidTopicId));
    assert_eq!(pair.asked(), [Acknowledged(8)]);
}

#[test]
fn a_client_that_is_lost_leaves_everything_to_the_gateway() {
    let mut pair = kept();
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 5));
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 6));
    pair.pass_secs(40);
    assert_eq!((pair.asked(), pair.faults.as_slice()), (vec![], &[MqttSnFault::NoAnswer][..]));
    assert_eq!((pair.departures[0].parked.outbound[0].packet_id, pair.queue.len()), (5, 1));
}

#[test]
fn what_the_gateway_can_know_at_once_is_dropped_without_a_word() {
    let mut pair = kept();
    pair.deliver_this(Delivery { packet_id: 5, ..delivery("ab", &[0; 2000], Qos::AtLeastOnce) });
    assert_eq!((pair.asked(), pair.dropped.as_slice()), (vec![], &[DropCause::TooLarge][..]));
}

#[test]
fn pubrel_goes_out_when_pubrec_is_kept() {
    let mut pair = kept();
    pair.deliver_this(chosen("ab", Qos::ExactlyOnce, 7));
    pair.expect(&[publish(Qos::ExactlyOnce, AB, 7, b"x")]);
    pair.send(&Packet::Pubrec(7));
    pair.send(&Packet::Pubrec(7));
    // A refusal comes too late, and an end too early.
    pair.send(&puback(7, ReturnCode::NotSupported));
    pair.send(&Packet::Pubcomp(7));
    assert_eq!(pair.asked(), [Received(7)]);
    // Nothing is sent again while the gateway is waited for, however long.
    pair.pass_secs(60);
    pair.expect_nothing();
    pair.answer_all();
    pair.expect(&[Packet::Pubrel(7)]);
    pair.pass_secs(10);
    pair.expect(&[Packet::Pubrel(7)]);
    pair.send(&Packet::Pubrec(7));
    pair.expect(&[Packet::Pubrel(7)]);
    assert_eq!(pair.asked(), []);
    pair.send(&Packet::Pubcomp(7));
    pair.send(&Packet::Pubcomp(7));
    assert_eq!(pair.asked(), [Acknowledged(7)]);
    assert_eq!(pair.machine.inflight_len(), 0);
}

#[test]
fn qos_0_overtakes_what_waits_for_the_gateway() {
    let mut pair = kept();
    pair.deliver_this(chosen("ab", Qos::ExactlyOnce, 7));
    pair.send(&Packet::Pubrec(7));
    pair.deliver("ab", b"0", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::ExactlyOnce, AB, 7, b"x"), publish(Qos::AtMostOnce, AB, 0, b"0")]);
}

#[test]
fn a_client_that_falls_asleep_before_the_gateway_answers_is_released_when_it_is() {
    let mut pair = kept();
    pair.deliver_this(chosen("ab", Qos::ExactlyOnce, 7));
    pair.send(&Packet::Pubrec(7));
    let _ = pair.take();
    pair.sleep(100);
    pair.ping("c");
    pair.pass_secs(30);
    pair.expect_nothing();
    assert_eq!(pair.machine.state(), State::Awake, "PINGRESP comes when all is acknowledged");
    pair.answer_all();
    pair.expect(&[Packet::Pubrel(7)]);
    pair.send(&Packet::Pubcomp(7));
    pair.expect(&[Packet::Pingresp]);
    assert_eq!(pair.asked(), [Received(7), Acknowledged(7)]);
}

#[test]
fn what_was_left_is_told_as_over() {
    let own = Unacknowledged { packet_id: 5, delivery: Some(delivery("ab", b"own", Qos::AtLeastOnce)) };
    let outbound = vec![
        unacknowledged(chosen("ab", Qos::ExactlyOnce, 300)),
        released(9),
        own,
        unacknowledged(chosen("ab", Qos::AtLeastOnce, 4)),
    ];
    let mut pair = Pair::kept(left(outbound));
    pair.expect(&[accepted(), Packet::Pubrel(9)]);
    pair.send(&Packet::Pubcomp(9));
    pair.expect(&[again(Qos::ExactlyOnce, AB, 300, b"x")]);
    pair.send(&Packet::Pubrec(300));
    pair.expect_nothing();
    pair.answer_all();
    pair.expect(&[Packet::Pubrel(300)]);
    pair.send(&Packet::Pubcomp(300));
    pair.expect(&[again(Qos::AtLeastOnce, AB, 5, b"own")]);
    pair.send(&puback(5, ReturnCode::Accepted));
    pair.expect(&[again(Qos::AtLeastOnce, AB, 4, b"x")]);
    pair.send(&puback(4, ReturnCode::Accepted));
    assert_eq!(pair.asked(), [Acknowledged(9), Received(300), Acknowledged(300), Acknowledged(4)]);
    assert!(pair.machine.depart().parked.is_empty());
}

/// Without its content nothing but the session tells whose an exchange is.
#[test]
fn a_release_of_another_session_is_told_to_nobody() {
    let mut pair = Pair::new(Config::default());
    pair.present = Some(left(vec![released(9)]));
    pair.connect(false);
    pair.send(&Packet::Pubcomp(9));
    assert_eq!(pair.asked(), []);
    assert_eq!(pair.machine.inflight_len(), 0);
}

#[test]
fn what_cannot_be_sent_any_more_is_told_as_over() {
    let large = |packet_id| Delivery { packet_id, ..delivery("ab", &[0; 50], Qos::AtLeastOnce) };
    let own = Unacknowledged { packet_id: 2, delivery: Some(large(0)) };
    let long = chosen("a/name/of/more/than/forty/bytes/all/in/all", Qos::ExactlyOnce, 3);
    let outbound =
        vec![unacknowledged(large(1)), own, unacknowledged(long), unacknowledged(chosen("ab", Qos::AtLeastOnce, 4))];
    let mut pair = Pair::new(Config { datagram_bytes_max: 40, ..Config::default() });
    (pair.present, pair.kept) = (Some(left(outbound)), true);
    pair.connect(false);
    pair.expect(&[accepted(), again(Qos::AtLeastOnce, AB, 4, b"x")]);
    assert_eq!(pair.asked(), [Acknowledged(1), Acknowledged(3)]);
}

/// Also when the gateway was killed and knows no names any more: were PUBREC answered as a stranger's, the client would take the message for a new one.
#[test]
fn pubrec_is_heard_while_the_name_is_registered_again() {
    for keeps in [true, false] {
        let packet_id = if keeps { 7 } else { 0 };
        let message = Unacknowledged { packet_id: 7, delivery: Some(chosen("a/b", Qos::ExactlyOnce, packet_id)) };
        let mut pair = Pair::keeping(left(vec![message]));
        pair.kept = keeps;
        pair.connect(false);
        pair.expect(&[accepted(), register(1, 1, "a/b")]);
        pair.silent = true;
        pair.send(&Packet::Pubrec(7));
        pair.send(&regack(1, 1, ReturnCode::Accepted));
        if keeps {
            pair.expect_nothing();
            pair.answer_all();
        }
        pair.expect(&[Packet::Pubrel(7)]);
        pair.send(&Packet::Pubcomp(7));
        assert_eq!(pair.asked(), if keeps { vec![Received(7), Acknowledged(7)] } else { vec![] });
    }
}

#[test]
fn a_late_pubrec_for_what_waits_is_kept_first() {
    let outbound = [7, 8, 9].map(|id| unacknowledged(chosen("ab", Qos::ExactlyOnce, id)));
    let mut pair = Pair::kept(left(outbound.to_vec()));
    pair.expect(&[accepted(), again(Qos::ExactlyOnce, AB, 7, b"x")]);
    for id in [8, 8, 9] {
        pair.send(&Packet::Pubrec(id));
    }
    pair.expect_nothing();
    // Its turn comes before the gateway's answer.
    pair.send(&puback(7, ReturnCode::NotSupported));
    pair.expect(&[again(Qos::ExactlyOnce, AB, 8, b"x")]);
    pair.send(&Packet::Pubrec(8));
    assert_eq!(pair.asked(), [Received(8), Acknowledged(7)]);
    pair.answer_all();
    pair.expect(&[Packet::Pubrel(8)]);
    pair.send(&Packet::Pubrec(9));
    pair.answer_all();
    pair.expect(&[Packet::Pubrel(9)]);
    pair.send(&Packet::Pubcomp(8));
    pair.expect(&[Packet::Pubrel(9)]);
    pair.send(&Packet::Pubcomp(9));
    assert_eq!(pair.asked(), [Received(9), Acknowledged(8), Acknowledged(9)]);
}

#[test]
fn only_qos_2_in_a_kept_session_has_its_id_told() {
    let mut pair = kept();
    pair.send(&publish(Qos::AtMostOnce, AB, 0, b""));
    pair.send(&publish(Qos::AtLeastOnce, AB, 6, b""));
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b""));
    assert_eq!(pair.asked(), [Publish(0), Publish(0), Publish(7)]);
    let mut pair = Pair::active();
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b""));
    pair.send(&Packet::Pubrel(7));
    pair.expect(&[Packet::Pubrec(7), Packet::Pubcomp(7)]);
    assert_eq!(pair.asked(), []);
}

#[test]
fn answers_to_the_client_wait_for_the_gateways() {
    let mut pair = kept();
    for duplicate in [false, true, true] {
        let packet = if duplicate { again } else { publish };
        pair.send(&packet(Qos::AtLeastOnce, AB, 6, b"1"));
        pair.send(&packet(Qos::ExactlyOnce, AB, 7, b"2"));
        pair.pass_secs(12);
    }
    pair.expect_nothing();
    assert_eq!(pair.asked(), [Publish(0), Publish(7)]);
    pair.answer_next();
    pair.expect(&[puback(6, ReturnCode::Accepted)]);
    pair.answer_next();
    pair.expect(&[Packet::Pubrec(7)]);
    pair.send(&again(Qos::ExactlyOnce, AB, 7, b"2"));
    pair.expect(&[Packet::Pubrec(7)]);
    assert_eq!(pair.published().len(), 2);
}

#[test]
fn pubcomp_goes_out_when_the_release_is_kept() {
    let mut pair = kept();
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.answer_all();
    pair.expect(&[Packet::Pubrec(7)]);
    pair.send(&Packet::Pubrel(7));
    pair.send(&Packet::Pubrel(7));
    // Before PUBCOMP the id is not free, for whatever message.
    pair.send(&again(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"y"));
    pair.send(&publish(Qos::AtLeastOnce, AB, 7, b"z"));
    pair.expect_nothing();
    assert_eq!(pair.asked(), [Publish(7), Released(7)]);
    pair.answer_all();
    pair.expect(&[Packet::Pubcomp(7)]);
    pair.send(&Packet::Pubrel(7));
    pair.expect(&[Packet::Pubcomp(7)]);
    // A copy that the network delivers late, and then another message.
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.expect(&[Packet::Pubrec(7)]);
    assert_eq!(pair.asked(), []);
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"y"));
    assert_eq!(pair.asked(), [Publish(7)]);
}

/// Or the gateway would take the next message with this id for the one before.
#[test]
fn an_exchange_that_the_client_has_given_up_is_released() {
    let mut pair = kept();
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b"x"));
    pair.answer_all();
    // It counts from the beginning again.
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b"other"));
    assert_eq!(pair.asked(), [Publish(1), Released(1), Publish(1)]);
    pair.answer_all();
    pair.expect(&[Packet::Pubrec(1), Packet::Pubrec(1)]);
    pair.send(&publish(Qos::AtLeastOnce, AB, 1, b"third"));
    assert_eq!(pair.asked(), [Released(1), Publish(0)]);
    pair.answer_all();
    pair.expect(&[puback(1, ReturnCode::Accepted)]);
    // It never ends any.
    let inbound_max = Config::default().inbound_max;
    for id in 10..=10 + inbound_max {
        pair.send(&publish(Qos::ExactlyOnce, AB, id, b""));
        pair.answer_all();
        pair.expect(&[Packet::Pubrec(id)]);
        let expected = if id < 10 + inbound_max { vec![Publish(id)] } else { vec![Released(10), Publish(id)] };
        assert_eq!(pair.asked(), expected);
    }
    // Those that it has ended need no more, and those that wait for the gateway cannot go.
    let mut pair = kept();
    for id in 1..=inbound_max {
        pair.send(&publish(Qos::ExactlyOnce, AB, id, b""));
    }
    pair.answer_all();
    for id in 1..=inbound_max {
        pair.send(&Packet::Pubrel(id));
    }
    let _ = pair.asked();
    pair.send(&publish(Qos::ExactlyOnce, AB, 100, b""));
    let pubrecs: Vec<_> = (1..=inbound_max).map(Packet::Pubrec).collect();
    pair.expect(&[pubrecs.as_slice(), &[puback(100, ReturnCode::Congestion)]].concat());
    pair.answer_all();
    pair.send(&publish(Qos::ExactlyOnce, AB, 100, b""));
    assert_eq!(pair.asked(), [Publish(100)]);
}

#[test]
fn a_refused_message_leaves_nothing() {
    let mut pair = kept();
    pair.outcome = PublishOutcome::QuotaExceeded;
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.answer_all();
    pair.expect(&[puback(7, ReturnCode::Congestion)]);
    pair.outcome = PublishOutcome::Accepted;
    pair.send(&again(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.answer_all();
    pair.expect(&[Packet::Pubrec(7)]);
    assert_eq!(pair.asked(), [Publish(7), Publish(7)]);
}

/// What the client was not told is left as it was, so that it asks again: that PUBREC came, and that PUBREL came. Incoming messages without an answer are
/// the gateway's to know.
#[test]
fn only_what_was_told_is_left() {
    let mut pair = kept();
    for id in [1, 2, 3] {
        pair.send(&publish(Qos::ExactlyOnce, AB, id, b""));
        pair.answer_all();
    }
    pair.send(&Packet::Pubrel(1));
    pair.answer_all();
    pair.send(&Packet::Pubrel(2));
    pair.send(&publish(Qos::ExactlyOnce, AB, 4, b""));
    pair.deliver_this(chosen("ab", Qos::ExactlyOnce, 11));
    pair.send(&Packet::Pubrec(11));
    pair.close(&CloseReason::ShuttingDown);
    let parked = &pair.departures[0].parked;
    assert_eq!(parked.inbound, [2, 3]);
    let outbound: Vec<_> = parked.outbound.iter().map(|entry| (entry.packet_id, entry.delivery.is_some())).collect();
    assert_eq!(outbound, [(11, true)]);
}

#[test]
fn a_client_that_connects_again_goes_on_with_what_the_gateway_knows() {
    let mut pair = kept();
    pair.send(&publish(Qos::ExactlyOnce, AB, 4, b"x"));
    pair.pass_secs(60);
    // The gateway has taken the message, and nobody was told.
    pair.present = Some(Parked { inbound: vec![4], ..Parked::default() });
    pair.connect(false);
    assert_eq!(pair.departures[0].parked.inbound, []);
    pair.send(&again(Qos::ExactlyOnce, AB, 4, b"x"));
    pair.send(&Packet::Pubrel(4));
    pair.expect(&[accepted(), Packet::Pubrec(4)]);
    pair.answer_all();
    pair.expect(&[Packet::Pubcomp(4)]);
    assert_eq!(pair.asked(), [Publish(4), Released(4)]);
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut pair = kept();
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b""));
    pair.answer_all();
    pair.send(&publish(Qos::AtLeastOnce, AB, 2, b""));
    pair.send(&Packet::Pubrel(1));
    pair.deliver_this(chosen("ab", Qos::ExactlyOnce, 11));
    pair.send(&Packet::Pubrec(11));
    pair.close(&CloseReason::ShuttingDown);
    pair.expect(&[Packet::Pubrec(1), publish(Qos::ExactlyOnce, AB, 11, b"x"), goodbye()]);
    pair.answer_all();
    pair.expect_nothing();
}

#[test]
fn a_release_before_pubrec_is_too_early_in_a_kept_session_too() {
    let mut pair = kept();
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b"x"));
    pair.send(&Packet::Pubrel(1));
    assert_eq!(pair.faults, [MqttSnFault::Unexpected(PacketType::Pubrel)]);
    assert_eq!(pair.asked(), [Publish(1)]);
}
