//! What is exported arrives as it is, and a collector that does not do its part costs no more than what it does not take.

#[path = "common/receiver.rs"]
mod receiver;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{AggregationTemporality, metric::Data, number_data_point},
    trace::v1::span::SpanKind as Kind,
};
use prost::Message;
use receiver::{Came, OK, Receiver, Then};
use thingway_telemetry::{
    ExportCounts, Exporter, ExporterSettings, Ids, Metric, MetricKind, Parent, Point, QueueCounts, Resource, Retry,
    Signal, Span, SpanKind, SpanQueue, Value, export_metrics, export_spans,
};
use tokio::{sync::watch, task::JoinHandle};

const NOTHING: ExportCounts = ExportCounts { taken: 0, rejected: 0, failed: 0 };

fn settings(endpoint: &str) -> ExporterSettings {
    let mut resource = Resource::default();
    resource.set("service.name", "test");
    ExporterSettings {
        endpoint: endpoint.into(),
        headers: vec![("x-key".into(), "secret".into())],
        ca_file: None,
        timeout: Duration::from_secs(10),
        retry: Retry {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(10),
            whole: Duration::from_secs(60),
        },
        resource,
    }
}

/// Spans that are exported.
struct Exporting {
    exporter: Arc<Exporter>,
    queue: Arc<SpanQueue>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporting {
    fn start(settings: &ExporterSettings, spans_max: usize) -> Self {
        let exporter = Arc::new(Exporter::new(settings).expect("good settings"));
        let queue = Arc::new(SpanQueue::new(spans_max));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(export_spans(exporter.clone(), queue.clone(), Duration::from_millis(1), stopped));
        Self { exporter, queue, stop, task }
    }

    fn push(&self, count: usize) {
        let ids = Ids::default();
        (0..count).for_each(|_| self.queue.push(span(&ids)));
    }

    /// Waits until the counts are these.
    async fn counted(&self, expected: ExportCounts) {
        while self.exporter.counts(Signal::Traces) != expected {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("it ends");
    }
}

fn span(ids: &Ids) -> Span {
    Span {
        trace_id: ids.trace(),
        span_id: ids.span(),
        parent: Some(Parent { span_id: ids.span(), is_remote: true }),
        trace_state: "a=b".into(),
        name: "client.publish",
        kind: SpanKind::Consumer,
        start_unix_ms: 1_700_000_000_000,
        end_unix_ms: 1_700_000_000_007,
        attributes: vec![
            ("text", Value::text("a")),
            ("number", Value::Number(-7)),
            ("flag", Value::Flag(false)),
            ("empty", Value::text("")),
        ],
    }
}

fn told(attributes: &[KeyValue]) -> Vec<(&str, Any)> {
    let value = |pair: &KeyValue| pair.value.clone().and_then(|any| any.value).expect("a value");
    attributes.iter().map(|pair| (pair.key.as_str(), value(pair))).collect()
}

#[tokio::test]
async fn a_span_arrives_as_it_is() {
    let mut receiver = Receiver::start().await;
    let exporting = Exporting::start(&settings(&receiver.endpoint()), 10);
    let sent = span(&Ids::default());
    exporting.queue.push(sent.clone());
    let (head, Came::Traces(came)) = receiver.next().await else { panic!("traces") };
    for line in ["content-type: application/x-protobuf", "x-key: secret", "user-agent: OTel-OTLP-Exporter-Thingway/"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let resource = came.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(told(&resource.attributes), [("service.name", Any::StringValue("test".into()))]);
    let scope = &came.resource_spans[0].scope_spans[0];
    assert_eq!(scope.scope.as_ref().map(|scope| scope.name.as_str()), Some("thingway"));
    let span = &scope.spans[0];
    assert_eq!((&span.trace_id[..], &span.span_id[..]), (&sent.trace_id.0[..], &sent.span_id.0[..]));
    assert_eq!(span.parent_span_id, sent.parent.expect("a parent").span_id.0);
    assert_eq!((&*span.trace_state, &*span.name, span.kind()), ("a=b", "client.publish", Kind::Consumer));
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_700_000_000_007_000_000);
    assert_eq!(span.flags, 0x301, "sampled, and its parent is known to be remote");
    let expected = [
        ("text", Any::StringValue("a".into())),
        ("number", Any::IntValue(-7)),
        ("flag", Any::BoolValue(false)),
        ("empty", Any::StringValue(String::new())),
    ];
    assert_eq!(told(&span.attributes), expected);
    exporting.counted(ExportCounts { taken: 1, ..NOTHING }).await;
    exporting.stop().await;
}

#[tokio::test]
async fn values_arrive_with_what_they_are() {
    let mut receiver = Receiver::start().await;
    let exporter = Arc::new(Exporter::new(&settings(&receiver.endpoint())).expect("good settings"));
    let (stop, stopped) = watch::channel(false);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let collect = || {
        let metric = |name: &str, unit, kind, points| {
            let description = if kind == MetricKind::Sum { "What came" } else { "" };
            Metric { name: name.into(), description, unit, kind, points }
        };
        let points = vec![
            Point { attributes: vec![("a", "x".into()), ("b", "y".into())], value: u64::MAX },
            Point { attributes: vec![], value: 0 },
        ];
        vec![
            metric("bytes.received", "By", MetricKind::Sum, points),
            metric("connections", "{connection}", MetricKind::Gauge, vec![Point { attributes: vec![], value: 3 }]),
        ]
    };
    let task = tokio::spawn(export_metrics(exporter.clone(), Duration::from_millis(5), start, collect, stopped));
    let (_, Came::Metrics(came)) = receiver.next().await else { panic!("metrics") };
    let metrics = &came.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!((metrics[0].name.as_str(), metrics[0].unit.as_str()), ("bytes.received", "By"));
    assert_eq!((metrics[0].description.as_str(), metrics[1].description.as_str()), ("What came", ""));
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("a sum") };
    assert_eq!((sum.aggregation_temporality(), sum.is_monotonic), (AggregationTemporality::Cumulative, true));
    assert_eq!(told(&sum.data_points[0].attributes).len(), 2);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(i64::MAX)));
    assert_eq!(sum.data_points[1].value, Some(number_data_point::Value::AsInt(0)), "0 is a value");
    assert_eq!(sum.data_points[1].start_time_unix_nano, 1_700_000_000_000_000_000);
    assert!(sum.data_points[1].time_unix_nano > sum.data_points[1].start_time_unix_nano);
    let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("a gauge") };
    assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsInt(3)));
    assert!(matches!(receiver.next().await.1, Came::Metrics(_)), "it goes on");
    let part = ExportMetricsPartialSuccess { rejected_data_points: 2, error_message: "no".into() };
    let answer = ExportMetricsServiceResponse { partial_success: Some(part) }.encode_to_vec();
    receiver.answer(Then::Answer(200, "", answer));
    while exporter.counts(Signal::Metrics).rejected < 2 {
        receiver.next().await;
    }
    stop.send_replace(true);
    task.await.expect("it ends");
    let counts = exporter.counts(Signal::Metrics);
    assert_eq!((counts.failed, (counts.taken + counts.rejected) % 3), (0, 0), "{counts:?}");
}

#[tokio::test]
async fn what_can_be_taken_later_is_sent_again() {
    let mut receiver = Receiver::start().await;
    let exporting = Exporting::start(&settings(&receiver.endpoint()), 10);
    for then in [
        Then::Answer(429, "retry-after: 0\r\n", b"\x08\x08\x12\x04busy".to_vec()),
        Then::Answer(502, "", Vec::new()),
        Then::Answer(503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Vec::new()),
        Then::Answer(504, "", b"<html>".to_vec()),
        Then::HalfAnAnswer,
    ] {
        let before = exporting.exporter.counts(Signal::Traces).taken;
        receiver.answer(then.clone());
        exporting.push(1);
        let (_, Came::Traces(first)) = receiver.next().await else { panic!("traces") };
        let (_, Came::Traces(second)) = receiver.next().await else { panic!("traces") };
        assert_eq!(first, second, "{then:?}");
        receiver.answer(OK);
        while exporting.exporter.counts(Signal::Traces).taken == before {
            tokio::select! {
                biased;
                _ = receiver.next() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }
    assert_eq!(exporting.exporter.counts(Signal::Traces), ExportCounts { taken: 5, ..NOTHING });
    exporting.stop().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again() {
    let mut receiver = Receiver::start().await;
    let exporting = Exporting::start(&settings(&receiver.endpoint()), 10);
    for (failed, status) in [(1, 400), (2, 401), (3, 404), (4, 500), (5, 301)] {
        receiver.answer(Then::Answer(status, "location: /elsewhere\r\n", Vec::new()));
        exporting.push(1);
        receiver.next().await;
        exporting.counted(ExportCounts { failed, ..NOTHING }).await;
    }
    // The collector may have taken what it answers so oddly.
    receiver.answer(Then::Answer(200, "", vec![b'x'; 2 << 20]));
    exporting.push(1);
    receiver.next().await;
    exporting.counted(ExportCounts { failed: 6, ..NOTHING }).await;
    let part = ExportTracePartialSuccess { rejected_spans: 9, error_message: "no".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec();
    receiver.answer(Then::Answer(200, "", answer));
    exporting.push(1);
    receiver.next().await;
    exporting.counted(ExportCounts { failed: 6, rejected: 1, ..NOTHING }).await;
    assert!(receiver.came.try_recv().is_err(), "nothing came twice");
    exporting.stop().await;
}

#[tokio::test]
async fn a_collector_that_wants_to_be_left_alone_for_too_long_loses_what_it_did_not_take() {
    let mut receiver = Receiver::start().await;
    let exporting = Exporting::start(&settings(&receiver.endpoint()), 10);
    receiver.answer(Then::Answer(429, "retry-after: 100000\r\n", Vec::new()));
    exporting.push(1);
    exporting.counted(ExportCounts { failed: 1, ..NOTHING }).await;
    receiver.answer(OK);
    exporting.push(1);
    exporting.counted(ExportCounts { failed: 1, taken: 1, ..NOTHING }).await;
    assert_eq!((receiver.came.len(), receiver.next().await.0.is_empty()), (2, false));
    exporting.stop().await;
}

#[tokio::test]
async fn while_a_collector_is_silent_spans_wait_within_their_bounds() {
    let mut receiver = Receiver::start().await;
    receiver.answer(Then::Silence);
    let exporting = Exporting::start(&settings(&receiver.endpoint()), 100);
    exporting.push(100);
    receiver.next().await;
    // A part is under way; the others wait, and then there is no more room.
    exporting.push(200);
    let waiting = exporting.queue.len();
    assert_eq!(waiting, 100);
    let QueueCounts { ended, dropped } = exporting.queue.counts();
    assert_eq!(ended, 300);
    let under_way = 300 - dropped - waiting as u64;
    assert!((1..=100).contains(&under_way), "{under_way}");
    exporting.task.abort();
}

#[tokio::test]
async fn a_collector_that_is_away_is_counted_and_found_again() {
    let receiver = Receiver::start().await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let mut settings = settings(&format!("http://{gone}"));
    settings.retry.whole = Duration::ZERO;
    let exporting = Exporting::start(&settings, 10);
    for failed in 1..=10 {
        exporting.push(1);
        exporting.counted(ExportCounts { failed, ..NOTHING }).await;
    }
    exporting.stop().await;
    // It was never left alone: the next try finds one that is there.
    settings.endpoint = receiver.endpoint();
    receiver.answer(Then::Answer(503, "", Vec::new()));
    let exporting = Exporting::start(&settings, 10);
    for failed in 1..=10 {
        exporting.push(1);
        exporting.counted(ExportCounts { failed, ..NOTHING }).await;
    }
    receiver.answer(OK);
    exporting.push(1);
    exporting.counted(ExportCounts { failed: 10, taken: 1, ..NOTHING }).await;
    exporting.stop().await;
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let mut receiver = Receiver::start().await;
    let exporter = Arc::new(Exporter::new(&settings(&receiver.endpoint())).expect("good settings"));
    let queue = Arc::new(SpanQueue::new(2000));
    let ids = Ids::default();
    (0..511).for_each(|_| queue.push(span(&ids)));
    let (stop, stopped) = watch::channel(false);
    let day = Duration::from_secs(86_400);
    let task = tokio::spawn(export_spans(exporter.clone(), queue.clone(), day, stopped));
    queue.push(span(&ids));
    let (_, Came::Traces(came)) = receiver.next().await else { panic!("traces") };
    assert_eq!(came.resource_spans[0].scope_spans[0].spans.len(), 512, "as many as are sent together");
    (0..3).for_each(|_| queue.push(span(&ids)));
    stop.send_replace(true);
    task.await.expect("it ends");
    assert_eq!(exporter.counts(Signal::Traces), ExportCounts { taken: 515, ..NOTHING });
    queue.push(span(&ids));
    receiver.answer(Then::Answer(503, "", Vec::new()));
    export_spans(exporter.clone(), queue.clone(), day, stop.subscribe()).await;
    assert_eq!(exporter.counts(Signal::Traces).failed, 1, "nothing is waited for any more");
}
