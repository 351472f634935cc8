//! WebSocket (RFC 6455) as a byte stream: a protocol's frames may be split over and joined in WebSocket frames.
//!
//! The upgrade uses tungstenite's HTTP parsing and key exchange; the data path is our own, so that an idle connection
//! holds no buffers and a batch of packets goes out as one frame by one system call. Extensions are not negotiated:
//! tungstenite has no `permessage-deflate`.

mod client;
mod frame;
mod stream;
mod upgrade;

pub use client::{ConnectFault, connect};
pub use frame::WsFault;
pub use stream::Ws;
pub use upgrade::{UpgradeFault, Upgraded, accept};

/// Longest MQTT packet, with its fixed header; a frame needs no more to carry a packet.
const FRAME_BYTES_MAX: u64 = 5 + 268_435_455;

/// Settings of a WebSocket listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsOptions {
    /// Path of the upgrade request; others get 404. A query is ignored.
    pub path: String,
    /// Sub-protocols that are accepted; the first that the client offers too is chosen (MQTT 5.0, section 6).
    pub subprotocols: Vec<String>,
    /// Refuse clients that offer no accepted sub-protocol \[MQTT-6.0.0-3\] with 400.
    pub subprotocol_required: bool,
    /// Origins that may connect, as `https://example.com`; others get 403. Empty allows all.
    pub origins: Vec<String>,
    /// Let clients in that send no origin, as all do that are no browsers.
    pub origin_absent_allowed: bool,
    /// Longest request with all its headers, in bytes; a longer one gets 431.
    pub header_bytes_max: usize,
    /// Longest frame, in bytes; a longer one closes with 1009. Frames are not buffered, so this costs nothing.
    pub frame_bytes_max: u64,
    /// Take the peer's address from `X-Forwarded-For` when the request comes from a trusted proxy.
    pub forwarded_for: bool,
}

impl Default for WsOptions {
    fn default() -> Self {
        Self {
            path: "/mqtt".into(),
            subprotocols: ["mqtt", "mqttv3.1", "mqttv3.1.1"].map(Into::into).into(),
            subprotocol_required: true,
            origins: Vec::new(),
            origin_absent_allowed: true,
            header_bytes_max: 8192,
            frame_bytes_max: FRAME_BYTES_MAX,
            forwarded_for: true,
        }
    }
}
