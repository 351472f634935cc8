use thingway_contract::{Delivery, Unacknowledged};

use super::{Attached, DropCause, Entry, Host, Kept, Library, Messages, TryAgain, delivery};
use crate::{Exchange, Number, Position, Publish};

/// A session's connection. None of it comes from the log: what the log says happens in any case, and the connection hears of it as soon as it can.
#[derive(Debug)]
pub(super) struct Link<S> {
    handle: S,
    /// Entries at the end of the window that it was not given yet, for the first of them cannot be read at the moment.
    ungiven: u32,
    /// It was not told yet what its session holds, for the same reason.
    untold: bool,
    /// The host was told that it is behind.
    behind: bool,
}

impl<S> Link<S> {
    pub fn new(handle: S) -> Self {
        Self { handle, ungiven: 0, untold: false, behind: false }
    }
}

impl<S> Kept<S> {
    /// Tells the connection what its session holds: once, and before anything else.
    pub fn greet<H: Host<Session = S>>(
        &mut self,
        number: Number,
        messages: &mut Messages,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(link) = &mut self.link else { return };
        link.untold = true;
        let (mut outbound, mut lost) = (Vec::new(), Vec::new());
        if let Some(queue) = &self.queue {
            for entry in queue.iter().take(queue.window() - link.ungiven as usize) {
                let found = if entry.is_received() { Ok(None) } else { load(number, entry, None, library) };
                let Ok(delivery) = found else {
                    messages.stalled.insert(number);
                    return;
                };
                if delivery.is_none() && !entry.is_received() {
                    lost.push(entry);
                } else {
                    outbound.push(Unacknowledged { packet_id: entry.packet_id, delivery });
                }
            }
        }
        link.untold = false;
        for entry in lost {
            messages.lose(number, entry, host);
        }
        let attached = Attached {
            session: number,
            attach: self.attach,
            // Its number is where it was made.
            present: self.attach != number,
            outbound,
            inbound: self.inbound.iter().collect(),
            extras: self.extras.clone(),
            will: self.will.clone(),
        };
        host.attached(&link.handle, attached);
    }

    /// The last entry of the window has just joined it: gives it to the connection, unless others come first.
    pub(super) fn give_next<H: Host<Session = S>>(
        &mut self,
        number: Number,
        messages: &mut Messages,
        fresh: Option<(Position, &Publish)>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let Some(link) = &mut self.link else { return };
        link.ungiven += 1;
        if link.ungiven == 1 {
            self.give(number, messages, fresh, library, host);
        }
    }

    fn give<H: Host<Session = S>>(
        &mut self,
        number: Number,
        messages: &mut Messages,
        fresh: Option<(Position, &Publish)>,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        let (Some(link), Some(queue)) = (&mut self.link, &self.queue) else { return };
        while link.ungiven > 0 && !link.untold {
            let Some(entry) = queue.get(queue.window() - link.ungiven as usize) else { return };
            match load(number, entry, fresh, library) {
                Ok(Some(delivery)) => host.deliver(&link.handle, delivery),
                Ok(None) => messages.lose(number, entry, host),
                Err(TryAgain) => {
                    messages.stalled.insert(number);
                    return;
                }
            }
            link.ungiven -= 1;
        }
    }

    /// Tries again what could not be done.
    pub fn retry<H: Host<Session = S>>(
        &mut self,
        number: Number,
        messages: &mut Messages,
        library: &mut dyn Library,
        host: &mut H,
    ) {
        if self.link.as_ref().is_some_and(|link| link.untold) {
            self.greet(number, messages, library, host);
        }
        self.give(number, messages, None, library, host);
    }

    /// Takes an entry out of the window.
    pub fn take_out(&mut self, index: usize, bytes: u32) -> Option<Entry> {
        let queue = self.queue.as_mut()?;
        if let Some(link) = &mut self.link
            && index + link.ungiven as usize >= queue.window()
        {
            link.ungiven = link.ungiven.saturating_sub(1);
        }
        queue.remove(index, bytes)
    }

    /// Tells the host when the queue behind the window grows, and when it is gone.
    pub fn tell_behind<H: Host<Session = S>>(&mut self, host: &mut H) {
        let (Some(link), Some(queue)) = (&mut self.link, &self.queue) else { return };
        let behind = queue.len() - queue.window();
        let now = if link.behind { behind > 0 } else { behind > queue.window().max(64) };
        if now != link.behind {
            link.behind = now;
            host.behind(&link.handle, now);
        }
    }
}

impl Messages {
    /// A message is nowhere to be found. That the exchange is over is for the log to say.
    fn lose<H: Host>(&mut self, session: Number, entry: Entry, host: &mut H) {
        self.lost.push((Exchange { session, packet_id: entry.packet_id }, entry.message));
        host.dropped(DropCause::Unreadable, 1);
    }
}

/// The delivery of an entry; `None` when its message is nowhere to be found.
pub(super) fn load(
    session: Number,
    entry: Entry,
    fresh: Option<(Position, &Publish)>,
    library: &mut dyn Library,
) -> Result<Option<Delivery>, TryAgain> {
    match fresh {
        Some((at, publish)) if at == entry.message => Ok(Some(delivery(session, entry, publish))),
        _ => Ok(library.load(entry.message)?.map(|publish| delivery(session, entry, &publish))),
    }
}
