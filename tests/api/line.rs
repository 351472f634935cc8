//! What is asked of a client's connection.

use serde_json::{Value, json};
use thingway::config::ListenerProtocol;

use crate::{
    Managed,
    common::{Client, Connect, Property, Version, gateway::listen_udp},
};

async fn client(managed: &Managed, id: &str) -> Value {
    let answer = managed.get(&format!("/api/v5/clients/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Until the client's PUBACK and what else it sent before were dealt with.
async fn settled(client: &mut Client) {
    client.ping().await;
}

#[tokio::test]
async fn a_connection_counts_what_it_sends_and_receives() {
    let managed = Managed::start().await;
    let connect = Connect::new(Version::V5, "c").keep_alive(30);
    let sent_first = connect.bytes().len() as u64;
    let (mut one, _) = managed.gateway.connect(&connect).await;
    let told = client(&managed, "c").await;
    assert_eq!((told["recv_oct"].as_u64(), told["recv_pkt"].as_u64()), (Some(sent_first), Some(1)));
    assert_eq!((told["send_pkt"].as_u64(), told["recv_msg"].as_u64()), (Some(1), Some(0)));
    let answered_first = told["send_oct"].as_u64().expect("a number");
    assert!(answered_first > 3, "{told}");

    assert_eq!(one.subscribe("t/#", 2).await, 2);
    one.publish("t/0", "zero", 0).await;
    one.publish("t/1", "one", 1).await;
    for text in ["zero", "one"] {
        assert_eq!(one.expect_message().await.text(), text);
    }
    settled(&mut one).await;
    let told = client(&managed, "c").await;
    for (field, expected) in [
        ("recv_msg", 2),
        ("recv_msg.qos0", 1),
        ("recv_msg.qos1", 1),
        ("recv_msg.qos2", 0),
        ("recv_msg.dropped", 0),
        ("send_msg", 2),
        ("send_msg.qos0", 1),
        ("send_msg.qos1", 1),
        ("send_msg.dropped", 0),
        ("inflight_cnt", 0),
        ("awaiting_rel_cnt", 0),
        ("mqueue_dropped", 0),
        ("mqueue_len", 0),
        // CONNECT, SUBSCRIBE, two PUBLISH, PUBACK, PINGREQ; their answers and two PUBLISH.
        ("recv_pkt", 6),
        ("send_pkt", 6),
    ] {
        assert_eq!(told[field], expected, "{field} in {told}");
    }
    assert!(told["recv_oct"].as_u64() > Some(sent_first) && told["send_oct"].as_u64() > Some(answered_first), "{told}");
    assert!(told["created_at"].is_string() && told["inflight_max"].as_u64() > Some(0), "{told}");

    // Somebody who is away has no connection that could tell.
    managed.gateway.connect(&Connect::new(Version::V5, "away").persistent()).await.0.disconnect().await;
    let told = client(&managed, "away").await;
    for field in ["recv_oct", "send_msg.qos1", "inflight_cnt", "keepalive", "mqueue_dropped"] {
        assert!(told.get(field).is_some_and(Value::is_null), "{field} in {told}");
    }

    // Listings ask all connections of a page, unless nothing of that is wanted.
    let listed = managed.get("/api/v5/clients").await.json()["data"].clone();
    assert!(listed[0]["clientid"] == "away" && listed[0].get("recv_oct").is_some_and(Value::is_null), "{listed}");
    for (field, expected) in
        [("recv_msg", 2), ("recv_msg.qos1", 1), ("send_msg", 2), ("inflight_cnt", 0), ("recv_pkt", 6)]
    {
        assert_eq!(listed[1][field], expected, "{field} in {listed}");
    }
    let some = managed.get("/api/v5/clients?fields=clientid,recv_pkt&clientid=c").await.json();
    assert_eq!(some["data"], json!([{ "clientid": "c", "recv_pkt": 6 }]));
    assert!(managed.get("/api/v5/clients?limit=1&fields=clientid").await.json()["data"][0].get("recv_pkt").is_none());
}

#[tokio::test]
async fn what_is_under_way_is_told_of_every_client() {
    let managed = Managed::start().await;
    let (mut lazy, _) =
        managed.gateway.connect(&Connect::new(Version::V5, "lazy").property(Property::ReceiveMaximum(3))).await;
    assert_eq!(lazy.subscribe("t/#", 1).await, 1);
    for number in 0..5 {
        let message = json!({ "topic": format!("t/{number}"), "payload": "hello", "qos": 1 });
        assert_eq!(managed.admin.post("/api/v5/publish", &message).await.status, 200);
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(lazy.expect_publish().await);
    }
    let path = "/api/v5/clients/lazy/inflight_messages";
    let told = managed.get(&format!("{path}?payload=plain")).await.json();
    let rows = told["data"].as_array().expect("a list");
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((&row["topic"], &row["payload"]), (&json!(format!("t/{at}")), &json!("hello")));
        assert_eq!(row["packet_id"].as_u64(), Some(sent[at].packet_id.into()));
    }
    assert_eq!((rows.len(), &told["meta"]["hasnext"]), (3, &json!(false)));
    let first = managed.get(&format!("{path}?limit=2")).await.json();
    assert_eq!((first["data"].as_array().map(Vec::len), &first["meta"]["position"]), (Some(2), &json!("2")));
    let rest = managed.get(&format!("{path}?limit=2&position=2")).await.json();
    assert_eq!((&rest["data"][0]["topic"], &rest["meta"]["hasnext"]), (&json!("t/2"), &json!(false)));
    let waiting = managed.get("/api/v5/clients/lazy/mqueue_messages").await.json();
    assert_eq!(waiting["data"].as_array().map(Vec::len), Some(2));
    let told = client(&managed, "lazy").await;
    assert_eq!((&told["inflight_cnt"], &told["inflight_max"], &told["mqueue_len"]), (&json!(3), &json!(3), &json!(2)));
    lazy.acknowledge(&sent[0]).await;
    lazy.expect_publish().await;
    let told = managed.get(path).await.json();
    let topics: Vec<_> = told["data"].as_array().expect("a list").iter().map(|row| row["topic"].clone()).collect();
    assert_eq!(topics, ["t/1", "t/2", "t/3"]);
}

#[tokio::test]
async fn the_keep_alive_of_a_connection_is_changed() {
    let managed = Managed::start().await;
    let (mut one, _) = managed.gateway.connect(&Connect::new(Version::V5, "c").keep_alive(600)).await;
    let path = "/api/v5/clients/c/keepalive";
    let told = managed.admin.put(path, &json!({ "interval": 65_535 })).await;
    assert_eq!((told.status, &told.json()["keepalive"]), (200, &json!(65_535)));
    assert_eq!(managed.get("/api/v5/clients").await.json()["data"][0]["keepalive"], 65_535);
    for wrong in
        [json!({}), json!({ "interval": -1 }), json!({ "interval": 65_536 }), json!({ "interval": "x" }), json!([])]
    {
        assert_eq!(managed.admin.put(path, &wrong).await.status, 400, "{wrong}");
    }
    // A second of silence, and a half, is enough now.
    assert_eq!(managed.admin.put(path, &json!({ "interval": 1 })).await.status, 200);
    one.expect_disconnected(&[0x8d]).await;

    managed.gateway.connect(&Connect::new(Version::V5, "away").persistent()).await.0.disconnect().await;
    for gone in ["away", "nobody"] {
        let answer = managed.admin.put(&format!("/api/v5/clients/{gone}/keepalive"), &json!({ "interval": 9 })).await;
        assert_eq!((answer.status, answer.code()), (404, "CLIENTID_NOT_FOUND".into()), "{gone}");
    }
}

#[tokio::test]
async fn nodes_are_asked_as_well() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::MqttSn);
    })
    .await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("an address");
    socket.connect(managed.gateway.listener("udp.mqttsn")).await.expect("it listens");
    // CONNECT with a clean session and a keep-alive of 60 s.
    let connect = [&[10, 0x04, 0x04, 1, 0, 60][..], b"node"].concat();
    socket.send(&connect).await.expect("it is sent");
    let mut answer = [0; 16];
    let len = socket.recv(&mut answer).await.expect("CONNACK");
    assert_eq!(&answer[..len], [3, 0x05, 0]);
    let told = client(&managed, "node").await;
    assert_eq!((&told["recv_oct"], &told["recv_pkt"]), (&json!(10), &json!(1)));
    assert_eq!((&told["send_oct"], &told["send_pkt"]), (&json!(3), &json!(1)));
    assert_eq!((&told["inflight_max"], &told["keepalive"]), (&json!(1), &json!(60)));
    let told = managed.admin.put("/api/v5/clients/node/keepalive", &json!({ "interval": 90 })).await;
    assert_eq!((told.status, &told.json()["keepalive"]), (200, &json!(90)));
    assert_eq!(managed.get("/api/v5/clients/node/inflight_messages").await.json()["data"], json!([]));
}
