use proptest::{collection::vec, prelude::*};

use super::*;

/// An instruction. Those that end a conversation are the exception.
fn step() -> impl Strategy<Value = u8> {
    let of = |kind: u8, arguments: std::ops::Range<u8>| arguments.prop_map(move |argument| kind | argument << 3);
    prop_oneof![
        // The client publishes, mostly what can be published.
        300 => of(2, 0..8),
        40 => of(2, 30..32),
        // It repeats, releases and acknowledges as it likes, or as it should.
        15 => of(2, 8..28),
        400 => of(6, 4..32),
        250 => of(3, 0..2),
        10 => of(3, 2..8),
        150 => of(4, 0..32),
        50 => of(7, 0..32).prop_map(|step| step | 8),
        2 => of(5, 0..32),
        2 => of(6, 0..4),
    ]
}

proptest! {
    #[test]
    fn random_bytes(data in vec(any::<u8>(), 0..600)) {
        fuzz_bytes(&data);
    }

    /// Instructions only, so that the conversation gets far.
    #[test]
    fn random_instructions(data in vec(any::<u8>().prop_map(|byte| if byte & 7 == 1 { byte ^ 2 } else { byte }), 0..300), connect in 0u8..32) {
        let data = [&[connect << 3, 3], &data[..]].concat();
        for version in Version::ALL {
            Conversation::new(version, false).follow(&data);
            Conversation::new(version, true).follow(&data);
        }
    }

    /// Valid packets, answers and deliveries for the most part, so that many exchanges are under way.
    #[test]
    fn long_conversations(steps in vec(step(), 0..300), connect in 0u8..8) {
        let data = [&[connect << 3, 3], &steps[..]].concat();
        for version in Version::ALL {
            Conversation::new(version, false).follow(&data);
            Conversation::new(version, true).follow(&data);
        }
    }

    /// Valid packets with a few bytes changed.
    #[test]
    fn damaged_packets(
        choices in vec((0u8..32, any::<bool>()), 1..20), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let packets: [&[u8]; 14] = [
            b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0", b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c", b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01c",
            b"\x30\x07\0\x03a/b\0x", b"\x32\x09\0\x03a/b\0\x01\0x", b"\x34\x0c\0\x03a/b\0\x02\x03\x23\0\x01x", b"\x40\x02\0\x01", b"\x50\x03\0\x01\0",
            b"\x62\x02\0\x02", b"\x82\x09\0\x05\0\0\x03a/#\x01", b"\xa2\x08\0\x06\0\0\x03a/#", b"\xc0\0", b"\xe0\x01\x04", b"\xf0\x06\x18\x04\x15\0\x01M",
        ];
        let mut data = Vec::new();
        for (choice, twice) in choices {
            for _ in 0..=u8::from(twice) {
                data.extend_from_slice(packets[usize::from(choice) % packets.len()]);
            }
        }
        for (index, byte) in damage {
            let at = index.index(data.len());
            data[at] = byte;
        }
        fuzz_bytes(&data);
    }
}
