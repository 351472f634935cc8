//! What of BSON is needed to ask and to read an answer.

use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    gather::Gather,
    row::{Field, Row},
};

/// How deep documents may be in each other.
const DEPTH_MAX: usize = 16;

/// A document that is being written.
pub struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub fn new() -> Self {
        Self(Zeroizing::new(vec![0; 4]))
    }

    fn name(mut self, kind: u8, name: &str) -> Self {
        self.0.push(kind);
        // Names are the operator's or ours; one with U+0000 would end there.
        self.0.extend(name.bytes().filter(|&byte| byte != 0));
        self.0.push(0);
        self
    }

    pub fn text(self, name: &str, text: &str) -> Self {
        let mut it = self.name(0x02, name);
        it.0.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
        it.0.extend_from_slice(text.as_bytes());
        it.0.push(0);
        it
    }

    pub fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        let mut it = self.name(0x05, name);
        it.0.extend_from_slice(&(bytes.len() as i32).to_le_bytes());
        it.0.push(0);
        it.0.extend_from_slice(bytes);
        it
    }

    pub fn truth(self, name: &str, truth: bool) -> Self {
        let mut it = self.name(0x08, name);
        it.0.push(truth.into());
        it
    }

    pub fn null(self, name: &str) -> Self {
        self.name(0x0a, name)
    }

    pub fn int(self, name: &str, number: i32) -> Self {
        let mut it = self.name(0x10, name);
        it.0.extend_from_slice(&number.to_le_bytes());
        it
    }

    pub fn long(self, name: &str, number: i64) -> Self {
        let mut it = self.name(0x12, name);
        it.0.extend_from_slice(&number.to_le_bytes());
        it
    }

    pub fn double(self, name: &str, number: f64) -> Self {
        let mut it = self.name(0x01, name);
        it.0.extend_from_slice(&number.to_le_bytes());
        it
    }

    pub fn document(self, name: &str, document: &[u8]) -> Self {
        let mut it = self.name(0x03, name);
        it.0.extend_from_slice(document);
        it
    }

    pub fn array(self, name: &str, array: &[u8]) -> Self {
        let mut it = self.name(0x04, name);
        it.0.extend_from_slice(array);
        it
    }

    pub fn end(mut self) -> Zeroizing<Vec<u8>> {
        self.0.push(0);
        let len = (self.0.len() as i32).to_le_bytes();
        self.0[..4].copy_from_slice(&len);
        self.0
    }
}

/// A value that is being read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Double(f64),
    Text(&'a str),
    Document(&'a [u8]),
    Array(&'a [u8]),
    Bytes(&'a [u8]),
    Truth(bool),
    /// Milliseconds since 1970.
    Date(i64),
    Null,
    Number(i64),
    /// Of no use here.
    Other,
}

/// It is no BSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBson;

impl From<NoBson> for Failure {
    fn from(_: NoBson) -> Self {
        Self::Malformed("no BSON".into())
    }
}

/// The elements of a document.
pub struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Of a whole document.
    pub fn of(document: &'a [u8]) -> Result<Self, NoBson> {
        let (len, rest) = document.split_first_chunk().ok_or(NoBson)?;
        if i32::from_le_bytes(*len) as usize != document.len() || rest.last() != Some(&0) {
            return Err(NoBson);
        }
        Ok(Self(&rest[..rest.len() - 1]))
    }

    /// The value of a name.
    pub fn find(document: &'a [u8], name: &str) -> Result<Option<Value<'a>>, NoBson> {
        for element in Self::of(document)? {
            let (known, value) = element?;
            if known == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], NoBson> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NoBson)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], NoBson> {
        self.take(N)?.try_into().map_err(|_| NoBson)
    }

    fn len(&mut self) -> Result<usize, NoBson> {
        usize::try_from(i32::from_le_bytes(self.fixed()?)).map_err(|_| NoBson)
    }

    fn c_string(&mut self) -> Result<&'a str, NoBson> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(NoBson)?;
        let text = self.take(end + 1)?;
        std::str::from_utf8(&text[..end]).map_err(|_| NoBson)
    }

    fn element(&mut self) -> Result<(&'a str, Value<'a>), NoBson> {
        let [kind] = self.fixed()?;
        let name = self.c_string()?;
        let value = match kind {
            0x01 => Value::Double(f64::from_le_bytes(self.fixed()?)),
            0x02 => {
                let len = self.len()?;
                let text = self.take(len)?.strip_suffix(&[0]).ok_or(NoBson)?;
                Value::Text(std::str::from_utf8(text).map_err(|_| NoBson)?)
            }
            0x03 | 0x04 => {
                let (len, _) = self.0.split_first_chunk().ok_or(NoBson)?;
                let document = self.take(usize::try_from(i32::from_le_bytes(*len)).map_err(|_| NoBson)?)?;
                if kind == 0x03 { Value::Document(document) } else { Value::Array(document) }
            }
            0x05 => {
                let len = self.len()?;
                self.take(1)?;
                Value::Bytes(self.take(len)?)
            }
            0x08 => Value::Truth(self.fixed() == Ok([1])),
            0x09 => Value::Date(i64::from_le_bytes(self.fixed()?)),
            0x06 | 0x0a => Value::Null,
            0x10 => Value::Number(i32::from_le_bytes(self.fixed()?).into()),
            0x12 => Value::Number(i64::from_le_bytes(self.fixed()?)),
            0x07 => self.take(12).map(|_| Value::Other)?,
            0x0b => {
                self.c_string()?;
                self.c_string().map(|_| Value::Other)?
            }
            0x0d | 0x0e => {
                let len = self.len()?;
                self.take(len).map(|_| Value::Other)?
            }
            0x11 => self.take(8).map(|_| Value::Other)?,
            0x13 => self.take(16).map(|_| Value::Other)?,
            0x7f | 0xff => Value::Other,
            _ => return Err(NoBson),
        };
        Ok((name, value))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a str, Value<'a>), NoBson>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let element = self.element();
        if element.is_err() {
            self.0 = &[];
        }
        Some(element)
    }
}

/// A document as a row. Values of kinds that nothing here is kept in are left out, as identifiers of documents are.
pub fn row(document: &[u8], gather: &mut Gather) -> Result<Row, Failure> {
    let mut row = Row::default();
    for element in Elements::of(document)? {
        let (name, value) = element?;
        if let Some(field) = field(value, gather, 0)? {
            row.push(name, field);
        }
    }
    Ok(row)
}

fn field(value: Value<'_>, gather: &mut Gather, depth: usize) -> Result<Option<Field>, Failure> {
    let text = |text: String| Field::Text(Zeroizing::new(text));
    Ok(Some(match value {
        Value::Text(value) => {
            gather.weigh(value.len())?;
            text(value.into())
        }
        Value::Bytes(bytes) => {
            gather.weigh(bytes.len())?;
            Field::Bytes(Zeroizing::new(bytes.to_vec()))
        }
        Value::Truth(truth) => Field::Boolean(truth),
        Value::Number(number) => Field::Integer(number),
        Value::Date(ms) => Field::Integer(ms.div_euclid(1000)),
        // What was written in a shell is a double, though it is meant to be a whole number.
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Field::Integer(number as i64),
        Value::Double(number) => text(number.to_string()),
        Value::Null => Field::Null,
        Value::Array(_) if depth >= DEPTH_MAX => return Err(NoBson.into()),
        Value::Array(array) => {
            gather.weigh(array.len())?;
            let mut items = Vec::new();
            for element in Elements::of(array)? {
                items.extend(field(element?.1, gather, depth + 1)?);
            }
            Field::List(items)
        }
        // Attributes of a client are texts by name.
        Value::Document(document) => {
            gather.weigh(document.len())?;
            let mut object = serde_json::Map::new();
            for element in Elements::of(document)? {
                let (name, value) = element?;
                let value = match value {
                    Value::Text(text) => text.into(),
                    Value::Truth(truth) => truth.into(),
                    Value::Number(number) => number.into(),
                    Value::Double(number) => number.into(),
                    Value::Null => serde_json::Value::Null,
                    _ => continue,
                };
                object.insert(name.into(), value);
            }
            text(serde_json::Value::Object(object).to_string())
        }
        Value::Other => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Writer::new().text("site", "north").int("n", 7).end();
        let list = Writer::new().text("0", "a").text("1", "b").end();
        let document = Writer::new()
            .text("name", "bob")
            .bytes("bytes", &[1, 2])
            .truth("yes", true)
            .null("none")
            .int("small", -1)
            .long("large", i64::MAX)
            .double("whole", 2.0)
            .double("half", 0.5)
            .document("attributes", &inner)
            .array("topics", &list)
            .end();
        let row = row(&document, &mut Gather::default()).expect("good");
        let told = |name: &str| row.find(name).and_then(|field| field.text().map(|text| text.into_owned()));
        assert_eq!(told("name").as_deref(), Some("bob"));
        assert_eq!(row.find("none"), None);
        assert_eq!(
            (row.find("small"), row.find("large")),
            (Some(&Field::Integer(-1)), Some(&Field::Integer(i64::MAX)))
        );
        assert_eq!((row.find("whole"), told("half").as_deref()), (Some(&Field::Integer(2)), Some("0.5")));
        assert_eq!(told("attributes").as_deref(), Some(r#"{"n":7,"site":"north"}"#));
        assert!(matches!(row.find("topics"), Some(Field::List(items)) if items.len() == 2));
        assert_eq!(row.find("yes"), Some(&Field::Boolean(true)));
    }

    #[test]
    fn damaged_documents_are_told() {
        let whole = Writer::new().text("name", "bob").array("a", &Writer::new().int("0", 1).end()).end();
        for at in 0..whole.len() {
            assert!(row(&whole[..at], &mut Gather::default()).is_err(), "cut at {at}");
            for byte in [0, 1, 0x7f, 0xff] {
                let mut other = whole.to_vec();
                other[at] = byte;
                // It is read or refused; it does not panic and does not read past its end.
                let _ = row(&other, &mut Gather::default());
            }
        }
        let mut deep = Writer::new().end();
        for _ in 0..DEPTH_MAX + 2 {
            deep = Writer::new().array("0", &deep).end();
        }
        assert!(row(&deep, &mut Gather::default()).is_err());
        let large = Writer::new().text("x", &"x".repeat(70_000)).end();
        assert_eq!(row(&large, &mut Gather::default()).err(), Some(Failure::TooLarge));
    }
}
