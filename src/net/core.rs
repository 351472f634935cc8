//! Placeholder with the API of the real cores, for this branch's tests.

use std::{future::Future, sync::Arc};

/// The threads that run connections.
#[derive(Clone, Debug)]
pub struct Cores(Arc<Vec<tokio::runtime::Handle>>);

impl Cores {
    /// Starts `count` threads.
    pub fn start_bare(count: usize) -> std::io::Result<Self> {
        let mut handles = Vec::new();
        for _ in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        }
        Ok(Self(Arc::new(handles)))
    }

    /// Number of cores.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The core on which a connection that was accepted on `here` should live.
    pub fn place(&self, here: usize) -> usize {
        (here + 1) % self.len()
    }

    /// Runs a future on a core.
    pub fn spawn_on<F: Future<Output = ()> + Send + 'static>(&self, core: usize, future: F) {
        self.0[core % self.len()].spawn(future);
    }
}
