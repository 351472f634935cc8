//! The PROXY protocol, versions 1 and 2: a proxy in front of the gateway tells whose connection it passes on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::listener::IoCause;

/// Longest header of version 1, with its line end (section 2.1).
const V1_BYTES_MAX: usize = 107;
/// Longest header of version 2 that is accepted, addresses and TLVs together.
const V2_BYTES_MAX: usize = 4096;
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What a proxy says. All is `None` when it speaks for itself, as in a health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The address that the client reached.
    pub destination: Option<SocketAddr>,
    /// Common name in the client certificate that the proxy verified (version 2 only).
    pub common_name: Option<Box<str>>,
}

/// What is wrong with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The trusted proxy sent something else.
    #[error("no PROXY header")]
    Missing,
    /// It breaks the format.
    #[error("malformed PROXY header")]
    Malformed,
    /// It is longer than allowed.
    #[error("PROXY header too long")]
    TooLong,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(IoCause),
}

impl From<std::io::Error> for ProxyFault {
    fn from(error: std::io::Error) -> Self {
        Self::Io((&error).into())
    }
}

/// Reads a PROXY header and not a byte more. Unbounded in time: put a timeout around it.
pub async fn read<T: AsyncRead + Unpin>(io: &mut T) -> Result<ProxyHeader, ProxyFault> {
    let mut start = [0; 12];
    // No shorter header exists; what is not a header must be known by its first bytes, or a client that sends less
    // than this would be waited for.
    for at in 0..start.len() {
        start[at] = io.read_u8().await?;
        if !V2_SIGNATURE.starts_with(&start[..=at]) && !starts_like_v1(&start[..=at]) {
            return Err(ProxyFault::Missing);
        }
    }
    if start == V2_SIGNATURE { read_v2(io).await } else { read_v1(io, &start).await }
}

fn starts_like_v1(bytes: &[u8]) -> bool {
    let length = bytes.len().min(6);
    bytes[..length] == b"PROXY "[..length]
}

async fn read_v1<T: AsyncRead + Unpin>(io: &mut T, start: &[u8]) -> Result<ProxyHeader, ProxyFault> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_BYTES_MAX {
            return Err(ProxyFault::TooLong);
        }
        line.push(io.read_u8().await?);
    }
    parse_v1(&line[..line.len() - 2]).ok_or(ProxyFault::Malformed)
}

fn parse_v1(line: &[u8]) -> Option<ProxyHeader> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyHeader::default());
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let (source_port, destination_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let family_fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (family_fits && words.next().is_none()).then(|| ProxyHeader {
        source: Some(SocketAddr::new(source, source_port)),
        destination: Some(SocketAddr::new(destination, destination_port)),
        common_name: None,
    })
}

async fn read_v2<T: AsyncRead + Unpin>(io: &mut T) -> Result<ProxyHeader, ProxyFault> {
    let mut fixed = [0; 4];
    io.read_exact(&mut fixed).await?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > V2_BYTES_MAX {
        return Err(ProxyFault::TooLong);
    }
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    parse_v2(fixed[0], fixed[1], &body).ok_or(ProxyFault::Malformed)
}

fn parse_v2(version_and_command: u8, family: u8, body: &[u8]) -> Option<ProxyHeader> {
    match version_and_command {
        // LOCAL: whatever follows must be ignored (section 2.2).
        0x20 => return Some(ProxyHeader::default()),
        0x21 => {}
        _ => return None,
    }
    let ports = |bytes: &[u8]| (u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]]));
    let (mut header, rest) = match family >> 4 {
        1 => {
            let (addresses, rest) = body.split_at_checked(12)?;
            let ip = |at: usize| IpAddr::V4(Ipv4Addr::from(*addresses[at..].first_chunk::<4>().expect("12 bytes")));
            let (source, destination) = ports(&addresses[8..]);
            (addressed(ip(0), source, ip(4), destination), rest)
        }
        2 => {
            let (addresses, rest) = body.split_at_checked(36)?;
            let ip = |at: usize| IpAddr::V6(Ipv6Addr::from(*addresses[at..].first_chunk::<16>().expect("36 bytes")));
            let (source, destination) = ports(&addresses[32..]);
            (addressed(ip(0), source, ip(16), destination), rest)
        }
        3 => (ProxyHeader::default(), body.split_at_checked(216)?.1),
        0 => return Some(ProxyHeader::default()),
        _ => return None,
    };
    header.common_name = common_name(rest)?;
    Some(header)
}

fn addressed(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> ProxyHeader {
    ProxyHeader {
        source: Some(SocketAddr::new(source.to_canonical(), source_port)),
        destination: Some(SocketAddr::new(destination.to_canonical(), destination_port)),
        common_name: None,
    }
}

/// The common name in the SSL TLV (section 2.2.6), when the client showed a certificate and it was fine. The outer
/// `None` is a malformed list.
#[allow(clippy::option_option)]
fn common_name(tlvs: &[u8]) -> Option<Option<Box<str>>> {
    const SSL: u8 = 0x20;
    const SSL_COMMON_NAME: u8 = 0x22;
    const CERTIFICATE_SHOWN: u8 = 0x02 | 0x04;
    for tlv in Tlvs(tlvs) {
        let (kind, value) = tlv?;
        if kind != SSL {
            continue;
        }
        let (client, rest) = value.split_first()?;
        let (verify, inner) = rest.split_at_checked(4)?;
        for tlv in Tlvs(inner) {
            let (kind, value) = tlv?;
            if kind == SSL_COMMON_NAME && client & CERTIFICATE_SHOWN != 0 && verify == [0; 4] {
                return Some(Some(std::str::from_utf8(value).ok()?.into()));
            }
        }
    }
    Some(None)
}

/// Type, length, value; `None` for one that is cut off.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let cut = self.0.split_at_checked(3).and_then(|(head, rest)| {
            let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
            let (value, rest) = rest.split_at_checked(length)?;
            Some((head[0], value, rest))
        });
        let Some((kind, value, rest)) = cut else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = rest;
        Some(Some((kind, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(bytes: &[u8]) -> (Result<ProxyHeader, ProxyFault>, Vec<u8>) {
        let mut rest = bytes;
        let result = read(&mut rest).await;
        (result, rest.to_vec())
    }

    fn header(source: &str, destination: &str) -> ProxyHeader {
        ProxyHeader { source: source.parse().ok(), destination: destination.parse().ok(), common_name: None }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn version_1() {
        let (result, rest) = parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nMQTT").await;
        assert_eq!(result, Ok(header("192.0.2.1:56324", "192.0.2.2:443")));
        assert_eq!(rest, b"MQTT");
        let (result, _) = parse(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").await;
        assert_eq!(result, Ok(header("[2001:db8::1]:1", "[2001:db8::2]:2")));
        assert_eq!(parse(b"PROXY UNKNOWN\r\nx").await, (Ok(ProxyHeader::default()), b"x".to_vec()));
        assert_eq!(parse(b"PROXY UNKNOWN 1 2 3\r\n").await.0, Ok(ProxyHeader::default()));
    }

    #[tokio::test]
    async fn version_1_refusals() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let cases: [(&[u8], ProxyFault); 8] = [
            (b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n", ProxyFault::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 70000 2\r\n", ProxyFault::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", ProxyFault::Malformed),
            (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyFault::Malformed),
            (b"PROXY TCP4 192.0.2.1\r\n", ProxyFault::Malformed),
            (&long, ProxyFault::TooLong),
            (b"\x10\x0c\0\x04MQTT\x04", ProxyFault::Missing),
            (b"PROXY TC", ProxyFault::Io(std::io::ErrorKind::UnexpectedEof.into())),
        ];
        for (bytes, fault) in cases {
            assert_eq!(parse(bytes).await.0, Err(fault), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[tokio::test]
    async fn version_2() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 8];
        let bytes = [v2(0x21, 0x11, &four), b"MQTT".to_vec()].concat();
        assert_eq!(parse(&bytes).await, (Ok(header("192.0.2.1:7", "192.0.2.2:8")), b"MQTT".to_vec()));
        let mut six = [0; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
        assert_eq!(parse(&v2(0x21, 0x21, &six)).await.0, Ok(header("[::1]:3", "[::2]:4")));
        assert_eq!(parse(&v2(0x20, 0x00, &[])).await.0, Ok(ProxyHeader::default()));
        assert_eq!(parse(&v2(0x20, 0x11, &four)).await.0, Ok(ProxyHeader::default()));
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])).await.0, Ok(ProxyHeader::default()));
    }

    #[tokio::test]
    async fn version_2_common_name_only_of_a_verified_certificate() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 8];
        let ssl = |client: u8, verify: u8| {
            let value = [&[client, 0, 0, 0, verify, 0x22, 0, 3][..], b"bob"].concat();
            v2(0x21, 0x11, &[&four[..], &[0x04, 0, 1, 0], &[0x20, 0, value.len() as u8], &value].concat())
        };
        assert_eq!(parse(&ssl(7, 0)).await.0.unwrap().common_name.as_deref(), Some("bob"));
        assert_eq!(parse(&ssl(7, 1)).await.0.unwrap().common_name, None);
        assert_eq!(parse(&ssl(1, 0)).await.0.unwrap().common_name, None);
    }

    #[tokio::test]
    async fn version_2_refusals() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 8];
        let cases = [
            (v2(0x11, 0x11, &four), ProxyFault::Malformed),
            (v2(0x22, 0x11, &four), ProxyFault::Malformed),
            (v2(0x21, 0x41, &four), ProxyFault::Malformed),
            (v2(0x21, 0x11, &four[..11]), ProxyFault::Malformed),
            (v2(0x21, 0x11, &[&four[..], &[0x20, 0]].concat()), ProxyFault::Malformed),
            (v2(0x21, 0x11, &[0; 5000]), ProxyFault::TooLong),
            (v2(0x21, 0x11, &four)[..20].to_vec(), ProxyFault::Io(std::io::ErrorKind::UnexpectedEof.into())),
        ];
        for (bytes, fault) in cases {
            assert_eq!(parse(&bytes).await.0, Err(fault), "{bytes:?}");
        }
    }
}
