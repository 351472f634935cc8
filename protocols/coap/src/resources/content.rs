use thingway_contract::{Instant, Message, PropertiesBuilder, Property};

use crate::{
    codec::{content_format, is_text, media_type},
    hash::{PUBLIC_KEY, keyed},
};

/// The Content-Format of a message: its content type's number, or text for a payload that says to be text.
pub(crate) fn format_of(message: &Message) -> Option<u16> {
    let mut utf8 = false;
    for property in message.properties().iter() {
        match property {
            Property::ContentType(name) => return content_format(name),
            Property::PayloadFormatIndicator(is) => utf8 = is,
            _ => {}
        }
    }
    utf8.then_some(0)
}

/// The properties of a publication with this Content-Format.
pub(crate) fn properties_of(format: Option<u16>, payload: &[u8]) -> PropertiesBuilder {
    let mut properties = PropertiesBuilder::new();
    if let Some(format) = format {
        if is_text(format) && std::str::from_utf8(payload).is_ok() {
            properties.push(Property::PayloadFormatIndicator(true));
        }
        properties.push(Property::ContentType(&media_type(format)));
    }
    properties
}

/// The entity tag of a representation (RFC 7252, section 5.10.6): the same for the same bytes in the same format, on all machines.
pub(crate) fn entity_tag(format: Option<u16>, body: &[u8]) -> [u8; 8] {
    let format = format.map_or(u32::MAX, u32::from).to_be_bytes();
    keyed(&PUBLIC_KEY, &[&format, body]).to_be_bytes()
}

/// What Max-Age is to caches when it is not there (RFC 7252, section 5.10.5).
const DEFAULT_AGE_SECS: u32 = 60;

/// Max-Age (RFC 7252, section 5.10.5): the seconds that are left until a message expires. One that does not get older than its topic, which ends at
/// `ends_at`, gets no option unless there is less left than that means.
pub(crate) fn age_secs(message: &Message, ends_at: Instant, now: Instant) -> Option<u32> {
    let expires_at = message.head().expires_at;
    if expires_at < ends_at { Some(secs_until(expires_at, now)) } else { short_age_secs(ends_at, now) }
}

/// Max-Age of what ends at `ends_at`, and may change before: nothing if there is more left than no option means.
pub(crate) fn short_age_secs(ends_at: Instant, now: Instant) -> Option<u32> {
    Some(secs_until(ends_at, now)).filter(|secs| *secs < DEFAULT_AGE_SECS)
}

fn secs_until(at: Instant, now: Instant) -> u32 {
    u32::try_from(at.since(now).as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use thingway_contract::{MessageHead, Topic, TopicLimits};

    use super::*;

    #[test]
    fn formats_go_through_properties_and_back() {
        let topic = Topic::parse("t", TopicLimits::default()).expect("valid");
        for (format, payload, indicator) in [
            (Some(50), &b"{}"[..], true),
            (Some(50), b"\xff", false),
            (Some(60), b"x", false),
            (Some(777), b"x", false),
        ] {
            let properties = properties_of(format, payload);
            let message = Message::new(MessageHead::default(), topic, properties.as_properties(), payload);
            assert_eq!(format_of(&message), format);
            let is_text = message.properties().iter().any(|p| p == Property::PayloadFormatIndicator(true));
            assert_eq!(is_text, indicator);
        }
        let mut properties = PropertiesBuilder::new();
        properties.push(Property::PayloadFormatIndicator(true));
        let message = Message::new(MessageHead::default(), topic, properties.as_properties(), b"x");
        assert_eq!(format_of(&message), Some(0));
        assert_eq!(age_secs(&message, Instant::NEVER, Instant::ZERO), None);
        let head = MessageHead { expires_at: Instant::ZERO.plus_secs(9), ..MessageHead::default() };
        let message = message.with_head(head);
        assert_eq!(age_secs(&message, Instant::NEVER, Instant::from_millis(1500)), Some(7));
        assert_eq!(age_secs(&message, Instant::ZERO.plus_secs(8), Instant::from_millis(1500)), Some(6));
        assert_eq!(short_age_secs(Instant::ZERO.plus_secs(60), Instant::ZERO), None);
        assert_ne!(entity_tag(None, b"x"), entity_tag(Some(0), b"x"));
    }
}
