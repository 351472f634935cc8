use thingway_contract::Qos;
use thingway_mqtt_sn::{
    Packet, ReturnCode,
    packet::{
        Connect, Disconnect, Flags, Pingreq, Puback, Publish, Regack, Register, Suback, Subscribe, TopicName, TopicRef,
    },
};

use super::{Dialect, Event, Identity, Manners, Next, Step};
use crate::cli::{bench::stamp::Template, client::ClientError};

/// MQTT-SN 1.2 over UDP.
#[derive(Clone, Copy, Debug)]
pub struct MqttSn;

impl Dialect for MqttSn {
    const DATAGRAMS: bool = true;

    fn introduce(&self, step: Step, who: &Identity, manners: &Manners, out: &mut Vec<u8>) -> Result<bool, ClientError> {
        match (step.number, &who.filter, &who.topic) {
            (0, _, _) => Packet::Connect(Connect {
                will: false,
                clean_session: true,
                duration_secs: manners.keep_alive_secs,
                client_id: &who.client_id,
            }),
            (1, Some(filter), _) => Packet::Subscribe(Subscribe {
                duplicate: false,
                qos: Some(manners.qos),
                message_id: 1,
                topic: TopicName::Name(filter),
            }),
            (1, None, Some(topic)) => Packet::Register(Register { topic_id: 0, message_id: 1, topic }),
            _ => return Ok(false),
        }
        .encode(out)?;
        Ok(true)
    }

    fn next<'a>(&self, _is_introduced: bool, datagram: &'a [u8]) -> Next<'a> {
        let Ok(packet) = Packet::decode(datagram) else { return Next::Bad };
        let event = match packet {
            Packet::Connack(connack) => granted(connack.code, None),
            Packet::Suback(Suback { code, topic_id, .. }) | Packet::Regack(Regack { code, topic_id, .. }) => {
                granted(code, Some(topic_id))
            }
            Packet::Publish(publish) => Event::Message {
                qos: publish.qos.map_or(0, |qos| qos as u8),
                id: publish.message_id,
                topic_id: publish.topic.id(),
                payload: publish.payload,
            },
            Packet::Puback(Puback { code: ReturnCode::Accepted, message_id, .. }) | Packet::Pubcomp(message_id) => {
                Event::Acknowledged { id: message_id }
            }
            Packet::Puback(puback) => Event::Rejected { id: puback.message_id },
            Packet::Pubrec(id) => Event::Received { id },
            Packet::Pubrel(id) => Event::Released { id },
            Packet::Register(register) => Event::Register { topic_id: register.topic_id, id: register.message_id },
            Packet::Disconnect(_) => Event::Ended(0),
            _ => Event::Other,
        };
        Next::Frame(event, datagram.len())
    }

    fn answer(&self, event: &Event<'_>, _frame: &[u8], out: &mut Vec<u8>) {
        let packet = match *event {
            Event::Message { qos: 1, id, topic_id, .. } => {
                Packet::Puback(Puback { topic_id, message_id: id, code: ReturnCode::Accepted })
            }
            Event::Message { qos: 2, id, .. } => Packet::Pubrec(id),
            Event::Received { id } => Packet::Pubrel(id),
            Event::Released { id } => Packet::Pubcomp(id),
            Event::Register { topic_id, id } => {
                Packet::Regack(Regack { topic_id, message_id: id, code: ReturnCode::Accepted })
            }
            _ => return,
        };
        // Packets of a few numbers always fit.
        let _ = packet.encode(out);
    }

    fn template(&self, _topic: &str, qos: Qos, payload: &[u8], publisher: u32) -> Result<Template, ClientError> {
        let mut bytes = Vec::new();
        let publish = Publish {
            duplicate: false,
            qos: Some(qos),
            retain: false,
            topic: TopicRef::Normal(0),
            message_id: 0,
            payload,
        };
        Packet::Publish(publish).encode(&mut bytes)?;
        // Flags, topic id and message id stand before the payload (section 5.4.12).
        let payload_at = bytes.len() - payload.len();
        let id_at = (qos != Qos::AtMostOnce).then(|| payload_at - 2);
        Ok(Template::new(bytes, payload_at, publisher)
            .with_ids([id_at, None])
            .with_topic_id(payload_at - 4)
            .with_repeated(payload_at - 5, Flags::DUP))
    }

    fn ping(&self, out: &mut Vec<u8>) {
        let _ = Packet::Pingreq(Pingreq { client_id: "" }).encode(out);
    }

    fn goodbye(&self, out: &mut Vec<u8>) {
        let _ = Packet::Disconnect(Disconnect::default()).encode(out);
    }
}

fn granted(code: ReturnCode, topic_id: Option<u16>) -> Event<'static> {
    match code {
        ReturnCode::Accepted => Event::Granted { topic_id },
        refused => Event::Refused(refused as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::stamp::{Stamp, payload};

    #[test]
    fn publications_are_what_the_codec_reads() {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for bytes in [16, 64, 1000] {
                let mut template = MqttSn.template("x", qos, &payload(bytes), 77).unwrap();
                template.set_topic_id(0x0203);
                let mut out = Vec::new();
                template.append(&mut out, 5, 42, 999, true);
                let Ok(Packet::Publish(publish)) = Packet::decode(&out) else { panic!("not PUBLISH") };
                assert_eq!(
                    (publish.topic, publish.qos, publish.duplicate),
                    (TopicRef::Normal(0x0203), Some(qos), true)
                );
                assert_eq!(publish.message_id, if qos == Qos::AtMostOnce { 0 } else { 999 });
                assert_eq!(publish.payload.len(), bytes);
                assert_eq!(Stamp::read(publish.payload), Some(Stamp { due_ns: 5, publisher: 77, sequence: 42 }));
            }
        }
    }

    #[test]
    fn answers_and_their_meanings() {
        let encoded = |packet: Packet<'_>| {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes).unwrap();
            bytes
        };
        let message = |qos| Event::Message { qos, id: 7, topic_id: 3, payload: b"" };
        let puback = |code| Packet::Puback(Puback { topic_id: 3, message_id: 7, code });
        for (event, expected) in [
            (message(1), puback(ReturnCode::Accepted)),
            (message(2), Packet::Pubrec(7)),
            (Event::Received { id: 7 }, Packet::Pubrel(7)),
            (Event::Released { id: 7 }, Packet::Pubcomp(7)),
            (
                Event::Register { topic_id: 3, id: 7 },
                Packet::Regack(Regack { topic_id: 3, message_id: 7, code: ReturnCode::Accepted }),
            ),
        ] {
            let mut out = Vec::new();
            MqttSn.answer(&event, &[], &mut out);
            assert_eq!(Packet::decode(&out), Ok(expected));
        }
        for (packet, expected) in [
            (puback(ReturnCode::Accepted), Event::Acknowledged { id: 7 }),
            (puback(ReturnCode::Congestion), Event::Rejected { id: 7 }),
            (Packet::Pubrec(7), Event::Received { id: 7 }),
            (Packet::Pubcomp(7), Event::Acknowledged { id: 7 }),
            (Packet::Pingresp, Event::Other),
        ] {
            let bytes = encoded(packet);
            assert_eq!(MqttSn.next(true, &bytes), Next::Frame(expected, bytes.len()));
        }
        assert_eq!(MqttSn.next(true, b"\x05\x0d"), Next::Bad);
    }
}
