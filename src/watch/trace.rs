use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use thingway_contract::filter_matches;

use super::{Look, Watch};

/// Bytes of lines that wait to be fetched. Further lines are left out, and counted.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Whom or what a trace is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceOf {
    /// A client.
    Client(Box<str>),
    /// Messages on the topics of a filter, and subscriptions to the filter itself.
    Topic(Box<str>),
    /// All at an address.
    Address(IpAddr),
}

/// How payloads are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TracePayload {
    /// As text, with what is none replaced.
    #[default]
    Text,
    /// In hexadecimal digits.
    Hex,
    /// Not at all.
    Hidden,
}

/// How a trace is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceForm {
    /// A JSON object a line, else text.
    pub json: bool,
    /// Payloads.
    pub payload: TracePayload,
    /// Most bytes shown of one.
    pub payload_bytes_max: usize,
}

/// What is traced.
pub struct TraceLine<'a> {
    /// What sort of thing happened, as `PUBLISH`.
    pub tag: &'static str,
    /// What happened, as `received`.
    pub what: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// A topic or filter that it is about.
    pub topic: Option<&'a str>,
    /// What else is known.
    pub facts: &'a [(&'static str, &'a dyn fmt::Display)],
    /// The payload.
    pub payload: Option<&'a [u8]>,
}

/// A trace that runs.
#[derive(Debug)]
pub struct Trace {
    of: TraceOf,
    form: TraceForm,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    missed: u64,
}

impl Trace {
    /// A trace that has nothing yet.
    pub fn new(of: TraceOf, form: TraceForm) -> Self {
        Self { of, form, pending: Mutex::default() }
    }

    /// The lines that came since this was asked last.
    pub fn take(&self) -> Vec<u8> {
        let Pending { mut bytes, missed } = std::mem::take(&mut *self.pending.lock());
        if missed > 0 {
            bytes.extend_from_slice(format!("... {missed} lines came too fast and are not here\n").as_bytes());
        }
        bytes
    }

    fn is_about(&self, line: &TraceLine<'_>) -> bool {
        match &self.of {
            TraceOf::Client(id) => **id == *line.client_id,
            TraceOf::Address(address) => line.remote.is_some_and(|remote| remote.ip().to_canonical() == *address),
            TraceOf::Topic(filter) => {
                line.topic.is_some_and(|topic| **filter == *topic || filter_matches(filter, topic))
            }
        }
    }

    fn write(&self, line: &TraceLine<'_>) {
        let text = if self.form.json { self.json(line) } else { self.text(line) };
        let mut pending = self.pending.lock();
        if pending.bytes.len() + text.len() > PENDING_BYTES_MAX {
            pending.missed += 1;
        } else {
            pending.bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn payload(&self, payload: &[u8]) -> String {
        let shown = &payload[..payload.len().min(self.form.payload_bytes_max)];
        let mut text = match self.form.payload {
            TracePayload::Text => String::from_utf8_lossy(shown).into_owned(),
            TracePayload::Hex => shown.iter().fold(String::new(), |mut text, byte| {
                // A String takes all that is written to it.
                let _ = write!(text, "{byte:02x}");
                text
            }),
            TracePayload::Hidden => return "******".into(),
        };
        if shown.len() < payload.len() {
            let _ = write!(text, "...({} bytes)", payload.len());
        }
        text
    }

    fn text(&self, line: &TraceLine<'_>) -> String {
        let mut text = String::new();
        let peer = line.remote.map_or_else(|| "local".to_owned(), |remote| remote.to_string());
        let id = line.client_id.escape_debug();
        let _ = write!(text, "{} [{}] {id}@{peer} msg: {}", date(), line.tag, line.what);
        if let Some(topic) = line.topic {
            let _ = write!(text, ", topic: {}", topic.escape_debug());
        }
        for (name, fact) in line.facts {
            let _ = write!(text, ", {name}: {}", fact.to_string().escape_debug());
        }
        if let Some(payload) = line.payload {
            let _ = write!(text, ", payload: {}", self.payload(payload).escape_debug());
        }
        text.push('\n');
        text
    }

    fn json(&self, line: &TraceLine<'_>) -> String {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("time", date().into());
        put("tag", line.tag.into());
        put("msg", line.what.into());
        put("clientid", line.client_id.into());
        put("peername", line.remote.map(|remote| remote.to_string()).into());
        if let Some(topic) = line.topic {
            put("topic", topic.into());
        }
        for (name, fact) in line.facts {
            put(name, fact.to_string().into());
        }
        if let Some(payload) = line.payload {
            put("payload", self.payload(payload).into());
        }
        format!("{}\n", Value::Object(object))
    }
}

fn date() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// All traces that run.
#[derive(Debug, Default)]
pub(super) struct Traces(ArcSwap<Vec<Arc<Trace>>>);

impl Watch {
    /// Has these traces run, and no others.
    pub fn run_traces(&self, traces: Vec<Arc<Trace>>) {
        let any = !traces.is_empty();
        self.traces.0.store(Arc::new(traces));
        self.set(Look::Traces, any);
    }

    /// True while there is a trace. To be asked before anything is put into words for one.
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.looks_at(Look::Traces)
    }

    /// Writes a line into the traces that are about it.
    pub fn trace(&self, line: &TraceLine<'_>) {
        for trace in self.traces.0.load().iter() {
            if trace.is_about(line) {
                trace.write(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(client_id: &'a str, topic: &'a str, payload: &'a [u8]) -> TraceLine<'a> {
        TraceLine {
            tag: "PUBLISH",
            what: "received",
            client_id,
            remote: Some(([127, 0, 0, 1], 99).into()),
            topic: Some(topic),
            facts: &[("qos", &1)],
            payload: Some(payload),
        }
    }

    fn trace(of: TraceOf, form: TraceForm) -> Arc<Trace> {
        Arc::new(Trace::new(of, form))
    }

    fn form(json: bool, payload: TracePayload) -> TraceForm {
        TraceForm { json, payload, payload_bytes_max: 4 }
    }

    #[test]
    fn each_trace_gets_what_it_is_about() {
        let watch = Watch::default();
        let text = |of| trace(of, form(false, TracePayload::Text));
        let address = |text: &str| TraceOf::Address(text.parse().expect("an address"));
        let all =
            [TraceOf::Client("c".into()), TraceOf::Topic("a/+".into()), address("127.0.0.1"), address("::1")].map(text);
        watch.run_traces(all.to_vec());
        watch.trace(&line("c", "b", b"x"));
        watch.trace(&line("d", "a/1", b"x"));
        watch.trace(&line("d", "a/+", b"x"));
        let lines = all.each_ref().map(|trace| String::from_utf8(trace.take()).expect("text").lines().count());
        assert_eq!(lines, [1, 2, 3, 0]);
        assert!(all[0].take().is_empty(), "they were taken");
        watch.run_traces(Vec::new());
        assert!(!watch.is_on());
    }

    #[test]
    fn lines_are_as_they_were_asked_for_and_cannot_be_forged() {
        let client = || TraceOf::Client("c\n".into());
        let told = |form: TraceForm, payload: &[u8]| {
            let trace = Trace::new(client(), form);
            trace.write(&line("c\n", "t", payload));
            String::from_utf8(trace.take()).expect("text")
        };
        let text = told(form(false, TracePayload::Text), b"a\nb");
        assert!(
            text.ends_with(" [PUBLISH] c\\n@127.0.0.1:99 msg: received, topic: t, qos: 1, payload: a\\nb\n"),
            "{text}"
        );
        assert!(told(form(false, TracePayload::Hex), b"\x00\xff").contains("payload: 00ff\n"));
        assert!(told(form(false, TracePayload::Hex), b"12345").contains("payload: 31323334...(5 bytes)\n"));
        assert!(told(form(false, TracePayload::Hidden), b"secret").contains("payload: ******\n"));
        let json: Value = serde_json::from_str(&told(form(true, TracePayload::Text), b"\xff\n")).expect("JSON");
        assert_eq!(
            (&json["clientid"], &json["payload"], &json["qos"]),
            (&"c\n".into(), &"\u{fffd}\n".into(), &"1".into())
        );
    }

    #[test]
    fn a_flood_is_cut_and_told() {
        let trace = Trace::new(
            TraceOf::Client("c".into()),
            TraceForm { payload_bytes_max: 4096, ..form(false, TracePayload::Text) },
        );
        for _ in 0..400 {
            trace.write(&line("c", "t", &[b'x'; 4096]));
        }
        let bytes = trace.take();
        assert!(bytes.len() <= PENDING_BYTES_MAX + 100);
        assert!(String::from_utf8(bytes).expect("text").ends_with(" lines came too fast and are not here\n"));
    }
}
