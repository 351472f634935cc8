use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Failed logins in a row after which a name or an address has to wait.
const FAILURES: u32 = 5;
/// How long it has to wait then.
const WAIT: Duration = Duration::from_secs(300);
/// Names and addresses that are remembered. Beyond, those whose last failure is oldest are forgotten.
const ENTRIES_MAX: usize = 10_000;

/// Who has failed to log in lately, and has to wait.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Box<str>, Entry>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    last: Instant,
}

fn keys(name: &str, address: IpAddr) -> [String; 2] {
    [format!("name {name}"), format!("address {}", address.to_canonical())]
}

impl Throttle {
    /// Whether this name, or whoever is at this address, has to wait.
    pub fn holds(&self, name: &str, address: IpAddr, now: Instant) -> bool {
        let entries = self.0.lock();
        let holds = |entry: &Entry| entry.failures >= FAILURES && now.duration_since(entry.last) < WAIT;
        keys(name, address).iter().any(|key| entries.get(&**key).is_some_and(holds))
    }

    /// A login has failed.
    pub fn failed(&self, name: &str, address: IpAddr, now: Instant) {
        let mut entries = self.0.lock();
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| now.duration_since(entry.last) < WAIT);
            if entries.len() >= ENTRIES_MAX {
                let mut times: Vec<_> = entries.values().map(|entry| entry.last).collect();
                let middle = times.len() / 2;
                let (_, oldest, _) = times.select_nth_unstable(middle);
                let oldest = *oldest;
                entries.retain(|_, entry| entry.last > oldest);
            }
        }
        for key in keys(name, address) {
            let entry = entries.entry(key.into()).or_insert(Entry { failures: 0, last: now });
            if now.duration_since(entry.last) >= WAIT {
                entry.failures = 0;
            }
            entry.failures += 1;
            entry.last = now;
        }
    }

    /// A login has succeeded.
    pub fn succeeded(&self, name: &str, address: IpAddr) {
        let mut entries = self.0.lock();
        for key in keys(name, address) {
            entries.remove(&*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_too_often_has_to_wait_by_name_and_by_address() {
        let throttle = Throttle::default();
        let (here, there): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let now = Instant::now();
        for _ in 0..FAILURES {
            assert!(!throttle.holds("admin", here, now));
            throttle.failed("admin", here, now);
        }
        assert!(throttle.holds("admin", there, now), "the name waits wherever it comes from");
        assert!(throttle.holds("other", here, now), "the address waits whatever name it tries next");
        assert!(!throttle.holds("other", there, now) && !throttle.holds("admin", here, now + WAIT));
        throttle.succeeded("admin", here);
        assert!(!throttle.holds("admin", here, now));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for number in 0..2 * ENTRIES_MAX as u32 {
            let at = now + Duration::from_millis(number.into());
            throttle.failed(&number.to_string(), IpAddr::from(number.to_be_bytes()), at);
            assert!(throttle.0.lock().len() <= ENTRIES_MAX + 1);
        }
    }
}
