//! The server under test: a real process that is killed and started again on the same folder.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::random::Random;

/// How long it may take to start, which is less than a second where the processors are not taken by others.
const START_MAX: Duration = Duration::from_secs(300);

/// Which server, and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This gateway.
    Thingway(Durability),
    /// Mosquitto with persistence.
    Mosquitto(Autosave),
}

/// What the gateway's store waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The gateway has no store.
    NoStore,
    Memory,
    Os,
    Fsync,
}

/// When Mosquitto writes its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autosave {
    /// After every change (`autosave_on_changes`).
    Changes,
    /// Every second.
    Second,
    /// As it is without a word about it: every half hour.
    Default,
}

impl Kind {
    /// The gateway with this durability, if it has a store.
    pub fn thingway(durability: Durability) -> Self {
        let output = Command::new(env!("CARGO_BIN_EXE_thingway")).arg("config").output().expect("the gateway runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let has_store = text.lines().any(|line| line.trim() == "[store]");
        Self::Thingway(if has_store { durability } else { Durability::NoStore })
    }

    /// Mosquitto, if it is installed.
    pub fn mosquitto(autosave: Autosave) -> Option<Self> {
        mosquitto().map(|_| Self::Mosquitto(autosave))
    }

    /// Whether it has MQTT-SN and delayed publication.
    pub fn is_thingway(self) -> bool {
        matches!(self, Self::Thingway(_))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Thingway(Durability::NoStore) => "thingway without store",
            Self::Thingway(Durability::Memory) => "thingway, durability memory",
            Self::Thingway(Durability::Os) => "thingway, durability os",
            Self::Thingway(Durability::Fsync) => "thingway, durability fsync",
            Self::Mosquitto(Autosave::Changes) => "mosquitto, autosave_on_changes",
            Self::Mosquitto(Autosave::Second) => "mosquitto, autosave_interval 1",
            Self::Mosquitto(Autosave::Default) => "mosquitto, default autosave_interval",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Thingway(_) => env!("CARGO_BIN_EXE_thingway").into(),
            Self::Mosquitto(_) => mosquitto().expect("Mosquitto is installed"),
        }
    }
}

fn mosquitto() -> Option<PathBuf> {
    ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// A server with a folder and ports that stay the same.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    folder: Option<TempDir>,
    tcp: u16,
    /// For MQTT-SN and for CoAP.
    udp: [u16; 2],
    process: Option<Child>,
}

impl Server {
    /// An empty folder with a configuration. Nothing runs.
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("thingway-crash-").tempdir().expect("a folder");
        let (tcp, udp) = ports();
        let server = Self { kind, tcp, udp, process: None, folder: Some(folder) };
        fs::write(server.config_path(), server.config()).expect("a configuration can be written");
        server
    }

    /// Where it speaks MQTT.
    pub fn mqtt(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tcp).into()
    }

    /// Where it speaks MQTT-SN, and where CoAP.
    pub fn datagrams(&self) -> [SocketAddr; 2] {
        self.udp.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Starts the process without waiting for it to listen.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.folder().join("log")).expect("a log file");
        let mut program = Command::new(self.kind.program());
        match self.kind {
            Kind::Thingway(_) => program.arg("--config").arg(self.config_path()),
            Kind::Mosquitto(_) => program.arg("-c").arg(self.config_path()),
        };
        program.current_dir(self.folder()).stdin(Stdio::null());
        program.stdout(log.try_clone().expect("a log file")).stderr(log);
        self.process = Some(program.spawn().expect("the server starts"));
    }

    /// Starts the process and waits until it listens.
    pub async fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.mqtt()).is_err() {
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.try_wait().expect("a child of this process") {
                panic!("the server ended with {status}\n{}", self.log());
            }
            if Instant::now() >= deadline {
                let log = self.log();
                self.kill();
                panic!("the server does not listen; its folder is left in {}\n{log}", self.keep_folder().display());
            }
            // Another process can only be polled.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGKILL, to this one process. It is gone when this returns.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
    }

    /// The last lines that it wrote.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Leaves the folder for whoever looks into a failure.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.take().expect("it has a folder").keep()
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it has a folder").path()
    }

    fn config_path(&self) -> PathBuf {
        self.folder().join("server.conf")
    }

    /// Nothing that this test can bring about reaches a limit, for what a limit drops is not lost.
    fn config(&self) -> String {
        let folder = self.folder().display();
        let Self { tcp, udp: [mqttsn, coap], .. } = self;
        match self.kind {
            Kind::Thingway(durability) => {
                let off = |name: &str| format!("[listeners.{name}]\nenable = false\n");
                let mut config = format!(
                    "[gateway]\ndata_dir = \"{folder}/data\"\ncores = 2\n\
                     [overload]\nenable = false\n[dashboard]\nenable = false\n\
                     [queue]\nmessages_max = 1000000\nbytes_max = \"512MiB\"\n\
                     offline_messages_max = 1000000\noffline_bytes_max = \"512MiB\"\n\
                     [mqttsn]\nretry_interval = \"300ms\"\nretry_max = 20\n\
                     [listeners.tcp.default]\nbind = \"127.0.0.1:{tcp}\"\n\
                     [listeners.udp.mqttsn]\nbind = \"127.0.0.1:{mqttsn}\"\n\
                     [listeners.udp.coap]\nbind = \"127.0.0.1:{coap}\"\n"
                );
                config.extend(["tls.default", "ws.default", "wss.default", "quic.default"].map(off));
                let durability = match durability {
                    Durability::NoStore => return config,
                    Durability::Memory => "memory",
                    Durability::Os => "os",
                    Durability::Fsync => "fsync",
                };
                // Rows are brought up to date every few rounds, so that kills fall into that, too.
                config += &format!("[store]\ndurability = \"{durability}\"\nlog_max = \"256KiB\"\n");
                config
            }
            Kind::Mosquitto(autosave) => {
                let autosave = match autosave {
                    Autosave::Changes => "autosave_on_changes true\nautosave_interval 1\n",
                    Autosave::Second => "autosave_interval 1\n",
                    Autosave::Default => "",
                };
                format!(
                    "user root\nlistener {tcp} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
                     max_queued_messages 0\npersistence true\npersistence_location {folder}/\n{autosave}"
                )
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// Free ports below those that the system gives to connections: one of those might be taken by a client while the server is down, and a client that
/// tries to connect to one of those may reach itself.
fn ports() -> (u16, [u16; 2]) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    // Tests that run at the same time shall not draw the same.
    let mut random = Random::new(std::process::id().into(), [RUNS.fetch_add(1, Ordering::Relaxed), 0]);
    let mut port = |is_free: &dyn Fn(u16) -> bool| loop {
        let port = random.of(15_000..=32_000) as u16;
        if is_free(port) {
            return port;
        }
    };
    let tcp = port(&|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let mqttsn = port(&|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    (tcp, [mqttsn, port(&|port| port != mqttsn && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok())])
}
