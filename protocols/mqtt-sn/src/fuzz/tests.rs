use proptest::{collection::vec, prelude::*};

use super::*;

proptest! {
    #[test]
    fn random_bytes(data in vec(any::<u8>(), 0..400)) {
        fuzz_bytes(&data);
    }

    /// Instructions only, so that the conversation gets far.
    #[test]
    fn random_instructions(data in vec(any::<u8>().prop_map(|byte| if byte & 7 == 0 { byte | 1 } else { byte }), 0..300), choice in 0u8..64) {
        let data = [&[choice & !7 | 1], &data[..]].concat();
        fuzz_bytes(&data);
    }

    /// Datagrams of the form of messages.
    #[test]
    fn random_messages(messages in vec((0u8..0x20, vec(any::<u8>(), 0..8)), 0..60)) {
        let mut peer = Simulation::new(b"", 0);
        peer.receive(&[7, 0x04, 0, 1, 0, 60, b'c']);
        for (kind, body) in messages {
            peer.receive(&[&[body.len() as u8 + 2, kind], &body[..]].concat());
            peer.answer_all();
        }
        peer.end();
    }

    /// Names come and go, as many as the gateway is not told of at each change.
    #[test]
    fn random_names(steps in vec((0u8..20, 0u8..24), 0..120)) {
        let connect = [7, 0x04, 0, 1, 0, 60, b'c'];
        let mut peer = Simulation::new(b"", 32);
        peer.receive(&connect);
        for (what, name) in steps {
            match what {
                0..13 => peer.receive(&[8, 0x0a, 0, 0, 0, 1, b'n', b'a' + name]),
                13..16 => peer.receive(&[7, 0x0d, 0, name, 0, 0, 2]),
                16 => peer.receive(&[4, 0x18, 0, 50 + (name & 1)]),
                17 => peer.receive(&[7, 0x04, (name & 1) << 2, 1, 0, 60, b'c']),
                18 => peer.receive(&[2, 0x16]),
                _ => {
                    if peer.attached && peer.kept {
                        peer.kill();
                    }
                    peer.receive(&connect);
                }
            }
        }
        peer.end();
    }

    /// A gateway that was killed has much left, and its client may answer any of it.
    #[test]
    fn random_answers_to_what_was_left(choices in vec(0u8..32, 2..8), data in vec(any::<u8>(), 0..200)) {
        let mut peer = Simulation::new(b"", 32);
        peer.receive(&[7, 0x04, 0, 1, 0, 60, b'c']);
        for choice in choices {
            peer.number = choice;
            peer.deliver(choice);
        }
        peer.kill();
        peer.receive(&[7, 0x04, 0, 1, 0, 60, b'c']);
        for piece in data.chunks_exact(2) {
            match piece[0] % 8 {
                0..3 => peer.receive(&[4, 0x0f, 0, piece[0] >> 5]),
                3 => peer.receive(&[4, 0x0e, 0, piece[0] >> 5]),
                4 => peer.receive(&[7, 0x0d, 0, piece[1], 0, piece[0] >> 5, 0]),
                _ => drop(peer.follow_one(piece[1], &[])),
            }
        }
        peer.end();
    }
}
