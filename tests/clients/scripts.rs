//! The two scripts of the README, as a user runs them.

use std::{
    process::{Command, Stdio},
    sync::mpsc,
};

use crate::{
    agent::PATIENCE,
    process::{Running, lines},
    server::Server,
    tools,
    wire::Transport,
};

const TOPIC: &str = "/server/task/roleId/1/update_task_data";

#[test]
fn consumer_prints_what_producer_publishes() {
    let Some(node) = tools::need(
        "consumer_prints_what_producer_publishes",
        "Node with `npm ci` in tests/clients/node",
        tools::node(),
    ) else {
        return;
    };
    let server = Server::start();
    let port = server.endpoint(Transport::Tcp).port.to_string();
    let script = |name: &str| {
        let mut program = Command::new(&node);
        program.arg(tools::node_directory().join(name)).env("MQTT_PORT", &port);
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        (Running(child), output)
    };
    let next = |output: &mpsc::Receiver<String>| output.recv_timeout(PATIENCE).expect("another line");

    let (_consumer, consumed) = script("consumer.js");
    assert_eq!(next(&consumed), "connect success");
    assert_eq!(next(&consumed), "subscribed");

    let (mut producer, produced) = script("producer.js");
    assert_eq!(next(&produced), "connect success");
    assert_eq!(next(&produced), "published");
    assert!(producer.wait(PATIENCE).is_some_and(|status| status.success()), "the producer ends");

    assert_eq!(next(&consumed), format!(r#"{TOPIC} {{"roleId":1,"task":"update"}}"#));
    server.stop();
}
