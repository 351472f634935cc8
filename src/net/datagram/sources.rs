use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use foldhash::fast::RandomState;
use thingway_contract::Instant;

use crate::net::limit::{Rate, TokenBucket};

/// Most sources that are watched at a time on a core. While there are more, those that come then are not limited one by one.
const SOURCES_MAX: usize = 65_536;

/// How much each source may still send.
#[derive(Debug)]
pub(super) struct Sources {
    rate: Option<Rate>,
    buckets: HashMap<IpAddr, TokenBucket, RandomState>,
    /// Not swept again before.
    sweep_at: Instant,
}

impl Sources {
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, buckets: HashMap::default(), sweep_at: Instant::ZERO }
    }

    /// Takes account of a datagram; false when it is one too many.
    pub fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let source = network_of(source);
        if self.buckets.len() >= SOURCES_MAX && !self.buckets.contains_key(&source) {
            self.sweep(now);
            if self.buckets.len() >= SOURCES_MAX {
                return true;
            }
        }
        self.buckets.entry(source).or_insert_with(|| TokenBucket::new(rate, now)).take(now).is_ok()
    }

    /// Forgets sources that have been quiet for so long that they may send a full burst again; at most once a second.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now.plus_secs(1);
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }
}

/// Who has one IPv6 address has 2^64 of them.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_rate() {
        let mut sources = Sources::new(Some(Rate::per_second(1, 2)));
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let now = Instant::from_millis(5000);
        assert_eq!([(); 3].map(|()| sources.admit(one, now)), [true, true, false]);
        assert!(sources.admit(other, now));
        assert!(!sources.admit("::ffff:10.0.0.1".parse().unwrap(), now), "the same address by another socket");
        assert!(sources.admit(one, now.plus_secs(1)));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let mut sources = Sources::new(Some(Rate::per_second(1, 1)));
        let now = Instant::from_millis(5000);
        assert!(sources.admit("2001:db8::1".parse().unwrap(), now));
        assert!(!sources.admit("2001:db8::2".parse().unwrap(), now));
        assert!(sources.admit("2001:db8:0:1::2".parse().unwrap(), now));
    }

    #[test]
    fn the_table_is_bounded_and_quiet_sources_make_room() {
        let mut sources = Sources::new(Some(Rate::per_second(1, 1)));
        let now = Instant::from_millis(5000);
        for number in 0..SOURCES_MAX as u32 + 10 {
            assert!(sources.admit(IpAddr::V4(number.into()), now));
        }
        assert_eq!(sources.buckets.len(), SOURCES_MAX);
        assert!(sources.admit("200.0.0.1".parse().unwrap(), now.plus_secs(2)));
        assert_eq!(sources.buckets.len(), 1);
    }
}
