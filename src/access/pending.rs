use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// A decision that is being made elsewhere. Nobody goes on with it when this is dropped.
#[derive(Debug)]
pub struct Pending<T> {
    slot: Arc<Slot<T>>,
    task: Option<AbortHandle>,
    _place: Place,
}

#[derive(Debug)]
struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Waiting(Waker),
    Made(T),
    Lost,
    Taken,
}

/// Whoever was to make a decision has ended without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// The way back of a decision.
#[derive(Debug)]
pub struct Courier<T>(Arc<Slot<T>>);

/// A decision's place in the number of those that are being made.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// One more, unless that would be more than `max`.
    pub fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let taken = count.fetch_add(1, Ordering::Relaxed) < max;
        // Given back when dropped.
        let place = Self(count.clone());
        taken.then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Pending<T> {
    /// One that waits, and the way to make it.
    pub fn new(waker: &Waker, place: Place) -> (Self, Courier<T>) {
        let slot = Arc::new(Slot(Mutex::new(State::Waiting(waker.clone()))));
        (Self { slot: slot.clone(), task: None, _place: place }, Courier(slot))
    }

    /// Names the task that makes it.
    pub fn made_by(mut self, task: AbortHandle) -> Self {
        self.task = Some(task);
        self
    }

    /// The decision, once. Until it is made the waker is woken when it is.
    pub fn take(&mut self, waker: &Waker) -> Option<Result<T, Lost>> {
        let mut state = self.slot.0.lock();
        match &mut *state {
            State::Waiting(known) => {
                known.clone_from(waker);
                None
            }
            State::Taken => None,
            _ => match std::mem::replace(&mut *state, State::Taken) {
                State::Made(made) => Some(Ok(made)),
                _ => Some(Err(Lost)),
            },
        }
    }
}

impl<T> Courier<T> {
    /// Tells it.
    pub fn tell(self, made: T) {
        self.set(State::Made(made));
    }

    fn set(&self, next: State<T>) {
        let mut state = self.0.0.lock();
        if let State::Waiting(_) = &*state
            && let State::Waiting(waker) = std::mem::replace(&mut *state, next)
        {
            drop(state);
            waker.wake();
        }
    }
}

impl<T> Drop for Courier<T> {
    fn drop(&mut self) {
        self.set(State::Lost);
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let count = Arc::default();
        let first = Place::take(&count, 2).expect("a place");
        let _second = Place::take(&count, 2).expect("a place");
        assert!(Place::take(&count, 2).is_none());
        assert_eq!(count.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(Place::take(&count, 2).is_some());
    }

    #[test]
    fn a_decision_is_taken_once() {
        let place = Place::take(&Arc::default(), 1).expect("a place");
        let (mut pending, courier) = Pending::new(Waker::noop(), place);
        assert_eq!(pending.take(Waker::noop()), None);
        courier.tell(7);
        assert_eq!(pending.take(Waker::noop()), Some(Ok(7)));
        assert_eq!(pending.take(Waker::noop()), None);
    }

    #[test]
    fn one_that_nobody_makes_any_more_is_known_to_be_lost() {
        let place = Place::take(&Arc::default(), 1).expect("a place");
        let (mut pending, courier) = Pending::<u8>::new(Waker::noop(), place);
        drop(courier);
        assert_eq!(pending.take(Waker::noop()), Some(Err(Lost)));
    }
}
