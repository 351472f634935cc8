//! What the integration tests share: MQTT on the wire, a client that reads like a script, and a gateway in this process.
//!
//! The wire format is written here a second time on purpose. A proof of conformance that used the gateway's own codec
//! would not see a mistake that the encoder and the decoder make alike.
#![allow(dead_code, unused_imports, reason = "every test target uses another part")]

pub mod client;
pub mod gateway;
pub mod packet;
pub mod property;
pub mod websocket;
pub mod wire;

pub use client::{Client, PATIENCE};
pub use gateway::TestGateway;
pub use packet::{Ack, Connack, Packet, Publish};
pub use property::{Property, put_properties};
pub use wire::{Connect, Version, publish, subscribe, unsubscribe};

/// Both versions that most statements exist in.
pub const BOTH: [Version; 2] = [Version::V311, Version::V5];
/// All versions that the gateway speaks.
pub const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];
