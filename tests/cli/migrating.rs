//! `docs/migrating.md` is followed to the letter: its files and commands, with exports such as the others write.

use std::{fs, num::NonZeroU32, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{digest, pbkdf2};
use tempfile::TempDir;

use crate::{
    Ran,
    common::{Client, Connect, Version, wire},
    run_in,
    store::Server,
};

/// A folder with the configuration file of a section, whose paths are in that folder, and the section's commands.
fn section(title: &str) -> (TempDir, Vec<Vec<String>>) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating.md")).expect("the page");
    let text =
        page.split(&format!("### {title}\n")).nth(1).expect("the section").split("\n#").next().expect("its text");
    let block = |kind: &str| text.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let folder = TempDir::new().expect("a folder");
    let place = folder.path().display().to_string();
    let toml = block("toml").expect("a configuration file").replace("/etc/thingway", &place);
    fs::write(folder.path().join("thingway.toml"), toml).expect("written");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let commands: Vec<_> = block("sh").expect("commands").lines().map(words).collect();
    assert!(commands.len() > 1 && commands.iter().all(|command| command[0] == "thingway"), "{commands:?}");
    (folder, commands)
}

/// Runs a command of the page.
fn run(folder: &Path, command: &[String]) -> Ran {
    let mut arguments = vec!["--data-dir", "."];
    arguments.extend(command[1..].iter().map(String::as_str));
    run_in(folder, &arguments, &[])
}

fn connect(client_id: &str, username: &str, password: &str) -> Connect {
    Connect::new(Version::V5, client_id).username(username).password(password)
}

async fn code(server: &Server, connect: &Connect) -> u8 {
    let mut client = Client::open(server.address, connect.version).await;
    client.send(&connect.bytes()).await;
    client.connack().await.code
}

#[tokio::test]
async fn a_small_gateway_is_moved_from_emqx() {
    let (folder, commands) = section("A small gateway, moved from EMQX");
    let folder = folder.path();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let hash = |salted: &str| {
        let digest = digest::digest(&digest::SHA256, salted.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let users = format!(
        "user_id,password_hash,salt,is_superuser\ndashboard,{},pepper,false\nroot,{},salt,true\n",
        hash("peppersecret"),
        hash("salttoor")
    );
    fs::write(folder.join("users.csv"), users).expect("written");
    let acl = "{allow, {username, {re, \"^dashboard$\"}}, subscribe, [\"sensors/#\"]}.\n\
               {allow, all, publish, [\"sensors/${clientid}/#\"]}.\n\
               {deny, all, subscribe, [\"$SYS/#\", {eq, \"#\"}]}.\n";
    fs::write(folder.join("acl.conf"), acl).expect("written");
    let rules =
        r#"[{"username":"dashboard","rules":[{"permission":"allow","action":"publish","topic":"commands/#"}]}]"#;
    fs::write(folder.join("rules.json"), rules).expect("written");
    for command in &commands {
        let ran = run(folder, command);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{command:?}\n{}", ran.out);
    }

    let server = Server::start(folder, &["access.backoff.enable=false"]);
    assert_eq!(code(&server, &connect("x", "dashboard", "wrong")).await, 0x86);
    let (mut root, _) = Client::connect(server.address, &connect("r", "root", "toor")).await;
    assert_eq!(root.subscribe("#", 1).await, 1, "a superuser");
    let (mut panel, connack) = Client::connect(server.address, &connect("panel", "dashboard", "secret")).await;
    assert!(format!("{:?}", connack.properties).contains("MaximumPacketSize(65536)"), "{connack:?}");
    assert_eq!(panel.subscribe("sensors/#", 1).await, 1);
    for topic in ["sensors/panel/a", "commands/go"] {
        panel.publish(topic, "x", 1).await;
        assert_eq!(root.expect_message().await.topic, topic);
    }
    panel.send(&wire::publish(Version::V5, "sensors/other/a", b"x", 1, 9, &[])).await;
    let denied = panel.take("the end", |packet| match packet {
        crate::common::Packet::Disconnect(reason) => Some(reason.code),
        _ => None,
    });
    assert_eq!(denied.await, 0x87);
    server.kill();
}

#[tokio::test]
async fn a_small_gateway_is_moved_from_mosquitto() {
    let (folder, commands) = section("A small gateway, moved from Mosquitto");
    let folder = folder.path();
    let mut hash = [0; 64];
    let (salt, iterations) = (b"twelve bytes", NonZeroU32::new(101).expect("more than none"));
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, b"rabbit", &mut hash);
    let hash = format!("$7$101${}${}", BASE64_STANDARD.encode(salt), BASE64_STANDARD.encode(hash));
    fs::write(folder.join("passwd"), format!("roger:{hash}\n")).expect("written");
    let acl = "topic read news/#\n\nuser roger\ntopic house/kitchen/#\n\npattern write devices/%c/up\n";
    fs::write(folder.join("aclfile"), acl).expect("written");
    for command in &commands {
        let ran = run(folder, command);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{command:?}\n{}", ran.out);
    }

    let server = Server::start(folder, &["access.backoff.enable=false"]);
    assert_eq!(code(&server, &Connect::new(Version::V5, "x")).await, 0x87);
    assert_eq!(code(&server, &connect("x", "roger", "wrong")).await, 0x86);
    let (mut roger, _) = Client::connect(server.address, &connect("panel", "roger", "rabbit")).await;
    assert_eq!(roger.subscribe_all(&[("house/kitchen/#", 1), ("house/#", 1), ("#", 0)], &[]).await, [1, 0x87, 0x87]);
    roger.publish("house/kitchen/light", "on", 1).await;
    assert_eq!(roger.expect_message().await.text(), "on");
    for (topic, expected) in [("devices/panel/up", 0x10), ("devices/other/up", 0x87), ("house/door", 0x87)] {
        roger.send(&wire::publish(Version::V5, topic, b"x", 1, 9, &[])).await;
        assert_eq!(roger.puback(9).await.code, expected, "{topic}");
    }
    server.kill();
}
