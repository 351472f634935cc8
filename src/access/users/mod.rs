//! The built-in user database: users in the store, and those of a file beside it.

mod import;
mod row;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::{Bound, ControlFlow},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use thingway_contract::Refusal;

use super::{
    attempt::{Attempt, Attributes, Grant, Said},
    chain::{Answer, Asked, Authenticator},
    passwords::{Hashers, NoRandomness, Secret, Stored},
    scram::{ScramHash, ScramKeys},
};

pub(in crate::access) use self::import::hashed;
pub use self::{
    import::{Format, Hashing, ImportCause, ImportError, NamedUser, Password, UnknownHashing, parse},
    row::{ROW_PREFIX, RowError, name_of_key, row_key},
};

/// One user.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// What is kept of the password; without one nobody can connect as this user.
    pub password: Option<Arc<Stored>>,
    /// What is kept of it for SCRAM, a hash each.
    pub scram: Box<[Arc<ScramKeys>]>,
    /// No rule counts for it.
    pub superuser: bool,
    /// Attributes for rules.
    pub attributes: Attributes,
    /// When it ends, and its connection with it, in seconds since 1970.
    pub expires_unix_secs: Option<u64>,
}

impl User {
    /// What it gets when it is let in.
    fn grant(&self) -> Grant {
        Grant {
            superuser: self.superuser,
            attributes: self.attributes.clone(),
            rules: None,
            expires_unix_ms: self.expires_unix_secs.map(|secs| secs.saturating_mul(1000)),
        }
    }
}

/// By what users are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserKey {
    /// The user name.
    #[default]
    Username,
    /// The client id.
    ClientId,
}

/// Users by their names.
pub type Users = HashMap<Box<str>, Arc<User>, RandomState>;

/// The database as an authenticator.
pub struct UserDatabase {
    by_client_id: AtomicBool,
    /// In the order of their names, in which they are listed.
    stored: RwLock<BTreeMap<Arc<str>, Arc<User>>>,
    /// Asked first.
    file: ArcSwap<Users>,
    hashers: Arc<Hashers>,
    decoy: Arc<Stored>,
    clock: fn() -> u64,
}

impl UserDatabase {
    /// A database without users.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(by: UserKey, hashers: Arc<Hashers>) -> Result<Self, NoRandomness> {
        let decoy = Arc::new(Stored::decoy()?);
        let (stored, file) = (RwLock::default(), ArcSwap::default());
        let by_client_id = (by == UserKey::ClientId).into();
        Ok(Self { by_client_id, stored, file, hashers, decoy, clock: super::unix_ms })
    }

    /// Puts these in the place of those of the store.
    pub fn set_stored(&self, users: Users) {
        *self.stored.write() = users.into_iter().map(|(name, user)| (name.into(), user)).collect();
    }

    /// Puts users of the store in the place of those with these names; `None` takes one away. It counts for whoever connects next; who is connected stays.
    pub fn change_stored(&self, changes: impl IntoIterator<Item = (Box<str>, Option<Arc<User>>)>) {
        let mut stored = self.stored.write();
        for (name, user) in changes {
            match user {
                Some(user) => stored.insert(name.into(), user),
                None => stored.remove(&*name),
            };
        }
    }

    /// A user of the store.
    pub fn stored(&self, name: &str) -> Option<Arc<User>> {
        self.stored.read().get(name).cloned()
    }

    /// Visits the users of the store in the order of their names, without keeping those out for long who connect.
    pub fn for_each_stored(&self, mut visit: impl FnMut(&str, &User) -> ControlFlow<()>) {
        const AT_ONCE: usize = 1000;
        let mut after: Option<Arc<str>> = None;
        loop {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let some: Vec<_> = {
                let stored = self.stored.read();
                let range = stored.range::<str, _>((from, Bound::Unbounded));
                range.take(AT_ONCE).map(|(name, user)| (name.clone(), user.clone())).collect()
            };
            for (name, user) in &some {
                if visit(name, user).is_break() {
                    return;
                }
            }
            match some.last() {
                Some((name, _)) => after = Some(name.clone()),
                None => return,
            }
        }
    }

    /// By what users are known.
    pub fn by(&self) -> UserKey {
        if self.by_client_id.load(Ordering::Relaxed) { UserKey::ClientId } else { UserKey::Username }
    }

    /// Users are known by something else from now on.
    pub fn set_by(&self, by: UserKey) {
        self.by_client_id.store(by == UserKey::ClientId, Ordering::Relaxed);
    }

    /// Puts these in the place of those of the file.
    pub fn set_file(&self, users: Users) {
        self.file.store(Arc::new(users));
    }

    /// How many there are, in the store and in the file.
    pub fn len(&self) -> (usize, usize) {
        (self.stored.read().len(), self.file.load().len())
    }

    fn id<'a>(&self, attempt: &'a Attempt) -> Option<&'a str> {
        match self.by() {
            UserKey::Username => attempt.username.as_deref(),
            UserKey::ClientId => attempt.client_id.as_ref().map(|id| id.as_str()),
        }
    }

    fn find(&self, attempt: &Attempt) -> Option<Arc<User>> {
        self.named(self.id(attempt)?)
    }

    fn named(&self, id: &str) -> Option<Arc<User>> {
        let of_file = self.file.load().get(id).cloned();
        of_file.or_else(|| self.stored(id))
    }

    /// What a user proves its password against, and gets who does. Where users are known by their client ids it must be the client's own.
    pub(super) fn scram(&self, name: &str, attempt: &Attempt, hash: ScramHash) -> Option<(Arc<ScramKeys>, Grant)> {
        if self.by() == UserKey::ClientId && self.id(attempt) != Some(name) {
            return None;
        }
        let user = self.named(name)?;
        let keys = user.scram.iter().find(|keys| keys.hash() == hash)?.clone();
        Some((keys, user.grant()))
    }

    fn check(&self, stored: Arc<Stored>, password: Secret, right: Grant) -> Asked {
        let Ok(answer) = self.hashers.check(stored, password) else { return Asked::Said(Said::Deny(Refusal::Busy)) };
        Asked::Later(Box::pin(async move {
            match answer.await {
                Ok(true) => Said::Allow(right),
                Ok(false) => Said::Deny(Refusal::BadCredentials),
                // The threads are gone: the gateway ends.
                Err(_) => Said::Deny(Refusal::Unavailable),
            }
        }))
    }
}

impl Authenticator for UserDatabase {
    fn name(&self) -> &str {
        "users"
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        let Some(user) = self.find(attempt) else { return Asked::Said(Said::Ignore) };
        let (Some(stored), Some(password)) = (&user.password, &attempt.password) else {
            return Asked::Said(Said::Deny(Refusal::BadCredentials));
        };
        let grant = user.grant();
        if grant.expires_unix_ms.is_some_and(|at| at <= (self.clock)()) {
            return Asked::Said(Said::Deny(Refusal::NotAuthorized));
        }
        self.check(stored.clone(), password.clone(), grant)
    }

    fn presume(&self, attempt: &Attempt) -> Option<Grant> {
        self.find(attempt).map(|user| user.grant())
    }

    /// Tries the password against what nothing is the password of.
    fn pretend(&self, attempt: &Arc<Attempt>) -> Option<Answer> {
        self.id(attempt)?;
        let password = attempt.password.clone()?;
        match self.check(self.decoy.clone(), password, Grant::default()) {
            Asked::Later(answer) => Some(answer),
            Asked::Said(said) => Some(Box::pin(std::future::ready(said))),
        }
    }
}

impl fmt::Debug for UserDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserDatabase").field("by", &self.by()).field("users", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::ClientId;

    use super::*;
    use crate::access::{
        chain::{Begun, Chain},
        passwords::HashersSettings,
    };

    fn user(password: &str) -> User {
        User { password: Some(Arc::new(Stored::of_plain(password.as_bytes()).expect("salt"))), ..User::default() }
    }

    fn users(users: impl IntoIterator<Item = (&'static str, User)>) -> Users {
        users.into_iter().map(|(name, user)| (name.into(), Arc::new(user))).collect()
    }

    fn attempt(client_id: &str, username: Option<&str>, password: Option<&str>) -> Arc<Attempt> {
        Arc::new(Attempt {
            client_id: ClientId::new(client_id, 99).ok(),
            username: username.map(Into::into),
            password: password.map(|password| Secret::copy_of(password.as_bytes())),
            certificate: None,
            remote: None,
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        })
    }

    fn database(by: UserKey) -> Arc<UserDatabase> {
        let hashers = Arc::new(Hashers::start(HashersSettings::default()).expect("threads"));
        let database = UserDatabase { clock: || 1_000_000, ..UserDatabase::new(by, hashers).expect("random bytes") };
        Arc::new(database)
    }

    async fn ask(database: &Arc<UserDatabase>, attempt: &Arc<Attempt>) -> Result<Grant, Refusal> {
        match Chain::new(vec![database.clone()]).begin(attempt) {
            Begun::Made(decision) => decision.outcome,
            Begun::Later(later) => later.await.outcome,
        }
    }

    #[tokio::test]
    async fn by_user_name() {
        let database = database(UserKey::Username);
        let admin = User { superuser: true, attributes: [("site", "north")].into_iter().collect(), ..user("root") };
        let ended = User { expires_unix_secs: Some(1000), ..user("ended") };
        let ending = User { expires_unix_secs: Some(1001), ..user("ending") };
        let locked = User { password: None, ..user("") };
        database.set_stored(users([
            ("bob", user("secret")),
            ("admin", admin),
            ("ended", ended),
            ("ending", ending),
            ("locked", locked),
        ]));
        database.set_file(users([("bob", user("of the file"))]));
        let ask = async |username, password| ask(&database, &attempt("c", username, password)).await;
        assert!(ask(Some("bob"), Some("of the file")).await.expect("the file's password counts").is_plain());
        assert_eq!(ask(Some("bob"), Some("secret")).await.err(), Some(Refusal::BadCredentials));
        let grant = ask(Some("admin"), Some("root")).await.expect("right");
        assert!(grant.superuser && grant.attributes.find("site") == Some("north"));
        assert_eq!(ask(Some("ending"), Some("ending")).await.expect("right").expires_unix_ms, Some(1_001_000));
        assert_eq!(ask(Some("ended"), Some("ended")).await.err(), Some(Refusal::NotAuthorized));
        for (username, password) in [
            (Some("admin"), Some("")),
            (Some("admin"), None),
            (Some("locked"), Some("")),
            (Some("nobody"), Some("x")),
            (Some("nobody"), None),
        ] {
            assert_eq!(ask(username, password).await.err(), Some(Refusal::BadCredentials), "{username:?} {password:?}");
        }
        assert_eq!(ask(None, None).await.err(), Some(Refusal::NotAuthorized));
    }

    #[tokio::test]
    async fn by_client_id() {
        let database = database(UserKey::ClientId);
        database.set_stored(users([("c1", user("secret"))]));
        assert!(ask(&database, &attempt("c1", Some("whoever"), Some("secret"))).await.is_ok());
        assert_eq!(
            ask(&database, &attempt("c2", Some("c1"), Some("secret"))).await.err(),
            Some(Refusal::BadCredentials)
        );
    }

    #[tokio::test]
    async fn users_of_the_store_come_and_go() {
        let database = database(UserKey::Username);
        database.set_stored((0..2500).map(|number| (format!("u{number:04}").into(), Arc::default())).collect());
        let names = || {
            let mut names = Vec::new();
            database.for_each_stored(|name, _| {
                names.push(name.to_owned());
                ControlFlow::Continue(())
            });
            names
        };
        assert!(names().len() == 2500 && names().is_sorted());
        database.change_stored([
            ("u0000".into(), None),
            ("u1234".into(), None),
            ("x".into(), Some(user("secret").into())),
        ]);
        assert_eq!((names().len(), names()[0].as_str(), database.len()), (2499, "u0001", (2499, 0)));
        assert!(ask(&database, &attempt("c", Some("x"), Some("secret"))).await.is_ok());
        assert!(database.presume(&attempt("c", Some("x"), None)).is_some() && database.stored("u1234").is_none());
    }

    #[tokio::test]
    async fn whoever_is_not_known_is_tried_as_long_as_who_is() {
        let database = database(UserKey::Username);
        database.set_stored(users([("bob", user("secret"))]));
        assert!(ask(&database, &attempt("c", Some("eve"), Some("secret"))).await.is_err());
        assert_eq!(database.hashers.counts(), (1, 0), "a password was tried");
    }
}
