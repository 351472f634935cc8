use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use thingway_connectors::Failure;

/// How often the same is said at most.
const EVERY: Duration = Duration::from_secs(10);

/// Says in the log what is wrong with a service, but not for each client anew.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// When it may be said again, in milliseconds since 1970.
    next: AtomicU64,
    /// How often it was not said since.
    unsaid: AtomicU64,
}

impl Complaint {
    /// The operator has to do something about this.
    pub fn say(&self, service: &str, what: &str) {
        if let Some(more) = self.may_say(super::super::unix_ms()) {
            let more = if more == 0 { String::new() } else { format!(" (and {more} more like it)") };
            tracing::error!(service, "{what}{more}");
        }
    }

    /// A failure. Of outages the line itself tells.
    pub fn failed(&self, service: &str, failure: &Failure) {
        match failure {
            Failure::Resting => {}
            failure => self.say(service, &failure.to_string()),
        }
    }

    fn may_say(&self, now_ms: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let later = now_ms + EVERY.as_millis() as u64;
        let is_due = now_ms >= next;
        if is_due && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_not_said_again_and_again() {
        let complaint = Complaint::default();
        assert_eq!(complaint.may_say(1_000), Some(0));
        assert_eq!((complaint.may_say(1_001), complaint.may_say(10_999)), (None, None));
        assert_eq!(complaint.may_say(11_000), Some(2));
        assert_eq!(complaint.may_say(11_001), None);
    }
}
