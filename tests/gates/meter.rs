//! Counts what the gateway's thread does while it is on: allocations always, instructions when the process runs under callgrind.
//!
//! It counts for the calling thread alone. A schedule runs as a future on the gateway's one core, so all that happens on that thread outside of the
//! schedule's own polls is the gateway's work.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use mimalloc::MiMalloc;

use super::callgrind;

struct Counting;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on as it came to the allocator that the gateway itself uses; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as demanded of our caller.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as demanded of our caller.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as demanded of our caller.
        unsafe { MiMalloc.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as demanded of our caller.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

fn count() {
    if ON.get() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

/// Counts from here to [`stop`].
pub fn start() {
    if !ON.replace(true) {
        callgrind::toggle_collect();
    }
}

/// Counts no more.
pub fn stop() {
    if ON.replace(false) {
        callgrind::toggle_collect();
    }
}

/// Allocations since the last call.
pub fn take_allocations() -> u64 {
    ALLOCATIONS.take()
}

/// The allocations of a call.
pub fn allocations(call: impl FnOnce()) -> u64 {
    take_allocations();
    start();
    call();
    stop();
    take_allocations()
}

/// Runs a schedule and counts what its thread does while the schedule waits.
pub async fn while_waiting<F: Future>(schedule: F) -> F::Output {
    let schedule = pin!(schedule);
    WhileWaiting(schedule).await
}

struct WhileWaiting<'a, F>(Pin<&'a mut F>);

impl<F: Future> Future for WhileWaiting<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        stop();
        let polled = self.0.as_mut().poll(cx);
        if polled.is_pending() {
            start();
        }
        polled
    }
}
