//! Thingway, a multi-protocol IoT gateway, as a library.

pub mod cli;
pub mod config;
pub mod gateway;
pub mod logging;
