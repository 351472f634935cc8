//! Agents that are processes of their own, and child processes that end with their owner.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    agent::{Agent, Backend, Reports},
    certificates::Certificates,
    tools,
    wire::Command,
};

/// mqtt.js in Node.
pub fn mqtt_js(test: &str) -> Option<Agent> {
    let node = tools::need(test, "Node with `npm ci` in tests/clients/node", tools::node())?;
    Some(start("mqtt.js", Program::new(node).arg(tools::node_directory().join("node.js"))))
}

/// mqtt.js in a headless Chromium that trusts the key of these certificates.
pub fn browser(test: &str, certificates: &Certificates) -> Option<Agent> {
    let node = tools::need(test, "Node with `npm ci` in tests/clients/node", tools::node())?;
    let chromium = tools::need(test, "Chromium", tools::chromium())?;
    let script = tools::node_directory().join("browser.js");
    Some(start("browser", Program::new(node).arg(script).arg(chromium).arg(&certificates.certificate)))
}

pub fn paho(test: &str) -> Option<Agent> {
    python("paho", "paho_agent.py", test)
}

pub fn aiomqtt(test: &str) -> Option<Agent> {
    python("aiomqtt", "aiomqtt_agent.py", test)
}

/// mqttsn, the Python client of Eclipse's RSMB.
pub fn mqttsn(test: &str) -> Option<Agent> {
    python("mqttsn", "mqttsn_agent.py", test)
}

fn python(name: &'static str, script: &str, test: &str) -> Option<Agent> {
    Some(start(name, &mut python_program(script, test)?))
}

/// Python with a script of `tests/clients/python`.
pub fn python_program(script: &str, test: &str) -> Option<Program> {
    let python = tools::need(test, "Python with tests/clients/python/requirements.txt", tools::python())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python").join(script);
    let mut program = Program::new(python);
    program.arg("-B").arg(script);
    Some(program)
}

fn start(name: &'static str, program: &mut Program) -> Agent {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let reports = Arc::new(Reports::default());
    let output = BufReader::new(child.stdout.take().unwrap());
    let input = Mutex::new(child.stdin.take());
    thread::spawn({
        let reports = Arc::clone(&reports);
        move || {
            for line in output.lines() {
                match line
                    .map_err(|error| error.to_string())
                    .and_then(|line| serde_json::from_str(&line).map_err(|error| format!("{error} in {line:.200}")))
                {
                    Ok(report) => reports.add(report),
                    Err(cause) => return reports.die(cause),
                }
            }
            reports.die(format!("{name} closed its output"));
        }
    });
    Agent::new(name, reports, Box::new(ProcessBackend { input, child: Running(child) }))
}

struct ProcessBackend {
    input: Mutex<Option<ChildStdin>>,
    child: Running,
}

impl Backend for ProcessBackend {
    fn submit(&self, req: u64, conn: &str, command: Command) {
        #[derive(Serialize)]
        struct Line<'a> {
            req: u64,
            conn: &'a str,
            #[serde(flatten)]
            command: Command,
        }
        let mut line = serde_json::to_vec(&Line { req, conn, command }).unwrap();
        line.push(b'\n');
        // An agent that is gone is reported by the reader of its output.
        _ = self.input.lock().as_mut().unwrap().write_all(&line);
    }
}

impl Drop for ProcessBackend {
    fn drop(&mut self) {
        // The end of its input tells an agent to clean up and leave.
        self.input.lock().take();
        self.child.wait(Duration::from_secs(5));
    }
}

/// A child process that does not outlive its owner.
pub struct Running(pub Child);

impl Running {
    pub fn signal(&self, signal: &str) {
        let status = Program::new("kill").arg(format!("-{signal}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{signal} {}", self.0.id());
    }

    /// Its status, if it ends in time.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if Instant::now() > deadline => return None,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The lines of a child's output, as they come.
pub fn lines(output: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
