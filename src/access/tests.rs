use std::{
    collections::{HashMap, HashSet},
    sync::atomic::AtomicU64,
};

use thingway_contract::{
    ClientId, Credentials, Message, MessageHead, Password, Properties, Qos, Topic, TopicLimits, Will,
};

use super::{
    quota::QuotaSettings,
    rules::{Action, Permission},
    *,
};

/// Knows one password, and answers at once or later.
#[derive(Debug)]
struct Porter {
    password: &'static str,
    grant: Grant,
    later: bool,
    asked: AtomicU64,
}

impl Authenticator for Porter {
    fn name(&self) -> &str {
        "porter"
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(password) = &attempt.password else { return Asked::Said(Said::Ignore) };
        let said = match **password == *self.password.as_bytes() {
            true => Said::Allow(self.grant.clone()),
            false => Said::Deny(Refusal::BadCredentials),
        };
        if self.later { Asked::Later(Box::pin(async move { said })) } else { Asked::Said(said) }
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent;

impl Authenticator for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn ask(&self, _: &Arc<Attempt>) -> Asked {
        Asked::Later(Box::pin(std::future::pending()))
    }
}

fn porter(later: bool, grant: Grant) -> Settings {
    let porter = Porter { password: "right", grant, later, asked: AtomicU64::new(0) };
    Settings { chain: Chain::new(vec![Arc::new(porter)]), ..Settings::default() }
}

fn access(settings: Settings) -> Access {
    Access::new(settings, Policy::default(), Some(Handle::current()))
}

fn connect(client_id: &str, credentials: Option<(&str, &str)>) -> Connect {
    Connect {
        client_id: ClientId::new(client_id, 99).ok(),
        clean_start: true,
        must_exist: false,
        resume_key: None,
        keep_will: false,
        session_expiry_secs: 0,
        credentials: Credentials {
            username: credentials.map(|(name, _)| name.into()),
            password: credentials.map(|(_, password)| Password::copy_of(password.as_bytes())),
            ..Credentials::default()
        },
        will: None,
        version: 5,
        keep_alive_secs: 0,
        receive_maximum: 1,
    }
}

fn peer(transport: Transport) -> Peer {
    Peer {
        remote: "192.0.2.1:7".parse().ok(),
        local: None,
        transport,
        node: Box::default(),
        listener: "tcp.default".into(),
        certificate: None,
    }
}

async fn ask_by(access: &Access, connect: &Connect, peer: &Peer, now_ms: u64) -> Result<Admission, Refusal> {
    let now = Instant::from_millis(now_ms);
    let mut asking = match access.begin(connect, peer, "mqtt", now, Waker::noop()) {
        Admit::Done(done) => return done,
        Admit::Later(asking) => asking,
    };
    std::future::poll_fn(|cx| match access.take(&mut asking, connect, now, cx.waker()) {
        Some(admitted) => std::task::Poll::Ready(admitted),
        None => std::task::Poll::Pending,
    })
    .await
}

async fn ask(access: &Access, connect: &Connect) -> Result<(), Refusal> {
    ask_by(access, connect, &peer(Transport::Tcp), 1000).await.map(drop)
}

#[test]
fn only_the_gateway_speaks_on_system_topics() {
    assert!(is_system("$SYS") && is_system("$SYS/brokers"));
    assert!(!is_system("$SYSTEM/x") && !is_system("a/$SYS"));
}

#[test]
fn rules_are_about_the_topic_that_a_delayed_message_will_be_on() {
    assert_eq!(target("$delayed/10/secret/x"), "secret/x");
    assert_eq!(target("$delayed/10"), "$delayed/10");
    assert_eq!(target("a/b"), "a/b");
}

#[tokio::test]
async fn with_nobody_to_ask_everybody_may_connect_unless_that_is_refused() {
    let open = Access::default();
    assert_eq!(ask(&open, &connect("c", None)).await, Ok(()));
    assert!(open.is_open());
    let closed = access(Settings { refuse_without_chain: true, ..Settings::default() });
    assert_eq!(ask(&closed, &connect("c", Some(("bob", "right")))).await, Err(Refusal::NotAuthorized));
}

#[tokio::test]
async fn authenticators_decide_at_once_or_later() {
    for later in [false, true] {
        let access = access(porter(later, Grant::default()));
        assert_eq!(ask(&access, &connect("c", Some(("bob", "right")))).await, Ok(()));
        assert_eq!(ask(&access, &connect("c", Some(("bob", "wrong")))).await, Err(Refusal::BadCredentials));
        assert_eq!(ask(&access, &connect("c", None)).await, Err(Refusal::NotAuthorized));
        assert_eq!(access.pending(), 0, "all places were given back");
    }
}

#[tokio::test]
async fn some_are_not_asked_about() {
    let lenient = access(Settings { allow_anonymous: true, ..porter(true, Grant::default()) });
    assert_eq!(ask(&lenient, &connect("c", None)).await, Ok(()));
    assert_eq!(ask(&lenient, &connect("c", Some(("bob", "wrong")))).await, Err(Refusal::BadCredentials));
    let trusting_listeners = HashSet::from(["tcp.default".into()]);
    let trusting = access(Settings { trusting_listeners, ..porter(true, Grant::default()) });
    assert_eq!(ask(&trusting, &connect("c", Some(("bob", "wrong")))).await, Ok(()));
    let other = Peer { listener: "ws.default".into(), ..peer(Transport::Tcp) };
    assert!(ask_by(&trusting, &connect("c", None), &other, 0).await.is_err());
}

#[tokio::test]
async fn enhanced_authentication_is_not_configured() {
    let mut connect = connect("c", None);
    connect.credentials.method = Some("SCRAM-SHA-256".into());
    assert_eq!(ask(&Access::default(), &connect).await, Err(Refusal::BadAuthenticationMethod));
}

#[tokio::test]
async fn who_gives_no_answer_is_given_up() {
    let chain = Chain::new(vec![Arc::new(Silent)]);
    let access = access(Settings { chain, pending_max: 1, timeout: Duration::from_millis(1), ..Settings::default() });
    let connect = connect("c", Some(("bob", "right")));
    let first = access.begin(&connect, &peer(Transport::Tcp), "mqtt", Instant::ZERO, Waker::noop());
    let Admit::Later(first) = first else { panic!("{first:?}") };
    assert_eq!(ask(&access, &connect).await, Err(Refusal::Busy), "there is one already");
    drop(first);
    assert_eq!(access.pending(), 0);
    assert_eq!(ask(&access, &connect).await, Err(Refusal::Unavailable));
}

#[tokio::test]
async fn bans_come_before_everything() {
    let access = access(porter(false, Grant::default()));
    let ban = |kind, value: &str| Ban { kind, value: value.into(), reason: "".into(), until_unix_secs: None };
    access.ban(ban(BanKind::Username, "bob")).expect("a ban");
    assert_eq!(ask(&access, &connect("c", Some(("bob", "right")))).await, Err(Refusal::Banned));
    assert_eq!(ask(&access, &connect("c", Some(("eve", "right")))).await, Ok(()));
    access.ban(ban(BanKind::Network, "192.0.2.0/24")).expect("a ban");
    assert_eq!(ask(&access, &connect("c", Some(("eve", "right")))).await, Err(Refusal::Banned));
}

#[tokio::test]
async fn who_was_wrong_too_often_waits() {
    let backoff = BackoffSettings { per_identity: 2, ..BackoffSettings::default() };
    let access = access(Settings { backoff: Some(backoff), ..porter(true, Grant::default()) });
    let (wrong, right) = (connect("c", Some(("bob", "wrong"))), connect("c", Some(("bob", "right"))));
    let tcp = peer(Transport::Tcp);
    for _ in 0..2 {
        assert_eq!(ask_by(&access, &wrong, &tcp, 1000).await.err(), Some(Refusal::BadCredentials));
    }
    assert_eq!(ask_by(&access, &right, &tcp, 1999).await.err(), Some(Refusal::ConnectionRateExceeded));
    assert!(ask_by(&access, &right, &tcp, 2000).await.is_ok());
    assert_eq!(ask_by(&access, &wrong, &tcp, 2000).await.err(), Some(Refusal::BadCredentials), "it begins anew");
}

#[tokio::test]
async fn who_comes_again_and_again_is_kept_out() {
    let flapping = FlappingSettings {
        connections: 3,
        window: Duration::from_secs(60),
        ban: Duration::from_secs(300),
        entries_max: 10,
    };
    let access = access(Settings { flapping: Some(flapping), ..Settings::default() });
    for expected in [Ok(()), Ok(()), Err(Refusal::Banned), Err(Refusal::Banned)] {
        assert_eq!(ask(&access, &connect("c", None)).await, expected);
    }
    assert_eq!(ask(&access, &connect("d", None)).await, Ok(()));
    assert_eq!(access.bans_len(), 1);
}

fn will(topic: &str) -> Option<Box<Will>> {
    let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), b"x");
    Some(Box::new(Will { message, delay_secs: 0, expiry_secs: None }))
}

const NOW: Instant = Instant::from_millis(1000);

fn decided(may: May) -> Permission {
    match may {
        May::Decided(permission) => permission,
        May::Ask(question) => panic!("{question:?}"),
    }
}

fn policy(rules: &str) -> Policy {
    let rules = rules::parse_emqx(rules, &"acl.conf".into(), false).expect("good");
    Policy { sources: rules::RuleSet([rules].into()).into(), ..Policy::default() }
}

#[tokio::test]
async fn wills_are_looked_at_first() {
    let open = Access::default();
    assert_eq!(ask(&open, &Connect { will: will("a"), ..connect("c", None) }).await, Ok(()));
    assert_eq!(ask(&open, &Connect { will: will("$SYS/x"), ..connect("c", None) }).await, Err(Refusal::NotAuthorized));
    let bound = Access::new(Settings::default(), policy("{allow, all, publish, [\"w/${clientid}\"]}."), None);
    assert_eq!(ask(&bound, &Connect { will: will("w/c"), ..connect("c", None) }).await, Ok(()));
    assert_eq!(ask(&bound, &Connect { will: will("$delayed/5/w/c"), ..connect("c", None) }).await, Ok(()));
    for topic in ["w/d", "$delayed/5/w/d"] {
        let connect = Connect { will: will(topic), ..connect("c", None) };
        assert_eq!(ask(&bound, &connect).await, Err(Refusal::NotAuthorized), "{topic}");
    }
}

const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };

#[tokio::test]
async fn guards_follow_the_rules_as_they_change() {
    let access = Access::default();
    let admission = ask_by(&access, &connect("c", None), &peer(Transport::Tcp), 0).await.expect("open");
    assert!(admission.guard.is_none(), "there is nothing to guard");
    access.set_policy(policy("{allow, all, publish, [\"a\"]}."));
    let admission = ask_by(&access, &connect("c", None), &peer(Transport::Tcp), 0).await.expect("let in");
    let mut guard = admission.guard.expect("there are rules");
    let may = |guard: &mut Guard, topic| decided(guard.may(&access, "c", PUBLISH, topic, NOW)) == Permission::Allow;
    for _ in 0..2 {
        assert!(may(&mut guard, "a") && !may(&mut guard, "b"));
    }
    access.set_policy(policy("{allow, all, publish, [\"b\"]}."));
    for _ in 0..2 {
        assert!(!may(&mut guard, "a") && may(&mut guard, "b"));
    }
    access.set_policy(Policy::default());
    assert!(access.is_open() && may(&mut guard, "a") && may(&mut guard, "c"));
}

#[tokio::test]
async fn superusers_and_those_who_bring_rules() {
    let superuser = access(porter(true, Grant { superuser: true, ..Grant::default() }));
    superuser.set_policy(policy("{deny, all}."));
    let right = connect("c", Some(("bob", "right")));
    let admission = ask_by(&superuser, &right, &peer(Transport::Tcp), 0).await.expect("right");
    let mut guard = admission.guard.expect("there are rules");
    assert_eq!(decided(guard.may(&superuser, "c", PUBLISH, "a", NOW)), Permission::Allow);
    let own = rules::parse_emqx("{allow, all, all, [\"own/${username}\"]}.", &"token".into(), false).expect("good");
    let own = Some(Arc::new(rules::RuleSet([own].into())));
    let bound = access(porter(true, Grant { rules: own, ..Grant::default() }));
    let admission = ask_by(&bound, &right, &peer(Transport::Tcp), 0).await.expect("right");
    let mut guard = admission.guard.expect("it brings rules");
    assert_eq!(decided(guard.may(&bound, "c", PUBLISH, "own/bob", NOW)), Permission::Allow);
    assert_eq!(decided(guard.may(&bound, "c", PUBLISH, "own/eve", NOW)), Permission::Deny);
}

#[tokio::test]
async fn a_session_that_is_gone_on_with_keeps_whom_it_was_granted_to() {
    let access = access(porter(false, Grant { superuser: true, ..Grant::default() }));
    access.set_policy(policy("{deny, all}."));
    let udp = peer(Transport::Udp);
    let resume = Connect { must_exist: true, resume_key: Some(7), ..connect("c", None) };
    let no_session = Some(Refusal::NoSession);
    assert_eq!(ask_by(&access, &resume, &udp, 0).await.err(), no_session, "nobody was let in");
    ask_by(&access, &connect("c", Some(("bob", "right"))), &udp, 0).await.expect("right");
    let admission = ask_by(&access, &resume, &udp, 0).await.expect("known");
    assert_eq!(admission.username.as_deref(), Some("bob"));
    assert_eq!(decided(admission.guard.expect("rules").may(&access, "c", PUBLISH, "a", NOW)), Permission::Allow);
    let keyless = Connect { resume_key: None, ..resume.clone() };
    assert_eq!(ask_by(&access, &keyless, &udp, 0).await.err(), no_session, "it proves nothing");
    let other = Connect { client_id: ClientId::new("d", 9).ok(), ..resume };
    assert_eq!(ask_by(&access, &other, &udp, 0).await.err(), no_session);
}

/// Half of a chain. The first one remembers whom it was asked about, and leaves it to the second one, which takes nobody else.
#[derive(Debug)]
struct Half {
    side: &'static str,
    is_first: bool,
    seen: Arc<Mutex<HashMap<ClientId, &'static str>>>,
}

impl Authenticator for Half {
    fn name(&self) -> &str {
        self.side
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        let id = attempt.client_id.clone().expect("all have one");
        let said = if self.is_first {
            self.seen.lock().insert(id, self.side);
            Said::Ignore
        } else if self.seen.lock().remove(&id) == Some(self.side) {
            let attributes = [("side", self.side)].into_iter().collect();
            Said::Allow(Grant { attributes, ..Grant::default() })
        } else {
            Said::Deny(Refusal::BadCredentials)
        };
        Asked::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            said
        }))
    }
}

/// Settings of which each part tells that it is of this side.
fn side(side: &'static str) -> Settings {
    let seen = Arc::default();
    let half = |is_first| Arc::new(Half { side, is_first, seen: Arc::clone(&seen) }) as Arc<dyn Authenticator>;
    let names = Names { rules_see_mounts: side == "b", ..Names::default() };
    Settings { chain: Chain::new(vec![half(true), half(false)]), names: names.into(), ..Settings::default() }
}

/// By which side somebody was let in, all of it.
fn side_of(admission: Admission) -> &'static str {
    let guard = admission.guard.expect("it has an attribute");
    let by_chain = guard.identity().grant.attributes.find("side").expect("it was asked");
    let by_names = if admission.names.rules_see_mounts { "b" } else { "a" };
    assert_eq!(by_chain, by_names, "a mixture");
    by_names
}

#[tokio::test]
async fn who_is_being_decided_on_is_decided_on_by_what_it_began_with() {
    let access = access(side("a"));
    let peer = peer(Transport::Tcp);
    let begin = |number: usize| {
        let connect = connect(&format!("c{number}"), Some(("bob", "right")));
        match access.begin(&connect, &peer, "mqtt", NOW, Waker::noop()) {
            Admit::Later(asking) => (connect, asking),
            Admit::Done(done) => panic!("{done:?}"),
        }
    };
    let mut begun: Vec<_> = (0..500).map(begin).collect();
    access.set_settings(side("b"));
    begun.extend((500..1000).map(begin));
    access.set_settings(Settings { refuse_without_chain: true, ..Settings::default() });
    for (number, (connect, mut asking)) in begun.into_iter().enumerate() {
        let taken = std::future::poll_fn(|cx| match access.take(&mut asking, &connect, NOW, cx.waker()) {
            Some(admitted) => std::task::Poll::Ready(admitted),
            None => std::task::Poll::Pending,
        });
        let admission = taken.await.expect("its own chain knows it");
        assert_eq!(side_of(admission), if number < 500 { "a" } else { "b" });
    }
    assert_eq!(ask(&access, &connect("c", Some(("bob", "right")))).await, Err(Refusal::NotAuthorized));
    assert_eq!(access.pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_among_a_thousand_who_connect_lose_none() {
    let access = Arc::new(access(side("a")));
    let all: Vec<_> = (0..1000)
        .map(|number| {
            let access = access.clone();
            tokio::spawn(async move {
                let connect = connect(&format!("c{number}"), Some(("bob", "right")));
                side_of(ask_by(&access, &connect, &peer(Transport::Tcp), 1000).await.expect("its own chain knows it"))
            })
        })
        .collect();
    let mut changes = ["b", "a"].into_iter().cycle();
    while !all.iter().all(tokio::task::JoinHandle::is_finished) {
        access.set_settings(side(changes.next().expect("it goes on")));
        tokio::task::yield_now().await;
    }
    for one in all {
        one.await.expect("no mixture");
    }
}

#[tokio::test]
async fn what_is_remembered_stays_unless_its_own_settings_change() {
    let flapping = FlappingSettings {
        connections: 2,
        window: Duration::from_secs(60),
        ban: Duration::from_secs(9),
        entries_max: 9,
    };
    let backoff = BackoffSettings { per_identity: 1, ..BackoffSettings::default() };
    let settings = |backoff, flapping| {
        let (backoff, flapping) = (Some(backoff), Some(flapping));
        Settings { backoff, flapping, ..porter(true, Grant::default()) }
    };
    let access = access(settings(backoff, flapping));
    let (bob, eve) = (connect("b", Some(("bob", "wrong"))), connect("e", Some(("eve", "right"))));
    assert_eq!(ask(&access, &bob).await, Err(Refusal::BadCredentials));
    assert_eq!(ask(&access, &eve).await, Ok(()));
    access.set_settings(Settings { allow_anonymous: true, ..settings(backoff, flapping) });
    assert_eq!(ask(&access, &bob).await, Err(Refusal::ConnectionRateExceeded), "it still waits");
    assert_eq!(ask(&access, &eve).await, Err(Refusal::Banned), "it was there before");
    access.unban(BanKind::ClientId, "e");
    assert_eq!(ask(&access, &eve).await, Ok(()));
    let other = FlappingSettings { window: Duration::from_secs(61), ..flapping };
    access.set_settings(settings(BackoffSettings { per_identity: 2, ..backoff }, other));
    assert_eq!(ask(&access, &bob).await, Err(Refusal::BadCredentials), "it begins anew");
    assert_eq!(ask(&access, &eve).await, Ok(()), "as this does");
    let ban = Ban { kind: BanKind::ClientId, value: "x".into(), reason: "".into(), until_unix_secs: None };
    access.set_settings(Settings { bans_max: 0, ..Settings::default() });
    assert_eq!(access.ban(ban), Ok(false), "there may be none");
}

#[tokio::test]
async fn places_that_are_taken_are_counted_on() {
    let quotas = |most| QuotaSettings { connections_per_user_max: Some(most), ..QuotaSettings::default() };
    let settings = |most| Settings { quotas: quotas(most), ..porter(false, Grant::default()) };
    let access = access(settings(2));
    let ask = async |id: &str| {
        let connect = connect(id, Some(("bob", "right")));
        ask_by(&access, &connect, &peer(Transport::Tcp), 1000).await
    };
    let _one = ask("1").await.expect("there is a place");
    access.set_settings(settings(1));
    assert_eq!(ask("2").await.err(), Some(Refusal::QuotaExceeded));
    access.set_settings(settings(3));
    let (_two, _three) = (ask("2").await.expect("a place"), ask("3").await.expect("a place"));
    assert_eq!(ask("4").await.err(), Some(Refusal::QuotaExceeded));
    access.set_settings(porter(false, Grant::default()));
    assert!(ask("4").await.is_ok());
}

#[test]
fn rules_of_the_store_outlive_policies_without_them() {
    let access = Access::default();
    let asked =
        || Policy { sources: [Source::Rules(rules::Rules::Database(Arc::default()))].into(), ..Policy::default() };
    assert!(access.stored_rules().is_none(), "nobody asks them");
    access.set_policy(asked());
    let mut database = RuleDatabase::default();
    database.add("rule/all", r##"[{"permission":"deny","action":"all","topic":"#"}]"##).expect("good");
    access.keep_rules(database.into());
    access.set_policy(Policy::default());
    assert!(access.is_open());
    access.set_policy(asked());
    assert!(!access.is_open(), "they are there again");
}
