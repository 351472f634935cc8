//! Conformance to MQTT 3.1.1 and 5.0 (and 3.1 where it says something): the gateway as its clients see it.
//!
//! `docs/mqtt-conformance.md` lists every normative statement with the test that proves it; `table.rs` checks that list.

#[path = "../common/mod.rs"]
mod common;

mod auth;
mod connect;
mod cores;
mod disconnect;
mod flow;
mod publish;
mod retained;
mod session;
mod shared;
mod subscribe;
mod table;
mod topics;
mod websocket;
mod will;
