//! Authentication by what a database says of somebody.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use ring::{hmac, rand::SecureRandom};
use thingway_connectors::{Failure, Query, Rows, Values};
use thingway_contract::Refusal;

use super::{
    account::{Account, Columns, PasswordForm, Proof},
    complaint::Complaint,
};
use crate::access::{
    attempt::{Attempt, Grant, Said},
    chain::{Answer, Asked, Authenticator},
    line::LineState,
    passwords::{Hashers, Mac, NoRandomness, Secret, Stored},
    recent::Recent,
    users::Hashing,
};

/// What is known about a database with users.
pub struct RowUsersSettings {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// What it is asked.
    pub query: Arc<dyn Query>,
    /// How it keeps passwords.
    pub form: PasswordForm,
    /// Its columns.
    pub columns: Columns,
    /// While it gives no answer, the next authenticator decides; otherwise nobody is let in.
    pub ignore_when_down: bool,
    /// How long its answers are remembered; zero for not at all.
    pub cache_time: Duration,
    /// Answers that are remembered.
    pub cache_max: usize,
}

/// A database with users as an authenticator.
pub struct RowUsers(Arc<Inner>);

struct Inner {
    settings: RowUsersSettings,
    hashers: Arc<Hashers>,
    /// For those whom it does not know.
    decoy: Option<Arc<Stored>>,
    complaint: Complaint,
    cache: Option<Cache>,
}

/// What the database has said, by a keyed hash of what it was asked about: nothing of that can be read here.
struct Cache {
    key: hmac::Key,
    time: Duration,
    entries: Mutex<Recent<[u8; 32], Remembered>>,
}

struct Remembered {
    until: Instant,
    account: Option<Arc<Account>>,
}

impl RowUsers {
    /// One that asks this database.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(settings: RowUsersSettings, hashers: Arc<Hashers>) -> Result<Self, NoRandomness> {
        let mut random = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| NoRandomness)?;
        let decoy = match settings.form {
            PasswordForm::Hashed(Hashing::Pbkdf2(mac, iterations)) => decoy_of_pbkdf2(mac, iterations, &random),
            PasswordForm::Hashed(Hashing::Bcrypt) => DECOY_BCRYPT.parse().ok().map(Arc::new),
            // Shorter than the way to the database and back differs.
            _ => None,
        };
        let cache = (!settings.cache_time.is_zero()).then(|| Cache {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            time: settings.cache_time,
            entries: Mutex::new(Recent::new(settings.cache_max)),
        });
        let complaint = Complaint::default();
        Ok(Self(Arc::new(Inner { settings, hashers, decoy, complaint, cache })))
    }
}

/// Of a random password that nobody has kept, with bcrypt's usual cost.
const DECOY_BCRYPT: &str = "$2b$10$2l8uYSlQ9WbKVvHRCuzBMuJnCgqCk3cSEqB0m2WjXCLSVAWnZ9SNe";

fn decoy_of_pbkdf2(mac: Mac, iterations: u32, random: &[u8]) -> Option<Arc<Stored>> {
    let (salt, hash) = random.split_at(random.len() / 2);
    Stored::pbkdf2(mac, iterations, salt, hash).ok().map(Arc::new)
}

impl Authenticator for RowUsers {
    fn name(&self) -> &str {
        &self.0.settings.name
    }

    fn line(&self) -> Option<LineState> {
        let query = &self.0.settings.query;
        Some(LineState::of_authentication(self.name(), query.is_resting(), query.counts()))
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        let inner = &self.0;
        let remembered = inner.cache.as_ref().and_then(|cache| cache.key_of(&*inner.settings.query, &**attempt));
        if let Some(account) = inner.cache.as_ref().zip(remembered.as_ref()).and_then(|(cache, key)| cache.find(key)) {
            let Some(account) = account else { return Asked::Said(Said::Ignore) };
            let (inner, attempt) = (inner.clone(), attempt.clone());
            return Asked::Later(Box::pin(async move { inner.judge(&account, &attempt).await }));
        }
        let Some(asking) = inner.settings.query.ask(&**attempt) else {
            // Nobody is known by what this attempt does not have.
            return Asked::Said(Said::Ignore);
        };
        let (inner, attempt) = (inner.clone(), attempt.clone());
        Asked::Later(Box::pin(async move {
            let account = match inner.read(asking.await) {
                Ok(account) => account.map(Arc::new),
                Err(said) => return said,
            };
            if let Some((cache, key)) = inner.cache.as_ref().zip(remembered) {
                cache.keep(key, account.clone());
            }
            match account {
                Some(account) => inner.judge(&account, &attempt).await,
                None => Said::Ignore,
            }
        }))
    }

    fn pretend(&self, attempt: &Arc<Attempt>) -> Option<Answer> {
        let (decoy, password) = (self.0.decoy.clone()?, attempt.password.clone()?);
        let inner = self.0.clone();
        Some(Box::pin(async move { inner.check(decoy, password, Grant::default()).await }))
    }
}

impl Inner {
    fn read(&self, answer: Result<Rows, Failure>) -> Result<Option<Account>, Said> {
        let name = &*self.settings.name;
        let rows = answer.map_err(|failure| {
            self.complaint.failed(name, &failure);
            if failure == Failure::Busy { Said::Deny(Refusal::Busy) } else { self.down() }
        })?;
        let Some(row) = rows.first() else { return Ok(None) };
        Account::of_row(row, &self.settings.columns, self.settings.form).map(Some).map_err(|bad| {
            self.complaint.say(name, &format!("what it says of a client cannot be understood: {bad}"));
            self.down()
        })
    }

    fn down(&self) -> Said {
        if self.settings.ignore_when_down { Said::Ignore } else { Said::Deny(Refusal::Unavailable) }
    }

    async fn judge(&self, account: &Account, attempt: &Attempt) -> Said {
        let Some(password) = attempt.password.clone() else { return Said::Deny(Refusal::BadCredentials) };
        let is_over = account.grant.expires_unix_ms.is_some_and(|at| at <= crate::access::unix_ms());
        let said = match &account.proof {
            Proof::Right => Said::Allow(account.grant.clone()),
            Proof::Wrong => Said::Deny(Refusal::BadCredentials),
            Proof::Stored(all) => {
                let mut said = Said::Deny(Refusal::BadCredentials);
                for stored in all {
                    said = self.check(stored.clone(), password.clone(), account.grant.clone()).await;
                    if !matches!(said, Said::Deny(Refusal::BadCredentials)) {
                        break;
                    }
                }
                said
            }
        };
        match said {
            Said::Allow(_) if is_over => Said::Deny(Refusal::NotAuthorized),
            said => said,
        }
    }

    async fn check(&self, stored: Arc<Stored>, password: Secret, right: Grant) -> Said {
        let Ok(answer) = self.hashers.check(stored, password) else { return Said::Deny(Refusal::Busy) };
        match answer.await {
            Ok(true) => Said::Allow(right),
            Ok(false) => Said::Deny(Refusal::BadCredentials),
            // The threads are gone: the gateway ends.
            Err(_) => Said::Deny(Refusal::Unavailable),
        }
    }
}

impl Cache {
    /// What an answer is remembered under. `None` when it is asked about something that is not known.
    fn key_of(&self, query: &dyn Query, values: &dyn Values) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.key);
        for name in query.names() {
            let value = values.value(name)?;
            context.update(&(value.len() as u64).to_le_bytes());
            context.update(value.as_bytes());
        }
        context.sign().as_ref().try_into().ok()
    }

    /// The outer `None`: nothing is remembered. The inner: there is nobody.
    fn find(&self, key: &[u8; 32]) -> Option<Option<Arc<Account>>> {
        let entries = self.entries.lock();
        entries.get(key).filter(|it| it.until > Instant::now()).map(|it| it.account.clone())
    }

    fn keep(&self, key: [u8; 32], account: Option<Arc<Account>>) {
        let mut entries = self.entries.lock();
        let _ = entries.remove(&key);
        let until = Instant::now() + self.time;
        entries.entry(key, || Remembered { until, account });
    }
}

impl fmt::Debug for RowUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowUsers").field("name", &self.0.settings.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use thingway_connectors::{Asking, Field, LineCounts, Row};
    use thingway_contract::ClientId;

    use super::*;
    use crate::access::passwords::HashersSettings;

    /// Knows bob, whose password is his name, and counts.
    #[derive(Debug, Default)]
    struct Fake {
        asked: AtomicUsize,
        failure: Option<Failure>,
    }

    fn text(text: &str) -> Field {
        Field::Text(zeroize::Zeroizing::new(text.into()))
    }

    impl Query for Fake {
        fn ask(&self, values: &dyn Values) -> Option<Asking> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let username = values.value("username")?.into_owned();
            let row = |name: &str| -> Row { [("password", text(name))].into_iter().collect() };
            let answer = match (&self.failure, username.as_str()) {
                (Some(failure), _) => Err(failure.clone()),
                (_, "bob") => Ok(vec![row("bob"), row("second")]),
                (_, "odd") => Ok(vec![[("is_superuser", text("1"))].into_iter().collect()]),
                (_, "old") => {
                    Ok(vec![[("password", text("old")), ("expires_at", Field::Integer(1))].into_iter().collect()])
                }
                _ => Ok(Rows::new()),
            };
            Some(Box::pin(std::future::ready(answer)))
        }

        fn names(&self) -> Vec<&str> {
            vec!["username"]
        }

        fn counts(&self) -> LineCounts {
            LineCounts::default()
        }
    }

    fn users(query: Arc<Fake>, ignore_when_down: bool, cache_time: Duration) -> RowUsers {
        let settings = RowUsersSettings {
            name: "fake.main".into(),
            query,
            form: PasswordForm::Hashed(Hashing::Plain),
            columns: Columns::default(),
            ignore_when_down,
            cache_time,
            cache_max: 2,
        };
        let hashers = Arc::new(Hashers::start(HashersSettings::default()).expect("threads"));
        RowUsers::new(settings, hashers).expect("random bytes")
    }

    async fn ask(users: &RowUsers, username: Option<&str>, password: Option<&str>) -> Option<Result<(), Refusal>> {
        let attempt = Arc::new(Attempt {
            client_id: ClientId::new("c", 99).ok(),
            username: username.map(Into::into),
            password: password.map(|password| Secret::copy_of(password.as_bytes())),
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        });
        let said = match users.ask(&attempt) {
            Asked::Said(said) => said,
            Asked::Later(answer) => answer.await,
        };
        match said {
            Said::Ignore => None,
            Said::Allow(_) => Some(Ok(())),
            Said::Deny(refusal) => Some(Err(refusal)),
        }
    }

    #[tokio::test]
    async fn the_first_row_decides() {
        let users = users(Arc::default(), false, Duration::ZERO);
        assert_eq!(ask(&users, Some("bob"), Some("bob")).await, Some(Ok(())));
        for wrong in [Some("second"), Some(""), None] {
            assert_eq!(ask(&users, Some("bob"), wrong).await, Some(Err(Refusal::BadCredentials)), "{wrong:?}");
        }
        assert_eq!(ask(&users, Some("eve"), Some("bob")).await, None);
        assert_eq!(ask(&users, None, Some("bob")).await, None, "who has no name is not known by it");
        assert_eq!(ask(&users, Some("old"), Some("old")).await, Some(Err(Refusal::NotAuthorized)));
        assert_eq!(ask(&users, Some("old"), Some("x")).await, Some(Err(Refusal::BadCredentials)));
    }

    #[tokio::test]
    async fn what_holds_without_an_answer_is_a_setting() {
        for (failure, refusal) in [
            (Failure::Timeout, Refusal::Unavailable),
            (Failure::Resting, Refusal::Unavailable),
            (Failure::TooLarge, Refusal::Unavailable),
            (Failure::Refused("no table".into()), Refusal::Unavailable),
            (Failure::Busy, Refusal::Busy),
        ] {
            let fake = || Arc::new(Fake { failure: Some(failure.clone()), ..Fake::default() });
            let denying = users(fake(), false, Duration::from_secs(60));
            assert_eq!(ask(&denying, Some("bob"), Some("bob")).await, Some(Err(refusal.clone())), "{failure}");
            let ignoring = users(fake(), true, Duration::ZERO);
            let expected = (failure == Failure::Busy).then_some(Err(refusal));
            assert_eq!(ask(&ignoring, Some("bob"), Some("bob")).await, expected, "{failure}");
        }
        let odd = users(Arc::default(), false, Duration::ZERO);
        assert_eq!(
            ask(&odd, Some("odd"), Some("x")).await,
            Some(Err(Refusal::Unavailable)),
            "a row without a password"
        );
    }

    #[tokio::test]
    async fn answers_are_remembered_and_passwords_tried_all_the_same() {
        let fake = Arc::<Fake>::default();
        let users = users(fake.clone(), false, Duration::from_secs(3600));
        for _ in 0..3 {
            assert_eq!(ask(&users, Some("bob"), Some("bob")).await, Some(Ok(())));
            assert_eq!(ask(&users, Some("bob"), Some("x")).await, Some(Err(Refusal::BadCredentials)));
            assert_eq!(ask(&users, Some("eve"), Some("x")).await, None);
        }
        assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
        for name in ["a", "b", "c"] {
            assert_eq!(ask(&users, Some(name), Some("x")).await, None);
        }
        assert_eq!(ask(&users, Some("bob"), Some("bob")).await, Some(Ok(())));
        assert_eq!(fake.asked.load(Ordering::Relaxed), 6, "there is room for two");
        let cache = users.0.cache.as_ref().expect("there is one");
        assert_eq!(cache.entries.lock().len(), 2);
        assert!(cache.find(&[0; 32]).is_none());
    }
}
