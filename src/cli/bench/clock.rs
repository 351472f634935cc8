use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, read once from the system's clock and then counted by the monotonic one: a step of the system's clock changes nothing, and
/// generators on one machine (or on several whose clocks agree) understand each other's time stamps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begun: Instant,
    begun_ns: u64,
}

impl Clock {
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), begun_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or_default() }
    }

    pub fn now_ns(&self) -> u64 {
        self.begun_ns + self.begun.elapsed().as_nanos() as u64
    }
}
