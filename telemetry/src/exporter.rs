use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT},
};
use thingway_connectors::{BreakerSettings, Failure, HttpError, HttpService, LineSettings};
use tokio::{sync::watch, time::Instant};

use crate::{
    answer::{partial_success, refusal},
    metric::{self, Metric},
    resource::Resource,
    span::{self, Span},
};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Values of metrics.
    Metrics,
}

impl Signal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Traces, Self::Metrics];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// How often something is tried that was not taken, and could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How long it is waited after the first failure. Each further wait is twice as long, and a random part of up to a half shorter.
    pub first: Duration,
    /// The longest wait, unless the collector asks for a longer one.
    pub longest: Duration,
    /// What was not taken within this time is dropped.
    pub whole: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(20), whole: Duration::from_secs(60) }
    }
}

/// Where and how it is sent.
#[derive(Clone, Debug)]
pub struct ExporterSettings {
    /// The collector's address, as `http://localhost:4318`: what is sent goes to `v1/traces` and `v1/metrics` below it.
    pub endpoint: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// A file with the certificate authorities that are trusted; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often it is tried.
    pub retry: Retry,
    /// Who measures.
    pub resource: Resource,
}

/// Why nothing can be sent. Values of headers are not told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// The address.
    #[error("{0:?} is no address such as \"http://localhost:4318\"")]
    Endpoint(String),
    /// A header.
    #[error("{0:?} is no header that may be set, or holds what none may")]
    Header(String),
    /// The certificate authorities.
    #[error(transparent)]
    Service(#[from] HttpError),
}

/// What became of what was to be sent, in spans and in values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// The collector took them.
    pub taken: u64,
    /// It took others that came with them, and not them.
    pub rejected: u64,
    /// It refused them, or was not there.
    pub failed: u64,
}

/// The way to a collector.
#[derive(Debug)]
pub struct Exporter {
    service: HttpService,
    addresses: [Uri; 2],
    headers: HeaderMap,
    retry: Retry,
    resource: Resource,
    lines: [Line; 2],
}

#[derive(Debug, Default)]
struct Line {
    counts: [AtomicU64; 3],
    /// The last thing was not taken, or not all of it: so much was logged.
    is_failing: AtomicBool,
}

/// Why something was not taken.
enum Refused {
    /// It may be taken later, at the earliest after this time.
    ForNow(Option<Duration>, String),
    /// It will not be.
    ForGood(String),
}

impl Exporter {
    /// A way to the collector, which need not be there yet.
    ///
    /// # Errors
    /// See [`ExporterError`].
    pub fn new(settings: &ExporterSettings) -> Result<Self, ExporterError> {
        let wrong = || ExporterError::Endpoint(settings.endpoint.clone());
        let base: Uri = settings.endpoint.parse().map_err(|_| wrong())?;
        let has_user = base.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !matches!(base.scheme_str(), Some("http" | "https")) || has_user || base.query().is_some() {
            return Err(wrong());
        }
        let base = settings.endpoint.trim_end_matches('/');
        let address = |signal: Signal| format!("{base}/v1/{}", signal.as_str()).parse().map_err(|_| wrong());
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let own = [CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];
            let parsed = HeaderName::try_from(name).ok().filter(|name| !own.contains(name));
            let value = HeaderValue::from_str(value).ok();
            let (parsed, mut value) = parsed.zip(value).ok_or_else(|| ExporterError::Header(name.clone()))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        let line = LineSettings {
            timeout: settings.timeout,
            // One for each signal.
            at_once: 2,
            waiting_max: 0,
            // Who sends waits between its tries itself.
            breaker: BreakerSettings { failures: u32::MAX, ..BreakerSettings::default() },
        };
        Ok(Self {
            service: HttpService::new("opentelemetry", line, settings.ca_file.as_deref())?,
            addresses: [address(Signal::Traces)?, address(Signal::Metrics)?],
            headers,
            retry: settings.retry,
            resource: settings.resource.clone(),
            lines: Default::default(),
        })
    }

    /// What became of what was to be sent.
    pub fn counts(&self, signal: Signal) -> ExportCounts {
        let [taken, rejected, failed] =
            self.lines[signal as usize].counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        ExportCounts { taken, rejected, failed }
    }

    /// Sends spans. False when they were not taken, whatever was tried; after `stop` it is tried once.
    pub(crate) async fn spans(&self, spans: &[Span], stop: &mut watch::Receiver<bool>) -> bool {
        let body = span::request(spans, &self.resource);
        self.export(Signal::Traces, body.into(), spans.len() as u64, self.retry.whole, stop).await
    }

    /// Sends values, which are tried for as long as they are not out of date.
    pub(crate) async fn metrics(
        &self,
        metrics: &[Metric],
        start: SystemTime,
        fresh: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let body = metric::request(metrics, &self.resource, unix_nanos(start), unix_nanos(SystemTime::now()));
        let count = metrics.iter().map(|metric| metric.points.len() as u64).sum();
        self.export(Signal::Metrics, body.into(), count, self.retry.whole.min(fresh), stop).await
    }

    async fn export(
        &self,
        signal: Signal,
        body: Bytes,
        count: u64,
        whole: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let begun = Instant::now();
        let mut wait = self.retry.first;
        let why = loop {
            match self.attempt(signal, body.clone(), count).await {
                Ok(()) => return true,
                Err(Refused::ForGood(why)) => break why,
                Err(Refused::ForNow(asked, why)) => {
                    let pause = asked.unwrap_or(Duration::ZERO).max(shortened(wait));
                    if *stop.borrow() || begun.elapsed() + pause > whole {
                        break why;
                    }
                    tracing::debug!(signal = signal.as_str(), "not taken, and tried again after {pause:?}: {why}");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        // An error means that nobody is left who could wait.
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    wait = (wait * 2).min(self.retry.longest);
                }
            }
        };
        let line = &self.lines[signal as usize];
        line.counts[2].fetch_add(count, Ordering::Relaxed);
        if !line.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!("the collector of OpenTelemetry gets no {}: {why}", signal.as_str());
        }
        false
    }

    async fn attempt(&self, signal: Signal, body: Bytes, count: u64) -> Result<(), Refused> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.addresses[signal as usize].clone();
        let headers = request.headers_mut();
        headers.insert(
            USER_AGENT,
            const { HeaderValue::from_static(concat!("OTel-OTLP-Exporter-Thingway/", env!("CARGO_PKG_VERSION"))) },
        );
        headers.extend(self.headers.clone());
        headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/x-protobuf") });
        let reply = self.service.send(request).await.map_err(|failure| match failure {
            // It may have taken what it answers so oddly, and would take it twice.
            Failure::TooLarge | Failure::Malformed(_) => Refused::ForGood(failure.to_string()),
            _ => Refused::ForNow(None, failure.to_string()),
        })?;
        match reply.status {
            200..=299 => {
                self.taken(signal, &reply.body, count);
                Ok(())
            }
            status => {
                let why = format!("it answers {status} {}", refusal(&reply.body)).trim_end().to_owned();
                Err(match status {
                    429 | 502 | 503 | 504 => Refused::ForNow(reply.retry_after, why),
                    _ => Refused::ForGood(why),
                })
            }
        }
    }

    fn taken(&self, signal: Signal, body: &[u8], count: u64) {
        let partial = partial_success(body);
        let rejected = partial.rejected.min(count);
        let line = &self.lines[signal as usize];
        line.counts[0].fetch_add(count - rejected, Ordering::Relaxed);
        line.counts[1].fetch_add(rejected, Ordering::Relaxed);
        let was_failing = line.is_failing.swap(rejected > 0, Ordering::Relaxed);
        match (rejected > 0, was_failing) {
            (true, false) => tracing::warn!(
                "the collector of OpenTelemetry rejects some {}, {rejected} of {count}: {}",
                signal.as_str(),
                partial.message
            ),
            (false, true) => tracing::info!("the collector of OpenTelemetry takes {} again", signal.as_str()),
            _ if !partial.message.is_empty() => tracing::debug!("the collector of OpenTelemetry: {}", partial.message),
            _ => {}
        }
    }
}

/// A random part of up to a half shorter, so that those who failed together do not come back together.
fn shortened(wait: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};

    let part = RandomState::new().hash_one(0) as u32;
    wait.mul_f64(1.0 - f64::from(part) / f64::from(u32::MAX) / 2.0)
}

pub(crate) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str, header: (&str, &str)) -> ExporterSettings {
        ExporterSettings {
            endpoint: endpoint.into(),
            headers: vec![(header.0.into(), header.1.into())],
            ca_file: None,
            timeout: Duration::from_secs(10),
            retry: Retry::default(),
            resource: Resource::default(),
        }
    }

    #[test]
    fn addresses_and_headers_are_looked_at() {
        let good = |endpoint| Exporter::new(&settings(endpoint, ("x-key", "secret"))).expect("good").addresses;
        assert_eq!(good("http://[::1]:4318")[0], "http://[::1]:4318/v1/traces");
        assert_eq!(good("https://c.example/otlp/")[1], "https://c.example/otlp/v1/metrics");
        for bad in ["", "localhost:4318", "/x", "grpc://h:4317", "http://u:p@h", "http://h/?a=b", "http://h h"] {
            let error = Exporter::new(&settings(bad, ("x", "y"))).expect_err("bad");
            assert!(matches!(error, ExporterError::Endpoint(text) if text == bad), "{bad}");
        }
        for bad in [("", "x"), ("a b", "x"), ("Content-Type", "x"), ("x", "a\nb")] {
            let error = Exporter::new(&settings("http://h", bad)).expect_err("bad");
            assert!(matches!(error, ExporterError::Header(name) if name == bad.0), "{bad:?}");
        }
        assert!(!format!("{:?}", Exporter::new(&settings("http://h", ("x-key", "secret")))).contains("secret"));
    }

    #[test]
    fn waits_differ() {
        let waits: Vec<_> = (0..32).map(|_| shortened(Duration::from_secs(2))).collect();
        assert!(waits.iter().all(|wait| (Duration::from_secs(1)..=Duration::from_secs(2)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
