//! What is measured, told once: Prometheus reads it as text, and a collector of OpenTelemetry is sent it.

use std::fmt::Write;

use super::{
    status::{all_metrics, all_stats, resident_bytes},
    world::World,
};
use crate::watch::TOPIC_COUNTS;

/// How a value behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// It goes up and down.
    Gauge,
    /// It only grows, from the gateway's start on.
    Counter,
}

/// Values of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// As Prometheus has it.
    pub name: String,
    /// How the values behave.
    pub kind: FamilyKind,
    /// What is counted: `By`, `s`, or a thing in braces (UCUM).
    pub unit: &'static str,
    /// What it means, for the gateway's own; EMQX's names are EMQX's.
    pub help: &'static str,
    /// Labels, and the value.
    pub values: Vec<(Labels, u64)>,
}

/// What tells a value from others of the name.
pub type Labels = Vec<(&'static str, String)>;

/// All of it: EMQX's names where the meaning is the same, and the gateway's own.
pub fn families(world: &World) -> Vec<Family> {
    let mut all = Families::default();
    for (name, value) in all_stats(world) {
        all.gauge(&emqx(name), unit_of(name), [(vec![], value)]);
    }
    for (name, value) in all_metrics(world) {
        all.counter(&emqx(&name), unit_of(&name), [(vec![], value)]);
    }
    of_the_node(world, &mut all);
    of_listeners(world, &mut all);
    of_access(world, &mut all);
    let topics = world.observe.topic_counts();
    let counted = topics.iter().flat_map(|(topic, counts)| {
        let labels = |count: &str| vec![("topic", topic.clone()), ("count", count.to_owned())];
        TOPIC_COUNTS.iter().zip(counts).map(move |(name, count)| (labels(name), *count))
    });
    all.counter("thingway_topic_messages_total", "{message}", counted);
    let exports = (world.exports)();
    let exported = exports
        .iter()
        .map(|export| (vec![("signal", export.signal.into()), ("outcome", export.outcome.into())], export.count));
    all.counter("thingway_opentelemetry_items_total", "{item}", exported);
    all.0
}

fn of_the_node(world: &World, all: &mut Families) {
    let gauges = world.bus.gauges();
    let resident = resident_bytes();
    for (name, unit, value) in [
        ("uptime_seconds", "s", world.started.elapsed().as_secs()),
        ("resident_bytes", "By", resident),
        ("retained_bytes", "By", gauges.retained_bytes as u64),
        ("queued_bytes", "By", gauges.queued_bytes as u64),
        ("stored_messages", "{message}", gauges.stored.messages as u64),
        ("stored_bytes", "By", gauges.stored.bytes),
        ("bans", "{ban}", world.access.bans_len() as u64),
        ("resident_bytes_per_connection", "By", resident / (gauges.connected as u64).max(1)),
        ("store_failing", "1", world.journal.is_failing().into()),
        ("store_behind", "1", world.journal.is_behind().into()),
        ("alarms", "{alarm}", world.bus.watch().alarms().active().len() as u64),
    ] {
        all.gauge(&format!("thingway_{name}"), unit, [(vec![], value)]);
    }
    let connections = world.bus.connected_by_protocol();
    let connections = connections.map(|(name, count)| (vec![("protocol", name.to_owned())], count as u64));
    all.gauge("thingway_connections", "{connection}", connections);
}

fn of_listeners(world: &World, all: &mut Families) {
    let listeners = world.listeners.views();
    let each = |of: usize| {
        let value = move |listener: &super::ListenerView| {
            let counts = listener.counts.unwrap_or_default();
            let name = format!("{}:{}", listener.kind, listener.name);
            let labels = vec![("listener", name), ("protocol", listener.protocol.to_owned())];
            (labels, [counts.connections as u64, counts.accepted, counts.refused][of])
        };
        listeners.iter().map(value)
    };
    all.gauge("thingway_listener_connections", "{connection}", each(0));
    all.counter("thingway_listener_accepted_total", "{connection}", each(1));
    all.counter("thingway_listener_refused_total", "{connection}", each(2));
    let certificates = listeners.iter().filter_map(|listener| {
        let at = listener.certificate.as_ref()?.not_after_unix_secs;
        Some((vec![("listener_type", listener.kind.to_owned()), ("listener_name", listener.name.clone())], at))
    });
    all.gauge("emqx_cert_expiry_at", "s", certificates);
}

fn of_access(world: &World, all: &mut Families) {
    let lines = world.access.lines();
    let labels =
        |line: &crate::access::LineState| vec![("service", line.name.to_string()), ("role", line.role.to_owned())];
    let down = lines.iter().map(|line| (labels(line), line.is_resting.into()));
    all.gauge("thingway_access_service_down", "1", down);
    let questions = lines.iter().flat_map(|line| {
        let counts = line.counts;
        [("answered", counts.answered), ("failed", counts.failed), ("refused", counts.refused)].map(
            |(outcome, count)| {
                let mut labels = labels(line);
                labels.push(("outcome", outcome.to_owned()));
                (labels, count)
            },
        )
    });
    all.counter("thingway_access_questions_total", "{question}", questions);
}

#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn gauge(&mut self, name: &str, unit: &'static str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.put(name, FamilyKind::Gauge, unit, values);
    }

    fn counter(&mut self, name: &str, unit: &'static str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.put(name, FamilyKind::Counter, unit, values);
    }

    /// A name without values is none.
    fn put(
        &mut self,
        name: &str,
        kind: FamilyKind,
        unit: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let values: Vec<_> = values.into_iter().collect();
        if !values.is_empty() {
            self.0.push(Family { name: name.to_owned(), kind, unit, help: help(name), values });
        }
    }
}

fn emqx(name: &str) -> String {
    format!("emqx_{}", name.replace('.', "_"))
}

/// What the gateway's own names mean.
fn help(name: &str) -> &'static str {
    match name.strip_prefix("thingway_").unwrap_or_default() {
        "uptime_seconds" => "Since the gateway was started",
        "resident_bytes" => "Memory of the process that is resident",
        "resident_bytes_per_connection" => {
            "Resident memory by the number of connections, which is all of it without any"
        }
        "retained_bytes" => "Retained messages",
        "queued_bytes" => "Messages that wait in memory for their clients",
        "stored_messages" => "Messages that wait in the store for their sessions",
        "stored_bytes" => "Messages that wait in the store for their sessions",
        "bans" => "Bans",
        "store_failing" => "1 while the store cannot write: what has to be kept is refused",
        "store_behind" => "1 while more waits to be made safe than should",
        "alarms" => "Alarms that are active",
        "connections" => "Connections by protocol",
        "listener_connections" => "Connections by listener",
        "listener_accepted_total" => "Connections that a listener has accepted",
        "listener_refused_total" => "Connections that a full listener has refused",
        "access_service_down" => "1 while a service that is asked about clients has failed too often and is left alone",
        "access_questions_total" => {
            "Questions to services that are asked about clients; refused is what was not asked, as too many waited or it was left alone"
        }
        "topic_messages_total" => "Messages of the topics of topic metrics",
        "opentelemetry_items_total" => "What was sent to a collector of OpenTelemetry, or was not",
        _ => "",
    }
}

/// What a dotted name of EMQX counts.
fn unit_of(name: &str) -> &'static str {
    if name.contains("bytes") {
        return "By";
    }
    match name.split('.').next().unwrap_or_default() {
        "messages" | "delivery" | "retained" | "delayed" | "wills" => "{message}",
        "packets" => "{packet}",
        "connections" | "live_connections" | "channels" | "client" => "{connection}",
        "sessions" | "cluster_sessions" | "session" => "{session}",
        "topics" => "{topic}",
        "subscribers" | "subscriptions" | "suboptions" => "{subscription}",
        "faults" => "{fault}",
        _ => "1",
    }
}

/// Prometheus's text format, version 0.0.4.
pub fn exposition(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, kind, help, values, .. } in families {
        let kind = match kind {
            FamilyKind::Gauge => "gauge",
            FamilyKind::Counter => "counter",
        };
        // A String takes all that is written to it.
        if !help.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}");
        }
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{} {value}", shown(labels));
        }
    }
    text
}

fn shown(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_be_broken_out_of() {
        let labels = vec![("topic", "a\"b\\c\nd".to_owned()), ("x", "y".to_owned())];
        let of = |name: &str, kind, help, values| Family { name: name.into(), kind, unit: "1", help, values };
        let family = of("n", FamilyKind::Counter, "What it is", vec![(labels, 7)]);
        let plain = of("m", FamilyKind::Gauge, "", vec![(vec![], 0)]);
        let text = exposition(&[family, plain]);
        let expected =
            "# HELP n What it is\n# TYPE n counter\nn{topic=\"a\\\"b\\\\c\\nd\",x=\"y\"} 7\n# TYPE m gauge\nm 0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_counter_has_a_unit() {
        for (name, unit) in [
            ("bytes.received", "By"),
            ("publish.bytes.sent", "By"),
            ("messages.qos1.sent", "{message}"),
            ("delivery.dropped.too_large", "{message}"),
            ("packets.connect.received", "{packet}"),
            ("live_connections.max", "{connection}"),
            ("authorization.deny", "1"),
        ] {
            assert_eq!(unit_of(name), unit, "{name}");
        }
    }
}
