//! Databases and directories that the configuration names, as authenticators and authorities.

use std::{fs, path::Path, sync::Arc};

use thingway_connectors::{
    BreakerSettings, Directory, Filter, LDAP_BOUND, LdapPart, LdapSearch, LineSettings, Mongodb, MongodbFind, Mysql,
    Postgresql, Query, QueryTo, Redis, RedisCommand, Server, Service, SqlAccess, Tls, TlsFiles,
};
use zeroize::Zeroizing;

use super::AccessError;
use crate::{
    access::{
        Authenticator, Authority,
        backends::{Columns, PasswordForm, RowRules, RowUsers, RowUsersSettings, RuleForm},
        is_of_attempts, is_of_inquiries,
        passwords::Hashers,
    },
    config::{
        AccessLdap, AccessMongodb, AccessRedis, AccessSql, Config, DatabaseDown, DatabaseLimits, DatabaseTls,
        LdapMethod, Period, SecretText, address,
    },
};

/// What is wrong with what is said of a database.
fn wrong(key: String, why: impl ToString) -> AccessError {
    AccessError::Service { key, why: why.to_string() }
}

/// What a database is asked, and what its answers mean.
struct Asked {
    query: Arc<dyn Query>,
    when_down: DatabaseDown,
}

/// What only authenticators need.
struct Accounts {
    asked: Asked,
    form: PasswordForm,
    columns: Columns,
    cache_time: Period,
    cache_max: u32,
}

/// What only authorities need.
struct RowsOfRules {
    asked: Asked,
    form: RuleForm,
    time: Period,
}

/// The authenticator of this name, if it is a database.
///
/// # Errors
/// When what is said of it is wrong.
pub(super) fn authenticator(
    config: &Config,
    name: &str,
    hashers: &Arc<Hashers>,
) -> Option<Result<Arc<dyn Authenticator>, AccessError>> {
    let accounts = match accounts(config, name)? {
        Ok(accounts) => accounts,
        Err(error) => return Some(Err(error)),
    };
    let settings = RowUsersSettings {
        name: name.into(),
        query: accounts.asked.query,
        form: accounts.form,
        columns: accounts.columns,
        ignore_when_down: accounts.asked.when_down == DatabaseDown::Ignore,
        cache_time: accounts.cache_time.duration(),
        cache_max: accounts.cache_max as usize,
    };
    let made = RowUsers::new(settings, hashers.clone()).map_err(AccessError::from);
    Some(made.map(|made| Arc::new(made) as Arc<dyn Authenticator>))
}

/// The source of rules of this name, if it is a database.
///
/// # Errors
/// When what is said of it is wrong.
pub(super) fn authority(config: &Config, name: &str) -> Option<Result<Arc<dyn Authority>, AccessError>> {
    Some(rules(config, name)?.map(|RowsOfRules { asked, form, time }| {
        let ignore = asked.when_down == DatabaseDown::Ignore;
        Arc::new(RowRules::new(name, asked.query, form, time.duration(), ignore)) as Arc<dyn Authority>
    }))
}

/// The configuration has a database or a directory that is called so.
pub(super) fn names(config: &Config, name: &str) -> bool {
    let Some((kind, own)) = name.split_once('.') else { return false };
    let access = &config.access;
    match kind {
        "postgresql" => access.postgresql.contains_key(own),
        "mysql" => access.mysql.contains_key(own),
        "redis" => access.redis.contains_key(own),
        "ldap" => access.ldap.contains_key(own),
        "mongodb" => access.mongodb.contains_key(own),
        _ => false,
    }
}

fn accounts(config: &Config, name: &str) -> Option<Result<Accounts, AccessError>> {
    let (kind, own) = name.split_once('.')?;
    let access = &config.access;
    Some(match kind {
        "postgresql" => sql_accounts(name, access.postgresql.get(own)?, kind),
        "mysql" => sql_accounts(name, access.mysql.get(own)?, kind),
        "redis" => redis_accounts(name, access.redis.get(own)?),
        "ldap" => ldap_accounts(name, access.ldap.get(own)?),
        "mongodb" => mongodb_accounts(name, access.mongodb.get(own)?),
        _ => return None,
    })
}

fn rules(config: &Config, name: &str) -> Option<Result<RowsOfRules, AccessError>> {
    let (kind, own) = name.split_once('.')?;
    let access = &config.access;
    Some(match kind {
        "postgresql" => sql_rules(name, access.postgresql.get(own)?, kind),
        "mysql" => sql_rules(name, access.mysql.get(own)?, kind),
        "redis" => redis_rules(name, access.redis.get(own)?),
        "ldap" => ldap_rules(name, access.ldap.get(own)?),
        "mongodb" => mongodb_rules(name, access.mongodb.get(own)?),
        _ => return None,
    })
}

fn sql_accounts(name: &str, settings: &AccessSql, kind: &str) -> Result<Accounts, AccessError> {
    let query = sql(name, settings, kind, ("query", &settings.query), is_of_attempts)?;
    Ok(Accounts {
        asked: Asked { query, when_down: settings.when_down },
        form: PasswordForm::Hashed(hashing(name, &settings.password_hash)?),
        columns: Columns::default(),
        cache_time: settings.cache_time,
        cache_max: settings.cache_max,
    })
}

fn sql_rules(name: &str, settings: &AccessSql, kind: &str) -> Result<RowsOfRules, AccessError> {
    let query = sql(name, settings, kind, ("rules_query", &settings.rules_query), is_of_inquiries)?;
    let asked = Asked { query, when_down: settings.when_down };
    Ok(RowsOfRules { asked, form: RuleForm::Columns, time: settings.rules_time })
}

fn sql(
    name: &str,
    settings: &AccessSql,
    kind: &str,
    (key, text): (&str, &str),
    is_known: fn(&str) -> bool,
) -> Result<Arc<dyn Query>, AccessError> {
    let bad = |error| wrong(format!("access.{name}.{key}"), error);
    let usual_port = if kind == "postgresql" { 5432 } else { 3306 };
    let (host, port) = server(name, &settings.server, usual_port)?;
    let access = SqlAccess {
        host,
        port,
        database: settings.database.clone(),
        username: settings.username.clone(),
        password: password(name, &settings.password, &settings.password_file)?,
        tls: tls(&settings.tls),
    };
    Ok(if kind == "postgresql" {
        let statement = Postgresql::statement(text, is_known).map_err(bad)?;
        query_to(name, &settings.limits, Postgresql::new(&access), statement)
    } else {
        let statement = Mysql::statement(text, is_known).map_err(bad)?;
        query_to(name, &settings.limits, Mysql::new(&access), statement)
    })
}

fn redis_accounts(name: &str, settings: &AccessRedis) -> Result<Accounts, AccessError> {
    let command = redis_command(name, "command", &settings.command, is_of_attempts)?;
    Ok(Accounts {
        asked: Asked {
            query: query_to(name, &settings.limits, redis(name, settings)?, command),
            when_down: settings.when_down,
        },
        form: PasswordForm::Hashed(hashing(name, &settings.password_hash)?),
        columns: Columns::default(),
        cache_time: settings.cache_time,
        cache_max: settings.cache_max,
    })
}

fn redis_rules(name: &str, settings: &AccessRedis) -> Result<RowsOfRules, AccessError> {
    let key = "rules_command";
    let command = redis_command(name, key, &settings.rules_command, is_of_inquiries)?;
    if !command.asks_for_all() {
        return Err(wrong(format!("access.{name}.{key}"), "expected HGETALL, whose fields are topics"));
    }
    let query = query_to(name, &settings.limits, redis(name, settings)?, command);
    let asked = Asked { query, when_down: settings.when_down };
    Ok(RowsOfRules { asked, form: RuleForm::TopicToAction, time: settings.rules_time })
}

fn redis_command(name: &str, key: &str, text: &str, is_known: fn(&str) -> bool) -> Result<RedisCommand, AccessError> {
    RedisCommand::parse(text, is_known).map_err(|error| wrong(format!("access.{name}.{key}"), error))
}

fn redis(name: &str, settings: &AccessRedis) -> Result<Redis, AccessError> {
    let (host, port) = server(name, &settings.server, 6379)?;
    Ok(Redis {
        host,
        port,
        database: settings.database,
        username: settings.username.clone(),
        password: password(name, &settings.password, &settings.password_file)?,
        tls: client_config(name, &settings.tls)?,
    })
}

fn ldap_accounts(name: &str, settings: &AccessLdap) -> Result<Accounts, AccessError> {
    let binds = settings.method == LdapMethod::Bind;
    let superuser: Box<str> = settings.is_superuser_attribute.as_str().into();
    let kept: Box<str> = settings.password_attribute.as_str().into();
    let attributes = if binds { vec![superuser.clone()] } else { vec![kept.clone(), superuser.clone()] };
    let (form, password) = match binds {
        true => (PasswordForm::Tried, LDAP_BOUND.into()),
        false => (PasswordForm::Directory(hashing(name, &settings.password_hash)?), kept),
    };
    let query = ldap(name, settings, attributes, binds, is_of_attempts)?;
    Ok(Accounts {
        asked: Asked { query, when_down: settings.when_down },
        form,
        columns: Columns { password: [password].into(), salt: "".into(), is_superuser: superuser },
        // What was tried with a password would be remembered with it.
        cache_time: if binds { Period::from_secs(0) } else { settings.cache_time },
        cache_max: settings.cache_max,
    })
}

fn ldap_rules(name: &str, settings: &AccessLdap) -> Result<RowsOfRules, AccessError> {
    let names = [&settings.publish_attribute, &settings.subscribe_attribute, &settings.all_attribute];
    let names: [Box<str>; 3] = names.map(|name| name.as_str().into());
    let query = ldap(name, settings, names.to_vec(), false, is_of_inquiries)?;
    let asked = Asked { query, when_down: settings.when_down };
    Ok(RowsOfRules { asked, form: RuleForm::Attributes(names), time: settings.rules_time })
}

fn ldap(
    name: &str,
    settings: &AccessLdap,
    attributes: Vec<Box<str>>,
    binds: bool,
    is_known: fn(&str) -> bool,
) -> Result<Arc<dyn Query>, AccessError> {
    let usual_port = if settings.tls.enable && !settings.start_tls { 636 } else { 389 };
    let (host, port) = server(name, &settings.server, usual_port)?;
    let search = LdapSearch::parse(&settings.base_dn, &settings.filter, attributes, binds, is_known);
    let search = search.map_err(|(part, error)| {
        let key = if part == LdapPart::Base { "base_dn" } else { "filter" };
        wrong(format!("access.{name}.{key}"), error)
    })?;
    let directory = Directory {
        host,
        port,
        username: settings.username.clone(),
        password: password(name, &settings.password, &settings.password_file)?,
        tls: client_config(name, &settings.tls)?,
        start_tls: settings.start_tls,
    };
    Ok(query_to(name, &settings.limits, directory, search))
}

fn mongodb_accounts(name: &str, settings: &AccessMongodb) -> Result<Accounts, AccessError> {
    let asked = ("filter", &*settings.filter, &*settings.collection);
    Ok(Accounts {
        asked: Asked { query: mongodb(name, settings, asked, is_of_attempts)?, when_down: settings.when_down },
        form: PasswordForm::Hashed(hashing(name, &settings.password_hash)?),
        columns: Columns {
            password: [settings.password_hash_field.as_str().into()].into(),
            salt: settings.salt_field.as_str().into(),
            is_superuser: settings.is_superuser_field.as_str().into(),
        },
        cache_time: settings.cache_time,
        cache_max: settings.cache_max,
    })
}

fn mongodb_rules(name: &str, settings: &AccessMongodb) -> Result<RowsOfRules, AccessError> {
    let asked = ("rules_filter", &*settings.rules_filter, &*settings.rules_collection);
    let query = mongodb(name, settings, asked, is_of_inquiries)?;
    let asked = Asked { query, when_down: settings.when_down };
    Ok(RowsOfRules { asked, form: RuleForm::Columns, time: settings.rules_time })
}

fn mongodb(
    name: &str,
    settings: &AccessMongodb,
    (key, filter, collection): (&str, &str, &str),
    is_known: fn(&str) -> bool,
) -> Result<Arc<dyn Query>, AccessError> {
    let (host, port) = server(name, &settings.server, 27017)?;
    let filter = Filter::parse(filter, is_known).map_err(|error| wrong(format!("access.{name}.{key}"), error))?;
    let service = Mongodb {
        host,
        port,
        database: settings.database.clone(),
        username: settings.username.clone(),
        password: password(name, &settings.password, &settings.password_file)?,
        auth_source: settings.auth_source.clone(),
        tls: client_config(name, &settings.tls)?,
    };
    let find = MongodbFind { collection: collection.into(), filter };
    Ok(query_to(name, &settings.limits, service, find))
}

fn client_config(name: &str, settings: &DatabaseTls) -> Result<Option<Arc<rustls::ClientConfig>>, AccessError> {
    tls(settings).client_config().map_err(|error| wrong(format!("access.{name}.tls"), error))
}

fn query_to<S: Service>(name: &str, limits: &DatabaseLimits, service: S, template: S::Template) -> Arc<dyn Query> {
    let line = LineSettings {
        timeout: limits.timeout.duration(),
        at_once: limits.connections.into(),
        waiting_max: limits.waiting_max as usize,
        breaker: BreakerSettings { failures: limits.failures.into(), rest: limits.rest.duration() },
    };
    Arc::new(QueryTo::new(Arc::new(Server::new(name, line, service)), template))
}

fn server(name: &str, text: &str, usual_port: u16) -> Result<(String, u16), AccessError> {
    let expected = "expected a host, or a host and a port";
    let (host, port) = address(text, usual_port).ok_or_else(|| wrong(format!("access.{name}.server"), expected))?;
    Ok((host.to_owned(), port))
}

fn hashing(name: &str, text: &str) -> Result<crate::access::users::Hashing, AccessError> {
    text.parse().map_err(|error| wrong(format!("access.{name}.password_hash"), error))
}

/// A password, or what the file has that is named instead, without the end of its last line.
fn password(name: &str, password: &SecretText, file: &Path) -> Result<Zeroizing<String>, AccessError> {
    if file.as_os_str().is_empty() {
        return Ok(Zeroizing::new(password.reveal().to_owned()));
    }
    let key = || format!("access.{name}.password_file");
    let text =
        fs::read_to_string(file).map_err(|error| wrong(key(), format!("cannot read {}: {error}", file.display())))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn tls(settings: &DatabaseTls) -> Tls {
    let set = |path: &Path| Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty());
    match settings.enable {
        false => Tls::Off,
        true => {
            Tls::On(TlsFiles { ca: set(&settings.ca_file), client: set(&settings.certificate).zip(set(&settings.key)) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (String, String) {
        let config = Config::from_toml(text).unwrap_or_else(|error| panic!("{error}"));
        let error = super::super::chain(&config)
            .map(|_| ())
            .and_then(|()| super::super::policy(&config, &Arc::default()).map(|_| ()));
        let error = error.expect_err("wrong");
        (error.key().expect("a key"), error.to_string())
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let text = |more: &str| {
            let others = if more.contains("redis") { ", \"redis.r\", \"ldap.l\"" } else { "" };
            format!(
                "[access]\nauthenticators = [\"mysql.a\"]\nsources = [\"postgresql.b\"{others}]\n\
                 [access.mysql.a]\nquery = \"SELECT 1\"\n{more}\n"
            )
        };
        let rules = "[access.postgresql.b]\nrules_query = ";
        let good = format!("{rules}\"SELECT 1 WHERE ${{clientid}} = '${{client_attrs.x}}' AND ${{topic}} = ''\"");
        let fine = Config::from_toml(&text(&good)).expect("good");
        let (chain, _) = super::super::chain(&fine).expect("good");
        assert_eq!(chain.names().collect::<Vec<_>>(), ["mysql.a"]);
        let policy = super::super::policy(&fine, &Arc::default()).expect("good");
        assert_eq!(policy.authorities().collect::<Vec<_>>(), ["postgresql.b"]);
        for (more, key, expected) in [
            (
                format!("{rules}\"SELECT ${{password}}\""),
                "access.postgresql.b.rules_query",
                "\"${password}\" is no placeholder",
            ),
            (format!("{rules}\"SELECT ${{\""), "access.postgresql.b.rules_query", "without \"}\""),
            (
                format!("{good}\n[access.redis.r]\nrules_command = \"HGET a b\"\n[access.ldap.l]\nbase_dn = \"x\""),
                "access.redis.r.rules_command",
                "expected HGETALL",
            ),
            (
                format!(
                    "{good}\n[access.redis.r]\nrules_command = \"HGETALL a\"\n[access.ldap.l]\nbase_dn = \"x\"\nfilter = \"x\""
                ),
                "access.ldap.l.filter",
                "no filter",
            ),
            (format!("password_hash = \"rot13\"\n{good}"), "access.mysql.a.password_hash", "expected plain"),
        ] {
            let (found, message) = told(&text(&more));
            assert_eq!(found, key);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn passwords_may_be_in_files() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "hunter2 \r\n").expect("written");
        let read = |path: &Path| password("x.y", &SecretText::from("own"), path);
        assert_eq!(read(file.path()).expect("a password").as_str(), "hunter2 ");
        assert_eq!(read(Path::new("")).expect("a password").as_str(), "own");
        let error = read(Path::new("/nonexistent/password")).expect_err("no file");
        assert_eq!(error.key().as_deref(), Some("access.x.y.password_file"));
    }
}
