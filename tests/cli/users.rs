//! `thingway users` and `thingway bans`, and what a gateway makes of what they have left.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    Ran,
    common::{Client, Connect, Version},
    run_in,
    store::Server,
};

/// Runs a command with something on standard input.
fn run_with(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
    command.arg("--data-dir").arg(folder).args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // One that fails before it reads is seen by its exit status.
    let _ = child.stdin.take().expect("standard input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn good(folder: &Path, arguments: &[&str], input: &str) -> String {
    let ran = run_with(folder, arguments, input);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}\n{}", ran.out);
    ran.out
}

fn bad(folder: &Path, arguments: &[&str], input: &str, expected: &str) {
    let ran = run_with(folder, arguments, input);
    assert!(ran.code.is_some_and(|code| code != 0) && ran.err.contains(expected), "{arguments:?}\n{}", ran.err);
}

fn connect(username: &str, password: &str) -> Connect {
    Connect {
        username: Some(username.into()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(Version::V5, username)
    }
}

async fn code(server: &Server, connect: &Connect) -> u8 {
    let mut client = Client::open(server.address, connect.version).await;
    client.send(&connect.bytes()).await;
    client.connack().await.code
}

#[tokio::test]
async fn users_that_were_added_may_come_in() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    assert_eq!(good(folder, &["users", "list"], ""), "");
    good(folder, &["users", "add", "bob"], "secret\n");
    good(
        folder,
        &["users", "add", "root", "--superuser", "--attribute", "site=north", "--expires", "2199-01-01T00:00:00Z"],
        "toor",
    );
    bad(folder, &["users", "add", "bob"], "other\n", "is there already");
    bad(folder, &["users", "add", "eve"], "\n", "the password is empty");
    bad(folder, &["users", "add", "eve", "--expires", "soon"], "x\n", "expected a time");
    bad(folder, &["users", "passwd", "eve"], "x\n", "there is no user \"eve\"");
    bad(folder, &["users", "remove", "bob", "eve"], "", "there is no user \"eve\"");
    let listed = good(folder, &["users", "list"], "");
    assert_eq!(listed, "bob  argon2id\nroot  argon2id  superuser  site=north  until 2199-01-01T00:00:00Z\n");
    good(folder, &["users", "add", "prover", "--scram", "sha256", "--scram", "sha512"], "pencil\n");
    bad(folder, &["users", "add", "eve", "--scram", "sha1"], "x\n", "sha1");
    bad(folder, &["users", "add", "eve", "--scram", "sha256", "--scram-iterations", "4095"], "x\n", "4095");
    good(folder, &["users", "passwd", "prover"], "rubber\n");
    let listed = good(folder, &["users", "list"], "");
    assert!(listed.contains("\nprover  argon2id  SCRAM-SHA-256  SCRAM-SHA-512\n"), "{listed}");
    let exported = good(folder, &["users", "export", "--format", "json"], "");
    assert!(exported.contains("\"SCRAM-SHA-256$4096:"), "{exported}");
    good(folder, &["users", "remove", "prover"], "");
    good(folder, &["bans", "add", "client-id", "stolen", "--reason", "stolen in May"], "");
    bad(folder, &["bans", "add", "network", "10.0.0.0/99"], "", "no range of addresses");
    assert_eq!(good(folder, &["bans", "list"], ""), "client_id \"stolen\", stolen in May\n");

    let settings = ["access.authenticators=[\"users\"]", "access.backoff.enable=false"];
    let server = Server::start(folder, &settings);
    assert_eq!(code(&server, &connect("bob", "secret")).await, 0);
    assert_eq!(code(&server, &connect("root", "toor")).await, 0);
    assert_eq!(code(&server, &connect("bob", "Secret")).await, 0x86);
    assert_eq!(code(&server, &Connect { client_id: "stolen".into(), ..connect("bob", "secret") }).await, 0x8a);
    bad(folder, &["users", "list"], "", "a process has this store open");
    server.kill();

    good(folder, &["users", "passwd", "bob"], "changed\n");
    good(folder, &["users", "remove", "root"], "");
    good(folder, &["bans", "remove", "client-id", "stolen"], "");
    let server = Server::start(folder, &settings);
    assert_eq!(code(&server, &connect("bob", "changed")).await, 0);
    assert_eq!(code(&server, &connect("root", "toor")).await, 0x86);
    assert_eq!(code(&server, &Connect { client_id: "stolen".into(), ..connect("bob", "changed") }).await, 0);
    server.kill();
}

#[test]
fn users_are_taken_over_from_emqx_and_mosquitto_and_given_back() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("emqx.csv"), "user_id,password_hash,salt,is_superuser\na,5ebe2294ecd0e0f08eab7690d2a6ee69,,true\n")
        .expect("written");
    fs::write(path("emqx.json"), r#"[{"user_id":"b","password":"plain","is_superuser":false}]"#).expect("written");
    let mosquitto = "c:$6$dVMK3qifUpZD8izs$TlMrAxBvdbj5dFN0JRyBwpeRjS3CJXHjGYrqZNfPG8lBKO9h1lI/Y56TZ2XpeL4VK34JbQifzIrgDJwePWnTQw==\n";
    fs::write(path("passwd"), mosquitto).expect("written");
    assert_eq!(good(folder, &["users", "import", &path("emqx.csv"), "--hashing", "md5-disable"], ""), "1 users\n");
    assert_eq!(good(folder, &["users", "import", &path("emqx.json")], ""), "1 users\n");
    assert_eq!(good(folder, &["users", "import", &path("passwd")], ""), "1 users\n");
    bad(folder, &["users", "import", &path("passwd")], "", "user \"c\" is there already");
    good(folder, &["users", "import", &path("passwd"), "--replace"], "");
    bad(folder, &["users", "import", &path("emqx.csv"), "--hashing", "rot13", "--replace"], "", "--hashing");
    bad(folder, &["users", "import", &path("emqx.csv"), "--replace"], "", "emqx.csv: line 2");
    let listed = "a  digest-md5  superuser\nb  argon2id\nc  digest-sha512\n";
    assert_eq!(good(folder, &["users", "list"], ""), listed);
    for name in ["out.csv", "out.json"] {
        assert_eq!(good(folder, &["users", "export", &path(name)], ""), "3 users\n");
        let other = TempDir::new().expect("a folder");
        assert_eq!(good(other.path(), &["users", "import", &path(name)], ""), "3 users\n");
        assert_eq!(good(other.path(), &["users", "list"], ""), listed);
        let again = other.path().join(name).display().to_string();
        good(other.path(), &["users", "export", &again], "");
        assert_eq!(fs::read(again).expect("written"), fs::read(path(name)).expect("written"));
    }
}

/// The store's own commands know them.
#[test]
fn users_are_part_of_what_is_kept() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    good(folder, &["users", "add", "bob"], "secret\n");
    let checked = good(folder, &["store", "check"], "");
    assert!(checked.lines().any(|line| line.split_whitespace().eq(["settings", "1"])), "{checked}");
    let export = folder.join("export.jsonl").display().to_string();
    let ran = run_in(folder, &["--data-dir", &folder.display().to_string(), "store", "export", &export], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let other = TempDir::new().expect("a folder");
    let told = good(other.path(), &["store", "import", &export], "");
    assert!(told.ends_with("1 settings\n"), "{told}");
    assert_eq!(good(other.path(), &["users", "list"], ""), "bob  argon2id\n");
    bad(other.path(), &["store", "import", &export], "", "it is not empty");
}

#[test]
fn decisions_are_explained() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    fs::write(
        folder.join("acl.conf"),
        "{deny, {username, \"eve\"}, all, [\"#\"]}.\n{allow, all, publish, [\"open/#\"]}.\n",
    )
    .expect("written");
    let rules = format!("access.rule_files=[{{ path = {:?} }}]", folder.join("acl.conf"));
    good(folder, &["users", "add", "bob"], "secret\n");
    good(folder, &["bans", "add", "username-pattern", "^mal"], "");
    let explain = |arguments: &[&str]| {
        let all: Vec<_> =
            [&["explain"][..], arguments, &["--set", &rules, "--set", "access.authenticators=[\"users\"]"]].concat();
        run_with(folder, &all, "secret\n")
    };
    for (arguments, code, expected) in [
        (&["publish", "open/x", "--username", "bob", "--client-id", "c"][..], 0, "acl.conf:2"),
        (&["publish", "open/x", "--username", "eve"], 1, "acl.conf:1"),
        (&["publish", "$SYS/x", "--username", "bob"], 1, "the gateway's own"),
        (&["subscribe", "open/x", "--username", "bob"], 1, "access.no_match"),
        (&["connect", "--username", "bob", "--password-stdin"], 0, "users"),
        (&["connect", "--username", "nobody", "--password-stdin"], 1, "none of users knows"),
        (&["connect", "--username", "mallory", "--password-stdin"], 1, "banned"),
        (&["connect"], 1, "none of users knows"),
        (&["mqtt.max_qos"], 0, "mqtt.max_qos = 2"),
    ] {
        let ran = explain(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}\n{}{}", ran.out, ran.err);
        assert!(ran.out.contains(expected), "{arguments:?}\n{}{}", ran.out, ran.err);
        assert!(!ran.out.contains("secret"));
    }
}
