use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// Tells traces apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Tells spans of a trace apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Where somebody else's trace has come to: the text of `traceparent` (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that goes on.
    pub span_id: SpanId,
    /// Flags: the lowest says whether the trace is recorded.
    pub flags: u8,
}

/// The trace is recorded.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// One that is recorded.
    pub const fn sampled(trace_id: TraceId, span_id: SpanId) -> Self {
        Self { trace_id, span_id, flags: SAMPLED }
    }

    /// Reads the text, of any version: what later ones add is passed over (section 4.3).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, rest) = bytes.split_at_checked(55)?;
        let ([version], [flags]) = (hex(&head[..2])?, hex(&head[53..])?);
        if version == 0xff || version == 0 && !rest.is_empty() || !rest.is_empty() && rest[0] != b'-' {
            return None;
        }
        if [head[2], head[35], head[52]] != [b'-'; 3] {
            return None;
        }
        let (trace_id, span_id) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id: TraceId(trace_id), span_id: SpanId(span_id), flags })
    }

    /// Whoever began it records it.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

macro_rules! in_hex {
    ($($name:ident)*) => {
        $(
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }
        )*
    };
}

in_hex!(TraceId SpanId);

/// Makes identifiers that nobody else makes.
#[derive(Debug)]
pub struct Ids {
    seed: [u64; 2],
    next: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        let random = || RandomState::new().hash_one(0);
        Self { seed: [random(), random()], next: AtomicU64::new(0) }
    }
}

impl Ids {
    fn draw(&self) -> u128 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key[8..].copy_from_slice(&self.seed[1].to_le_bytes());
        xxh3_128_with_seed(&key, self.seed[0])
    }

    /// A new trace.
    pub fn trace(&self) -> TraceId {
        TraceId(self.draw().max(1).to_be_bytes())
    }

    /// A new span.
    pub fn span(&self) -> SpanId {
        SpanId((self.draw() as u64).max(1).to_be_bytes())
    }
}

/// The identifier of a span that follows from what the span is about, so that whoever sees that later knows it without being told.
pub fn derived_span_id(trace_id: TraceId, parent: Option<SpanId>, parts: &[&[u8]]) -> SpanId {
    let mut hasher = Xxh3::new();
    hasher.update(&trace_id.0);
    hasher.update(&parent.map_or([0; 8], |parent| parent.0));
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    SpanId(hasher.digest().max(1).to_be_bytes())
}

/// Which new traces are recorded. It depends on the trace's identifier alone, so all who see it decide alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Of 2^56 that are possible: the random part of an identifier is its last 56 bits (W3C Trace Context, level 2).
    reject_below: u64,
}

impl Sampler {
    /// This share, from 0 to 1.
    pub fn of(ratio: f64) -> Self {
        Self { reject_below: ((1.0 - ratio.clamp(0.0, 1.0)) * (1_u64 << 56) as f64) as u64 }
    }

    /// Whether this trace is recorded.
    pub fn samples(self, trace_id: TraceId) -> bool {
        let [_, _, _, _, _, _, _, _, _, random @ ..] = trace_id.0;
        random.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)) >= self.reject_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_text_comes_back() {
        let context = TraceContext::parse(TEXT).expect("the example of the specification");
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), TEXT);
        assert!(!TraceContext::parse(&TEXT.replace("-01", "-02")).expect("other flags").is_sampled());
        assert_eq!(TraceContext::parse(&TEXT.replace("00-0a", "cc-0a").replace("-01", "-01-more")), Some(context));
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            &TEXT[..54],
            &TEXT.to_uppercase(),
            &format!("{TEXT}-more"),
            &TEXT.replace("00-0a", "ff-0a"),
            &TEXT.replace("00-0a", "cc-0a").replace("-01", "-01more"),
            &TEXT.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &TEXT.replace("b7ad6b7169203331", &zeros[..16]),
            &TEXT.replace('-', "_"),
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_of_traces_is_recorded() {
        let ids = Ids::default();
        let count = |ratio| (0..10_000).filter(|_| Sampler::of(ratio).samples(ids.trace())).count();
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        // More than ten standard deviations to either side.
        assert!((2000..3000).contains(&count(0.25)));
    }

    #[test]
    fn derived_identifiers_follow_from_all_their_parts() {
        let (trace, other) = (TraceId([1; 16]), TraceId([2; 16]));
        let one = derived_span_id(trace, None, &[b"ab", b"c"]);
        assert_eq!(one, derived_span_id(trace, None, &[b"ab", b"c"]));
        for another in [
            derived_span_id(trace, None, &[b"a", b"bc"]),
            derived_span_id(other, None, &[b"ab", b"c"]),
            derived_span_id(trace, Some(one), &[b"ab", b"c"]),
        ] {
            assert_ne!(one, another);
        }
    }
}
