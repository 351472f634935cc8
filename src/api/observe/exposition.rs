use std::fmt::{Display, Write};

use crate::{
    api::{status::resident_bytes, world::World},
    watch::TOPIC_COUNTS,
};

/// What Prometheus reads beside EMQX's names: by protocol, of the store, of services for access, of topics that are counted.
pub fn expose(world: &World, text: &mut String) {
    let connections = world.bus.connected_by_protocol();
    put(text, "thingway_connections", "gauge", connections.map(|(name, count)| (label(&[("protocol", name)]), count)));
    let gauges = world.bus.gauges();
    let of_each = resident_bytes() / (gauges.connected as u64).max(1);
    put(text, "thingway_resident_bytes_per_connection", "gauge", [(String::new(), of_each)]);
    let (failing, behind) = (world.journal.is_failing(), world.journal.is_behind());
    put(text, "thingway_store_failing", "gauge", [(String::new(), u8::from(failing))]);
    put(text, "thingway_store_behind", "gauge", [(String::new(), u8::from(behind))]);
    put(text, "thingway_alarms", "gauge", [(String::new(), world.bus.watch().alarms().active().len())]);
    let lines = world.access.lines();
    let down =
        lines.iter().map(|line| (label(&[("service", &line.name), ("role", line.role)]), u8::from(line.is_resting)));
    put(text, "thingway_access_service_down", "gauge", down);
    let questions = lines.iter().flat_map(|line| {
        let counts = line.counts;
        [("answered", counts.answered), ("failed", counts.failed), ("refused", counts.refused)].map(
            |(outcome, count)| (label(&[("service", &line.name), ("role", line.role), ("outcome", outcome)]), count),
        )
    });
    put(text, "thingway_access_questions_total", "counter", questions);
    let topics = world.observe.topic_counts();
    let counted = topics.iter().flat_map(|(topic, counts)| {
        TOPIC_COUNTS.iter().zip(counts).map(move |(name, count)| (label(&[("topic", topic), ("count", name)]), *count))
    });
    put(text, "thingway_topic_messages_total", "counter", counted);
}

fn put(text: &mut String, name: &str, kind: &str, values: impl IntoIterator<Item = (String, impl Display)>) {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return;
    }
    // A String takes all that is written to it.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn label(pairs: &[(&str, &str)]) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_be_broken_out_of() {
        assert_eq!(label(&[("topic", "a\"b\\c\nd"), ("x", "y")]), "{topic=\"a\\\"b\\\\c\\nd\",x=\"y\"}");
    }
}
