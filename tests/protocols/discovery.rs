//! How MQTT-SN nodes find the gateway (section 6.1).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

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

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 18, 84);
/// What has not come back from the system itself by then will not come.
const PROBE: Duration = Duration::from_secs(2);

/// A socket that is in the group and gets what it sends there.
async fn in_group() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.join_multicast_v4(GROUP, Ipv4Addr::UNSPECIFIED)?;
    socket.send_to(b"probe", (GROUP, socket.local_addr()?.port())).await?;
    timeout(PROBE, socket.recv_from(&mut [0; 10])).await??;
    Ok(socket)
}

/// A node that knows no address asks a group, and listens to what the gateway tells one. By the interface of the system's choice, as the gateway.
#[tokio::test]
async fn nodes_find_the_gateway_by_a_multicast_group() {
    let socket = match in_group().await {
        Ok(socket) => socket,
        Err(error) => return println!("not tried, as this system has no multicast: {error}"),
    };
    let announce_to = SocketAddr::from((GROUP, socket.local_addr().expect("an address").port())).to_string();
    for bind in ["0.0.0.0:0", ":0"] {
        let gateway = gateway_with(|config| {
            config.mqttsn.gateway_id = 9;
            config.mqttsn.advertise_interval = Period::from_secs(1);
            let listener = config.listeners.udp.get_mut("mqttsn").expect("it was added");
            listener.bind = bind.parse().expect("an address");
            listener.udp.groups = vec![GROUP.to_string()];
            listener.udp.announce_to = vec![announce_to.clone()];
        })
        .await;
        let port = gateway.listener("udp.mqttsn").port();
        loop {
            let (announced, from) = hear(&socket).await;
            assert_eq!(announced, b"\x05\x00\x09\x00\x01");
            // The one before may have said something yet.
            if from.port() == port {
                break;
            }
        }
        for _ in 0..20 {
            let node = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a socket");
            node.send_to(b"\x03\x01\x00", (GROUP, port)).await.expect("sent");
            let (answer, from) = hear(&node).await;
            assert_eq!((&*answer, from.port()), (&b"\x03\x02\x09"[..], port), "GWINFO");
            assert!(!from.ip().is_multicast(), "from an address of the gateway's own");
            // Where it came from the gateway is to be reached, and it had answered once: not each of its cores.
            node.send_to(b"\x02\x16", from).await.expect("sent");
            assert_eq!(hear(&node).await.0, b"\x02\x18", "DISCONNECT, as there is no session");
        }
    }
}
