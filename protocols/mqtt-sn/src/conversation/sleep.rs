use thingway_contract::{Instant, Outbox, WillFate};

use super::{Conversation, Phase, TRANSIENT};
use crate::{MqttSnFault, Packet, PacketType, packet::Disconnect};

impl Conversation {
    /// Section 6.11; with a client identifier section 6.14.
    pub(super) fn on_ping(&mut self, client_id: &str, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if !client_id.is_empty() && self.client_id.as_deref() != Some(client_id) {
            // Another client has this one's address. It does not get its session.
            return Err(MqttSnFault::NoSession(PacketType::Pingreq));
        }
        self.tell_rest();
        match self.phase {
            Phase::Asleep if !client_id.is_empty() => {
                self.phase = Phase::Awake;
                self.resume_outbound(now, out);
            }
            // The messages are on their way, and PINGRESP is what ends them.
            Phase::Awake => {}
            _ => self.send(&Packet::Pingresp, out),
        }
        Ok(())
    }

    /// The queue is empty: a client that is awake was told all when it has acknowledged all, and may sleep again (section 6.14).
    pub(super) fn nothing_left(&mut self, now: Instant, out: &mut Outbox) {
        if self.phase == Phase::Awake && self.inflight_len() == 0 {
            self.send(&Packet::Pingresp, out);
            self.phase = Phase::Asleep;
            self.last_seen = now;
        }
    }

    /// Section 6.12; with a duration section 6.14.
    pub(super) fn on_disconnect(
        &mut self,
        disconnect: Disconnect,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let duration_secs = disconnect.duration_secs.unwrap_or(0);
        let has_session = match self.phase {
            Phase::Active | Phase::Asleep | Phase::Awake => true,
            Phase::AwaitingAuth | Phase::AwaitingWillTopic | Phase::AwaitingWillMsg => {
                self.abandon_dialogue();
                matches!(self.phase, Phase::Active | Phase::Asleep | Phase::Awake)
            }
            _ => false,
        };
        if !has_session {
            // One without a duration may be the answer to one of ours, and is not answered: two gateways would never stop.
            return if duration_secs == 0 { Ok(()) } else { Err(MqttSnFault::NoSession(PacketType::Disconnect)) };
        }
        self.send(&Packet::Disconnect(Disconnect::default()), out);
        self.last_seen = now;
        self.set_sleep(duration_secs);
        if duration_secs == 0 {
            // Section 6.3: the will is part of a session that is kept.
            self.phase = Phase::Closed(if self.has(TRANSIENT) { WillFate::Discard } else { WillFate::Keep });
            out.close();
        } else {
            self.phase = Phase::Asleep;
        }
        Ok(())
    }
}
