use std::time::Duration;

use thingway_mqtt::{
    Frame, PacketError, PropertyBlock, PropertyId, PropertyWriter, Reason, Split, Value, Version,
    packet::{Connack, Connect, Disconnect, Packet, Sender, Will},
    split,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::cli::client::{
    arguments::{ConnectArguments, MqttVersion},
    error::ClientError,
    transport::{Connector, Wire},
    url::Transport,
};

/// Largest packet that the client takes.
const PACKET_BYTES_MAX: usize = 268_435_460;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const KEEP_ALIVE_SECS: u16 = 60;

/// A connection that the server has accepted.
pub struct Connection {
    wire: Box<dyn Wire>,
    input: Vec<u8>,
    /// Bytes at the front of `input` that were handled.
    handled: usize,
    version: Version,
    keep_alive: Option<Duration>,
    ping_at: Instant,
    pinged: bool,
    /// What the server said in CONNACK: the highest topic alias that it takes.
    pub topic_alias_maximum: u16,
}

impl Connection {
    /// Connects, within the time that the arguments allow.
    pub async fn open(transport: &Transport, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let limit = arguments.connect_timeout.map_or(CONNECT_TIMEOUT, |limit| limit.duration());
        timeout(limit, Self::connect(transport, arguments)).await.map_err(|_| ClientError::Timeout)?
    }

    async fn connect(transport: &Transport, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let version = Version::from(arguments.mqtt_version.unwrap_or(MqttVersion::V5));
        let mut connection = Self {
            wire: Connector::new(transport, &arguments.tls, version)?.connect(None).await?,
            input: Vec::new(),
            handled: 0,
            version,
            keep_alive: None,
            ping_at: Instant::now(),
            pinged: false,
            topic_alias_maximum: 0,
        };
        let packet = connect_packet(arguments, version)?;
        connection.wire.write_all(&packet).await?;
        connection.wire.flush().await?;
        let frame = connection.frame().await?;
        let mut keep_alive_secs = arguments.keep_alive.unwrap_or(KEEP_ALIVE_SECS);
        match decode(version, &frame)? {
            Packet::Connack(connack) if connack.is_accepted() => {
                keep_alive_secs = connack.properties.short(PropertyId::ServerKeepAlive).unwrap_or(keep_alive_secs);
                connection.topic_alias_maximum = connack.properties.short(PropertyId::TopicAliasMaximum).unwrap_or(0);
            }
            Packet::Connack(connack) => return Err(ClientError::Refused(refusal(version, &connack))),
            other => return Err(unexpected(&other)),
        }
        connection.keep_alive =
            Some(Duration::from_secs(u64::from(keep_alive_secs))).filter(|period| !period.is_zero());
        connection.delay_ping();
        Ok(connection)
    }

    /// The version that is spoken.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes)?;
        self.wire.write_all(&bytes).await?;
        self.wire.flush().await?;
        self.delay_ping();
        Ok(())
    }

    /// The next packet's bytes, for [`decode`]; pings are made and answered meanwhile. May be cancelled and called again.
    pub async fn next(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            let Some(keep_alive) = self.keep_alive else { return self.frame().await };
            match timeout_at(self.ping_at, self.frame()).await {
                Ok(frame) => {
                    let frame = frame?;
                    self.pinged = false;
                    if !matches!(decode(self.version, &frame)?, Packet::Pingresp) {
                        return Ok(frame);
                    }
                }
                Err(_) if self.pinged => return Err(ClientError::Silent),
                Err(_) => {
                    self.send(&Packet::Pingreq).await?;
                    self.pinged = true;
                    self.ping_at = Instant::now() + keep_alive;
                }
            }
        }
    }

    /// Says goodbye and closes. A server that has gone first is no failure.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.send(&Packet::Disconnect(Disconnect::new(Reason::Success))).await?;
        let _ = timeout(Duration::from_secs(2), self.wire.shutdown()).await;
        Ok(())
    }

    async fn frame(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Split::Frame(frame) = split(&self.input[self.handled..], PACKET_BYTES_MAX)? {
                let end = self.handled + frame.total_bytes();
                let bytes = self.input[self.handled..end].to_vec();
                self.handled = end;
                return Ok(bytes);
            }
            self.input.drain(..self.handled);
            self.handled = 0;
            if self.wire.read_buf(&mut self.input).await? == 0 {
                return Err(ClientError::Closed);
            }
        }
    }

    fn delay_ping(&mut self) {
        if let Some(keep_alive) = self.keep_alive {
            self.ping_at = Instant::now() + keep_alive;
        }
    }
}

/// Reads the packet in bytes that [`Connection::next`] gave.
pub fn decode(version: Version, bytes: &[u8]) -> Result<Packet<'_>, ClientError> {
    match split(bytes, PACKET_BYTES_MAX)? {
        // Before 5.0 servers just hang up; one that says DISCONNECT all the same is understood.
        Split::Frame(Frame { first: 0xe0, .. }) if !version.has_properties() => {
            Err(ClientError::Disconnected("without a reason".into()))
        }
        Split::Frame(frame) => Ok(Packet::decode(version, Sender::Server, frame)?),
        Split::Incomplete(_) => Err(PacketError::Truncated.into()),
    }
}

/// What to make of a packet that was not awaited.
pub fn unexpected(packet: &Packet<'_>) -> ClientError {
    match packet {
        Packet::Disconnect(disconnect) => {
            ClientError::Disconnected(explain(disconnect.reason.code(), disconnect.properties))
        }
        other => ClientError::Unexpected(format!("{:?}", other.packet_type())),
    }
}

/// A reason code for people, with the server's own words where it has some.
pub fn explain(code: u8, properties: PropertyBlock<'_>) -> String {
    let mut text = Reason::from_u8(code).map_or_else(|| "unknown reason".into(), |reason| reason.text().to_owned());
    text += &format!(" (0x{code:02x})");
    if let Some(reason) = properties.text(PropertyId::ReasonString) {
        text += &format!(": {reason}");
    }
    if let Some(server) = properties.text(PropertyId::ServerReference) {
        text += &format!(", use {server}");
    }
    text
}

fn refusal(version: Version, connack: &Connack<'_>) -> String {
    if version.has_properties() {
        return explain(connack.code, connack.properties);
    }
    let text = match connack.code {
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "unknown return code",
    };
    format!("{text} ({})", connack.code)
}

fn connect_packet(arguments: &ConnectArguments, version: Version) -> Result<Vec<u8>, ClientError> {
    let mut properties = PropertyWriter::new();
    if let Some(secs) = arguments.session_expiry.filter(|secs| *secs != 0) {
        properties.push(PropertyId::SessionExpiryInterval, Value::Four(secs))?;
    }
    for (name, value) in &arguments.connect_property {
        properties.push(PropertyId::UserProperty, Value::Pair(name, value))?;
    }
    let mut will_properties = PropertyWriter::new();
    if let Some(secs) = arguments.will.will_delay.filter(|secs| *secs != 0) {
        will_properties.push(PropertyId::WillDelayInterval, Value::Four(secs))?;
    }
    // 3.1 knows no empty identifiers.
    let needs_id = version == Version::V31 || (version == Version::V311 && arguments.keep_session);
    let client_id = if needs_id { arguments.client_id_or_own() } else { arguments.client_id.clone() };
    let connect = Connect {
        clean_start: !arguments.keep_session,
        keep_alive_secs: arguments.keep_alive.unwrap_or(KEEP_ALIVE_SECS),
        will: arguments.will.will_topic.as_deref().map(|topic| Will {
            topic,
            payload: arguments.will.will_payload.as_bytes(),
            qos: arguments.will.will_qos,
            retain: arguments.will.will_retain,
            properties: will_properties.as_block(),
        }),
        username: arguments.username(),
        password: arguments.password().map(str::as_bytes),
        properties: properties.as_block(),
        ..Connect::new(version, &client_id)
    };
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(version, &mut bytes)?;
    Ok(bytes)
}
