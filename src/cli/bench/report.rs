use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    plan::{Kind, Plan},
    run::Watch,
    worker::Tally,
};

/// What the clocks and the kernel told.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub connect_secs: f64,
    /// The measured time.
    pub secs: f64,
    /// In the measured time.
    pub sent: u64,
    pub received: u64,
    pub server_cpu_secs: Option<f64>,
    pub server_connect_cpu_secs: Option<f64>,
    pub own_cpu_secs: f64,
    pub rss_before_bytes: Option<u64>,
    pub rss_connected_bytes: Option<u64>,
    pub rss_after_bytes: Option<u64>,
    pub rss_peak_bytes: Option<u64>,
}

/// What is told of a run; `docs/bench.md` has the meaning of each field. What means nothing for a kind of run is left out.
#[derive(Debug, Serialize)]
pub struct Report {
    label: String,
    kind: &'static str,
    protocol: &'static str,
    clients: usize,
    groups: usize,
    publishers: usize,
    subscribers: usize,
    mute: usize,
    threads: usize,
    qos: u8,
    ready: u64,
    failed: u64,
    broken: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    connect_secs: f64,
    measured_secs: f64,
    #[serde(flatten)]
    messages: Option<Messages>,
    #[serde(flatten)]
    cycles: Option<Cycles>,
    #[serde(flatten)]
    latency: Latency,
    generator_cpu_secs: f64,
    generator_cpu_util: f64,
    #[serde(flatten)]
    server: Option<Server>,
}

#[derive(Debug, Serialize)]
struct Messages {
    payload_bytes: usize,
    window: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    sent: u64,
    acknowledged: u64,
    rejected: u64,
    expected: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    foreign: u64,
    stalls: u64,
    repeated: u64,
    sent_per_sec: f64,
    received_per_sec: f64,
    received_per_read: f64,
}

#[derive(Debug, Serialize)]
struct Cycles {
    cycles: u64,
    cycles_per_sec: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    mean_us: f64,
}

#[derive(Debug, Serialize)]
struct Server {
    server_cpu_secs: f64,
    server_cores: f64,
    server_connect_cpu_secs: f64,
    /// Messages or cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_server_cpu_sec: Option<f64>,
    rss_before_bytes: u64,
    rss_connected_bytes: u64,
    rss_after_bytes: u64,
    rss_peak_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_per_client_bytes: Option<f64>,
}

impl Report {
    pub fn new(plan: &Plan, watch: &Watch, tally: &Tally, measured: &Measured) -> Self {
        let secs = measured.secs.max(1e-9);
        let done = match (plan.kind, watch.is_storm) {
            (Kind::Pub, _) => Some(measured.sent),
            (Kind::Sub | Kind::Pairs, _) => Some(measured.received),
            (Kind::Conn, true) => Some(tally.cycles),
            (Kind::Conn, false) => None,
        };
        let ready = if watch.is_storm { 0 } else { plan.clients() as u64 - tally.failed };
        Self {
            label: watch.label.clone(),
            kind: watch.kind,
            protocol: watch.protocol,
            clients: plan.clients(),
            groups: plan.groups,
            publishers: plan.all_publishers(),
            subscribers: plan.groups * plan.subscribers,
            mute: plan.mute,
            threads: plan.threads,
            qos: plan.qos() as u8,
            ready,
            failed: tally.failed,
            broken: tally.broken,
            first_failure: tally.first_failure.clone(),
            connect_secs: measured.connect_secs,
            measured_secs: measured.secs,
            messages: (plan.kind != Kind::Conn).then(|| Messages::new(plan, tally, measured)),
            cycles: watch.is_storm.then(|| Cycles { cycles: tally.cycles, cycles_per_sec: tally.cycles as f64 / secs }),
            latency: Latency::new(&tally.latency_ns),
            generator_cpu_secs: measured.own_cpu_secs,
            generator_cpu_util: measured.own_cpu_secs / secs,
            server: Server::new(measured, done, ready),
        }
    }

    /// True when a client did not get its connection.
    pub fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { protocol, clients, failed, broken, .. } = self;
        match self.cycles {
            None => writeln!(text, "{clients} clients by {protocol}, {failed} failed, {broken} lost later")?,
            Some(_) => writeln!(text, "a storm by {protocol}, {failed} failed")?,
        }
        if let Some(failure) = &self.first_failure {
            writeln!(text, "first failure: {failure}")?;
        }
        writeln!(text, "connected in {:.2} s, measured for {:.2} s", self.connect_secs, self.measured_secs)?;
        if let Some(messages) = &self.messages {
            let Messages { sent, acknowledged, rejected, received, lost, duplicated, out_of_order, .. } = messages;
            writeln!(
                text,
                "sent       {sent}, {:.0}/s; acknowledged {acknowledged}, rejected {rejected}",
                messages.sent_per_sec
            )?;
            writeln!(text, "received   {received}, {:.0}/s", messages.received_per_sec)?;
            writeln!(text, "lost       {lost}; duplicated {duplicated}, out of order {out_of_order}")?;
            if messages.stalls > 0 {
                writeln!(text, "stalls     {}", messages.stalls)?;
            }
        }
        if let Some(Cycles { cycles, cycles_per_sec }) = &self.cycles {
            writeln!(text, "cycles     {cycles}, {cycles_per_sec:.0}/s")?;
        }
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us, .. } = &self.latency;
        writeln!(
            text,
            "latency    50 % {p50_us:.0} us, 90 % {p90_us:.0} us, 99 % {p99_us:.0} us, 99.9 % {p999_us:.0} us, max {max_us:.0} us"
        )?;
        if let Some(server) = &self.server {
            write!(text, "server     {:.2} CPU s, {:.2} cores", server.server_cpu_secs, server.server_cores)?;
            if let Some(per_cpu_sec) = server.per_server_cpu_sec {
                write!(text, ", {per_cpu_sec:.0} per CPU s")?;
            }
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (before, peak) = (mebibytes(server.rss_before_bytes), mebibytes(server.rss_peak_bytes));
            writeln!(text, "; resident {before:.1} MiB before, {peak:.1} at most")?;
        }
        writeln!(text, "generator  {:.2} cores", self.generator_cpu_util)
    }
}

impl Messages {
    fn new(plan: &Plan, tally: &Tally, measured: &Measured) -> Self {
        let secs = measured.secs.max(1e-9);
        let distinct = tally.received - tally.duplicated;
        let lost = match plan.kind {
            // Nobody here knows what was sent.
            Kind::Sub => tally.missing,
            // Nobody here knows what came, but servers tell what they took.
            Kind::Pub if plan.qos() as u8 > 0 => tally.sent.saturating_sub(tally.acknowledged),
            Kind::Pub | Kind::Conn => 0,
            Kind::Pairs => tally.expected.saturating_sub(distinct),
        };
        Self {
            payload_bytes: plan.payload_bytes,
            window: plan.window,
            rate: plan.rate,
            sent: tally.sent,
            acknowledged: tally.acknowledged,
            rejected: tally.rejected,
            expected: tally.expected,
            received: tally.received,
            lost,
            duplicated: tally.duplicated,
            out_of_order: tally.out_of_order,
            foreign: tally.foreign,
            stalls: tally.stalls,
            repeated: tally.repeated,
            sent_per_sec: measured.sent as f64 / secs,
            received_per_sec: measured.received as f64 / secs,
            received_per_read: tally.received as f64 / tally.reads.max(1) as f64,
        }
    }
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
            mean_us: histogram.mean() / 1e3,
        }
    }
}

impl Server {
    fn new(measured: &Measured, done: Option<u64>, ready: u64) -> Option<Self> {
        let cpu_secs = measured.server_cpu_secs?;
        let (before, after) = (measured.rss_before_bytes?, measured.rss_after_bytes?);
        Some(Self {
            server_cpu_secs: cpu_secs,
            server_cores: cpu_secs / measured.secs.max(1e-9),
            server_connect_cpu_secs: measured.server_connect_cpu_secs?,
            // Less than a tick of the kernel's clock is no measure.
            per_server_cpu_sec: done.filter(|_| cpu_secs > 0.0).map(|done| done as f64 / cpu_secs),
            rss_before_bytes: before,
            rss_connected_bytes: measured.rss_connected_bytes?,
            rss_after_bytes: after,
            rss_peak_bytes: measured.rss_peak_bytes?.max(after),
            rss_per_client_bytes: (ready > 0).then(|| (after as f64 - before as f64) / ready as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;
    use crate::cli::bench::plan::tests::plan;

    fn measured() -> Measured {
        Measured {
            connect_secs: 0.5,
            secs: 2.0,
            sent: 40,
            received: 80,
            server_cpu_secs: Some(0.5),
            server_connect_cpu_secs: Some(0.1),
            own_cpu_secs: 1.0,
            rss_before_bytes: Some(1000),
            rss_connected_bytes: Some(2000),
            rss_after_bytes: Some(4000),
            rss_peak_bytes: Some(3000),
        }
    }

    fn watch(kind: &'static str, is_storm: bool) -> Watch {
        Watch { pid: Some(1), label: "l".into(), kind, protocol: "mqtt", is_storm }
    }

    fn json(kind: Kind, qos: Qos, tally: &Tally, is_storm: bool) -> serde_json::Value {
        let mut plan = plan(5, 1, 2);
        (plan.kind, plan.manners.qos) = (kind, qos);
        let report = Report::new(&plan, &watch("x", is_storm), tally, &measured());
        let line = report.to_json();
        assert_eq!((line.lines().count(), line.ends_with('\n')), (1, true));
        assert!(report.to_text().contains("generator  0.50 cores"));
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn what_is_lost_is_what_each_kind_can_know() {
        let tally = Tally {
            sent: 50,
            expected: 100,
            received: 98,
            duplicated: 3,
            acknowledged: 49,
            missing: 7,
            ..Tally::default()
        };
        for (kind, qos, lost, per_cpu_sec) in [
            (Kind::Pairs, Qos::AtMostOnce, 5, 160.0),
            (Kind::Pub, Qos::AtLeastOnce, 1, 80.0),
            (Kind::Pub, Qos::AtMostOnce, 0, 80.0),
            (Kind::Sub, Qos::AtMostOnce, 7, 160.0),
        ] {
            let told = json(kind, qos, &tally, false);
            assert_eq!((&told["lost"], &told["per_server_cpu_sec"]), (&lost.into(), &per_cpu_sec.into()), "{kind:?}");
            assert_eq!((&told["sent_per_sec"], &told["received_per_sec"]), (&20.0.into(), &40.0.into()));
            assert_eq!((&told["rss_peak_bytes"], &told["rss_per_client_bytes"]), (&4000.into(), &200.0.into()));
            assert_eq!(told.get("cycles"), None);
        }
    }

    #[test]
    fn connections_tell_of_no_messages_and_storms_of_cycles() {
        let tally = Tally { cycles: 30, failed: 1, first_failure: Some("why".into()), ..Tally::default() };
        let told = json(Kind::Conn, Qos::AtMostOnce, &tally, false);
        assert_eq!((told.get("sent"), told.get("cycles"), told.get("per_server_cpu_sec")), (None, None, None));
        assert_eq!((&told["failed"], &told["first_failure"]), (&1.into(), &"why".into()));
        let told = json(Kind::Conn, Qos::AtMostOnce, &tally, true);
        assert_eq!((&told["cycles"], &told["cycles_per_sec"]), (&30.into(), &15.0.into()));
        assert_eq!((&told["per_server_cpu_sec"], told.get("rss_per_client_bytes")), (&60.0.into(), None));
    }

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut tally = Tally::default();
        (1..=1000u64).for_each(|us| tally.latency_ns.saturating_record(us * 1000));
        let told = json(Kind::Pairs, Qos::AtMostOnce, &tally, false);
        for (field, us) in [("p50_us", 500.0), ("p99_us", 990.0), ("max_us", 1000.0)] {
            let seen = told[field].as_f64().unwrap();
            assert!((seen - us).abs() <= us / 500.0, "{field}: {seen}");
        }
    }
}
