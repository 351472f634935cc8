//! The directories that listings read, and who may read them at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::response::Response;
use tokio::sync::Semaphore;

use super::{clients::Clients, directory::Directory, error::ApiError, subscriptions::Filters, world::World};

/// Listings that are made at a time; further ones wait. Each has a thread of its own meanwhile, beside those that serve connections.
const LOOKERS_MAX: usize = 2;

/// The directories of a gateway.
#[derive(Debug)]
pub struct Directories {
    /// All clients.
    pub clients: Directory<Clients>,
    /// All filters.
    pub filters: Directory<Filters>,
    lookers: Arc<Semaphore>,
    is_kept_up: AtomicBool,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            clients: Directory::new(Clients::default()),
            filters: Directory::new(Filters),
            lookers: Arc::new(Semaphore::new(LOOKERS_MAX)),
            is_kept_up: AtomicBool::new(false),
        }
    }
}

impl World {
    /// Makes a listing where it keeps nobody else waiting.
    pub(super) async fn looking(
        self: Arc<Self>,
        look: impl FnOnce(&Self) -> Response + Send + 'static,
    ) -> Result<Response, ApiError> {
        let place = self.directories.lookers.clone().acquire_owned().await.expect("the semaphore is never closed");
        let looked = tokio::task::spawn_blocking(move || {
            let answer = look(&self);
            drop(place);
            answer
        });
        looked.await.map_err(|error| ApiError::internal(&error))
    }

    /// To be called once a second: directories that somebody looks at take over what has changed, those that nobody looks at go.
    pub(super) fn keep_directories(self: &Arc<Self>) {
        let Directories { clients, filters, is_kept_up, .. } = &self.directories;
        if !clients.is_open() && !filters.is_open() || is_kept_up.swap(true, Ordering::Acquire) {
            return;
        }
        let world = self.clone();
        tokio::task::spawn_blocking(move || {
            world.directories.clients.keep_up(&world.bus);
            world.directories.filters.keep_up(&world.bus);
            world.directories.is_kept_up.store(false, Ordering::Release);
        });
    }
}
