//! What those who look at a client want of its conversation.

use thingway_contract::{Delivery, Exchanges, Instant, Protocol};

use super::Conversation;
use crate::{
    bus::{Errands, Line, Traffic},
    net::service::Service,
};

impl<P: Protocol> Conversation<P> {
    /// Does what it was asked to do.
    pub fn run_errands(&mut self, errands: Errands, traffic: Traffic, service: &Service<P>, now: Instant) {
        if self.session.is_some() {
            errands.run(&mut Asked { conversation: self, traffic, service, now });
        }
    }
}

struct Asked<'a, P: Protocol> {
    conversation: &'a mut Conversation<P>,
    traffic: Traffic,
    service: &'a Service<P>,
    now: Instant,
}

impl<P: Protocol> Line for Asked<'_, P> {
    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn exchanges(&self) -> Option<Exchanges> {
        self.conversation.machine.exchanges()
    }

    fn under_way(&self, show: &mut dyn FnMut(u16, &Delivery)) {
        self.conversation.machine.under_way(show);
    }

    fn set_keep_alive(&mut self, secs: u16) -> bool {
        let Conversation { machine, session, epoch, .. } = &mut *self.conversation;
        let is_set = machine.set_keep_alive(secs, self.now);
        if let (true, Some(session)) = (is_set, session) {
            self.service.bus.note_keep_alive(session, *epoch, secs);
        }
        is_set
    }
}
