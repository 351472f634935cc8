//! Sockets and time: listeners, transports and the drivers that run a protocol over them.

pub mod core;
pub mod limit;
pub mod listener;
