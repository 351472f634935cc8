use crate::{
    context::{SpanId, TraceId},
    resource::{Resource, attribute, write_scope},
    wire::Writer,
};

/// Bytes of a text in a span; what is longer is cut.
const TEXT_BYTES_MAX: usize = 1024;
/// Bytes of `tracestate` (W3C Trace Context, section 3.3.1.5); a longer one is left out.
const STATE_BYTES_MAX: usize = 512;

/// It is known whether the parent is elsewhere, and whether it is (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Which part in a conversation a span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum SpanKind {
    /// It answers a peer.
    Server = 2,
    /// It gives a message to a peer.
    Producer = 4,
    /// It takes a message from a peer.
    Consumer = 5,
}

/// The span before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which.
    pub span_id: SpanId,
    /// It is somebody else's.
    pub is_remote: bool,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(i64),
    /// A flag.
    Flag(bool),
}

impl Value {
    /// A text, of which so much is kept as a span may have.
    pub fn text(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into())
    }
}

/// Something that took its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace that it is part of.
    pub trace_id: TraceId,
    /// Which it is.
    pub span_id: SpanId,
    /// What it goes on from.
    pub parent: Option<Parent>,
    /// What vendors say of the trace; see [`Span::state`].
    pub trace_state: Box<str>,
    /// What it does.
    pub name: &'static str,
    /// Which part it has.
    pub kind: SpanKind,
    /// When it began, in milliseconds since 1970.
    pub start_unix_ms: u64,
    /// When it ended.
    pub end_unix_ms: u64,
    /// What else is known.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Span {
    /// What a span may keep of `tracestate`.
    pub fn state(text: &str) -> Box<str> {
        if text.len() > STATE_BYTES_MAX { Box::default() } else { text.into() }
    }

    fn write(&self, out: &mut Writer) {
        const NANOS: u64 = 1_000_000;
        out.bytes(1, &self.trace_id.0);
        out.bytes(2, &self.span_id.0);
        out.bytes(3, self.trace_state.as_bytes());
        // All that are written down are sampled.
        let mut flags = 1 | HAS_IS_REMOTE;
        if let Some(parent) = &self.parent {
            out.bytes(4, &parent.span_id.0);
            flags |= if parent.is_remote { IS_REMOTE } else { 0 };
        }
        out.bytes(5, self.name.as_bytes());
        out.number(6, self.kind as u64);
        out.fixed64(7, self.start_unix_ms.saturating_mul(NANOS));
        out.fixed64(8, self.end_unix_ms.max(self.start_unix_ms).saturating_mul(NANOS));
        for (name, value) in &self.attributes {
            match value {
                Value::Text(text) => attribute(9, name, text, out),
                Value::Number(number) => out.message(9, |pair| {
                    pair.bytes(1, name.as_bytes());
                    pair.message(2, |any| any.present(3, *number as u64));
                }),
                Value::Flag(flag) => out.message(9, |pair| {
                    pair.bytes(1, name.as_bytes());
                    pair.message(2, |any| any.present(2, (*flag).into()));
                }),
            }
        }
        out.fixed32(16, flags);
    }
}

/// An `ExportTraceServiceRequest`.
pub(crate) fn request(spans: &[Span], resource: &Resource) -> Vec<u8> {
    let mut request = Writer::default();
    request.message(1, |of_resource| {
        resource.write(1, of_resource);
        of_resource.message(2, |of_scope| {
            write_scope(1, of_scope);
            spans.iter().for_each(|span| of_scope.message(2, |out| span.write(out)));
        });
    });
    request.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        let Value::Text(text) = Value::text(&"ü".repeat(TEXT_BYTES_MAX)) else { panic!("a text") };
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        assert_eq!((Span::state(&"x".repeat(512)).len(), Span::state(&"x".repeat(513)).len()), (512, 0));
    }
}
