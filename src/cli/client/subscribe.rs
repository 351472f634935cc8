use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};
use thingway_contract::{Qos, RetainHandling, SubscriptionOptions};
use thingway_mqtt::{
    PropertyId, PropertyWriter, Value,
    packet::{Ack, Packet, Publish, Suback, Subscribe, SubscribeFilters},
};
use tokio::time::timeout;

use super::{
    arguments::SubscribeArguments,
    connection::{ClientError, Connection, decode, explain, unexpected},
};

/// Why `sub` ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All messages that were asked for have come, or nobody reads them any more.
    Enough,
    /// The time is up.
    TimedOut,
}

const PACKET_ID: u16 = 1;

/// Subscribes and prints what comes.
pub async fn subscribe(arguments: &SubscribeArguments) -> Result<Ended, ClientError> {
    let mut connection = Connection::open(&arguments.connect).await?;
    let ended = {
        let work = receive(&mut connection, arguments);
        match arguments.timeout {
            None => work.await?,
            Some(limit) => match timeout(limit.duration(), work).await {
                Ok(ended) => ended?,
                Err(_) => Ended::TimedOut,
            },
        }
    };
    connection.close().await?;
    Ok(ended)
}

async fn receive(connection: &mut Connection, arguments: &SubscribeArguments) -> Result<Ended, ClientError> {
    request(connection, arguments).await?;
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut subscribed = false;
    // Messages of QoS 2 are complete only with their release.
    let mut unreleased: u32 = 0;
    while left != 0 || unreleased != 0 || !subscribed {
        let bytes = connection.next().await?;
        match decode(connection.version(), &bytes)? {
            Packet::Suback(suback) => {
                check(connection, &suback, arguments)?;
                subscribed = true;
            }
            // More than was asked for stays with the server.
            Packet::Publish(_) if left == 0 => {}
            Packet::Publish(publish) => {
                if !(arguments.no_retained && publish.retain) {
                    left -= 1;
                    // Somebody like `head` has had enough.
                    if print(&publish, arguments).is_err() {
                        return Ok(Ended::Enough);
                    }
                }
                unreleased += u32::from(publish.qos == Qos::ExactlyOnce);
                connection.acknowledge(&publish).await?;
            }
            Packet::Pubrel(ack) => {
                unreleased = unreleased.saturating_sub(1);
                connection.send(&Packet::Pubcomp(Ack::success(ack.packet_id))).await?;
            }
            other => return Err(unexpected(&other)),
        }
    }
    Ok(Ended::Enough)
}

async fn request(connection: &mut Connection, arguments: &SubscribeArguments) -> Result<(), ClientError> {
    let options = SubscriptionOptions {
        qos: arguments.qos,
        no_local: arguments.no_local,
        retain_as_published: arguments.retain_as_published,
        retain_handling: match arguments.retain_handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
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
        packet_id: PACKET_ID,
        properties: properties.as_block(),
        filters: SubscribeFilters::from_encoded(&filters),
    };
    connection.send(&Packet::Subscribe(subscribe)).await
}

fn check(connection: &Connection, suback: &Suback<'_>, arguments: &SubscribeArguments) -> Result<(), ClientError> {
    for (code, filter) in suback.codes.iter().zip(&arguments.topics) {
        if *code >= 0x80 {
            let has_reasons = connection.version().has_properties();
            let reason = if has_reasons { explain(*code, suback.properties) } else { format!("code 0x{code:02x}") };
            return Err(ClientError::SubscriptionRefused { filter: filter.clone(), reason });
        }
    }
    Ok(())
}

fn print(publish: &Publish<'_>, arguments: &SubscribeArguments) -> io::Result<()> {
    let mut line = Vec::new();
    if arguments.json {
        line.extend_from_slice(as_json(publish).to_string().as_bytes());
    } else {
        if arguments.verbose {
            line.extend_from_slice(publish.topic.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(publish.payload);
    }
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn as_json(publish: &Publish<'_>) -> Json {
    let mut object = Map::new();
    object.insert("topic".into(), publish.topic.into());
    match std::str::from_utf8(publish.payload) {
        Ok(text) => object.insert("payload".into(), text.into()),
        Err(_) => object.insert("payload_hex".into(), hex(publish.payload).into()),
    };
    object.insert("qos".into(), (publish.qos as u8).into());
    object.insert("retain".into(), publish.retain.into());
    object.insert("duplicate".into(), publish.duplicate.into());
    let mut user_properties = Vec::new();
    let mut ids = Vec::new();
    for (id, value) in publish.properties.iter() {
        match (id, value) {
            (PropertyId::UserProperty, Value::Pair(name, value)) => user_properties.push(json!([name, value])),
            (PropertyId::SubscriptionIdentifier, Value::Variable(id)) => ids.push(Json::from(id)),
            (PropertyId::PayloadFormatIndicator, Value::Byte(byte)) => insert(&mut object, "text", byte == 1),
            (PropertyId::MessageExpiryInterval, Value::Four(seconds)) => insert(&mut object, "expiry_secs", seconds),
            (PropertyId::ContentType, Value::Text(text)) => insert(&mut object, "content_type", text),
            (PropertyId::ResponseTopic, Value::Text(text)) => insert(&mut object, "response_topic", text),
            (PropertyId::CorrelationData, Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => insert(&mut object, "correlation_data", text),
                Err(_) => insert(&mut object, "correlation_data_hex", hex(bytes)),
            },
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
    Json::Object(object)
}

fn insert(object: &mut Map<String, Json>, name: &str, value: impl Into<Json>) {
    object.insert(name.into(), value.into());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
