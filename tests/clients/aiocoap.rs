//! aiocoap, a Python library of CoAP, in client's role.

use std::{
    io::Write,
    process::{ChildStdin, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    agent::{Options, PATIENCE, publication},
    process::{Running, lines, python_program},
    rumqtt::rumqttc,
    server::Server,
    wire::{Properties, Publish, Transport, hex},
};

/// A Python process.
struct Aiocoap {
    input: ChildStdin,
    output: mpsc::Receiver<String>,
    base: String,
    req_last: u64,
    /// Lines that came while others were waited for.
    early: Vec<Line>,
    _process: Running,
}

#[derive(Serialize)]
struct Request<'a> {
    req: u64,
    method: &'a str,
    uri: String,
    #[serde(with = "hex")]
    payload: &'a [u8],
    format: Option<u16>,
    etag: Option<&'a str>,
    confirmable: bool,
    observe: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    req: u64,
    code: String,
    #[serde(with = "hex")]
    payload: Vec<u8>,
    format: Option<u16>,
    max_age: Option<u32>,
    etag: Option<String>,
    notification: bool,
}

impl Aiocoap {
    fn start(test: &str, server: &Server) -> Option<Self> {
        let mut program = python_program("coap_agent.py", test)?;
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Some(Self {
            input: child.stdin.take().unwrap(),
            output: lines(child.stdout.take().unwrap()),
            base: format!("coap://{}", server.coap()),
            req_last: 0,
            early: Vec::new(),
            _process: Running(child),
        })
    }

    fn get(&mut self, path: &str) -> Line {
        self.request("get", path, b"")
    }

    fn put(&mut self, path: &str, payload: &[u8]) -> Line {
        self.request("put", path, payload)
    }

    fn request(&mut self, method: &str, path: &str, payload: &[u8]) -> Line {
        let req = self.send(method, path, |request| request.payload = payload);
        self.response(req)
    }

    fn send<'a>(&mut self, method: &'a str, path: &str, change: impl FnOnce(&mut Request<'a>)) -> u64 {
        self.req_last += 1;
        let mut request = Request {
            req: self.req_last,
            method,
            uri: format!("{}/{path}", self.base),
            payload: b"",
            format: None,
            etag: None,
            confirmable: true,
            observe: false,
        };
        change(&mut request);
        let mut line = serde_json::to_vec(&request).unwrap();
        line.push(b'\n');
        self.input.write_all(&line).unwrap();
        self.req_last
    }

    fn response(&mut self, req: u64) -> Line {
        self.take(|line| line.req == req && !line.notification)
    }

    /// The next notification of the observation that this request made.
    fn notification(&mut self, req: u64) -> Line {
        self.take(|line| line.req == req && line.notification)
    }

    fn take(&mut self, wanted: impl Fn(&Line) -> bool) -> Line {
        loop {
            if let Some(at) = self.early.iter().position(&wanted) {
                return self.early.remove(at);
            }
            let line = self.output.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {:?} came", self.early));
            self.early.push(serde_json::from_str(&line).unwrap());
        }
    }
}

/// Text that repeats with no period that a block could have.
pub fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|number: u32| format!("{number}.").into_bytes()).take(length).collect()
}

#[test]
fn aiocoap_publishes_reads_and_observes() {
    let test = "aiocoap_publishes_reads_and_observes";
    let server = Server::with("");
    let Some(mut client) = Aiocoap::start(test, &server) else { return };
    let mqtt = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "mqtt"));
    assert_eq!(mqtt.subscribe("coap/#", 2), 2);

    let req = client.send("put", "ps/coap/a?retain=true&expiry=1000", |request| {
        request.payload = b"{}";
        request.format = Some(50);
    });
    assert_eq!(client.response(req).code, "2.04");
    let message = mqtt.next();
    assert_eq!((message.topic.as_str(), message.payload.as_slice(), message.qos), ("coap/a", &b"{}"[..], 1));
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    assert!(message.properties.expiry.is_some_and(|expiry| (900..=1000).contains(&expiry)), "{message:?}");

    let read = client.get("ps/coap/a");
    assert_eq!((read.code.as_str(), read.payload.as_slice(), read.format), ("2.05", &b"{}"[..], Some(50)));
    assert!(read.max_age.is_some_and(|age| (900..=1000).contains(&age)), "{read:?}");
    let etag = read.etag.expect("an entity tag");
    let req = client.send("get", "ps/coap/a", |request| request.etag = Some(&etag));
    assert_eq!(client.response(req).code, "2.03");
    assert_eq!(client.get("ps/coap/none").code, "4.04");
    let core = client.get(".well-known/core");
    assert_eq!((core.code.as_str(), core.format), ("2.05", Some(40)));

    // Non-confirmable, and with each quality of service by name.
    let req = client.send("put", "ps/coap/b", |request| (request.payload, request.confirmable) = (b"0", false));
    assert_eq!(client.response(req).code, "2.04");
    assert_eq!(mqtt.next().qos, 0);
    for qos in 0..3 {
        assert_eq!(client.put(&format!("ps/coap/b?qos={qos}"), b"x").code, "2.04");
        assert_eq!(mqtt.next().qos, qos);
    }

    let req = client.send("get", "ps/coap/c?qos=1", |request| request.observe = true);
    let first = client.response(req);
    assert_eq!((first.code.as_str(), first.payload.as_slice()), ("2.05", &b""[..]));
    for (payload, qos) in [("one", 1), ("two", 0), ("three", 2)] {
        let properties = Properties { content_type: Some("text/plain".into()), ..Properties::default() };
        mqtt.publish(Publish { properties, ..publication("coap/c", payload, qos) });
        let notification = client.notification(req);
        assert_eq!((notification.payload.as_slice(), notification.format), (payload.as_bytes(), Some(0)));
    }
    client.send("cancel", "ps/coap/c?qos=1", |_| {});
    server.stop();
}

#[test]
fn aiocoap_transfers_blocks_both_ways() {
    let test = "aiocoap_transfers_blocks_both_ways";
    let server = Server::with("");
    let Some(mut client) = Aiocoap::start(test, &server) else { return };
    let mqtt = rumqttc().connect(server.endpoint(Transport::Tcp), Options::new(5, "mqtt"));
    assert_eq!(mqtt.subscribe("coap/up", 2), 2);
    let large = text(9000);
    assert_eq!(client.put("ps/coap/up?retain=true", &large).code, "2.04");
    assert!(mqtt.next().payload == large);
    assert!(client.get("ps/coap/up").payload == large);
    let req = client.send("get", "ps/coap/down?qos=1", |request| request.observe = true);
    assert_eq!(client.response(req).code, "2.05");
    mqtt.publish(publication("coap/down", large.clone(), 1));
    assert!(client.notification(req).payload == large);
    server.stop();
}

#[test]
fn aiocoap_opens_a_connection_and_is_refused_without() {
    let test = "aiocoap_opens_a_connection_and_is_refused_without";
    let server = Server::with("[coap]\nconnection_required = true\n");
    let Some(mut client) = Aiocoap::start(test, &server) else { return };
    assert_eq!(client.put("ps/coap/a", b"x").code, "4.00");
    assert_eq!(client.put("ps/coap/a?clientid=node&token=1", b"x").code, "4.01");

    let opened = client.request("post", "mqtt/connection?clientid=node&username=user&password=secret", b"");
    assert_eq!(opened.code, "2.01");
    let identity = format!("clientid=node&token={}", String::from_utf8(opened.payload).unwrap());
    assert_eq!(client.put(&format!("mqtt/connection?{identity}"), b"").code, "2.04");
    assert_eq!(client.put(&format!("ps/coap/a?retain=true&{identity}"), b"x").code, "2.04");
    assert_eq!(client.get(&format!("ps/coap/a?{identity}")).payload, b"x");
    assert_eq!(client.put(&format!("ps/%24SYS/mine?{identity}"), b"x").code, "4.01");
    assert_eq!(client.put("ps/coap/a?clientid=node&token=1", b"x").code, "4.01");
    assert_eq!(client.request("delete", &format!("mqtt/connection?{identity}"), b"").code, "2.02");
    assert_eq!(client.put(&format!("ps/coap/a?{identity}"), b"x").code, "4.01");
    assert!(server.stop() < Duration::from_secs(10));
}
