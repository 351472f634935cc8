//! How MQTT-SN nodes find the gateway (section 6.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thingway::config::{Bind, Period};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    common::{PATIENCE, TestGateway},
    endpoint::Endpoint,
    gateway_with,
    mqtt_sn::MqttSn,
};

async fn hear(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 100];
    let heard = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a datagram in time");
    let (count, from) = heard.expect("a datagram");
    (buffer[..count].to_vec(), from)
}

#[tokio::test]
async fn a_node_that_searches_is_told_the_gateways_id() {
    let gateway = gateway_with(|config| config.mqttsn.gateway_id = 7).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    for _ in 0..2 {
        socket.send_to(b"\x03\x01\x00", gateway.listener("udp.mqttsn")).await.expect("sent");
        assert_eq!(hear(&socket).await.0, b"\x03\x02\x07");
    }
}

#[tokio::test]
async fn the_gateway_announces_itself() {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let socket = match UdpSocket::bind((address, 0)).await {
            Ok(socket) => socket,
            Err(_) if address.is_ipv6() => return println!("not tried by IPv6, which this system lacks"),
            Err(error) => panic!("{error}"),
        };
        let to = socket.local_addr().expect("an address").to_string();
        let gateway = TestGateway::with(|config| {
            MqttSn::listen(config);
            config.mqttsn.gateway_id = 9;
            config.mqttsn.advertise_interval = Period::from_secs(1);
            for listener in config.listeners.udp.values_mut() {
                listener.bind = Bind::Address(SocketAddr::new(address, 0));
                listener.udp.announce_to = vec![to.clone()];
            }
        })
        .await;
        // Again and again, from where it listens.
        for _ in 0..2 {
            let (announced, from) = hear(&socket).await;
            assert_eq!((&*announced, from), (&b"\x05\x00\x09\x00\x01"[..], gateway.listener("udp.mqttsn")));
        }
    }
}
