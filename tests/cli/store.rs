//! `thingway store`, on stores that a gateway has left which was killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use tempfile::TempDir;
use thingway::store::{Embedded, Settings};
use thingway_store::{Backend, Change, Durability, Table};

use crate::{
    Ran,
    common::{Client, Connect, PATIENCE, Packet, Property, Version, publish},
    run_in,
};

/// A gateway that is a process of its own, with a folder that outlives it.
pub struct Server {
    process: Child,
    log: mpsc::Receiver<String>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(folder: &Path, settings: &[&str]) -> Self {
        let off = ["tls.default", "ws.default", "wss.default", "quic.default", "udp.mqttsn", "udp.coap"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
        command.arg("--data-dir").arg(folder).args([
            "--set",
            "listeners.tcp.default.bind=127.0.0.1:0",
            "--set",
            "dashboard.enable=false",
        ]);
        for name in off {
            command.args(["--set", &format!("listeners.{name}.enable=false")]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process =
            command.current_dir(folder).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(process.stderr.take().expect("a log")).lines();
        let (sender, log) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let mut server = Self { process, log, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let line = server.logged("listening: ");
        let address = line.split(' ').find_map(|word| word.parse().ok());
        server.address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        server
    }

    /// The next line of the log with this in it.
    fn logged(&self, part: &str) -> String {
        let mut lines = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if line.contains(part) {
                return line;
            }
            lines.push(line);
        }
        panic!("no {part:?} in the log:\n{}", lines.join("\n"));
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    pub fn kill(mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    async fn connect(&self, connect: &Connect) -> Client {
        Client::connect(self.address, connect).await.0
    }

    async fn publisher(&self) -> Client {
        self.connect(&Connect::new(Version::V5, "publisher")).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

/// Runs `thingway store` on this folder.
fn store(folder: &Path, arguments: &[&str]) -> Ran {
    let folder_text = folder.to_str().expect("UTF-8");
    run_in(folder, &[&["--data-dir", folder_text, "store"], arguments].concat(), &[])
}

fn persistent(client_id: &str) -> Connect {
    Connect::new(Version::V5, client_id).persistent()
}

/// Something of every kind: two sessions, one with an exchange that is half over and a will; what waits for both; retained and delayed messages.
async fn fill(server: &Server) {
    let half = persistent("half").will("wills/half", "gone", 1, false).will_property(Property::WillDelay(3000));
    let mut half = server.connect(&half).await;
    half.subscribe("a/#", 2).await;
    half.subscribe("$share/g/s/#", 1).await;
    let mut away = server.connect(&persistent("away")).await;
    away.subscribe("a/#", 1).await;
    away.disconnect().await;
    let mut publisher = server.publisher().await;
    publisher.publish("a/0", "first", 2).await;
    let received = half.expect_publish().await;
    half.send(&crate::common::wire::ack(0x50, received.packet_id, 0)).await;
    half.take("PUBREL", |packet| matches!(packet, Packet::Pubrel(_)).then_some(())).await;
    for number in 1..=10 {
        publisher.publish(&format!("a/{number}"), &format!("number {number}"), 1 + number % 2).await;
    }
    let binary = publish(Version::V5, "a/binary", &[0, 159, 255], 1, 900, &[]);
    publisher.send(&binary).await;
    publisher.puback(900).await;
    publisher.publish("s/1", "shared", 1).await;
    publisher.retain("retained/1", "{\"value\":1}", 1).await;
    publisher.retain("retained/2", "2", 0).await;
    publisher.publish("$delayed/3600/later", "wait", 1).await;
}

fn line<'a>(ran: &'a Ran, name: &str) -> &'a str {
    let found = ran.out.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    found.unwrap_or_else(|| panic!("no {name} in\n{}{}", ran.out, ran.err)).trim_start()
}

async fn killed() -> TempDir {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    fill(&server).await;
    server.kill();
    folder
}

#[tokio::test]
async fn check_sums_up_what_a_killed_gateway_left() {
    let folder = killed().await;
    for _ in 0..2 {
        let ran = store(folder.path(), &["check"]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
        assert!(line(&ran, "store").ends_with("/store, format 1"), "{}", ran.out);
        assert_eq!((line(&ran, "sessions"), line(&ran, "subscriptions"), line(&ran, "groups")), ("2", "3", "1"));
        // The first message is with the one who has acknowledged half of it, and with the one who is away.
        assert!(line(&ran, "queued").starts_with("13 messages, "), "{}", ran.out);
        assert_eq!(line(&ran, "retained"), "2 messages, 12 bytes");
        assert_eq!(line(&ran, "delayed"), "1 messages, 4 bytes");
        assert_eq!((line(&ran, "cut"), line(&ran, "problems")), ("0 bytes", "0"));
        assert!(!line(&ran, "log").starts_with("0 blocks"), "{}", ran.out);
    }
}

/// A killed gateway could not say when its clients left: whoever reads what it left counts from then on.
fn without_times(text: &str) -> String {
    let parts = text.split("\"detached_at\":");
    parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect()
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_and_served_there() {
    let folder = killed().await;
    let exported = store(folder.path(), &["export"]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let lines = exported.out.lines().count();
    assert_eq!(exported.err, format!("{lines} lines, {} bytes\n", exported.out.len()));
    let file = folder.path().join("export.jsonl");
    let path = file.to_str().expect("UTF-8");
    assert_eq!(store(folder.path(), &["export", path]).code, Some(0));
    let text = fs::read_to_string(&file).expect("a file");
    assert_eq!(without_times(&text), without_times(&exported.out));

    let other = self::folder();
    let ran = store(other.path(), &["import", path]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(
        ran.out.ends_with("/store: 2 sessions, 13 messages in queues, 2 retained, 1 delayed, 0 settings\n"),
        "{}",
        ran.out
    );
    assert_eq!(store(other.path(), &["export"]).out, text);
    let ran = store(other.path(), &["check"]);
    assert_eq!((ran.code, line(&ran, "problems")), (Some(0), "0"));
    let mut names: Vec<_> =
        fs::read_dir(other.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["store"]);

    let server = Server::start(other.path(), &[]);
    let (mut half, connack) = Client::connect(server.address, &persistent("half")).await;
    assert!(connack.session_present);
    half.take("PUBREL", |packet| matches!(packet, Packet::Pubrel(_)).then_some(())).await;
    let mut away = server.connect(&persistent("away")).await;
    assert_eq!(away.expect_message().await.text(), "first");
    for number in 1..=10 {
        assert_eq!(away.expect_message().await.text(), format!("number {number}"));
    }
    assert_eq!(away.expect_message().await.payload, [0, 159, 255]);
    away.subscribe("retained/#", 1).await;
    let mut retained = [away.expect_message().await.text().to_owned(), away.expect_message().await.text().to_owned()];
    retained.sort();
    assert_eq!(retained, ["2", "{\"value\":1}"]);
}

#[tokio::test]
async fn a_running_gateway_keeps_the_store_to_itself() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    fs::write(folder.path().join("file"), "").expect("written");
    let told =
        format!("error: {}/store: a process has this store open: stop the gateway first", folder.path().display());
    for command in [&["check"][..], &["export"], &["export", "out"], &["import", "file"]] {
        let ran = store(folder.path(), command);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{command:?}");
        assert!(ran.err.starts_with(&told), "{}", ran.err);
    }
    assert!(!folder.path().join("out").exists());
    // It has not noticed.
    server.publisher().await.retain("a", "b", 1).await;
}

#[test]
fn without_a_store_there_is_nothing_to_do() {
    let folder = folder();
    for command in [&["check"][..], &["export"], &["export", "out"]] {
        let ran = store(folder.path(), command);
        let told = format!("error: {}/store: there is no store\n", folder.path().display());
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (Some(2), "", told), "{command:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing was made");
    let ran = run_in(folder.path(), &["store", "check", "--set", "store.durability=7"], &[]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(&Settings::new(folder.join("store"), Durability::Fsync)).expect("opened")
}

#[tokio::test]
async fn damage_and_later_formats_are_told() {
    let folder = killed().await;
    let good = store(folder.path(), &["export"]).out;
    // A session's row and a block of the log that are none.
    let mut backend = open(folder.path());
    let mut last = 0;
    let visited = backend.blocks(0, &mut |first, _| {
        last = first;
        ControlFlow::Continue(())
    });
    visited.expect("read");
    backend.append(last + 1_000_000, b"\xff").expect("appended");
    let row = Change { table: Table::Sessions, key: vec![0; 8], value: Some(b"none".to_vec()) };
    backend.write(vec![row]).expect("written");
    drop(backend);
    let ran = store(folder.path(), &["check"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(line(&ran, "problems"), "3");
    let problems: Vec<_> = ran.err.lines().collect();
    assert_eq!(problems.len(), 3, "{}", ran.err);
    assert!(problems[0].starts_with("problem: log: records "), "{}", ran.err);
    assert!(problems[1].starts_with("problem: log, block "), "{}", ran.err);
    assert_eq!(problems[2], r"problem: Sessions, row \x00\x00\x00\x00\x00\x00\x00\x00: cannot be read");
    let ran = store(folder.path(), &["export"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("/store: the store is damaged: "), "{}", ran.err);

    // The rows have a format of their own within that of the folder.
    let mut backend = open(folder.path());
    let row = Change { table: Table::Meta, key: b"format".to_vec(), value: Some(9_u32.to_be_bytes().to_vec()) };
    backend.write(vec![row]).expect("written");
    drop(backend);
    let file = folder.path().join("store/format");
    let text = fs::read_to_string(&file).expect("a format");
    for (format, found) in [(text.as_str(), 9), ("thingway store 2\n", 2)] {
        fs::write(&file, format).expect("written");
        for command in ["check", "export"] {
            let ran = store(folder.path(), &[command]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
            let told = format!(
                "the store's format is version {found}, written by a later gateway; this one knows 1: use that gateway or a later one\n"
            );
            assert!(ran.err.ends_with(&told), "{}", ran.err);
        }
    }
    fs::write(&file, "nonsense").expect("written");
    assert_eq!(store(folder.path(), &["check"]).code, Some(1));

    let export = folder.path().join("later.jsonl");
    fs::write(&export, good.replacen("\"version\":1", "\"version\":2", 1)).expect("written");
    let other = self::folder();
    let ran = store(other.path(), &["import", export.to_str().expect("UTF-8")]);
    let told = format!("error: {}:1: version 2, written by a later gateway", export.display());
    assert!(ran.code == Some(1) && ran.err.starts_with(&told), "{}", ran.err);
}

#[tokio::test]
async fn an_import_that_is_refused_changes_nothing() {
    let folder = killed().await;
    let text = store(folder.path(), &["export"]).out;
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let good = write("good.jsonl", &text);
    let good = good.to_str().expect("UTF-8");
    let lines = text.lines().count();
    let bad = write("bad.jsonl", &text.replacen("\"kind\":\"retained\"", "\"kind\":\"retain\"", 1));
    let at = 1 + text.lines().position(|line| line.contains("\"kind\":\"retained\"")).expect("a line");
    let cut = write("cut.jsonl", &text[..text.len() - 5]);
    let other = self::folder();
    for (path, line, why) in [(&bad, at, "unknown variant `retain`"), (&cut, lines, "it ends early")] {
        let ran = store(other.path(), &["import", path.to_str().expect("UTF-8")]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        let told = format!("error: {}:{line}: {why}", path.display());
        assert!(ran.err.starts_with(&told), "{told}\n{}", ran.err);
        assert_eq!(fs::read_dir(other.path()).expect("a folder").count(), 0);
    }
    let ran = store(other.path(), &["import", "absent"]);
    assert!(ran.code == Some(1) && ran.err.starts_with("error: absent: "), "{}", ran.err);
    let ran = store(other.path(), &["import", good, "--set", "store.durability=memory"]);
    assert!(ran.code == Some(2) && ran.err.contains("would not be read"), "{}", ran.err);

    // Not into what has something in it.
    let before = store(folder.path(), &["check"]).out;
    let ran = store(folder.path(), &["import", good]);
    let told = format!("error: {}/store: it is not empty: move the folder away first\n", folder.path().display());
    assert_eq!((ran.code, ran.err), (Some(2), told));
    assert_eq!(store(folder.path(), &["check"]).out, before);

    // A gateway that was started and stopped leaves a store with nothing in it.
    let mut server = Server::start(other.path(), &[]);
    server.signal("TERM");
    server.process.wait().expect("it ends");
    assert_eq!(store(other.path(), &["import", good]).code, Some(0));
    assert_eq!(store(other.path(), &["export"]).out, text);
}

/// The file that a line of the log names.
fn backup(server: &Server) -> PathBuf {
    server.signal("USR1");
    let line = server.logged(" backup ");
    assert!(line.contains(" lines, ") && line.contains("; commits waited "), "{line}");
    line.split_whitespace().find(|word| word.ends_with(".jsonl:")).expect("a path").trim_end_matches(':').into()
}

#[tokio::test]
async fn a_running_gateway_writes_a_backup_when_it_is_asked() {
    for durability in ["fsync", "os", "memory"] {
        let folder = folder();
        let server = Server::start(folder.path(), &[&format!("store.durability={durability}")]);
        fill(&server).await;
        let before = backup(&server);
        assert_eq!(before.parent(), Some(&*folder.path().join("backup")));
        let mut publisher = server.publisher().await;
        publisher.retain("retained/3", "3", 1).await;
        let after = backup(&server);
        assert_ne!(before, after);
        server.kill();
        for (file, retained) in [(before, 2), (after, 3)] {
            let other = self::folder();
            let ran = store(other.path(), &["import", file.to_str().expect("UTF-8")]);
            let told =
                format!("/store: 2 sessions, 13 messages in queues, {retained} retained, 1 delayed, 0 settings\n");
            assert!(ran.code == Some(0) && ran.out.ends_with(&told), "{durability}: {}{}", ran.out, ran.err);
            let again = store(other.path(), &["export"]).out;
            assert_eq!(again, fs::read_to_string(&file).expect("a backup"), "{durability}");
        }
        let names: Vec<_> = fs::read_dir(folder.path().join("backup")).expect("a folder").collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

/// Whatever is acknowledged before the signal is in the backup, and publishing goes on meanwhile.
#[tokio::test]
async fn a_backup_under_load_is_of_one_moment() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut away = server.connect(&persistent("away")).await;
    away.subscribe("a", 1).await;
    away.disconnect().await;
    let (mut publisher, mut acknowledged) = (server.publisher().await, 0);
    let payload = "x".repeat(2000);
    let mut files = Vec::new();
    for _ in 0..4 {
        for _ in 0..300 {
            publisher.publish("a", &payload, 1).await;
            acknowledged += 1;
        }
        server.signal("USR1");
        let sent = acknowledged;
        for _ in 0..100 {
            publisher.publish("a", &payload, 1).await;
            acknowledged += 1;
        }
        let line = server.logged(" backup ");
        let path = line.split_whitespace().find(|word| word.ends_with(".jsonl:")).expect("a path");
        files.push((PathBuf::from(path.trim_end_matches(':')), sent, acknowledged));
    }
    server.kill();
    for (file, at_least, at_most) in files {
        let text = fs::read_to_string(&file).expect("a backup");
        let queued = text.lines().filter(|line| line.starts_with("{\"kind\":\"queued\"")).count();
        let messages = text.lines().filter(|line| line.starts_with("{\"kind\":\"message\"")).count();
        assert!((at_least..=at_most).contains(&queued), "{at_least} <= {queued} <= {at_most}");
        assert_eq!(queued, messages);
        let other = self::folder();
        let ran = store(other.path(), &["import", file.to_str().expect("UTF-8")]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
}
