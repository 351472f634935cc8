//! Those who were refused too often have to wait before they may try again.

use std::{net::IpAddr, time::Duration};

use parking_lot::Mutex;

use super::{attempt::Attempt, recent::Recent};

/// How long those have to wait who were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Wrong credentials from one address before it has to wait; 0 for any number.
    pub per_address: u32,
    /// Wrong credentials for one user name or client id before it has to wait; 0 for any number.
    pub per_identity: u32,
    /// The first wait. Each that follows is twice as long.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// Addresses and identities that are remembered.
    pub entries_max: usize,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            per_address: 20,
            per_identity: 10,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            entries_max: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Identity(Box<str>),
}

#[derive(Debug)]
struct Failures {
    count: u32,
    /// Milliseconds of the last one.
    last_ms: u64,
    until_ms: u64,
}

/// Wrong credentials of late.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: BackoffSettings,
    recent: Mutex<Recent<Key, Failures>>,
}

impl Backoff {
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, recent: Mutex::new(Recent::new(settings.entries_max)) }
    }

    /// Whether they have to wait.
    pub fn holds(&self, attempt: &Attempt, spoofable: bool, now_ms: u64) -> bool {
        let recent = self.recent.lock();
        recent.len() > 0
            && self.keys(attempt, spoofable).any(|(key, _)| recent.get(&key).is_some_and(|it| it.until_ms > now_ms))
    }

    /// Their credentials were wrong. An address that anybody can put on a datagram is not held responsible.
    pub fn failed(&self, attempt: &Attempt, spoofable: bool, now_ms: u64) {
        let mut recent = self.recent.lock();
        for (key, allowed) in self.keys(attempt, spoofable) {
            let failures = recent.entry(key, || Failures { count: 0, last_ms: now_ms, until_ms: 0 });
            let longest_ms = self.settings.longest.as_millis() as u64;
            // Who was quiet for twice the longest wait begins anew.
            if now_ms.saturating_sub(failures.last_ms) > 2 * longest_ms {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last_ms = now_ms;
            if failures.count >= allowed {
                let doublings = (failures.count - allowed).min(30);
                let wait_ms = (self.settings.first.as_millis() as u64).saturating_mul(1 << doublings).min(longest_ms);
                failures.until_ms = now_ms + wait_ms;
            }
        }
    }

    /// Their credentials were right.
    pub fn succeeded(&self, attempt: &Attempt, spoofable: bool) {
        let mut recent = self.recent.lock();
        if recent.len() > 0 {
            for (key, _) in self.keys(attempt, spoofable) {
                recent.remove(&key);
            }
        }
    }

    fn keys(&self, attempt: &Attempt, spoofable: bool) -> impl Iterator<Item = (Key, u32)> {
        let BackoffSettings { per_address, per_identity, .. } = self.settings;
        let address = attempt.address().filter(|_| !spoofable && per_address > 0);
        let identity = attempt.username.as_deref().or(attempt.client_id.as_ref().map(|id| id.as_str()));
        let identity = identity.filter(|_| per_identity > 0).map(|name| (Key::Identity(name.into()), per_identity));
        address.map(|address| (Key::Address(address), per_address)).into_iter().chain(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(address: &str, username: &str) -> Attempt {
        Attempt {
            client_id: None,
            username: Some(username.into()),
            password: None,
            certificate: None,
            remote: format!("{address}:1").parse().ok(),
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        }
    }

    fn backoff() -> Backoff {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(4));
        Backoff::new(BackoffSettings { per_address: 3, per_identity: 2, first, longest, entries_max: 8 })
    }

    #[test]
    fn identities_wait_longer_each_time() {
        let backoff = backoff();
        let bob = |address| attempt(address, "bob");
        backoff.failed(&bob("10.0.0.1"), false, 1000);
        assert!(!backoff.holds(&bob("10.0.0.1"), false, 1000));
        backoff.failed(&bob("10.0.0.2"), false, 1000);
        assert!(backoff.holds(&bob("10.0.0.3"), false, 1999) && !backoff.holds(&bob("10.0.0.3"), false, 2000));
        assert!(!backoff.holds(&attempt("10.0.0.1", "eve"), false, 1500));
        for (at, until) in [(2000, 4000), (4000, 8000), (8000, 12_000), (12_000, 16_000)] {
            backoff.failed(&bob("10.0.0.4"), true, at);
            assert!(backoff.holds(&bob("10.0.0.5"), false, until - 1), "{until}");
            assert!(!backoff.holds(&bob("10.0.0.5"), false, until), "{until}");
        }
        backoff.succeeded(&bob("10.0.0.6"), false);
        backoff.failed(&bob("10.0.0.7"), false, 12_000);
        assert!(!backoff.holds(&bob("10.0.0.8"), false, 12_000));
    }

    #[test]
    fn addresses_wait_whatever_name_they_try_next() {
        let backoff = backoff();
        for name in ["a", "b", "c"] {
            assert!(!backoff.holds(&attempt("10.0.0.1", name), false, 0));
            backoff.failed(&attempt("10.0.0.1", name), false, 0);
        }
        assert!(backoff.holds(&attempt("10.0.0.1", "d"), false, 999));
        assert!(!backoff.holds(&attempt("10.0.0.2", "d"), false, 999));
        assert!(!backoff.holds(&attempt("10.0.0.1", "d"), true, 999), "a datagram proves no address");
    }

    #[test]
    fn the_quiet_are_forgiven() {
        let backoff = backoff();
        backoff.failed(&attempt("10.0.0.1", "bob"), false, 0);
        backoff.failed(&attempt("10.0.0.1", "bob"), false, 9000);
        assert!(!backoff.holds(&attempt("10.0.0.1", "bob"), false, 9000));
    }
}
