//! PostgreSQL and MariaDB with EMQX's tables.

use crate::{
    BAD_CREDENTIALS, NOT_AUTHORIZED, UNAVAILABLE, WELCOME, code,
    common::{PATIENCE, TestGateway},
    contract, credentials, gateway,
    servers::{self, Running},
};

/// sha256 of "saltsecret" and of "salttoor".
const USERS: &str = "\
    INSERT INTO mqtt_user (username, password_hash, salt, is_superuser) VALUES
    ('bob', 'bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35', 'salt', false),
    ('root', 'e6f2307430e047cc024c2b454ae22a8d32786f289025e545bdb36fe145781af0', 'salt', true)";

const RULES: &str = "\
    INSERT INTO mqtt_acl (username, permission, action, topic) VALUES
    ('bob', 'allow', 'publish', 'by/${clientid}/#'),
    ('bob', 'allow', 'subscribe', 'news/#'),
    ('bob', 'deny', 'all', 'secret')";

const QUERY: &str = "SELECT password_hash, salt, is_superuser FROM mqtt_user WHERE username = ${username} LIMIT 1";
const RULES_QUERY: &str =
    "SELECT permission, action, topic, ipaddress, qos, retain FROM mqtt_acl WHERE username = ${username} ORDER BY id";

/// A database and how the configuration names it.
struct Sql<F> {
    kind: &'static str,
    database: &'static str,
    running: Running,
    sql: F,
}

impl<F: Fn(&str)> Sql<F> {
    fn access(&self, query: &str, more: &str) -> String {
        let (kind, port, database) = (self.kind, self.running.port, self.database);
        format!(
            "[access]\nauthenticators = [\"{kind}.main\"]\nsources = [\"{kind}.main\"]\n\
             [access.{kind}.main]\nserver = \"127.0.0.1:{port}\"\ndatabase = \"{database}\"\nusername = \"thingway\"\n\
             password = \"word\"\nquery = \"{query}\"\nrules_query = \"{RULES_QUERY}\"\n{more}\n"
        )
    }

    async fn gateway(&self, query: &str, more: &str) -> TestGateway {
        gateway(&self.access(query, more)).await
    }

    async fn keeps_the_contract(&self) {
        let gateway = self.gateway(QUERY, "").await;
        contract::authenticates(&gateway).await;
        contract::authorizes(&gateway).await;
    }

    /// What is not as it should be is no reason to let anybody in.
    async fn refuses(&self, what: &str, query: &str) {
        let gateway = self.gateway(query, "").await;
        assert_eq!(code(&gateway, "bob", "secret").await, UNAVAILABLE, "{what}");
        let lenient = self.gateway(query, "when_down = \"ignore\"").await;
        assert_eq!(code(&lenient, "bob", "secret").await, BAD_CREDENTIALS, "{what}: nobody else knows bob");
    }

    /// A rule that cannot be understood allows nothing, and a changed table counts after rules_time.
    async fn follows_the_table(&self) {
        let gateway = self.gateway(QUERY, "rules_time = \"10ms\"").await;
        let (mut bob, _) = gateway.connect(&credentials("c1", "bob", "secret")).await;
        assert_eq!(bob.subscribe("news/a", 0).await, WELCOME);
        (self.sql)("UPDATE mqtt_acl SET topic = 'a/#/b' WHERE topic = 'secret'");
        let allowed = |code: u8| code == WELCOME;
        until(async || !allowed(bob.subscribe("news/a", 0).await)).await;
        (self.sql)("UPDATE mqtt_acl SET topic = 'secret' WHERE topic = 'a/#/b'");
        until(async || allowed(bob.subscribe("news/a", 0).await)).await;
    }

    async fn is_encrypted(&self) {
        crate::is_encrypted(&self.access(QUERY, "TLS"), &self.running.certificates).await;
    }

    /// It goes away and comes back, and nobody has to do anything about it.
    async fn comes_back(&mut self) {
        let gateway = self.gateway(QUERY, "rules_time = \"10ms\"\nlimits = { failures = 1, rest = \"50ms\" }").await;
        let (mut bob, _) = gateway.connect(&credentials("c1", "bob", "secret")).await;
        assert_eq!(bob.subscribe("news/a", 0).await, WELCOME);
        self.running.kill();
        for _ in 0..3 {
            assert_eq!(code(&gateway, "root", "toor").await, UNAVAILABLE);
        }
        until(async || bob.subscribe("news/a", 0).await == NOT_AUTHORIZED).await;
        bob.ping().await;
        self.running.go();
        let (mut bob_again, _) = {
            until(async || code(&gateway, "root", "toor").await == WELCOME).await;
            gateway.connect(&credentials("c2", "bob", "secret")).await
        };
        until(async || bob_again.subscribe("news/a", 0).await == WELCOME).await;
        until(async || bob.subscribe("news/a", 0).await == WELCOME || bob.is_closed().await).await;
    }
}

/// Waits until it is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql() {
    let Some((running, sql)) = servers::postgresql("postgresql") else { return };
    sql("CREATE TYPE action AS ENUM ('publish', 'subscribe', 'all'); CREATE TYPE permission AS ENUM ('allow', 'deny');
         CREATE TABLE mqtt_user (id serial PRIMARY KEY, username text NOT NULL UNIQUE, password_hash text, salt text,
             is_superuser boolean DEFAULT false, created timestamp with time zone DEFAULT now());
         CREATE TABLE mqtt_acl (id serial PRIMARY KEY, ipaddress varchar(60) NOT NULL DEFAULT '', username varchar(255)
             NOT NULL DEFAULT '', clientid varchar(255) NOT NULL DEFAULT '', action action, permission permission,
             topic varchar(255) NOT NULL, qos smallint, retain smallint)");
    sql(USERS);
    sql(RULES);
    let mut database = Sql { kind: "postgresql", database: "postgres", running, sql };
    database.keeps_the_contract().await;
    for (what, query) in [
        ("no such table", "SELECT password_hash FROM nothing WHERE username = ${username}"),
        ("a type that is no text", "SELECT 1.5::float8 AS password_hash WHERE ${username} <> ''"),
        ("a time", "SELECT now() AS password_hash WHERE ${username} <> ''"),
        ("no password", "SELECT salt FROM mqtt_user WHERE username = ${username}"),
        ("no hash", "SELECT username AS password_hash FROM mqtt_user WHERE username = ${username}"),
        ("a large value", "SELECT repeat('x', 70000) AS password_hash WHERE ${username} <> ''"),
        ("many rows", "SELECT ${username} AS password_hash FROM generate_series(1, 1001)"),
        ("much", "SELECT repeat('x', 60000) AS password_hash FROM generate_series(1, 20) WHERE ${username} <> ''"),
    ] {
        database.refuses(what, query).await;
    }
    let plain = "SELECT 'x' || ${username} AS password, '{\\\"site\\\": \\\"north\\\"}'::jsonb AS client_attrs, \
                 9999999999 AS expires_at UNION ALL SELECT 'second', NULL, 1";
    let gateway = database.gateway(plain, "password_hash = \"plain\"\ncache_time = \"1h\"").await;
    for _ in 0..2 {
        assert_eq!(code(&gateway, "bob", "xbob").await, WELCOME, "the first row counts");
        assert_eq!(code(&gateway, "bob", "second").await, BAD_CREDENTIALS);
    }
    let expired =
        database.gateway("SELECT ${username} AS password, 1 AS expires_at", "password_hash = \"plain\"").await;
    assert_eq!(code(&expired, "bob", "bob").await, NOT_AUTHORIZED);
    let wrong = database.access(QUERY, "").replace("password = \"word\"", "password = \"other\"");
    assert_eq!(code(&gateway_of(&wrong).await, "bob", "secret").await, UNAVAILABLE, "a wrong password of ours");
    database.is_encrypted().await;
    database.follows_the_table().await;
    database.comes_back().await;
}

async fn gateway_of(access: &str) -> TestGateway {
    gateway(access).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    let Some((running, execute)) = servers::mariadb("mariadb") else { return };
    let sql = move |text: &str| execute(&format!("USE mqtt; {text}"));
    sql("CREATE TABLE mqtt_user (id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, username varchar(100) DEFAULT NULL,
             password_hash varchar(100) DEFAULT NULL, salt varchar(35) DEFAULT NULL, is_superuser tinyint(1) DEFAULT 0,
             created datetime DEFAULT NULL, UNIQUE KEY mqtt_username (username)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin");
    sql(
        "CREATE TABLE mqtt_acl (id int(11) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, ipaddress varchar(60) NOT NULL
             DEFAULT '', username varchar(255) NOT NULL DEFAULT '', clientid varchar(255) NOT NULL DEFAULT '',
             action ENUM('publish', 'subscribe', 'all') NOT NULL, permission ENUM('allow', 'deny') NOT NULL,
             topic varchar(255) NOT NULL DEFAULT '', qos tinyint(1), retain tinyint(1)) DEFAULT CHARSET=utf8mb4",
    );
    sql(USERS);
    sql(RULES);
    let mut database = Sql { kind: "mysql", database: "mqtt", running, sql };
    database.keeps_the_contract().await;
    for (what, query) in [
        ("no such table", "SELECT password_hash FROM nothing WHERE username = ${username}"),
        ("a type that is no text", "SELECT CAST(1.5 AS DOUBLE) AS password_hash WHERE ${username} <> ''"),
        ("a time", "SELECT NOW() AS password_hash WHERE ${username} <> ''"),
        ("no password", "SELECT salt FROM mqtt_user WHERE username = ${username}"),
        ("no hash", "SELECT username AS password_hash FROM mqtt_user WHERE username = ${username}"),
        ("a large value", "SELECT REPEAT('x', 70000) AS password_hash WHERE ${username} <> ''"),
        ("many rows", "SELECT ${username} AS password_hash FROM seq_1_to_1001"),
        ("much", "SELECT REPEAT('x', 60000) AS password_hash FROM seq_1_to_20 WHERE ${username} <> ''"),
    ] {
        database.refuses(what, query).await;
    }
    let plain = "SELECT CONCAT('x', ${username}) AS password, '{\\\"site\\\": \\\"north\\\"}' AS client_attrs, \
                 UNIX_TIMESTAMP() + 1000000 AS expires_at";
    let gateway = database.gateway(plain, "password_hash = \"plain\"").await;
    assert_eq!(code(&gateway, "bob", "xbob").await, WELCOME);
    database.is_encrypted().await;
    database.follows_the_table().await;
    database.comes_back().await;
}
