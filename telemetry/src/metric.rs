use crate::{
    resource::{Resource, attribute, write_scope},
    wire::Writer,
};

/// Each value counts everything since the start (`AGGREGATION_TEMPORALITY_CUMULATIVE`).
const CUMULATIVE: u64 = 2;

/// How a value behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It goes up and down.
    Gauge,
    /// It only grows, from the start on.
    Sum,
}

/// Values of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name.
    pub name: String,
    /// What it means; may be empty.
    pub description: &'static str,
    /// What is counted, in UCUM's words: `By`, `s`, `{message}`.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// The values.
    pub points: Vec<Point>,
}

/// A value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// What tells it from others of the name.
    pub attributes: Vec<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

/// An `ExportMetricsServiceRequest`.
pub(crate) fn request(metrics: &[Metric], resource: &Resource, start_nanos: u64, now_nanos: u64) -> Vec<u8> {
    let mut request = Writer::default();
    request.message(1, |of_resource| {
        resource.write(1, of_resource);
        of_resource.message(2, |of_scope| {
            write_scope(1, of_scope);
            metrics.iter().for_each(|metric| of_scope.message(2, |out| write(metric, start_nanos, now_nanos, out)));
        });
    });
    request.into_bytes()
}

fn write(metric: &Metric, start_nanos: u64, now_nanos: u64, out: &mut Writer) {
    out.bytes(1, metric.name.as_bytes());
    if !metric.description.is_empty() {
        out.bytes(2, metric.description.as_bytes());
    }
    out.bytes(3, metric.unit.as_bytes());
    let is_sum = metric.kind == MetricKind::Sum;
    out.message(if is_sum { 7 } else { 5 }, |data| {
        for point in &metric.points {
            data.message(1, |out| {
                if is_sum {
                    out.fixed64(2, start_nanos);
                }
                out.fixed64(3, now_nanos);
                // The type is signed.
                out.fixed64(6, point.value.min(i64::MAX as u64));
                point.attributes.iter().for_each(|(name, value)| attribute(7, name, value, out));
            });
        }
        if is_sum {
            data.number(2, CUMULATIVE);
            data.number(3, 1);
        }
    });
}
