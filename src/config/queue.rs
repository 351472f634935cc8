use super::{
    schema::{settings, words},
    value::Size,
};

words! {
    /// Which message goes when a queue is full.
    pub enum DropOrder {
        /// The longest waiting one, QoS 0 before others.
        Oldest = "oldest",
        /// The one that comes last.
        Newest = "newest",
    }
}

settings! {
    /// Messages that wait for a client. Every bound counts messages and bytes, and the first that is reached decides.
    pub struct Queue {
        /// Most messages that wait for a connected client.
        messages_max: u32 = 20_000, within 1..=10_000_000;
        /// Most bytes that wait for a connected client.
        bytes_max: Size = Size::mib(16);
        /// Most messages that wait for a client that is away.
        offline_messages_max: u32 = 10_000, within 0..=10_000_000;
        /// Most bytes that wait for a client that is away.
        offline_bytes_max: Size = Size::mib(8);
        /// Whether messages of QoS 0 wait for a client that is away, too. The standard leaves it to the server.
        qos0_offline: bool = false;
        /// Which message goes when a queue is full: "oldest" (the longest waiting, QoS 0 before others) or "newest" (the one that comes).
        drop: DropOrder = DropOrder::Oldest;
        /// Most bytes that wait for all clients together. A message that waits for many is counted for each.
        total_bytes_max: Size = Size::mib(1024);
    }
}
