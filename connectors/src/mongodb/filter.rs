use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::bson::Writer;
use crate::template::{Template, TemplateError, Values};

/// How deep a filter may be.
const DEPTH_MAX: usize = 16;

/// A filter as a document in JSON. Its shape is the operator's: a value is a text in it, or a part of one, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(Template),
    /// Neither text nor structure.
    Plain(Json),
    Object(Box<[(Box<str>, Node)]>),
    Array(Box<[Node]>),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is no document.
    #[error("expected an object in JSON, such as {{\"username\": \"${{username}}\"}}")]
    Syntax,
    /// A name is a placeholder: what is compared would be a stranger's choice.
    #[error("names have no placeholders")]
    Name,
    /// Something in it runs a program of the server.
    #[error("{0} is not for filters here")]
    Program(String),
    /// A text in it is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Operators that run a text as a program.
const PROGRAMS: [&str; 3] = ["$where", "$function", "$accumulator"];

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, FilterError> {
        let json: Json = serde_json::from_str(text).map_err(|_| FilterError::Syntax)?;
        if !json.is_object() {
            return Err(FilterError::Syntax);
        }
        node(json, &is_known, 0).map(Self)
    }

    /// The names of placeholders.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect(&self.0, &mut names);
        names
    }

    /// The document with its values. `None` when one is not known.
    pub fn fill(&self, values: &dyn Values) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0 {
            Node::Object(members) => object(members, values),
            _ => None,
        }
    }
}

fn node(json: Json, is_known: &dyn Fn(&str) -> bool, depth: usize) -> Result<Node, FilterError> {
    if depth > DEPTH_MAX {
        return Err(FilterError::Syntax);
    }
    Ok(match json {
        Json::String(text) => Node::Text(Template::parse(&text, is_known)?),
        Json::Array(items) => {
            Node::Array(items.into_iter().map(|item| node(item, is_known, depth + 1)).collect::<Result<_, _>>()?)
        }
        Json::Object(members) => {
            let member = |(name, value): (String, Json)| {
                if name.contains("${") || name.contains('\0') {
                    return Err(FilterError::Name);
                }
                if PROGRAMS.contains(&name.as_str()) {
                    return Err(FilterError::Program(name));
                }
                Ok((name.into(), node(value, is_known, depth + 1)?))
            };
            Node::Object(members.into_iter().map(member).collect::<Result<_, _>>()?)
        }
        plain => Node::Plain(plain),
    })
}

fn collect<'a>(node: &'a Node, names: &mut Vec<&'a str>) {
    match node {
        Node::Text(template) => names.extend(template.names()),
        Node::Plain(_) => {}
        Node::Object(members) => members.iter().for_each(|(_, node)| collect(node, names)),
        Node::Array(items) => items.iter().for_each(|node| collect(node, names)),
    }
}

fn object(members: &[(Box<str>, Node)], values: &dyn Values) -> Option<Zeroizing<Vec<u8>>> {
    let mut writer = Writer::new();
    for (name, node) in members {
        writer = write(writer, name, node, values)?;
    }
    Some(writer.end())
}

fn write(writer: Writer, name: &str, node: &Node, values: &dyn Values) -> Option<Writer> {
    Some(match node {
        Node::Text(template) => writer.text(name, &template.fill(values, |value, out| out.push_str(value))?),
        Node::Object(members) => writer.document(name, &object(members, values)?),
        Node::Array(items) => {
            let mut array = Writer::new();
            for (index, item) in items.iter().enumerate() {
                array = write(array, &index.to_string(), item, values)?;
            }
            writer.array(name, &array.end())
        }
        Node::Plain(Json::Bool(truth)) => writer.truth(name, *truth),
        Node::Plain(Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => match i32::try_from(number) {
                Ok(small) => writer.int(name, small),
                Err(_) => writer.long(name, number),
            },
            (None, number) => writer.double(name, number?),
        },
        Node::Plain(_) => writer.null(name),
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::mongodb::bson::{Elements, Value};

    struct Named(&'static str);

    impl Values for Named {
        fn value(&self, name: &str) -> Option<Cow<'_, str>> {
            (name == "username").then_some(Cow::Borrowed(self.0))
        }
    }

    fn filter(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(text, |name| ["username", "clientid"].contains(&name))
    }

    #[test]
    fn a_value_is_a_text_and_nothing_else() {
        let wanted = filter(
            r#"{"username": "${username}", "$or": [{"n": 1}, {"n": 5000000000}], "x": null, "y": true, "z": 0.5}"#,
        );
        let wanted = wanted.expect("good");
        for evil in [r#"{"$ne":null}"#, r#"","$where":"1"#, "${clientid}", "\0"] {
            let document = wanted.fill(&Named(evil)).expect("known");
            let names: Vec<_> = Elements::of(&document).expect("good").map(|it| it.expect("good").0).collect();
            assert_eq!(names, ["$or", "username", "x", "y", "z"]);
            assert_eq!(Elements::find(&document, "username"), Ok(Some(Value::Text(evil))));
            assert_eq!(Elements::find(&document, "z"), Ok(Some(Value::Double(0.5))));
        }
        assert_eq!(wanted.names(), ["username"]);
        assert!(filter(r#"{"a": "${clientid}"}"#).expect("good").fill(&Named("x")).is_none());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let deep = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
        for (text, error) in [
            ("", FilterError::Syntax),
            ("[1]", FilterError::Syntax),
            ("{a: 1}", FilterError::Syntax),
            (deep.as_str(), FilterError::Syntax),
            (r#"{"${username}": 1}"#, FilterError::Name),
            (r#"{"a": {"$where": "1"}}"#, FilterError::Program("$where".into())),
            (r#"{"a": ["${x}"]}"#, FilterError::Template(TemplateError::Unknown("x".into()))),
        ] {
            assert_eq!(filter(text), Err(error), "{text}");
        }
    }
}
