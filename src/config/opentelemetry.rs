use std::path::PathBuf;

use super::{
    schema::settings,
    value::{Period, Texts},
};

settings! {
    /// Metrics and traces that are pushed to a collector of OpenTelemetry, by OTLP over HTTP (protocol buffers).
    pub struct OpenTelemetry {
        /// Where they are pushed to.
        exporter: OpenTelemetryExporter = OpenTelemetryExporter::default();
        /// What /api/v5/prometheus/stats tells, as metrics of OpenTelemetry. Needs dashboard.enable.
        metrics: OpenTelemetryMetrics = OpenTelemetryMetrics::default();
        /// What happens to clients and messages, as spans.
        traces: OpenTelemetryTraces = OpenTelemetryTraces::default();
    }
}

settings! {
    /// Where metrics and traces are pushed to.
    pub struct OpenTelemetryExporter {
        /// The collector's address, such as "http://localhost:4318"; metrics go to v1/metrics below it, traces to v1/traces. "" is what OTEL_EXPORTER_OTLP_ENDPOINT
        /// has, and without that http://localhost:4318.
        endpoint: String = String::new();
        /// Headers, such as { authorization = "Bearer ..." }. Without any they are those of OTEL_EXPORTER_OTLP_HEADERS.
        headers: Texts = Texts::default();
        /// A file with the certificate authorities that are trusted for https, in PEM form; "" for those of the system.
        ca_file: PathBuf = PathBuf::new();
        /// How long an answer may take.
        timeout: Period = Period::from_secs(10);
        /// The name of this gateway's service. "" is what OTEL_SERVICE_NAME has, and without that "thingway".
        service_name: String = String::new();
        /// What else is told of this gateway, such as { "deployment.environment.name" = "production" }, beside what OTEL_RESOURCE_ATTRIBUTES has, which it beats.
        resource_attributes: Texts = Texts::default();
    }
}

settings! {
    /// Metrics that are pushed.
    pub struct OpenTelemetryMetrics {
        /// Whether they are.
        enable: bool = false;
        /// How often.
        interval: Period = Period::from_secs(10);
    }
}

settings! {
    /// Traces that are pushed.
    pub struct OpenTelemetryTraces {
        /// Whether they are.
        enable: bool = false;
        /// Spans that wait to be sent. Further ones are dropped, and counted.
        max_queue_size: u32 = 2048, within 1..=1_000_000;
        /// How long they wait; 512 wait no longer.
        scheduled_delay: Period = Period::from_secs(5);
        /// What is traced.
        filter: OpenTelemetryFilter = OpenTelemetryFilter::default();
    }
}

settings! {
    /// What is traced.
    pub struct OpenTelemetryFilter {
        /// Messages, from their publication to each of their deliveries: those with a user property "traceparent" whose trace is recorded.
        client_messaging: bool = true;
        /// All other messages, too. Each that is recorded gets a "traceparent", which subscribers over MQTT 5.0 see.
        trace_all: bool = false;
        /// When clients connect and disconnect.
        client_connect_disconnect: bool = true;
        /// When they subscribe and unsubscribe.
        client_subscribe_unsubscribe: bool = true;
        /// Which part of the traces that begin here is recorded: 0.1 is one of ten. Those that began elsewhere have that said in their "traceparent".
        sample_ratio: f64 = 1.0;
    }
}
