//! What is seen of the gateway while it works: its history, what happens now, and what somebody has asked to be looked at.

mod history;
mod live;

use std::{io, sync::Arc};

use utoipa_axum::{router::OpenApiRouter, routes};

use self::{history::History, live::Live};
use super::world::World;

/// What this needs to remember.
#[derive(Debug)]
pub struct Observe {
    history: History,
    live: Live,
}

impl Observe {
    /// With what was kept.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn new(settings: &[(String, String)]) -> io::Result<Self> {
        Ok(Self { history: History::of(settings, super::world::unix_secs()), live: Live::default() })
    }

    /// Does what is due. To be called once a second, after the rates were taken.
    pub fn tick(&self, world: &Arc<World>) {
        if self.history.tick(world) {
            tokio::spawn({
                let world = world.clone();
                async move { world.observe.history.save(&world).await }
            });
        }
        self.live.tick(world);
    }

    /// Keeps what is not kept yet.
    pub async fn close(&self, world: &World) {
        self.history.save(world).await;
    }
}

/// The paths of all this.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(history::monitor))
        .routes(routes!(history::monitor_of_node))
        .routes(routes!(live::live))
}
