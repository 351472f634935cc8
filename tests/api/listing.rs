//! Listings by cursor and by page, and what is searched for in them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thingway::config::ListenerProtocol;
use thingway_contract::Delivery;
use tokio::net::UdpSocket;

use crate::{
    Managed,
    common::{Client, Connect, PATIENCE, Version, gateway::listen_udp},
};

fn told(answer: &Value, field: &str) -> Vec<String> {
    let rows = answer["data"].as_array().expect("a list");
    rows.iter().map(|row| row[field].as_str().expect("a text").to_owned()).collect()
}

/// Goes through a listing by its cursors, and does something after the first answer.
async fn walk(managed: &Managed, path: &str, limit: usize, field: &str, meanwhile: impl AsyncFnOnce()) -> Vec<String> {
    let mut meanwhile = Some(meanwhile);
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for answers in 0.. {
        assert!(answers < 1000, "it does not end");
        let between = if path.contains('?') { '&' } else { '?' };
        let answer = managed.get(&format!("/api/v5/{path}{between}limit={limit}&cursor={cursor}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        let rows = told(&answer, field);
        assert!(rows.len() <= limit);
        all.extend(rows);
        let meta = &answer["meta"];
        assert_eq!(meta["hasnext"] == true, meta["cursor"].is_string(), "{meta}");
        match meta["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile().await;
        }
    }
    all
}

#[tokio::test]
async fn a_cursor_neither_repeats_nor_skips_what_was_there_all_along() {
    let managed = Managed::start().await;
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..30 {
        clients.push(managed.gateway.client(Version::V5, &format!("dev-{:02}", number * 3)).await);
    }
    let mut new = Vec::new();
    let gone = clients.split_off(20);
    let all = walk(&managed, "clients_v2", 4, "clientid", async || {
        for client in gone {
            client.disconnect().await;
        }
        for number in 0..30 {
            new.push(managed.gateway.client(Version::V5, &format!("dev-{:02}", number * 3 + 1)).await);
        }
    })
    .await;
    assert!(all.is_sorted());
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    for number in 0..20 {
        assert!(all.contains(&format!("dev-{:02}", number * 3)), "{number} in {all:?}");
    }
    let pages = async |path: &str| {
        let mut all = Vec::new();
        for page in 1.. {
            let answer = managed.get(&format!("/api/v5/{path}&limit=7&page={page}")).await.json();
            all.extend(told(&answer, "clientid"));
            if answer["meta"]["hasnext"] == false {
                return (all, answer["meta"]["count"].as_u64());
            }
        }
        unreachable!("pages end")
    };
    let (by_page, count) = pages("clients?like_clientid=dev-").await;
    let by_cursor = walk(&managed, "clients?q=dev-", 7, "clientid", async || {}).await;
    assert_eq!((by_page.len(), count), (50, Some(50)));
    assert_eq!(by_page, by_cursor);
}

#[tokio::test]
async fn clients_are_found_by_whatever_is_asked_for() {
    let managed = Managed::start().await;
    let mut clients = Vec::new();
    for (id, username) in [("a1", "bob"), ("a2", "alice"), ("b1", "bobby"), ("b2", "")] {
        let mut connect = Connect::new(Version::V5, id);
        if !username.is_empty() {
            connect = connect.username(username);
        }
        clients.push(managed.gateway.connect(&connect).await.0);
    }
    let found = async |query: &str| told(&managed.get(&format!("/api/v5/clients?{query}")).await.json(), "clientid");
    for (query, expected) in [
        ("q=bob", vec!["a1", "b1"]),
        ("q=a", vec!["a1", "a2"]),
        ("q=127.0", vec!["a1", "a2", "b1", "b2"]),
        ("q=1bob", vec![]),
        ("q=%00", vec![]),
        ("username=bob", vec!["a1"]),
        ("username=bob&username=alice", vec!["a1", "a2"]),
        ("username=bob&username=", vec!["a1", "b2"]),
        ("username=bob&username=%00&username=ob", vec!["a1"]),
        (
            "username=1&username=2&username=3&username=4&username=5&username=6&username=7&username=alice&username=bo",
            vec!["a2"],
        ),
        ("username=", vec!["b2"]),
        ("like_username=ob&like_clientid=b", vec!["b1"]),
        ("ip_address=127.0.0", vec![]),
        ("ip_address=127.0.0.1&limit=1", vec!["a1"]),
        ("clientid=b2&clientid=a1&clientid=a1", vec!["a1", "b2"]),
        ("clientid=", vec![]),
        ("clean_start=true&proto_name=MQTT&q=b2", vec!["b2"]),
        ("proto_name=stomp", vec![]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    let some = managed.get("/api/v5/clients?fields=clientid,username,heap_size&limit=1").await.json();
    assert_eq!(some["data"], json!([{ "clientid": "a1", "username": "bob" }]));
    assert_eq!(managed.get("/api/v5/clients?fields=all").await.json()["data"][0]["proto_name"], "MQTT");
    for wrong in ["fields=heap_size", "cursor=!", "cursor=_w", "cursor=&page=1", "cursor=&limit=0"] {
        assert_eq!(managed.get(&format!("/api/v5/clients?{wrong}")).await.status, 400, "{wrong}");
    }
    clients.pop().expect("b2").disconnect().await;
    clients.push(managed.gateway.connect(&Connect::new(Version::V5, "a2").username("carol")).await.0);
    assert_eq!(found("like_username=carol").await, ["a2"]);
    assert_eq!(found("username=alice").await, [""; 0], "another took its place");
    assert_eq!(found("conn_state=connected&username=").await, [""; 0]);
}

#[tokio::test]
async fn subscriptions_are_found_by_index_and_by_going_through_all() {
    let managed = Managed::start().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = managed.gateway.client(Version::V5, &format!("c{number:02}")).await;
        let (own, group) = (format!("own/{number:02}"), format!("$share/g{}/jobs", number % 2));
        client.subscribe_all(&[("all/+", 1), (own.as_str(), 0), (group.as_str(), 2)], &[]).await;
        clients.push(client);
    }
    let count = async |query: &str| {
        let answer = managed.get(&format!("/api/v5/subscriptions?{query}")).await.json();
        (told(&answer, "topic").len(), answer["meta"]["count"].as_u64())
    };
    assert_eq!(count("limit=5").await, (5, Some(36)));
    assert_eq!(count("limit=5&page=8").await, (1, Some(36)));
    assert_eq!(count("match_topic=all/x").await, (12, Some(12)));
    assert_eq!(count("match_topic=own/03&qos=0").await, (1, Some(1)));
    assert_eq!(count("match_topic=own/03&qos=1").await, (0, Some(0)));
    assert_eq!(count("topic=jobs").await, (12, Some(12)));
    assert_eq!(count("topic=$share/g1/jobs").await, (6, Some(6)));
    assert_eq!(count("share_group=g0").await, (6, Some(6)));
    assert_eq!(count("qos=2").await, (12, Some(12)));
    for query in ["subscriptions", "subscriptions?qos=1", "subscriptions?match_topic=all/x", "subscriptions?topic=jobs"]
    {
        let expected = managed.get(&format!("/api/v5/{query}")).await.json();
        for limit in [1, 2, 5] {
            let by_topic = walk(&managed, query, limit, "topic", async || {}).await;
            assert_eq!(by_topic, told(&expected, "topic"), "{query}");
            let by_client = walk(&managed, query, limit, "clientid", async || {}).await;
            assert_eq!(by_client, told(&expected, "clientid"), "{query}");
        }
    }
    assert_eq!(walk(&managed, "topics", 5, "topic", async || {}).await.len(), 14);
    assert_eq!(managed.get("/api/v5/topics?limit=2").await.json()["meta"]["count"], 14);
    assert_eq!(clients[3].unsubscribe(&["own/03"]).await, [0]);
    assert_eq!(walk(&managed, "topics", 5, "topic", async || {}).await.len(), 13, "it is gone");
    assert_eq!(managed.get("/api/v5/topics?topic=own/03").await.json()["data"], json!([]));
    assert_eq!(managed.get("/api/v5/topics?topic=own/04").await.json()["data"][0]["topic"], "own/04");
    assert_eq!(count("limit=5").await, (5, Some(35)));
    clients.pop().expect("the last").disconnect().await;
    assert_eq!(walk(&managed, "topics", 5, "topic", async || {}).await.len(), 12);
    assert_eq!(count("limit=100").await, (32, Some(32)));
}

#[tokio::test]
async fn retained_messages_are_told_by_cursor() {
    let managed = Managed::start().await;
    let messages: Vec<_> = (0..40)
        .map(|number| json!({ "topic": format!("t{}/{number:02}", number % 4), "payload": "x", "retain": true }))
        .collect();
    assert!(managed.admin.post("/api/v5/publish/bulk", &Value::from(messages)).await.status < 300);
    for (query, expected) in
        [("", 40), ("?topic=%2B/%23", 40), ("?topic=t1/%2B", 10), ("?topic=t1/05", 1), ("?topic=nothing/%23", 0)]
    {
        for limit in [1, 3, 10, 100] {
            let path = format!("mqtt/retainer/messages{query}");
            let all = walk(&managed, &path, limit, "topic", async || {}).await;
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), expected, "{query} {limit}");
            assert_eq!(all.len(), expected, "{query} {limit}");
        }
    }
    let page = managed.get("/api/v5/mqtt/retainer/messages?limit=15&page=3").await.json();
    assert_eq!((told(&page, "topic").len(), page["meta"]["count"].as_u64()), (10, Some(40)));
    // "1:0:" is a place of another run.
    for wrong in ["MTowOg", "eA", "!"] {
        let answer = managed.get(&format!("/api/v5/mqtt/retainer/messages?cursor={wrong}")).await;
        assert_eq!((answer.status, answer.code()), (400, "INVALID_PARAMETER".into()), "{wrong}");
    }
}

#[tokio::test]
async fn what_waits_for_a_client_is_told() {
    let managed = Managed::start().await;
    let connect = Connect::new(Version::V5, "sleeper").persistent();
    let (mut sleeper, _) = managed.gateway.connect(&connect).await;
    assert_eq!(sleeper.subscribe("q/#", 1).await, 1);
    let publish = async |number: u32| {
        let message = json!({ "topic": format!("q/{number}"), "payload": "hello", "qos": 1 });
        assert_eq!(managed.admin.post("/api/v5/publish", &message).await.status, 200);
    };
    publish(0).await;
    sleeper.expect_publish().await;
    let told_of = async |what: &str| managed.get(&format!("/api/v5/clients/sleeper/{what}")).await.json();
    let under_way = told_of("inflight_messages?payload=plain").await;
    assert_eq!((told(&under_way, "topic"), &under_way["data"][0]["payload"]), (vec!["q/0".into()], &json!("hello")));
    assert_eq!(told_of("mqueue_messages").await["data"], json!([]));
    sleeper.cut();
    for number in 1..6 {
        publish(number).await;
    }
    let (mut all, mut position) = (Vec::new(), String::new());
    loop {
        let page = told_of(&format!("mqueue_messages?limit=2&position={position}")).await;
        all.extend(told(&page, "topic"));
        assert_eq!(page["data"][0]["payload"], "aGVsbG8=");
        match page["meta"]["position"].as_str() {
            Some(next) => position = next.to_owned(),
            None => break,
        }
    }
    let under_way = told(&told_of("inflight_messages").await, "topic");
    assert_eq!([under_way, all].concat(), ["q/0", "q/1", "q/2", "q/3", "q/4", "q/5"]);
    let page = told_of("mqueue_messages?max_payload_bytes=6").await;
    assert_eq!((told(&page, "topic").len(), page["meta"]["hasnext"].as_bool()), (1, Some(true)));
    assert!(told_of("mqueue_messages?payload=none").await["data"][0]["payload"].is_null());

    let _passing = managed.gateway.client(Version::V5, "passing").await;
    let path = "/api/v5/clients/passing";
    assert_eq!(managed.get(&format!("{path}/mqueue_messages")).await.json()["data"], json!([]));
    assert_eq!(managed.get(&format!("{path}/inflight_messages")).await.json()["data"], json!([]));
    for wrong in ["payload=x", "limit=0", "limit=x", "position=x"] {
        assert_eq!(managed.get(&format!("{path}/mqueue_messages?{wrong}")).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get("/api/v5/clients/nobody/mqueue_messages").await.code(), "CLIENTID_NOT_FOUND");
}

#[tokio::test]
async fn clients_of_a_protocol_beside_mqtt_are_told_apart() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::MqttSn);
    })
    .await;
    let _client = managed.gateway.client(Version::V5, "mqtt").await;
    let node = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    node.connect(managed.gateway.listener("udp.mqttsn")).await.expect("an address");
    // CONNECT with a clean session, protocol 1 and a keep-alive of a minute, and CONNACK.
    node.send(b"\x0a\x04\x04\x01\x00\x3cnode").await.expect("sent");
    let mut answer = [0; 16];
    assert_eq!(node.recv(&mut answer).await.expect("an answer"), 3);
    assert_eq!(answer[..3], [3, 5, 0]);
    let found = async |path: &str| told(&managed.get(&format!("/api/v5/gateways/{path}")).await.json(), "clientid");
    assert_eq!(found("mqttsn/clients").await, ["node"]);
    assert_eq!(found("mqttsn/clients?q=od&cursor=").await, ["node"]);
    assert_eq!(found("mqttsn/clients?like_clientid=mqtt").await, [""; 0]);
    assert_eq!(found("coap/clients").await, [""; 0]);
    assert_eq!(managed.get("/api/v5/gateways/x/clients").await.code(), "RESOURCE_NOT_FOUND");

    let listeners = managed.get("/api/v5/gateways/mqttsn/listeners").await.json();
    assert_eq!((&listeners[0]["id"], &listeners[0]["running"]), (&json!("mqttsn:udp:mqttsn"), &json!(true)));
    let one = "/api/v5/gateways/mqttsn/clients/node";
    assert_eq!(managed.get(one).await.json()["proto_name"], "MQTT-SN");
    for path in ["mqttsn/clients/mqtt", "mqttsn/clients/nobody", "coap/clients/node", "coap/clients/node/subscriptions"]
    {
        assert_eq!(managed.get(&format!("/api/v5/gateways/{path}")).await.code(), "RESOURCE_NOT_FOUND", "{path}");
    }
    let subscriptions = format!("{one}/subscriptions");
    let made = managed.admin.post(&subscriptions, &json!({ "topic": "a/+", "qos": 1 })).await;
    assert_eq!((made.status, &made.json()["topic"]), (201, &json!("a/+")));
    assert_eq!(managed.get(&subscriptions).await.json(), json!([made.json()]));
    assert_eq!(managed.admin.post(&subscriptions, &json!({ "topic": "a/#/b" })).await.code(), "BAD_TOPIC");
    assert_eq!(managed.admin.delete(&format!("{subscriptions}/a%2F+")).await.status, 204);
    assert_eq!(managed.get(&subscriptions).await.json(), json!([]));
    assert_eq!(managed.admin.delete(one).await.status, 204);
    // DISCONNECT.
    assert_eq!(node.recv(&mut answer).await.expect("an answer"), 2);
    assert_eq!(answer[..2], [2, 0x18]);
}

/// Gives nothing back to a queue, and takes its time: the queue is locked until the other end is dropped.
struct Held {
    begun: std::sync::mpsc::Sender<()>,
    until: std::sync::mpsc::Receiver<()>,
}

impl Iterator for Held {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        None
    }
}

impl DoubleEndedIterator for Held {
    fn next_back(&mut self) -> Option<Delivery> {
        let _ = self.begun.send(());
        let _ = self.until.recv();
        None
    }
}

#[tokio::test]
async fn a_listing_waits_for_no_queue() {
    let managed = Managed::start().await;
    let _client = managed.gateway.client(Version::V5, "busy").await;
    let bus = managed.gateway.gateway().bus().clone();
    let session = bus.session("busy").expect("it is connected");
    let ((begun, has_begun), (release, until)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let holder = std::thread::spawn(move || bus.give_back(&session, Held { begun, until }));
    tokio::task::spawn_blocking(move || has_begun.recv()).await.expect("it runs").expect("the queue is locked");
    for path in ["clients", "clients?q=us&fields=mqueue_len,clientid", "clients_v2?limit=10", "subscriptions", "stats"]
    {
        let answer = tokio::time::timeout(PATIENCE, managed.get(&format!("/api/v5/{path}"))).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path} waits for the queue"));
        assert_eq!(answer.status, 200, "{path}");
        if path.starts_with("clients") {
            assert_eq!(
                (told(&answer.json(), "clientid"), &answer.json()["data"][0]["mqueue_len"]),
                (vec!["busy".into()], &json!(0))
            );
        }
    }
    assert!(!holder.is_finished(), "it was locked all the time");
    drop(release);
    holder.join().expect("it ends");
}

#[tokio::test]
async fn sessions_are_found_by_when_they_began() {
    let managed = Managed::start().await;
    let _here = managed.gateway.client(Version::V5, "here").await;
    managed.gateway.connect(&Connect::new(Version::V5, "away").persistent()).await.0.disconnect().await;
    let all = managed.get("/api/v5/clients").await.json();
    let (away, here) = (&all["data"][0], &all["data"][1]);
    assert!(away["disconnected_at"].is_string() && away["connected_at"].is_null(), "{away}");
    assert!(here["disconnected_at"].is_null() && here["connected_at"].is_string(), "{here}");
    assert!(here["created_at"].as_str() <= here["connected_at"].as_str(), "{here}");
    let found = async |query: String| told(&managed.get(&format!("/api/v5/clients?{query}")).await.json(), "clientid");
    for session in [away, here] {
        let (id, created_at) =
            (session["clientid"].as_str().expect("an id"), session["created_at"].as_str().expect("a date"));
        for query in [format!("gte_created_at={created_at}&q={id}"), format!("lte_created_at={created_at}&q={id}")] {
            assert_eq!(found(query.clone()).await, [id], "{query}");
        }
    }
    assert_eq!(
        found("gte_created_at=2020-01-01T00:00:00Z&lte_created_at=9999999999999".into()).await,
        ["away", "here"]
    );
    assert_eq!(found("lte_created_at=2020-01-01T00:00:00Z".into()).await, [""; 0]);
    assert_eq!(found("gte_created_at=9999999999999&conn_state=disconnected".into()).await, [""; 0]);
    assert_eq!(managed.get("/api/v5/clients?gte_created_at=x").await.status, 400);
}
