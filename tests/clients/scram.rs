//! SCRAM by MQTT.js: a client that was not made for this gateway, with an exchange that is Node's own cryptography.

use std::{
    fs,
    process::{Command, Stdio},
};

use thingway::access::scram::{ScramHash, ScramKeys};

use crate::{
    agent::PATIENCE,
    process::{Running, lines},
    server::Server,
    tools,
    wire::Transport,
};

#[test]
fn mqtt_js_proves_a_password_by_scram() {
    let Some(node) =
        tools::need("mqtt_js_proves_a_password_by_scram", "Node with `npm ci` in tests/clients/node", tools::node())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    let keys = ScramKeys::new(ScramHash::Sha256, b"pencil", 10_000).unwrap();
    fs::write(&file, format!("user_id,password,scram\nbob,pencil,{keys}\n")).unwrap();
    let settings = format!("[access]\nauthenticators = [\"scram\"]\nusers.file = {file:?}\n");
    let server = Server::with(&settings);
    let port = server.endpoint(Transport::Tcp).port.to_string();
    let said = |password: &str| {
        let mut program = Command::new(&node);
        program.arg(tools::node_directory().join("scram.js"));
        program.env("MQTT_PORT", &port).env("MQTT_USER", "bob").env("MQTT_PASSWORD", password);
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        let mut child = Running(child);
        assert!(child.wait(PATIENCE).is_some_and(|status| status.success()), "the client ends");
        output.iter().collect::<Vec<_>>()
    };
    assert_eq!(said("pencil"), ["proven", "heard", "proven again"]);
    assert_eq!(said("pencils"), ["refused: 134"]);
    server.stop();
}
