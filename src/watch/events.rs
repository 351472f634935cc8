use std::{fmt::Display, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use thingway_contract::{ClientId, Instant};
use tokio::sync::broadcast;

use super::{Look, TraceLine, Watch};

/// Events that a listener may be behind. Beyond, the oldest are gone, and it is told how many.
const BEHIND_MAX: usize = 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It got a session.
    Connected,
    /// Its connection ended.
    Disconnected,
    /// It subscribed.
    Subscribed,
    /// It unsubscribed.
    Unsubscribed,
}

impl Happened {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// What happened to a client.
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// What.
    pub what: Happened,
    /// To whom.
    pub client_id: ClientId,
    /// Its user name.
    pub username: Option<Box<str>>,
    /// What it speaks.
    pub protocol: &'static str,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// The filter of a subscription.
    pub topic: Option<Box<str>>,
    /// Why a connection ended.
    pub reason: Option<&'static str>,
    /// When.
    pub at: Instant,
}

impl ClientEvent {
    pub(super) fn trace(&self, watch: &Watch) {
        let (tag, what) = match self.what {
            Happened::Connected => ("CONNECT", "connected"),
            Happened::Disconnected => ("DISCONNECT", "disconnected"),
            Happened::Subscribed => ("SUBSCRIBE", "subscribed"),
            Happened::Unsubscribed => ("UNSUBSCRIBE", "unsubscribed"),
        };
        let username = self.username.as_deref().unwrap_or("undefined");
        let facts: &[(&'static str, &dyn Display)] = match &self.reason {
            Some(reason) => &[("username", &username), ("protocol", &self.protocol), ("reason", reason)],
            None => &[("username", &username), ("protocol", &self.protocol)],
        };
        watch.trace(&TraceLine {
            tag,
            what,
            client_id: self.client_id.as_str(),
            remote: self.remote,
            topic: self.topic.as_deref(),
            facts,
            payload: None,
        });
    }
}

/// Those who listen to what happens.
#[derive(Debug)]
pub(super) struct Events {
    sender: broadcast::Sender<Arc<ClientEvent>>,
    listening: Mutex<usize>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND_MAX), listening: Mutex::default() }
    }
}

impl Events {
    pub fn send(&self, event: ClientEvent) {
        // An error means that the last listener has just left.
        let _ = self.sender.send(Arc::new(event));
    }
}

/// Somebody who listens, until this is dropped.
#[derive(Debug)]
pub struct Listening {
    watch: Arc<Watch>,
    receiver: broadcast::Receiver<Arc<ClientEvent>>,
}

impl Listening {
    /// Begins to listen.
    pub fn new(watch: Arc<Watch>) -> Self {
        let receiver = {
            let mut listening = watch.events.listening.lock();
            *listening += 1;
            watch.set(Look::Events, true);
            watch.events.sender.subscribe()
        };
        Self { watch, receiver }
    }

    /// The next event; an error tells how many were missed.
    pub async fn next(&mut self) -> Result<Arc<ClientEvent>, u64> {
        match self.receiver.recv().await {
            Ok(event) => Ok(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(missed),
            // The sender lives in what this holds.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listening = self.watch.events.listening.lock();
        *listening -= 1;
        self.watch.set(Look::Events, *listening > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> ClientEvent {
        ClientEvent {
            what: Happened::Connected,
            client_id: ClientId::new(&format!("c{number}"), 100).expect("an id"),
            username: None,
            protocol: "mqtt",
            remote: None,
            topic: None,
            reason: None,
            at: Instant::ZERO,
        }
    }

    #[tokio::test]
    async fn events_are_made_only_for_those_who_listen() {
        let watch = Arc::new(Watch::default());
        watch.happened(|| unreachable!("nobody listens"));
        let mut first = Listening::new(watch.clone());
        let second = Listening::new(watch.clone());
        watch.happened(|| event(1));
        drop(second);
        watch.happened(|| event(2));
        assert_eq!(first.next().await.map(|event| event.client_id.to_string()), Ok("c1".into()));
        for number in 3..BEHIND_MAX + 5 {
            watch.happened(|| event(number));
        }
        assert_eq!(first.next().await.map(|_| ()), Err(3), "how many were missed");
        assert!(first.next().await.is_ok(), "then it goes on");
        drop(first);
        assert!(!watch.is_on());
    }
}
