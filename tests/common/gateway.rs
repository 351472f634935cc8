//! A gateway in this process, on ports that the system chooses.

use std::{env, net::SocketAddr};

use thingway::config::Config;

use super::{
    client::Client,
    packet::Connack,
    wire::{Connect, Version},
};

/// A running gateway, which stops when the value is dropped.
///
/// With `THINGWAY_TEST_ADDRESS` in the environment it is whatever listens there: the way to try the tests themselves
/// against another broker.
#[derive(Debug)]
pub struct TestGateway {
    pub address: SocketAddr,
}

impl TestGateway {
    /// A gateway with its defaults.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A gateway whose settings are changed.
    pub async fn with(_change: impl FnOnce(&mut Config)) -> Self {
        let address = env::var("THINGWAY_TEST_ADDRESS").expect("an address");
        Self { address: address.parse().expect("THINGWAY_TEST_ADDRESS is a socket address") }
    }

    /// Connects a clean session and insists on success.
    pub async fn client(&self, version: Version, client_id: &str) -> Client {
        self.connect(&Connect::new(version, client_id)).await.0
    }

    /// Connects and insists on success.
    pub async fn connect(&self, connect: &Connect) -> (Client, Connack) {
        Client::connect(self.address, connect).await
    }

    /// A connection on which nothing was said yet.
    pub async fn open(&self, version: Version) -> Client {
        Client::open(self.address, version).await
    }
}
