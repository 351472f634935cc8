//! mosquitto_pub and mosquitto_sub as an agent: one process a subscription, one process a publication.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command as Program, Stdio},
    sync::Arc,
    thread,
};

use parking_lot::Mutex;

use crate::{
    agent::{Agent, Backend, Reports},
    process::Running,
    tools,
    wire::{Command, Connect, Outcome, Properties, Publish, Received, Report, Subscribe, Transport, hex},
};

pub fn mosquitto(test: &str) -> Option<Agent> {
    let publisher = tools::need(test, "mosquitto_pub", tools::program("mosquitto_pub"))?;
    let subscriber = tools::need(test, "mosquitto_sub", tools::program("mosquitto_sub"))?;
    let reports = Arc::new(Reports::default());
    let backend = Mosquitto { publisher, subscriber, reports: Arc::clone(&reports), connections: Mutex::default() };
    Some(Agent::new("mosquitto", reports, Box::new(backend)))
}

struct Mosquitto {
    publisher: PathBuf,
    subscriber: PathBuf,
    reports: Arc<Reports>,
    connections: Mutex<HashMap<String, Connection>>,
}

struct Connection {
    connect: Connect,
    subscribers: Vec<Running>,
}

impl Backend for Mosquitto {
    fn submit(&self, req: u64, conn: &str, command: Command) {
        let done = |outcome| self.reports.add(Report::Done { req, outcome });
        match command {
            Command::Connect(connect) => {
                let connection = Connection { connect, subscribers: Vec::new() };
                self.connections.lock().insert(conn.to_owned(), connection);
                done(Outcome::default());
            }
            Command::Subscribe(subscribe) => {
                let mut connections = self.connections.lock();
                let connection = connections.get_mut(conn).unwrap();
                let running = self.subscribe(req, conn, connection, &subscribe);
                connection.subscribers.push(running);
            }
            Command::Publish(publish) => self.publish(req, conn, publish),
            Command::Disconnect => {
                self.connections.lock().remove(conn);
                self.reports.add(Report::Closed { conn: conn.to_owned(), code: None });
                done(Outcome::default());
            }
            Command::Unsubscribe { .. } | Command::Kill => {
                done(Outcome { error: Some("mosquitto_sub cannot".into()), ..Outcome::default() });
            }
        }
    }
}

impl Mosquitto {
    fn subscribe(&self, req: u64, conn: &str, connection: &Connection, subscribe: &Subscribe) -> Running {
        // Line buffered, or the report of the SUBACK would wait for a page of output.
        let mut program = Program::new("stdbuf");
        program.arg("-oL").arg(&self.subscriber);
        arguments(&mut program, &connection.connect);
        // A process a subscription: each with a client id of its own.
        let id = format!("{}-{}", connection.connect.client_id, connection.subscribers.len());
        program.args(["-i", &id, "-d", "-F", "message %q %r %x %t", "-q", &subscribe.qos.to_string()]);
        let mut child = program.args(["-t", &subscribe.filter]).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reports = Arc::clone(&self.reports);
        let conn = conn.to_owned();
        thread::spawn(move || {
            let mut suback = false;
            for line in output.lines().map_while(Result::ok) {
                if let Some(message) = line.strip_prefix("message ") {
                    reports.add(Report::Message { conn: conn.clone(), message: received(message) });
                } else if let Some(codes) = line.strip_prefix("Subscribed (mid: 1): ") {
                    let codes = codes.split(", ").map(|code| code.parse().unwrap()).collect();
                    reports.add(Report::Done { req, outcome: Outcome { codes, ..Outcome::default() } });
                    suback = true;
                }
            }
            if !suback {
                let error = Some("mosquitto_sub ended before SUBACK".into());
                reports.add(Report::Done { req, outcome: Outcome { error, ..Outcome::default() } });
            }
        });
        Running(child)
    }

    fn publish(&self, req: u64, conn: &str, publish: Publish) {
        let mut program = Program::new(&self.publisher);
        arguments(&mut program, &self.connections.lock()[conn].connect);
        program.args(["-q", &publish.qos.to_string(), "-t", &publish.topic, "-s"]);
        if publish.retain {
            program.arg("-r");
        }
        let reports = Arc::clone(&self.reports);
        thread::spawn(move || {
            let mut child = program.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(&publish.payload).unwrap();
            let output = child.wait_with_output().unwrap();
            let text = || format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
            let error = (!output.status.success() || !output.stderr.is_empty()).then(text);
            reports.add(Report::Done { req, outcome: Outcome { error, codes: vec![0], ..Outcome::default() } });
        });
    }
}

fn arguments(program: &mut Program, connect: &Connect) {
    let endpoint = &connect.endpoint;
    match endpoint.transport {
        Transport::Unix => program.args(["--unix", &endpoint.path]),
        _ => program.args(["-h", &endpoint.host, "-p", &endpoint.port.to_string()]),
    };
    if endpoint.transport == Transport::Tls {
        program.arg("--cafile").arg(&endpoint.ca);
    }
    program.args(["-V", ["mqttv31", "mqttv311", "mqttv5"][usize::from(connect.version) - 3]]);
}

/// `qos retain payload-in-hex topic`, as the format above has it.
fn received(line: &str) -> Received {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().unwrap();
    let (qos, retain, payload) = (part().parse().unwrap(), part() == "1", hex::decode(part()).unwrap());
    Received { topic: part().to_owned(), payload, qos, retain, dup: false, properties: Properties::default() }
}
