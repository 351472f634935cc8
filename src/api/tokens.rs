use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};

/// Logins at a time. Beyond, the one that was used least lately ends.
const TOKENS_MAX: usize = 1000;
/// How long a login lasts that is not used.
const IDLE: Duration = Duration::from_secs(3600);
/// How long it lasts at most.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Logins: who has shown a password, and was given a token for it. Tokens themselves are not kept.
#[derive(Debug, Default)]
pub struct Tokens(Mutex<HashMap<[u8; 32], Login>>);

#[derive(Clone, Debug)]
struct Login {
    account: Box<str>,
    begun: Instant,
    used: Instant,
}

fn hash(token: &str) -> [u8; 32] {
    let mut hashed = [0; 32];
    hashed.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hashed
}

/// 256 random bits as text; `None` when the system gives none.
pub fn random_text() -> Option<String> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(URL_SAFE_NO_PAD.encode(random))
}

impl Tokens {
    /// A token for an account; `None` when the system gives no random bytes.
    pub fn issue(&self, account: &str, now: Instant) -> Option<String> {
        let token = random_text()?;
        let mut logins = self.0.lock();
        logins.retain(|_, login| login.lasts(now));
        if logins.len() >= TOKENS_MAX
            && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.used).map(|(key, _)| *key)
        {
            logins.remove(&oldest);
        }
        logins.insert(hash(&token), Login { account: account.into(), begun: now, used: now });
        Some(token)
    }

    /// Whose token it is.
    pub fn find(&self, token: &str, now: Instant) -> Option<Box<str>> {
        let mut logins = self.0.lock();
        let login = logins.get_mut(&hash(token)).filter(|login| login.lasts(now))?;
        login.used = now;
        Some(login.account.clone())
    }

    /// It counts no more.
    pub fn end(&self, token: &str) {
        self.0.lock().remove(&hash(token));
    }

    /// None of an account counts any more.
    pub fn end_all_of(&self, account: &str) {
        self.0.lock().retain(|_, login| *login.account != *account);
    }
}

impl Login {
    fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE && now.duration_since(self.begun) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_by_themselves_and_by_order() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let [first, second, other] = ["bob", "bob", "eve"].map(|name| tokens.issue(name, now).expect("random bytes"));
        assert_ne!(first, second);
        assert_eq!(tokens.find(&first, now).as_deref(), Some("bob"));
        assert_eq!(tokens.find("guess", now), None);
        tokens.end(&first);
        assert_eq!(tokens.find(&first, now), None);
        tokens.end_all_of("bob");
        assert_eq!((tokens.find(&second, now), tokens.find(&other, now).as_deref()), (None, Some("eve")));
        let later = now + IDLE - Duration::from_secs(1);
        assert!(tokens.find(&other, later).is_some(), "it was used");
        assert!(tokens.find(&other, later + IDLE - Duration::from_secs(1)).is_some());
        assert!(tokens.find(&other, later + 2 * IDLE).is_none());
    }

    #[test]
    fn there_are_only_so_many_logins() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let first = tokens.issue("first", now).expect("random bytes");
        for number in 1..=TOKENS_MAX as u64 {
            tokens.issue("later", now + Duration::from_millis(number)).expect("random bytes");
        }
        assert!(tokens.0.lock().len() <= TOKENS_MAX);
        assert_eq!(tokens.find(&first, now), None);
    }
}
