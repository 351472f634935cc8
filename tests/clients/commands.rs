//! `thingway pub` and `thingway sub` over every URL.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    sync::mpsc,
};

use crate::{
    agent::PATIENCE,
    process::{Running, lines},
    server::{Server, is_stand_in},
};

/// What the stand-in speaks, too, comes first.
const SCHEMES: [&str; 8] = ["mqtt", "mqtts", "ws", "wss", "unix", "quic", "mqtt-sn", "coap"];

fn program(server: &Server, command: &str, scheme: &str, line: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thingway"));
    program.args([command, "--url", &server.url(scheme)]).args(line.split_whitespace());
    if matches!(scheme, "mqtts" | "wss" | "quic") {
        program.arg("--cafile").arg(&server.certificates.ca);
    }
    program.stdin(Stdio::null());
    program
}

/// Publishes and insists on success.
fn publish(server: &Server, scheme: &str, line: &str) {
    let output = program(server, "pub", scheme, line).output().unwrap();
    assert!(output.status.success(), "pub {scheme} {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A `sub` that runs.
struct Subscriber {
    running: Running,
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    /// Subscribes to `{topic}/#`, and waits for the retained message there that tells of the subscription.
    fn start(server: &Server, scheme: &str, topic: &str, line: &str) -> Self {
        publish(server, "mqtt", &format!("-t {topic}/ready -m go -r -q 1"));
        let mut program = program(server, "sub", scheme, &format!("-t {topic}/# -v {line}"));
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let subscriber = Self { running: Running(child), lines };
        assert_eq!(subscriber.next(), format!("{topic}/ready go"), "{scheme}");
        subscriber
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// The exit code.
    fn end(mut self) -> Option<i32> {
        self.running.wait(PATIENCE).expect("it ends").code()
    }
}

#[test]
fn what_is_published_over_any_url_arrives_over_any_other() {
    let server = Server::start();
    let schemes = if is_stand_in() { &SCHEMES[..6] } else { &SCHEMES };
    for to in schemes {
        let count = 1 + 3 * schemes.len();
        let subscriber = Subscriber::start(&server, to, to, &format!("-q 2 -C {count}"));
        for from in schemes {
            for qos in 0..3 {
                publish(&server, from, &format!("-t {to}/{from} -m payload-{qos} -q {qos}"));
                assert_eq!(subscriber.next(), format!("{to}/{from} payload-{qos}"));
            }
        }
        assert_eq!(subscriber.end(), Some(0), "{to}");
    }
}

#[test]
fn datagrams_carry_retained_messages_and_what_belongs_to_them() {
    if is_stand_in() {
        return;
    }
    let server = Server::start();
    publish(&server, "coap", "-t kept/json -m {} -r -q 1 --expiry 300 --content-type application/json");
    publish(&server, "mqtt-sn", "-t kept/sn -m x -r -q 2");
    let printed = |scheme: &str, line: &str| {
        let Output { status, stdout, stderr } = program(&server, "sub", scheme, line).output().unwrap();
        assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice::<serde_json::Value>(&stdout).unwrap()
    };
    for scheme in ["mqtt", "coap"] {
        let message = printed(scheme, "-t kept/json -C 1 --json");
        assert_eq!((&message["payload"], &message["retain"]), (&"{}".into(), &true.into()), "{scheme}");
        assert_eq!(message["content_type"], "application/json");
        assert!(message["expiry_secs"].as_u64().is_some_and(|secs| (200..=300).contains(&secs)));
    }
    for scheme in ["mqtt", "mqtt-sn", "coap"] {
        let message = printed(scheme, "-t kept/sn -C 1 --json -q 2");
        assert_eq!((&message["payload"], &message["retain"]), (&"x".into(), &true.into()), "{scheme}");
        if scheme != "coap" {
            assert_eq!(message["qos"], 2);
        }
    }
    // Nothing retained is printed that nobody wants, and the time is up.
    for scheme in ["mqtt", "mqtt-sn", "coap"] {
        let output = program(&server, "sub", scheme, "-t kept/# -R -W 300ms").output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(27), &b""[..]), "{scheme}");
    }
}

#[test]
fn mqtt_sn_without_a_connection_from_standard_input_and_with_a_will() {
    if is_stand_in() {
        return;
    }
    let server = Server::start();
    // A filter that matches topics of two characters, one of which is a slash.
    let subscriber = Subscriber::start(&server, "mqtt", "w", "-q 1");
    publish(&server, "mqtt-sn", "-t w/ -m short -q -1");
    assert_eq!(subscriber.next(), "w/ short");

    let mut child =
        program(&server, "pub", "mqtt-sn", "-t w/lines -l -q 2 -i lines").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\r\ntwo\nthree").unwrap();
    assert_eq!(Running(child).wait(PATIENCE).and_then(|status| status.code()), Some(0));
    for line in ["one", "two", "three"] {
        assert_eq!(subscriber.next(), format!("w/lines {line}"));
    }

    let doomed =
        Subscriber::start(&server, "mqtt-sn", "doomed", "-k 1 --will-topic w/will --will-payload gone --will-qos 1");
    doomed.running.signal("KILL");
    assert_eq!(subscriber.next(), "w/will gone");
}

#[test]
fn mqtt_sn_shows_user_name_and_password() {
    if is_stand_in() {
        return;
    }
    let server = Server::with("[mqttsn]\nauth_required = true\n");
    let subscriber = Subscriber::start(&server, "mqtt-sn", "auth", "-u me -P word -C 2 --will-topic w");
    publish(&server, "mqtt-sn", "-t auth/x -m x -u me -P word");
    assert_eq!(subscriber.next(), "auth/x x");
    assert_eq!(subscriber.end(), Some(0));
}

#[test]
fn coap_connections_carry_payloads_of_many_blocks() {
    if is_stand_in() {
        return;
    }
    let server = Server::start();
    let payload = "0123456789abcdef".repeat(1000);
    let subscribers = ["mqtt", "coap"].map(|scheme| {
        let topic = format!("large-{scheme}");
        (Subscriber::start(&server, scheme, &topic, &format!("-i to-{scheme} -q 1 -C 3")), topic)
    });
    for (subscriber, topic) in subscribers {
        for (from, options) in [("coap", "-i publisher -k 1"), ("mqtt", "-q 1")] {
            publish(&server, from, &format!("-t {topic}/from/{from} {options} -m {payload}"));
            let line = subscriber.next();
            assert!(line == format!("{topic}/from/{from} {payload}"), "{:.60}", line);
        }
        assert_eq!(subscriber.end(), Some(0));
    }
}

#[test]
fn refusals_are_told_and_fail() {
    if is_stand_in() {
        return;
    }
    let server = Server::start();
    for (command, scheme, line, text) in [
        ("pub", "coap", "-t a -m x --will-topic w", "--will-topic means nothing to CoAP"),
        ("pub", "mqtt-sn", "-t a -m x --expiry 5", "--expiry means nothing to MQTT-SN"),
        ("pub", "mqtt", "-t ab -m x -q -1", "--qos -1 means nothing to MQTT"),
        ("sub", "coap", "-t a/#/b", "subscription to a/#/b refused: 4.00 Bad Request: bad topic"),
        ("sub", "mqtt-sn", "-t a/#/b", "subscription to a/#/b refused: rejected: not supported (3)"),
        ("pub", "mqtt-sn", "--predefined-id 9 -m x", "publication refused: rejected: invalid topic ID (2)"),
        ("pub", "mqtt-sn", "--predefined-id 9 -m x -q -1", "publication refused: rejected: invalid topic ID (2)"),
    ] {
        let output = program(&server, command, scheme, line).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told), (Some(1), format!("error: {text}\n")), "{command} {scheme} {line}");
    }
}
