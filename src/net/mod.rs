//! Sockets and time, generic over the protocol: the threads that run connections, the drivers, the transports.

mod admission;
pub mod certificates;
mod conversation;
pub mod core;
pub mod datagram;
pub mod faults;
pub mod limit;
pub mod listener;
pub mod memory;
mod naming;
mod pending;
mod permit;
pub mod proxy;
pub mod quic;
pub mod reactor;
mod service;
pub mod stream;
pub mod tls;
mod traffic;
pub mod unix;
pub mod wheel;
pub mod ws;

pub use self::{
    core::Cores,
    listener::ByteStream,
    service::{PeerRates, Service},
};
