/// How many exchanges of messages a conversation has under way, and how many it may have; for whoever looks at a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// Messages to the peer that it has not fully acknowledged.
    pub outbound: usize,
    /// As many as there may be.
    pub outbound_max: usize,
    /// Messages of QoS 2 from the peer that it has not released.
    pub inbound: usize,
    /// As many as there may be; `None` for as many as there are identifiers.
    pub inbound_max: Option<usize>,
}
