//! The composition root: the only place that knows everything. Not composed yet: it has no listeners to start.

use std::{fmt, time::Duration};

use crate::config::Config;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    listeners: Vec<ListenerInfo>,
}

/// What is told of a listener when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Kind and name, as in the configuration.
    pub name: String,
    /// What its peers speak.
    pub protocol: String,
    /// Where it listens.
    pub address: String,
}

/// Why the gateway did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Every listener is switched off.
    #[error("every listener is switched off")]
    NothingToDo,
}

impl Gateway {
    /// Starts everything that the configuration says.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        drop(config);
        Err(StartError::NothingToDo)
    }

    /// The listeners.
    pub fn listeners(&self) -> &[ListenerInfo] {
        &self.listeners
    }

    /// Stops accepting, says goodbye to the peers, and returns when all are gone or the deadline has passed.
    pub async fn drain(self, deadline: Duration) {
        drop((self, deadline));
    }
}

impl fmt::Display for ListenerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} ({})", self.protocol, self.address, self.name)
    }
}
