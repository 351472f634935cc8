use thingway_contract::{Qos, SubscriptionOptions};
use thingway_mqtt::{
    PropertyBlock, Reason, Split, Version,
    codec::varint,
    packet::{Connect, Disconnect, Packet, PacketType, Publish, Subscribe, SubscribeFilters},
    split,
};

use super::{Dialect, Event, Identity, Manners, Next, Step};
use crate::cli::{bench::stamp::Template, client::ClientError};

/// Largest packet that is taken.
const PACKET_BYTES_MAX: usize = 268_435_460;

/// Codes from here on are refusals (MQTT 5.0, section 2.4; SUBACK of 3.1.1).
const REFUSAL: u8 = 0x80;

/// MQTT over a stream.
#[derive(Clone, Copy, Debug)]
pub struct Mqtt(pub Version);

impl Dialect for Mqtt {
    const DATAGRAMS: bool = false;

    fn introduce(&self, step: Step, who: &Identity, manners: &Manners, out: &mut Vec<u8>) -> Result<bool, ClientError> {
        match (step.number, &who.filter) {
            (0, _) => {
                let connect = Connect {
                    keep_alive_secs: manners.keep_alive_secs,
                    username: manners.username.as_deref(),
                    password: manners.password.as_deref().map(str::as_bytes),
                    ..Connect::new(self.0, &who.client_id)
                };
                Packet::Connect(connect).encode(self.0, out)?;
            }
            (1, Some(filter)) => {
                let mut list = Vec::new();
                let options = SubscriptionOptions { qos: manners.qos, ..SubscriptionOptions::default() };
                SubscribeFilters::push(&mut list, filter, options)?;
                let filters = SubscribeFilters::from_encoded(&list);
                let subscribe = Subscribe { packet_id: 1, properties: PropertyBlock::EMPTY, filters };
                Packet::Subscribe(subscribe).encode(self.0, out)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    #[inline]
    fn next<'a>(&self, _is_introduced: bool, bytes: &'a [u8]) -> Next<'a> {
        match split(bytes, PACKET_BYTES_MAX) {
            Ok(Split::Frame(frame)) => match self.event(frame.first, frame.body) {
                Some(event) => Next::Frame(event, frame.total_bytes()),
                None => Next::Bad,
            },
            Ok(Split::Incomplete(_)) => Next::More,
            Err(_) => Next::Bad,
        }
    }

    #[inline]
    fn answer(&self, event: &Event<'_>, _frame: &[u8], out: &mut Vec<u8>) {
        let (kind, id) = match *event {
            Event::Message { qos: 1, id, .. } => (PacketType::Puback, id),
            Event::Message { qos: 2, id, .. } => (PacketType::Pubrec, id),
            Event::Received { id } => (PacketType::Pubrel, id),
            Event::Released { id } => (PacketType::Pubcomp, id),
            _ => return,
        };
        let [high, low] = id.to_be_bytes();
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
    }

    fn template(&self, topic: &str, qos: Qos, payload: &[u8], publisher: u32) -> Result<Template, ClientError> {
        let mut bytes = Vec::new();
        let publish = Publish {
            duplicate: false,
            qos,
            retain: false,
            topic,
            packet_id: u16::from(qos != Qos::AtMostOnce),
            properties: PropertyBlock::EMPTY,
            payload,
        };
        Packet::Publish(publish).encode(self.0, &mut bytes)?;
        let payload_at = bytes.len() - payload.len();
        let properties_bytes = usize::from(self.0.has_properties());
        let id_at = (qos != Qos::AtMostOnce).then(|| payload_at - properties_bytes - 2);
        Ok(Template::new(bytes, payload_at, publisher).with_ids([id_at, None]).with_repeated(0, 0x08))
    }

    fn ping(&self, out: &mut Vec<u8>) {
        // A packet without fields cannot fail.
        let _ = Packet::Pingreq.encode(self.0, out);
    }

    fn goodbye(&self, out: &mut Vec<u8>) {
        let _ = Packet::Disconnect(Disconnect::new(Reason::Success)).encode(self.0, out);
    }
}

impl Mqtt {
    #[inline]
    fn event<'a>(&self, first: u8, body: &'a [u8]) -> Option<Event<'a>> {
        let id = || body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        Some(match PacketType::of(first)? {
            PacketType::Publish => {
                let qos = first >> 1 & 3;
                let (topic_bytes, rest) = body.split_first_chunk()?;
                let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_bytes))..)?;
                let mut id = 0;
                if qos > 0 {
                    let (bytes, tail) = rest.split_first_chunk()?;
                    (id, rest) = (u16::from_be_bytes(*bytes), tail);
                }
                if self.0.has_properties() {
                    let (properties_bytes, length_bytes) = varint::decode(rest).ok()??;
                    rest = rest.get(length_bytes + properties_bytes as usize..)?;
                }
                Event::Message { qos, id, topic_id: 0, payload: rest }
            }
            // Before MQTT 5 there is no code; behind the identifier there may be one.
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubcomp
                if body.get(2).is_some_and(|code| *code >= REFUSAL) =>
            {
                Event::Rejected { id: id()? }
            }
            PacketType::Puback | PacketType::Pubcomp => Event::Acknowledged { id: id()? },
            PacketType::Pubrec => Event::Received { id: id()? },
            PacketType::Pubrel => Event::Released { id: id()? },
            PacketType::Connack => match *body.get(1)? {
                0 => Event::Granted { topic_id: None },
                code => Event::Refused(code),
            },
            PacketType::Suback => match *body.last()? {
                code @ REFUSAL.. => Event::Refused(code),
                _ => Event::Granted { topic_id: None },
            },
            PacketType::Disconnect => Event::Ended(body.first().copied().unwrap_or_default()),
            _ => Event::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use thingway_mqtt::packet::{Ack, Sender, Suback};

    use super::*;
    use crate::cli::bench::stamp::{Stamp, payload};

    const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    fn read<'a>(version: Version, bytes: &'a [u8], sender: Sender) -> Packet<'a> {
        let Ok(Split::Frame(frame)) = split(bytes, usize::MAX) else { panic!("no frame") };
        assert_eq!(frame.total_bytes(), bytes.len());
        Packet::decode(version, sender, frame).unwrap()
    }

    #[test]
    fn publications_are_what_the_codec_reads() {
        for version in VERSIONS {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                for bytes in [16, 64, 130, 16_384] {
                    let dialect = Mqtt(version);
                    let template = dialect.template("x/yy", qos, &payload(bytes), 77).unwrap();
                    let mut out = Vec::new();
                    template.append(&mut out, 5, 42, 999, false);
                    let Packet::Publish(publish) = read(version, &out, Sender::Client) else { panic!("not PUBLISH") };
                    assert_eq!((publish.topic, publish.qos, publish.payload.len()), ("x/yy", qos, bytes));
                    assert_eq!(publish.packet_id, if qos == Qos::AtMostOnce { 0 } else { 999 });
                    let Next::Frame(Event::Message { qos: seen, id, payload, .. }, total) = dialect.next(true, &out)
                    else {
                        panic!("no message")
                    };
                    assert_eq!((seen, id, total), (qos as u8, publish.packet_id, out.len()));
                    assert_eq!(Stamp::read(payload), Some(Stamp { due_ns: 5, publisher: 77, sequence: 42 }));
                    for cut in 0..out.len().min(200) {
                        assert_eq!(dialect.next(true, &out[..cut]), Next::More);
                    }
                }
            }
        }
    }

    #[test]
    fn introductions_are_what_the_codec_reads() {
        let who = Identity { client_id: "me".into(), filter: Some("a/#".into()), topic: None };
        let manners = Manners {
            username: Some("u".into()),
            password: Some("p".into()),
            keep_alive_secs: 9,
            qos: Qos::AtLeastOnce,
        };
        for version in VERSIONS {
            let mut out = Vec::new();
            assert!(Mqtt(version).introduce(Step::first(0), &who, &manners, &mut out).unwrap());
            let Packet::Connect(connect) = read(version, &out, Sender::Client) else { panic!("not CONNECT") };
            assert_eq!((connect.client_id, connect.keep_alive_secs, connect.clean_start), ("me", 9, true));
            assert_eq!((connect.username, connect.password), (Some("u"), Some(&b"p"[..])));
            out.clear();
            assert!(Mqtt(version).introduce(Step::first(1), &who, &manners, &mut out).unwrap());
            let Packet::Subscribe(subscribe) = read(version, &out, Sender::Client) else { panic!("not SUBSCRIBE") };
            let filters: Vec<_> = subscribe.filters.iter().map(|(filter, options)| (filter, options.qos)).collect();
            assert_eq!(filters, [("a/#", Qos::AtLeastOnce)]);
            out.clear();
            assert!(!Mqtt(version).introduce(Step::first(2), &who, &manners, &mut out).unwrap());
            let nobody = Identity { filter: None, ..who.clone() };
            assert!(!Mqtt(version).introduce(Step::first(1), &nobody, &manners, &mut out).unwrap());
            assert!(out.is_empty());
        }
    }

    #[test]
    fn answers_and_their_meanings() {
        let dialect = Mqtt(Version::V5);
        for (event, expected) in [
            (Event::Message { qos: 1, id: 7, topic_id: 0, payload: b"" }, Packet::Puback(Ack::success(7))),
            (Event::Message { qos: 2, id: 7, topic_id: 0, payload: b"" }, Packet::Pubrec(Ack::success(7))),
            (Event::Received { id: 7 }, Packet::Pubrel(Ack::success(7))),
            (Event::Released { id: 7 }, Packet::Pubcomp(Ack::success(7))),
        ] {
            let mut out = Vec::new();
            dialect.answer(&event, &[], &mut out);
            assert_eq!(read(Version::V5, &out, Sender::Client), expected);
        }
        let mut out = Vec::new();
        Packet::Suback(Suback { packet_id: 1, properties: PropertyBlock::EMPTY, codes: &[0x87] })
            .encode(Version::V5, &mut out)
            .unwrap();
        assert_eq!(dialect.next(false, &out), Next::Frame(Event::Refused(0x87), out.len()));
        for (bytes, expected) in [
            (&b"\x20\x03\0\0\0"[..], Event::Granted { topic_id: None }),
            (b"\x20\x03\0\x87\0", Event::Refused(0x87)),
            (b"\x40\x02\0\x05", Event::Acknowledged { id: 5 }),
            (b"\x40\x03\0\x05\x10", Event::Acknowledged { id: 5 }),
            (b"\x40\x03\0\x05\x97", Event::Rejected { id: 5 }),
            (b"\x50\x02\0\x05", Event::Received { id: 5 }),
            (b"\x50\x03\0\x05\x97", Event::Rejected { id: 5 }),
            (b"\x62\x02\0\x05", Event::Released { id: 5 }),
            (b"\x70\x02\0\x05", Event::Acknowledged { id: 5 }),
            (b"\xd0\0", Event::Other),
            (b"\xe0\x01\x8b", Event::Ended(0x8b)),
        ] {
            assert_eq!(dialect.next(true, bytes), Next::Frame(expected, bytes.len()), "{bytes:x?}");
        }
        for bytes in [&b"\0\0"[..], b"\x30\x01\0", b"\x30\x03\0\x09a", b"\x32\x03\0\x01a", b"\x40\x01\0"] {
            assert_eq!(dialect.next(true, bytes), Next::Bad, "{bytes:x?}");
        }
    }
}
