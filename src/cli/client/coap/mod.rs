//! CoAP over UDP, as EMQX has it: topics below a path, parameters in the query, subscriptions by Observe (RFC 7641).
//!
//! | module | what |
//! | --- | --- |
//! | `link` | the socket and the message layer: requests with their responses, notifications |
//! | `transfer` | requests and responses of several blocks (RFC 7959), and the proof of an address (RFC 9175) |
//! | `request` | paths and queries |
//! | `answer` | codes for people, and messages from notifications |
//!
//! The state machines of message layer and blocks are those of `thingway_coap`.

mod answer;
mod link;
mod request;
mod transfer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use thingway_coap::codec::{Code, Packet, content_format, option};
use thingway_contract::{Qos, Topic, TopicLimits};
use tokio::time::{Instant, timeout};

use self::{
    answer::{Observation, explain},
    link::{Event, Link, Notification},
    request::Requests,
};
use super::{
    arguments::{ConnectArguments, PublishArguments, SubscribeArguments, refuse},
    conversation::{self, Message},
    error::ClientError,
    udp::Datagrams,
    url::Host,
};

const PROTOCOL: &str = "CoAP";

/// Time between heartbeats: servers rarely end a connection after less than half a minute.
const HEARTBEAT_SECS: u16 = 20;

/// The silence after which a client without a connection registers its observations again, for the server may have given it up or have started anew:
/// a minute, and what RFC 7641, section 3.3.1 adds, 5 seconds and up to 10 more. How long the last message stays fresh says nothing of the next one,
/// and does not count.
const REFRESH: Refresh = Refresh { after: Duration::from_secs(65), spread: Duration::from_secs(10) };

#[derive(Clone, Copy, Debug)]
struct Refresh {
    after: Duration,
    spread: Duration,
}

/// The Content-Format of text.
const TEXT: u16 = 0;

/// A CoAP client, with a connection or without.
pub struct Client {
    link: Link,
    requests: Requests,
    heartbeat: Option<Duration>,
    heartbeat_at: Instant,
    refresh: Refresh,
    observations: Vec<Observation>,
}

/// Checks what can be checked before anything is sent.
pub fn check_publish(arguments: &PublishArguments) -> Result<(), ClientError> {
    check_connect(&arguments.connect)?;
    refuse(PROTOCOL, &arguments.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt_sn())?;
    let topic = arguments.topic.as_deref().unwrap_or_default();
    Topic::parse(topic, TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX }).map_err(ClientError::Topic)?;
    format(arguments).map(|_| ())
}

/// Checks what can be checked before anything is sent.
pub fn check_subscribe(arguments: &SubscribeArguments) -> Result<(), ClientError> {
    check_connect(&arguments.connect)?;
    refuse(PROTOCOL, &arguments.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt_sn())
}

fn check_connect(arguments: &ConnectArguments) -> Result<(), ClientError> {
    refuse(PROTOCOL, &arguments.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_sessions())?;
    if is_connection(arguments) {
        return Ok(());
    }
    refuse(
        "CoAP without a connection, which --id or --username would ask for",
        &[("--password", arguments.password().is_some()), ("--keep-alive", arguments.keep_alive.is_some())],
    )
}

fn is_connection(arguments: &ConnectArguments) -> bool {
    !arguments.client_id.is_empty() || arguments.username().is_some()
}

/// The Content-Format of what is published.
fn format(arguments: &PublishArguments) -> Result<Option<u16>, ClientError> {
    match (&arguments.content_type, arguments.text) {
        (None, text) => Ok(text.then_some(TEXT)),
        (Some(_), true) => Err(ClientError::Usage("CoAP tells one of --content-type and --text".into())),
        (Some(name), false) => match content_format(name) {
            Some(format) => Ok(Some(format)),
            None => Err(ClientError::Usage(format!("--content-type {name} has no Content-Format, which CoAP needs"))),
        },
    }
}

impl Client {
    /// Opens a connection if there is a reason to.
    pub async fn open(host: &Host, path: &[String], arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let link = Link::new(Datagrams::open(host).await?, Default::default());
        Self::over(link, Requests::new(host, path), arguments).await
    }

    async fn over(link: Link, requests: Requests, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let mut client = Self {
            link,
            requests,
            heartbeat: None,
            heartbeat_at: Instant::now(),
            refresh: REFRESH,
            observations: Vec::new(),
        };
        if is_connection(arguments) {
            let connecting = client.connect(arguments);
            match arguments.connect_timeout {
                None => connecting.await?,
                Some(limit) => timeout(limit.duration(), connecting).await.map_err(|_| ClientError::Timeout)??,
            }
        }
        Ok(client)
    }

    async fn connect(&mut self, arguments: &ConnectArguments) -> Result<(), ClientError> {
        let client_id = arguments.client_id_or_own();
        let request = self.requests.connect(&client_id, arguments.username(), arguments.password())?;
        let response = self.link.ask(&request, "POST mqtt/connection").await?;
        if !response.code().is_success() {
            return Err(ClientError::Refused(explain(&response)));
        }
        let token = std::str::from_utf8(response.payload())
            .map_err(|_| ClientError::BadPacket("the token of the connection is no text".into()))?;
        self.requests.is_connected(&client_id, token);
        let secs = arguments.keep_alive.unwrap_or(HEARTBEAT_SECS);
        self.heartbeat = Some(Duration::from_secs(secs.into())).filter(|period| !period.is_zero());
        self.delay_heartbeat();
        Ok(())
    }

    fn delay_heartbeat(&mut self) {
        if let Some(heartbeat) = self.heartbeat {
            self.heartbeat_at = Instant::now() + heartbeat;
        }
    }

    async fn beat(&mut self) -> Result<(), ClientError> {
        let request = self.requests.connection(Code::PUT)?;
        let response = self.link.ask(&request, "PUT mqtt/connection").await?;
        if !response.code().is_success() {
            return Err(ClientError::Disconnected(explain(&response)));
        }
        self.delay_heartbeat();
        Ok(())
    }

    async fn observe(&mut self, filter: &str, arguments: &SubscribeArguments) -> Result<(), ClientError> {
        let mut request = self.requests.topic(Code::GET, filter)?;
        push_query(&mut request, "qos", &(arguments.qos as u8).to_string())?;
        if arguments.no_local {
            push_query(&mut request, "nl", "1")?;
        }
        let mut again = request.clone();
        let retain_handling = arguments.retain_handling.or(arguments.no_retained.then_some(2));
        if let Some(retain_handling) = retain_handling {
            push_query(&mut request, "rh", &retain_handling.to_string())?;
        }
        // A server that knows the observation sends no retained messages again.
        push_query(&mut again, "rh", if retain_handling == Some(2) { "2" } else { "1" })?;
        let tag = self.link.fresh_tag();
        match self.register(&request, tag).await? {
            Ok(token) => {
                again.set_token(&token);
                let refresh_at = self.refresh_at();
                self.observations.push(Observation { tag, filter: filter.to_owned(), request, again, refresh_at });
                Ok(())
            }
            Err(reason) => Err(ClientError::SubscriptionRefused { filter: filter.to_owned(), reason }),
        }
    }

    /// Registers an observation and tells its token. The answer is kept if it is a retained message.
    async fn register(&mut self, request: &Packet, tag: u32) -> Result<Result<Vec<u8>, String>, ClientError> {
        let (token, response) = self.link.observe(request, tag).await?;
        self.delay_heartbeat();
        if !response.code().is_success() {
            return Ok(Err(explain(&response)));
        }
        if !response.has(option::OBSERVE) {
            return Ok(Err("the server answered, but does not let observe".into()));
        }
        // Without a retained message it has nothing but its code.
        if response.has(option::ETAG) || response.has(option::CONTENT_FORMAT) || !response.payload().is_empty() {
            self.link.put_back(tag, response, true);
        }
        Ok(Ok(token))
    }

    fn refresh_at(&mut self) -> Instant {
        Instant::now() + self.refresh.after + self.link.share_of(self.refresh.spread)
    }

    /// Registers again the observations of which nothing was heard for long.
    async fn register_again(&mut self) -> Result<(), ClientError> {
        for index in 0..self.observations.len() {
            let observation = &self.observations[index];
            if observation.refresh_at > Instant::now() {
                continue;
            }
            let (request, tag) = (observation.again.clone(), observation.tag);
            let registered = self.register(&request, tag).await?;
            let refresh_at = self.refresh_at();
            let observation = &mut self.observations[index];
            if let Err(reason) = registered {
                return Err(observation.ended(&reason));
            }
            (observation.request, observation.refresh_at) = (request, refresh_at);
        }
        Ok(())
    }

    /// When something is to be sent though nothing came.
    fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.map(|_| self.heartbeat_at);
        if self.requests.has_connection() {
            return heartbeat;
        }
        self.observations.iter().map(|observation| observation.refresh_at).min()
    }

    /// The message in a notification, whose blocks are fetched where it has several.
    async fn message(&mut self, notification: Notification) -> Result<Option<Message>, ClientError> {
        let Notification { tag, packet, is_first } = notification;
        let refresh_at = self.refresh_at();
        let Some(observation) = self.observations.iter_mut().find(|observation| observation.tag == tag) else {
            return Ok(None);
        };
        observation.refresh_at = refresh_at;
        if !packet.code().is_success() {
            return Err(observation.ended(&explain(&packet)));
        }
        let message = Message { retain: is_first, ..observation.message(&packet, &self.requests) };
        Ok(self.link.body(&observation.request, packet).await?.map(|payload| Message { payload, ..message }))
    }
}

/// Adds a parameter to a request.
fn push_query(request: &mut Packet, name: &str, value: &str) -> Result<(), ClientError> {
    request::push(request, option::URI_QUERY, &format!("{name}={value}"))
}

impl conversation::Client for Client {
    async fn publish(&mut self, arguments: &PublishArguments, payload: &[u8]) -> Result<(), ClientError> {
        let qos = arguments.qos.0.unwrap_or_default();
        let mut request = self.requests.topic(Code::PUT, arguments.topic.as_deref().unwrap_or_default())?;
        push_query(&mut request, "qos", &(qos as u8).to_string())?;
        if arguments.retain {
            push_query(&mut request, "retain", "true")?;
        }
        if let Some(secs) = arguments.expiry {
            push_query(&mut request, "expiry", &secs.to_string())?;
        }
        if let Some(format) = format(arguments)? {
            request.push_uint(option::CONTENT_FORMAT, format.into());
        }
        let response = self.link.upload(&request, payload, qos != Qos::AtMostOnce).await?;
        self.delay_heartbeat();
        match response {
            Some(response) if !response.code().is_success() => Err(ClientError::PublicationRefused(explain(&response))),
            _ => Ok(()),
        }
    }

    async fn subscribe(&mut self, arguments: &SubscribeArguments) -> Result<(), ClientError> {
        for filter in &arguments.topics {
            self.observe(filter, arguments).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(notification) = self.link.take_notification() {
                if let Some(message) = self.message(notification).await? {
                    return Ok(message);
                }
                continue;
            }
            match self.link.event(self.deadline()).await? {
                None if self.requests.has_connection() => self.beat().await?,
                None => self.register_again().await?,
                Some(Event::Response(tag, packet)) => self.link.put_back(tag, packet, false),
                Some(_) => {}
            }
        }
    }

    /// Nothing: the message layer acknowledges what it hands on.
    async fn acknowledge(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    async fn close(mut self) -> Result<(), ClientError> {
        for observation in std::mem::take(&mut self.observations) {
            if gone(self.link.end_observation(observation).await)? {
                return Ok(());
            }
        }
        if self.requests.has_connection() {
            let request = self.requests.connection(Code::DELETE)?;
            gone(self.link.ask(&request, "DELETE mqtt/connection").await)?;
        }
        Ok(())
    }
}

/// True when the server went first.
fn gone<T>(result: Result<T, ClientError>) -> Result<bool, ClientError> {
    match result {
        Ok(_) => Ok(false),
        Err(ClientError::Io(_) | ClientError::Unanswered(_)) => Ok(true),
        Err(error) => Err(error),
    }
}
