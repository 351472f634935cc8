use thingway_coap::codec::{Code, Header, Kind, Packet, check, option};
use thingway_contract::Qos;

use super::{Dialect, Event, Identity, Manners, Next, Step};
use crate::cli::{bench::stamp::Template, client::ClientError};

/// The token of an observation; publications have their message id as token, which is longer.
const OBSERVATION: &[u8] = b"s";

/// Bytes in front of the token.
const HEADER_BYTES: usize = 4;

const PAYLOAD_MARKER: u8 = 0xff;

/// CoAP over UDP, without connections of EMQX's kind: PUT publishes, GET with Observe subscribes.
#[derive(Clone, Debug)]
pub struct Coap {
    /// Where the topics are.
    pub path: Vec<String>,
    /// The message id that messages begin behind. A server that still knows those of a client who had the port before takes equal ones for repetitions (RFC
    /// 7252, section 4.4).
    pub id_before: u16,
}

impl Coap {
    fn request(&self, code: Code, topic: &str, qos: Qos) -> Packet {
        let kind = if qos == Qos::AtMostOnce && code == Code::PUT { Kind::NonConfirmable } else { Kind::Confirmable };
        let mut packet = Packet::new(kind, code);
        for segment in self.path.iter().map(String::as_str).chain(topic.split('/')) {
            packet.push(option::URI_PATH, segment.as_bytes());
        }
        packet.push(option::URI_QUERY, format!("qos={}", qos as u8).as_bytes());
        packet
    }
}

impl Dialect for Coap {
    const DATAGRAMS: bool = true;

    fn introduce(&self, step: Step, who: &Identity, manners: &Manners, out: &mut Vec<u8>) -> Result<bool, ClientError> {
        let (0, Some(filter)) = (step.number, &who.filter) else { return Ok(false) };
        let mut request = self.request(Code::GET, filter, manners.qos);
        // Observing twice is observing once, so that a second try need not look like the first.
        request.set_id(self.id_before.wrapping_add(step.tries).wrapping_add(1));
        request.set_token(OBSERVATION);
        request.push_uint(option::OBSERVE, 0);
        request.encode(out);
        Ok(true)
    }

    fn id_before(&self) -> u16 {
        self.id_before
    }

    fn next<'a>(&self, is_introduced: bool, datagram: &'a [u8]) -> Next<'a> {
        let Ok(header) = check(datagram) else { return Next::Bad };
        let token = &datagram[HEADER_BYTES..HEADER_BYTES + usize::from(datagram[0] & 0x0f)];
        let is_success = header.code.is_success();
        let event = match *token {
            // A reset tells the message id alone, which is the token of what was published.
            [] if header.kind == Kind::Reset => Event::Rejected { id: header.id },
            [high, low] => {
                let id = u16::from_be_bytes([high, low]);
                if is_success { Event::Acknowledged { id } } else { Event::Rejected { id } }
            }
            _ if token == OBSERVATION => match (is_introduced, is_success) {
                (false, true) => Event::Granted { topic_id: None },
                (false, false) => Event::Refused(header.code.0),
                (true, true) => Event::Message {
                    qos: u8::from(header.kind == Kind::Confirmable),
                    id: header.id,
                    topic_id: 0,
                    payload: payload_of(datagram, HEADER_BYTES + token.len()),
                },
                (true, false) => Event::Ended(header.code.0),
            },
            _ => Event::Other,
        };
        Next::Frame(event, datagram.len())
    }

    fn answer(&self, _event: &Event<'_>, frame: &[u8], out: &mut Vec<u8>) {
        if let Some(Header { kind: Kind::Confirmable, id, .. }) = Header::peek(frame) {
            let mut packet = Packet::new(Kind::Acknowledgement, Code::EMPTY);
            packet.set_id(id);
            packet.encode(out);
        }
    }

    fn template(&self, topic: &str, qos: Qos, payload: &[u8], publisher: u32) -> Result<Template, ClientError> {
        let mut packet = self.request(Code::PUT, topic, qos);
        packet.set_token(&[0, 0]);
        packet.set_payload(payload.to_vec());
        let bytes = packet.to_bytes();
        let payload_at = bytes.len() - payload.len();
        Ok(Template::new(bytes, payload_at, publisher).with_ids([Some(HEADER_BYTES - 2), Some(HEADER_BYTES)]))
    }

    fn ping(&self, _out: &mut Vec<u8>) {}

    fn goodbye(&self, _out: &mut Vec<u8>) {}
}

/// What is behind the options of a datagram that was checked.
fn payload_of(datagram: &[u8], options_at: usize) -> &[u8] {
    let mut at = options_at;
    while let Some(&head) = datagram.get(at) {
        at += 1;
        if head == PAYLOAD_MARKER {
            return &datagram[at..];
        }
        let mut extended = |nibble: u8| match nibble {
            13 => {
                at += 1;
                usize::from(datagram[at - 1]) + 13
            }
            14 => {
                at += 2;
                usize::from(u16::from_be_bytes([datagram[at - 2], datagram[at - 1]])) + 269
            }
            small => usize::from(small),
        };
        extended(head >> 4);
        let length = extended(head & 0x0f);
        at += length;
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::stamp::{Stamp, payload};

    fn coap() -> Coap {
        Coap { path: vec!["ps".into()], id_before: 6 }
    }

    #[test]
    fn publications_are_what_the_codec_reads() {
        for (qos, kind) in [
            (Qos::AtMostOnce, Kind::NonConfirmable),
            (Qos::AtLeastOnce, Kind::Confirmable),
            (Qos::ExactlyOnce, Kind::Confirmable),
        ] {
            let template = coap().template("x/yy", qos, &payload(64), 77).unwrap();
            let mut out = Vec::new();
            template.append(&mut out, 5, 42, 999, false);
            let packet = Packet::decode(&out).unwrap();
            assert_eq!((packet.kind(), packet.code(), packet.id()), (kind, Code::PUT, 999));
            assert_eq!(packet.token(), 999u16.to_be_bytes());
            assert_eq!(packet.options(option::URI_PATH).collect::<Vec<_>>(), [&b"ps"[..], b"x", b"yy"]);
            assert_eq!(packet.payload().len(), 64);
            assert_eq!(Stamp::read(packet.payload()), Some(Stamp { due_ns: 5, publisher: 77, sequence: 42 }));
        }
    }

    #[test]
    fn observations_are_what_the_codec_reads() {
        let who = Identity { client_id: "me".into(), filter: Some("a/#".into()), topic: None };
        let manners = Manners { username: None, password: None, keep_alive_secs: 9, qos: Qos::AtLeastOnce };
        for tries in 0..2 {
            let mut out = Vec::new();
            assert!(coap().introduce(Step { number: 0, tries }, &who, &manners, &mut out).unwrap());
            let packet = Packet::decode(&out).unwrap();
            assert_eq!((packet.kind(), packet.code(), packet.id()), (Kind::Confirmable, Code::GET, 7 + tries));
            assert_eq!(packet.options(option::URI_PATH).collect::<Vec<_>>(), [&b"ps"[..], b"a", b"#"]);
            assert_eq!((packet.uint(option::OBSERVE), packet.first(option::URI_QUERY)), (Some(0), Some(&b"qos=1"[..])));
        }
        assert!(!coap().introduce(Step::first(1), &who, &manners, &mut Vec::new()).unwrap());
    }

    #[test]
    fn notifications_are_messages_and_confirmable_ones_are_answered() {
        for (kind, qos) in [(Kind::NonConfirmable, 0), (Kind::Confirmable, 1)] {
            let mut packet = Packet::new(kind, Code::CONTENT);
            packet.set_id(7);
            packet.set_token(OBSERVATION);
            packet.push_uint(option::OBSERVE, 300);
            packet.push(option::LOCATION_PATH, &[b'x'; 20]);
            packet.push(option::ECHO, &[b'x'; 30]);
            packet.push(2049, &[b'x'; 300]);
            packet.set_payload(b"payload".to_vec());
            let bytes = packet.to_bytes();
            let event = Event::Message { qos, id: 7, topic_id: 0, payload: b"payload" };
            assert_eq!(coap().next(true, &bytes), Next::Frame(event, bytes.len()));
            assert_eq!(coap().next(false, &bytes), Next::Frame(Event::Granted { topic_id: None }, bytes.len()));
            let mut out = Vec::new();
            coap().answer(&event, &bytes, &mut out);
            assert_eq!(out, if qos == 0 { vec![] } else { b"\x60\0\0\x07".to_vec() });
        }
    }

    #[test]
    fn responses_and_their_meanings() {
        for (bytes, introduced, expected) in [
            (&b"\x62\x44\x01\x02\x01\x02"[..], true, Event::Acknowledged { id: 0x0102 }),
            (b"\x42\x44\x77\x77\x01\x02", true, Event::Acknowledged { id: 0x0102 }),
            (b"\x62\x9d\x01\x02\x01\x02", true, Event::Rejected { id: 0x0102 }),
            (b"\x70\0\x01\x02", true, Event::Rejected { id: 0x0102 }),
            (b"\x60\0\x01\x02", true, Event::Other),
            (b"\x61\x81\x01\x02s", false, Event::Refused(0x81)),
            (b"\x51\xa3\x01\x02s", true, Event::Ended(0xa3)),
        ] {
            assert_eq!(coap().next(introduced, bytes), Next::Frame(expected, bytes.len()), "{bytes:x?}");
        }
        assert_eq!(coap().next(true, b"\x62\x44\x01"), Next::Bad);
    }
}
