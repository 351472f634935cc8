use std::net::IpAddr;

use thingway_coap::codec::{Code, Kind, Packet, option};

use crate::cli::client::{error::ClientError, url::Host};

/// Most bytes of a path segment or a parameter (RFC 7252, section 5.10).
const SEGMENT_BYTES_MAX: usize = 255;

/// What all requests have in common.
#[derive(Debug)]
pub struct Requests {
    host: Option<String>,
    path: Vec<String>,
    /// Client identifier and token of the connection.
    connection: Option<(String, String)>,
}

impl Requests {
    /// For a server, whose topics are at this path.
    pub fn new(host: &Host, path: &[String]) -> Self {
        // Section 6.4: an address is where the datagram goes to anyway.
        let host = Some(host.name.clone()).filter(|name| name.parse::<IpAddr>().is_err());
        Self { host, path: path.to_vec(), connection: None }
    }

    /// Where the topics are.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// From now on requests are those of a connection.
    pub fn is_connected(&mut self, client_id: &str, token: &str) {
        self.connection = Some((client_id.to_owned(), token.to_owned()));
    }

    /// True when there is a connection.
    pub fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// A request to a topic, or to the topics of a filter.
    pub fn topic(&self, code: Code, topic: &str) -> Result<Packet, ClientError> {
        let mut request = self.request(code)?;
        for segment in &self.path {
            push(&mut request, option::URI_PATH, segment)?;
        }
        for level in topic.split('/') {
            push(&mut request, option::URI_PATH, &escape(level))?;
        }
        self.identify(&mut request)?;
        Ok(request)
    }

    /// The request for a connection.
    pub fn connect(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&str>,
    ) -> Result<Packet, ClientError> {
        let mut request = self.to_connection(Code::POST)?;
        push(&mut request, option::URI_QUERY, &format!("clientid={client_id}"))?;
        if let Some(username) = username {
            push(&mut request, option::URI_QUERY, &format!("username={username}"))?;
        }
        if let Some(password) = password {
            push(&mut request, option::URI_QUERY, &format!("password={password}"))?;
        }
        Ok(request)
    }

    /// A request about the connection that there is.
    pub fn connection(&self, code: Code) -> Result<Packet, ClientError> {
        let mut request = self.to_connection(code)?;
        self.identify(&mut request)?;
        Ok(request)
    }

    fn to_connection(&self, code: Code) -> Result<Packet, ClientError> {
        let mut request = self.request(code)?;
        request.push(option::URI_PATH, b"mqtt");
        request.push(option::URI_PATH, b"connection");
        Ok(request)
    }

    fn request(&self, code: Code) -> Result<Packet, ClientError> {
        let mut request = Packet::new(Kind::Confirmable, code);
        if let Some(host) = &self.host {
            push(&mut request, option::URI_HOST, host)?;
        }
        Ok(request)
    }

    fn identify(&self, request: &mut Packet) -> Result<(), ClientError> {
        if let Some((client_id, token)) = &self.connection {
            push(request, option::URI_QUERY, &format!("clientid={client_id}"))?;
            push(request, option::URI_QUERY, &format!("token={token}"))?;
        }
        Ok(())
    }
}

/// Adds an option whose value is text.
pub fn push(request: &mut Packet, number: u16, value: &str) -> Result<(), ClientError> {
    if value.len() > SEGMENT_BYTES_MAX {
        return Err(ClientError::Encode(format!(
            "more than {SEGMENT_BYTES_MAX} bytes between slashes, or in a parameter"
        )));
    }
    request.push(number, value.as_bytes());
    Ok(())
}

/// A level of a topic as a path segment. Servers decode percent signs that a client left in place, so one that is meant literally must not look like an
/// encoded byte.
fn escape(level: &str) -> String {
    let mut escaped = String::with_capacity(level.len());
    for (at, character) in level.char_indices() {
        escaped.push(character);
        let behind = level.as_bytes().get(at + 1..at + 3);
        if character == '%' && behind.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            escaped.push_str("25");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(topic: &str) -> Vec<String> {
        let host = Host { name: "h".into(), port: 5683 };
        let request = Requests::new(&host, &["ps".into()]).topic(Code::GET, topic).unwrap();
        assert_eq!(request.first(option::URI_HOST), Some(&b"h"[..]));
        request.options(option::URI_PATH).map(|segment| String::from_utf8(segment.to_vec()).unwrap()).collect()
    }

    #[test]
    fn levels_are_segments() {
        for (topic, expected) in [
            ("a/b", &["ps", "a", "b"][..]),
            ("/a/", &["ps", "", "a", ""]),
            ("+/#", &["ps", "+", "#"]),
            ("100%/%41/%zz/%e4", &["ps", "100%", "%2541", "%zz", "%25e4"]),
        ] {
            assert_eq!(path(topic), expected);
        }
    }

    #[test]
    fn addresses_are_no_host_option_and_long_levels_are_refused() {
        for address in ["127.0.0.1", "::1"] {
            let requests = Requests::new(&Host { name: address.into(), port: 5683 }, &["ps".into()]);
            assert!(!requests.topic(Code::GET, "a").unwrap().has(option::URI_HOST));
            assert!(requests.topic(Code::GET, &"x".repeat(255)).is_ok());
            assert!(matches!(requests.topic(Code::GET, &"x".repeat(256)), Err(ClientError::Encode(_))));
        }
    }
}
