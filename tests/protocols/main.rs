//! One meaning across protocols: every protocol to every other over a running gateway, and what becomes of each notion on the way.
//!
//! `docs/protocols.md` has the table of what becomes of what, with the test of each cell. `just protocol-matrix` prints the matrix.

#[path = "../common/mod.rs"]
mod common;

mod coap;
mod endpoint;
mod matrix;
mod mqtt;
mod mqtt_sn;
