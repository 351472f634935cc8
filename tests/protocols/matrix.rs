//! The matrix: every protocol to every protocol, at every quality of service, live and retained.

use std::{collections::BTreeSet, fmt::Write};

use crate::{
    coap::Coap,
    common::TestGateway,
    endpoint::{Arrived, Endpoint, Publication},
    mqtt::{Mqtt5, Mqtt311, Quic, Ws},
    mqtt_sn::MqttSn,
};

/// Whether the message is published after the subscription or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Live,
    Retained,
}

/// A row of the table.
struct Cell {
    name: &'static str,
    publisher: &'static str,
    subscriber: &'static str,
    qos: u8,
    when: When,
}

/// All protocols, in the order in which they are printed.
const PROTOCOLS: [&str; 6] = [Mqtt311::NAME, Mqtt5::NAME, Ws::NAME, Quic::NAME, MqttSn::NAME, Coap::NAME];

/// Cells that make no sense or are tested elsewhere, and why.
const ABSENT: [(&str, &str); 4] = [
    (
        "mqttsn_to_*_qos-1_*",
        "from nobody in particular, and so not from a publisher like the others: anonymous::qos_minus_one_reaches_*",
    ),
    (
        "*_to_mqttsn_qos-1_*",
        "QoS -1 is a way to publish without a session, and nothing that a gateway sends (MQTT-SN 1.2, section 6.8)",
    ),
    (
        "*_to_coap_qos2_*, seen as 2",
        "CoAP has no third quality: what is subscribed with qos=2 is confirmable, as with qos=1, and copies are known by their message id",
    ),
    (
        "*_to_coap_*_retained, seen as retained",
        "CoAP has no such flag: the retained message is the representation, so it answers the GET and is no notification",
    ),
];

/// One message from one protocol to another: it arrives once, whole, with the quality of service that was agreed and the right retain flag.
async fn cell<P: Endpoint, S: Endpoint>(qos: u8, when: When) {
    let gateway = TestGateway::with(|config| {
        P::listen(config);
        S::listen(config);
    })
    .await;
    let mut publisher = P::connect(&gateway, "publisher").await;
    let mut subscriber = S::connect(&gateway, "subscriber").await;
    let topic = "matrix/cell";
    let retained = when == When::Retained;
    let first = Publication { topic, payload: b"first", qos, retain: retained };
    if retained {
        publisher.publish(first).await;
        subscriber.subscribe(topic, qos).await;
    } else {
        subscriber.subscribe(topic, qos).await;
        publisher.publish(first).await;
    }
    let arrived =
        |payload: &[u8], retain| Arrived { topic: topic.into(), payload: payload.into(), seen: S::seen(qos, retain) };
    assert_eq!(subscriber.expect().await, arrived(b"first", retained));
    // The next message that comes is the next one that is published, so that the first came once; and it is live, retained or not.
    publisher.publish(Publication { payload: b"second", ..first }).await;
    assert_eq!(subscriber.expect().await, arrived(b"second", false));
}

macro_rules! cells {
    ($($name:ident: $publisher:ty => $subscriber:ty, $qos:literal, $when:ident;)*) => {
        const CELLS: &[Cell] = &[$(Cell {
            name: stringify!($name),
            publisher: <$publisher>::NAME,
            subscriber: <$subscriber>::NAME,
            qos: $qos,
            when: When::$when,
        }),*];

        $(
            #[tokio::test]
            async fn $name() {
                cell::<$publisher, $subscriber>($qos, When::$when).await;
            }
        )*
    };
}

#[rustfmt::skip]
cells! {
    mqtt311_to_mqtt311_qos0_live: Mqtt311 => Mqtt311, 0, Live;
    mqtt311_to_mqtt311_qos0_retained: Mqtt311 => Mqtt311, 0, Retained;
    mqtt311_to_mqtt311_qos1_live: Mqtt311 => Mqtt311, 1, Live;
    mqtt311_to_mqtt311_qos1_retained: Mqtt311 => Mqtt311, 1, Retained;
    mqtt311_to_mqtt311_qos2_live: Mqtt311 => Mqtt311, 2, Live;
    mqtt311_to_mqtt311_qos2_retained: Mqtt311 => Mqtt311, 2, Retained;
    mqtt311_to_mqtt5_qos0_live: Mqtt311 => Mqtt5, 0, Live;
    mqtt311_to_mqtt5_qos0_retained: Mqtt311 => Mqtt5, 0, Retained;
    mqtt311_to_mqtt5_qos1_live: Mqtt311 => Mqtt5, 1, Live;
    mqtt311_to_mqtt5_qos1_retained: Mqtt311 => Mqtt5, 1, Retained;
    mqtt311_to_mqtt5_qos2_live: Mqtt311 => Mqtt5, 2, Live;
    mqtt311_to_mqtt5_qos2_retained: Mqtt311 => Mqtt5, 2, Retained;
    mqtt311_to_ws_qos0_live: Mqtt311 => Ws, 0, Live;
    mqtt311_to_ws_qos0_retained: Mqtt311 => Ws, 0, Retained;
    mqtt311_to_ws_qos1_live: Mqtt311 => Ws, 1, Live;
    mqtt311_to_ws_qos1_retained: Mqtt311 => Ws, 1, Retained;
    mqtt311_to_ws_qos2_live: Mqtt311 => Ws, 2, Live;
    mqtt311_to_ws_qos2_retained: Mqtt311 => Ws, 2, Retained;
    mqtt311_to_quic_qos0_live: Mqtt311 => Quic, 0, Live;
    mqtt311_to_quic_qos0_retained: Mqtt311 => Quic, 0, Retained;
    mqtt311_to_quic_qos1_live: Mqtt311 => Quic, 1, Live;
    mqtt311_to_quic_qos1_retained: Mqtt311 => Quic, 1, Retained;
    mqtt311_to_quic_qos2_live: Mqtt311 => Quic, 2, Live;
    mqtt311_to_quic_qos2_retained: Mqtt311 => Quic, 2, Retained;
    mqtt311_to_mqttsn_qos0_live: Mqtt311 => MqttSn, 0, Live;
    mqtt311_to_mqttsn_qos0_retained: Mqtt311 => MqttSn, 0, Retained;
    mqtt311_to_mqttsn_qos1_live: Mqtt311 => MqttSn, 1, Live;
    mqtt311_to_mqttsn_qos1_retained: Mqtt311 => MqttSn, 1, Retained;
    mqtt311_to_mqttsn_qos2_live: Mqtt311 => MqttSn, 2, Live;
    mqtt311_to_mqttsn_qos2_retained: Mqtt311 => MqttSn, 2, Retained;
    mqtt311_to_coap_qos0_live: Mqtt311 => Coap, 0, Live;
    mqtt311_to_coap_qos0_retained: Mqtt311 => Coap, 0, Retained;
    mqtt311_to_coap_qos1_live: Mqtt311 => Coap, 1, Live;
    mqtt311_to_coap_qos1_retained: Mqtt311 => Coap, 1, Retained;
    mqtt311_to_coap_qos2_live: Mqtt311 => Coap, 2, Live;
    mqtt311_to_coap_qos2_retained: Mqtt311 => Coap, 2, Retained;
    mqtt5_to_mqtt311_qos0_live: Mqtt5 => Mqtt311, 0, Live;
    mqtt5_to_mqtt311_qos0_retained: Mqtt5 => Mqtt311, 0, Retained;
    mqtt5_to_mqtt311_qos1_live: Mqtt5 => Mqtt311, 1, Live;
    mqtt5_to_mqtt311_qos1_retained: Mqtt5 => Mqtt311, 1, Retained;
    mqtt5_to_mqtt311_qos2_live: Mqtt5 => Mqtt311, 2, Live;
    mqtt5_to_mqtt311_qos2_retained: Mqtt5 => Mqtt311, 2, Retained;
    mqtt5_to_mqtt5_qos0_live: Mqtt5 => Mqtt5, 0, Live;
    mqtt5_to_mqtt5_qos0_retained: Mqtt5 => Mqtt5, 0, Retained;
    mqtt5_to_mqtt5_qos1_live: Mqtt5 => Mqtt5, 1, Live;
    mqtt5_to_mqtt5_qos1_retained: Mqtt5 => Mqtt5, 1, Retained;
    mqtt5_to_mqtt5_qos2_live: Mqtt5 => Mqtt5, 2, Live;
    mqtt5_to_mqtt5_qos2_retained: Mqtt5 => Mqtt5, 2, Retained;
    mqtt5_to_ws_qos0_live: Mqtt5 => Ws, 0, Live;
    mqtt5_to_ws_qos0_retained: Mqtt5 => Ws, 0, Retained;
    mqtt5_to_ws_qos1_live: Mqtt5 => Ws, 1, Live;
    mqtt5_to_ws_qos1_retained: Mqtt5 => Ws, 1, Retained;
    mqtt5_to_ws_qos2_live: Mqtt5 => Ws, 2, Live;
    mqtt5_to_ws_qos2_retained: Mqtt5 => Ws, 2, Retained;
    mqtt5_to_quic_qos0_live: Mqtt5 => Quic, 0, Live;
    mqtt5_to_quic_qos0_retained: Mqtt5 => Quic, 0, Retained;
    mqtt5_to_quic_qos1_live: Mqtt5 => Quic, 1, Live;
    mqtt5_to_quic_qos1_retained: Mqtt5 => Quic, 1, Retained;
    mqtt5_to_quic_qos2_live: Mqtt5 => Quic, 2, Live;
    mqtt5_to_quic_qos2_retained: Mqtt5 => Quic, 2, Retained;
    mqtt5_to_mqttsn_qos0_live: Mqtt5 => MqttSn, 0, Live;
    mqtt5_to_mqttsn_qos0_retained: Mqtt5 => MqttSn, 0, Retained;
    mqtt5_to_mqttsn_qos1_live: Mqtt5 => MqttSn, 1, Live;
    mqtt5_to_mqttsn_qos1_retained: Mqtt5 => MqttSn, 1, Retained;
    mqtt5_to_mqttsn_qos2_live: Mqtt5 => MqttSn, 2, Live;
    mqtt5_to_mqttsn_qos2_retained: Mqtt5 => MqttSn, 2, Retained;
    mqtt5_to_coap_qos0_live: Mqtt5 => Coap, 0, Live;
    mqtt5_to_coap_qos0_retained: Mqtt5 => Coap, 0, Retained;
    mqtt5_to_coap_qos1_live: Mqtt5 => Coap, 1, Live;
    mqtt5_to_coap_qos1_retained: Mqtt5 => Coap, 1, Retained;
    mqtt5_to_coap_qos2_live: Mqtt5 => Coap, 2, Live;
    mqtt5_to_coap_qos2_retained: Mqtt5 => Coap, 2, Retained;
    ws_to_mqtt311_qos0_live: Ws => Mqtt311, 0, Live;
    ws_to_mqtt311_qos0_retained: Ws => Mqtt311, 0, Retained;
    ws_to_mqtt311_qos1_live: Ws => Mqtt311, 1, Live;
    ws_to_mqtt311_qos1_retained: Ws => Mqtt311, 1, Retained;
    ws_to_mqtt311_qos2_live: Ws => Mqtt311, 2, Live;
    ws_to_mqtt311_qos2_retained: Ws => Mqtt311, 2, Retained;
    ws_to_mqtt5_qos0_live: Ws => Mqtt5, 0, Live;
    ws_to_mqtt5_qos0_retained: Ws => Mqtt5, 0, Retained;
    ws_to_mqtt5_qos1_live: Ws => Mqtt5, 1, Live;
    ws_to_mqtt5_qos1_retained: Ws => Mqtt5, 1, Retained;
    ws_to_mqtt5_qos2_live: Ws => Mqtt5, 2, Live;
    ws_to_mqtt5_qos2_retained: Ws => Mqtt5, 2, Retained;
    ws_to_ws_qos0_live: Ws => Ws, 0, Live;
    ws_to_ws_qos0_retained: Ws => Ws, 0, Retained;
    ws_to_ws_qos1_live: Ws => Ws, 1, Live;
    ws_to_ws_qos1_retained: Ws => Ws, 1, Retained;
    ws_to_ws_qos2_live: Ws => Ws, 2, Live;
    ws_to_ws_qos2_retained: Ws => Ws, 2, Retained;
    ws_to_quic_qos0_live: Ws => Quic, 0, Live;
    ws_to_quic_qos0_retained: Ws => Quic, 0, Retained;
    ws_to_quic_qos1_live: Ws => Quic, 1, Live;
    ws_to_quic_qos1_retained: Ws => Quic, 1, Retained;
    ws_to_quic_qos2_live: Ws => Quic, 2, Live;
    ws_to_quic_qos2_retained: Ws => Quic, 2, Retained;
    ws_to_mqttsn_qos0_live: Ws => MqttSn, 0, Live;
    ws_to_mqttsn_qos0_retained: Ws => MqttSn, 0, Retained;
    ws_to_mqttsn_qos1_live: Ws => MqttSn, 1, Live;
    ws_to_mqttsn_qos1_retained: Ws => MqttSn, 1, Retained;
    ws_to_mqttsn_qos2_live: Ws => MqttSn, 2, Live;
    ws_to_mqttsn_qos2_retained: Ws => MqttSn, 2, Retained;
    ws_to_coap_qos0_live: Ws => Coap, 0, Live;
    ws_to_coap_qos0_retained: Ws => Coap, 0, Retained;
    ws_to_coap_qos1_live: Ws => Coap, 1, Live;
    ws_to_coap_qos1_retained: Ws => Coap, 1, Retained;
    ws_to_coap_qos2_live: Ws => Coap, 2, Live;
    ws_to_coap_qos2_retained: Ws => Coap, 2, Retained;
    quic_to_mqtt311_qos0_live: Quic => Mqtt311, 0, Live;
    quic_to_mqtt311_qos0_retained: Quic => Mqtt311, 0, Retained;
    quic_to_mqtt311_qos1_live: Quic => Mqtt311, 1, Live;
    quic_to_mqtt311_qos1_retained: Quic => Mqtt311, 1, Retained;
    quic_to_mqtt311_qos2_live: Quic => Mqtt311, 2, Live;
    quic_to_mqtt311_qos2_retained: Quic => Mqtt311, 2, Retained;
    quic_to_mqtt5_qos0_live: Quic => Mqtt5, 0, Live;
    quic_to_mqtt5_qos0_retained: Quic => Mqtt5, 0, Retained;
    quic_to_mqtt5_qos1_live: Quic => Mqtt5, 1, Live;
    quic_to_mqtt5_qos1_retained: Quic => Mqtt5, 1, Retained;
    quic_to_mqtt5_qos2_live: Quic => Mqtt5, 2, Live;
    quic_to_mqtt5_qos2_retained: Quic => Mqtt5, 2, Retained;
    quic_to_ws_qos0_live: Quic => Ws, 0, Live;
    quic_to_ws_qos0_retained: Quic => Ws, 0, Retained;
    quic_to_ws_qos1_live: Quic => Ws, 1, Live;
    quic_to_ws_qos1_retained: Quic => Ws, 1, Retained;
    quic_to_ws_qos2_live: Quic => Ws, 2, Live;
    quic_to_ws_qos2_retained: Quic => Ws, 2, Retained;
    quic_to_quic_qos0_live: Quic => Quic, 0, Live;
    quic_to_quic_qos0_retained: Quic => Quic, 0, Retained;
    quic_to_quic_qos1_live: Quic => Quic, 1, Live;
    quic_to_quic_qos1_retained: Quic => Quic, 1, Retained;
    quic_to_quic_qos2_live: Quic => Quic, 2, Live;
    quic_to_quic_qos2_retained: Quic => Quic, 2, Retained;
    quic_to_mqttsn_qos0_live: Quic => MqttSn, 0, Live;
    quic_to_mqttsn_qos0_retained: Quic => MqttSn, 0, Retained;
    quic_to_mqttsn_qos1_live: Quic => MqttSn, 1, Live;
    quic_to_mqttsn_qos1_retained: Quic => MqttSn, 1, Retained;
    quic_to_mqttsn_qos2_live: Quic => MqttSn, 2, Live;
    quic_to_mqttsn_qos2_retained: Quic => MqttSn, 2, Retained;
    quic_to_coap_qos0_live: Quic => Coap, 0, Live;
    quic_to_coap_qos0_retained: Quic => Coap, 0, Retained;
    quic_to_coap_qos1_live: Quic => Coap, 1, Live;
    quic_to_coap_qos1_retained: Quic => Coap, 1, Retained;
    quic_to_coap_qos2_live: Quic => Coap, 2, Live;
    quic_to_coap_qos2_retained: Quic => Coap, 2, Retained;
    mqttsn_to_mqtt311_qos0_live: MqttSn => Mqtt311, 0, Live;
    mqttsn_to_mqtt311_qos0_retained: MqttSn => Mqtt311, 0, Retained;
    mqttsn_to_mqtt311_qos1_live: MqttSn => Mqtt311, 1, Live;
    mqttsn_to_mqtt311_qos1_retained: MqttSn => Mqtt311, 1, Retained;
    mqttsn_to_mqtt311_qos2_live: MqttSn => Mqtt311, 2, Live;
    mqttsn_to_mqtt311_qos2_retained: MqttSn => Mqtt311, 2, Retained;
    mqttsn_to_mqtt5_qos0_live: MqttSn => Mqtt5, 0, Live;
    mqttsn_to_mqtt5_qos0_retained: MqttSn => Mqtt5, 0, Retained;
    mqttsn_to_mqtt5_qos1_live: MqttSn => Mqtt5, 1, Live;
    mqttsn_to_mqtt5_qos1_retained: MqttSn => Mqtt5, 1, Retained;
    mqttsn_to_mqtt5_qos2_live: MqttSn => Mqtt5, 2, Live;
    mqttsn_to_mqtt5_qos2_retained: MqttSn => Mqtt5, 2, Retained;
    mqttsn_to_ws_qos0_live: MqttSn => Ws, 0, Live;
    mqttsn_to_ws_qos0_retained: MqttSn => Ws, 0, Retained;
    mqttsn_to_ws_qos1_live: MqttSn => Ws, 1, Live;
    mqttsn_to_ws_qos1_retained: MqttSn => Ws, 1, Retained;
    mqttsn_to_ws_qos2_live: MqttSn => Ws, 2, Live;
    mqttsn_to_ws_qos2_retained: MqttSn => Ws, 2, Retained;
    mqttsn_to_quic_qos0_live: MqttSn => Quic, 0, Live;
    mqttsn_to_quic_qos0_retained: MqttSn => Quic, 0, Retained;
    mqttsn_to_quic_qos1_live: MqttSn => Quic, 1, Live;
    mqttsn_to_quic_qos1_retained: MqttSn => Quic, 1, Retained;
    mqttsn_to_quic_qos2_live: MqttSn => Quic, 2, Live;
    mqttsn_to_quic_qos2_retained: MqttSn => Quic, 2, Retained;
    mqttsn_to_mqttsn_qos0_live: MqttSn => MqttSn, 0, Live;
    mqttsn_to_mqttsn_qos0_retained: MqttSn => MqttSn, 0, Retained;
    mqttsn_to_mqttsn_qos1_live: MqttSn => MqttSn, 1, Live;
    mqttsn_to_mqttsn_qos1_retained: MqttSn => MqttSn, 1, Retained;
    mqttsn_to_mqttsn_qos2_live: MqttSn => MqttSn, 2, Live;
    mqttsn_to_mqttsn_qos2_retained: MqttSn => MqttSn, 2, Retained;
    mqttsn_to_coap_qos0_live: MqttSn => Coap, 0, Live;
    mqttsn_to_coap_qos0_retained: MqttSn => Coap, 0, Retained;
    mqttsn_to_coap_qos1_live: MqttSn => Coap, 1, Live;
    mqttsn_to_coap_qos1_retained: MqttSn => Coap, 1, Retained;
    mqttsn_to_coap_qos2_live: MqttSn => Coap, 2, Live;
    mqttsn_to_coap_qos2_retained: MqttSn => Coap, 2, Retained;
    coap_to_mqtt311_qos0_live: Coap => Mqtt311, 0, Live;
    coap_to_mqtt311_qos0_retained: Coap => Mqtt311, 0, Retained;
    coap_to_mqtt311_qos1_live: Coap => Mqtt311, 1, Live;
    coap_to_mqtt311_qos1_retained: Coap => Mqtt311, 1, Retained;
    coap_to_mqtt311_qos2_live: Coap => Mqtt311, 2, Live;
    coap_to_mqtt311_qos2_retained: Coap => Mqtt311, 2, Retained;
    coap_to_mqtt5_qos0_live: Coap => Mqtt5, 0, Live;
    coap_to_mqtt5_qos0_retained: Coap => Mqtt5, 0, Retained;
    coap_to_mqtt5_qos1_live: Coap => Mqtt5, 1, Live;
    coap_to_mqtt5_qos1_retained: Coap => Mqtt5, 1, Retained;
    coap_to_mqtt5_qos2_live: Coap => Mqtt5, 2, Live;
    coap_to_mqtt5_qos2_retained: Coap => Mqtt5, 2, Retained;
    coap_to_ws_qos0_live: Coap => Ws, 0, Live;
    coap_to_ws_qos0_retained: Coap => Ws, 0, Retained;
    coap_to_ws_qos1_live: Coap => Ws, 1, Live;
    coap_to_ws_qos1_retained: Coap => Ws, 1, Retained;
    coap_to_ws_qos2_live: Coap => Ws, 2, Live;
    coap_to_ws_qos2_retained: Coap => Ws, 2, Retained;
    coap_to_quic_qos0_live: Coap => Quic, 0, Live;
    coap_to_quic_qos0_retained: Coap => Quic, 0, Retained;
    coap_to_quic_qos1_live: Coap => Quic, 1, Live;
    coap_to_quic_qos1_retained: Coap => Quic, 1, Retained;
    coap_to_quic_qos2_live: Coap => Quic, 2, Live;
    coap_to_quic_qos2_retained: Coap => Quic, 2, Retained;
    coap_to_mqttsn_qos0_live: Coap => MqttSn, 0, Live;
    coap_to_mqttsn_qos0_retained: Coap => MqttSn, 0, Retained;
    coap_to_mqttsn_qos1_live: Coap => MqttSn, 1, Live;
    coap_to_mqttsn_qos1_retained: Coap => MqttSn, 1, Retained;
    coap_to_mqttsn_qos2_live: Coap => MqttSn, 2, Live;
    coap_to_mqttsn_qos2_retained: Coap => MqttSn, 2, Retained;
    coap_to_coap_qos0_live: Coap => Coap, 0, Live;
    coap_to_coap_qos0_retained: Coap => Coap, 0, Retained;
    coap_to_coap_qos1_live: Coap => Coap, 1, Live;
    coap_to_coap_qos1_retained: Coap => Coap, 1, Retained;
    coap_to_coap_qos2_live: Coap => Coap, 2, Live;
    coap_to_coap_qos2_retained: Coap => Coap, 2, Retained;
}

/// Every combination is in the table, once, under its name; and with `--nocapture` it is printed.
#[test]
fn protocol_matrix() {
    let mut named = BTreeSet::new();
    for cell in CELLS {
        let when = if cell.when == When::Live { "live" } else { "retained" };
        assert_eq!(cell.name, format!("{}_to_{}_qos{}_{when}", cell.publisher, cell.subscriber, cell.qos));
        assert!(named.insert(cell.name), "{} is there twice", cell.name);
    }
    assert_eq!(named.len(), PROTOCOLS.len() * PROTOCOLS.len() * 3 * 2);
    print!("{}", drawn());
}

fn drawn() -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("memory");
    for publisher in PROTOCOLS {
        for subscriber in PROTOCOLS {
            line(format!("{publisher} to {subscriber}"));
            for qos in 0..3 {
                let cells = CELLS
                    .iter()
                    .filter(|cell| cell.publisher == publisher && cell.subscriber == subscriber && cell.qos == qos);
                line(format!("    {}", cells.map(|cell| cell.name).collect::<Vec<_>>().join("    ")));
            }
        }
    }
    line(format!("{} cells. What is not among them:", CELLS.len()));
    for (name, reason) in ABSENT {
        line(format!("    {name}: {reason}"));
    }
    text
}
