use std::{path::PathBuf, str::FromStr};

/// Where a client connects to: `mqtt://`, `mqtts://`, `ws://`, `wss://`, `quic://`, `mqtt-sn://` or `coap://` with
/// `[user[:password]@]host[:port][/path]`, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How and where.
    pub target: Target,
    /// User name in front of the host.
    pub username: Option<String>,
    /// Password in front of the host.
    pub password: Option<String>,
}

/// What is spoken, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// MQTT.
    Mqtt(Transport),
    /// MQTT-SN over UDP.
    MqttSn(Host),
    /// CoAP over UDP; the path is where the topics are, segment by segment.
    Coap(Host, Vec<String>),
}

/// How and where to connect for MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Host),
    /// TLS.
    Tls(Host),
    /// WebSocket with this path.
    Ws(Host, String),
    /// WebSocket over TLS with this path.
    Wss(Host, String),
    /// QUIC.
    Quic(Host),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A machine and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name or address, IPv6 addresses without brackets.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// Why a text is no [`Url`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No known scheme.
    #[error("expected mqtt://, mqtts://, ws://, wss://, quic://, unix:, mqtt-sn:// or coap://")]
    Scheme,
    /// No host.
    #[error("expected a host")]
    Host,
    /// The port is no number up to 65535.
    #[error("expected a port from 1 to 65535")]
    Port,
    /// A path where there is none.
    #[error("only ws://, wss:// and coap:// have a path, and unix: must have one")]
    Path,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let target = Target::Mqtt(Transport::Unix(path.into()));
            return if path.is_empty() {
                Err(UrlError::Path)
            } else {
                Ok(Self { target, username: None, password: None })
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            None => (None, None),
            Some((name, "")) => (Some(name.to_owned()), None),
            Some((name, password)) => (Some(name.to_owned()), Some(password.to_owned())),
        };
        let host = |default| parse_host(host, default);
        let no_path = |target| if matches!(path, "" | "/") { Ok(target) } else { Err(UrlError::Path) };
        let web_path = if path.is_empty() { "/mqtt" } else { path }.to_owned();
        let target = match scheme {
            "mqtt" | "tcp" => no_path(Target::Mqtt(Transport::Tcp(host(1883)?)))?,
            "mqtts" | "ssl" | "tls" => no_path(Target::Mqtt(Transport::Tls(host(8883)?)))?,
            "quic" => no_path(Target::Mqtt(Transport::Quic(host(14567)?)))?,
            "ws" => Target::Mqtt(Transport::Ws(host(8083)?, web_path)),
            "wss" => Target::Mqtt(Transport::Wss(host(8084)?, web_path)),
            "mqtt-sn" | "mqttsn" => no_path(Target::MqttSn(host(1884)?))?,
            "coap" => Target::Coap(host(5683)?, segments(path)),
            _ => return Err(UrlError::Scheme),
        };
        Ok(Self { target, username, password })
    }
}

/// The segments of a path, without empty ones at its ends: `ps` when there is none.
fn segments(path: &str) -> Vec<String> {
    match path.trim_matches('/') {
        "" => vec!["ps".into()],
        path => path.split('/').map(str::to_owned).collect(),
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<Host, UrlError> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
            (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(UrlError::Port)?) })
        }
        None => text.rsplit_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() {
        return Err(UrlError::Host);
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
    };
    Ok(Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.into(), port }
    }

    #[test]
    fn targets() {
        for (text, target) in [
            ("mqtt://a", Target::Mqtt(Transport::Tcp(host("a", 1883)))),
            ("mqtts://a:1/", Target::Mqtt(Transport::Tls(host("a", 1)))),
            ("ws://a", Target::Mqtt(Transport::Ws(host("a", 8083), "/mqtt".into()))),
            ("wss://[::1]:5/x/y", Target::Mqtt(Transport::Wss(host("::1", 5), "/x/y".into()))),
            ("quic://[::1]", Target::Mqtt(Transport::Quic(host("::1", 14567)))),
            ("unix:/run/x", Target::Mqtt(Transport::Unix("/run/x".into()))),
            ("mqtt-sn://a", Target::MqttSn(host("a", 1884))),
            ("mqtt-sn://[::1]:5/", Target::MqttSn(host("::1", 5))),
            ("coap://a", Target::Coap(host("a", 5683), vec!["ps".into()])),
            ("coap://a:5/", Target::Coap(host("a", 5), vec!["ps".into()])),
            ("coap://a/x/y/", Target::Coap(host("a", 5683), vec!["x".into(), "y".into()])),
            ("unix:///run/x", Target::Mqtt(Transport::Unix("/run/x".into()))),
        ] {
            assert_eq!(text.parse(), Ok(Url { target, username: None, password: None }), "{text}");
        }
        let url: Url = "mqtt://me:a:b@h".parse().expect("valid");
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("me"), Some("a:b")));
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("a", UrlError::Scheme),
            ("http://a", UrlError::Scheme),
            ("mqtt://", UrlError::Host),
            ("mqtt://:5", UrlError::Host),
            ("mqtt://a:b", UrlError::Port),
            ("mqtt://a:0", UrlError::Port),
            ("mqtt://a/x", UrlError::Path),
            ("mqtt-sn://a/x", UrlError::Path),
            ("coaps://a", UrlError::Scheme),
            ("unix:", UrlError::Path),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text}");
        }
    }
}
