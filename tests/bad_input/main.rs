//! What peers can do wrong, by mistake or on purpose: a running gateway answers as the standards say, drops them, and goes on
//! serving the others as if nothing had happened.

#[path = "../common/mod.rs"]
mod common;

mod bystanders;
mod flood;
mod malformed;
mod memory;
mod random;
mod slow;
