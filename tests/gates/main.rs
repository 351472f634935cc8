//! Gates against growing costs: instructions and allocations a message, and the sizes of what exists a million times.
//!
//! `docs/performance.md` says how to run and to read them.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod allocations;
mod callgrind;
mod client;
mod flow;
mod instructions;
mod meter;
mod scenarios;
mod sizes;
