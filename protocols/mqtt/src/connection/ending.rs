use thingway_contract::{CloseReason, Departure, Outbox, Parked, WillFate};

use super::{Connection, Phase};
use crate::{
    MqttFault, PacketError, PropertyId, PropertyWriter, Reason, Value, Version,
    fault::{close_reason, connack_reason},
    packet::{Disconnect, Packet, Sender},
};

impl Connection {
    pub(super) fn on_disconnect(&mut self, version: Version, body: &[u8], out: &mut Outbox) -> Result<(), MqttFault> {
        let disconnect = Disconnect::decode(version, Sender::Client, body)?;
        if let Some(secs) = disconnect.properties.number(PropertyId::SessionExpiryInterval) {
            if self.session_expiry_secs == 0 && secs != 0 {
                return Err(MqttFault::SessionExpiryRaised);
            }
            self.session_expiry_change = Some(secs.min(self.config.session_expiry_max_secs));
        }
        if disconnect.reason == Reason::Success {
            self.will = WillFate::Discard;
        }
        self.phase = Phase::Closed;
        out.close();
        Ok(())
    }

    pub(super) fn close_with(&mut self, reason: &CloseReason, out: &mut Outbox) {
        let reference = match reason {
            CloseReason::UseAnotherServer(server) => Some(&**server),
            _ => None,
        };
        self.end(close_reason(reason), None, reference, out);
    }

    pub(super) fn refuse_with(&mut self, fault: &MqttFault, out: &mut Outbox) {
        if let (None, MqttFault::Packet(PacketError::ProtocolLevel(level))) = (self.version, fault) {
            // Answered in the nearest version that the client can know. Mosquitto's bridges set the highest bit of the
            // level.
            self.version = Some(if level & 0x7f > Version::V5.level() { Version::V5 } else { Version::V311 });
        }
        self.end(fault.reason(), Some(fault), None, out);
    }

    /// Tells the client why, where its version and the moment allow it, and closes.
    pub(super) fn end(&mut self, reason: Reason, fault: Option<&MqttFault>, reference: Option<&str>, out: &mut Outbox) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        out.close();
        // Before CONNECT told the version, and when it took too long, the client gets no answer.
        let Some(version) = self.version.filter(|_| phase != Phase::Closed) else { return };
        let (in_handshake, reason) = match phase {
            Phase::Connected if version.has_properties() => (false, disconnect_reason(reason)),
            Phase::Connected => return,
            _ => (true, connack_reason(reason)),
        };
        let redirects = matches!(reason, Reason::UseAnotherServer | Reason::ServerMoved);
        let reference = reference.filter(|server| !server.is_empty()).or(self.config.server_reference.as_deref());
        let reference = reference.filter(|_| redirects && version.has_properties());
        let words = fault.map(ToString::to_string);
        let words = words.as_deref().unwrap_or(reason.text());
        let words = Some(words).filter(|_| self.config.reason_strings && version.has_properties());
        // What does not fit is left out, the words first [MQTT-3.2.2-19], [MQTT-3.14.2-3].
        for (reference, words) in [(reference, words), (reference, None), (None, None)] {
            let mut properties = PropertyWriter::new();
            let mut push = |id, text: Option<&str>| match text {
                Some(text) => properties.push(id, Value::Text(text)).is_ok(),
                None => true,
            };
            if !push(PropertyId::ServerReference, reference) || !push(PropertyId::ReasonString, words) {
                continue;
            }
            let sent = if in_handshake {
                self.send_refusal(version, reason, &properties, out)
            } else {
                self.send(&Packet::Disconnect(Disconnect { reason, properties: properties.as_block() }), out)
            };
            if sent.is_ok() {
                return;
            }
        }
    }

    pub(super) fn take_departure(&mut self) -> Departure {
        self.phase = Phase::Closed;
        let mut parked = match &mut self.inflight {
            Some(inflight) => inflight.park(),
            None => Parked::default(),
        };
        if let Some(inbound) = self.inbound.take() {
            parked.inbound = inbound.park(self.kept);
        }
        Departure { will: self.will, session_expiry_secs: self.session_expiry_change, parked }
    }
}

/// What DISCONNECT says instead of a reason that only CONNACK has.
fn disconnect_reason(reason: Reason) -> Reason {
    if reason.is_valid_in(crate::packet::PacketType::Disconnect, Sender::Server) {
        return reason;
    }
    match reason {
        Reason::BadUserNameOrPassword | Reason::Banned | Reason::ClientIdentifierNotValid => Reason::NotAuthorized,
        Reason::ServerUnavailable => Reason::ServerBusy,
        _ => Reason::UnspecifiedError,
    }
}
