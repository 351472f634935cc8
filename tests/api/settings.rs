//! Settings that are changed while the gateway runs.

use serde_json::{Value, json};
use thingway::config::ListenerProtocol;

use crate::{
    Managed,
    common::{Client, Connect, Property, Version, gateway::listen_udp},
};

async fn start(folder: &std::path::Path) -> Managed {
    Managed::kept_in(folder, |config| config.mqtt.max_qos = 1).await
}

async fn change(managed: &Managed, changes: Value) -> Value {
    let told = managed.admin.put("/api/v5/configs", &changes).await;
    assert_eq!(told.status, 200, "{changes}: {told:?}");
    told.json()
}

#[tokio::test]
async fn a_change_counts_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let told = managed.get("/api/v5/configs").await.json();
    assert_eq!(told["mqtt.max_qos"], json!({ "value": 1, "source": "default", "settable": true, "pending": false }));
    assert_eq!(told["gateway.data_dir"]["settable"], false);

    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.subscribe("a", 0).await;
    let rules = json!([{ "permission": "deny", "action": "subscribe", "topics": ["a"] }, { "permission": "allow" }]);
    let told = change(&managed, json!({ "access.rules": rules, "mqtt.max_qos": 0, "log.level": "warn" })).await;
    assert_eq!(told, json!({ "applied": ["access.rules", "log.level", "mqtt.max_qos"], "pending": [] }));
    client.publish("a", "not heard", 1).await;
    client.publish("b", "sentinel", 1).await;
    let refused = managed.gateway.client(Version::V5, "d").await.subscribe("a", 0).await;
    assert_eq!(refused, 0x87);
    assert!(managed.get("/api/v5/clients/c/subscriptions").await.json().as_array().is_some_and(Vec::is_empty));
    let told = managed.get("/api/v5/configs").await.json();
    assert_eq!(
        (&told["access.rules"]["source"], &told["access.rules"]["pending"]),
        (&json!("run time"), &json!(false))
    );
    assert_eq!((&told["mqtt.max_qos"]["value"], &told["mqtt.max_qos"]["pending"]), (&json!(0), &json!(false)));
    let exported = managed.get("/api/v5/configs/export").await;
    assert!(exported.text().contains("[mqtt]\nmax_qos = 0\n"), "{}", exported.text());

    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = start(folder.path()).await;
    let told = managed.get("/api/v5/configs").await.json();
    assert_eq!((&told["mqtt.max_qos"]["value"], &told["mqtt.max_qos"]["pending"]), (&json!(0), &json!(false)));
    let refused = managed.gateway.client(Version::V5, "d").await.subscribe("a", 0).await;
    assert_eq!(refused, 0x87);
    assert_eq!(change(&managed, json!({ "access.rules": null })).await["applied"], json!(["access.rules"]));
    assert_eq!(managed.gateway.client(Version::V5, "d").await.subscribe("a", 0).await, 0);
}

#[tokio::test]
async fn some_settings_have_paths_of_their_own_in_the_field_s_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let admin = &managed.admin;
    let told = managed.get("/api/v5/mqtt/retainer").await.json();
    let backend = json!({ "type": "built_in_database", "enable": true, "max_retained_messages": 1_000_000 });
    assert_eq!(
        told,
        json!({
            "enable": true, "msg_expiry_interval": "0s", "max_payload_size": "1MB", "msg_clear_interval": "0s",
            "stop_publish_clear_msg": false, "backend": backend,
        })
    );
    // What was told can be sent back.
    assert_eq!(admin.put("/api/v5/mqtt/retainer", &told).await.json(), told);
    let retain =
        json!({ "msg_expiry_interval": "1h", "max_payload_size": "1KB", "backend": { "max_retained_messages": 2 } });
    let told = admin.put("/api/v5/mqtt/retainer", &retain).await.json();
    assert_eq!(
        (&told["msg_expiry_interval"], &told["max_payload_size"], &told["backend"]["max_retained_messages"]),
        (&json!("1h"), &json!("1KB"), &json!(2))
    );
    // 2,000 bytes are not what "2KB" is taken for.
    let told = admin.put("/api/v5/mqtt/retainer", &json!({ "max_payload_size": 2000 })).await.json();
    assert_eq!(told["max_payload_size"], 2000);
    assert_eq!(admin.put("/api/v5/mqtt/retainer", &retain).await.json()["max_payload_size"], "1KB");
    let publish = async |topic: &str, payload: &str| {
        let message = json!({ "topic": topic, "payload": payload, "retain": true });
        admin.post("/api/v5/publish", &message).await;
    };
    let retained = async || {
        let told = managed.get("/api/v5/mqtt/retainer/messages?topic=r/%23").await.json();
        let mut topics: Vec<_> = told["data"]
            .as_array()
            .expect("messages")
            .iter()
            .map(|row| row["topic"].as_str().map(str::to_owned))
            .collect();
        topics.sort();
        topics.into_iter().flatten().collect::<Vec<_>>()
    };
    // $SYS has messages of its own, which count.
    let unbounded = json!({ "backend": { "max_retained_messages": 0 } });
    assert_eq!(admin.put("/api/v5/mqtt/retainer", &unbounded).await.json()["backend"]["max_retained_messages"], 0);
    publish("r/large", &"x".repeat(1025)).await;
    publish("r/small", &"x".repeat(1024)).await;
    publish("r/other", "x").await;
    assert_eq!(retained().await, ["r/other", "r/small"]);
    assert_eq!(
        admin.put("/api/v5/mqtt/retainer", &json!({ "backend": { "max_retained_messages": 1 } })).await.status,
        200
    );
    publish("r/third", "x").await;
    assert_eq!(retained().await, ["r/other", "r/small"]);
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.subscribe("r/other", 0).await;
    assert_eq!(client.expect_message().await.text(), "x");
    assert_eq!(admin.delete("/api/v5/mqtt/retainer/messages").await.status, 204);
    assert_eq!(client.expect_message().await.text(), "");
    assert_eq!(retained().await, [""; 0]);

    let told = admin.put("/api/v5/mqtt/delayed", &json!({ "enable": true, "max_delayed_messages": 1 })).await.json();
    assert_eq!(told, json!({ "enable": true, "max_delayed_messages": 1 }));
    let later = json!({ "topic": "$delayed/600/later", "payload": "x" });
    assert_eq!(admin.post("/api/v5/publish", &later).await.status, 200);
    assert_eq!(admin.post("/api/v5/publish", &later).await.json()["reason_code"], 151);
    assert_eq!(admin.put("/api/v5/mqtt/delayed", &json!({ "enable": false })).await.json()["enable"], false);
    assert_eq!(admin.post("/api/v5/publish", &later).await.json()["reason_code"], 144);

    let wanted = json!({ "no_match": "deny", "deny_action": "disconnect", "cache": { "enable": false, "max_size": 5, "ttl": "1m" } });
    let told = admin.put("/api/v5/authorization/settings", &wanted).await.json();
    let cache = json!({ "enable": false, "max_size": 0 });
    assert_eq!(told, json!({ "no_match": "deny", "deny_action": "disconnect", "cache": cache }));
    let told = admin.put("/api/v5/authorization/settings", &json!({ "cache": { "enable": true } })).await.json();
    assert_eq!(told["cache"], json!({ "enable": true, "max_size": 32 }));
    let told = admin.put("/api/v5/mqtt/retainer", &json!({ "enable": false })).await.json();
    assert_eq!((&told["enable"], told.get("pending")), (&json!(false), None));

    for (path, wrong) in [
        ("mqtt/retainer", json!({ "backend": { "type": "other" } })),
        ("mqtt/retainer", json!({ "backend": 1 })),
        ("mqtt/retainer", json!({ "max_payload_size": "much" })),
        ("mqtt/delayed", json!({ "enable": "perhaps" })),
        ("mqtt/delayed", json!({ "enabled": true })),
        ("authorization/settings", json!({ "no_match": "ignore" })),
    ] {
        let told = admin.put(&format!("/api/v5/{path}"), &wrong).await;
        assert_eq!(told.status, 400, "{wrong}: {told:?}");
    }
    let types = managed.get("/api/v5/listeners_status").await.json();
    assert_eq!((&types[0]["type"], &types[0]["ids"]), (&json!("tcp"), &json!(["tcp:default"])));
    assert_eq!(types[0]["status"]["current_connections"], 1);
}

#[tokio::test]
async fn what_cannot_be_is_told_by_its_key_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    for (wrong, key) in [
        (json!({ "mqtt.max_qos": 7, "log.level": "warn" }), "mqtt.max_qos"),
        (json!({ "mqtt.max_qoss": 1 }), "mqtt.max_qoss"),
        (json!({ "log.level": "loud" }), "log.level"),
        (json!({ "store.durability": "memory" }), "store.durability"),
        (json!({ "access.rules": [{ "permission": "perhaps" }] }), "access.rules"),
        (json!({ "access.rule_files": [{ "path": "/nowhere", "format": "emqx" }] }), "access.rule_files"),
    ] {
        let told = managed.admin.put("/api/v5/configs", &wrong).await;
        assert_eq!((told.status, told.code()), (400, "BAD_CONFIG_SCHEMA".into()), "{wrong}: {told:?}");
        assert_eq!(told.json()["errors"][0]["path"], key, "{told:?}");
    }
    for wrong in [json!({}), json!([]), json!("x"), json!({ "mqtt.max_qos": { "a": null } })] {
        assert_eq!(managed.admin.put("/api/v5/configs", &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get("/api/v5/configs/export").await.text(), "");
}

#[tokio::test]
async fn secrets_are_not_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    change(&managed, json!({ "access.jwt.main.secret": "hush hush hush" })).await;
    let told = managed.get("/api/v5/configs").await;
    assert!(!told.text().contains("hush"));
    assert_eq!(told.json()["access.jwt.main.secret"]["value"], "***");
    let exported = managed.get("/api/v5/configs/export").await;
    assert_eq!(exported.text(), "# Left out, since they are secret: access.jwt.main.secret\n");
    change(&managed, json!({ "access.jwt.main": null })).await;
    assert!(managed.get("/api/v5/configs").await.json().get("access.jwt.main.secret").is_none());
}

#[tokio::test]
async fn a_form_can_be_made_from_what_is_told_of_settings() {
    let managed = Managed::start().await;
    let told = managed.get("/api/v5/configs/schema").await.json();
    let sections = told["sections"].as_array().expect("sections");
    let find = |path: &str| {
        let keys = sections.iter().flat_map(|section| section["keys"].as_array().expect("keys"));
        keys.clone().find(|key| key["path"] == path).unwrap_or_else(|| panic!("no {path}")).clone()
    };
    let qos = find("mqtt.max_qos");
    assert_eq!((&qos["kind"], &qos["min"], &qos["max"]), (&json!("number"), &json!(0.0), &json!(2.0)));
    let drop = find("queue.drop");
    assert_eq!((&drop["kind"], &drop["choices"]), (&json!("choice"), &json!(["oldest", "newest"])));
    assert_eq!(find("listeners.tcp.{name}.enable")["kind"], "bool");
    assert_eq!(find("access.jwt.{name}.secret")["kind"], "secret");
    assert!(find("log.level")["doc"].as_str().is_some_and(|text| !text.is_empty()));
    let known: Vec<_> =
        managed.get("/api/v5/configs").await.json().as_object().expect("settings").keys().cloned().collect();
    for key in known.iter().filter(|key| !key.starts_with("listeners.")) {
        find(key);
    }
}

#[tokio::test]
async fn listeners_are_made_changed_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let admin = &managed.admin;
    let new = json!({ "type": "tcp", "name": "extra", "bind": "127.0.0.1:0", "max_connections": 5 });
    let told = admin.post("/api/v5/listeners", &new).await;
    assert_eq!(told.status, 200, "{told:?}");
    let connect = async |told: &Value| {
        let address = told["bind"].as_str().expect("an address").parse().expect("an address");
        Client::connect(address, &Connect::new(Version::V5, "c")).await.0
    };
    let told = told.json();
    assert_eq!((&told["id"], &told["status"]["max_connections"]), (&json!("tcp:extra"), &json!(5)));
    let mut client = connect(&told).await;
    assert_eq!(admin.post("/api/v5/listeners", &new).await.code(), "ALREADY_EXISTS");
    let told =
        admin.put("/api/v5/listeners/tcp:extra", &json!({ "max_connections": 7, "mqtt": { "max_qos": 1 } })).await;
    assert_eq!((told.status, &told.json()["status"]["max_connections"]), (200, &json!(7)));
    client.expect_disconnected(&[0x98]).await;
    connect(&told.json()).await;
    for wrong in [
        json!({ "type": "tcp", "name": "a b", "bind": "127.0.0.1:0" }),
        json!({ "type": "vsock", "name": "a", "bind": "127.0.0.1:0" }),
        json!({ "type": "tcp", "name": "a" }),
        json!({ "type": "tcp", "name": "a", "bind": "127.0.0.1:0", "nonsense": 1 }),
        json!({ "type": "tcp", "name": "a", "bind": "192.0.2.1:0" }),
    ] {
        assert_eq!(admin.post("/api/v5/listeners", &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get("/api/v5/listeners").await.json().as_array().map(Vec::len), Some(2));
    assert_eq!(admin.delete("/api/v5/listeners/tcp:default").await.status, 400);
    let told = admin.put("/api/v5/listeners/tcp:extra", &json!({ "enable": false })).await.json();
    assert_eq!((&told["running"], &told["enable"]), (&json!(false), &json!(false)));
    assert_eq!(admin.delete("/api/v5/listeners/tcp:extra").await.status, 204);
    assert_eq!(managed.get("/api/v5/listeners/tcp:extra").await.status, 404);
    assert_eq!(managed.get("/api/v5/configs/export").await.text(), "");
}

#[tokio::test]
async fn a_part_of_the_tree_is_told_and_changed_by_its_names_in_the_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let admin = &managed.admin;
    let told = managed.get("/api/v5/configs/global_zone").await.json();
    for (name, value) in [
        ("max_packet_size", json!("1MB")),
        ("max_qos_allowed", json!(1)),
        ("server_keepalive", json!("disabled")),
        ("session_expiry_interval", json!("2h")),
        ("shared_subscription_strategy", json!("round_robin")),
        ("retry_interval", json!("infinity")),
    ] {
        assert_eq!(told["mqtt"][name], value, "{name}");
    }
    assert_eq!(managed.get("/api/v5/configs?key=mqtt").await.json()["mqtt"], told["mqtt"]);
    // What was told can be sent back, and changes nothing.
    for root in ["global_zone", "sys_topics", "sysmon", "log"] {
        let path = format!("/api/v5/configs/{root}");
        let told = managed.get(&path).await.json();
        assert_eq!(admin.put(&path, &told).await.json(), told);
        if root != "global_zone" {
            assert_eq!(managed.get(&format!("/api/v5/configs?key={root}")).await.json(), json!({ root: told }));
        }
    }
    assert_eq!(managed.get("/api/v5/configs/export").await.text(), "");

    let zone = json!({
        "mqtt": {
            "max_packet_size": "2MB", "server_keepalive": 60, "shared_subscription_strategy": "hash_clientid",
            "max_mqueue_len": 500, "strict_mode": false, "client_attrs_init": [],
        },
        "force_gc": { "enable": true, "count": 16000 }, "flapping_detect": { "enable": false, "max_count": 15 },
    });
    let told = admin.put("/api/v5/configs/global_zone", &zone).await.json();
    assert_eq!((&told["mqtt"]["server_keepalive"], &told["mqtt"]["max_mqueue_len"]), (&json!(60), &json!(500)));
    assert_eq!(told["mqtt"]["shared_subscription_strategy"], "hash_clientid");
    assert_eq!(told["pending"], json!(["queue.messages_max", "queue.offline_messages_max"]));
    let settings = managed.get("/api/v5/configs").await.json();
    assert_eq!(settings["mqtt.max_packet_size"]["value"], "2MiB");
    assert_eq!(settings["shared.strategy"]["value"], "hash_client_id");
    let sysmon = json!({ "os": { "cpu_high_watermark": "85%", "mem_check_interval": "60s" }, "vm": { "long_gc": 1 } });
    assert_eq!(admin.put("/api/v5/configs/sysmon", &sysmon).await.status, 200);
    let log = json!({ "console": { "level": "warning", "formatter": "text" } });
    assert_eq!(admin.put("/api/v5/configs/log", &log).await.json()["console"]["level"], "warning");
    let topics = json!({ "sys_event_messages": { "client_subscribed": true } });
    assert_eq!(admin.put("/api/v5/configs/sys_topics", &topics).await.status, 200);
    let settings = managed.get("/api/v5/configs").await.json();
    for (key, value) in [
        ("alarms.cpu_high", json!(85)),
        ("alarms.check_interval", json!("1m")),
        ("log.level", json!("warn")),
        ("sys_topics.events.client_subscribed", json!(true)),
    ] {
        assert_eq!(settings[key]["value"], value, "{key}");
    }

    // One field, what is below one, and all of it.
    let kept = async |key: &str| managed.get("/api/v5/configs").await.json()[key]["source"] == "run time";
    let reset = async |path: &str| admin.post(&format!("/api/v5/configs_reset/{path}"), &json!({})).await;
    assert_eq!(reset("global_zone?conf_path=mqtt.max_packet_size").await.status, 200);
    assert!(!kept("mqtt.max_packet_size").await && kept("shared.strategy").await);
    assert_eq!(reset("sysmon?conf_path=os").await.status, 200);
    assert!(!kept("alarms.cpu_high").await && !kept("alarms.check_interval").await);
    for root in ["global_zone", "log", "sys_topics", "sys_topics"] {
        assert_eq!(reset(root).await.status, 200, "{root}");
    }
    assert_eq!(managed.get("/api/v5/configs/export").await.text(), "");
    assert_eq!(managed.get("/api/v5/configs/global_zone").await.json()["mqtt"]["max_qos_allowed"], 1);

    for (path, code) in [
        ("global_zone?conf_path=mqtt.max", "NO_DEFAULT_VALUE"),
        ("global_zone?conf_path=mqtt.strict_mode", "NO_DEFAULT_VALUE"),
        ("nonsense", "NOT_FOUND"),
    ] {
        assert_eq!(reset(path).await.code(), code, "{path}");
    }
    for path in ["configs/nonsense", "configs?key=nonsense", "configs?key=global_zone"] {
        assert_eq!(managed.get(&format!("/api/v5/{path}")).await.status, 404, "{path}");
    }
    for (root, wrong) in [
        ("global_zone", json!({ "mqtt": { "strict_mode": true } })),
        ("global_zone", json!({ "mqtt": { "max_packet_size": "1 potato" } })),
        ("global_zone", json!({ "mqtt": { "server_keepalive": "1m", "max_topic_levels": 3 } })),
        ("global_zone", json!({ "mqtt": { "nonsense": 1, "max_topic_levels": 3 } })),
        ("global_zone", json!({ "mqtt": 1 })),
        ("global_zone", json!({ "flapping_detect": { "enable": true } })),
        ("sysmon", json!({ "os": { "cpu_high_watermark": 0.8 } })),
        ("sysmon", json!({ "os": { "cpu_high_watermark": "200%" } })),
        ("sys_topics", json!({ "sys_msg_interval": null })),
        ("log", json!({ "console": { "enable": false } })),
    ] {
        assert_eq!(admin.put(&format!("/api/v5/configs/{root}"), &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get("/api/v5/configs/export").await.text(), "");
}

#[tokio::test]
async fn protocols_settings_count_for_connections_to_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let connect = async |id: &str| managed.gateway.connect(&Connect::new(Version::V5, id)).await;
    let (mut before, connack) = connect("before").await;
    assert!(connack.properties.contains(&Property::MaximumQos(1)), "{connack:?}");
    assert!(!connack.properties.contains(&Property::ServerKeepAlive(77)), "{connack:?}");
    // The listener of an embedded gateway has all of it for itself.
    let own = |key: &str| format!("listeners.tcp.default.mqtt.{key}");
    let wanted = json!({
        own("max_qos"): 0, own("server_keep_alive"): "77s", own("max_packet_size"): "2KiB", own("receive_maximum"): 9,
        "mqtt.subscriptions_max": 1, "mqtt.session_expiry_max": "5s", "mqtt.upgrade_qos": true,
    });
    let told = change(&managed, wanted).await;
    assert_eq!(told["pending"], json!(["mqtt.upgrade_qos"]));
    let (mut after, connack) = connect("after").await;
    for property in [
        Property::MaximumQos(0),
        Property::ServerKeepAlive(77),
        Property::MaximumPacketSize(2048),
        Property::ReceiveMaximum(9),
    ] {
        assert!(connack.properties.contains(&property), "{property:?} in {connack:?}");
    }
    assert_eq!((after.subscribe("a", 0).await, after.subscribe("b", 0).await), (0, 0x97));
    // It goes on as it began.
    before.publish("c", &"x".repeat(4096), 1).await;
    before.publish("c", "again", 1).await;
    let told = managed.get("/api/v5/configs").await.json();
    for (key, pending) in [
        ("mqtt.session_expiry_max", false),
        ("mqtt.upgrade_qos", true),
        ("listeners.tcp.default.mqtt.receive_maximum", false),
        ("listeners.tcp.default.mqtt.max_qos", false),
    ] {
        assert_eq!(told[key]["pending"], pending, "{key}");
    }
    change(&managed, json!({ own("max_qos"): 2, own("server_keep_alive"): null })).await;
    let (_, connack) = connect("last").await;
    let is_told = |property: &Property| matches!(property, Property::MaximumQos(_) | Property::ServerKeepAlive(_));
    assert!(!connack.properties.iter().any(is_told), "{connack:?}");
}

#[tokio::test]
async fn retained_messages_are_switched_off_and_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(folder.path()).await;
    let is_refused = async |id: &str| {
        let (_, connack) = managed.gateway.connect(&Connect::new(Version::V5, id)).await;
        connack.properties.contains(&Property::RetainAvailable(0))
    };
    for (key, off, on) in
        [("retained.enable", false, true), ("listeners.tcp.default.mqtt.retain_available", false, true)]
    {
        assert_eq!(change(&managed, json!({ key: off })).await["applied"], json!([key]));
        assert!(is_refused("a").await, "{key}");
        change(&managed, json!({ key: on })).await;
        assert!(!is_refused("b").await, "{key}");
    }
}

#[tokio::test]
async fn settings_of_datagrams_count_for_conversations_to_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |config| {
        listen_udp(config, ListenerProtocol::MqttSn);
    })
    .await;
    let node = async || {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("an address");
        socket.connect(managed.gateway.listener("udp.mqttsn")).await.expect("it listens");
        socket
    };
    let ask = async |socket: &tokio::net::UdpSocket, datagram: &[u8]| {
        socket.send(datagram).await.expect("it is sent");
        let mut answer = [0; 16];
        let len = socket.recv(&mut answer).await.expect("an answer");
        answer[..len].to_vec()
    };
    let connect = |id: &str| [&[id.len() as u8 + 6, 0x04, 0x04, 1, 0, 60][..], id.as_bytes()].concat();
    let before = node().await;
    assert_eq!(ask(&before, &connect("long name")).await, [3, 0x05, 0]);
    change(&managed, json!({ "mqttsn.client_id_bytes_max": 4 })).await;
    assert_ne!(ask(&node().await, &connect("long also")).await, [3, 0x05, 0]);
    assert_eq!(ask(&node().await, &connect("tiny")).await, [3, 0x05, 0]);
    assert_eq!(ask(&before, &[2, 0x16]).await, [2, 0x17], "it is there yet");
    let told = change(&managed, json!({ "mqttsn.gateway_id": 9 })).await;
    assert_eq!(told, json!({ "applied": [], "pending": ["mqttsn.gateway_id"] }));
}
