//! coap-client of libcoap, a process a request.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    agent::{Options, PATIENCE, publication},
    aiocoap::text,
    process::{Running, browser, lines},
    rumqtt::rumqttc,
    server::Server,
    tools,
    wire::{Publish, Transport},
};

struct Libcoap {
    program: PathBuf,
    base: String,
}

/// What a process said: a body on standard output, or code and diagnostic payload on standard error.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    body: String,
    fault: String,
}

impl Libcoap {
    fn find(test: &str, server: &Server) -> Option<Self> {
        let program = tools::need(test, "coap-client of Debian's libcoap3-bin", tools::coap_client())?;
        Some(Self { program, base: format!("coap://{}", server.coap()) })
    }

    fn command(&self, options: &[&str], path: &str) -> Command {
        let mut command = Command::new(&self.program);
        // 30 seconds at most, and nothing else on standard error than what the server says.
        command.args(["-B", "30", "-v", "3"]).args(options).arg(format!("{}/{path}", self.base)).stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str], path: &str) -> Answer {
        let output = self.command(options, path).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        Answer { body: text(output.stdout), fault: text(output.stderr) }
    }

    /// Insists on success and returns the body.
    fn body(&self, options: &[&str], path: &str) -> String {
        let answer = self.run(options, path);
        assert_eq!(answer.fault, "", "{options:?} {path}");
        answer.body
    }

    /// Insists on this refusal.
    fn refused(&self, options: &[&str], path: &str, fault: &str) {
        let answer = self.run(options, path);
        assert!(answer.fault.starts_with(fault), "{options:?} {path}: {answer:?} instead of {fault}");
    }
}

#[test]
fn libcoap_publishes_reads_and_observes() {
    let server = Server::with("");
    let Some(client) = Libcoap::find("libcoap_publishes_reads_and_observes", &server) else { return };
    let mqtt = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "mqtt"));
    assert_eq!(mqtt.subscribe("coap/#", 2), 2);

    client.body(&["-m", "put", "-t", "50", "-e", "{}"], "ps/coap/a?retain=true");
    let message = mqtt.next();
    assert_eq!((message.topic.as_str(), message.payload.as_slice(), message.qos), ("coap/a", &b"{}"[..], 1));
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    client.body(&["-m", "post", "-N", "-e", "x"], "ps/coap/b");
    assert_eq!(mqtt.next().qos, 0);
    client.body(&["-m", "put", "-e", "x"], "ps/coap/b?qos=2");
    assert_eq!(mqtt.next().qos, 2);

    assert_eq!(client.body(&[], "ps/coap/a"), "{}");
    assert_eq!(client.body(&["-N"], "ps/coap/a"), "{}");
    assert_eq!(client.body(&["-A", "50"], "ps/coap/a"), "{}");
    client.refused(&["-A", "60"], "ps/coap/a", "4.06");
    client.refused(&[], "ps/coap/none", "4.04");
    assert!(client.body(&[], ".well-known/core").contains("core.ps"));

    // A line for each notification, of which the retained message is the first; with a percent sign, as `#` would begin a fragment.
    mqtt.publish(Publish { retain: true, ..publication("seen/kept", "zero", 1) });
    let mut child =
        client.command(&["-s", "60", "-w", "-o", "-"], "ps/seen/%23?qos=1").stdout(Stdio::piped()).spawn().unwrap();
    let output = lines(child.stdout.take().unwrap());
    let _observer = Running(child);
    let next = || output.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), "zero");
    for (topic, payload, qos) in [("seen/a", "one", 0), ("seen/b", "two", 1), ("seen/a/b", "three", 2)] {
        mqtt.publish(publication(topic, payload, qos));
        assert_eq!(next(), payload);
    }
    server.stop();
}

#[test]
fn libcoap_transfers_blocks_both_ways() {
    let server = Server::with("");
    let Some(client) = Libcoap::find("libcoap_transfers_blocks_both_ways", &server) else { return };
    let mqtt = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "mqtt"));
    assert_eq!(mqtt.subscribe("coap/up", 2), 2);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (up, down) = (path("up"), path("down"));
    let large = text(9000);
    fs::write(&up, &large).unwrap();
    for size in ["16", "256", "1024"] {
        client.body(&["-m", "put", "-b", size, "-f", &up], "ps/coap/up?retain=true");
        assert!(mqtt.next().payload == large, "up in blocks of {size}");
        client.body(&["-b", size, "-o", &down], "ps/coap/up");
        assert!(fs::read(Path::new(&down)).unwrap() == large, "down in blocks of {size}");
    }
    client.body(&["-o", &down], "ps/coap/up");
    assert!(fs::read(Path::new(&down)).unwrap() == large, "down in blocks of the gateway's choice");
    server.stop();
}

/// A sensor's PUT reaches a browser.
#[test]
fn libcoap_reaches_a_browser() {
    let test = "libcoap_reaches_a_browser";
    let server = Server::with("");
    let Some(client) = Libcoap::find(test, &server) else { return };
    let Some(agent) = browser(test, &server.certificates) else { return };
    let page = agent.connect(server.endpoint(Transport::Ws), Options::new(5, "page"));
    assert_eq!(page.subscribe("coap/+", 1), 1);
    client.body(&["-m", "put", "-t", "50", "-e", "{\"celsius\":21}"], "ps/coap/sensor");
    let message = page.next();
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("coap/sensor", &b"{\"celsius\":21}"[..]));
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    server.stop();
}

/// Datagrams that are lost are sent again, and everything arrives once.
#[test]
fn libcoap_sends_again_what_was_lost() {
    let server = Server::with("");
    let Some(client) = Libcoap::find("libcoap_sends_again_what_was_lost", &server) else { return };
    let mqtt = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "mqtt"));
    assert_eq!(mqtt.subscribe("coap/#", 2), 2);
    // The first datagram is lost, and then the second and fourth of a block-wise transfer.
    client.body(&["-l", "1", "-m", "put", "-e", "once"], "ps/coap/a");
    assert_eq!(mqtt.next().payload, b"once");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("up");
    fs::write(&file, text(300)).unwrap();
    client.body(&["-l", "2,4", "-m", "put", "-b", "64", "-f", file.to_str().unwrap()], "ps/coap/b");
    assert!(mqtt.next().payload == text(300));
    server.stop();
}

#[test]
fn libcoap_opens_a_connection_and_is_refused_without() {
    let server = Server::with("[coap]\nconnection_required = true\n");
    let Some(client) = Libcoap::find("libcoap_opens_a_connection_and_is_refused_without", &server) else { return };
    client.refused(&["-m", "put", "-e", "x"], "ps/coap/a", "4.00");
    client.refused(&["-m", "put", "-e", "x"], "ps/coap/a?clientid=node&token=1", "4.01");
    let token = client.body(&["-m", "post"], "mqtt/connection?clientid=node&username=user&password=secret");
    let identity = format!("clientid=node&token={token}");
    // Each process has a port of its own, so that the connection moves with its token.
    client.body(&["-m", "put"], &format!("mqtt/connection?{identity}"));
    client.body(&["-m", "put", "-e", "x"], &format!("ps/coap/a?retain=true&{identity}"));
    assert_eq!(client.body(&[], &format!("ps/coap/a?{identity}")), "x");
    client.refused(&["-m", "put", "-e", "x"], &format!("ps/%24SYS/mine?{identity}"), "4.01");
    client.body(&["-m", "delete"], &format!("mqtt/connection?{identity}"));
    client.refused(&[], &format!("ps/coap/a?{identity}"), "4.01");
    server.stop();
}
