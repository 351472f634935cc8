use thingway_mqtt_sn::{
    Packet,
    packet::{Auth, Connect, METHOD_PLAIN, Plain, WillTopic},
};
use tokio::time::timeout;

use super::{
    Client, accepted,
    inbox::Inbox,
    link::{Link, Timing, encode},
};
use crate::cli::client::{arguments::ConnectArguments, error::ClientError, udp::Datagrams, url::Host};

const KEEP_ALIVE_SECS: u16 = 60;

impl Client {
    /// Connects.
    pub async fn open(host: &Host, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let link = Link::new(Datagrams::open(host).await?, Timing::default());
        Self::over(link, arguments).await
    }

    /// Connects, within the time that the arguments allow.
    pub(super) async fn over(mut link: Link, arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let mut inbox = Inbox::default();
        let dialogue = Dialogue::new(arguments)?.run(&mut link, &mut inbox);
        match arguments.connect_timeout {
            None => dialogue.await?,
            Some(limit) => timeout(limit.duration(), dialogue).await.map_err(|_| ClientError::Timeout)??,
        }
        inbox.authenticated = arguments.username().is_some();
        link.keep_alive(arguments.keep_alive.unwrap_or(KEEP_ALIVE_SECS));
        Ok(Self { link, inbox, topic: None })
    }
}

/// What is said until the gateway says CONNACK (section 6.2).
struct Dialogue {
    /// CONNECT, and AUTH where a user name was given: 1.2 has no credentials, and gateways that want some take them before anything else.
    connect: Vec<Vec<u8>>,
    will_topic: Vec<Vec<u8>>,
    will_msg: Vec<Vec<u8>>,
}

impl Dialogue {
    fn new(arguments: &ConnectArguments) -> Result<Self, ClientError> {
        let will = &arguments.will;
        let mut connect = vec![encode(&Packet::Connect(Connect {
            will: will.will_topic.is_some(),
            clean_session: !arguments.keep_session,
            duration_secs: arguments.keep_alive.unwrap_or(KEEP_ALIVE_SECS),
            client_id: &arguments.client_id_or_own(),
        }))?];
        if let Some(username) = arguments.username() {
            let plain = Plain { username, password: arguments.password().unwrap_or_default().as_bytes() };
            let auth = Auth { reason: 0, method: METHOD_PLAIN, data: &plain.to_data() };
            connect.push(encode(&Packet::Auth(auth))?);
        }
        let topic = will.will_topic.as_deref();
        let topic = topic.map(|topic| WillTopic { qos: will.will_qos, retain: will.will_retain, topic });
        Ok(Self {
            connect,
            will_topic: vec![encode(&Packet::WillTopic(topic))?],
            will_msg: vec![encode(&Packet::WillMsg(will.will_payload.as_bytes()))?],
        })
    }

    async fn run(self, link: &mut Link, inbox: &mut Inbox) -> Result<(), ClientError> {
        let mut said = &self.connect;
        let mut rounds = 0;
        let mut deadline = link.say(said).await?;
        loop {
            let Some(received) = link.receive_before(deadline).await? else {
                if rounds == link.retries() {
                    return Err(ClientError::Unanswered("CONNECT"));
                }
                rounds += 1;
                deadline = link.say(said).await?;
                continue;
            };
            said = match Packet::decode(&received)? {
                Packet::Connack(connack) => {
                    return accepted(connack.code, &received, ()).map_err(ClientError::Refused);
                }
                Packet::WillTopicReq => &self.will_topic,
                Packet::WillMsgReq => &self.will_msg,
                Packet::Disconnect(_) => return Err(ClientError::Refused("the gateway said DISCONNECT".into())),
                // Messages for an earlier session may overtake CONNACK; they come again.
                other => {
                    inbox.take(&other, &received)?;
                    continue;
                }
            };
            rounds = 0;
            deadline = link.say(said).await?;
        }
    }
}
