//! MQTT over WebSocket, chapter 6.

use crate::common::{
    BOTH, Connect, Packet, TestGateway, Version, publish, subscribe,
    websocket::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, WebSocket},
    wire::PINGREQ,
};

#[tokio::test]
async fn the_subprotocol_mqtt_is_selected() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    for (offered, selected) in [
        ("mqtt", "mqtt"),
        ("chat, mqtt", "mqtt"),
        ("mqtt, mqttv3.1", "mqtt"),
        ("mqttv3.1, mqtt", "mqtt"),
        ("mqttv3.1.1", "mqttv3.1.1"),
        ("mqttv3.1", "mqttv3.1"),
    ] {
        let headers = [("Sec-WebSocket-Protocol", offered)];
        let (_, upgraded) = WebSocket::upgrade(gateway.websocket(), "/mqtt", &headers).await;
        assert_eq!(upgraded.status, 101, "{offered}: {upgraded:?}");
        let answer = upgraded.header("sec-websocket-protocol").expect("a sub-protocol is selected");
        let also_mqtt = offered.split(", ").any(|name| name == answer) && answer == "mqtt";
        assert!(also_mqtt || answer == selected, "{offered}: {answer}");
    }
}

#[tokio::test]
async fn without_the_subprotocol_there_is_no_upgrade() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    for headers in [&[][..], &[("Sec-WebSocket-Protocol", "chat")]] {
        let (_, upgraded) = WebSocket::upgrade(gateway.websocket(), "/mqtt", headers).await;
        assert!((400..500).contains(&upgraded.status), "{upgraded:?}");
    }
}

#[tokio::test]
async fn a_data_frame_that_is_not_binary_closes_the_connection() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    for version in BOTH {
        // As the first frame, and once connected.
        let mut socket = WebSocket::connect(gateway.websocket()).await;
        socket.send_frame(FIN | TEXT, &Connect::new(version, "text-first").bytes()).await;
        socket.expect_closed().await;

        let mut socket = connected(&gateway, version, "text-later").await;
        socket.send_frame(FIN | TEXT, &PINGREQ).await;
        while let Some((first, payload)) = socket.frame().await {
            assert!(first & 0x0f == CLOSE || payload.first() == Some(&0xe0), "{first:#04x} {payload:02x?}");
        }
    }
}

#[tokio::test]
async fn packets_need_not_align_with_frames() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    for version in BOTH {
        let connect = Connect::new(version, "unaligned").bytes();
        let mut rest = subscribe(version, 1, &[("unaligned", 0)], &[]);
        rest.extend_from_slice(&publish(version, "unaligned", b"hello", 0, 0, &[]));
        rest.extend_from_slice(&PINGREQ);
        let all = [connect.as_slice(), &rest].concat();
        for size in [1, 2, 3, 5, 7, 11, connect.len(), connect.len() + 1, all.len() - 1, all.len()] {
            let mut socket = WebSocket::connect(gateway.websocket()).await;
            for piece in all.chunks(size) {
                socket.send(piece).await;
            }
            expect_all(&mut socket, version).await;
        }
        // One message in many frames, with an empty one and a control frame between them.
        let mut socket = WebSocket::connect(gateway.websocket()).await;
        let pieces: Vec<_> = all.chunks(4).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let opcode = if number == 0 { BINARY } else { CONTINUATION };
            let fin = if number + 1 == pieces.len() { FIN } else { 0 };
            socket.send_frame(fin | opcode, piece).await;
            if number == 2 {
                socket.send_frame(FIN | PING, b"between").await;
                socket.send_frame(CONTINUATION, b"").await;
            }
        }
        expect_all(&mut socket, version).await;
    }
}

#[tokio::test]
async fn packets_are_sent_in_binary_frames() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    let mut socket = WebSocket::connect(gateway.websocket()).await;
    socket.send(&Connect::new(Version::V311, "binary").bytes()).await;
    let (first, payload) = socket.frame().await.expect("CONNACK");
    assert_eq!((first, payload.as_slice()), (FIN | BINARY, &[0x20, 2, 0, 0][..]));
}

#[tokio::test]
async fn control_frames_are_answered() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    let mut socket = connected(&gateway, Version::V5, "control").await;
    socket.send_frame(FIN | PING, b"are you there").await;
    assert_eq!(socket.frame().await, Some((FIN | PONG, b"are you there".to_vec())));
    socket.send_frame(FIN | CLOSE, &1000u16.to_be_bytes()).await;
    socket.expect_closed().await;
}

#[tokio::test]
async fn clients_on_websocket_and_tcp_talk_to_each_other() {
    let gateway = TestGateway::with_websocket(|_| {}).await;
    for version in BOTH {
        let mut plain = gateway.client(version, "plain").await;
        plain.subscribe("to/plain", 1).await;
        let mut socket = connected(&gateway, version, "framed").await;
        socket.send(&subscribe(version, 1, &[("to/framed", 0)], &[])).await;
        assert!(matches!(socket.packet(version).await, Some(Packet::Suback(_))));
        plain.publish("to/framed", "from plain", 1).await;
        let Some(Packet::Publish(message)) = socket.packet(version).await else { panic!("PUBLISH wanted") };
        assert_eq!(message.text(), "from plain");
        socket.send(&publish(version, "to/plain", b"from framed", 1, 2, &[])).await;
        assert!(matches!(socket.packet(version).await, Some(Packet::Puback(_))));
        assert_eq!(plain.expect_message().await.text(), "from framed");
    }
}

async fn connected(gateway: &TestGateway, version: Version, client_id: &str) -> WebSocket {
    let mut socket = WebSocket::connect(gateway.websocket()).await;
    socket.send(&Connect::new(version, client_id).bytes()).await;
    // CONNACK of 5.0 may be longer than the small packets that are parsed here.
    let (_, payload) = socket.frame().await.expect("CONNACK");
    assert_eq!((payload[0], payload[3]), (0x20, 0));
    socket
}

async fn expect_all(socket: &mut WebSocket, version: Version) {
    let mut kinds = Vec::new();
    while kinds.len() < 4 {
        kinds.push(match socket.packet(version).await.expect("all answers") {
            Packet::Connack(_) => "connack",
            Packet::Suback(_) => "suback",
            Packet::Publish(publish) => {
                assert_eq!(publish.text(), "hello");
                "publish"
            }
            Packet::Pingresp => "pingresp",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds[0], "connack");
    kinds.sort_unstable();
    assert_eq!(kinds, ["connack", "pingresp", "publish", "suback"]);
}
