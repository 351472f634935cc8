use std::{fs, io, io::BufRead, thread};

use thingway_contract::{Qos, Topic, TopicLimits};
use thingway_mqtt::{
    PropertyId, PropertyWriter, Reason, Value,
    packet::{Ack, Packet, Publish},
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    arguments::PublishArguments,
    connection::{ClientError, Connection, decode, explain, unexpected},
};

/// Publishes what the arguments say.
pub async fn publish(arguments: &PublishArguments) -> Result<(), ClientError> {
    // Before 5.0 a server has no way to tell, and at QoS 0 nobody waits for what it tells.
    Topic::parse(&arguments.topic, TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX })
        .map_err(ClientError::Topic)?;
    let mut publisher = Publisher {
        connection: Connection::open(&arguments.connect).await?,
        arguments,
        packet_id: 0,
        alias_sent: false,
    };
    if arguments.stdin_line {
        let mut lines = lines();
        while let Some(line) = publisher.while_waiting(lines.recv()).await? {
            publisher.publish(&line?).await?;
        }
    } else {
        let payload = match (&arguments.file, &arguments.message) {
            (Some(path), _) => fs::read(path)?,
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
        };
        for round in 0..arguments.repeat {
            if round != 0 && !arguments.repeat_delay.is_zero() {
                publisher.while_waiting(sleep(arguments.repeat_delay.duration())).await?;
            }
            publisher.publish(&payload).await?;
        }
    }
    publisher.connection.close().await
}

struct Publisher<'a> {
    connection: Connection,
    arguments: &'a PublishArguments,
    packet_id: u16,
    alias_sent: bool,
}

impl Publisher<'_> {
    /// Publishes a payload and waits until the server has it, as far as the quality of service tells.
    async fn publish(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        let arguments = self.arguments;
        let properties = self.properties()?;
        let topic = if self.alias_sent { "" } else { arguments.topic.as_str() };
        if arguments.qos.is_acknowledged() {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        }
        let packet_id = if arguments.qos.is_acknowledged() { self.packet_id } else { 0 };
        let publish = Publish {
            duplicate: false,
            qos: arguments.qos,
            retain: arguments.retain,
            topic,
            packet_id,
            properties: properties.as_block(),
            payload,
        };
        self.connection.send(&Packet::Publish(publish)).await?;
        self.alias_sent = self.use_alias().is_some();
        if arguments.qos == Qos::AtMostOnce { Ok(()) } else { self.acknowledged(packet_id).await }
    }

    async fn acknowledged(&mut self, packet_id: u16) -> Result<(), ClientError> {
        loop {
            let bytes = self.connection.next().await?;
            let ack = match decode(self.connection.version(), &bytes)? {
                Packet::Puback(ack) if self.arguments.qos == Qos::AtLeastOnce => ack,
                Packet::Pubcomp(ack) if self.arguments.qos == Qos::ExactlyOnce => ack,
                Packet::Pubrec(ack) if self.arguments.qos == Qos::ExactlyOnce && ack.packet_id == packet_id => {
                    if !ack.reason.is_failure() {
                        self.connection.send(&Packet::Pubrel(Ack::success(packet_id))).await?;
                        continue;
                    }
                    ack
                }
                other => return Err(unexpected(&other)),
            };
            if ack.packet_id != packet_id {
                continue;
            }
            if ack.reason == Reason::NoMatchingSubscribers {
                eprintln!("nobody has subscribed to {}", self.arguments.topic);
            }
            let refused = ack.reason.is_failure();
            let text = || explain(ack.reason.code(), ack.properties);
            return if refused { Err(ClientError::PublicationRefused(text())) } else { Ok(()) };
        }
    }

    /// Waits for something else and keeps the connection alive meanwhile.
    async fn while_waiting<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ClientError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                packet = self.connection.next() => {
                    let bytes = packet?;
                    let packet = decode(self.connection.version(), &bytes)?;
                    if matches!(packet, Packet::Disconnect(_)) {
                        return Err(unexpected(&packet));
                    }
                }
            }
        }
    }

    fn use_alias(&self) -> Option<u16> {
        let allowed = self.connection.topic_alias_maximum;
        self.arguments.topic_alias.filter(|alias| self.connection.version().has_properties() && *alias <= allowed)
    }

    fn properties(&self) -> Result<PropertyWriter, ClientError> {
        let arguments = self.arguments;
        let mut properties = PropertyWriter::new();
        if arguments.text {
            properties.push(PropertyId::PayloadFormatIndicator, Value::Byte(1))?;
        }
        if let Some(seconds) = arguments.expiry {
            properties.push(PropertyId::MessageExpiryInterval, Value::Four(seconds))?;
        }
        if let Some(text) = &arguments.content_type {
            properties.push(PropertyId::ContentType, Value::Text(text))?;
        }
        if let Some(topic) = &arguments.response_topic {
            properties.push(PropertyId::ResponseTopic, Value::Text(topic))?;
        }
        if let Some(data) = &arguments.correlation_data {
            properties.push(PropertyId::CorrelationData, Value::Bytes(data.as_bytes()))?;
        }
        if let Some(alias) = self.use_alias() {
            properties.push(PropertyId::TopicAlias, Value::Two(alias))?;
        }
        for (name, value) in &arguments.user_property {
            properties.push(PropertyId::UserProperty, Value::Pair(name, value))?;
        }
        Ok(properties)
    }
}

/// Lines of standard input, without their ends. Reading blocks a thread of its own, which ends with the program.
fn lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                line
            });
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
