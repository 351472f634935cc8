use std::fmt;

/// One property of a publication (MQTT 5.0, section 3.3.2.3), as it is found in a [`Properties`] block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// The payload is UTF-8 text when true (identifier 0x01).
    PayloadFormatIndicator(bool),
    /// MIME type of the payload (0x03).
    ContentType(&'a str),
    /// Where a responder shall answer (0x08).
    ResponseTopic(&'a str),
    /// Opaque bytes that a responder repeats (0x09).
    CorrelationData(&'a [u8]),
    /// A name and a value, in order, names may repeat (0x26).
    UserProperty(&'a str, &'a str),
}

/// Why bytes are no block of publication properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PropertyError {
    /// The block ends inside a property.
    Truncated,
    /// A text is not UTF-8 or holds NUL.
    BadText,
    /// An identifier that does not belong to a publication that has left its connection.
    UnknownIdentifier(u8),
    /// A payload format indicator other than 0 and 1.
    BadIndicator(u8),
}

/// The properties of a publication, in the encoding of MQTT 5.0 section 2.2.2 without the length in front.
///
/// That encoding is the gateway's own form too: it is the richest of all protocols here, and an MQTT 5 subscriber gets it
/// copied as it is. What belongs to one connection (topic alias, subscription identifiers) or changes with time (message
/// expiry) is never in it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// A block that was checked before, as by [`Properties::parse`] or [`PropertiesBuilder`].
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Checks a block.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertyError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            next_property(&mut rest)?;
        }
        Ok(Self(bytes))
    }

    /// The encoded block.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// True when there is no property.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The properties in order.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || if rest.is_empty() { None } else { next_property(&mut rest).ok() })
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], PropertyError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(PropertyError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PropertyError> {
    let length = take(rest, 2)?;
    take(rest, usize::from(u16::from_be_bytes([length[0], length[1]])))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, PropertyError> {
    let text = std::str::from_utf8(take_bytes(rest)?).map_err(|_| PropertyError::BadText)?;
    if text.contains('\0') { Err(PropertyError::BadText) } else { Ok(text) }
}

fn next_property<'a>(rest: &mut &'a [u8]) -> Result<Property<'a>, PropertyError> {
    match take(rest, 1)?[0] {
        0x01 => match take(rest, 1)?[0] {
            0 => Ok(Property::PayloadFormatIndicator(false)),
            1 => Ok(Property::PayloadFormatIndicator(true)),
            other => Err(PropertyError::BadIndicator(other)),
        },
        0x03 => take_text(rest).map(Property::ContentType),
        0x08 => take_text(rest).map(Property::ResponseTopic),
        0x09 => take_bytes(rest).map(Property::CorrelationData),
        0x26 => {
            let name = take_text(rest)?;
            Ok(Property::UserProperty(name, take_text(rest)?))
        }
        other => Err(PropertyError::UnknownIdentifier(other)),
    }
}

/// Builds a [`Properties`] block.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuilder(Vec<u8>);

impl PropertiesBuilder {
    /// An empty block.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a property. Texts and bytes over 65,535 bytes are cut to that length at a character boundary.
    pub fn push(&mut self, property: Property<'_>) -> &mut Self {
        match property {
            Property::PayloadFormatIndicator(utf8) => self.0.extend_from_slice(&[0x01, u8::from(utf8)]),
            Property::ContentType(text) => self.text(0x03, text),
            Property::ResponseTopic(text) => self.text(0x08, text),
            Property::CorrelationData(bytes) => {
                self.0.push(0x09);
                self.counted(&bytes[..bytes.len().min(usize::from(u16::MAX))]);
            }
            Property::UserProperty(name, value) => {
                self.text(0x26, name);
                self.counted(cut(value).as_bytes());
            }
        }
        self
    }

    fn text(&mut self, identifier: u8, text: &str) {
        self.0.push(identifier);
        self.counted(cut(text).as_bytes());
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// The block.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }

    /// The encoded block.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len().min(usize::from(u16::MAX)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_keeps_order_and_repeats() {
        let all = [
            Property::PayloadFormatIndicator(true),
            Property::UserProperty("a", "1"),
            Property::ContentType("text/plain"),
            Property::UserProperty("a", "2"),
            Property::ResponseTopic("r/t"),
            Property::CorrelationData(&[0, 1, 255]),
        ];
        let mut builder = PropertiesBuilder::new();
        for property in all {
            builder.push(property);
        }
        let bytes = builder.into_bytes();
        let parsed = Properties::parse(&bytes).expect("valid");
        assert_eq!(parsed.iter().collect::<Vec<_>>(), all);
        for cut in 1..bytes.len() {
            let whole = Properties::parse(&bytes[..cut]);
            assert!(whole.is_ok_and(|p| p.iter().count() < all.len()) || whole == Err(PropertyError::Truncated));
        }
    }

    #[test]
    fn foreign_identifiers_and_bad_text_are_refused() {
        assert_eq!(Properties::parse(&[0x23, 0, 1]), Err(PropertyError::UnknownIdentifier(0x23)));
        assert_eq!(Properties::parse(&[0x01, 2]), Err(PropertyError::BadIndicator(2)));
        assert_eq!(Properties::parse(&[0x03, 0, 1, 0xff]), Err(PropertyError::BadText));
        assert_eq!(Properties::parse(&[0x03, 0, 1, 0]), Err(PropertyError::BadText));
    }
}
