//! What a decision about a publication costs in allocations: none for one that was made before.

use thingway::access::{
    Access, Guard, May, Policy, Settings,
    rules::{Action, Permission, RuleSet, parse_emqx},
};
use thingway_contract::{Instant, Qos};

use crate::meter::allocations;

const PUBLISH: Action = Action::Publish { qos: Qos::AtLeastOnce, retain: false };

#[test]
fn a_decision_that_was_made_before_allocates_nothing() {
    let text = "{deny, {username, {re, \"^x\"}}, all, [\"#\"]}.\n\
                {allow, {'and', [{ipaddr, \"10.0.0.0/8\"}]}, all, [\"net/#\"]}.\n\
                {allow, all, all, [\"devices/${clientid}/+/state\"]}.\n";
    let rules = parse_emqx(text, &"acl.conf".into(), false).expect("good");
    let policy = Policy { sources: RuleSet([rules].into()).into(), ..Policy::default() };
    let access = Access::new(Settings::default(), policy, None);
    let mut guard = Guard::of_nobody();
    let topics: Vec<String> = (0..32).map(|number| format!("devices/d-1/{number}/state")).collect();
    let mut decide = |topic: &str| guard.may(&access, "d-1", PUBLISH, topic, Instant::ZERO);
    for topic in &topics {
        assert_eq!(decide(topic), May::Decided(Permission::Allow));
    }
    assert_eq!(
        allocations(|| topics.iter().for_each(|topic| assert_eq!(decide(topic), May::Decided(Permission::Allow)))),
        0
    );
    // What is decided anew is remembered, which takes room for the topic alone.
    assert_eq!(decide("first/of/those/that/replace"), May::Decided(Permission::Deny));
    let fresh = allocations(|| assert_eq!(decide("devices/d-1/fresh/state"), May::Decided(Permission::Allow)));
    assert_eq!(fresh, 1);
    assert_eq!(allocations(|| assert!(access.is_open() || !access.is_open())), 0);
}
