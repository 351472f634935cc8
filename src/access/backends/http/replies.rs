use std::sync::Arc;

use serde_json::{Map, Value};
use thingway_connectors::{Failure, HttpAnswer};

use crate::access::{
    attempt::Grant,
    backends::granted::{GrantError, Granted, unix_ms},
};

/// What a server says.
pub(super) struct Reply {
    pub verdict: Verdict,
    body: Map<String, Value>,
}

/// Yes, no, or somebody else's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Deny,
    Ignore,
}

impl Reply {
    /// 200 says it in JSON, 204 allows, everything else leaves it to others.
    pub fn read(answer: &HttpAnswer) -> Result<Self, Failure> {
        let plain = |verdict| Self { verdict, body: Map::new() };
        match answer.status {
            204 => return Ok(plain(Verdict::Allow)),
            200 => {}
            _ => return Ok(plain(Verdict::Ignore)),
        }
        // The parser's own words quote the text.
        let body = serde_json::from_slice(&answer.body).map_err(|_| Failure::Malformed("not a JSON object".into()))?;
        let Value::Object(body) = body else { return Err(Failure::Malformed("not a JSON object".into())) };
        let verdict = match body.get("result") {
            None => Verdict::Ignore,
            Some(result) => match result.as_str() {
                Some("allow") => Verdict::Allow,
                Some("deny") => Verdict::Deny,
                Some("ignore") => Verdict::Ignore,
                _ => return Err(Failure::Malformed("the result is not \"allow\", \"deny\" or \"ignore\"".into())),
            },
        };
        Ok(Self { verdict, body })
    }

    /// What comes with it.
    pub fn grant(&self, source: &Arc<str>) -> Result<Grant, GrantError> {
        let expires_unix_ms = match self.body.get("expire_at") {
            None | Some(Value::Null) => None,
            Some(at) => Some(unix_ms(at).ok_or(GrantError::Type("expire_at", "seconds since 1970"))?),
        };
        let granted = Granted {
            superuser: self.body.get("is_superuser"),
            attributes: self.body.get("client_attrs"),
            rules: self.body.get("acl"),
            expires_unix_ms,
        };
        granted.read(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Reply, Failure> {
        Reply::read(&HttpAnswer { status, body: body.as_bytes().to_vec().into() })
    }

    fn verdict(status: u16, body: &str) -> Option<Verdict> {
        read(status, body).map(|reply| reply.verdict).ok()
    }

    #[test]
    fn what_servers_say() {
        for (status, body, expected) in [
            (200, r#"{"result":"allow"}"#, Some(Verdict::Allow)),
            (200, r#"{"result":"deny"}"#, Some(Verdict::Deny)),
            (200, r#"{"result":"ignore"}"#, Some(Verdict::Ignore)),
            (200, r#"{"is_superuser":true}"#, Some(Verdict::Ignore)),
            (204, "", Some(Verdict::Allow)),
            (201, r#"{"result":"allow"}"#, Some(Verdict::Ignore)),
            (403, r#"{"result":"allow"}"#, Some(Verdict::Ignore)),
            (200, "", None),
            (200, "allow", None),
            (200, r#"["allow"]"#, None),
            (200, r#"{"result":"Allow"}"#, None),
            (200, r#"{"result":true}"#, None),
            (200, r#"{"result":null}"#, None),
            (200, r#"{"result":"allow""#, None),
        ] {
            assert_eq!(verdict(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_comes_with_it() {
        let body = r#"{"result":"allow","is_superuser":true,"expire_at":7,"client_attrs":{"a":"b"},
            "acl":[{"permission":"allow","action":"all","topic":"t"}]}"#;
        let grant = read(200, body).expect("good").grant(&"http.main".into()).expect("good");
        assert!(grant.superuser && grant.attributes.find("a") == Some("b") && grant.rules.is_some());
        assert_eq!(grant.expires_unix_ms, Some(7000));
        for bad in [r#""expire_at":"7""#, r#""is_superuser":"yes""#, r#""client_attrs":[]"#, r#""acl":[7]"#] {
            let reply = read(200, &format!("{{\"result\":\"allow\",{bad}}}")).expect("good");
            assert!(reply.grant(&"http.main".into()).is_err(), "{bad}");
        }
    }
}
