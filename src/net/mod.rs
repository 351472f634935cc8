//! Sockets and time, generic over the protocol: the threads that run connections, the drivers, the transports.

pub mod core;
mod faults;
pub mod limit;
pub mod listener;
mod pending;
mod service;
pub mod stream;
pub mod wheel;

pub use self::{core::Cores, listener::ByteStream, service::Service};
