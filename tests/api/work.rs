//! What is asked of it is done, and seen by clients of other protocols than HTTP.

use serde_json::{Value, json};

use crate::{
    Managed,
    common::{Connect, Version},
};

fn ids(told: &Value) -> Vec<String> {
    let mut ids: Vec<_> = told["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["clientid"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn clients_are_listed_searched_and_kicked() {
    let managed = Managed::start().await;
    let (mut one, _) =
        managed.gateway.connect(&Connect::new(Version::V5, "dev-1").username("bob").keep_alive(30)).await;
    let _two = managed.gateway.client(Version::V311, "dev-2").await;
    managed.gateway.connect(&Connect::new(Version::V5, "away").persistent()).await.0.disconnect().await;
    let found = async |query: &str| {
        let told = managed.get(&format!("/api/v5/clients{query}")).await;
        assert_eq!(told.status, 200, "{query}: {told:?}");
        ids(&told.json())
    };
    assert_eq!(found("").await, ["away", "dev-1", "dev-2"]);
    for (query, expected) in [
        ("?like_clientid=dev", vec!["dev-1", "dev-2"]),
        ("?clientid=dev-2&clientid=away&clientid=nobody", vec!["away", "dev-2"]),
        ("?username=bob", vec!["dev-1"]),
        ("?like_username=o", vec!["dev-1"]),
        ("?conn_state=disconnected", vec!["away"]),
        ("?conn_state=connected&proto_ver=4", vec!["dev-2"]),
        ("?proto_name=mqtt&ip_address=127.0.0.1", vec!["dev-1", "dev-2"]),
        ("?proto_name=coap", vec![]),
        ("?gte_connected_at=2020-01-01T00:00:00Z&lte_connected_at=9999999999999", vec!["dev-1", "dev-2"]),
        ("?lte_connected_at=0", vec![]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    let told = managed.get("/api/v5/clients?limit=2&page=2").await.json();
    assert_eq!((ids(&told).len(), &told["meta"]), (1, &json!({ "page": 2, "limit": 2, "count": 3, "hasnext": false })));
    for wrong in
        ["?page=0", "?limit=0", "?limit=10001", "?page=x", "?conn_state=x", "?proto_ver=x", "?lte_connected_at=x"]
    {
        assert_eq!(managed.get(&format!("/api/v5/clients{wrong}")).await.status, 400, "{wrong}");
    }
    let told = managed.get("/api/v5/clients/dev-1").await.json();
    for (field, expected) in [
        ("clientid", json!("dev-1")),
        ("username", json!("bob")),
        ("connected", json!(true)),
        ("proto_name", json!("MQTT")),
        ("proto_ver", json!(5)),
        ("keepalive", json!(30)),
        ("ip_address", json!("127.0.0.1")),
        ("listener", json!("tcp:default")),
        ("subscriptions_cnt", json!(0)),
    ] {
        assert_eq!(told[field], expected, "{field}");
    }
    assert_eq!(managed.get("/api/v5/clients/away").await.json()["connected"], false);
    assert_eq!(managed.get("/api/v5/clients/nobody").await.code(), "CLIENTID_NOT_FOUND");
    assert_eq!(managed.admin.delete("/api/v5/clients/dev-1").await.status, 204);
    one.expect_disconnected(&[0x98]).await;
    assert_eq!(managed.admin.post("/api/v5/clients/kickout/bulk", &json!(["dev-2", "nobody"])).await.status, 204);
    assert_eq!(managed.admin.delete("/api/v5/clients/nobody").await.status, 404);
}

#[tokio::test]
async fn subscriptions_are_listed_and_made() {
    let managed = Managed::start().await;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.subscribe_all(&[("a/+", 1), ("$share/g/b", 2)], &[]).await;
    let admin = &managed.admin;
    let wish = json!({ "topic": "made/#", "qos": 1 });
    let told = admin.post("/api/v5/clients/c/subscribe", &wish).await;
    assert_eq!((told.status, &told.json()["topic"]), (200, &json!("made/#")));
    client.publish("made/x", "heard", 1).await;
    assert_eq!(client.expect_message().await.text(), "heard");
    let topics = |told: &Value| {
        let mut topics: Vec<_> = told["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["topic"].as_str().expect("a topic").to_owned())
            .collect();
        topics.sort();
        topics
    };
    let all = managed.get("/api/v5/subscriptions").await.json();
    assert_eq!(topics(&all), ["$share/g/b", "a/+", "made/#"]);
    for (query, expected) in [
        ("?match_topic=a/x", vec!["a/+"]),
        ("?share_group=g", vec!["$share/g/b"]),
        ("?qos=1", vec!["a/+", "made/#"]),
        ("?topic=made/%23", vec!["made/#"]),
        ("?clientid=nobody", vec![]),
    ] {
        assert_eq!(topics(&managed.get(&format!("/api/v5/subscriptions{query}")).await.json()), expected, "{query}");
    }
    assert_eq!(managed.get("/api/v5/clients/c/subscriptions").await.json().as_array().map(Vec::len), Some(3));
    assert_eq!(topics(&managed.get("/api/v5/topics").await.json()), ["a/+", "b", "made/#"]);
    assert_eq!(managed.get("/api/v5/topics/a%2F%2B").await.json()[0]["topic"], "a/+");
    assert_eq!(managed.get("/api/v5/topics/none").await.code(), "TOPIC_NOT_FOUND");
    assert_eq!(admin.post("/api/v5/clients/c/unsubscribe", &json!({ "topic": "made/#" })).await.status, 204);
    assert_eq!(managed.get("/api/v5/clients/c").await.json()["subscriptions_cnt"], 2);
    for wrong in
        [json!({ "topic": "a/#/b" }), json!({ "topic": "a", "qos": 3 }), json!({ "topic": "a", "rh": 9 }), json!({})]
    {
        assert_eq!(admin.post("/api/v5/clients/c/subscribe", &wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn messages_are_published_and_retained() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    assert_eq!(client.subscribe("a/#", 1).await, 1);
    let wish = json!({
        "topic": "a/b", "payload": "aGk=", "payload_encoding": "base64", "qos": 1,
        "properties": { "content_type": "text/plain", "response_topic": "r", "user_properties": { "k": ["v", "w"] } },
    });
    let told = admin.post("/api/v5/publish", &wish).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.json()["id"].as_str().is_some_and(|id| id.len() == 32));
    let message = client.expect_message().await;
    assert_eq!((message.topic.as_str(), message.text()), ("a/b", "hi"));
    assert_eq!(message.properties.len(), 4, "{:?}", message.properties);
    let nobody = admin.post("/api/v5/publish", &json!({ "topic": "nobody", "payload": "x" })).await;
    assert_eq!(
        (nobody.status, nobody.json()),
        (202, json!({ "reason_code": 16, "message": "no_matching_subscribers" }))
    );
    for (wrong, code) in [
        (json!({ "topic": "a/#" }), 144),
        (json!({ "topic": "$SYS/x" }), 144),
        (json!({ "topic": "a", "qos": 3 }), 155),
        (json!({ "topic": "a", "payload": "!", "payload_encoding": "base64" }), 153),
    ] {
        let told = admin.post("/api/v5/publish", &wrong).await;
        assert_eq!((told.status, told.json()["reason_code"].as_u64()), (400, Some(code)), "{wrong}");
    }
    let bulk = json!([{ "topic": "a/1", "payload": "1", "retain": true }, { "topic": "a/2", "payload": "2" }]);
    assert_eq!(admin.post("/api/v5/publish/bulk", &bulk).await.json().as_array().map(Vec::len), Some(2));
    assert_eq!(
        (client.expect_message().await.text().to_owned(), client.expect_message().await.text().to_owned()),
        ("1".into(), "2".into())
    );
    let wrong = json!([{ "topic": "a/3" }, { "topic": "#" }]);
    assert_eq!(admin.post("/api/v5/publish/bulk", &wrong).await.status, 400);

    let told = managed.get("/api/v5/mqtt/retainer/messages?topic=a/%2B").await.json();
    assert_eq!((told["data"][0]["topic"].as_str(), told["meta"]["count"].as_u64()), (Some("a/1"), Some(1)));
    assert_eq!(managed.get("/api/v5/mqtt/retainer/message/a%2F1").await.json()["payload"], "MQ==");
    assert_eq!(admin.delete("/api/v5/mqtt/retainer/message/a%2F1").await.status, 204);
    assert_eq!(managed.get("/api/v5/mqtt/retainer/message/a%2F1").await.status, 404);
    assert_eq!(admin.delete("/api/v5/mqtt/retainer/message/a%2F1").await.status, 404);
}

#[tokio::test]
async fn who_is_banned_goes_and_stays_out() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    let ban = json!({ "as": "clientid", "who": "c", "reason": "r", "until": "2100-01-01T00:00:00Z" });
    assert_eq!(admin.post("/api/v5/banned", &ban).await.status, 200);
    client.expect_disconnected(&[0x98]).await;
    let mut client = managed.gateway.open(Version::V5).await;
    client.send(&Connect::new(Version::V5, "c").bytes()).await;
    assert_eq!(client.connack().await.code, 0x8a);
    assert_eq!(admin.post("/api/v5/banned", &ban).await.status, 409);
    let told = managed.get("/api/v5/banned").await.json();
    assert_eq!(
        told["data"],
        json!([{ "as": "clientid", "who": "c", "reason": "r", "until": "2100-01-01T00:00:00.000Z" }])
    );
    for wrong in [
        json!({ "as": "nothing", "who": "x" }),
        json!({ "as": "peerhost", "who": "x" }),
        json!({ "as": "clientid_re", "who": "(" }),
        json!({ "as": "clientid", "who": "" }),
        json!({ "as": "clientid", "who": "x", "until": "soon" }),
    ] {
        assert_eq!(admin.post("/api/v5/banned", &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(admin.delete("/api/v5/banned/clientid/c").await.status, 204);
    assert_eq!(admin.delete("/api/v5/banned/clientid/c").await.status, 404);
    managed.gateway.client(Version::V5, "c").await;
    assert_eq!(admin.post("/api/v5/banned", &json!({ "as": "peerhost_net", "who": "10.0.0.0/8" })).await.status, 200);
    assert_eq!(admin.delete("/api/v5/banned").await.status, 204);
    assert_eq!(managed.get("/api/v5/banned").await.json()["meta"]["count"], 0);
}

#[tokio::test]
async fn numbers_are_those_of_the_gateway() {
    let managed = Managed::start().await;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.subscribe("a", 0).await;
    client.publish("a", "x", 1).await;
    client.expect_message().await;
    let stats = managed.get("/api/v5/stats?aggregate=true").await.json();
    assert_eq!((&stats["connections.count"], &stats["subscriptions.count"]), (&json!(1), &json!(1)));
    let metrics = managed.get("/api/v5/metrics").await.json();
    assert_eq!(
        (&metrics[0]["messages.qos1.received"], &metrics[0]["packets.connect.received"]),
        (&json!(1), &json!(1))
    );
    let node = metrics[0]["node"].as_str().expect("its name").to_owned();
    for path in ["", "/stats", "/metrics"] {
        assert_eq!(managed.get(&format!("/api/v5/nodes/{node}{path}")).await.status, 200, "{path}");
        assert_eq!(managed.get(&format!("/api/v5/nodes/other{path}")).await.status, 404, "{path}");
    }
    let nodes = managed.get("/api/v5/nodes").await.json();
    assert_eq!((&nodes[0]["live_connections"], nodes[0]["memory_used"].as_u64() > Some(0)), (&json!(1), true));
    assert_eq!(managed.get("/api/v5/sessions_count").await.text(), "1");
    assert_eq!(managed.get("/api/v5/monitor_current").await.json()["live_connections"], 1);
    let listeners = managed.get("/api/v5/listeners").await.json();
    assert_eq!(
        (&listeners[0]["id"], &listeners[0]["status"]["current_connections"]),
        (&json!("tcp:default"), &json!(1))
    );
    assert_eq!(managed.get("/api/v5/listeners/tcp:default").await.status, 200);
    assert_eq!(managed.get("/api/v5/listeners/tcp:other").await.status, 404);
    for path in ["/metrics", "/api/v5/prometheus/stats"] {
        let told = managed.get(path).await;
        assert_eq!(told.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        for line in [
            "emqx_connections_count 1",
            "emqx_messages_qos1_received 1",
            "# TYPE emqx_messages_received counter",
            "thingway_listener_connections{listener=\"tcp:default\",protocol=\"mqtt\"} 1",
        ] {
            assert!(told.text().lines().any(|told| told == line), "{line} in {}", told.text());
        }
    }
    assert_eq!(managed.admin.without_token().get("/metrics").await.status, 401);
}
