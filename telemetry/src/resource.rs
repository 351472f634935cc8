use crate::wire::Writer;

/// Name of what measures.
const SCOPE: &str = "thingway";

/// Who measures: names and texts, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource(Vec<(String, String)>);

impl Resource {
    /// Sets an attribute. What it was before counts no more.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// An attribute.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn write(&self, field: u64, writer: &mut Writer) {
        writer.message(field, |resource| {
            self.0.iter().for_each(|(name, value)| attribute(1, name, value, resource));
        });
    }
}

pub(crate) fn write_scope(field: u64, writer: &mut Writer) {
    writer.message(field, |scope| {
        scope.bytes(1, SCOPE.as_bytes());
        scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    });
}

/// A `KeyValue` with a text.
pub(crate) fn attribute(field: u64, name: &str, value: &str, writer: &mut Writer) {
    writer.message(field, |pair| {
        pair.bytes(1, name.as_bytes());
        pair.message(2, |any| any.present_bytes(1, value.as_bytes()));
    });
}

/// `name=value,name=value` with values that are percent-encoded, as `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_EXPORTER_OTLP_HEADERS` have it. `None` when it is
/// written in another way: then nothing of it counts, as the specification says.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = decoded(name.trim())?;
        (!name.is_empty()).then_some(())?;
        Some((name, decoded(value.trim())?))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_the_specification_has_them() {
        let read =
            |text| pairs(text).map(|pairs| pairs.into_iter().map(|(n, v)| format!("{n}:{v}")).collect::<Vec<_>>());
        assert_eq!(read(" a=1 , b=x%20y%2C=z,"), Some(vec!["a:1".into(), "b:x y,=z".into()]));
        assert_eq!(read(""), Some(Vec::new()));
        for bad in ["a", "=b", "a=%2", "a=%zz", "a=%ff", "a=1,b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_word_counts() {
        let mut resource = Resource::default();
        resource.set("a", "1");
        resource.set("a", "2");
        assert_eq!((resource.find("a"), resource.0.len()), (Some("2"), 1));
    }
}
