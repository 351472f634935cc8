//! The server's side of a conversation over UDP, as a script of bytes.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use tokio::{net::UdpSocket, time::timeout};

use super::{
    arguments::{PublishArguments, SubscribeArguments},
    url::Host,
};
use crate::cli::{Arguments, Command};

/// Longer than anything in a script takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `thingway pub` and this line ask for.
pub fn pub_arguments(line: &str) -> PublishArguments {
    match parse("pub", line) {
        Command::Pub(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

/// What `thingway sub` and this line ask for.
pub fn sub_arguments(line: &str) -> SubscribeArguments {
    match parse("sub", line) {
        Command::Sub(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn parse(command: &str, line: &str) -> Command {
    let words = ["thingway", command].into_iter().chain(line.split_whitespace());
    Arguments::try_parse_from(words).expect("understood").command.expect("a command")
}

/// A server that does what its script says.
pub struct Peer {
    socket: UdpSocket,
    client: Option<SocketAddr>,
    heard: Vec<Vec<u8>>,
}

impl Peer {
    /// A server on loopback.
    pub async fn new() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), client: None, heard: Vec::new() }
    }

    /// Where it is.
    pub fn host(&self) -> Host {
        Host { name: "127.0.0.1".into(), port: self.socket.local_addr().unwrap().port() }
    }

    /// The next datagram that did not come before: a slow machine may have clients send again what was answered.
    pub async fn next(&mut self) -> Vec<u8> {
        loop {
            let datagram = self.any().await;
            if !self.heard.contains(&datagram) {
                self.heard.push(datagram.clone());
                return datagram;
            }
        }
    }

    /// Waits for this datagram, which may have come before.
    pub async fn hears(&mut self, expected: &[u8]) {
        loop {
            let datagram = self.any().await;
            if datagram == expected {
                return self.heard.push(datagram);
            }
            assert!(self.heard.contains(&datagram), "expected {expected:02x?}, heard {datagram:02x?}");
        }
    }

    /// Sends a datagram.
    pub async fn says(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.client.expect("a client")).await.unwrap();
    }

    async fn any(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_535];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
        let (bytes, from) = received.unwrap_or_else(|_| panic!("nothing after {:02x?}", self.heard.last())).unwrap();
        self.client = Some(from);
        buffer.truncate(bytes);
        buffer
    }
}
