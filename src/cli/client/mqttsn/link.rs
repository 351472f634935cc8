use std::time::Duration;

use thingway_mqtt_sn::{
    Packet,
    packet::{Flags, PacketType, Pingreq},
};
use tokio::time::Instant;

use super::inbox::Inbox;
use crate::cli::client::{error::ClientError, udp::Datagrams};

/// Times of retransmission (section 7.2).
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// `Tretry`: from one transmission to the next.
    pub retry: Duration,
    /// `Nretry`: how often a message is sent again.
    pub retries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self { retry: Duration::from_secs(10), retries: 3 }
    }
}

/// Messages to and from the gateway.
pub struct Link {
    socket: Datagrams,
    timing: Timing,
    keep_alive: Option<Duration>,
    ping_at: Instant,
    /// Pings since something came.
    pings: u32,
    last_id: u16,
}

impl Link {
    pub fn new(socket: Datagrams, timing: Timing) -> Self {
        Self { socket, timing, keep_alive: None, ping_at: Instant::now(), pings: 0, last_id: 0 }
    }

    /// From now on the gateway must hear something at least so often.
    pub fn keep_alive(&mut self, secs: u16) {
        self.keep_alive = Some(Duration::from_secs(secs.into())).filter(|period| !period.is_zero());
        self.delay_ping();
    }

    /// A message id that is not in use.
    pub fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// When it is no use to wait any longer for something that the gateway would send again.
    pub fn patience(&self) -> Instant {
        Instant::now() + self.timing.retry * (self.timing.retries + 1)
    }

    /// Sends a message.
    pub async fn send(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        self.send_bytes(&encode(packet)?).await
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.socket.send(bytes).await?;
        self.delay_ping();
        Ok(())
    }

    /// Sends a message, again and again (section 6.13), until `answer` has found its answer. All else goes to the inbox.
    pub async fn request<T>(
        &mut self,
        name: &'static str,
        packet: &Packet<'_>,
        inbox: &mut Inbox,
        mut answer: impl FnMut(&Packet<'_>, &[u8]) -> Option<T>,
    ) -> Result<T, ClientError> {
        let mut bytes = encode(packet)?;
        for round in 0..=self.timing.retries {
            if round == 1 {
                set_duplicate(packet.packet_type(), &mut bytes);
            }
            self.send_bytes(&bytes).await?;
            let deadline = Instant::now() + self.timing.retry;
            while let Some(received) = self.receive_before(deadline).await? {
                let packet = Packet::decode(&received)?;
                if let Some(found) = answer(&packet, &received) {
                    return Ok(found);
                }
                self.take(&packet, &received, inbox).await?;
            }
        }
        Err(ClientError::Unanswered(name))
    }

    /// Sends messages that belong together, and tells when they are to be sent again.
    pub async fn say(&mut self, messages: &[Vec<u8>]) -> Result<Instant, ClientError> {
        for message in messages {
            self.send_bytes(message).await?;
        }
        Ok(Instant::now() + self.timing.retry)
    }

    /// How often a message is sent again.
    pub const fn retries(&self) -> u32 {
        self.timing.retries
    }

    /// Waits for something from the gateway, and handles it. Pings when it is time.
    pub async fn turn(&mut self, inbox: &mut Inbox) -> Result<(), ClientError> {
        let received = match self.keep_alive {
            None => self.socket.receive().await?,
            Some(_) => match self.receive_before(self.ping_at).await? {
                Some(received) => received,
                None => return self.ping().await,
            },
        };
        self.take(&Packet::decode(&received)?, &received, inbox).await
    }

    /// The same, but not beyond `deadline`. False when it has passed.
    pub async fn turn_before(&mut self, deadline: Instant, inbox: &mut Inbox) -> Result<bool, ClientError> {
        let Some(received) = self.receive_before(deadline).await? else { return Ok(false) };
        self.take(&Packet::decode(&received)?, &received, inbox).await?;
        Ok(true)
    }

    /// The gateway's next message; `None` when there is none before `deadline`.
    pub async fn receive_before(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, ClientError> {
        let received = self.socket.receive_before(deadline).await?;
        if received.is_some() {
            self.pings = 0;
        }
        Ok(received)
    }

    async fn ping(&mut self) -> Result<(), ClientError> {
        if self.pings > self.timing.retries {
            return Err(ClientError::Silent);
        }
        self.send(&Packet::Pingreq(Pingreq { client_id: "" })).await?;
        self.pings += 1;
        self.ping_at = Instant::now() + self.timing.retry.min(self.keep_alive.unwrap_or(self.timing.retry) / 2);
        Ok(())
    }

    async fn take(&mut self, packet: &Packet<'_>, bytes: &[u8], inbox: &mut Inbox) -> Result<(), ClientError> {
        match inbox.take(packet, bytes)? {
            Some(answer) => self.send(&answer).await,
            None => Ok(()),
        }
    }

    /// So early that a ping that is lost can be sent again before the gateway is out of patience.
    fn delay_ping(&mut self) {
        if let Some(keep_alive) = self.keep_alive {
            let until = keep_alive.saturating_sub(self.timing.retry).max(keep_alive / 2);
            self.ping_at = Instant::now() + until;
        }
    }
}

/// A message's bytes.
pub fn encode(packet: &Packet<'_>) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes)?;
    Ok(bytes)
}

/// Sets the DUP flag of the messages that have it (section 5.3.4).
fn set_duplicate(kind: PacketType, bytes: &mut [u8]) {
    if matches!(kind, PacketType::Publish | PacketType::Subscribe) {
        let flags = if bytes[0] == 1 { 4 } else { 2 };
        bytes[flags] |= Flags::DUP;
    }
}
