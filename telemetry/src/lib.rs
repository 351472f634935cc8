//! Metrics and traces for a collector of OpenTelemetry, pushed by OTLP 1.x over HTTP as protocol buffers.
//!
//! The messages are few and their encoding is simple, so they are written by hand (`wire`); tests read them with the project's own `opentelemetry-proto`. What is
//! sent goes over a line of `thingway-connectors`, with its bounds and its encryption. This crate knows nothing of the gateway.

mod answer;
mod context;
mod exporter;
mod metric;
mod queue;
mod resource;
mod run;
mod span;
mod wire;

pub use self::{
    context::{Ids, Sampler, SpanId, TraceContext, TraceId, derived_span_id},
    exporter::{ExportCounts, Exporter, ExporterError, ExporterSettings, Retry, Signal},
    metric::{Metric, MetricKind, Point},
    queue::{QueueCounts, SpanQueue},
    resource::{Resource, pairs},
    run::{export_metrics, export_spans},
    span::{Parent, Span, SpanKind, Value},
};
