use std::fmt;

use triomphe::ThinArc;

use crate::{Instant, Properties, Qos, Topic};

/// Tells publishers apart, for the subscription option "no local". Zero is the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PublisherKey(pub u64);

/// What is known of a publication beside its topic, properties and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Quality of service that the publisher chose.
    pub qos: Qos,
    /// The publisher's retain flag.
    pub retain: bool,
    /// Who published it.
    pub publisher: PublisherKey,
    /// When the gateway received it.
    pub received_at: Instant,
    /// When it expires; [`Instant::NEVER`] without a message expiry interval (MQTT 5.0, section 3.3.2.3.3).
    pub expires_at: Instant,
}

impl Default for MessageHead {
    fn default() -> Self {
        Self {
            qos: Qos::AtMostOnce,
            retain: false,
            publisher: PublisherKey::default(),
            received_at: Instant::ZERO,
            expires_at: Instant::NEVER,
        }
    }
}

#[derive(Clone, Copy)]
struct Inner {
    head: MessageHead,
    topic: (u32, u32),
    properties: (u32, u32),
    payload: u32,
}

/// A publication on the bus: one allocation, one pointer wide, shared by all its subscribers.
///
/// The bytes behind it are those that the publisher sent wherever possible, so a subscriber's packet is composed of a few
/// copies out of one place and nothing is encoded twice.
#[derive(Clone)]
pub struct Message(ThinArc<Inner, u8>);

impl Message {
    /// A message whose parts lie anywhere in `body`, which is copied once.
    ///
    /// The ranges are byte offsets; the payload runs from `payload` to the end. The topic must have been checked and be
    /// UTF-8, the properties block too.
    ///
    /// # Panics
    /// When a range is outside `body`, or `body` is 4 GiB or larger.
    pub fn from_body(
        head: MessageHead,
        body: &[u8],
        topic: std::ops::Range<usize>,
        properties: std::ops::Range<usize>,
        payload: usize,
    ) -> Self {
        assert!(topic.start <= topic.end && topic.end <= body.len(), "topic outside the body");
        assert!(properties.start <= properties.end && properties.end <= body.len(), "properties outside the body");
        assert!(payload <= body.len() && body.len() <= u32::MAX as usize, "payload outside the body");
        let inner = Inner {
            head,
            topic: (topic.start as u32, topic.end as u32),
            properties: (properties.start as u32, properties.end as u32),
            payload: payload as u32,
        };
        Self(ThinArc::from_header_and_slice(inner, body))
    }

    /// A message made of separate parts.
    pub fn new(head: MessageHead, topic: Topic<'_>, properties: Properties<'_>, payload: &[u8]) -> Self {
        MessageBuilder::default().build(head, topic, properties, payload)
    }

    /// Topic, properties and payload unchanged under another head: as when a retained message or a will is published.
    pub fn with_head(&self, head: MessageHead) -> Self {
        let inner = &self.0.header.header;
        Self(ThinArc::from_header_and_slice(Inner { head, ..*inner }, &self.0.slice))
    }

    /// The same message on another topic.
    pub fn with_topic(&self, topic: Topic<'_>) -> Self {
        Self::new(*self.head(), topic, self.properties(), self.payload())
    }

    /// What is known of it beside its parts.
    pub fn head(&self) -> &MessageHead {
        &self.0.header.header.head
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        // The bytes were checked when the message was made; a second check here costs nanoseconds and needs no unsafe code.
        std::str::from_utf8(self.topic_bytes()).unwrap_or("")
    }

    /// The topic name, which was checked when the message was made.
    pub fn name(&self) -> Topic<'_> {
        Topic::trusted(self.topic())
    }

    /// The topic name's bytes.
    pub fn topic_bytes(&self) -> &[u8] {
        let (start, end) = self.0.header.header.topic;
        &self.0.slice[start as usize..end as usize]
    }

    /// The publisher's properties.
    pub fn properties(&self) -> Properties<'_> {
        let (start, end) = self.0.header.header.properties;
        Properties::trusted(&self.0.slice[start as usize..end as usize])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.0.slice[self.0.header.header.payload as usize..]
    }

    /// Bytes that the message keeps alive, its bookkeeping included: what budgets count.
    pub fn weight(&self) -> usize {
        self.0.slice.len() + size_of::<Inner>() + 16
    }

    /// True when its expiry interval has passed.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.head().expires_at <= now
    }

    /// True when both are the very same allocation.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.0.ptr(), other.0.ptr())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("head", self.head())
            .field("properties", &self.properties())
            .field("payload_bytes", &self.payload().len())
            .finish()
    }
}

/// Gathers the parts of messages in a buffer that is used again for the next.
#[derive(Debug, Default)]
pub struct MessageBuilder {
    scratch: Vec<u8>,
}

impl MessageBuilder {
    /// A message made of separate parts.
    pub fn build(
        &mut self,
        head: MessageHead,
        topic: Topic<'_>,
        properties: Properties<'_>,
        payload: &[u8],
    ) -> Message {
        let topic = topic.as_str().as_bytes();
        self.scratch.clear();
        self.scratch.extend_from_slice(topic);
        self.scratch.extend_from_slice(properties.as_bytes());
        let payload_start = self.scratch.len();
        self.scratch.extend_from_slice(payload);
        let message =
            Message::from_body(head, &self.scratch, 0..topic.len(), topic.len()..payload_start, payload_start);
        // A rare large message must not pin its size for ever.
        if self.scratch.capacity() > 64 * 1024 {
            self.scratch = Vec::new();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PropertiesBuilder, Property, TopicLimits};

    #[test]
    fn one_pointer_wide() {
        assert_eq!(size_of::<Message>(), 8);
        assert!(size_of::<Inner>() <= 56, "{}", size_of::<Inner>());
    }

    #[test]
    fn parts_come_back() {
        let topic = Topic::parse("a/b", TopicLimits::default()).expect("valid");
        let mut properties = PropertiesBuilder::new();
        properties.push(Property::ContentType("x"));
        let head = MessageHead { qos: Qos::ExactlyOnce, ..MessageHead::default() };
        let message = Message::new(head, topic, properties.as_properties(), b"payload");
        assert_eq!(message.topic(), "a/b");
        assert_eq!(message.payload(), b"payload");
        assert_eq!(message.properties().iter().collect::<Vec<_>>(), [Property::ContentType("x")]);
        let again = message.with_head(MessageHead { retain: true, ..head });
        assert!(again.head().retain && again.payload() == b"payload" && !again.is_same(&message));
        let body = [0, 3, b'a', b'/', b'b', 9, 9, b'p'];
        let ingress = Message::from_body(head, &body, 2..5, 0..0, 7);
        assert_eq!((ingress.topic(), ingress.payload()), ("a/b", &b"p"[..]));
    }
}
