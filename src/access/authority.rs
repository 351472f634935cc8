//! Those who have to be asked what a client may do, because rules are elsewhere.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use thingway_connectors::Failure;

use super::{
    guard::Identity,
    line::LineState,
    rules::{Action, Permission, Rules},
};

/// A ruling that comes later.
pub type Ruled = Pin<Box<dyn Future<Output = Result<Ruling, Failure>> + Send>>;

/// A question about what a client may do.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The session's client id.
    pub client_id: Box<str>,
    /// What it wants to do.
    pub action: Action,
    /// With this topic, or this filter.
    pub topic: Box<str>,
}

/// What is said of it.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// These are all rules that are about the client, and it may be decided by them for a while what else it wants to do. Without rules the next source is
    /// asked.
    Rules(Arc<Rules>, Duration),
    /// Just this is decided, and holds for a while.
    Decided(Permission, Duration),
    /// The next source shall decide this, and it holds for a while that it is not decided here.
    Ignore(Duration),
}

/// Somebody who can tell what a client may do.
pub trait Authority: fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Asks it. Must not wait for anything: the future is run where waiting stops nobody, and dropped when nobody waits for it any more. On a failure
    /// [`Authority::when_down`] holds.
    fn ask(&self, inquiry: Inquiry) -> Ruled;

    /// How the service is that it asks; `None` for one that asks none.
    fn line(&self) -> Option<LineState> {
        None
    }

    /// What holds while it fails; `None` for the next source to decide.
    fn when_down(&self) -> Option<Permission> {
        Some(Permission::Deny)
    }
}
