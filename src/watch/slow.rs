use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use thingway_contract::{Delivery, Instant, Message};

use super::{Look, Watch, Who};

/// Messages that are remembered until their subscribers acknowledge them, when it is the response that counts. Of further ones nothing is known.
const UNDER_WAY_MAX: usize = 10_000;
/// What was not acknowledged for so long is forgotten when there is no room.
const UNDER_WAY_MS: u64 = 60_000;

/// Which time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SlowTime {
    /// From the gateway's receiving a message until its subscriber has it: acknowledges it, or was sent it with QoS 0.
    #[default]
    Whole,
    /// From its receiving until it is sent.
    Internal,
    /// From its sending until it is acknowledged.
    Response,
}

/// Which subscribers are slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowSettings {
    /// Whether anybody looks.
    pub enable: bool,
    /// Whoever takes longer is slow.
    pub threshold_ms: u64,
    /// For how long.
    pub expire_ms: u64,
    /// How many of the slowest are told.
    pub count_max: usize,
    /// Which time counts.
    pub time: SlowTime,
}

/// A subscriber that was slow with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Who.
    pub client_id: Box<str>,
    /// With what.
    pub topic: Box<str>,
    /// The longest time that it took, in milliseconds.
    pub took_ms: u64,
    /// When that was last.
    pub at: Instant,
}

/// The slowest.
#[derive(Debug, Default)]
pub(super) struct SlowTable {
    threshold_ms: AtomicU64,
    time: AtomicU8,
    limits: Mutex<(usize, u64)>,
    slowest: Mutex<Vec<Slow>>,
    /// When messages were sent, by subscriber and message.
    under_way: Mutex<HashMap<(u64, usize), Instant>>,
}

impl SlowTable {
    fn time(&self) -> SlowTime {
        match self.time.load(Ordering::Relaxed) {
            0 => SlowTime::Whole,
            1 => SlowTime::Internal,
            _ => SlowTime::Response,
        }
    }

    pub fn delivered(&self, delivery: &Delivery, now: Instant, who: &dyn Fn() -> Who) {
        if delivery.retain {
            // It did not wait for anybody.
            return;
        }
        let is_acknowledged = delivery.qos.is_acknowledged();
        match self.time() {
            SlowTime::Response if is_acknowledged => {
                let mut under_way = self.under_way.lock();
                if under_way.len() >= UNDER_WAY_MAX {
                    under_way.retain(|_, sent| now.since(*sent).as_millis() < u128::from(UNDER_WAY_MS));
                }
                if under_way.len() < UNDER_WAY_MAX {
                    under_way.insert((who().key, address(&delivery.message)), now);
                }
            }
            SlowTime::Response => {}
            SlowTime::Whole if is_acknowledged => {}
            SlowTime::Whole | SlowTime::Internal => self.judge(&delivery.message, None, now, who),
        }
    }

    /// Its subscriber has acknowledged a message.
    pub fn acknowledged(&self, message: &Message, now: Instant, who: &dyn Fn() -> Who) {
        match self.time() {
            SlowTime::Internal => {}
            SlowTime::Whole => self.judge(message, None, now, who),
            SlowTime::Response => {
                let sent = self.under_way.lock().remove(&(who().key, address(message)));
                if sent.is_some() {
                    self.judge(message, sent, now, who);
                }
            }
        }
    }

    fn judge(&self, message: &Message, since: Option<Instant>, now: Instant, who: &dyn Fn() -> Who) {
        let threshold = self.threshold_ms.load(Ordering::Relaxed);
        let received = since.unwrap_or(message.head().received_at);
        if (now.since(received).as_millis() as u64) <= threshold {
            return;
        }
        let who = who();
        // While it was away nobody could be quick.
        let took_ms = now.since(received.max(who.since)).as_millis() as u64;
        if took_ms > threshold {
            self.note(who.client_id.as_str(), message.topic(), took_ms, now);
        }
    }

    fn note(&self, client_id: &str, topic: &str, took_ms: u64, now: Instant) {
        let (count_max, expire_ms) = *self.limits.lock();
        let mut slowest = self.slowest.lock();
        let is_over = |slow: &Slow| now.since(slow.at).as_millis() as u64 > expire_ms;
        if let Some(known) = slowest.iter_mut().find(|slow| *slow.client_id == *client_id && *slow.topic == *topic) {
            known.took_ms = if is_over(known) { took_ms } else { known.took_ms.max(took_ms) };
            known.at = now;
        } else {
            slowest.retain(|slow| !is_over(slow));
            if slowest.len() >= count_max && slowest.last().is_none_or(|last| last.took_ms >= took_ms) {
                return;
            }
            slowest.push(Slow { client_id: client_id.into(), topic: topic.into(), took_ms, at: now });
        }
        slowest.sort_by_key(|slow| std::cmp::Reverse(slow.took_ms));
        slowest.truncate(count_max);
    }
}

fn address(message: &Message) -> usize {
    message.payload().as_ptr().addr()
}

impl Watch {
    /// Looks for slow subscribers by these settings.
    pub fn look_for_slow(&self, settings: &SlowSettings) {
        let slow = &self.slow;
        slow.threshold_ms.store(settings.threshold_ms, Ordering::Relaxed);
        slow.time.store(settings.time as u8, Ordering::Relaxed);
        *slow.limits.lock() = (settings.count_max, settings.expire_ms);
        slow.slowest.lock().truncate(settings.count_max);
        if !settings.enable || settings.time != SlowTime::Response {
            slow.under_way.lock().clear();
        }
        self.set(Look::Slow, settings.enable);
    }

    /// The slowest subscribers of late, the slowest first.
    pub fn slowest(&self, now: Instant) -> Vec<Slow> {
        let (_, expire_ms) = *self.slow.limits.lock();
        let mut slowest = self.slow.slowest.lock();
        slowest.retain(|slow| now.since(slow.at).as_millis() as u64 <= expire_ms);
        slowest.clone()
    }

    /// Forgets them.
    pub fn forget_slow(&self) {
        self.slow.slowest.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::{ClientId, MessageHead, Properties, Qos, Topic, TopicLimits};

    use super::*;

    fn delivery(received_ms: u64, topic: &str, qos: Qos) -> Delivery {
        let head = MessageHead { received_at: Instant::from_millis(received_ms), qos, ..MessageHead::default() };
        let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
        let message = Message::new(head, topic, Properties::default(), b"x");
        Delivery { message, rare: None, subscription_id: 0, qos, retain: false, packet_id: 0 }
    }

    fn who(id: &str, since: u64) -> Who {
        Who {
            client_id: ClientId::new(id, 99).expect("an id"),
            key: 7,
            remote: None,
            since: Instant::from_millis(since),
        }
    }

    fn told(watch: &Watch, now: u64) -> Vec<(String, u64)> {
        let slowest = watch.slowest(Instant::from_millis(now));
        slowest.into_iter().map(|slow| (format!("{} {}", slow.client_id, slow.topic), slow.took_ms)).collect()
    }

    fn watching(time: SlowTime) -> Watch {
        let watch = Watch::default();
        let settings = SlowSettings { enable: true, threshold_ms: 100, expire_ms: 10_000, count_max: 2, time };
        watch.look_for_slow(&settings);
        watch
    }

    #[test]
    fn the_slowest_are_told_until_they_expire() {
        let watch = watching(SlowTime::Internal);
        let sent = |id: &str, received: u64, now: u64, topic: &str| {
            let one = delivery(received, topic, Qos::AtLeastOnce);
            watch.delivered(&one, Instant::from_millis(now), &|| who(id, 0));
        };
        sent("quick", 1000, 1100, "a");
        assert!(told(&watch, 1100).is_empty());
        sent("one", 1000, 1200, "a");
        sent("two", 1000, 1300, "a");
        sent("one", 1000, 1150, "b");
        assert_eq!(told(&watch, 1300), [("two a".into(), 300), ("one a".into(), 200)], "no room for a third");
        sent("three", 1000, 1500, "a");
        assert_eq!(told(&watch, 1500), [("three a".into(), 500), ("two a".into(), 300)]);
        sent("three", 5000, 5150, "a");
        assert_eq!(told(&watch, 11_400), [("three a".into(), 500)], "the other has expired");
        watch.forget_slow();
        assert!(told(&watch, 11_400).is_empty());
    }

    #[test]
    fn each_time_is_what_it_says() {
        for (time, expected) in
            [(SlowTime::Whole, Some(700)), (SlowTime::Internal, Some(300)), (SlowTime::Response, Some(400))]
        {
            let watch = watching(time);
            let one = delivery(1000, "a", Qos::AtLeastOnce);
            watch.delivered(&one, Instant::from_millis(1300), &|| who("c", 0));
            watch.acknowledged(&one.message, Instant::from_millis(1700), &|| who("c", 0));
            assert_eq!(told(&watch, 1700).first().map(|(_, took)| *took), expected, "{time:?}");
        }
    }

    #[test]
    fn who_was_away_or_gets_what_is_retained_is_not_slow() {
        let watch = watching(SlowTime::Internal);
        let mut one = delivery(1000, "a", Qos::AtMostOnce);
        watch.delivered(&one, Instant::from_millis(9000), &|| who("c", 8950));
        one.retain = true;
        watch.delivered(&one, Instant::from_millis(9000), &|| who("c", 0));
        assert!(told(&watch, 9000).is_empty());
    }
}
