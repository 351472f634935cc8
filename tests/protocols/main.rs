//! One meaning across protocols: every protocol to every other over a running gateway, and what becomes of each notion on the way.
//!
//! `docs/protocols.md` has the table of what becomes of what, with the test of each cell. `just protocol-matrix` prints the matrix.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod anonymous;
mod authority;
mod coap;
mod content;
mod discovery;
mod endpoint;
mod expiry;
mod large;
mod matrix;
mod mqtt;
mod mqtt_sn;
mod names;
mod outside;
mod paths;
mod pubsub;
mod quality;
mod quotas;
mod refused;
mod retained;
mod scram;
mod sessions;
mod shared;
mod silence;
mod sleep;
mod strangers;
mod table;
mod threats;
mod web;
mod wills;

use self::{
    coap::Coap,
    common::TestGateway,
    endpoint::Endpoint,
    mqtt::{Quic, Ws},
    mqtt_sn::MqttSn,
};

/// A gateway that listens for every protocol.
async fn gateway() -> TestGateway {
    gateway_with(|_| {}).await
}

/// The same with changed settings.
async fn gateway_with(change: impl FnOnce(&mut thingway::config::Config)) -> TestGateway {
    TestGateway::with(|config| {
        Ws::listen(config);
        Quic::listen(config);
        MqttSn::listen(config);
        Coap::listen(config);
        // Clients that move, or follow one another, land on either.
        config.gateway.cores = 2;
        change(config);
    })
    .await
}
