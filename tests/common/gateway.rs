//! A gateway in this process, on ports that the system chooses.

use std::{collections::BTreeMap, env, net::SocketAddr};

use thingway::{
    config::{Bind, Config, Listener, ListenerKind, ListenerProtocol, Listeners, StoreDurability},
    gateway::Gateway,
};

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
    /// Where it speaks MQTT over TCP.
    pub address: SocketAddr,
    gateway: Option<Gateway>,
}

impl TestGateway {
    /// A gateway with its defaults.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A gateway whose settings are changed. Settings of MQTT count for its listeners, too.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(address) = env::var("THINGWAY_TEST_ADDRESS") {
            let address = address.parse().expect("THINGWAY_TEST_ADDRESS is a socket address");
            return Self { address, gateway: None };
        }
        let mut config = Config { listeners: Listeners::none(), ..Config::default() };
        config.gateway.cores = 1;
        config.store.durability = StoreDurability::Memory;
        // A loaded machine shall not make the gateway turn clients away.
        config.overload.enable = false;
        config.dashboard.enable = false;
        listen_as(&mut config, ListenerKind::Tcp);
        change(&mut config);
        let mqtt = config.mqtt.clone();
        for kind in [ListenerKind::Tcp, ListenerKind::Ws, ListenerKind::Quic] {
            for listener in config.listeners.of_mut(kind).values_mut() {
                listener.mqtt.0 = mqtt.clone();
            }
        }
        let gateway = Gateway::start(config).await.expect("a gateway on ports of the system's choice");
        let address = gateway.address("tcp.default").expect("a TCP listener has an address");
        Self { address, gateway: Some(gateway) }
    }

    /// A gateway that listens on WebSocket, too.
    pub async fn with_websocket(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(|config| {
            listen_as(config, ListenerKind::Ws);
            change(config);
        })
        .await
    }

    /// The gateway itself, which is not there when the tests are tried against another broker.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("a gateway in this process")
    }

    /// The gateway itself, for the one who stops it.
    pub fn into_gateway(mut self) -> Gateway {
        self.gateway.take().expect("a gateway in this process")
    }

    /// Where it speaks MQTT over WebSocket.
    pub fn websocket(&self) -> SocketAddr {
        match env::var("THINGWAY_TEST_WEBSOCKET") {
            Ok(address) => address.parse().expect("THINGWAY_TEST_WEBSOCKET is a socket address"),
            Err(_) => self.gateway().address("ws.default").expect("a WebSocket listener has an address"),
        }
    }

    /// Where a listener listens that [`listen_as`] or [`listen_udp`] added.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.gateway().address(name).unwrap_or_else(|| panic!("no listener {name} with an address"))
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

/// Adds a listener of this kind, named `default`, on a port of the system's choice.
pub fn listen_as(config: &mut Config, kind: ListenerKind) -> &mut Listener {
    config.listeners.of_mut(kind).entry("default".into()).or_insert_with(|| loopback(ListenerProtocol::Mqtt))
}

/// Adds a listener for datagrams, named as the gateway's own is, on a port of the system's choice.
pub fn listen_udp(config: &mut Config, protocol: ListenerProtocol) -> &mut Listener {
    let name = if protocol == ListenerProtocol::MqttSn { "mqttsn" } else { "coap" };
    config.listeners.of_mut(ListenerKind::Udp).entry(name.into()).or_insert_with(|| loopback(protocol))
}

fn loopback(protocol: ListenerProtocol) -> Listener {
    Listener { bind: Bind::Address(SocketAddr::from(([127, 0, 0, 1], 0))), protocol, ..Listener::default() }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(gateway) = &self.gateway {
            gateway.cores().stop();
        }
    }
}
