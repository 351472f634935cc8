use std::{
    ops::{BitOr, BitOrAssign},
    pin::Pin,
};

use super::waker::TaskId;

/// A connection, or what is to become one.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Slots in a chunk.
const CHUNK: usize = 256;

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Events(u8);

impl Events {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    /// The peer will send no more, or the connection has failed: a read says so, however often it is asked.
    pub const CLOSED: Self = Self(4);

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The tasks of one core by number.
///
/// In chunks, so that there are no more places than tasks, and a new one never moves the others. As many as there are connections; listeners limit these.
#[derive(Default)]
pub(super) struct Tasks {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    /// Not there while it is polled.
    task: Option<Task>,
    /// Tells the slot's tenants apart, so that a waker of one that is gone does not wake the next.
    generation: u16,
    scheduled: bool,
    /// There is a tenant.
    taken: bool,
    events: Events,
}

impl Tasks {
    pub fn insert(&mut self, reactor: u16, task: Task) -> TaskId {
        let index = self.free.pop().unwrap_or_else(|| {
            let first = (self.chunks.len() * CHUNK) as u32;
            self.chunks.push((0..CHUNK).map(|_| Slot::default()).collect());
            self.free.extend((first + 1..first + CHUNK as u32).rev());
            first
        });
        let slot = self.slot(index);
        slot.task = Some(task);
        slot.taken = true;
        TaskId::new(reactor, slot.generation, index)
    }

    /// Notes that a task is to be polled; false when that is known, or the task gone.
    pub fn schedule(&mut self, id: TaskId, events: Events) -> bool {
        let Some(slot) = self.find(id) else { return false };
        slot.events |= events;
        !std::mem::replace(&mut slot.scheduled, true)
    }

    /// Takes a task out for the time in which it is polled, with what its socket is ready for.
    pub fn take(&mut self, reactor: u16, index: u32) -> Option<(TaskId, Task, Events)> {
        let slot = self.slot(index);
        slot.scheduled = false;
        let task = slot.task.take()?;
        let events = std::mem::take(&mut slot.events);
        Some((TaskId::new(reactor, slot.generation, index), task, events))
    }

    /// Puts a task back, with the events that it has not seen.
    pub fn put_back(&mut self, index: u32, task: Task, events: Events) {
        let slot = self.slot(index);
        slot.task = Some(task);
        slot.events |= events;
    }

    /// Frees the place of a task that was taken out and has ended.
    pub fn remove(&mut self, index: u32) {
        let slot = self.slot(index);
        *slot = Slot { generation: TaskId::next_generation(slot.generation), ..Slot::default() };
        self.free.push(index);
    }

    /// All tasks; nothing is left.
    pub fn drain(&mut self) -> Vec<Task> {
        let chunks = std::mem::take(&mut self.chunks);
        self.free.clear();
        chunks.into_iter().flatten().filter_map(|slot| slot.task).collect()
    }

    fn find(&mut self, id: TaskId) -> Option<&mut Slot> {
        let index = id.index() as usize;
        let slot = self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)?;
        (slot.taken && slot.generation == id.generation()).then_some(slot)
    }

    fn slot(&mut self, index: u32) -> &mut Slot {
        let index = index as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Box::pin(std::future::pending())
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Slot>(), 24);
    }

    #[test]
    fn a_waker_of_a_task_that_is_gone_does_not_wake_the_next() {
        let mut tasks = Tasks::default();
        let first = tasks.insert(3, task());
        assert!(tasks.schedule(first, Events::READ));
        assert!(!tasks.schedule(first, Events::WRITE), "it is known");
        let (id, _, events) = tasks.take(3, first.index()).expect("there");
        assert_eq!((id, events), (first, Events::READ | Events::WRITE));
        tasks.remove(first.index());
        let second = tasks.insert(3, task());
        assert_eq!(second.index(), first.index());
        assert!(!tasks.schedule(first, Events::NONE));
        assert!(tasks.schedule(second, Events::NONE));
    }

    #[test]
    fn a_task_that_is_woken_while_it_runs_is_polled_again_with_what_it_has_not_seen() {
        let mut tasks = Tasks::default();
        let id = tasks.insert(0, task());
        tasks.schedule(id, Events::READ);
        let (_, running, events) = tasks.take(0, id.index()).expect("there");
        assert!(tasks.schedule(id, Events::WRITE));
        tasks.put_back(id.index(), running, events);
        let (_, _, events) = tasks.take(0, id.index()).expect("there");
        assert_eq!(events, Events::READ | Events::WRITE);
    }

    #[test]
    fn places_grow_with_the_tasks_and_are_used_again() {
        let mut tasks = Tasks::default();
        let ids: Vec<_> = (0..3 * CHUNK).map(|_| tasks.insert(0, task())).collect();
        assert_eq!(tasks.chunks.len(), 3);
        for id in &ids {
            tasks.take(0, id.index());
            tasks.remove(id.index());
        }
        (0..3 * CHUNK).for_each(|_| _ = tasks.insert(0, task()));
        assert_eq!((tasks.chunks.len(), tasks.drain().len()), (3, 3 * CHUNK));
    }
}
