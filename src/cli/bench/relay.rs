//! A yardstick: what the socket work of a broker costs by itself. One thread, topics looked up exactly or below a prefix, each frame copied once into
//! the subscriber's output, one write for a socket and round, acknowledgements invented on the spot. Nothing is checked, kept or sent again.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use thingway_mqtt::{Split, Version, codec::varint, packet::PacketType, split};

use super::{
    poller::{Interest, Poller},
    socket::is_nothing,
};

const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;
const ACCEPTS_MAX: usize = 256;
const BACKLOG: i32 = 4096;
const WAIT_NS: u64 = 100_000_000;
const LISTENER: usize = usize::MAX;
/// Output that a connection may have waiting; what comes beyond is dropped, since nothing here slows a publisher down.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

struct Connection {
    socket: Socket,
    version: Version,
    carry: Vec<u8>,
    out: Vec<u8>,
    is_touched: bool,
    is_full: bool,
    id: u16,
}

/// Who subscribes, and with which quality of service.
type Subscriber = (usize, u8);

/// The relay.
pub struct Relay {
    listener: Socket,
    poller: Poller,
    hub: Hub,
}

#[derive(Default)]
struct Hub {
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    exact: HashMap<Vec<u8>, Vec<Subscriber>>,
    /// Prefixes, without their `#`.
    below: Vec<(Vec<u8>, Subscriber)>,
    touched: Vec<usize>,
}

impl Relay {
    /// Listens.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG)?;
        let poller = Poller::new(EVENTS_MAX)?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        Ok(Self { listener, poller, hub: Hub::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        Ok(self.listener.local_addr()?.as_socket())
    }

    /// Relays until its time is up.
    pub fn run(mut self, lifetime: Duration) -> io::Result<()> {
        let begun = Instant::now();
        let mut buffer = vec![0; READ_BYTES];
        while begun.elapsed() < lifetime {
            for at in 0..self.poller.wait(WAIT_NS)? {
                let ready = self.poller.ready(at);
                if ready.key == LISTENER {
                    self.accept()?;
                    continue;
                }
                if ready.read && !self.hub.read(ready.key, &mut buffer) {
                    self.hub.forget(ready.key);
                } else if ready.write {
                    self.hub.flush(ready.key, &self.poller)?;
                }
            }
            self.hub.flush_touched(&self.poller)?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            // A connection that ended before it was taken is no failure of the relay.
            let Ok((socket, _)) = self.listener.accept() else { break };
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            let index = self.hub.free.pop().unwrap_or(self.hub.connections.len());
            self.poller.add(&socket, index, Interest::Read)?;
            let connection = Connection {
                socket,
                version: Version::V311,
                carry: Vec::new(),
                out: Vec::new(),
                is_touched: false,
                is_full: false,
                id: 0,
            };
            match self.hub.connections.get_mut(index) {
                Some(place) => *place = Some(Box::new(connection)),
                None => self.hub.connections.push(Some(Box::new(connection))),
            }
        }
        Ok(())
    }
}

impl Hub {
    /// Takes what has come; false when the connection is over.
    fn read(&mut self, index: usize, buffer: &mut Vec<u8>) -> bool {
        let Some(connection) = &mut self.connections[index] else { return true };
        let carried = connection.carry.len();
        if buffer.len() < carried + READ_BYTES / 2 {
            buffer.resize(carried + READ_BYTES, 0);
        }
        buffer[..carried].copy_from_slice(&connection.carry);
        let mut socket = &connection.socket;
        let end = match socket.read(&mut buffer[carried..]) {
            Ok(0) => return false,
            Ok(bytes) => carried + bytes,
            Err(error) => return is_nothing(&error),
        };
        connection.carry.clear();
        let mut at = 0;
        loop {
            match split(&buffer[at..end], usize::MAX) {
                Ok(Split::Frame(frame)) => {
                    if self.take(index, frame.first, frame.body).is_none() {
                        return false;
                    }
                    at += frame.total_bytes();
                }
                Ok(Split::Incomplete(_)) => break,
                Err(_) => return false,
            }
        }
        if let (true, Some(connection)) = (at < end, &mut self.connections[index]) {
            connection.carry.extend_from_slice(&buffer[at..end]);
        }
        true
    }

    /// Does what a packet asks for; `None` for a farewell, or when it is no packet.
    fn take(&mut self, index: usize, first: u8, body: &[u8]) -> Option<()> {
        let has_properties = || self.connections[index].as_ref().is_some_and(|it| it.version.has_properties());
        match PacketType::of(first)? {
            PacketType::Connect => {
                let level = *body.get(2 + usize::from(u16::from_be_bytes(*body.first_chunk()?)))?;
                let version = if level == 5 { Version::V5 } else { Version::V311 };
                self.put(index, |connection| {
                    connection.version = version;
                    let connack: &[u8] = if version.has_properties() { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
                    connection.out.extend_from_slice(connack);
                });
            }
            PacketType::Subscribe => {
                let has_properties = has_properties();
                let (id, mut rest) = body.split_first_chunk::<2>()?;
                if has_properties {
                    let (properties_bytes, length_bytes) = varint::decode(rest).ok()??;
                    rest = rest.get(length_bytes + properties_bytes as usize..)?;
                }
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let (filter, options) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                let qos = options.first()? & 0b11;
                match filter.strip_suffix(b"#") {
                    Some(prefix) => self.below.push((prefix.to_vec(), (index, qos))),
                    None => self.exact.entry(filter.to_vec()).or_default().push((index, qos)),
                }
                let id = *id;
                self.put(index, |connection| {
                    let [high, low] = id;
                    match has_properties {
                        true => connection.out.extend_from_slice(&[0x90, 4, high, low, 0, qos]),
                        false => connection.out.extend_from_slice(&[0x90, 3, high, low, qos]),
                    }
                });
            }
            PacketType::Publish => self.publish(index, first, body)?,
            kind @ (PacketType::Pubrec | PacketType::Pubrel) => {
                let id = *body.first_chunk::<2>()?;
                let answer = if kind == PacketType::Pubrec { PacketType::Pubrel } else { PacketType::Pubcomp };
                self.acknowledge(index, answer, id);
            }
            PacketType::Pingreq => self.put(index, |connection| connection.out.extend_from_slice(&[0xd0, 0])),
            PacketType::Disconnect => return None,
            _ => {}
        }
        Some(())
    }

    fn publish(&mut self, index: usize, first: u8, body: &[u8]) -> Option<()> {
        let topic = body.get(2..2 + usize::from(u16::from_be_bytes(*body.first_chunk()?)))?;
        let Self { connections, exact, below, touched, .. } = self;
        let whom = exact.get(topic).into_iter().flatten();
        let whom = whom.chain(below.iter().filter(|(prefix, _)| topic.starts_with(prefix)).map(|(_, whom)| whom));
        for &(subscriber, qos) in whom {
            if let Some(connection) = &mut connections[subscriber] {
                deliver(connection, first, topic.len() + 2, qos, body);
                touch(connection, subscriber, touched);
            }
        }
        let id = || body.get(2 + topic.len()..)?.first_chunk::<2>().copied();
        match first >> 1 & 0b11 {
            1 => self.acknowledge(index, PacketType::Puback, id()?),
            2 => self.acknowledge(index, PacketType::Pubrec, id()?),
            _ => {}
        }
        Some(())
    }

    fn acknowledge(&mut self, index: usize, kind: PacketType, [high, low]: [u8; 2]) {
        self.put(index, |connection| connection.out.extend_from_slice(&[kind.first_byte(), 2, high, low]));
    }

    fn put(&mut self, index: usize, write: impl FnOnce(&mut Connection)) {
        if let Some(connection) = &mut self.connections[index] {
            write(connection);
            touch(connection, index, &mut self.touched);
        }
    }

    fn flush_touched(&mut self, poller: &Poller) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        for &index in &touched {
            if let Some(connection) = &mut self.connections[index] {
                connection.is_touched = false;
                if !connection.is_full {
                    self.flush(index, poller)?;
                }
            }
        }
        touched.clear();
        self.touched = touched;
        Ok(())
    }

    fn flush(&mut self, index: usize, poller: &Poller) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let mut socket = &connection.socket;
        let written = match socket.write(&connection.out) {
            Ok(written) => written,
            Err(error) if is_nothing(&error) => 0,
            // The end of it is read, too.
            Err(_) => connection.out.len(),
        };
        let is_full = written < connection.out.len();
        if is_full {
            connection.out.drain(..written);
        } else {
            connection.out.clear();
        }
        if is_full != connection.is_full {
            connection.is_full = is_full;
            let interest = if is_full { Interest::ReadWrite } else { Interest::Read };
            poller.modify(&connection.socket, index, interest)?;
        }
        Ok(())
    }

    fn forget(&mut self, index: usize) {
        if self.connections[index].take().is_none() {
            return;
        }
        self.free.push(index);
        self.below.retain(|(_, (subscriber, _))| *subscriber != index);
        self.exact.retain(|_, subscribers| {
            subscribers.retain(|(subscriber, _)| *subscriber != index);
            !subscribers.is_empty()
        });
    }
}

fn touch(connection: &mut Connection, index: usize, touched: &mut Vec<usize>) {
    if !connection.is_touched {
        connection.is_touched = true;
        touched.push(index);
    }
}

/// Copies a publication into a subscriber's output, with the quality of service and the identifier that it has there.
fn deliver(connection: &mut Connection, first: u8, topic_bytes: usize, qos_max: u8, body: &[u8]) {
    let qos = first >> 1 & 0b11;
    let id_bytes = if qos > 0 { 2 } else { 0 };
    let (Some(topic), Some(rest)) = (body.get(..topic_bytes), body.get(topic_bytes + id_bytes..)) else { return };
    let out = &mut connection.out;
    if out.len() + body.len() > OUTPUT_BYTES_MAX {
        return;
    }
    let qos = qos.min(qos_max);
    let body_bytes = topic.len() + rest.len() + if qos > 0 { 2 } else { 0 };
    out.push(PacketType::Publish.first_byte() | qos << 1);
    varint::put(out, body_bytes as u32);
    out.extend_from_slice(topic);
    if qos > 0 {
        connection.id = connection.id % u16::MAX + 1;
        out.extend_from_slice(&connection.id.to_be_bytes());
    }
    out.extend_from_slice(rest);
}
