//! `thingway bench` against a gateway in this process: runs that end after a number of messages, so that every count is known.

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{spawn_blocking, yield_now};

use common::{
    TestGateway,
    gateway::{listen_as, listen_udp},
};
use thingway::config::{ListenerKind, ListenerProtocol};

/// Long enough for any of these runs on any machine; they end by their counts.
const AT_MOST: &str = "5m";

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn bench(url: &str, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
    command.arg("bench").args(line.split_whitespace()).args(["--url", url, "--json"]).stdin(Stdio::null());
    let output = spawn_blocking(move || command.output().expect("the program runs")).await.expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs, insists on success, and reads what it tells.
async fn report(url: &str, line: &str) -> Value {
    let ran = bench(url, line).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{line}: {}", ran.out);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{line}: {error}: {}", ran.out))
}

fn assert_counts(report: &Value, counts: &[(&str, u64)]) {
    for (name, count) in counts {
        assert_eq!(report[name].as_u64(), Some(*count), "{name} in {report}");
    }
}

/// Nothing lost, twice, in the wrong order, refused or given up.
fn assert_clean(report: &Value) {
    let names = ["lost", "duplicated", "out_of_order", "foreign", "stalls", "rejected", "failed", "broken"];
    assert_counts(report, &names.map(|name| (name, 0)));
}

async fn gateway() -> TestGateway {
    TestGateway::with(|config| {
        listen_udp(config, ListenerProtocol::MqttSn);
        listen_udp(config, ListenerProtocol::Coap);
        listen_as(config, ListenerKind::Ws);
    })
    .await
}

fn subscriptions(gateway: &TestGateway) -> usize {
    gateway.gateway().bus().gauges().subscriptions
}

fn mqtt(gateway: &TestGateway) -> String {
    format!("mqtt://{}", gateway.address)
}

/// The three shapes at each quality of service and version.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_fan_out_and_fan_in_over_mqtt() {
    let gateway = gateway().await;
    for (shape, groups, publishers, subscribers) in [
        ("--groups 5", 5, 1, 1),
        ("--subscribers 7", 1, 1, 7),
        ("--publishers 7", 1, 7, 1),
        ("--groups 2 --publishers 3 --subscribers 2 --threads 2", 2, 3, 2),
    ] {
        for (qos, version, window) in [(0, "3.1.1", 32), (1, "5", 4), (2, "5", 1), (1, "3.1", 8), (2, "3.1.1", 32)] {
            let line =
                format!("pairs {shape} -q {qos} -V {version} --window {window} --limit 500 --size 100 -d {AT_MOST}");
            let report = report(&mqtt(&gateway), &line).await;
            assert_clean(&report);
            let received = 500 * subscribers;
            let acknowledged = if qos == 0 { 0 } else { 500 };
            assert_counts(
                &report,
                &[
                    ("groups", groups),
                    ("publishers", groups * publishers),
                    ("subscribers", groups * subscribers),
                    ("sent", 500),
                    ("expected", received),
                    ("received", received),
                    ("acknowledged", acknowledged),
                    ("payload_bytes", 100),
                ],
            );
            let percentiles =
                ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|name| report[name].as_f64().unwrap());
            assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{report}");
        }
    }
}

/// Sends at fixed times, and tells what this very process cost.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_and_the_servers_cost() {
    let gateway = gateway().await;
    let pid = std::process::id();
    let line = format!("pairs -n 10 -q 1 --rate 5000 --limit 1000 -d {AT_MOST} --pid {pid} --label here");
    let report = report(&mqtt(&gateway), &line).await;
    assert_clean(&report);
    assert_counts(&report, &[("sent", 1000), ("received", 1000)]);
    // A thousand messages at that rate are due over almost a fifth of a second.
    assert!(report["measured_secs"].as_f64().is_some_and(|secs| secs > 0.19), "{report}");
    for field in ["server_cpu_secs", "rss_before_bytes", "rss_peak_bytes", "generator_cpu_util"] {
        assert!(report[field].is_number(), "{field} in {report}");
    }
    assert_eq!(
        (&report["label"], &report["kind"], &report["protocol"]),
        (&"here".into(), &"pairs".into(), &"mqtt".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_over_datagrams() {
    let gateway = gateway().await;
    for (scheme, listener) in [("mqtt-sn", "udp.mqttsn"), ("coap", "udp.coap")] {
        let url = format!("{scheme}://{}", gateway.listener(listener));
        for shape in ["--groups 4", "--subscribers 3", "--publishers 3"] {
            for qos in 0..=2 {
                // One message under way at a time: no buffer of the kernel can overflow.
                let line = format!("pairs {shape} -q {qos} --window 1 --limit 200 -d {AT_MOST}");
                let report = report(&url, &line).await;
                assert_clean(&report);
                let subscribers = report["subscribers"].as_u64().unwrap() / report["groups"].as_u64().unwrap();
                assert_counts(&report, &[("sent", 200), ("received", 200 * subscribers)]);
            }
        }
    }
}

/// A generator that subscribes and one that publishes, each telling its side; the subscriber ends when it has all.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_and_subscribers_in_processes_of_their_own() {
    let gateway = gateway().await;
    for (scheme, address) in
        [("mqtt", gateway.address), ("mqtt-sn", gateway.listener("udp.mqttsn")), ("coap", gateway.listener("udp.coap"))]
    {
        let url = format!("{scheme}://{address}");
        let subscribed = subscriptions(&gateway);
        let subscribing = format!("sub -n 3 -t own/{scheme}/%i -q 1 --limit 300 -d {AT_MOST} --prefix {scheme}s");
        let publishing =
            format!("pub -n 3 -t own/{scheme}/%i -q 1 --window 2 --limit 300 -d {AT_MOST} --prefix {scheme}p");
        let publish = async {
            while subscriptions(&gateway) < subscribed + 3 {
                yield_now().await;
            }
            report(&url, &publishing).await
        };
        let (subscriber, publisher) = tokio::join!(report(&url, &subscribing), publish);
        assert_clean(&publisher);
        assert_counts(&publisher, &[("sent", 300), ("acknowledged", 300), ("publishers", 3)]);
        assert_clean(&subscriber);
        assert_counts(&subscriber, &[("received", 300), ("subscribers", 3)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_rest_over_every_transport() {
    let directory = TempDir::new().expect("a directory");
    let gateway = TestGateway::with(|config| {
        config.gateway.data_dir = directory.path().to_owned();
        listen_udp(config, ListenerProtocol::MqttSn);
        listen_udp(config, ListenerProtocol::Coap);
        for kind in [ListenerKind::Tls, ListenerKind::Ws, ListenerKind::Wss, ListenerKind::Quic] {
            listen_as(config, kind);
        }
    })
    .await;
    for (scheme, listener) in [
        ("mqtt", "tcp.default"),
        ("mqtts", "tls.default"),
        ("ws", "ws.default"),
        ("wss", "wss.default"),
        ("quic", "quic.default"),
        ("mqtt-sn", "udp.mqttsn"),
        ("coap", "udp.coap"),
    ] {
        let url = format!("{scheme}://{}", gateway.listener(listener));
        let line = format!("conn -n 20 --subscribe -t rest/{scheme}/%i --duration 50ms --threads 2 --insecure");
        let report = report(&url, &line).await;
        assert_counts(&report, &[("clients", 20), ("ready", 20), ("failed", 0), ("broken", 0)]);
        assert_eq!(report["protocol"], scheme);
        assert!(report["max_us"].as_f64().is_some_and(|max| max > 0.0), "{report}");
        assert_eq!(report.get("sent"), None, "connections send no messages");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_and_go() {
    let directory = TempDir::new().expect("a directory");
    let gateway = TestGateway::with(|config| {
        config.gateway.data_dir = directory.path().to_owned();
        listen_as(config, ListenerKind::Tls);
    })
    .await;
    for (scheme, listener, more) in [
        ("mqtt", "tcp.default", "--source 127.0.0.2-127.0.0.9"),
        ("mqtt", "tcp.default", "--reset"),
        ("mqtts", "tls.default", "--insecure"),
    ] {
        let url = format!("{scheme}://{}", gateway.listener(listener));
        let report = report(&url, &format!("conn --storm --concurrency 4 --duration 300ms {more}")).await;
        assert_counts(&report, &[("failed", 0)]);
        assert!(report["cycles"].as_u64().is_some_and(|cycles| cycles > 0), "{report}");
    }
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The relay brings everything, to subscribers of a topic and of a prefix.
#[tokio::test(flavor = "multi_thread")]
async fn the_relay_loses_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
    command.args(["bench", "relay", "--port", "0", "--lifetime", AT_MOST]).stdout(Stdio::piped());
    let mut relay = Killed(command.spawn().expect("the program runs"));
    let mut lines = BufReader::new(relay.0.stdout.take().expect("piped")).lines();
    let address = lines.next().expect("a line").expect("readable");
    let url = format!("mqtt://{address}");
    for version in ["3.1.1", "5"] {
        for shape in ["--groups 3", "--subscribers 5", "--publishers 5"] {
            for qos in 0..=2 {
                let line = format!("pairs {shape} -q {qos} -V {version} --limit 1000 -d {AT_MOST}");
                let report = report(&url, &line).await;
                assert_clean(&report);
                assert_eq!(report["received"], report["expected"], "{report}");
            }
        }
    }
    // Frames larger than a read, and than a socket's buffer.
    let report =
        report(&url, &format!("pairs --subscribers 2 --size 3000000 --window 2 --limit 20 -d {AT_MOST}")).await;
    assert_clean(&report);
    assert_counts(&report, &[("received", 40)]);
}

/// A subscriber that never reads costs the others nothing that they notice.
#[tokio::test(flavor = "multi_thread")]
async fn mute_subscribers_do_not_stop_the_others() {
    let gateway = TestGateway::with(|config| {
        config.queue.messages_max = 100;
    })
    .await;
    let line = format!("pairs --groups 3 --mute 1 -q 1 --size 1000 --limit 3000 -d {AT_MOST}");
    let report = report(&mqtt(&gateway), &line).await;
    assert_clean(&report);
    assert_counts(&report, &[("received", 3000), ("mute", 1), ("clients", 7)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_a_reason() {
    let gateway = gateway().await;
    let url = mqtt(&gateway);
    for (line, url, reason) in [
        ("pairs --groups 2 -t same", url.as_str(), "error: groups need topics of their own: %g in --topic\n"),
        ("pairs --groups 2 --publishers 2 -t x/%i", &url, "error: groups need topics of their own: %g in --topic\n"),
        ("pairs --size 8", &url, "error: payloads have a time stamp in them: --size is 16 at least\n"),
        ("pairs --protocol coap", &url, "error: --protocol says something else than --url\n"),
        ("pub -t x/#", &url, "error: this is no topic to publish to: WildcardInName\n"),
        ("sub -t x#", &url, "error: this is no topic filter: MisplacedWildcard\n"),
        ("pairs --rate 0", &url, "error: --rate is a number above 0\n"),
        ("pairs", "ws://127.0.0.1", "error: messages are sent over TCP and UDP; `conn` knows other transports\n"),
        ("conn", "coap://127.0.0.1", "error: clients of CoAP hold nothing but their observations: --subscribe\n"),
        ("pairs --size 4000", "coap://127.0.0.1", "error: a datagram holds payloads of up to 1024 bytes\n"),
    ] {
        let ran = bench(url, line).await;
        assert_eq!((ran.code, ran.err.as_str()), (Some(1), reason), "{line}");
    }
}

/// Nobody there, or nobody who lets clients in.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let ran = bench(&format!("mqtt://{nobody}"), "pairs --prefix me").await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("cannot connect: Connection refused"), "{}", ran.err);
    let ran = bench(&format!("mqtt-sn://{nobody}"), "conn -n 2 --connect-timeout 300ms --duration 1ms").await;
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_counts(&report, &[("failed", 2), ("ready", 0)]);
    assert!(report["first_failure"].as_str().is_some_and(|why| why.ends_with("not answered in time")), "{report}");
}
