use std::time::Duration;

/// Transmission parameters (RFC 7252, section 4.8), and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// `ACK_TIMEOUT` in milliseconds: the least time to the first retransmission.
    pub ack_timeout_ms: u32,
    /// `ACK_RANDOM_FACTOR` in thousandths.
    pub ack_random_permille: u32,
    /// `MAX_RETRANSMIT`: how often a confirmable message is sent again. At most 20 count.
    pub max_retransmit: u8,
    /// `NSTART`: how many confirmable messages may be unacknowledged at a time. 0 counts as 1.
    pub nstart: u8,
    /// Most messages of a peer whose ids are remembered, so that duplicates are known. At the limit the oldest is forgotten: a duplicate of it would be
    /// taken for a new message. A peer that keeps to `NSTART` 1 never has more than one that can still be repeated.
    pub exchanges_max: usize,
}

impl Default for Transmission {
    fn default() -> Self {
        Self { ack_timeout_ms: 2000, ack_random_permille: 1500, max_retransmit: 4, nstart: 1, exchanges_max: 128 }
    }
}

/// `MAX_LATENCY` (RFC 7252, section 4.8.2).
const MAX_LATENCY: Duration = Duration::from_secs(100);

impl Transmission {
    fn spans(&self, timeouts: u64) -> Duration {
        let ms = u64::from(self.ack_timeout_ms).saturating_mul(timeouts);
        Duration::from_millis(ms.saturating_mul(self.ack_random_permille.into()) / 1000)
    }

    pub(super) fn retransmissions(&self) -> u8 {
        self.max_retransmit.min(20)
    }

    /// How many message ids so many milliseconds use up.
    pub(crate) fn id_ticks(&self, ms: u64) -> u32 {
        (ms / self.id_ms()) as u32
    }

    /// Milliseconds in which one message id is used up: 2^16 of them last until a peer has forgotten the first, which may have reached it with the last
    /// retransmission.
    fn id_ms(&self) -> u64 {
        let forgotten = self.exchange_lifetime() + self.max_transmit_span() + MAX_LATENCY;
        (u64::try_from(forgotten.as_millis()).unwrap_or(u64::MAX) >> 16) + 1
    }

    /// `MAX_TRANSMIT_SPAN`: from the first to the last transmission; 45 s by default.
    pub fn max_transmit_span(&self) -> Duration {
        self.spans((1 << self.retransmissions()) - 1)
    }

    /// `MAX_TRANSMIT_WAIT`: from the first transmission to giving up; 93 s by default.
    pub fn max_transmit_wait(&self) -> Duration {
        self.spans((2 << self.retransmissions()) - 1)
    }

    /// `EXCHANGE_LIFETIME`: how long a confirmable message's id stays in use; 247 s by default.
    pub fn exchange_lifetime(&self) -> Duration {
        self.max_transmit_span() + 2 * MAX_LATENCY + Duration::from_millis(self.ack_timeout_ms.into())
    }

    /// `NON_LIFETIME`: how long a non-confirmable message's id stays in use; 145 s by default.
    pub fn non_lifetime(&self) -> Duration {
        self.max_transmit_span() + MAX_LATENCY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7252_section_4_8_2_derived_times() {
        let defaults = Transmission::default();
        assert_eq!(defaults.max_transmit_span(), Duration::from_secs(45));
        assert_eq!(defaults.max_transmit_wait(), Duration::from_secs(93));
        assert_eq!(defaults.exchange_lifetime(), Duration::from_secs(247));
        assert_eq!(defaults.non_lifetime(), Duration::from_secs(145));
        assert_eq!(defaults.id_ms(), 6);
    }
}
