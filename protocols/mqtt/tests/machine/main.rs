//! The server's side of MQTT conversations, as scripts: send this, expect that.
//!
//! The identifiers in brackets are normative statements of MQTT 5.0; those of 3.1.1 are marked so where they differ.

mod alias;
mod authentication;
mod ending;
mod handshake;
mod inbound;
mod kept;
mod late;
mod outbound;
mod resume;
mod subscribe;
mod support;
mod world;
