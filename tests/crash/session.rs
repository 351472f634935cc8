//! An MQTT client's session across connections: what it was told about it, and what it must find.

use std::rc::Rc;

use crate::{
    common::{Client, Connect, Packet, Property, Version},
    figures::Fault,
    world::{Over, World},
};

/// What the server has said of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was ended, or never begun.
    Absent,
    /// A CONNECT that begins or ends it was not answered.
    Unsure,
    /// It was granted.
    Present,
}

/// How an attempt to connect went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not at all.
    Gone,
    /// Without session: what belonged to it is to be discarded.
    Fresh,
    /// With the session.
    Resumed,
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Next {
    Packet(Packet),
    /// The connection is no more.
    Gone,
    /// The round is over, and the connection stays.
    Over,
}

#[derive(Debug)]
pub struct Session {
    pub name: Rc<str>,
    pub version: Version,
    pub known: Known,
    receive_maximum: Option<u16>,
    connection: Option<Client>,
    last_id: u16,
}

/// Few, so that they are used again soon: what a server remembers wrongly of an old exchange then meets a new one.
const PACKET_IDS: u16 = 60;

impl Session {
    pub fn new(name: &str, version: Version, receive_maximum: Option<u16>) -> Self {
        let receive_maximum = receive_maximum.filter(|_| version.is_5());
        Self { name: name.into(), version, known: Known::Absent, receive_maximum, connection: None, last_id: 0 }
    }

    /// A CONNECT that resumes the session or begins it.
    pub fn connect(&self) -> Connect {
        let connect = Connect::new(self.version, &self.name).persistent();
        match self.receive_maximum {
            Some(count) => connect.property(Property::ReceiveMaximum(count)),
            None => connect,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Connects, and compares what the server says of the session with what it said before.
    pub async fn open(&mut self, world: &World, connect: &Connect) -> Opened {
        self.connection = None;
        let Ok(mut client) = Client::try_open(world.mqtt, self.version).await else { return Opened::Gone };
        let known = self.known;
        // What is sure even if no answer comes.
        self.known = match (known, connect.clean) {
            (Known::Present, false) => Known::Present,
            (Known::Absent, true) => Known::Absent,
            _ => Known::Unsure,
        };
        if !client.send_or_gone(&connect.bytes()).await {
            return Opened::Gone;
        }
        let connack = match client.next_or_gone().await {
            Some(Packet::Connack(connack)) if connack.code == 0 => connack,
            Some(other) => {
                world.fault(Fault::Spurious, format!("{} got {other:?} to its CONNECT", self.name));
                return Opened::Gone;
            }
            None => return Opened::Gone,
        };
        self.connection = Some(client);
        if connect.clean {
            self.known = Known::Absent;
            if connack.session_present {
                world.fault(Fault::Spurious, format!("{} asked for a clean session and has an old one", self.name));
            }
            return Opened::Fresh;
        }
        self.known = Known::Present;
        match (known, connack.session_present) {
            (Known::Present, false) => {
                world.fault(Fault::ForgottenSession, format!("{} has none", self.name));
            }
            (Known::Absent, true) => world.fault(Fault::Resurrected, format!("{} has one", self.name)),
            _ => {}
        }
        if connack.session_present { Opened::Resumed } else { Opened::Fresh }
    }

    /// Sends bytes if there is a connection.
    pub async fn send(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.connection {
            // A connection that is gone may still have something to be read, and then tells its end.
            _ = client.send_or_gone(bytes).await;
        }
    }

    /// The next packet. What a killed server had sent is read to its end.
    pub async fn next(&mut self, world: &World) -> Next {
        let Some(client) = &mut self.connection else { return Next::Gone };
        let packet = tokio::select! {
            biased;
            packet = client.next_or_gone() => packet,
            () = world.until(|progress| progress.over == Some(Over::Alive)) => return Next::Over,
        };
        match packet {
            // A server that ends the connection says so only in version 5.
            Some(Packet::Disconnect(_)) | None => {
                self.connection = None;
                Next::Gone
            }
            Some(packet) => Next::Packet(packet),
        }
    }

    /// Ends the connection as a broken network would.
    pub fn cut(&mut self) {
        self.connection = None;
    }

    /// Says DISCONNECT and closes. What comes meanwhile is not received, as with a client that was switched off.
    pub async fn disconnect(&mut self) {
        let bytes = crate::common::wire::disconnect(self.version, 0, &[]);
        self.send(&bytes).await;
        self.connection = None;
    }

    /// A packet identifier that is not in use.
    pub fn packet_id(&mut self, is_used: impl Fn(u16) -> bool) -> u16 {
        loop {
            self.last_id = self.last_id % PACKET_IDS + 1;
            if !is_used(self.last_id) {
                return self.last_id;
            }
        }
    }
}
