use std::collections::BTreeMap;

use smallvec::SmallVec;
use thingway_contract::{ClientId, Resumption, Will};

use super::{
    Bounds, DropCause, Entry, Host, Library, Messages,
    link::Link,
    queue::{Queue, successor},
};
use crate::{Extras, Number, Position, Publish, WallMs};

/// A session.
#[derive(Debug)]
pub(super) struct Kept<S> {
    pub client_id: ClientId,
    /// Its connection, if that is one of this gateway.
    pub link: Option<Box<Link<S>>>,
    pub will: Option<Box<Will>>,
    pub extras: Option<Box<Extras>>,
    pub(super) queue: Option<Box<Queue>>,
    /// Rare: shared subscriptions.
    pub shares: Option<Box<Shares>>,
    pub inbound: Inbound,
    pub detached_at: WallMs,
    pub expiry_secs: u32,
    next_packet_id: u16,
    /// The position of the record by which its connection took it, 0 while there is none.
    pub attach: Position,
    /// The will counts only when the next connection asks for it.
    pub will_rests: bool,
    /// It has rows.
    pub stored: bool,
    /// It is in the list of those that are not as they are stored.
    pub dirty: bool,
}

/// What a member of groups holds.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Groups that it is in, in order: room is offered to one after the other, by all who read the log.
    pub groups: Vec<Number>,
    /// The group of each shared message that it was given, by packet identifier.
    pub drawn: BTreeMap<u16, Number>,
}

impl Shares {
    pub fn join(&mut self, group: Number) {
        if let Err(index) = self.groups.binary_search(&group) {
            self.groups.insert(index, group);
        }
    }
}

/// Packet identifiers of a session's own messages that it has not released. Few sessions have any while they sleep.
#[derive(Debug, Default)]
pub(super) struct Inbound(Option<Box<SmallVec<[u16; 8]>>>);

impl Inbound {
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|ids| ids.iter().copied())
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.len())
    }

    pub fn open(&mut self, id: u16) {
        let ids = self.0.get_or_insert_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    pub fn close(&mut self, id: u16) {
        if let Some(ids) = &mut self.0 {
            ids.retain(|open| *open != id);
            if ids.is_empty() {
                self.0 = None;
            }
        }
    }
}

/// What is told of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// Its number.
    pub number: Number,
    /// Whose it is.
    pub client_id: &'a ClientId,
    /// Seconds that it outlives its connection; `u32::MAX` is for ever.
    pub expiry_secs: u32,
    /// It has a connection.
    pub attached: bool,
    /// When its last connection ended.
    pub detached_at: WallMs,
    /// Its will, if that is to be published when the connection is gone for long enough.
    pub will: Option<&'a Will>,
    /// What the next conversation must show.
    pub resumption: Option<Resumption>,
    /// Messages that wait for it.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: u64,
}

impl<S> Kept<S> {
    pub fn new(client_id: ClientId) -> Self {
        Self {
            client_id,
            link: None,
            will: None,
            extras: None,
            queue: None,
            shares: None,
            inbound: Inbound::default(),
            detached_at: 0,
            stored: false,
            expiry_secs: 0,
            next_packet_id: 1,
            attach: 0,
            will_rests: false,
            dirty: false,
        }
    }

    pub fn view(&self, number: Number) -> SessionView<'_> {
        let (queued, queued_bytes) = self.queued();
        SessionView {
            number,
            client_id: &self.client_id,
            expiry_secs: self.expiry_secs,
            attached: self.is_attached(),
            detached_at: self.detached_at,
            will: self.will.as_deref().filter(|_| !self.will_rests),
            resumption: self.extras.as_ref().and_then(|extras| extras.resumption),
            queued,
            queued_bytes,
        }
    }

    pub fn is_attached(&self) -> bool {
        self.attach != 0
    }

    /// Its connection is gone.
    pub fn disconnect(&mut self, at: WallMs) {
        self.attach = 0;
        self.detached_at = at;
        self.link = None;
    }

    pub fn queued(&self) -> (usize, u64) {
        self.queue.as_ref().map_or((0, 0), |queue| (queue.len(), queue.bytes))
    }

    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    pub fn queue_mut(&mut self) -> &mut Queue {
        self.queue.get_or_insert_default()
    }

    pub fn next_packet_id(&self) -> u16 {
        self.next_packet_id
    }

    pub fn set_next_packet_id(&mut self, id: u16) {
        self.next_packet_id = id;
    }

    /// An idle session has no queue.
    pub fn tidy(&mut self) {
        if self.queue.as_ref().is_some_and(|queue| queue.is_idle()) {
            self.queue = None;
        }
    }

    /// True when a message of so many bytes would be given to the connection at once.
    pub fn has_room(&self, window: Bounds, bytes: u32) -> bool {
        let has_room =
            |queue: &Queue| queue.window() == queue.len() && queue.room(window, bytes, self.next_packet_id).is_some();
        self.is_attached() && self.queue().is_none_or(has_room)
    }

    /// Gives the connection what its window has room for; the packet identifier of the last. `fresh` is the record at hand, which need not be read
    /// back.
    pub fn fill<H: Host<Session = S>>(
        &mut self,
        number: Number,
        window: Bounds,
        messages: &mut Messages,
        fresh: Option<(Position, &Publish)>,
        library: &mut dyn Library,
        host: &mut H,
    ) -> Option<u16> {
        let mut last = None;
        while self.is_attached() {
            let Some(queue) = &mut self.queue else { return last };
            let Some(next) = queue.get(queue.window()) else { break };
            let bytes = messages.bytes_of(next.message);
            let Some(id) = queue.room(window, bytes, self.next_packet_id) else { break };
            self.next_packet_id = successor(id);
            let Some(entry) = queue.admit(id, bytes) else { break };
            last = Some(entry.packet_id);
            self.give_next(number, messages, fresh, library, host);
        }
        self.tell_behind(host);
        last
    }

    /// Puts a message at the end, and gives up what is too much.
    pub fn enqueue<H: Host<Session = S>>(
        &mut self,
        entry: Entry,
        bytes: u32,
        bounds: Bounds,
        newest_goes: bool,
        messages: &mut Messages,
        host: &mut H,
    ) {
        let queue = self.queue.get_or_insert_default();
        messages.add(entry.message, bytes);
        queue.push_back(entry, bytes);
        trim(queue, bounds, newest_goes, messages, host);
    }
}

/// Gives up what is beyond the bounds: QoS 0 first, then the oldest that was not given to a connection, or the newest.
pub(super) fn trim<S, H: Host<Session = S>>(
    queue: &mut Queue,
    bounds: Bounds,
    newest_goes: bool,
    messages: &mut Messages,
    host: &mut H,
) {
    while queue.len() > bounds.messages || queue.bytes > bounds.bytes && queue.len() > 1 {
        let (index, cause) = match queue.waiting_qos0() {
            Some(index) => (index, DropCause::Qos0),
            None if queue.window() == queue.len() => return,
            None if newest_goes => (queue.len() - 1, DropCause::Full),
            None => (queue.window(), DropCause::Full),
        };
        let Some(entry) = queue.get(index) else { return };
        queue.remove(index, messages.bytes_of(entry.message));
        messages.release(entry.message);
        host.dropped(cause, 1);
    }
}
