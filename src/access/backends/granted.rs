//! What an authenticator's reply or a token grants, in EMQX's words.

use std::sync::Arc;

use serde_json::Value;

use crate::access::{
    attempt::{Attributes, Grant},
    rules::{RuleError, RuleSet, parse_claim},
};

/// Most attributes that somebody may be given, and their longest names and values in bytes.
const ATTRIBUTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// Why what was said cannot be granted. Nothing is then: half of it would be something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Not of the type that it should have.
    #[error("{0} is not {1}")]
    Type(&'static str, &'static str),
    /// There are more than can be kept.
    #[error("more than 64 attributes, or one longer than 4096 bytes")]
    TooMany,
    /// A rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// What a reply has of a grant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Granted<'a> {
    pub superuser: Option<&'a Value>,
    pub attributes: Option<&'a Value>,
    pub rules: Option<&'a Value>,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
}

impl Granted<'_> {
    /// The grant. `source` names the rules in it.
    pub fn read(self, source: &Arc<str>) -> Result<Grant, GrantError> {
        let superuser = match self.superuser {
            None | Some(Value::Null) => false,
            Some(Value::Bool(superuser)) => *superuser,
            Some(_) => return Err(GrantError::Type("the superuser flag", "true or false")),
        };
        let rules = match self.rules {
            None => None,
            Some(claim) => parse_claim(claim, source)?.map(|rules| Arc::new(RuleSet([rules].into()))),
        };
        Ok(Grant { superuser, attributes: attributes(self.attributes)?, rules, expires_unix_ms: self.expires_unix_ms })
    }
}

fn attributes(value: Option<&Value>) -> Result<Attributes, GrantError> {
    let entries = match value {
        None | Some(Value::Null) => return Ok(Attributes::default()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(GrantError::Type("client_attrs", "an object")),
    };
    if entries.len() > ATTRIBUTES_MAX {
        return Err(GrantError::TooMany);
    }
    let one = |(name, value): (&String, &Value)| {
        let value = value.as_str().ok_or(GrantError::Type("an attribute", "a text"))?;
        if name.len().max(value.len()) > ATTRIBUTE_BYTES_MAX {
            return Err(GrantError::TooMany);
        }
        Ok((name.clone(), value.to_owned()))
    };
    entries.iter().map(one).collect()
}

/// Seconds since 1970 as milliseconds: JSON has them with or without a fraction.
pub(super) fn unix_ms(value: &Value) -> Option<u64> {
    if let Some(secs) = value.as_u64() {
        return Some(secs.saturating_mul(1000));
    }
    let secs = value.as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0)?;
    Some((secs * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(superuser: Value, attributes: Value, rules: Value) -> Result<Grant, GrantError> {
        let granted = Granted {
            superuser: Some(&superuser),
            attributes: Some(&attributes),
            rules: Some(&rules),
            expires_unix_ms: Some(7),
        };
        granted.read(&"test".into())
    }

    #[test]
    fn all_of_it_or_nothing() {
        let acl = json!([{ "permission": "allow", "action": "all", "topic": "t" }]);
        let grant = read(json!(true), json!({ "site": "north" }), acl).expect("good");
        assert!(grant.superuser && grant.attributes.find("site") == Some("north"));
        assert_eq!((grant.rules.expect("one").len(), grant.expires_unix_ms), (1, Some(7)));
        assert!(!read(json!(null), json!(null), json!(null)).expect("good").superuser);
        let none = json!(null);
        for bad in [json!("true"), json!(1), json!([])] {
            assert!(matches!(read(bad, none.clone(), none.clone()), Err(GrantError::Type(..))));
        }
        for bad in [json!([]), json!("x"), json!({ "a": 1 }), json!({ "a": null })] {
            assert!(matches!(read(none.clone(), bad, none.clone()), Err(GrantError::Type(..))));
        }
        let many: serde_json::Map<_, _> = (0..65).map(|number| (number.to_string(), json!("x"))).collect();
        assert_eq!(read(none.clone(), Value::Object(many), none.clone()).err(), Some(GrantError::TooMany));
        assert!(matches!(read(none.clone(), none, json!([{}])), Err(GrantError::Rule(_))));
    }

    #[test]
    fn times() {
        assert_eq!(unix_ms(&json!(7)), Some(7000));
        assert_eq!(unix_ms(&json!(1.5)), Some(1500));
        assert_eq!(unix_ms(&json!(u64::MAX)), Some(u64::MAX));
        for bad in [json!(-1), json!("7"), json!(null), json!([7])] {
            assert_eq!(unix_ms(&bad), None);
        }
    }
}
