//! What of the bus's settings may change while it works.

use thingway_contract::TopicLimits;

use super::{Bus, retained::RetainLimits, shared::ShareStrategy};

/// Bounds on sessions, topics, retained and delayed messages, and how shared subscriptions choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Bounds on retained messages. What is kept when they become narrower stays.
    pub retained: RetainLimits,
    /// Seconds after which a retained message is forgotten that its publisher gave no expiry; `u32::MAX` is never. It counts for messages to come.
    pub retained_expiry_secs: u32,
    /// False makes `$delayed/…` a topic that cannot be published to; what waits then is published when it is due.
    pub delayed_available: bool,
    /// Most delayed messages that wait at a time.
    pub delayed_messages_max: usize,
    /// Most bytes of delayed messages that wait at a time.
    pub delayed_bytes_max: usize,
    /// Longest delay in seconds; longer ones are refused.
    pub delayed_secs_max: u32,
    /// How a shared subscription chooses among its members.
    pub share_strategy: ShareStrategy,
    /// False refuses retained publications.
    pub retain_available: bool,
    /// Ceiling on the session expiry interval, in seconds; `u32::MAX` is none. It counts when a client connects or asks for another.
    pub session_expiry_secs_max: u32,
    /// Most subscriptions of one session. Who has more keeps them.
    pub subscriptions_max: usize,
    /// Bounds on topics that the bus checks itself (inside `$delayed/…`).
    pub topic_limits: TopicLimits,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            retained: RetainLimits::default(),
            retained_expiry_secs: u32::MAX,
            delayed_available: true,
            delayed_messages_max: 100_000,
            delayed_bytes_max: 256 * 1024 * 1024,
            delayed_secs_max: 4_294_967,
            share_strategy: ShareStrategy::default(),
            retain_available: true,
            session_expiry_secs_max: u32::MAX,
            subscriptions_max: usize::MAX,
            topic_limits: TopicLimits::default(),
        }
    }
}

impl Bus {
    /// As it is tuned now.
    pub fn tuning(&self) -> arc_swap::Guard<std::sync::Arc<Tuning>> {
        self.tuning.load()
    }

    /// Counts from now on.
    pub fn tune(&self, tuning: Tuning) {
        self.retained.set_limits(tuning.retained);
        self.tuning.store(tuning.into());
    }
}
