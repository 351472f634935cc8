//! MQTT over streams.

mod connection;

use serde_json::{Map, Value as Json, json};
use thingway_contract::{Qos, RetainHandling, SubscriptionOptions, Topic, TopicLimits};
use thingway_mqtt::{
    PropertyBlock, PropertyId, PropertyWriter, Reason, Value,
    packet::{Ack, Packet, Publish, Suback, Subscribe, SubscribeFilters},
};

use self::connection::{Connection, decode, explain, unexpected};
use super::{
    arguments::{ConnectArguments, PublishArguments, SubscribeArguments, refuse},
    conversation::{self, Message},
    error::ClientError,
    print::{insert, insert_bytes},
    url::Transport,
};

const PROTOCOL: &str = "MQTT";

/// The identifier of the one SUBSCRIBE that there is.
const SUBSCRIBE_ID: u16 = 1;

/// An MQTT client.
pub struct Client {
    connection: Connection,
    packet_id: u16,
    alias_sent: bool,
    /// What was asked for and is not granted yet.
    requested: Option<Vec<String>>,
    /// The packet identifier and quality of service of the message that came last.
    unacknowledged: Option<(u16, Qos)>,
    /// Messages of QoS 2 that are complete only with their release.
    unreleased: u32,
}

/// Checks what can be checked before anything is sent.
pub fn check_publish(arguments: &PublishArguments) -> Result<(), ClientError> {
    refuse(PROTOCOL, &arguments.of_mqtt_sn())?;
    // Before 5.0 a server has no way to tell, and at QoS 0 nobody waits for what it tells.
    let topic = arguments.topic.as_deref().unwrap_or_default();
    Topic::parse(topic, TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX }).map_err(ClientError::Topic)?;
    Ok(())
}

/// Checks what can be checked before anything is sent.
pub fn check_subscribe(arguments: &SubscribeArguments) -> Result<(), ClientError> {
    refuse(PROTOCOL, &arguments.of_mqtt_sn())
}

impl Client {
    /// Connects.
    pub async fn open(transport: &Transport, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        Ok(Self {
            connection: Connection::open(transport, arguments).await?,
            packet_id: 0,
            alias_sent: false,
            requested: None,
            unacknowledged: None,
            unreleased: 0,
        })
    }

    async fn acknowledged(&mut self, arguments: &PublishArguments, packet_id: u16) -> Result<(), ClientError> {
        let qos = arguments.qos.0;
        loop {
            let bytes = self.connection.next().await?;
            let ack = match decode(self.connection.version(), &bytes)? {
                Packet::Puback(ack) if qos == Some(Qos::AtLeastOnce) => ack,
                Packet::Pubcomp(ack) if qos == Some(Qos::ExactlyOnce) => ack,
                Packet::Pubrec(ack) if qos == Some(Qos::ExactlyOnce) && ack.packet_id == packet_id => {
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
                eprintln!("nobody has subscribed to {}", arguments.topic.as_deref().unwrap_or_default());
            }
            let refused = ack.reason.is_failure();
            let text = || explain(ack.reason.code(), ack.properties);
            return if refused { Err(ClientError::PublicationRefused(text())) } else { Ok(()) };
        }
    }

    fn use_alias(&self, arguments: &PublishArguments) -> Option<u16> {
        let allowed = self.connection.topic_alias_maximum;
        arguments.topic_alias.filter(|alias| self.connection.version().has_properties() && *alias <= allowed)
    }

    fn publish_properties(&self, arguments: &PublishArguments) -> Result<PropertyWriter, ClientError> {
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
        if let Some(alias) = self.use_alias(arguments) {
            properties.push(PropertyId::TopicAlias, Value::Two(alias))?;
        }
        for (name, value) in &arguments.user_property {
            properties.push(PropertyId::UserProperty, Value::Pair(name, value))?;
        }
        Ok(properties)
    }

    /// Takes the next packet. Messages are given back, whatever else is due is done.
    async fn turn(&mut self) -> Result<Option<Message>, ClientError> {
        let bytes = self.connection.next().await?;
        match decode(self.connection.version(), &bytes)? {
            Packet::Suback(suback) => {
                let filters = self.requested.take().unwrap_or_default();
                self.check(&suback, &filters)?;
            }
            Packet::Publish(publish) => {
                self.unacknowledged = Some((publish.packet_id, publish.qos));
                return Ok(Some(message(&publish)));
            }
            Packet::Pubrel(ack) => {
                self.unreleased = self.unreleased.saturating_sub(1);
                self.connection.send(&Packet::Pubcomp(Ack::success(ack.packet_id))).await?;
            }
            other => return Err(unexpected(&other)),
        }
        Ok(None)
    }

    fn check(&self, suback: &Suback<'_>, filters: &[String]) -> Result<(), ClientError> {
        for (code, filter) in suback.codes.iter().zip(filters) {
            if *code >= 0x80 {
                let has_reasons = self.connection.version().has_properties();
                let reason = if has_reasons { explain(*code, suback.properties) } else { format!("code 0x{code:02x}") };
                return Err(ClientError::SubscriptionRefused { filter: filter.clone(), reason });
            }
        }
        Ok(())
    }
}

impl conversation::Client for Client {
    async fn publish(&mut self, arguments: &PublishArguments, payload: &[u8]) -> Result<(), ClientError> {
        let properties = self.publish_properties(arguments)?;
        let qos = arguments.qos.0.unwrap_or_default();
        let topic = arguments.topic.as_deref().unwrap_or_default();
        if qos.is_acknowledged() {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        }
        let packet_id = if qos.is_acknowledged() { self.packet_id } else { 0 };
        let publish = Publish {
            duplicate: false,
            qos,
            retain: arguments.retain,
            topic: if self.alias_sent { "" } else { topic },
            packet_id,
            properties: properties.as_block(),
            payload,
        };
        self.connection.send(&Packet::Publish(publish)).await?;
        self.alias_sent = self.use_alias(arguments).is_some();
        if qos == Qos::AtMostOnce { Ok(()) } else { self.acknowledged(arguments, packet_id).await }
    }

    async fn subscribe(&mut self, arguments: &SubscribeArguments) -> Result<(), ClientError> {
        let options = SubscriptionOptions {
            qos: arguments.qos,
            no_local: arguments.no_local,
            retain_as_published: arguments.retain_as_published,
            retain_handling: match arguments.retain_handling {
                None | Some(0) => RetainHandling::Send,
                Some(1) => RetainHandling::SendIfNew,
                Some(_) => RetainHandling::DoNotSend,
            },
            id: 0,
        };
        let mut filters = Vec::new();
        for filter in &arguments.topics {
            SubscribeFilters::push(&mut filters, filter, options)?;
        }
        let mut properties = PropertyWriter::new();
        if let Some(id) = arguments.subscription_id {
            properties.push(PropertyId::SubscriptionIdentifier, Value::Variable(id))?;
        }
        let subscribe = Subscribe {
            packet_id: SUBSCRIBE_ID,
            properties: properties.as_block(),
            filters: SubscribeFilters::from_encoded(&filters),
        };
        self.requested = Some(arguments.topics.clone());
        self.connection.send(&Packet::Subscribe(subscribe)).await
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.turn().await? {
                return Ok(message);
            }
        }
    }

    async fn acknowledge(&mut self) -> Result<(), ClientError> {
        let Some((packet_id, qos)) = self.unacknowledged.take() else { return Ok(()) };
        match qos {
            Qos::AtMostOnce => Ok(()),
            Qos::AtLeastOnce => self.connection.send(&Packet::Puback(Ack::success(packet_id))).await,
            Qos::ExactlyOnce => {
                self.unreleased += 1;
                self.connection.send(&Packet::Pubrec(Ack::success(packet_id))).await
            }
        }
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        while self.requested.is_some() || self.unreleased != 0 {
            self.turn().await?;
        }
        Ok(())
    }

    async fn close(self) -> Result<(), ClientError> {
        self.connection.close().await
    }
}

fn message(publish: &Publish<'_>) -> Message {
    Message {
        topic: publish.topic.to_owned(),
        payload: publish.payload.to_vec(),
        qos: Some(publish.qos),
        retain: publish.retain,
        duplicate: publish.duplicate,
        properties: as_json(publish.properties),
    }
}

fn as_json(properties: PropertyBlock<'_>) -> Map<String, Json> {
    let mut object = Map::new();
    let mut user_properties = Vec::new();
    let mut ids = Vec::new();
    for (id, value) in properties.iter() {
        match (id, value) {
            (PropertyId::UserProperty, Value::Pair(name, value)) => user_properties.push(json!([name, value])),
            (PropertyId::SubscriptionIdentifier, Value::Variable(id)) => ids.push(Json::from(id)),
            (PropertyId::PayloadFormatIndicator, Value::Byte(byte)) => insert(&mut object, "text", byte == 1),
            (PropertyId::MessageExpiryInterval, Value::Four(seconds)) => insert(&mut object, "expiry_secs", seconds),
            (PropertyId::ContentType, Value::Text(text)) => insert(&mut object, "content_type", text),
            (PropertyId::ResponseTopic, Value::Text(text)) => insert(&mut object, "response_topic", text),
            (PropertyId::CorrelationData, Value::Bytes(bytes)) => {
                insert_bytes(&mut object, "correlation_data", bytes);
            }
            (PropertyId::TopicAlias, Value::Two(alias)) => insert(&mut object, "topic_alias", alias),
            _ => {}
        }
    }
    if !user_properties.is_empty() {
        insert(&mut object, "user_properties", user_properties);
    }
    if !ids.is_empty() {
        insert(&mut object, "subscription_ids", ids);
    }
    object
}
