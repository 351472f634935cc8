//! Metrics and traces for a collector of OpenTelemetry, put together.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use thingway_telemetry::{
    Exporter, ExporterError, ExporterSettings, Metric, MetricKind, Point, Resource, Retry, Sampler, Signal, SpanQueue,
    export_metrics, export_spans, pairs,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    api::{ExportCount, Exports, Family, FamilyKind, Server},
    bus::Bus,
    config::{Config, OpenTelemetry},
    watch::{SpanSettings, Watch},
};

/// How long what is left may take when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
const ENDPOINT: &str = "http://localhost:4318";

/// What pushes.
#[derive(Debug)]
pub(super) struct Telemetry {
    exporter: Arc<Exporter>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Telemetry {
    /// Begins to make spans and to push them, if that is wanted.
    pub fn start(config: &Config, bus: &Bus) -> Result<Option<Self>, ExporterError> {
        let wanted = &config.opentelemetry;
        if !wanted.metrics.enable && !wanted.traces.enable {
            return Ok(None);
        }
        let environment = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let settings = settings(wanted, &config.gateway.name, environment);
        let exporter = Arc::new(Exporter::new(&settings)?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let traces = &wanted.traces;
        if traces.enable {
            let queue = Arc::new(SpanQueue::new(traces.max_queue_size as usize));
            bus.watch().make_spans(
                SpanSettings {
                    connections: traces.filter.client_connect_disconnect,
                    subscriptions: traces.filter.client_subscribe_unsubscribe,
                    messages: traces.filter.client_messaging,
                    all_messages: traces.filter.trace_all,
                    sampler: Sampler::of(traces.filter.sample_ratio),
                    clock_zero_unix_ms: bus.config().events.clock_zero_unix_ms,
                },
                queue.clone(),
            );
            tasks.spawn(export_spans(exporter.clone(), queue, traces.scheduled_delay.duration(), stopped));
        }
        tracing::info!(endpoint = %settings.endpoint, "pushes to a collector of OpenTelemetry");
        Ok(Some(Self { exporter, stop, tasks }))
    }

    /// Tells what became of what was pushed.
    pub fn exports(&self, watch: &Arc<Watch>) -> Exports {
        let (exporter, watch) = (self.exporter.clone(), watch.clone());
        Box::new(move || {
            let dropped = watch.span_counts().dropped;
            let mut told = vec![ExportCount { signal: "traces", outcome: "dropped", count: dropped }];
            for signal in Signal::ALL {
                let counts = exporter.counts(signal);
                let outcomes = [("taken", counts.taken), ("rejected", counts.rejected), ("failed", counts.failed)];
                let count = |(outcome, count)| ExportCount { signal: signal.as_str(), outcome, count };
                told.extend(outcomes.map(count));
            }
            told
        })
    }

    /// Pushes what the interface measures, if that is wanted.
    pub fn measure(&mut self, config: &Config, api: &Server) {
        let metrics = &config.opentelemetry.metrics;
        if metrics.enable {
            let (since, families) = api.measures();
            let collect = move || families().into_iter().map(metric).collect();
            let interval = metrics.interval.duration();
            let stopped = self.stop.subscribe();
            self.tasks.spawn(export_metrics(self.exporter.clone(), interval, since, collect, stopped));
        }
    }

    /// Pushes what is left, for a short while.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if ended.is_err() {
                    tracing::error!("what pushes to the collector of OpenTelemetry had failed");
                }
            }
        };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            tracing::warn!("the collector of OpenTelemetry did not take the last of it in time");
        }
    }
}

/// The setting that is to blame.
pub(super) const fn key(error: &ExporterError) -> &'static str {
    match error {
        ExporterError::Endpoint(_) => "opentelemetry.exporter.endpoint",
        ExporterError::Header(_) => "opentelemetry.exporter.headers",
        _ => "opentelemetry.exporter.ca_file",
    }
}

/// Settings, and the specification's variables of the environment where they are silent.
fn settings(wanted: &OpenTelemetry, node: &str, variable: impl Fn(&str) -> Option<String>) -> ExporterSettings {
    let exporter = &wanted.exporter;
    let listed = |name: &str| {
        let text = variable(name)?;
        let read = pairs(&text);
        if read.is_none() {
            tracing::warn!("{name} is no list such as \"name=value,name=value\", and is left out");
        }
        read
    };
    let or_variable = |text: &str, name: &str| if text.is_empty() { variable(name) } else { Some(text.to_owned()) };
    let mut resource = Resource::default();
    resource.set("service.name", "thingway");
    resource.set("service.version", env!("CARGO_PKG_VERSION"));
    resource.set("service.instance.id", node);
    if let Ok(host) = fs::read_to_string("/proc/sys/kernel/hostname") {
        resource.set("host.name", host.trim());
    }
    for (name, value) in listed("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default() {
        resource.set(&name, &value);
    }
    exporter.resource_attributes.iter().for_each(|(name, value)| resource.set(name, value));
    if let Some(name) = or_variable(&exporter.service_name, "OTEL_SERVICE_NAME") {
        resource.set("service.name", &name);
    }
    let headers = match exporter.headers.is_empty() {
        true => listed("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default(),
        false => exporter.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    ExporterSettings {
        endpoint: or_variable(&exporter.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()),
        headers,
        ca_file: Some(exporter.ca_file.clone()).filter(|path| *path != PathBuf::new()),
        timeout: exporter.timeout.duration(),
        retry: Retry::default(),
        resource,
    }
}

/// A family by OpenTelemetry's conventions for names: dots, and no word for being a sum.
fn metric(family: Family) -> Metric {
    let value = |(attributes, value)| Point { attributes, value };
    Metric {
        name: family.name.trim_end_matches("_total").replace('_', "."),
        description: family.help,
        unit: family.unit,
        kind: match family.kind {
            FamilyKind::Gauge => MetricKind::Gauge,
            FamilyKind::Counter => MetricKind::Sum,
        },
        points: family.values.into_iter().map(value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(wanted: &OpenTelemetry, variables: &[(&str, &str)]) -> ExporterSettings {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        settings(wanted, "node-1", find)
    }

    #[test]
    fn the_environment_counts_where_settings_are_silent() {
        let plain = made(&OpenTelemetry::default(), &[]);
        let of = |settings: &ExporterSettings, name| settings.resource.find(name).map(str::to_owned);
        assert_eq!((plain.endpoint.as_str(), plain.headers.len(), plain.ca_file.as_ref()), (ENDPOINT, 0, None));
        assert_eq!(of(&plain, "service.name").as_deref(), Some("thingway"));
        assert_eq!(of(&plain, "service.instance.id").as_deref(), Some("node-1"));
        assert_eq!(of(&plain, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(of(&plain, "host.name").is_some_and(|name| !name.is_empty() && !name.ends_with('\n')));
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute,zone=x,kept=y"),
        ];
        let told = made(&OpenTelemetry::default(), &variables);
        assert_eq!((told.endpoint.as_str(), told.headers), ("http://c:1", vec![("x-key".into(), "a b".into())]));
        assert_eq!(told.resource.find("service.name"), Some("attribute"));
        let mut wanted = OpenTelemetry::default();
        wanted.exporter.endpoint = "https://mine".into();
        wanted.exporter.headers = [("a", "b")].into();
        wanted.exporter.resource_attributes = [("zone", "z")].into();
        let named = [&variables[..], &[("OTEL_SERVICE_NAME", "named")]].concat();
        let told = made(&wanted, &named);
        assert_eq!((told.endpoint.as_str(), told.headers), ("https://mine", vec![("a".into(), "b".into())]));
        let resource = |name| told.resource.find(name);
        assert_eq!(
            (resource("service.name"), resource("zone"), resource("kept")),
            (Some("named"), Some("z"), Some("y"))
        );
        wanted.exporter.service_name = "own".into();
        assert_eq!(of(&made(&wanted, &named), "service.name").as_deref(), Some("own"));
        assert_eq!(made(&OpenTelemetry::default(), &[("OTEL_EXPORTER_OTLP_HEADERS", "nothing")]).headers, []);
    }

    #[test]
    fn names_are_opentelemetrys() {
        let family = |name: &str, kind| Family {
            name: name.into(),
            kind,
            unit: "By",
            help: "What it is",
            values: vec![(vec![("a", "b".into())], 7)],
        };
        let made = metric(family("thingway_listener_accepted_total", FamilyKind::Counter));
        assert_eq!(made.description, "What it is");
        assert_eq!((made.name.as_str(), made.unit, made.kind), ("thingway.listener.accepted", "By", MetricKind::Sum));
        assert_eq!(made.points, [Point { attributes: vec![("a", "b".into())], value: 7 }]);
        assert_eq!(metric(family("emqx_connections_count", FamilyKind::Gauge)).name, "emqx.connections.count");
    }
}
