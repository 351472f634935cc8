//! The messages of RFC 5802, section 7, as far as a server reads them.

use base64::{Engine, prelude::BASE64_STANDARD};

/// Longest message that is read, in bytes.
const BYTES_MAX: usize = 8 * 1024;
/// Longest nonce of a client, in bytes.
const NONCE_BYTES_MAX: usize = 512;

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// Up to what the signatures are about.
    pub gs2_header: &'a str,
    /// The rest.
    pub bare: &'a str,
    pub username: String,
    /// Somebody else whose rights are asked for.
    pub authorize_as: Option<String>,
    pub nonce: &'a str,
}

/// The client's last message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    pub without_proof: &'a str,
    pub channel_binding: Vec<u8>,
    pub nonce: &'a str,
    pub proof: Vec<u8>,
}

fn text(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(message).ok().filter(|text| text.len() <= BYTES_MAX && !text.contains('\0'))
}

impl<'a> ClientFirst<'a> {
    /// Reads it. Channel bindings are not offered, and extensions that must be understood are not.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',')?;
        if !matches!(flag, "n" | "y") {
            return None;
        }
        let (authzid, bare) = rest.split_once(',')?;
        let authorize_as = match authzid {
            "" => None,
            some => Some(name(some.strip_prefix("a=")?)?),
        };
        let mut fields = bare.split(',');
        let username = name(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        let printable = nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if username.is_empty() || nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX || !printable {
            return None;
        }
        let gs2_header = &text[..text.len() - bare.len()];
        Some(Self { gs2_header, bare, username, authorize_as, nonce })
    }
}

impl<'a> ClientFinal<'a> {
    /// Reads it.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let channel_binding = BASE64_STANDARD.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        let proof = BASE64_STANDARD.decode(proof).ok()?;
        Some(Self { without_proof, channel_binding, nonce, proof })
    }
}

/// A name with `=2C` for a comma and `=3D` for an equals sign.
fn name(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        out.push(match rest.get(at..at + 3)? {
            "=2C" => ',',
            "=3D" => '=',
            _ => return None,
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let first = ClientFirst::read(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").expect("RFC 5802's own");
        assert_eq!((first.gs2_header, first.bare), ("n,,", "n=user,r=fyko+d2lbbFgONRv9qkxdawL"));
        let first = ClientFirst::read(b"y,a=ad=2Cmin,n=a=3Db,r=x,ext=1").expect("good");
        assert_eq!(first.gs2_header, "y,a=ad=2Cmin,");
        assert_eq!((first.authorize_as.as_deref(), first.username.as_str(), first.nonce), (Some("ad,min"), "a=b", "x"));
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,r=x,n=user",
            "p=tls-unique,,n=user,r=x",
            "x,,n=user,r=x",
            "n,b=x,n=user,r=x",
            "n,,m=ext,n=user,r=x",
            "n,,n=,r=x",
            "n,,n=a=2D,r=x",
            "n,,n=a=,r=x",
            "n,,n=user,r=",
            "n,,n=user,r=a b",
            "n,,n=us\0er,r=x",
        ] {
            assert_eq!(ClientFirst::read(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(ClientFirst::read(b"n,,n=\xff,r=x"), None);
        let long = format!("n,,n=user,r={}", "x".repeat(NONCE_BYTES_MAX + 1));
        assert_eq!(ClientFirst::read(long.as_bytes()), None);
        let long = format!("n,,n={},r=x", "x".repeat(BYTES_MAX));
        assert_eq!(ClientFirst::read(long.as_bytes()), None);
    }

    #[test]
    fn last_messages() {
        let last = ClientFinal::read(b"c=biws,r=abc,x=1,p=AAAA").expect("good");
        assert_eq!((last.without_proof, last.nonce, last.proof.len()), ("c=biws,r=abc,x=1", "abc", 3));
        assert_eq!(last.channel_binding, b"n,,");
        for bad in ["", "c=biws,r=abc", "r=abc,c=biws,p=AAAA", "c=biws,p=AAAA", "c=!,r=abc,p=AAAA", "c=biws,r=abc,p=A"]
        {
            assert_eq!(ClientFinal::read(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
