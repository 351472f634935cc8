//! Thingway: a multi-protocol IoT gateway. Devices and apps speak their own protocols and share topics on one internal
//! publish/subscribe bus.
//!
//! Modules import downwards only; a test reads the `use` lines and holds them to it:
//!
//! ```text
//! main -> gateway -> net -> { bus, access } -> thingway-contract
//! ```
//!
//! `protocols` is the only module that names a concrete protocol crate.

pub mod access;
pub mod bus;
pub mod net;
