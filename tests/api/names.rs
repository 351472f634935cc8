//! Topics that become others, and subscriptions nobody asked for, as EMQX's scripts set them.

use serde_json::json;

use crate::{Managed, common::Version};

#[tokio::test]
async fn topics_are_rewritten_for_whoever_connects_from_then_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let path = "/api/v5/mqtt/topic_rewrite";
    assert_eq!(managed.get(path).await.json(), json!([]));
    let rules = json!([{ "action": "publish", "source_topic": "old/#", "re": "^old/(.+)$", "dest_topic": "new/$1" }]);
    let told = managed.admin.put(path, &rules).await;
    assert_eq!((told.status, told.json()), (200, rules.clone()));
    assert_eq!(managed.get(path).await.json(), rules);
    let mut listener = managed.gateway.client(Version::V5, "listener").await;
    listener.subscribe("new/#", 0).await;
    let mut client = managed.gateway.client(Version::V5, "client").await;
    client.publish("old/1", "heard", 1).await;
    assert_eq!(listener.expect_publish().await.topic, "new/1");
    for wrong in [
        json!([{ "action": "publish", "source_topic": "a/#", "re": "(", "dest_topic": "b" }]),
        json!([{ "action": "sing", "source_topic": "a/#", "re": "a", "dest_topic": "b" }]),
        json!([{ "action": "all", "source_topic": "a/#", "re": "a" }]),
        json!([{ "action": "all", "source_topic": "a/#", "re": "a", "dest_topic": "b", "more": 1 }]),
        json!({}),
    ] {
        assert_eq!(managed.admin.put(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get(path).await.json(), rules);
    assert_eq!(managed.admin.put(path, &json!([])).await.json(), json!([]));
}

#[tokio::test]
async fn clients_are_subscribed_without_asking() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let path = "/api/v5/mqtt/auto_subscribe";
    let all = json!([{ "topic": "commands/${clientid}", "qos": 1, "nl": 1, "rap": 0, "rh": 2 }]);
    let told = managed.admin.put(path, &all).await;
    assert_eq!((told.status, told.json()), (200, all.clone()));
    assert_eq!(managed.get(path).await.json(), all);
    let mut client = managed.gateway.client(Version::V5, "c").await;
    let message = json!({ "topic": "commands/c", "payload": "on" });
    assert_eq!(managed.admin.post("/api/v5/publish", &message).await.status, 200);
    assert_eq!(client.expect_publish().await.topic, "commands/c");
    for wrong in [json!([{ "topic": "a", "nl": 2 }]), json!([{ "topic": "a", "qos": 3 }]), json!([{ "qos": 1 }])] {
        assert_eq!(managed.admin.put(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(managed.get(path).await.json(), all);
}
