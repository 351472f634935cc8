use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use thingway_contract::Instant;

/// The longest debt, a day. What is beyond is forgotten.
const DEBT_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;
/// What takes longer than this, 36 years, never comes.
const COST_NS_MAX: u64 = 1 << 60;

/// A rate that several clients have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRate {
    /// Long-term average: so many in each span; 0 lets nothing through after the burst.
    pub count: u64,
    /// The span.
    pub per: Duration,
    /// Most at once after a quiet time.
    pub burst: u64,
}

/// A bucket that its clients share without a lock: it holds the time at which all that was taken will have been paid for (the generic cell rate algorithm).
#[derive(Debug)]
pub struct SharedBucket {
    rate: SharedRate,
    /// How far that time may be ahead.
    burst_ns: u64,
    paid_ns: AtomicU64,
}

impl SharedBucket {
    /// A full one.
    pub fn new(rate: SharedRate) -> Self {
        let mut bucket = Self { rate, burst_ns: 0, paid_ns: AtomicU64::new(0) };
        bucket.burst_ns = bucket.cost_ns(rate.burst.max(1));
        bucket
    }

    /// What so many cost, in time.
    fn cost_ns(&self, count: u64) -> u64 {
        let per_ns = self.rate.per.as_nanos().max(1);
        let cost = per_ns.saturating_mul(u128::from(count)).checked_div(u128::from(self.rate.count));
        cost.and_then(|cost| u64::try_from(cost).ok()).unwrap_or(COST_NS_MAX).min(COST_NS_MAX)
    }

    /// Takes so many in any case. Says how long it takes until the debt is paid: zero without one.
    pub fn charge(&self, count: u64, now: Instant) -> Duration {
        let (now_ns, cost) = (nanos(now), self.cost_ns(count));
        let most = now_ns.saturating_add(self.burst_ns).saturating_add(DEBT_NS_MAX);
        let after = |paid: u64| paid.max(now_ns).saturating_add(cost).min(most);
        let before = self.paid_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(after(paid)));
        let paid = after(before.unwrap_or_else(|paid| paid));
        Duration::from_nanos(paid.saturating_sub(now_ns.saturating_add(self.burst_ns)))
    }

    /// Takes so many if there is at least one; what is beyond becomes a debt.
    pub fn take(&self, count: u64, now: Instant) -> bool {
        let (now_ns, one, cost) = (nanos(now), self.cost_ns(1), self.cost_ns(count));
        let taken = self.paid_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let paid = paid.max(now_ns);
            let is_there = paid.saturating_add(one) <= now_ns.saturating_add(self.burst_ns);
            is_there.then(|| paid.saturating_add(cost))
        });
        taken.is_ok()
    }

    /// Nothing was taken for so long that it holds its burst again.
    pub fn is_full(&self, now: Instant) -> bool {
        self.paid_ns.load(Ordering::Relaxed) <= nanos(now)
    }
}

fn nanos(at: Instant) -> u64 {
    at.as_millis().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn bucket(count: u64, burst: u64) -> SharedBucket {
        SharedBucket::new(SharedRate { count, per: Duration::from_secs(1), burst })
    }

    #[test]
    fn burst_then_rate() {
        let bucket = bucket(10, 3);
        assert_eq!([(); 4].map(|()| bucket.take(1, at(50))), [true, true, true, false]);
        assert!(!bucket.take(1, at(149)) && bucket.take(1, at(150)) && !bucket.take(1, at(150)));
        assert!(!bucket.is_full(at(300)) && bucket.is_full(at(450)));
        let taken = (0..10).filter(|_| bucket.take(1, at(1_000_000))).count();
        assert_eq!(taken, 3, "never more than its burst");
    }

    #[test]
    fn debts_are_paid_back() {
        let bucket = bucket(10, 5);
        assert_eq!(bucket.charge(5, at(0)), Duration::ZERO);
        assert_eq!(bucket.charge(20, at(0)), Duration::from_secs(2));
        assert_eq!(bucket.charge(0, at(1500)), Duration::from_millis(500));
        assert!(!bucket.take(1, at(2000)) && bucket.take(1, at(2100)));
    }

    #[test]
    fn slow_rates_have_their_burst_too() {
        let bucket = SharedBucket::new(SharedRate { count: 1, per: Duration::from_secs(3600), burst: 3 });
        assert_eq!([(); 4].map(|()| bucket.take(1, at(7))), [true, true, true, false]);
        assert_eq!(bucket.charge(5, at(7)), Duration::from_secs(5 * 3600));
    }

    #[test]
    fn extremes() {
        let none = bucket(0, 0);
        assert!(none.take(1, at(5)) && !none.take(1, at(5)));
        assert!(none.charge(u64::MAX, at(5)) > Duration::from_secs(1));
        let fast = SharedBucket::new(SharedRate { count: u64::MAX, per: Duration::from_millis(1), burst: 1 });
        assert_eq!(fast.charge(1000, at(u64::MAX / 2)), Duration::ZERO);
        assert!(fast.take(1000, at(u64::MAX / 2)));
    }

    #[test]
    fn many_at_once_get_no_more_than_one() {
        let bucket = bucket(1, 1000);
        let taken: usize = std::thread::scope(|scope| {
            let one = || (0..1000).filter(|_| bucket.take(1, at(0))).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum()
        });
        assert_eq!(taken, 1000);
    }
}
