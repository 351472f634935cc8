//! CoAP publications beside the example server of libcoap, which keeps the last payload of one resource in memory and does nothing else.
//!
//! `cargo bench --bench coap` has `CLIENTS` (256) clients, each with an address of its own, send confirmable PUT requests one after another for
//! `SECONDS` (3) to either in `ROUNDS` (3) alternating rounds. The figure is requests answered per second of the server's processor time.
//! Needs `coap-server` (Debian: libcoap3-bin); without it there is no comparison.

mod measure;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use measure::{crowd::Crowd, number};

fn main() {
    let (clients, seconds, rounds) = (number("CLIENTS", 256usize), number("SECONDS", 3u64), number("ROUNDS", 3usize));
    let mut servers = vec![Server::thingway()];
    match Server::libcoap() {
        Some(server) => servers.push(server),
        None => println!("coap-server is not installed: no comparison"),
    }
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            let (answered, cpu) = load(server, clients, Duration::from_secs(seconds), round);
            println!("{:<9} {answered:>8} requests answered, {cpu:>6.2} s of processor time", server.name);
            figures.push(answered as f64 / cpu.max(0.01));
        }
    }
    let medians: Vec<f64> = figures
        .iter_mut()
        .map(|figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        })
        .collect();
    for (server, median) in servers.iter().zip(&medians) {
        let share = medians.last().map_or(1.0, |last| median / last);
        println!(
            "{:<9} {median:>9.0} a second of processor time, {share:.2} of {}",
            server.name,
            servers[servers.len() - 1].name
        );
    }
}

/// Keeps one request of each client under way; how many were answered, and the server's processor time.
fn load(server: &Server, clients: usize, span: Duration, round: usize) -> (u64, f64) {
    let mut crowd = Crowd::new(server.address);
    let mut message_ids: Vec<u16> = (0..clients).map(|number| (number * 7 + round * 20_011) as u16).collect();
    let first = clients * round;
    let before = server.processor_time();
    let begun = Instant::now();
    for (number, id) in message_ids.iter().enumerate() {
        crowd.send(first + number, &put(server.path, *id));
    }
    let mut answered = 0;
    while begun.elapsed() < span {
        let mut due = Vec::new();
        let any = crowd.receive(|number, datagram| {
            let id = &mut message_ids[number - first];
            // Acknowledged with 2.04 Changed or 2.01 Created.
            if datagram.len() >= 4 && datagram[0] & 0xf0 == 0x60 && datagram[2..4] == id.to_be_bytes() {
                assert!(matches!(datagram[1], 0x44 | 0x41), "answered with {:#x}", datagram[1]);
                *id = id.wrapping_add(1);
                due.push((number, *id));
                answered += 1;
            }
        });
        if !any {
            // Some were lost: all that is open is sent again.
            due.extend(message_ids.iter().enumerate().map(|(number, id)| (first + number, *id)));
        }
        for (number, id) in due {
            crowd.send(number, &put(server.path, id));
        }
    }
    (answered, server.processor_time() - before)
}

fn put(path: &[&str], id: u16) -> Vec<u8> {
    let mut bytes = vec![0x40, 0x03];
    bytes.extend(id.to_be_bytes());
    for (at, segment) in path.iter().enumerate() {
        // Uri-Path is option 11.
        let delta = if at == 0 { 0xb0 } else { 0 };
        assert!(segment.len() < 13, "a length in the option's first byte");
        bytes.push(delta | segment.len() as u8);
        bytes.extend(segment.as_bytes());
    }
    bytes.push(0xff);
    bytes.extend([b'x'; 64]);
    bytes
}

struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    path: &'static [&'static str],
}

impl Server {
    fn thingway() -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
        for name in ["tcp.default", "tls.default", "ws.default", "wss.default", "quic.default", "udp.mqttsn"] {
            command.args(["--set", &format!("listeners.{name}.enable=false")]);
        }
        command.args(["--set", &format!("listeners.udp.coap.bind={address}"), "--set", "overload.enable=false"]);
        Self::start("thingway", command, address, &["ps", "bench"])
    }

    fn libcoap() -> Option<Self> {
        let program = ["coap-server", "coap-server-notls", "coap-server-openssl", "coap-server-gnutls"]
            .into_iter()
            .find(|name| Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok())?;
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["-A", &address.ip().to_string(), "-p", &address.port().to_string()]);
        Some(Self::start("libcoap", command, address, &["example_data"]))
    }

    fn start(name: &'static str, mut command: Command, address: SocketAddr, path: &'static [&'static str]) -> Self {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let server = Self { name, process, address, path };
        // The first requests wait until it listens.
        Crowd::new(address).ask(
            0..1,
            |_| put(path, 1),
            |_, answer| answer.first().is_some_and(|first| first & 0xf0 == 0x60),
        );
        server
    }

    /// User and system time in seconds.
    fn processor_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
        // The unit of these figures is fixed at a hundredth of a second.
        ticks as f64 / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.local_addr().expect("an address")
}
