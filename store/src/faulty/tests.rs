use proptest::prelude::*;

use super::*;
use crate::conformance::{self, Checked, Model, Step, put};

#[test]
fn keeps_to_the_trait() {
    for durability in [Durability::Fsync, Durability::Os, Durability::Memory] {
        conformance::check(&mut || Box::new(Faulty::new(durability, 7)));
    }
}

#[test]
fn what_was_promised_survives_and_the_rest_only_sometimes() {
    let mut survived = [0; 4];
    for seed in 0..200 {
        let mut backend = Faulty::new(Durability::Os, seed);
        backend.append(1, b"promised to survive a kill").expect("appended");
        backend.write(vec![put(Table::Meta, b"key", b"promised nothing")]).expect("written");
        let mut other = backend.clone();
        backend.kill();
        assert!(matches!(backend.block(1), Err(BackendError::Io(_))), "it is not open");
        backend.open();
        assert!(backend.block(1).expect("read").is_some(), "seed {seed}");
        survived[0] += usize::from(backend.row(Table::Meta, b"key").expect("read").is_some());
        other.power_cut();
        let cut_bytes = other.open();
        let block = other.block(1).expect("read").is_some();
        let row = other.row(Table::Meta, b"key").expect("read").is_some();
        assert!(block || !row, "seed {seed}: not a prefix");
        assert!(cut_bytes < 8 + 26 && (cut_bytes == 0 || !row), "seed {seed}");
        survived[1] += usize::from(block);
        survived[2] += usize::from(row);
        survived[3] += usize::from(cut_bytes > 0);
        assert_eq!(other.open(), 0, "it is told once");
    }
    assert!(survived.iter().all(|&count| (20..180).contains(&count)), "{survived:?}");
}

#[test]
fn memory_survives_nothing() {
    let mut backend = Faulty::new(Durability::Memory, 1);
    backend.append(1, b"block").expect("appended");
    backend.kill();
    assert_eq!(backend.open(), 0);
    assert_eq!(backend.block(1).expect("read"), None);
    assert_eq!(backend.bytes(), 0);
}

#[test]
fn fails_at_the_calls_it_is_told() {
    let mut backend = Faulty::new(Durability::Fsync, 1);
    backend.fail_at(2, Failure::Io);
    backend.fail_at(3, Failure::Full);
    backend.append(1, b"block").expect("the first call");
    assert!(matches!(backend.append(2, b"block"), Err(BackendError::Io(_))));
    backend.block(2).expect("a call that only reads is not told that the disk is full");
    assert!(matches!(backend.append(2, b"block"), Err(BackendError::Full(_))));
    assert_eq!(backend.block(2).expect("read").expect("a block").0, 1, "nothing was appended");
    backend.append(2, b"block").expect("it can be asked again");
    assert_eq!(backend.calls(), 6);
}

#[test]
fn full_until_something_is_trimmed() {
    let mut backend = Faulty::new(Durability::Fsync, 1);
    backend.limit(Some(30));
    backend.append(1, &[0; 20]).expect("room");
    backend.write(vec![put(Table::Meta, b"a", b"")]).expect("room");
    assert!(matches!(backend.append(2, &[0; 20]), Err(BackendError::Full(_))));
    backend.append(2, &[0; 9]).expect("just room");
    backend.limit(Some(0));
    backend.write(vec![conformance::remove(Table::Meta, b"a")]).expect("removing needs no room");
    assert!(matches!(backend.write(vec![put(Table::Meta, b"b", b"")]), Err(BackendError::Full(_))));
    backend.trim(2).expect("trimming needs no room");
    backend.limit(Some(10));
    backend.write(vec![put(Table::Meta, b"b", b"")]).expect("room again");
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let run = |seed| {
        let mut backend = Faulty::new(Durability::Os, seed);
        backend.fail_one_in(Some(3));
        let outcomes: Vec<_> = (1..50).map(|first| backend.append(first, b"block").is_ok()).collect();
        backend.power_cut();
        (outcomes, backend.open(), backend.bytes())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

proptest! {
    #[test]
    fn prop_a_crash_leaves_a_prefix(
        seed in any::<u64>(),
        os in any::<bool>(),
        steps in prop::collection::vec(any::<(u8, u16, u16)>(), 0..150),
    ) {
        let durability = if os { Durability::Os } else { Durability::Fsync };
        let mut backend = Faulty::new(durability, seed);
        backend.fail_one_in(Some(9));
        // All states since the last that no crash can take, and how many of them a kill and a power cut cannot take.
        let (mut states, mut kill_keeps, mut cut_keeps) = (vec![Model::default()], 0, 0);
        for (kind, a, b) in steps {
            if kind >= 240 {
                let power = kind % 2 == 0;
                if power { backend.power_cut() } else { backend.kill() }
                backend.open();
                backend.fail_one_in(None);
                let sure = if power { cut_keeps } else { kill_keeps };
                let found = states[sure..].iter().rposition(|state| state.is_held_by(&mut backend));
                prop_assert!(found.is_some(), "what is there is none of {} states", states.len() - sure);
                backend.fail_one_in(Some(9));
                states = vec![states.swap_remove(sure + found.unwrap_or(0))];
                (kill_keeps, cut_keeps) = (0, 0);
                continue;
            }
            let step = Step::from((kind, a, b));
            let state = states.last().expect("a state").clone();
            if state.ask(&mut backend, &step).is_ok() {
                let mut next = state;
                next.take(&step);
                states.push(next);
                if matches!(step, Step::Append { .. } | Step::Sync) {
                    kill_keeps = states.len() - 1;
                    cut_keeps = if os { 0 } else { kill_keeps };
                }
            }
        }
        backend.fail_one_in(None);
        prop_assert!(states.last().expect("a state").is_held_by(&mut backend));
    }

    #[test]
    fn prop_answers_as_plain_maps_do(seed in any::<u64>(), steps in prop::collection::vec(any::<(u8, u16, u16)>(), 0..200)) {
        let mut checked = Checked::new(Faulty::new(Durability::Fsync, seed));
        for step in steps {
            checked.step(Step::from(step));
        }
        checked.compare_all();
    }
}
