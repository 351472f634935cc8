//! What is looked at while the gateway works, and only while somebody looks: what happens to clients, topics, slow subscribers, traces.
//!
//! The bus and the drivers tell of what passes them by. While nobody looks at anything that costs them one load of an atomic, relaxed.

mod alarms;
mod events;
mod slow;
#[cfg(feature = "opentelemetry")]
mod spans;
mod topics;
mod trace;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use thingway_contract::{ClientId, Delivery, Instant, Message};

#[cfg(feature = "opentelemetry")]
pub use self::spans::SpanSettings;
pub use self::{
    alarms::{Alarm, Alarms},
    events::{ClientEvent, Happened, Listening},
    slow::{Slow, SlowSettings, SlowTime},
    topics::{TOPIC_COUNTS, TopicCounts},
    trace::{Trace, TraceForm, TraceLine, TraceOf, TracePayload},
};

/// Everything that may be looked at.
#[derive(Debug, Default)]
pub struct Watch {
    /// A bit for each thing that somebody looks at.
    looks: AtomicU32,
    alarms: Alarms,
    events: events::Events,
    topics: topics::Topics,
    slow: slow::SlowTable,
    traces: trace::Traces,
    #[cfg(feature = "opentelemetry")]
    spans: std::sync::OnceLock<spans::Spans>,
}

/// A thing that may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Look {
    /// What happens to clients.
    Events = 1,
    /// Messages by their topics.
    Topics = 2,
    /// Subscribers that take their time.
    Slow = 4,
    /// All about some.
    Traces = 8,
    /// Spans of what happens to clients.
    #[cfg(feature = "opentelemetry")]
    ClientSpans = 16,
    /// Spans of messages.
    #[cfg(feature = "opentelemetry")]
    MessageSpans = 32,
}

/// Looks to which no message is of interest: at events, and at spans of clients.
const OF_CLIENTS: u32 = 1 | 16;

/// Whose message it is. Found out only when somebody wants to know.
#[derive(Clone, Debug)]
pub struct Who {
    /// The client.
    pub client_id: ClientId,
    /// Tells sessions apart.
    pub key: u64,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// Since when it is there.
    pub since: Instant,
}

impl Watch {
    /// What somebody should see to.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// True while anybody looks at anything.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.looks.load(Ordering::Relaxed) != 0
    }

    /// True while anybody looks at messages.
    #[inline]
    pub fn looks_at_messages(&self) -> bool {
        self.looks.load(Ordering::Relaxed) & !OF_CLIENTS != 0
    }

    /// True while anybody wants to know when messages are acknowledged.
    #[inline]
    pub fn looks_at_acknowledgements(&self) -> bool {
        self.looks_at(Look::Slow)
    }

    #[inline]
    fn looks_at(&self, what: Look) -> bool {
        self.looks.load(Ordering::Relaxed) & what as u32 != 0
    }

    fn set(&self, what: Look, looks: bool) {
        if looks {
            self.looks.fetch_or(what as u32, Ordering::Relaxed);
        } else {
            self.looks.fetch_and(!(what as u32), Ordering::Relaxed);
        }
    }

    /// Something happened to a client. It is put into words only when somebody wants to know.
    pub fn happened(&self, make: impl FnOnce() -> ClientEvent) {
        if self.looks.load(Ordering::Relaxed) & (OF_CLIENTS | Look::Traces as u32) == 0 {
            return;
        }
        let event = make();
        #[cfg(feature = "opentelemetry")]
        if self.looks_at(Look::ClientSpans)
            && let Some(spans) = self.spans.get()
        {
            spans.happened(&event);
        }
        if self.is_traced() {
            event.trace(self);
        }
        if self.looks_at(Look::Events) {
            self.events.send(event);
        }
    }

    /// A message was published; by nobody if by the gateway itself. It goes on as it comes back.
    #[cold]
    pub fn published(&self, message: Message, now: Instant, who: Option<&dyn Fn() -> Who>) -> Message {
        self.see_published(&message, who);
        #[cfg(feature = "opentelemetry")]
        if self.looks_at(Look::MessageSpans)
            && let Some(spans) = self.spans.get()
        {
            return spans.published(&message, now, who).unwrap_or(message);
        }
        #[cfg(not(feature = "opentelemetry"))]
        let _ = now;
        message
    }

    fn see_published(&self, message: &Message, who: Option<&dyn Fn() -> Who>) {
        if self.looks_at(Look::Topics) {
            self.topics.published(message);
        }
        if self.is_traced() {
            self.trace_message("PUBLISH", "received", message, &message.head().qos, who);
        }
    }

    /// A publication reached nobody.
    #[cold]
    pub fn dropped(&self, message: &Message, who: Option<&dyn Fn() -> Who>) {
        if self.looks_at(Look::Topics) {
            self.topics.dropped(message);
        }
        if self.is_traced() {
            self.trace_message("PUBLISH", "dropped_no_subscribers", message, &message.head().qos, who);
        }
    }

    /// Somebody may not do something about a topic.
    pub fn denied(&self, action: &'static str, topic: &str, who: &dyn Fn() -> Who) {
        if self.is_traced() {
            let who = who();
            self.trace(&TraceLine {
                tag: "AUTHZ",
                what: "denied",
                client_id: who.client_id.as_str(),
                remote: who.remote,
                topic: Some(topic),
                facts: &[("action", &action)],
                payload: None,
            });
        }
    }

    /// It was decided whether somebody may have a session.
    pub fn admitted(&self, client_id: &str, username: Option<&str>, remote: Option<SocketAddr>, outcome: &str) {
        if self.is_traced() {
            self.trace(&TraceLine {
                tag: "AUTHN",
                what: "decided",
                client_id,
                remote,
                topic: None,
                facts: &[("username", &username.unwrap_or("undefined")), ("outcome", &outcome)],
                payload: None,
            });
        }
    }

    /// A message was given to its subscriber's connection.
    #[cold]
    pub fn delivered(&self, delivery: &Delivery, now: Instant, who: &dyn Fn() -> Who) {
        if self.looks_at(Look::Topics) {
            self.topics.delivered(&delivery.message, delivery.qos);
        }
        if self.looks_at(Look::Slow) {
            self.slow.delivered(delivery, now, who);
        }
        if self.is_traced() {
            self.trace_message("DELIVER", "sent", &delivery.message, &delivery.qos, Some(who));
        }
        #[cfg(feature = "opentelemetry")]
        if self.looks_at(Look::MessageSpans)
            && let Some(spans) = self.spans.get()
        {
            spans.delivered(delivery, now, who);
        }
    }

    /// A subscriber has acknowledged a message.
    #[cold]
    pub fn acknowledged(&self, message: &Message, now: Instant, who: &dyn Fn() -> Who) {
        if self.looks_at(Look::Slow) {
            self.slow.acknowledged(message, now, who);
        }
    }

    fn trace_message(
        &self,
        tag: &'static str,
        what: &str,
        message: &Message,
        qos: &thingway_contract::Qos,
        who: Option<&dyn Fn() -> Who>,
    ) {
        let who = who.map(|who| who());
        self.trace(&TraceLine {
            tag,
            what,
            client_id: who.as_ref().map_or("", |who| who.client_id.as_str()),
            remote: who.as_ref().and_then(|who| who.remote),
            topic: Some(message.topic()),
            facts: &[("qos", &(*qos as u8)), ("retain", &message.head().retain)],
            payload: Some(message.payload()),
        });
    }
}
