use std::time::Duration;

use super::{link::Timing, *};
use crate::cli::client::{
    conversation::Client as _,
    publish::publish,
    testing::{Peer, pub_arguments, sub_arguments},
    udp::Datagrams,
};

/// So long that nothing is sent again.
const PATIENT: Timing = Timing { retry: Duration::from_secs(60), retries: 3 };

/// So short that much is sent again.
const HASTY: Timing = Timing { retry: Duration::from_millis(100), retries: 30 };

const CONNECT: &[u8] = b"\x07\x04\x04\x01\0\x3cc";
const CONNACK: &[u8] = b"\x03\x05\0";
const DISCONNECT: &[u8] = b"\x02\x18";

async fn link(peer: &Peer, timing: Timing) -> Link {
    Link::new(Datagrams::open(&peer.host()).await.unwrap(), timing)
}

/// Publishes as the command does, while `script` plays the gateway.
async fn published(line: &str, timing: Timing, script: impl AsyncFnOnce(&mut Peer)) -> Result<(), ClientError> {
    let mut peer = Peer::new().await;
    let arguments = pub_arguments(&format!("--url mqtt-sn://h -i c {line}"));
    check_publish(&arguments)?;
    let link = link(&peer, timing).await;
    let work = async { publish(Client::over(link, &arguments.connect).await?, &arguments).await };
    let (result, ()) = tokio::join!(work, script(&mut peer));
    result
}

/// Subscribes, acknowledges `count` messages and ends, while `script` plays the gateway.
async fn subscribed(
    line: &str,
    count: usize,
    timing: Timing,
    script: impl AsyncFnOnce(&mut Peer),
) -> Result<Vec<Message>, ClientError> {
    let mut peer = Peer::new().await;
    let arguments = sub_arguments(&format!("--url mqtt-sn://h -i c {line}"));
    check_subscribe(&arguments)?;
    let link = link(&peer, timing).await;
    let work = async {
        let mut client = Client::over(link, &arguments.connect).await?;
        client.subscribe(&arguments).await?;
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(client.next().await?);
            client.acknowledge().await?;
        }
        client.settle().await?;
        client.close().await?;
        Ok(messages)
    };
    let (result, ()) = tokio::join!(work, script(&mut peer));
    result
}

/// Messages as topic, payload, quality of service and retain flag.
fn told(messages: &[Message]) -> Vec<(&str, &[u8], u8, bool)> {
    messages
        .iter()
        .map(|message| (&*message.topic, &*message.payload, message.qos.expect("told") as u8, message.retain))
        .collect()
}

#[tokio::test]
async fn a_topic_is_registered_and_published_to_with_qos_1() {
    let result = published("-t a/b -m x -q 1 -r --repeat 2", PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x09\x0a\0\0\0\x01a/b").await;
        peer.says(b"\x07\x0b\0\x05\0\x01\0").await;
        peer.hears(b"\x08\x0c\x30\0\x05\0\x02x").await;
        peer.says(b"\x07\x0d\0\x05\0\x02\0").await;
        peer.hears(b"\x08\x0c\x30\0\x05\0\x03x").await;
        peer.says(b"\x07\x0d\0\x05\0\x03\0").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn what_is_lost_is_sent_again() {
    let result = published("-t ab -m x -q 2", HASTY, async |peer| {
        peer.hears(CONNECT).await;
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x0c\x42ab\0\x01x").await;
        for _ in 0..3 {
            peer.hears(b"\x08\x0c\xc2ab\0\x01x").await;
        }
        peer.says(b"\x04\x0f\0\x01").await;
        peer.hears(b"\x04\x10\0\x01").await;
        peer.hears(b"\x04\x10\0\x01").await;
        // An answer that comes twice does no harm.
        peer.says(b"\x04\x0f\0\x01").await;
        peer.says(b"\x04\x0e\0\x01").await;
        peer.hears(DISCONNECT).await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_silent_gateway_is_given_up_after_n_retry() {
    let timing = Timing { retries: 2, ..HASTY };
    let result = published("-t ab -m x -q 1", timing, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x0c\x22ab\0\x01x").await;
        peer.hears(b"\x08\x0c\xa2ab\0\x01x").await;
        peer.hears(b"\x08\x0c\xa2ab\0\x01x").await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "the server does not answer PUBLISH");
}

#[tokio::test]
async fn a_forgotten_topic_id_is_registered_again() {
    let result = published("-t a/b -m x -q 1", PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x09\x0a\0\0\0\x01a/b").await;
        peer.says(b"\x07\x0b\0\x05\0\x01\0").await;
        peer.hears(b"\x08\x0c\x20\0\x05\0\x02x").await;
        peer.says(b"\x07\x0d\0\x05\0\x02\x02").await;
        peer.hears(b"\x09\x0a\0\0\0\x03a/b").await;
        peer.says(b"\x07\x0b\0\x06\0\x03\0").await;
        peer.hears(b"\x08\x0c\x20\0\x06\0\x04x").await;
        peer.says(b"\x07\x0d\0\x06\0\x04\0").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn return_codes_are_told() {
    for (connack, text) in [
        (b"\x03\x05\x01", "connection refused: rejected: congestion (1)"),
        (b"\x03\x05\x03", "connection refused: rejected: not supported (3)"),
        (b"\x03\x05\x80", "connection refused: rejected: reserved return code (0x80)"),
    ] {
        let result = published("-t ab -m x", PATIENT, async |peer| {
            peer.hears(CONNECT).await;
            peer.says(connack).await;
        });
        assert_eq!(result.await.unwrap_err().to_string(), text);
    }
    let refused = published("-t ab -m x -q 1", PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x0c\x22ab\0\x01x").await;
        peer.says(b"\x07\x0dab\0\x01\x03").await;
    });
    assert_eq!(refused.await.unwrap_err().to_string(), "publication refused: rejected: not supported (3)");
    let unregistered = published("-t abc -m x", PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x09\x0a\0\0\0\x01abc").await;
        peer.says(b"\x07\x0b\0\0\0\x01\x01").await;
    });
    assert_eq!(unregistered.await.unwrap_err().to_string(), "publication refused: rejected: congestion (1)");
}

#[tokio::test]
async fn a_refusal_at_qos_0_is_seen_at_the_end() {
    let result = published("-t ab -m x", PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x0c\x02ab\0\0x").await;
        peer.says(b"\x07\x0dab\0\0\x03").await;
        peer.hears(DISCONNECT).await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "publication refused: rejected: not supported (3)");
}

#[tokio::test]
async fn a_long_payload_has_the_long_form_of_the_length() {
    let payload = "x".repeat(300);
    let line = format!("--predefined-id 7 -q 1 -m {payload}");
    let result = published(&line, HASTY, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(format!("\x01\x01\x35\x0c\x21\0\x07\0\x01{payload}").as_bytes()).await;
        let again = [b"\x01\x01\x35\x0c\xa1\0\x07\0\x01", payload.as_bytes()].concat();
        peer.hears(&again).await;
        peer.says(b"\x07\x0d\0\x07\0\x01\0").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn will_and_credentials_go_before_connack() {
    let line = "-t ab -m x -u me -P word --will-topic w --will-payload gone --will-qos 1 --will-retain -k 30";
    let result = published(line, HASTY, async |peer| {
        peer.hears(b"\x07\x04\x0c\x01\0\x1ec").await;
        peer.hears(b"\x11\x03\0\x05PLAIN\0me\0word").await;
        peer.says(b"\x02\x06").await;
        peer.hears(b"\x04\x07\x30w").await;
        peer.hears(b"\x04\x07\x30w").await;
        peer.says(b"\x02\x08").await;
        peer.hears(b"\x06\x09gone").await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x0c\x02ab\0\0x").await;
        // A gateway that had no use for AUTH says so in its own time.
        peer.says(b"\x03\x05\x03").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    result.await.unwrap();
}

#[tokio::test]
async fn names_come_with_suback_and_register() {
    let result = subscribed("-t a/+ -t b/c -t xy --predefined-id 9=known -q 1", 5, PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x07\x12\x21\0\x01\0\x09").await;
        peer.says(b"\x08\x13\x20\0\x09\0\x01\0").await;
        peer.hears(b"\x08\x12\x20\0\x02a/+").await;
        // Messages may come before the answer.
        peer.says(b"\x08\x0c\x31\0\x09\0\x01p").await;
        peer.says(b"\x08\x13\x20\0\0\0\x02\0").await;
        peer.hears(b"\x08\x12\x20\0\x03b/c").await;
        peer.says(b"\x08\x13\x20\0\x05\0\x03\0").await;
        peer.hears(b"\x07\x12\x22\0\x04xy").await;
        peer.says(b"\x08\x13\x20\0\0\0\x04\0").await;
        peer.hears(b"\x07\x0d\0\x09\0\x01\0").await;
        peer.says(b"\x08\x0c\x20\0\x05\0\x02q").await;
        peer.hears(b"\x07\x0d\0\x05\0\x02\0").await;
        peer.says(b"\x08\x0c\x20\0\x06\0\x03r").await;
        peer.hears(b"\x07\x0d\0\x06\0\x03\x02").await;
        peer.says(b"\x09\x0a\0\x06\0\x04a/z").await;
        peer.hears(b"\x07\x0b\0\x06\0\x04\0").await;
        peer.says(b"\x08\x0c\x20\0\x06\0\x05r").await;
        peer.hears(b"\x07\x0d\0\x06\0\x05\0").await;
        peer.says(b"\x08\x0c\x02xy\0\0s").await;
        peer.says(b"\x08\x0c\x01\0\x0b\0\0t").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    assert_eq!(
        told(&result.await.unwrap()),
        [
            ("known", &b"p"[..], 1, true),
            ("b/c", &b"q"[..], 1, false),
            ("a/z", &b"r"[..], 1, false),
            ("xy", &b"s"[..], 0, false),
            ("predefined:11", &b"t"[..], 0, false),
        ]
    );
}

#[tokio::test]
async fn qos_2_is_taken_once_and_released_before_the_end() {
    let result = subscribed("-t xy -q 2", 1, PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x07\x12\x42\0\x01xy").await;
        peer.says(b"\x08\x13\x40\0\0\0\x01\0").await;
        peer.says(b"\x08\x0c\x42xy\0\x07p").await;
        peer.hears(b"\x04\x0f\0\x07").await;
        // PUBREC was lost.
        peer.says(b"\x08\x0c\xc2xy\0\x07p").await;
        peer.hears(b"\x04\x0f\0\x07").await;
        // More than was asked for stays with the gateway.
        peer.says(b"\x08\x0c\x42xy\0\x08q").await;
        peer.says(b"\x04\x10\0\x07").await;
        peer.hears(b"\x04\x0e\0\x07").await;
        peer.hears(DISCONNECT).await;
        peer.says(DISCONNECT).await;
    });
    assert_eq!(told(&result.await.unwrap()), [("xy", &b"p"[..], 2, false)]);
}

#[tokio::test]
async fn a_refused_subscription_is_told() {
    let result = subscribed("-t a/b", 1, PATIENT, async |peer| {
        peer.hears(CONNECT).await;
        peer.says(CONNACK).await;
        peer.hears(b"\x08\x12\0\0\x01a/b").await;
        peer.says(b"\x08\x13\0\0\0\0\x01\x03").await;
    });
    assert_eq!(result.await.unwrap_err().to_string(), "subscription to a/b refused: rejected: not supported (3)");
}

#[tokio::test]
async fn the_connection_is_kept_alive_and_a_dead_gateway_is_noticed() {
    let timing = Timing { retries: 1, ..HASTY };
    let result = subscribed("-t xy -k 1", 1, timing, async |peer| {
        peer.hears(b"\x07\x04\x04\x01\0\x01c").await;
        peer.says(CONNACK).await;
        peer.hears(b"\x07\x12\x02\0\x01xy").await;
        peer.says(b"\x08\x13\0\0\0\0\x01\0").await;
        peer.hears(b"\x02\x16").await;
        peer.says(b"\x02\x17").await;
        peer.says(b"\x02\x16").await;
        peer.hears(b"\x02\x17").await;
        peer.hears(b"\x02\x16").await;
        peer.hears(b"\x02\x16").await;
    });
    assert!(matches!(result.await, Err(ClientError::Silent)));
}

#[tokio::test]
async fn qos_minus_one_needs_no_connection() {
    let mut peer = Peer::new().await;
    let arguments = pub_arguments("--url mqtt-sn://h -t ab -m x -q -1 -r");
    check_publish_unconnected(&arguments).unwrap();
    let work = async { publish(Unconnected::open(&peer.host()).await?, &arguments).await };
    work.await.unwrap();
    peer.hears(b"\x08\x0c\x72ab\0\0x").await;
    let host = peer.host();
    let refused = async { publish(Unconnected::open(&host).await?, &arguments).await };
    let script = async {
        peer.hears(b"\x08\x0c\x72ab\0\0x").await;
        peer.says(b"\x07\x0dab\0\0\x03").await;
    };
    let (refused, ()) = tokio::join!(refused, script);
    assert_eq!(refused.unwrap_err().to_string(), "publication refused: rejected: not supported (3)");
}

#[test]
fn options_without_a_meaning_are_refused() {
    for (line, text) in [
        ("-t a -m x --content-type a/b", "--content-type means nothing to MQTT-SN"),
        ("-t a -m x --expiry 5", "--expiry means nothing to MQTT-SN"),
        ("-t a -m x --topic-alias 1", "--topic-alias means nothing to MQTT-SN"),
        ("-t a -m x -V 5", "--mqtt-version means nothing to MQTT-SN"),
        ("-t a -m x --insecure", "--insecure means nothing to MQTT-SN"),
        ("-t a -m x --will-topic w --will-delay 5", "--will-delay means nothing to MQTT-SN"),
    ] {
        let arguments = pub_arguments(&format!("--url mqtt-sn://h {line}"));
        assert_eq!(check_publish(&arguments).unwrap_err().to_string(), text);
    }
    for (line, text) in [
        ("-t a --no-local", "--no-local means nothing to MQTT-SN"),
        ("-t a --retain-handling 0", "--retain-handling means nothing to MQTT-SN"),
        ("-t a --subscription-id 5", "--subscription-id means nothing to MQTT-SN"),
    ] {
        let arguments = sub_arguments(&format!("--url mqtt-sn://h {line}"));
        assert_eq!(check_subscribe(&arguments).unwrap_err().to_string(), text);
    }
    for (line, text) in [
        ("-t ab -m x -q -1 -i c", "--id means nothing to QoS -1 of MQTT-SN"),
        ("-t ab -m x -q -1 --will-topic w", "--will-topic means nothing to QoS -1 of MQTT-SN"),
        ("-t abc -m x -q -1", "MQTT-SN publishes with QoS -1 to a topic of two characters or a --predefined-id"),
    ] {
        let arguments = pub_arguments(&format!("--url mqtt-sn://h {line}"));
        assert_eq!(check_publish_unconnected(&arguments).unwrap_err().to_string(), text);
    }
    for (line, text) in [
        ("-t ab -m x -q -1", "--qos -1 means nothing to MQTT"),
        ("--predefined-id 1 -m x", "--predefined-id means nothing to MQTT"),
    ] {
        assert_eq!(crate::cli::client::mqtt::check_publish(&pub_arguments(line)).unwrap_err().to_string(), text);
    }
}
