//! EMQX's fields of those who are asked about clients, and the settings that they are here: one table for each kind.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{error::ApiError, order::List};

/// Settings that change, by their keys; without a value they are taken away.
pub type Changes = BTreeMap<String, Option<Value>>;

/// What is told in place of a secret, and leaves it alone when it is sent back.
const HIDDEN: &str = "******";

/// A field, the setting that it is, and how its values are written there.
struct Field(&'static str, &'static str, Means);

enum Means {
    /// The same values.
    Same,
    /// The same, but it is never told.
    Secret,
    /// A whole number of seconds, or a time.
    Seconds,
    /// An object that is kept as JSON.
    Json,
    /// Names and texts, as an object or as a list of `{name, value}`. They may be secret, and are never told.
    Texts,
    /// Headers of questions, of which some say something else.
    Headers,
    /// A file; EMQX takes its text, too.
    File,
    /// EMQX's object.
    Hashing,
    /// Encryption of a database's connections.
    Tls,
    /// Encryption, which the address says.
    Https,
    /// It can be nothing but this JSON, EMQX's default.
    Only(&'static str),
}

use Means::{File, Hashing, Headers, Https, Json, Only, Same, Seconds, Secret, Texts, Tls};

const HTTP: &[Field] = &[
    Field("method", "method", Same),
    Field("url", "url", Same),
    Field("headers", "headers", Headers),
    Field("body", "fields", Texts),
    Field("request_timeout", "timeout", Same),
    Field("pool_size", "connections", Same),
    Field("connect_timeout", "", Only("\"15s\"")),
    Field("enable_pipelining", "", Only("100")),
    Field("max_inactive", "", Only("\"10s\"")),
    Field("ssl", "ca_file", Https),
];
const JWT: &[Field] = &[
    Field("from", "from", Same),
    Field("secret", "secret", Secret),
    Field("secret_base64_encoded", "secret_base64", Same),
    Field("public_key", "public_key_file", File),
    Field("endpoint", "jwks_url", Same),
    Field("headers", "jwks_headers", Texts),
    Field("refresh_interval", "jwks_refresh", Seconds),
    Field("verify_claims", "claims", Texts),
    Field("acl_claim_name", "acl_claim", Same),
    Field("disconnect_after_expire", "disconnect_after_expire", Same),
    Field("pool_size", "", Only("8")),
    Field("ssl", "ca_file", Https),
];
/// What all databases have.
const DATABASE: &[Field] = &[
    Field("server", "server", Same),
    Field("database", "database", Same),
    Field("username", "username", Same),
    Field("password", "password", Secret),
    Field("pool_size", "limits.connections", Same),
    Field("auto_reconnect", "", Only("true")),
    Field("ssl", "tls", Tls),
];
const HASHED: &[Field] = &[Field("password_hash_algorithm", "password_hash", Hashing)];
const POSTGRESQL: &[Field] = &[Field("disable_prepared_statements", "", Only("false"))];
const PATIENT: &[Field] = &[Field("query_timeout", "limits.timeout", Same)];
const SINGLE_REDIS: &[Field] = &[Field("redis_type", "", Only("\"single\""))];
const MONGODB: &[Field] = &[Field("mongo_type", "", Only("\"single\"")), Field("auth_source", "auth_source", Same)];
const MONGODB_OF_CLIENTS: &[Field] = &[
    Field("collection", "collection", Same),
    Field("filter", "filter", Json),
    Field("password_hash_field", "password_hash_field", Same),
    Field("salt_field", "salt_field", Same),
    Field("is_superuser_field", "is_superuser_field", Same),
];
const MONGODB_OF_TOPICS: &[Field] =
    &[Field("collection", "rules_collection", Same), Field("filter", "rules_filter", Json)];
const LDAP: &[Field] = &[
    Field("server", "server", Same),
    Field("username", "username", Same),
    Field("password", "password", Secret),
    Field("base_dn", "base_dn", Same),
    Field("filter", "filter", Same),
    Field("query_timeout", "limits.timeout", Same),
    Field("pool_size", "limits.connections", Same),
    Field("ssl", "tls", Tls),
];
const LDAP_OF_CLIENTS: &[Field] = &[
    Field("method.type", "method", Same),
    Field("method.password_attribute", "password_attribute", Same),
    Field("method.is_superuser_attribute", "is_superuser_attribute", Same),
];
const LDAP_OF_TOPICS: &[Field] = &[
    Field("publish_attribute", "publish_attribute", Same),
    Field("subscribe_attribute", "subscribe_attribute", Same),
    Field("all_attribute", "all_attribute", Same),
];

/// A kind of services, whose members have a name.
pub struct Kind {
    /// As settings and EMQX name it.
    pub name: &'static str,
    /// The setting without which one asks nothing about who connects.
    pub asks_about_clients: &'static str,
    /// The same about what clients do; "" for a kind that cannot be asked.
    pub asks_about_topics: &'static str,
    of_clients: &'static [&'static [Field]],
    of_topics: &'static [&'static [Field]],
}

const SQL_OF_CLIENTS: &[Field] = &[Field("query", "query", Same)];
const SQL_OF_TOPICS: &[Field] = &[Field("query", "rules_query", Same)];

/// All of them.
pub const KINDS: [Kind; 7] = [
    Kind { name: "http", asks_about_clients: "url", asks_about_topics: "url", of_clients: &[HTTP], of_topics: &[HTTP] },
    Kind { name: "jwt", asks_about_clients: "from", asks_about_topics: "", of_clients: &[JWT], of_topics: &[] },
    Kind {
        name: "postgresql",
        asks_about_clients: "query",
        asks_about_topics: "rules_query",
        of_clients: &[DATABASE, POSTGRESQL, HASHED, SQL_OF_CLIENTS],
        of_topics: &[DATABASE, POSTGRESQL, SQL_OF_TOPICS],
    },
    Kind {
        name: "mysql",
        asks_about_clients: "query",
        asks_about_topics: "rules_query",
        of_clients: &[DATABASE, PATIENT, HASHED, SQL_OF_CLIENTS],
        of_topics: &[DATABASE, PATIENT, SQL_OF_TOPICS],
    },
    Kind {
        name: "redis",
        asks_about_clients: "command",
        asks_about_topics: "rules_command",
        of_clients: &[DATABASE, SINGLE_REDIS, HASHED, &[Field("cmd", "command", Same)]],
        of_topics: &[DATABASE, SINGLE_REDIS, &[Field("cmd", "rules_command", Same)]],
    },
    Kind {
        name: "mongodb",
        asks_about_clients: "filter",
        asks_about_topics: "rules_filter",
        of_clients: &[DATABASE, MONGODB, HASHED, MONGODB_OF_CLIENTS],
        of_topics: &[DATABASE, MONGODB, MONGODB_OF_TOPICS],
    },
    Kind {
        name: "ldap",
        asks_about_clients: "base_dn",
        asks_about_topics: "base_dn",
        of_clients: &[LDAP, LDAP_OF_CLIENTS],
        of_topics: &[LDAP, LDAP_OF_TOPICS],
    },
];

impl Kind {
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    fn fields(&self, list: List) -> impl Iterator<Item = &'static Field> {
        let tables = match list {
            List::Authenticators => self.of_clients,
            List::Sources => self.of_topics,
        };
        tables.iter().copied().flatten()
    }

    fn field(&self, list: List, place: &str) -> Option<&'static Field> {
        self.fields(list).find(|field| field.0 == place)
    }
}

/// Headers that EMQX's dashboard sends along, which say nothing here.
const USUAL_HEADERS: [(&str, &str); 4] = [
    ("accept", "application/json"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=30, max=1000"),
];
/// Names of the files of EMQX's `ssl`, and of those here.
const TLS_FILES: [(&str, &str); 3] = [("cacertfile", "ca_file"), ("certfile", "certificate"), ("keyfile", "key")];
/// What else `ssl` may have: EMQX's defaults.
const TLS_ONLY: [(&str, &str); 9] = [
    ("verify", "\"verify_peer\""),
    ("ciphers", "[]"),
    ("depth", "10"),
    ("hibernate_after", "\"5s\""),
    ("log_level", "\"notice\""),
    ("reuse_sessions", "true"),
    ("secure_renegotiate", "true"),
    ("server_name_indication", "\"\""),
    ("versions", "[\"tlsv1.3\",\"tlsv1.2\"]"),
];

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

fn refuse(place: &str, why: &str) -> ApiError {
    ApiError::bad(format!("{place}: {why}"))
}

/// The settings of what is at `access.KIND.NAME` when EMQX's fields are these. What is not among them is left out, but for secrets that are sent as they were told.
pub fn read(kind: &Kind, list: List, at: &str, body: &Map<String, Value>) -> Result<Changes, ApiError> {
    let mut changes = Changes::new();
    for Field(_, key, means) in kind.fields(list) {
        if !key.is_empty() && !matches!(means, Tls | Https) {
            changes.insert(format!("{at}.{key}"), None);
        }
        if let Headers = means {
            changes.insert(format!("{at}.authorization"), None);
            changes.insert(format!("{at}.body"), None);
        }
        if let Tls = means {
            changes.insert(format!("{at}.tls.enable"), None);
            changes.extend(TLS_FILES.iter().map(|(_, key)| (format!("{at}.tls.{key}"), None)));
        }
        if let Https = means {
            changes.insert(format!("{at}.ca_file"), None);
        }
    }
    Reading { kind, list, at, changes: &mut changes }.fields("", body)?;
    Ok(changes)
}

struct Reading<'a> {
    kind: &'a Kind,
    list: List,
    at: &'a str,
    changes: &'a mut Changes,
}

impl Reading<'_> {
    fn fields(&mut self, parent: &str, body: &Map<String, Value>) -> Result<(), ApiError> {
        for (name, value) in body {
            let place = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            if let Some(field) = self.kind.field(self.list, &place) {
                self.field(field, &place, value)?;
                continue;
            }
            let begins = format!("{place}.");
            match value {
                Value::Object(inner) if self.kind.fields(self.list).any(|field| field.0.starts_with(&begins)) => {
                    self.fields(&place, inner)?;
                }
                _ => return Err(refuse(&place, "there is no such field here")),
            }
        }
        Ok(())
    }

    fn field(&mut self, Field(_, key, means): &Field, place: &str, value: &Value) -> Result<(), ApiError> {
        let (at, changes) = (self.at, &mut *self.changes);
        let key = format!("{at}.{key}");
        let value = match means {
            Same => value.clone(),
            Secret | Texts if value == HIDDEN => {
                changes.remove(&key);
                return Ok(());
            }
            Headers if value == HIDDEN => {
                let keys = [key, format!("{at}.authorization"), format!("{at}.body")];
                keys.iter().for_each(|key| drop(changes.remove(key)));
                return Ok(());
            }
            Secret => value.clone(),
            Seconds => value.as_u64().map_or_else(|| value.clone(), |secs| format!("{secs}s").into()),
            Json => value.to_string().into(),
            Texts => texts(place, value)?.into(),
            Headers => return headers(at, place, value, changes),
            File => file(place, value)?,
            Hashing => hashing(place, value)?.into(),
            Tls | Https => return tls(&key, place, value, matches!(means, Https), changes),
            Only(default) if *value == parsed(default) => return Ok(()),
            Only(default) => return Err(refuse(place, &format!("it can be nothing but {default} here"))),
        };
        changes.insert(key, Some(value));
        Ok(())
    }
}

fn texts(place: &str, value: &Value) -> Result<Map<String, Value>, ApiError> {
    let bad = || refuse(place, "names and texts");
    match value {
        Value::Object(of) if of.values().all(Value::is_string) => Ok(of.clone()),
        Value::Array(list) => list
            .iter()
            .map(|one| match (&one["name"], &one["value"]) {
                (Value::String(name), Value::String(text)) => Ok((name.clone(), text.clone().into())),
                _ => Err(bad()),
            })
            .collect(),
        _ => Err(bad()),
    }
}

fn headers(at: &str, place: &str, value: &Value, changes: &mut Changes) -> Result<(), ApiError> {
    let mut kept = Map::new();
    for (name, value) in texts(place, value)? {
        let (name, text) = (name.to_ascii_lowercase(), value.as_str().unwrap_or_default());
        match &*name {
            "content-type" => {
                let body = match text {
                    "application/json" => "json",
                    "application/x-www-form-urlencoded" => "form",
                    _ => return Err(refuse("headers.content-type", "JSON or a form")),
                };
                changes.insert(format!("{at}.body"), Some(body.into()));
            }
            "authorization" if text == HIDDEN => drop(changes.remove(&format!("{at}.authorization"))),
            "authorization" => drop(changes.insert(format!("{at}.authorization"), Some(text.into()))),
            _ if USUAL_HEADERS.contains(&(&*name, text)) => {}
            _ => drop(kept.insert(name, value)),
        }
    }
    changes.insert(format!("{at}.headers"), Some(kept.into()));
    Ok(())
}

fn file(place: &str, value: &Value) -> Result<Value, ApiError> {
    match value.as_str() {
        Some(text) if !text.contains("-----BEGIN") => Ok(text.into()),
        _ => Err(refuse(place, "the path of a file; its text is not kept here")),
    }
}

fn tls(key: &str, place: &str, value: &Value, https: bool, changes: &mut Changes) -> Result<(), ApiError> {
    let Value::Object(fields) = value else { return Err(refuse(place, "an object")) };
    let enable = match fields.get("enable") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(refuse("ssl.enable", "true or false")),
    };
    if !enable {
        return Ok(());
    }
    if fields.get("verify").is_none_or(|verify| verify != "verify_peer") {
        return Err(refuse("ssl.verify", "certificates are always looked at here: \"verify_peer\""));
    }
    if !https {
        changes.insert(format!("{key}.enable"), Some(true.into()));
    }
    for (name, value) in fields.iter().filter(|(name, _)| *name != "enable") {
        let place = format!("{place}.{name}");
        match TLS_FILES.iter().find(|(known, _)| known == name) {
            Some((_, "ca_file")) if https => drop(changes.insert(key.to_owned(), Some(file(&place, value)?))),
            Some((_, of)) if !https => drop(changes.insert(format!("{key}.{of}"), Some(file(&place, value)?))),
            _ => match TLS_ONLY.iter().find(|(known, _)| known == name) {
                Some((_, default)) if *value == parsed(default) => {}
                _ => return Err(refuse(&place, "there is no such field here, or only with its default")),
            },
        }
    }
    Ok(())
}

/// EMQX's `password_hash_algorithm`, as `access.users.file_hashing` is written.
pub fn hashing(place: &str, value: &Value) -> Result<String, ApiError> {
    let Value::Object(fields) = value else { return Err(refuse(place, "an object")) };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let name = text("name").ok_or_else(|| refuse(place, "it has a name"))?;
    let known: &[&str] = match name {
        "pbkdf2" => &["name", "mac_fun", "iterations"],
        "bcrypt" => &["name", "salt_rounds"],
        _ => &["name", "salt_position"],
    };
    if let Some(other) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(refuse(&format!("{place}.{other}"), "there is no such field here"));
    }
    let written = match (name, text("salt_position")) {
        ("pbkdf2", _) => match (text("mac_fun"), fields.get("iterations").and_then(Value::as_u64)) {
            (Some(mac), Some(iterations)) => format!("pbkdf2-{mac}-{iterations}"),
            _ => return Err(refuse(place, "pbkdf2 has mac_fun and iterations")),
        },
        ("plain" | "bcrypt", _) | (_, None | Some("prefix")) => name.to_owned(),
        (_, Some(position)) => format!("{name}-{position}"),
    };
    let read = written.parse::<crate::access::users::Hashing>();
    read.map(|_| written).map_err(|error| refuse(place, &error.to_string()))
}

/// The same in EMQX's form.
pub fn tell_hashing(written: &str) -> Value {
    if let Some((mac, iterations)) = written.strip_prefix("pbkdf2-").and_then(|rest| rest.split_once('-')) {
        return json!({ "name": "pbkdf2", "mac_fun": mac, "iterations": iterations.parse::<u64>().unwrap_or(0) });
    }
    match written.split_once('-') {
        Some((name, position)) => json!({ "name": name, "salt_position": position }),
        None if written == "bcrypt" => json!({ "name": "bcrypt" }),
        None if written == "plain" => json!({ "name": "plain", "salt_position": "disable" }),
        None => json!({ "name": written, "salt_position": "prefix" }),
    }
}

/// EMQX's fields of what is at `access.KIND.NAME`, by what all settings are.
pub fn tell(kind: &Kind, list: List, at: &str, values: &BTreeMap<String, Value>, into: &mut Value) {
    let of = |key: &str| values.get(&format!("{at}.{key}")).cloned().unwrap_or_default();
    let is_set = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    for Field(place, key, means) in kind.fields(list) {
        let value = of(key);
        let told = match means {
            Secret | Texts | Headers if is_set(&value) => HIDDEN.into(),
            Headers if is_set(&of("authorization")) => HIDDEN.into(),
            File | Secret if !is_set(&value) => continue,
            Same | File | Secret | Texts => value,
            Seconds => match value.as_str().and_then(|text| text.strip_suffix('s')?.parse::<u64>().ok()) {
                Some(secs) => secs.into(),
                None => value,
            },
            Json => value.as_str().map(parsed).unwrap_or_default(),
            Headers => {
                let mut headers = value.as_object().cloned().unwrap_or_default();
                if of("method") == "post" {
                    let form = of("body") == "form";
                    let told = if form { "application/x-www-form-urlencoded" } else { "application/json" };
                    headers.insert("content-type".into(), told.into());
                }
                headers.into()
            }
            Hashing => tell_hashing(value.as_str().unwrap_or_default()),
            Tls => {
                let mut told = json!({ "enable": of("tls.enable") });
                if told["enable"] == true {
                    told["verify"] = "verify_peer".into();
                }
                for (name, key) in TLS_FILES {
                    let value = of(&format!("tls.{key}"));
                    if is_set(&value) {
                        told[name] = value;
                    }
                }
                told
            }
            Https => {
                let address = of(if kind.name == "jwt" { "jwks_url" } else { "url" });
                let mut told = json!({ "enable": address.as_str().is_some_and(|url| url.starts_with("https:")) });
                if told["enable"] == true {
                    told["verify"] = "verify_peer".into();
                }
                if is_set(&value) {
                    told["cacertfile"] = value;
                }
                told
            }
            Only(default) => parsed(default),
        };
        *place.split('.').fold(&mut *into, |inner, name| &mut inner[name]) = told;
    }
}
