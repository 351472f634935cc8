//! What operators have made goes from one gateway to another in an archive.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use thingway::config::Config;

use crate::{
    Managed, PASSWORD,
    common::{Client, Connect, Version},
    http::{Answer, Caller},
    tools,
};

/// An archive as any program would write it.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, content) in files {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[148..156].fill(b' ');
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar  \0");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.write_all(&block).expect("memory never fails");
        out.write_all(content).expect("memory never fails");
        out.write_all(&vec![0; (512 - content.len() % 512) % 512]).expect("memory never fails");
    }
    out.write_all(&[0; 10_240]).expect("memory never fails");
    out.finish().expect("memory never fails")
}

const MANIFEST: &str =
    r#"{"format":"thingway data","version":1,"table_sets":["banned","dashboard_users","builtin_authn"]}"#;

/// An archive with these rows.
fn with_rows(manifest: &str, settings: &str, rows: &[(&str, &str)]) -> Vec<u8> {
    let mut lines = "{\"format\":\"thingway store\",\"version\":1}\n".to_owned();
    for (name, value) in rows {
        lines += &format!("{}\n", json!({ "kind": "setting", "name": name, "value": value }));
    }
    lines += &format!("{}\n", json!({ "kind": "end", "lines": rows.len() + 1 }));
    archive(&[
        ("./manifest.json", manifest.as_bytes()),
        ("./settings.toml", settings.as_bytes()),
        ("./store.jsonl", lines.as_bytes()),
    ])
}

async fn upload(caller: &Caller, name: &str, content: &[u8]) -> Answer {
    let head = format!(
        "--xx\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{name}\"\r\nContent-Type: application/gzip\r\n\r\n"
    );
    let body = [head.as_bytes(), content, b"\r\n--xx--\r\n"].concat();
    let head = format!(
        "POST /api/v5/data/files HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{}Content-Type: multipart/form-data; boundary=xx\r\nContent-Length: {}\r\n\r\n",
        caller.authorization(),
        body.len()
    );
    caller.raw(&[head.as_bytes(), &body].concat()).await
}

async fn import(caller: &Caller, name: &str) -> Answer {
    caller.post("/api/v5/data/import", &json!({ "filename": name })).await
}

async fn start(folder: &Path) -> Managed {
    let change = |config: &mut Config| config.access.authenticators = vec!["users".into()];
    Managed::kept_in(folder, change).await
}

/// The code of the answer to a connection.
async fn connect(managed: &Managed, client_id: &str, username: &str, password: &str) -> (Client, u8) {
    let connect = Connect::new(Version::V5, client_id).username(username).password(password);
    let mut client = managed.gateway.open(Version::V5).await;
    client.send(&connect.bytes()).await;
    let code = client.connack().await.code;
    (client, code)
}

/// Makes something of everything.
async fn make(managed: &Managed) -> Caller {
    let admin = &managed.admin;
    let done = async |path: &str, body: Value| {
        let told = admin.post(&format!("/api/v5{path}"), &body).await;
        assert!((200..300).contains(&told.status), "{path}: {told:?}");
        told
    };
    let bob = json!({ "user_id": "bob", "password": "secret", "attributes": { "site": "north" } });
    done("/authentication/built_in_database/users", bob).await;
    let rules = json!([{ "username": "bob", "rules": [
        { "permission": "deny", "action": "subscribe", "topic": "closed" },
        { "permission": "allow", "action": "all", "topic": "#" },
    ]}]);
    done("/authorization/sources/built_in_database/rules/users", rules).await;
    done("/banned", json!({ "as": "clientid", "who": "banned", "reason": "r" })).await;
    done("/banned", json!({ "as": "clientid", "who": "was-banned", "until": 1 })).await;
    done("/psk", json!({ "identity": "device", "key": "00112233445566778899aabbccddeeff" })).await;
    done("/users", json!({ "username": "eve", "password": "eves password", "role": "viewer" })).await;
    done("/mqtt/topic_metrics", json!({ "topic": "counted/#" })).await;
    done("/publish", json!({ "topic": "kept", "payload": "still here", "retain": true, "qos": 1 })).await;
    done("/publish", json!({ "topic": "$delayed/3600/later", "payload": "later" })).await;
    let slow = json!({ "enable": true, "threshold": "7ms", "top_k_num": 3 });
    assert_eq!(admin.put("/api/v5/slow_subscriptions/settings", &slow).await.status, 200);
    let settings = json!({ "mqtt.max_qos": 1, "log.level": "warn" });
    assert_eq!(admin.put("/api/v5/configs", &settings).await.status, 200);
    let made = done("/api_key", json!({ "name": "k", "role": "administrator" })).await.json();
    admin.with_key(made["api_key"].as_str().expect("a key"), made["api_secret"].as_str().expect("a secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_takes_over_what_another_has() {
    let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let source = start(from.path()).await;
    let key = make(&source).await;
    let (mut device, code) = connect(&source, "device", "bob", "secret").await;
    assert_eq!(code, 0);
    device.publish("kept/by a device", "one more", 1).await;
    let exported = source.admin.ask("POST", "/api/v5/data/export", None).await;
    assert_eq!(exported.status, 200, "{exported:?}");
    let exported = exported.json();
    let name = exported["filename"].as_str().expect("a name").to_owned();
    let file = from.path().join("backup").join(&name);
    let metadata = fs::metadata(&file).expect("it is in the folder");
    assert_eq!((metadata.permissions().mode() & 0o777, exported["size"].as_u64()), (0o600, Some(metadata.len())));
    let listed = source.get("/api/v5/data/files").await.json();
    assert_eq!((&listed["data"], &listed["meta"]["count"]), (&json!([exported]), &json!(1)));
    let path = format!("/api/v5/data/files/{name}");
    let told = source.get(&path).await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(told.bytes(), fs::read(&file).expect("it can be read"));
    assert_eq!(source.get("/api/v5/audit").await.json()["data"][0]["operation_id"], format!("/data/files/{name}"));
    let archive = told.bytes().to_vec();
    // Other programs read it, too.
    if let Some(tar) = tools::program("tar") {
        let listed = std::process::Command::new(tar).arg("tzf").arg(&file).output().expect("it runs");
        assert_eq!(
            String::from_utf8_lossy(&listed.stdout),
            "manifest.json\nsettings.toml\nstore.jsonl\n",
            "{listed:?}"
        );
    }
    assert_eq!(source.admin.delete(&format!("{path}?node=other")).await.status, 404);
    assert_eq!(source.admin.delete(&path).await.status, 204);
    assert_eq!((source.get(&path).await.status, fs::exists(&file).expect("a folder")), (404, false));

    let mut target = start(to.path()).await;
    let address = target.gateway.gateway().api_address().expect("it is served");
    let key = Caller::stranger(address).with_authorization_of(&key);
    assert_eq!(key.get("/api/v5/stats").await.status, 401, "it is not known yet");
    assert_eq!(upload(&target.admin, "there.tar.gz", &archive).await.status, 204);
    assert_ne!(connect(&target, "d", "bob", "secret").await.1, 0, "an upload changes nothing");
    let told = import(&target.admin, "there.tar.gz").await;
    assert_eq!(told.status, 200, "{told:?}");
    let told = told.json();
    assert_eq!(told["settings"], json!({ "applied": ["log.level", "mqtt.max_qos"], "pending": [] }));
    let tally = |table: &str| {
        let of = &told["table_sets"][table];
        ["imported", "replaced", "skipped", "refused"].map(|what| of[what].as_u64().expect("a number"))
    };
    for (table, expected) in [
        ("builtin_authn", [1, 0, 0, 0]),
        ("builtin_authz", [1, 0, 0, 0]),
        ("banned", [1, 0, 1, 0]),
        ("psk", [1, 0, 0, 0]),
        ("dashboard_users", [2, 1, 0, 0]),
        ("api_keys", [1, 0, 0, 0]),
        ("topic_metrics", [1, 0, 0, 0]),
        ("slow_subscriptions", [1, 1, 0, 0]),
        ("builtin_retainer", [1, 0, 0, 0]),
        ("delayed", [1, 0, 0, 0]),
    ] {
        assert_eq!(tally(table), expected, "{table}");
    }
    assert_eq!(target.get("/api/v5/stats").await.status, 401, "its account is another now");
    target.admin = target.admin.log_in("admin", PASSWORD).await;
    is_there(&target, &key).await;
    let again = import(&target.admin, "there.tar.gz").await.json();
    let again = |table: &str, what: &str| again["table_sets"][table][what].as_u64().expect("a number");
    assert_eq!((again("builtin_authn", "replaced"), again("builtin_retainer", "replaced")), (1, 1));
    assert_eq!((again("delayed", "imported"), again("delayed", "skipped")), (0, 1), "it waits already");
    target.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let target = start(to.path()).await;
    let address = target.gateway.gateway().api_address().expect("it is served");
    is_there(&target, &Caller::stranger(address).with_authorization_of(&key)).await;
    let told = target.get("/api/v5/configs").await.json();
    assert_eq!((&told["mqtt.max_qos"]["value"], &told["mqtt.max_qos"]["pending"]), (&json!(1), &json!(false)));
}

/// Everything of [`make`] is there, and counts.
async fn is_there(managed: &Managed, key: &Caller) {
    assert_ne!(connect(managed, "d", "bob", "wrong").await.1, 0);
    assert_ne!(connect(managed, "banned", "bob", "secret").await.1, 0);
    let (mut client, code) = connect(managed, "d", "bob", "secret").await;
    assert_eq!(code, 0);
    assert_eq!(client.subscribe("closed", 0).await, 0x87);
    client.subscribe("kept", 1).await;
    let kept = client.expect_message().await;
    assert_eq!((kept.text(), kept.retain), ("still here", true));
    assert_eq!(key.get("/api/v5/stats").await.status, 200);
    managed.admin.log_in("eve", "eves password").await;
    assert!(
        managed
            .gateway
            .gateway()
            .access()
            .keys()
            .proves("device", &0x00112233445566778899aabbccddeeff_u128.to_be_bytes())
    );
    let bans = managed.get("/api/v5/banned").await.json();
    assert_eq!((&bans["data"][0]["who"], &bans["meta"]["count"]), (&json!("banned"), &json!(1)));
    assert_eq!(managed.get("/api/v5/mqtt/topic_metrics/counted%2F%23").await.status, 200);
    assert_eq!(managed.get("/api/v5/slow_subscriptions/settings").await.json()["threshold"], "7ms");
    let delayed = managed.get("/api/v5/mqtt/delayed/messages").await.json();
    assert_eq!((&delayed["data"][0]["topic"], &delayed["meta"]["count"]), (&json!("later"), &json!(1)));
    assert_eq!(managed.get("/api/v5/configs").await.json()["log.level"]["value"], "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_is_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let key = make(&managed).await;
    let export = async |caller: &Caller, wish: Value| caller.post("/api/v5/data/export", &wish).await;
    for (wish, why) in [
        (json!({ "table_sets": ["banned", "foo"] }), "Invalid table sets: foo"),
        (json!({ "root_keys": ["mqtt", "bar"] }), "Invalid root keys: bar"),
        (json!({ "tables": [] }), "unknown field"),
    ] {
        let told = export(&managed.admin, wish.clone()).await;
        assert_eq!((told.status, told.code()), (400, "BAD_REQUEST".into()), "{wish}");
        assert!(told.text().contains(why), "{}", told.text());
    }
    let of = async |caller: &Caller, wish: Value| {
        let told = export(caller, wish).await;
        assert_eq!(told.status, 200, "{told:?}");
        let name = told.json()["filename"].as_str().expect("a name").to_owned();
        (import(&managed.admin, &name).await.json(), name)
    };
    let (told, name) = of(&managed.admin, json!({ "table_sets": ["banned"], "root_keys": ["log"] })).await;
    assert_eq!(
        told["table_sets"].as_object().map(|tables| tables.keys().cloned().collect()),
        Some(vec!["banned".to_owned()])
    );
    assert_eq!(told["settings"], json!({ "applied": ["log.level"], "pending": [] }));
    assert_eq!(key.get(&format!("/api/v5/data/files/{name}")).await.status, 200);
    // A key manages neither accounts nor keys, by no way round.
    let (told, _) = of(&key, json!({})).await;
    assert_eq!((&told["table_sets"]["api_keys"], &told["table_sets"]["dashboard_users"]), (&Value::Null, &Value::Null));
    let (_, all) = of(&managed.admin, json!({})).await;
    for told in [
        export(&key, json!({ "table_sets": ["dashboard_users"] })).await,
        import(&key, &all).await,
        key.get(&format!("/api/v5/data/files/{all}")).await,
        upload(&key, "mine.tar.gz", &with_rows(MANIFEST, "", &[])).await,
    ] {
        assert_eq!((told.status, told.code()), (403, "API_KEY_NOT_ALLOW".into()));
    }
    let eve = managed.admin.log_in("eve", "eves password").await;
    for told in [
        export(&eve, json!({})).await,
        import(&eve, &all).await,
        eve.get("/api/v5/data/files").await,
        eve.get(&format!("/api/v5/data/files/{all}")).await,
        upload(&eve, "mine.tar.gz", &with_rows(MANIFEST, "", &[])).await,
    ] {
        assert_eq!((told.status, told.code()), (403, "FORBIDDEN".into()), "a viewer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_archive_is_not_taken_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let admin = &managed.admin;
    let good = with_rows(MANIFEST, "[mqtt]\nmax_qos = 1\n", &[("ban/client_id/x", "{}"), ("ban/username/y", "{}")]);
    for name in ["../out.tar.gz", "..%2Fout.tar.gz", "a/b.tar.gz", ".hidden.tar.gz", "a.zip", ""] {
        let told = upload(admin, name, &good).await;
        assert_eq!(told.status, 400, "{name:?}: {told:?}");
        for told in
            [admin.get(&format!("/api/v5/data/files/{}", name.replace('/', "%2F"))).await, import(admin, name).await]
        {
            assert!([400, 404].contains(&told.status), "{name:?}: {told:?}");
        }
    }
    fs::write(folder.path().join("out.tar.gz"), &good).expect("written");
    for path in ["..%2Fout.tar.gz", "%2E%2E%2Fout.tar.gz"] {
        assert_eq!(admin.get(&format!("/api/v5/data/files/{path}")).await.status, 404);
        assert_eq!(admin.delete(&format!("/api/v5/data/files/{path}")).await.status, 404);
    }
    let zeros = vec![0; 16 << 20];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&zeros).expect("memory never fails");
    let bomb = bomb.finish().expect("memory never fails");
    let settings_bomb = archive(&[("manifest.json", MANIFEST.as_bytes()), ("settings.toml", &zeros)]);
    let line_bomb = archive(&[("manifest.json", MANIFEST.as_bytes()), ("store.jsonl", &zeros)]);
    let newer = MANIFEST.replace("\"version\":1", "\"version\":2");
    let link = archive(&[("manifest.json", MANIFEST.as_bytes()), ("../../etc/passwd", b"x")]);
    for (content, why) in [
        (&b"no archive"[..], "no whole .tar.gz"),
        (&good[..good.len() - 9], "no whole .tar.gz"),
        (&good[..good.len() / 2], "no whole .tar.gz"),
        (&bomb, "there is something behind its end"),
        (&settings_bomb, "settings.toml: it has more than"),
        (&line_bomb, "store.jsonl: line 1: it is too long"),
        (&with_rows(&newer, "", &[]), "version 2, written by a later gateway"),
        (&archive(&[("emqx-export/META.hocon", b"version = 5")]), "no archive of Thingway's"),
        (&link, "../../etc/passwd: no archive has such an entry"),
        (&with_rows(MANIFEST, "[mqtt", &[]), "settings.toml: "),
        (&with_rows(MANIFEST, "", &[("user/bob", "{\"password\":\"secret\"}")]), "store.jsonl: line 2: \"user/bob\""),
        (&with_rows(MANIFEST, "", &[("api_key/k", "{}")]), "store.jsonl: line 2: "),
        (&with_rows(MANIFEST, "", &[("audit/0", "{}")]), "no archive has such a setting"),
    ] {
        let told = upload(admin, "bad.tar.gz", content).await;
        assert_eq!((told.status, told.code()), (400, "BAD_REQUEST".into()), "{why}");
        let message = told.json()["message"].as_str().expect("words").to_owned();
        assert!(message.contains(why), "{why}: {message}");
    }
    assert_eq!(fs::read_dir(folder.path().join("backup")).expect("a folder").count(), 0, "nothing is left");
    let json = admin.post("/api/v5/data/files", &json!({ "filename": "a.tar.gz" })).await;
    assert_eq!(json.status, 415);
    assert_eq!(upload(admin, "good.tar.gz", &good).await.status, 204);
    assert_eq!((upload(admin, "good.tar.gz", &good).await.code()), "ALREADY_EXISTS");
    for number in 1..20 {
        assert_eq!(upload(admin, &format!("{number}.tar.gz"), &good).await.status, 204);
    }
    for told in [upload(admin, "full.tar.gz", &good).await, admin.post("/api/v5/data/export", &json!({})).await] {
        assert_eq!((told.status, told.code()), (400, "EXCEED_LIMIT".into()));
    }
    assert_eq!(managed.get("/api/v5/banned").await.json()["meta"]["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_here_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let ban = ("ban/client_id/x", "{}");
    fs::create_dir_all(folder.path().join("backup")).expect("a folder");
    let put = |name: &str, content: Vec<u8>| {
        fs::write(folder.path().join("backup").join(format!("{name}.tar.gz")), content).expect("written");
    };
    put("unknown", with_rows(MANIFEST, "[mqtt]\nno_such = 1\n", &[ban]));
    put("range", with_rows(MANIFEST, "[mqtt]\nmax_qos = 7\n", &[ban]));
    put("fixed", with_rows(MANIFEST, "[gateway]\ndata_dir = \"/elsewhere\"\n", &[ban]));
    let viewer =
        "{\"password\":\"$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$WFhYWFhYWFhYWFhYWFhYWA\",\"role\":\"viewer\"}";
    put("nobody", with_rows(MANIFEST, "[mqtt]\nmax_qos = 1\n", &[ban, ("account/admin", viewer)]));
    put("newer", with_rows(&MANIFEST.replace(":1,", ":9,"), "[mqtt]\nmax_qos = 1\n", &[ban]));
    for (name, code, why) in [
        ("unknown", "BAD_CONFIG_SCHEMA", "mqtt.no_such"),
        ("range", "BAD_CONFIG_SCHEMA", "mqtt.max_qos"),
        ("fixed", "BAD_CONFIG_SCHEMA", "gateway.data_dir"),
        ("nobody", "BAD_REQUEST", "there would be no administrator"),
        ("newer", "BAD_REQUEST", "version 9"),
    ] {
        let told = import(&managed.admin, &format!("{name}.tar.gz")).await;
        assert_eq!((told.status, told.code()), (400, code.into()), "{name}: {told:?}");
        assert!(told.text().contains(why), "{name}: {}", told.text());
    }
    assert_eq!(import(&managed.admin, "none.tar.gz").await.status, 404);
    let told = managed.admin.post("/api/v5/data/import", &json!({ "filename": "range.tar.gz", "node": "x" })).await;
    assert_eq!(told.status, 404);
    assert_eq!(managed.get("/api/v5/banned").await.json()["meta"]["count"], 0);
    assert_eq!(managed.get("/api/v5/configs").await.json()["mqtt.max_qos"]["source"], "default");
    assert_eq!(managed.get("/api/v5/stats").await.status, 200, "nobody's login has ended");
}
