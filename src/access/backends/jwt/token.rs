//! A token in the compact form of RFC 7515: three parts in base64url with dots between them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::Algorithm;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A token that was taken apart, and not yet believed.
pub(super) struct Token<'a> {
    pub header: Header,
    /// What was signed.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    payload: &'a str,
}

/// What a token says of how it was signed. Only the key decides whether that is so.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    pub kid: Option<String>,
    /// Extensions that must be understood. None is here.
    crit: Option<Value>,
}

/// Why a text is no token that could be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadToken {
    /// It has not the form of one.
    NoToken,
    /// It is one, but not as it must be.
    Malformed,
    /// It is signed in a way that is not known, as "none".
    Algorithm,
    /// It has extensions that are not known.
    Critical,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub fn parse(text: &'a [u8]) -> Result<(Self, Algorithm), BadToken> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= TOKEN_BYTES_MAX);
        let text = text.ok_or(BadToken::NoToken)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::NoToken)?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken::NoToken)?;
        let header = decode(header).ok_or(BadToken::NoToken)?;
        if !matches!(serde_json::from_slice(&header), Ok(Value::Object(_))) {
            return Err(BadToken::NoToken);
        }
        let header: Header = serde_json::from_slice(&header).map_err(|_| BadToken::Malformed)?;
        if header.crit.is_some() {
            return Err(BadToken::Critical);
        }
        let algorithm = Algorithm::named(&header.alg).ok_or(BadToken::Algorithm)?;
        let signature = decode(signature).ok_or(BadToken::Malformed)?;
        Ok((Self { header, signed: signed.as_bytes(), signature, payload }, algorithm))
    }

    /// What it claims. For those who have verified it.
    pub fn claims(&self) -> Result<Map<String, Value>, BadToken> {
        let payload = decode(self.payload).ok_or(BadToken::Malformed)?;
        match serde_json::from_slice(&payload) {
            Ok(Value::Object(claims)) => Ok(claims),
            _ => Err(BadToken::Malformed),
        }
    }
}

/// base64url without padding, as RFC 7515 has it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, rest: &str) -> String {
        format!("{}{rest}", BASE64_URL_SAFE_NO_PAD.encode(header))
    }

    fn bad(text: &str) -> Option<BadToken> {
        Token::parse(text.as_bytes()).err()
    }

    #[test]
    fn what_is_no_token_and_what_is_a_bad_one() {
        let good = token(r#"{"alg":"HS256","typ":"JWT"}"#, ".e30.AAAA");
        let (parsed, algorithm) = Token::parse(good.as_bytes()).expect("one");
        assert_eq!((algorithm, parsed.signature.as_slice()), (Algorithm::Hs256, &[0, 0, 0][..]));
        assert!(parsed.claims().expect("an object").is_empty());
        for text in ["", "secret", "a.b", "a.b.c", "e30", "IiI.e30.AAAA", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(bad(text), Some(BadToken::NoToken), "{text:.20}");
        }
        for (header, rest, expected) in [
            ("{}", ".e30.AAAA", BadToken::Malformed),
            (r#"{"alg":7}"#, ".e30.AAAA", BadToken::Malformed),
            (r#"{"alg":"HS256"}"#, ".e30.A", BadToken::Malformed),
            (r#"{"alg":"HS256"}"#, ".e30.AAA=", BadToken::Malformed),
            (r#"{"alg":"none"}"#, ".e30.", BadToken::Algorithm),
            (r#"{"alg":"None"}"#, ".e30.", BadToken::Algorithm),
            (r#"{"alg":"hs256"}"#, ".e30.AAAA", BadToken::Algorithm),
            (r#"{"alg":"HS256","crit":["exp"]}"#, ".e30.AAAA", BadToken::Critical),
        ] {
            assert_eq!(bad(&token(header, rest)), Some(expected), "{header} {rest}");
        }
        for payload in ["W10", "", "e3", "e30="] {
            let text = token(r#"{"alg":"HS256"}"#, &format!(".{payload}.AAAA"));
            let (parsed, _) = Token::parse(text.as_bytes()).expect("one");
            assert_eq!(parsed.claims(), Err(BadToken::Malformed), "{payload}");
        }
    }
}
