use thingway_coap::{
    Config, NotifyType, QosRule,
    codec::{Code, Kind, Packet, option},
};
use thingway_contract::{CloseReason, Instant, Qos, Standing};

use crate::{
    gateway::Gateway,
    support::{Client, drain_to, get, last_to, message, message_of, non, put, retained, with_token, with_uint},
};

fn gateway() -> Gateway {
    Gateway::new(Config::default())
}

fn register(path: &str, token: &[u8]) -> Packet {
    with_uint(with_token(get(path), token), option::OBSERVE, 0)
}

fn payloads(packets: &[Packet]) -> Vec<&[u8]> {
    packets.iter().map(Packet::payload).collect()
}

#[test]
fn rfc7641_3_1_a_registration_is_answered_with_the_present_representation() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let empty = client.observe(&mut gateway, "ps/a", b"1");
    assert_eq!((empty.code(), empty.payload()), (Code::CONTENT, &b""[..]));
    gateway.publish(retained("b", b"now", Some("text/plain")));
    let answer = client.observe(&mut gateway, "ps/b", b"2");
    assert_eq!((answer.payload(), answer.uint(option::CONTENT_FORMAT)), (&b"now"[..], Some(0)));
    assert!(answer.has(option::OBSERVE) && empty.has(option::OBSERVE));
    gateway.sent.clear();
    let without = client.observe(&mut gateway, "ps/b?rh=2", b"3");
    assert_eq!(without.payload(), b"");
    assert_eq!(gateway.sent.len(), 1, "what is retained comes once, as the answer, or not at all");
}

#[test]
fn rfc7641_4_4_notifications_have_the_token_and_growing_numbers() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    let mut last = client.observe(&mut gateway, "ps/a?qos=0", b"tk").uint(option::OBSERVE).expect("registered");
    for payload in [b"1", b"2", b"3"] {
        gateway.publish(message_of("a", payload, Qos::AtMostOnce, Some("application/cbor"), Instant::NEVER));
        let notification = last_to(&mut gateway, 1);
        assert_eq!((notification.token(), notification.payload()), (&b"tk"[..], &payload[..]));
        assert_eq!(notification.uint(option::CONTENT_FORMAT), Some(60));
        let number = notification.uint(option::OBSERVE).expect("a number");
        assert!(number > last);
        last = number;
        if notification.kind() == Kind::Confirmable {
            client.acknowledge(&mut gateway, &notification);
        }
    }
}

#[test]
fn rfc7641_4_5_one_confirmable_notification_at_a_time() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a", b"1");
    gateway.sent.clear();
    for payload in [b"1", b"2", b"3"] {
        gateway.publish(message("a", payload, Qos::AtLeastOnce));
    }
    for payload in [b"1", b"2", b"3"] {
        let sent = drain_to(&mut gateway, 1);
        assert_eq!(payloads(&sent), [payload]);
        assert_eq!(sent[0].kind(), Kind::Confirmable);
        client.acknowledge(&mut gateway, &sent[0]);
    }
    assert_eq!(gateway.standing(1), Some(Standing::Established));
}

#[test]
fn notify_type_decides_about_confirmation_of_known_observers() {
    for (notify_type, expected) in [
        (NotifyType::Qos, [Kind::NonConfirmable, Kind::Confirmable]),
        (NotifyType::Confirmable, [Kind::Confirmable, Kind::Confirmable]),
        (NotifyType::NonConfirmable, [Kind::NonConfirmable, Kind::NonConfirmable]),
    ] {
        let mut gateway = Gateway::new(Config { notify_type, ..Config::default() });
        let mut client = Client::new(1);
        client.validate(&mut gateway);
        client.observe(&mut gateway, "ps/a", b"1");
        gateway.sent.clear();
        gateway.publish(message("a", b"x", Qos::AtMostOnce));
        let mut kinds = vec![last_to(&mut gateway, 1)];
        if kinds[0].kind() == Kind::Confirmable {
            client.acknowledge(&mut gateway, &kinds[0].clone());
        }
        gateway.publish(message("a", b"x", Qos::AtLeastOnce));
        kinds.push(last_to(&mut gateway, 1));
        assert_eq!(kinds.iter().map(Packet::kind).collect::<Vec<_>>(), expected, "{notify_type:?}");
    }
}

#[test]
fn subscribe_qos_comes_from_the_query_the_message_type_or_the_setting() {
    for (setting, request, expected) in [
        (QosRule::Coap, register("ps/a", b"1"), Qos::AtLeastOnce),
        (QosRule::Coap, non(register("ps/a", b"1")), Qos::AtMostOnce),
        (QosRule::Coap, non(register("ps/a?qos=2", b"1")), Qos::ExactlyOnce),
        (QosRule::Fixed(Qos::ExactlyOnce), register("ps/a", b"1"), Qos::ExactlyOnce),
    ] {
        let mut gateway = Gateway::new(Config { subscribe_qos: setting, ..Config::default() });
        Client::new(1).send(&mut gateway, request);
        assert_eq!(gateway.subscribed_qos("a"), Some(expected));
    }
}

#[test]
fn rfc7641_4_5_an_observer_shows_at_times_that_it_is_there() {
    let mut gateway = Gateway::new(Config { unconfirmed_max: 3, ..Config::default() });
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.observe(&mut gateway, "ps/a?qos=0", b"1");
    let mut kinds = Vec::new();
    let mut tell = |gateway: &mut Gateway, client: &mut Client| {
        gateway.publish(message("a", b"x", Qos::AtMostOnce));
        let notification = last_to(gateway, 1);
        kinds.push(notification.kind() == Kind::Confirmable);
        if notification.kind() == Kind::Confirmable {
            client.acknowledge(gateway, &notification);
        }
    };
    for _ in 0..5 {
        tell(&mut gateway, &mut client);
    }
    gateway.pass_ms(24 * 3600 * 1000);
    let ping = last_to(&mut gateway, 1);
    client.reset(&mut gateway, &ping);
    tell(&mut gateway, &mut client);
    tell(&mut gateway, &mut client);
    assert_eq!(kinds, [false, false, false, true, false, true, false]);
}

#[test]
fn rfc7641_3_6_observations_are_cancelled() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a", b"1");
    let answer = client.send(&mut gateway, with_uint(with_token(get("ps/a"), b"1"), option::OBSERVE, 1));
    assert_eq!((answer.code(), answer.has(option::OBSERVE)), (Code::NO_CONTENT, false));
    assert!(gateway.filters().is_empty());

    client.observe(&mut gateway, "ps/a", b"2");
    assert_eq!(client.send(&mut gateway, with_token(get("ps/a"), b"2")).code(), Code::NOT_FOUND, "a plain GET");
    assert!(gateway.filters().is_empty());

    client.observe(&mut gateway, "ps/a", b"3");
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    client.reset(&mut gateway, &notification);
    assert!(gateway.filters().is_empty());
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    assert!(drain_to(&mut gateway, 1).is_empty());
}

#[test]
fn rfc7641_3_6_a_reset_of_what_was_not_confirmable_cancels_as_well() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.observe(&mut gateway, "ps/a?qos=0", b"1");
    client.observe(&mut gateway, "ps/b?qos=0", b"2");
    gateway.publish(message("a", b"x", Qos::AtMostOnce));
    let notification = last_to(&mut gateway, 1);
    assert_eq!(notification.kind(), Kind::NonConfirmable);
    client.reset(&mut gateway, &notification);
    assert_eq!(gateway.filters(), ["b"]);
}

#[test]
fn rfc7641_4_5_an_observer_that_is_gone_is_given_up() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a", b"1");
    client.observe(&mut gateway, "ps/b", b"2");
    gateway.sent.clear();
    let begin = gateway.now;
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    gateway.pass_ms(93_000);
    let sent = drain_to(&mut gateway, 1);
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|packet| *packet == sent[0]), "the very same message each time");
    assert!(gateway.filters().is_empty(), "given up after {:?}", gateway.now - begin);
}

#[test]
fn rfc7641_4_1_the_same_token_replaces_and_other_tokens_share() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    let first = client.observe(&mut gateway, "ps/a", b"1").uint(option::OBSERVE);
    let again = client.observe(&mut gateway, "ps/a", b"1").uint(option::OBSERVE);
    assert!(first < again);
    assert_eq!(gateway.machine(1).expect("living").observations_len(), 1);
    client.observe(&mut gateway, "ps/a", b"2");
    client.observe(&mut gateway, "ps/+", b"3");
    gateway.sent.clear();
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    let mut tokens = Vec::new();
    while let Some(notification) = drain_to(&mut gateway, 1).pop() {
        tokens.push(notification.token().to_vec());
        client.acknowledge(&mut gateway, &notification);
    }
    tokens.sort();
    assert_eq!(tokens, [b"1", b"2", b"3"], "each observation is notified once");
    client.observe(&mut gateway, "ps/z", b"1");
    assert_eq!(gateway.filters(), ["a", "+", "z"]);
    client.send(&mut gateway, with_uint(with_token(get("ps/a"), b"2"), option::OBSERVE, 1));
    assert_eq!(gateway.filters(), ["+", "z"], "unsubscribed with the last of them");
}

#[test]
fn wildcards_are_for_observers_and_say_which_topic_it_is() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    gateway.publish(retained("a/1", b"r", None));
    let answer = client.observe(&mut gateway, "ps/a/%23", b"1");
    assert_eq!((answer.code(), answer.payload()), (Code::CONTENT, &b""[..]));
    let notification = last_to(&mut gateway, 1);
    assert_eq!(notification.payload(), b"r", "what is retained follows");
    let path: Vec<&[u8]> = notification.options(option::LOCATION_PATH).collect();
    assert_eq!(path, [&b"ps"[..], b"a", b"1"]);
}

#[test]
fn no_local_keeps_own_messages_away() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a?nl=1", b"1");
    assert_eq!(client.send(&mut gateway, put("ps/a", b"x")).code(), Code::CHANGED);
    assert_eq!(drain_to(&mut gateway, 1).len(), 2);
}

#[test]
fn bad_registrations_are_refused() {
    let mut gateway = Gateway::new(Config { observations_max: 1, ..Config::default() });
    let mut client = Client::new(1);
    gateway.bus.forbidden.push("secret".into());
    for (request, code) in [
        (register("ps/a", b""), Code::BAD_REQUEST),
        (with_uint(with_token(get("ps/a"), b"1"), option::OBSERVE, 2), Code::BAD_REQUEST),
        (register("ps/a/%23/b", b"1"), Code::BAD_REQUEST),
        (register("ps/secret", b"1"), Code::UNAUTHORIZED),
        (register("ps/a", b"1"), Code::CONTENT),
        (register("ps/b", b"2"), Code::SERVICE_UNAVAILABLE),
        (register("ps/b", b"1"), Code::CONTENT),
    ] {
        let answer = client.send(&mut gateway, request.clone());
        assert_eq!(answer.code(), code, "{request:?}");
        assert_eq!(answer.has(option::OBSERVE), code == Code::CONTENT);
    }
}

#[test]
fn rfc7641_4_2_a_format_that_the_observer_does_not_take_ends_the_observation() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.send(&mut gateway, with_uint(register("ps/a", b"1"), option::ACCEPT, 50));
    gateway.sent.clear();
    gateway.publish(message_of("a", b"x", Qos::AtLeastOnce, Some("application/cbor"), Instant::NEVER));
    let last = last_to(&mut gateway, 1);
    assert_eq!((last.code(), last.has(option::OBSERVE)), (Code::NOT_ACCEPTABLE, false));
    assert!(gateway.filters().is_empty());
}

#[test]
fn max_age_and_expiry_of_notifications() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a", b"1");
    gateway.publish(message("a", b"first", Qos::AtLeastOnce));
    let first = last_to(&mut gateway, 1);
    let soon = Instant::from_millis(gateway.now.as_millis() + 2000);
    gateway.publish(message_of("a", b"short", Qos::AtLeastOnce, None, soon));
    let late = gateway.now.plus_secs(100);
    gateway.publish(message_of("a", b"long", Qos::AtLeastOnce, None, late));
    gateway.pass_ms(1900);
    gateway.pass_ms(100);
    gateway.sent.clear();
    client.acknowledge(&mut gateway, &first);
    let next = last_to(&mut gateway, 1);
    assert_eq!((next.payload(), next.uint(option::MAX_AGE)), (&b"long"[..], Some(98)), "the other expired");
}

#[test]
fn observers_are_told_when_the_gateway_stops() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.observe(&mut gateway, "ps/a", b"1");
    gateway.sent.clear();
    gateway.close(1, &CloseReason::ShuttingDown);
    let last = last_to(&mut gateway, 1);
    assert_eq!((last.code(), last.token()), (Code::SERVICE_UNAVAILABLE, &b"1"[..]));
    assert!(gateway.machine(1).is_none());
}

#[test]
fn other_credentials_end_the_observations_of_the_first() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a?u=me&p=1", b"1");
    client.send(&mut gateway, put("ps/a?u=me&p=1", b"x"));
    assert_eq!(gateway.bus.connects, 1);
    let notification = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &notification);
    let answers = client.send_all(&mut gateway, put("ps/a?u=you&p=2", b"x"));
    let codes: Vec<Code> = answers.iter().map(Packet::code).collect();
    assert_eq!(codes, [Code::SERVICE_UNAVAILABLE, Code::CHANGED]);
    let credentials = &gateway.bus.connect.as_ref().expect("asked").credentials;
    assert_eq!((credentials.username.as_deref(), credentials.password.as_deref()), (Some("you"), Some(&b"2"[..])));
    assert!(gateway.filters().is_empty());
    gateway.bus.refusal = Some(thingway_contract::Refusal::BadCredentials);
    assert_eq!(
        client.send(&mut gateway, put("ps/a", b"x")).code(),
        Code::UNAUTHORIZED,
        "no credentials are others, too"
    );
}

#[test]
fn an_observer_of_a_quiet_topic_is_asked_at_times_whether_it_is_there() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.observe(&mut gateway, "ps/a", b"1");
    gateway.sent.clear();
    gateway.pass_ms(247_000);
    let ping = last_to(&mut gateway, 1);
    assert_eq!((ping.kind(), ping.code()), (Kind::Confirmable, Code::EMPTY));
    client.reset(&mut gateway, &ping);
    assert_eq!(gateway.standing(1), Some(Standing::Established));
    gateway.pass_ms(86_399_000);
    assert!(drain_to(&mut gateway, 1).is_empty());
    gateway.pass_ms(1000);
    assert_eq!(last_to(&mut gateway, 1).code(), Code::EMPTY);
    assert_eq!(gateway.filters(), ["a"]);
    gateway.pass_ms(93_000);
    assert!(gateway.filters().is_empty(), "nobody is there");
}

#[test]
fn registrations_on_their_way_share_a_subscription_and_count() {
    let mut gateway = Gateway::new(Config { observations_max: 3, ..Config::default() });
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    let registration =
        |path: &str, token: &[u8], observe: u32| with_uint(with_token(get(path), token), option::OBSERVE, observe);
    gateway.delaying = true;
    client.send_all(&mut gateway, registration("ps/a?qos=1", b"1", 0));
    client.send_all(&mut gateway, registration("ps/a?qos=0", b"2", 0));
    client.send_all(&mut gateway, registration("ps/b", b"3", 0));
    let fourth = client.send(&mut gateway, registration("ps/c", b"4", 0));
    assert_eq!(fourth.code(), Code::SERVICE_UNAVAILABLE);
    gateway.answer_delayed();
    assert_eq!(gateway.machine(1).expect("living").observations_len(), 3);
    assert_eq!(
        (gateway.filters(), gateway.subscribed_qos("a")),
        (vec!["a".to_owned(), "b".to_owned()], Some(Qos::AtLeastOnce))
    );
    gateway.sent.clear();
    gateway.publish(message("a", b"x", Qos::AtLeastOnce));
    for token in [b"1", b"2"] {
        let notification = last_to(&mut gateway, 1);
        assert_eq!((notification.token(), notification.payload()), (&token[..], &b"x"[..]));
        client.acknowledge(&mut gateway, &notification);
    }
    // The subscription stays while another registration is on its way, and goes when that is refused.
    for is_refused in [false, true] {
        client.send_all(&mut gateway, registration("ps/a", b"2", 1));
        gateway.delaying = true;
        client.send_all(&mut gateway, registration("ps/a", b"2", 0));
        client.send_all(&mut gateway, registration("ps/a", b"1", 1));
        gateway.bus.forbidden.extend(is_refused.then(|| "a".into()));
        gateway.answer_delayed();
        assert_eq!(gateway.filters().contains(&"a".to_owned()), !is_refused);
        client.send_all(&mut gateway, registration("ps/a", b"1", 0));
    }
}

#[test]
fn those_who_watch_are_told_what_observers_have() {
    let mut gateway = gateway();
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.observe(&mut gateway, "ps/a?qos=1", b"1");
    gateway.publish(message("a", b"unwatched", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &notification);
    assert!(gateway.acknowledged().is_empty(), "nobody wants to know");
    gateway.watch();
    gateway.publish(message("a", b"0", Qos::AtMostOnce));
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    assert!(gateway.acknowledged().is_empty(), "not yet");
    let notification = last_to(&mut gateway, 1);
    assert_eq!((notification.kind(), notification.payload()), (Kind::Confirmable, &b"1"[..]));
    client.acknowledge(&mut gateway, &notification);
    client.acknowledge(&mut gateway, &notification);
    assert_eq!(gateway.acknowledged(), [b"1"], "once");
    client.observe(&mut gateway, "ps/+?qos=1", b"2");
    gateway.sent.clear();
    gateway.publish(message("a", b"both", Qos::AtLeastOnce));
    let first = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &first);
    assert!(gateway.acknowledged().is_empty(), "one of two observations has it");
    let second = last_to(&mut gateway, 1);
    assert_ne!(first.token(), second.token());
    client.acknowledge(&mut gateway, &second);
    assert_eq!(gateway.acknowledged(), [b"both"]);
    gateway.publish(message("a", b"refused", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    client.reset(&mut gateway, &notification);
    assert!(gateway.acknowledged().is_empty(), "the other observation is owed it");
}

#[test]
fn what_need_not_be_acknowledged_counts_when_it_is_sent() {
    let mut gateway = Gateway::new(Config { notify_type: NotifyType::NonConfirmable, ..Config::default() });
    let mut client = Client::new(1);
    client.validate(&mut gateway);
    client.observe(&mut gateway, "ps/a?qos=1", b"1");
    gateway.publish(message("a", b"first", Qos::AtLeastOnce));
    let notification = last_to(&mut gateway, 1);
    client.acknowledge(&mut gateway, &notification);
    gateway.watch();
    gateway.publish(message("a", b"1", Qos::AtLeastOnce));
    assert_eq!(last_to(&mut gateway, 1).kind(), Kind::NonConfirmable);
    assert_eq!(gateway.acknowledged(), [b"1"]);
    gateway.publish(message("a", b"0", Qos::AtMostOnce));
    assert!(gateway.acknowledged().is_empty(), "that it is sent was told");
}
