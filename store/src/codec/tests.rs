use proptest::{collection::vec, option, prelude::*};
use thingway_contract::{PropertiesBuilder, Property, Topic};

use super::*;
use crate::shelf::records;

const EPOCH: Epoch = Epoch(1_700_000_000_000);

fn instant() -> impl Strategy<Value = Instant> {
    prop_oneof![(0..u64::MAX / 4).prop_map(Instant::from_millis), Just(Instant::NEVER)]
}

fn qos() -> impl Strategy<Value = Qos> {
    (0..3_u8).prop_map(|qos| Qos::from_u8(qos).expect("a quality of service"))
}

fn message() -> impl Strategy<Value = Message> {
    let head = (qos(), any::<bool>(), any::<bool>(), instant(), instant());
    let head = head.prop_map(|(qos, retain, own, received_at, expires_at)| {
        let publisher = if own { PublisherKey::default() } else { EARLIER_RUN };
        MessageHead { qos, retain, publisher, received_at, expires_at }
    });
    let properties = vec(("[a-z]{0,5}", "\\PC{0,5}"), 0..3);
    (head, "[a-zäß/$]{1,20}", properties, vec(any::<u8>(), 0..300)).prop_map(|(head, topic, properties, payload)| {
        let mut builder = PropertiesBuilder::new();
        for (name, value) in &properties {
            builder.push(Property::UserProperty(name, value));
        }
        let topic = Topic::parse(&topic, LIMITS).expect("a topic");
        Message::new(head, topic, builder.as_properties(), &payload)
    })
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let kind = prop_oneof![Just(""), Just("$share/g/"), Just("$queue/"), Just("$exclusive/"), Just("$share/$queue/")];
    let filter = prop_oneof!["[a-zä/]{1,20}", Just("#".to_owned()), Just("+/$share/a/#".to_owned())];
    (kind, filter).prop_map(|(kind, filter)| TopicFilter::parse(&format!("{kind}{filter}"), LIMITS).expect("a filter"))
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling =
        prop_oneof![Just(RetainHandling::Send), Just(RetainHandling::SendIfNew), Just(RetainHandling::DoNotSend)];
    (qos(), any::<bool>(), any::<bool>(), handling, any::<u32>()).prop_map(
        |(qos, no_local, retain_as_published, retain_handling, id)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            id,
        },
    )
}

fn will() -> impl Strategy<Value = Option<Box<Will>>> {
    let will = (message(), any::<u32>(), option::of(any::<u32>()));
    let will = will.prop_map(|(message, delay_secs, expiry_secs)| Box::new(Will { message, delay_secs, expiry_secs }));
    option::of(will)
}

fn exchange() -> impl Strategy<Value = Exchange> {
    any::<(u64, u16)>().prop_map(|(session, packet_id)| Exchange { session, packet_id })
}

fn begun() -> impl Strategy<Value = Option<Exchange>> {
    option::of(exchange().prop_filter("0 stands for none", |exchange| exchange.packet_id != 0))
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![Just(Cause::None), any::<u64>().prop_map(Cause::Will), any::<u64>().prop_map(Cause::Delayed)]
}

fn target() -> impl Strategy<Value = Target> {
    let share = ("[a-z]{1,3}", "[a-z/]{1,9}")
        .prop_map(|(group, filter)| ShareName { group: group.as_str().into(), filter: filter.as_str().into() });
    let rare = (vec(any::<u32>(), 0..6), option::of(share)).prop_map(|(ids, share)| {
        Arc::new(Rare { further_subscription_ids: SmallVec::from_vec(ids), share, ..Rare::default() })
    });
    (any::<u64>(), qos(), any::<bool>(), any::<u32>(), option::of(rare)).prop_map(
        |(session, qos, retain, subscription_id, rare)| Target { session, qos, retain, subscription_id, rare },
    )
}

fn extras() -> impl Strategy<Value = Extras> {
    let topic_id = ("\\PC{0,9}", any::<u16>(), any::<bool>());
    let topic_id = topic_id.prop_map(|(name, id, known)| TopicId { id, name: name.as_str().into(), known });
    let resumption = (any::<u64>(), instant()).prop_map(|(key, until)| Resumption { key, until });
    let names = (vec(any::<u8>(), 0..9), filter(), options(), any::<u64>());
    let numbers = (any::<u32>(), option::of(any::<u16>()), any::<u8>(), any::<u32>(), any::<bool>(), instant());
    let observation = (names, numbers).prop_map(|((token, filter, options, key), numbers)| {
        let (sequence, accept, block_exponent, check_secs, ends_when_empty, ends_at) = numbers;
        let token = token.into();
        Observation {
            token,
            filter,
            options,
            key,
            sequence,
            accept,
            block_exponent,
            check_secs,
            ends_when_empty,
            ends_at,
        }
    });
    (vec(topic_id, 0..4), vec(observation, 0..3), any::<u16>(), option::of(resumption)).prop_map(
        |(topic_ids, observations, sleep_secs, resumption)| Extras { topic_ids, observations, sleep_secs, resumption },
    )
}

fn attach() -> impl Strategy<Value = Record> {
    ("[a-zä]{1,30}", any::<u32>(), will(), any::<bool>()).prop_map(|(client_id, expiry_secs, will, keep_will)| {
        let client_id = ClientId::new(&client_id, 1000).expect("an identifier");
        Record::Attach(Box::new(Attach { client_id, expiry_secs, will, keep_will }))
    })
}

fn detach() -> impl Strategy<Value = Record> {
    let will = prop_oneof![Just(WillFate::Publish), Just(WillFate::Discard), Just(WillFate::Keep)];
    (any::<[u64; 3]>(), option::of(any::<u32>()), will, any::<u16>()).prop_map(
        |([session, attach, at], expiry_secs, will, unsent)| Record::Detach {
            session,
            attach,
            at,
            expiry_secs,
            will,
            unsent,
        },
    )
}

fn publish() -> impl Strategy<Value = Record> {
    (message(), any::<bool>(), begun(), vec(target(), 0..4), cause()).prop_map(
        |(message, retains, exchange, targets, cause)| {
            let targets = SmallVec::from_vec(targets);
            Record::Publish(Arc::new(Publish { message, retains, exchange, targets, cause }))
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        attach(),
        detach(),
        any::<u64>().prop_map(|session| Record::End { session }),
        (any::<u64>(), will()).prop_map(|(session, will)| Record::SetWill { session, will }),
        (any::<u64>(), extras()).prop_map(|(session, extras)| Record::Keep { session, extras: Box::new(extras) }),
        (any::<u64>(), filter(), options()).prop_map(|(session, filter, options)| Record::Subscribe {
            session,
            filter,
            options
        }),
        (any::<u64>(), filter()).prop_map(|(session, filter)| Record::Unsubscribe { session, filter }),
        publish(),
        (any::<(u64, u64)>(), message(), begun()).prop_map(|((id, due), message, exchange)| Record::Delay {
            id,
            due,
            message,
            exchange
        }),
        cause().prop_map(Record::Spent),
        exchange().prop_map(Record::Acknowledged),
        exchange().prop_map(Record::Received),
        exchange().prop_map(Record::Released),
        any::<u64>().prop_map(|at| Record::Restarted { at }),
    ]
}

fn encoded<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut block = Vec::new();
    records.into_iter().for_each(|record| record.encode(EPOCH, &mut block));
    block
}

#[test]
fn a_count_reserves_nothing() {
    let mut block = vec![kind::PUBLISH];
    block.number(0);
    block.push(0);
    block.push(0);
    block.number(u64::MAX);
    assert!(records(1, &block, EPOCH).is_err());
    let mut block = vec![kind::KEEP];
    [1, 0, 0, u64::MAX].into_iter().for_each(|number| block.number(number));
    assert!(records(1, &block, EPOCH).is_err());
}

#[test]
fn times_are_the_walls() {
    let later = Epoch(EPOCH.0 + 5000);
    let at = Instant::from_millis(7000);
    assert_eq!(later.instant(EPOCH.wall(at)), Instant::from_millis(2000));
    assert_eq!(later.instant(EPOCH.wall(Instant::from_millis(10))), Instant::ZERO, "before the clock began");
    assert_eq!(later.instant(EPOCH.wall(Instant::NEVER)), Instant::NEVER);
}

proptest! {
    #[test]
    fn what_is_written_is_read(list in vec(record(), 0..6)) {
        let block = encoded(&list);
        let read = records(1, &block, EPOCH).expect("what was written");
        prop_assert_eq!(format!("{read:?}"), format!("{list:?}"));
        prop_assert_eq!(encoded(&read), block, "payloads too");
    }

    #[test]
    fn a_block_that_was_cut_is_refused_or_has_fewer_records(list in vec(record(), 1..4), cut in any::<prop::sample::Index>()) {
        let block = encoded(&list);
        if let Ok(read) = records(1, &block[..cut.index(block.len())], EPOCH) {
            prop_assert!(read.len() < list.len());
        }
    }

    #[test]
    fn a_damaged_block_is_read_or_refused(
        list in vec(record(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut block = encoded(&list);
        for (at, byte) in damage {
            let at = at.index(block.len());
            block[at] = byte;
        }
        crate::fuzz_bytes(&block);
    }
}
