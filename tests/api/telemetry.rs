//! What a collector of OpenTelemetry gets of a gateway that clients use.

#[path = "../../telemetry/tests/common/receiver.rs"]
mod receiver;

use std::{collections::BTreeMap, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{metric::Data, number_data_point},
    trace::v1::{Span, span::SpanKind},
};
use receiver::{Came, Receiver, Then};
use thingway::{
    config::{Config, Listeners, OpenTelemetry, Period, StoreDurability},
    gateway::Gateway,
};

use crate::{
    Managed,
    common::{Connect, Property, TestGateway, Version},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn pushes(receiver: &Receiver, config: &mut Config) {
    config.opentelemetry.exporter.endpoint = receiver.endpoint();
    config.opentelemetry.traces.scheduled_delay = Period::from_millis(1);
    config.opentelemetry.metrics.interval = Period::from_millis(50);
}

async fn traced(receiver: &Receiver, change: impl FnOnce(&mut OpenTelemetry)) -> TestGateway {
    TestGateway::with(|config| {
        pushes(receiver, config);
        config.opentelemetry.traces.enable = true;
        change(&mut config.opentelemetry);
    })
    .await
}

fn user(name: &str, value: &str) -> Property {
    Property::User(name.into(), value.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn told(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let value = |pair: &KeyValue| match pair.value.clone().and_then(|any| any.value).expect("a value") {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        Any::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.as_str(), value(pair))).collect()
}

/// Spans as they come, until there are so many.
async fn spans(receiver: &mut Receiver, count: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    while spans.len() < count {
        let Came::Traces(came) = receiver.next().await.1 else { continue };
        let of_resource = came.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.extend(of_resource.flat_map(|scope| scope.spans));
    }
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn find<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

type Values = BTreeMap<String, Vec<(BTreeMap<String, String>, u64)>>;

fn values(came: &ExportMetricsServiceRequest) -> Values {
    let metrics = came.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut values = Values::new();
    for metric in metrics.flat_map(|scope| &scope.metrics) {
        let points = match metric.data.as_ref().expect("data") {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{other:?}"),
        };
        for point in points {
            let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("{point:?}") };
            let attributes = told(&point.attributes).into_iter().map(|(name, value)| (name.to_owned(), value));
            values.entry(metric.name.clone()).or_default().push((attributes.collect(), value as u64));
        }
    }
    values
}

#[tokio::test]
async fn metrics_are_those_that_prometheus_reads() {
    let mut receiver = Receiver::start().await;
    let managed = Managed::with(|config| {
        pushes(&receiver, config);
        config.opentelemetry.metrics.enable = true;
        config.opentelemetry.exporter.service_name = "the-gateway".into();
    })
    .await;
    let mut client = managed.gateway.client(Version::V5, "client").await;
    client.subscribe("a", 1).await;
    for _ in 0..7 {
        client.publish("a", "x", 1).await;
        client.expect_message().await;
    }
    client.ping().await;
    // One that was begun before the last message may still be under way.
    let (came, values) = loop {
        let Came::Metrics(came) = receiver.next().await.1 else { panic!("only metrics") };
        let values = values(&came);
        if values["emqx.messages.received"][0].1 == 7 && values["emqx.messages.sent"][0].1 == 7 {
            break (came, values);
        }
    };
    let text = managed.get("/api/v5/prometheus/stats").await.text().to_owned();
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name").trim_end_matches("_total").replace('_', ".");
        let points = values.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
        let labelled = |(attributes, _): &&(BTreeMap<String, String>, u64)| {
            attributes.iter().all(|(name, value)| series.contains(&format!("{name}=\"{value}\"")))
        };
        let (_, pushed) = points.iter().find(labelled).unwrap_or_else(|| panic!("{series} is missing"));
        // What does not move while nothing happens but that the gateway is asked.
        if ["emqx_messages", "emqx_packets_publish", "emqx_subscriptions", "emqx_live", "thingway_listener"]
            .iter()
            .any(|steady| series.starts_with(steady))
        {
            assert_eq!(pushed.to_string(), value, "{series}");
            lines += 1;
        }
    }
    assert!(lines > 20, "{lines}");
    assert_eq!(values["emqx.live.connections.count"][0].1, 1);
    let resource = told(&came.resource_metrics[0].resource.as_ref().expect("a resource").attributes);
    assert_eq!(resource["service.name"], "the-gateway");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(!resource["service.instance.id"].is_empty() && !resource["host.name"].is_empty());
    let metrics = &came.resource_metrics[0].scope_metrics[0].metrics;
    let bytes = metrics.iter().find(|metric| metric.name == "emqx.bytes.received").expect("bytes");
    assert_eq!(bytes.unit, "By");
    let Some(Data::Sum(sum)) = &bytes.data else { panic!("a sum") };
    assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano > 1_600_000_000_000_000_000);
}

#[tokio::test]
async fn a_message_goes_on_with_its_trace() {
    let mut receiver = Receiver::start().await;
    let gateway = traced(&receiver, |telemetry| {
        telemetry.traces.filter.client_connect_disconnect = false;
        telemetry.traces.filter.client_subscribe_unsubscribe = false;
    })
    .await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a/+", 1).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    let recorded = [user("traceparent", &format!("00-{TRACE}-{PARENT}-01")), user("tracestate", "v=1"), user("x", "y")];
    let unrecorded = [user("traceparent", &format!("00-{TRACE}-{PARENT}-00"))];
    let wrong = [user("traceparent", "00-nonsense")];
    publisher.publish("a/plain", "x", 1).await;
    publisher.publish_with("a/unrecorded", "x", 1, false, &unrecorded).await;
    publisher.publish_with("a/wrong", "x", 1, false, &wrong).await;
    publisher.publish_with("a/recorded", "payload", 1, false, &recorded).await;
    for (topic, properties) in
        [("a/plain", &[][..]), ("a/unrecorded", &unrecorded), ("a/wrong", &wrong), ("a/recorded", &recorded)]
    {
        let message = subscriber.expect_message().await;
        assert_eq!((&*message.topic, &message.properties[..]), (topic, properties), "it is passed on as it came");
    }
    let spans = spans(&mut receiver, 2).await;
    let (received, sent) = (find(&spans, "client.publish"), find(&spans, "broker.publish"));
    for span in [received, sent] {
        assert_eq!((hex(&span.trace_id).as_str(), &*span.trace_state, span.flags & 1), (TRACE, "v=1", 1));
        assert!(span.start_time_unix_nano > 1_600_000_000_000_000_000);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let told = told(&span.attributes);
        for (name, value) in [
            ("messaging.system", "mqtt"),
            ("messaging.destination.name", "a/recorded"),
            ("messaging.message.body.size", "7"),
            ("messaging.mqtt.qos", "1"),
            ("network.peer.address", "127.0.0.1"),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
        assert!(!told.values().any(|value| value.contains("payload")));
    }
    assert_eq!((hex(&received.parent_span_id).as_str(), received.kind()), (PARENT, SpanKind::Consumer));
    assert_eq!((&sent.parent_span_id, sent.kind()), (&received.span_id, SpanKind::Producer));
    assert_eq!((received.flags & 0x300, sent.flags & 0x300), (0x300, 0x100), "whose parent is remote");
    let (received, sent) = (told(&received.attributes), told(&sent.attributes));
    assert_eq!((&*received["messaging.client.id"], &*sent["messaging.client.id"]), ("publisher", "subscriber"));
    assert_eq!((&*received["messaging.operation.name"], &*sent["messaging.operation.name"]), ("publish", "deliver"));
}

#[tokio::test]
async fn a_trace_may_begin_here() {
    let mut receiver = Receiver::start().await;
    let gateway = traced(&receiver, |telemetry| telemetry.traces.filter.trace_all = true).await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", 1).await;
    let first = spans(&mut receiver, 2).await;
    let (connected, subscribed) = (find(&first, "client.connect"), find(&first, "client.subscribe"));
    assert!(connected.parent_span_id.is_empty() && connected.trace_id != subscribed.trace_id);
    assert_eq!(told(&connected.attributes)["messaging.client.id"], "subscriber");
    assert_eq!(told(&subscribed.attributes)["messaging.destination.name"], "a");
    let mut publisher = gateway.client(Version::V311, "publisher").await;
    publisher.publish("a", "x", 1).await;
    let message = subscriber.expect_message().await;
    let [Property::User(name, context)] = &message.properties[..] else { panic!("{message:?}") };
    publisher.disconnect().await;
    let others = spans(&mut receiver, 4).await;
    let (received, sent) = (find(&others, "client.publish"), find(&others, "broker.publish"));
    let expected = format!("00-{}-{}-01", hex(&received.trace_id), hex(&received.span_id));
    assert_eq!((&**name, context), ("traceparent", &expected));
    assert!(received.parent_span_id.is_empty());
    assert_eq!((&sent.trace_id, &sent.parent_span_id), (&received.trace_id, &received.span_id));
    assert_eq!(told(&find(&others, "client.disconnect").attributes)["thingway.disconnect.reason"], "normal");
    find(&others, "client.connect");
}

#[tokio::test]
async fn a_part_of_traces_that_is_none_is_not_recorded() {
    let mut receiver = Receiver::start().await;
    let gateway = traced(&receiver, |telemetry| {
        telemetry.traces.filter.trace_all = true;
        telemetry.traces.filter.sample_ratio = 0.0;
    })
    .await;
    let mut client = gateway.client(Version::V5, "client").await;
    client.subscribe("a", 0).await;
    client.publish("a", "unrecorded", 1).await;
    assert_eq!(client.expect_message().await.properties, []);
    let recorded = [user("traceparent", &format!("00-{TRACE}-{PARENT}-01"))];
    client.publish_with("a", "recorded", 1, false, &recorded).await;
    assert_eq!(client.expect_message().await.properties, recorded);
    assert_eq!(hex(&spans(&mut receiver, 2).await[0].trace_id), TRACE, "what began elsewhere is decided there");
}

#[tokio::test]
async fn a_delivery_after_a_restart_is_part_of_the_trace() {
    let mut receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let start = async |receiver: &Receiver| {
        TestGateway::with(|config| {
            pushes(receiver, config);
            config.opentelemetry.traces.enable = true;
            config.opentelemetry.traces.filter.client_connect_disconnect = false;
            config.opentelemetry.traces.filter.client_subscribe_unsubscribe = false;
            config.gateway.data_dir = folder.path().to_owned();
            config.store.durability = StoreDurability::Os;
        })
        .await
    };
    let kept = Connect::new(Version::V5, "kept").persistent();
    let gateway = start(&receiver).await;
    let (mut subscriber, _) = gateway.connect(&kept).await;
    subscriber.subscribe("a", 1).await;
    subscriber.cut();
    let recorded = [user("traceparent", &format!("00-{TRACE}-{PARENT}-01"))];
    gateway.client(Version::V5, "publisher").await.publish_with("a", "x", 1, false, &recorded).await;
    // What is left is pushed when the gateway stops.
    gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let received = spans(&mut receiver, 1).await.remove(0);
    assert_eq!(received.name, "client.publish");
    let gateway = start(&receiver).await;
    let (mut subscriber, _) = gateway.connect(&kept).await;
    assert_eq!(subscriber.expect_message().await.properties, recorded);
    let sent = &spans(&mut receiver, 1).await[0];
    assert_eq!((sent.name.as_str(), hex(&sent.trace_id).as_str()), ("broker.publish", TRACE));
    // A gateway that is quick to be there again still knows when it received the message, and so which span that was.
    let parent = hex(&sent.parent_span_id);
    assert!(parent == PARENT || parent == hex(&received.span_id), "{parent}");
}

#[tokio::test]
async fn without_its_collector_the_gateway_goes_on() {
    for then in [Then::Silence, Then::HalfAnAnswer, Then::Answer(503, "", Vec::new())] {
        let receiver = Receiver::start().await;
        receiver.answer(then.clone());
        let managed = Managed::with(|config| {
            pushes(&receiver, config);
            config.opentelemetry.traces.enable = true;
            config.opentelemetry.traces.max_queue_size = 4;
            config.opentelemetry.traces.filter.trace_all = true;
            config.opentelemetry.metrics.enable = true;
        })
        .await;
        let mut client = managed.gateway.client(Version::V5, "client").await;
        client.subscribe("a", 1).await;
        for number in 0..100 {
            client.publish("a", &number.to_string(), 1).await;
            assert_eq!(client.expect_message().await.text(), number.to_string(), "{then:?}");
        }
        let text = managed.get("/api/v5/prometheus/stats").await.text().to_owned();
        let count = |outcome: &str| -> u64 {
            let series = format!("thingway_opentelemetry_items_total{{signal=\"traces\",outcome=\"{outcome}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series)).expect("it is counted");
            value.parse().expect("a number")
        };
        // 202 spans: 4 wait, as many are under way, and there is no room for the others.
        assert!(count("dropped") >= 202 - 8, "{then:?}: {text}");
        assert_eq!((count("taken"), count("rejected")), (0, 0));
    }
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_told_at_the_start() {
    for (change, key) in [
        (&(|o: &mut OpenTelemetry| o.exporter.endpoint = "localhost:4318".into()) as &dyn Fn(&mut _), "endpoint"),
        (&|o: &mut OpenTelemetry| o.exporter.headers = [("content-type", "x")].into(), "headers"),
    ] {
        let mut config = Config { listeners: Listeners::none(), ..Config::default() };
        crate::common::gateway::listen_as(&mut config, thingway::config::ListenerKind::Tcp);
        config.store.durability = StoreDurability::Memory;
        config.dashboard.enable = false;
        config.opentelemetry.traces.enable = true;
        change(&mut config.opentelemetry);
        let error = Gateway::start(config).await.err().map(Arc::new).expect("it cannot start");
        assert_eq!(error.key(), Some(format!("opentelemetry.exporter.{key}")), "{error}");
    }
}
