use std::{collections::BTreeMap, path::PathBuf};

use super::{
    AccessLdap, AccessMongodb, AccessRedis, AccessSql,
    access_http::AccessHttp,
    access_jwt::AccessJwt,
    listener::ClientRate,
    schema::{settings, words},
    value::{OrInfinity, Period},
};
use crate::network::Network;

words! {
    /// By what users are known.
    pub enum UsersBy {
        /// The user name.
        Username = "username",
        /// The client id.
        ClientId = "client_id",
    }
}

words! {
    /// Yes or no.
    pub enum RulePermission {
        /// Yes.
        Allow = "allow",
        /// No.
        Deny = "deny",
    }
}

words! {
    /// What a rule is about.
    pub enum RuleAction {
        /// Publishing and subscribing.
        All = "all",
        /// Publishing.
        Publish = "publish",
        /// Subscribing, and reading what is retained.
        Subscribe = "subscribe",
    }
}

words! {
    /// Which publications a rule is about.
    pub enum RuleRetain {
        /// All.
        Any = "any",
        /// Those with the retain flag.
        Yes = "yes",
        /// Those without.
        No = "no",
    }
}

words! {
    /// What becomes of who tries what is denied.
    pub enum DenyAction {
        /// It is refused in the protocol's words.
        Ignore = "ignore",
        /// The connection ends.
        Disconnect = "disconnect",
    }
}

words! {
    /// How a file with rules is written.
    pub enum RuleFormat {
        /// EMQX's acl.conf.
        Emqx = "emqx",
        /// Mosquitto's acl_file.
        Mosquitto = "mosquitto",
    }
}

settings! {
    /// Who may connect, and what they may do. A change at run time, and SIGHUP, count at once for whoever connects then.
    pub struct Access {
        /// Who is asked about a client, in this order: "certificate" lets in who has shown a certificate that a listener takes for the user name or the
        /// client id (see `tls.identity_as_username`), "users" is the built-in database, "scram" is the same for MQTT 5 clients that prove a password without showing it (`thingway users add --scram`), "http.NAME" a web server and "jwt.NAME" tokens, as sections below say. The first that knows the client decides; one that none knows is refused. With an
        /// empty list everyone may connect.
        authenticators: Vec<String> = Vec::new();
        /// Let in who shows no user name and no password, without anybody being asked.
        allow_anonymous: bool = false;
        /// How long it may take to find out whether a client may connect. Then it is told that the server is unavailable.
        timeout: Period = Period::from_secs(10);
        /// Clients about whom it is being found out at a time. Further ones are told that the server is busy.
        pending_max: u32 = 10_000, within 1..=1_000_000;
        /// Where it is decided what a client may do, in this order: "rules" are those of the next setting, of the store and of files (each part can have a place of its own instead, as "rules.settings", "rules.database" and "rules.files"; one that is not named is not asked), "http.NAME" is a web server. The first that decides counts; no_match is for
        /// what none decides.
        sources: Vec<String> = vec![own_rules::ALL.into()];
        /// Rules in the order in which they are asked, before those of the files, such as { permission = "allow", username = "bob", action = "subscribe",
        /// topics = ["news/#"] }. The first that is about it decides.
        rules: Vec<AccessRule> = Vec::new();
        /// Files with further rules, in their order, such as { format = "emqx", path = "/etc/thingway/acl.conf" }.
        rule_files: Vec<RuleFile> = Vec::new();
        /// What a further file would have, in EMQX's form (acl.conf): rules such as {allow, {username, "bob"}, subscribe, ["news/#"]}. They come after those of the files.
        acl_conf: String = String::new();
        /// A file with pre-shared keys beside those in the store, which count before them: `identity:key` on each line, the key in hexadecimal digits, as
        /// Mosquitto's psk_file has it. For DTLS, which is not there yet.
        psk_file: PathBuf = PathBuf::new();
        /// What holds when there are rules, and none is about it: "allow" or "deny".
        no_match: RulePermission = RulePermission::Deny;
        /// What becomes of who tries what is denied: "ignore" refuses it in the protocol's words, "disconnect" ends the connection.
        deny_action: DenyAction = DenyAction::Ignore;
        /// Decisions that each connection remembers; 0 for none.
        cache_max: u16 = 32, within 0..=4096;
        /// Clients that may not connect whatever they show, such as { client_id = "stolen", reason = "stolen in May" }.
        bans: Vec<AccessBan> = Vec::new();
        /// Most bans, with those that flapping brings. Beyond, a client that flaps is not banned, and that is logged.
        bans_max: u32 = 100_000, within 1..=10_000_000;
        /// Whether rules are asked about topics as they are on the bus, with the mount point of the client in front.
        include_mountpoint: bool = false;
        /// Attributes of clients, made in this order of what they show, such as { name = "site", value = "nth(1, tokens(clientid, '-'))" }. At most 32. One that
        /// an authenticator gives counts before these.
        attributes: Vec<AccessAttribute> = Vec::new();
        /// Topics that become others, such as { source = "old/#", pattern = "^old/(.+)$", destination = "new/$1" }. Of those whose source matches the last
        /// counts. At most 1000.
        rewrite: Vec<TopicRewrite> = Vec::new();
        /// What clients are subscribed to when they connect, without asking, as far as the rules allow it, such as { topic = "commands/${clientid}", qos = 1 }.
        /// At most 100. Not for CoAP, whose clients observe.
        auto_subscribe: Vec<AutoSubscribe> = Vec::new();
        /// What many clients may have together.
        quota: AccessQuota = AccessQuota::default();
        /// The built-in user database.
        users: AccessUsers = AccessUsers::default();
        /// Waits for those who show wrong credentials.
        backoff: AccessBackoff = AccessBackoff::default();
        /// Clients that connect again and again.
        flapping: AccessFlapping = AccessFlapping::default();
        /// A web server that is asked who may connect (`access.authenticators = ["http.NAME"]`), or what clients may do (`access.sources = ["http.NAME"]`).
        http: BTreeMap<String, AccessHttp> = BTreeMap::new();
        /// Tokens (JWT) that let clients in (`access.authenticators = ["jwt.NAME"]`). One of `secret`, `secret_file`, `public_key_file` and `jwks_url` says what
        /// verifies them, and that alone which algorithms are taken: HS256, HS384 and HS512 for a secret; RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA
        /// by the kind of a public key.
        jwt: BTreeMap<String, AccessJwt> = BTreeMap::new();
        /// PostgreSQL databases, which authenticators and sources name as "postgresql.main".
        postgresql: BTreeMap<String, AccessSql> = BTreeMap::new();
        /// MySQL and MariaDB databases, which authenticators and sources name as "mysql.main".
        mysql: BTreeMap<String, AccessSql> = BTreeMap::new();
        /// Redis databases, which authenticators and sources name as "redis.main".
        redis: BTreeMap<String, AccessRedis> = BTreeMap::new();
        /// MongoDB databases, which authenticators and sources name as "mongodb.main".
        mongodb: BTreeMap<String, AccessMongodb> = BTreeMap::new();
        /// LDAP directories, which authenticators and sources name as "ldap.main".
        ldap: BTreeMap<String, AccessLdap> = BTreeMap::new();
    }
}

settings! {
    /// The built-in user database: users in the store, which `thingway users` manages, and those of a file.
    pub struct AccessUsers {
        /// By what they are known: "username" or "client_id".
        by: UsersBy = UsersBy::Username;
        /// A file with users beside those in the store, which count before them: CSV or JSON with EMQX's columns if its name ends so, otherwise as
        /// `mosquitto_passwd` writes it.
        file: PathBuf = PathBuf::new();
        /// How EMQX was told to hash what the file has as `password_hash`: "plain", "bcrypt", "sha256" (salt before the password), "sha256-suffix",
        /// "sha256-disable", likewise with md5, sha and sha512, or "pbkdf2-sha256-600000" with sha, sha256, sha384 or sha512. Hashes that begin with "$" say it
        /// themselves.
        file_hashing: String = "sha256".into();
        /// Threads that try passwords. They stand back behind those that serve connections.
        hash_threads: u16 = 1, within 1..=256;
        /// Passwords that wait for such a thread. Further clients are told that the server is busy.
        hash_waiting_max: u32 = 1000, within 1..=1_000_000;
    }
}

settings! {
    /// Waits for those who show wrong credentials.
    pub struct AccessBackoff {
        /// Whether they have to wait.
        enable: bool = true;
        /// Wrong credentials from one address before it has to wait; 0 for any number. Not for udp, where anybody can put any address on a datagram.
        per_address: u32 = 20;
        /// Wrong credentials for one user name (or client id, without one) before it has to wait; 0 for any number.
        per_identity: u32 = 10;
        /// The first wait. Each that follows is twice as long. The right credentials end it.
        first: Period = Period::from_secs(1);
        /// The longest wait. Who was quiet for twice as long begins anew.
        longest: Period = Period::from_secs(300);
        /// Addresses and names that are remembered. Beyond, those that came up first are forgotten.
        entries_max: u32 = 10_000, within 1..=10_000_000;
    }
}

settings! {
    /// Clients that connect again and again are banned for a while.
    pub struct AccessFlapping {
        /// Whether they are.
        enable: bool = false;
        /// Connections within the window that are too many.
        connections: u32 = 15, within 2..=10_000;
        /// The window.
        window: Period = Period::from_secs(60);
        /// How long the ban lasts.
        ban: Period = Period::from_secs(300);
        /// Client ids that are remembered. Beyond, those that came up first are forgotten.
        entries_max: u32 = 10_000, within 1..=1_000_000;
    }
}

settings! {
    /// A rule. What is not said is no condition.
    pub struct AccessRule {
        /// "allow" or "deny".
        permission: RulePermission = RulePermission::Deny;
        /// The user name.
        username: String = String::new();
        /// A regular expression that is found in the user name.
        username_pattern: String = String::new();
        /// The client id.
        client_id: String = String::new();
        /// A regular expression that is found in the client id.
        client_id_pattern: String = String::new();
        /// The common name in the client's certificate.
        certificate: String = String::new();
        /// The whole subject in the client's certificate, as "CN=device 1, O=Example".
        certificate_subject: String = String::new();
        /// One of the alternative names in the client's certificate: DNS name, URI, mail address or address.
        certificate_san: String = String::new();
        /// An attribute of the client and its value, as "site=north".
        attribute: String = String::new();
        /// Ranges of addresses, of which the client's is in one.
        addresses: Vec<Network> = Vec::new();
        /// The listener, as "tcp.default".
        listener: String = String::new();
        /// The protocol: "mqtt", "mqtt-sn" or "coap".
        protocol: String = String::new();
        /// "all", "publish" or "subscribe".
        action: RuleAction = RuleAction::All;
        /// Qualities of service; an empty list for all.
        qos: Vec<u8> = Vec::new();
        /// Of publications: "any", "yes" (with the retain flag) or "no".
        retain: RuleRetain = RuleRetain::Any;
        /// Filters with placeholders such as "devices/${clientid}/#"; one that begins with "eq " is taken literally. An empty list for all topics, even those
        /// that begin with "$".
        topics: Vec<String> = Vec::new();
    }
}

settings! {
    /// What many clients may have together. A client that comes again while its last connection is not gone yet counts once.
    pub struct AccessQuota {
        /// Clients that are connected at a time under one user name. Further ones are told that a quota is exceeded.
        connections_per_user: OrInfinity<u32> = OrInfinity::Infinity;
        /// The attribute whose value is a client's namespace, as "tenant"; "" for none. Clients without it are in no namespace, and bound by nothing here.
        namespace: String = String::new();
        /// Clients that are connected at a time in one namespace.
        connections_per_namespace: OrInfinity<u32> = OrInfinity::Infinity;
        /// What the clients of one namespace together may send, as `client_rate` of listeners.
        namespace_rate: ClientRate = ClientRate::default();
        /// Namespaces whose rates are remembered. Beyond, those that were quiet are forgotten, and if none was the client is told that a quota is exceeded.
        namespaces_max: u32 = 10_000, within 1..=10_000_000;
    }
}

settings! {
    /// An attribute of clients.
    pub struct AccessAttribute {
        /// Its name.
        name: String = String::new();
        /// What it is: an expression over `username`, `clientid`, `peerhost`, `listener`, `proto_name`, `cert_common_name`, `cert_subject`, `cert_san`,
        /// `user_property.NAME` and `client_attrs.NAME` with texts in quotes and the functions nth, tokens, split, regex_extract, regex_groups, substr, concat,
        /// coalesce, lower, upper and trim. Without a value there is no attribute.
        value: String = String::new();
    }
}

settings! {
    /// A rule by which topics become others.
    pub struct TopicRewrite {
        /// "publish", "subscribe" or "all".
        action: RuleAction = RuleAction::All;
        /// Filter of the topics that it is about.
        source: String = String::new();
        /// A regular expression. Where it is not found the topic stays what it is.
        pattern: String = ".*".into();
        /// What the topic becomes, with $1 to $9 for the groups of the pattern, ${clientid} and ${username}.
        destination: String = String::new();
    }
}

settings! {
    /// A subscription that clients have without asking.
    pub struct AutoSubscribe {
        /// The filter, with placeholders such as "commands/${clientid}/#".
        topic: String = String::new();
        /// Highest quality of service.
        qos: u8 = 0, within 0..=2;
        /// Not the client's own publications.
        no_local: bool = false;
        /// Keep the publisher's retain flag.
        retain_as_published: bool = false;
        /// Retained messages: 0 always, 1 only if the subscription is new, 2 never.
        retain_handling: u8 = 0, within 0..=2;
    }
}

settings! {
    /// A file with rules.
    pub struct RuleFile {
        /// How it is written: "emqx" or "mosquitto".
        format: RuleFormat = RuleFormat::Emqx;
        /// Where it is.
        path: PathBuf = PathBuf::new();
    }
}

settings! {
    /// A ban: one of the first six, and why and until when.
    pub struct AccessBan {
        /// A client id.
        client_id: String = String::new();
        /// A user name.
        username: String = String::new();
        /// An address.
        address: String = String::new();
        /// A range of addresses.
        network: String = String::new();
        /// A regular expression that is found in client ids.
        client_id_pattern: String = String::new();
        /// A regular expression that is found in user names.
        username_pattern: String = String::new();
        /// Why.
        reason: String = String::new();
        /// Until when, as "2027-01-31T00:00:00Z"; "" for ever.
        until: String = String::new();
    }
}

/// The setting that has rules in the form of EMQX's file. Rules tell it as their place.
pub const ACL_CONF: &str = "access.acl_conf";

/// What `access.sources` may name of the gateway's own rules.
pub mod own_rules {
    /// All of them: the parts in their order.
    pub const ALL: &str = "rules";
    /// Those of `access.rules`.
    pub const OF_SETTINGS: &str = "rules.settings";
    /// Those of the store.
    pub const OF_DATABASE: &str = "rules.database";
    /// Those of `access.rule_files` and `access.acl_conf`.
    pub const OF_FILES: &str = "rules.files";
    /// The parts.
    pub const PARTS: [&str; 3] = [OF_SETTINGS, OF_DATABASE, OF_FILES];
}

impl Access {
    /// Everything that `authenticators` may name: what is built in, and each service by its kind and its name.
    pub fn authenticator_names(&self) -> Vec<String> {
        let mut names = vec!["certificate".into(), "users".into(), "scram".into()];
        names.extend(self.http.keys().map(|name| format!("http.{name}")));
        names.extend(self.jwt.keys().map(|name| format!("jwt.{name}")));
        names.extend(self.database_names());
        names
    }

    /// Everything that `sources` may name.
    pub fn source_names(&self) -> Vec<String> {
        let mut names = vec![own_rules::ALL.into()];
        names.extend(own_rules::PARTS.map(Into::into));
        names.extend(self.http.keys().map(|name| format!("http.{name}")));
        names.extend(self.database_names());
        names
    }

    /// The parts of the gateway's own rules that `sources` names.
    pub(super) fn named_rules(&self) -> impl Iterator<Item = &String> {
        let is_own = |name: &str| name == own_rules::ALL || own_rules::PARTS.contains(&name);
        self.sources.iter().filter(move |name| is_own(name))
    }

    /// There are rules here.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty() || !self.rule_files.is_empty() || !self.acl_conf.is_empty()
    }
}
