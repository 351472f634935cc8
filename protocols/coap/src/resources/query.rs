use thingway_contract::{Qos, RetainHandling};

use crate::codec::{Packet, option};

/// The parameters that `ps` and `mqtt/connection` know, under their long names or their one-letter ones. Others are ignored; of one that is there twice
/// the last counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// `clientid` or `c`.
    pub(crate) client_id: Option<&'a str>,
    /// `username` or `u`.
    pub(crate) username: Option<&'a str>,
    /// `password` or `p`.
    pub(crate) password: Option<&'a [u8]>,
    /// `token` or `t`.
    pub(crate) token: Option<&'a str>,
    /// `qos` or `q`.
    pub(crate) qos: Option<Qos>,
    /// `retain` or `r`.
    pub(crate) retain: Option<bool>,
    /// `expiry`, in seconds.
    pub(crate) expiry_secs: Option<u32>,
    /// `nl`: not the subscriber's own messages.
    pub(crate) no_local: bool,
    /// `rh`.
    pub(crate) retain_handling: RetainHandling,
}

/// A parameter whose value is none of those that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryError(pub(crate) &'static str);

impl<'a> Query<'a> {
    pub(crate) fn of(packet: &'a Packet) -> Result<Self, QueryError> {
        let mut query = Self::default();
        for parameter in packet.options(option::URI_QUERY) {
            let at = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
            let value = parameter.get(at + 1..).unwrap_or_default();
            match &parameter[..at] {
                b"clientid" | b"c" => query.client_id = Some(text(value, "bad clientid")?),
                b"username" | b"u" => query.username = Some(text(value, "bad username")?),
                b"password" | b"p" => query.password = Some(value),
                b"token" | b"t" => query.token = Some(text(value, "bad token")?),
                b"qos" | b"q" => query.qos = Some(qos(value)?),
                b"retain" | b"r" => query.retain = Some(flag(value, "bad retain")?),
                b"expiry" => query.expiry_secs = Some(number(value, "bad expiry")?),
                b"nl" => query.no_local = flag(value, "bad nl")?,
                b"rh" => {
                    query.retain_handling = match value {
                        b"0" => RetainHandling::Send,
                        b"1" => RetainHandling::SendIfNew,
                        b"2" => RetainHandling::DoNotSend,
                        _ => return Err(QueryError("bad rh")),
                    }
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

fn text<'a>(value: &'a [u8], error: &'static str) -> Result<&'a str, QueryError> {
    std::str::from_utf8(value).map_err(|_| QueryError(error))
}

fn number(value: &[u8], error: &'static str) -> Result<u32, QueryError> {
    text(value, error)?.parse().map_err(|_| QueryError(error))
}

fn flag(value: &[u8], error: &'static str) -> Result<bool, QueryError> {
    match value {
        b"true" | b"1" => Ok(true),
        b"false" | b"0" => Ok(false),
        _ => Err(QueryError(error)),
    }
}

fn qos(value: &[u8]) -> Result<Qos, QueryError> {
    match value {
        b"0" => Ok(Qos::AtMostOnce),
        b"1" => Ok(Qos::AtLeastOnce),
        b"2" => Ok(Qos::ExactlyOnce),
        _ => Err(QueryError("bad qos")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Code, Kind};

    fn packet(parameters: &[&[u8]]) -> Packet {
        let mut packet = Packet::new(Kind::Confirmable, Code::POST);
        for parameter in parameters {
            packet.push(option::URI_QUERY, parameter);
        }
        packet
    }

    #[test]
    fn long_and_short_names_say_the_same() {
        let long = packet(&[b"clientid=a", b"username=b", b"password=c=d", b"token=1", b"qos=2", b"retain=true"]);
        let short = packet(&[b"c=a", b"u=b", b"p=c=d", b"t=1", b"q=2", b"r=1", b"unknown", b"rt=x"]);
        let query = Query::of(&long).expect("valid");
        assert_eq!(Query::of(&short), Ok(query));
        assert_eq!((query.password, query.qos, query.retain), (Some(&b"c=d"[..]), Some(Qos::ExactlyOnce), Some(true)));
        let more = packet(&[b"expiry=60", b"nl=1", b"rh=2"]);
        let more = Query::of(&more).expect("valid");
        assert_eq!(
            (more.expiry_secs, more.no_local, more.retain_handling),
            (Some(60), true, RetainHandling::DoNotSend)
        );
    }

    #[test]
    fn bad_values_say_which() {
        for (parameter, error) in [
            (&b"q=3"[..], "bad qos"),
            (b"qos", "bad qos"),
            (b"retain=maybe", "bad retain"),
            (b"expiry=-1", "bad expiry"),
            (b"rh=3", "bad rh"),
            (b"nl=2", "bad nl"),
            (b"c=\xff", "bad clientid"),
        ] {
            assert_eq!(Query::of(&packet(&[parameter])), Err(QueryError(error)));
        }
    }
}
