use thingway_contract::{CloseReason, Departure, Outbox, Parked, WillFate};

use super::{ATTACHED, Conversation, KEPT, Phase, TAKEN_OVER, TRANSIENT};
use crate::{MqttSnFault, Packet, PacketError, ReturnCode, packet::Disconnect};

/// Seconds that the session of a sleeping client, which ends with its conversation, is kept while it goes on from another address. The other
/// conversation asks at once.
const MOVING_SECS: u32 = 10;

impl Conversation {
    pub(super) fn close_with(&mut self, reason: &CloseReason, out: &mut Outbox) {
        let taken_over = *reason == CloseReason::TakenOver;
        match self.phase {
            Phase::Closed(_) => return,
            Phase::AwaitingAuth | Phase::AwaitingWillTopic | Phase::AwaitingWillMsg | Phase::Connecting => {
                self.send_connack(close_code(reason), out);
            }
            // The same client most likely, which has another address now and may still hear what is sent to this one.
            Phase::Asleep | Phase::Awake if taken_over => {}
            Phase::Active | Phase::Asleep | Phase::Awake | Phase::Roaming => {
                self.send(&Packet::Disconnect(Disconnect::default()), out);
            }
            Phase::Idle | Phase::Introducing | Phase::Anonymous => {}
        }
        self.set(TAKEN_OVER, taken_over);
        self.phase = Phase::Closed(if taken_over { WillFate::Keep } else { WillFate::Publish });
        out.close();
    }

    /// Tells the client what the fault is to it. Most are not answered, because a datagram that makes no sense may come from anybody, or were answered
    /// by the refusal of a single message.
    pub(super) fn refuse_with(&mut self, fault: &MqttSnFault, out: &mut Outbox) {
        match fault {
            MqttSnFault::NoSession(_) => self.send(&Packet::Disconnect(Disconnect::default()), out),
            MqttSnFault::Packet(PacketError::ProtocolId(_))
            | MqttSnFault::ClientId(_)
            | MqttSnFault::Authentication => {
                self.send_connack(ReturnCode::NotSupported, out);
            }
            MqttSnFault::DecisionTimeout if self.phase == Phase::Connecting => {
                self.send_connack(ReturnCode::Congestion, out);
            }
            MqttSnFault::KeepAliveTimeout | MqttSnFault::NoAnswer => {
                self.send(&Packet::Disconnect(Disconnect::default()), out);
            }
            _ => {}
        }
        if fault.is_fatal() {
            self.sleep_secs = 0;
            self.phase = Phase::Closed(WillFate::Publish);
            out.close();
        }
    }

    /// What is left of the session: for good, or because the client asks for one anew.
    pub(super) fn take_departure(&mut self) -> Departure {
        let will = match self.phase {
            Phase::Closed(will) => will,
            // The new session keeps it or deletes it.
            Phase::Connecting => WillFate::Keep,
            _ => WillFate::Publish,
        };
        let goes_on = matches!(self.phase, Phase::Connecting | Phase::Roaming) && self.has(ATTACHED);
        let moving = self.has(TAKEN_OVER) && self.sleep_secs != 0;
        let transient = self.has(TRANSIENT);
        let session_expiry_secs = transient.then_some(if moving { MOVING_SECS } else { 0 });
        let sleep_secs = if goes_on { 0 } else { self.sleep_secs };
        let mut parked = Parked { sleep_secs, transient: transient && moving, ..Parked::default() };
        if let Some(mut flow) = self.flow.take() {
            if goes_on {
                // Late copies of messages that were complete may come yet, whatever session they meet.
                self.flow().inbound = flow.inbound.take_complete();
            }
            let next_id = &mut self.next_id;
            parked.outbound = flow.outbound.park(|in_use| {
                loop {
                    let id = (*next_id).max(1);
                    *next_id = id.wrapping_add(1).max(1);
                    if !in_use(id) {
                        return id;
                    }
                }
            });
            parked.inbound = flow.inbound.park(self.has(KEPT));
        }
        parked.next_packet_id = self.next_id;
        parked.topic_ids = self.registry.take().map(|registry| registry.park()).unwrap_or_default();
        self.marks = 0;
        self.sleep_secs = 0;
        if let Some(rare) = &mut self.rare {
            rare.will = None;
            rare.last_connect = None;
        }
        if !goes_on {
            self.phase = Phase::Closed(will);
        }
        Departure { will, session_expiry_secs, parked }
    }
}

fn close_code(reason: &CloseReason) -> ReturnCode {
    match reason {
        CloseReason::NotAuthorized | CloseReason::SessionGone => ReturnCode::NotSupported,
        _ => ReturnCode::Congestion,
    }
}
