use crate::codec::{Packet, option};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `.well-known/core`.
    WellKnown,
    /// `mqtt/connection`.
    Connection,
    /// `ps/{+topic}`: a topic name or filter, not yet checked.
    Topic(String),
    /// The topic collection of the publish/subscribe draft.
    Collection,
    /// One of its topics, by identifier.
    TopicConfig(String),
    /// The data of one of its topics, by identifier.
    TopicData(String),
    /// Nothing.
    Unknown,
    /// A path that is not UTF-8.
    Unreadable,
}

impl Resource {
    /// The resource that a request is for.
    pub(crate) fn of(packet: &Packet, pubsub_path: Option<&str>) -> Self {
        let mut segments = packet.options(option::URI_PATH);
        let Some(first) = segments.next() else { return Self::Unknown };
        let rest: Vec<&[u8]> = segments.collect();
        let text = |segment: &[u8]| std::str::from_utf8(segment).map(str::to_owned);
        match (first, rest.as_slice()) {
            (b".well-known", [b"core"]) => Self::WellKnown,
            (b"mqtt", [b"connection"]) => Self::Connection,
            (b"ps", [_, ..]) => topic_of(&rest).map_or(Self::Unreadable, Self::Topic),
            (first, rest) if pubsub_path.is_some_and(|path| path.as_bytes() == first) => match rest {
                [] => Self::Collection,
                [b"data", id] => text(id).map_or(Self::Unreadable, Self::TopicData),
                [id] => text(id).map_or(Self::Unreadable, Self::TopicConfig),
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

/// The topic that path segments name: each segment is one level, so an empty one is an empty level (`ps//a` is the topic `/a`, `ps/a/` is `a/`).
///
/// Options hold segments as they are, and it is the client that decodes what is written in a URI (RFC 7252, section 6.4). Clients that do not, and
/// proxies, leave `%2F`, `%23` or `%2B` in place; so what is still percent-encoded is decoded once more, and a `/` that comes of it, or was there,
/// separates levels. A percent sign without two hexadecimal digits behind it stays what it is; one that is meant literally before two such digits is
/// written `%25`.
pub(crate) fn topic_of(segments: &[&[u8]]) -> Option<String> {
    let mut topic = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            topic.push(b'/');
        }
        decode_percent(segment, &mut topic);
    }
    String::from_utf8(topic).ok()
}

fn decode_percent(mut segment: &[u8], decoded: &mut Vec<u8>) {
    let digit = |byte: u8| (byte as char).to_digit(16);
    while let [byte, rest @ ..] = segment {
        if let (b'%', [high, low, behind @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            decoded.push((high << 4 | low) as u8);
            segment = behind;
            continue;
        }
        decoded.push(*byte);
        segment = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Code, Kind};

    fn resource(path: &[&[u8]]) -> Resource {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        for segment in path {
            packet.push(option::URI_PATH, segment);
        }
        Resource::of(&packet, Some("pubsub"))
    }

    #[test]
    fn segments_are_levels() {
        for (path, topic) in [
            (&[&b"ps"[..], b"a", b"b"][..], "a/b"),
            (&[b"ps", b"", b"a"], "/a"),
            (&[b"ps", b"a", b""], "a/"),
            (&[b"ps", b"a", b"", b"b"], "a//b"),
            (&[b"ps", b"a%2Fb"], "a/b"),
            (&[b"ps", b"a/b"], "a/b"),
            (&[b"ps", b"%2fa"], "/a"),
            (&[b"ps", b"a", b"%23"], "a/#"),
            (&[b"ps", b"%2B", b"b"], "+/b"),
            (&[b"ps", b"+", b"#"], "+/#"),
            (&[b"ps", b"100%", b"5%zz", b"%2541"], "100%/5%zz/%41"),
            (&[b"ps", "\u{fc}".as_bytes(), b"%C3%BC"], "\u{fc}/\u{fc}"),
            (&[b"ps", b""], ""),
        ] {
            assert_eq!(resource(path), Resource::Topic(topic.into()), "{path:?}");
        }
        assert_eq!(resource(&[b"ps", b"%ff"]), Resource::Unreadable);
    }

    #[test]
    fn other_paths() {
        for (path, expected) in [
            (&[][..], Resource::Unknown),
            (&[&b"ps"[..]], Resource::Unknown),
            (&[b".well-known", b"core"], Resource::WellKnown),
            (&[b"mqtt", b"connection"], Resource::Connection),
            (&[b"mqtt"], Resource::Unknown),
            (&[b"pubsub"], Resource::Collection),
            (&[b"pubsub", b"ab12"], Resource::TopicConfig("ab12".into())),
            (&[b"pubsub", b"data", b"ab12"], Resource::TopicData("ab12".into())),
            (&[b"pubsub", b"data", b"ab12", b"x"], Resource::Unknown),
        ] {
            assert_eq!(resource(path), expected, "{path:?}");
        }
    }
}
