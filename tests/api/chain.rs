//! Who is asked about clients, as EMQX's scripts make, change and delete them.

use serde_json::{Value, json};

use crate::{
    Managed,
    common::{Connect, Version},
    door::Server,
};

const PATH: &str = "/api/v5/authentication";

fn at(rest: &str) -> String {
    format!("{PATH}/{rest}")
}

async fn start(folder: &tempfile::TempDir) -> Managed {
    Managed::kept_in(folder.path(), |_| {}).await
}

async fn make(managed: &Managed, body: Value) -> Value {
    let told = managed.admin.post(PATH, &body).await;
    assert_eq!(told.status, 200, "{body}: {told:?}");
    told.json()
}

async fn asked(managed: &Managed) -> Value {
    managed.get("/api/v5/configs").await.json()["access.authenticators"]["value"].clone()
}

fn postgresql() -> Value {
    json!({
        "mechanism": "password_based", "backend": "postgresql", "server": "127.0.0.1:1", "database": "mqtt",
        "username": "postgres", "password": "public", "pool_size": 4, "ssl": { "enable": false },
        "query": "SELECT password_hash, salt FROM mqtt_user where username = ${username} LIMIT 1",
        "password_hash_algorithm": { "name": "sha256", "salt_position": "suffix" },
    })
}

#[tokio::test]
async fn a_web_server_is_made_asked_switched_off_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let server = Server::start("deny").await;
    let connects = async || {
        let mut client = managed.gateway.open(Version::V5).await;
        client.send(&Connect::new(Version::V5, "c").username("u").password("p").bytes()).await;
        client.connack().await.code == 0
    };
    assert!(connects().await);
    let body = json!({
        "mechanism": "password_based", "backend": "http", "method": "post", "url": format!("http://{}/auth", server.address),
        "headers": { "content-type": "application/x-www-form-urlencoded", "x-key": "k" },
        "body": { "username": "${username}", "password": "${password}" },
        "pool_size": 4, "request_timeout": "5s", "connect_timeout": "15s", "enable": true, "ssl": { "enable": false },
    });
    let mut told = make(&managed, body.clone()).await;
    assert_eq!((&told["id"], &told["enable"]), (&json!("password_based:http"), &json!(true)));
    assert_eq!((&told["method"], &told["pool_size"], &told["body"]), (&body["method"], &json!(4), &json!("******")));
    assert_eq!(managed.admin.post(PATH, &body).await.status, 409);
    assert!(!connects().await);
    assert!(server.asked() > 0);
    let status = managed.get(&at("password_based:http/status")).await.json();
    assert_eq!((&status["status"], &status["metrics"]["answered"]), (&json!("connected"), &json!(1)));

    // What is told can be sent back.
    told["enable"] = false.into();
    let off = managed.admin.put(&at("password_based:http"), &told).await;
    assert_eq!((off.status, &off.json()["enable"]), (200, &json!(false)), "{off:?}");
    assert!(connects().await);
    assert_eq!(managed.get(PATH).await.json()[0]["enable"], false);
    assert_eq!(managed.get(&at("password_based:http/status")).await.json()["status"], "stopped");
    told["enable"] = true.into();
    assert_eq!(managed.admin.put(&at("http:default"), &told).await.status, 200);
    assert!(!connects().await);
    assert_eq!(managed.admin.delete(&at("password_based:http")).await.status, 204);
    assert!(connects().await);
    assert_eq!(managed.get(PATH).await.json(), json!([]));
    assert_eq!(managed.admin.delete(&at("password_based:http")).await.status, 404);
}

#[tokio::test]
async fn fields_become_settings_and_are_told_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let told = make(&managed, postgresql()).await;
    assert_eq!(told["password"], "******");
    assert_eq!(told["password_hash_algorithm"], json!({ "name": "sha256", "salt_position": "suffix" }));
    make(
        &managed,
        json!({
            "mechanism": "password_based", "backend": "redis", "redis_type": "single", "server": "127.0.0.1:1",
            "cmd": "HMGET mqtt_user:${username} password_hash salt", "database": 1, "password": "public",
            "password_hash_algorithm": { "name": "pbkdf2", "mac_fun": "sha256", "iterations": 4096 },
        }),
    )
    .await;
    let told = make(
        &managed,
        json!({
            "mechanism": "jwt", "from": "password", "use_jwks": false, "algorithm": "hmac-based",
            "secret": "a secret of some length", "secret_base64_encoded": false,
            "verify_claims": [{ "name": "username", "value": "${username}" }],
        }),
    )
    .await;
    assert_eq!((&told["id"], &told["verify_claims"]), (&json!("jwt"), &json!("******")));
    assert_eq!((&told["algorithm"], &told["use_jwks"]), (&json!("hmac-based"), &json!(false)));
    let built_in = json!({ "mechanism": "password_based", "backend": "built_in_database", "user_id_type": "clientid" });
    make(&managed, built_in).await;
    let settings = managed.get("/api/v5/configs").await.json();
    for (key, value) in [
        ("access.postgresql.default.server", json!("127.0.0.1:1")),
        ("access.postgresql.default.limits.connections", json!(4)),
        ("access.postgresql.default.password_hash", json!("sha256-suffix")),
        ("access.redis.default.command", json!("HMGET mqtt_user:${username} password_hash salt")),
        ("access.redis.default.password_hash", json!("pbkdf2-sha256-4096")),
        ("access.users.by", json!("client_id")),
        ("access.authenticators", json!(["postgresql.default", "redis.default", "jwt.default", "users"])),
    ] {
        assert_eq!(settings[key]["value"], value, "{key}");
    }

    // What a PUT does not have goes; a secret that is sent as it was told stays.
    let mut body = postgresql();
    body["password"] = "******".into();
    body.as_object_mut().expect("an object").remove("pool_size");
    assert_eq!(managed.admin.put(&at("password_based:postgresql"), &body).await.status, 200);
    let settings = managed.get("/api/v5/configs").await.json();
    assert_eq!(settings["access.postgresql.default.limits.connections"]["source"], "default");
    assert_eq!(settings["access.postgresql.default.password"]["source"], "run time");
    let kept = std::fs::read_to_string(folder.path().join("settings.toml")).expect("it is kept");
    assert!(
        kept.contains("\"public\"") && kept.contains("username = \"${username}\"") && !kept.contains("***"),
        "{kept}"
    );
}

/// Kind by kind, what is sent is what is told, and the settings that it became.
#[tokio::test]
async fn databases_and_directories_have_their_own_fields() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let with = |backend: &str, more: Value| {
        let mut body = json!({
            "mechanism": "password_based", "backend": backend, "server": "127.0.0.1:1", "username": "u",
            "pool_size": 3, "ssl": { "enable": false },
        });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let sql = "SELECT password_hash, salt FROM mqtt_user WHERE username = ${username} LIMIT 1";
    let filter = json!({ "username": "${username}" });
    for (body, settings) in [
        (
            with(
                "mysql",
                json!({
                    "database": "mqtt", "query": sql, "query_timeout": "3s",
                    "password_hash_algorithm": { "name": "sha512", "salt_position": "prefix" },
                }),
            ),
            vec![("query", json!(sql)), ("limits.timeout", json!("3s")), ("password_hash", json!("sha512"))],
        ),
        (
            with(
                "mongodb",
                json!({
                    "mongo_type": "single", "database": "mqtt", "auth_source": "other", "collection": "people",
                    "filter": filter, "password_hash_field": "hash", "salt_field": "grain",
                    "is_superuser_field": "root", "password_hash_algorithm": { "name": "bcrypt" },
                }),
            ),
            vec![
                ("filter", json!(filter.to_string())),
                ("collection", json!("people")),
                ("auth_source", json!("other")),
                ("password_hash_field", json!("hash")),
                ("password_hash", json!("bcrypt")),
            ],
        ),
        (
            with(
                "ldap",
                json!({
                    "base_dn": "uid=${username},ou=devices,dc=example", "filter": "(objectClass=mqttUser)",
                    "query_timeout": "3s",
                    "method": { "type": "hash", "password_attribute": "secret", "is_superuser_attribute": "root" },
                }),
            ),
            vec![
                ("base_dn", json!("uid=${username},ou=devices,dc=example")),
                ("method", json!("hash")),
                ("password_attribute", json!("secret")),
                ("limits.timeout", json!("3s")),
                ("limits.connections", json!(3)),
            ],
        ),
        (
            with(
                "ldap",
                json!({ "name": "bind", "base_dn": "uid=${username},dc=example", "method": { "type": "bind" } }),
            ),
            vec![("method", json!("bind"))],
        ),
    ] {
        let told = make(&managed, body.clone()).await;
        let name = body["name"].as_str().unwrap_or("default");
        let kept = managed.get("/api/v5/configs").await.json();
        for (key, value) in settings {
            let key = format!("access.{}.{name}.{key}", body["backend"].as_str().expect("a text"));
            assert_eq!(kept[&key]["value"], value, "{key}");
        }
        for (field, value) in body.as_object().expect("an object") {
            match value {
                Value::Object(inner) => {
                    inner.iter().for_each(|(name, value)| assert_eq!(&told[field][name], value, "{told}"))
                }
                _ => assert_eq!(&told[field], value, "{field} of {told}"),
            }
        }
        let id = told["id"].as_str().expect("a text").to_owned();
        let again = managed.admin.put(&at(&id), &told).await;
        assert_eq!((again.status, again.json()), (200, told), "{again:?}");
    }
}

/// Users that prove their passwords without showing them.
#[tokio::test]
async fn scram_is_switched_on_and_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let body =
        json!({ "mechanism": "scram", "backend": "built_in_database", "algorithm": "sha256", "iteration_count": 4096 });
    let told = make(&managed, body.clone()).await;
    assert_eq!((&told["id"], &told["mechanism"]), (&json!("scram:built_in_database"), &json!("scram")));
    assert_eq!(asked(&managed).await, json!(["scram"]));
    assert_eq!(managed.admin.post(PATH, &body).await.status, 409);
    let user = json!({ "user_id": "u", "password": "a password" });
    assert_eq!(managed.admin.post(&at("scram:built_in_database/users"), &user).await.status, 201);
    assert_eq!(managed.get(&at("scram:built_in_database")).await.json()["users_count"], 1);
    for (name, value) in [("algorithm", json!("sha512")), ("iteration_count", json!(1))] {
        let mut other = body.clone();
        other[name] = value;
        assert_eq!(managed.admin.put(&at("scram:built_in_database"), &other).await.status, 400, "{name}");
    }
    assert_eq!(managed.admin.put(&at("scram:built_in_database"), &told).await.status, 200);
    assert_eq!(managed.admin.delete(&at("scram:built_in_database")).await.status, 204);
    assert_eq!(asked(&managed).await, json!([]));
}

#[tokio::test]
async fn they_are_asked_in_another_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    make(&managed, postgresql()).await;
    let mut further = postgresql();
    further["name"] = "further".into();
    make(&managed, further).await;
    make(&managed, json!({ "mechanism": "password_based", "backend": "built_in_database" })).await;
    let (main, further, users) = ("postgresql.default", "postgresql.further", "users");
    assert_eq!(asked(&managed).await, json!([main, further, users]));
    let database = "password_based:built_in_database";
    for (id, position, order) in [
        (database, "front".to_owned(), json!([users, main, further])),
        (database, "rear".to_owned(), json!([main, further, users])),
        (database, "before:postgresql:further".to_owned(), json!([main, users, further])),
        ("postgresql:default", format!("after:{database}"), json!([users, main, further])),
    ] {
        assert_eq!(managed.admin.put(&at(&format!("{id}/position/{position}")), &json!({})).await.status, 204);
        assert_eq!(asked(&managed).await, order, "{id} {position}");
    }
    for (wrong, status) in [
        ("password_based:mysql/position/front", 404),
        ("postgresql:default/position/top", 400),
        ("postgresql:default/position/before:postgresql:default", 400),
    ] {
        assert_eq!(managed.admin.put(&at(wrong), &json!({})).await.status, status, "{wrong}");
    }
    let order = async |ids: &[&str]| {
        let body: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        managed.admin.put(&at("order"), &body.into()).await.status
    };
    assert_eq!(order(&["postgresql:further", database, "postgresql:default"]).await, 204);
    assert_eq!(asked(&managed).await, json!([further, users, main]));
    assert_eq!(order(&[database, "postgresql:default"]).await, 400);
    assert_eq!(order(&[database, database, "postgresql:further", "postgresql:default"]).await, 400);
    assert_eq!(order(&[database, "password_based:mysql"]).await, 404);
    assert_eq!(asked(&managed).await, json!([further, users, main]));
    let ids: Vec<_> =
        managed.get(PATH).await.json().as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        assert_eq!(managed.get(&at(id.as_str().expect("a text"))).await.json()["id"], id);
    }
}

#[tokio::test]
async fn what_there_is_not_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let with = |name: &str, value: Value| {
        let mut body = postgresql();
        body[name] = value;
        body
    };
    for (body, word) in [
        (json!({}), "mechanism"),
        (json!({ "mechanism": "gssapi", "backend": "kerberos" }), "mechanism"),
        (json!({ "mechanism": "password_based", "backend": "oracle" }), "backend"),
        (with("surprise", 1.into()), "surprise"),
        (with("disable_prepared_statements", true.into()), "disable_prepared_statements"),
        (with("ssl", json!({ "enable": true, "verify": "verify_none" })), "ssl.verify"),
        (with("password_hash_algorithm", json!({ "name": "sha3" })), "password_hash_algorithm"),
        (with("name", "a.b".into()), "name"),
        (with("pool_size", 0.into()), "limits.connections"),
        (with("query", "".into()), "query"),
        (json!({ "mechanism": "jwt", "use_jwks": true, "algorithm": "public-key" }), "use_jwks"),
    ] {
        let told = managed.admin.post(PATH, &body).await;
        assert_eq!(told.status, 400, "{body}: {told:?}");
        assert!(told.text().contains(word), "{word}: {told:?}");
    }
    assert_eq!(asked(&managed).await, json!([]));
    assert_eq!(managed.get(PATH).await.json(), json!([]));
}
