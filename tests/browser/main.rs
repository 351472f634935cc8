//! The management page in a real browser: the gateway's binary, Chromium, and the scripts in `node/`. docs/dashboard.md says what is needed.
//!
//! `THINGWAY_SCREENSHOTS=1` has `pages` keep pictures of every page in `target/screenshots`.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::disallowed_methods, reason = "another process can only be polled")]

mod building;

use std::{
    env, fs,
    fs::File,
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

/// How often it is started with other ports.
const STARTS_MAX: usize = 5;
/// How long the gateway may take until it listens, on a machine with other work.
const START_MAX: Duration = Duration::from_secs(60);

/// The gateway with its page, on free ports.
struct Gateway {
    process: Child,
    directory: TempDir,
    page: u16,
    tcp: u16,
    ws: u16,
    coap: u16,
    mqttsn: u16,
}

impl Gateway {
    /// A port that was free a moment ago may be somebody else's by now: then there are others.
    fn start(settings: &str, password: Option<&str>) -> Self {
        let mut tries = (0..STARTS_MAX).map(|_| Self::try_start(settings, password));
        let started = tries.find(|started| !started.as_ref().is_err_and(|log| log.contains("in use")));
        started.expect("free ports").unwrap_or_else(|log| panic!("{log}"))
    }

    fn try_start(settings: &str, password: Option<&str>) -> Result<Self, String> {
        // Its name is wider than a phone: the page shows where settings come from.
        let prefix = "thingway-browser-directory-named-longer-than-phones-show-it-";
        let directory = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        let held: [_; 3] = std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [page, tcp, ws] = held.each_ref().map(|socket| socket.local_addr().unwrap().port());
        let held_too: [_; 2] = std::array::from_fn(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [coap, mqttsn] = held_too.each_ref().map(|socket| socket.local_addr().unwrap().port());
        drop((held, held_too));
        let mut config = format!(
            "[overload]\nenable = false\n[dashboard]\nbind = \"127.0.0.1:{page}\"\n[dashboard.tls]\nenable = false\n"
        );
        for (kind, name, port) in
            [("tcp", "default", tcp), ("ws", "default", ws), ("udp", "coap", coap), ("udp", "mqttsn", mqttsn)]
        {
            config += &format!("[listeners.{kind}.{name}]\nbind = \"127.0.0.1:{port}\"\n");
        }
        for kind in ["tls", "wss", "quic"] {
            config += &format!("[listeners.{kind}.default]\nenable = false\nbind = \"127.0.0.1:0\"\n");
        }
        let path = directory.path().join("thingway.toml");
        fs::write(&path, config + settings).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_thingway"))
            .arg("--config")
            .arg(path)
            .envs(password.map(|password| ("THINGWAY_DASHBOARD__FIRST_PASSWORD", password)))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut gateway = Self { process, directory, page, tcp, ws, coap, mqttsn };
        let deadline = Instant::now() + START_MAX;
        while [page, tcp, ws].iter().any(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()) {
            let ended = gateway.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{ended:?}\n{}", gateway.log()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(gateway)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn node_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/node")
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    names.iter().find_map(|name| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// What a test needs, or `None` after saying that it is skipped for the want of it. CI has everything.
fn need<T>(test: &str, what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs {what}, and CI has everything");
        #[expect(clippy::explicit_write, reason = "the test harness would swallow the output of a test that passes")]
        writeln!(std::io::stderr(), "skipped: {test} needs {what}").unwrap();
    }
    found
}

/// Runs a script against a gateway of its own.
fn run(script: &str, settings: &str, password: Option<&str>) {
    let packages = node_directory().join("node_modules/playwright-core/package.json").is_file();
    let node = packages.then(|| program(&["node"])).flatten();
    let Some(node) = need(script, "Node with `npm ci` in tests/browser/node", node) else { return };
    let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
    let Some(chromium) = need(script, "Chromium", chromium) else { return };
    let gateway = Gateway::start(settings, password);
    let screenshots =
        env::var_os("THINGWAY_SCREENSHOTS").map(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots"));
    let told = json!({
        "page": format!("http://127.0.0.1:{}", gateway.page),
        "mqtt": format!("mqtt://127.0.0.1:{}", gateway.tcp),
        "ws": format!("ws://127.0.0.1:{}/mqtt", gateway.ws),
        "coap": format!("coap://127.0.0.1:{}", gateway.coap),
        "mqttsn": format!("mqtt-sn://127.0.0.1:{}", gateway.mqttsn),
        "password": password,
        "thingway": env!("CARGO_BIN_EXE_thingway"),
        "chromium": chromium,
        "screenshots": screenshots,
    });
    let output = Command::new(node)
        .arg(node_directory().join(format!("{script}.js")))
        .env("THINGWAY_BROWSER", told.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}\nthe gateway's log:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        gateway.log(),
    );
}

/// Of the account, where a script begins after the first start.
const PASSWORD: Option<&str> = Some("correct horse");

#[test]
fn the_first_password_is_changed_before_anything_else() {
    run("first_start", "", None);
}

#[test]
fn two_clients_of_different_protocols_appear_live_and_one_is_kicked() {
    run("clients", "", PASSWORD);
}

#[test]
fn what_the_playground_publishes_arrives_at_a_client() {
    run("playground", "", PASSWORD);
}

#[test]
fn a_user_and_a_rule_count_at_once() {
    run("access", "[access]\nauthenticators = [\"users\"]\nsources = [\"rules\"]\nno_match = \"deny\"\n", PASSWORD);
}

#[test]
fn who_is_asked_is_ordered_on_the_page_and_counts_at_once() {
    run("order", "", PASSWORD);
}

#[test]
fn every_page_is_accessible_in_both_languages_and_themes_and_fits_a_phone() {
    run("pages", "", PASSWORD);
}

#[test]
fn the_overview_stays_bounded() {
    run("bounded", "", PASSWORD);
}

#[test]
fn a_page_that_is_left_leaves_nothing_open() {
    run("leaving", "", PASSWORD);
}

#[test]
fn what_was_made_is_exported_and_imported() {
    run("data", "", PASSWORD);
}

#[test]
fn retained_and_delayed_messages_tell_their_payloads() {
    run("messages", "", PASSWORD);
}

#[test]
fn a_trace_is_followed_and_kept_as_a_file() {
    run("trace", "", PASSWORD);
}

#[test]
fn slow_subscriptions_are_measured_as_it_is_set() {
    run("slow", "", PASSWORD);
}

#[test]
fn a_listener_is_made_stopped_started_changed_and_deleted() {
    run("listeners", "", PASSWORD);
}

#[test]
fn keys_count_viewers_only_look_and_the_audit_log_tells() {
    run("accounts", "", PASSWORD);
}

#[test]
fn settings_are_changed_and_tell_their_source() {
    run("settings", "", PASSWORD);
}
