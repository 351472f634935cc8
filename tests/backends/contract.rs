//! What holds whoever is asked: bob, root (a superuser) and old (who has expired) are known, and bob's rules.

use crate::{
    BAD_CREDENTIALS, NOT_AUTHORIZED, WELCOME, code,
    common::{TestGateway, Version, wire},
    credentials,
};

/// Names and passwords that would be more than that if anybody pasted them.
const EVIL: &[&str] = &[
    "' OR '1'='1",
    "bob' -- ",
    "bob'/*",
    "\\' OR 1=1 -- ",
    "'; DROP TABLE mqtt_user; --",
    "1; DELETE FROM mqtt_user",
    "*",
    "*)(uid=*",
    "bob)(|(uid=*",
    "bob,ou=devices",
    "bob\\",
    "bob password_hash",
    "bob\r\nFLUSHALL",
    "bob\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "${password}",
    "${username}",
    "$1",
    "?",
    "%",
    "{\"$ne\":null}",
    "{\"$gt\":\"\"}",
    "{ $where: '1' }",
];

/// Right, wrong, unknown, evil.
pub async fn authenticates(gateway: &TestGateway) {
    assert_eq!(code(gateway, "bob", "secret").await, WELCOME);
    assert_eq!(code(gateway, "root", "toor").await, WELCOME);
    for (username, password) in
        [("bob", "wrong"), ("bob", ""), ("bob", "toor"), ("nobody", "secret"), ("", "secret"), ("root", "secret")]
    {
        assert_eq!(code(gateway, username, password).await, BAD_CREDENTIALS, "{username} {password}");
    }
    for evil in EVIL {
        for (username, password) in [(*evil, "secret"), ("bob", evil), (evil, evil)] {
            assert_eq!(code(gateway, username, password).await, BAD_CREDENTIALS, "{username} {password}");
        }
    }
    assert_eq!(code(gateway, "bob", "secret").await, WELCOME, "nothing has become of what is there");
}

/// Bob may publish to what has his client id, and subscribe to the news; a superuser may do all.
pub async fn authorizes(gateway: &TestGateway) {
    let (mut bob, _) = gateway.connect(&credentials("c1", "bob", "secret")).await;
    let codes = bob.subscribe_all(&[("news/#", 0), ("by/c1/x", 0), ("#", 0), ("secret", 0)], &[]).await;
    assert_eq!(codes, [WELCOME, NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED]);
    for (topic, expected) in [("by/c1/x", 0x10), ("by/c2/x", NOT_AUTHORIZED), ("news/x", NOT_AUTHORIZED)] {
        bob.send(&wire::publish(Version::V5, topic, b"x", 1, 7, &[])).await;
        assert_eq!(bob.puback(7).await.code, expected, "{topic}");
    }
    let (mut root, _) = gateway.connect(&credentials("c2", "root", "toor")).await;
    assert_eq!(root.subscribe_all(&[("#", 0)], &[]).await, [WELCOME]);
    root.publish("news/today", "heard", 0).await;
    assert_eq!(bob.expect_message().await.text(), "heard");
    for evil in ["+/x", "by/+/x", "by/c1/#", "by/${clientid}/x"] {
        let code = bob.subscribe(evil, 0).await;
        assert_eq!(code, NOT_AUTHORIZED, "{evil}");
    }
}
