use crate::{Message, Request};

/// A message's payload to be written in the middle of the wire bytes without copying it first.
#[derive(Clone, Debug)]
pub struct Splice {
    /// Offset in the wire bytes before which the payload belongs.
    pub at: usize,
    /// The message whose payload it is.
    pub message: Message,
}

/// Most kinds of packet that a protocol can have counted.
pub const PACKET_KINDS: usize = 32;

/// Where a protocol leaves what it wants written and asked.
///
/// One outbox serves all conversations of a core in turn: frames of one turn go out in one vectored write.
#[derive(Debug, Default)]
pub struct Outbox {
    wire: Vec<u8>,
    splices: Vec<Splice>,
    spliced_bytes: usize,
    requests: Vec<Request>,
    datagram_ends: Vec<usize>,
    closing: bool,
    watched: bool,
    acknowledged: Vec<Message>,
    received: [u32; PACKET_KINDS],
    sent: [u32; PACKET_KINDS],
    /// Kinds that were counted, a bit for each.
    counted: u32,
}

impl Outbox {
    /// Payloads from this size on are spliced instead of copied: below it a copy costs less than one more element in a vectored write.
    pub const SPLICE_BYTES_MIN: usize = 2048;

    /// Wire bytes: frames are appended here.
    pub fn wire(&mut self) -> &mut Vec<u8> {
        &mut self.wire
    }

    /// Appends a message's payload to the wire, copying a short one and splicing a long one.
    pub fn payload(&mut self, message: &Message) {
        let payload = message.payload();
        if payload.len() < Self::SPLICE_BYTES_MIN {
            self.wire.extend_from_slice(payload);
        } else {
            self.spliced_bytes += payload.len();
            self.splices.push(Splice { at: self.wire.len(), message: message.clone() });
        }
    }

    /// Ends a datagram: what was appended to the wire since the last one ended, or since the beginning. Datagrams cannot hold spliced payloads.
    pub fn end_datagram(&mut self) {
        debug_assert!(self.splices.is_empty(), "a datagram is one piece");
        self.datagram_ends.push(self.wire.len());
    }

    /// For drivers of datagrams: the finished datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.datagram_ends.iter().copied());
        starts.zip(&self.datagram_ends).map(|(start, &end)| &self.wire[start..end])
    }

    /// Asks something of the gateway.
    pub fn request(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// Ends the connection once everything so far is written.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// True after [`Outbox::close`].
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// True while somebody wants to know which messages their subscriber has acknowledged.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// The peer has acknowledged a message: to be told while [`Outbox::is_watched`].
    pub fn acknowledged(&mut self, message: Message) {
        self.acknowledged.push(message);
    }

    /// For drivers: whether somebody wants to know.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// For drivers: the messages that were acknowledged.
    pub fn take_acknowledged(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.acknowledged)
    }

    /// Counts a received packet of this kind (an index into [`crate::Protocol::PACKET_NAMES`]).
    pub fn count_received(&mut self, kind: u8) {
        let kind = usize::from(kind) % PACKET_KINDS;
        self.received[kind] += 1;
        self.counted |= 1 << kind;
    }

    /// Counts a packet to send.
    pub fn count_sent(&mut self, kind: u8) {
        let kind = usize::from(kind) % PACKET_KINDS;
        self.sent[kind] += 1;
        self.counted |= 1 << kind;
    }

    /// Bytes waiting to be written, spliced payloads included.
    pub fn len(&self) -> usize {
        self.wire.len() + self.spliced_bytes
    }

    /// True when nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.splices.is_empty()
    }

    /// Number of requests waiting.
    pub fn requests_len(&self) -> usize {
        self.requests.len()
    }

    /// For drivers: takes the requests, leaving `spare` (emptied) to collect the next.
    pub fn swap_requests(&mut self, spare: &mut Vec<Request>) {
        spare.clear();
        std::mem::swap(&mut self.requests, spare);
    }

    /// For drivers: forgets the requests of a conversation that has ended.
    pub fn forget_requests(&mut self) {
        self.acknowledged.clear();
        self.requests.clear();
    }

    /// For drivers: the pieces to write, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        pieces(&self.wire, &self.splices)
    }

    /// For drivers: takes wire bytes and splices for a peer that cannot be written to now.
    pub fn take_unwritten(&mut self) -> (Vec<u8>, Vec<Splice>) {
        self.spliced_bytes = 0;
        (std::mem::take(&mut self.wire), std::mem::take(&mut self.splices))
    }

    /// For drivers: forgets what was written and the closing mark; keeps requests and counts.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.splices.clear();
        self.datagram_ends.clear();
        self.spliced_bytes = 0;
        self.closing = false;
    }

    /// For drivers: reads out and resets the packet counts, received and sent.
    pub fn drain_counts(&mut self, mut each: impl FnMut(usize, u32, u32)) {
        let mut counted = std::mem::take(&mut self.counted);
        while counted != 0 {
            let kind = counted.trailing_zeros() as usize;
            counted &= counted - 1;
            each(kind, std::mem::take(&mut self.received[kind]), std::mem::take(&mut self.sent[kind]));
        }
    }
}

/// For drivers: wire bytes with the payloads of splices in their places, as pieces in order.
pub fn pieces<'a>(wire: &'a [u8], splices: &'a [Splice]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(splices.iter().map(|splice| splice.at));
    let ends = splices.iter().map(|splice| splice.at).chain(std::iter::once(wire.len()));
    let payloads = splices.iter().map(|splice| splice.message.payload()).chain(std::iter::once(&[][..]));
    starts
        .zip(ends)
        .zip(payloads)
        .flat_map(move |((start, end), payload)| [&wire[start..end], payload])
        .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MessageHead, Properties, Topic, TopicLimits};

    fn message(bytes: usize) -> Message {
        let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
        Message::new(MessageHead::default(), topic, Properties::default(), &vec![7; bytes])
    }

    #[test]
    fn datagrams_keep_their_ends() {
        let mut out = Outbox::default();
        for part in [&b"ab"[..], b"", b"c"] {
            out.wire().extend_from_slice(part);
            out.end_datagram();
        }
        out.wire().extend_from_slice(b"unfinished");
        assert_eq!(out.datagrams().collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
        out.clear();
        assert_eq!(out.datagrams().count(), 0);
    }

    #[test]
    fn long_payloads_are_spliced_in_place() {
        let mut out = Outbox::default();
        out.wire().extend_from_slice(b"ab");
        out.payload(&message(3));
        out.payload(&message(Outbox::SPLICE_BYTES_MIN));
        out.payload(&message(Outbox::SPLICE_BYTES_MIN));
        out.wire().extend_from_slice(b"c");
        let all: Vec<u8> = out.pieces().flatten().copied().collect();
        assert_eq!(all.len(), out.len());
        assert_eq!((&all[..5], all.last()), (&b"ab\x07\x07\x07"[..], Some(&b'c')));
        assert_eq!(out.pieces().count(), 4);
        out.clear();
        assert_eq!((out.len(), out.pieces().count()), (0, 0));
    }
}
