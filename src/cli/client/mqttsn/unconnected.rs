use std::{future, time::Duration};

use thingway_mqtt_sn::{
    Packet,
    packet::{Publish, TopicRef},
};
use tokio::time::Instant;

use super::{PROTOCOL, accepted, link::encode, short};
use crate::cli::client::{
    arguments::{PublishArguments, SubscribeArguments, refuse},
    conversation::{Client, Message},
    error::ClientError,
    udp::Datagrams,
    url::Host,
};

/// How long a refusal is waited for.
const REFUSAL_WAIT: Duration = Duration::from_millis(200);

/// A client that publishes with QoS -1 (section 6.8): it never connects, and nobody answers.
pub struct Unconnected {
    socket: Datagrams,
}

/// Checks what can be checked before anything is sent.
pub fn check_publish(arguments: &PublishArguments) -> Result<(), ClientError> {
    super::check_publish(arguments)?;
    let protocol = "QoS -1 of MQTT-SN";
    refuse(protocol, &arguments.connect.of_sessions())?;
    refuse(protocol, &arguments.connect.of_connections())?;
    topic(arguments).map(|_| ())
}

fn topic(arguments: &PublishArguments) -> Result<TopicRef, ClientError> {
    let id = arguments.predefined_id.map(TopicRef::Predefined);
    let topic = arguments.topic.as_deref().and_then(short).map(TopicRef::Short);
    id.or(topic).ok_or_else(|| {
        ClientError::Usage(format!(
            "{PROTOCOL} publishes with QoS -1 to a topic of two characters or a --predefined-id"
        ))
    })
}

impl Unconnected {
    /// Finds the gateway. Nothing is sent.
    pub async fn open(host: &Host) -> Result<Self, ClientError> {
        Ok(Self { socket: Datagrams::open(host).await? })
    }
}

impl Client for Unconnected {
    async fn publish(&mut self, arguments: &PublishArguments, payload: &[u8]) -> Result<(), ClientError> {
        let topic = topic(arguments)?;
        let (duplicate, message_id, retain) = (false, 0, arguments.retain);
        let publish = Packet::Publish(Publish { duplicate, qos: None, retain, topic, message_id, payload });
        Ok(self.socket.send(&encode(&publish)?).await?)
    }

    async fn subscribe(&mut self, _arguments: &SubscribeArguments) -> Result<(), ClientError> {
        Err(ClientError::Usage("there are no subscriptions without a connection".into()))
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        future::pending().await
    }

    async fn acknowledge(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    /// Nobody answers what was published, but there may be a refusal, and a machine tells that nobody listens there.
    async fn close(mut self) -> Result<(), ClientError> {
        let Some(received) = self.socket.receive_before(Instant::now() + REFUSAL_WAIT).await? else { return Ok(()) };
        match Packet::decode(&received)? {
            Packet::Puback(puback) => accepted(puback.code, &received, ()).map_err(ClientError::PublicationRefused),
            _ => Ok(()),
        }
    }
}
