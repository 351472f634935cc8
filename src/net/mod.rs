//! Sockets and time, generic over the protocol: the threads that run connections, the drivers, the transports.

pub mod core;
mod faults;
mod pending;
mod service;
pub mod stream;
pub mod wheel;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::{core::Cores, service::Service};
