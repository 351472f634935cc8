//! Thingway: a multi-protocol IoT gateway. Devices and apps speak their own protocols and share topics on one internal
//! publish/subscribe bus.
//!
//! Modules import downwards only; `tests/layering.rs` reads the sources and holds them to it:
//!
//! ```text
//! main -> gateway -> { api, net } -> { bus, access } -> thingway-contract
//! ```
//!
//! `protocols` is the only module that names a concrete protocol crate, except for `cli`, whose `pub` and `sub` are clients.

pub mod access;
pub mod access_config;
pub mod api;
pub mod bus;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod logging;
pub mod net;
pub mod network;
pub mod protocols;
pub mod store;
pub mod watch;
