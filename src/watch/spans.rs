//! Spans for OpenTelemetry, which follow what passes by: what happens to clients, and the way of messages.
//!
//! Whether a message is traced is in itself: a user property `traceparent`, which its publisher gave it or which it got here. So nothing has to be remembered until
//! it is delivered, wherever and whenever that is: the identifier of a publication's span follows from the message.

use std::{net::SocketAddr, sync::Arc};

use thingway_contract::{Delivery, Instant, Message, Properties, PropertiesBuilder, Property, PublisherKey, Qos};
use thingway_telemetry::{
    Ids, Parent, QueueCounts, Sampler, Span, SpanId, SpanKind, SpanQueue, TraceContext, TraceId, Value, derived_span_id,
};

use super::{ClientEvent, Happened, Look, Watch, Who};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Bytes of a payload that tell messages apart.
const PAYLOAD_BYTES_MAX: usize = 256;

/// What spans are made of.
#[derive(Clone, Copy, Debug)]
pub struct SpanSettings {
    /// Clients that connect and disconnect.
    pub connections: bool,
    /// Clients that subscribe and unsubscribe.
    pub subscriptions: bool,
    /// Messages that carry a context.
    pub messages: bool,
    /// All other messages, too.
    pub all_messages: bool,
    /// Which of the traces that begin here are recorded.
    pub sampler: Sampler,
    /// Wall-clock time at the bus clock's zero, in milliseconds since 1970.
    pub clock_zero_unix_ms: u64,
}

/// Makes spans.
#[derive(Debug)]
pub(super) struct Spans {
    settings: SpanSettings,
    queue: Arc<SpanQueue>,
    ids: Ids,
}

impl Watch {
    /// Has spans made of what passes by, from now on.
    pub fn make_spans(&self, settings: SpanSettings, queue: Arc<SpanQueue>) {
        if self.spans.set(Spans { settings, queue, ids: Ids::default() }).is_err() {
            return;
        }
        self.set(Look::ClientSpans, settings.connections || settings.subscriptions);
        self.set(Look::MessageSpans, settings.messages || settings.all_messages);
    }

    /// What became of spans.
    pub fn span_counts(&self) -> QueueCounts {
        self.spans.get().map(|spans| spans.queue.counts()).unwrap_or_default()
    }
}

impl Spans {
    fn unix_ms(&self, at: Instant) -> u64 {
        self.settings.clock_zero_unix_ms.saturating_add(at.as_millis())
    }

    /// The identifier of the span of a message's publication. It follows from what stays as it is on the message's whole way.
    fn span_of(&self, message: &Message, trace_id: TraceId, parent: Option<SpanId>) -> SpanId {
        let payload = message.payload();
        let parts = [
            &self.unix_ms(message.head().received_at).to_le_bytes(),
            message.topic_bytes(),
            &payload.len().to_le_bytes(),
            &payload[..payload.len().min(PAYLOAD_BYTES_MAX)],
        ];
        derived_span_id(trace_id, parent, &parts)
    }

    /// Something happened to a client, which took no time that is known.
    pub fn happened(&self, event: &ClientEvent) {
        let (name, operation, wanted) = match event.what {
            Happened::Connected => ("client.connect", "connect", self.settings.connections),
            Happened::Disconnected => ("client.disconnect", "disconnect", self.settings.connections),
            Happened::Subscribed => ("client.subscribe", "subscribe", self.settings.subscriptions),
            Happened::Unsubscribed => ("client.unsubscribe", "unsubscribe", self.settings.subscriptions),
        };
        let trace_id = self.ids.trace();
        if !wanted || !self.settings.sampler.samples(trace_id) {
            return;
        }
        let mut attributes = attributes(operation, event.topic.as_deref());
        client(event.client_id.as_str(), event.remote, &mut attributes);
        if !event.protocol.is_empty() {
            attributes.push(("network.protocol.name", Value::text(event.protocol)));
        }
        if let Some(username) = &event.username {
            attributes.push(("user.name", Value::text(username)));
        }
        if let Some(reason) = event.reason {
            attributes.push(("thingway.disconnect.reason", Value::text(reason)));
        }
        let at = self.unix_ms(event.at);
        self.queue.push(Span {
            trace_id,
            span_id: self.ids.span(),
            parent: None,
            trace_state: Box::default(),
            name,
            kind: SpanKind::Server,
            start_unix_ms: at,
            end_unix_ms: at,
            attributes,
        });
    }

    /// A message was published. Gives the message as it is to be passed on, if its trace begins here.
    pub fn published(&self, message: &Message, now: Instant, who: Option<&dyn Fn() -> Who>) -> Option<Message> {
        let (trace_id, parent, trace_state) = match context(message.properties()) {
            Some((context, _)) if !context.is_sampled() || !self.settings.messages => return None,
            Some((context, state)) => (context.trace_id, Some(context.span_id), Span::state(state)),
            None => (self.begun(message, who.is_some())?, None, Box::default()),
        };
        let span_id = self.span_of(message, trace_id, parent);
        let mut attributes = attributes("publish", Some(message.topic()));
        attributes.push(("messaging.operation.type", Value::text("receive")));
        about(message, message.head().qos, &mut attributes);
        if let Some(who) = who.map(|who| who()) {
            client(who.client_id.as_str(), who.remote, &mut attributes);
        }
        self.queue.push(Span {
            trace_id,
            span_id,
            parent: parent.map(|span_id| Parent { span_id, is_remote: true }),
            trace_state,
            name: "client.publish",
            kind: SpanKind::Consumer,
            start_unix_ms: self.unix_ms(message.head().received_at),
            end_unix_ms: self.unix_ms(now),
            attributes,
        });
        parent.is_none().then(|| with_context(message, TraceContext::sampled(trace_id, span_id)))
    }

    /// The trace of a message without a context, if it is recorded.
    fn begun(&self, message: &Message, has_publisher: bool) -> Option<TraceId> {
        // What the gateway says itself, as under `$SYS`, is of no interest; what comes by its API is.
        let by_itself = !has_publisher && message.head().publisher == PublisherKey::default();
        if !self.settings.all_messages || by_itself && message.topic_bytes().starts_with(b"$") {
            return None;
        }
        let trace_id = self.ids.trace();
        self.settings.sampler.samples(trace_id).then_some(trace_id)
    }

    /// A message was given to a subscriber's connection.
    pub fn delivered(&self, delivery: &Delivery, now: Instant, who: &dyn Fn() -> Who) {
        let message = &delivery.message;
        let Some((context, state)) = context(message.properties()).filter(|(context, _)| context.is_sampled()) else {
            return;
        };
        let own = |parent| self.span_of(message, context.trace_id, parent);
        let began_here = context.span_id == own(None);
        if !(self.settings.messages || began_here) {
            return;
        }
        let received_at = message.head().received_at;
        // When one was received that came before the gateway started is not known any more, and neither is its span.
        let is_known = received_at > Instant::ZERO && !began_here;
        let parent = if is_known { own(Some(context.span_id)) } else { context.span_id };
        let who = who();
        // What is retained waited for nobody, and nobody could have it while it was away.
        let start = if delivery.retain { now } else { received_at.max(who.since).min(now) };
        let mut attributes = attributes("deliver", Some(message.topic()));
        attributes.push(("messaging.operation.type", Value::text("send")));
        about(message, delivery.qos, &mut attributes);
        client(who.client_id.as_str(), who.remote, &mut attributes);
        self.queue.push(Span {
            trace_id: context.trace_id,
            span_id: self.ids.span(),
            parent: Some(Parent { span_id: parent, is_remote: !is_known && !began_here }),
            trace_state: Span::state(state),
            name: "broker.publish",
            kind: SpanKind::Producer,
            start_unix_ms: self.unix_ms(start),
            end_unix_ms: self.unix_ms(now),
            attributes,
        });
    }
}

/// The context that a message carries, and its `tracestate`. One that is no good is none.
fn context(properties: Properties<'_>) -> Option<(TraceContext, &str)> {
    if properties.is_empty() {
        return None;
    }
    let mut parents = properties.iter().filter_map(|property| match property {
        Property::UserProperty(TRACEPARENT, value) => TraceContext::parse(value),
        _ => None,
    });
    let context = parents.next()?;
    let state = properties.iter().find_map(|property| match property {
        Property::UserProperty(TRACESTATE, value) => Some(value),
        _ => None,
    });
    Some((context, state.unwrap_or_default()))
}

/// The message with a context after its own properties.
fn with_context(message: &Message, context: TraceContext) -> Message {
    let mut added = PropertiesBuilder::new();
    added.push(Property::UserProperty(TRACEPARENT, &context.to_string()));
    let properties = [message.properties().as_bytes(), added.as_properties().as_bytes()].concat();
    Message::new(*message.head(), message.name(), Properties::trusted(&properties), message.payload())
}

/// What all spans have, by OpenTelemetry's conventions for messaging.
fn attributes(operation: &'static str, topic: Option<&str>) -> Vec<(&'static str, Value)> {
    let mut attributes = Vec::with_capacity(10);
    attributes.push(("messaging.system", Value::text("mqtt")));
    attributes.push(("messaging.operation.name", Value::text(operation)));
    attributes.extend(topic.map(|topic| ("messaging.destination.name", Value::text(topic))));
    attributes
}

/// Payloads are told of by their size, and never sent.
fn about(message: &Message, qos: Qos, attributes: &mut Vec<(&'static str, Value)>) {
    attributes.push(("messaging.message.body.size", Value::Number(message.payload().len() as i64)));
    attributes.push(("messaging.mqtt.qos", Value::Number(qos as i64)));
    attributes.push(("messaging.mqtt.retain", Value::Flag(message.head().retain)));
}

fn client(id: &str, remote: Option<SocketAddr>, attributes: &mut Vec<(&'static str, Value)>) {
    attributes.push(("messaging.client.id", Value::text(id)));
    if let Some(remote) = remote {
        attributes.push(("network.peer.address", Value::text(&remote.ip().to_canonical().to_string())));
        attributes.push(("network.peer.port", Value::Number(remote.port().into())));
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::{ClientId, MessageHead, Topic, TopicLimits};

    use super::*;

    const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const SETTINGS: fn() -> SpanSettings = || SpanSettings {
        connections: true,
        subscriptions: false,
        messages: true,
        all_messages: false,
        sampler: Sampler::of(1.0),
        clock_zero_unix_ms: 1_000_000,
    };

    fn watching(settings: SpanSettings) -> (Watch, Arc<SpanQueue>) {
        let (watch, queue) = (Watch::default(), Arc::new(SpanQueue::new(100)));
        watch.make_spans(settings, queue.clone());
        (watch, queue)
    }

    fn message(received_ms: u64, context: Option<&str>, payload: &[u8]) -> Message {
        let topic = Topic::parse("a", TopicLimits::default()).expect("a topic");
        let mut properties = PropertiesBuilder::new();
        properties.push(Property::UserProperty("x", "y"));
        if let Some(context) = context {
            properties.push(Property::UserProperty(TRACEPARENT, context));
        }
        let head = MessageHead { received_at: Instant::from_millis(received_ms), ..MessageHead::default() };
        Message::new(head, topic, properties.as_properties(), payload)
    }

    fn who() -> Who {
        let client_id = ClientId::new("c", 100).expect("an id");
        Who { client_id, key: 1, remote: None, since: Instant::from_millis(150) }
    }

    fn deliver(watch: &Watch, message: &Message, retain: bool) {
        let (rare, subscription_id, qos, packet_id) = (None, 0, Qos::AtMostOnce, 0);
        let delivery = Delivery { message: message.clone(), rare, subscription_id, qos, retain, packet_id };
        watch.delivered(&delivery, Instant::from_millis(300), &who);
    }

    fn publish(watch: &Watch, message: Message) -> Message {
        watch.published(message, Instant::from_millis(200), Some(&who))
    }

    #[test]
    fn only_what_is_looked_at_is_looked_at() {
        let (watch, queue) = watching(SpanSettings { messages: false, ..SETTINGS() });
        assert!(watch.is_on() && !watch.looks_at_messages() && !watch.looks_at_acknowledgements());
        let event = |what| ClientEvent {
            what,
            client_id: ClientId::new("c", 100).expect("an id"),
            username: Some("bob".into()),
            protocol: "mqtt",
            remote: None,
            topic: None,
            reason: None,
            at: Instant::from_millis(7),
        };
        watch.happened(|| event(Happened::Subscribed));
        assert!(queue.is_empty());
        watch.happened(|| event(Happened::Connected));
        assert_eq!((queue.len(), watch.span_counts().ended), (1, 1));
        let (watch, _) = watching(SpanSettings { connections: false, ..SETTINGS() });
        assert!(watch.looks_at_messages());
        watch.happened(|| unreachable!("nobody wants to know"));
    }

    #[test]
    fn the_way_of_a_message_is_one_trace_wherever_it_began() {
        for (context, all_messages) in [(Some(REMOTE), false), (None, true), (Some("00-nonsense"), true)] {
            let (watch, queue) = watching(SpanSettings { all_messages, ..SETTINGS() });
            let passed_on = publish(&watch, message(100, context, b"x"));
            // As when it was read again from the store.
            deliver(&watch, &passed_on.with_head(*passed_on.head()), false);
            deliver(&watch, &passed_on, true);
            let spans = queue.take();
            assert_eq!(spans.len(), 3);
            assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
            let parents = spans[1..].iter().map(|span| span.parent.map(|parent| (parent.span_id, parent.is_remote)));
            assert!(parents.into_iter().all(|parent| parent == Some((spans[0].span_id, false))), "{spans:?}");
            let times = spans.iter().map(|span| (span.start_unix_ms, span.end_unix_ms)).collect::<Vec<_>>();
            let since = 1_000_150;
            assert_eq!(times, [(1_000_100, 1_000_200), (since, 1_000_300), (1_000_300, 1_000_300)]);
            assert_eq!(spans[0].parent.is_some(), context == Some(REMOTE));
        }
    }

    #[test]
    fn messages_that_are_alike_have_spans_of_their_own() {
        let (watch, queue) = watching(SETTINGS());
        let long = |last: u8| [&[b'x'; 999][..], &[last]].concat();
        for (received_ms, payload) in
            [(100, &b"x"[..]), (101, b"x"), (100, b"y"), (100, &long(0)[..]), (100, &long(0)[1..])]
        {
            publish(&watch, message(received_ms, Some(REMOTE), payload));
        }
        let mut ids: Vec<_> = queue.take().iter().map(|span| span.span_id.0).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn what_is_not_traced_is_passed_on_as_it_is() {
        let (watch, queue) = watching(SETTINGS());
        for context in [None, Some("00-nonsense"), Some(&*REMOTE.replace("-01", "-00"))] {
            let one = message(100, context, b"x");
            assert!(publish(&watch, one.clone()).is_same(&one));
            deliver(&watch, &one, false);
        }
        assert!(queue.is_empty());
        let all = SpanSettings { all_messages: true, messages: false, ..SETTINGS() };
        let (watch, queue) = watching(all);
        let one = message(100, Some(REMOTE), b"x");
        assert!(publish(&watch, one.clone()).is_same(&one));
        deliver(&watch, &one, false);
        let told = message(100, None, b"x");
        let topic = Topic::parse("$SYS/x", TopicLimits::default()).expect("a topic");
        assert_eq!(watch.published(told.with_topic(topic), Instant::ZERO, None).properties(), told.properties());
        assert!(queue.is_empty());
        let passed_on = publish(&watch, told);
        assert_eq!(passed_on.properties().iter().count(), 2, "its own, and the context");
    }

    #[test]
    fn one_that_came_before_the_start_goes_on_from_what_it_carries() {
        let (watch, queue) = watching(SETTINGS());
        deliver(&watch, &message(0, Some(REMOTE), b"x"), false);
        let parent = queue.take()[0].parent.map(|parent| (parent.span_id.to_string(), parent.is_remote));
        assert_eq!(parent, Some(("b7ad6b7169203331".to_owned(), true)));
    }
}
