use std::sync::Arc;

use thingway_contract::{Qos, WillFate};

use super::{Entry, Host, Kept, Library, Machine, link::Link, queue::Queue, weight};
use crate::{Attach, Cause, Exchange, Number, Position, Publish, Record, Target, WallMs};

impl<S> Machine<S> {
    /// Applies the next record of the log, which is at `at`. `handle` is what the host calls the session of an [`Record::Attach`].
    ///
    /// A record that names what is not there any more changes nothing.
    pub fn apply<H: Host<Session = S>>(
        &mut self,
        at: Position,
        record: Record,
        handle: Option<S>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        self.position = at;
        match record {
            Record::Attach(attach) => self.attach(at, *attach, handle, library, host),
            Record::Detach { session, attach, at, expiry_secs, will, unsent } => {
                let kept = self.sessions.get_mut(&session).filter(|kept| kept.attach == attach && kept.is_attached());
                let Some(kept) = kept else { return };
                kept.expiry_secs = expiry_secs.unwrap_or(kept.expiry_secs);
                match will {
                    WillFate::Publish => {}
                    WillFate::Discard => kept.will = None,
                    WillFate::Keep => kept.will_rests = true,
                }
                self.detach(session, at, unsent, library, host);
            }
            Record::End { session } => self.end(session, library, host),
            Record::SetWill { session, will } => self.change(session, |kept| kept.will = will),
            Record::Keep { session, extras } => {
                self.change(session, |kept| kept.extras = Some(extras).filter(|extras| !extras.is_empty()));
            }
            Record::Subscribe { session, filter, options } => {
                if !self.sessions.contains_key(&session) {
                    return;
                }
                self.dirty.subscriptions.insert((session, filter.to_string().into()), Some(options));
                if let Some(name) = filter.share_name() {
                    let group = self.join(at, session, name, options);
                    self.distribute(group, None, None, library, host);
                }
            }
            Record::Unsubscribe { session, filter } => {
                if !self.sessions.contains_key(&session) {
                    return;
                }
                self.dirty.subscriptions.insert((session, filter.to_string().into()), None);
                let group = filter.share_name().and_then(|name| self.group_names.get(&name).copied());
                if let Some(group) = group {
                    self.leave(session, group, host);
                }
            }
            Record::Publish(publish) => self.publish(at, &publish, library, host),
            Record::Delay { id, due, exchange, message: _ } => {
                self.delayed.insert(id, (due, at));
                self.dirty.delayed.insert(id);
                self.begin_exchange(exchange);
            }
            Record::Spent(cause) => self.spend(cause),
            Record::Acknowledged(exchange) => self.acknowledged(exchange, library, host),
            Record::Received(exchange) => self.received(exchange, library, host),
            Record::Released(Exchange { session, packet_id }) => {
                self.change(session, |kept| kept.inbound.close(packet_id));
            }
            Record::Restarted { at } => {
                let mut attached: Vec<Number> =
                    self.sessions.iter().filter(|(_, kept)| kept.is_attached()).map(|(&number, _)| number).collect();
                attached.sort_unstable();
                // All of them first, lest one is given what another gives back.
                for session in &attached {
                    self.change(*session, |kept| kept.disconnect(at));
                }
                for session in attached {
                    self.take_back(session, 0, library, host);
                }
            }
        }
    }

    /// Changes a session, and remembers that it is not as it is stored.
    fn change(&mut self, session: Number, change: impl FnOnce(&mut Kept<S>)) {
        if let Some(kept) = self.sessions.get_mut(&session) {
            change(kept);
            self.mark_session(session);
        }
    }

    pub(super) fn mark_session(&mut self, session: Number) {
        if let Some(kept) = self.sessions.get_mut(&session).filter(|kept| !kept.dirty) {
            kept.dirty = true;
            self.dirty.numbers.push(session);
        }
    }

    fn attach<H: Host<Session = S>>(
        &mut self,
        at: Position,
        attach: Attach,
        handle: Option<S>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let mut found = self.names.get(&attach.client_id).copied();
        if let Some(session) = found.filter(|number| self.sessions.get(number).is_some_and(|kept| kept.is_attached())) {
            // Whoever had it did not say goodbye, as when its node has died.
            self.detach(session, 0, 0, library, host);
            found = found.filter(|number| self.sessions.contains_key(number));
        }
        let session = found.unwrap_or(at);
        if found.is_none() {
            self.names.insert(attach.client_id.clone(), session);
            self.sessions.insert(session, Box::new(Kept::new(attach.client_id.clone())));
        }
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        kept.expiry_secs = attach.expiry_secs;
        kept.attach = at;
        kept.link = handle.map(|handle| Box::new(Link::new(handle)));
        if attach.will.is_some() || !attach.keep_will {
            kept.will = attach.will;
        }
        kept.will_rests = false;
        kept.greet(session, &mut self.messages, library, host);
        self.offer(session, None, library, host);
    }

    fn detach<H: Host<Session = S>>(
        &mut self,
        session: Number,
        at: WallMs,
        unsent: u16,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        self.change(session, |kept| kept.disconnect(at));
        self.take_back(session, unsent, library, host);
    }

    /// Takes back what a session's connection was given, but for what may have been sent; that is what comes before `unsent`.
    fn take_back<H: Host<Session = S>>(
        &mut self,
        session: Number,
        unsent: u16,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(kept) = self.sessions.get(&session) else { return };
        let sent = kept.queue().map_or(0, |queue| queue.sent(unsent));
        let sent = self.give_back(session, sent, false, library, host);
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        // What was not sent waits as before, and its packet identifiers go to whatever is sent first.
        while let Some(entry) = kept.queue().filter(|queue| queue.window() > sent).and_then(|q| q.get(q.window() - 1)) {
            let bytes = self.messages.bytes_of(entry.message);
            kept.queue_mut().dismiss(bytes);
            kept.set_next_packet_id(entry.packet_id);
        }
        // At most once is done with what was sent.
        for index in (0..sent).rev() {
            let entry = kept.queue().and_then(|queue| queue.get(index));
            if let Some(entry) = entry.filter(|entry| !entry.qos().is_acknowledged()) {
                kept.queue_mut().remove(index, self.messages.bytes_of(entry.message));
                self.messages.release(entry.message);
            }
        }
        if kept.expiry_secs == 0 {
            self.end(session, library, host);
        } else {
            self.mark_session(session);
        }
    }

    fn end<H: Host<Session = S>>(&mut self, session: Number, library: &mut dyn Library, host: &mut H) {
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        // Nothing that it gives back may come to itself.
        kept.disconnect(kept.detached_at);
        let window = kept.queue().map_or(0, Queue::window);
        self.give_back(session, window, true, library, host);
        let groups =
            self.sessions.get(&session).and_then(|kept| kept.shares.as_ref()).map(|shares| shares.groups.clone());
        for group in groups.unwrap_or_default() {
            self.leave(session, group, host);
        }
        let Some(kept) = self.sessions.remove(&session) else { return };
        if self.names.get(&kept.client_id) == Some(&session) {
            self.names.remove(&kept.client_id);
        }
        if let Some(queue) = kept.queue() {
            for entry in queue.iter().filter(|entry| !entry.is_received()) {
                self.messages.release(entry.message);
            }
        }
        if kept.stored {
            self.dirty.ended.push(session);
        }
        let of_session = (session, Box::default())..(session + 1, Box::default());
        let filters: Vec<_> = self.dirty.subscriptions.range(of_session).map(|(key, _)| key.clone()).collect();
        for key in filters {
            self.dirty.subscriptions.remove(&key);
        }
    }

    fn publish<H: Host<Session = S>>(
        &mut self,
        at: Position,
        publish: &Arc<Publish>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let message = &publish.message;
        self.begin_exchange(publish.exchange);
        self.spend(publish.cause);
        if publish.retains {
            let value = (!message.payload().is_empty()).then_some(at);
            self.dirty.retained.insert(message.topic().into(), value);
        }
        let bytes = weight(message);
        for target in &publish.targets {
            if target.share().is_some() {
                self.enqueue_shared(at, target, bytes, publish, library, host);
            } else {
                self.enqueue(at, target, bytes, publish, library, host);
            }
        }
    }

    fn enqueue<H: Host<Session = S>>(
        &mut self,
        at: Position,
        target: &Target,
        bytes: u32,
        publish: &Publish,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(attached) = self.sessions.get(&target.session).map(|kept| kept.is_attached()) else { return };
        let bounds = self.bounds(attached);
        let Some(kept) = self.sessions.get_mut(&target.session) else { return };
        let mut entry = Entry::new(at, target.qos, target.retain, target.subscription_id);
        if target.rare.is_some() {
            entry = entry.with_rare();
        }
        kept.enqueue(entry, bytes, bounds, self.settings.newest_goes, &mut self.messages, host);
        self.offer(target.session, Some((at, publish)), library, host);
    }

    /// Something of a session has changed: gives its connection what there is room for now, of its own queue and then of its groups.
    fn offer<H: Host<Session = S>>(
        &mut self,
        session: Number,
        fresh: Option<(Position, &Publish)>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        kept.fill(session, self.settings.window, &mut self.messages, fresh, library, host);
        self.mark_session(session);
        let group_at =
            |machine: &Self, index: usize| machine.sessions.get(&session)?.shares.as_ref()?.groups.get(index).copied();
        let mut index = 0;
        while let Some(group) = group_at(self, index) {
            self.distribute(group, Some(session), fresh, library, host);
            index += 1;
        }
    }

    fn acknowledged<H: Host<Session = S>>(&mut self, exchange: Exchange, library: &mut dyn Library, host: &mut H) {
        let Exchange { session, packet_id } = exchange;
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        let Some(index) = kept.queue().and_then(|queue| queue.find(packet_id)) else { return };
        let Some(entry) = kept.queue().and_then(|queue| queue.get(index)) else { return };
        let bytes = if entry.is_received() { 0 } else { self.messages.bytes_of(entry.message) };
        kept.take_out(index, bytes);
        if !entry.is_received() {
            self.messages.release(entry.message);
        }
        if let Some(shares) = &mut kept.shares {
            shares.drawn.remove(&packet_id);
        }
        self.offer(session, None, library, host);
    }

    fn received<H: Host<Session = S>>(&mut self, exchange: Exchange, library: &mut dyn Library, host: &mut H) {
        let Exchange { session, packet_id } = exchange;
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        let Some(index) = kept.queue().and_then(|queue| queue.find(packet_id)) else { return };
        let entry = kept.queue().and_then(|queue| queue.get(index));
        let Some(entry) = entry.filter(|entry| entry.qos() == Qos::ExactlyOnce) else { return };
        if kept.queue_mut().receive(index, self.messages.bytes_of(entry.message)) {
            self.messages.release(entry.message);
        }
        self.offer(session, None, library, host);
    }

    fn begin_exchange(&mut self, exchange: Option<Exchange>) {
        if let Some(Exchange { session, packet_id }) = exchange {
            self.change(session, |kept| kept.inbound.open(packet_id));
        }
    }

    fn spend(&mut self, cause: Cause) {
        match cause {
            Cause::None => {}
            Cause::Will(session) => self.change(session, |kept| kept.will = None),
            Cause::Delayed(id) => {
                if self.delayed.remove(&id).is_some() {
                    self.dirty.delayed.insert(id);
                }
            }
        }
    }
}
