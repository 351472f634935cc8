//! Somebody outside has to be asked what clients may do: they wait, each for itself, and nothing changes its place.

use std::{sync::Arc, time::Duration};

use coap_lite::RequestType;
use thingway::{
    access::{
        Authority, Inquiry, Policy, Ruled, Ruling, Source,
        rules::{Action, Permission, RuleSet, parse_emqx},
    },
    bus::Counter,
    config::{Config, Period},
};
use thingway_connectors::Failure;
use tokio::sync::{mpsc, oneshot};

use crate::{
    coap::{Coap, Request},
    common::{Client, Connect, TestGateway, Version, wire},
    endpoint::Endpoint,
    gateway_with,
};

type Question = (Inquiry, oneshot::Sender<Result<Ruling, Failure>>);

/// Passes every question on to the test.
#[derive(Debug)]
struct Desk {
    questions: mpsc::Sender<Question>,
    when_down: Option<Permission>,
}

impl Authority for Desk {
    fn name(&self) -> &str {
        "desk"
    }

    fn ask(&self, inquiry: Inquiry) -> Ruled {
        let (answer, ruling) = oneshot::channel();
        self.questions.try_send((inquiry, answer)).expect("there is room for the questions of a test");
        Box::pin(async move { ruling.await.unwrap_or(Err(Failure::Timeout)) })
    }

    fn when_down(&self) -> Option<Permission> {
        self.when_down
    }
}

/// A gateway that asks the test, after these rules.
struct Asking {
    gateway: TestGateway,
    questions: mpsc::Receiver<Question>,
}

const HOUR: Duration = Duration::from_secs(3600);
const ALLOW: Ruling = Ruling::Decided(Permission::Allow, HOUR);
const DENY: Ruling = Ruling::Decided(Permission::Deny, HOUR);

impl Asking {
    async fn start(when_down: Option<Permission>) -> Self {
        Self::start_with(when_down, |_| ()).await
    }

    async fn start_with(when_down: Option<Permission>, change: impl FnOnce(&mut Config)) -> Self {
        let gateway = gateway_with(|config| {
            config.access.timeout = Period::from_secs(60);
            change(config);
        })
        .await;
        let (questions, asked) = mpsc::channel(64);
        let rules = parse_emqx("{allow, all, all, [\"free/#\"]}.", &"acl".into(), false).expect("good");
        let desk: Arc<dyn Authority> = Arc::new(Desk { questions, when_down });
        let sources = [Source::Rules(rules), Source::Authority(desk)].into();
        gateway.gateway().access().set_policy(Policy { sources, ..Policy::default() });
        Self { gateway, questions: asked }
    }

    /// Awaits a question about a topic and answers it.
    async fn answer(&mut self, topic: &str, ruling: Ruling) -> Inquiry {
        let (inquiry, answer) = self.questions.recv().await.expect("a question");
        assert_eq!(&*inquiry.topic, topic);
        answer.send(Ok(ruling)).expect("somebody waits for it");
        inquiry
    }

    fn is_quiet(&mut self) -> bool {
        self.questions.try_recv().is_err()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.gateway.gateway().bus().counters().total(counter)
    }
}

fn publish(topic: &str, id: u16) -> Vec<u8> {
    wire::publish(Version::V5, topic, b"x", 1, id, &[])
}

#[tokio::test]
async fn what_is_asked_about_waits_and_all_behind_it_and_nobody_else() {
    let mut asking = Asking::start(None).await;
    let mut other = asking.gateway.client(Version::V5, "other").await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client.send(&[publish("a", 1), publish("free/x", 2), publish("b", 3)].concat()).await;
    let (inquiry, answer) = asking.questions.recv().await.expect("a question");
    assert_eq!((&*inquiry.client_id, &*inquiry.topic), ("c", "a"));
    assert!(matches!(inquiry.action, Action::Publish { .. }));
    other.send(&publish("free/y", 9)).await;
    assert_eq!(other.puback(9).await.code, 0x10, "nobody else waits");
    assert!(client.early().is_empty() && asking.is_quiet(), "what is behind it is not asked about yet");
    answer.send(Ok(ALLOW)).expect("it waits");
    assert_eq!(client.puback(1).await.code, 0x10);
    assert_eq!(client.puback(2).await.code, 0x10, "in their order");
    asking.answer("b", DENY).await;
    assert_eq!(client.puback(3).await.code, 0x87);
    // Both rulings hold for an hour.
    client.send(&[publish("a", 4), publish("b", 5)].concat()).await;
    assert_eq!((client.puback(4).await.code, client.puback(5).await.code), (0x10, 0x87));
    assert!(asking.is_quiet());
}

#[tokio::test]
async fn what_is_sent_together_with_the_end_is_done_before_it() {
    let mut asking = Asking::start(None).await;
    let mut listener = asking.gateway.client(Version::V5, "listener").await;
    listener.send(&wire::subscribe(Version::V5, 1, &[("a", 0), ("w", 0)], &[])).await;
    asking.answer("a", ALLOW).await;
    asking.answer("w", ALLOW).await;
    assert_eq!(listener.suback(1).await.codes, [0, 0]);
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client
        .send(&[wire::publish(Version::V5, "a", b"last", 0, 0, &[]), wire::disconnect(Version::V5, 0, &[])].concat())
        .await;
    asking.answer("a", ALLOW).await;
    assert_eq!(listener.expect_message().await.text(), "last");
    client.expect_closed().await;
}

#[tokio::test]
async fn each_filter_of_a_subscription_has_its_own_ruling() {
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client.send(&wire::subscribe(Version::V5, 1, &[("a/#", 1), ("free/x", 0), ("b", 2), ("c", 0)], &[])).await;
    asking.answer("a/#", ALLOW).await;
    // The others are asked about together.
    let (b, answer_b) = asking.questions.recv().await.expect("a question");
    let (c, answer_c) = asking.questions.recv().await.expect("a question");
    assert_eq!((&*b.topic, &*c.topic), ("b", "c"));
    answer_c.send(Ok(Ruling::Ignore(HOUR))).expect("it waits");
    answer_b.send(Ok(DENY)).expect("it waits");
    assert_eq!(client.suback(1).await.codes, [1, 0, 0x87, 0x87], "what nobody decides is denied");
}

#[tokio::test]
async fn a_will_is_asked_about_before_its_client_comes_in() {
    let mut asking = Asking::start(None).await;
    for (ruling, code) in [(DENY, 0x87), (ALLOW, 0)] {
        let mut client = asking.gateway.open(Version::V5).await;
        client.send(&Connect::new(Version::V5, "c").will("w", "gone", 1, false).bytes()).await;
        let inquiry = asking.answer("w", ruling).await;
        assert_eq!(&*inquiry.client_id, "c");
        assert_eq!(client.connack().await.code, code);
    }
}

#[tokio::test]
async fn who_tells_all_rules_is_asked_once() {
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    let rules = parse_emqx("{allow, all, all, [\"own/${clientid}\"]}.", &"desk".into(), false).expect("good");
    client.send(&publish("own/c", 1)).await;
    asking.answer("own/c", Ruling::Rules(Arc::new(rules), HOUR)).await;
    assert_eq!(client.puback(1).await.code, 0x10);
    client.send(&publish("own/d", 2)).await;
    assert_eq!(client.puback(2).await.code, 0x87);
    assert!(asking.is_quiet());
}

#[tokio::test]
async fn a_ruling_that_holds_for_no_time_counts_once() {
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    for id in 1..=3 {
        client.send(&publish("a", id)).await;
        asking.answer("a", Ruling::Decided(Permission::Allow, Duration::ZERO)).await;
        assert_eq!(client.puback(id).await.code, 0x10);
    }
    let rules = Arc::new(parse_emqx("{allow, all, all, [\"r\"]}.", &"desk".into(), false).expect("good"));
    for id in 4..=5 {
        client.send(&publish("r", id)).await;
        asking.answer("r", Ruling::Rules(rules.clone(), Duration::ZERO)).await;
        assert_eq!(client.puback(id).await.code, 0x10);
    }
}

#[tokio::test]
async fn a_ruling_about_what_is_not_acknowledged_counts_once_too() {
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    for _ in 0..3 {
        client.send(&wire::publish(Version::V5, "a", b"x", 0, 0, &[])).await;
        asking.answer("a", Ruling::Decided(Permission::Allow, Duration::ZERO)).await;
    }
    client.ping().await;
    assert!(asking.is_quiet());
}

#[tokio::test]
async fn while_nobody_answers_its_own_setting_holds() {
    for (when_down, code) in [(Some(Permission::Deny), 0x87), (Some(Permission::Allow), 0x10), (None, 0x87)] {
        let mut asking = Asking::start(when_down).await;
        let mut client = asking.gateway.client(Version::V5, "c").await;
        for id in 1..=2 {
            client.send(&publish("a", id)).await;
            // It is not answered, and asked again the next time.
            let (_, answer) = asking.questions.recv().await.expect("a question");
            drop(answer);
            assert_eq!(client.puback(id).await.code, code);
        }
    }
}

#[tokio::test]
async fn clients_of_other_protocols_wait_as_well() {
    let mut asking = Asking::start(None).await;
    let mut coap = Coap::connect(&asking.gateway, "coap").await;
    for (ruling, code) in [(ALLOW, 204), (DENY, 401)] {
        let topic = format!("t/{code}");
        let (put, _) = tokio::join!(coap.put(&topic, b"x", &[]), asking.answer(&topic, ruling));
        assert_eq!(put.code, code);
    }
    let get = Request::new(RequestType::Get, "ps/t/secret");
    let (got, _) = tokio::join!(coap.request(&get), asking.answer("t/secret", DENY));
    assert_eq!(got.code, 401);
}

#[tokio::test]
async fn who_goes_while_it_is_asked_about_leaves_nothing() {
    let mut asking = Asking::start(None).await;
    let mut listener = asking.gateway.client(Version::V5, "listener").await;
    assert_eq!(listener.subscribe("free/#", 0).await, 0);
    let (mut client, _) =
        asking.gateway.connect(&Connect::new(Version::V5, "c").will("free/w", "gone", 0, false)).await;
    client.send(&publish("a", 1)).await;
    let (_, mut answer) = asking.questions.recv().await.expect("a question");
    // Another connection takes the session over: the first ends although nobody has answered.
    let (_second, _) = asking.gateway.connect(&Connect::new(Version::V5, "c")).await;
    client.expect_disconnected(&[0x8e]).await;
    // Whoever asks is told to stop, and does so on another thread.
    tokio::time::timeout(HOUR / 60, answer.closed()).await.expect("nobody asks any more");
    assert_eq!(listener.expect_message().await.text(), "gone");
    assert_eq!(asking.count(Counter::AuthorizationDeny), 0);
}

#[tokio::test]
async fn subscriptions_are_looked_at_again_when_rules_change() {
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client.send(&wire::subscribe(Version::V5, 1, &[("a", 1), ("b", 1), ("free/x", 0)], &[])).await;
    asking.answer("a", ALLOW).await;
    asking.answer("b", ALLOW).await;
    assert_eq!(client.suback(1).await.codes, [1, 1, 0]);
    let (questions, asked) = mpsc::channel(64);
    let desk: Arc<dyn Authority> = Arc::new(Desk { questions, when_down: None });
    let rules = parse_emqx("{allow, {clientid, \"p\"}, publish, [\"#\"]}.", &"acl".into(), false).expect("good");
    let sources = [Source::Rules(rules), Source::Authority(desk)].into();
    asking.gateway.gateway().access().set_policy(Policy { sources, ..Policy::default() });
    asking.questions = asked;
    let mut publisher: Client = asking.gateway.client(Version::V5, "p").await;
    for topic in ["b", "a", "free/x"] {
        publisher.publish(topic, topic, 1).await;
    }
    // Nothing comes before it is decided whether it may.
    asking.answer("a", ALLOW).await;
    asking.answer("b", DENY).await;
    asking.answer("free/x", ALLOW).await;
    let first = client.expect_message().await;
    assert_eq!(first.text(), "a");
    assert_eq!(client.expect_message().await.text(), "free/x");
    assert_eq!(asking.count(Counter::DeliveryRevoked), 1);
    assert_eq!(client.unsubscribe(&["a", "b"]).await, [0, 0x11], "it has ended");
}

/// Its subscriptions cannot be asked about while as many ask as may: what comes by them waits for its turn to ask.
#[tokio::test]
async fn subscriptions_wait_for_a_place_among_those_who_ask() {
    let mut asking = Asking::start_with(None, |config| config.access.pending_max = 1).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client.send(&wire::subscribe(Version::V5, 1, &[("a", 1)], &[])).await;
    asking.answer("a", ALLOW).await;
    assert_eq!(client.suback(1).await.codes, [1]);
    let (questions, asked) = mpsc::channel(64);
    let desk: Arc<dyn Authority> = Arc::new(Desk { questions, when_down: None });
    let rules = parse_emqx("{allow, {clientid, \"p\"}, publish, [\"#\"]}.", &"acl".into(), false).expect("good");
    let mut first: Client = asking.gateway.client(Version::V5, "first").await;
    let mut publisher: Client = asking.gateway.client(Version::V5, "p").await;
    let sources = [Source::Rules(rules), Source::Authority(desk)].into();
    asking.gateway.gateway().access().set_policy(Policy { sources, ..Policy::default() });
    asking.questions = asked;
    first.send(&publish("b", 1)).await;
    let (_, answer) = asking.questions.recv().await.expect("a question");
    publisher.publish("a", "later", 1).await;
    publisher.ping().await;
    assert!(asking.is_quiet(), "there is no place for its question");
    answer.send(Ok(ALLOW)).expect("it waits");
    assert_eq!(first.puback(1).await.code, 0x10);
    asking.answer("a", ALLOW).await;
    assert_eq!(client.expect_message().await.text(), "later");
}

#[tokio::test]
async fn rules_that_are_here_end_subscriptions_as_well() {
    let gateway = gateway_with(|_| {}).await;
    let access = gateway.gateway().access();
    let policy = |text: &str| {
        let rules = parse_emqx(text, &"acl".into(), false).expect("good");
        Policy { sources: RuleSet([rules].into()).into(), ..Policy::default() }
    };
    // It was let in when there was nothing to guard.
    let mut client = gateway.client(Version::V311, "c").await;
    assert_eq!(client.subscribe_all(&[("a", 0), ("b/+", 1)], &[]).await, [0, 1]);
    let mut publisher = gateway.client(Version::V311, "p").await;
    access.set_policy(policy("{allow, all, publish, [\"#\"]}.\n{allow, all, subscribe, [\"a\"]}."));
    publisher.publish("b/x", "not for it any more", 1).await;
    publisher.publish("a", "still", 1).await;
    assert_eq!(client.expect_message().await.text(), "still");
    access.set_policy(policy("{allow, all, all, [\"#\"]}."));
    publisher.publish("b/x", "it would have to subscribe again", 1).await;
    publisher.publish("a", "as ever", 1).await;
    assert_eq!(client.expect_message().await.text(), "as ever");
}

/// A ruling that holds for no time is forgotten when something was done; what was said of subscriptions is looked at before that.
#[tokio::test]
async fn who_never_pauses_gets_its_messages_all_the_same() {
    const ONCE: Ruling = Ruling::Decided(Permission::Allow, Duration::ZERO);
    let mut asking = Asking::start(None).await;
    let mut client = asking.gateway.client(Version::V5, "c").await;
    client.send(&wire::subscribe(Version::V5, 1, &[("a", 1)], &[])).await;
    asking.answer("a", ONCE).await;
    assert_eq!(client.suback(1).await.codes, [1]);
    let (questions, asked) = mpsc::channel(64);
    let desk: Arc<dyn Authority> = Arc::new(Desk { questions, when_down: None });
    let rules = parse_emqx("{allow, {clientid, \"p\"}, publish, [\"#\"]}.", &"acl".into(), false).expect("good");
    let sources = [Source::Rules(rules), Source::Authority(desk)].into();
    asking.gateway.gateway().access().set_policy(Policy { sources, ..Policy::default() });
    asking.questions = asked;
    // With each answer there is a further request already.
    let requests: Vec<u8> = (1..=50).flat_map(|id| publish("x", id)).collect();
    client.send(&requests).await;
    let mut publisher = asking.gateway.client(Version::V5, "p").await;
    publisher.publish("a", "for the client", 1).await;
    let mut answered = 0;
    loop {
        let (inquiry, answer) = asking.questions.recv().await.expect("a question");
        let _ = answer.send(Ok(ONCE));
        if &*inquiry.topic == "a" {
            break;
        }
        answered += 1;
        assert!(answered < 10, "nobody is asked about its subscription as long as it sends");
    }
    let text = client.take("its message", |packet| match packet {
        crate::common::Packet::Publish(publish) => Some(publish.text().to_owned()),
        _ => None,
    });
    assert_eq!(text.await, "for the client");
}
