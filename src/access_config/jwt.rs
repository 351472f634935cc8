//! Tokens and what verifies them.

use std::sync::Arc;

use thingway_connectors::{HttpService, LineSettings, Question, QuestionMethod, QuestionText, Template};

use super::{AccessError, http::secret_file, service_error};
use crate::{
    access::{
        Authenticator,
        backends::{HmacSecret, Jwks, JwtAuthenticator, JwtSettings, Keys, PublicKey, TokenSource},
        is_of_attempts,
    },
    config::{AccessJwt, Config, JwtFrom},
};

/// The authenticator that is called so.
pub(super) fn authenticator(config: &Config, name: &str) -> Result<Arc<dyn Authenticator>, AccessError> {
    let unknown = || AccessError::Unknown(format!("jwt.{name}"));
    let settings = config.access.jwt.get(name).ok_or_else(unknown)?;
    let claim = |(claim, text): (&str, &str)| {
        let template = Template::parse(text, is_of_attempts);
        let template = template.map_err(|why| service_error("jwt", name, "claims", &format!("{claim}: {why}")))?;
        Ok((claim.into(), template))
    };
    Ok(Arc::new(JwtAuthenticator::new(JwtSettings {
        source: match settings.from {
            JwtFrom::Password => TokenSource::Password,
            JwtFrom::Username => TokenSource::Username,
        },
        claims: settings.claims.iter().map(claim).collect::<Result<_, AccessError>>()?,
        keys: keys(settings, name)?,
        leeway: settings.leeway.duration(),
        acl_claim: settings.acl_claim.as_str().into(),
        superuser_claim: settings.superuser_claim.as_str().into(),
        disconnect_after_expire: settings.disconnect_after_expire,
        name: format!("jwt.{name}").into(),
    })))
}

fn keys(settings: &AccessJwt, name: &str) -> Result<Keys, AccessError> {
    let error = |key: &str, why: &dyn std::fmt::Display| service_error("jwt", name, key, why);
    let is_set = |path: &std::path::Path| !path.as_os_str().is_empty();
    let given = [
        !settings.secret.reveal().is_empty(),
        is_set(&settings.secret_file),
        is_set(&settings.public_key_file),
        !settings.jwks_url.is_empty(),
    ];
    match given {
        [true, false, false, false] => {
            let secret = HmacSecret::new(settings.secret.reveal().as_bytes(), settings.secret_base64);
            secret.map(Keys::Secret).map_err(|why| error("secret", &why))
        }
        [false, true, false, false] => {
            let text = secret_file(&settings.secret_file).map_err(|why| error("secret_file", &why))?;
            let secret = HmacSecret::new(text.as_bytes(), settings.secret_base64);
            secret.map(Keys::Secret).map_err(|why| error("secret_file", &why))
        }
        [false, false, true, false] => {
            let path = &settings.public_key_file;
            let told = |why: &dyn std::fmt::Display| error("public_key_file", &format!("{}: {why}", path.display()));
            let unreadable =
                |why: std::io::Error| error("public_key_file", &format!("cannot read {}: {why}", path.display()));
            let text = std::fs::read(path).map_err(unreadable)?;
            PublicKey::from_pem(&text).map(Keys::Public).map_err(|why| told(&why))
        }
        [false, false, false, true] => Ok(Keys::Published(published(settings, name)?)),
        _ => Err(error(
            "secret",
            &"exactly one of secret, secret_file, public_key_file and jwks_url says what verifies tokens",
        )),
    }
}

fn published(settings: &AccessJwt, name: &str) -> Result<Arc<Jwks>, AccessError> {
    let error = |key: &str, why: &dyn std::fmt::Display| service_error("jwt", name, key, why);
    let text = QuestionText {
        method: QuestionMethod::Get,
        url: &settings.jwks_url,
        headers: &settings.jwks_headers.iter().collect::<Vec<_>>(),
        fields: &[],
    };
    let question = Question::parse(&text, |_| false).map_err(|why| error("jwks_url", &why))?;
    let line = LineSettings { timeout: settings.jwks_timeout.duration(), at_once: 1, ..LineSettings::default() };
    let authorities = Some(settings.ca_file.as_path()).filter(|path| !path.as_os_str().is_empty());
    let full = format!("jwt.{name}");
    let service = HttpService::new(&full, line, authorities).map_err(|why| error("ca_file", &why))?;
    let jwks = Jwks::new(&full, service, question);
    jwks.keep_fresh(settings.jwks_refresh.duration());
    Ok(jwks)
}
