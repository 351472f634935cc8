//! Who is turned away, and what may not be done: each protocol says so in its own words. The rows of `docs/security.md` name these tests.

use std::fs;

use coap_lite::RequestType;
use tempfile::TempDir;
use thingway::{
    bus::Counter,
    config::{AccessAttribute, AccessBan, AccessRule, Config, DenyAction, Period, RulePermission, Security},
};
use thingway_mqtt_sn::packet::{ReturnCode, TopicName, TopicRef};

use crate::{
    coap::{Coap, Request},
    common::{Client, Connect, TestGateway, Version, wire},
    endpoint::Endpoint,
    gateway_with,
    mqtt::{Flavour, Quic5, Tcp5, Tcp311, WebSocket5},
    mqtt_sn::MqttSn,
};

const USERS: &str = "user_id,password,is_superuser,attributes\n\
                     bob,secret,false,\"{\"\"site\"\":\"\"north\"\"}\"\n\
                     root,toor,true,\n";

/// A gateway with users, and rules that leave little: `open/#` for all, and for each client what has its name.
struct Guarded {
    gateway: TestGateway,
    folder: TempDir,
}

impl Guarded {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = gateway_with(|config| {
            guard(config, &folder);
            change(config);
        })
        .await;
        Self { gateway, folder }
    }

    fn count(&self, counter: Counter) -> u64 {
        self.gateway.gateway().bus().counters().total(counter)
    }
}

fn guard(config: &mut Config, folder: &TempDir) {
    let file = folder.path().join("users.csv");
    fs::write(&file, USERS).expect("written");
    config.access.authenticators = vec!["users".into()];
    config.access.users.file = file;
    let allow = |topics: &[&str]| AccessRule {
        permission: RulePermission::Allow,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..AccessRule::default()
    };
    config.access.rules = vec![allow(&["open/#", "by/${username}/${clientid}", "site/${client_attrs.site}"])];
}

fn credentials(version: Version, client_id: &str, username: &str, password: &str) -> Connect {
    Connect {
        username: Some(username.into()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(version, client_id)
    }
}

/// The code that a CONNECT is answered with.
async fn connack<F: Flavour>(gateway: &TestGateway, connect: &Connect) -> u8 {
    let mut client = Client::over(F::open(gateway).await, F::VERSION);
    client.send(&connect.bytes()).await;
    client.connack().await.code
}

/// What four kinds of strangers are told over MQTT, and what a client is told that wants what it may not have.
async fn mqtt<F: Flavour>(guarded: &Guarded, anonymous: u8, wrong: u8, banned: u8, denied_subscription: u8) {
    let (gateway, version) = (&guarded.gateway, F::VERSION);
    let told = connack::<F>(gateway, &Connect::new(version, "stranger")).await;
    assert_eq!(told, anonymous, "{}: anonymous", F::NAME);
    for (username, password) in [("bob", "wrong"), ("nobody", "secret")] {
        let told = connack::<F>(gateway, &credentials(version, "stranger", username, password)).await;
        assert_eq!(told, wrong, "{}: {username}", F::NAME);
    }
    for connect in [credentials(version, "stolen", "bob", "secret"), credentials(version, "c", "mallory", "x")] {
        assert_eq!(connack::<F>(gateway, &connect).await, banned, "{}: banned", F::NAME);
    }
    let mut client = Client::over(F::open(gateway).await, version);
    client.handshake(&credentials(version, F::NAME, "bob", "secret")).await;
    let own = format!("by/bob/{}", F::NAME);
    let wanted = [("open/x", 1), ("closed/x", 1), ("#", 0), (own.as_str(), 0), ("site/north", 0), ("site/south", 0)];
    let codes = client.subscribe_all(&wanted, &[]).await;
    assert_eq!(codes, [1, denied_subscription, denied_subscription, 0, 0, denied_subscription], "{}", F::NAME);
    let denied = guarded.count(Counter::AuthorizationDeny);
    client.send(&wire::publish(version, "closed/x", b"x", 1, 9, &[])).await;
    // Before 5.0 there is no code to refuse with: the message is acknowledged and dropped.
    assert_eq!(client.puback(9).await.code, if version.is_5() { 0x87 } else { 0 }, "{}", F::NAME);
    client.send(&wire::publish(version, "$delayed/0/closed/x", b"x", 1, 10, &[])).await;
    client.puback(10).await;
    assert_eq!(guarded.count(Counter::AuthorizationDeny), denied + 2, "{}", F::NAME);
    client.publish("open/x", "heard", 1).await;
    assert_eq!(client.expect_message().await.text(), "heard");
    let will = wire::Will {
        topic: "closed/will".into(),
        payload: b"x".to_vec(),
        qos: 0,
        retain: false,
        properties: Vec::new(),
    };
    let connect = Connect { will: Some(will), ..credentials(version, "willing", "bob", "secret") };
    assert_eq!(connack::<F>(gateway, &connect).await, anonymous, "{}: a will that may not be published", F::NAME);
}

#[tokio::test]
async fn strangers_are_refused_in_each_protocols_words() {
    let guarded = Guarded::start(|config| {
        config.access.backoff.enable = false;
        config.access.bans = vec![
            AccessBan { client_id: "stolen".into(), ..AccessBan::default() },
            AccessBan { username_pattern: "^mal".into(), ..AccessBan::default() },
        ];
    })
    .await;
    mqtt::<Tcp311>(&guarded, 5, 4, 5, 0x80).await;
    mqtt::<Tcp5>(&guarded, 0x87, 0x86, 0x8a, 0x87).await;
    mqtt::<WebSocket5>(&guarded, 0x87, 0x86, 0x8a, 0x87).await;
    mqtt::<Quic5>(&guarded, 0x87, 0x86, 0x8a, 0x87).await;
    assert_eq!(guarded.count(Counter::ClientBanned), 8);
    assert_eq!(guarded.count(Counter::AuthenticationFailure), 16);

    let gateway = &guarded.gateway;
    let mut sn = MqttSn::open(gateway).await;
    assert_eq!(sn.try_connect("stranger", true).await, ReturnCode::NotSupported, "anonymous");
    let mut sn = MqttSn::open(gateway).await;
    assert_eq!(sn.try_connect("stolen", true).await, ReturnCode::NotSupported, "banned");

    let mut coap = Coap::open(gateway).await;
    let open = |parameters: &[&str]| {
        let request = Request::new(RequestType::Post, "mqtt/connection");
        parameters.iter().fold(request, |request, parameter| request.query(*parameter))
    };
    for (parameters, code) in [
        (&["clientid=stranger"][..], 401),
        (&["clientid=stranger", "username=bob", "password=wrong"], 401),
        (&["clientid=stranger", "username=nobody", "password=secret"], 401),
        (&["clientid=stolen", "username=bob", "password=secret"], 401),
        (&["clientid=sensor", "username=bob", "password=secret"], 201),
    ] {
        assert_eq!(coap.request(&open(parameters)).await.code, code, "{parameters:?}");
    }
    let mut guest = Coap::open(gateway).await;
    assert_eq!(guest.put("open/x", b"x", &[]).await.code, 401, "anonymous");
    assert_eq!(guest.put("open/x", b"x", &["username=bob", "password=wrong"]).await.code, 401);
    let bob = ["clientid=guest", "username=bob", "password=secret"];
    assert_eq!(guest.put("open/x", b"x", &bob).await.code, 204);
    assert_eq!(guest.put("closed/x", b"x", &bob).await.code, 401, "a denied topic");
    assert_eq!(guest.put("by/bob/guest", b"x", &bob).await.code, 204);
    assert_eq!(guest.observe("closed/x", &bob).await.code, 401);
    let read = bob.iter().fold(Request::topic(RequestType::Get, "closed/x"), |request, it| request.query(*it));
    assert_eq!(guest.request(&read).await.code, 401, "what is retained is read by the rules of a subscription");
}

#[tokio::test]
async fn mqttsn_clients_show_credentials_by_auth() {
    let guarded = Guarded::start(|config| {
        config.mqttsn.auth_required = true;
        config.access.backoff.enable = false;
    })
    .await;
    for (username, password) in [("bob", "wrong"), ("nobody", "secret")] {
        let mut sn = MqttSn::open(&guarded.gateway).await;
        assert_eq!(sn.connect_with_password("node", username, password).await, ReturnCode::NotSupported);
    }
    let mut sn = MqttSn::open(&guarded.gateway).await;
    assert_eq!(sn.connect_with_password("node", "bob", "secret").await, ReturnCode::Accepted);
    assert_eq!(sn.try_subscribe(TopicName::Name("open/#"), 1).await, Ok(1));
    assert_eq!(sn.try_subscribe(TopicName::Name("closed/#"), 1).await, Err(ReturnCode::NotSupported));
    let id = sn.register("closed/x").await;
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, ReturnCode::NotSupported);
    let id = sn.register("by/bob/node").await;
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, ReturnCode::Accepted);
}

#[tokio::test]
async fn listeners_may_trust_their_network() {
    let guarded = Guarded::start(|config| {
        for listener in config.listeners.udp.values_mut() {
            listener.authenticate = false;
        }
    })
    .await;
    let mut sn = MqttSn::open(&guarded.gateway).await;
    assert_eq!(sn.try_connect("node", true).await, ReturnCode::Accepted);
    let id = sn.register("closed/x").await;
    assert_eq!(sn.publish_to(TopicRef::Normal(id), b"x", 1, false).await, ReturnCode::NotSupported, "rules count");
    let stranger = Connect::new(Version::V5, "stranger");
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &stranger).await, 0x87);
}

#[tokio::test]
async fn superusers_are_bound_by_no_rule() {
    let guarded = Guarded::start(|_| {}).await;
    let (mut root, _) = guarded.gateway.connect(&credentials(Version::V5, "r", "root", "toor")).await;
    assert_eq!(root.subscribe("#", 1).await, 1);
    root.publish("closed/x", "x", 1).await;
    assert_eq!(root.expect_message().await.text(), "x");
    root.send(&wire::publish(Version::V5, "$SYS/x", b"x", 1, 9, &[])).await;
    assert_eq!(root.puback(9).await.code, 0x87, "the gateway's own");
}

#[tokio::test]
async fn who_tries_what_is_denied_may_be_disconnected() {
    let guarded = Guarded::start(|config| config.access.deny_action = DenyAction::Disconnect).await;
    let connect = |version, id| credentials(version, id, "bob", "secret");
    let (mut new, _) = guarded.gateway.connect(&connect(Version::V5, "new")).await;
    new.send(&wire::publish(Version::V5, "closed/x", b"x", 0, 0, &[])).await;
    new.expect_disconnected(&[0x87]).await;
    let (mut old, _) = guarded.gateway.connect(&connect(Version::V311, "old")).await;
    old.send(&wire::publish(Version::V311, "closed/x", b"x", 0, 0, &[])).await;
    old.expect_closed().await;
    let (mut subscriber, _) = guarded.gateway.connect(&connect(Version::V5, "subscriber")).await;
    subscriber.send(&wire::subscribe(Version::V5, 1, &[("closed/x", 0)], &[])).await;
    subscriber.expect_disconnected(&[0x87]).await;
}

#[tokio::test]
async fn rules_that_change_count_for_those_who_are_connected() {
    let guarded = Guarded::start(|_| {}).await;
    let (mut client, _) = guarded.gateway.connect(&credentials(Version::V5, "c", "bob", "secret")).await;
    let publish = async |client: &mut Client, topic: &str| {
        client.send(&wire::publish(Version::V5, topic, b"x", 1, 7, &[])).await;
        client.puback(7).await.code
    };
    for _ in 0..2 {
        assert_eq!(publish(&mut client, "closed/x").await, 0x87);
        assert_eq!(publish(&mut client, "open/x").await, 0x10, "nobody listens, but it may be");
    }
    let mut config = Config::default();
    guard(&mut config, &guarded.folder);
    config.access.rules[0].topics = vec!["closed/#".into()];
    fs::write(&config.access.users.file, "user_id,password\neve,new\n").expect("written");
    guarded.gateway.gateway().reload_access(&config).expect("good");
    for _ in 0..2 {
        assert_eq!(publish(&mut client, "closed/x").await, 0x10);
        assert_eq!(publish(&mut client, "open/x").await, 0x87);
    }
    let eve = credentials(Version::V5, "e", "eve", "new");
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &eve).await, 0);
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &credentials(Version::V5, "c", "bob", "secret")).await, 0x86);
    // What is wrong changes nothing.
    config.access.rules[0].topics = vec!["a/#/b".into()];
    guarded.gateway.gateway().reload_access(&config).expect_err("a rule that is none");
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &eve).await, 0);
}

#[tokio::test]
async fn bans_that_come_later_end_connections_and_those_that_are_taken_back_keep_nobody_out() {
    let gateway = gateway_with(|_| {}).await;
    let mut mqtt = gateway.client(Version::V5, "bad-1").await;
    let mut other = gateway.client(Version::V5, "good").await;
    let mut coap = Coap::connect(&gateway, "bad-2").await;
    assert_eq!(coap.observe("a", &[]).await.code, 205);
    let mut config = Config::default();
    config.access.bans = vec![AccessBan { client_id_pattern: "^bad-".into(), ..AccessBan::default() }];
    gateway.gateway().reload_access(&config).expect("good");
    mqtt.expect_disconnected(&[0x98]).await;
    other.ping().await;
    assert_eq!(coap.put("a", b"x", &[]).await.code, 401, "its connection has ended");
    let banned = Connect::new(Version::V5, "bad-1");
    assert_eq!(connack::<Tcp5>(&gateway, &banned).await, 0x8a);
    config.access.bans.clear();
    gateway.gateway().reload_access(&config).expect("good");
    assert_eq!(connack::<Tcp5>(&gateway, &banned).await, 0);
}

#[tokio::test]
async fn rules_may_come_when_clients_are_connected() {
    let gateway = gateway_with(|_| {}).await;
    let mut client = gateway.client(Version::V5, "early").await;
    let mut coap = Coap::connect(&gateway, "coap").await;
    assert_eq!(coap.put("a", b"x", &[]).await.code, 204);
    client.send(&wire::publish(Version::V5, "a", b"x", 1, 7, &[])).await;
    assert_eq!(client.puback(7).await.code, 0x10);
    let mut config = Config::default();
    let topics = vec!["by/${clientid}".into()];
    config.access.rules = vec![AccessRule { permission: RulePermission::Allow, topics, ..AccessRule::default() }];
    gateway.gateway().reload_access(&config).expect("good");
    client.send(&wire::publish(Version::V5, "a", b"x", 1, 7, &[])).await;
    assert_eq!(client.puback(7).await.code, 0x87);
    client.send(&wire::publish(Version::V5, "by/early", b"x", 1, 7, &[])).await;
    assert_eq!(client.puback(7).await.code, 0x10);
    assert_eq!(coap.put("a", b"x", &[]).await.code, 401);
    assert_eq!(coap.put("by/coap", b"x", &[]).await.code, 204);
}

#[tokio::test]
async fn connections_end_when_their_credentials_do() {
    let guarded = Guarded::start(|config| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let users = format!("user_id,password,expires_at\nbrief,x,{}\nended,x,{now}\n", now + 2);
        fs::write(&config.access.users.file, users).expect("written");
    })
    .await;
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &credentials(Version::V5, "e", "ended", "x")).await, 0x87);
    let (mut client, _) = guarded.gateway.connect(&credentials(Version::V5, "c", "brief", "x")).await;
    client.expect_disconnected(&[0x87]).await;
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &credentials(Version::V5, "c", "brief", "x")).await, 0x87);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let guarded = Guarded::start(|config| {
        config.access.backoff.per_identity = 3;
        config.access.backoff.first = Period::from_secs(600);
        config.access.backoff.longest = Period::from_secs(600);
    })
    .await;
    for _ in 0..3 {
        assert_eq!(connack::<Tcp5>(&guarded.gateway, &credentials(Version::V5, "g", "bob", "guess")).await, 0x86);
    }
    let right = |version| credentials(version, "c", "bob", "secret");
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &right(Version::V5)).await, 0x9f);
    assert_eq!(connack::<Tcp311>(&guarded.gateway, &right(Version::V311)).await, 3);
    assert_eq!(connack::<Tcp5>(&guarded.gateway, &credentials(Version::V5, "r", "root", "toor")).await, 0);
    assert_eq!(guarded.count(Counter::AuthenticationBackoff), 2);
}

#[tokio::test]
async fn clients_that_flap_are_banned() {
    let gateway = gateway_with(|config| {
        config.access.flapping.enable = true;
        config.access.flapping.connections = 3;
    })
    .await;
    for expected in [0, 0, 0x8a, 0x8a] {
        assert_eq!(connack::<Tcp5>(&gateway, &Connect::new(Version::V5, "flapping")).await, expected);
    }
    assert_eq!(connack::<Tcp5>(&gateway, &Connect::new(Version::V5, "calm")).await, 0);
}

#[tokio::test]
async fn hardened_means_that_nobody_comes_in_who_was_not_asked_about() {
    let gateway = gateway_with(|config| config.gateway.security = Security::Hardened).await;
    assert_eq!(connack::<Tcp5>(&gateway, &Connect::new(Version::V5, "c")).await, 0x87);
    let mut coap = Coap::open(&gateway).await;
    assert_eq!(coap.put("a", b"x", &[]).await.code, 401);
    let mut sn = MqttSn::open(&gateway).await;
    assert_eq!(sn.try_connect("node", true).await, ReturnCode::NotSupported);
    let hardened = Guarded::start(|config| {
        config.gateway.security = Security::Hardened;
        config.access.rules.clear();
    })
    .await;
    let (mut client, _) = hardened.gateway.connect(&credentials(Version::V5, "c", "bob", "secret")).await;
    assert_eq!(client.subscribe("open/x", 0).await, 0x87, "nothing is allowed without a rule");
}

/// Passwords are tried beside the threads that serve connections: while many wait, messages flow.
#[tokio::test]
async fn a_storm_of_passwords_stops_nobody_who_is_connected() {
    let guarded = Guarded::start(|config| {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let users = format!(
            "user_id,password_hash\nslow,\"{hash}\"\nbob,{}\n",
            "$digest-md5$p=disable$$Xr4ilOzQ4PCOq3aQ0qbuaQ"
        );
        fs::write(&config.access.users.file, users).expect("written");
        config.access.backoff.enable = false;
        config.access.users.hash_waiting_max = 5;
        config.access.timeout = Period::from_secs(600);
    })
    .await;
    let (mut bob, _) = guarded.gateway.connect(&credentials(Version::V5, "b", "bob", "secret")).await;
    bob.subscribe("open/x", 1).await;
    let mut storm = Vec::new();
    for number in 0..30 {
        let mut client = guarded.gateway.open(Version::V5).await;
        client.send(&credentials(Version::V5, &format!("s{number}"), "slow", "guess").bytes()).await;
        storm.push(client);
    }
    for number in 0..20 {
        let text = number.to_string();
        bob.publish("open/x", &text, 1).await;
        assert_eq!(bob.expect_message().await.text(), text);
    }
    let mut codes = Vec::new();
    for client in &mut storm {
        codes.push(client.connack().await.code);
    }
    let (wrong, busy) =
        (codes.iter().filter(|&&code| code == 0x86).count(), codes.iter().filter(|&&code| code == 0x89));
    assert_eq!(wrong + busy.clone().count(), 30, "{codes:02x?}");
    assert!(wrong >= 5, "those who waited were tried: {codes:02x?}");
    assert_eq!(guarded.count(Counter::AuthenticationFailure), wrong as u64);
}

/// One that gives up waiting leaves nothing behind.
#[tokio::test]
async fn who_leaves_while_it_is_being_decided_is_forgotten() {
    let guarded = Guarded::start(|config| config.access.backoff.enable = false).await;
    for number in 0..20 {
        let mut client = guarded.gateway.open(Version::V5).await;
        client.send(&credentials(Version::V5, &format!("l{number}"), "nobody", "x").bytes()).await;
        drop(client);
    }
    let access = guarded.gateway.gateway().access().clone();
    while access.pending() > 0 {
        tokio::task::yield_now().await;
    }
    let (mut client, _) = guarded.gateway.connect(&credentials(Version::V5, "c", "bob", "secret")).await;
    client.ping().await;
}

#[tokio::test]
async fn a_coap_connection_goes_on_as_whoever_opened_it() {
    let guarded = Guarded::start(|_| {}).await;
    let mut coap = Coap::open(&guarded.gateway).await;
    coap.open_connection_as("sensor", &["username=bob", "password=secret"]).await;
    assert_eq!(coap.put("by/bob/sensor", b"x", &[]).await.code, 204);
    coap.move_to_other_port().await;
    assert_eq!(coap.put("by/bob/sensor", b"x", &[]).await.code, 204, "the token shows who it is");
    assert_eq!(coap.put("by/eve/sensor", b"x", &[]).await.code, 401);
}

/// What came by a subscription that was taken away is not for the client, however often it comes and goes before that was thrown away.
#[tokio::test]
async fn what_came_by_a_subscription_that_was_taken_away_never_comes() {
    let guarded = Guarded::start(|config| {
        config.mqtt.inflight_max = 1;
        config.access.rules[0].topics.push("closed/#".into());
    })
    .await;
    let shown = || credentials(Version::V5, "c", "bob", "secret").persistent();
    let (mut client, _) = guarded.gateway.connect(&shown()).await;
    assert_eq!(client.subscribe_all(&[("open/#", 1), ("closed/#", 1)], &[]).await, [1, 1]);
    client.disconnect().await;
    let (mut publisher, _) = guarded.gateway.connect(&credentials(Version::V5, "p", "root", "toor")).await;
    publisher.publish("open/first", "1", 1).await;
    publisher.publish("open/second", "2", 1).await;
    publisher.publish("open/third", "3", 1).await;
    for number in 0..20 {
        publisher.publish("closed/x", &number.to_string(), 1).await;
    }
    publisher.publish("open/last", "4", 1).await;
    let mut config = Config::default();
    guard(&mut config, &guarded.folder);
    guarded.gateway.gateway().reload_access(&config).expect("good");
    // Its subscription ends before the second message comes. It does not acknowledge that one, and goes: the third was all that fitted behind it.
    let (mut client, connack) = guarded.gateway.connect(&shown()).await;
    assert!(connack.session_present);
    assert_eq!(client.expect_message().await.topic, "open/first");
    for _ in 0..3 {
        assert_eq!(client.expect_publish().await.topic, "open/second");
        client.cut();
        client = guarded.gateway.connect(&shown()).await.0;
    }
    assert_eq!(client.expect_message().await.topic, "open/second");
    assert_eq!(client.expect_message().await.topic, "open/third");
    assert_eq!(client.expect_message().await.topic, "open/last", "not what it may not have any more");
    assert_eq!(guarded.count(Counter::DeliveryRevoked), 20);
    assert_eq!(client.unsubscribe(&["closed/#"]).await, [0x11], "it has ended");
}

/// Where nobody is asked a name is what its client says; it goes on under that, too, when only its token is shown.
#[tokio::test]
async fn a_coap_connection_goes_on_with_its_name_and_attributes() {
    let gateway = gateway_with(|config| {
        let attribute = |name: &str, value: &str| AccessAttribute { name: name.into(), value: value.into() };
        config.access.attributes = vec![attribute("tenant", "nth(2, tokens(username, '@'))")];
        let listener = config.listeners.udp.get_mut("coap").expect("it listens");
        listener.mountpoint = "t/${client_attrs.tenant}/".into();
    })
    .await;
    let mut witness = gateway.client(Version::V5, "witness").await;
    witness.subscribe("t/#", 1).await;
    let mut coap = Coap::open(&gateway).await;
    coap.open_connection_as("sensor", &["username=bob@north"]).await;
    for _ in 0..3 {
        assert_eq!(coap.put("x", b"1", &[]).await.code, 204);
        assert_eq!(witness.expect_message().await.topic, "t/north/x");
        coap.move_to_other_port().await;
    }
    // Another who opens one under this client id is not taken for the one before.
    let mut other = Coap::open(&gateway).await;
    other.open_connection_as("sensor", &["username=eve@south"]).await;
    other.move_to_other_port().await;
    assert_eq!(other.put("x", b"2", &[]).await.code, 204);
    assert_eq!(witness.expect_message().await.topic, "t/south/x");
    assert_eq!(coap.put("x", b"3", &[]).await.code, 401, "its token has ended");
    // A name that is banned keeps the connection out that does not say it again.
    let ban = thingway::access::Ban {
        kind: thingway::access::BanKind::Username,
        value: "eve@south".into(),
        reason: "".into(),
        until_unix_secs: None,
    };
    assert_eq!(gateway.gateway().access().ban(ban), Ok(true));
    other.move_to_other_port().await;
    assert_eq!(other.put("x", b"4", &[]).await.code, 401, "banned");
}
