use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

/// Cells of the account. Threads that share one only share a cache line.
const CELLS: usize = 16;

/// Bytes that wait in all queues together, against what they may take.
///
/// Each thread adds and takes in a cell of its own, so that the account costs no contention; the sum is looked at now
/// and then by [`Budget::check`]. While it is over the maximum every session's bounds shrink to an eighth: those with
/// long queues pay, and the others go on.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: usize,
    over: AtomicBool,
    cells: Box<[Cell]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicIsize);

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, over: AtomicBool::new(false), cells: (0..CELLS).map(|_| Cell::default()).collect() }
    }

    /// Notes that a queue grew or shrank by so many bytes.
    pub fn add(&self, bytes: isize) {
        if bytes != 0 {
            self.cells[cell()].0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that wait now.
    pub fn bytes(&self) -> usize {
        let sum: isize = self.cells.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum();
        usize::try_from(sum).unwrap_or(0)
    }

    /// Looks at the sum; true when it has just gone over or come back.
    pub fn check(&self) -> bool {
        let over = self.bytes() > self.bytes_max;
        self.over.swap(over, Ordering::Relaxed) != over
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn cell() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % CELLS);
        }
        own.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_adds_another_may_take() {
        let budget = Budget::new(100);
        std::thread::scope(|scope| {
            scope.spawn(|| budget.add(150));
        });
        assert!(budget.check() && budget.is_over() && !budget.check());
        budget.add(-60);
        assert!(budget.check() && !budget.is_over());
        assert_eq!(budget.bytes(), 90);
    }
}
