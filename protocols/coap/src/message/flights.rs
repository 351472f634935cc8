use thingway_contract::Instant;

/// Confirmable messages of ours that are not acknowledged (RFC 7252, section 4.2): the first few are under way, the rest waits.
#[derive(Debug, Default)]
pub(super) struct Flights {
    list: Vec<Flight>,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u16,
    pub(super) tag: u32,
    pub(super) bytes: Box<[u8]>,
    /// When to send again; unused until it was sent once.
    pub(super) deadline: Instant,
    pub(super) timeout_ms: u64,
    pub(super) sent: u8,
}

impl Flights {
    pub(super) fn push(&mut self, flight: Flight) {
        if self.list.is_empty() {
            self.list.reserve_exact(1);
        }
        self.list.push(flight);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.list.iter()
    }

    /// Those that may be under way.
    pub(super) fn active(&mut self, nstart: usize) -> impl Iterator<Item = &mut Flight> {
        self.list.iter_mut().take(nstart)
    }

    pub(super) fn take(&mut self, id: u16) -> Option<Flight> {
        // One that was never sent cannot have been acknowledged.
        let at = self.list.iter().position(|flight| flight.id == id && flight.sent > 0)?;
        Some(self.list.remove(at))
    }

    pub(super) fn drop_tagged(&mut self, tag: u32) {
        self.list.retain(|flight| flight.tag != tag);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.list.iter().filter(|flight| flight.sent > 0).map(|flight| flight.deadline).min().unwrap_or(Instant::NEVER)
    }
}
