//! Sockets and time: listeners, transports and the drivers that run a protocol over them.

pub mod certificates;
pub mod core;
pub mod limit;
pub mod listener;
pub mod proxy;
pub mod quic;
pub mod tls;
pub mod unix;
pub mod ws;
