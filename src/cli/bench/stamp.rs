/// Bytes of a stamp, and so of the shortest payload.
pub const STAMP_BYTES: usize = 16;

/// What the front of each payload tells: when the message was due, who published it, and which of his messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub due_ns: u64,
    pub publisher: u32,
    /// From 1.
    pub sequence: u32,
}

impl Stamp {
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (due, rest) = payload.split_first_chunk::<8>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            due_ns: u64::from_be_bytes(*due),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u32::from_be_bytes(*sequence),
        })
    }

    pub fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.due_ns.to_be_bytes());
        payload[8..12].copy_from_slice(&self.publisher.to_be_bytes());
        payload[12..16].copy_from_slice(&self.sequence.to_be_bytes());
    }
}

/// What became of a message's place in its publisher's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Behind all that came before it; some may be missing between.
    New,
    /// In front of one that came before it.
    Late,
    /// It had come already.
    Again,
}

/// The messages of one publisher that one subscriber has seen: the last one, and a bit for each of the 64 up to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    last: u32,
    bits: u64,
}

impl Seen {
    /// Notes a message. One that is further back than the bits reach counts as late, for nobody can know.
    pub fn note(&mut self, sequence: u32) -> Arrival {
        if sequence > self.last {
            let ahead = sequence - self.last;
            self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | 1;
            self.last = sequence;
            return Arrival::New;
        }
        let behind = self.last - sequence;
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        if self.bits & bit != 0 {
            return Arrival::Again;
        }
        self.bits |= bit;
        Arrival::Late
    }

    /// The last one.
    pub fn last(self) -> u32 {
        self.last
    }
}

/// A frame of a publication, whole but for what changes from message to message.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the packet identifier goes, twice for CoAP, whose token is the same number.
    id_at: [Option<usize>; 2],
    /// Where the topic id goes.
    topic_at: Option<usize>,
    /// Where the flag of repetition is, and which bit.
    repeated: Option<(usize, u8)>,
    payload_at: usize,
    publisher: u32,
}

impl Template {
    pub fn new(bytes: Vec<u8>, payload_at: usize, publisher: u32) -> Self {
        Self { bytes, id_at: [None; 2], topic_at: None, repeated: None, payload_at, publisher }
    }

    pub fn with_ids(self, id_at: [Option<usize>; 2]) -> Self {
        Self { id_at, ..self }
    }

    pub fn with_topic_id(self, at: usize) -> Self {
        Self { topic_at: Some(at), ..self }
    }

    pub fn with_repeated(self, at: usize, bit: u8) -> Self {
        Self { repeated: Some((at, bit)), ..self }
    }

    /// From now on messages go to this topic id.
    pub fn set_topic_id(&mut self, id: u16) {
        if let Some(at) = self.topic_at {
            self.bytes[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
    }

    /// Appends a message.
    pub fn append(&self, out: &mut Vec<u8>, due_ns: u64, sequence: u32, id: u16, is_repeated: bool) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        for at in self.id_at.into_iter().flatten() {
            frame[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        if let (true, Some((at, bit))) = (is_repeated, self.repeated) {
            frame[at] |= bit;
        }
        Stamp { due_ns, publisher: self.publisher, sequence }.write(&mut frame[self.payload_at..]);
    }
}

/// A payload of this size with room for a stamp in front.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; STAMP_BYTES];
    payload.extend((STAMP_BYTES..bytes).map(|at| b'a' + (at % 26) as u8));
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_round_trip() {
        let stamp = Stamp { due_ns: u64::MAX - 5, publisher: 7, sequence: 9 };
        let mut bytes = payload(20);
        stamp.write(&mut bytes);
        assert_eq!((Stamp::read(&bytes), &bytes[16..]), (Some(stamp), &b"qrst"[..]));
        assert_eq!(Stamp::read(&bytes[..15]), None);
    }

    #[test]
    fn arrivals_are_told_apart() {
        let mut seen = Seen::default();
        let arrivals = [1, 2, 4, 3, 3, 4, 100, 37, 36, 99, 99, 5].map(|sequence| seen.note(sequence));
        use Arrival::{Again, Late, New};
        assert_eq!(arrivals, [New, New, New, Late, Again, Again, New, Late, Late, Late, Again, Late]);
        assert_eq!(seen.last(), 100);
        let mut seen = Seen::default();
        assert_eq!([u32::MAX, 1].map(|sequence| seen.note(sequence)), [New, Late]);
    }

    #[test]
    fn a_template_is_filled_at_its_places() {
        let mut bytes = vec![0, 0, 0, 0, 0];
        bytes.extend(payload(16));
        let mut template = Template::new(bytes, 5, 3).with_ids([Some(1), None]).with_topic_id(3).with_repeated(0, 0x08);
        template.set_topic_id(0x0102);
        let mut out = vec![9];
        template.append(&mut out, 4, 5, 0x0304, true);
        assert_eq!(out[..6], [9, 8, 3, 4, 1, 2]);
        assert_eq!(Stamp::read(&out[6..]), Some(Stamp { due_ns: 4, publisher: 3, sequence: 5 }));
        out.clear();
        template.append(&mut out, 4, 6, 1, false);
        assert_eq!(out[0], 0);
    }
}
