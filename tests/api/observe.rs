//! What is seen of the gateway while clients use it.

use serde_json::{Value, json};
use thingway::config::{Bind, ListenerProtocol, StoreDurability};

use crate::{
    Managed,
    common::{Connect, TestGateway, Version, gateway::listen_udp},
    http::{Caller, Events},
};

async fn client_event(events: &mut Events, what: &str) -> Value {
    loop {
        let told = events.next("client").await.expect("the stream goes on");
        if told["event"] == what {
            return told;
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::Coap);
    })
    .await;
    let mut events = managed.admin.listen("/api/v5/live").await;
    let first = events.next("monitor").await.expect("at once");
    assert_eq!((&first["live_connections"], first["memory_used"].as_u64() > Some(0)), (&json!(0), true));
    let connect = Connect::new(Version::V5, "dev").username("bob");
    let (mut client, _) = managed.gateway.connect(&connect).await;
    let told = client_event(&mut events, "connected").await;
    for (field, expected) in [
        ("clientid", json!("dev")),
        ("username", json!("bob")),
        ("protocol", json!("mqtt")),
        ("ip_address", json!("127.0.0.1")),
    ] {
        assert_eq!(told[field], expected, "{field}");
    }
    assert!(told["ts"].as_u64() > Some(1_600_000_000_000));
    client.subscribe("a/+", 1).await;
    let told = client_event(&mut events, "subscribed").await;
    assert_eq!((&told["topic"], &told["username"]), (&json!("a/+"), &json!("bob")));
    client.unsubscribe(&["a/+"]).await;
    assert_eq!(client_event(&mut events, "unsubscribed").await["topic"], "a/+");
    while events.next("monitor").await.expect("each second")["protocols"] != json!({ "mqtt": 1 }) {}
    client.disconnect().await;
    assert_eq!(client_event(&mut events, "disconnected").await["reason"], "normal");
    while events.next("monitor").await.expect("each second")["protocols"] != json!({ "mqtt": 0 }) {}
}

#[tokio::test]
async fn a_stream_tells_what_was_asked_for_and_ends_with_its_login() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    assert_eq!(admin.get("/api/v5/live?events=gossip").await.status, 400);
    let viewer = json!({ "username": "looker", "password": "looking glass", "role": "viewer" });
    assert_eq!(admin.post("/api/v5/users", &viewer).await.status, 200);
    let viewer = admin.log_in("looker", "looking glass").await;
    let mut monitor = viewer.listen("/api/v5/live?events=monitor").await;
    let mut streams = Vec::new();
    for _ in 1..64 {
        streams.push(admin.listen("/api/v5/live?events=client,alarm").await);
    }
    assert_eq!(admin.get("/api/v5/live").await.status, 503, "64 are open");
    assert!(monitor.next("monitor").await.is_some());
    assert_eq!(admin.delete("/api/v5/users/looker").await.status, 204);
    while monitor.next("monitor").await.is_some() {}
    drop(streams);
}

async fn first_row(admin: &Caller) -> Value {
    loop {
        let told = admin.get("/api/v5/monitor?latest=3600").await;
        assert_eq!(told.status, 200, "{told:?}");
        if let Some(row) = told.json().as_array().and_then(|rows| rows.first()).cloned() {
            return row;
        }
    }
}

#[tokio::test]
async fn what_is_seen_and_looked_for_survives_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        TestGateway::with(|config| {
            config.gateway.data_dir = folder.path().to_owned();
            config.store.durability = StoreDurability::Os;
            config.dashboard.enable = true;
            config.dashboard.bind = Bind::Address("127.0.0.1:0".parse().expect("an address"));
            config.dashboard.first_password = crate::PASSWORD.into();
        })
        .await
    };
    let log_in = async |gateway: &TestGateway| {
        Caller::stranger(gateway.gateway().api_address().expect("it is served")).log_in("admin", crate::PASSWORD).await
    };
    let gateway = start().await;
    let admin = log_in(&gateway).await;
    let row = first_row(&admin).await;
    for field in [
        "time_stamp",
        "received",
        "sent",
        "dropped",
        "connections",
        "live_connections",
        "topics",
        "subscriptions",
        "retained",
        "memory_used",
        "received_bytes",
        "sent_bytes",
        "interval",
    ] {
        assert!(row[field].is_u64(), "{field}: {row}");
    }
    assert!(row["protocols"].is_object());
    let node = admin.get("/api/v5/nodes").await.json()[0]["node"].as_str().expect("a name").to_owned();
    assert_eq!(admin.get(&format!("/api/v5/monitor/nodes/{node}?latest=3600")).await.json()[0], row);
    assert_eq!(admin.get("/api/v5/monitor?latest=soon").await.status, 400);
    let wish = json!({ "name": "t", "type": "topic", "topic": "#" });
    assert_eq!(admin.post("/api/v5/trace", &wish).await.status, 200);
    assert_eq!(admin.post("/api/v5/mqtt/topic_metrics", &json!({ "topic": "a" })).await.status, 200);
    let settings = json!({ "enable": true, "threshold": "1s" });
    assert_eq!(admin.put("/api/v5/slow_subscriptions/settings", &settings).await.status, 200);
    gateway.client(Version::V5, "before").await.publish("a", "before", 1).await;
    gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let gateway = start().await;
    let admin = log_in(&gateway).await;
    gateway.client(Version::V5, "after").await.publish("a", "after", 1).await;
    let lines = admin.get("/api/v5/trace/t/download").await;
    assert!(lines.text().contains("payload: before\n") && lines.text().contains("payload: after\n"), "{lines:?}");
    assert!(folder.path().join("trace/t.log").exists());
    assert_eq!(admin.get("/api/v5/mqtt/topic_metrics/a").await.json()["metrics"]["messages.in.count"], 1);
    assert_eq!(admin.get("/api/v5/slow_subscriptions/settings").await.json()["threshold"], "1s");
    assert_eq!(admin.delete("/api/v5/trace/t").await.status, 204);
    assert!(!folder.path().join("trace/t.log").exists());
    let told = first_row(&admin).await;
    assert_eq!(told["time_stamp"], row["time_stamp"], "it goes on where it was");
}

#[tokio::test]
async fn topics_are_counted_that_somebody_asks_about() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let path = "/api/v5/mqtt/topic_metrics";
    for topic in ["a/b", "a/+"] {
        assert_eq!(admin.post(path, &json!({ "topic": topic })).await.status, 200, "{topic}");
    }
    let again = admin.post(path, &json!({ "topic": "a/b" })).await;
    assert_eq!((again.status, again.code()), (409, "ALREADY_EXISTS".into()));
    for wrong in ["", "a/#/b", "$share/g/a"] {
        assert_eq!(admin.post(path, &json!({ "topic": wrong })).await.code(), "BAD_TOPIC", "{wrong}");
    }
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.publish("a/b", "dropped", 0).await;
    client.subscribe("a/b", 1).await;
    client.publish("a/b", "x", 1).await;
    client.expect_message().await;
    client.publish("a/c", "x", 0).await;
    client.publish("b", "x", 0).await;
    client.ping().await;
    let told = admin.get(&format!("{path}/a%2Fb")).await.json();
    for (name, expected) in [
        ("messages.in.count", 2),
        ("messages.out.count", 1),
        ("messages.dropped.count", 1),
        ("messages.qos0.in.count", 1),
        ("messages.qos1.in.count", 1),
        ("messages.qos1.out.count", 1),
        ("messages.qos2.in.count", 0),
    ] {
        assert_eq!(told["metrics"][name], expected, "{name} in {told}");
    }
    assert!(told["metrics"]["messages.in.rate"].is_number() && told["create_time"].is_string());
    assert_eq!(admin.get(&format!("{path}/a%2F%2B")).await.json()["metrics"]["messages.in.count"], 3);
    assert_eq!(admin.put(path, &json!({ "topic": "a/b", "action": "reset" })).await.status, 204);
    let told = admin.get(&format!("{path}/a%2Fb")).await.json();
    assert_eq!((&told["metrics"]["messages.in.count"], told["reset_time"].is_string()), (&json!(0), true));
    assert_eq!(admin.put(path, &json!({ "topic": "z", "action": "reset" })).await.code(), "TOPIC_NOT_FOUND");
    client.publish("a/b", "x", 0).await;
    client.expect_message().await;
    assert_eq!(admin.get(&format!("{path}/a%2Fb")).await.json()["metrics"]["messages.in.count"], 1, "it goes on");
    assert_eq!(admin.delete(&format!("{path}/a%2Fb")).await.status, 204);
    assert_eq!(admin.delete(path).await.status, 204);
    assert_eq!(admin.get(path).await.json(), json!([]));
    assert!(!managed.gateway.gateway().bus().watch().is_on(), "then nothing is looked at");
}

#[tokio::test]
async fn only_so_many_topics_are_counted() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let add = async |topic: String| admin.post("/api/v5/mqtt/topic_metrics", &json!({ "topic": topic })).await;
    for number in 0..16 {
        assert_eq!(add(format!("f/{number}/+")).await.status, 200);
    }
    assert_eq!(add("f/16/+".into()).await.code(), "EXCEED_LIMIT");
    for number in 16..512 {
        assert_eq!(add(format!("t/{number}")).await.status, 200);
    }
    assert_eq!(add("t/512".into()).await.code(), "EXCEED_LIMIT");
}

#[tokio::test]
async fn who_takes_long_is_told() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let path = "/api/v5/slow_subscriptions/settings";
    let usual = admin.get(path).await.json();
    assert_eq!(
        (&usual["enable"], &usual["threshold"], &usual["stats_type"]),
        (&json!(false), &json!("500ms"), &json!("whole"))
    );
    for wrong in [json!({ "threshold": "soon" }), json!({ "top_k_num": 0 }), json!({ "stats_type": "x" })] {
        assert_eq!(admin.put(path, &wrong).await.status, 400, "{wrong}");
    }
    let mut quick = managed.gateway.client(Version::V5, "quick").await;
    let mut slow = managed.gateway.client(Version::V5, "slow").await;
    slow.subscribe("a", 1).await;
    for time in ["response", "whole"] {
        let settings = json!({ "enable": true, "threshold": "20ms", "top_k_num": 5, "stats_type": time });
        assert_eq!(admin.put(path, &settings).await.json()["expire_interval"], "300s");
        // A turn tells the core.
        slow.ping().await;
        quick.publish("a", "x", 1).await;
        let message = slow.expect_publish().await;
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 40 {
            quick.ping().await;
        }
        slow.acknowledge(&message).await;
        slow.ping().await;
        let told = admin.get("/api/v5/slow_subscriptions").await.json();
        assert_eq!(told["meta"]["count"], 1, "{time}: {told}");
        let one = &told["data"][0];
        assert_eq!((&one["clientid"], &one["topic"]), (&json!("slow"), &json!("a")));
        assert!(one["timespan"].as_u64() > Some(20), "{one}");
        assert_eq!(admin.delete("/api/v5/slow_subscriptions").await.status, 204);
        assert_eq!(admin.get("/api/v5/slow_subscriptions").await.json()["data"], json!([]));
    }
}

/// A peer that speaks in datagrams.
struct Node(tokio::net::UdpSocket);

impl Node {
    async fn at(address: std::net::SocketAddr) -> Self {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(address).await.expect("an address");
        Self(socket)
    }

    async fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).await.expect("it is sent");
    }

    /// The next datagram that is of interest.
    async fn expect(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut buffer = [0; 1500];
        loop {
            let length = self.0.recv(&mut buffer).await.expect("it arrives");
            if wanted(&buffer[..length]) {
                return buffer[..length].to_vec();
            }
        }
    }
}

#[tokio::test]
async fn who_takes_long_is_told_whatever_it_speaks() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::MqttSn);
        listen_udp(config, ListenerProtocol::Coap);
    })
    .await;
    let admin = &managed.admin;
    let sensor = Node::at(managed.gateway.listener("udp.mqttsn")).await;
    sensor.send(b"\x0c\x04\x04\x01\x00\x3csensor").await;
    sensor.expect(|datagram| datagram == [3, 5, 0]).await;
    // QoS 1, a topic of two bytes.
    sensor.send(b"\x07\x12\x22\x00\x01ab").await;
    sensor.expect(|datagram| datagram[1] == 0x13).await;
    let observer = Node::at(managed.gateway.listener("udp.coap")).await;
    // A confirmable GET of /ps/ab?qos=1 with Observe.
    observer.send(b"\x41\x01\x00\x07t\x60\x52ps\x02ab\x45qos=1").await;
    observer.expect(|datagram| datagram[..2] == [0x61, 0x45]).await;
    let mut publisher = managed.gateway.client(Version::V5, "publisher").await;
    for time in ["response", "whole"] {
        let settings = json!({ "enable": true, "threshold": "20ms", "top_k_num": 5, "stats_type": time });
        assert_eq!(admin.put("/api/v5/slow_subscriptions/settings", &settings).await.status, 200);
        // A turn tells the core.
        publisher.ping().await;
        publisher.publish("ab", time, 1).await;
        let published = sensor.expect(|datagram| datagram[1] == 0x0c && datagram.ends_with(time.as_bytes())).await;
        let notified = observer.expect(|datagram| datagram[1] == 0x45 && datagram.ends_with(time.as_bytes())).await;
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 40 {
            publisher.ping().await;
        }
        sensor.send(&[7, 0x0d, published[3], published[4], published[5], published[6], 0]).await;
        observer.send(&[0x60, 0, notified[2], notified[3]]).await;
        let mut told = Value::Null;
        while told["meta"]["count"] != 2 {
            told = admin.get("/api/v5/slow_subscriptions").await.json();
        }
        let rows = told["data"].as_array().expect("rows");
        assert!(rows.iter().any(|row| row["clientid"] == "sensor"), "{time}: {told}");
        assert!(rows.iter().all(|row| row["topic"] == "ab" && row["timespan"].as_u64() > Some(20)), "{time}: {told}");
        assert_eq!(admin.delete("/api/v5/slow_subscriptions").await.status, 204);
    }
}

#[tokio::test]
async fn a_trace_shows_all_about_somebody() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let begin = |name: &str, kind: &str, value: &str| json!({ "name": name, "type": kind, kind: value });
    for (name, kind, value) in
        [("one", "clientid", "dev"), ("two", "topic", "a/#"), ("three", "ip_address", "127.0.0.1")]
    {
        let told = admin.post("/api/v5/trace", &begin(name, kind, value)).await;
        assert_eq!((told.status, &told.json()["status"], &told.json()[kind]), (200, &json!("running"), &json!(value)));
    }
    let json_form = json!({ "name": "four", "type": "clientid", "clientid": "dev", "formatter": "json", "payload_encode": "hex", "payload_limit": 1 });
    assert_eq!(admin.post("/api/v5/trace", &json_form).await.status, 200);
    assert_eq!(admin.post("/api/v5/trace", &json_form).await.code(), "ALREADY_EXISTS");
    let connect = Connect::new(Version::V5, "dev").username("bob");
    let (mut client, _) = managed.gateway.connect(&connect).await;
    client.subscribe("a/+", 1).await;
    client.publish("a/b", "payload", 1).await;
    client.expect_message().await;
    let mut other = managed.gateway.client(Version::V5, "other").await;
    other.publish("b", "unseen", 0).await;
    other.publish("a/c", "from another", 0).await;
    client.expect_message().await;
    client.unsubscribe(&["a/+"]).await;
    client.disconnect().await;
    other.ping().await;
    let download = async |name: &str| admin.get(&format!("/api/v5/trace/{name}/download")).await.text().to_owned();
    let mut one = download("one").await;
    while !one.contains("[DISCONNECT]") {
        one = download("one").await;
    }
    for (tag, rest) in [
        ("AUTHN", "username: bob, outcome: allowed"),
        ("CONNECT", "msg: connected, username: bob, protocol: mqtt"),
        ("SUBSCRIBE", "topic: a/+"),
        ("PUBLISH", "msg: received, topic: a/b, qos: 1, retain: false, payload: payload"),
        ("DELIVER", "msg: sent, topic: a/b, qos: 1, retain: false, payload: payload"),
        ("DELIVER", "topic: a/c, qos: 0, retain: false, payload: from another"),
        ("UNSUBSCRIBE", "topic: a/+"),
        ("DISCONNECT", "reason: normal"),
    ] {
        let found = one.lines().any(|line| line.contains(&format!(" [{tag}] dev@127.0.0.1:")) && line.contains(rest));
        assert!(found, "[{tag}] {rest} in\n{one}");
    }
    assert!(!one.contains("unseen"));
    let two = download("two").await;
    assert!(two.contains("[PUBLISH] other@") && !two.contains("[CONNECT]") && !two.contains("unseen"), "{two}");
    assert!(download("three").await.contains("payload: unseen"));
    let four = download("four").await;
    let lines: Vec<Value> = four.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["tag"] == "PUBLISH" && line["payload"] == "70...(7 bytes)"), "{four}");

    let mut position = 0;
    let mut pieces = String::new();
    loop {
        let told = admin.get(&format!("/api/v5/trace/one/log?position={position}&bytes=100")).await.json();
        let items = told["items"].as_str().expect("text");
        if items.is_empty() {
            break;
        }
        pieces += items;
        position = told["meta"]["position"].as_u64().expect("a position");
    }
    assert_eq!(pieces, one);
    assert_eq!(admin.put("/api/v5/trace/one/stop", &json!({})).await.json()["enable"], false);
    let told = admin.get("/api/v5/trace").await.json();
    let found = told.as_array().expect("traces").iter().find(|trace| trace["name"] == "one").expect("it is there");
    assert_eq!(found["status"], "stopped");
    assert_eq!(admin.delete("/api/v5/trace/one").await.status, 204);
    assert_eq!(admin.get("/api/v5/trace/one/log").await.status, 404);
    assert_eq!(admin.delete("/api/v5/trace").await.status, 204);
    assert!(!managed.gateway.gateway().bus().watch().is_on());
}

#[tokio::test]
async fn a_trace_that_is_none_is_refused_and_there_are_thirty() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    for wrong in [
        json!({ "name": "../x", "type": "clientid", "clientid": "c" }),
        json!({ "name": "1", "type": "clientid", "clientid": "c" }),
        json!({ "name": "a", "type": "clientid" }),
        json!({ "name": "a", "type": "clientid", "topic": "c" }),
        json!({ "name": "a", "type": "topic", "topic": "a/#/b" }),
        json!({ "name": "a", "type": "ip_address", "ip_address": "here" }),
        json!({ "name": "a", "type": "ruleid", "ruleid": "r" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "end_at": 1 }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "start_at": "later" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "formatter": "xml" }),
    ] {
        assert_eq!(admin.post("/api/v5/trace", &wrong).await.code(), "BAD_REQUEST", "{wrong}");
    }
    let waiting = json!({ "name": "later", "type": "clientid", "clientid": "c", "start_at": "2100-01-01T00:00:00Z" });
    assert_eq!(admin.post("/api/v5/trace", &waiting).await.json()["status"], "waiting");
    assert!(!managed.gateway.gateway().bus().watch().is_on(), "it waits");
    for number in 1..30 {
        let wish = json!({ "name": format!("t{number}"), "type": "clientid", "clientid": "c" });
        assert_eq!(admin.post("/api/v5/trace", &wish).await.status, 200);
    }
    let one_more = json!({ "name": "more", "type": "clientid", "clientid": "c" });
    assert_eq!(admin.post("/api/v5/trace", &one_more).await.code(), "EXCEED_LIMIT");
}
