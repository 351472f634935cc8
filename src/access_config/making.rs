//! Authenticators and sources of rules that are elsewhere, made anew only when something that they were made of has changed: those that stay keep their
//! connections, what they remember, and what they know of their servers.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::digest::{SHA256, digest};

use super::{AccessError, BuiltIn, databases, http, jwt};
use crate::{
    access::{Authenticator, Authority, CertificateHolders, scram::ScramPlace},
    config::{AccessHttp, AccessJwt, AccessLdap, AccessMongodb, AccessRedis, AccessSql, Config, DatabaseTls},
};

/// What was made, by its name, with what it was made of. One that is in none any more is dropped when nobody waits for its answer: its connections are closed,
/// and its tasks end.
#[derive(Debug, Default)]
pub struct Made {
    authenticators: HashMap<Box<str>, (Parts, Arc<dyn Authenticator>)>,
    authorities: HashMap<Box<str>, (Parts, Arc<dyn Authority>)>,
}

/// What is made of the next configuration.
#[derive(Debug)]
pub struct Making<'a> {
    before: &'a Made,
    made: Made,
}

/// What one was made of.
#[derive(Debug, PartialEq)]
struct Parts {
    settings: Settings,
    /// Digests of the files that the settings name, which may have been written anew: passwords, certificates, keys.
    files: Vec<Option<Box<[u8]>>>,
}

#[derive(Clone, PartialEq)]
enum Settings {
    Http(AccessHttp),
    Jwt(AccessJwt),
    Sql(AccessSql),
    Redis(AccessRedis),
    Ldap(AccessLdap),
    Mongodb(AccessMongodb),
}

impl std::fmt::Debug for Settings {
    /// Shows nothing of it: there are passwords among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

impl<'a> Making<'a> {
    /// What was made before is taken where it is the same.
    pub fn after(before: &'a Made) -> Self {
        Self { before, made: Made::default() }
    }

    /// What the configuration has now.
    pub fn done(self) -> Made {
        self.made
    }

    /// The authenticator that is called so.
    pub(super) fn authenticator(
        &mut self,
        config: &Config,
        built_in: &BuiltIn,
        name: &str,
    ) -> Result<Arc<dyn Authenticator>, AccessError> {
        match name {
            "certificate" => return Ok(Arc::new(CertificateHolders)),
            "users" => return Ok(built_in.users.clone()),
            "scram" => return Ok(Arc::new(ScramPlace)),
            _ => {}
        }
        let parts = Parts::of(config, name).ok_or_else(|| AccessError::Unknown(name.into()))?;
        let made = match self.before.authenticators.get(name) {
            Some((before, made)) if *before == parts => made.clone(),
            _ => authenticator(config, built_in, name)?,
        };
        self.made.authenticators.insert(name.into(), (parts, made.clone()));
        Ok(made)
    }

    /// The authority that is called so.
    pub(super) fn authority(&mut self, config: &Config, name: &str) -> Result<Arc<dyn Authority>, AccessError> {
        let parts = Parts::of(config, name).ok_or_else(|| AccessError::UnknownSource(name.into()))?;
        let made = match self.before.authorities.get(name) {
            Some((before, made)) if *before == parts => made.clone(),
            _ => authority(config, name)?,
        };
        self.made.authorities.insert(name.into(), (parts, made.clone()));
        Ok(made)
    }
}

/// The authenticator that a service is.
fn authenticator(config: &Config, built_in: &BuiltIn, name: &str) -> Result<Arc<dyn Authenticator>, AccessError> {
    if let Some(made) = databases::authenticator(config, name, &built_in.hashers) {
        return made;
    }
    match name.split_once('.') {
        Some(("http", name)) => http::authenticator(config, name),
        Some(("jwt", name)) => jwt::authenticator(config, name),
        _ => Err(AccessError::Unknown(name.into())),
    }
}

/// The authority that a service is.
fn authority(config: &Config, name: &str) -> Result<Arc<dyn Authority>, AccessError> {
    if let Some(made) = databases::authority(config, name) {
        return made;
    }
    match name.split_once('.') {
        Some(("http", name)) => http::authority(config, name),
        _ => Err(AccessError::UnknownSource(name.into())),
    }
}

impl Parts {
    /// `None` when the configuration has none of this name.
    fn of(config: &Config, name: &str) -> Option<Self> {
        let (kind, own) = name.split_once('.')?;
        let access = &config.access;
        let settings = match kind {
            "http" => Settings::Http(access.http.get(own)?.clone()),
            "jwt" => Settings::Jwt(access.jwt.get(own)?.clone()),
            "postgresql" => Settings::Sql(access.postgresql.get(own)?.clone()),
            "mysql" => Settings::Sql(access.mysql.get(own)?.clone()),
            "redis" => Settings::Redis(access.redis.get(own)?.clone()),
            "ldap" => Settings::Ldap(access.ldap.get(own)?.clone()),
            "mongodb" => Settings::Mongodb(access.mongodb.get(own)?.clone()),
            _ => return None,
        };
        let files = settings.files().into_iter().map(digest_of).collect();
        Some(Self { settings, files })
    }
}

impl Settings {
    fn files(&self) -> Vec<&Path> {
        let files = match self {
            Self::Http(AccessHttp { authorization_file, ca_file, .. }) => vec![authorization_file, ca_file],
            Self::Jwt(AccessJwt { secret_file, public_key_file, ca_file, .. }) => {
                vec![secret_file, public_key_file, ca_file]
            }
            Self::Sql(AccessSql { password_file, tls, .. }) => with_tls(password_file, tls),
            Self::Redis(AccessRedis { password_file, tls, .. }) => with_tls(password_file, tls),
            Self::Ldap(AccessLdap { password_file, tls, .. }) => with_tls(password_file, tls),
            Self::Mongodb(AccessMongodb { password_file, tls, .. }) => with_tls(password_file, tls),
        };
        files.into_iter().map(PathBuf::as_path).collect()
    }
}

fn with_tls<'a>(password_file: &'a PathBuf, tls: &'a DatabaseTls) -> Vec<&'a PathBuf> {
    vec![password_file, &tls.ca_file, &tls.certificate, &tls.key]
}

/// `None` for one that is not named, or cannot be read: whoever needs it says why.
fn digest_of(path: &Path) -> Option<Box<[u8]>> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let text = zeroize::Zeroizing::new(fs::read(path).ok()?);
    Some(digest(&SHA256, &text).as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_config::{chain_with, policy_with};

    struct Place {
        folder: tempfile::TempDir,
        built_in: BuiltIn,
    }

    impl Place {
        fn new() -> Self {
            let built_in = BuiltIn::new(&Config::default()).expect("random bytes");
            let place = Self { folder: tempfile::tempdir().expect("a folder"), built_in };
            fs::write(place.password(), "first").expect("written");
            place
        }

        fn password(&self) -> PathBuf {
            self.folder.path().join("password")
        }

        fn config(&self, more: &str) -> Config {
            let text = format!(
                "[access]\nauthenticators = [\"http.a\", \"users\", \"mysql.m\"]\nsources = [\"http.a\", \"http.b\"]\n{more}\n\
                 [access.http.b]\nurl = \"http://127.0.0.1:1/b\"\n\
                 [access.mysql.m]\nquery = \"SELECT 1\"\npassword_file = {:?}\n",
                self.password()
            );
            Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}"))
        }

        fn make(&self, config: &Config, before: &Made) -> Result<Made, AccessError> {
            let mut making = Making::after(before);
            chain_with(config, &self.built_in, &mut making)?;
            policy_with(config, &Arc::default(), &mut making)?;
            Ok(making.done())
        }
    }

    /// Which of them are the same in both.
    fn same(one: &Made, two: &Made) -> Vec<String> {
        let authenticators = one.authenticators.iter().filter_map(|(name, (_, made))| {
            let (_, other) = two.authenticators.get(name)?;
            Arc::ptr_eq(made, other).then(|| format!("asks {name}"))
        });
        let authorities = one.authorities.iter().filter_map(|(name, (_, made))| {
            let (_, other) = two.authorities.get(name)?;
            Arc::ptr_eq(made, other).then(|| format!("rules {name}"))
        });
        let mut same: Vec<_> = authenticators.chain(authorities).collect();
        same.sort();
        same
    }

    #[tokio::test]
    async fn only_what_has_changed_is_made_anew() {
        let place = Place::new();
        let a = |url: &str| format!("[access.http.a]\nurl = \"http://127.0.0.1:1/{url}\"");
        let first = place.make(&place.config(&a("a")), &Made::default()).expect("good");
        let again = place.make(&place.config(&a("a")), &first).expect("good");
        assert_eq!(same(&first, &again), ["asks http.a", "asks mysql.m", "rules http.a", "rules http.b"]);
        let other = format!("timeout = \"3s\"\nallow_anonymous = true\n{}", a("a"));
        let again = place.make(&place.config(&other), &again).expect("good");
        assert_eq!(same(&first, &again).len(), 4, "nothing that they read");
        let changed = place.make(&place.config(&a("other")), &again).expect("good");
        assert_eq!(same(&again, &changed), ["asks mysql.m", "rules http.b"]);
        fs::write(place.password(), "second").expect("written");
        let written = place.make(&place.config(&a("other")), &changed).expect("good");
        assert_eq!(same(&changed, &written), ["asks http.a", "rules http.a", "rules http.b"]);
        let config = place.config(&a("other"));
        fs::remove_file(place.password()).expect("removed");
        let error = place.make(&config, &written).expect_err("it cannot be read");
        assert_eq!(error.key().as_deref(), Some("access.mysql.m.password_file"));
    }

    #[tokio::test]
    async fn what_nobody_asks_any_more_is_dropped() {
        let place = Place::new();
        let mut config = place.config("[access.http.a]\nurl = \"http://127.0.0.1:1/a\"");
        let first = place.make(&config, &Made::default()).expect("good");
        let gone = Arc::downgrade(&first.authenticators["mysql.m"].1);
        config.access.authenticators.pop();
        let again = place.make(&config, &first).expect("good");
        assert!(gone.upgrade().is_some());
        drop(first);
        assert!(gone.upgrade().is_none());
        assert_eq!(again.authenticators.len(), 1);
    }
}
