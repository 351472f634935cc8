//! From what operators wrote to what the access layer asks: rules, bans and users, read and compiled. For the gateway, and for commands that tell what it
//! would do.

mod databases;
mod error;
mod http;
mod jwt;
mod making;
mod names;
mod rules;

use std::{fs, path::Path, sync::Arc};

use crate::{
    access::{
        BackoffSettings, Ban, BanError, BanKind, Chain, FlappingSettings, Settings,
        passwords::{Hashers, HashersSettings, Stored},
        psk::{KeyMap, PSK_PREFIX, key_from_hex, parse_keys},
        rules::{RULE_PREFIX, RuleDatabase},
        scram::Scram,
        users::{Format, Hashing, Password, RowError, User, UserDatabase, UserKey, Users, name_of_key, parse},
    },
    config::{AccessBan, Config, Security, UsersBy},
};

pub use self::{
    error::AccessError,
    making::{Made, Making},
    names::check_mounts,
    rules::{policy, policy_with},
};

/// Everything that is wrong with what this makes of a configuration, the first thing of each kind. Files that it names are read; nobody is asked anything. To be
/// called within a runtime.
pub fn problems(config: &Config) -> Vec<AccessError> {
    let all = [
        policy(config, &Arc::default()).err(),
        bans(config).err(),
        file_users(config).err(),
        file_keys(config).err(),
        names::attributes(config).err(),
        names::names(config).err(),
        chain(config).err(),
    ];
    all.into_iter().flatten().collect()
}

/// The bans that the configuration has.
///
/// # Errors
/// The first that is none.
pub fn bans(config: &Config) -> Result<Vec<Ban>, AccessError> {
    (1..).zip(&config.access.bans).map(|(number, ban)| own_ban(number, ban)).collect()
}

fn own_ban(number: usize, ban: &AccessBan) -> Result<Ban, AccessError> {
    let named: Vec<_> = [
        (BanKind::ClientId, &ban.client_id),
        (BanKind::Username, &ban.username),
        (BanKind::Address, &ban.address),
        (BanKind::Network, &ban.network),
        (BanKind::ClientIdPattern, &ban.client_id_pattern),
        (BanKind::UsernamePattern, &ban.username_pattern),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect();
    let [(kind, value)] = named.as_slice() else { return Err(AccessError::Ban { number, error: BanError::Empty }) };
    let until = match ban.until.as_str() {
        "" => None,
        text => Some(unix_secs(text).ok_or_else(|| AccessError::Until { number, text: text.into() })?),
    };
    let ban =
        Ban { kind: *kind, value: value.as_str().into(), reason: ban.reason.as_str().into(), until_unix_secs: until };
    ban.check().map_err(|error| AccessError::Ban { number, error })?;
    Ok(ban)
}

/// The seconds since 1970 of a time as `2027-01-31T00:00:00Z`.
pub fn unix_secs(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

/// The users of the file that the configuration names.
///
/// # Errors
/// When it cannot be read, or something is wrong in it.
pub fn file_users(config: &Config) -> Result<Users, AccessError> {
    let settings = &config.access.users;
    if settings.file.as_os_str().is_empty() {
        return Ok(Users::default());
    }
    let hashing: Hashing = settings.file_hashing.parse()?;
    let path = settings.file.display().to_string();
    let text = zeroize::Zeroizing::new(read("access.users.file", &settings.file)?);
    let users = parse(&text, Format::of_name(&path), hashing).map_err(|error| AccessError::Users { path, error })?;
    let one = |named: crate::access::users::NamedUser| {
        let password = match named.password {
            // It lies in the file as it is: more than a digest would protect nothing.
            Password::Plain(plain) => Some(Arc::new(Stored::of_plain(&plain)?)),
            Password::Stored(stored) => Some(stored),
            Password::None => None,
        };
        Ok((named.name, Arc::new(User { password, ..named.user })))
    };
    users.into_iter().map(one).collect()
}

/// The pre-shared keys of the file that the configuration names.
///
/// # Errors
/// When it cannot be read, or something is wrong in it.
pub fn file_keys(config: &Config) -> Result<KeyMap, AccessError> {
    let file = &config.access.psk_file;
    if file.as_os_str().is_empty() {
        return Ok(KeyMap::default());
    }
    let text = zeroize::Zeroizing::new(read("access.psk_file", file)?);
    parse_keys(&text).map_err(|error| AccessError::Keys { path: file.display().to_string(), error })
}

/// What the store has of users, rules, bans and pre-shared keys.
#[derive(Debug, Default)]
pub struct Kept {
    /// Users.
    pub users: Users,
    /// Rules.
    pub rules: RuleDatabase,
    /// Pre-shared keys.
    pub keys: KeyMap,
    /// Bans.
    pub bans: Vec<Ban>,
}

impl Kept {
    /// Adds a setting of the store. One of another kind is left out.
    ///
    /// # Errors
    /// When it is of this kind, but cannot be read.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), AccessError> {
        let wrong = |why: String| AccessError::Row { name: name.into(), why };
        if let Some(user) = name_of_key(name) {
            let row = User::from_row(value).map_err(|error: RowError| wrong(error.to_string()))?;
            self.users.insert(user.into(), Arc::new(row));
        } else if name.starts_with(RULE_PREFIX) {
            self.rules.add(name, value).map_err(|error| wrong(error.to_string()))?;
        } else if let Some(identity) = name.strip_prefix(PSK_PREFIX) {
            let key = key_from_hex(value).map_err(|error| wrong(error.to_string()))?;
            self.keys.insert(identity.into(), key);
        } else if name.starts_with(crate::access::BAN_PREFIX) {
            self.bans.push(Ban::from_row(name, value).map_err(|error| wrong(error.to_string()))?);
        }
        Ok(())
    }
}

/// The built-in users, and the threads that try their passwords and those of databases. They are there whether anybody is asked who needs them or not, so that
/// somebody may be asked later; without that there are no threads.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    /// Users. There are none yet.
    pub users: Arc<UserDatabase>,
    hashers: Arc<Hashers>,
}

impl BuiltIn {
    /// As the configuration has it.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(config: &Config) -> Result<Self, AccessError> {
        let hashers = Arc::new(Hashers::new(hashers_settings(config)));
        let users = Arc::new(UserDatabase::new(users_by(config), hashers.clone())?);
        Ok(Self { users, hashers })
    }

    /// Tries passwords as this configuration wants it, with threads if its authenticators need them.
    ///
    /// # Errors
    /// When the system gives none. It is as before then.
    pub fn change_hashers(&self, config: &Config) -> Result<(), AccessError> {
        self.hashers.change(hashers_settings(config)).map_err(AccessError::Threads)?;
        let tries = |name: &String| name == "users" || databases::names(config, name);
        match config.access.authenticators.iter().any(tries) {
            true => self.hashers.run().map_err(AccessError::Threads),
            false => Ok(()),
        }
    }

    /// The users of the file, and by what all are known.
    pub fn change_users(&self, config: &Config, of_file: Users) {
        self.users.set_by(users_by(config));
        self.users.set_file(of_file);
    }
}

fn hashers_settings(config: &Config) -> HashersSettings {
    let users = &config.access.users;
    HashersSettings { threads: users.hash_threads.into(), waiting_max: users.hash_waiting_max as usize }
}

fn users_by(config: &Config) -> UserKey {
    match config.access.users.by {
        UsersBy::Username => UserKey::Username,
        UsersBy::ClientId => UserKey::ClientId,
    }
}

/// The authenticators that the configuration names, and the built-in users, of whom there are none yet.
///
/// # Errors
/// When one is not there or wrong, or the system gives no threads or no random bytes.
pub fn chain(config: &Config) -> Result<(Chain, BuiltIn), AccessError> {
    let built_in = BuiltIn::new(config)?;
    let chain = chain_with(config, &built_in, &mut Making::after(&Made::default()))?;
    built_in.change_hashers(config)?;
    Ok((chain, built_in))
}

/// The authenticators that the configuration names, as they were made before if their settings are the same.
///
/// # Errors
/// When one is not there or wrong.
pub fn chain_with(config: &Config, built_in: &BuiltIn, making: &mut Making<'_>) -> Result<Chain, AccessError> {
    let all = config.access.authenticators.iter().map(|name| making.authenticator(config, built_in, name));
    all.collect::<Result<_, _>>().map(Chain::new)
}

/// Somebody is asked who needs the built-in users.
pub fn asks_users(config: &Config) -> bool {
    config.access.authenticators.iter().any(|name| name == "users" || name == "scram")
}

/// What is wrong with one key of a service.
fn service_error(kind: &str, name: &str, key: &str, why: &dyn std::fmt::Display) -> AccessError {
    AccessError::Service { key: format!("access.{kind}.{name}.{key}"), why: why.to_string() }
}

/// Users of the database who prove their password, if the configuration wants that. `secret` is the gateway's own.
pub fn scram(config: &Config, built_in: &BuiltIn, secret: &[u8]) -> Option<Arc<Scram>> {
    let wanted = config.access.authenticators.iter().any(|name| name == "scram");
    wanted.then(|| Arc::new(Scram::new(built_in.users.clone(), secret)))
}

/// Who may come in.
///
/// # Errors
/// An attribute, or something that happens to topics, that is wrong.
pub fn settings(config: &Config, chain: Chain) -> Result<Settings, AccessError> {
    let access = &config.access;
    let (backoff, flapping) = (&access.backoff, &access.flapping);
    let trusting = config.listeners.iter().filter(|(_, _, listener)| !listener.authenticate);
    Ok(Settings {
        chain,
        scram: None,
        trusting_listeners: trusting.map(|(kind, name, _)| format!("{kind}.{name}").into()).collect(),
        allow_anonymous: access.allow_anonymous,
        refuse_without_chain: config.gateway.security == Security::Hardened,
        pending_max: access.pending_max as usize,
        timeout: access.timeout.duration(),
        backoff: backoff.enable.then(|| BackoffSettings {
            per_address: backoff.per_address,
            per_identity: backoff.per_identity,
            first: backoff.first.duration(),
            longest: backoff.longest.duration(),
            entries_max: backoff.entries_max as usize,
        }),
        flapping: flapping.enable.then(|| FlappingSettings {
            connections: flapping.connections,
            window: flapping.window.duration(),
            ban: flapping.ban.duration(),
            entries_max: flapping.entries_max as usize,
        }),
        bans_max: access.bans_max as usize,
        attributes: names::attributes(config)?,
        names: names::names(config)?.into(),
        quotas: names::quotas(config),
    })
}

fn read(key: &'static str, path: &Path) -> Result<String, AccessError> {
    fs::read_to_string(path).map_err(|error| AccessError::File { key, path: path.display().to_string(), error })
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;
    use crate::access::{
        Grant, Known, Look, Policy,
        rules::{Action, Permission, Who},
    };

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn may(policy: &Policy, who: &Who<'_>, action: Action, topic: &str) -> bool {
        let (grant, known) = (Grant::default(), Known::default());
        let Look::Decided(permission, _) = policy.look(who, &grant, action, topic, &known) else {
            panic!("there is nobody to ask");
        };
        permission == Permission::Allow
    }

    #[test]
    fn rules_of_the_configuration() {
        let policy = policy(&config(
            r#"
            [access]
            rules = [
                { permission = "deny", topics = ["secret/#"] },
                { permission = "allow", username = "bob", action = "publish", qos = [1], retain = "no", topics = ["b/${clientid}"] },
                { permission = "allow", client_id_pattern = "^s-", protocol = "coap", addresses = ["10.0.0.0/8"], action = "subscribe" },
                { permission = "allow", topics = ["eq #", "open/#"], listener = "tcp.default", attribute = "site=north" },
            ]
            "#,
        ), &Arc::default())
        .expect("good");
        let qos1 = Action::Publish { qos: Qos::AtLeastOnce, retain: false };
        let qos0 = Action::Publish { qos: Qos::AtMostOnce, retain: false };
        let read = Action::Subscribe { qos: Qos::AtMostOnce };
        let bob = Who { username: Some("bob"), client_id: "c", ..Who::nobody() };
        assert!(
            may(&policy, &bob, qos1, "b/c") && !may(&policy, &bob, qos0, "b/c") && !may(&policy, &bob, read, "b/c")
        );
        let sensor = Who { client_id: "s-1", protocol: "coap", address: "10.1.1.1".parse().ok(), ..Who::nobody() };
        assert!(may(&policy, &sensor, read, "any/#") && may(&policy, &sensor, read, "$SYS/#"));
        assert!(!may(&policy, &sensor, read, "#"), "it would bring what is secret");
        assert!(!may(&policy, &Who { protocol: "mqtt", ..sensor }, read, "any"));
        assert!(!may(&policy, &Who { address: None, ..sensor }, read, "any"));
        let attributes = [("site", "north")].into_iter().collect();
        let north = Who { attributes: Some(&attributes), listener: "tcp.default", ..Who::nobody() };
        assert!(may(&policy, &north, qos0, "open/x") && !may(&policy, &north, qos0, "other"));
        assert!(!may(&policy, &Who { listener: "ws.default", ..north }, qos0, "open/x"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("access.rules = [{}, { username_pattern = \"(\" }]", "access.rules:2: \"(\": unclosed group"),
            ("access.rules = [{ topics = [\"a/#/b\"] }]", "access.rules:1: \"a/#/b\""),
            ("access.rules = [{ attribute = \"site\" }]", "access.rules:1: found site, expected an attribute"),
        ] {
            let error = policy(&config(text), &Arc::default()).expect_err(text);
            assert!(error.to_string().starts_with(expected), "{error}");
            assert_eq!(error.key().as_deref(), Some("access.rules"));
        }
        for (text, expected) in [
            ("access.bans = [{ reason = \"x\" }]", "access.bans:1: a ban names what is banned"),
            ("access.bans = [{ client_id = \"a\", username = \"b\" }]", "access.bans:1: a ban names"),
            ("access.bans = [{ client_id = \"a\" }, { address = \"x\" }]", "access.bans:2: \"x\" is no address"),
            ("access.bans = [{ client_id = \"a\", until = \"soon\" }]", "access.bans:1: \"soon\" is no time"),
        ] {
            let error = bans(&config(text)).expect_err(text);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let bans = bans(&config("access.bans = [{ network = \"10.0.0.0/8\", until = \"1970-01-02T00:00:00Z\" }]"));
        assert_eq!(bans.expect("good")[0].until_unix_secs, Some(86_400));
    }

    #[test]
    fn files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("acl.conf"), "{allow, {username, \"bob\"}, all, [\"b\"]}.\n").expect("written");
        fs::write(path("aclfile"), "user eve\ntopic e\n").expect("written");
        fs::write(path("users.csv"), "user_id,password,is_superuser\nbob,secret,true\n").expect("written");
        let text = format!(
            "access.rule_files = [{{ path = {:?} }}, {{ format = \"mosquitto\", path = {:?} }}]\naccess.users.file = {:?}\n",
            path("acl.conf"),
            path("aclfile"),
            path("users.csv")
        );
        let config = config(&text);
        let policy = policy(&config, &Arc::default()).expect("good");
        let publish = Action::Publish { qos: Qos::AtMostOnce, retain: false };
        let who = |username| Who { username: Some(username), ..Who::nobody() };
        assert!(may(&policy, &who("bob"), publish, "b") && may(&policy, &who("eve"), publish, "e"));
        assert!(!may(&policy, &who("bob"), publish, "e") && !may(&policy, &who("eve"), publish, "b"));
        let users = file_users(&config).expect("good");
        assert!(users["bob"].superuser);
        fs::write(path("acl.conf"), "{allow, all}\n").expect("written");
        let error = super::policy(&config, &Arc::default()).expect_err("no dot").to_string();
        assert!(error.contains("acl.conf:2: found the end of the file, expected a dot"), "{error}");
        fs::write(path("users.csv"), "user_id,password\nbob\n").expect("written");
        let error = file_users(&config).expect_err("a column is missing").to_string();
        assert!(error.contains("users.csv: line 2"), "{error}");
    }

    #[test]
    fn rows_of_the_store() {
        let mut kept = Kept::default();
        kept.add("user/bob", "{\"superuser\":true}").expect("good");
        kept.add("ban/client_id/x", "{}").expect("good");
        kept.add("psk/device", "00112233445566778899aabbccddeeff").expect("good");
        assert_eq!(kept.keys["device"][1], 0x11);
        let rule = r#"[{"permission":"allow","action":"publish","topic":"db"}]"#;
        kept.add("rule/username/bob", rule).expect("good");
        kept.add("other/thing", "whatever").expect("not ours");
        assert!(kept.users["bob"].superuser && kept.bans.len() == 1);
        let publish = Action::Publish { qos: Qos::AtMostOnce, retain: false };
        let rules = "access.rules = [{ permission = \"deny\", topics = [\"db\"], client_id = \"c\" }]";
        let policy = super::policy(&config(rules), &Arc::new(kept.rules)).expect("good");
        let bob = Who { username: Some("bob"), ..Who::nobody() };
        assert!(may(&policy, &bob, publish, "db") && !may(&policy, &Who::nobody(), publish, "db"));
        assert!(!may(&policy, &Who { client_id: "c", ..bob }, publish, "db"), "the configuration is asked first");
        let mut kept = Kept::default();
        assert!(kept.add("rule/x", "[]").is_err() && kept.add("rule/all", "[{}]").is_err());
        assert!(kept.add("psk/x", "hello").is_err());
        assert!(kept.add("user/eve", "{").is_err() && kept.add("ban/x/y", "{}").is_err());
    }
}
