use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{exporter::Exporter, metric::Metric, queue::SpanQueue};

/// Sends what is in the queue: after `delay`, or when there are as many as are sent together. After `stop` it sends what is left, as long as it is taken.
pub async fn export_spans(
    exporter: Arc<Exporter>,
    queue: Arc<SpanQueue>,
    delay: Duration,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = queue.batch() => {}
            // An error means that nobody is left who could say stop.
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let spans = queue.take();
        if !spans.is_empty() {
            exporter.spans(&spans, &mut stop).await;
        }
    }
    loop {
        let spans = queue.take();
        if spans.is_empty() || !exporter.spans(&spans, &mut stop).await {
            return;
        }
    }
}

/// Sends what there is, each `interval`, and once after `stop`.
pub async fn export_metrics(
    exporter: Arc<Exporter>,
    interval: Duration,
    start: SystemTime,
    collect: impl Fn() -> Vec<Metric> + Send + Sync,
    mut stop: watch::Receiver<bool>,
) {
    let mut turns = tokio::time::interval(interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once, and there is nothing to tell yet.
    turns.tick().await;
    while !*stop.borrow() {
        tokio::select! {
            _ = turns.tick() => {}
            // An error means that nobody is left who could say stop.
            _ = stop.wait_for(|stop| *stop) => break,
        }
        exporter.metrics(&collect(), start, interval, &mut stop).await;
    }
    exporter.metrics(&collect(), start, interval, &mut stop).await;
}
