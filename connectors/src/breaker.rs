use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When a service is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Outages in a row after which it is.
    pub failures: u32,
    /// For how long. Then one question is tried, and its outcome decides.
    pub rest: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, rest: Duration::from_secs(5) }
    }
}

/// Leaves a service alone for a while that does not answer, so that nobody waits for it.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Outages in a row.
    failures: u32,
    /// When it rests: until then.
    rests_until: Option<Instant>,
    /// The one question that is tried after a rest.
    trying: bool,
}

/// A question that may be asked. Its outcome is to be told; without that it was an outage only if it is the one that is tried.
#[derive(Debug)]
pub struct Entered<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
    told: bool,
}

/// What an outcome has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Nothing.
    No,
    /// The service is left alone from now on.
    Resting,
    /// The service is asked again.
    Back,
}

impl Breaker {
    /// One that lets all through.
    pub const fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: Mutex::new(State { failures: 0, rests_until: None, trying: false }) }
    }

    /// Whether the service may be asked.
    pub fn enter(&self) -> Option<Entered<'_>> {
        let mut state = self.state.lock();
        let is_trial = match state.rests_until {
            None => false,
            Some(until) if state.trying || Instant::now() < until => return None,
            Some(_) => true,
        };
        state.trying = is_trial;
        Some(Entered { breaker: self, is_trial, told: false })
    }

    /// True while the service is left alone.
    pub fn is_resting(&self) -> bool {
        self.state.lock().rests_until.is_some()
    }
}

impl Entered<'_> {
    /// Tells whether the service was there.
    pub fn tell(mut self, was_there: bool) -> Turned {
        self.told = true;
        self.note(was_there)
    }

    fn note(&self, was_there: bool) -> Turned {
        let mut state = self.breaker.state.lock();
        if self.is_trial {
            state.trying = false;
        }
        if was_there {
            state.failures = 0;
            return if state.rests_until.take().is_some() { Turned::Back } else { Turned::No };
        }
        state.failures = state.failures.saturating_add(1);
        if !self.is_trial && (state.rests_until.is_some() || state.failures < self.breaker.settings.failures) {
            return Turned::No;
        }
        state.rests_until = Some(Instant::now() + self.breaker.settings.rest);
        if self.is_trial { Turned::No } else { Turned::Resting }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // Nobody waits any more for what was tried: nothing is known, and somebody else may try.
        if !self.told && self.is_trial {
            self.breaker.state.lock().trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings { failures: 3, rest: Duration::from_secs(5) };

    fn fail(breaker: &Breaker) -> Turned {
        breaker.enter().expect("it is asked").tell(false)
    }

    #[tokio::test(start_paused = true)]
    async fn it_rests_after_failures_in_a_row_and_tries_one() {
        let breaker = Breaker::new(SETTINGS);
        assert_eq!((fail(&breaker), fail(&breaker)), (Turned::No, Turned::No));
        assert_eq!(breaker.enter().expect("it is asked").tell(true), Turned::No);
        assert_eq!((fail(&breaker), fail(&breaker), fail(&breaker)), (Turned::No, Turned::No, Turned::Resting));
        assert!(breaker.enter().is_none() && breaker.is_resting());
        tokio::time::advance(Duration::from_secs(6)).await;
        let trial = breaker.enter().expect("one is tried");
        assert!(breaker.enter().is_none(), "only one");
        assert_eq!(trial.tell(false), Turned::No);
        assert!(breaker.enter().is_none());
        tokio::time::advance(Duration::from_secs(6)).await;
        drop(breaker.enter().expect("one is tried"));
        let trial = breaker.enter().expect("who gave up does not count");
        assert_eq!(trial.tell(true), Turned::Back);
        assert!(!breaker.is_resting() && breaker.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_under_way_when_it_begins_to_rest_change_nothing() {
        let breaker = Breaker::new(BreakerSettings { failures: 1, ..SETTINGS });
        let (first, second, third) = (breaker.enter(), breaker.enter(), breaker.enter());
        assert_eq!(first.expect("asked").tell(false), Turned::Resting);
        assert_eq!(second.expect("asked").tell(false), Turned::No);
        assert_eq!(third.expect("asked").tell(true), Turned::Back);
    }
}
