//! Messages of another gateway, or of an earlier day: they are kept here as they were there, and nobody is told of them as of a publication.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use thingway_contract::{Instant, Message, MessageHead};
use thingway_store::{Epoch, WallMs};

use super::{Bus, Counter, Lane, kept::Kind, publish::with_retained_expiry};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is here. The lane's ticket tells when it is safe.
    Taken,
    /// Its time is over.
    Over,
    /// There is no room for it, or such messages are switched off.
    Refused,
}

impl Bus {
    /// Retains a message in the place of its topic's last, without publishing it. Its times are the wall's, as an epoch of zero has them.
    pub fn import_retained(&self, message: &Message, now: Instant, lane: &mut Lane) -> Imported {
        let epoch = self.epoch();
        let received = message.head().received_at.as_millis();
        let message = message.with_head(MessageHead { retain: true, ..here(message, epoch) });
        let expires_at = |secs| epoch.instant(received.saturating_add(u64::from(secs) * 1000));
        let kept = with_retained_expiry(&message, self.tuning().retained_expiry_secs, expires_at);
        if kept.is_expired(now) {
            return Imported::Over;
        }
        if !self.tuning().retain_available || self.retained.insert(kept).is_err() {
            lane.count(Counter::RetainRefused, 1);
            return Imported::Refused;
        }
        lane.count(Counter::MessagesRetained, 1);
        self.record(&message, SmallVec::new(), Kind { retains: true, ..Kind::default() }, lane);
        Imported::Taken
    }

    /// Puts a message off until it is due. Its times are the wall's, as an epoch of zero has them.
    pub fn import_delayed(&self, due: WallMs, message: &Message, now: Instant, lane: &mut Lane) -> Imported {
        let (limits, epoch) = (self.tuning(), self.epoch());
        let due = epoch.instant(due);
        if due <= now {
            return Imported::Over;
        }
        let message = message.with_head(here(message, epoch));
        let id = self.next_delayed.fetch_add(1, Ordering::Relaxed);
        let has_room = limits.delayed_available
            && self.timers.delayed(due, id, message.clone(), limits.delayed_messages_max, limits.delayed_bytes_max);
        if !has_room {
            lane.count(Counter::DroppedQuota, 1);
            return Imported::Refused;
        }
        lane.count(Counter::MessagesDelayed, 1);
        self.record_delay(id, due, message, None, lane);
        Imported::Taken
    }

    /// What the wall showed at the clock's zero.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.config.events.clock_zero_unix_ms)
    }
}

/// A message's head with the times of this clock.
fn here(message: &Message, epoch: Epoch) -> MessageHead {
    let head = message.head();
    let time = |at: Instant| if at.is_never() { at } else { epoch.instant(at.as_millis()) };
    MessageHead { received_at: time(head.received_at), expires_at: time(head.expires_at), ..*head }
}

#[cfg(test)]
mod tests {
    use thingway_contract::{Properties, PublisherKey, Topic, TopicLimits};

    use super::*;
    use crate::bus::{BusConfig, NO_CORE, Tuning};

    const ZERO: WallMs = 1_000_000;

    fn bus(change: impl FnOnce(&mut BusConfig)) -> Bus {
        let tuning = Tuning { retained_expiry_secs: 100, delayed_messages_max: 1, ..Tuning::default() };
        let mut config = BusConfig { tuning, ..BusConfig::default() };
        config.events.clock_zero_unix_ms = ZERO;
        change(&mut config);
        Bus::new(config, "x")
    }

    fn message(topic: &str, received: WallMs, expires: Option<WallMs>) -> Message {
        let head = MessageHead {
            received_at: Instant::from_millis(received),
            expires_at: expires.map_or(Instant::NEVER, Instant::from_millis),
            publisher: PublisherKey(7),
            ..MessageHead::default()
        };
        let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
        Message::new(head, topic, Properties::default(), b"x")
    }

    #[test]
    fn times_are_those_of_the_wall() {
        let bus = bus(|_| {});
        let mut lane = bus.lane(NO_CORE);
        let now = Instant::from_millis(60_000);
        let mut import = |message: &Message| bus.import_retained(message, now, &mut lane);
        assert_eq!(import(&message("old", ZERO - 40_000, None)), Imported::Over, "100 s after it was received");
        assert_eq!(import(&message("over", ZERO, Some(ZERO + 60_000))), Imported::Over);
        assert_eq!(import(&message("new", ZERO - 30_000, None)), Imported::Taken);
        assert_eq!(import(&message("ending", ZERO + 1000, Some(ZERO + 70_000))), Imported::Taken);
        let kept = |topic: &str| *bus.retained().get(topic, now).expect("it is retained").head();
        assert_eq!(kept("new").expires_at, Instant::from_millis(70_000));
        let ending = kept("ending");
        assert_eq!(
            (ending.received_at, ending.expires_at, ending.retain),
            (Instant::from_millis(1000), Instant::from_millis(70_000), true)
        );
    }

    #[test]
    fn limits_hold_for_what_is_imported() {
        let bus = bus(|config| config.tuning.retain_available = false);
        let mut lane = bus.lane(NO_CORE);
        let now = Instant::from_millis(10);
        let one = message("a", ZERO, None);
        assert_eq!(bus.import_retained(&one, now, &mut lane), Imported::Refused);
        let mut delay = |due| bus.import_delayed(due, &one, now, &mut lane);
        assert_eq!(delay(ZERO + 10), Imported::Over);
        assert_eq!(delay(ZERO + 11), Imported::Taken);
        assert_eq!(delay(ZERO + 12), Imported::Refused, "there may be one");
        let waiting = bus.delayed_messages();
        assert_eq!((waiting.len(), waiting[0].0), (1, Instant::from_millis(11)));
    }
}
