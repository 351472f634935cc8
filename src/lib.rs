//! Thingway, a multi-protocol IoT gateway, as a library.

pub mod config;
