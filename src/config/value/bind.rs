use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use super::{BadValue, serde_as_text_or_number};

/// Where a listener listens.
///
/// `:1883` (or the bare number) is every address, IPv4 and IPv6; `0.0.0.0:1883` every IPv4 address; `[::]:1883` every IPv6 address and no IPv4 one;
/// `192.0.2.1:1883` and `[2001:db8::1]:1883` one address. A Unix socket has an absolute or relative path with at least one `/`. Port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// A port on every address: one socket for both families, or IPv4 alone where the kernel has no IPv6.
    Any(u16),
    /// One address, or all addresses of one family.
    Address(SocketAddr),
    /// A Unix domain socket.
    Path(PathBuf),
}

impl Bind {
    /// The port; `None` for a Unix socket.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Any(port) => Some(*port),
            Self::Address(address) => Some(address.port()),
            Self::Path(_) => None,
        }
    }

    /// The address to bind; `None` for a Unix socket. [`Bind::Any`] gives `[::]`, to be bound for both families.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Any(port) => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port)),
            Self::Address(address) => Some(*address),
            Self::Path(_) => None,
        }
    }

    /// True when both cannot be bound at the same time.
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(two)) => one == two,
            (Self::Path(_), _) | (_, Self::Path(_)) => false,
            (one, two) if one.port() != two.port() || one.port() == Some(0) => false,
            (Self::Any(_), _) | (_, Self::Any(_)) => true,
            (Self::Address(one), Self::Address(two)) => {
                one.is_ipv4() == two.is_ipv4()
                    && (one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified())
            }
        }
    }

    pub(super) fn from_number(port: u64) -> Result<Self, BadValue> {
        u16::try_from(port).map(Self::Any).map_err(|_| BadValue)
    }
}

impl FromStr for Bind {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
            return Ok(Self::Any(port));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.contains('/') && !text.ends_with('/') { Ok(Self::Path(text.into())) } else { Err(BadValue) }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, ":{port}"),
            Self::Address(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

serde_as_text_or_number!(Bind);

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Bind {
        text.parse().expect("valid")
    }

    #[test]
    fn reads_and_writes() {
        assert_eq!(bind("1883"), Bind::Any(1883));
        for text in [":1883", "0.0.0.0:1883", "[::]:0", "192.0.2.1:7", "/run/thingway.sock", "./thingway.sock"] {
            assert_eq!(bind(text).to_string(), text);
        }
        for text in ["", "localhost:1883", ":70000", "1.2.3.4", "thingway.sock", "/run/"] {
            assert_eq!(text.parse::<Bind>(), Err(BadValue), "{text}");
        }
    }

    #[test]
    fn collisions() {
        for (one, two, collide) in [
            (":1883", ":1883", true),
            (":1883", ":1884", false),
            (":0", ":0", false),
            (":1883", "127.0.0.1:1883", true),
            (":1883", "[::1]:1883", true),
            ("0.0.0.0:1883", "127.0.0.1:1883", true),
            ("0.0.0.0:1883", "[::]:1883", false),
            ("127.0.0.1:1883", "127.0.0.2:1883", false),
            ("/a", "/a", true),
            ("/a", ":1883", false),
        ] {
            assert_eq!(bind(one).collides(&bind(two)), collide, "{one} {two}");
            assert_eq!(bind(two).collides(&bind(one)), collide, "{two} {one}");
        }
    }
}
