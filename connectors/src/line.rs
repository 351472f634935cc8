use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    breaker::{Breaker, BreakerSettings, Turned},
    failure::Failure,
};

/// Bounds of what is asked of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineSettings {
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// Questions at a time. Further ones wait, within their own time.
    pub at_once: usize,
    /// Questions that wait. Further ones fail as [`Failure::Busy`].
    pub waiting_max: usize,
    /// When it is left alone.
    pub breaker: BreakerSettings,
}

impl Default for LineSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), at_once: 8, waiting_max: 10_000, breaker: BreakerSettings::default() }
    }
}

/// The way to one service, with its bounds. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Line {
    name: Box<str>,
    settings: LineSettings,
    breaker: Breaker,
    places: Semaphore,
    /// Everybody who asks or waits.
    entered: Semaphore,
    counts: [AtomicU64; 3],
}

/// What became of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Those that were answered.
    pub answered: u64,
    /// Those that failed, too late ones included.
    pub failed: u64,
    /// Those that were not asked.
    pub refused: u64,
}

impl Line {
    /// A line to the service that the configuration calls so.
    pub fn new(name: &str, settings: LineSettings) -> Self {
        Self {
            name: name.into(),
            breaker: Breaker::new(settings.breaker),
            places: Semaphore::new(settings.at_once.clamp(1, Semaphore::MAX_PERMITS)),
            entered: Semaphore::new(
                settings.at_once.saturating_add(settings.waiting_max).clamp(1, Semaphore::MAX_PERMITS),
            ),
            settings,
            counts: Default::default(),
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True while it is left alone.
    pub fn is_resting(&self) -> bool {
        self.breaker.is_resting()
    }

    /// What became of all questions.
    pub fn counts(&self) -> LineCounts {
        let [answered, failed, refused] = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        LineCounts { answered, failed, refused }
    }

    /// Asks. The question is dropped when its time is up.
    ///
    /// # Errors
    /// The question's own failure; or it took too long, or was not asked.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Ok(_entered) = self.entered.try_acquire() else { return self.count(Err(Failure::Busy)) };
        let Some(trial) = self.breaker.enter() else { return self.count(Err(Failure::Resting)) };
        let asked = async {
            let _place = self.places.acquire().await;
            question.await
        };
        let answer = tokio::time::timeout(self.settings.timeout, asked).await.unwrap_or(Err(Failure::Timeout));
        let outage = answer.as_ref().err().filter(|failure| failure.is_outage());
        match (trial.tell(outage.is_none()), outage) {
            (Turned::Resting, Some(failure)) => {
                let rest = self.settings.breaker.rest;
                tracing::error!(service = %self.name, "does not answer and is left alone for {rest:?} at a time: {failure}");
            }
            (Turned::Back, _) => tracing::info!(service = %self.name, "answers again"),
            _ => {}
        }
        self.count(answer)
    }

    fn count<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        let index = match &answer {
            Ok(_) => 0,
            Err(Failure::Resting | Failure::Busy) => 2,
            Err(_) => 1,
        };
        self.counts[index].fetch_add(1, Ordering::Relaxed);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use super::*;

    fn line(settings: LineSettings) -> Arc<Line> {
        Arc::new(Line::new("test", settings))
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_left_alone_and_comes_back() {
        let settings =
            LineSettings { breaker: BreakerSettings { failures: 2, ..Default::default() }, ..Default::default() };
        let line = line(settings);
        for _ in 0..2 {
            assert_eq!(line.ask(pending::<Result<(), _>>()).await, Err(Failure::Timeout));
        }
        assert_eq!(line.ask(async { Ok(1) }).await, Err(Failure::Resting));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(line.ask(async { Ok(1) }).await, Ok(1));
        assert_eq!(
            line.ask(async { Err::<(), _>(Failure::Refused("no table".into())) }).await.map_err(|e| e.is_outage()),
            Err(false)
        );
        assert_eq!(line.counts(), LineCounts { answered: 1, failed: 3, refused: 1 });
        assert!(!line.is_resting());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_ask_and_wait() {
        let line = line(LineSettings { at_once: 1, waiting_max: 1, ..LineSettings::default() });
        let asking = |line: Arc<Line>| tokio::spawn(async move { line.ask(pending::<Result<(), _>>()).await });
        let (first, second) = (asking(line.clone()), asking(line.clone()));
        tokio::task::yield_now().await;
        assert_eq!(line.ask(async { Ok(()) }).await, Err(Failure::Busy));
        // One that waits does so within its own time.
        assert_eq!(first.await.expect("it ends"), Err(Failure::Timeout));
        assert_eq!(second.await.expect("it ends"), Err(Failure::Timeout));
        assert_eq!(line.ask(async { Ok(()) }).await, Ok(()));
    }
}
