use thingway_contract::{Outbox, Parked, Request};

use super::{Conversation, KEPT, Phase, UNTOLD};

/// What the gateway is told of a kept session while it lasts, so that the next conversation has it even if the gateway is killed: topic ids that the
/// client knows, and whether it sleeps.
///
/// Sleep is told when it changes. Topic ids are told with it, when a sixteenth of them have changed (with 16 or fewer: each), and with the client's next
/// PINGREQ. A gateway that is killed before forgets the others: those that the client has learnt are refused with 0x02 until it registers them
/// again, as nothing else ever has their numbers ([`crate::Config::first_topic_id`]); of those that it has forgotten it says so again.
impl Conversation {
    /// The client sleeps for so long at a time; 0 when it is active.
    pub(super) const fn set_sleep(&mut self, secs: u16) {
        if self.sleep_secs != secs {
            self.sleep_secs = secs;
            self.set(UNTOLD, true);
        }
    }

    /// The client has nothing else to do: the gateway is told now what has changed, however little.
    pub(super) fn tell_rest(&mut self) {
        if self.registry.as_ref().is_some_and(|registry| registry.is_untold()) {
            self.set(UNTOLD, true);
        }
    }

    /// At the end of each input and reply: tells what must be told.
    pub(super) fn tell(&mut self, out: &mut Outbox) {
        let must = self.has(UNTOLD) || self.registry.as_ref().is_some_and(|registry| registry.must_be_told());
        if !must || !self.has(KEPT) {
            return;
        }
        // The conversation leaves the session, and leaves all this with it.
        if matches!(self.phase, Phase::Connecting | Phase::Closed(_)) {
            return;
        }
        self.set(UNTOLD, false);
        let topic_ids = self.registry.as_mut().map(|registry| registry.tell()).unwrap_or_default();
        let parked = Parked { topic_ids, sleep_secs: self.sleep_secs, ..Parked::default() };
        out.request(Request::Keep { parked: Box::new(parked) });
    }
}
