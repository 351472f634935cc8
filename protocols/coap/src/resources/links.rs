use std::fmt::Write;

use crate::codec::{Packet, option};

/// A link of a link-format document (RFC 6690, section 2).
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) target: String,
    /// Resource types, separated by spaces.
    pub(crate) resource_type: &'static str,
    pub(crate) format: Option<u16>,
    pub(crate) observable: bool,
}

/// A document, which takes only links that a request's query wants (RFC 6690, section 4.1).
#[derive(Debug)]
pub(crate) struct Links {
    wanted: Vec<(String, String)>,
    text: String,
}

impl Links {
    pub(crate) fn for_request(packet: &Packet) -> Self {
        let known = |name: &str| matches!(name, "rt" | "href" | "ct" | "obs");
        let parameters = packet.options(option::URI_QUERY).filter_map(|query| std::str::from_utf8(query).ok());
        let pairs = parameters.filter_map(|query| query.split_once('=')).filter(|(name, _)| known(name));
        Self { wanted: pairs.map(|(name, value)| (name.into(), value.into())).collect(), text: String::new() }
    }

    /// True when the query asks for nothing but resources of this type.
    pub(crate) fn wants_type(&self, resource_type: &str) -> bool {
        self.wanted.iter().any(|(name, value)| name == "rt" && matches(value, resource_type))
    }

    pub(crate) fn add(&mut self, link: &Link) {
        let fits = |(name, value): &(String, String)| match name.as_str() {
            "rt" => link.resource_type.split(' ').any(|one| matches(value, one)),
            "href" => matches(value, &link.target),
            "ct" => link.format.is_some_and(|format| matches(value, &format.to_string())),
            _ => link.observable,
        };
        if !self.wanted.iter().all(fits) {
            return;
        }
        let comma = if self.text.is_empty() { "" } else { "," };
        let _ = write!(self.text, "{comma}<{}>;rt=\"{}\"", link.target, link.resource_type);
        if let Some(format) = link.format {
            let _ = write!(self.text, ";ct={format}");
        }
        if link.observable {
            self.text.push_str(";obs");
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

fn matches(wanted: &str, is: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => is.starts_with(prefix),
        None => wanted == is,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Code, Kind};

    fn text(query: &[&str]) -> String {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        for one in query {
            packet.push(option::URI_QUERY, one.as_bytes());
        }
        let mut links = Links::for_request(&packet);
        links.add(&Link { target: "/a".into(), resource_type: "x.one y", format: Some(40), observable: false });
        links.add(&Link { target: "/b".into(), resource_type: "x.two", format: None, observable: true });
        String::from_utf8(links.into_bytes()).expect("text")
    }

    #[test]
    fn rfc6690_section_4_1_filters() {
        let (a, b) = ("</a>;rt=\"x.one y\";ct=40", "</b>;rt=\"x.two\";obs");
        assert_eq!(text(&[]), format!("{a},{b}"));
        assert_eq!(text(&["rt=y"]), a);
        assert_eq!(text(&["rt=x.*"]), format!("{a},{b}"));
        assert_eq!(text(&["href=/b"]), b);
        assert_eq!(text(&["ct=40", "rt=x.two"]), "");
        assert_eq!(text(&["c=client"]), format!("{a},{b}"), "parameters that are no attributes do not filter");
    }
}
