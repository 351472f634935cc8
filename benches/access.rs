//! What a decision costs: without rules, one that is remembered, and one that is made anew.
//!
//! `cargo bench --bench access`. `RULES=1000` for another number of rules.

use std::{env, hint::black_box, time::Instant};

use thingway::access::{
    Access, Guard, May, Policy, Settings,
    rules::{Action, Permission, RuleSet, Rules, parse_emqx, parse_mosquitto},
};
use thingway_contract::Qos;

const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };
const ROUNDS: u32 = 2_000_000;

fn main() {
    let count: usize = env::var("RULES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let open = Access::default();
    time("no rules", ROUNDS, || {
        black_box(open.is_open());
    });
    // All but the last are about others.
    let mut text: String =
        (1..count).map(|n| format!("{{allow, {{username, \"u{n}\"}}, all, [\"u{n}/#\"]}}.\n")).collect();
    text += "{allow, all, all, [\"devices/${clientid}/#\"]}.\n";
    let emqx = parse_emqx(&text, &"acl.conf".into(), false).expect("good");
    let mut text: String = (1..count).map(|n| format!("user u{n}\ntopic u{n}/#\n")).collect();
    text += "pattern readwrite devices/%c/#\n";
    let mosquitto = parse_mosquitto(&text, &"aclfile".into()).expect("good");
    for (name, rules) in [("in order", emqx), ("by user", mosquitto)] {
        decide(&format!("{count} rules {name}"), rules);
    }
}

fn decide(name: &str, rules: Rules) {
    let with = |cache_max| {
        let policy = Policy { sources: RuleSet([rules.clone()].into()).into(), cache_max, ..Policy::default() };
        Access::new(Settings::default(), policy, None)
    };
    for topics in [1, 8, 32] {
        let (access, mut guard) = (with(32), Guard::of_nobody());
        let topics: Vec<String> = (0..topics).map(|n| format!("devices/device-1234567/sensors/{n}")).collect();
        let mut next = topics.iter().cycle();
        time(&format!("{name}, remembered, one of {}", topics.len()), ROUNDS, || {
            let topic = next.next().expect("a cycle has no end");
            let permission =
                guard.may(&access, "device-1234567", PUBLISH, black_box(topic), thingway_contract::Instant::ZERO);
            assert_eq!(black_box(permission), May::Decided(Permission::Allow));
        });
    }
    let (access, mut guard) = (with(0), Guard::of_nobody());
    time(&format!("{name}, made anew"), ROUNDS / 100, || {
        let permission = guard.may(
            &access,
            "device-1234567",
            PUBLISH,
            black_box("devices/device-1234567/sensors/1"),
            thingway_contract::Instant::ZERO,
        );
        assert_eq!(black_box(permission), May::Decided(Permission::Allow));
    });
}

fn time(name: &str, rounds: u32, mut work: impl FnMut()) {
    (0..rounds / 10).for_each(|_| work());
    let begun = Instant::now();
    (0..rounds).for_each(|_| work());
    let nanos = begun.elapsed().as_nanos() as f64 / f64::from(rounds);
    println!("{name:<40} {nanos:>9.1} ns");
}
