use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::span::Span;

/// Most spans that are sent together.
pub(crate) const BATCH_MAX: usize = 512;

/// Spans that wait to be sent. Further ones are dropped, and counted.
#[derive(Debug)]
pub struct SpanQueue {
    spans: Mutex<VecDeque<Span>>,
    spans_max: usize,
    batch: Notify,
    ended: AtomicU64,
    dropped: AtomicU64,
}

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Those that ended.
    pub ended: u64,
    /// Those that there was no room for.
    pub dropped: u64,
}

impl SpanQueue {
    /// A queue with room for so many.
    pub fn new(spans_max: usize) -> Self {
        let (ended, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { spans: Mutex::default(), spans_max, batch: Notify::new(), ended, dropped }
    }

    /// Takes a span that has ended.
    pub fn push(&self, span: Span) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        let mut spans = self.spans.lock();
        if spans.len() >= self.spans_max {
            drop(spans);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.push_back(span);
        let is_batch = spans.len() == self.batch_max();
        drop(spans);
        if is_batch {
            self.batch.notify_one();
        }
    }

    /// What became of spans so far.
    pub fn counts(&self) -> QueueCounts {
        QueueCounts { ended: self.ended.load(Ordering::Relaxed), dropped: self.dropped.load(Ordering::Relaxed) }
    }

    /// Spans that wait.
    pub fn len(&self) -> usize {
        self.spans.lock().len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX.min(self.spans_max)
    }

    /// Those that are sent together next.
    pub fn take(&self) -> Vec<Span> {
        let mut spans = self.spans.lock();
        let count = spans.len().min(BATCH_MAX);
        let taken = spans.drain(..count).collect();
        if spans.is_empty() {
            spans.shrink_to(BATCH_MAX);
        }
        taken
    }

    /// Waits until there are as many as are sent together.
    pub(crate) async fn batch(&self) {
        while self.len() < self.batch_max() {
            self.batch.notified().await;
        }
    }
}
