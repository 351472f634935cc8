//! What is asked: a request with placeholders, and what becomes of strangers' values in it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{
        ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
    },
};
use zeroize::Zeroizing;

use crate::template::{Template, TemplateError, Values};

/// Longest address with values in it, in bytes.
const URI_BYTES_MAX: usize = 16 * 1024;
/// Headers that belong to the connection, and are not for the operator to set.
const OWN_HEADERS: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING];

/// A request as operators write it.
#[derive(Clone, Debug)]
pub struct QuestionText<'a> {
    /// GET, whose fields go into the query, or POST, whose fields are its body.
    pub method: QuestionMethod,
    /// The address, with placeholders in its path and its query.
    pub url: &'a str,
    /// Headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Names and texts.
    pub fields: &'a [(&'a str, &'a str)],
}

/// How the fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionMethod {
    /// In the query of a GET.
    Get,
    /// As a JSON object of texts.
    PostJson,
    /// As a form.
    PostForm,
}

/// A request with placeholders. Values can become nothing but a part of one path segment, one value of a query, a header or a body.
#[derive(Clone)]
pub struct Question {
    method: QuestionMethod,
    /// Scheme, host and port.
    origin: Box<str>,
    path: Template,
    query: Option<Template>,
    headers: Box<[(HeaderName, Template)]>,
    fields: Box<[(Box<str>, Template)]>,
}

/// Why a text is no request. Values of headers are not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Not http.
    #[error("an address begins with http:// or https://, and then names a host")]
    Address,
    /// Where values have no place.
    #[error("no placeholder may stand in scheme, host and port")]
    PlaceholderInHost,
    /// Credentials where logs show them.
    #[error("user and password do not belong into an address, but into a header")]
    UserInfo,
    /// Not for servers.
    #[error("an address has no \"#\" here")]
    Fragment,
    /// The address is none.
    #[error("the address is none, even with harmless values")]
    Malformed,
    /// A header's name.
    #[error("{0:?} is no name of a header that may be set")]
    HeaderName(String),
    /// A header's value.
    #[error("the header {0:?} holds what no header may")]
    HeaderValue(String),
    /// A placeholder.
    #[error("{place}: {error}")]
    Template {
        /// Where.
        place: String,
        /// What is wrong.
        error: TemplateError,
    },
}

/// What a stranger shows cannot be asked about: it is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It would be no path segment, or lead elsewhere.
    #[error("a value is no segment of a path")]
    Segment,
    /// It has control characters.
    #[error("a value cannot be in a header")]
    Header,
    /// The address would be too long.
    #[error("the address would be longer than 16384 bytes")]
    TooLong,
}

impl Question {
    /// Reads a request whose placeholders are all among those that `is_known`.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn parse(text: &QuestionText<'_>, is_known: impl Fn(&str) -> bool) -> Result<Self, QuestionError> {
        let template = |place: &str, text: &str| {
            Template::parse(text, &is_known).map_err(|error| QuestionError::Template { place: place.into(), error })
        };
        let (origin, rest) = origin(text.url)?;
        if rest.contains('#') {
            return Err(QuestionError::Fragment);
        }
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        let header = |(name, value): &(&str, &str)| {
            let parsed = HeaderName::try_from(*name).ok().filter(|name| !OWN_HEADERS.contains(name));
            let parsed = parsed.ok_or_else(|| QuestionError::HeaderName((*name).into()))?;
            // What placeholders stand for is looked at when it is known.
            HeaderValue::from_str(value).map_err(|_| QuestionError::HeaderValue((*name).into()))?;
            Ok((parsed, template(&format!("the header {name:?}"), value)?))
        };
        let field =
            |(name, value): &(&str, &str)| Ok(((*name).into(), template(&format!("the field {name:?}"), value)?));
        let question = Self {
            method: text.method,
            origin: origin.into(),
            path: template("the path", path)?,
            query: query.map(|query| template("the query", query)).transpose()?,
            headers: text.headers.iter().map(header).collect::<Result<_, QuestionError>>()?,
            fields: text.fields.iter().map(field).collect::<Result<_, QuestionError>>()?,
        };
        // What the operator wrote must be an address whatever the values are.
        let uri = question.uri(&Harmless).ok().and_then(|uri| uri.parse::<Uri>().ok());
        let has_port = |uri: &Uri| {
            uri.authority().is_some_and(|it| it.as_str().len() == it.host().len() || it.port_u16().is_some())
        };
        uri.filter(has_port).map(|_| question).ok_or(QuestionError::Malformed)
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The names of all placeholders in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().map(|(_, template)| template);
        let fields = self.fields.iter().map(|(_, template)| template);
        [&self.path].into_iter().chain(&self.query).chain(headers).chain(fields).flat_map(Template::names)
    }

    /// The request with these values; what is not known is empty.
    ///
    /// # Errors
    /// When a value has no place in it.
    pub fn fill(&self, values: &dyn Values) -> Result<Request<Full<Bytes>>, Unfit> {
        let uri = self.uri(values)?;
        let (method, body, kind) = match self.method {
            QuestionMethod::Get => (Method::GET, None, None),
            QuestionMethod::PostJson => (Method::POST, Some(self.json(values)), Some("application/json")),
            QuestionMethod::PostForm => {
                (Method::POST, Some(self.form(values)), Some("application/x-www-form-urlencoded"))
            }
        };
        let mut request = Request::new(Full::new(body.map_or_else(Bytes::new, Bytes::from_owner)));
        *request.method_mut() = method;
        // What can be no address was percent-encoded, and the operator's own part was tried.
        *request.uri_mut() = uri.parse().map_err(|_| Unfit::TooLong)?;
        let headers = request.headers_mut();
        let _ = headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let _ = headers.insert(USER_AGENT, HeaderValue::from_static("thingway"));
        if let Some(kind) = kind {
            let _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        self.put_headers(values, headers)?;
        Ok(request)
    }

    fn put_headers(&self, values: &dyn Values, headers: &mut HeaderMap) -> Result<(), Unfit> {
        for (name, template) in &self.headers {
            let text = fill(template, values, |value, out| out.push_str(value));
            let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Unfit::Header)?;
            // A tab is no harm to HTTP, but nothing that a client may put there.
            if text.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(Unfit::Header);
            }
            value.set_sensitive(true);
            let _ = headers.insert(name.clone(), value);
        }
        Ok(())
    }

    fn uri(&self, values: &dyn Values) -> Result<Zeroizing<String>, Unfit> {
        let mut empty = false;
        let path = fill(&self.path, values, |value, out| {
            empty |= value.is_empty();
            percent(value, out);
        });
        if empty || self.path.names().next().is_some() && path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Unfit::Segment);
        }
        let mut uri = Zeroizing::new(String::with_capacity(self.origin.len() + path.len() + 64));
        uri.push_str(&self.origin);
        uri.push_str(&path);
        let mut parameters = self.query.iter().map(|query| fill(query, values, percent)).collect::<Vec<_>>();
        if self.method == QuestionMethod::Get && !self.fields.is_empty() {
            parameters.push(self.pairs(values));
        }
        for (index, text) in parameters.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(text);
        }
        if uri.len() > URI_BYTES_MAX { Err(Unfit::TooLong) } else { Ok(uri) }
    }

    fn pairs(&self, values: &dyn Values) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::new());
        for (name, template) in &self.fields {
            if !out.is_empty() {
                out.push('&');
            }
            percent(name, &mut out);
            out.push('=');
            let value = fill(template, values, |value, out| out.push_str(value));
            percent(&value, &mut out);
        }
        out
    }

    fn form(&self, values: &dyn Values) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pairs(values).as_bytes().to_vec())
    }

    fn json(&self, values: &dyn Values) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![b'{']);
        for (index, (name, template)) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let value = fill(template, values, |value, out| out.push_str(value));
            for (text, end) in [(&**name, b':'), (value.as_str(), b' ')] {
                // Texts can always be written, and a vector takes all.
                let _ = serde_json::to_writer(&mut *out, text);
                out.push(end);
            }
        }
        out.push(b'}');
        out
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Scheme, host and port of an address, and what comes after them.
fn origin(url: &str) -> Result<(&str, &str), QuestionError> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme));
    let start = scheme.ok_or(QuestionError::Address)?.len();
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let host = &url[start..end];
    if host.contains('$') {
        return Err(QuestionError::PlaceholderInHost);
    }
    if host.contains('@') {
        return Err(QuestionError::UserInfo);
    }
    if host.is_empty() {
        return Err(QuestionError::Address);
    }
    Ok((&url[..end], &url[end..]))
}

fn fill(template: &Template, values: &dyn Values, mut escape: impl FnMut(&str, &mut String)) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    template.write(&mut out, |_, name, out| {
        escape(values.value(name).as_deref().unwrap_or_default(), out);
    });
    out
}

/// Percent-encodes everything that has a meaning anywhere in an address.
fn percent(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)].into());
            out.push(DIGITS[usize::from(byte & 15)].into());
        }
    }
}

/// What no address is hurt by.
struct Harmless;

impl Values for Harmless {
    fn value(&self, _: &str) -> Option<std::borrow::Cow<'_, str>> {
        Some("x".into())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http_body_util::BodyExt;

    use super::*;

    /// Every placeholder stands for this.
    struct All(&'static str);

    impl Values for All {
        fn value(&self, name: &str) -> Option<Cow<'_, str>> {
            (name != "none").then_some(Cow::Borrowed(self.0))
        }
    }

    const TEXT: QuestionText<'_> =
        QuestionText { method: QuestionMethod::PostJson, url: "http://h/", headers: &[], fields: &[] };

    fn parse(text: &QuestionText<'_>) -> Result<Question, QuestionError> {
        Question::parse(text, |name| ["a", "none"].contains(&name))
    }

    async fn body(request: Request<Full<Bytes>>) -> String {
        let bytes = request.into_body().collect().await.expect("it is there").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn values_stay_where_they_belong() {
        const EVIL: &str = "a/../b?x=1&admin=true#\"},\"result\":\"allow\r\nX: y ${a} %2e";
        let text = QuestionText {
            url: "http://h:1/u/${a}/x?n=${a}&m=1",
            fields: &[("n", "<${a}>"), ("m", "${none}")],
            ..TEXT
        };
        let request = parse(&text).expect("good").fill(&All(EVIL)).expect("it fits");
        let encoded =
            "a%2F..%2Fb%3Fx%3D1%26admin%3Dtrue%23%22%7D%2C%22result%22%3A%22allow%0D%0AX%3A%20y%20%24%7Ba%7D%20%252e";
        assert_eq!(request.uri().to_string(), format!("http://h:1/u/{encoded}/x?n={encoded}&m=1"));
        let sent: serde_json::Value = serde_json::from_str(&body(request).await).expect("JSON");
        assert_eq!(sent, serde_json::json!({ "n": format!("<{EVIL}>"), "m": "" }));

        let form = QuestionText {
            method: QuestionMethod::PostForm,
            url: "http://h",
            fields: &[("n", "${a}"), ("m", "1 2")],
            ..TEXT
        };
        let request = parse(&form).expect("good").fill(&All("x&y=z +")).expect("it fits");
        assert_eq!(request.uri().to_string(), "http://h/");
        assert_eq!(body(request).await, "n=x%26y%3Dz%20%2B&m=1%202");

        let get = QuestionText { method: QuestionMethod::Get, url: "http://h/p?k=v", ..form };
        let request = parse(&get).expect("good").fill(&All("&")).expect("it fits");
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::GET, "http://h/p?k=v&n=%26&m=1%202")
        );
    }

    #[test]
    fn values_that_have_no_place_are_not_sent() {
        let path = parse(&QuestionText { url: "http://h/u/${a}", ..TEXT }).expect("good");
        for value in ["", ".", ".."] {
            assert_eq!(path.fill(&All(value)).err(), Some(Unfit::Segment), "{value:?}");
        }
        assert!(path.fill(&All("...")).is_ok() && path.fill(&All("a..")).is_ok());
        let long: &'static str = "x".repeat(URI_BYTES_MAX).leak();
        assert_eq!(path.fill(&All(long)).err(), Some(Unfit::TooLong));
        let header = parse(&QuestionText { headers: &[("x-user", "u=${a}")], ..TEXT }).expect("good");
        for value in ["a\r\nx: y", "a\nb", "a\0", "\x7f", "\t"] {
            assert_eq!(header.fill(&All(value)).err(), Some(Unfit::Header), "{value:?}");
        }
        assert_eq!(header.fill(&All("ü b")).expect("it fits").headers()["x-user"].as_bytes(), "u=ü b".as_bytes());
    }

    #[test]
    fn what_is_no_request_is_told() {
        let url = |url| parse(&QuestionText { url, ..TEXT }).err();
        for bad in ["", "h/p", "ftp://h/", "http://", "https:///p"] {
            assert_eq!(url(bad), Some(QuestionError::Address), "{bad}");
        }
        for bad in ["http://${a}/", "http://h:${a}/", "https://x${a}", "http://${a}@h/"] {
            assert_eq!(url(bad), Some(QuestionError::PlaceholderInHost), "{bad}");
        }
        assert_eq!(url("http://u:p@h/"), Some(QuestionError::UserInfo));
        assert_eq!(url("http://h/#x"), Some(QuestionError::Fragment));
        for bad in ["http://h/a b", "http://h/\r\n", "http://h:x/"] {
            assert_eq!(url(bad), Some(QuestionError::Malformed), "{bad:?}");
        }
        let header = |name, value| parse(&QuestionText { headers: &[(name, value)], ..TEXT }).err();
        for bad in ["", "a b", "Host", "content-length", "Transfer-Encoding"] {
            assert_eq!(header(bad, "x"), Some(QuestionError::HeaderName(bad.into())));
        }
        assert_eq!(header("x", "a\r\nb"), Some(QuestionError::HeaderValue("x".into())));
        let error = header("x", "${b}").map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("the header \"x\": \"${b}\" is no placeholder"));
        let named =
            parse(&QuestionText { url: "http://h/${a}?${none}", headers: &[("x", "${a}")], ..TEXT }).expect("good");
        assert_eq!(named.names().collect::<Vec<_>>(), ["a", "none", "a"]);
    }
}
