//! The gateway under test: the real binary, with a listener of every kind on free ports.
//!
//! `THINGWAY_TEST_SERVER=mosquitto` runs the tests that Mosquitto 2.0 can pass against it instead, which tells whether a test or the
//! gateway is wrong.

use std::{
    env, fs,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    bridge::{Direction, QuicBridge},
    certificates::Certificates,
    process::Running,
    tools,
    wire::{Endpoint, Transport},
};

/// How long the gateway may take to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How often it is started with other ports.
const STARTS_MAX: usize = 5;

pub struct Server {
    process: Running,
    pub certificates: Certificates,
    endpoints: Vec<Endpoint>,
    ports: Ports,
    /// Carries the agents' TCP to the QUIC listener, for clients without QUIC of their own.
    _bridges: Vec<QuicBridge>,
    directory: Arc<TempDir>,
}

impl Server {
    pub fn start() -> Self {
        if is_stand_in() { Self::start_with(Self::try_mosquitto) } else { Self::with("") }
    }

    /// The gateway with further sections of settings, in TOML. There is no stand-in for it.
    pub fn with(settings: &str) -> Self {
        Self::start_with(|| Self::try_thingway(settings))
    }

    /// Where it speaks CoAP.
    pub fn coap(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.coap))
    }

    /// Where it speaks MQTT-SN.
    pub fn mqttsn(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.endpoint(Transport::Udp).port))
    }

    /// Where to connect for this transport. For QUIC, a TCP port that is bridged to it.
    pub fn endpoint(&self, transport: Transport) -> &Endpoint {
        self.endpoints.iter().find(|endpoint| endpoint.transport == transport).unwrap()
    }

    /// Where `thingway pub` and `sub` find it, by their URL scheme. QUIC is QUIC here.
    pub fn url(&self, scheme: &str) -> String {
        let port = match scheme {
            "mqtt" => self.ports.tcp,
            "mqtts" => self.ports.tls,
            "ws" => self.ports.ws,
            "wss" => self.ports.wss,
            "quic" => self.ports.quic,
            "mqtt-sn" => self.ports.mqttsn,
            "coap" => self.ports.coap,
            "unix" => return format!("unix:{}", self.endpoint(Transport::Unix).path),
            other => panic!("nobody speaks {other}"),
        };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// Asks the gateway to stop and returns how long it took.
    pub fn stop(mut self) -> Duration {
        let before = Instant::now();
        self.process.signal("TERM");
        let status = self.process.wait(DRAIN).unwrap_or_else(|| panic!("still running {DRAIN:?} after SIGTERM"));
        assert!(status.success(), "{status} after SIGTERM\n{}", self.log());
        before.elapsed()
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A port that was free a moment ago may be somebody else's by now: then there are others.
    fn start_with(try_once: impl Fn() -> Result<Self, String>) -> Self {
        let mut tries = (0..STARTS_MAX).map(|_| try_once());
        let started = tries.find(|started| !started.as_ref().is_err_and(|log| log.contains("in use")));
        started.expect("free ports").unwrap_or_else(|log| panic!("{log}"))
    }

    fn try_thingway(settings: &str) -> Result<Self, String> {
        let directory = directory();
        let certificates = Certificates::make(directory.path());
        let ports = Ports::free();
        let listener =
            |kind: &str, port: u16| format!("[listeners.{kind}.default]\nenable = true\nbind = \"127.0.0.1:{port}\"\n");
        let secure = |kind: &str, port: u16| {
            let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
            listener(kind, port)
                + &format!("[listeners.{kind}.default.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
        };
        let socket = directory.path().join("mqtt.sock");
        let config = [
            // Other tests load this machine, and a connection that is shed for it would fail one of these.
            "[overload]\nenable = false\n[dashboard]\nenable = false\n".to_owned(),
            listener("tcp", ports.tcp),
            secure("tls", ports.tls),
            listener("ws", ports.ws),
            secure("wss", ports.wss),
            secure("quic", ports.quic),
            format!("[listeners.udp.mqttsn]\nbind = \"127.0.0.1:{}\"\n", ports.mqttsn),
            format!("[listeners.udp.coap]\nbind = \"127.0.0.1:{}\"\n", ports.coap),
            format!("[listeners.unix.default]\nenable = true\nbind = \"{}\"\n", socket.display()),
            settings.to_owned(),
        ];
        let path = directory.path().join("thingway.toml");
        fs::write(&path, config.concat()).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_thingway"));
        program.arg("--config").arg(path);
        Self::spawn(program, directory, certificates, ports)
    }

    fn try_mosquitto() -> Result<Self, String> {
        let directory = directory();
        let certificates = Certificates::make(directory.path());
        let ports = Ports::free();
        let listener = |port: u16, lines: &str| format!("listener {port} 127.0.0.1\n{lines}");
        let tls = format!("certfile {}\nkeyfile {}\n", certificates.certificate.display(), certificates.key.display());
        let config = [
            "user root\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
                .to_owned(),
            "persistence false\n".to_owned(),
            listener(ports.tcp, ""),
            listener(ports.tls, &tls),
            listener(ports.ws, "protocol websockets\n"),
            listener(ports.wss, &format!("protocol websockets\n{tls}")),
            format!("listener 0 {}\n", directory.path().join("mqtt.sock").display()),
        ];
        let path = directory.path().join("mosquitto.conf");
        fs::write(&path, config.concat()).unwrap();
        let mut program = Command::new(tools::program("mosquitto").expect("the stand-in is installed"));
        program.arg("-c").arg(path);
        let mut server = Self::spawn(program, directory, certificates, ports)?;
        server._bridges.push(QuicBridge::start(Direction::FromQuic, ports.quic, ports.tcp, &server.certificates));
        Ok(server)
    }

    fn spawn(
        mut program: Command,
        directory: TempDir,
        certificates: Certificates,
        ports: Ports,
    ) -> Result<Self, String> {
        let log = File::create(directory.path().join("log")).unwrap();
        let child = program
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let bridge = QuicBridge::start(Direction::ToQuic, 0, ports.quic, &certificates);
        let endpoint = |transport, port, path: &str| Endpoint {
            transport,
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
            path: path.to_owned(),
            ca: certificates.ca.clone(),
        };
        let socket = directory.path().join("mqtt.sock");
        let endpoints = vec![
            endpoint(Transport::Tcp, ports.tcp, ""),
            endpoint(Transport::Tls, ports.tls, ""),
            endpoint(Transport::Ws, ports.ws, "/mqtt"),
            endpoint(Transport::Wss, ports.wss, "/mqtt"),
            endpoint(Transport::Unix, 0, socket.to_str().unwrap()),
            endpoint(Transport::Quic, bridge.port(), ""),
            endpoint(Transport::Udp, ports.mqttsn, ""),
        ];
        let mut server = Self {
            process: Running(child),
            certificates,
            endpoints,
            ports,
            _bridges: vec![bridge],
            directory: Arc::new(directory),
        };
        server.wait_until_ready(&ports, &socket)?;
        Ok(server)
    }

    /// Listens when every stream listener accepts; the gateway opens them all before it serves any.
    fn wait_until_ready(&mut self, ports: &Ports, socket: &Path) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            [ports.tcp, ports.tls, ports.ws, ports.wss]
                .iter()
                .all(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
                && UnixStream::connect(socket).is_ok()
        };
        while !ready() {
            if let Some(status) = self.process.wait(Duration::ZERO) {
                return Err(format!("the server ended with {status}\n{}", self.log()));
            }
            assert!(Instant::now() < deadline, "the server does not listen\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the server's last lines:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// True when Mosquitto stands in for the gateway.
pub fn is_stand_in() -> bool {
    env::var_os("THINGWAY_TEST_SERVER").is_some_and(|server| server == "mosquitto")
}

#[derive(Clone, Copy)]
struct Ports {
    tcp: u16,
    tls: u16,
    ws: u16,
    wss: u16,
    quic: u16,
    mqttsn: u16,
    coap: u16,
}

impl Ports {
    /// Ports that were free a moment ago. All are held while they are drawn, so that they differ.
    fn free() -> Self {
        let held: [_; 4] = std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [tcp, tls, ws, wss] = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let held: [_; 3] = std::array::from_fn(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [quic, mqttsn, coap] = held.each_ref().map(|socket| socket.local_addr().unwrap().port());
        Self { tcp, tls, ws, wss, quic, mqttsn, coap }
    }
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("thingway-clients-").tempdir().unwrap()
}
