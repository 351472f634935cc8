use thingway_contract::Delivery;

use super::{Library, Machine, TryAgain, link::load};
use crate::Number;

/// A message that a session holds.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its number in the session's queue, which it keeps: numbers grow.
    pub number: u64,
    /// How its client gets it.
    pub delivery: Delivery,
}

impl<S> Machine<S> {
    /// The messages of a session behind a number: those that a connection was given and that its client has not taken over, or those that wait for that. At most
    /// `count` are looked at. And the number of the last that was looked at, if there are more.
    ///
    /// # Errors
    /// When one cannot be read at the moment.
    pub fn waiting_of(
        &self,
        session: Number,
        is_under_way: bool,
        after: u64,
        count: usize,
        library: &mut dyn Library,
    ) -> Result<(Vec<Waiting>, Option<u64>), TryAgain> {
        let Some(queue) = self.sessions.get(&session).and_then(|kept| kept.queue()) else {
            return Ok((Vec::new(), None));
        };
        let range = if is_under_way { 0..queue.window() } else { queue.window()..queue.len() };
        let first = queue.first_number();
        let behind = usize::try_from(after.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let from = range.start.max(behind).min(range.end);
        let upto = range.end.min(from.saturating_add(count));
        let mut waiting = Vec::with_capacity(upto - from);
        for index in from..upto {
            let Some(entry) = queue.get(index).filter(|entry| !entry.is_received()) else { continue };
            let delivery = load(session, entry, None, library)?;
            waiting.extend(delivery.map(|delivery| Waiting { number: first + index as u64, delivery }));
        }
        let last = (upto < range.end && upto > from).then(|| first + upto as u64 - 1);
        Ok((waiting, last))
    }
}
