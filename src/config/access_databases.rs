//! Databases and directories that are asked who may connect and what clients may do.

use std::path::PathBuf;

use super::{
    Access,
    problem::Cause,
    schema::{settings, words},
    value::{Period, SecretText},
};

words! {
    /// What holds while a database does not answer.
    pub enum DatabaseDown {
        /// Nobody is let in, who asks is told that the server is unavailable, and nothing is allowed.
        Deny = "deny",
        /// The next one shall decide.
        Ignore = "ignore",
    }
}

words! {
    /// How a directory tells whether a password is right.
    pub enum LdapMethod {
        /// It gives what it keeps of the password.
        Hash = "hash",
        /// By letting in who connects to it with the password.
        Bind = "bind",
    }
}

settings! {
    /// A PostgreSQL, MySQL or MariaDB server. Statements are prepared: each placeholder, such as ${username}, is a parameter, and its value never becomes a
    /// part of the statement.
    pub struct AccessSql {
        /// Its host, and its port if it is not the usual one, as "db.example:5433".
        server: String = "127.0.0.1".into();
        /// The database.
        database: String = "mqtt".into();
        /// The user.
        username: String = String::new();
        /// The password. Never shown.
        password: SecretText = SecretText::default();
        /// A file with the password, which is read at the start. It stands instead of password.
        password_file: PathBuf = PathBuf::new();
        /// What is asked about who connects, such as "SELECT password_hash, salt, is_superuser FROM mqtt_user WHERE username = ${username} LIMIT 1". The columns
        /// password_hash (or password), salt, is_superuser, client_attrs (an object in JSON) and expires_at (seconds since 1970) are read; the first row counts,
        /// and without one the next authenticator is asked. Placeholders: ${username}, ${clientid}, ${password}, ${peerhost}, ${peerport}, ${peername},
        /// ${cert_common_name}, ${listener}, ${proto_name}.
        query: String = String::new();
        /// What is asked about what a client may do, such as "SELECT permission, action, topic FROM mqtt_acl WHERE username = ${username}". The columns
        /// permission, action, topic, qos, retain and ipaddress are read; the first row that is about it decides, and without one the next source is asked.
        /// Placeholders: those of query but ${password}, ${peerport} and ${peername}, and ${client_attrs.NAME}.
        rules_query: String = String::new();
        /// How the passwords are hashed, written as in access.users.file_hashing.
        password_hash: String = "sha256".into();
        /// How long the rules of a client hold for its connection before they are asked for again.
        rules_time: Period = Period::from_secs(60);
        /// What holds while it does not answer, or gives what cannot be understood: "deny", or "ignore" for the next one to decide.
        when_down: DatabaseDown = DatabaseDown::Deny;
        /// How long what it says of a client counts for those who connect after it; "0s" asks each time. Passwords are tried each time in any case.
        cache_time: Period = Period::from_secs(0);
        /// Clients that are remembered so. Beyond, those that came first are forgotten.
        cache_max: u32 = 10_000, within 1..=10_000_000;
        /// Bounds of what is asked.
        limits: DatabaseLimits = DatabaseLimits::default();
        /// Encryption.
        tls: DatabaseTls = DatabaseTls::default();
    }
}

settings! {
    /// A Redis or Valkey server. A command is split into words before values come in: a value is always a part of one word.
    pub struct AccessRedis {
        /// Its host, and its port if it is not the usual one, as "redis.example:6380".
        server: String = "127.0.0.1".into();
        /// The number of the database.
        database: u32 = 0;
        /// The user; "" for the default one.
        username: String = String::new();
        /// The password. Never shown.
        password: SecretText = SecretText::default();
        /// A file with the password, which is read at the start. It stands instead of password.
        password_file: PathBuf = PathBuf::new();
        /// What is asked about who connects, with HGET, HMGET or HGETALL, such as "HMGET mqtt_user:${username} password_hash salt is_superuser". Fields and
        /// placeholders are those of access.postgresql.
        command: String = String::new();
        /// What is asked about what a client may do, with HGETALL, such as "HGETALL mqtt_acl:${username}". Each field is a topic, and its value "publish",
        /// "subscribe", "all", or an object in JSON with action, qos and retain. What it names is allowed.
        rules_command: String = String::new();
        /// How the passwords are hashed, written as in access.users.file_hashing.
        password_hash: String = "sha256".into();
        /// How long the rules of a client hold for its connection before they are asked for again.
        rules_time: Period = Period::from_secs(60);
        /// What holds while it does not answer, or gives what cannot be understood: "deny", or "ignore" for the next one to decide.
        when_down: DatabaseDown = DatabaseDown::Deny;
        /// How long what it says of a client counts for those who connect after it; "0s" asks each time. Passwords are tried each time in any case.
        cache_time: Period = Period::from_secs(0);
        /// Clients that are remembered so. Beyond, those that came first are forgotten.
        cache_max: u32 = 10_000, within 1..=10_000_000;
        /// Bounds of what is asked.
        limits: DatabaseLimits = DatabaseLimits::default();
        /// Encryption.
        tls: DatabaseTls = DatabaseTls::default();
    }
}

settings! {
    /// An LDAP directory. Values are escaped as filters and names want it.
    pub struct AccessLdap {
        /// Its host, and its port if it is not the usual one, as "ldap.example:3890".
        server: String = "127.0.0.1".into();
        /// As whom it is searched; "" for nobody.
        username: String = String::new();
        /// The password. Never shown.
        password: SecretText = SecretText::default();
        /// A file with the password, which is read at the start. It stands instead of password.
        password_file: PathBuf = PathBuf::new();
        /// Where clients are searched for, such as "uid=${username},ou=devices,dc=example,dc=org".
        base_dn: String = String::new();
        /// What they are searched by.
        filter: String = "(objectClass=*)".into();
        /// How a password is tried: "hash" reads what the directory keeps of it, as {SSHA} and the like or as password_hash says; "bind" connects to the
        /// directory with it.
        method: LdapMethod = LdapMethod::Hash;
        /// The attribute that keeps the password.
        password_attribute: String = "userPassword".into();
        /// The attribute that tells whether rules do not count for the client.
        is_superuser_attribute: String = "isSuperuser".into();
        /// Attributes with topics that may be published to, subscribed to, and both, as EMQX has them.
        publish_attribute: String = "mqttPublishTopic".into();
        /// See publish_attribute.
        subscribe_attribute: String = "mqttSubscriptionTopic".into();
        /// See publish_attribute.
        all_attribute: String = "mqttPubSubTopic".into();
        /// How passwords without a scheme such as {SSHA} are hashed, written as in access.users.file_hashing.
        password_hash: String = "plain".into();
        /// How long the rules of a client hold for its connection before they are asked for again.
        rules_time: Period = Period::from_secs(60);
        /// What holds while it does not answer, or gives what cannot be understood: "deny", or "ignore" for the next one to decide.
        when_down: DatabaseDown = DatabaseDown::Deny;
        /// How long what it says of a client counts for those who connect after it; "0s" asks each time. Passwords are tried each time in any case.
        cache_time: Period = Period::from_secs(0);
        /// Clients that are remembered so. Beyond, those that came first are forgotten.
        cache_max: u32 = 10_000, within 1..=10_000_000;
        /// Bounds of what is asked.
        limits: DatabaseLimits = DatabaseLimits::default();
        /// Encryption.
        tls: DatabaseTls = DatabaseTls::default();
        /// With encryption: begin without it and change over (StartTLS), instead of beginning with it.
        start_tls: bool = false;
    }
}

settings! {
    /// A MongoDB server, of version 3.6 or later. A filter's shape is what is written here: a value is always a text in it, or a part of one.
    pub struct AccessMongodb {
        /// Its host, and its port if it is not the usual one, as "mongo.example:27018". The others of a replica set are not looked for.
        server: String = "127.0.0.1".into();
        /// The database.
        database: String = "mqtt".into();
        /// The user, who shows the password by SCRAM-SHA-256; "" for nobody.
        username: String = String::new();
        /// The password. Never shown.
        password: SecretText = SecretText::default();
        /// A file with the password, which is read at the start. It stands instead of password.
        password_file: PathBuf = PathBuf::new();
        /// The database that knows the user.
        auth_source: String = "admin".into();
        /// The collection with those who may connect.
        collection: String = "mqtt_user".into();
        /// Which of its documents is about a client, in JSON, such as '{"username": "${username}"}'. Placeholders are those of access.postgresql.
        filter: String = String::new();
        /// The field with what is kept of the password.
        password_hash_field: String = "password_hash".into();
        /// The field with the salt.
        salt_field: String = "salt".into();
        /// The field that tells whether rules do not count for the client.
        is_superuser_field: String = "is_superuser".into();
        /// The collection with rules.
        rules_collection: String = "mqtt_acl".into();
        /// Which of its documents are about a client, in JSON. The fields permission, action, topics (or topic), qos, retain and ipaddress are read.
        rules_filter: String = String::new();
        /// How the passwords are hashed, written as in access.users.file_hashing.
        password_hash: String = "sha256".into();
        /// How long the rules of a client hold for its connection before they are asked for again.
        rules_time: Period = Period::from_secs(60);
        /// What holds while it does not answer, or gives what cannot be understood: "deny", or "ignore" for the next one to decide.
        when_down: DatabaseDown = DatabaseDown::Deny;
        /// How long what it says of a client counts for those who connect after it; "0s" asks each time. Passwords are tried each time in any case.
        cache_time: Period = Period::from_secs(0);
        /// Clients that are remembered so. Beyond, those that came first are forgotten.
        cache_max: u32 = 10_000, within 1..=10_000_000;
        /// Bounds of what is asked.
        limits: DatabaseLimits = DatabaseLimits::default();
        /// Encryption.
        tls: DatabaseTls = DatabaseTls::default();
    }
}

settings! {
    /// Bounds of what a server is asked.
    pub struct DatabaseLimits {
        /// How long an answer may take, connecting and waiting for a connection included. Then the connection is thrown away.
        timeout: Period = Period::from_secs(5);
        /// Most connections, and so questions at a time. They are opened when they are needed.
        connections: u16 = 8, within 1..=1024;
        /// Questions that wait for one. Further ones fail at once.
        waiting_max: u32 = 10_000, within 0..=1_000_000;
        /// Answers in a row that do not come before it is left alone.
        failures: u16 = 5, within 1..=10_000;
        /// How long it is left alone. Then one question is tried, and its outcome decides.
        rest: Period = Period::from_secs(5);
    }
}

settings! {
    /// Encryption of what is said to a server.
    pub struct DatabaseTls {
        /// Whether it is encrypted. The server's certificate must be good, and for the name by which it is reached.
        enable: bool = false;
        /// The roots that it may come from, in PEM; "" for those of the system.
        ca_file: PathBuf = PathBuf::new();
        /// A certificate to show to the server, in PEM.
        certificate: PathBuf = PathBuf::new();
        /// Its key.
        key: PathBuf = PathBuf::new();
    }
}

/// What all kinds have.
struct Common<'a> {
    at: String,
    server: &'a str,
    password: &'a SecretText,
    password_file: &'a PathBuf,
    limits: &'a DatabaseLimits,
    rules_time: Period,
    tls: &'a DatabaseTls,
    /// The key of what is asked about who connects, and whether it is there.
    asks: (&'static str, bool),
    /// The key of what is asked about what clients may do, and whether it is there.
    rules: (&'static str, bool),
}

impl Access {
    /// The databases, by their kind and name, as `authenticators` and `sources` name them.
    pub(super) fn database_names(&self) -> Vec<String> {
        self.databases().iter().filter_map(|it| Some(it.at.strip_prefix("access.")?.to_owned())).collect()
    }

    fn databases(&self) -> Vec<Common<'_>> {
        let mut all = Vec::new();
        for (kind, databases) in [("postgresql", &self.postgresql), ("mysql", &self.mysql)] {
            all.extend(databases.iter().map(|(name, it)| Common {
                at: format!("access.{kind}.{name}"),
                server: &it.server,
                password: &it.password,
                password_file: &it.password_file,
                limits: &it.limits,
                rules_time: it.rules_time,
                tls: &it.tls,
                asks: ("query", !it.query.is_empty()),
                rules: ("rules_query", !it.rules_query.is_empty()),
            }));
        }
        all.extend(self.redis.iter().map(|(name, it)| Common {
            at: format!("access.redis.{name}"),
            server: &it.server,
            password: &it.password,
            password_file: &it.password_file,
            limits: &it.limits,
            rules_time: it.rules_time,
            tls: &it.tls,
            asks: ("command", !it.command.is_empty()),
            rules: ("rules_command", !it.rules_command.is_empty()),
        }));
        all.extend(self.ldap.iter().map(|(name, it)| Common {
            at: format!("access.ldap.{name}"),
            server: &it.server,
            password: &it.password,
            password_file: &it.password_file,
            limits: &it.limits,
            rules_time: it.rules_time,
            tls: &it.tls,
            asks: ("base_dn", !it.base_dn.is_empty()),
            rules: ("base_dn", !it.base_dn.is_empty()),
        }));
        all.extend(self.mongodb.iter().map(|(name, it)| Common {
            at: format!("access.mongodb.{name}"),
            server: &it.server,
            password: &it.password,
            password_file: &it.password_file,
            limits: &it.limits,
            rules_time: it.rules_time,
            tls: &it.tls,
            asks: ("filter", !it.filter.is_empty()),
            rules: ("rules_filter", !it.rules_filter.is_empty()),
        }));
        all
    }

    /// Tells what is wrong with the databases, and the files that they need.
    pub(super) fn check_databases(
        &self,
        tell: &mut dyn FnMut(String, Cause),
        files: &mut dyn FnMut(String, &std::path::Path),
    ) {
        for it in self.databases() {
            let key = |name: &str| format!("{}.{name}", it.at);
            if address(it.server, 1).is_none() {
                let expected = "a host, or a host and a port, such as \"db.example:5432\"".into();
                tell(key("server"), Cause::BadValue { found: format!("{:?}", it.server), expected });
            }
            if !it.password_file.as_os_str().is_empty() {
                if !it.password.is_empty() {
                    tell(key("password_file"), Cause::Needs { other: key("password"), expected: "left out" });
                }
                files(key("password_file"), it.password_file);
            }
            for (name, period) in
                [("limits.timeout", it.limits.timeout), ("limits.rest", it.limits.rest), ("rules_time", it.rules_time)]
            {
                if period.is_zero() {
                    let expected = "a time longer than \"0s\"".into();
                    tell(key(name), Cause::BadValue { found: format!("{:?}", period.to_string()), expected });
                }
            }
            for (name, file) in
                [("tls.ca_file", &it.tls.ca_file), ("tls.certificate", &it.tls.certificate), ("tls.key", &it.tls.key)]
            {
                if !file.as_os_str().is_empty() {
                    files(key(name), file);
                }
            }
            if it.tls.certificate.as_os_str().is_empty() != it.tls.key.as_os_str().is_empty() {
                let expected = "a file, as a certificate and its key go together";
                tell(key("tls.certificate"), Cause::Needs { other: key("tls.key"), expected });
            }
            let named = |names: &[String]| names.iter().any(|name| Some(&**name) == it.at.strip_prefix("access."));
            for ((name, is_there), is_named, list) in [
                (it.asks, named(&self.authenticators), "access.authenticators"),
                (it.rules, named(&self.sources), "access.sources"),
            ] {
                if is_named && !is_there {
                    let expected = format!("what is asked, as {list} names this database");
                    tell(key(name), Cause::Missing { expected });
                }
            }
        }
    }
}

/// The host and the port of a server; the usual port when it names none.
pub fn address(text: &str, usual_port: u16) -> Option<(&str, u16)> {
    let is_host = |host: &str| !host.is_empty() && !host.contains([' ', '/', '@', '[', ']']);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { usual_port } else { rest.strip_prefix(':')?.parse().ok()? };
        return is_host(host).then_some((host, port));
    }
    match text.split_once(':') {
        None => is_host(text).then_some((text, usual_port)),
        // More than one colon is an IPv6 address without brackets: what is its port would be a guess.
        Some((host, port)) => Some((host, port.parse().ok()?)).filter(|(host, _)| is_host(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Loaded, Sources, explain};

    #[test]
    fn servers_have_usual_ports() {
        for (text, expected) in [
            ("db", Some(("db", 7))),
            ("db.example:80", Some(("db.example", 80))),
            ("[::1]", Some(("::1", 7))),
            ("[::1]:80", Some(("::1", 80))),
            ("", None),
            ("::1", None),
            ("db:x", None),
            ("db:99999", None),
            ("a b", None),
            ("postgres://db", None),
        ] {
            assert_eq!(address(text, 7), expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let text = r#"
            [access]
            authenticators = ["postgresql.main"]
            sources = ["rules", "redis.a"]
            [access.postgresql.main]
            server = "::1"
            password = "hunter2"
            password_file = "/nonexistent/password"
            [access.redis.a]
            limits.timeout = "0s"
            tls = { certificate = "/dev/null" }
        "#;
        let told = Config::from_toml(text).expect_err("wrong").to_string();
        for expected in [
            "configuration:6: access.postgresql.main.server: found \"::1\", expected a host",
            "access.postgresql.main.password_file: needs access.postgresql.main.password to be left out",
            "access.postgresql.main.password_file: cannot read /nonexistent/password",
            "access.postgresql.main.query: missing, expected what is asked, as access.authenticators",
            "access.redis.a.limits.timeout: found \"0s\"",
            "access.redis.a.tls.certificate: needs access.redis.a.tls.key",
            "access.redis.a.rules_command: missing, expected what is asked, as access.sources",
        ] {
            assert!(told.contains(expected), "{expected}\n{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn passwords_are_never_shown() {
        let load = |assignments: &[&str]| -> Result<Loaded, String> {
            let assignments = assignments.iter().map(|text| (*text).to_owned()).collect();
            Config::load(&Sources { assignments, ..Sources::default() }).map_err(|problems| problems.to_string())
        };
        let loaded = load(&["access.mysql.main.password=hunter2"]).expect("good");
        assert_eq!(loaded.config.access.mysql["main"].password.reveal(), "hunter2");
        for key in ["access.mysql.main.password", "access.mysql.main"] {
            let told = explain(&loaded, key).expect("a key");
            assert!(told.contains("access.mysql.main.password = ***"), "{told}");
            assert!(!told.contains("hunter2") && !format!("{loaded:?}").contains("hunter2"), "{told}");
        }
        for wrong in
            ["access.mysql.main.pasword=hunter2", "access.mysql.main.password=[\"hunter2\"", "password=hunter2"]
        {
            let told = load(&[wrong, "mqtt.max_qos=7"]).map(|_| ()).expect_err("wrong");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let told = Config::from_toml("[access.mysql.main]\npassword = 12345\n").expect_err("no text").to_string();
        assert_eq!(told, "configuration:2: access.mysql.main.password: found ***, expected a text in quotation marks");
    }
}
