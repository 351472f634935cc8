use std::collections::VecDeque;

/// What a publisher has sent, and what has become of it.
#[derive(Debug)]
pub struct Flow {
    pub sent: u64,
    /// To all its subscribers together.
    pub delivered: u64,
    /// Deliveries that are waited for no more.
    pub forgiven: u64,
    pub unacknowledged: u32,
    /// The last packet identifier.
    pub id: u16,
    /// How many messages it may still send.
    pub allowance: u64,
    /// Listed among those that may have room.
    pub is_eager: bool,
    /// What waits for its acknowledgement, oldest first: over datagrams, and where the time until then is what is measured.
    pub in_flight: VecDeque<InFlight>,
}

/// A message that may have to be sent again.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    pub id: u16,
    pub sequence: u32,
    pub due_ns: u64,
    pub sent_ns: u64,
    pub tries: u32,
    /// The server has it, and waits for its release.
    pub is_received: bool,
}

impl Flow {
    /// May send so many messages, whose identifiers begin behind this one.
    pub fn new(allowance: u64, id: u16) -> Self {
        Self {
            sent: 0,
            delivered: 0,
            forgiven: 0,
            unacknowledged: 0,
            id,
            allowance,
            is_eager: false,
            in_flight: VecDeque::new(),
        }
    }

    /// How many messages it may send now: no more than `window` that have not reached all `subscribers`, nor than `window` that the server has not
    /// acknowledged where it does that.
    pub fn room(&self, window: u32, subscribers: u64, is_acknowledged: bool) -> u32 {
        let mut room = window;
        if subscribers > 0 {
            let under_way = (self.sent * subscribers).saturating_sub(self.delivered + self.forgiven);
            room = ((u64::from(window) * subscribers).saturating_sub(under_way) / subscribers) as u32;
        }
        if is_acknowledged {
            room = room.min(window.saturating_sub(self.unacknowledged));
        }
        room.min(u32::try_from(self.allowance).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_window_the_server_and_the_limit_leave() {
        let mut flow = Flow::new(100, 0);
        assert_eq!(flow.room(8, 3, false), 8);
        flow.sent = 8;
        assert_eq!(flow.room(8, 3, false), 0);
        flow.delivered = 2;
        assert_eq!(flow.room(8, 3, false), 0, "the third subscriber has not got it");
        flow.delivered = 3;
        assert_eq!(flow.room(8, 3, false), 1);
        flow.forgiven = 21;
        assert_eq!(flow.room(8, 3, false), 8);
        flow.unacknowledged = 5;
        assert_eq!(flow.room(8, 3, true), 3);
        assert_eq!(flow.room(8, 0, true), 3);
        flow.allowance = 2;
        assert_eq!(flow.room(8, 0, true), 2);
    }
}
