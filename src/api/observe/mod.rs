//! What is seen of the gateway while it works: its history, what happens now, and what somebody has asked to be looked at.

mod alarms;
mod history;
mod live;
mod slow;
mod topic_metrics;
mod trace_log;
mod traces;

use std::{path::PathBuf, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{history::History, live::Live, slow::SlowSubscriptions, topic_metrics::TopicMetrics, traces::Traces};
pub use self::{
    slow::{KEY as SLOW_KEY, Settings as SlowSettings},
    topic_metrics::{Kept as CountedTopic, PREFIX as TOPIC_PREFIX},
};
use super::world::{World, unix_secs};
use crate::watch::{TOPIC_COUNTS, Watch};

/// What this needs to remember.
#[derive(Debug)]
pub struct Observe {
    history: History,
    live: Live,
    pub(super) slow: SlowSubscriptions,
    pub(super) topics: TopicMetrics,
    traces: Traces,
}

impl Observe {
    /// With what was kept.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn new(
        settings: &[(String, String)],
        traces: Option<PathBuf>,
        watch: &Watch,
    ) -> Result<Self, (String, serde_json::Error)> {
        let observe = Self {
            history: History::of(settings, unix_secs()),
            live: Live::default(),
            slow: SlowSubscriptions::of(settings)?,
            topics: TopicMetrics::of(settings)?,
            traces: Traces::of(settings, traces)?,
        };
        observe.slow.start(watch);
        observe.topics.start(watch);
        observe.traces.run(watch, unix_secs());
        Ok(observe)
    }

    /// What was counted of each topic that is counted.
    pub fn topic_counts(&self) -> Vec<(String, [u64; TOPIC_COUNTS.len()])> {
        self.topics.counts()
    }

    /// Does what is due. To be called once a second, after the rates were taken.
    pub fn tick(&self, world: &Arc<World>) {
        if self.history.tick(world) {
            tokio::spawn({
                let world = world.clone();
                async move { world.observe.history.save(&world).await }
            });
        }
        self.topics.tick();
        self.traces.run(world.bus.watch(), unix_secs());
        if self.traces.begins_to_flush() {
            tokio::task::spawn_blocking({
                let world = world.clone();
                move || world.observe.traces.flush()
            });
        }
        self.live.tick(world);
    }

    /// Keeps what is not kept yet.
    pub async fn close(&self, world: &World) {
        self.traces.flush();
        self.history.save(world).await;
    }
}

/// Whether the gateway can do its work: for who decides whether it gets any. Nobody has to log in for it.
pub async fn ready(State(world): State<Arc<World>>) -> Response {
    match world.journal.is_failing() {
        false => "ready\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot keep what it should\n").into_response(),
    }
}

/// The paths of all this.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(history::monitor))
        .routes(routes!(history::monitor_of_node))
        .routes(routes!(live::live))
        .routes(routes!(alarms::list, alarms::clear))
        .routes(routes!(alarms::end))
        .routes(routes!(slow::list, slow::clear))
        .routes(routes!(slow::settings, slow::change))
        .routes(routes!(topic_metrics::list, topic_metrics::add, topic_metrics::reset, topic_metrics::clear))
        .routes(routes!(topic_metrics::find, topic_metrics::remove))
        .routes(routes!(traces::list, traces::add, traces::clear))
        .routes(routes!(traces::remove))
        .routes(routes!(traces::stop))
        .routes(routes!(traces::download))
        .routes(routes!(traces::log))
}
